//! Redis as a store: what each message claims of the data is so.

use lyrox::config::Config;
use lyrox::engine::event::{Event, Silent};
use lyrox::engine::ledger::State;
use lyrox::engine::plan::Goal;
use lyrox::error::{Code, Error};
use lyrox::kind::StoreKind;
use lyrox::project::migration::Version;
use lyrox::stores::redis::RedisStore;
use lyrox::stores::{LockAnswer, Store as _};
use redis::Value;

use crate::store_run::{config, done, go, mark, options, permit, planned, target};
use crate::support::{Project, block_on};

async fn open(config: &Config) -> RedisStore {
    RedisStore::open(config, &target(config, StoreKind::Redis)).await.expect("a store")
}

fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Okay => "OK".into(),
        Value::Nil => "nil".into(),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(" "),
        other => format!("{other:?}"),
    }
}

/// A command of one key below the prefix.
fn ask(project: &Project, command: &str, key: &str, more: &[&str]) -> String {
    let key = format!("{}{key}", project.prefix);
    text(&project.redis(&[&[command, key.as_str()], more].concat()))
}

fn events(project: &Project) -> Vec<String> {
    let Value::Array(items) = project.redis(&["LRANGE", &format!("{}lyrox:events", project.prefix), "0", "-1"]) else {
        panic!("no list")
    };
    let event = |item: &Value| {
        let json: serde_json::Value = serde_json::from_str(&text(item)).expect("JSON");
        assert!(json["at_ms"].as_i64().is_some_and(|at| at > 1_600_000_000_000), "{json}");
        json["event"].as_str().expect("a word").to_owned()
    };
    items.iter().map(event).collect()
}

/// Migrates and answers the failure.
fn failure(config: &Config) -> Error {
    block_on(async {
        let mut store = open(config).await;
        go(&mut store, config, Goal::Latest).await.failure.expect("a failure").1
    })
}

#[test]
fn migrations_are_applied_recorded_and_undone() {
    let project = Project::new(
        "redis_all",
        "[redis.keyspaces.sessions]\npattern = \"session:{id}\"\ntype = \"hash\"\nttl = \"24h\"\n[redis.channels]\ndeploy = [\"b\", \"a\"]\n",
    );
    let core =
        "# settings\nHSET {{prefix}}settings theme 'light grey' \\x00 \"\\x00\"\nSET {{prefix}}soon 1 PX 90000\n";
    project.write("migrations/1_core.up.redis", core);
    project.write("migrations/1_core.down.redis", "DEL {{prefix}}settings {{prefix}}soon\n");
    project.write("migrations/2_more.up.redis", "XGROUP CREATE {{prefix}}events workers $ MKSTREAM\n");
    project.write("migrations/2_more.down.redis", "DEL {{prefix}}events\n");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let before = store.ledger().await.expect("a ledger");
        assert!(before.is_empty && before.rows.is_empty() && before.mark.is_none());
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1", "2"]);
        let ledger = store.ledger().await.expect("a ledger");
        assert_eq!(ledger.mark, Some(mark()));
        assert!(!ledger.is_empty && !ledger.is_resetting && ledger.snapshot_head.is_some());
        let first = &ledger.rows[0];
        assert_eq!((first.state, first.steps_done, first.steps_total), (State::Applied, 2, 2));
        assert!(first.started_at.ends_with('Z') && first.finished_at.as_ref() >= Some(&first.started_at), "{first:?}");
        assert_eq!(store.applied_text(&first.version).await.expect("an answer").as_deref(), Some(core));
        let snapshot = store.kept_snapshot().await.expect("an answer").expect("a snapshot");
        let objects: Vec<(&str, &str)> =
            snapshot.objects.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            objects,
            [
                ("channels deploy", "a b"),
                ("key events", "stream, groups workers"),
                ("key settings", "hash"),
                ("keyspace sessions", "session:{id} hash ttl 24h"),
            ]
        );
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), [""; 0]);
    });
    assert_eq!(ask(&project, "HGET", "settings", &["theme"]), "light grey");
    assert_eq!(ask(&project, "HGET", "settings", &["\\x00"]), "\0");
    assert_eq!(events(&project), ["applied", "applied"]);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::BackTo(Version::new("0"))).await), ["2", "1"]);
        let rows = store.ledger().await.expect("a ledger").rows;
        assert!(rows.iter().all(|row| row.state == State::Reverted && row.steps_done == 0));
        assert_eq!(ask(&project, "EXISTS", "settings", &[]), "0");
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1", "2"]);
    });
    assert_eq!(events(&project), ["applied", "applied", "reverted", "reverted", "applied", "applied"]);
}

#[test]
fn a_broken_first_migration_leaves_nothing() {
    let project = Project::new("redis_first", "");
    project.write("migrations/1_a.up.redis", "# first\n  SET {{prefix}}a 1 NONSENSE\nSET {{prefix}}b 1\n");
    let config = config(&project);
    let error = failure(&config);
    assert_eq!(error.code(), Code::MigrationFailed);
    assert_eq!(error.data_text(), Some("nothing of this file was applied"));
    assert!(error.why_text().expect("a reason").contains("syntax error"), "{error}");
    let place = error.place().expect("a place");
    assert_eq!((place.line, place.column), (2, 3));
    assert_eq!(ask(&project, "EXISTS", "b", &[]), "0");
    assert!(block_on(async { open(&config).await.ledger().await.expect("a ledger").rows.is_empty() }));
    assert_eq!(events(&project), ["failed"]);
}

#[test]
fn a_failure_inside_stops_there_and_resumes_there() {
    let project = Project::new("redis_later", "");
    project.write("migrations/1_ok.up.redis", "HSET {{prefix}}settings a 1\n");
    let broken = "INCR {{prefix}}n\nRPUSH {{prefix}}list x\nLPUSH {{prefix}}settings y\nINCR {{prefix}}n\n";
    project.write("migrations/2_broken.up.redis", broken);
    let config = config(&project);
    let error = failure(&config);
    assert!(error.why_text().expect("a reason").contains("WRONGTYPE"), "{error}");
    assert_eq!(error.data_text(), Some("stopped after step 2 of 4; steps 1 to 2 stay in effect"));
    assert_eq!(error.place().expect("a place").line, 3);
    assert_eq!(ask(&project, "GET", "n", &[]), "1", "nothing after the failed one ran");
    block_on(async {
        let row = open(&config).await.ledger().await.expect("a ledger").rows[1].clone();
        assert_eq!((row.state, row.steps_done, row.steps_total), (State::Failed, 2, 4));
        assert_eq!(row.error_code.as_deref(), Some("WRONGTYPE"));
    });
    // What is in effect was edited, or cut away: nothing runs.
    for text in [broken.replace("list x", "list z"), "INCR {{prefix}}n\n".to_owned()] {
        project.write("migrations/2_broken.up.redis", &text);
        assert_eq!(failure(&config).code(), Code::Unfinished);
    }
    assert_eq!(ask(&project, "GET", "n", &[]), "1");
    project.write(
        "migrations/2_broken.up.redis",
        &broken.replace("LPUSH {{prefix}}settings y", "HSET {{prefix}}settings y 1"),
    );
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["2"]);
    });
    assert_eq!(ask(&project, "GET", "n", &[]), "2");
    assert_eq!(ask(&project, "LLEN", "list", &[]), "1");
    assert_eq!(ask(&project, "HEXISTS", "lyrox:journal", &["2"]), "0");
}

#[test]
fn what_would_leave_the_prefix_is_refused_before_anything_runs() {
    let project = Project::new("redis_prefix", "");
    let config = config(&project);
    let elsewhere = format!("elsewhere_{}", project.name);
    for (line, why) in [
        (format!("SET {elsewhere} 1"), "does not begin with the key prefix"),
        (format!("MSET {{{{prefix}}}}b 1 {elsewhere} 1"), "does not begin with the key prefix"),
        (format!("EVAL \"return redis.call('SET', KEYS[1], 1)\" 1 {elsewhere}"), "does not begin with the key prefix"),
        ("DEL {{prefix}}lyrox:lock".into(), "lyrox's own"),
        ("STE {{prefix}}a 1".into(), "does not know `STE`"),
        ("SET {{prefix}}a".into(), "too few or too many words"),
    ] {
        project.write("migrations/1_a.up.redis", &format!("SET {{{{prefix}}}}first 1\n{line}\n"));
        let error = failure(&config);
        assert!(error.why_text().expect("a reason").contains(why), "{line}: {error}");
        assert_eq!(
            (error.data_text(), error.place().expect("a place").line),
            (Some("nothing was changed"), 2),
            "{line}"
        );
        assert_eq!(ask(&project, "EXISTS", "first", &[]), "0", "{line}");
        assert_eq!(text(&project.redis(&["EXISTS", &elsewhere])), "0", "{line}");
    }
}

/// A library of this test's own name.
fn library(project: &Project, body: &str) -> String {
    format!(
        "#!lua name={}\nredis.register_function('{}_f', function(keys, args) {body} end)\n",
        project.name, project.name
    )
}

#[test]
fn libraries_and_users_are_journaled_and_removed_by_a_reset() {
    let project = Project::new("redis_functions", "");
    let (name, prefix) = (project.name.clone(), project.prefix.clone());
    let foreign = format!("foreign_{name}");
    project.redis(&[
        "FUNCTION",
        "LOAD",
        &format!("#!lua name={foreign}\nredis.register_function('{foreign}_f', function() return 1 end)"),
    ]);
    project.redis(&["SET", &foreign, "1"]);
    project.write("migrations/lib.lua", &library(&project, "return redis.call('SET', keys[1], args[1])"));
    project.write(
        "migrations/1_a.up.redis",
        &format!(
            "SET {{{{prefix}}}}a 1\nFUNCTION LOAD @lib.lua\nFCALL {name}_f 1 {{{{prefix}}}}made by-function\nACL SETUSER {name}_reader on >pw ~{{{{prefix}}}}* +@read\nSET {{{{prefix}}}}z 1\n"
        ),
    );
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
        let snapshot = store.snapshot().await.expect("a snapshot");
        let function = &snapshot.objects[&format!("function {name}")];
        assert!(function.starts_with("#!lua name=") && function.contains("redis.call"), "{function}");
        let user = &snapshot.objects[&format!("user {name}_reader")];
        assert!(user.starts_with("on ") && user.contains(&format!("~{prefix}*")) && user.contains("+@read"), "{user}");
        assert!(!snapshot.objects.contains_key(&format!("function {foreign}")));
    });
    assert_eq!(ask(&project, "GET", "made", &[]), "by-function");

    project.redis(&["SET", &format!("{prefix}cache:1"), "x"]);
    block_on(async {
        let mut store = open(&config).await;
        let holdings = store.holdings(false).await.expect("holdings");
        let find = |kind: &str, name: &str| {
            let held = holdings.iter().find(|held| held.kind == kind && held.name == name);
            held.map(|held| (held.rows, held.is_owned))
        };
        assert_eq!(find("keys", &format!("{prefix}cache:*")), Some((Some(1), true)), "{holdings:?}");
        assert_eq!(find("keys", &format!("{prefix}a")), Some((Some(1), true)));
        assert_eq!(find("function", &name), Some((None, true)));
        assert_eq!(find("function", &foreign), None);
        assert_eq!(find("user", &format!("{name}_reader")), Some((None, true)));
        assert!(!holdings.iter().any(|held| held.name.contains("lyrox:")), "{holdings:?}");

        store.try_lock().await.expect("a lock");
        let permit = permit(&config, StoreKind::Redis);
        store.begin_reset(&permit).await.expect("begun");
        assert!(store.ledger().await.expect("a ledger").is_resetting);
        // a, made, z, cache:1, the library, the user
        assert_eq!(store.wipe(&permit, false, &Silent).await.expect("wiped"), 6);
        assert_eq!(store.wipe(&permit, false, &Silent).await.expect("wiped again"), 0);
        store.finish_reset().await.expect("finished");
        store.unlock().await.expect("given back");
        let ledger = store.ledger().await.expect("a ledger");
        assert!(ledger.rows.is_empty() && ledger.is_empty && !ledger.is_resetting);
        assert_eq!(ledger.mark, Some(mark()));
        assert!(store.kept_snapshot().await.expect("an answer").is_none());
        assert!(!store.holdings(false).await.expect("holdings").iter().any(|held| held.is_owned));
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
        store.try_lock().await.expect("a lock");
        store.wipe(&permit, true, &Silent).await.expect("wiped");
        store.finish_reset().await.expect("finished");
        store.unlock().await.expect("given back");
    });
    assert_eq!(text(&project.redis(&["GET", &foreign])), "1", "another prefix is never touched");
    project.redis(&["DEL", &foreign]);
    project.redis(&["FUNCTION", "DELETE", &foreign]);
}

#[test]
fn a_library_that_does_not_compile_is_placed_in_its_file() {
    let project = Project::new("redis_compile", "");
    project.write("migrations/lib/broken.lua", &format!("#!lua name={}\nlocal x =\nreturn end\n", project.name));
    project.write("migrations/1_a.up.redis", "SET {{prefix}}a 1\nFUNCTION LOAD @lib/broken.lua\n");
    let config = config(&project);
    let error = failure(&config);
    assert_eq!(error.data_text(), Some("stopped after step 1 of 2; it stays in effect"));
    let place = error.place().expect("a place");
    assert_eq!((place.file.as_str(), place.line), ("migrations/lib/broken.lua", 3), "{error}");
    // What was not made is not owned.
    assert_eq!(ask(&project, "HKEYS", "lyrox:owned", &[]), "key a");
}

#[test]
fn a_command_in_doubt_is_looked_up() {
    let project = Project::new("redis_doubt", "");
    let config = config(&project);
    let code = library(&project, "return 1");
    project.write("migrations/lib.lua", &code);
    let load = |code: &str| project.redis(&["FUNCTION", "LOAD", "REPLACE", code]);
    let drop = || project.redis(&["FUNCTION", "DELETE", &project.name]);
    // Each case: the second line, what is there when the run is taken up again, the way it ends.
    for (line, there, code_of_end) in [
        ("FUNCTION LOAD @lib.lua", None, None),
        ("FUNCTION LOAD @lib.lua", Some(code.clone()), None),
        ("FUNCTION LOAD @lib.lua", Some(library(&project, "return 2")), Some(Code::InDoubt)),
        ("EVAL \"return redis.call('INCR', KEYS[1])\" 1 {{prefix}}n", None, Some(Code::InDoubt)),
    ] {
        project
            .write("migrations/1_a.up.redis", &format!("INCR {{{{prefix}}}}first\n{line}\nINCR {{{{prefix}}}}last\n"));
        // Made to stop at the second line by the third, which is refused when it is looked up.
        let migrations = lyrox::project::migration::read_all(project.root(), "migrations").expect("files");
        let up = &migrations[0].parts[&StoreKind::Redis].up;
        let commands = lyrox::stores::redis::script::read(up, &project.prefix, &config.variables).expect("commands");
        let chain = lyrox::project::text::sha256(commands[0].hash.as_bytes())[..16].to_owned();
        let journal = format!(r#"{{"way":"up","doing":"{}","chain":"{chain}","done":1}}"#, commands[1].hash);
        let row = format!(
            r#"{{"name":"a","checksum":"{}","state":"started","steps_done":0,"steps_total":3,"started_ms":1700000000000,"actor":"a","lyrox":"0","error_code":null,"finished_ms":null}}"#,
            up.checksum
        );
        ask(&project, "HSET", "lyrox:migrations", &["1", &row]);
        ask(&project, "HSET", "lyrox:journal", &["1", &journal]);
        if let Some(there) = &there {
            load(there);
        }
        block_on(async {
            let mut store = open(&config).await;
            assert_eq!(store.ledger().await.expect("a ledger").rows[0].steps_done, 1, "the journal counts");
            let applied = go(&mut store, &config, Goal::Latest).await;
            match code_of_end {
                None => {
                    assert_eq!(done(&applied), ["1"]);
                    assert_eq!(ask(&project, "GET", "last", &[]), "1");
                    drop();
                }
                Some(code) => {
                    let (_, error) = applied.failure.expect("a failure");
                    assert_eq!(error.code(), code, "{line}");
                    assert_eq!(error.data_text(), Some("stopped after step 1 of 3; it stays in effect"));
                    assert_eq!(error.place().expect("a place").line, 2);
                    assert_eq!(ask(&project, "EXISTS", "last", &[]), "0");
                    if there.is_some() {
                        drop();
                    }
                }
            }
        });
        assert_eq!(ask(&project, "EXISTS", "first", &[]), "0", "what was done is not done again");
        for key in ["last", "n", "lyrox:migrations", "lyrox:journal", "lyrox:owned"] {
            ask(&project, "DEL", key, &[]);
        }
    }
}

#[test]
fn one_run_holds_the_lock_and_one_that_lost_it_stops() {
    let project = Project::new("redis_lock", "");
    project.write("migrations/1_a.up.redis", "INCR {{prefix}}n\n");
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
        ask(&project, "PEXPIRE", "lyrox:lock", &["1"]);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        assert_eq!(second.try_lock().await.expect("an answer"), LockAnswer::Obtained);
        let plan = planned(&mut first, &config, &Goal::Latest).await;
        let applied = first.apply(&plan.steps, &options(&config), &Silent).await;
        let (_, error) = applied.failure.expect("a failure");
        assert_eq!(error.code(), Code::LockLost);
        assert_eq!(error.data_text(), Some("nothing of this file was applied"));
        assert_eq!(ask(&project, "EXISTS", "n", &[]), "0");
        // It must not give back what is another's.
        first.unlock().await.expect("left alone");
        assert!(matches!(first.try_lock().await.expect("an answer"), LockAnswer::Held(_)));
        let plan = planned(&mut second, &config, &Goal::Latest).await;
        assert_eq!(done(&second.apply(&plan.steps, &options(&config), &Silent).await), ["1"]);
        second.unlock().await.expect("given back");
        assert_eq!(first.try_lock().await.expect("an answer"), LockAnswer::Obtained);
        first.unlock().await.expect("given back");
    });
    assert_eq!(ask(&project, "GET", "n", &[]), "1");
}

#[test]
fn the_lock_of_a_process_that_is_gone_is_taken_over_at_once() {
    let project = Project::new("redis_gone", "");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(store.try_lock().await.expect("an answer"), LockAnswer::Obtained);
        let value = ask(&project, "GET", "lyrox:lock", &[]);
        store.unlock().await.expect("given back");
        let mut stored: serde_json::Value = serde_json::from_str(&value).expect("JSON");
        let process = stored["process"].as_str().expect("a process").to_owned();
        // The same place, the same number, another start: that process is gone.
        stored["process"] = format!("{process}0").into();
        ask(&project, "SET", "lyrox:lock", &[&stored.to_string(), "PX", "60000"]);
        assert_eq!(store.try_lock().await.expect("an answer"), LockAnswer::Obtained);
        store.unlock().await.expect("given back");
        // On another machine nobody knows: it has to be waited for.
        stored["process"] = format!("another-{process}0").into();
        ask(&project, "SET", "lyrox:lock", &[&stored.to_string(), "PX", "60000"]);
        assert!(matches!(store.try_lock().await.expect("an answer"), LockAnswer::Held(_)));
    });
}

#[test]
fn a_run_that_was_overtaken_stops_before_its_next_step() {
    let project = Project::new("redis_overtaken", "");
    project.write("migrations/1_a.up.redis", "INCR {{prefix}}n\n");
    project.write("migrations/2_b.up.redis", "INCR {{prefix}}n\n");
    let config = config(&project);
    /// Takes the lock away when the first migration is told.
    struct Thief<'a>(&'a Project);
    impl lyrox::engine::event::Events for Thief<'_> {
        fn event(&self, event: Event) {
            if matches!(event, Event::Item(_)) {
                ask(self.0, "SET", "lyrox:lock", &["another"]);
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
    assert_eq!(ask(&project, "GET", "n", &[]), "1");
}

#[test]
fn a_long_file_runs_in_pieces_and_each_command_once() {
    let project = Project::new("redis_long", "");
    let lines: String = (0..1500).map(|n| format!("INCR {{{{prefix}}}}n\nSET {{{{prefix}}}}k:{n} {n}\n")).collect();
    project.write("migrations/1_a.up.redis", &format!("{lines}LPUSH {{{{prefix}}}}n x\n{lines}"));
    let config = config(&project);
    let error = failure(&config);
    assert_eq!(error.data_text(), Some("stopped after step 3000 of 6001; steps 1 to 3000 stay in effect"));
    assert_eq!(ask(&project, "GET", "n", &[]), "1500");
    project.write("migrations/1_a.up.redis", &format!("{lines}LPUSH {{{{prefix}}}}list x\n{lines}"));
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
    });
    assert_eq!(ask(&project, "GET", "n", &[]), "3000");
}

#[test]
fn an_evicted_ledger_reads_as_one_without_rows() {
    let project = Project::new("redis_evicted", "");
    project.write("migrations/1_a.up.redis", "SET {{prefix}}a 1\n");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
        ask(&project, "DEL", "lyrox:migrations", &[]);
        let ledger = store.ledger().await.expect("a ledger");
        assert!(ledger.rows.is_empty() && ledger.mark.is_some() && !ledger.is_empty);
    });
}

#[test]
fn a_ledger_of_a_newer_lyrox_or_a_damaged_one_is_refused() {
    let project = Project::new("redis_ledger", "");
    project.write("migrations/1_a.up.redis", "SET {{prefix}}a 1\n");
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
    });
    let code = || block_on(async { open(&config).await.ledger().await.expect_err("an error").code() });
    ask(&project, "SET", "lyrox:layout", &["2"]);
    assert_eq!(code(), Code::LedgerNewer);
    ask(&project, "SET", "lyrox:layout", &["1"]);
    ask(&project, "HSET", "lyrox:migrations", &["1", "{}"]);
    assert_eq!(code(), Code::LedgerDamaged);
    ask(&project, "DEL", "lyrox:migrations", &[]);
    ask(&project, "SET", "lyrox:migrations", &["x"]);
    assert_eq!(code(), Code::LedgerDamaged);
}

#[test]
fn a_prefix_with_pattern_characters_matches_only_itself() {
    let project = Project::new("redis_glob", "");
    let name = &project.name;
    project.write("lyrox.toml", &format!("[project]\nname = \"{name}\"\n[redis]\nkey_prefix = \"{name}[ab]*?:\"\n"));
    project.write("migrations/1_a.up.redis", "SET {{prefix}}x 1\n");
    let neighbour = format!("{name}a1:keep");
    project.redis(&["SET", &neighbour, "1"]);
    let config = config(&project);
    block_on(async {
        let mut store = open(&config).await;
        assert_eq!(done(&go(&mut store, &config, Goal::Latest).await), ["1"]);
        store.try_lock().await.expect("a lock");
        let removed = store.wipe(&permit(&config, StoreKind::Redis), true, &Silent).await.expect("wiped");
        assert_eq!(removed, 1);
        store.finish_reset().await.expect("finished");
        store.unlock().await.expect("given back");
    });
    assert_eq!(text(&project.redis(&["DEL", &neighbour])), "1");
    for key in ["environment", "layout", "events"] {
        project.redis(&["DEL", &format!("{name}[ab]*?:lyrox:{key}")]);
    }
    let permit = permit(&config, StoreKind::Redis);
    project.write("lyrox.toml", &format!("[project]\nname = \"{name}\"\n[redis]\nkey_prefix = \"\"\n"));
    let config = crate::store_run::config(&project);
    block_on(async {
        let mut store = open(&config).await;
        let error = store.holdings(false).await.expect_err("an error");
        assert_eq!(error.code(), Code::ConfigValue);
        assert_eq!(store.begin_reset(&permit).await.expect_err("an error").code(), Code::ConfigValue);
    });
}
