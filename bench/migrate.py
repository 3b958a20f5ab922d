#!/usr/bin/env python3
"""Times migrations as whole processes: lyrox, psql and other tools in turn, on servers of their own."""

import argparse
import asyncio
import json
import multiprocessing
import os
import pathlib
import platform
import pwd
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
LYROX = os.environ.get("LYROX", str(ROOT / "target/release/lyrox"))
FILES = 1000
ROWS = 145_567
# Half of a round trip, in seconds: what the proxy adds to each direction.
ONE_WAY = 0.0025
# What a process gets of the environment; whatever else decides is on its command line.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "USER", "LANG")}


# drizzle-orm has no command that only migrates: this is what its documentation tells to write.
DRIZZLE = """
const { Client } = require("pg");
const { drizzle } = require("drizzle-orm/node-postgres");
const { migrate } = require("drizzle-orm/node-postgres/migrator");
(async () => {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  await migrate(drizzle(client), { migrationsFolder: __dirname + "/drizzle" });
  await client.end();
})().catch((error) => { console.error(error); process.exit(1); });
"""


# --- the work -----------------------------------------------------------------------------------------------


def small(number):
    """One of the thousand small migrations."""
    return (
        f"CREATE TABLE t{number} (id bigint NOT NULL);\n"
        f"ALTER TABLE t{number} ADD COLUMN name text;\n"
        f"CREATE INDEX t{number}_name ON t{number} (name);\n"
        f"INSERT INTO t{number} VALUES (1, 'first; of {number}');\n"
    )


def large():
    """One migration of about 20 MB: a table and an INSERT for each row, with what a careless splitter trips over."""
    yield "CREATE TABLE big (id bigint PRIMARY KEY, name text NOT NULL, note text NOT NULL);\n"
    for number in range(ROWS):
        yield (
            f"INSERT INTO big (id, name, note) VALUES ({number}, 'name {number}; it''s quoted', "
            f"'a note -- no comment; {number * 7919 % 1000003:07d} ${number % 97}$ /* nor this */ end');\n"
        )


def write_projects(folder, url, name, texts):
    """The same migrations in the form of each tool. Returns {tool: (folder, command)}; `url` fills the command."""
    versions = [(f"{20250101000000 + number}", number, text) for number, text in enumerate(texts, 1)]
    for tool in ("plain", "refinery", "dbmate", "drizzle/meta", "lyrox/migrations"):
        (folder / tool).mkdir(parents=True)
    journal = []
    script = ["CREATE TABLE ledger (version text PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now());\n"]
    for version, number, text in versions:
        file = f"{version}_{name}_{number}.sql"
        (folder / "plain" / file).write_text(text)
        (folder / "lyrox/migrations" / file).write_text(text)
        (folder / "dbmate" / file).write_text(f"-- migrate:up\n{text}\n-- migrate:down\n")
        (folder / "refinery" / f"V{number}__{name}_{number}.sql").write_text(text)
        (folder / "drizzle" / f"{version}_{name}_{number}.sql").write_text(text.replace(";\n", ";\n--> statement-breakpoint\n"))
        journal.append({"idx": number - 1, "version": "7", "when": 1735689600000 + number, "tag": f"{version}_{name}_{number}", "breakpoints": True})
        script.append(f"BEGIN;\n{text}INSERT INTO ledger (version, name) VALUES ('{version}', '{name}_{number}');\nCOMMIT;\n")
    (folder / "psql.sql").write_text("".join(script))
    (folder / "drizzle/meta/_journal.json").write_text(json.dumps({"version": "7", "dialect": "postgresql", "entries": journal}))
    (folder / "drizzle.cjs").write_text(DRIZZLE)
    (folder / "lyrox/lyrox.toml").write_text('[project]\nname = "bench"\n[postgres]\n')
    return folder


# --- servers ------------------------------------------------------------------------------------------------


class Server:
    """A PostgreSQL with its defaults on a port of its own."""

    def __init__(self, binaries, below):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-", dir=below))
        self.binaries = pathlib.Path(binaries)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.seat = {}
        if os.geteuid() == 0:
            # The server refuses to run as root.
            user = next(name for name in ("postgres", "nobody") if name in {entry.pw_name for entry in pwd.getpwall()})
            entry = pwd.getpwnam(user)
            self.seat = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        (self.folder / "password").write_text("bench")
        os.chmod(self.folder / "password", 0o644)
        self.run("initdb", "-D", "data", "-U", "bench", "--auth=scram-sha-256", "--pwfile=password", "-E", "UTF8", "--locale=C")
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "-D", "data", "-w", "-l", "log", "-o", settings, "start")
        self.version = self.psql("postgres", "SHOW server_version")

    def run(self, program, *arguments):
        subprocess.run([self.binaries / program, *arguments], cwd=self.folder, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, **self.seat)

    def url(self, database, port=None):
        return f"postgres://bench:bench@127.0.0.1:{port or self.port}/{database}?sslmode=disable"

    def psql(self, database, statement):
        done = subprocess.run(["psql", "-XAtqc", statement, self.url(database)], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def fresh(self, template=None):
        """A new database; what the server still had to write is written."""
        name = f"b{uuid.uuid4().hex[:12]}"
        self.psql("postgres", f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
        self.psql("postgres", "CHECKPOINT")
        return name

    def drop(self, name):
        self.psql("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self):
        self.run("pg_ctl", "-D", "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)


def proxy(listening, port):
    """Hands bytes through in both directions, each later by ONE_WAY; runs in a process of its own."""

    async def pump(reader, writer):
        loop = asyncio.get_running_loop()
        queue = asyncio.Queue()

        async def deliver():
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0, due - loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        delivery = asyncio.create_task(deliver())
        data = b"-"
        while data:
            try:
                data = await reader.read(1 << 18)
            except ConnectionError:
                data = b""
            queue.put_nowait((loop.time() + ONE_WAY, data))
        try:
            await delivery
        except ConnectionError:
            pass

    async def serve(reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        for side in (writer, upstream_writer):
            side.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.gather(pump(reader, upstream_writer), pump(upstream_reader, writer))

    async def main():
        server = await asyncio.start_server(serve, sock=listening)
        await server.serve_forever()

    asyncio.run(main())


# --- measuring ----------------------------------------------------------------------------------------------


class Run:
    """One finished process: seconds, and in a run that is watched its peak memory in MB."""

    def __init__(self, command, folder, environment, is_watched=False):
        with tempfile.TemporaryFile() as output:
            start = time.perf_counter()
            child = subprocess.Popen(command, cwd=folder, env={**ENVIRONMENT, **environment}, stdin=subprocess.DEVNULL,
                                     stdout=output, stderr=output)
            self.memory = self.watch(child.pid) if is_watched else 0
            child.wait()
            self.seconds = time.perf_counter() - start
            if child.returncode != 0:
                output.seek(0)
                raise SystemExit(f"{command} ended with {child.returncode}\n{output.read().decode(errors='replace')[-3000:]}")

    @staticmethod
    def watch(process):
        """The high-water mark as the system counts it. What wait4 tells begins at this script's own size."""
        peak = 0
        while True:
            try:
                status = pathlib.Path(f"/proc/{process}/status").read_text()
            except OSError:
                return peak
            found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
            if not found:
                return peak
            # Until it has become the other program, it is a copy of this one.
            if "Name:\tpython" not in status:
                peak = max(peak, int(found[0].split()[1]) / 1024)
            time.sleep(0.0005)


class Tools:
    """The tools that are there, and how each is told to migrate."""

    def __init__(self, peers):
        peers = pathlib.Path(peers) if peers else None
        self.paths = {"psql": shutil.which("psql"), "lyrox": LYROX}
        found = {
            "sqlx": [peers / "bin/sqlx" if peers else None, shutil.which("sqlx")],
            "refinery": [peers / "bin/refinery" if peers else None, shutil.which("refinery")],
            "dbmate": [*(peers.glob("node_modules/@dbmate/*/bin/dbmate") if peers else []), shutil.which("dbmate")],
        }
        for tool, places in found.items():
            place = next((place for place in places if place and pathlib.Path(place).exists()), None)
            if place:
                self.paths[tool] = str(place)
        self.modules = str(peers / "node_modules") if peers and (peers / "node_modules/drizzle-orm").exists() else None
        if self.modules and shutil.which("node"):
            self.paths["drizzle"] = shutil.which("node")

    def names(self):
        return list(self.paths)

    def command(self, tool, folder, url):
        """The command that migrates, the folder it runs in, and the variables it needs."""
        program = self.paths[tool]
        if tool == "psql":
            return [program, "-Xq", "-v", "ON_ERROR_STOP=1", "-f", folder / "psql.sql", url], folder, {}
        if tool == "lyrox":
            return [program, "-q", "db", "migrate"], folder / "lyrox", {"DATABASE_URL": url}
        if tool == "sqlx":
            return [program, "migrate", "run", "--source", folder / "plain", "--database-url", url], folder, {}
        if tool == "refinery":
            return [program, "migrate", "-e", "DATABASE_URL", "-p", folder / "refinery"], folder, {"DATABASE_URL": url}
        if tool == "drizzle":
            return [program, folder / "drizzle.cjs"], folder, {"DATABASE_URL": url, "NODE_PATH": self.modules}
        return [program, "--url", url, "-d", folder / "dbmate", "--no-dump-schema", "migrate"], folder, {}


class Table:
    """Rows of the result: medians, and the medians of the ratios of each round."""

    def __init__(self):
        self.lines = []

    def add(self, title, note, runs, yardstick):
        own = runs["lyrox"]
        base = runs.get(yardstick)
        self.lines.append(f"\n### {title}\n\n{note}\n\n| tool | median s | min to max | peak MB | to {yardstick} | lyrox to it |\n|---|---|---|---|---|---|")
        for tool, found in runs.items():
            seconds = [run.seconds for run in found]
            ratio = statistics.median(run.seconds / other.seconds for run, other in zip(found, base))
            back = statistics.median(run.seconds / other.seconds for run, other in zip(own, found))
            memory = max(run.memory for run in found)
            self.lines.append(
                f"| {tool} | {statistics.median(seconds):.3f} | {min(seconds):.3f} to {max(seconds):.3f} | {memory:.0f} "
                f"| {ratio:.2f} | {'' if tool == 'lyrox' else f'{back:.2f}'} |"
            )
        print("\n".join(self.lines[-1 - len(runs):]), flush=True)


def rounds(count, tools, once):
    """Each tool once in every round, another one first each time. The first round is not timed; its processes are watched."""
    runs, peaks = {tool: [] for tool in tools}, {}
    for number in range(count + 1):
        turn = number % len(tools)
        for tool in tools[turn:] + tools[:turn]:
            run = once(tool, number == 0)
            if number > 0:
                runs[tool].append(run)
            else:
                peaks[tool] = run.memory
    for tool, peak in peaks.items():
        runs[tool][0].memory = peak
    return runs


def migrate_fresh(server, tools, folder, port=None):
    """Migrates an empty database."""

    def once(tool, is_watched):
        database = server.fresh()
        run = Run(*tools.command(tool, folder, server.url(database, port)), is_watched)
        server.drop(database)
        return run

    return once


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="start,small,disk,nothing,status,large,line", help="a list of: %(default)s")
    parser.add_argument("--tools", help="only these tools")
    parser.add_argument("--realtime", action="store_true",
                        help="run servers and tools before everything else, so that a busy machine disturbs little (Linux, root)")
    parser.add_argument("--peers", help="where sqlx-cli, refinery_cli (bin/) and dbmate (node_modules/) were installed")
    parser.add_argument("--postgres", default=subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip(),
                        help="the folder of initdb and pg_ctl [%(default)s]")
    parser.add_argument("--memory", default="/dev/shm", help="a folder in memory [%(default)s]")
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="a folder on a disk [%(default)s]")
    given = parser.parse_args()
    only = given.only.split(",")
    if given.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    tools = Tools(given.peers)
    names = [tool for tool in tools.names() if not given.tools or tool in given.tools.split(",")]
    work = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-work-"))
    servers = []
    table = Table()
    server = Server(given.postgres, given.memory)
    servers.append(server)
    print(f"PostgreSQL {server.version}, {os.cpu_count()} processors, {platform.machine()}, load {os.getloadavg()[0]:.1f} at the start")
    children = []
    try:
        few = write_projects(work / "small", "", "small", [small(number) for number in range(1, FILES + 1)])
        if "start" in only:
            start = [name for name in names if name != "drizzle"]

            def version(tool, is_watched):
                return Run([tools.paths[tool], "--version"], work, {}, is_watched)

            table.add("`--version`", "What it takes to start.", rounds(3 * given.rounds, start, version), "psql")
        if "small" in only:
            note = f"{FILES} files, each with a table, a column, an index and a row; data in memory. psql: one transaction each, with a ledger row."
            table.add("Small migrations into an empty database, in memory", note,
                      rounds(given.rounds, names, migrate_fresh(server, tools, few)), "psql")
        if "disk" in only:
            disk = Server(given.postgres, given.disk)
            servers.append(disk)
            table.add("The same on a disk", "fsync as it is by default.", rounds(given.rounds, names, migrate_fresh(disk, tools, few)), "psql")
        if "nothing" in only or "status" in only:
            full = {tool: server.fresh() for tool in names}
            for tool in names:
                Run(*tools.command(tool, few, server.url(full[tool])))
            select = "SELECT version, name, at FROM ledger ORDER BY version"

            def nothing(tool, is_watched):
                command, folder, variables = tools.command(tool, few, server.url(full[tool]))
                if tool == "psql":
                    command = [tools.paths["psql"], "-XAtqc", select, server.url(full[tool])]
                return Run(command, folder, variables, is_watched)

            def status(tool, is_watched):
                command, folder, variables = tools.command(tool, few, server.url(full[tool]))
                if tool == "psql":
                    command = [tools.paths["psql"], "-XAtqc", select, server.url(full[tool])]
                if tool == "lyrox":
                    command = [tools.paths["lyrox"], "db", "status"]
                if tool == "sqlx":
                    command = [tools.paths["sqlx"], "migrate", "info", *command[3:]]
                if tool == "dbmate":
                    command = [*command[:-1], "status"]
                return Run(command, folder, variables, is_watched)

            if "nothing" in only:
                note = f"{FILES} files, all applied. psql: one SELECT of its ledger."
                table.add("Nothing to do", note, rounds(3 * given.rounds, names, nothing), "psql")
            if "status" in only:
                note = "What is applied and what is pending. psql: the same SELECT."
                table.add("Status", note, rounds(3 * given.rounds, [name for name in names if name not in ("refinery", "drizzle")], status), "psql")
            for database in full.values():
                server.drop(database)
        if "large" in only:
            text = "".join(large())
            one = write_projects(work / "large", "", "large", [text])
            note = f"{len(text) / 1e6:.1f} MB, {ROWS} INSERTs in one transaction, data in memory. psql: `-1 -f`."

            def run_large(tool, is_watched):
                database = server.fresh()
                command, folder, variables = tools.command(tool, one, server.url(database))
                if tool == "psql":
                    command = [tools.paths["psql"], "-Xq1", "-v", "ON_ERROR_STOP=1", "-f", next((one / "plain").iterdir()), server.url(database)]
                run = Run(command, folder, variables, is_watched)
                server.drop(database)
                return run

            table.add("One large migration", note, rounds(given.rounds, [name for name in names if name != "drizzle"], run_large), "psql")
        if "line" in only:
            listening = socket.create_server(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            child = multiprocessing.Process(target=proxy, args=(listening, server.port), daemon=True)
            child.start()
            children.append(child)
            hundred = write_projects(work / "hundred", "", "small", [small(number) for number in range(1, 101)])
            note = f"The first 100 of the small files, through a proxy that adds {ONE_WAY * 2000:.0f} ms to each round trip ({ONE_WAY * 1000:.1f} ms each way)."
            table.add("Over a slow line", note, rounds(given.rounds, names, migrate_fresh(server, tools, hundred, port)), "psql")
        print(f"\nload {os.getloadavg()[0]:.1f} at the end")
    finally:
        for child in children:
            child.terminate()
        for server in servers:
            server.stop()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
