//! Values arrive as the server itself reads them, in binary or not.

use super::{detail, postgres};

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', 'so so', 'happy'); \
    CREATE DOMAIN percent AS numeric(5,2) CHECK (value >= 0); CREATE TYPE pair AS (a int, b text);";

/// Each type with texts of it; the plain ones go in binary, the others must be left to the server.
const VALUES: &[(&str, &[&str])] = &[
    ("int2", &["0", "-32768", "32767", " 7 "]),
    ("int4", &["2147483647", "-1", "+5", "007"]),
    ("int8", &["9223372036854775807", "-9223372036854775808"]),
    ("float4", &["1.5", "-0", "1e10", "0.1", "NaN", "Infinity", "1e-45"]),
    ("float8", &["1.7976931348623157e308", "0.1", "-0.0", "5e-324", "-Infinity", "123456789.123456789"]),
    ("numeric", &["0", "-0.00", "12345678901234567890.123456789", "0.00010", "10000", "99990000.0001", "1e3", "NaN"]),
    ("numeric(6,2)", &["1.005", "-9999.99", "0.004"]),
    ("percent", &["12.345", "0"]),
    ("bool", &["true", "f", "1", "yes", "off", "TRUE"]),
    (
        "uuid",
        &[
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        ],
    ),
    ("date", &["2024-02-29", "0001-01-01", "9999-12-31", "infinity", "1999-01-08 BC", "Jan 8, 1999"]),
    (
        "timestamp",
        &[
            "2025-06-01T12:30:45.123456",
            "1969-12-31 23:59:59.999999",
            "2025-06-01",
            "2025-06-01 24:00:00",
            "2025-06-01T10:00:00+05",
        ],
    ),
    ("timestamp(0)", &["2025-06-01 12:30:45.6"]),
    (
        "timestamptz",
        &[
            "2025-06-01T12:30:45Z",
            "2025-06-01 12:30:45.5+05:30",
            "2025-06-01 12:30:45-0800",
            "2025-06-01 12:30:45",
            "2025-06-01 12:30:45.1234567Z",
            "-infinity",
            "0044-03-15 12:00:00+00 BC",
            "2025-06-01 10:00 Europe/Berlin",
        ],
    ),
    ("bytea", &["\\x00ff10", "\\x", "abc\\\\def"]),
    ("text", &["plain", "tab\tnew\nline", "back\\slash \\N \\.", "é → 𝄞", "\"q\"", "NULL", ""]),
    ("varchar(5)", &["abc", "abcde"]),
    ("char(4)", &["ab", "abcd"]),
    ("json", &["{\"b\": 1,  \"a\": 2}", "[1, \"x\"]"]),
    ("jsonb", &["{\"b\": 1,  \"a\": 2}", "\"text\"", "1.50"]),
    ("mood", &["happy", "so so"]),
    ("interval", &["1 day 02:03:04", "P1Y2M"]),
    ("inet", &["10.0.0.1/8"]),
    ("text[]", &["{a,\"b,c\",NULL}", "{}"]),
    ("int4range", &["[1,5)", "empty"]),
    ("pair", &["(1,x)"]),
];

#[test]
fn every_type_arrives_as_the_server_reads_it() {
    let project = postgres("bulk_types", TYPES);
    project.sql("CREATE TABLE wanted (what text, value text)");
    for (at, (kind, values)) in VALUES.iter().enumerate() {
        let table = format!("t{at}");
        project.sql(&format!("CREATE TABLE {table} (id int PRIMARY KEY, v {kind})"));
        // Each value alone, so that one that is not plain does not decide the form of the others; then all.
        for (id, value) in values.iter().enumerate() {
            let csv = format!("id,v\n{id},\"{}\"\n{},\n", value.replace('"', "\"\""), 1000 + id);
            project.write("x.csv", &csv);
            let said = detail(
                &project,
                &["db", "seed", "--from", "x.csv", "--into", &format!("postgres.{table}")],
                &format!("postgres.{table}.csv"),
            );
            assert_eq!(said, "2 created", "{kind} {value}");
            let literal = value.replace('\'', "''");
            let same = format!(
                "SET TimeZone TO 'UTC'; SELECT v::text IS NOT DISTINCT FROM (E'{}'::{kind})::text FROM {table} WHERE id = {id}",
                literal.replace('\\', "\\\\")
            );
            let rows = project.sql(&same);
            assert_eq!(rows.last().and_then(|row| row[0].as_deref()), Some("t"), "{kind} {value:?}");
            assert_eq!(
                project.sql_value(&format!("SELECT (v IS NULL)::text FROM {table} WHERE id = {}", 1000 + id)),
                "true"
            );
            if id + 1 < values.len() {
                project.sql(&format!("DELETE FROM {table}"));
            }
        }
    }
}

#[test]
fn a_value_that_is_not_plain_far_down_changes_nothing() {
    let project = postgres("bulk_unfit", super::ITEM);
    // Longer than what is tried beforehand.
    let text = super::rows(1..3000).replace("2025-01-05T10:00:00Z,\"{\"\"n\"\": 2328,", "infinity,\"{\"\"n\"\": 2328,");
    assert!(text.contains("infinity"), "the row is there");
    project.write("item.csv", &text);
    let said = detail(&project, &["db", "seed", "--from", "item.csv", "--into", "postgres.item"], "postgres.item.csv");
    assert_eq!(said, "2999 created");
    assert_eq!(project.sql_value("SELECT id::text FROM item WHERE at = 'infinity'"), "2328");
}
