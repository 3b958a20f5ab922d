//! The life of the servers when nothing goes wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use bson::doc;

use super::local::{self, Local, all_arguments, fields, mongo, redis};
use crate::support::{Project, sql};

const ALL: &str = "[postgres]\napp_role = \"shop_app\"\n[mongodb]\ndatabase = \"shop\"\n[redis]";

fn rows(url: &str, query: &str) -> Vec<Vec<Option<String>>> {
    sql(url, query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

#[test]
fn three_servers_from_nothing_found_again_stopped_with_their_data_kept() {
    let local = Local::new("Shop-1", ALL);
    // What has to be fetched is fetched now, so that the times below are those of the servers.
    local.lyrox(&["up"]).ok();
    local.lyrox(&["down", "--purge", "--confirm", "Shop-1"]).ok();

    let up = local.report(&["up"]);
    up.ok();
    println!("up from nothing: {} ms", up.json()["elapsed_ms"]);
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(up.item(&format!("{store}.up"))["change"], "started", "{up}");
    }
    let again = local.report(&["up"]);
    again.ok();
    println!("up again: {} ms", again.json()["elapsed_ms"]);
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(again.item(&format!("{store}.up"))["change"], "unchanged", "{again}");
    }

    let (app, owner) = (local.url("DATABASE_URL"), local.url("DIRECT_URL"));
    let (mongodb, cache) = (local.url("MONGODB_URI"), local.url("REDIS_URL"));
    let who = "SELECT current_user, current_database(), rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user";
    let texts = |row: &[&str]| vec![row.iter().map(|text| Some((*text).to_owned())).collect::<Vec<_>>()];
    assert_eq!(rows(&owner, who), texts(&["lyrox_owner", "shop_1", "f", "t", "t", "t"]));
    assert_eq!(rows(&app, who), texts(&["shop_app", "shop_1", "f", "f", "f", "f"]));
    rows(&owner, "CREATE EXTENSION pgcrypto");
    rows(&owner, "CREATE TABLE kept (a int); INSERT INTO kept VALUES (7)");
    assert!(sql(&app, "SELECT * FROM kept").is_err(), "the application's role owns nothing");
    assert_eq!(rows(&owner, "SELECT lower('É'), 'a' < 'B'"), texts(&["é", "f"]));
    mongo(&mongodb, doc! { "insert": "kept", "documents": [{ "a": 7 }] }).expect("an insert");
    redis(&cache, &["SET", "kept", "7"]);
    // The replica set is there for its transactions.
    crate::support::block_on(async {
        let client = ::mongodb::Client::with_uri_str(&mongodb).await.expect("a client");
        let mut session = client.start_session().await.expect("a session");
        session.start_transaction().await.expect("a transaction");
        let kept = client.database("shop").collection::<bson::Document>("kept");
        kept.insert_one(doc! { "b": 1 }).session(&mut session).await.expect("an insert");
        session.abort_transaction().await.expect("an end");
    });

    local.lyrox(&["down"]).ok();
    assert!(local.processes().is_empty());
    assert_eq!(local.server("postgres")["state"], "stopped");
    assert_eq!(local.report(&["down"]).ok().item("redis.down")["change"], "unchanged");
    local.lyrox(&["up"]).ok();
    assert_eq!(local.url("DATABASE_URL"), app, "port and password are kept");
    assert_eq!(rows(&owner, "SELECT a FROM kept"), texts(&["7"]));
    let count = mongo(&mongodb, doc! { "count": "kept" }).expect("a count");
    assert_eq!(count.get_i32("n").ok(), Some(1), "{count}");
    assert_eq!(redis(&cache, &["GET", "kept"]), ::redis::Value::BulkString(b"7".to_vec()));
}

#[test]
fn servers_are_private_daemons_that_tell_no_secret() {
    let local = Local::new("private", ALL);
    let up = local.lyrox(&["up", "-v"]);
    up.ok();
    let mode = |name: &str| std::fs::metadata(local.path(name)).expect(name).permissions().mode() & 0o777;
    assert_eq!(mode(".lyrox"), 0o700);
    for name in [".lyrox/state.json", ".lyrox/state.copy.json", ".lyrox/redis/users.acl", ".lyrox/mongodb/keyfile"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    assert_eq!(std::fs::read_to_string(local.path(".lyrox/.gitignore")).expect("a file"), "*\n");

    let state = local.state();
    let passwords: Vec<String> = state["servers"]
        .as_object()
        .expect("servers")
        .values()
        .flat_map(|server| server["logins"].as_object().expect("logins").values())
        .map(|password| password.as_str().expect("a text").to_owned())
        .collect();
    assert_eq!(passwords.len(), 5);
    let logs: String = ["postgres", "mongodb", "redis"]
        .map(|s| std::fs::read_to_string(local.path(&format!(".lyrox/{s}/log"))).expect(s))
        .concat();
    let arguments = all_arguments();
    for password in &passwords {
        assert!(password.len() >= 24 && password.chars().all(|c| c.is_ascii_alphanumeric()));
        up.never_says(password);
        assert!(!logs.contains(password.as_str()), "a log holds a password");
        assert!(arguments.iter().all(|(_, words)| !words.contains(password.as_str())), "an argument holds a password");
    }

    for store in ["postgres", "mongodb", "redis"] {
        let pid = local.pid(store);
        let fields = fields(pid).expect("it lives");
        assert_eq!(fields[3], pid.to_string(), "{store} leads a session of its own");
        assert_eq!(fields[4], "0", "{store} has no terminal");
        let port = local.server(store)["port"].as_u64().expect("a port");
        for (file, loopback) in [("/proc/net/tcp", "0100007F"), ("/proc/net/tcp6", "-")] {
            let table = std::fs::read_to_string(file).unwrap_or_default();
            let listens = table.lines().filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                let (address, _, state) = (words.next()?, words.next()?, words.next()?);
                let (host, of) = address.split_once(':')?;
                (state == "0A" && u64::from_str_radix(of, 16) == Ok(port)).then(|| host.to_owned())
            });
            assert!(listens.clone().all(|host| host == loopback), "{store} listens at more than 127.0.0.1");
        }
    }
    assert!(
        mongo(
            &format!("mongodb://127.0.0.1:{}/x?directConnection=true", local.server("mongodb")["port"]),
            doc! { "listCollections": 1 }
        )
        .is_err()
    );
    let nobody = format!("redis://127.0.0.1:{}", local.server("redis")["port"]);
    let refused = crate::support::block_on(async {
        let client = ::redis::Client::open(nobody).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        ::redis::cmd("PING").query_async::<String>(&mut connection).await
    });
    assert_eq!(refused.err().and_then(|error| error.code().map(str::to_owned)).as_deref(), Some("NOAUTH"));
}

#[test]
fn running_reads_state_only_and_answers_only_for_servers_that_run() {
    let local = Local::new("running", "[redis]");
    assert!(lyrox::servers::running(&local.root()).expect("no state").redis.is_none());
    local.lyrox(&["up"]).ok();
    let begun = Instant::now();
    for _ in 0..100 {
        assert!(lyrox::servers::running(&local.root()).expect("a state").redis.is_some());
    }
    let each = begun.elapsed() / 100;
    println!("running: {each:?}");
    assert!(each.as_millis() < 3, "{each:?}");
    local.lyrox(&["down"]).ok();
    assert!(lyrox::servers::running(&local.root()).expect("a state").redis.is_none());
}

#[test]
fn only_what_is_named_is_started_and_what_is_not_there_is_refused() {
    let local = Local::new("named", "[redis]\n[mongodb]");
    local.lyrox(&["up", "redis"]).ok();
    assert_eq!(local.processes().len(), 1);
    local.lyrox(&["--only", "redis", "up"]).ok().says("unchanged");
    local.lyrox(&["up", "postgres"]).exit(2).says("the project has no postgres");
    local.lyrox(&["--only", "postgres", "up"]).exit(2);
    local.lyrox(&["up", "mysql"]).exit(2);
}

#[test]
fn purging_needs_the_exact_name() {
    let local = Local::new("precious", "[redis]");
    local.lyrox(&["up"]).ok();
    for arguments in
        [&["down", "--purge"][..], &["--yes", "down", "--purge"], &["down", "--purge", "--confirm", "preciou"]]
    {
        local.lyrox(arguments).exit(3).says("LYX-CONSENT").says("--confirm precious");
    }
    assert_eq!(local.processes().len(), 1, "nothing was stopped");
    local.lyrox(&["down", "--confirm", "precious"]).exit(2);
    local.lyrox(&["down", "--purge", "--confirm", "precious"]).ok();
    let mut left: Vec<_> =
        std::fs::read_dir(local.path(".lyrox")).expect("it").flatten().map(|e| e.file_name()).collect();
    left.sort();
    assert_eq!(left, [".gitignore", "lock"]);
}

#[test]
fn env_prints_what_a_shell_and_a_dotenv_reader_understand_and_files_stay_redacted() {
    let local = Local::new("env", "[redis]\nurl = \"${CACHE_URL}\"");
    local.lyrox(&["env"]).exit(2).says("LYX-URL-UNSET");
    local.lyrox(&["up"]).ok();
    let password = local.state()["servers"]["redis"]["logins"]["lyrox_owner"].as_str().expect("a password").to_owned();
    let url = local.url("CACHE_URL");
    assert!(url.contains(&password));
    let script = "eval \"$(\"$0\" env)\"; printf %s \"$CACHE_URL\"";
    let mut shell = local.command(&[]);
    let binary = shell.get_program().to_owned();
    shell = {
        let mut sh = std::process::Command::new("sh");
        sh.args(["-c", script]).arg(binary).current_dir(local.root());
        sh
    };
    assert_eq!(local::finish(&["env"], &mut shell).ok().stdout, url);
    let dotenv = local.lyrox(&["env", "--format", "dotenv"]);
    let (name, value) = dotenvy::from_read_iter(dotenv.stdout.as_bytes()).next().expect("a line").expect("a pair");
    assert_eq!((name.as_str(), value.as_str()), ("CACHE_URL", url.as_str()));
    let json = local.lyrox(&["env", "--format", "json"]);
    assert_eq!(json.json()["CACHE_URL"], url);
    local.lyrox(&["--output-file", "report.json", "env"]).ok();
    assert!(!std::fs::read_to_string(local.path("report.json")).expect("a file").contains(&password));
    local.lyrox(&["--output", "json", "ps"]).never_says(&password);
}

#[test]
fn marking_needs_a_known_name_and_the_name_again() {
    let local = Local::new("mark", "[postgres]\n[env.staging]");
    local.lyrox(&["env", "mark", "prod", "--confirm", "prod"]).exit(2).says("LYX-CONFIG-ENVIRONMENT");
    local.lyrox(&["env", "mark", "staging"]).exit(3).says("--confirm staging");
    local.lyrox(&["--yes", "env", "mark", "staging", "--confirm", "local"]).exit(3);
    local.lyrox(&["up"]).ok();
    for (name, change) in [("local", "created"), ("staging", "updated"), ("staging", "unchanged"), ("local", "updated")]
    {
        let mark = local.report(&["env", "mark", name, "--confirm", name]);
        assert_eq!(mark.ok().item("postgres.mark")["change"], change, "{mark}");
    }
}

#[test]
fn logs_show_the_last_lines_and_what_comes() {
    let local = Local::new("logs", "[redis]");
    local.lyrox(&["logs"]).exit(2).says("lyrox up");
    local.lyrox(&["up"]).ok();
    let log = local.path(".lyrox/redis/log");
    let append = |text: &str| {
        use std::io::Write as _;
        let file = std::fs::OpenOptions::new().append(true).open(&log);
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    };
    let password = local.state()["servers"]["redis"]["logins"]["lyrox_owner"].as_str().expect("a password").to_owned();
    append(&format!("one\nsecret {password}\n\u{1b}[31mtwo\n"));
    let shown = local.lyrox(&["logs", "redis", "-n", "3"]);
    assert_eq!(shown.ok().stdout, "one\nsecret ***\n[31mtwo\n");
    let mut follow = local.command(&["logs", "redis", "-n", "1", "--follow"]);
    let mut child = follow.stdout(std::process::Stdio::piped()).spawn().expect("lyrox");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("a pipe")));
    assert_eq!(lines.next().expect("a line").expect("text"), "[31mtwo");
    append("three\n");
    assert_eq!(lines.next().expect("a line").expect("text"), "three");
    local::signal(i32::try_from(child.id()).expect("a pid"), "INT");
    assert_eq!(child.wait().expect("an end").code(), Some(130));
}

#[test]
fn a_log_that_is_too_long_is_set_aside_at_the_next_start() {
    let local = Local::new("rotate", "[redis]");
    local.lyrox(&["up"]).ok();
    local.lyrox(&["down"]).ok();
    std::fs::write(local.path(".lyrox/redis/log"), vec![b'x'; 11 << 20]).expect("a long log");
    local.lyrox(&["up"]).ok();
    assert!(std::fs::metadata(local.path(".lyrox/redis/log")).expect("a log").len() < 1 << 20);
    assert_eq!(std::fs::metadata(local.path(".lyrox/redis/log.1")).expect("the old log").len(), 11 << 20);
}

#[test]
fn an_application_role_that_comes_later_is_made_while_the_server_runs() {
    let local = Local::new("later", "[postgres]\n[local]\npostgres_settings = { log_statement = \"all\" }");
    local.lyrox(&["up"]).ok();
    let (pid, owner) = (local.pid("postgres"), local.url("DATABASE_URL"));
    assert_eq!(owner, local.url("DIRECT_URL"));
    assert_eq!(rows(&owner, "SHOW log_statement")[0][0].as_deref(), Some("all"));
    local.configure(
        "[postgres]\napp_role = \"It's \\\"app\\\"\"\n[local]\npostgres_settings = { log_statement = \"ddl\" }",
    );
    local.lyrox(&["up"]).ok().says("unchanged").says("hold from the next start");
    assert_eq!(local.pid("postgres"), pid);
    assert_eq!(rows(&local.url("DATABASE_URL"), "SELECT current_user")[0][0].as_deref(), Some("It's \"app\""));
    let password =
        local.state()["servers"]["postgres"]["logins"]["It's \"app\""].as_str().expect("a password").to_owned();
    let log = std::fs::read_to_string(local.path(".lyrox/postgres/log")).expect("a log");
    assert!(log.contains("SHOW log_statement") && !log.contains(&password));
    local.configure("[postgres]\napp_role = \"lyrox_admin\"");
    local.lyrox(&["up"]).exit(2).says("LYX-CONFIG-VALUE");
}

#[test]
fn the_shared_servers_let_a_project_work() {
    let project = Project::new("servers", "");
    assert_eq!(project.sql_value("SELECT current_database()"), project.name);
    project.mongo(doc! { "insert": "x", "documents": [{ "a": 1 }] });
    project.redis(&["SET", &format!("{}x", project.prefix), "1"]);
}
