//! Tables: the order of repeatables.

use std::sync::Arc;

use super::*;
use crate::project::migration::{Header, Script, Version};

fn file(name: &str, after: &[&str], text: &str) -> Migration {
    let header = Header { after: after.iter().map(|name| (*name).to_owned()).collect(), ..Header::default() };
    let up =
        Script { path: format!("{name}.sql"), text: text.into(), checksum: text.into(), header, ..Script::default() };
    let parts = BTreeMap::from([(StoreKind::Postgres, Part { up: Arc::new(up), down: None })]);
    Migration { version: Version::repeatable(name), name: String::new(), parts }
}

fn names(files: &[Migration]) -> String {
    let order = order(files).expect("an order");
    order.iter().map(|(_, file, _)| file.version.as_str().trim_start_matches("R__")).collect::<Vec<_>>().join(" ")
}

#[test]
fn references_and_headers_order_them_else_the_name() {
    let view = |name: &str, from: &str| format!("CREATE OR REPLACE VIEW {name} AS SELECT * FROM {from}");
    assert_eq!(names(&[file("b", &[], "SELECT 1"), file("a", &[], "SELECT 1")]), "a b");
    assert_eq!(names(&[file("a", &[], &view("x", "public.y")), file("b", &[], &view("Y", "t"))]), "b a");
    assert_eq!(names(&[file("a", &["b"], "SELECT 1"), file("b", &[], "SELECT 1")]), "b a");
    // A name in a comment, a text or an alias is no need; a mention orders and ties no knot.
    assert_eq!(names(&[file("a", &[], "CREATE VIEW x AS SELECT 1 AS y"), file("b", &[], &view("y", "x"))]), "a b");
    // What is said the other way round outweighs what looks like a reference.
    assert_eq!(names(&[file("a", &[], &view("x", "y")), file("b", &["a"], &view("y", "t"))]), "a b");
}

#[test]
fn a_cycle_names_each_of_its_files_and_no_other() {
    let files = [file("a", &["b"], "SELECT 1"), file("b", &["c"], "SELECT 1"), file("c", &["b"], "SELECT 1")];
    let error = check(&files).expect_err("a cycle");
    let why = error.why_text().unwrap_or_default();
    assert!(why.contains("`b.sql` -> `c.sql` -> `b.sql`"), "{why}");
    assert!(!why.contains("a.sql"), "{why}");
}
