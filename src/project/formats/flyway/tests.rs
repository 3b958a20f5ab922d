//! Names, checksums and what stands beside scripts.

use super::beside::is_true;
use super::*;
use crate::config::file::Migrations;
use crate::kind::StoreKind;

#[test]
fn checksums_match_the_vector_whatever_ends_a_line() {
    for text in [
        "CREATE TABLE t (id int);\n",
        "CREATE TABLE t (id int);\r\n",
        "CREATE TABLE t (id int);\r",
        "CREATE TABLE t (id int);",
        "\u{feff}CREATE TABLE t (id int);\n",
        "CREATE TABLE t \r(id int);\n\n",
    ] {
        assert_eq!(checksum(text), 92_137_680, "{text:?}");
    }
    // A mark that is not at the beginning counts.
    assert_ne!(checksum("CREATE TABLE t (id int);\n\u{feff}"), 92_137_680);
}

#[test]
fn names_are_read_as_flyway_reads_them() {
    let settings = Settings::default();
    let of = |file: &str| {
        parse_name(file, &settings).map(|name| name.map(|name| (name.kind, name.version, name.description)))
    };
    let is = |kind, version: &str, description: &str| Ok(Some((kind, version.to_owned(), description.to_owned())));
    assert_eq!(of("V1__init.sql"), is(Kind::Versioned, "1", "init"));
    assert_eq!(of("V1_2.03__a__b.sql"), is(Kind::Versioned, "1.2.03", "a__b"));
    assert_eq!(of("V20240101.sql"), is(Kind::Versioned, "20240101", ""));
    assert_eq!(of("U2__undo_it.sql"), is(Kind::Undo, "2", "undo_it"));
    assert_eq!(of("B5__all.sql"), is(Kind::Baseline, "5", "all"));
    assert_eq!(of("R__some_views.sql"), is(Kind::Repeatable, "", "some_views"));
    for file in ["Views.sql", "Readme.md", "backup.sql", "V1__a.sql.conf", "V__a.sql", "v1__a.sql", "beforehand.sql"] {
        assert_eq!(of(file), Ok(None), "{file}");
    }
    for file in ["V1a__x.sql", "V1..2__x.sql", "R__.sql", "afterMigrate.sql", "beforeEachMigrate__x.sql"] {
        assert!(of(file).is_err(), "{file}");
    }
    let canonical = |version| super::canonical(version);
    assert_eq!(
        [canonical("1.0"), canonical("01_2_0"), canonical("0"), canonical("10.0.1")],
        ["1", "1.2", "0", "10.0.1"]
    );
}

#[test]
fn a_folder_is_read_by_the_rules_of_flyway() {
    let root = tempfile::tempdir().expect("a folder");
    let dir = root.path().join("sql");
    std::fs::create_dir_all(dir.join("more")).expect("folders");
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("a file");
    write("V1__init.sql", "CREATE TABLE t (id int);\n");
    write("V1.10__c.sql", "SELECT '${who}';\n");
    write("more/V1_9__b_b.sql", "\u{feff}SELECT 1;\r\n");
    write("U1.9__b_b.sql", "SELECT 2;\n");
    write("B1.9__all.sql", "SELECT 3;\n");
    write("R__b.sql", "SELECT '${who}';\n");
    write("R__a.sql", "SELECT 4;\n");
    write("V2__never.sql", "SELECT 5;\n");
    write("V2__never.sql.conf", "# not here\nshouldExecute=${who}==you\nexecuteInTransaction=false\n");
    std::fs::write(root.path().join("flyway.conf"), "flyway.locations=filesystem:sql\nflyway.placeholders.who=it\n")
        .expect("a file");
    let settings = Migrations { placeholders: [("Who".into(), "me".into())].into(), ..Migrations::default() };
    let folder = Folder { root: root.path(), dir: "migrations", settings: &settings };
    let files = read(folder).expect("migrations");
    let labels: Vec<String> = files.iter().map(Migration::label).collect();
    assert_eq!(labels, ["1.9B_all", "1_init", "1.9_b_b", "1.10_c", "2_never", "R__a", "R__b"]);
    let part = |at: usize| files[at].parts[&StoreKind::Postgres].clone();
    let foreign = |at: usize| part(at).up.foreign.clone().expect("its history");
    assert_eq!((foreign(1).checksum.as_str(), foreign(1).script.as_str()), ("92137680", "V1__init.sql"));
    assert_eq!((foreign(2).key.as_str(), foreign(2).name.as_str()), ("1.9", "b b"));
    assert_eq!(foreign(2).script, "more/V1_9__b_b.sql");
    assert_eq!(part(2).down.expect("a way back").path, "sql/U1.9__b_b.sql");
    assert!(foreign(0).is_baseline && foreign(0).key == "1.9B");
    assert_eq!(foreign(3).checksum, checksum("SELECT '${who}';").to_string());
    assert!(!part(3).up.header.fill.is_nothing());
    assert_eq!((part(4).up.text.as_str(), part(4).up.header.no_transaction), ("", true));
    // What runs again when a value changes is summed with the value; the plain sum is good as well.
    assert_eq!(foreign(6).checksum, checksum("SELECT 'me';").to_string());
    assert_eq!(foreign(6).accepted, [checksum("SELECT '${who}';").to_string()]);
    assert_eq!(detect(root.path()).expect("flyway").certainty, 3);
    let now: jiff::Timestamp = "2024-01-01T00:00:00Z".parse().expect("a time");
    assert_eq!(new_files(folder, "x", now).expect("a file")[0].0, "sql/V3__x.sql");

    write("V01.10.0__again.sql", "SELECT 1;");
    assert_eq!(read(folder).expect_err("a duplicate").code(), Code::FileDuplicate);
    std::fs::remove_file(dir.join("V01.10.0__again.sql")).expect("a file to remove");
    write("U7__nothing.sql", "SELECT 1;");
    assert!(read(folder).expect_err("an undo alone").to_string().contains("U7__nothing.sql"));
    std::fs::remove_file(dir.join("U7__nothing.sql")).expect("a file to remove");
    write("V2__never.sql.conf", "shouldExecute=perhaps\n");
    assert!(read(folder).expect_err("a wish").to_string().contains("perhaps"));
}

#[test]
fn conditions_are_worked_out() {
    assert_eq!(is_true("true"), Some(true));
    assert_eq!(is_true("(a == a) & (b != b)"), Some(false));
    assert_eq!(is_true("a==b || c=='c'"), Some(true));
    assert_eq!(is_true("perhaps"), None);
}
