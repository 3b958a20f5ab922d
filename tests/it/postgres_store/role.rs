//! The application's role.

use lyrox::config::{self, Choice};
use lyrox::error::Code;
use lyrox::kind::StoreKind;
use lyrox::stores::Store as _;
use lyrox::stores::postgres::PostgresStore;

use super::Bench;
use crate::support::servers::servers;
use crate::support::{block_on, sql};

#[test]
fn the_application_role_gets_what_it_needs_and_no_more() {
    let extra = |role: &str| {
        format!(
            "app_role = \"{role}\"\nextensions = [\"citext\"]\n[postgres.app_grants_except]\nUser = [\"passwordHash\"]\n"
        )
    };
    let role = format!("it_pg_app_{}", std::process::id());
    let bench = Bench::with(
        "grant",
        &extra(&role),
        &[(
            "1_a.up.sql",
            "CREATE TABLE \"User\" (id serial PRIMARY KEY, mail citext, \"passwordHash\" text);\nCREATE VIEW v AS SELECT 1 AS one;\n",
        )],
    );
    bench.migrate();
    bench.settle();
    let can = |what: &str| bench.project.sql_value(&format!("SELECT {what}")) == "t";
    assert!(can(&format!("has_table_privilege('{role}', '\"User\"', 'INSERT, UPDATE, DELETE')")));
    assert!(!can(&format!("has_table_privilege('{role}', '\"User\"', 'SELECT')")));
    assert!(can(&format!("has_column_privilege('{role}', '\"User\"', 'mail', 'SELECT')")));
    assert!(!can(&format!("has_column_privilege('{role}', '\"User\"', 'passwordHash', 'SELECT')")));
    assert!(can(&format!("has_sequence_privilege('{role}', '\"User_id_seq\"', 'USAGE')")));
    assert!(can(&format!("has_table_privilege('{role}', 'v', 'SELECT')")));
    assert!(!can(&format!("has_schema_privilege('{role}', 'lyrox', 'USAGE')")));
    assert!(can(&format!(
        "(SELECT rolcanlogin AND NOT rolsuper AND NOT rolbypassrls FROM pg_roles WHERE rolname = '{role}')"
    )));
    assert_eq!(bench.project.sql_value("SELECT extname FROM pg_extension WHERE extname = 'citext'"), "citext");
    let told = bench.events.items.lock().expect("items").iter().map(|item| item.id.clone()).collect::<Vec<_>>();
    assert!(told.ends_with(&["postgres.role".into(), "postgres.grants".into()]), "{told:?}");

    // A second time there is nothing to tell; what was given by hand too much is taken back.
    let count = told.len();
    bench.settle();
    assert_eq!(bench.events.items.lock().expect("items").len(), count);
    bench.project.sql(&format!("GRANT ALL ON \"User\" TO {role}"));
    bench.settle();
    assert!(!can(&format!("has_table_privilege('{role}', '\"User\"', 'TRUNCATE')")));
    assert!(!can(&format!("has_column_privilege('{role}', '\"User\"', 'passwordHash', 'SELECT')")));
    assert!(can(&format!("has_column_privilege('{role}', '\"User\"', 'mail', 'SELECT')")));
    // Roles are the whole server's: this one goes once nothing refers to it.
    drop(bench);
    sql(&servers().postgres, &format!("DROP ROLE {role}")).expect("the role dropped");
}

#[test]
fn a_role_that_policies_cannot_hold_is_refused() {
    let bench = Bench::new("owner", &[("1_a.up.sql", "CREATE TABLE a (id int);")]);
    bench.migrate();
    let owner = bench.project.sql_value("SELECT current_user");
    for (extra, code) in [
        (format!("app_role = \"{owner}\""), Code::Privilege),
        ("extensions = [\"no_such_extension\"]".to_owned(), Code::Extension),
    ] {
        bench
            .project
            .write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{extra}\n", bench.project.name));
        let choice = Choice { directory: Some(bench.project.root().to_owned()), ..Choice::default() };
        let config = config::load(&choice).expect("a configuration");
        let mut store =
            block_on(PostgresStore::open(&config, bench.targets.get(StoreKind::Postgres).expect("a target")))
                .expect("a connection");
        let error = block_on(store.grant(&|| false, &bench.events)).expect_err("a refusal");
        assert_eq!(error.code(), code, "{error:?}");
        block_on(store.close());
    }
}
