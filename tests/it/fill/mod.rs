//! `lyrox db seed --fill` and `[generate]` blocks: any schema is filled without configuration, the same seed number
//! gives the same rows, a second run adds nothing, and the smoke tests pass on what was filled.

mod block;
mod stores;

use crate::support::Project;

/// A project of PostgreSQL alone with this schema, migrated.
pub fn project(name: &str, schema: &str) -> Project {
    let project = Project::new(name, "");
    project.write("lyrox.toml", "[project]\nname = \"fill\"\n[postgres]\n");
    project.write("migrations/1_core.up.sql", schema);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

/// Every row of every table as one number each, by table.
pub fn sums(project: &Project) -> Vec<Vec<Option<String>>> {
    let tables = project.sql(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname NOT IN ('information_schema', 'lyrox') AND n.nspname !~ '^pg_' AND c.relkind = 'r' ORDER BY 1",
    );
    let parts: Vec<String> = tables
        .iter()
        .filter_map(|row| row[0].as_ref())
        .map(|table| format!("SELECT '{}', count(*), md5(coalesce(string_agg(t::text, '\n' ORDER BY t::text COLLATE \"C\"), '')) FROM ONLY {table} t", table.replace('\'', "''")))
        .collect();
    project.sql(&format!("{} ORDER BY 1", parts.join(" UNION ALL ")))
}

/// Migrates, fills, fills again, and runs the smoke tests. `untried` names what smoke tests may leave out.
fn passes(name: &str, schema: &str, on_top: u64) {
    let project = project(&format!("fill_{name}"), schema);
    let output = project.lyrox(&["db", "seed", "--fill", "10k", "--output", "json"]);
    output.ok();
    let report = output.json();
    let warned: Vec<&serde_json::Value> =
        report["items"].as_array().expect("items").iter().filter(|item| item["outcome"] != "pass").collect();
    assert!(warned.is_empty(), "{warned:#?}");
    let before = sums(&project);
    let total: u64 = before.iter().filter_map(|row| row[1].as_ref()?.parse::<u64>().ok()).sum();
    assert_eq!(total, 10_000 + on_top, "{before:?}");
    let again = project.lyrox(&["db", "seed", "--fill", "10k", "--output", "json"]);
    again.ok();
    for item in again.json()["items"].as_array().expect("items") {
        assert_eq!(item["change"], "unchanged", "{item:#}");
    }
    assert_eq!(sums(&project), before, "a second run changes nothing");
    let smoke = project.lyrox(&["db", "smoke-test", "--output", "json"]);
    smoke.ok();
    let untried: Vec<String> = smoke.json()["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter(|item| item["outcome"] == "skip")
        .map(|item| format!("{}: {}", item["id"], item["detail"]))
        .collect();
    assert!(untried.len() <= 1, "{untried:#?}");
}

#[test]
fn billing() {
    passes("billing", include_str!("schemas/billing.sql"), 0);
}

#[test]
fn booking_with_exclusion_constraints() {
    passes("booking", include_str!("schemas/booking.sql"), 0);
}

#[test]
fn many_tenants_with_composite_keys_and_policies() {
    passes("saas", include_str!("schemas/saas.sql"), 0);
}

#[test]
fn an_event_store_in_partitions() {
    passes("events", include_str!("schemas/events.sql"), 0);
}

#[test]
fn a_ledger_with_cycles_and_triggers() {
    // A trigger notes every entry.
    let project = project("fill_ledger", include_str!("schemas/ledger.sql"));
    project.lyrox(&["db", "seed", "--fill", "10k"]).ok();
    let counts = |query: &str| project.sql_value(query).parse::<u64>().expect("a number");
    assert_eq!(counts("SELECT count(*) FROM entries"), counts("SELECT count(*) FROM audit WHERE what LIKE 'entry %'"));
    assert_eq!(counts("SELECT count(*) FROM journals WHERE extract(isodow FROM posted_on) = 7"), 0);
    assert!(counts("SELECT count(*) FROM departments WHERE head_id IS NOT NULL") > 0, "keys that had to wait are set");
    let on_top = counts("SELECT count(*) FROM entries");
    passes("ledger", include_str!("schemas/ledger.sql"), on_top);
}

#[test]
fn inheritance_reserved_words_and_odd_types() {
    passes("animals", include_str!("schemas/animals.sql"), 0);
}

#[test]
fn as_rails_leaves_it() {
    passes("rails", include_str!("schemas/rails.sql"), 0);
}

#[test]
fn as_prisma_leaves_it() {
    passes("prisma", include_str!("schemas/prisma.sql"), 0);
}

#[test]
fn trees_and_documents_as_django_leaves_them() {
    passes("catalogue", include_str!("schemas/catalogue.sql"), 0);
}

#[test]
fn schemas_of_a_conference_system() {
    passes("conference", include_str!("schemas/conference.sql"), 0);
}

#[test]
fn a_hundred_and_fifty_tables() {
    passes("erp", include_str!("schemas/erp.sql"), 0);
}

#[test]
fn the_same_seed_number_gives_the_same_rows_in_another_database() {
    let schema = include_str!("schemas/prisma.sql");
    let (first, second, third) =
        (project("fill_same_a", schema), project("fill_same_b", schema), project("fill_same_c", schema));
    first.lyrox(&["db", "seed", "--fill", "2k", "--seed", "7"]).ok();
    second.lyrox(&["db", "seed", "--fill", "2k", "--seed", "7"]).ok();
    third.lyrox(&["db", "seed", "--fill", "2k", "--seed", "8"]).ok();
    assert_eq!(sums(&first), sums(&second));
    assert_ne!(sums(&first), sums(&third));
}

#[test]
fn what_cannot_be_filled_is_named_and_the_rest_is_filled() {
    let project = project(
        "fill_named",
        "CREATE FUNCTION never(n int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT false';
         CREATE TABLE fine (id serial PRIMARY KEY, name text NOT NULL);
         CREATE TABLE closed (id int PRIMARY KEY, size int NOT NULL CHECK (never(size)));
         CREATE TABLE child (id int PRIMARY KEY, closed_id int NOT NULL REFERENCES closed);
         CREATE TABLE log (at timestamptz NOT NULL) PARTITION BY RANGE (at);",
    );
    let output = project.lyrox(&["db", "seed", "--fill", "400", "--output", "json"]);
    output.ok();
    for (id, reason) in [
        ("postgres.closed", "closed_size_check"),
        ("postgres.child", "refers to `closed`, which has no rows"),
        ("postgres.log", "no partition of relation \"log\""),
    ] {
        let item = output.item(id);
        assert_eq!(item["outcome"], "warn");
        assert!(item["detail"].as_str().is_some_and(|detail| detail.contains(reason)), "{item:#}");
        assert!(item["hint"].as_str().is_some_and(|hint| hint.contains("lyrox db seed")), "{item:#}");
    }
    assert_ne!(project.sql_value("SELECT count(*) FROM fine"), "0");
    // A sequence goes on after the rows.
    project.sql("INSERT INTO fine (name) VALUES ('next')");
}

#[test]
fn what_a_deferred_trigger_refuses_is_left_out() {
    let project = project(
        "fill_deferred",
        "CREATE TABLE orders (id serial PRIMARY KEY, note text);
         CREATE TABLE other (id serial PRIMARY KEY, note text);
         CREATE FUNCTION never() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not balanced'; END $$;
         CREATE CONSTRAINT TRIGGER never AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION never();",
    );
    let output = project.lyrox(&["db", "seed", "--fill", "100", "--output", "json"]);
    output.ok();
    assert!(output.item("postgres.orders")["detail"].as_str().is_some_and(|detail| detail.contains("not balanced")));
    assert_eq!(project.sql_value("SELECT count(*) FROM orders"), "0");
    assert_ne!(project.sql_value("SELECT count(*) FROM other"), "0");
}

#[test]
fn protected_environments_are_refused() {
    let project = project("fill_protected", "CREATE TABLE a (id int PRIMARY KEY);");
    project
        .write("lyrox.toml", "[project]\nname = \"fill\"\n[postgres]\n[env.live]\nprotected = true\nseeds = \"dev\"\n");
    project.lyrox(&["-e", "live", "db", "seed", "--fill", "10"]).exit(3).says("LYX-PROTECTED");
    project.lyrox(&["db", "seed", "--fill", "ten"]).exit(2);
    project.lyrox(&["db", "seed", "--seed", "7"]).exit(2);
    assert_eq!(project.sql_value("SELECT count(*) FROM a"), "0");
}

#[test]
fn a_dry_run_writes_nothing() {
    let project = project("fill_dry", include_str!("schemas/prisma.sql"));
    project.lyrox(&["db", "seed", "--fill", "1k", "--dry-run"]).ok().says("a dry run: 1000 rows would be created");
    assert_eq!(project.sql_value("SELECT count(*) FROM \"User\""), "0");
}
