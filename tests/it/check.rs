//! `lyrox check`: each fault has its own stage, code and hint, and nothing hangs.

use std::time::{Duration, Instant};

use lyrox::kind::StoreKind;
use serde_json::Value;

use crate::faults::{authority, closed, listener, pooler, tls};
use crate::support::{Output, Project};

/// Runs `check` on one store whose URL is replaced.
fn check(project: &Project, store: &str, url: &str, more: &[&str]) -> (Output, Duration) {
    let arguments = [&["check", "--only", store, "--output", "json"], more].concat();
    let mut command = project.command(&arguments);
    command.env(variable(store), url);
    let begun = Instant::now();
    let output = Output::new(&arguments, &command.output().expect("lyrox runs"));
    (output, begun.elapsed())
}

fn variable(store: &str) -> &'static str {
    match store {
        "postgres" => "DATABASE_URL",
        "mongodb" => "MONGODB_URI",
        _ => "REDIS_URL",
    }
}

/// `host:port` of a URL.
fn place(url: &str) -> String {
    let url = url.rsplit_once('@').map_or(url, |(_, place)| place);
    url.split(['/', '?']).next().expect("a place").to_owned()
}

/// The same URL with another login.
fn login(url: &str, user: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    format!("{scheme}://{user}:{password}@{}", rest.rsplit_once('@').expect("a login").1)
}

fn failed(output: &Output) -> Vec<Value> {
    let report = output.json();
    let items = report["items"].as_array().expect("items").clone();
    items.into_iter().filter(|item| item["outcome"] == "fail").collect()
}

#[test]
fn good_stores_pass_every_stage() {
    let project = Project::new("check_good", "");
    let run = project.lyrox(&["check", "--output", "json"]);
    for id in ["postgres.url", "postgres.tcp", "postgres.hello", "postgres.auth", "postgres.ping", "postgres.server"] {
        assert_eq!(run.ok().item(id)["outcome"], "pass", "{id}");
    }
    for id in ["mongodb.hello", "mongodb.auth", "mongodb.privileges", "redis.hello", "redis.privileges"] {
        assert_eq!(run.item(id)["outcome"], "pass", "{id}");
    }
    assert!(run.item("postgres.server")["detail"].as_str().expect("facts").contains("primary"));
    // One line a store where there is nothing to say; every stage with -v.
    let short = project.lyrox(&["check", "--only", "redis"]);
    assert_eq!(short.ok().stdout.lines().filter(|line| line.starts_with("  ok")).count(), 1, "{short}");
    assert!(short.stdout.starts_with("redis "), "{short}");
    let long = project.lyrox(&["check", "--only", "redis", "-v"]);
    assert!(long.ok().stdout.lines().filter(|line| line.starts_with("  ok")).count() > 6, "{long}");
    // Nothing was made.
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
}

#[test]
fn each_fault_has_its_stage_and_code() {
    let project = Project::new("check_faults", "");
    let (postgres, mongodb, redis) = (project.postgres.as_str(), project.mongodb.as_str(), project.redis.as_str());
    let silent = listener(b"", false);
    let closing = listener(b"", true);
    let web = listener(b"HTTP/1.1 400 Bad Request\r\n\r\n", true);
    let secret = "n0t-the-password";
    let (at_postgres, at_mongodb, at_redis) = (place(postgres), place(mongodb), place(redis));
    let port = closed();
    let other = |kind, url: &str, name: &str| lyrox::url::parse(kind, url).expect("a URL").with_database(name).expose();
    let no_database = other(StoreKind::Postgres, postgres, "no_such_database");
    let no_number = other(StoreKind::Redis, redis, "99999");
    let encrypted = |url: &str| format!("{url}{}sslmode=require", if url.contains('?') { '&' } else { '?' });
    let cases: Vec<(&str, String, &str, &str, &str)> = vec![
        // closed, unknown, refused
        ("postgres", format!("postgres://u:{secret}@127.0.0.1:{port}/d"), "tcp", "LYX-CONNECT-REFUSED", "lyrox up"),
        ("mongodb", format!("mongodb://u:{secret}@127.0.0.1:{port}"), "tcp", "LYX-CONNECT-REFUSED", "lyrox up"),
        ("redis", format!("redis://:{secret}@127.0.0.1:{port}"), "tcp", "LYX-CONNECT-REFUSED", "lyrox up"),
        ("redis", format!("redis://:{secret}@no-such-host.invalid"), "name", "LYX-CONNECT-NAME", "REDIS_URL"),
        ("mongodb", format!("mongodb+srv://u:{secret}@no-such-host.invalid"), "name", "LYX-CONNECT-NAME", ""),
        ("postgres", login(postgres, "postgres", secret), "auth", "LYX-AUTH-POSTGRES", "lyrox url inspect"),
        ("mongodb", login(mongodb, "nobody", secret), "auth", "LYX-AUTH-MONGODB", ""),
        ("redis", format!("redis://:{secret}@{at_redis}"), "auth", "LYX-AUTH-REDIS", "lyrox url inspect"),
        ("redis", format!("redis://{at_redis}"), "auth", "LYX-AUTH-MISSING", "lyrox url build"),
        ("postgres", no_database, "database", "LYX-DATABASE-MISSING", ""),
        ("redis", no_number, "database", "LYX-DATABASE-MISSING", ""),
        // silence, closed at once, something else
        ("postgres", format!("postgres://u:{secret}@127.0.0.1:{silent}/d"), "hello", "LYX-CONNECT-TIMEOUT", ""),
        ("mongodb", format!("mongodb://u:{secret}@127.0.0.1:{silent}"), "hello", "LYX-CONNECT-TIMEOUT", ""),
        ("redis", format!("redis://:{secret}@127.0.0.1:{silent}"), "hello", "LYX-CONNECT-TIMEOUT", ""),
        ("redis", format!("rediss://:{secret}@127.0.0.1:{silent}"), "tls", "LYX-CONNECT-TIMEOUT", ""),
        ("postgres", format!("postgres://u:{secret}@127.0.0.1:{closing}/d"), "hello", "LYX-CONNECT-CLOSED", "--wait"),
        ("redis", format!("redis://:{secret}@127.0.0.1:{web}"), "hello", "LYX-PROTOCOL", "rediss://"),
        ("postgres", format!("postgres://u:{secret}@{at_redis}/d"), "hello", "LYX-PROTOCOL", "URL of Redis"),
        ("postgres", format!("postgres://u:{secret}@{at_mongodb}/d"), "hello", "LYX-PROTOCOL", "URL of MongoDB"),
        ("mongodb", format!("mongodb://u:{secret}@{at_postgres}"), "hello", "LYX-PROTOCOL", "URL of PostgreSQL"),
        ("mongodb", format!("mongodb://u:{secret}@{at_redis}"), "hello", "LYX-PROTOCOL", "URL of Redis"),
        ("redis", format!("redis://:{secret}@{at_postgres}"), "hello", "LYX-PROTOCOL", "URL of PostgreSQL"),
        ("redis", format!("redis://:{secret}@{at_mongodb}"), "hello", "LYX-PROTOCOL", "URL of MongoDB"),
        // TLS to servers that have none
        ("postgres", encrypted(postgres), "tls", "LYX-TLS-ABSENT", "sslmode=disable"),
        ("mongodb", format!("{mongodb}&tls=true"), "tls", "LYX-TLS-ABSENT", "tls=true"),
        ("redis", format!("rediss://:{secret}@{at_redis}"), "tls", "LYX-TLS-ABSENT", "redis://"),
    ];
    for (store, url, stage, code, hint) in cases {
        let (output, elapsed) = check(&project, store, &url, &[]);
        output.exit(4).never_says(secret);
        let found = failed(&output);
        assert_eq!(found.len(), 1, "{output}");
        assert_eq!(found[0]["id"], format!("{store}.{stage}"), "{output}");
        assert_eq!(found[0]["code"], code, "{output}");
        let advice = found[0]["hint"].as_str().unwrap_or_default();
        assert!(!advice.is_empty() && advice.contains(hint), "{hint}: {output}");
        assert!(found[0]["why"].as_str().is_some(), "{output}");
        let said = format!("{}{}", found[0]["why"], found[0]["hint"]);
        assert!(said.contains(variable(store)), "the variable is not named: {output}");
        assert!(elapsed < Duration::from_secs(7), "{url} took {elapsed:?}");
    }
}

#[test]
fn a_silent_server_stays_within_the_timeout_and_the_stage_says_so() {
    let project = Project::new("check_silent", "");
    let silent = listener(b"", false);
    for (store, url) in [
        ("postgres", format!("postgres://u:p@127.0.0.1:{silent}/d")),
        ("mongodb", format!("mongodb://u:p@127.0.0.1:{silent}")),
        ("redis", format!("redis://:p@127.0.0.1:{silent}")),
    ] {
        let (output, elapsed) = check(&project, store, &url, &["--timeout", "800ms"]);
        output.exit(4);
        assert_eq!(failed(&output)[0]["id"], format!("{store}.hello"), "{output}");
        assert!(elapsed < Duration::from_millis(1500), "{elapsed:?} {output}");
    }
}

#[test]
fn stores_are_checked_side_by_side_and_told_in_order() {
    let project = Project::new("check_order", "");
    let silent = listener(b"", false);
    let mut command = project.command(&["check"]);
    command.env("DATABASE_URL", format!("postgres://u:p@127.0.0.1:{silent}/d"));
    command.env("MONGODB_URI", format!("mongodb://u:p@127.0.0.1:{silent}"));
    let begun = Instant::now();
    let output = Output::new(&["check"], &command.output().expect("lyrox runs"));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    output.exit(4).says("3 stores: 1 ok, 2 failed");
    let heads: Vec<&str> = output.stdout.lines().filter_map(|line| line.split(' ').next()).collect();
    let heads: Vec<&str> = heads.into_iter().filter(|word| ["postgres", "mongodb", "redis"].contains(word)).collect();
    assert_eq!(heads, ["postgres", "mongodb", "redis"], "{output}");
}

#[test]
fn certificates_are_looked_at() {
    let ca = authority();
    let section = |store: &str| format!("[env.tls.{store}]\nca_file = \"{ca}\"\n");
    let extra: String = ["postgres", "mongodb", "redis"].iter().map(|store| section(store)).collect();
    let project = Project::new("check_tls", &extra);
    let upstream = [place(&project.postgres), place(&project.mongodb), place(&project.redis)];
    let url = |store: &str, port: u16| match store {
        "postgres" => {
            let url = project.postgres.replace(&upstream[0], &format!("localhost:{port}"));
            format!("{url}{}sslmode=verify-full", if url.contains('?') { '&' } else { '?' })
        }
        "mongodb" => format!("{}&tls=true", project.mongodb.replace(&upstream[1], &format!("localhost:{port}"))),
        _ => project.redis.replace(&upstream[2], &format!("localhost:{port}")).replacen("redis:", "rediss:", 1),
    };
    for (index, store) in ["postgres", "mongodb", "redis"].into_iter().enumerate() {
        let through = |certificate| url(store, tls(certificate, &upstream[index], store == "postgres"));
        let good = through("server");
        let (known, _) = check(&project, store, &good, &["-e", "tls"]);
        let stage = known.ok().item(&format!("{store}.tls"));
        assert!(stage["detail"].as_str().expect("a detail").contains("1.3, verified"), "{known}");
        for (bad, more, code, says) in [
            (good, &[][..], "LYX-TLS-AUTHORITY", "authority that is not known"),
            (through("other"), &["-e", "tls"][..], "LYX-TLS-NAME", "not for `localhost`"),
            (through("expired"), &["-e", "tls"], "LYX-TLS-EXPIRED", "expired"),
        ] {
            let (output, _) = check(&project, store, &bad, more);
            let found = output.exit(4).item(&format!("{store}.tls"));
            assert_eq!(found["code"], code, "{output}");
            assert!(found["detail"].as_str().expect("a detail").contains(says), "{says}: {output}");
        }
    }
    // No TLS to a server that speaks nothing else.
    let port = tls("server", &upstream[2], false);
    let (output, _) = check(&project, "redis", &format!("redis://:p@localhost:{port}"), &[]);
    let found = output.exit(4).item("redis.hello");
    assert_eq!(
        (&found["code"], found["hint"].as_str().expect("a hint").contains("rediss://")),
        (&"LYX-TLS-REQUIRED".into(), true)
    );
}

#[test]
fn a_transaction_pooler_is_found_and_no_server_is_taken_for_one() {
    let project = Project::new("check_pooler", "");
    for (size, is_in_turn) in [(1, false), (2, true), (3, true), (5, true), (5, false)] {
        let port = pooler(&project.postgres, size, is_in_turn);
        let url = format!("postgres://u@127.0.0.1:{port}/{}", project.name);
        let (output, _) = check(&project, "postgres", &url, &[]);
        assert_eq!(output.exit(4).item("postgres.pooler")["code"], "LYX-POOLER", "{size} {is_in_turn}: {output}");
        // Nothing is migrated through it.
        project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int);");
        let mut command = project.command(&["db", "migrate", "--only", "postgres"]);
        let migrated = command.env("DATABASE_URL", &url).output().expect("lyrox runs");
        Output::new(&["db", "migrate"], &migrated).exit(4).says("LYX-POOLER").says("direct_url");
        assert_eq!(project.sql_value("SELECT to_regclass('lyrox.migrations') IS NULL"), "t");
        // The application may use it, where lyrox has another way.
        let mut command = project.command(&["check", "--only", "postgres", "--output", "json"]);
        command.env("DATABASE_URL", &url).env("DIRECT_URL", &project.postgres);
        let both = Output::new(&["check"], &command.output().expect("lyrox runs"));
        assert_eq!(both.ok().item("postgres.pooler")["outcome"], "pass", "{both}");
        assert_eq!(both.item("postgres.direct.auth")["outcome"], "pass", "{both}");
    }
    for _ in 0..5 {
        let (output, _) = check(&project, "postgres", &project.postgres.clone(), &[]);
        let route = output.ok().item("postgres.pooler");
        assert_eq!(route["outcome"], "pass", "{output}");
        assert!(route["detail"].as_str().expect("a detail").starts_with("none"), "{output}");
    }
}

#[test]
fn expectations_are_asked_and_said() {
    let project = Project::new(
        "check_expect",
        "[[check.expect]]\nstore = \"postgres\"\nquery = 'SELECT count(*), min(name) FROM \"Company\"'\nsay = \"Found {0} company: {1}\"\n\
         [[check.expect]]\nstore = \"mongodb\"\nquery = '{\"count\": \"things\"}'\nvalue = \"2\"\n\
         [[check.expect]]\nstore = \"redis\"\nquery = \"GET {{prefix}}name\"\n",
    );
    let before = project.lyrox(&["check", "--output", "json"]);
    before.exit(1);
    let missing = before.item("postgres.expect.1");
    assert_eq!((&missing["code"], &missing["outcome"]), (&"LYX-EXPECT-FAILED".into(), &"fail".into()), "{before}");
    assert!(missing["hint"].as_str().expect("a hint").contains("lyrox db migrate"), "{before}");
    assert_eq!(before.item("mongodb.expect.1")["detail"], "expected `2`, found `0`");
    assert_eq!(before.item("redis.expect.1")["outcome"], "fail");

    project.sql("CREATE TABLE \"Company\" (name text)");
    project.sql("INSERT INTO \"Company\" VALUES ('Acme')");
    project.mongo(bson::doc! { "insert": "things", "documents": [{}, {}] });
    project.redis(&["SET", &format!("{}name", project.prefix), "lyrox"]);
    let after = project.lyrox(&["check"]);
    after.ok().says("Found 1 company: Acme").says("lyrox");

    // An expectation only reads.
    project.write(
        "lyrox.toml",
        &format!("[project]\nname = \"x\"\n[postgres]\n[[check.expect]]\nstore = \"postgres\"\nquery = 'INSERT INTO \"Company\" VALUES (1)'\n[redis]\nkey_prefix = \"{}\"\n[[check.expect]]\nstore = \"redis\"\nquery = \"SET {{{{prefix}}}}name other\"\n", project.prefix),
    );
    project.lyrox(&["check"]).exit(1).says("read-only").says("may change data");
    assert_eq!(project.sql_value("SELECT count(*) FROM \"Company\""), "1");
}

#[test]
fn waiting_ends_when_the_server_is_there() {
    let project = Project::new("check_wait", "");
    let port = closed();
    let upstream = place(&project.redis);
    let url = project.redis.replace(&upstream, &format!("127.0.0.1:{port}"));
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(1200));
        crate::faults::forward(port, &upstream);
    });
    let (output, elapsed) = check(&project, "redis", &url, &["--wait", "20s"]);
    late.join().expect("the server");
    output.ok();
    assert!(elapsed > Duration::from_secs(1) && elapsed < Duration::from_secs(10), "{elapsed:?}");
    let (output, elapsed) = check(&project, "redis", &format!("redis://127.0.0.1:{}", closed()), &["--wait", "1s"]);
    output.exit(4);
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
    // A wrong password does not get better with time.
    let (output, elapsed) = check(&project, "redis", &login(&project.redis, "", "wrong"), &["--wait", "20s"]);
    output.exit(4);
    assert!(elapsed < Duration::from_secs(3), "{elapsed:?}");
}

#[test]
fn optional_stores_may_be_absent() {
    let project = Project::new("check_optional", "");
    let toml =
        format!("[project]\nname = \"x\"\n[postgres]\n[redis]\noptional = true\nkey_prefix = \"{}\"\n", project.prefix);
    project.write("lyrox.toml", &toml);
    let mut command = project.command(&["check", "--output", "json"]);
    command.env("REDIS_URL", format!("redis://127.0.0.1:{}", closed()));
    let output = Output::new(&["check"], &command.output().expect("lyrox runs"));
    assert_eq!(output.ok().item("redis.tcp")["outcome"], "skip", "{output}");
    project.write(".env", &format!("DATABASE_URL='{}'\n", project.postgres));
    let output = project.lyrox(&["check", "--output", "json"]);
    assert_eq!(output.ok().item("redis.url")["outcome"], "skip", "{output}");
}

#[test]
fn a_raw_password_works_and_is_named() {
    let project = Project::new("check_raw", "");
    let user = format!("{}_user", project.name);
    project.redis(&["ACL", "SETUSER", &user, "on", ">p??@:/#s%", "~*", "&*", "+@all"]);
    let url = format!("redis://{user}:p??@:/#s%@{}", place(&project.redis));
    let (output, _) = check(&project, "redis", &url, &[]);
    project.redis(&["ACL", "DELUSER", &user]);
    let warned = output.ok().item("redis.url");
    assert_eq!(warned["outcome"], "warn", "{output}");
    assert!(warned["detail"].as_str().expect("a detail").contains("`?` `@` `:` `/` `#` `%`"), "{output}");
    output.never_says("p??@:/#s%");
}

/// Who may read the passwords of a remote server in `.env`, and whether git keeps them, is said where connections are looked at.
#[test]
fn an_env_file_that_others_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let project = Project::new("check_env", "");
    let secret = "n0t-the-password";
    let port = closed();
    project.write(".env", &format!("DATABASE_URL='postgres://u:{secret}@0.0.0.0:{port}/d?sslmode=disable'\n"));
    let set = |mode| {
        std::fs::set_permissions(project.path(".env"), std::fs::Permissions::from_mode(mode)).expect("a mode");
    };
    let look = || project.lyrox(&["check", "--only", "postgres", "--output", "json"]);
    set(0o644);
    let open = look();
    let item = open.exit(4).never_says(secret).item("project.env.readable");
    assert_eq!((&item["outcome"], &item["code"]), (&"warn".into(), &"LYX-ENV-EXPOSED".into()), "{open}");
    assert_eq!(item["hint"], "chmod 600 .env");
    project.lyrox(&["check", "--only", "postgres"]).exit(4).says("2 warnings").says("chmod 600 .env");
    set(0o600);
    assert!(!look().stdout.contains("LYX-ENV-EXPOSED"));
    let git = |words: &[&str]| {
        let mut git = std::process::Command::new("git");
        assert!(git.current_dir(project.root()).args(words).output().expect("git").status.success(), "{words:?}");
    };
    git(&["init", "-q"]);
    git(&["add", "-f", ".env"]);
    let tracked = look();
    assert_eq!(tracked.item("project.env.tracked")["code"], "LYX-ENV-EXPOSED", "{tracked}");
    assert!(!tracked.stderr.contains("tracked by git"), "it is told once: {tracked}");
}
