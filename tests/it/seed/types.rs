//! Every kind of column: what is written is what was meant, and a second run finds it unchanged.

use super::{detail, postgres_only, versions};

const SCHEMA: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy');
CREATE TYPE address AS (street text, zip varchar(5), at point, meta json);
CREATE DOMAIN email AS text CHECK (VALUE LIKE '%@%');
CREATE DOMAIN work_email AS email CHECK (VALUE LIKE '%.example');
CREATE DOMAIN strict AS text NOT NULL DEFAULT 'x' CHECK (VALUE <> '');
CREATE DOMAIN settings AS json;
CREATE DOMAIN more_settings AS settings;
CREATE DOMAIN labels AS text[];
CREATE TYPE floats AS RANGE (subtype = float8);
CREATE TABLE kinds (
    id int PRIMARY KEY,
    twice int GENERATED ALWAYS AS (id * 2) STORED,
    feeling mood, feelings mood[], grid int[][], words text[],
    span int4range, spans int4multirange, during tstzrange, days daterange, own floats,
    mail work_email, needed strict, needed_too strict DEFAULT 'y', tags labels, conf more_settings, confs more_settings[],
    doc jsonb, docs jsonb[], plain json, bytes bytea,
    place address, places address[], point point,
    flags bit(4), more_flags varbit(8), ip inet, net cidr, mac macaddr,
    age interval, big numeric, exact numeric(20, 10), nan numeric, real8 float8,
    at timestamptz, local timestamp, day date, clock time, clock_zone timetz,
    letter char(3), short varchar(4), one "char", price money, search tsvector, path jsonpath, xid8 xid8, lsn pg_lsn,
    word text COLLATE "C", big_id bigint, yes boolean, markup xml);
"#;

const ROWS: &str = r#"
[rows.all]
id = 1
feeling = "so so"
feelings = ["happy", "sad"]
grid = [[1, 2], [3, 4]]
words = ["a,b", "\"q\"", "", "NULL"]
span = "[1,10)"
spans = "{[1,3),[5,7)}"
during = "[2025-11-01T10:00:00+02:00,)"
days = "[2025-11-01,2025-11-30]"
own = "[1.5,2.5]"
mail = "a@b.example"
needed = "n"
tags = ["x", "y"]
conf = { json = { b = 1, a = [true] } }
confs = [{ a = 1 }]
doc = { b = 1.50, a = [1, "x"], deep = { deeper = true } }
docs = [{ a = 1 }, { b = 2 }]
plain = { json = { b = 1, a = 2 } }
bytes = "\\xdeadbeef"
place = { street = "Main, \"1\"", zip = "12345", at = "(1,2)", meta = { json = { a = 1 } } }
places = [{ street = "A" }, { zip = "9" }]
point = "(1.5,-2)"
flags = "1010"
more_flags = "101"
ip = "10.0.0.1/8"
net = "10.0.0.0/8"
mac = "08:00:2b:01:02:03"
age = "1 year 2 days 03:04:05.6"
big = "123456789012345678901234567890.12345"
exact = 12345678.0123456789
nan = "NaN"
real8 = inf
at = 2025-11-07T18:10:00+02:00
local = 2025-11-07T18:10:00
day = 2025-11-07
clock = 18:10:00
clock_zone = "18:10:00+02"
letter = "ab"
short = "ab"
one = "x"
price = "12.50"
search = "a fat cat"
path = "$.a[*]"
xid8 = "42"
lsn = "0/16B3748"
word = "ß"
big_id = 9223372036854775807
yes = true
markup = "<a b=\"1\"/>"
[rows.empty]
id = 2
"#;

#[test]
fn every_type_is_written_and_found_unchanged() {
    let project = postgres_only("seed_types", SCHEMA);
    project.write("seeds/dev/postgres/kinds.toml", ROWS);
    // The domain that may not be empty has a default of its own where the row says nothing.
    let rows = ROWS.replace("[rows.empty]\nid = 2\n", "[rows.empty]\nid = 2\nneeded = \"m\"\n");
    project.write("seeds/dev/postgres/kinds.toml", &rows);
    project.lyrox(&["db", "seed", "--plan"]).ok().says("2 to create");
    project.lyrox(&["db", "seed"]).ok().says("2 created");
    let value = |sql: &str| project.sql_value(&format!("SELECT {sql} FROM kinds WHERE id = 1"));
    for (sql, expected) in [
        ("twice", "2"),
        ("feelings[1]", "happy"),
        ("grid[2][1]", "3"),
        ("words::text", r#"{"a,b","\"q\"","","NULL"}"#),
        ("upper(span)", "10"),
        ("spans::text", "{[1,3),[5,7)}"),
        ("lower(during) AT TIME ZONE 'UTC'", "2025-11-01 08:00:00"),
        ("upper(days)", "2025-12-01"),
        ("own::text", "[1.5,2.5]"),
        ("needed_too", "y"),
        ("tags[2]", "y"),
        ("conf #>> '{a,0}'", "true"),
        ("doc ->> 'b'", "1.5"),
        ("encode(bytes, 'hex')", "deadbeef"),
        ("(place).street", "Main, \"1\""),
        ("(places[2]).zip", "9"),
        ("flags::text", "1010"),
        ("host(ip)", "10.0.0.1"),
        ("extract(epoch FROM age) > 31500000", "t"),
        ("big::text", "123456789012345678901234567890.12345"),
        ("exact::text", "12345678.0123456789"),
        ("nan::text", "NaN"),
        ("real8::text", "Infinity"),
        ("at AT TIME ZONE 'UTC'", "2025-11-07 16:10:00"),
        ("local", "2025-11-07 18:10:00"),
        ("clock_zone::text", "18:10:00+02"),
        ("big_id", "9223372036854775807"),
    ] {
        assert_eq!(value(sql), expected, "{sql}");
    }
    let before = versions(&project, "kinds");
    for _ in 0..2 {
        let again = project.lyrox(&["db", "seed", "--output", "json"]);
        again.ok();
        assert_eq!(again.item("postgres.kinds")["detail"], "2 unchanged", "{again}");
    }
    assert_eq!(versions(&project, "kinds"), before);
    // A difference in one of them is one difference.
    project.write("seeds/dev/postgres/kinds.toml", &rows.replace("zip = \"12345\"", "zip = \"12346\""));
    let plan = project.lyrox(&["db", "seed", "--plan", "--output", "json"]);
    assert_eq!(plan.json()["data"]["targets"][0]["rows"][0]["fields"], serde_json::json!(["place"]));
    assert_eq!(detail(&project, &["db", "seed"], "postgres.kinds"), "1 updated, 1 unchanged");
}

#[test]
fn a_value_that_its_type_refuses_is_named_by_its_row_also_by_a_plan() {
    let project = postgres_only("seed_type_bad", SCHEMA);
    for (line, says) in [
        ("feeling = \"angry\"", "invalid input value for enum mood"),
        ("mail = \"a@b.com\"", "violates check constraint"),
        ("short = \"abcde\"", "value too long"),
        ("span = \"[5,1)\"", "range lower bound"),
        ("bytes = \"\\\\xzz\"", "invalid hexadecimal"),
        ("needed = { null = true }", "does not allow null values"),
    ] {
        project.write("seeds/dev/postgres/kinds.toml", &format!("[rows.a]\nid = 1\n{line}\n"));
        for flags in [&["db", "seed", "--plan"][..], &["db", "seed"]] {
            project.lyrox(flags).exit(1).says(says).says("kinds.toml:1");
        }
    }
    project.write("seeds/dev/postgres/kinds.toml", "[rows.a]\nid = 1\ntwice = 2\n");
    project.lyrox(&["db", "seed"]).exit(2).says("is computed by the server").says("kinds.toml:3");
}
