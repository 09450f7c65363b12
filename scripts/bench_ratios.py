"""The table of ratios that scripts/bench --quick prints, and what its parts measure with."""
import json, os, statistics, subprocess, sys, time


class Missing(Exception):
    """A tool is missing: the part that needs it is skipped."""


def progress(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def seconds(command, env):
    """Wall seconds of a shell command that must succeed."""
    os.sync()
    begin = time.monotonic()
    ended = subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=env, capture_output=True, text=True,
                           errors="replace", check=False)
    wall = time.monotonic() - begin
    if ended.returncode != 0:
        sys.exit(f"failed: {command}\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
    return wall


def alternate(rounds, ways):
    """Medians of functions that return seconds or other numbers: each runs once in every round, A B A B."""
    results = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            results[name].append(way())
            progress(f"round {number + 1}: {name}: {results[name][-1]:.2f}")
    return {name: statistics.median(values) for name, values in results.items()}


def in_seconds(value):
    return f"{value:.2f} s"


def in_mebibytes(value):
    return f"{value / 2**20:.1f} MiB"


def in_requests(value):
    return f"{value:,.0f} requests"


class Ratios:
    """Rows: what was measured, our value, those of others, the ratios and the goal."""

    def __init__(self, file=None):
        self.file, self.rows, self.skipped, self.failed = file, [], [], []

    def row(self, what, ours, theirs, goal="", unit=in_seconds):
        """`theirs` has the values of other tools by name; without any there is no ratio."""
        progress(f"{what}: {unit(ours)}")
        self.rows.append({
            "what": what, "value": ours, "ours": unit(ours), "values": theirs, "goal": goal,
            "compared": "; ".join(f"{name}: {unit(value)}" for name, value in theirs.items()) or "–",
            "ratio": "; ".join(f"{ours / value:.2f}" if value else "–" for value in theirs.values()) or "–",
        })
        self.save()

    def skip(self, part, reason):
        print(f"SKIPPED: {part}: {reason}", file=sys.stderr, flush=True)
        self.skipped.append((part, str(reason)))
        self.save()

    def fail(self, part, reason):
        print(f"FAILED: {part}: {reason}", file=sys.stderr, flush=True)
        self.failed.append((part, str(reason).splitlines()[0]))
        self.save()

    def save(self):
        if self.file:
            everything = {"rows": self.rows, "skipped": self.skipped, "failed": self.failed}
            self.file.write_text(json.dumps(everything, indent=1) + "\n")

    def show(self, title, remarks):
        print(f"\n## {title}\n\n{remarks}\n")
        print("| what | ours | compared with | ratio | goal |\n|---|---|---|---|---|")
        for row in self.rows:
            print(f"| {row['what']} | {row['ours']} | {row['compared']} | {row['ratio']} | {row['goal']} |")
        print()
        for word, parts in (("SKIPPED", self.skipped), ("FAILED", self.failed)):
            for part, reason in parts:
                print(f"- {word}: `{part}`: {reason}")
        print(flush=True)
