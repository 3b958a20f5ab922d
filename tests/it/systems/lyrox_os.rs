//! LYROX OS: the project at the root of the repository.

use super::{from_nothing_twice, shows};
use crate::setup::Alone;
use crate::support::sql;

#[test]
fn one_command_from_nothing_and_a_second_run_changes_nothing() {
    let project = Alone::lyrox_os();
    let first = from_nothing_twice(&project);
    // What its script printed, in lyrox's own layout.
    for connected in ["PostgreSQL 1", "MongoDB ", "Found 2 companies: Emilio Born Coaching, "] {
        first.says(connected);
    }
    shows(
        &first,
        &[
            ("Policies bind the application", ""),
            ("Row-level security is forced", "6 tables"),
            ("A company neither reads nor writes another's rows", ""),
            ("The application cannot read password hashes", ""),
        ],
    );
    let urls = lyrox::servers::running(project.path()).expect("running servers");
    let owner = urls.postgres_direct.expect("PostgreSQL");
    // Every one of the seven tables has believable rows.
    for table in ["User", "Company", "Product", "Customer", "Sale", "AgentLog", "Subscription"] {
        let rows = sql(&owner, &format!("SELECT count(*) FROM \"{table}\"")).expect("a count");
        assert!(rows[0][0].as_deref().is_some_and(|count| count != "0"), "{table} is empty");
    }
    // As the page has it: what may be empty and what may not.
    let nullable = "SELECT string_agg(table_name || '.' || column_name, ' ' ORDER BY table_name, column_name) \
                    FROM information_schema.columns WHERE table_name IN ('User', 'Company') AND is_nullable = 'YES'";
    let rows = sql(&owner, nullable).expect("columns");
    assert_eq!(rows[0][0].as_deref(), Some("Company.industry User.name"));
}
