#!/usr/bin/env python3
"""Times work over many tenants as whole processes: lyrox and psql in turn, on servers of their own."""

import argparse
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile

from migrate import ENVIRONMENT, LYROX, Run, Server, rounds, small

FILES = 20
DATABASES = 50
SETTLED = 5000
ROWS = 1000


def project(folder, model, files):
    """A project in PostgreSQL alone whose tenants have no users: psql makes none either."""
    (folder / "migrations/tenant").mkdir(parents=True)
    (folder / "migrations/1_shared.up.sql").write_text("CREATE TABLE plan (name text PRIMARY KEY);\n")
    for number in range(1, files + 1):
        (folder / f"migrations/tenant/{20250101000000 + number}_small.up.sql").write_text(small(number))
    (folder / "lyrox.toml").write_text(
        f'[project]\nname = "bench"\n[postgres]\n[tenancy]\nmodel = "{model}"\nusers = false\n')
    return folder


def lyrox(folder, url, *arguments):
    done = subprocess.run([LYROX, *arguments], cwd=folder, env={**ENVIRONMENT, **url}, capture_output=True, text=True,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"lyrox {arguments} ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout + done.stderr


LEDGER = "CREATE TABLE IF NOT EXISTS ledger (version text PRIMARY KEY, name text NOT NULL, at timestamptz NOT NULL DEFAULT now());\n"


def schemas(server, folder, count, is_held=False):
    """A database with so many schemas, empty or with one table each, and as many tenants to whom nothing is applied."""
    name = server.fresh()
    url = {"DATABASE_URL": server.url(name)}
    lyrox(folder, url, "-q", "db", "migrate")
    lyrox(folder, url, "-q", "tenant", "create", "first", "--no-credentials")
    server.psql(name, "DROP SCHEMA t_first CASCADE; DELETE FROM lyrox.tenants; DELETE FROM lyrox.migrations WHERE tenant <> ''")
    # One transaction for all of them would need more locks than the server has.
    held = "EXECUTE 'CREATE TABLE t_n' || i || '.held (id int)';" if is_held else ""
    for begin in range(1, count + 1, 100):
        end = min(begin + 99, count)
        server.psql(name, f"DO $$ BEGIN FOR i IN {begin}..{end} LOOP EXECUTE 'CREATE SCHEMA t_n' || i; {held} END LOOP; END $$")
    server.psql(name, f"""INSERT INTO lyrox.tenants (project, key, slug, model, state, actor, lyrox)
        SELECT 'bench', 'n' || i, 'n' || i, 'schema', 'active', 'bench', '0' FROM generate_series(1, {count}) i""")
    server.psql("postgres", f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    return name


def script(schema, files):
    """What a careful person writes: each migration in a transaction with its ledger row."""
    text = [f"SET search_path = {schema};\n{LEDGER}"]
    for number in range(1, files + 1):
        text.append(f"BEGIN;\n{small(number)}INSERT INTO ledger (version, name) VALUES ('{20250101000000 + number}', 'small');\nCOMMIT;\n")
    return "".join(text)


def show(title, note, runs, yardstick):
    base = runs[yardstick]
    print(f"\n### {title}\n\n{note}\n\n| what | median s | min to max | peak MB | to {yardstick} |\n|---|---|---|---|---|")
    for name, found in runs.items():
        seconds = [run.seconds for run in found]
        ratio = statistics.median(run.seconds / other.seconds for run, other in zip(found, base))
        memory = max(run.memory for run in found)
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {memory:.0f} | {ratio:.2f} |", flush=True)


def measure_schemas(given, server, work, title, is_held=False):
    folder = project(work / title.replace(" ", "-"), "schema", FILES)
    (folder / "all.sql").write_text("".join(script(f"t_n{number}", FILES) for number in range(1, given.schemas + 1)))
    for number in range(1, given.schemas + 1):
        (folder / f"n{number}.sql").write_text(script(f"t_n{number}", FILES))
    template = schemas(server, folder, given.schemas, is_held)
    psql = [shutil.which("psql"), "-Xq", "-v", "ON_ERROR_STOP=1"]

    def once(name, is_watched):
        database = server.fresh(template)
        url = server.url(database)
        if name == "psql, one connection":
            run = Run([*psql, "-f", folder / "all.sql", url], folder, {}, is_watched)
        elif name == "psql, a process each":
            each = f"for n in $(seq 1 {given.schemas}); do psql -Xq -v ON_ERROR_STOP=1 -f n$n.sql '{url}' || exit 1; done"
            run = Run(["sh", "-c", each], folder, {}, is_watched)
        else:
            jobs = name.split(" ")[-1]
            run = Run([LYROX, "-q", "db", "migrate", "--tenants", "all", "--jobs", jobs], folder, {"DATABASE_URL": url}, is_watched)
        tables = server.psql(database, "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t[0-9]+$'")
        if int(tables) != given.schemas * FILES:
            raise SystemExit(f"{name}: {tables} tables")
        server.drop(database)
        return run

    note = f"{given.schemas} schemas, {FILES} migrations each: a table, a column, an index and a row. psql: a ledger per schema. " + (
        "Each schema holds a table already, so that lyrox gives each migration a transaction of its own." if is_held
        else "The schemas are empty: lyrox applies all twenty to a schema in one transaction.")
    names = ["psql, one connection", "psql, a process each", *[f"lyrox --jobs {jobs}" for jobs in (1, 2, 4)]]
    show(title, note, rounds(given.rounds, names, once), names[0])


def measure_databases(given, server, work):
    folder = project(work / "databases", "database", FILES)
    (folder / "tenants.csv").write_text("key\n" + "".join(f"n{number}\n" for number in range(1, DATABASES + 1)))
    own = server.fresh()
    url = {"DATABASE_URL": server.url(own)}
    lyrox(folder, url, "-q", "db", "migrate")
    lyrox(folder, url, "-q", "tenant", "create", "first", "--no-credentials")
    template = server.psql("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'lyrox_template_%'")
    (folder / "clone.sql").write_text("".join(f"CREATE DATABASE t_n{number} TEMPLATE {template};\n" for number in range(1, DATABASES + 1)))
    (folder / "make.sql").write_text("".join(f"CREATE DATABASE t_n{number};\n\\c t_n{number}\n{script('public', FILES)}" for number in range(1, DATABASES + 1)))
    psql = [shutil.which("psql"), "-Xq", "-v", "ON_ERROR_STOP=1"]

    def once(name, is_watched):
        server.psql("postgres", "CHECKPOINT")
        if name == "psql, one connection":
            run = Run([*psql, "-f", folder / "clone.sql", server.url("postgres")], folder, {}, is_watched)
        elif name == "psql, create and migrate":
            run = Run([*psql, "-f", folder / "make.sql", server.url("postgres")], folder, {}, is_watched)
        else:
            command = [LYROX, "-q", "tenant", "create", "--from-file", "tenants.csv", "--no-credentials", "--jobs", name.split(" ")[-1]]
            run = Run(command, folder, url, is_watched)
        found = server.psql("postgres", "SELECT count(*) FROM pg_database WHERE datname LIKE 't\\_n%'")
        if int(found) != DATABASES:
            raise SystemExit(f"{name}: {found} databases")
        for number in range(1, DATABASES + 1):
            server.drop(f"t_n{number}")
        server.psql(own, "DELETE FROM lyrox.tenants WHERE key <> 'first'")
        return run

    note = f"{DATABASES} databases from a template with {FILES} migrations; psql: CREATE DATABASE ... TEMPLATE. lyrox: with its registry, and nobody else may connect."
    names = ["psql, one connection", "psql, create and migrate", *[f"lyrox --jobs {jobs}" for jobs in (1, 2, 4)]]
    show("Databases", note, rounds(given.rounds, names, once), names[0])


def measure_nothing(given, server, work):
    folder = project(work / "nothing", "schema", 1)
    runs, trips = {}, {}
    for count in (SETTLED // 100, SETTLED):
        template = schemas(server, folder, count)
        database = server.fresh(template)
        url = {"DATABASE_URL": server.url(database)}
        command = [LYROX, "-q", "db", "migrate", "--tenants", "all"]
        runs[f"lyrox, all of {count:,} behind"] = [Run(command, folder, url, True)]
        runs[f"lyrox, nothing to do for {count:,}"] = rounds(3 * given.rounds, ["lyrox"], lambda _, watched: Run(command, folder, url, watched))["lyrox"]
        said = lyrox(folder, url, "-v", "db", "migrate", "--tenants", "all")
        trips[count] = re.search(r"(\d+) round trips", said).group(1)
        select = ["psql", "-XAtqc", "SELECT count(*), count(*) FILTER (WHERE head = 'x') FROM lyrox.tenants", url["DATABASE_URL"]]
        runs[f"psql, one question about {count:,}"] = rounds(3 * given.rounds, ["psql"], lambda _, watched: Run(select, folder, {}, watched))["psql"]
        server.drop(database)
    print("\n### Nothing to do\n\n" + "; ".join(f"{count:,} tenants: {number} round trips" for count, number in trips.items()))
    print("\n| what | median s | min to max | peak MB |\n|---|---|---|---|")
    for name, found in runs.items():
        seconds = [run.seconds for run in found]
        print(f"| {name} | {statistics.median(seconds):.3f} | {min(seconds):.3f} to {max(seconds):.3f} | {max(run.memory for run in found):.0f} |", flush=True)


def measure_rows(given, work):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-", dir=given.data))
    try:
        (folder / "migrations").mkdir()
        (folder / "migrations/1_company.up.sql").write_text(
            "CREATE TABLE company (id text PRIMARY KEY, name text NOT NULL);\n"
            "CREATE TABLE sale (id int PRIMARY KEY, company_id text NOT NULL REFERENCES company (id), total int);\n")
        (folder / "lyrox.toml").write_text(
            '[project]\nname = "bench"\n[postgres]\n[mongodb]\ndatabase = "bench"\n[redis]\nkey_prefix = "bench:"\n'
            '[tenancy]\nmodel = "row"\ntable = "company"\nkey_column = "id"\ncolumn = "company_id"\n')
        lyrox(folder, {}, "-q", "up")
        lyrox(folder, {}, "-q", "db", "migrate")
        runs = {}
        for only in ("postgres", "postgres,mongodb", "postgres,redis", "postgres,mongodb,redis"):
            found = []
            for number in range(given.rounds):
                batch = f"{only.replace(',', '')}{number}"
                (folder / "tenants.csv").write_text("key,name\n" + "".join(f"{batch}n{at},Company {at}\n" for at in range(ROWS)))
                command = [LYROX, "-q", "--only", only, "tenant", "create", "--from-file", "tenants.csv", "--no-credentials"]
                found.append(Run(command, folder, {}, number == 0))
            runs[only] = found
        print(f"\n### Rows\n\n{ROWS:,} tenants of shared tables: a row and a record in PostgreSQL, a record in MongoDB, a user and a record in Redis.")
        print("\n| stores | median s | min to max | peak MB | tenants a second |\n|---|---|---|---|---|")
        for name, found in runs.items():
            seconds = [run.seconds for run in found]
            middle = statistics.median(seconds)
            print(f"| {name} | {middle:.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {max(run.memory for run in found):.0f} | {ROWS / middle:.0f} |", flush=True)
    finally:
        lyrox(folder, {}, "-q", "down")
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--schemas", type=int, default=500, help="so many schemas are migrated [%(default)s]")
    parser.add_argument("--only", default="schemas,held,databases,nothing,rows,disk", help="a list of: %(default)s")
    parser.add_argument("--realtime", action="store_true",
                        help="run servers and tools before everything else, so that a busy machine disturbs little (Linux, root)")
    parser.add_argument("--postgres", default=subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True).stdout.strip(),
                        help="the folder of initdb and pg_ctl [%(default)s]")
    parser.add_argument("--data", default="/dev/shm", help="the folder of the servers' data [%(default)s: in memory]")
    parser.add_argument("--disk", default=tempfile.gettempdir(), help="a folder on a disk [%(default)s]")
    given = parser.parse_args()
    only = given.only.split(",")
    if given.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    work = pathlib.Path(tempfile.mkdtemp(prefix="lyrox-bench-work-"))
    server = None
    try:
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start, data in {given.data}, {given.rounds} rounds")
        if {"schemas", "held", "databases", "nothing"} & set(only):
            server = Server(given.postgres, given.data)
            print(f"PostgreSQL {server.version}")
            if "schemas" in only:
                measure_schemas(given, server, work, "Schemas, in memory")
            if "held" in only:
                measure_schemas(given, server, work, "Schemas that hold something, in memory", True)
            if "databases" in only:
                measure_databases(given, server, work)
            if "nothing" in only:
                measure_nothing(given, server, work)
            server.stop()
            server = None
        if "rows" in only:
            measure_rows(given, work)
        if "disk" in only:
            server = Server(given.postgres, given.disk)
            measure_schemas(given, server, work, "Schemas, on a disk")
        print(f"\nload {os.getloadavg()[0]:.1f} at the end")
    finally:
        if server:
            server.stop()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
