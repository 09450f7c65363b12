"""scripts/bench --quick: one table with a ratio for everything that a release should not make slower, in about a quarter of an hour."""
import os, pathlib, platform, shutil, subprocess, sys, time

import bench_drill, bench_mongo, bench_mysql, bench_storage
from bench_ratios import Missing, Ratios, alternate, in_mebibytes, progress, seconds


def filled(run):
    """The server, filled once for all parts: `bench`, with one small table among the large ones."""
    if not (run.options.postgres / "postgres").exists():
        raise Missing(f"there is no PostgreSQL in {run.options.postgres}")
    if "bench" not in run.server.psql("postgres", "-Atc", "SELECT datname FROM pg_database").split():
        run.fill()
        run.server.psql("bench", "-c", "CREATE TABLE products AS SELECT i AS id, 'product ' || i AS name, "
                        "i * 7 % 1000 / 10.0 AS price FROM generate_series(1, 500) i", "-c",
                        "ALTER TABLE products ADD PRIMARY KEY (id)")
    return run.server


def sources(run):
    """Our backup of `bench`, and the tool's: a file in its own format."""
    server, dump = filled(run), run.folder / "bench.dump"
    run.init("ours", run.source(["bench"]))
    seconds(f"{run.program} --config {run.folder}/ours.toml backup", run.env)
    seconds(f"pg_dump --format=custom --compress=0 --file={dump} bench", run.env)
    return server, dump, f"{dump.stat().st_size / 1e9:.2f} GB"


def postgres(run, ratios):
    server, dump, size = sources(run)

    def into(database, command):
        server.psql("postgres", "-c", f"DROP DATABASE IF EXISTS {database}", "-c", f"CREATE DATABASE {database}")
        wall = seconds(command, run.env)
        server.psql("postgres", "-c", f"DROP DATABASE {database}")
        return wall

    load = f"pg_restore --exit-on-error --dbname=copy {dump}"
    ours = f"{run.program} --config {run.folder}/ours.toml restore bench/bench --into copy"
    walls = alternate(run.options.rounds, {
        "pg_restore": lambda: into("copy", load),
        "tik-backup restore": lambda: into("copy", ours),
        "pg_restore -j2": lambda: into("copy", f"{load} -j2"),
        "tik-backup drill": lambda: bench_drill.drill(run, "bench/bench")[0][1],
    })
    serial, parallel = ({f"`{name}`": walls[name]} for name in ("pg_restore", "pg_restore -j2"))
    ratios.row(f"PostgreSQL `restore`, {size}", walls["tik-backup restore"], serial, "≤ 0.75")
    ratios.row(f"PostgreSQL `restore`, {size}", walls["tik-backup restore"], parallel, "≤ 1.20")
    ratios.row(f"PostgreSQL `drill`, {size}", walls["tik-backup drill"], serial, "≤ 1.3")
    table(run, ratios, server, dump, size)


def table(run, ratios, server, dump, size):
    """One small table out of the database: the time, and what is read for it."""
    read = []

    def ours():
        wall, characters = counted(run, ["restore", "bench/bench", "--into", "one", "--table", "public.products"])
        server.psql("postgres", "-c", "DROP DATABASE one")
        read.append(characters)
        return wall

    def theirs():
        server.psql("postgres", "-c", "CREATE DATABASE one")
        wall = seconds(f"pg_restore --exit-on-error --dbname=one --table=products {dump}", run.env)
        server.psql("postgres", "-c", "DROP DATABASE one")
        return wall

    walls = alternate(run.options.rounds, {"pg_restore --table": theirs, "tik-backup restore --table": ours})
    ratios.row(f"one table of 500 rows out of {size}", walls["tik-backup restore --table"],
               {"`pg_restore --table`": walls["pg_restore --table"]}, "≤ 1 s")
    ratios.row(f"the same: bytes read, child processes included", sorted(read)[len(read) // 2],
               {"the dump": dump.stat().st_size}, "≤ 64 MiB", in_mebibytes)


def counted(run, arguments):
    """Wall seconds of our program, and the bytes that it and its children have read, from files and pipes."""
    os.sync()
    begin = time.monotonic()
    with open(run.folder / "errors", "w+") as errors:
        command = [run.program, "--config", run.folder / "ours.toml", *arguments]
        process = subprocess.Popen(command, env=run.env, stdout=subprocess.DEVNULL, stderr=errors)
        # The kernel keeps the numbers until the process is waited for.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        wall = time.monotonic() - begin
        numbers = dict(line.split(": ") for line in pathlib.Path(f"/proc/{process.pid}/io").read_text().splitlines())
        errors.seek(0)
        if process.wait() != 0:
            sys.exit(f"failed: {arguments}\n{errors.read()}")
    return wall, int(numbers["rchar"])


def backup(run, ratios):
    filled(run)
    limit = run.limit(["bench"])
    size = subprocess.run(limit.replace("> /dev/null", "| wc -c"), shell=True, env=run.env, capture_output=True, text=True,
                          check=True).stdout.strip()
    ours = f"{run.program} --config {run.folder}/ours.toml backup"

    def first():
        run.init("ours", run.source(["bench"]))
        return seconds(ours, run.env)

    walls = alternate(run.options.rounds, {"pg_dump > /dev/null": lambda: seconds(limit, run.env), "first": first,
                                           "unchanged": lambda: seconds(ours, run.env)})
    raw = {"`pg_dump -Fc -Z0 > /dev/null`": walls["pg_dump > /dev/null"]}
    for step, goal in (("first", "≤ 1.20"), ("unchanged", "≤ 1.10")):
        ratios.row(f"`backup`, {step}, {int(size) / 1e9:.2f} GB", walls[step], raw, goal)


def fixed(run, ratios):
    """What a run costs that has almost nothing to do."""
    if not (run.options.postgres / "postgres").exists():
        raise Missing(f"there is no PostgreSQL in {run.options.postgres}")
    if "small" not in run.server.psql("postgres", "-Atc", "SELECT datname FROM pg_database").split():
        run.server.psql("postgres", "-c", "CREATE DATABASE small")
        run.server.psql("small", "-c", "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 100) i")
    for name in ("ours", "pipe"):
        run.init(name, run.source(["small"]))
    ways = {
        "pg_dump": f"{run.limit(['small'])}",
        "restic": f"{run.restic} -q -r {run.folder}/pipe backup --stdin-filename small.dump --stdin-from-command -- "
                  "pg_dump -Fc -Z0 small",
        "tik-backup": f"{run.program} --config {run.folder}/ours.toml backup",
    }
    walls = alternate(2 * run.options.rounds + 1, {name: lambda line=line: seconds(line, run.env) for name, line in ways.items()})
    ratios.row("a run of one small item", walls["tik-backup"],
               {"`restic --stdin-from-command`": walls["restic"], "`pg_dump` alone": walls["pg_dump"]}, "≤ 0.45 s")


PARTS = {"postgres": postgres, "backup": backup, "fixed": fixed, "mariadb": bench_mysql.mariadb, "mysql": bench_mysql.mysql,
         "mongodb": bench_mongo.mongodb, "cifs": bench_storage.cifs, "sftp": bench_storage.sftp, "sshfs": bench_storage.sshfs}
# Names for several of them.
TOGETHER = {"storage": ("cifs", "sftp", "sshfs")}


def each(run, parts, title, remarks):
    """Runs parts, prints their table, and returns whether all of them that have their tools succeeded."""
    ratios = Ratios(run.options.json)
    begin = time.monotonic()
    try:
        for name in parts:
            progress(f"part {name}, {time.monotonic() - begin:.0f} s after the start")
            try:
                PARTS[name](run, ratios)
            except Missing as reason:
                ratios.skip(name, reason)
            # What a tool says, also if it ends a whole case: the other parts are of use without it.
            except (SystemExit, OSError, subprocess.SubprocessError) as error:
                ratios.fail(name, error)
    finally:
        ratios.show(title, f"{remarks} {time.monotonic() - begin:.0f} s.")
    return not ratios.failed


def quick(run):
    options = run.options
    parts = TOGETHER.get(options.only) or ([options.only] if options.only else list(PARTS))
    version = subprocess.run([run.program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    remarks = (f"{version}, {os.cpu_count()} cores, {platform.system()} {platform.release()}. Medians of {options.rounds} "
               "rounds; in each round all tools run, one after the other. The sizes are those that the lines name: they are "
               "smaller than those that the goals are for, where these take longer.")
    return each(run, parts, "Ratios", remarks)
