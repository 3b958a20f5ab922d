#!/usr/bin/env python3
"""Times bulk seeds as whole processes: lyrox, the servers' own clients and drivers in turn, on servers of their own."""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import tempfile
import uuid

from migrate import LYROX, Run, Server, rounds

COPY_TABLE = """
CREATE TABLE item (id uuid PRIMARY KEY, company_id uuid NOT NULL, name text NOT NULL, note text NOT NULL,
  price numeric(12,2) NOT NULL, created_at timestamptz NOT NULL, data jsonb NOT NULL);
CREATE INDEX item_company ON item (company_id);
CREATE INDEX item_created ON item (created_at);
"""
COLUMNS = ["id", "company_id", "name", "note", "price", "created_at", "data"]

# What a careful person writes with the client alone: stage, then insert what is new and overwrite what is there.
MERGE = """\\set ON_ERROR_STOP 1
BEGIN;
CREATE TEMP TABLE stage (LIKE item) ON COMMIT DROP;
\\copy stage from '{file}' with (format csv, header)
INSERT INTO item SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET company_id = excluded.company_id, name = excluded.name,
  note = excluded.note, price = excluded.price, created_at = excluded.created_at, data = excluded.data;
COMMIT;
"""

# Rows of a file in INSERTs of a thousand rows each, in one transaction.
NODE_POSTGRES = """
const fs = require("fs"), readline = require("readline"), { Client } = require("pg");
const fields = (line) => [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map((m) => m[1] === undefined ? m[2] : m[1].replaceAll('""', '"'));
(async () => {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  await client.query("BEGIN");
  let columns, rows = [];
  const send = async () => {
    if (!rows.length) return;
    let at = 0;
    const values = rows.map((row) => "(" + row.map(() => "$" + ++at).join(",") + ")").join(",");
    await client.query(`INSERT INTO item (${columns.join(",")}) VALUES ${values}`, rows.flat());
    rows = [];
  };
  for await (const line of readline.createInterface({ input: fs.createReadStream(process.argv[2]) })) {
    if (!columns) { columns = line.split(","); continue; }
    rows.push(fields(line));
    if (rows.length === 1000) await send();
  }
  await send();
  await client.query("COMMIT");
  await client.end();
})().catch((error) => { console.error(error); process.exit(1); });
"""
NODE_MONGODB = """
const fs = require("fs"), readline = require("readline"), { MongoClient } = require("mongodb");
(async () => {
  const client = await MongoClient.connect(process.env.MONGODB_URI);
  const collection = client.db("bench").collection("doc");
  let batch = [];
  const send = async () => { if (batch.length) await collection.insertMany(batch, { ordered: false, writeConcern: { w: 1 } }); batch = []; };
  for await (const line of readline.createInterface({ input: fs.createReadStream(process.argv[2]) })) {
    batch.push(JSON.parse(line));
    if (batch.length === 1000) await send();
  }
  await send();
  await client.close();
})().catch((error) => { console.error(error); process.exit(1); });
"""
NODE_REDIS = """
const fs = require("fs"), readline = require("readline"), Redis = require("ioredis");
(async () => {
  const redis = new Redis(process.env.REDIS_URL);
  let pipe = redis.pipeline(), count = 0, first = true;
  for await (const line of readline.createInterface({ input: fs.createReadStream(process.argv[2]) })) {
    if (first) { first = false; continue; }
    const [id, value] = line.split(",");
    pipe.setex("bench:session:" + id, 86400, value);
    if (++count % 1000 === 0) { await pipe.exec(); pipe = redis.pipeline(); }
  }
  await pipe.exec();
  redis.disconnect();
})().catch((error) => { console.error(error); process.exit(1); });
"""
PYTHON_MONGODB = """
import json, os, sys
from pymongo import MongoClient, WriteConcern
collection = MongoClient(os.environ["MONGODB_URI"])["bench"].get_collection("doc", write_concern=WriteConcern(w=1))
batch = []
for line in open(sys.argv[1]):
    batch.append(json.loads(line))
    if len(batch) == 1000:
        collection.insert_many(batch, ordered=False)
        batch = []
if batch:
    collection.insert_many(batch, ordered=False)
"""
PYTHON_REDIS = """
import os, sys
import redis
client = redis.Redis.from_url(os.environ["REDIS_URL"])
pipe = client.pipeline(transaction=False)
for number, line in enumerate(open(sys.argv[1])):
    if number == 0:
        continue
    key, value = line.rstrip("\\n").split(",")
    pipe.setex("bench:session:" + key, 86400, value)
    if number % 1000 == 0:
        pipe.execute()
pipe.execute()
"""


# --- the files ----------------------------------------------------------------------------------------------


def row(chance, number):
    """One row of about 218 bytes."""
    data = json.dumps({"n": number, "tags": ["a", "b"], "note": f"v{number % 97}"})
    return [
        str(uuid.UUID(int=chance.getrandbits(128), version=4)), str(uuid.UUID(int=number % 5000 << 64 | 7, version=4)),
        f"name {number}", f"a note, of row {number}, of some length", f"{number % 100000}.{number % 100:02d}",
        f"2025-{number % 12 + 1:02d}-{number % 28 + 1:02d}T{number % 24:02d}:{number % 60:02d}:00Z", data,
    ]


def quoted(field):
    return '"' + field.replace('"', '""') + '"' if "," in field or '"' in field else field


def write_csv(path, rows, change=None):
    """The same rows each time; `change` gives every so-manieth another price."""
    chance = random.Random(42)
    with open(path, "w") as file:
        file.write(",".join(COLUMNS) + "\n")
        for number in range(rows):
            fields = row(chance, number)
            if change and number % change == 0:
                fields[4] = "1.11"
            file.write(",".join(map(quoted, fields)) + "\n")


def write_documents(path, rows):
    with open(path, "w") as file:
        for number in range(rows):
            document = {
                "_id": f"doc{number:012d}", "company": number % 5000, "name": f"name {number}", "at": 1735689600000 + number,
                "tags": ["alpha", "beta"], "note": f"a note of document {number} that has some length, as notes have it",
                "inner": {"a": number / 3, "b": [1, 2, 3], "c": "text " * 8},
            }
            file.write(json.dumps(document) + "\n")


def write_keys(folder, rows):
    with open(folder / "session.csv", "w") as file, open(folder / "session.resp", "w") as resp:
        file.write("id,value\n")
        for number in range(rows):
            key, value = f"bench:session:{number:08d}", f"token-{number * 7919 % 1000003:07d}-" + "x" * 40
            file.write(f"{number:08d},{value}\n")
            resp.write(f"*4\r\n$5\r\nSETEX\r\n${len(key)}\r\n{key}\r\n$5\r\n86400\r\n${len(value)}\r\n{value}\r\n")


# --- servers ------------------------------------------------------------------------------------------------


class Others:
    """MongoDB and Redis as `lyrox up` starts them."""

    def __init__(self, below):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-", dir=below))
        (self.folder / "lyrox.toml").write_text(
            '[project]\nname = "bench"\n[mongodb]\ndatabase = "bench"\n[redis]\nkey_prefix = "bench:"\n'
            '[redis.keyspaces.session]\npattern = "session:{id}"\ntype = "string"\nttl = "1d"\n')
        self.lyrox("up")
        self.urls = {}
        for line in self.lyrox("env").splitlines():
            name, value = line.removeprefix("export ").split("=", 1)
            self.urls[name] = value.strip("'")

    def lyrox(self, *arguments):
        done = subprocess.run([LYROX, "-q", *arguments], cwd=self.folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise SystemExit(f"lyrox {arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def stop(self):
        self.lyrox("down")
        shutil.rmtree(self.folder)


# --- measuring ----------------------------------------------------------------------------------------------


def show(title, note, runs, yardstick):
    """Medians, and the medians of the ratios within a round."""
    print(f"\n### {title}\n\n{note}\n\n| what | median s | min to max | peak MB | to {yardstick} |\n|---|---|---|---|---|")
    for tool, found in runs.items():
        seconds = [run.seconds for run in found]
        ratio = statistics.median(run.seconds / other.seconds for run, other in zip(found, runs[yardstick]))
        print(f"| {tool} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} "
              f"| {max(run.memory for run in found):.0f} | {ratio:.2f} |", flush=True)


def measure_copy(given, server, work, tools):
    file = work / "item.csv"
    write_csv(file, given.rows)
    project = work / "copy"
    project.mkdir()
    (project / "lyrox.toml").write_text('[project]\nname = "bench"\n[postgres]\n')
    template = server.fresh()
    server.psql(template, COPY_TABLE)
    (work / "insert.cjs").write_text(NODE_POSTGRES)
    seed = [LYROX, "-q", "db", "seed", "--from", file, "--into", "postgres.item"]
    commands = {
        "psql \\copy": lambda url: ([shutil.which("psql"), "-Xqc", f"\\copy item from '{file}' with (format csv, header)", url], {}),
        "lyrox, indexes kept": lambda url: ([*seed, "--keep-indexes"], {"DATABASE_URL": url}),
        "lyrox": lambda url: (seed, {"DATABASE_URL": url}),
        "lyrox --jobs 2, indexes kept": lambda url: ([*seed, "--jobs", "2", "--keep-indexes"], {"DATABASE_URL": url}),
        "lyrox --jobs 2": lambda url: ([*seed, "--jobs", "2"], {"DATABASE_URL": url}),
    }
    if tools.node("pg"):
        commands["node, INSERT of 1000 rows"] = lambda url: (
            [tools.node("pg"), work / "insert.cjs", file], {"DATABASE_URL": url, "NODE_PATH": tools.modules})

    def once(name, is_watched):
        database = server.fresh(template)
        command, variables = commands[name](server.url(database))
        run = Run(command, project, variables, is_watched)
        found = server.psql(database, "SELECT count(*), (SELECT count(*) FROM pg_indexes WHERE tablename = 'item') FROM item")
        if found != f"{given.rows}|3":
            raise SystemExit(f"{name}: {found}")
        server.drop(database)
        return run

    note = f"{given.rows:,} rows of CSV ({file.stat().st_size / 1e6:.0f} MB) into an empty table with a primary key and two indexes."
    show("CSV into PostgreSQL", note, rounds(given.rounds, list(commands), once), "psql \\copy")


def measure_merge(given, server, work, _):
    file, changed, half = work / "item.csv", work / "changed.csv", work / "half.csv"
    write_csv(file, given.rows)
    write_csv(changed, given.rows, change=10)
    write_csv(half, given.rows // 2)
    project = work / "merge"
    project.mkdir()
    (project / "lyrox.toml").write_text('[project]\nname = "bench"\n[postgres]\n')
    templates = {}
    for name, stored in (("all", file), ("half", half)):
        templates[name] = server.fresh()
        server.psql(templates[name], COPY_TABLE)
        subprocess.run(["psql", "-Xqc", f"\\copy item from '{stored}' with (format csv, header)", "-c", "VACUUM ANALYZE item",
                        server.url(templates[name])], check=True)
    cases = (
        ("all rows are there, none differs", "all", file), ("all rows are there, every tenth differs", "all", changed),
        ("half of the rows are there", "half", file),
    )
    for title, template, source in cases:
        (work / "merge.sql").write_text(MERGE.format(file=source))
        seed = [LYROX, "-q", "db", "seed", "--from", source, "--into", "postgres.item"]
        commands = {
            "psql INSERT .. ON CONFLICT": lambda url: ([shutil.which("psql"), "-Xqf", work / "merge.sql", url], {}),
            "lyrox": lambda url: (seed, {"DATABASE_URL": url}),
            "lyrox --jobs 2": lambda url: ([*seed, "--jobs", "2"], {"DATABASE_URL": url}),
        }

        def once(name, is_watched):
            database = server.fresh(templates[template])
            command, variables = commands[name](server.url(database))
            run = Run(command, project, variables, is_watched)
            found = server.psql(database, "SELECT count(*) FROM item")
            if found != str(given.rows):
                raise SystemExit(f"{name}: {found}")
            server.drop(database)
            return run

        show(f"Merge by key: {title}", f"{given.rows:,} rows.", rounds(given.rounds, list(commands), once), "psql INSERT .. ON CONFLICT")


def measure_documents(given, others, work, tools):
    file = work / "doc.ndjson"
    write_documents(file, given.rows // 2)
    (work / "insert_many.cjs").write_text(NODE_MONGODB)
    (work / "insert_many.py").write_text(PYTHON_MONGODB)
    commands = {}
    if tools.python("pymongo"):
        commands["pymongo insert_many(1000)"] = [tools.python("pymongo"), work / "insert_many.py", file]
    if tools.node("mongodb"):
        commands["node insertMany(1000)"] = [tools.node("mongodb"), work / "insert_many.cjs", file]
    commands["lyrox"] = [LYROX, "-q", "db", "seed", "--from", file, "--into", "mongodb.doc"]

    def once(name, is_watched):
        others.lyrox("query", "mongodb", "--write", '{"delete": "doc", "deletes": [{"q": {}, "limit": 0}]}')
        others.lyrox("query", "mongodb", "--write", '{"dropDatabase": 1}')
        others.lyrox("query", "mongodb", "--write", json.dumps({"createIndexes": "doc", "indexes": [
            {"key": {"company": 1}, "name": "company"}, {"key": {"at": 1}, "name": "at"}]}))
        run = Run(commands[name], others.folder, {**others.urls, "NODE_PATH": tools.modules or ""}, is_watched)
        found = json.loads(others.lyrox("query", "mongodb", '{"count": "doc"}'))
        if str(given.rows // 2) not in json.dumps(found):
            raise SystemExit(f"{name}: {found}")
        return run

    note = f"{given.rows // 2:,} documents ({file.stat().st_size / 1e6:.0f} MB of lines of JSON) into a collection with two indexes beside `_id`, w: 1, unordered."
    show("Documents into MongoDB", note, rounds(given.rounds, list(commands), once), next(iter(commands)))


def measure_keys(given, others, work, tools):
    write_keys(work, given.rows)
    (work / "setex.cjs").write_text(NODE_REDIS)
    (work / "setex.py").write_text(PYTHON_REDIS)
    file = work / "session.csv"
    commands = {}
    url = others.urls["REDIS_URL"]
    if tools.redis_cli:
        commands["redis-cli --pipe"] = ["sh", "-c", f"exec {tools.redis_cli} --no-auth-warning -u '{url}' --pipe < '{work}/session.resp'"]
    if tools.node("ioredis"):
        commands["ioredis, pipelines of 1000"] = [tools.node("ioredis"), work / "setex.cjs", file]
    if tools.python("redis"):
        commands["redis-py, pipelines of 1000"] = [tools.python("redis"), work / "setex.py", file]
    commands["lyrox"] = [LYROX, "-q", "db", "seed", "--from", file, "--into", "redis.session"]

    def once(name, is_watched):
        others.lyrox("query", "redis", "--write", "FLUSHDB")
        run = Run(commands[name], others.folder, {**others.urls, "NODE_PATH": tools.modules or ""}, is_watched)
        found = int("".join(filter(str.isdigit, others.lyrox("query", "redis", "DBSIZE").replace("(integer)", ""))))
        if not given.rows <= found <= given.rows + 5:
            raise SystemExit(f"{name}: {found} keys")
        return run

    note = f"{given.rows:,} keys with a time to live. redis-cli sends a file of commands that was made before."
    show("Keys into Redis", note, rounds(given.rounds, list(commands), once), next(iter(commands)))


class Tools:
    """The drivers that are there."""

    def __init__(self, peers):
        peers = pathlib.Path(peers) if peers else None
        self.modules = str(peers / "node_modules") if peers else None
        self.pythons = [str(peers / "py/bin/python3")] if peers else []
        self.redis_cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
        if peers and not self.redis_cli:
            self.redis_cli = next((str(path) for path in peers.glob("*-cli")), None)

    def node(self, module):
        return shutil.which("node") if self.modules and pathlib.Path(self.modules, module).exists() else None

    def python(self, module):
        for python in [*self.pythons, "python3"]:
            if subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0:
                return python
        return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--only", default="copy,merge,documents,keys", help="a list of: %(default)s")
    parser.add_argument("--realtime", action="store_true",
                        help="run servers and tools before everything else, so that a busy machine disturbs little (Linux, root)")
    parser.add_argument("--peers", help="where pg, mongodb and ioredis (node_modules/), pymongo and redis (py/, a virtual environment) were installed")
    parser.add_argument("--postgres", default=subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip(),
                        help="the folder of initdb and pg_ctl [%(default)s]")
    parser.add_argument("--data", default="/dev/shm", help="the folder of the servers' data [%(default)s: in memory]")
    given = parser.parse_args()
    only = given.only.split(",")
    if given.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    work = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-work-"))
    os.chmod(work, 0o755)
    tools = Tools(given.peers)
    servers = []
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, data in {given.data}, {given.rounds} rounds")
        if {"copy", "merge"} & set(only):
            server = Server(given.postgres, given.data)
            servers.append(server)
            print(f"PostgreSQL {server.version}")
            if "copy" in only:
                measure_copy(given, server, work, tools)
            if "merge" in only:
                measure_merge(given, server, work, tools)
            servers.remove(server)
            server.stop()
        if {"documents", "keys"} & set(only):
            others = Others(given.data)
            servers.append(others)
            if "documents" in only:
                measure_documents(given, others, work, tools)
            if "keys" in only:
                measure_keys(given, others, work, tools)
        print(f"\nload {os.getloadavg()[0]:.1f} at the end")
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
