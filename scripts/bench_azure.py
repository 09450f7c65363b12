"""The case `azure` of scripts/bench: a container of many small blobs, served by bench_blobs.js."""
import base64, json, pathlib, subprocess, sys, urllib.request

from bench_common import Process, measure, stored

ACCOUNT = "bench"
KEY = base64.b64encode(b"a key that nobody checks").decode()


class Blobs(Process):
    """The blob service; also counts what it has sent."""

    def __init__(self, count):
        program = pathlib.Path(__file__).with_name("bench_blobs.js")
        self.process = subprocess.Popen(["node", program, ACCOUNT, str(count)], stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline().strip()
        if not line:
            sys.exit("the blob service did not start")
        self.url = f"http://127.0.0.1:{line}"

    def ask(self, path):
        with urllib.request.urlopen(self.url + path) as answer:
            return json.load(answer)


def azure(run):
    folder, count = run.folder, run.options.blobs
    server = Blobs(count)
    try:
        rclone = (f"{run.options.rclone} --config /dev/null --azureblob-account {ACCOUNT} --azureblob-key {KEY} "
                  f"--azureblob-endpoint {server.url}/{ACCOUNT} --fast-list")
        files = {}
        for name in ("tenant", "client", "secret"):
            files[name] = folder / f"azure-{name}"
            files[name].write_text("bench\n")
            files[name].chmod(0o600)
        source = (f'kind = "azure-storage"\ntenant_id_file = "{files["tenant"]}"\nclient_id_file = "{files["client"]}"\n'
                  f'client_secret_file = "{files["secret"]}"\nauthority = "{server.url}"\nmanagement_endpoint = "{server.url}"\n')
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
                   "1 % new": lambda: server.ask(f"/grow?by={count // 100}")}
        for step, prepare in changed.items():
            prepare()
            for name, repository, command in ways:
                before = (server.ask("/sent")["sent"], stored(folder / repository)[0] if repository else 0)
                result = measure(server, command, run.env)
                sent = server.ask("/sent")["sent"] - before[0]
                added = (stored(folder / repository)[0] if repository else 0) - before[1]
                disk = stored(folder / "blobs")[0] if repository == "pipe" else 0
                print(f"| {step} | {name} | {result['wall']:.1f} s | {result['cpu']:.1f} s | {result['memory'] / 2**20:.0f} MiB "
                      f"| {sent / 2**20:.1f} MiB | {disk / 2**20:.0f} MiB | {added / 2**20:.1f} MiB |", flush=True)
    finally:
        server.stop()
