//! A password full of reserved characters is planted in every URL and searched for everywhere: in every
//! output of every command, failing ones included, in the process list, and in what the stores keep.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use lyrox::kind::StoreKind;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::support::{Output, Project, block_on};

pub const PASSWORD: &str = "Zq@:/?#%&+ \"'9w";

/// The forms in which it must not appear.
fn forms() -> Vec<String> {
    let strict = utf8_percent_encode(PASSWORD, lyrox::secret::STRICT).to_string();
    let json = serde_json::to_string(PASSWORD).expect("JSON");
    vec![
        PASSWORD.to_owned(),
        strict.clone(),
        strict.to_lowercase(),
        utf8_percent_encode(PASSWORD, NON_ALPHANUMERIC).to_string(),
        json.trim_matches('"').to_owned(),
        PASSWORD.replace('\'', "''"),
        base64::engine::general_purpose::STANDARD.encode(PASSWORD),
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(PASSWORD),
        // Its pieces, as a parser that splits at the wrong place would show them.
        "Zq@".to_owned(),
        "%&+ ".to_owned(),
    ]
}

/// Fails where a text holds the planted password in any form.
#[track_caller]
pub fn is_clean(what: &str, text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{what} holds the password as {form:?}:\n{text}");
    }
}

struct Users {
    role: String,
    postgres: String,
    mongodb: String,
    redis: String,
}

/// Logins of their own with the planted password; the URLs hold it strictly encoded.
fn users(project: &Project) -> Users {
    let role = project.name.clone();
    let encoded = utf8_percent_encode(PASSWORD, lyrox::secret::STRICT).to_string();
    let quoted = PASSWORD.replace('\'', "''");
    project.sql(&format!("CREATE ROLE {role} LOGIN CREATEROLE PASSWORD '{quoted}'"));
    project.sql(&format!("GRANT {role} TO CURRENT_USER"));
    project.sql(&format!("GRANT ALL ON DATABASE {role} TO {role}"));
    project.sql(&format!("GRANT ALL ON SCHEMA public TO {role}"));
    project.mongo(bson::doc! {
        "createUser": &role, "pwd": PASSWORD,
        "roles": [{ "role": "dbOwner", "db": &role }, { "role": "clusterMonitor", "db": "admin" }],
    });
    let acl = ["ACL", "SETUSER", &role, "on", &format!(">{PASSWORD}"), "~*", "&*", "+@all"];
    project.redis(&acl);
    let place = |kind: StoreKind, url: &str| lyrox::url::parse(kind, url).expect("a URL").authority();
    Users {
        postgres: format!("postgres://{role}:{encoded}@{}/{role}", place(StoreKind::Postgres, &project.postgres)),
        mongodb: format!(
            "mongodb://{role}:{encoded}@{}/{role}?authSource={role}&directConnection=true",
            place(StoreKind::Mongodb, &project.mongodb)
        ),
        redis: format!("redis://{role}:{encoded}@{}/0", place(StoreKind::Redis, &project.redis)),
        role,
    }
}

fn drop_users(project: &Project, users: &Users) {
    let _ = project.sql(&format!("REASSIGN OWNED BY {0} TO CURRENT_USER", users.role));
    let _ = project.sql(&format!("DROP OWNED BY {0}", users.role));
    let _ = project.sql(&format!("DROP ROLE {0}", users.role));
    project.mongo(bson::doc! { "dropUser": &users.role });
    project.redis(&["ACL", "DELUSER", &users.role]);
}

/// Looks at every command line on the machine until told to stop.
pub fn watch_processes() -> (Arc<AtomicBool>, std::thread::JoinHandle<Vec<String>>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let watch = std::thread::spawn(move || {
        let mut found = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                if forms().iter().any(|form| line.contains(form)) {
                    found.push(line);
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        found
    });
    (stop, watch)
}

#[test]
fn a_planted_password_is_found_nowhere() {
    let project = Project::new(
        "secrets",
        "[[check.expect]]\nstore = \"postgres\"\nquery = \"SELECT count(*) FROM note\"\nsay = \"{0}\"\n",
    );
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text);");
    project.write("migrations/1_a.down.sql", "DROP TABLE note;");
    project
        .write("migrations/1_a.up.json", r#"[{ "create": "events" }]"#)
        .write("migrations/1_a.down.json", r#"[{ "drop": "events" }]"#);
    project.write("migrations/1_a.up.redis", "SET {{prefix}}a 1").write("migrations/1_a.down.redis", "DEL {{prefix}}a");
    project.write("seeds/dev/postgres/note.toml", "[rows.one]\nid = 1\nbody = \"hello\"\n");
    let users = users(&project);
    let urls = [("DATABASE_URL", &users.postgres), ("MONGODB_URI", &users.mongodb), ("REDIS_URL", &users.redis)];
    let dotenv: String = urls.iter().map(|(name, url)| format!("{name}='{url}'\n")).collect();
    project.write(".env", &dotenv);

    let (stop, watch) = watch_processes();
    let seen: Mutex<Vec<(String, i32)>> = Mutex::new(Vec::new());
    let run = |arguments: &[&str], environment: &[(&str, String)]| {
        let mut command = project.command(arguments);
        command.env("LYROX_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "1");
        for (name, value) in environment {
            command.env(name, value);
        }
        let output = Output::new(arguments, &command.output().expect("lyrox"));
        is_clean(&format!("standard output of {arguments:?}"), &output.stdout);
        is_clean(&format!("standard error of {arguments:?}"), &output.stderr);
        seen.lock().expect("a lock").push((arguments.join(" "), output.code));
        output
    };

    // Everything as it should be.
    for arguments in [
        &["config", "show"][..],
        &["config", "check", "--output", "json"],
        &["url", "inspect", "--env", "DATABASE_URL"],
        &["url", "inspect", "--env", "MONGODB_URI", "--output", "json"],
        &["url", "inspect", "--env", "REDIS_URL"],
        &["db", "migrate", "--dry-run"],
        &["db", "migrate", "-v"],
        &["check"],
        &["check", "--output", "json"],
        &["db", "status", "--output", "json"],
        &["db", "seed"],
        &["db", "smoke-test", "--output", "junit"],
        &["query", "postgres", "SELECT * FROM note"],
        &["query", "mongodb", r#"{ "find": "events" }"#],
        &["query", "redis", "PING"],
        &["db", "rollback", "--yes"],
        &["db", "reset", "--confirm", &project.name, "--output", "json"],
        &["ps"],
        &["setup", "--output", "json"],
    ] {
        let output = run(arguments, &[]);
        assert_ne!(output.code, 70, "{output}");
        let is_local = arguments == ["ps"];
        assert!(is_local || output.code == 0, "{output}");
    }

    // Everything that can go wrong on the way to the servers.
    let raw = |url: &str| {
        let encoded = utf8_percent_encode(PASSWORD, lyrox::secret::STRICT).to_string();
        url.replace(&encoded, PASSWORD)
    };
    let closed = |url: &str| {
        let at = url.rfind('@').expect("a login");
        let rest = &url[at..];
        let tail = rest.find('/').map_or("", |slash| &rest[slash..]);
        format!("{}@127.0.0.1:1{tail}", &url[..at])
    };
    let unknown = |url: &str| url.replacen(&format!("://{}", users.role), "://nobody_here", 1);
    let unresolved = |url: &str| {
        let at = url.rfind('@').expect("a login");
        let rest = &url[at..];
        let tail = rest.find('/').map_or("", |slash| &rest[slash..]);
        format!("{}@no-such-host.invalid{tail}", &url[..at])
    };
    for (name, url) in urls {
        for bad in
            [raw(url), closed(url), unknown(url), unresolved(url), url.replacen("://", ":/", 1), format!("x{url}")]
        {
            for arguments in [
                &["check"][..],
                &["db", "migrate", "--output", "json"],
                &["url", "inspect", "--env", name],
                &["config", "show"],
            ] {
                let output = run(arguments, &[(name, bad.clone())]);
                assert_ne!(output.code, 70, "{output}");
            }
        }
    }
    // Statements that fail with the password in them, and a crash of the file that holds it.
    let literal = PASSWORD.replace('\'', "''");
    project.write("migrations/2_b.up.sql", "-- lyrox: vars\nCREATE ROLE ${LYROX_PLANTED};");
    let planted = format!("nobody PASSWORD '{literal}' NO SUCH OPTION");
    let output = run(&["db", "migrate"], &[("LYROX_PLANTED", planted)]);
    output.exit(1);
    project.write(".env", &format!("{dotenv}BROKEN {PASSWORD}\n"));
    run(&["check"], &[]).exit(2);
    project.write(".env", &dotenv);

    stop.store(true, Ordering::Relaxed);
    let lines = watch.join().expect("the watch");
    assert!(lines.is_empty(), "the process list holds the password: {lines:?}");
    assert!(seen.lock().expect("a lock").len() > 80);

    // What the stores keep.
    for table in ["migrations", "events", "environment", "snapshots"] {
        let rows = project.sql(&format!("SELECT to_jsonb(t)::text FROM lyrox.{table} t"));
        for row in rows.into_iter().flatten().flatten() {
            is_clean(&format!("lyrox.{table}"), &row);
        }
    }
    for name in block_on(async { project.database().list_collection_names().await }).expect("names") {
        let found = project.mongo(bson::doc! { "find": &name, "batchSize": 1000 });
        is_clean(&name, &format!("{found}"));
    }
    let script = "local found = '' for _, key in ipairs(redis.call('KEYS', ARGV[1])) do local kind = redis.call('TYPE', key).ok if kind == 'string' then found = found .. redis.call('GET', key) elseif kind == 'hash' then found = found .. table.concat(redis.call('HGETALL', key), ' ') elseif kind == 'list' then found = found .. table.concat(redis.call('LRANGE', key, 0, -1), ' ') end end return found";
    let kept = project.redis(&["EVAL", script, "0", &format!("{}*", project.prefix)]);
    is_clean("Redis", &format!("{kept:?}"));
    drop_users(&project, &users);
}

/// What `env` and `url encode` exist to print goes to standard output only.
#[test]
fn encoding_prints_to_standard_output_only() {
    let project = Project::new("secrets_encode", "");
    let mut child = project
        .command(&["url", "encode"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lyrox");
    use std::io::Write as _;
    child.stdin.take().expect("standard input").write_all(PASSWORD.as_bytes()).expect("written");
    let output = Output::new(&["url", "encode"], &child.wait_with_output().expect("an end"));
    output.ok();
    assert_eq!(output.stdout.trim_end(), utf8_percent_encode(PASSWORD, lyrox::secret::STRICT).to_string());
    is_clean("standard error", &output.stderr);
}

/// A password in an argument is refused before anything is contacted; a variable's name takes its place.
#[test]
fn a_password_in_an_argument_is_refused() {
    let project = Project::new("secrets_argument", "");
    project.write("migrations/1_a.up.sql", "SELECT 1;").write("migrations/2_b.up.sql", "SELECT 2;");
    let url = "postgres://u:argument-secret@127.0.0.1:1/d";
    for command in [&["db", "rehearse"][..], &["db", "diff", "--replay"], &["db", "squash", "both", "--to", "2"]] {
        let run = project.lyrox(&[command, &["--scratch-url", url]].concat());
        run.exit(2).says("holds a password").says("--scratch-url '${NAME}'").never_says("argument-secret");
    }
    let run = project.lyrox(&["db", "rehearse", "--scratch-url", url, "--allow-argv-secret"]);
    run.exit(4).never_says("argument-secret");
}

/// A GitHub runner masks what it is told: what lyrox is about to print, in each form that it makes of it, before it prints it.
#[test]
fn a_runner_is_told_to_mask_what_is_printed() {
    let project = Project::new("secrets_mask", "");
    let password = "p@:/?#%&+ x";
    let encoded = "p%40%3A%2F%3F%23%25%26%2B%20x";
    let url = format!("postgres://u:{encoded}@h.example.com/d");
    let variables = [("DATABASE_URL", url.as_str()), ("GITHUB_ACTIONS", "true")];
    let run = |arguments: &[&str], input: &str, variables: &[(&str, &str)]| {
        use std::io::Write as _;
        let mut command = project.command(arguments);
        command.envs(variables.iter().copied()).stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("lyrox");
        child.stdin.take().expect("its input").write_all(input.as_bytes()).expect("a text");
        Output::new(arguments, &child.wait_with_output().expect("an end"))
    };
    // What the runner takes as the value of the command.
    let masks = |output: &Output| -> Vec<String> {
        let lines = output.stderr.lines().filter_map(|line| line.strip_prefix("::add-mask::"));
        lines.map(|line| line.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%")).collect()
    };
    for (arguments, input) in [
        (&["env"][..], ""),
        (&["env", "--format", "json"], ""),
        (&["url", "encode"], password),
        (&["url", "decode"], encoded),
        (
            &["url", "build", "--store", "postgres", "--user", "u", "--host", "h.example.com", "--password-stdin"],
            password,
        ),
        (&["url", "inspect", "--env", "DATABASE_URL", "--reveal"], ""),
    ] {
        let shown = run(arguments, input, &variables);
        let found = masks(shown.ok());
        for form in [password, encoded] {
            assert!(found.iter().any(|mask| mask == form), "{form} is not masked: {shown}");
        }
        assert!(!shown.stdout.contains("::add-mask"), "standard output is for a shell or a file: {shown}");
        // Elsewhere standard error has no secret.
        let quiet = run(arguments, input, &variables[..1]);
        assert!(!quiet.ok().stderr.contains("add-mask") && !quiet.stderr.contains(password), "{quiet}");
    }
    let env = run(&["env"], "", &variables);
    assert!(masks(&env).contains(&url), "the whole URL: {env}");
    // What prints no secret tells none.
    for arguments in [&["config", "show"][..], &["url", "inspect", "--env", "DATABASE_URL"]] {
        run(arguments, "", &variables).ok().never_says("add-mask").never_says(encoded);
    }
}
