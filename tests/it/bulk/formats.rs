//! One set of rows in every format, from a file and through a pipe; the traps of CSV.

use std::io::Write as _;

use super::{ITEM, detail, piped, postgres, rows};
use crate::support::Project;

const HASH: &str = "SELECT md5(string_agg(item::text, E'\n' ORDER BY id)) FROM item";

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text).expect("packed");
    packer.finish().expect("packed")
}

fn zstd(text: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(text, 1).expect("packed")
}

/// The rows of [`rows`] as JSON.
fn objects() -> Vec<String> {
    (1..500_u64)
        .map(|n| {
            format!(
                "{{\"id\": {n}, \"name\": \"name {n}, quoted\", \"price\": {n}.{:02}, \"at\": \"2025-01-{:02}T10:00:00Z\", \"data\": {{\"n\": {n}, \"s\": \"v\"}}}}",
                n % 100,
                n % 28 + 1
            )
        })
        .collect()
}

#[test]
fn every_format_gives_the_same_rows() {
    let project = postgres("bulk_formats", ITEM);
    let csv = rows(1..500).into_bytes();
    let lines = (objects().join("\n") + "\n").into_bytes();
    let array = format!("[\n{}\n]\n", objects().join(",\n")).into_bytes();
    let mut two = gzip(&csv[..1000]);
    two.extend(gzip(&csv[1000..]));
    let files: [(&str, Vec<u8>); 9] = [
        ("a.csv", csv.clone()),
        ("a.csv.gz", two),
        ("a.csv.zst", zstd(&csv)),
        ("a.ndjson", lines.clone()),
        ("a.ndjson.gz", gzip(&lines)),
        ("a.jsonl.zst", zstd(&lines)),
        ("a.json", array.clone()),
        ("a.json.gz", gzip(&array)),
        (
            "b.csv",
            [b"\xef\xbb\xbf".to_vec(), String::from_utf8_lossy(&csv).replace('\n', "\r\n").into_bytes()].concat(),
        ),
    ];
    let mut hash = None;
    for (name, bytes) in files {
        std::fs::write(project.path(name), &bytes).expect("a file");
        project.lyrox(&["db", "seed", "--from", name, "--into", "postgres.item"]).ok().says("499 created");
        let found = project.sql_value(HASH);
        assert_eq!(*hash.get_or_insert(found.clone()), found, "{name}");
        project.sql("TRUNCATE item");
        let format = name.split_once('.').expect("an ending").1.trim_end_matches(".gz").trim_end_matches(".zst");
        let arguments = ["db", "seed", "--from", "-", "--into", "postgres.item", "--format", format];
        piped(&project, &arguments, &bytes).ok().says("499 created").says("item (stdin)");
        assert_eq!(hash.as_deref(), Some(project.sql_value(HASH).as_str()), "{name} through a pipe");
        project.sql("TRUNCATE item");
    }
    // In a set, beside other seeds.
    std::fs::create_dir_all(project.path("seeds/dev/postgres")).expect("a folder");
    std::fs::write(project.path("seeds/dev/postgres/item.csv.gz"), gzip(&csv)).expect("a file");
    assert_eq!(detail(&project, &["db", "seed"], "postgres.item.csv.gz"), "499 created");
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_line() {
    let project = postgres("bulk_broken", ITEM);
    let refuse = |name: &str, bytes: &[u8], words: &[&str]| {
        std::fs::write(project.path(name), bytes).expect("a file");
        let output = project.lyrox(&["db", "seed", "--from", name, "--into", "postgres.item"]);
        output.exit(2).says("nothing was changed");
        for word in words {
            output.says(word);
        }
    };
    refuse("cut.csv.gz", &gzip(rows(1..500).as_bytes())[..500], &["cut.csv.gz", "cannot read"]);
    refuse("open.csv", b"id,name\n1,a\n2,\"b\n3,c\n", &["open.csv:3", "before it is closed"]);
    refuse("junk.csv", b"id,name\n1,\"a\"b\n", &["junk.csv:2", "after the closing quote"]);
    refuse("few.csv", b"id,name\n1,a\n2\n", &["few.csv:3", "1 fields where the header has 2"]);
    refuse("latin.csv", b"id,name\n1,a\n2,\xe9\n", &["latin.csv:3", "not valid UTF-8"]);
    refuse("mac.csv", b"id,name\r1,a\r", &["CR alone"]);
    refuse("twice.csv", b"id,id\n", &["`id` twice"]);
    refuse("none.csv", b"", &["has no header"]);
    refuse("end.json", b"[{\"id\": 1},\n{\"id\": 2}", &["end.json:2", "a comma or ]"]);
    refuse("bad.json", b"[{\"id\": 1},\n{\"id\": 2,\n\"name\": }]", &["bad.json:3", "no JSON object"]);
    refuse("what.xml", b"<a/>", &["the format of `what.xml` is not known", "--format"]);
    project.lyrox(&["db", "seed", "--from", "none.csv", "--into", "item"]).exit(2).says("names no target");
    project.lyrox(&["db", "seed", "--from", "none.csv", "--into", "redis.x"]).exit(2).says("has no redis");
    project.lyrox(&["db", "seed", "--from", "none.csv"]).exit(2);
}

#[test]
fn null_and_empty_are_two_things() {
    let project = postgres("bulk_empty", "CREATE TABLE t (id int PRIMARY KEY, v text)");
    project.write("t.csv", "id,v\n1,\n2,\"\"\n3,\" \"\n\n4,\"a\nb\"\r\n5,\"q\"\"q\"\"\"\n");
    assert_eq!(
        detail(&project, &["db", "seed", "--from", "t.csv", "--into", "postgres.t"], "postgres.t.csv"),
        "5 created"
    );
    let found = project.sql_value("SELECT string_agg(coalesce('[' || v || ']', '~'), '|' ORDER BY id) FROM t");
    assert_eq!(found, "~|[]|[ ]|[a\nb]|[q\"q\"]");
    project.write("t.ndjson", "{\"id\": 6}\n{\"id\": 7, \"v\": \"\"}\n{\"id\": 8, \"v\": null}\n");
    project.lyrox(&["db", "seed", "--from", "t.ndjson", "--into", "postgres.t"]).ok();
    let found =
        project.sql_value("SELECT string_agg(coalesce('[' || v || ']', '~'), '|' ORDER BY id) FROM t WHERE id > 5");
    assert_eq!(found, "~|[]|~");
}

#[test]
fn memory_stays_flat() {
    let project = postgres("bulk_memory", ITEM);
    let peak = |project: &Project| {
        let mut child =
            project.command(&["db", "seed", "--from", "item.csv", "--into", "postgres.item"]).spawn().expect("lyrox");
        let mut peak = 0_u64;
        while child.try_wait().expect("a child").is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned));
            peak = peak.max(line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        peak
    };
    project.write("item.csv", &rows(1..5_000));
    let small = peak(&project);
    project.sql("TRUNCATE item");
    project.write("item.csv", &rows(1..250_000));
    let large = peak(&project);
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "249999");
    assert!(large < small + 12_000, "{small} kB for little, {large} kB for much");
}
