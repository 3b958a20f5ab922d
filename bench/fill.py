#!/usr/bin/env python3
"""Times `lyrox db seed --fill` over LYROX OS, from migrated stores on: rows a second, peak memory, and who used the processors."""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile

from migrate import ENVIRONMENT, LYROX, Run

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ["lyrox.toml", "migrations", "seeds", "smoke"]


def lyrox(folder, *arguments):
    done = subprocess.run([LYROX, *arguments], cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"lyrox {arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def processes():
    """Each process with its parent and the processor seconds of itself and of its children that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    found = {}
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            found[int(folder.name)] = (int(fields[1]), sum(map(int, fields[11:15])) / ticks)
    return found


def used(root, found):
    """Processor seconds of a process and all below it."""
    below = sum(used(process, found) for process, (parent, _) in found.items() if parent == root)
    return below + (found[root][1] if root in found else 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--realtime", action="store_true",
                        help="run servers and lyrox before everything else, so that a busy machine disturbs little (Linux, root)")
    parser.add_argument("--data", default=tempfile.gettempdir(), help="the folder of the servers' data [%(default)s]")
    given = parser.parse_args()
    if given.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, data in {given.data}, {given.rounds} rounds")
    runs, rows, shares = [], [], []
    for number in range(given.rounds):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-", dir=given.data))
        for part in PARTS:
            (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, folder / part)
        lyrox(folder, "up")
        try:
            lyrox(folder, "db", "migrate")
            servers = json.loads((folder / ".lyrox/state.json").read_text())["servers"]
            roots = {kind: server["process"]["pid"] for kind, server in servers.items()}
            before = processes()
            run = Run([LYROX, "db", "seed", "--fill", str(given.rows)], folder, {}, is_watched=True)
            after = processes()
            said = lyrox(folder, "db", "seed", "--fill", str(given.rows))
            rows.append(int(re.search(r"(\d+) rows are there: nothing was added", said).group(1)))
            shares.append({kind: used(root, after) - used(root, before) for kind, root in roots.items()})
            runs.append(run)
        finally:
            lyrox(folder, "down")
            shutil.rmtree(folder)
    print("\n| rows | median s | min to max | rows/s | peak MB | " + " | ".join(f"{kind}: CPU s" for kind in shares[0]) + " |")
    print("|---" * (5 + len(shares[0])) + "|")
    seconds = [run.seconds for run in runs]
    middle = statistics.median(seconds)
    cells = [f"{statistics.median(share[kind] for share in shares):.1f}" for kind in shares[0]]
    print(f"| {rows[0]:,} | {middle:.1f} | {min(seconds):.1f} to {max(seconds):.1f} | {rows[0] / middle:,.0f} "
          f"| {max(run.memory for run in runs):.0f} | " + " | ".join(cells) + " |")
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
