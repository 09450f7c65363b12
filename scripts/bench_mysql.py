"""Parts `mariadb` and `mysql` of scripts/bench --quick: restores and drills, beside one client that loads the same dump."""
import pathlib, shutil, subprocess

import bench_drill
from bench_common import Process, own_folder, unprivileged
from bench_ratios import Missing, alternate, progress, seconds
from bench_servers import MariaDb

TABLES = ("accounts", "orders", "parts", "visits")
# A row is about this long in a dump.
ROW = 220


class MySql(Process):
    """MySQL of its own folder, with the settings of the class MariaDb."""

    def __init__(self, folder, programs):
        home = own_folder(pathlib.Path(folder) / "mysql")
        self.socket, self.client = home / "s", f"{programs}/mysql --no-defaults -u root -S {home}/s"
        self.dump = f"{programs}/mysqldump --no-defaults -u root -S {self.socket} --set-gtid-purged=OFF"
        data = f"--datadir={home}/data"
        subprocess.run([programs / "mysqld", "--no-defaults", "--initialize-insecure", "--skip-log-bin", data], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **unprivileged())
        self.start([programs / "mysqld", "--no-defaults", data, f"--socket={self.socket}", f"--pid-file={home}/pid",
                    "--skip-networking", "--mysqlx=OFF", "--skip-log-bin", "--secure-file-priv=",
                    "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=2G", "--innodb-doublewrite=0",
                    "--innodb-redo-log-capacity=1G", "--max-allowed-packet=1G"], self.ready)

    def ready(self):
        return subprocess.run([*self.client.split(), "-e", "SELECT 1"], check=False, capture_output=True).returncode == 0

    def sql(self, text):
        subprocess.run(self.client.split(), input=text, text=True, check=True, stdout=subprocess.DEVNULL)


def fill(server, megabytes):
    """Tables with three secondary keys, whose values come in no order: each row goes to other pages of each of them."""
    rows = int(megabytes * 1e6 / ROW / len(TABLES))
    server.sql("CREATE DATABASE bench; USE bench; CREATE TABLE numbers (n int PRIMARY KEY); INSERT INTO numbers VALUES (0)")
    count = 1
    while count < rows:
        server.sql(f"USE bench; INSERT INTO numbers SELECT n + {count} FROM numbers WHERE n + {count} < {rows}")
        count *= 2
    for name in TABLES:
        server.sql(f"""USE bench;
            CREATE TABLE {name} (id bigint PRIMARY KEY, owner int, code char(16), seen bigint, state enum('new','paid','sent'),
                note varchar(255), KEY (owner), KEY (code), KEY (seen));
            INSERT INTO {name} SELECT n, CONV(LEFT(SHA2(CONCAT('{name} ', n), 256), 7), 16, 10),
                LEFT(SHA2(CONCAT(n, ' {name}'), 256), 16), CONV(LEFT(SHA2(CONCAT(n, '{name}', n), 256), 12), 16, 10), 1 + n % 3,
                CONCAT('Row ', n, ' of {name}, it''s ', SHA2(n, 224), ' ', REPEAT(CONV(n * 31 % 9973, 10, 36), 10 + n % 30))
            FROM numbers ORDER BY n;""")
    server.sql("DROP TABLE bench.numbers")


def compare(run, ratios, title, server, client, dump, more=("", "")):
    """`client` and `dump` are the vendor's; `more` has lines for the source and for the drills of its server."""
    fill(server, run.options.mysql_size)
    script = run.folder / "bench.sql"
    seconds(f"{dump} --single-transaction --quick --routines --triggers --events --hex-blob --no-tablespaces "
            f"--skip-dump-date --result-file={script} bench", run.env)
    size = f"{script.stat().st_size / 1e6:.0f} MB"
    progress(f"a dump of {size}")
    run.init("ours", f'kind = "mysql"\nhost = "{server.socket}"\nuser = "root"\ndatabases = ["bench"]\nglobals = false\n{more[0]}')
    ours = f"{run.program} --config {run.folder}/ours.toml"
    seconds(f"{ours} backup", run.env)

    def into(command):
        server.sql("DROP DATABASE IF EXISTS copy; CREATE DATABASE copy")
        wall = seconds(command, run.env)
        server.sql("DROP DATABASE copy")
        return wall

    walls = alternate(run.options.rounds, {
        "one client": lambda: into(f"{client} copy < {script}"),
        "restore": lambda: into(f"{ours} restore bench/bench --into copy"),
        "drill": lambda: bench_drill.drill(run, "bench/bench", more[1])[0][1],
    })
    script.unlink()
    base = {f"one `{pathlib.Path(client.split()[0]).name}`": walls["one client"]}
    ratios.row(f"{title} `restore`, {size}, 3 secondary keys a table", walls["restore"], base, "≤ 0.6")
    ratios.row(f"{title} `drill`, {size}, 3 secondary keys a table", walls["drill"], base, "≤ 0.4")


def mariadb(run, ratios):
    if not pathlib.Path(run.options.mariadb or "").is_file():
        raise Missing(f"there is no server {run.options.mariadb}")
    server = MariaDb(run.folder, run.options.mariadb)
    common = f"--no-defaults -u root -S {server.socket}"
    try:
        compare(run, ratios, "MariaDB", server, f"mariadb {common}", f"mariadb-dump {common}")
    finally:
        server.stop()
        shutil.rmtree(run.folder / "mariadb", ignore_errors=True)


def mysql(run, ratios):
    programs = run.options.mysql
    if not programs or not (programs / "mysqld").exists():
        raise Missing(f"there is no MySQL in {programs}")
    server = MySql(run.folder, programs)
    # What it needs beside what installations have lies there.
    files = programs.parent / "root"
    lines = f'server_dirs = ["{programs}"]\n' + (f'server_files = ["{files}"]\n' if files.exists() else "")
    try:
        compare(run, ratios, "MySQL", server, server.client, server.dump, (f'client_dirs = ["{programs}"]\n', lines))
    finally:
        server.stop()
        shutil.rmtree(run.folder / "mysql", ignore_errors=True)
