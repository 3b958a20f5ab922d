#!/usr/bin/env python3
"""Kills `lyrox db migrate` with SIGKILL at random moments, runs it again, and looks whether the end is right.

The process is stopped first, so that what the servers are doing at that moment can be read; then it is killed.
"""

import collections
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LYROX = os.environ.get("LYROX", str(ROOT / "target/release/lyrox"))
ENVIRONMENT = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "USER", "LYROX_CACHE_DIR")}
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
FILES = 12


def run(folder, *arguments):
    done = subprocess.run([LYROX, *arguments], cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def query(folder, store, text):
    flag = {"postgres": "--direct", "mongodb": "--write", "redis": "--quiet"}[store]
    code, out, err = run(folder, "query", store, text, flag, "--output", "json")
    if code != 0:
        raise SystemExit(f"query {text}: {code}\n{out}{err}")
    return json.loads(out)["data"]


def write_project(folder):
    (folder / "migrations").mkdir()
    (folder / "lyrox.toml").write_text(
        '[project]\nname = "kill"\n[postgres]\n[mongodb]\ndatabase = "kill"\n[redis]\nkey_prefix = "kill:"\n'
    )
    for number in range(1, FILES + 1):
        header = "-- lyrox: no-transaction\n" if number % 4 == 0 else ""
        sql = f"{header}CREATE TABLE t{number} (id int);\nINSERT INTO t{number} SELECT 1 FROM pg_sleep(0.3);\nINSERT INTO t{number} VALUES (2);\n"
        if number % 6 == 0:
            sql += f"CREATE INDEX CONCURRENTLY t{number}_id ON t{number} (id);\n"
        (folder / f"migrations/{number:02}_m.up.sql").write_text(sql)
        if number % 2 == 0:
            commands = [
                {"create": f"c{number}"},
                {"insert": f"c{number}", "documents": [{"n": n} for n in range(2000)]},
                {"createIndexes": f"c{number}", "indexes": [{"key": {"n": 1}, "name": "n"}]},
            ]
            (folder / f"migrations/{number:02}_m.up.json").write_text(json.dumps(commands))
        else:
            (folder / f"migrations/{number:02}_m.up.redis").write_text("INCR {{prefix}}runs\nLPUSH {{prefix}}list x\n" * 20)


def phase(folder):
    """What the servers are doing for the stopped run."""
    running = query(
        folder,
        "postgres",
        "SELECT state, left(regexp_replace(query, '\\s+', ' ', 'g'), 60) FROM pg_stat_activity "
        "WHERE application_name LIKE 'lyrox%' AND pid <> pg_backend_pid() ORDER BY state LIMIT 1",
    )
    rows = running["rows"]
    if rows and rows[0][0] == "active":
        return "a PostgreSQL statement ran"
    active = query(folder, "mongodb", '{"currentOp": 1, "active": true, "appName": {"$regex": "^lyrox"}, "$db": "admin"}')
    if any(op.get("ns", "").startswith("kill.") for op in active["inprog"]):
        return "a MongoDB command ran"
    states = query(folder, "postgres", "SELECT CASE WHEN to_regclass('lyrox.migrations') IS NULL THEN '-' ELSE 'ledger' END")
    if states["rows"][0][0] == "-":
        return "before the ledger"
    return f"between statements ({rows[0][0] if rows else 'no session'})"


def problems(folder):
    found = []
    for number in range(1, FILES + 1):
        count = query(folder, "postgres", f"SELECT count(*), (SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 't{number}'::regclass) FROM t{number}")
        if str(count["rows"][0][0]) != "2" or str(count["rows"][0][1]) in ("f", "False", "false"):
            found.append(f"t{number}: {count['rows']}")
        if number % 2 == 0:
            reply = query(folder, "mongodb", json.dumps({"count": f"c{number}"}))
            if reply["n"] != 2000:
                found.append(f"c{number}: {reply}")
    for command in ("GET kill:runs", "LLEN kill:list"):
        reply = query(folder, "redis", command)
        if str(reply) != str(20 * FILES // 2):
            found.append(f"{command}: {reply}")
    return found


def main():
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-kill-"))
    phases, right, wrong = collections.Counter(), 0, []
    try:
        write_project(folder)
        code, out, err = run(folder, "up")
        if code != 0:
            raise SystemExit(out + err)
        run(folder, "db", "migrate")
        start = time.perf_counter()
        code, out, err = run(folder, "db", "reset", "--confirm", "kill", "--no-seed")
        whole = time.perf_counter() - start
        if code != 0:
            raise SystemExit(out + err)
        for number in range(ROUNDS):
            code, out, err = run(folder, "query", "postgres", "--write", "--direct", "DROP SCHEMA lyrox CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            if code != 0:
                raise SystemExit(out + err)
            run(folder, "query", "mongodb", "--write", '{"dropDatabase": 1}')
            run(folder, "query", "redis", "--write", "EVAL \"for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('UNLINK', key) end\" 0 kill:*")
            child = subprocess.Popen([LYROX, "db", "migrate"], cwd=folder, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0.05, whole * 0.9))
            if child.poll() is None:
                os.kill(child.pid, signal.SIGSTOP)
                what = phase(folder)
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
            else:
                what = "after the end"
            phases[what] += 1
            code, out, err = run(folder, "db", "migrate")
            bad = problems(folder) if code == 0 else [f"exit {code}\n{out}{err}"]
            if bad:
                wrong.append((number, what, bad))
            else:
                right += 1
            print(f"{number + 1:3}  {what:44} {'right' if not bad else 'WRONG ' + '; '.join(bad)}", flush=True)
    finally:
        subprocess.run([LYROX, "-q", "down"], cwd=folder, env=ENVIRONMENT)
        shutil.rmtree(folder)
    print(f"\n{right} of {ROUNDS} right; phases: " + ", ".join(f"{count} x {name}" for name, count in phases.most_common()))
    raise SystemExit(0 if not wrong else 1)


main()
