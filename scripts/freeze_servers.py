"""The servers and the directory of a frozen set, with their content. See scripts/freeze."""
import hashlib, os, pathlib, socket, struct, subprocess, sys

import bench, bench_servers
from bench_mongo import bson

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures"


def shortened(text):
    """The content of the fixtures with fewer rows: a frozen set stays in the project permanently."""
    for many, few in (("32768", "300"), ("50000", "400"), ("200000", "2000"), ("1, 2000)", "1, 200)"),
                      ("1100000", "11000"), ("300000", "3000"), ("90000", "900"), ("8192", "256")):
        text = text.replace(many, few)
    return text


class Postgres(bench_servers.Process):
    def __init__(self, folder, programs):
        self.bin = pathlib.Path(programs)
        home = bench_servers.own_folder(pathlib.Path(folder) / "postgres")
        self.socket = home / "s"
        bench_servers.own_folder(self.socket)
        subprocess.run([self.bin / "initdb", "-N", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8",
                        "-D", home / "data"], check=True, stdout=subprocess.DEVNULL, cwd="/", **bench.unprivileged())
        settings = {"listen_addresses": "", "unix_socket_directories": self.socket, "fsync": "off", "max_connections": "50"}
        self.start([self.bin / "postgres", "-D", home / "data",
                    *(part for key, value in settings.items() for part in ("-c", f"{key}={value}"))], self.ready)

    def ready(self):
        return subprocess.run([self.bin / "pg_isready", "-q", "-h", self.socket], check=False).returncode == 0

    def run(self, program, *args, text=None):
        env = {**os.environ, "PGHOST": str(self.socket), "PGUSER": "postgres", "PGCLIENTENCODING": "UTF8", "LC_ALL": "C.UTF-8"}
        return subprocess.run([self.bin / program, *args], input=text, text=True, check=True, env=env,
                              stdout=subprocess.PIPE).stdout

    def sql(self, database, text):
        return self.run("psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-f", "-", "-d", f"dbname='{escaped(database)}'", text=text)

    def create(self, database):
        self.sql("postgres", f"CREATE DATABASE {quoted(database)} TEMPLATE template0")

    def databases(self):
        return self.sql("postgres", "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres' "
                                    "AND datname NOT LIKE 'scratch%' ORDER BY 1").splitlines()

    def dump(self, database):
        """As text, without the lines in which two dumps of the same content differ."""
        text = self.run("pg_dump", "-d", f"dbname='{escaped(database)}'")
        differs = ("\\restrict ", "\\unrestrict ", "-- Dumped from ", "-- Dumped by ")
        return "".join(line for line in text.splitlines(keepends=True) if not line.startswith(differs))

    def fill(self):
        self.sql("postgres", (FIXTURES / "roles.sql").read_text())
        for database in ("forum", 'a/b "c" \'d\' ☃', "empty", "gone", "scratch_1"):
            self.create(database)
        self.sql("forum", shortened((FIXTURES / "varied.sql").read_text()))
        self.sql("forum", "CREATE TABLE public.visits (id serial PRIMARY KEY, page text); "
                          "INSERT INTO public.visits (page) SELECT 'page ' || i FROM generate_series(1, 400) i")
        self.sql('a/b "c" \'d\' ☃', '''
            CREATE TYPE state AS ENUM ('open', 'closed');
            CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY (START 7 INCREMENT 3) PRIMARY KEY, state state,
                word varchar(9) CHECK (word IN ('a', 'b', 'it''s')), at timestamptz, amount numeric, tags text[], raw bytea);
            INSERT INTO orders (state, word, at, amount, tags, raw) VALUES
                ('open', 'a', '2026-02-03 04:05:06.789+02', 'NaN', '{a,"b \\"c\\"",NULL}', '\\x00ff'), (NULL, NULL, 'infinity', 1e30, NULL, '');
            CREATE MATERIALIZED VIEW open AS SELECT * FROM orders WHERE state = 'open';
            GRANT SELECT ON orders TO "tik Reader"; GRANT USAGE ON SCHEMA public TO tik_app;
            SELECT lo_from_bytea(4711, '\\x6c61726765');''')
        self.sql("gone", "CREATE TABLE t AS SELECT 1 AS only_in_the_first_run")
        self.sql("postgres", "ALTER DATABASE forum SET timezone = 'Europe/Vienna'; ALTER DATABASE forum CONNECTION LIMIT 42; "
                             "ALTER DATABASE forum OWNER TO tik_owner; ALTER ROLE tik_app IN DATABASE forum SET work_mem = '8MB'; "
                             "REVOKE CONNECT ON DATABASE empty FROM PUBLIC; GRANT CONNECT ON DATABASE empty TO tik_app")

    def change(self):
        self.sql("forum", "DELETE FROM public.visits WHERE id > 60")
        self.sql("postgres", "DROP DATABASE gone")
        self.create("fresh")
        self.sql("fresh", "CREATE TABLE t AS SELECT 2 AS only_in_the_second_run")


class MariaDb(bench_servers.Process):
    PASSWORD = "a password of the account backup"

    def __init__(self, folder, program):
        home = bench_servers.own_folder(pathlib.Path(folder) / "mariadb")
        self.socket = home / "s"
        subprocess.run(["mariadb-install-db", "--no-defaults", f"--datadir={home}/data", "--skip-test-db",
                        "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, cwd="/", **bench.unprivileged())
        self.start([program, "--no-defaults", f"--datadir={home}/data", f"--socket={self.socket}", "--skip-networking",
                    "--character-set-server=utf8mb4", "--max-allowed-packet=64M"], self.ready)

    def client(self, database, text):
        command = ["mariadb", "--no-defaults", "-u", "root", "-S", self.socket, "--default-character-set=utf8mb4", "--batch",
                   "--skip-column-names", *([f"--database={database}"] if database else [])]
        return subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.PIPE,
                              env={**os.environ, "LC_ALL": "C.UTF-8"}).stdout

    def ready(self):
        return subprocess.run(["mariadb", "--no-defaults", "-u", "root", "-S", self.socket, "-e", "SELECT 1"], check=False,
                              capture_output=True).returncode == 0

    def fill(self):
        self.client(None, f"""
            CREATE USER backup@localhost IDENTIFIED BY '{self.PASSWORD}';
            GRANT SELECT, SHOW VIEW, TRIGGER, EVENT, SHOW DATABASES, EXECUTE ON *.* TO backup@localhost;
            CREATE USER 'maker of things'@'%'; GRANT ALL ON *.* TO 'maker of things'@'%';
            CREATE DATABASE wiki CHARACTER SET utf8mb4; CREATE DATABASE `The ``odd`` one ☃`; CREATE DATABASE old_wiki;""")
        for name in ("mysql-common.sql", "mysql-mariadb1011.sql"):
            self.client("wiki", shortened((FIXTURES / name).read_text()))
        self.client("wiki", """
            CREATE TABLE pages (id int AUTO_INCREMENT PRIMARY KEY, title varchar(100));
            INSERT INTO pages (title) SELECT CONCAT('page ', seq) FROM seq_1_to_400;
            CREATE ROLE 'readers of it'; GRANT SELECT ON pages TO 'readers of it';
            CREATE USER 'it''s me'@'10.%' IDENTIFIED BY 'a password'; GRANT 'readers of it' TO 'it''s me'@'10.%'""")
        self.client("The `odd` one ☃", "CREATE TABLE `of, all` (`a b` int); INSERT INTO `of, all` VALUES (1), (NULL)")
        self.client("old_wiki", "CREATE TABLE t (i int); INSERT INTO t VALUES (1)")

    def change(self):
        self.client("wiki", "DELETE FROM pages WHERE id > 60; INSERT INTO pages (title) VALUES ('new')")

    def content(self):
        """Queries for each database with the server's answers: the objects, the rows and the checksum of each table."""
        found = {}
        for database in self.names("SELECT HEX(SCHEMA_NAME) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME NOT IN "
                                   "('mysql', 'sys', 'information_schema', 'performance_schema')"):
            questions = list(CONTENT)
            # A dump has six digits of a float, so the checksum of a table with floats differs after a restore.
            rounded = self.names("SELECT DISTINCT HEX(TABLE_NAME) FROM information_schema.COLUMNS "
                                 "WHERE TABLE_SCHEMA = DATABASE() AND DATA_TYPE = 'float'", database)
            for table in self.names("SELECT HEX(TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() "
                                    "AND TABLE_TYPE = 'BASE TABLE' ORDER BY TABLE_NAME", database):
                name = "`" + table.replace("`", "``") + "`"
                questions.append(f"SELECT COUNT(*) FROM {name}")
                if table not in rounded:
                    questions.append(f"CHECKSUM TABLE {name} EXTENDED")
            found[database] = [[question, self.client(database, question).removesuffix("\n")] for question in questions]
        return found

    def names(self, query, database=None):
        return [bytes.fromhex(line).decode() for line in self.client(database, query).splitlines()]


CONTENT = (
    "SELECT TABLE_TYPE, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() ORDER BY 1, BINARY TABLE_NAME",
    "SELECT ROUTINE_TYPE, ROUTINE_NAME, DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = DATABASE() ORDER BY 1, BINARY ROUTINE_NAME",
    "SELECT TRIGGER_NAME, ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = DATABASE() ORDER BY BINARY TRIGGER_NAME",
    "SELECT EVENT_NAME, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE() ORDER BY BINARY EVENT_NAME",
)


class MongoDb(bench_servers.MongoDb):
    def command(self, database, document):
        body = struct.pack("<I", 0) + b"\0" + bson({**document, "$db": database})
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body)
            answer = b""
            while len(answer) < 4 or len(answer) < struct.unpack_from("<i", answer)[0]:
                answer += connection.recv(65536)
        if b"\x01ok\0" + struct.pack("<d", 1.0) not in answer or b"writeErrors" in answer:
            sys.exit(f"the MongoDB server refused {document}: {answer}")

    def fill(self):
        """Returns the documents as hexadecimal BSON, by database and collection, in the order of their `_id`."""
        stored = {
            "library": {
                "books": [{"_id": n, "title": f"title {n}", "price": n * 1.25, "tags": ["a", n], "deep": {"none": None, "yes": n % 2 == 0},
                           "big": n << 40, "raw": bytes([n % 256, 0, 255])} for n in range(300)],
                "a b/c.d": [{"_id": "größe ☃", "": "an empty key"}]},
            "Größe": {"one": [{"_id": 1}]}}
        for database, collections in stored.items():
            for name, documents in collections.items():
                self.command(database, {"insert": name, "documents": documents})
        self.command("library", {"createIndexes": "books", "indexes": [
            {"key": {"title": 1, "price": -1}, "name": "by title", "unique": True}]})
        self.command("library", {"create": "nothing"})
        self.command("library", {"create": "cheap", "viewOn": "books", "pipeline": [{"$match": {"price": {"$lt": 10.0}}}]})
        return {database: {name: [bson(document).hex() for document in documents] for name, documents in collections.items()}
                for database, collections in stored.items()}


def make_folders(root):
    """Two directories: symbolic and hard links, odd names and modes, a pipe; and one that will vanish."""
    site, gone = root / "site", root / "gone"
    for folder in (site, gone, site / "a b ☃", site / "closed", site / "cache", site / "empty"):
        folder.mkdir(parents=True)
    files = {"index.html": b"<title>frozen</title>", "a b ☃/same": b"two names", "closed/secret": b"mode 0400", "empty file": b"",
             "large": hashlib.shake_256(b"large").digest(120_000), "left out.tmp": b"excluded", "cache/x": b"excluded",
             b"caf\xe9": b"a name that is no UTF-8"}
    for name, content in files.items():
        path = os.path.join(os.fsencode(site), os.fsencode(name))
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, 0o644)
        os.utime(path, ns=(1_600_000_000_123_456_789,) * 2)
    os.link(site / "a b ☃/same", site / "other name")
    os.symlink("index.html", site / "link")
    os.symlink("/nowhere/at all", site / "broken link")
    os.mkfifo(site / "pipe", 0o620)
    for name, mode in {"closed/secret": 0o400, "closed": 0o700, "a b ☃": 0o2751, "empty": 0o1777, "large": 0o755}.items():
        os.chmod(site / name, mode)
    (gone / "only in the first run").write_text("and then the folder is gone")


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def escaped(name):
    return name.replace("\\", "\\\\").replace("'", "\\'")
