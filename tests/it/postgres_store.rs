//! The promises of `Store` kept by PostgreSQL, against a real server: what fails, what is cut short,
//! what is shared, what is removed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lyrox::config::file::Transaction;
use lyrox::config::{self, Choice, Config, Targets};
use lyrox::engine::event::{Event, Events};
use lyrox::engine::guard::{self, Permit};
use lyrox::engine::ledger::{Ledger, Mark, State, head};
use lyrox::engine::plan::{Goal, Step, plan};
use lyrox::error::{Code, Error};
use lyrox::kind::StoreKind;
use lyrox::project::migration::read_all;
use lyrox::report::Item;
use lyrox::stores::postgres::PostgresStore;
use lyrox::stores::{Applied, ApplyOptions, LockAnswer, Store as _};

use crate::support::servers::servers;
use crate::support::{Project, block_on, sql};

/// Keeps what it hears.
#[derive(Default)]
struct Recorder {
    items: Mutex<Vec<Item>>,
    notes: Mutex<Vec<String>>,
}

impl Events for Recorder {
    fn event(&self, event: Event) {
        match event {
            Event::Item(item) => self.items.lock().expect("items").push(*item),
            Event::Note(note) => self.notes.lock().expect("notes").push(note),
            _ => {}
        }
    }
}

impl Recorder {
    fn notes(&self) -> String {
        self.notes.lock().expect("notes").join("\n")
    }
}

/// A project with PostgreSQL alone, worked on through the library.
struct Bench {
    project: Project,
    config: Config,
    targets: Targets,
    events: Recorder,
}

impl Bench {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        Self::with(name, "", files)
    }

    fn with(name: &str, extra: &str, files: &[(&str, &str)]) -> Self {
        let project = Project::new(&format!("pg_{name}"), "");
        project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{extra}\n", project.name));
        for (file, text) in files {
            project.write(&format!("migrations/{file}"), text);
        }
        let choice = Choice { directory: Some(project.root().to_owned()), file: None, environment: None };
        let config = config::load(&choice).expect("a configuration");
        let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
        Self { project, config, targets, events: Recorder::default() }
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        self.project.write(&format!("migrations/{file}"), text);
        self
    }

    fn open(&self) -> PostgresStore {
        block_on(PostgresStore::open(&self.config, self.targets.get(StoreKind::Postgres).expect("a target")))
            .expect("a connection")
    }

    fn options(&self, ledger: &Ledger, transaction: Transaction) -> ApplyOptions {
        ApplyOptions {
            is_empty: ledger.is_empty,
            transaction,
            variables: self.config.variables.clone(),
            run: String::new(),
        }
    }

    fn steps(&self, ledger: &Ledger, goal: &Goal) -> Vec<Step> {
        let files = read_all(self.project.root(), "migrations").expect("migrations");
        let ledgers = [(StoreKind::Postgres, ledger.rows.clone())].into();
        plan(&files, &ledgers, goal).expect("a plan").steps
    }

    /// Lock, ledger, plan, apply, unlock: what a migrate does.
    fn run(&self, goal: &Goal, transaction: Transaction) -> Applied {
        let mut store = self.open();
        let applied = block_on(self.run_on(&mut store, goal, transaction));
        block_on(store.close());
        applied
    }

    async fn run_on(&self, store: &mut PostgresStore, goal: &Goal, transaction: Transaction) -> Applied {
        assert_eq!(store.try_lock().await.expect("a lock"), LockAnswer::Obtained);
        let ledger = store.ledger().await.expect("a ledger");
        let steps = self.steps(&ledger, goal);
        let options = self.options(&ledger, transaction);
        store.prepare(&mark()).await.expect("a ledger");
        let applied = store.apply(&steps, &options, &self.events).await;
        store.unlock().await.expect("the lock given back");
        applied
    }

    #[track_caller]
    fn migrate(&self) -> Applied {
        let applied = self.run(&Goal::Latest, Transaction::Auto);
        if let Some((_, error)) = &applied.failure {
            panic!("{error:?}: {:?}\n{:?}", error.place(), error.data_text());
        }
        applied
    }

    #[track_caller]
    fn fail(&self) -> Error {
        self.run(&Goal::Latest, Transaction::Auto).failure.expect("a failure").1
    }

    /// What a migrate ends with: grants, and the snapshot.
    #[track_caller]
    fn settle(&self) {
        let mut store = self.open();
        block_on(async {
            store.grant(&self.events).await.expect("grants");
            let mut snapshot = store.snapshot().await.expect("a snapshot");
            snapshot.head = head(&store.ledger().await.expect("a ledger").rows);
            store.keep_snapshot(&snapshot).await.expect("a kept snapshot");
            store.close().await;
        });
    }

    /// The permit that a reset of this project needs.
    fn permit(&self) -> Permit {
        let consent = guard::Consent { confirm: Some(guard::name_to_confirm(&self.targets)) };
        guard::permit(&self.config, &self.targets, &[], &consent, "reset").expect("a permit")
    }

    fn wipe(&self, include_foreign: bool) -> Result<u64, Error> {
        let mut store = self.open();
        let permit = self.permit();
        block_on(async {
            store.begin_reset(&permit).await?;
            let count = store.wipe(&permit, include_foreign, &self.events).await?;
            store.finish_reset().await?;
            store.close().await;
            Ok(count)
        })
    }

    /// `kind name` of every holding, with `*` where it is owned.
    fn holdings(&self) -> Vec<String> {
        let mut store = self.open();
        let holdings = block_on(store.holdings(false)).expect("holdings");
        block_on(store.close());
        let line = |holding: &lyrox::stores::Holding| {
            let rows = holding.rows.map_or(String::new(), |rows| format!(" {rows}"));
            format!("{}{} {}{rows}", if holding.is_owned { "*" } else { "" }, holding.kind, holding.name)
        };
        holdings.iter().map(line).collect()
    }

    /// Version and state of every row.
    fn states(&self) -> Vec<(String, State)> {
        let mut store = self.open();
        let ledger = block_on(store.ledger()).expect("a ledger");
        block_on(store.close());
        ledger.rows.iter().map(|row| (row.version.to_string(), row.state)).collect()
    }

    fn has(&self, relation: &str) -> bool {
        self.project.sql_value(&format!("SELECT to_regclass('{relation}') IS NOT NULL")) == "t"
    }
}

fn mark() -> Mark {
    Mark { environment: "local".into(), is_protected: false }
}

fn place(error: &Error) -> (String, usize, usize, usize) {
    let place = error.place().expect("a place");
    (place.file.clone(), place.line, place.column, place.width)
}

#[test]
fn a_broken_later_migration_leaves_the_earlier_ones_applied() {
    let bench = Bench::new(
        "later",
        &[
            ("1_core.up.sql", "CREATE TABLE a (id int);\n"),
            ("2_more.up.sql", "CREATE TABLE b (id int);\n"),
            ("3_bad.up.sql", "CREATE TABLE c (id int);\n-- é\nCREATE INDEX c_idx\n  ON c (idd);\n"),
            ("4_never.up.sql", "CREATE TABLE d (id int);\n"),
        ],
    );
    let applied = bench.run(&Goal::Latest, Transaction::Auto);
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, applied.done.len()), (2, 2));
    assert_eq!(error.code(), Code::MigrationFailed);
    assert_eq!(error.what(), "column \"idd\" does not exist (42703)");
    assert_eq!(place(&error), ("migrations/3_bad.up.sql".into(), 4, 9, 3), "{error:?}");
    assert_eq!(
        error.data_text(),
        Some("rolled back; nothing of this file was applied; 1_core and 2_more stay applied")
    );
    assert_eq!(bench.states(), [("1".into(), State::Applied), ("2".into(), State::Applied)]);
    assert!(bench.has("b") && !bench.has("c") && !bench.has("d"));
    let events = bench.project.sql("SELECT version, what, error_code FROM lyrox.events WHERE what = 'failed'");
    assert_eq!(events, [[Some("3".to_owned()), Some("failed".to_owned()), Some("42703".to_owned())]]);

    bench.write("3_bad.up.sql", "CREATE TABLE c (id int);\n");
    bench.migrate();
    assert_eq!(bench.states().len(), 4);
}

#[test]
fn a_broken_first_migration_leaves_nothing() {
    let bench = Bench::new(
        "first",
        &[
            (
                "1_bad.up.sql",
                "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (1);\nSELECT 1 FROM a WHERE nme = 'x';\n",
            ),
            ("2_more.up.sql", "CREATE TABLE b (id int);\n"),
        ],
    );
    let error = bench.fail();
    assert_eq!(place(&error), ("migrations/1_bad.up.sql".into(), 3, 23, 3));
    assert_eq!(error.data_text(), Some("rolled back; nothing of this file was applied"));
    assert!(!bench.has("a") && !bench.has("b") && bench.states().is_empty());
}

#[test]
fn errors_of_each_kind_point_at_their_statement() {
    for (name, text, state, expected) in [
        ("syntax", "SELECT 1;\nCREATE TABEL x (id int);\n", "42601", (2, 8, 5)),
        (
            "runtime",
            "CREATE TABLE t (id int PRIMARY KEY);\nSELECT 1;\nINSERT INTO t VALUES (1), (1);\n",
            "23505",
            (3, 1, 29),
        ),
        (
            "body",
            "CREATE TABLE t (id int);\nDO $$\nBEGIN\n  PERFORM 1;\n  PERFORM 1 / 0;\nEND $$;\n",
            "22012",
            (5, 3, 1),
        ),
        ("hint", "CREATE TABLE t (total int);\nSELECT totl FROM t;\n", "42703", (2, 8, 4)),
    ] {
        let bench = Bench::new(name, &[("1_a.up.sql", text)]);
        let error = bench.fail();
        assert!(error.what().ends_with(&format!("({state})")), "{error:?}");
        let (_, line, column, width) = place(&error);
        if name == "body" {
            assert_eq!((line, column), (expected.0, expected.1), "{error:?}");
        } else {
            assert_eq!((line, column, width), expected, "{name}: {error:?}");
        }
        if name == "hint" {
            assert_eq!(error.hint_text(), Some("did you mean \"t.total\"?"));
        }
        if name == "runtime" {
            assert_eq!(error.why_text(), Some("Key (id)=(1) already exists."));
        }
    }
}

#[test]
fn a_deferred_constraint_is_blamed_on_its_file() {
    let bench = Bench::new(
        "deferred",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int PRIMARY KEY, b int REFERENCES a DEFERRABLE INITIALLY DEFERRED);\n"),
            ("2_b.up.sql", "INSERT INTO a VALUES (1, 2);\n"),
            ("3_c.up.sql", "INSERT INTO a VALUES (3, 3);\n"),
        ],
    );
    let error = bench.fail();
    assert_eq!(error.place().map(|place| place.file.as_str()), Some("migrations/2_b.up.sql"));
    assert!(error.what().ends_with("(23503)"), "{error:?}");
    assert_eq!(bench.states(), [("1".into(), State::Applied)]);
}

#[test]
fn files_are_refused_before_anything_is_sent() {
    for (name, text, code) in [
        ("control", "CREATE TABLE a (id int);\nBEGIN;\nSELECT 1;\nCOMMIT;\n", Code::FileSyntax),
        ("half", "CREATE TABLE a (id int);\nCREATE TABLE b (\n  id int,\n", Code::FileSyntax),
        ("meta", "\\connect other\nSELECT 1;\n", Code::FileSyntax),
        ("comment", "-- nothing but words\n", Code::FileEmpty),
        ("variable", "-- lyrox: vars\nSELECT '${LYROX_TEST_NOT_SET}';\n", Code::ConfigValue),
    ] {
        let bench = Bench::new(name, &[("1_ok.up.sql", "CREATE TABLE ok (id int);\n"), ("2_bad.up.sql", text)]);
        let store = bench.open();
        let ledger = Ledger { is_empty: true, ..Ledger::default() };
        let steps = bench.steps(&ledger, &Goal::Latest);
        let error = store.preview(&steps, &bench.options(&ledger, Transaction::Auto)).expect_err(name);
        assert_eq!(error.code(), code, "{error:?}");
        assert_eq!(error.data_text(), Some("nothing was changed"));
        block_on(store.close());
        assert!(!bench.has("ok"));
    }
}

#[test]
fn line_ends_and_marks_of_windows_change_nothing() {
    let bench = Bench::new(
        "crlf",
        &[(
            "1_a.up.sql",
            "\u{feff}-- lyrox: lock-timeout 5s\r\nCREATE TABLE a (id int);\r\nINSERT INTO a VALUES (1);\r\n",
        )],
    );
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");
    bench.write("1_a.up.sql", "-- lyrox: lock-timeout 5s\nCREATE TABLE a (id int);\nINSERT INTO a VALUES (1);\n");
    assert!(bench.migrate().done.is_empty(), "the same text is not edited");
}

#[test]
fn settings_and_roles_of_a_file_are_its_own() {
    let bench = Bench::new(
        "settings",
        &[
            (
                "1_a.up.sql",
                "CREATE SCHEMA other;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET standard_conforming_strings = off;\nCREATE TABLE public.a (t text DEFAULT 'x\\'y;');\nSET statement_timeout = '7s';\n",
            ),
            ("2_b.up.sql", "CREATE TABLE b AS SELECT current_setting('statement_timeout') AS s, '\\' AS t;\n"),
        ],
    );
    bench.migrate();
    assert!(bench.has("public.b"));
    assert_eq!(bench.project.sql("SELECT s, t FROM b"), [[Some("0".to_owned()), Some("\\".to_owned())]]);
}

#[test]
fn dumps_with_copy_blocks_run() {
    let bench = Bench::new(
        "copy",
        &[
            (
                "1_dump.up.sql",
                "SET client_encoding = 'UTF8';\nCREATE TABLE a (id int, t text);\nCOPY a (id, t) FROM stdin;\n1\tone;\n2\t\\N\n3\té\\tb\n\\.\nCREATE TABLE b (id int);\nCOPY b FROM stdin;\n\\.\n",
            ),
            ("2_more.up.sql", "INSERT INTO b SELECT id FROM a;\n"),
        ],
    );
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT string_agg(coalesce(t, '-'), ',' ORDER BY id) FROM a"), "one;,-,é\tb");
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM b"), "3");

    bench.write("3_bad.up.sql", "COPY b FROM stdin;\n4\nx\n\\.\n");
    let error = bench.fail();
    assert!(error.what().ends_with("(22P02)"), "{error:?}");
    assert_eq!(place(&error).1, 1);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM b"), "3");
}

#[test]
fn a_chunk_that_cannot_be_shared_is_taken_apart() {
    let bench = Bench::new(
        "chunk",
        &[
            ("1_type.up.sql", "CREATE TYPE mood AS ENUM ('ok');\nCREATE TABLE a (m mood);\n"),
            // Hidden from the splitter, so that only the server notices: 55P04.
            ("2_value.up.sql", "DO $$ BEGIN EXECUTE 'ALTER TYPE mood ADD VALUE ''sad'''; END $$;\n"),
            ("3_use.up.sql", "INSERT INTO a VALUES ('sad');\n"),
            ("4_plain.up.sql", "ALTER TYPE mood ADD VALUE 'glad';\n"),
            ("5_use.up.sql", "INSERT INTO a VALUES ('glad');\n"),
            // A pending trigger event keeps the table from being altered in the same transaction: 55006.
            (
                "6_rows.up.sql",
                "CREATE TABLE k (id int PRIMARY KEY, k int REFERENCES k DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO k VALUES (1, 1);\n",
            ),
            ("7_alter.up.sql", "ALTER TABLE k ADD COLUMN t text;\n"),
        ],
    );
    let applied = bench.migrate();
    assert_eq!(applied.done.len(), 7);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "2");
}

#[test]
fn files_share_transactions_only_where_that_is_safe() {
    let files: Vec<(String, String)> =
        (1..=70).map(|n| (format!("{n}_t.up.sql"), format!("CREATE TABLE t{n} (id int);"))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let transactions =
        |bench: &Bench| bench.project.sql_value("SELECT count(DISTINCT xmin::text) FROM lyrox.migrations");

    let bench = Bench::new("share", &files);
    bench.migrate();
    assert_eq!(transactions(&bench), "2", "64 and 6");

    let bench = Bench::new("each", &files[..5]);
    assert!(bench.run(&Goal::Latest, Transaction::Each).failure.is_none());
    assert_eq!(transactions(&bench), "5");

    let bench = Bench::new("used", &files[..5]);
    bench.project.sql("CREATE TABLE mine (id int)");
    bench.migrate();
    assert_eq!(transactions(&bench), "5");

    let bench = Bench::new("all", &files[..5]);
    bench.project.sql("CREATE TABLE mine (id int)");
    bench.write("6_bad.up.sql", "SELECT 1 / 0;");
    let applied = bench.run(&Goal::Latest, Transaction::All);
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, applied.done.len()), (5, 0));
    assert_eq!(error.data_text(), Some("rolled back; nothing of these files was applied"));
    assert!(bench.states().is_empty() && !bench.has("t1"));
}

#[test]
fn three_thousand_tables_fit_the_lock_table() {
    let files: Vec<(String, String)> = (1..=31)
        .map(|n| {
            let tables = (0..100).map(|t| format!("CREATE TABLE t{n}_{t} (a text);\nCREATE INDEX ON t{n}_{t} (a);\n"));
            (format!("{n}_t.up.sql"), tables.collect())
        })
        .collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let bench = Bench::new("locks", &files);
    assert_eq!(bench.migrate().done.len(), 31);
    assert_eq!(
        bench.project.sql_value("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname ~ '^t\\d'"),
        "3100"
    );
    assert_eq!(bench.project.sql_value("SELECT count(DISTINCT xmin::text) FROM lyrox.migrations"), "4");
    bench.settle();
    assert_eq!(bench.wipe(false).expect("a wipe"), 3100);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM pg_class WHERE relname ~ '^t\\d'"), "0");
}

#[test]
fn a_journaled_file_goes_on_where_it_stopped() {
    let text = "-- words\nCREATE TABLE a (id int);\nCREATE INDEX CONCURRENTLY a_id ON a (id);\nINSERT INTO a VALUES (1);\nSELECT 1 / 0;\nINSERT INTO a VALUES (2);\n";
    let bench = Bench::new("resume", &[("1_a.up.sql", text)]);
    let error = bench.fail();
    assert_eq!(place(&error).1, 5);
    assert_eq!(error.data_text(), Some("stopped after step 3 of 5; steps 1 to 3 are in effect"));
    assert_eq!(bench.states(), [("1".into(), State::Failed)]);
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");

    // What is in effect may not be edited.
    bench.write("1_a.up.sql", &text.replace("VALUES (1)", "VALUES (9)"));
    let error = bench.fail();
    assert_eq!((error.code(), place(&error).1), (Code::Unfinished, 4));

    bench.write("1_a.up.sql", &text.replace("1 / 0", "1"));
    bench.migrate();
    assert!(bench.events.notes().contains("going on at statement 4 of 5"), "{}", bench.events.notes());
    assert_eq!(bench.project.sql_value("SELECT string_agg(id::text, ',') FROM a"), "1,2");
    assert_eq!(bench.states(), [("1".into(), State::Applied)]);
    assert_eq!(bench.project.sql_value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass"), "t");
}

#[test]
fn an_invalid_index_is_built_again_only_if_this_journal_left_it() {
    let bench = Bench::new(
        "invalid",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int);\nINSERT INTO a VALUES (1), (1);\n"),
            ("2_i.up.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS a_id ON a (id);\n"),
        ],
    );
    let error = bench.fail();
    assert!(error.what().ends_with("(23505)"), "{error:?}");
    assert!(
        error.data_text().is_some_and(|data| data.contains("INVALID index public.a_id is left")),
        "{:?}",
        error.data_text()
    );
    let valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'a_id'::regclass";
    assert_eq!(bench.project.sql_value(valid), "f");
    bench.project.sql("DELETE FROM a");
    bench.migrate();
    assert_eq!(bench.project.sql_value(valid), "t");

    // The same leftover, made by someone else.
    bench.project.sql("INSERT INTO a VALUES (1)");
    bench.project.sql("CREATE TABLE b AS SELECT 1 AS id UNION ALL SELECT 1");
    assert!(sql(&bench.project.postgres, "CREATE UNIQUE INDEX CONCURRENTLY b_id ON b (id)").is_err());
    bench.project.sql("TRUNCATE b");
    bench.write("3_b.up.sql", "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS b_id ON b (id);\n");
    let error = bench.fail();
    assert!(error.what().contains("public.b_id exists and is INVALID"), "{error:?}");
    bench.project.sql("DROP INDEX b_id");
    bench.migrate();
}

#[test]
fn a_statement_that_commits_by_itself_runs_outside_a_transaction() {
    let text = "CREATE TABLE a (id int);\nCREATE PROCEDURE p() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a VALUES (1); COMMIT; END $$;\nCALL p();\n";
    let bench = Bench::new("procedure", &[("1_a.up.sql", text)]);
    let error = bench.fail();
    assert!(error.what().ends_with("(2D000)"), "{error:?}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("lyrox: no-transaction")), "{:?}", error.hint_text());
    bench.write("1_a.up.sql", &format!("-- lyrox: no-transaction\n{text}"));
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");
}

#[test]
fn migrations_are_undone_in_reverse() {
    let bench = Bench::new(
        "back",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int);"),
            ("1_a.down.sql", "DROP TABLE a;"),
            ("2_b.up.sql", "CREATE INDEX CONCURRENTLY a_id ON a (id);"),
            ("2_b.down.sql", "DROP INDEX CONCURRENTLY a_id;"),
        ],
    );
    bench.migrate();
    let applied = bench.run(&Goal::Back(2), Transaction::Auto);
    assert!(applied.failure.is_none(), "{:?}", applied.failure);
    assert_eq!(bench.states(), [("1".into(), State::Reverted), ("2".into(), State::Reverted)]);
    assert!(!bench.has("a"));
    bench.migrate();
    assert_eq!(bench.states(), [("1".into(), State::Applied), ("2".into(), State::Applied)]);
}

#[test]
fn the_lock_is_held_by_one_and_its_holder_is_named() {
    let bench = Bench::new("lock", &[]);
    let (mut first, mut second) = (bench.open(), bench.open());
    assert_eq!(block_on(first.try_lock()).expect("an answer"), LockAnswer::Obtained);
    match block_on(second.try_lock()).expect("an answer") {
        LockAnswer::Held(holder) => {
            assert!(holder.contains(&format!("server process {}", first.facts.pid)), "{holder}");
            assert!(holder.starts_with("`lyrox ") && holder.contains("since "), "{holder}");
        }
        LockAnswer::Obtained => panic!("two hold one lock"),
    }
    block_on(first.unlock()).expect("the lock given back");
    assert_eq!(block_on(second.try_lock()).expect("an answer"), LockAnswer::Obtained);
    block_on(first.close());
    block_on(second.close());
}

#[test]
fn a_transaction_that_waits_for_a_lock_is_tried_again() {
    let bench = Bench::with("retry", "lock_timeout = \"100ms\"", &[("1_a.up.sql", "CREATE TABLE a (id int);")]);
    bench.migrate();
    bench.write("2_b.up.sql", "CREATE TABLE b (id int);\nALTER TABLE a ADD COLUMN t text;\n");
    let url = bench.project.postgres.clone();
    let reader = std::thread::spawn(move || sql(&url, "BEGIN; SELECT * FROM a; SELECT pg_sleep(0.8); COMMIT"));
    std::thread::sleep(Duration::from_millis(200));
    bench.migrate();
    assert!(bench.events.notes().contains("trying again"), "{}", bench.events.notes());
    reader.join().expect("a reader").expect("it read");
    assert!(bench.has("b"));
}

#[test]
fn a_killed_session_rolls_back_and_the_truth_is_told() {
    let bench = Bench::new(
        "killed",
        &[
            ("1_a.up.sql", "CREATE TABLE a (id int);"),
            ("2_b.up.sql", "CREATE TABLE b (id int);\nSELECT pg_sleep(20);\n"),
        ],
    );
    let url = bench.project.postgres.clone();
    let killer = std::thread::spawn(move || kill_sleeper(&url));
    let applied = bench.run(&Goal::Latest, Transaction::Each);
    assert!(killer.join().expect("a killer"));
    let (index, error) = applied.failure.expect("a failure");
    assert_eq!((index, error.code()), (1, Code::ConnectClosed), "{error:?}");
    assert_eq!(
        error.data_text(),
        Some("rolled back by the server; nothing of this transaction was applied; 1_a stays applied")
    );
    assert_eq!(bench.states(), [("1".into(), State::Applied)]);
    assert!(!bench.has("b"));
}

/// Ends the session that sleeps, as an administrator would.
fn kill_sleeper(url: &str) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let query = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND wait_event = 'PgSleep'";
        if sql(url, query).is_ok_and(|rows| rows[0][0].as_deref() == Some("1")) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[test]
fn a_killed_session_in_a_journaled_file_is_settled_by_the_next_run() {
    let bench = Bench::new(
        "cut",
        &[(
            "1_a.up.sql",
            "-- lyrox: no-transaction\nCREATE TABLE a (id int);\nDO $$ BEGIN PERFORM pg_sleep(20); END $$;\nCREATE TABLE b (id int);\n",
        )],
    );
    let url = bench.project.postgres.clone();
    let killer = std::thread::spawn(move || kill_sleeper(&url));
    let error = bench.fail();
    assert!(killer.join().expect("a killer"));
    assert_eq!(error.code(), Code::ConnectClosed, "{error:?}");
    assert!(
        error.data_text().is_some_and(|data| data.starts_with("steps 1 to 1 of 3 are in effect")),
        "{:?}",
        error.data_text()
    );

    // Nobody can tell whether the block took effect: a person is asked, with the exact command.
    let error = bench.fail();
    assert_eq!((error.code(), place(&error).1), (Code::InDoubt, 3), "{error:?}");
    let hint = error.hint_text().expect("a hint").to_owned();
    let statement = hint.split('"').nth(1).expect("a statement");
    bench.project.sql(&statement.replace("step_open = NULL", "step_open = NULL, steps_done = 2"));
    bench.migrate();
    assert!(bench.has("b"));
}

#[test]
fn reading_makes_nothing_and_a_damaged_ledger_is_told() {
    let bench = Bench::new("ledger", &[("1_a.up.sql", "CREATE TABLE a (id int);")]);
    let mut store = bench.open();
    let ledger = block_on(store.ledger()).expect("a ledger");
    assert!(ledger.is_empty && ledger.mark.is_none() && ledger.rows.is_empty());
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
    block_on(store.close());

    bench.migrate();
    bench.project.sql("UPDATE lyrox.layout SET version = 99");
    assert_eq!(read_error(&bench).code(), Code::LedgerNewer);
    bench.project.sql("ALTER TABLE lyrox.migrations DROP COLUMN checksum");
    assert_eq!(read_error(&bench).code(), Code::LedgerNewer);
    bench.project.sql("UPDATE lyrox.layout SET version = 1");
    assert_eq!(read_error(&bench).code(), Code::LedgerDamaged);
    bench.project.sql("DROP TABLE lyrox.migrations");
    let error = read_error(&bench);
    assert_eq!(error.code(), Code::LedgerDamaged);
    assert!(error.why_text().is_some_and(|why| why.contains("`lyrox.migrations` is missing")), "{error:?}");
}

fn read_error(bench: &Bench) -> Error {
    let mut store = bench.open();
    let error = block_on(store.ledger()).expect_err("an error");
    block_on(store.close());
    error
}

#[test]
fn variables_are_filled_only_where_the_file_asks() {
    let bench = Bench::new(
        "vars",
        &[
            ("1_a.up.sql", "-- lyrox: vars\nCREATE TABLE a AS SELECT '${LYROX_IT_VALUE}' AS v;\n"),
            ("2_b.up.sql", "CREATE TABLE b AS SELECT '${LYROX_IT_VALUE}' AS v;\n"),
        ],
    );
    let env = std::fs::read_to_string(bench.project.path(".env")).expect(".env");
    bench.project.write(".env", &format!("{env}LYROX_IT_VALUE='it is set'\n"));
    let choice = Choice { directory: Some(bench.project.root().to_owned()), file: None, environment: None };
    let bench = Bench { config: config::load(&choice).expect("a configuration"), ..bench };
    bench.migrate();
    assert_eq!(bench.project.sql_value("SELECT v FROM a"), "it is set");
    assert_eq!(bench.project.sql_value("SELECT v FROM b"), "${LYROX_IT_VALUE}");

    bench.write("3_c.up.sql", "-- lyrox: vars\nSELECT '${LYROX_IT_VALUE}', nothing;\n");
    assert_eq!(place(&bench.fail()), ("migrations/3_c.up.sql".into(), 2, 29, 7));
}

/// One of each kind of object, tied in knots.
const EVERYTHING: &str = r#"
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA audit;
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE DOMAIN email AS citext CHECK (VALUE ~ '@');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE RETURN nullif(current_setting('app.tenant', true), '');
CREATE TABLE "User" (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail email NOT NULL UNIQUE, m mood DEFAULT 'ok', at timestamptz,
    tenant text DEFAULT tenant(), len int GENERATED ALWAYS AS (length(mail::text)) STORED, CHECK (id > 0));
CREATE FUNCTION name_of(u "User") RETURNS text LANGUAGE sql AS $$ SELECT u.mail::text $$;
CREATE TABLE orders (id bigserial PRIMARY KEY, "user" int REFERENCES "User" ON DELETE CASCADE, total numeric(10, 2)) ;
CREATE INDEX orders_total ON orders (total DESC) WHERE total > 0;
CREATE VIEW rich AS SELECT u.mail, sum(o.total) FROM "User" u JOIN orders o ON o."user" = u.id GROUP BY 1;
CREATE MATERIALIZED VIEW richest AS SELECT * FROM rich;
CREATE TRIGGER touched BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE "User" ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON "User" FOR ALL USING (tenant = tenant());
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_2025 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE audit.log (id int);
CREATE SEQUENCE numbers START 10;
CREATE AGGREGATE sum_of (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
INSERT INTO "User" (mail) VALUES ('a@b'), ('c@d');
"#;

#[test]
fn a_snapshot_tells_every_kind_of_object_in_canonical_form() {
    let bench = Bench::new("catalog", &[("1_all.up.sql", EVERYTHING)]);
    bench.migrate();
    let mut store = bench.open();
    let first = block_on(store.snapshot()).expect("a snapshot");
    for (object, definition) in [
        ("table User", "table ENABLE ROW LEVEL SECURITY"),
        ("column User.id", "integer NOT NULL GENERATED ALWAYS AS IDENTITY"),
        ("column User.m", "mood DEFAULT 'ok'::mood"),
        ("column User.len", "integer GENERATED ALWAYS AS (length((mail)::text))"),
        ("column orders.total", "numeric(10,2)"),
        ("constraint orders.orders_user_fkey", "FOREIGN KEY (\"user\") REFERENCES \"User\"(id) ON DELETE CASCADE"),
        ("constraint User.User_id_check", "CHECK ((id > 0))"),
        (
            "index orders_total",
            "CREATE INDEX orders_total ON public.orders USING btree (total DESC) WHERE (total > (0)::numeric)",
        ),
        ("type mood", "enum ('ok', 'sad')"),
        ("type email", "domain citext NOT VALID"),
        ("type pair", "composite (a integer, b text)"),
        (
            "trigger User.touched",
            "CREATE TRIGGER touched BEFORE UPDATE ON public.\"User\" FOR EACH ROW EXECUTE FUNCTION touch()",
        ),
        ("policy User.own", "PERMISSIVE FOR ALL TO public USING ((tenant = tenant()))"),
        ("table parts_2025", "table FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') INHERITS (parts)"),
        ("table audit.log", "table"),
        ("schema audit", "schema"),
        ("extension citext", "schema public"),
        ("sequence numbers", "bigint START 10 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1"),
    ] {
        let found = first.objects.get(object).unwrap_or_else(|| panic!("{object} in {:#?}", first.objects));
        if object == "type email" {
            assert!(found.starts_with("domain citext email_check CHECK"), "{found}");
        } else {
            assert_eq!(found, definition, "{object}");
        }
    }
    for object in [
        "function touch()",
        "function name_of(u \"User\")",
        "view rich",
        "materialized view richest",
        "aggregate sum_of(integer)",
    ] {
        assert!(first.objects.contains_key(object), "{object} in {:#?}", first.objects.keys());
    }
    assert!(!first.objects.keys().any(|object| object.contains("lyrox") || object.contains("citext_")));
    assert_eq!(first.differences(&block_on(store.snapshot()).expect("a snapshot")), []);
    block_on(store.keep_snapshot(&first)).expect("kept");
    assert_eq!(block_on(store.kept_snapshot()).expect("a snapshot"), Some(first.clone()));
    bench
        .project
        .sql("DROP INDEX orders_total; ALTER TABLE \"User\" ALTER COLUMN m SET NOT NULL; CREATE TABLE extra ()");
    let live = block_on(store.snapshot()).expect("a snapshot");
    assert_eq!(first.differences(&live).len(), 3);
    block_on(store.close());
}

#[test]
fn a_wipe_removes_what_is_owned_and_nothing_else() {
    let bench = Bench::new("wipe", &[("1_all.up.sql", EVERYTHING)]);
    bench.project.sql("CREATE TABLE before_lyrox (id int); INSERT INTO before_lyrox VALUES (1)");
    bench.migrate();
    bench.settle();
    bench.project.sql("CREATE TABLE by_hand (id int); CREATE FUNCTION by_hand() RETURNS int LANGUAGE sql RETURN 1; CREATE SCHEMA other; CREATE TABLE other.t (id int)");
    let holdings = bench.holdings();
    for line in [
        "*table User 2",
        "*table orders 0",
        "*view rich",
        "*type mood",
        "*table audit.log 0",
        "*schema audit",
        "*function touch()",
        "table by_hand 0",
        "function by_hand()",
        "table before_lyrox 1",
    ] {
        assert!(holdings.iter().any(|found| found == line), "{line} in {holdings:#?}");
    }
    assert!(!holdings.iter().any(|line| line.contains("other") || line.contains("citext") || line.contains("_id_seq")));

    // Something foreign hangs on something owned: nothing is dropped.
    bench.project.sql("ALTER TABLE by_hand ADD COLUMN m mood; CREATE VIEW other.seen AS SELECT * FROM rich");
    let error = bench.wipe(false).expect_err("dependents");
    assert_eq!(error.code(), Code::ResetFailed);
    let why = error.why_text().expect("a reason");
    assert!(why.contains("by_hand") && why.contains("other.seen"), "{why}");
    assert!(bench.has("orders"));
    bench.project.sql("ALTER TABLE by_hand DROP COLUMN m; DROP VIEW other.seen");

    bench.wipe(false).expect("a wipe");
    assert_eq!(bench.holdings(), ["function by_hand()", "table before_lyrox 1", "table by_hand 0"]);
    assert!(bench.states().is_empty());
    assert_eq!(bench.project.sql_value("SELECT name FROM lyrox.environment"), "local");
    assert_eq!(
        bench.project.sql_value("SELECT to_regnamespace('audit') IS NULL AND to_regclass('other.t') IS NOT NULL"),
        "t"
    );

    bench.migrate();
    bench.settle();
    bench.wipe(true).expect("a wipe of everything");
    assert_eq!(bench.holdings(), Vec::<String>::new());
    assert!(bench.has("other.t"));
}

#[test]
fn a_reset_that_was_cut_short_is_finished() {
    let bench = Bench::new(
        "cutreset",
        &[("1_a.up.sql", "CREATE TABLE a (id int);"), ("2_b.up.sql", "CREATE TABLE b (id int);")],
    );
    bench.migrate();
    bench.settle();
    bench.project.sql("CREATE TABLE by_hand (id int)");
    let mut store = bench.open();
    let permit = bench.permit();
    block_on(store.begin_reset(&permit)).expect("begun");
    assert!(block_on(store.ledger()).expect("a ledger").is_resetting);
    block_on(store.wipe(&permit, false, &bench.events)).expect("a wipe");
    // The migrations of the reset began, and no snapshot was kept: what they made is still the project's.
    let ledger = block_on(store.ledger()).expect("a ledger");
    let options = bench.options(&ledger, Transaction::Auto);
    let steps = bench.steps(&ledger, &Goal::Steps(1));
    assert!(block_on(store.apply(&steps, &options, &bench.events)).failure.is_none());
    assert!(bench.has("a") && !bench.has("b"));
    block_on(store.wipe(&permit, false, &bench.events)).expect("a second wipe");
    assert!(!bench.has("a") && bench.has("by_hand"));
    block_on(store.finish_reset()).expect("finished");
    assert!(!block_on(store.ledger()).expect("a ledger").is_resetting);
    block_on(store.close());
}

#[test]
fn what_a_run_without_a_snapshot_made_is_owned() {
    let bench = Bench::new("nosnap", &[("1_a.up.sql", "CREATE TABLE \"Mixed Case\" (id int);")]);
    bench.migrate();
    bench.project.sql("CREATE TABLE by_hand (id int)");
    assert_eq!(bench.holdings(), ["*table Mixed Case 0", "table by_hand 0"]);
}

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
        let choice = Choice { directory: Some(bench.project.root().to_owned()), file: None, environment: None };
        let config = config::load(&choice).expect("a configuration");
        let mut store =
            block_on(PostgresStore::open(&config, bench.targets.get(StoreKind::Postgres).expect("a target")))
                .expect("a connection");
        let error = block_on(store.grant(&bench.events)).expect_err("a refusal");
        assert_eq!(error.code(), code, "{error:?}");
        block_on(store.close());
    }
}

/// Stands between lyrox and the server. When armed it swallows the first answer that holds the needle, and
/// cuts the connection; then it lets others through, or none.
struct Proxy {
    port: u16,
    is_armed: Arc<AtomicBool>,
    has_cut: Arc<AtomicBool>,
}

impl Proxy {
    fn new(server: String, needle: &'static [u8], lets_through: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (is_armed, has_cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (armed, cut) = (is_armed.clone(), has_cut.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if cut.load(Ordering::SeqCst) && !lets_through {
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let (armed, cut) = (armed.clone(), cut.clone());
                let (mut from_client, mut to_server) =
                    (client.try_clone().expect("a stream"), upstream.try_clone().expect("a stream"));
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from_client, &mut to_server);
                    let _ = to_server.shutdown(Shutdown::Both);
                });
                std::thread::spawn(move || answer(upstream, client, &armed, &cut, needle));
            }
        });
        Self { port, is_armed, has_cut }
    }
}

fn answer(mut server: TcpStream, mut client: TcpStream, armed: &AtomicBool, cut: &AtomicBool, needle: &[u8]) {
    let mut bytes = [0; 65_536];
    while let Ok(count) = server.read(&mut bytes) {
        let is_found = bytes[..count].windows(needle.len()).any(|window| window == needle);
        if count > 0 && is_found && armed.load(Ordering::SeqCst) && !cut.swap(true, Ordering::SeqCst) {
            break;
        }
        if count == 0 || client.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

/// A bench whose connection goes through a proxy.
fn behind(name: &str, needle: &'static [u8], lets_through: bool) -> (Bench, Proxy) {
    let bench =
        Bench::new(name, &[("1_a.up.sql", "CREATE TABLE a (id int);"), ("2_b.up.sql", "INSERT INTO a VALUES (1);")]);
    let url = lyrox::url::parse(StoreKind::Postgres, &bench.project.postgres).expect("a URL");
    let server = format!("{}:{}", url.host().name, url.port_of(url.host()));
    let proxy = Proxy::new(server.clone(), needle, lets_through);
    let through = bench.project.postgres.replace(&server, &format!("127.0.0.1:{}", proxy.port));
    assert_ne!(through, bench.project.postgres);
    bench.project.write(".env", &format!("DATABASE_URL='{through}'\n"));
    let choice = Choice { directory: Some(bench.project.root().to_owned()), file: None, environment: None };
    let config = config::load(&choice).expect("a configuration");
    let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
    (Bench { config, targets, ..bench }, proxy)
}

#[test]
fn a_commit_whose_answer_is_lost_is_told_truthfully() {
    let (bench, proxy) = behind("doubt", b"COMMIT\0", true);
    let mut store = bench.open();
    block_on(async {
        store.try_lock().await.expect("a lock");
        store.prepare(&mark()).await.expect("a ledger");
        let ledger = store.ledger().await.expect("a ledger");
        proxy.is_armed.store(true, Ordering::SeqCst);
        let applied = store
            .apply(&bench.steps(&ledger, &Goal::Latest), &bench.options(&ledger, Transaction::Each), &bench.events)
            .await;
        assert!(proxy.has_cut.load(Ordering::SeqCst));
        assert!(applied.failure.is_none(), "{:?}", applied.failure);
        assert_eq!(applied.done.len(), 2);
        store.unlock().await.expect("the lock given back");
        store.close().await;
    });
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM a"), "1");
}

#[test]
fn a_commit_that_cannot_be_asked_about_is_in_doubt() {
    let (bench, proxy) = behind("blind", b"COMMIT\0", false);
    let mut store = bench.open();
    block_on(async {
        store.try_lock().await.expect("a lock");
        store.prepare(&mark()).await.expect("a ledger");
        let ledger = store.ledger().await.expect("a ledger");
        proxy.is_armed.store(true, Ordering::SeqCst);
        let applied = store
            .apply(&bench.steps(&ledger, &Goal::Latest), &bench.options(&ledger, Transaction::Each), &bench.events)
            .await;
        let (index, error) = applied.failure.expect("a failure");
        assert_eq!((index, error.code()), (0, Code::InDoubt), "{error:?}");
        store.close().await;
    });
}

#[test]
fn connecting_fails_with_the_cause_and_a_hint() {
    let bench = Bench::new("connect", &[]);
    let url = lyrox::url::parse(StoreKind::Postgres, &bench.project.postgres).expect("a URL");
    let place = format!("{}:{}", url.host().name, url.port_of(url.host()));
    let user = url.user().expect("a user").to_owned();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mute = format!("127.0.0.1:{}", silent.local_addr().expect("an address").port());
    let closed = format!(
        "127.0.0.1:{}",
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
    );
    std::thread::spawn(move || {
        for client in silent.incoming().map_while(Result::ok).take(1) {
            drop(client);
        }
    });
    for (url, code) in [
        (format!("postgres://{user}:wrong-secret-word@{place}/postgres"), Code::AuthPostgres),
        (url.with_database("no_such_database").expose(), Code::DatabaseMissing),
        (format!("postgres://{user}:wrong-secret-word@{closed}/x"), Code::ConnectRefused),
        (format!("postgres://{user}:wrong-secret-word@{mute}/x"), Code::ConnectClosed),
        (format!("postgres://{user}:wrong-secret-word@no-such-host.invalid/x"), Code::ConnectName),
        (format!("{}?sslmode=verify-full", url.expose()), Code::Tls),
    ] {
        bench.project.write(".env", &format!("DATABASE_URL='{url}'\n"));
        let choice = Choice { directory: Some(bench.project.root().to_owned()), file: None, environment: None };
        let config = config::load(&choice).expect("a configuration");
        let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
        let opened = block_on(PostgresStore::open(&config, targets.get(StoreKind::Postgres).expect("a target")));
        let Err(error) = opened else { panic!("{code} expected") };
        assert_eq!(error.code(), code, "{error:?}");
        assert!(error.hint_text().is_some(), "{error:?}");
        assert!(!format!("{error:?} {:?}", error.hint_text()).contains("wrong-secret-word"));
    }
}
