//! What holds when a store refuses, or the run is killed.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bson::doc;

use super::{BULK, TABLES, USERS, migrated, postgres_only};
use crate::support::{Project, block_on};

#[test]
fn a_refused_document_undoes_postgresql_too() {
    let project = migrated("seed_atomic", "");
    project.mongo(doc! { "create": "notes", "validator": { "n": { "$lt": 10 } } });
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nn = 1\n[rows.b]\nn = 11\n");
    project.lyrox(&["db", "seed"]).exit(1).says("notes.toml:3").says("rolled back; nothing was changed");
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0");
    assert_eq!(project.mongo(doc! { "count": "notes" }).get_i32("n").ok(), Some(0));
}

#[test]
fn a_killed_run_leaves_nothing_half() {
    let project = postgres_only("seed_kill", &format!("{TABLES}\n{BULK}"));
    project.write("seeds/dev/postgres/User.toml", USERS);
    project.write("seeds/dev/postgres/slow.sql", "INSERT INTO log VALUES ('x'); SELECT pg_sleep(60);");
    let mut child = project
        .command(&["db", "seed"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("a child");
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid()";
    let wait = |count: &str| {
        for _ in 0..200 {
            if project.sql_value(sleeping) == count {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        panic!("never {count} sleepers");
    };
    wait("1");
    child.kill().expect("a kill");
    child.wait().expect("an end");
    wait("0");
    assert_eq!(project.sql_value(r#"SELECT (SELECT count(*) FROM "User") + (SELECT count(*) FROM log)"#), "0");
    project.remove("seeds/dev/postgres/slow.sql");
    project.lyrox(&["db", "seed"]).ok().says("2 created");
}

/// Passes everything on until a request holds a word; from then on it is silent. Answers its port, whether that
/// happened, and the address on which the server knows the connection.
fn silent_from(server: String, word: &'static [u8]) -> (u16, Arc<AtomicBool>, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let is_silent = Arc::new(AtomicBool::new(false));
    let shared = Arc::clone(&is_silent);
    let silenced = Arc::new(Mutex::new(String::new()));
    let told = Arc::clone(&silenced);
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let upstream = TcpStream::connect(&server).expect("the server");
            let own = upstream.local_addr().expect("an address").to_string();
            let pairs =
                [(client.try_clone(), upstream.try_clone(), true), (upstream.try_clone(), client.try_clone(), false)];
            for (from, to, is_request) in pairs {
                let (mut from, mut to) = (from.expect("a stream"), to.expect("a stream"));
                let (is_silent, told, own) = (Arc::clone(&shared), Arc::clone(&told), own.clone());
                std::thread::spawn(move || {
                    let mut bytes = vec![0; 1 << 16];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        if is_request && bytes[..count].windows(word.len()).any(|window| window == word) {
                            *told.lock().expect("an address") = own.clone();
                            is_silent.store(true, Ordering::SeqCst);
                        }
                        if !is_silent.load(Ordering::SeqCst) && to.write_all(&bytes[..count]).is_err() {
                            break;
                        }
                    }
                    // What the runner loses, the server loses: its open transaction ends.
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    (port, is_silent, silenced)
}

/// Ends the transaction that a killed run left open: the server would keep it for a minute, and with it the collection.
fn end_left_transaction(project: &Project, client: &str) {
    let admin =
        block_on(async { mongodb::Client::with_uri_str(&project.mongodb).await }).expect("a client").database("admin");
    let look = doc! {
        "aggregate": 1, "cursor": {},
        "pipeline": [
            { "$currentOp": { "allUsers": true, "idleSessions": true } },
            { "$match": { "type": "idleSession", "transaction": { "$exists": true }, "client": &client } },
        ],
    };
    let found = block_on(async { admin.run_command(look).await }).expect("the sessions");
    let sessions = found.get_document("cursor").expect("a cursor").get_array("firstBatch").expect("sessions");
    let ids: Vec<bson::Document> = sessions
        .iter()
        .filter_map(|session| session.as_document()?.get_document("lsid").ok()?.get("id"))
        .map(|id| doc! { "id": id.clone() })
        .collect();
    assert_eq!(ids.len(), 1, "{found}");
    block_on(async { admin.run_command(doc! { "killSessions": ids }).await }).expect("an end");
}

#[test]
fn a_run_killed_between_the_commits_of_two_stores_is_finished_by_the_next() {
    for (variable, word) in [("MONGODB_URI", &b"commitTransaction"[..]), ("REDIS_URL", b"EXEC")] {
        let project = migrated(
            "seed_between",
            "[redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"hash\"\nttl = \"1h\"\n",
        );
        project.write("seeds/dev/postgres/User.toml", USERS);
        project.write("seeds/dev/mongodb/notes.toml", "[rows.a]\nby = \"@postgres.User.pedro\"\nn = 1\n");
        project
            .write("seeds/dev/redis/cache.toml", "[rows.a]\nid = \"a\"\nfields = { by = \"@postgres.User.maya\" }\n");
        let url = if variable == "REDIS_URL" { &project.redis } else { &project.mongodb };
        let host =
            url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).split(['/', '?']).next().expect("a host");
        let (port, is_silent, silenced) = silent_from(host.to_owned(), word);
        let mut child = project
            .command(&["db", "seed"])
            .env(variable, url.replace(host, &format!("127.0.0.1:{port}")))
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("a child");
        for _ in 0..400 {
            if is_silent.load(Ordering::SeqCst) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        assert!(is_silent.load(Ordering::SeqCst), "{variable}: the commit was never sent");
        child.kill().expect("a kill");
        child.wait().expect("an end");

        let count = || {
            let notes = project.mongo(doc! { "count": "notes" }).get_i32("n").ok();
            let keys = project.redis(&["EXISTS", &format!("{}cache:a", project.prefix)]);
            (project.sql_value(r#"SELECT count(*) FROM "User""#), notes, keys)
        };
        // PostgreSQL has all of it, what comes later has nothing of it.
        let documents = i32::from(variable == "REDIS_URL");
        assert_eq!(count(), ("2".into(), Some(documents), redis::Value::Int(0)), "{variable}");
        let before = project.sql(r#"SELECT xmin, ctid, "passwordHash" FROM "User" ORDER BY ctid"#);
        let healed = project.lyrox(&["db", "seed", "--output", "json"]);
        healed.ok();
        assert_eq!(healed.item("postgres.User")["detail"], "2 unchanged", "{variable}");
        assert_eq!(healed.item("redis.cache")["detail"], "1 created", "{variable}");
        assert_eq!(count(), ("2".into(), Some(1), redis::Value::Int(1)));
        assert_eq!(project.sql(r#"SELECT xmin, ctid, "passwordHash" FROM "User" ORDER BY ctid"#), before);
        project.lyrox(&["db", "seed"]).ok().never_says("created").never_says("updated");
        if variable == "MONGODB_URI" {
            end_left_transaction(&project, &silenced.lock().expect("an address"));
        }
    }
}
