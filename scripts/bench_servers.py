"""The cases `mysql` and `mongodb` of scripts/bench: their servers, their data, and comparable tools."""
import pathlib, shutil, socket, subprocess, sys

from bench_common import Process, own_folder, unprivileged

DUMP = ("mariadb-dump --no-defaults -u root -S {socket} --single-transaction --quick --routines --triggers --events --hex-blob "
        "--no-tablespaces --default-character-set=utf8mb4 --skip-dump-date bench")


class MariaDb(Process):
    def __init__(self, folder, program):
        home = own_folder(pathlib.Path(folder) / "mariadb")
        self.socket = home / "s"
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={home}/data", "--skip-test-db",
                        "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, cwd="/", **unprivileged())
        self.start([program, "--no-defaults", f"--datadir={home}/data", f"--socket={self.socket}", "--skip-networking",
                    "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=2G", "--innodb-doublewrite=0",
                    "--innodb-log-file-size=1G", "--max-allowed-packet=1G"], self.ready)

    def ready(self):
        return subprocess.run(["mariadb", "--no-defaults", "-u", "root", "-S", self.socket, "-e", "SELECT 1"], check=False,
                              capture_output=True).returncode == 0

    def sql(self, text):
        subprocess.run(["mariadb", "--no-defaults", "-u", "root", "-S", self.socket], input=text, text=True, check=True,
                       stdout=subprocess.DEVNULL)

    def fill(self, gigabytes):
        # A row is about 230 bytes of the dump.
        rows = int(gigabytes * 1e9 / 230)
        self.sql(f"""CREATE DATABASE bench; USE bench;
            CREATE TABLE orders (id bigint PRIMARY KEY, customer int, total decimal(10,2), note varchar(200), created datetime,
                state enum('new','paid','sent'), token varbinary(32), KEY (customer));
            INSERT INTO orders SELECT seq, seq * 7919 % 100003, seq * 13 % 1000000 / 100,
                CONCAT('Order ', seq, ' of it''s customer: ', MD5(seq), ' ', REPEAT(CONV(seq * 31 % 9973, 10, 36), 1 + seq % 9)),
                '2020-01-01' + INTERVAL seq SECOND, 1 + seq % 3, UNHEX(SHA2(seq, 256)) FROM seq_1_to_{rows};""")

    def change(self, number):
        self.sql(f"UPDATE bench.orders SET total = total + 1, state = 'sent' WHERE id % 100 = {number}")


class MongoDb(Process):
    def __init__(self, folder, program):
        home = own_folder(pathlib.Path(folder) / "mongodb")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"mongodb://127.0.0.1:{self.port}"
        self.start([program, "--port", str(self.port), "--storage-path", f"{home}/data"], self.ready)

    def ready(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def fill(self, tools, gigabytes):
        """Loads documents of about 1 KB with stock mongorestore, from a file in its format."""
        import random, struct
        random.seed(2026)
        words = ["".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(3, 9))) for _ in range(5000)]

        def text(name, value):
            data = value.encode() + b"\0"
            return b"\x02" + name + b"\0" + struct.pack("<i", len(data)) + data

        def documents():
            for number in range(int(gigabytes * 1e9 / 1000)):
                body = (b"\x10_id\0" + struct.pack("<i", number) + text(b"title", " ".join(random.choices(words, k=6)))
                        + b"\x01score\0" + struct.pack("<d", random.random()) + text(b"body", " ".join(random.choices(words, k=130))))
                yield struct.pack("<i", len(body) + 5) + body + b"\0"

        command = [tools / "mongorestore", "--quiet", "--uri", self.uri, "--db", "bench", "--collection", "articles", "-"]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as restore:
            for document in documents():
                restore.stdin.write(document)
            restore.stdin.close()
        if restore.returncode != 0:
            sys.exit("mongorestore could not fill the server")


def mysql(run):
    """`run` is the Bench: its directory, its repositories, its comparison."""
    server = MariaDb(run.folder, run.options.mariadb)
    try:
        print(f"filling a MariaDB database with about {run.options.size} GB of rows", file=sys.stderr)
        server.fill(run.options.size)
        dump = DUMP.format(socket=server.socket)
        source = f'kind = "mysql"\nhost = "{server.socket}"\nuser = "root"\ndatabases = ["bench"]\nglobals = false\n'
        ways = [
            ("dump, gzip to a file, restic", "script",
             f"mkdir -p {run.folder}/dumps; {dump} | gzip > {run.folder}/dumps/bench.sql.gz; "
             f"{run.restic} -q -r {run.folder}/script backup {run.folder}/dumps"),
            ("restic --stdin-from-command", "pipe",
             f"{run.restic} -q -r {run.folder}/pipe backup --stdin-filename bench.sql --stdin-from-command -- {dump}"),
            ("tik-backup", "ours", f"{run.program} --config {run.folder}/ours.toml backup"),
        ]
        rounds = {"number": 0}

        def change():
            rounds["number"] += 1
            server.change(rounds["number"])

        steps = [("first", lambda: None), ("unchanged", lambda: None), ("1 % changed", change)]
        run.compare("MariaDB, one database", steps, run.options.rounds, server, source,
                    [("mariadb-dump > /dev/null", None, f"{dump} > /dev/null"), *ways])
    finally:
        server.stop()


def mongodb(run):
    tools = run.options.mongo_tools
    if not tools or not (pathlib.Path(tools) / "mongodump").exists():
        print("SKIPPED: the case mongodb needs stock mongodump and mongorestore in PATH", file=sys.stderr)
        return
    tools = pathlib.Path(tools)
    server = MongoDb(run.folder, run.options.mongo)
    try:
        size = run.options.size / 2
        print(f"filling a MongoDB database with about {size} GB of documents", file=sys.stderr)
        server.fill(tools, size)
        uri_file = run.folder / "mongodb-uri"
        uri_file.write_text(server.uri)
        uri_file.chmod(0o600)
        dump = f"{tools}/mongodump --quiet --uri {server.uri} --db bench"
        ways = [
            ("mongodump --gzip, restic", "script",
             f"rm -rf {run.folder}/dumps; {dump} --gzip --out {run.folder}/dumps; "
             f"{run.restic} -q -r {run.folder}/script backup {run.folder}/dumps"),
            ("restic --stdin-from-command", "pipe",
             f"{run.restic} -q -r {run.folder}/pipe backup --stdin-filename bench.archive --stdin-from-command -- {dump} --archive"),
            ("tik-backup", "ours", f"{run.program} --config {run.folder}/ours.toml backup"),
        ]
        steps = [("first", lambda: None), ("unchanged", lambda: None)]
        source = f'kind = "mongodb"\nuri_file = "{uri_file}"\ndatabases = ["bench"]\n'
        run.compare("MongoDB's wire protocol, one database", steps, run.options.rounds, server, source,
                    [("mongodump > /dev/null", None, f"{dump} --archive > /dev/null"), *ways])
    finally:
        server.stop()
        shutil.rmtree(run.folder / "dumps", ignore_errors=True)
