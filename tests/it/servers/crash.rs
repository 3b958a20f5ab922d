//! What dies, is copied, is taken or is damaged, and what the next command makes of it.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bson::doc;
use serde_json::json;

use super::local::{Bystander, Local, command, finish, lives, mongo, redis, signal};
use crate::support::sql;

const ALL: &str = "[postgres]\n[mongodb]\ndatabase = \"crash\"\n[redis]";

#[test]
fn a_killed_server_is_seen_started_again_and_has_lost_nothing_committed() {
    let local = Local::new("killed", ALL);
    local.lyrox(&["up"]).ok();
    let (postgres, mongodb, cache) = (local.url("DIRECT_URL"), local.url("MONGODB_URI"), local.url("REDIS_URL"));
    sql(&postgres, "CREATE TABLE t AS SELECT 1 AS a").expect("a table");
    mongo(&mongodb, doc! { "insert": "t", "documents": [{ "a": 1 }], "writeConcern": { "j": true } })
        .expect("a document");
    redis(&cache, &["SET", "t", "1"]);
    sql(&postgres, "INSERT INTO t VALUES (2)").expect("a row");
    for store in ["postgres", "mongodb", "redis"] {
        let pid = local.pid(store);
        signal(pid, "KILL");
        let begun = Instant::now();
        while lives(pid) && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(local.server(store)["state"], "crashed", "{store}");
    }
    let urls = lyrox::servers::running(&local.root()).expect("a state");
    assert!(urls.postgres.is_none() && urls.mongodb.is_none() && urls.redis.is_none());
    local.lyrox(&["env"]).exit(2).says("no local server is running");
    let up = local.report(&["up"]);
    up.ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(up.item(&format!("{store}.up"))["change"], "started");
    }
    assert_eq!(sql(&postgres, "SELECT a FROM t ORDER BY a").expect("rows").len(), 2);
    let count = mongo(&mongodb, doc! { "count": "t" }).expect("a count");
    assert_eq!(count.get_i32("n").ok(), Some(1), "{count}");
    assert_eq!(redis(&cache, &["GET", "t"]), ::redis::Value::BulkString(b"1".to_vec()));
}

#[test]
fn whenever_up_is_killed_the_next_up_mends_it() {
    for (number, after) in [5, 40, 90, 150, 250, 400, 600, 800, 1000, 1300].into_iter().enumerate() {
        let local = Local::new(&format!("mend{number}"), ALL);
        let mut up = local.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
        std::thread::sleep(Duration::from_millis(after));
        let _ = up.kill();
        let _ = up.wait();
        local.lyrox(&["up"]).ok();
        let processes = local.processes();
        assert_eq!(processes.len(), 3, "killed after {after} ms: {processes:?}");
        for store in ["postgres", "mongodb", "redis"] {
            let server = local.server(store);
            assert_eq!(server["state"], "running", "killed after {after} ms: {server}");
        }
        sql(&local.url("DIRECT_URL"), "CREATE TABLE t ()").expect("a table");
        mongo(&local.url("MONGODB_URI"), doc! { "create": "t" }).expect("a collection");
        redis(&local.url("REDIS_URL"), &["SET", "t", "1"]);
    }
}

#[test]
fn an_interrupted_up_leaves_nothing_that_down_cannot_stop() {
    let local = Local::new("interrupted", ALL);
    let mut up = local.command(&["up"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
    std::thread::sleep(Duration::from_millis(300));
    signal(i32::try_from(up.id()).expect("a pid"), "INT");
    assert_eq!(up.wait().expect("an end").code(), Some(130));
    local.lyrox(&["down"]).ok();
    assert!(local.processes().is_empty());
}

#[test]
fn two_at_once_both_succeed_and_one_set_of_servers_runs() {
    let local = Local::new("twice", ALL);
    let mut all: Vec<_> = (0..3)
        .map(|_| {
            let mut command = local.command(&["--output", "json", "up"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox")
        })
        .collect();
    let mut changes = Vec::new();
    for child in all.drain(..) {
        let output = crate::support::Output::new(&["up"], &child.wait_with_output().expect("an end"));
        output.ok();
        changes.push(output.item("postgres.up")["change"].as_str().expect("a change").to_owned());
    }
    changes.sort();
    assert_eq!(changes, ["started", "unchanged", "unchanged"]);
    assert_eq!(local.processes().len(), 3);
}

#[test]
fn a_number_that_now_is_another_process_is_neither_believed_nor_killed() {
    let local = Local::new("recycled", "[postgres]\n[redis]");
    local.lyrox(&["up"]).ok();
    let bystander = Bystander::start();
    for store in ["postgres", "redis"] {
        let pid = local.pid(store);
        signal(pid, "KILL");
        while lives(pid) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // As if the system had given the server's number to the bystander: everywhere it is written.
        let seat = local.path(&format!(".lyrox/{store}/process"));
        let text = std::fs::read_to_string(&seat).expect("a seat");
        std::fs::write(&seat, text.replacen(&pid.to_string(), &bystander.pid().to_string(), 1)).expect("a seat");
    }
    let mut state = local.state();
    for store in ["postgres", "redis"] {
        state["servers"][store]["process"]["pid"] = json!(bystander.pid());
    }
    for name in ["state.json", "state.copy.json"] {
        std::fs::write(local.path(".lyrox").join(name), state.to_string()).expect("a state");
    }
    let stale = local.path(".lyrox/postgres/data/postmaster.pid");
    let text = std::fs::read_to_string(&stale).expect("a killed PostgreSQL leaves its number");
    let rest = text.split_once('\n').expect("lines").1;
    std::fs::write(&stale, format!("{}\n{rest}", bystander.pid())).expect("a stale number");

    assert!(lyrox::servers::running(&local.root()).expect("a state").redis.is_none());
    assert_eq!(local.server("postgres")["state"], "crashed");
    local.lyrox(&["down"]).ok();
    assert!(lives(bystander.pid()), "down killed a process that is not ours");
    std::fs::write(&stale, format!("{}\n{rest}", bystander.pid())).expect("a stale number");
    local.lyrox(&["up"]).ok();
    assert!(lives(bystander.pid()));
    sql(&local.url("DIRECT_URL"), "SELECT 1").expect("an answer");
}

#[test]
fn a_taken_port_is_left_to_its_owner_and_another_one_is_kept() {
    let local = Local::new("taken", ALL);
    local.lyrox(&["up"]).ok();
    mongo(&local.url("MONGODB_URI"), doc! { "create": "kept" }).expect("a collection");
    local.lyrox(&["down"]).ok();
    let port = |store: &str| u16::try_from(local.server(store)["port"].as_u64().expect("a port")).expect("a port");
    let before = ["postgres", "mongodb", "redis"].map(port);
    let held = before.map(|port| TcpListener::bind(("127.0.0.1", port)).expect("the port"));
    local.lyrox(&["up"]).ok().says("is taken by another process");
    let after = ["postgres", "mongodb", "redis"].map(port);
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    drop(held);
    local.lyrox(&["down"]).ok();
    local.lyrox(&["up"]).ok();
    assert_eq!(["postgres", "mongodb", "redis"].map(port), after);
    let names = mongo(&local.url("MONGODB_URI"), doc! { "listCollections": 1, "nameOnly": true }).expect("names");
    assert!(names.to_string().contains("kept"), "{names}");
}

#[test]
fn a_port_of_the_configuration_is_used_or_refused() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port();
    let local = Local::new("explicit", &format!("[redis]\n[local]\nredis_port = {port}"));
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-START").says(&port.to_string()).says("redis_port");
    drop(held);
    local.lyrox(&["up"]).ok();
    assert!(local.url("REDIS_URL").contains(&format!(":{port}/")));
}

#[test]
fn data_of_another_version_is_never_touched() {
    let local = Local::new("version", ALL);
    local.lyrox(&["up"]).ok();
    local.lyrox(&["down"]).ok();
    let file = local.path(".lyrox/postgres/data/PG_VERSION");
    let ours = std::fs::read_to_string(&file).expect("a version");
    std::fs::write(&file, "99\n").expect("another version");
    let mut state = local.state();
    state["servers"]["mongodb"]["product"] = json!("MongoDB 3.2.1");
    state["servers"]["redis"]["product"] = json!("Redis 99.0.0");
    std::fs::write(local.path(".lyrox/state.json"), state.to_string()).expect("a state");
    let listing = || {
        let mut files: Vec<_> = ["postgres", "mongodb", "redis"]
            .iter()
            .flat_map(|store| std::fs::read_dir(local.path(&format!(".lyrox/{store}/data"))).expect("data").flatten())
            .map(|entry| (entry.path(), entry.metadata().and_then(|data| data.modified()).expect("a time")))
            .collect();
        files.sort();
        files
    };
    let before = listing();
    let up = local.report(&["up"]);
    up.exit(4);
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(up.item(&format!("{store}.up"))["code"], "LYX-SERVER-VERSION", "{up}");
    }
    assert_eq!(listing(), before);
    std::fs::write(&file, ours).expect("our version");
    local.lyrox(&["up", "postgres"]).ok();
}

#[test]
fn a_damaged_state_is_mended_from_its_copy_or_named_and_down_always_works() {
    let local = Local::new("damaged", "[redis]");
    local.lyrox(&["up"]).ok();
    let (url, pid) = (local.url("REDIS_URL"), local.pid("redis"));
    std::fs::write(local.path(".lyrox/state.json"), "{ \"version\": 1, \"servers\": {").expect("damage");
    local.lyrox(&["up"]).ok().says("unchanged");
    assert_eq!(local.url("REDIS_URL"), url);
    for name in ["state.json", "state.copy.json"] {
        std::fs::write(local.path(".lyrox").join(name), "[]").expect("damage");
    }
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-STATE").says("untouched");
    assert!(lives(pid));
    local.lyrox(&["down"]).ok();
    assert!(!lives(pid), "down stops what it can prove to be ours");
    assert!(local.path(".lyrox/redis/data").is_dir());
    for name in ["state.json", "state.copy.json"] {
        std::fs::remove_file(local.path(".lyrox").join(name)).expect("gone");
    }
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-STATE");
    local.lyrox(&["down", "--purge", "--confirm", "damaged"]).ok();
    local.lyrox(&["up"]).ok();
}

#[test]
fn down_works_with_a_broken_configuration() {
    let local = Local::new("broken", "[redis]");
    local.lyrox(&["up"]).ok();
    std::fs::write(local.path("lyrox.toml"), "[[[").expect("a broken file");
    local.lyrox(&["down"]).ok();
    assert!(local.processes().is_empty());
}

#[test]
fn a_copied_project_leaves_the_servers_of_the_original_alone() {
    let local = Local::new("original", "[redis]");
    local.lyrox(&["up"]).ok();
    let copy = Local::new("original", "[redis]");
    let copied = std::process::Command::new("cp").arg("-a").arg(local.path(".lyrox")).arg(copy.root()).status();
    assert!(copied.expect("cp").success());
    assert!(lyrox::servers::running(&copy.root()).expect("a state").redis.is_none());
    copy.lyrox(&["down"]).ok();
    assert_eq!(local.processes().len(), 1);
    copy.lyrox(&["up"]).ok();
    assert_eq!((local.processes().len(), copy.processes().len()), (1, 1));
    assert_ne!(local.server("redis")["port"], copy.server("redis")["port"]);
}

#[test]
fn a_moved_project_keeps_its_data() {
    let local = Local::new("moved", "[postgres]");
    local.lyrox(&["up"]).ok();
    sql(&local.url("DIRECT_URL"), "CREATE TABLE t AS SELECT 1 AS a").expect("a table");
    local.lyrox(&["down"]).ok();
    let other = Local::new("moved", "[postgres]");
    std::fs::rename(local.path(".lyrox"), other.path(".lyrox")).expect("moved");
    other.lyrox(&["up"]).ok();
    assert_eq!(sql(&other.url("DIRECT_URL"), "SELECT a FROM t").expect("a row").len(), 1);
}

#[test]
fn a_server_that_hangs_is_named_and_down_still_stops_it() {
    let local = Local::new("hangs", "[redis]");
    local.lyrox(&["up"]).ok();
    let pid = local.pid("redis");
    signal(pid, "STOP");
    local.lyrox(&["up"]).exit(4).says("does not answer").says("lyrox down redis");
    signal(pid, "CONT");
    local.lyrox(&["up"]).ok().says("unchanged");
}

#[test]
fn a_start_that_fails_shows_the_last_lines_of_the_log_and_leaves_nothing() {
    let local = Local::new("fails", "[postgres]\n[redis]\n[local]\npostgres_settings = { nonsense_setting = \"1\" }");
    let up = local.lyrox(&["up"]);
    up.exit(4).says("LYX-SERVER-START").says("unrecognized configuration parameter \"nonsense_setting\"");
    up.says("lyrox logs postgres").says("started    ");
    assert_eq!(local.processes().len(), 1, "the other server is up");
    local.configure("[postgres]\n[redis]");
    local.lyrox(&["up"]).ok();
    local.configure("[postgres]\n[local]\npostgres_settings = { port = \"1\" }");
    local.lyrox(&["up"]).exit(2).says("LYX-CONFIG-VALUE").says("port");
}

#[test]
fn servers_do_not_keep_the_pipes_of_whoever_started_them() {
    let local = Local::new("pipes", "[redis]");
    // The shell hands a pipe on as descriptor 9; `cat` ends when nobody holds it any more.
    let script = "{ \"$0\" up >/dev/null; } 9>&1 | cat";
    let mut shell = std::process::Command::new("timeout");
    shell.args(["20", "sh", "-c", script]).arg(crate::support::servers::binary()).current_dir(local.root());
    finish(&["up"], &mut shell).ok();
    finish(&["down"], &mut command(&local.root(), &["down"])).ok();
}
