"""Makes a frozen set with an existing program; see scripts/freeze. Prints the program's output."""
import argparse, contextlib, gzip, json, os, pathlib, shutil, sqlite3, subprocess, sys, tarfile, tempfile, time

import freeze_azure, freeze_servers

SECRETS = {
    "repository-password": "the password of the frozen repository",
    "mariadb-password": freeze_servers.MariaDb.PASSWORD,
    # Credentials that the fake of Azure in the tests accepts.
    "azure-tenant": "11111111-2222-3333-4444-555555555555",
    "azure-client": "99999999-8888-7777-6666-555555555555",
    "azure-secret": "the~client.secret-8Q+/&=%",
}


class Set:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.content = work / "content"
        self.secrets, self.expected = self.content / "secrets", self.content / "expected"
        for folder in (self.content, self.secrets, self.expected):
            folder.mkdir()
        freeze_servers.make_folders(self.content / "files")
        self.postgres = freeze_servers.Postgres(work, options.postgres)
        self.mariadb = freeze_servers.MariaDb(work, options.mariadb)
        self.mongodb = freeze_servers.MongoDb(work, options.mongo)
        self.azurite = freeze_azure.Azurite(work, options.azurite)
        self.tenant = freeze_azure.Tenant(self.azurite)

    def stop(self):
        for server in (self.postgres, self.mariadb, self.mongodb, self.azurite):
            server.stop()

    def secret(self, name, text):
        path = self.secrets / name
        path.write_text(text)
        path.chmod(0o600)

    def configure(self):
        for name, text in {**SECRETS, "mongodb-uri": f"{self.mongodb.uri}/?directConnection=true",
                           "webhook-url": f"{self.tenant.url}/hook"}.items():
            self.secret(name, text)
        places = {
            "STATE": self.content / "state", "REPOSITORY": self.content / "repository", "SECRETS": self.secrets,
            "FILES": self.content / "files", "POSTGRES": self.postgres.socket, "POSTGRES_PROGRAMS": self.options.postgres,
            "MARIADB": self.mariadb.socket, "MARIADB_PROGRAMS": pathlib.Path(shutil.which("mariadb-dump")).parent,
            "MONGOD": self.options.mongo, "AZURE": self.tenant.url}
        text = pathlib.Path(__file__).with_name("freeze.toml").read_text()
        for name, place in places.items():
            text = text.replace(f"@{name}@", str(place))
        self.config = self.work / "config.toml"
        self.config.write_text(text)

    def run(self, code, *args, keep=None):
        """Runs the program, which must exit with this code; `keep` is the file of the set for its output."""
        print("==> tik-backup", *args, flush=True)
        result = subprocess.run([self.options.program, "--config", self.config, "--json", *args], text=True,
                                stdout=subprocess.PIPE, check=False, env={**os.environ, "TZ": "UTC"})
        if result.returncode != code:
            sys.exit(f"it ended with {result.returncode} instead of {code}:\n{result.stdout}")
        if keep:
            self.keep(keep, json.loads(result.stdout) if result.stdout.strip() else None)

    def keep(self, name, content):
        text = json.dumps(content, indent=1, ensure_ascii=False)
        # No names of this machine remain in files that tests compare with.
        (self.expected / f"{name}.json").write_text(text.replace(str(self.work), "@WORK@") + "\n")

    def make(self):
        self.postgres.fill()
        self.mariadb.fill()
        documents = self.mongodb.fill()
        blobs = self.azurite.fill()
        self.configure()
        self.run(0, "config", "check")
        self.run(0, "init")
        self.run(0, "backup", keep="backup-1")
        self.run(0, "drill", "shop", "disk", keep="drill-1")
        # Ages of files count from two seconds before the backup.
        time.sleep(2.5)
        self.postgres.change()
        self.mariadb.change()
        shutil.rmtree(self.content / "files/gone")
        self.run(3, "backup", keep="backup-2")
        self.run(0, "accept", "shop/forum", keep="accept")
        self.run(0, "drill", "--all", keep="drill-2")
        # A database vanishes and the alert cannot be sent: the message is spooled.
        self.keep("messages", self.tenant.messages)
        self.secret("webhook-url", "http://127.0.0.1:9/hook")
        self.mariadb.client(None, "DROP DATABASE old_wiki")
        self.run(1, "backup", "wiki", keep="backup-3")
        self.run(0, "snapshots", keep="snapshots")
        self.run(0, "status", keep="status")
        self.run(0, "check", "--read-data", keep="check")
        databases = self.postgres.databases()
        self.keep("postgres", {name: self.postgres.dump(name) for name in databases})
        self.keep("mariadb", self.mariadb.content())
        self.keep("mongodb", documents)
        self.keep("blobs", {container: {name: content.hex() for name, content in blobs.items()}
                            for container, blobs in blobs.items()})
        self.keep("files", {name: content.hex() for name, content in self.tenant.files.items()})

    def forget_place(self):
        """A history belongs to the location of its repository. Without a recorded location it belongs to the first one it is used for."""
        (self.content / "state/repositories.json").unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(self.content / "state/history.db")) as history, history:
            history.execute("DELETE FROM meta WHERE key = 'repository'")

    def pack(self):
        self.forget_place()
        folder = self.options.folder
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(pathlib.Path(__file__).with_name("freeze.toml"), folder / "config.toml")
        with gzip.GzipFile(folder / "content.tar.gz", "wb", mtime=0) as packed, tarfile.open(
                fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for name in sorted(os.listdir(self.content)):
                archive.add(self.content / name, name, filter=nobodys)
        size = (folder / "content.tar.gz").stat().st_size
        print(f"{folder}: {size / 1024:.0f} KiB")


def nobodys(entry):
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def main():
    parser = argparse.ArgumentParser()
    for name in ("program", "postgres", "mariadb", "mongo", "azurite", "folder"):
        parser.add_argument(f"--{name}", required=True, type=pathlib.Path)
    options = parser.parse_args()
    # Servers run as another user, who needs access to their directories; a socket's path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tik-freeze-", dir="/tmp") as work:
        os.chmod(work, 0o755)
        made = Set(options, pathlib.Path(work))
        try:
            made.make()
        finally:
            made.stop()
        made.pack()


main()
