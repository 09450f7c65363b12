"""Parts that the cases of scripts/bench share: servers of another user, measuring a command, and the table of results."""
import os, pathlib, pwd, signal, statistics, subprocess, sys, threading, time

TICK = os.sysconf("SC_CLK_TCK")


def unprivileged():
    """initdb refuses root: the server then belongs to another user."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        except KeyError:
            continue
    sys.exit("no user postgres or nobody to run the server as")


class Process:
    """A server whose processor time can be measured."""

    def start(self, command, ready):
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                                        **unprivileged())
        for _ in range(300):
            if ready():
                return
            time.sleep(0.1)
        sys.exit(f"{command[0]} did not start")

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(int(field) for field in fields[11:13]) / TICK

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def own_folder(path):
    path.mkdir()
    who = unprivileged()
    if who:
        os.chown(path, who["user"], who["group"])
    return path


def rss(pid):
    """Resident bytes of a process and all its descendants."""
    total, todo = 0, [pid]
    while todo:
        pid = todo.pop()
        try:
            total += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
            for task in os.listdir(f"/proc/{pid}/task"):
                todo += map(int, pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split())
        except (OSError, ValueError):
            continue
    return total


def measure(server, command, env):
    """Runs a shell command; wall and processor seconds (of all processes, the server included) and peak memory."""
    os.sync()
    before, begin = server.cpu(), time.monotonic()
    process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", command], env=env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)
    peak, over = [0], threading.Event()

    def watch():
        while not over.wait(0.05):
            peak[0] = max(peak[0], rss(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begin
    over.set()
    watcher.join()
    if status != 0:
        sys.exit(f"failed: {command}\n{errors.decode(errors='replace')}")
    time.sleep(0.3)  # the last backend ends
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime + server.cpu() - before, "memory": peak[0]}


def stored(folder):
    sizes = [path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def table(step, results):
    def median(values, key):
        return statistics.median(value[key] for value in values)

    limit = next(iter(sorted(results.items(), key=lambda item: "null" not in item[0])))[1]
    base = median(limit, "wall")
    print(f"{step}\n")
    print("| | wall | to the limit | CPU | memory | stored | files |\n|---|---|---|---|---|---|---|")
    for name, values in sorted(results.items(), key=lambda item: ("null" not in item[0], item[0])):
        wall = median(values, "wall")
        print(f"| {name} | {wall:.2f} s | {wall / base:.2f} | {median(values, 'cpu'):.2f} s "
              f"| {median(values, 'memory') / 2**20:.0f} MiB | {median(values, 'stored') / 2**20:.1f} MiB "
              f"| {median(values, 'files'):.0f} |")
    print(flush=True)
