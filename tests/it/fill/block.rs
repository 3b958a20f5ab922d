//! `[generate]` blocks.

use super::{project, sums};

const SCHEMA: &str = r#"
CREATE TABLE "Company" (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL UNIQUE);
CREATE TABLE "Sale" (
    id bigserial PRIMARY KEY, "companyId" uuid NOT NULL REFERENCES "Company", status text NOT NULL, amount numeric(8, 2) NOT NULL,
    at date NOT NULL, note text, code text NOT NULL UNIQUE, email text NOT NULL, doubled numeric GENERATED ALWAYS AS (amount * 2) STORED);
"#;

const COMPANIES: &str =
    "key = [\"name\"]\n[rows.a]\nname = \"A\"\n[rows.b]\nname = \"B\"\n[generate]\nrows = 10\nseed = 3\n";

const SALES: &str = r#"
[generate]
per = "Company"
count = "5..40"
seed = 7
[generate.columns.status]
values = ["open", "closed"]
weights = [90, 10]
[generate.columns.amount]
range = [10.50, 99.99]
distribution = "normal"
[generate.columns.at]
range = [2024-01-01, 2024-03-31]
[generate.columns.note]
null = 0.5
template = "{status} #{row} of {city}"
[generate.columns.code]
template = "S-{row}"
[generate.columns.email]
provider = "email"
"#;

#[test]
fn rows_are_spread_as_the_block_says_and_a_second_run_changes_nothing() {
    let project = project("block", SCHEMA);
    project.write("seeds/dev/postgres/Company.toml", COMPANIES).write("seeds/dev/postgres/Sale.toml", SALES);
    project.lyrox(&["db", "seed"]).ok();
    let number = |query: &str| project.sql_value(query).parse::<u64>().expect("a number");
    assert_eq!(number("SELECT count(*) FROM \"Company\""), 12);
    let per = "SELECT coalesce(count(s.id), 0) AS n FROM \"Company\" c LEFT JOIN \"Sale\" s ON s.\"companyId\" = c.id GROUP BY c.id";
    assert_eq!(number(&format!("SELECT count(*) FROM ({per}) x WHERE n NOT BETWEEN 5 AND 40")), 0);
    assert!(number(&format!("SELECT count(DISTINCT n) FROM ({per}) x")) > 3, "each has its own number");
    let all = number("SELECT count(*) FROM \"Sale\"");
    let open = number("SELECT count(*) FROM \"Sale\" WHERE status = 'open'");
    assert!(open * 100 > all * 80 && open < all, "{open} of {all}");
    assert_eq!(
        number(
            "SELECT count(*) FROM \"Sale\" WHERE amount NOT BETWEEN 10.50 AND 99.99 OR at NOT BETWEEN '2024-01-01' AND '2024-03-31'"
        ),
        0
    );
    let notes = number("SELECT count(*) FROM \"Sale\" WHERE note IS NOT NULL");
    assert!(notes * 10 > all * 3 && notes * 10 < all * 7, "{notes} of {all}");
    assert_eq!(number("SELECT count(*) FROM \"Sale\" WHERE note IS NOT NULL AND note NOT LIKE status || ' #%'"), 0);
    assert_eq!(number("SELECT count(*) FROM \"Sale\" WHERE email NOT LIKE '%@example.%'"), 0);

    let before = sums(&project);
    let again = project.lyrox(&["db", "seed", "--output", "json"]);
    again.ok();
    for item in again.json()["items"].as_array().expect("items") {
        assert_eq!(item["change"], "unchanged", "{item:#}");
    }
    assert_eq!(sums(&project), before);

    // What the application changes stays; an edited block is applied again, by key.
    project.sql("UPDATE \"Sale\" SET note = 'mine'");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(number("SELECT count(*) FROM \"Sale\" WHERE note = 'mine'"), all);
    project.write("seeds/dev/postgres/Sale.toml", &SALES.replace("weights = [90, 10]", "weights = [0, 10]"));
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(number("SELECT count(*) FROM \"Sale\""), all);
    assert_eq!(number("SELECT count(*) FROM \"Sale\" WHERE status = 'open'"), 0);
}

#[test]
fn the_same_block_gives_the_same_rows_in_another_database() {
    let make = |name: &str| {
        let project = project(name, SCHEMA);
        // Ids that follow from names need the same project.
        project.write("seeds/dev/postgres/Company.toml", COMPANIES).write("seeds/dev/postgres/Sale.toml", SALES);
        project.lyrox(&["db", "seed"]).ok();
        sums(&project)
            .into_iter()
            .filter(|row| row[0].as_deref().is_some_and(|name| name.starts_with('"')))
            .collect::<Vec<_>>()
    };
    assert_eq!(make("block_a"), make("block_b"));
}

#[test]
fn what_a_block_names_is_checked_before_anything_is_written() {
    let project = project("block_wrong", SCHEMA);
    for (text, says) in [
        ("[generate]\nrows = 5\n[generate.columns.statuss]\nvalues = [\"a\"]", "did you mean `status`?"),
        ("[generate]\nrows = 5\n[generate.columns.email]\nprovider = \"emial\"", "did you mean `email`?"),
        ("[generate]\nrows = 5\n[generate.columns.doubled]\nvalues = [1]", "computed by the server"),
        ("[generate]\nrows = 5\n[generate.columns.amount]\nrange = [\"low\", \"high\"]", "no range of numbers"),
        ("[generate]\nper = \"Nobody\"\ncount = 3", "does not refer to `Nobody`"),
        ("mode = \"replace\"\n[generate]\nrows = 5", "mode `replace`"),
        ("[generate]\nrow = 5", "did you mean `rows`?"),
    ] {
        project
            .write("seeds/dev/postgres/Company.toml", "[rows.a]\nname = \"A\"\n")
            .write("seeds/dev/postgres/Sale.toml", text);
        let output = project.lyrox(&["db", "seed"]);
        assert_ne!(output.code, 0, "{text}");
        output.says(says);
        assert_eq!(project.sql_value("SELECT count(*) FROM \"Sale\""), "0", "{text}");
    }
}

#[test]
fn numbered_rows_do_not_touch_rows_that_are_there() {
    let project = project("block_ids", "CREATE TABLE a (id serial PRIMARY KEY, name text NOT NULL);");
    project.sql("INSERT INTO a (name) SELECT 'mine' FROM generate_series(1, 5)");
    project.write("seeds/dev/postgres/a.toml", "[generate]\nrows = 20\n");
    project.lyrox(&["db", "seed"]).ok();
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM a WHERE name = 'mine'"), "5");
    assert_eq!(project.sql_value("SELECT count(*) FROM a"), "25");
    project.sql("INSERT INTO a (name) VALUES ('next')");
}
