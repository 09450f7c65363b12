"""Parts `cifs`, `sftp` and `sshfs` of scripts/bench --quick: network storage beside stock restic, old and new.

SFTP and SSHFS are 20 ms away, and times are compared; on a CIFS mount, requests are counted, see bench_cifs.sh.
"""
import contextlib, getpass, os, pathlib, shutil, socket, subprocess, sys, time

from bench_ratios import Missing, alternate, in_requests, progress, seconds

# Each direction takes half of it.
ROUND_TRIP = 20
# MiB of the directory that is backed up, in files of 4 MiB that cannot be compressed.
DATA, FILE = 64, 4
NONE_WORSE = "≤ 1"


class Ours:
    def __init__(self, run, env, name, lines):
        self.command = f"{run.program} --config {run.folder}/{name}.toml"
        (run.folder / f"{name}.toml").write_text(
            f'state_dir = "{run.folder}/{name}-state"\n[repository]\n{lines}\npassword_file = "{run.password}"\n'
            f'[sources.bench]\nkind = "directory"\npaths = ["{run.folder}/tree"]\n')
        self.env = env
        self.steps = {name: f"{self.command} {name}" for name in ("init", "backup", "check", "prune")}


class Restic:
    def __init__(self, run, env, program, location, folder):
        """`folder` is the repository without the network, for what is not measured."""
        self.program, self.command = program, f"{program} -q {location}"
        self.env = {**env, "RESTIC_CACHE_DIR": f"{run.folder}/cache-{folder.name}"}
        self.steps = {name: f"{self.command} {name}" for name in ("check", "prune")}
        self.steps["init"] = f"{program} -q -r {folder} init"
        self.steps["backup"] = f"{self.command} backup {run.folder}/tree"


class Sftp:
    """A server on this machine, for the user that runs this, behind a delay; and clients that know its key."""

    def __init__(self, run):
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ["PATH"])
        if not sshd or not shutil.which("ssh"):
            raise Missing("there is no SSH server and client (openssh-server, openssh-client)")
        self.folder, self.processes = run.folder / "ssh", []
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.storage = self.folder / "storage"
        self.storage.mkdir()
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / key], check=True)
        # The user's own settings and list of known hosts are neither used nor changed.
        wrapper = self.folder / "ssh"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F /dev/null -o StrictHostKeyChecking=no '
                           '-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$@"\n')
        wrapper.chmod(0o755)
        self.env = {**run.env, "PATH": f"{self.folder}:{run.env['PATH']}"}
        self.target = f"{getpass.getuser()}@127.0.0.1"
        try:
            self.port = self.behind_delay(self.server(sshd))
        except BaseException:
            self.stop()
            raise

    def server(self, sshd):
        port = free_port()
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        options = {"Port": port, "ListenAddress": "127.0.0.1", "HostKey": self.folder / "host", "PidFile": "none",
                   "AuthorizedKeysFile": self.folder / "user.pub", "StrictModes": "no", "UsePAM": "no",
                   "PermitRootLogin": "yes", "Subsystem": "sftp internal-sftp", "MaxStartups": "100"}
        self.start([sshd, "-D", "-e", "-f", "/dev/null", *(f"-o{name}={value}" for name, value in options.items())])
        wait_for(port, "the SSH server")
        return port

    def behind_delay(self, port):
        delay = pathlib.Path(__file__).with_name("bench_delay.py")
        proxy = self.start([sys.executable, delay, str(port), str(ROUND_TRIP / 2)], stdout=subprocess.PIPE, text=True)
        return int(proxy.stdout.readline())

    def start(self, command, **more):
        self.processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL, **more))
        return self.processes[-1]

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait()


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def wait_for(port, what):
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit(f"{what} did not start")


def programs(run):
    """Stock restic by its version, the newest first."""
    found = {}
    for program in (run.options.restic, run.options.restic_old):
        if program and os.access(program, os.X_OK):
            version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.split()[1]
            found[f"restic {'.'.join(version.split('.')[:2])}"] = program
    if not found:
        raise Missing(f"there is no restic {run.options.restic}")
    return found


def new_data(run, files):
    tree = run.folder / "tree"
    tree.mkdir(exist_ok=True)
    for number in files:
        (tree / f"{number:03}").write_bytes(os.urandom(FILE << 20))


def compare(run, ratios, place, tools, fresh):
    """Each step with each tool, ours last; `fresh` makes nothing of an earlier step known to the mount."""
    new_data(run, range(DATA // FILE))

    def ran(tool, step):
        fresh()
        return seconds(tool.steps[step], tool.env)

    def step(name, command, rounds, goal, who=tools):
        walls = alternate(rounds, {one: lambda tool=tool: ran(tool, command) for one, tool in who.items()})
        ours = walls.pop("tik-backup")
        note = ", once" if rounds == 1 else ""
        ratios.row(f"{place}: {name}{note}", ours, walls, goal)

    for tool in tools.values():
        ran(tool, "init")
    step(f"first backup of {DATA} MiB", "backup", 1, NONE_WORSE)
    step("unchanged run", "backup", run.options.rounds, "≤ 1.5")
    # Old and new restic take half a minute each for what follows, and about the same.
    rounds, slow = run.options.rounds, tools
    if run.options.quick:
        rounds, slow = 1, {name: tools[name] for name in (next(iter(tools)), "tik-backup")}
    step("`check`", "check", rounds, NONE_WORSE, slow)
    # A quarter of the data is in no snapshot afterwards.
    new_data(run, range(0, DATA // FILE, 4))
    for tool in slow.values():
        ran(tool, "backup")
    newest = next(iter(tools.values()))
    for folder in sorted((run.folder / "ssh" / "storage").iterdir()):
        progress(f"forgetting the first snapshot in {folder.name}")
        seconds(f"{newest.program} -q -r {folder} forget --keep-last 1 --group-by paths", newest.env)
    step("`prune` of a quarter", "prune", 1, NONE_WORSE, slow)


def sftp(run, ratios):
    server = Sftp(run)
    try:
        lines = (f'location = "sftp://{server.target}:{server.port}{server.storage}/ours"\n'
                 f'options = {{ key = "{server.folder}/user", known_hosts_strategy = "accept" }}')
        connection = f"'ssh -p {server.port} -i {server.folder}/user {server.target} -s sftp'"
        tools = {}
        for name, program in programs(run).items():
            folder = server.storage / name.replace(" ", "-")
            location = f"-o sftp.command={connection} -r sftp:{server.target}:{folder}"
            tools[name] = Restic(run, server.env, program, location, folder)
        tools["tik-backup"] = Ours(run, server.env, "sftp", lines)
        compare(run, ratios, f"SFTP, {ROUND_TRIP} ms away", tools, lambda: None)
    finally:
        server.stop()


def sshfs(run, ratios):
    if not shutil.which("sshfs"):
        raise Missing("there is no sshfs")
    server = Sftp(run)
    point = run.folder / "sshfs"
    point.mkdir(exist_ok=True)
    mount = (f"sshfs {server.target}:{server.storage} {point} -p {server.port} "
             f"-o IdentityFile={server.folder}/user,StrictHostKeyChecking=no,UserKnownHostsFile=/dev/null")

    def unmount():
        if os.path.ismount(point):
            command = ["umount", point] if os.geteuid() == 0 else ["fusermount", "-u", point]
            subprocess.run(command, check=True)

    def fresh():
        unmount()
        seconds(mount, server.env)

    try:
        mounted = subprocess.run(mount.split(), env=server.env, capture_output=True, text=True, check=False)
        if mounted.returncode != 0:
            raise Missing(f"sshfs cannot mount here: {mounted.stderr.strip()}")
        tools = {}
        for name, program in programs(run).items():
            folder = server.storage / name.replace(" ", "-")
            tools[name] = Restic(run, server.env, program, f"-r {point}/{folder.name}", folder)
        tools["tik-backup"] = Ours(run, server.env, "sshfs", f'location = "{point}/ours"\nmount = "{point}"\nmin_free = "0B"')
        compare(run, ratios, f"SSHFS, {ROUND_TRIP} ms away", tools, fresh)
    finally:
        with contextlib.suppress(subprocess.SubprocessError):
            unmount()
        server.stop()


def cifs(run, ratios):
    """Counts requests in a user-mode Linux kernel, as the tests of faults do: `boot` is theirs."""
    here = pathlib.Path(__file__).parent
    tests = here.parent / "tests/it/failure/cifs"
    for tool, package in {"linux.uml": "user-mode-linux", "smbd": "samba", "mount.cifs": "cifs-utils", "modprobe": "kmod"}.items():
        if not shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
            raise Missing(f"there is no {tool} ({package})")
    guest = run.folder / "guest"
    guest.mkdir()
    shutil.copy(here / "bench_packs.py", guest)
    lines = [f"PACKS={run.options.packs}", f"PYTHON={sys.executable}"]
    restics = programs(run)
    for number, program in enumerate(restics.values()):
        shutil.copy(program, guest / f"restic-{number}")
    lines.append(f"RESTICS='{' '.join(f'restic-{number}' for number in range(len(restics)))}'")
    (guest / "settings").write_text("\n".join(lines) + "\n")
    progress("starting a kernel with CIFS")
    subprocess.run(["bash", tests / "boot", guest, run.program, here / "bench_cifs.sh", "900"], check=True)
    printed = (guest / "printed").read_text(errors="replace")
    if "BOOTED" not in printed:
        raise Missing("a user-mode kernel does not start here: " + (guest / "console").read_text(errors="replace")[-300:])
    if "DONE" not in printed.splitlines():
        sys.exit(f"counting requests on CIFS failed:\n{printed[-3000:]}")
    counts = {}
    for line in printed.splitlines():
        if line.startswith("COUNT "):
            _, count, tool, step = line.split(maxsplit=3)
            counts.setdefault(step, {})[tool] = int(count)
    names = {f"restic-{number}": name for number, name in enumerate(restics)}
    for step, found in counts.items():
        goal = "≤ 300 requests" if step.startswith("unchanged run") else NONE_WORSE
        ratios.row(f"CIFS: {step}", found.pop("ours"), {names[tool]: count for tool, count in found.items()}, goal, in_requests)
