"""Duration of `status` with many items and a year of history, in comparison with restic's list of the newest snapshots."""
import datetime
import json
import sqlite3
import subprocess
import sys
import time
import urllib.request

from bench_common import measure

DAYS = 365
DAY = 86_400_000


def a_year(database):
    """Copies the attempts of the last run to every day of the year before it, with other numbers."""
    history = sqlite3.connect(database)
    (run,) = history.execute("SELECT max(id) FROM run").fetchone()
    for day in range(1, DAYS):
        history.execute(
            "INSERT INTO run (name, kind, host, started, ended, outcome, told) SELECT 'day ' || ?1, kind, host, "
            "started - ?1 * ?2, ended - ?1 * ?2, outcome, told FROM run WHERE id = ?3", (day, DAY, run))
        history.execute(
            "INSERT INTO attempt SELECT ?1, item, began, took, outcome, bytes_read + ?2 * 777, bytes_added + ?2, "
            "bytes + ?2 * 777, rows + ?2, random(), error FROM attempt WHERE run = ?3",
            (run + day, day, run))
    history.commit()
    history.close()


def status(bench):
    options = bench.options
    root = bench.folder / "items"
    paths = []
    for number in range(options.items):
        folder = root / f"{number % 100:02}" / f"item-{number:05}"
        folder.mkdir(parents=True)
        (folder / "data").write_text(f"content of {number}\n" * 20)
        paths.append(str(folder))
    bench.init("ours", f'kind = "directory"\nschedule = "daily"\npaths = {json.dumps(paths)}\n')
    backup = [bench.program, "--config", str(bench.folder / "ours.toml"), "backup"]
    print(f"backing up {options.items} items {options.backups} times", file=sys.stderr)
    for _ in range(options.backups):
        begin = datetime.datetime.now()
        subprocess.run(backup, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        print(f"  {(datetime.datetime.now() - begin).total_seconds():.1f} s", file=sys.stderr)
    database = bench.folder / "state" / "history.db"
    a_year(database)
    ours = f"{bench.program} --config {bench.folder}/ours.toml"
    restic = f"{bench.restic} -q -r {bench.folder}/ours --no-lock"
    ways = {
        "restic snapshots --latest 1": f"{restic} snapshots --latest 1 --json > /dev/null",
        "tik-backup status": f"{ours} status > /dev/null",
        "tik-backup --json status": f"{ours} --json status > /dev/null",
        "tik-backup status --prometheus": f"{ours} status --prometheus > /dev/null",
    }
    snapshots = len(list((bench.folder / "ours" / "snapshots").iterdir()))
    print(f"\n## Status of {options.items} items, {snapshots} snapshots and a year of daily history\n")
    print(f"history: {database.stat().st_size / 2**20:.0f} MiB\n")
    results = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, command in ways.items():
            result = measure(bench.server, command, bench.env)
            results[name].append({**result, "stored": 0, "files": 0})
    base = sorted(value["wall"] for value in results["restic snapshots --latest 1"])[options.rounds // 2]
    print("| | wall | to restic | memory |\n|---|---|---|---|")
    for name, values in results.items():
        wall = sorted(value["wall"] for value in values)[options.rounds // 2]
        memory = max(value["memory"] for value in values) / 2**20
        print(f"| {name} | {wall:.2f} s | {wall / base:.2f} | {memory:.0f} MiB |")
    print(flush=True)
    page(bench)


def page(bench):
    """Duration of the dashboard's overview from the request to the last byte: first request, and a repeated one."""
    command = [bench.program, "--config", str(bench.folder / "ours.toml"), "serve", "--listen", "127.0.0.1:0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = next(line for line in server.stderr if "listening on" in line).split()[-1]
        time.sleep(5)
        print("| | first view, drawn anew | shown again | bytes |\n|---|---|---|---|")
        for name, path in {"page": "", "JSON": "api/v1/status", "metrics": "metrics"}.items():
            drawn, again = [], []
            for _ in range(5):
                time.sleep(2.1)
                for times in (drawn, again):
                    begin = time.monotonic()
                    with urllib.request.urlopen(address + path) as answer:
                        size = len(answer.read())
                    times.append((time.monotonic() - begin) * 1000)
            print(f"| {name} | {sorted(drawn)[2]:.0f} ms | {sorted(again)[2]:.0f} ms | {size / 2**20:.1f} MiB |")
        print(flush=True)
    finally:
        server.terminate()
        server.wait()
