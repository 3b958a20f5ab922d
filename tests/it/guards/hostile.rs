//! Servers and repositories that mean harm.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use base64::Engine as _;

use crate::support::{Output, Project};

/// A PostgreSQL that asks for two thousand million rounds of hashing: days of work for whoever obeys.
fn endless_login() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let message = |kind: u8, body: &[u8]| {
                    let mut bytes = vec![kind];
                    bytes.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
                    bytes.extend(body);
                    bytes
                };
                let mut buffer = [0; 4096];
                loop {
                    let Ok(count @ 1..) = client.read(&mut buffer) else { return };
                    if buffer[4..8] != 80_877_103_u32.to_be_bytes() {
                        break;
                    }
                    let _ = count;
                    let _ = client.write_all(b"N");
                }
                let _ = client.write_all(&message(b'R', b"\0\0\0\x0aSCRAM-SHA-256\0\0"));
                let Ok(count @ 1..) = client.read(&mut buffer) else { return };
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let nonce = text.rsplit("r=").next().unwrap_or_default();
                let salt = base64::engine::general_purpose::STANDARD.encode("some salt");
                let challenge = format!("\0\0\0\x0br={nonce}abc,s={salt},i=2147483647");
                let _ = client.write_all(&message(b'R', challenge.as_bytes()));
                let _ = client.read(&mut buffer);
            });
        }
    });
    port
}

#[test]
fn a_server_that_asks_for_endless_work_is_left() {
    let project = Project::new("endless_login", "");
    project.write("migrations/1_a.up.sql", "SELECT 1;");
    let url = format!("postgres://someone:secret-word@127.0.0.1:{}/app", endless_login());
    for arguments in [&["check", "--only", "postgres"][..], &["db", "migrate", "--only", "postgres"]] {
        let began = Instant::now();
        let output = project.command(arguments).env("DATABASE_URL", &url).output().expect("lyrox");
        Output::new(arguments, &output).exit(4).never_says("secret-word");
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    }
}

/// A link in a repository does not bring the machine's own files into a database, a plan or a message.
#[test]
fn links_out_of_the_project_are_refused() {
    let project = Project::new("links", "");
    let outside = tempfile::tempdir().expect("a folder");
    let secret = outside.path().join("1_secret.up.sql");
    std::fs::write(&secret, "SELECT 'what-nobody-should-see';").expect("a file");
    let link = |from: &std::path::Path, to: &str| {
        let to = project.path(to);
        std::fs::create_dir_all(to.parent().expect("a parent")).expect("a folder");
        std::os::unix::fs::symlink(from, &to).expect("a link");
        to
    };
    let refused = |arguments: &[&str]| {
        let run = project.lyrox(arguments);
        run.exit(2).says("is a link out of the project").never_says("what-nobody-should-see");
    };
    // The file, and a folder on the way to it.
    let made = link(&secret, "migrations/1_secret.up.sql");
    refused(&["db", "migrate"]);
    refused(&["db", "lint"]);
    std::fs::remove_file(made).expect("removed");
    std::fs::remove_dir(project.path("migrations")).expect("removed");
    let made = link(outside.path(), "migrations");
    refused(&["db", "migrate"]);
    std::fs::remove_file(made).expect("removed");
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text);");
    project.lyrox(&["db", "migrate"]).ok();
    for name in ["note.csv", "note.ndjson", "note.toml", "note.sql"] {
        let made = link(&secret, &format!("seeds/dev/postgres/{name}"));
        refused(&["db", "seed"]);
        std::fs::remove_file(made).expect("removed");
    }
    let made = link(&secret, "smoke/own.toml");
    refused(&["db", "smoke-test"]);
    std::fs::remove_file(made).expect("removed");
    // A link within the project is its own business.
    project.write("shared/note.csv", "id,body\n1,one\n");
    link(&project.path("shared/note.csv"), "seeds/dev/postgres/note.csv");
    project.lyrox(&["db", "seed"]).ok();
    assert_eq!(project.sql_value("SELECT body FROM note"), "one");
    // So is a folder that the configuration itself names elsewhere.
    std::fs::rename(project.path("migrations"), outside.path().join("migrations")).expect("moved");
    std::fs::remove_file(&secret).expect("removed");
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    let place = outside.path().join("migrations");
    project.write("lyrox.toml", &format!("{text}\n[migrations]\ndir = \"{}\"\n", place.display()));
    project.lyrox(&["db", "status"]).ok();
}

/// Objects that somebody made in `public` before take no part in what lyrox does.
#[test]
fn functions_of_others_are_never_called() {
    let project = Project::new("hijack", "");
    let traps = [
        "pg_backend_pid()",
        "current_database()",
        "now()",
        "clock_timestamp()",
        "version()",
        "pg_is_in_recovery()",
        "hashtext(text)",
        "current_setting(text)",
        "current_setting(text, boolean)",
        "set_config(text, text, boolean)",
        "pg_try_advisory_lock(bigint)",
        "pg_advisory_unlock(bigint)",
        "format(text, VARIADIC text[])",
        "to_regclass(text)",
        "quote_ident(text)",
        "count(text)",
        "md5(text)",
        "length(text)",
        "coalesce_text(text)",
    ];
    project.sql("CREATE TABLE trapped (name text)");
    for trap in traps {
        let name = trap.split('(').next().expect("a name");
        let _ = crate::support::sql(
            &project.postgres,
            &format!(
                "CREATE FUNCTION public.{trap} RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN INSERT INTO public.trapped VALUES ('{name}'); RETURN NULL; END $$"
            ),
        );
    }
    project.sql(&format!("ALTER DATABASE {} SET search_path = public, pg_catalog", project.name));
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text);");
    project.write("seeds/dev/postgres/note.toml", "[rows.one]\nid = 1\nbody = \"hello\"\n");
    for arguments in [
        &["check"][..],
        &["db", "migrate"],
        &["db", "seed"],
        &["db", "status"],
        &["db", "diff"],
        &["db", "smoke-test"],
        &["db", "reset", "--confirm", &project.name],
    ] {
        let run = project.lyrox(&[arguments, &["--only", "postgres"]].concat());
        assert_ne!(run.code, 70, "{run}");
        let trapped = project.sql("SELECT DISTINCT name FROM public.trapped");
        assert!(trapped.is_empty(), "{arguments:?} called {trapped:?}\n{run}");
    }
}
