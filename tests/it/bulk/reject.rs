//! Rows that are refused are set aside with the reason; the others are loaded.

use super::{ITEM, postgres, rows};
use crate::support::Project;

const SEED: [&str; 8] = ["db", "seed", "--from", "item.csv", "--into", "postgres.item", "--reject", "bad.csv"];

fn reasons(project: &Project, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(project.path(file)).expect("the file of refused rows");
    text.lines().filter_map(|line| Some(line.get(line.find("line ")?..)?.to_owned())).collect()
}

/// Five thousand rows, with one of each kind of trouble.
fn troubled() -> String {
    let good = rows(1..5_000);
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    lines[700] = lines[700].replace("2025-", "20x5-");
    lines[900] = lines[900].replacen("900,", "899,", 1);
    lines[1200] = "1200,too,few".into();
    lines[1500] = "1500,\"x\"y,1.00,2025-01-01T10:00:00Z,{}".into();
    lines[1700] = lines[1700].replacen("1700,", ",", 1);
    lines[2000] = "2000,,1.00,2025-01-01T10:00:00Z,{}".into();
    lines[4999] = lines[4999].replace("{\"\"n\"\"", "{n");
    lines.join("\n") + "\n"
}

#[test]
fn the_others_are_loaded_and_the_mended_file_goes_in_as_it_is() {
    let project = postgres("bulk_reject", ITEM);
    project.write("item.csv", &troubled());
    project
        .lyrox(&SEED)
        .exit(1)
        .says("4992 created")
        .says("7 rows are set aside in `bad.csv`")
        .says("LYX-SEED-REJECTED");
    assert_eq!(project.sql_value("SELECT count(*) FROM item"), "4992");
    let mut found = reasons(&project, "bad.csv");
    found.sort();
    let wanted = [
        ("line 1201:", "3 fields where the header has 5"),
        ("line 1501:", "after the closing quote"),
        ("line 1701:", "lacks `id`"),
        ("line 2001:", "null value in column"),
        ("line 5000:", "invalid input syntax for type json"),
        ("line 701:", "invalid input syntax for type timestamp"),
        ("line 901:", "duplicate key value"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for (found, (line, why)) in found.iter().zip(wanted) {
        assert!(found.starts_with(line) && found.contains(why), "{found} is not {line} {why}");
    }
    // The file is not written over.
    project.lyrox(&SEED).exit(2).says("`bad.csv` is there already");
    // Mended: the duplicate gets its id again, the others go.
    let bad = std::fs::read_to_string(project.path("bad.csv")).expect("a file");
    let mended: Vec<String> = bad
        .lines()
        .filter(|line| line.ends_with("lyrox_reason") || line.contains("duplicate"))
        .map(|line| line.replacen("899,", "900,", 1))
        .collect();
    assert_eq!(mended.len(), 2);
    project.write("mended.csv", &(mended.join("\n") + "\n"));
    project.lyrox(&["db", "seed", "--from", "mended.csv", "--into", "postgres.item"]).ok().says("1 created");
}

#[test]
fn a_merge_sets_aside_too() {
    let project = postgres("bulk_reject_merge", &format!("{ITEM} ALTER TABLE item ADD CHECK (price < 4000)"));
    project.sql("INSERT INTO item VALUES (1, 'old', 1, now(), '{}')");
    project.write("item.csv", &troubled());
    // Beside six of the seven (what comes twice is merged into its twin) the check refuses 999 of 4000 and above.
    let output = project.lyrox(&SEED);
    output.exit(1).says("2 updated").says("1005 rows are set aside").says("LYX-SEED-REJECTED");
    let stored = "SELECT count(*)::text || ' ' || max(price)::text FROM item";
    let found = project.sql_value(stored);
    assert!(found.ends_with(" 3999.99"), "{found}");
    let found = reasons(&project, "bad.csv");
    assert_eq!(found.iter().filter(|why| why.contains("violates check constraint")).count(), 999);
}

#[test]
fn rows_that_point_at_later_rows_are_not_refused() {
    let project =
        postgres("bulk_reject_self", "CREATE TABLE item (id int PRIMARY KEY, parent int REFERENCES item (id))");
    // Each points at the next, over the pieces that are sent together; some point at what is not there, and
    // one points at one of those.
    let rows: String = (1..10_000).map(|n| format!("{n},{}\n", n + 1)).collect();
    let orphans = "20000,77777\n20001,77777\n20002,20001\n20003,88888\n";
    project.write("item.csv", &format!("id,parent\n{rows}10000,\n{orphans}20004,1\n"));
    project.lyrox(&SEED).exit(1).says("10001 created").says("4 rows are set aside");
    let found = reasons(&project, "bad.csv");
    assert!(found.iter().all(|why| why.contains("violates foreign key constraint")), "{found:?}");
    assert_eq!(project.sql_value("SELECT count(*)::text || ' ' || max(id)::text FROM item"), "10001 20004");
    // Where rows point elsewhere, each that finds nothing is named at once.
    project.sql("CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item (id))");
    let rows: String = (1..9_000).map(|n| format!("{n},{}\n", if n % 100 == 0 { 50_000 + n } else { n })).collect();
    project.write("part.csv", &format!("id,item\n{rows}"));
    let arguments = ["db", "seed", "--from", "part.csv", "--into", "postgres.part", "--reject", "parts.csv"];
    project.lyrox(&arguments).exit(1).says("8910 created").says("89 rows are set aside");
}

#[test]
fn nothing_wrong_leaves_no_file() {
    let project = postgres("bulk_reject_none", ITEM);
    project.write("item.csv", &rows(1..100));
    project.lyrox(&SEED).ok().says("99 created");
    assert!(!project.path("bad.csv").exists());
}
