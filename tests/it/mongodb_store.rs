//! MongoDB as a store: what each message claims of the data is so.

use bson::{Bson, Document, doc};
use lyrox::config::Config;
use lyrox::engine::event::{Event, Events as _, Silent};
use lyrox::engine::ledger::State;
use lyrox::engine::plan::Goal;
use lyrox::error::Code;
use lyrox::kind::StoreKind;
use lyrox::project::migration::Version;
use lyrox::stores::mongodb::MongodbStore;
use lyrox::stores::{LockAnswer, Store as _};

use crate::store_run::{Heard, config, done, go, mark, options, permit, planned, target};
use crate::support::{Project, block_on};

async fn open(config: &Config) -> MongodbStore {
    MongodbStore::open(config, &target(config, StoreKind::Mongodb)).await.expect("a store")
}

fn count(project: &Project, collection: &str) -> i64 {
    let reply = project.mongo(doc! { "count": collection });
    reply.get_i32("n").map_or_else(|_| reply.get_i64("n").expect("a count"), i64::from)
}

fn collections(project: &Project) -> Vec<String> {
    let mut names = block_on(async { project.database().list_collection_names().await.expect("names") });
    names.retain(|name| !name.starts_with("lyrox_") && !name.starts_with("system."));
    names.sort();
    names
}

fn row(project: &Project, version: &str) -> Option<Document> {
    block_on(async {
        let rows = project.database().collection::<Document>("lyrox_migrations");
        rows.find_one(doc! { "_id.version": version }).await.expect("an answer")
    })
}

fn events(project: &Project) -> Vec<String> {
    let reply = project.mongo(doc! { "find": "lyrox_events", "sort": { "_id": 1 } });
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch")).expect("events").clone();
    let word = |event: &Bson| event.as_document().and_then(|event| event.get_str("event").ok()).map(str::to_owned);
    batch.iter().filter_map(word).collect()
}

const CORE: &str = r#"// the core
[
  { "create": "conversations", "validator": { "$jsonSchema": { "required": ["companyId"] } } },
  { "createIndexes": "conversations", "indexes": [ { "key": { "companyId": 1, "at": -1 }, "name": "by_company" } ] },
  { "insert": "conversations", "documents": [ { "_id": 1, "companyId": "a" } ] }
]
"#;

#[test]
fn migrations_are_applied_recorded_and_undone() {
    let project = Project::new("mongo_all", "");
    project.write("migrations/1_core.up.json", CORE);
    project.write("migrations/1_core.down.json", "[ { \"drop\": \"conversations\" } ]");
    project.write(
        "migrations/2_more.up.json",
        "[ { \"insert\": \"a\", \"documents\": [ { \"n\": { \"$numberLong\": \"5\" } } ] } ]",
    );
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let before = store.ledger().await.expect("a ledger");
        assert!(before.is_empty && before.rows.is_empty() && before.mark.is_none());
        assert!(project.database().list_collection_names().await.expect("names").is_empty(), "reading makes nothing");

        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1", "2"]);
        let ledger = store.ledger().await.expect("a ledger");
        assert_eq!(ledger.mark, Some(mark()));
        assert!(!ledger.is_empty && !ledger.is_resetting);
        assert_eq!(ledger.rows.len(), 2);
        let first = &ledger.rows[0];
        assert_eq!((first.state, first.steps_done, first.steps_total), (State::Applied, 3, 3));
        let text = store.applied_text(&first.version).await.expect("an answer");
        assert_eq!(text.as_deref(), Some(CORE));
        assert!(first.started_at.ends_with('Z') && first.finished_at.is_some());
        let snapshot = store.kept_snapshot().await.expect("an answer").expect("a snapshot");
        let objects: Vec<&str> = snapshot.objects.keys().map(String::as_str).collect();
        assert_eq!(objects, ["collection a", "collection conversations", "index conversations.by_company"]);
        assert_eq!(snapshot, store.snapshot().await.expect("a snapshot"));

        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), [""; 0]);
    });
    assert_eq!(events(&project), ["applied", "applied"]);
    assert_eq!(count(&project, "a"), 1);

    project.write(
        "migrations/2_more.down.json",
        "[ { \"delete\": \"a\", \"deletes\": [ { \"q\": {}, \"limit\": 0 } ] } ]",
    );
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::BackTo(Version::new("0"))).await), ["2", "1"]);
        let rows = store.ledger().await.expect("a ledger").rows;
        assert!(rows.iter().all(|row| row.state == State::Reverted && row.steps_done == 0));
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1", "2"]);
    });
    assert_eq!(count(&project, "conversations"), 1);
    assert_eq!(events(&project), ["applied", "applied", "reverted", "reverted", "applied", "applied"]);
}

#[test]
fn a_broken_first_migration_leaves_what_its_message_says() {
    let project = Project::new("mongo_first", "");
    // Only data: one transaction.
    project.write(
        "migrations/1_data.up.json",
        "[ { \"insert\": \"a\", \"documents\": [ { \"_id\": 1 } ] },\n  { \"insert\": \"a\", \"documents\": [ { \"_id\": 2 }, { \"_id\": 1 } ] } ]",
    );
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        assert_eq!(error.code(), Code::MigrationFailed);
        assert_eq!(error.data_text(), Some("rolled back; nothing of this file was applied"));
        assert!(error.why_text().expect("a reason").contains("E11000"), "{error}");
        let place = error.place().expect("a place");
        assert_eq!((place.line, place.column), (2, 3));
        assert!(store.ledger().await.expect("a ledger").rows.is_empty());
    });
    assert_eq!(collections(&project), [""; 0]);
    assert!(row(&project, "1").is_none());
    assert_eq!(events(&project), ["failed"]);

    // A catalog command that is refused at once.
    project.write("migrations/1_data.up.json", "[ { \"createIndexes\": \"a\", \"indexes\": [ { \"key\": {} } ] } ]");
    block_on(async {
        let mut store = open(&config).await;
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        assert_eq!(error.data_text(), Some("nothing of this file was applied"));
    });
    assert!(row(&project, "1").is_none());
}

#[test]
fn a_later_failure_stops_after_the_step_it_names_and_resumes_there() {
    let project = Project::new("mongo_later", "");
    project.write("migrations/1_ok.up.json", CORE);
    let broken = r#"[
  { "create": "messages" },
  { "insert": "messages", "documents": [ { "_id": 1 } ] },
  { "createIndexes": "conversations", "indexes": [ { "key": { "at": 1 }, "name": "by_company" } ] },
  { "insert": "messages", "documents": [ { "_id": 2 } ] }
]"#;
    project.write("migrations/2_broken.up.json", broken);
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let applied = go(&mut store, &config, Goal::Latest).await;
        assert_eq!(applied.done.len(), 1);
        let (at, error) = applied.failure.expect("a failure");
        assert_eq!(at, 1);
        assert_eq!(error.data_text(), Some("stopped after step 2 of 4; steps 1 to 2 stay in effect"));
        assert!(error.why_text().expect("a reason").contains("IndexKeySpecsConflict, 86"), "{error}");
        assert_eq!(error.place().expect("a place").line, 4);
        let row = &store.ledger().await.expect("a ledger").rows[1];
        assert_eq!((row.state, row.steps_done, row.steps_total), (State::Failed, 2, 4));
        assert_eq!(row.error_code.as_deref(), Some("86"));
    });
    assert_eq!(count(&project, "messages"), 1);

    // What is in effect was edited: nothing runs.
    project.write("migrations/2_broken.up.json", &broken.replace("\"_id\": 1", "\"_id\": 7"));
    block_on(async {
        let mut store = open(&config).await;
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        assert_eq!((error.code(), error.place().expect("a place").line), (Code::Unfinished, 3));
    });
    // Shortened below what is in effect: the same.
    project.write("migrations/2_broken.up.json", "[ { \"create\": \"messages\" } ]");
    block_on(async {
        let mut store = open(&config).await;
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        assert_eq!(error.code(), Code::Unfinished);
    });
    // Mended from the failed step on: it goes on there.
    project.write("migrations/2_broken.up.json", &broken.replace("\"name\": \"by_company\"", "\"name\": \"by_time\""));
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["2"]);
        let row = &store.ledger().await.expect("a ledger").rows[1];
        assert_eq!((row.state, row.steps_done), (State::Applied, 4));
    });
    assert_eq!(count(&project, "messages"), 2);
}

#[test]
fn a_validator_says_what_it_missed() {
    let project = Project::new("mongo_rules", "");
    project.write("migrations/1_core.up.json", CORE);
    project
        .write("migrations/2_bad.up.json", "[ { \"insert\": \"conversations\", \"documents\": [ { \"_id\": 9 } ] } ]");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        let why = error.why_text().expect("a reason");
        assert!(why.contains("121") && why.contains("companyId"), "{why}");
        assert_eq!(error.data_text(), Some("rolled back; nothing of this file was applied"));
    });
}

#[test]
fn without_a_transaction_the_documents_that_were_written_are_counted() {
    let project = Project::new("mongo_partial", "");
    project.write(
        "migrations/1_bulk.up.json",
        "// lyrox: no-transaction\n[ { \"insert\": \"a\", \"documents\": [ { \"_id\": 1 }, { \"_id\": 2 }, { \"_id\": 1 } ] } ]",
    );
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        let data = error.data_text().expect("what happened");
        assert!(data.contains("2 items of step 1 were written before it failed"), "{data}");
        // The same command again would not be the same: a person has to say what is still to be done.
        let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
        assert_eq!(error.code(), Code::InDoubt, "{error}");
    });
    assert_eq!(count(&project, "a"), 2);
    project.write(
        "migrations/1_bulk.up.json",
        "// lyrox: no-transaction\n[ { \"insert\": \"a\", \"documents\": [ { \"_id\": 3 } ] } ]",
    );
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
    });
    assert_eq!(count(&project, "a"), 3);
}

/// Writes a row as a run leaves it that was killed after it began a command.
fn killed_at(project: &Project, version: &str, doing: i32) {
    let row = row(project, version).expect("a row");
    let hash = row.get_str("doing_hash").expect("a hash").to_owned();
    let state = doc! { "state": "started", "steps_done": doing, "doing": doing, "doing_hash": hash };
    project.mongo(doc! { "update": "lyrox_migrations", "updates": [ { "q": { "_id.version": version }, "u": { "$set": state } } ] });
}

#[test]
fn a_catalog_command_in_doubt_is_looked_up() {
    // The second command fails, which leaves the journal of a run at work; the test makes it one that
    // was killed while it created the collection.
    for (live, code) in [
        (None, None),
        (Some(doc! { "create": "made", "capped": true, "size": 4096 }), None),
        (Some(doc! { "create": "made" }), Some(Code::InDoubt)),
    ] {
        let project = Project::new("mongo_doubt", "");
        let text = |name: &str| {
            format!(
                "[ {{ \"create\": \"first\" }}, {{ \"create\": \"made\", \"capped\": true, \"size\": 4096, \"{name}\": 1 }} ]"
            )
        };
        project.write("migrations/1_a.up.json", &text("comment"));
        let config = config(&project);
        block_on(async {
            let mut store = open(&config).await;
            store.try_lock().await.expect("a lock");
            store.prepare(&mark()).await.expect("a ledger");
            store.unlock().await.expect("unlocked");
        });
        // A foreign collection in the way makes the command fail the first time.
        project.mongo(doc! { "create": "made" });
        block_on(async {
            let mut store = open(&config).await;
            let (_, error) = go(&mut store, &config, Goal::Latest).await.failure.expect("a failure");
            assert!(error.hint_text().expect("a hint").contains("collMod"), "{error}");
        });
        let hash = {
            let script = lyrox::project::migration::read_all(project.root(), "migrations").expect("files");
            let up = script[0].parts[&StoreKind::Mongodb].up.clone();
            lyrox::stores::mongodb::script::read(&up, &config.variables).expect("commands")[1].hash.clone()
        };
        project.mongo(doc! { "update": "lyrox_migrations", "updates": [
        { "q": { "_id.version": "1" }, "u": { "$set": { "doing_hash": hash } } } ] });
        killed_at(&project, "1", 1);
        project.mongo(doc! { "drop": "made" });
        if let Some(live) = live {
            project.mongo(live);
        }
        block_on(async {
            let mut store = open(&config).await;
            let applied = go(&mut store, &config, Goal::Latest).await;
            match code {
                None => assert_eq!(done(&applied), ["1"]),
                Some(code) => {
                    let (_, error) = applied.failure.expect("a failure");
                    assert_eq!(error.code(), code);
                    assert_eq!(error.data_text(), Some("stopped after step 1 of 2; it stays in effect"));
                    assert!(error.what().contains("step 2 of 1_a"), "{error}");
                }
            }
        });
        if code.is_none() {
            let options = project.mongo(doc! { "listCollections": 1, "filter": { "name": "made" } });
            assert!(options.to_string().contains("\"capped\": true"), "{options}");
        }
    }
}

#[test]
fn one_run_holds_the_lock_and_a_lease_that_ended_is_taken_over() {
    let project = Project::new("mongo_lock", "");
    project.write("migrations/1_a.up.json", "[ { \"create\": \"a\" } ]");
    let config = config(&project);
    block_on(async {
        let mut first = open(&config).await;
        let mut second = open(&config).await;
        assert_eq!(first.try_lock().await.expect("an answer"), LockAnswer::Obtained);
        first.prepare(&mark()).await.expect("a ledger");
        let LockAnswer::Held(holder) = second.try_lock().await.expect("an answer") else { panic!("two hold it") };
        assert!(holder.contains(&format!("pid {}", std::process::id())) && holder.contains("since 2"), "{holder}");
        second.unlock().await.expect("nothing to give back");
        assert!(matches!(second.try_lock().await.expect("an answer"), LockAnswer::Held(_)));

        // The first is paused beyond its lease.
        let past = doc! { "$set": { "expires": bson::DateTime::from_millis(1) } };
        let locks = project.database().collection::<Document>("lyrox_lock");
        locks.update_one(doc! {}, past).await.expect("an update");
        assert_eq!(second.try_lock().await.expect("an answer"), LockAnswer::Obtained);

        let plan = planned(&mut first, &config, &Goal::Latest).await;
        let applied = first.apply(&plan.steps, &options(&config), &Silent).await;
        let (_, error) = applied.failure.expect("a failure");
        assert_eq!(error.code(), Code::LockLost);
        assert_eq!(error.data_text(), Some("nothing of this file was applied"));
        // It must not give back what is another's.
        first.unlock().await.expect("left alone");
        assert!(matches!(first.try_lock().await.expect("an answer"), LockAnswer::Held(_)));

        let plan = planned(&mut second, &config, &Goal::Latest).await;
        let applied = second.apply(&plan.steps, &options(&config), &Silent).await;
        assert_eq!(done(&applied), ["1"]);
        second.unlock().await.expect("given back");
        assert_eq!(first.try_lock().await.expect("an answer"), LockAnswer::Obtained);
        first.unlock().await.expect("given back");
    });
}

#[test]
fn what_a_dead_run_left_open_in_the_server_is_ended() {
    let project = Project::new("mongo_left", "");
    project.mongo(doc! { "create": "a" });
    project.write("migrations/1_a.up.json", "[ { \"drop\": \"a\" } ]");
    let config = config(&project);
    block_on(async {
        // A transaction whose client is gone: the server keeps it, and its locks, for a minute.
        let client = mongodb::Client::with_uri_str(&project.mongodb).await.expect("a client");
        let database = client.database(&project.name);
        let mut session = client.start_session().await.expect("a session");
        session.start_transaction().await.expect("a transaction");
        let documents = database.collection::<Document>("a");
        documents.insert_one(doc! { "n": 1 }).session(&mut session).await.expect("an insert");
        let lock = doc! { "_id": "lock", "token": "dead", "expires": bson::DateTime::from_millis(1), "session": session.id().clone() };
        database.collection::<Document>("lyrox_lock").insert_one(lock).await.expect("a lock");

        let begun = std::time::Instant::now();
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
        assert!(begun.elapsed() < std::time::Duration::from_secs(15), "{:?}", begun.elapsed());
        assert!(session.commit_transaction().await.is_err(), "it was ended");
    });
    assert_eq!(collections(&project), [""; 0]);
}

#[test]
fn a_run_that_was_overtaken_stops_before_its_next_step() {
    let project = Project::new("mongo_overtaken", "");
    project.write("migrations/1_a.up.json", "[ { \"create\": \"a\" } ]");
    project.write("migrations/2_b.up.json", "[ { \"insert\": \"b\", \"documents\": [ { \"_id\": 1 } ] } ]");
    let config = config(&project);
    /// Takes the lock away when the first migration is told.
    struct Thief<'a>(&'a Project);
    impl lyrox::engine::event::Events for Thief<'_> {
        fn event(&self, event: Event) {
            if matches!(event, Event::Item(_)) {
                let stolen = doc! { "q": {}, "u": { "$set": { "token": "another" } } };
                self.0.mongo(doc! { "update": "lyrox_lock", "updates": [stolen] });
            }
        }
    }
    block_on(async {
        let mut store = open(&config).await;
        store.try_lock().await.expect("a lock");
        store.prepare(&mark()).await.expect("a ledger");
        let plan = planned(&mut store, &config, &Goal::Latest).await;
        let applied = store.apply(&plan.steps, &options(&config), &Thief(&project)).await;
        assert_eq!(applied.done.len(), 1);
        let (at, error) = applied.failure.expect("a failure");
        assert_eq!((at, error.code()), (1, Code::LockLost));
    });
    assert_eq!(collections(&project), ["a"]);
}

#[test]
fn a_row_that_another_run_wrote_is_not_written_over() {
    let project = Project::new("mongo_rows", "");
    project.write("migrations/1_a.up.json", "[ { \"insert\": \"a\", \"documents\": [ { \"_id\": 1 } ] } ]");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        store.try_lock().await.expect("a lock");
        store.prepare(&mark()).await.expect("a ledger");
        let plan = planned(&mut store, &config, &Goal::Latest).await;
        // Between plan and run another one applies it.
        assert_eq!(done(&store.apply(&plan.steps, &options(&config), &Silent).await), ["1"]);
        let (_, error) = store.apply(&plan.steps, &options(&config), &Silent).await.failure.expect("a failure");
        assert_eq!(error.code(), Code::LockLost);
        store.unlock().await.expect("given back");
    });
    assert_eq!(count(&project, "a"), 1);
}

#[test]
fn a_reset_keeps_what_is_foreign_and_the_mark() {
    let project = Project::new("mongo_reset", "");
    project.write("migrations/1_core.up.json", CORE);
    project.write(
        "migrations/2_view.up.json",
        "[ { \"create\": \"recent\", \"viewOn\": \"conversations\", \"pipeline\": [ { \"$limit\": 5 } ] },\n  { \"renameCollection\": \"conversations\", \"to\": \"talks\" } ]",
    );
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1", "2"]);
    });
    project.mongo(doc! { "insert": "foreign", "documents": [ { "a": 1 } ] });
    project.mongo(doc! { "insert": "lyrox_seeds", "documents": [ { "a": 1 } ] });
    block_on(async {
        let mut store = open(&config).await;
        let holdings = store.holdings(false).await.expect("holdings");
        let shown: Vec<_> =
            holdings.iter().map(|held| (held.kind, held.name.as_str(), held.rows, held.is_owned)).collect();
        assert_eq!(
            shown,
            [
                ("collection", "foreign", Some(1), false),
                ("view", "recent", None, true),
                ("collection", "talks", Some(1), true),
            ]
        );
        assert!(holdings[2].bytes.is_some_and(|bytes| bytes > 0));

        store.try_lock().await.expect("a lock");
        let heard = Heard::default();
        heard.note("begin".into());
        let removed = {
            let permit = permit(&config, StoreKind::Mongodb);
            store.begin_reset(&permit).await.expect("begun");
            assert!(store.ledger().await.expect("a ledger").is_resetting);
            store.wipe(&permit, false, &heard).await.expect("wiped")
        };
        assert_eq!(removed, 2);
        let ledger = store.ledger().await.expect("a ledger");
        assert!(ledger.is_resetting && ledger.rows.is_empty());
        assert_eq!(ledger.mark, Some(mark()));
        // An interrupted one is finished by running it again.
        store.wipe(&permit(&config, StoreKind::Mongodb), false, &heard).await.expect("wiped again");
        store.finish_reset().await.expect("finished");
        assert!(!store.ledger().await.expect("a ledger").is_resetting);
        assert!(store.kept_snapshot().await.expect("an answer").is_none());
        store.unlock().await.expect("given back");
    });
    assert_eq!(collections(&project), ["foreign"]);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1", "2"]);
        store.try_lock().await.expect("a lock");
        store.wipe(&permit(&config, StoreKind::Mongodb), true, &Silent).await.expect("wiped");
        store.finish_reset().await.expect("finished");
        store.unlock().await.expect("given back");
    });
    assert_eq!(collections(&project), [""; 0]);
}

#[test]
fn a_ledger_of_a_newer_lyrox_or_a_damaged_one_is_refused() {
    let project = Project::new("mongo_ledger", "");
    project.write("migrations/1_a.up.json", "[ { \"create\": \"a\" } ]");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
    });
    let set = |collection: &str, id: Bson, fields: Document| {
        project.mongo(doc! { "update": collection, "updates": [ { "q": { "_id": id }, "u": { "$set": fields } } ] });
    };
    set("lyrox_meta", "layout".into(), doc! { "version": 2 });
    let code = || block_on(async { open(&config).await.ledger().await.expect_err("an error").code() });
    assert_eq!(code(), Code::LedgerNewer);
    set("lyrox_meta", "layout".into(), doc! { "version": 1 });
    project.mongo(doc! { "update": "lyrox_migrations", "updates": [ { "q": {}, "u": { "$unset": { "state": 1 } } } ] });
    assert_eq!(code(), Code::LedgerDamaged);
}
