#!/usr/bin/env python3
"""Times lyrox's first steps as whole processes: start, setup, check, a migrate with nothing to do."""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LYROX = os.environ.get("LYROX", str(ROOT / "target/release/lyrox"))
ENVIRONMENT = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "USER", "LYROX_CACHE_DIR")}


def run(folder, *arguments):
    """Runs lyrox, returns milliseconds and standard output; an exit code other than 0 ends the measurement."""
    start = time.perf_counter()
    done = subprocess.run([LYROX, *arguments], cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    elapsed = (time.perf_counter() - start) * 1000
    if done.returncode != 0:
        raise SystemExit(f"lyrox {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return elapsed, done.stdout


def show(name, values):
    print(f"{name:44} {statistics.median(values):9.1f} ms   (min {min(values):.1f}, max {max(values):.1f}, n {len(values)})")


def project():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-"))
    for part in ("lyrox.toml", "migrations", "seeds", "smoke"):
        source = ROOT / part
        shutil.copytree(source, folder / part) if source.is_dir() else shutil.copy(source, folder / part)
    return folder


def main():
    print(f"binary {os.path.getsize(LYROX) / 1e6:.1f} MB")
    show("lyrox --version", [run("/", "--version")[0] for _ in range(21)])

    colds, warms = [], []
    for _ in range(3):
        folder = project()
        try:
            colds.append(run(folder, "setup")[0])
            warms.append(run(folder, "setup")[0])
        finally:
            subprocess.run([LYROX, "-q", "down"], cwd=folder, env=ENVIRONMENT)
            shutil.rmtree(folder)
    show("setup from nothing (servers installed)", colds)
    show("setup again", warms)

    folder = project()
    try:
        run(folder, "setup")
        times = {"postgres": [], "mongodb": [], "redis": [], "all": []}
        ratios, noops = [], []
        for _ in range(15):
            for store in ("postgres", "mongodb", "redis"):
                times[store].append(run(folder, "check", "--only", store)[0])
            times["all"].append(run(folder, "check")[0])
            ratios.append(times["all"][-1] / max(times[s][-1] for s in ("postgres", "mongodb", "redis")))
            noops.append(run(folder, "db", "migrate")[0])
        for name, values in times.items():
            show(f"check, {name}", values)
        print(f"{'check, all / slowest alone (pairwise median)':44} {statistics.median(ratios):9.2f}")
        show("db migrate, nothing to do", noops)
        _, report = run(folder, "check", "--output", "json")
        slow = sorted(json.loads(report)["items"], key=lambda item: -(item["elapsed_ms"] or 0))[:3]
        print("slowest stages: " + ", ".join(f"{item['id']} {item['elapsed_ms']} ms" for item in slow))
    finally:
        subprocess.run([LYROX, "-q", "down"], cwd=folder, env=ENVIRONMENT)
        shutil.rmtree(folder)


main()
