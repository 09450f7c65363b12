"""The case `drill` of scripts/bench: how long a drill takes, and its resources, in comparison with a plain load of the same data."""
import json, os, pathlib, shutil, subprocess, sys, threading, time

import bench_servers


def used(folder):
    """Bytes of a directory on the disk."""
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except OSError:
                pass
    return total


def own(pid):
    """Resident bytes of the program alone, and with all its children except servers."""
    def resident(pid):
        return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

    tools, todo = 0, [pid]
    while todo:
        child = todo.pop()
        try:
            name = pathlib.Path(f"/proc/{child}/comm").read_text().strip()
            if name in ("postgres", "mariadbd", "mysqld"):
                continue
            tools += resident(child)
            for task in os.listdir(f"/proc/{child}/task"):
                todo += map(int, pathlib.Path(f"/proc/{child}/task/{task}/children").read_text().split())
        except (OSError, ValueError):
            pass
    try:
        return resident(pid), tools
    except (OSError, ValueError):
        return 0, tools


def timed(command, env, folder=None):
    """Wall seconds, output, and peak use of memory and disk."""
    os.sync()
    begin = time.monotonic()
    process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", f"exec {command}" if "|" not in command else command],
                               env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    most, over = {"program": 0, "all": 0, "disk": 0}, threading.Event()

    def watch():
        while not over.wait(0.25):
            alone, together = own(process.pid)
            most["program"] = max(most["program"], alone)
            most["all"] = max(most["all"], together)
            if folder:
                most["disk"] = max(most["disk"], used(folder))

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, errors = process.communicate()
    wall = time.monotonic() - begin
    over.set()
    watcher.join()
    if process.returncode != 0:
        sys.exit(f"failed: {command}\n{out}\n{errors}")
    return {"wall": wall, "out": out, **most}


def show(title, base, rows):
    print(f"\n## {title}\n\n| | wall | to the plain load | program | with its tools | disk |\n|---|---|---|---|---|---|")
    for name, wall, result in rows:
        mib = {key: f"{result[key] / 2**20:.0f} MiB" if result.get(key) else "" for key in ("program", "all", "disk")}
        print(f"| {name} | {wall:.1f} s | {wall / base:.2f} | {mib['program']} | {mib['all']} | {mib['disk']} |")
    print(flush=True)


def drill(run, item, more=""):
    """A drill of one item, and the part of it that is the restore; `more` has further lines of the table `[drill]`."""
    folder = run.folder / "scratch"
    folder.mkdir(mode=0o755, exist_ok=True)
    config = run.folder / "ours.toml"
    if "[drill]" not in config.read_text():
        config.write_text(config.read_text() + f'\n[drill]\ndir = "{folder}"\n{more}')
    result = timed(f"{run.program} --config {config} --json drill {item}", run.env, folder)
    verdict = json.loads(result["out"])["items"][0]
    if verdict["outcome"] != "proven":
        sys.exit(f"not proven: {verdict}")
    return [("tik-backup drill: start, restore, read back, compare", result["wall"], result),
            ("  of it the restore", verdict["restore_seconds"], {})]


def postgres(run):
    print(f"filling a PostgreSQL database that dumps to about {run.options.size} GB", file=sys.stderr)
    run.fill()
    run.init("ours", run.source(["bench"]))
    timed(f"{run.program} --config {run.folder}/ours.toml backup", run.env)
    dump = run.folder / "bench.dump"
    pg = run.options.postgres
    timed(f"{pg}/pg_dump --format=custom --compress=0 --file={dump} bench", run.env)
    size = dump.stat().st_size
    rows = []

    def load(name, command):
        run.server.psql("postgres", "-c", "DROP DATABASE IF EXISTS copy", "-c", "CREATE DATABASE copy")
        result = timed(command, run.env)
        rows.append((name, result["wall"], result))
        run.server.psql("postgres", "-c", "DROP DATABASE copy")

    load("pg_restore from a file", f"{pg}/pg_restore --exit-on-error --dbname=copy {dump}")
    load("restic dump, pg_restore", f"{run.restic} -q -r {run.folder}/ours dump latest --path /bench/bench "
         f"/bench/bench/database.dump | {pg}/pg_restore --exit-on-error --dbname=copy")
    dump.unlink()
    run.server.psql("postgres", "-c", "CREATE DATABASE copy")
    result = timed(f"{run.program} --config {run.folder}/ours.toml restore bench/bench --into copy", run.env)
    rows.append(("tik-backup restore, counted", result["wall"], result))
    run.server.psql("postgres", "-c", "DROP DATABASE copy", "-c", "DROP DATABASE bench")
    rows += drill(run, "bench/bench")
    show(f"PostgreSQL, a dump of {size / 1e9:.2f} GB", rows[0][1], rows)


def mysql(run):
    server = bench_servers.MariaDb(run.folder, run.options.mariadb)
    size = run.options.size / 2
    try:
        print(f"filling a MariaDB database with about {size} GB of rows", file=sys.stderr)
        server.fill(size)
        run.init("ours", f'kind = "mysql"\nhost = "{server.socket}"\nuser = "root"\ndatabases = ["bench"]\nglobals = false\n')
        timed(f"{run.program} --config {run.folder}/ours.toml backup", run.env)
        dump = run.folder / "bench.sql"
        timed(f"{bench_servers.DUMP.format(socket=server.socket)} --result-file={dump}", run.env)
        bytes_of_dump = dump.stat().st_size
        rows = []
        server.sql("DROP DATABASE bench; CREATE DATABASE copy")
        result = timed(f"mariadb --no-defaults -u root -S {server.socket} copy < {dump}", run.env)
        rows.append(("mariadb from a file", result["wall"], result))
        dump.unlink()
        server.sql("DROP DATABASE copy")
        result = timed(f"{run.program} --config {run.folder}/ours.toml restore bench/bench --into copy", run.env)
        rows.append(("tik-backup restore, counted", result["wall"], result))
        server.sql("DROP DATABASE copy")
        rows += drill(run, "bench/bench")
        show(f"MariaDB, a dump of {bytes_of_dump / 1e9:.2f} GB", rows[0][1], rows)
    finally:
        server.stop()
        shutil.rmtree(run.folder / "mariadb", ignore_errors=True)


def both(run):
    postgres(run)
    mysql(run)
