//! Helvino: Prisma's folder, six tests.

use super::{alone, from_nothing_twice, shows};

/// The page's six, in its order and its words.
const SIX: [(&str, &str); 6] = [
    ("Verify demo organization exists", "Found demo org (org_demo)"),
    ("Create conversation", "Created conversation ("),
    ("Add message to conversation", "Created message ("),
    ("Update conversation messageCount", "messageCount incremented correctly"),
    ("Read conversation with messages", "Read conversation with 1 message(s)"),
    ("Verify org isolation", "Found test conversation in org list ("),
];

#[test]
fn one_command_from_nothing_and_a_second_run_changes_nothing() {
    let helvino = alone("helvino");
    let first = from_nothing_twice(&helvino);
    first.says("Created/verified organization: demo").says("from .env.example");
    shows(&first, &SIX);
    // Another tool's history is no table of the project.
    first.never_says("_prisma_migrations");

    let six = helvino.lyrox(&["db", "smoke-test", "--tag", "chat"]);
    shows(six.ok(), &SIX);
    six.says("Test 6: Verify org isolation").says("FAILED: 0").says("Nothing is left behind");

    // Drops all and builds again, with the exact name only.
    helvino.lyrox(&["db", "reset", "--yes"]).exit(3).says("helvino");
    let url = lyrox::servers::running(helvino.path()).expect("servers").postgres_direct.expect("PostgreSQL");
    crate::support::sql(&url, "INSERT INTO organizations VALUES ('x', 'x', 'x')").expect("a row");
    helvino.lyrox(&["db", "reset", "--confirm", "helvino"]).ok();
    let rows = crate::support::sql(&url, "SELECT string_agg(key, ',') FROM organizations").expect("rows");
    assert_eq!(rows[0][0].as_deref(), Some("demo"));
    helvino.lyrox(&["db", "smoke-test"]).ok();
}
