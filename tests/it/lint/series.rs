//! Tenancy is judged by what the whole series leaves behind, and the finding stands where its cause is.

use super::Folder;

const TENANCY: &str =
    "[tenancy]\ntable = \"companies\"\ncolumn = \"company_id\"\nglobal = [\"users\", \"audit.log\"]\n";

const ORDERS: &str = "CREATE TABLE orders (id uuid PRIMARY KEY, company_id uuid NOT NULL, name text);\n";
const SECURE: &str = "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n";
const POLICY: &str =
    "CREATE POLICY t ON orders USING (company_id = nullif(current_setting('app.tenant', true), '')::uuid);\n";

/// `file number:line rule` of every finding in a series of PostgreSQL files.
fn series(extra: &str, files: &[&str]) -> Vec<String> {
    let folder = Folder::new(extra);
    for (number, text) in files.iter().enumerate() {
        folder.put(&format!("migrations/{}_a.up.sql", number + 1), text);
    }
    let report = folder.lyrox(&["db", "lint", "--output", "json"]).json();
    let items = report["items"].as_array().expect("items").iter().filter(|item| item["outcome"] != "pass");
    items
        .map(|item| {
            let file = item["location"]["file"].as_str().expect("a file");
            let number = file.trim_start_matches("migrations/").split('_').next().expect("a number");
            format!("{number}:{} {}", item["location"]["line"], item["title"].as_str().expect("a rule"))
        })
        .collect()
}

#[track_caller]
fn holds(files: &[&str], expected: &[&str]) {
    assert_eq!(series(TENANCY, files), expected, "{files:?}");
}

#[test]
fn a_later_file_may_protect_a_table() {
    holds(&[ORDERS, SECURE, POLICY], &[]);
    holds(&[ORDERS], &["1:1 tenant-rls-missing"]);
    holds(&[ORDERS, "ALTER TABLE orders ENABLE ROW LEVEL SECURITY;", POLICY], &["1:1 tenant-rls-not-forced"]);
    holds(&[ORDERS, SECURE], &["1:1 tenant-policy-missing"]);
}

#[test]
fn a_later_file_may_take_it_away_again() {
    holds(&[ORDERS, SECURE, POLICY, "ALTER TABLE orders DISABLE ROW LEVEL SECURITY;"], &["4:1 tenant-rls-missing"]);
    holds(&[ORDERS, SECURE, POLICY, "DROP POLICY t ON orders;"], &["1:1 tenant-policy-missing"]);
    let drop = "-- lyrox: lint ignore ban-drop-column\nALTER TABLE orders DROP COLUMN company_id;";
    holds(&[ORDERS, SECURE, POLICY, drop], &["4:2 tenant-column-missing"]);
}

#[test]
fn tables_are_followed_through_renames_and_drops() {
    let rename = "-- lyrox: lint ignore renaming-table\nALTER TABLE orders RENAME TO sales;\n";
    let secure = "ALTER TABLE sales ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n";
    holds(&[ORDERS, rename, secure, &POLICY.replace("orders", "sales")], &[]);
    let drop = "-- lyrox: lint ignore ban-drop-table\nDROP TABLE orders;";
    holds(&[ORDERS, drop], &[]);
    let column = "CREATE TABLE orders (id uuid PRIMARY KEY, tenant uuid NOT NULL);\n";
    let rename = "-- lyrox: lint ignore renaming-column\nALTER TABLE orders RENAME COLUMN tenant TO company_id;\n";
    holds(&[column, rename, SECURE, POLICY], &[]);
}

#[test]
fn what_is_not_a_tenants_table_is_left_alone() {
    holds(
        &[
            "CREATE TABLE users (id uuid PRIMARY KEY, email text UNIQUE);\nCREATE TEMP TABLE t (a text);\nCREATE TABLE audit.log (what text);\n",
        ],
        &[],
    );
    // A name without quotes is folded: `Users` is `users`, and `"Users"` is another.
    holds(&["CREATE TABLE Users (id uuid PRIMARY KEY);\n"], &[]);
    holds(&["CREATE TABLE \"Users\" (id uuid PRIMARY KEY);\n"], &["1:1 tenant-column-missing"]);
    let off = "[tenancy]\nmodel = \"schema\"\ncolumn = \"company_id\"\n";
    for extra in ["", "[tenancy]\n", off] {
        assert_eq!(series(extra, &["CREATE TABLE a (b text);\n"]), [] as [&str; 0]);
    }
}

#[test]
fn the_list_of_tenants_needs_security_but_no_column() {
    let list = "CREATE TABLE companies (id uuid PRIMARY KEY, name text UNIQUE);\n";
    holds(&[list], &["1:1 tenant-rls-missing"]);
}

#[test]
fn columns_come_from_parents_and_patterns_too() {
    let base = format!("{ORDERS}{SECURE}{POLICY}");
    let child = |made: &str| {
        format!(
            "{made}\nALTER TABLE more ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;\n{}",
            POLICY.replace("orders", "more")
        )
    };
    for made in [
        "CREATE TABLE more (LIKE orders);",
        "CREATE TABLE more (note text) INHERITS (orders);",
        "CREATE TABLE more PARTITION OF orders DEFAULT;",
        "CREATE TABLE more AS SELECT * FROM orders;",
    ] {
        holds(&[&base, &child(made)], &[]);
        holds(&[&base, made], &["2:1 tenant-rls-missing"]);
    }
}

#[test]
fn keys_are_judged_as_they_end_up() {
    let base = format!("{ORDERS}{SECURE}{POLICY}");
    let key = "-- lyrox: lint ignore disallowed-unique-constraint constraint-missing-not-valid\nALTER TABLE orders ADD UNIQUE (name);\n";
    holds(&[&base, key], &["2:2 tenant-unique"]);
    let drop = "-- lyrox: lint ignore ban-drop-constraint\nALTER TABLE orders DROP CONSTRAINT orders_name_key;\n";
    holds(&[&base, key, drop], &[]);
    let index = "CREATE UNIQUE INDEX CONCURRENTLY one ON orders (lower(name));\n";
    holds(&[&base, index], &["2:1 tenant-unique"]);
    holds(&[&base, index, "DROP INDEX CONCURRENTLY one;\n"], &[]);
    holds(&[&base, "CREATE UNIQUE INDEX CONCURRENTLY one ON orders (company_id, lower(name));\n"], &[]);
    holds(&[&base, "CREATE UNIQUE INDEX CONCURRENTLY one ON orders (name, company_id);\n"], &["2:1 tenant-index"]);
    holds(&[&base, "CREATE INDEX CONCURRENTLY one ON orders USING gin (name gin_trgm_ops);\n"], &[]);
}

#[test]
fn a_block_that_executes_what_it_puts_together_is_believed() {
    let block = "DO $$ DECLARE t text; BEGIN\n  FOREACH t IN ARRAY ARRAY['orders'] LOOP\n\
         EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);\n\
         EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);\n\
         EXECUTE format('CREATE POLICY t ON %I USING (true)', t);\n  END LOOP;\nEND $$;\n";
    holds(&[ORDERS, block], &[]);
    holds(&[ORDERS, &ORDERS.replace("orders", "sales"), block], &["2:1 tenant-rls-missing"]);
}

#[test]
fn policies_are_read() {
    let base = format!("{ORDERS}{SECURE}");
    let with = |policy: &str| series(TENANCY, &[&base, policy]);
    assert_eq!(with(POLICY), [] as [&str; 0]);
    assert_eq!(with("CREATE POLICY t ON orders USING ((true));\n"), ["2:1 tenant-policy-open"]);
    assert_eq!(with("CREATE POLICY t ON orders FOR INSERT WITH CHECK (true);\n"), ["2:1 tenant-policy-open"]);
    assert_eq!(with("CREATE POLICY t ON orders AS RESTRICTIVE USING (true);\n"), [] as [&str; 0]);
    assert_eq!(with("CREATE POLICY t ON orders TO reports USING (true);\n"), [] as [&str; 0]);
    assert_eq!(with("CREATE POLICY t ON orders TO reports, public USING (true);\n"), ["2:1 tenant-policy-open"]);
    for condition in ["current_setting('app.tenant')::uuid", "current_setting('app.tenant', true)::uuid"] {
        assert_eq!(
            with(&format!("CREATE POLICY t ON orders USING (company_id = {condition});\n")),
            ["2:1 tenant-policy-setting"]
        );
    }
    let altered = "ALTER POLICY t ON orders USING (true);\n";
    assert_eq!(series(TENANCY, &[&base, POLICY, altered]), ["3:1 tenant-policy-open"]);
}

#[test]
fn views_read_with_the_rights_of_whoever_asks() {
    let base = format!("{ORDERS}{SECURE}{POLICY}");
    let view = "CREATE VIEW names AS SELECT name FROM (SELECT * FROM public.orders) AS o;\n";
    holds(&[&base, view], &["2:1 tenant-view"]);
    holds(&[&base, view, "ALTER VIEW names SET (security_invoker = true);\n"], &[]);
    holds(&[&base, "CREATE MATERIALIZED VIEW names AS SELECT name FROM orders;\n"], &["2:1 tenant-view"]);
    holds(&[&base, "CREATE VIEW names WITH (security_invoker) AS SELECT name FROM orders;\n"], &[]);
    holds(&[&base, "CREATE VIEW one AS SELECT 1 AS orders;\n"], &[]);
}

#[test]
fn mongodb_knows_which_collections_are_in_use() {
    let folder = Folder::new("");
    let unique =
        "{ \"createIndexes\": \"a\", \"indexes\": [{ \"name\": \"k\", \"key\": { \"k\": 1 }, \"unique\": true }] }";
    // New in the same file, or made by its first index: there is nothing in it yet.
    folder.put("migrations/1_a.up.json", &format!("[{{ \"create\": \"a\" }}, {unique}]"));
    folder.put("migrations/1_a.down.json", "[{ \"drop\": \"a\" }]");
    folder.put("migrations/2_b.up.json", &format!("[{}]", unique.replace("\"a\"", "\"b\"")));
    folder.lyrox(&["db", "lint"]).ok().says("nothing found in 3 files");
    folder.put("migrations/3_c.up.json", &format!("[{unique}, {}]", unique.replace("\"a\"", "\"b\"")));
    let found = folder.lyrox(&["db", "lint", "--output", "json"]).json();
    assert_eq!(found["totals"]["warn"], 2);
}

/// sqlx keeps transactions of a file's own, and so lyrox runs them there.
#[test]
fn another_tools_files_are_judged_by_how_they_run() {
    let sqlx = "[migrations]\nformat = \"sqlx\"\n";
    let begin = "BEGIN;\nCREATE TABLE a (b text);\nCREATE INDEX c ON a (b);\nCOMMIT;\n";
    assert_eq!(series(sqlx, &[begin]), [] as [&str; 0]);
    assert_eq!(series("", &[begin]), ["1:1 transaction-nesting", "1:4 transaction-nesting"]);
    assert_eq!(series(sqlx, &["BEGIN;\nSELECT 1;\n"]), ["1:1 ban-uncommitted-transaction"]);
}
