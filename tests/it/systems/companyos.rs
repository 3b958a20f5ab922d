//! CompanyOS: 17 tables, two stores, the ten steps of its set-up script as one command.

use super::{alone, folder, from_nothing_twice, shows};
use crate::support::sql;

#[test]
fn one_command_from_nothing_and_a_second_run_changes_nothing() {
    let company = alone("companyos");
    let first = from_nothing_twice(&company);
    for step in
        ["prerequisites", "programs", ".env", "local servers", "check", "migrate", "seed", "expectations", "smoke test"]
    {
        first.says(&format!("/9 {step}"));
    }
    shows(
        &first,
        &[
            ("Migrations create all tables", "17 tables"),
            ("Seed fills them", "Acme Corp with 3 members, 5 integrations, 4 agents"),
            ("Foreign keys hold", ""),
            ("Cascades work", ""),
            ("Uniques are enforced", ""),
            ("Indexes exist and are used", "72 indexes"),
            ("JSONB round-trips", ""),
            ("Timestamps move on update", ""),
            ("UUIDs are generated", ""),
            ("Pooling is configured", ""),
            ("Redis connects", "PONG"),
            ("Cache operations work", "L1 24 h, L2 5 min, L3 1 h, L4 15 min"),
            ("A lock is exclusive, expires, and is released by its holder only", ""),
        ],
    );
    // Pub/sub delivers, group by group, without a line of its own.
    for group in ["deployments", "pull_requests", "agent_tasks", "social_posts"] {
        let delivers = first.stdout.lines().any(|line| line.contains(group) && line.contains("PASS"));
        assert!(delivers, "no channel test for {group}\n{first}");
    }
    let url = lyrox::servers::running(company.path()).expect("servers").postgres_direct.expect("PostgreSQL");
    it_is_as_large_as_its_page_says(&url);
    every_relation_among_the_seeded_tables_is_used(&url);
}

#[track_caller]
fn number(url: &str, query: &str) -> u64 {
    let rows = sql(url, query).unwrap_or_else(|error| panic!("{query}: {error}"));
    rows[0][0].as_deref().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{query}: {rows:?}"))
}

fn it_is_as_large_as_its_page_says(url: &str) {
    let schema = "table_schema = 'public'";
    assert_eq!(number(url, &format!("SELECT count(*) FROM information_schema.tables WHERE {schema}")), 17);
    let columns = number(url, &format!("SELECT count(*) FROM information_schema.columns WHERE {schema}"));
    assert!((175..=185).contains(&columns), "about 180 columns: {columns}");
    let of = |kinds: &str| {
        let query = "SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN";
        number(url, &format!("{query} ({kinds})"))
    };
    assert!(of("'f'") >= 25, "relations: {}", of("'f'"));
    assert!(of("'c', 'u'") >= 30, "constraints: {}", of("'c', 'u'"));
    assert!(number(url, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'") >= 50);

    let tables = sql(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").expect("tables");
    let counts = tables.iter().map(|row| {
        let table = row[0].clone().expect("a name");
        (number(url, &format!("SELECT count(*) FROM {table}")), table)
    });
    let counts: Vec<(u64, String)> = counts.collect();
    assert_eq!(counts.iter().map(|(count, _)| count).sum::<u64>(), 51, "{counts:?}");
    let empty: Vec<&str> = counts.iter().filter(|(count, _)| *count == 0).map(|(_, table)| table.as_str()).collect();
    assert_eq!(empty, ["agent_collaborations"]);
}

fn every_relation_among_the_seeded_tables_is_used(url: &str) {
    let keys = "SELECT c.conrelid::regclass, a.attname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid \
                AND a.attnum = c.conkey[1] WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace \
                AND c.conrelid <> 'agent_collaborations'::regclass";
    let rows = sql(url, keys).expect("keys");
    assert!(rows.len() >= 25, "{rows:?}");
    for row in rows {
        let (table, column) = (row[0].clone().expect("a table"), row[1].clone().expect("a column"));
        let used = number(url, &format!("SELECT count({column}) FROM {table}"));
        assert!(used > 0, "{table}.{column} is empty in every row");
    }
}

#[test]
fn its_way_back_leaves_nothing() {
    let company = super::shared("companyos", "sys_companyos");
    company.lyrox(&["db", "migrate"]).ok();
    company.lyrox(&["--yes", "db", "rollback", "--to", "0"]).ok();
    let left = "SELECT count(*) FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND NOT EXISTS \
                (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')";
    assert_eq!(company.sql_value(left), "0");
}

#[test]
fn no_credential_stands_in_clear() {
    let text =
        std::fs::read_to_string(folder("companyos").join("seeds/dev/postgres/integrations.toml")).expect("a file");
    let lines = text.lines().filter(|line| line.starts_with("encrypted_credentials"));
    assert_eq!(lines.clone().count(), 5);
    assert!(lines.into_iter().all(|line| line.ends_with("\"v1:development:none\"")));
}
