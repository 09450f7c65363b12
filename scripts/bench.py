"""Side-by-side measurements; see scripts/bench. Prints a table for each case, with ratios to the limit."""
import argparse, functools, json, os, pathlib, shutil, signal, subprocess, sys, tempfile, time

import bench_azure, bench_drill, bench_quick, bench_servers, bench_status
from bench_common import TICK, measure, stored, table, unprivileged

CASES = ("dump", "mysql", "mongodb", "azure", "stream", "many", "status", "drill", "storage")
# What the two modes measure with, unless the options say otherwise: GB of the large dump, and rounds.
FULL, QUICK = {"size": 2.0, "rounds": 3}, {"size": 1.0, "rounds": 2}


class Server:
    def __init__(self, folder, binaries):
        self.bin = pathlib.Path(binaries)
        self.folder = pathlib.Path(folder) / "server"
        self.socket = pathlib.Path(folder) / "s"
        who = unprivileged()
        for path in (self.folder, self.socket):
            path.mkdir()
            if who:
                os.chown(path, who["user"], who["group"])
        quiet = {"stdout": subprocess.DEVNULL, "cwd": "/", **who}
        subprocess.run([self.bin / "initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8",
                        "--locale=C", "--no-sync"], check=True, **quiet)
        settings = {"listen_addresses": "", "unix_socket_directories": str(self.socket), "fsync": "off",
                    "full_page_writes": "off", "shared_buffers": "1GB", "max_wal_size": "8GB", "autovacuum": "off",
                    "synchronous_commit": "off", "wal_level": "minimal", "max_wal_senders": "0", "port": "5432"}
        args = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        self.process = subprocess.Popen([self.bin / "postgres", "-D", self.folder / "data", *args],
                                        stderr=subprocess.DEVNULL, **quiet)
        for _ in range(100):
            if subprocess.run([self.bin / "pg_isready", "-q", "-h", self.socket], check=False).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit("the server did not start")

    def psql(self, database, *args):
        command = [self.bin / "psql", "-X", "-q", "-h", self.socket, "-U", "postgres", "-d", database,
                   "-v", "ON_ERROR_STOP=1", *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def cpu(self):
        """Processor seconds of the postmaster and of all backends that have ended."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11:15]) / TICK

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait()


class Bench:
    def __init__(self, options, folder):
        self.options, self.folder = options, pathlib.Path(folder)
        self.password = self.folder / "password"
        self.password.write_text("bench\n")
        self.password.chmod(0o600)
        self.env = {**os.environ, "RESTIC_PASSWORD_FILE": str(self.password), "PGHOST": str(self.folder / "s"),
                    "PGUSER": "postgres", "RESTIC_CACHE_DIR": str(self.folder / "cache"),
                    "PATH": f"{options.postgres}:{os.environ['PATH']}"}
        self.program, self.restic = os.path.abspath(options.program), options.restic

    @functools.cached_property
    def server(self):
        return Server(self.folder, self.options.postgres)

    def stop(self):
        if "server" in vars(self):
            self.server.stop()

    def source(self, databases):
        return f'''kind = "postgres"
host = "{self.server.socket}"
user = "postgres"
client_dirs = ["{self.options.postgres}"]
databases = {json.dumps(databases)}
globals = false
'''

    def config(self, name, source):
        path = self.folder / f"{name}.toml"
        path.write_text(f'''state_dir = "{self.folder}/state"
[repository]
location = "{self.folder}/{name}"
password_file = "{self.password}"
[sources.bench]
{source}''')
        return path

    def fresh(self, name):
        shutil.rmtree(self.folder / name, ignore_errors=True)

    def init(self, name, source):
        self.fresh(name)
        if name == "ours":
            subprocess.run([self.program, "--config", self.config(name, source), "init"], check=True,
                           stdout=subprocess.DEVNULL)
        else:
            subprocess.run([self.restic, "-r", self.folder / name, "init", "-q"], check=True, env=self.env)

    def ways(self, databases):
        """Name, repository, and command of one backup; the first is the minimum, which only reads the server."""
        folder, each = self.folder, " ".join(databases)
        restic = f"{self.restic} -q -r {folder}"
        return [
            ("pg_dump -Fc -Z0 > /dev/null", None, self.limit(databases)),
            ("pg_dump -Fc to a file, restic", "script",
             f"mkdir -p {folder}/dumps; for d in {each}; do pg_dump -Fc -f {folder}/dumps/$d.dump $d; done; "
             f"{restic}/script backup {folder}/dumps"),
            ("restic --stdin-from-command", "pipe",
             f"for d in {each}; do {restic}/pipe backup --stdin-filename $d.dump --stdin-from-command -- "
             f"pg_dump -Fc -Z0 $d; done"),
            ("tik-backup", "ours", f"{self.program} --config {folder}/ours.toml backup"),
        ]

    def limit(self, databases):
        return f"for d in {' '.join(databases)}; do pg_dump -Fc -Z0 $d > /dev/null; done"

    def compare_databases(self, title, databases, steps, rounds):
        self.compare(title, steps, rounds, self.server, self.source(databases), self.ways(databases))

    def compare(self, title, steps, rounds, server, source, ways):
        """In every round each tool runs all steps from an empty repository; medians are printed."""
        results = {}
        for number in range(rounds):
            for name, repository, _ in ways:
                if repository:
                    self.init(repository, source)
            shutil.rmtree(self.folder / "dumps", ignore_errors=True)
            for step, prepare in steps:
                prepare()
                # Another order in each round, so that no tool always profits from the one before it.
                for name, repository, command in ways[number % 4:] + ways[:number % 4]:
                    if repository == "script" and number > 0:
                        continue  # much slower than the others, so one run is enough
                    size = stored(self.folder / repository) if repository else (0, 0)
                    result = measure(server, command, self.env)
                    now = stored(self.folder / repository) if repository else (0, 0)
                    result["stored"], result["files"] = now[0] - size[0], now[1] - size[1]
                    results.setdefault((step, name), []).append(result)
                    print(f"  round {number + 1} {step:12} {name:32} {result['wall']:7.2f} s", file=sys.stderr)
        print(f"\n## {title}, medians of {rounds} (the script: once)\n")
        for step, _ in steps:
            table(step, {name: values for (which, name), values in results.items() if which == step})

    def fill(self):
        rows = int(self.options.size * 955_000)
        print(f"filling a database with about {self.options.size} GB of rows", file=sys.stderr)
        self.server.psql("postgres", "-c", "CREATE DATABASE bench")
        self.server.psql("bench", "-v", f"rows={rows}", "-f", str(pathlib.Path(__file__).with_name("bench.sql")))
        self.server.psql("bench", "-c", "VACUUM (FREEZE, ANALYZE)")

    def dump(self):
        self.fill()
        state = {"round": 0}

        def change():
            state["round"] += 1
            self.server.psql("bench", "-c", "UPDATE orders SET total = total + 1, status = 'changed' "
                             f"WHERE id % 100 = {state['round']}", "-c",
                             f"UPDATE events SET score = score + 1 WHERE id % 100 = {state['round']}")

        size = subprocess.run(self.limit(["bench"]).replace("> /dev/null", "| wc -c"), shell=True, env=self.env,
                              capture_output=True, text=True, check=True).stdout.strip()
        steps = [("first", lambda: None), ("unchanged", lambda: None), ("1 % changed", change)]
        self.compare_databases(f"One database, a dump of {int(size) / 1e9:.2f} GB", ["bench"], steps, self.options.rounds)
        self.server.psql("postgres", "-c", "DROP DATABASE bench")

    def many(self):
        count = self.options.databases
        print(f"filling {count} databases", file=sys.stderr)
        self.server.psql("postgres", "-c", "CREATE DATABASE seed")
        self.server.psql("seed", "-v", "rows=2000", "-f", str(pathlib.Path(__file__).with_name("bench.sql")))
        names = [f"db{number:03}" for number in range(count)]
        for number, name in enumerate(names):
            self.server.psql("postgres", "-c", f"CREATE DATABASE {name} TEMPLATE seed")
            self.server.psql(name, "-c", f"UPDATE orders SET details = details || jsonb_build_object('of', {number} * id)")
        steps = [("first", lambda: None), ("unchanged", lambda: None)]
        self.compare_databases(f"{count} databases", names, steps, 1)

    def mysql(self):
        bench_servers.mysql(self)

    def mongodb(self):
        bench_servers.mongodb(self)

    def azure(self):
        bench_azure.azure(self)

    def status(self):
        bench_status.status(self)

    def drill(self):
        bench_drill.both(self)

    def storage(self):
        if not bench_quick.each(self, bench_quick.TOGETHER["storage"], "Network storage", f"Medians of {self.options.rounds} rounds."):
            sys.exit("the case storage failed")

    def stream(self):
        size = self.options.stream
        print(f"filling a table that dumps to {size} GB", file=sys.stderr)
        self.server.psql("postgres", "-c", "CREATE DATABASE wide")
        # Long values are stored compressed: the table is small on disk, its dump is not.
        self.server.psql("wide", "-c", "CREATE TABLE wide AS SELECT i AS id, repeat(md5(i::text) || md5((-i)::text), 1024) "
                         f"AS body FROM generate_series(1, {int(size * 1e9 / 65536)}) i")
        self.init("ours", self.source(["wide"]))
        result = measure(self.server, f"{self.program} --config {self.folder}/ours.toml backup", self.env)
        own = result["memory"] / 2**20
        print(f"\n## A stream of {size} GB\n\n{result['wall']:.1f} s, {result['cpu']:.1f} s of CPU, peak memory of tik-backup, "
              f"pg_dump and psql together {own:.0f} MiB")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--postgres", required=True, type=pathlib.Path)
    parser.add_argument("--restic", required=True, help="the newest")
    parser.add_argument("--restic-old", help="the oldest that is supported")
    parser.add_argument("--quick", action="store_true", help="only ratios, in one table")
    parser.add_argument("--json", type=pathlib.Path, help="file for the rows of that table")
    parser.add_argument("--size", type=float, help="GB of the large dump")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--packs", type=int, default=10_000, help="packs of the large repository on CIFS")
    parser.add_argument("--mysql-size", type=float, default=60, help="MB of the dump that --quick restores with MariaDB and MySQL")
    parser.add_argument("--mongo-size", type=float, default=100, help="MB of documents that --quick restores")
    parser.add_argument("--databases", type=int, default=200)
    parser.add_argument("--stream", type=float, default=20.0, help="GB of the stream that memory is measured with")
    parser.add_argument("--mariadb", help="the server's program")
    parser.add_argument("--mysql", type=pathlib.Path, help="folder of MySQL's programs")
    parser.add_argument("--mongo", help="the program of a server that speaks MongoDB's protocol")
    parser.add_argument("--mongo-tools", help="folder of stock mongodump and mongorestore")
    parser.add_argument("--rclone", help="the program rclone")
    parser.add_argument("--blobs", type=int, default=100_000, help="blobs of the container")
    parser.add_argument("--items", type=int, default=10_000, help="items of the ledger")
    parser.add_argument("--backups", type=int, default=3, help="snapshots of each of them")
    parser.add_argument("--only", help=f"{', '.join(CASES)}; with --quick {', '.join([*bench_quick.PARTS, *bench_quick.TOGETHER])}")
    options = parser.parse_args()
    known = (*bench_quick.PARTS, *bench_quick.TOGETHER) if options.quick else CASES
    if options.only not in (None, *known):
        parser.error(f"--only takes {', '.join(known)}")
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def main():
    options = arguments()
    # Servers are stopped then, as after an error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    with tempfile.TemporaryDirectory(prefix="tik-bench-") as folder:
        os.chmod(folder, 0o755)
        bench = Bench(options, folder)
        try:
            if options.quick:
                sys.exit(0 if bench_quick.quick(bench) else 1)
            for case in CASES:
                if options.only in (None, case):
                    getattr(bench, case)()
        finally:
            bench.stop()


if __name__ == "__main__":
    main()
