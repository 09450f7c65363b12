"""The case `azure` of scripts/bench: a container of many small blobs, in Azurite."""
import base64, http.server, json, os, pathlib, random, shutil, subprocess, sys, threading

import bench, bench_servers

ACCOUNT = "bench"
KEY = base64.b64encode(b"the key of the bench account, padded to be long").decode()


class Azurite(bench_servers.Process):
    """The emulator; also counts what it has sent."""

    def __init__(self, folder, root):
        home = bench_servers.own_folder(pathlib.Path(folder) / "azurite")
        log = home / "log"
        program = pathlib.Path(root) / "node_modules/azurite/dist/src/blob/main.js"
        os.environ["AZURITE_ACCOUNTS"] = f"{ACCOUNT}:{KEY}"
        self.process = subprocess.Popen(
            ["node", "--max-old-space-size=8192", program, "--blobHost", "127.0.0.1", "--blobPort", "0", "--location", home,
             "--disableTelemetry", "--silent", "--skipApiVersionCheck"], stdout=open(log, "w"), stderr=subprocess.STDOUT, cwd=home,
            env={**os.environ, "HOME": str(home)})
        for _ in range(600):
            line = next((l for l in log.read_text().splitlines() if "successfully listens on" in l), None)
            if line:
                self.port = int(line.rsplit(":", 1)[1].strip().rstrip("/"))
                self.endpoint = f"http://127.0.0.1:{self.port}/{ACCOUNT}"
                return
            threading.Event().wait(0.1)
        sys.exit("Azurite did not start")

    def sent(self):
        fields = dict(line.split(": ") for line in pathlib.Path(f"/proc/{self.process.pid}/io").read_text().splitlines())
        return int(fields["wchar"])


def tenant(endpoint):
    """Tokens and Resource Manager with one account, as little of them as our program asks for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            path = self.path.split("?")[0]
            if path.endswith("/token"):
                body = {"token_type": "Bearer", "expires_in": 3600, "access_token": "bench"}
            elif path == "/subscriptions":
                body = {"value": [{"subscriptionId": "s", "displayName": "Bench", "state": "Enabled"}]}
            elif path.endswith("/listKeys"):
                body = {"keys": [{"keyName": "key1", "value": KEY, "permissions": "FULL"}]}
            else:
                name = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/" + ACCOUNT
                body = {"value": [{"id": name, "name": ACCOUNT, "kind": "StorageV2",
                                   "properties": {"primaryEndpoints": {"blob": endpoint + "/"}}}]}
            data = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


def fill(folder, rclone, first, count):
    """Uploads `count` blobs of 1 to 8 KiB in folders of a hundred."""
    random.seed(first)
    local = folder / "fill"
    for number in range(first, first + count):
        path = local / f"{number // 10000:03}" / f"{number // 100:06}" / f"photo {number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.randbytes(random.randint(1024, 8192)))
    subprocess.run(f"{rclone} copy {local} :azureblob:bench --transfers 32 --checkers 8 --no-traverse", shell=True, check=True)
    shutil.rmtree(local)


def azure(run):
    folder, count = run.folder, run.options.blobs
    server = Azurite(folder, run.options.azurite)
    try:
        rclone = (f"{run.options.rclone} --config /dev/null --azureblob-account {ACCOUNT} --azureblob-key {KEY} "
                  f"--azureblob-endpoint {server.endpoint}")
        print(f"filling a container with {count} blobs", file=sys.stderr)
        subprocess.run(f"{rclone} mkdir :azureblob:bench", shell=True, check=True)
        fill(folder, rclone, 0, count)
        files = {}
        for name in ("tenant", "client", "secret"):
            files[name] = folder / f"azure-{name}"
            files[name].write_text("bench\n")
            files[name].chmod(0o600)
        url = tenant(server.endpoint)
        source = (f'kind = "azure-storage"\ntenant_id_file = "{files["tenant"]}"\nclient_id_file = "{files["client"]}"\n'
                  f'client_secret_file = "{files["secret"]}"\nauthority = "{url}"\nmanagement_endpoint = "{url}"\n')
        ways = [
            ("rclone lsf -R > /dev/null", None, f"{rclone} lsf -R --format pst :azureblob:bench > /dev/null"),
            ("rclone sync to disk, restic", "pipe",
             f"{rclone} sync :azureblob:bench {folder}/blobs --transfers 16 --checkers 16; "
             f"{run.restic} -q -r {folder}/pipe backup {folder}/blobs"),
            ("tik-backup", "ours", f"{run.program} --config {folder}/ours.toml backup"),
        ]
        for _, repository, _ in ways:
            if repository:
                run.init(repository, source)
        print(f"\n## {count} blobs of 1 to 8 KiB, once\n")
        print("| step | | wall | CPU | memory | downloaded | local disk | stored |\n|---|---|---|---|---|---|---|---|")
        changed = {"first": lambda: None, "unchanged": lambda: None,
                   "1 % new": lambda: fill(folder, rclone, count, count // 100)}
        for step, prepare in changed.items():
            prepare()
            for name, repository, command in ways:
                before = (server.sent(), bench.stored(folder / repository)[0] if repository else 0)
                result = bench.measure(server, command, run.env)
                sent, stored = server.sent() - before[0], (bench.stored(folder / repository)[0] if repository else 0) - before[1]
                disk = bench.stored(folder / "blobs")[0] if repository == "pipe" else 0
                print(f"| {step} | {name} | {result['wall']:.1f} s | {result['cpu']:.1f} s | {result['memory'] / 2**20:.0f} MiB "
                      f"| {sent / 2**20:.1f} MiB | {disk / 2**20:.0f} MiB | {stored / 2**20:.1f} MiB |", flush=True)
    finally:
        server.stop()
