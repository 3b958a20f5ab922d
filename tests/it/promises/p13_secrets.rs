//! P13: a password never leaves. A planted one, full of reserved characters, is looked for in everything that every
//! command prints while its URLs fail in every way, in every format, with the log at its loudest, and in the
//! arguments of every process meanwhile.

use std::sync::atomic::Ordering;

use lyrox::kind::StoreKind;
use percent_encoding::utf8_percent_encode;

use super::{figure, is_soak};
use crate::help::commands;
use crate::secrets::{PASSWORD, is_clean, watch_processes};
use crate::support::{Output, Project};

/// Commands that are not tried: they exist to print what they are given, end never, or start servers.
const PASSED_OVER: &[&str] = &["env", "url encode", "url decode", "url build", "up", "down", "logs"];

/// What a command needs besides its name.
fn arguments(words: &str) -> Vec<&'static str> {
    match words {
        "query" => vec!["postgres", "SELECT 1"],
        "db new" => vec!["example"],
        "db repair" => vec!["--accept", "1"],
        "env mark" => vec!["local", "--confirm", "local"],
        "url inspect" => vec!["--env", "DATABASE_URL"],
        "url redact" => vec![],
        "explain" => vec!["LYX-BUG"],
        "completions" => vec!["bash"],
        "db reset" => vec!["--confirm", "nothing"],
        "db rollback" => vec!["--yes"],
        _ => vec![],
    }
}

/// A URL of each store that fails in one way, with the planted password in it.
fn failing(project: &Project, way: usize) -> [(&'static str, String); 3] {
    let encoded = utf8_percent_encode(PASSWORD, lyrox::secret::STRICT).to_string();
    let stores = [
        ("DATABASE_URL", StoreKind::Postgres, &project.postgres, "postgres", "/shop", "?sslmode=require"),
        ("MONGODB_URI", StoreKind::Mongodb, &project.mongodb, "mongodb", "/", "?tls=true"),
        ("REDIS_URL", StoreKind::Redis, &project.redis, "redis", "/0", ""),
    ];
    stores.map(|(variable, kind, real, scheme, path, tls)| {
        let place = lyrox::url::parse(kind, real).expect("a URL").authority();
        let url = match way {
            0 => format!("{scheme}://planted:{encoded}@{place}{path}"),
            1 => format!("{scheme}://planted:{encoded}@127.0.0.1:1{path}"),
            2 => format!("{scheme}://planted:{encoded}@no-such-host.invalid{path}"),
            3 if kind == StoreKind::Redis => format!("rediss://planted:{encoded}@{place}{path}"),
            3 => format!("{scheme}://planted:{encoded}@{place}{path}{tls}"),
            4 => format!("{scheme}://planted:{PASSWORD}@127.0.0.1:1{path}"),
            5 => format!("{scheme}:/planted:{encoded}@{place}{path}"),
            6 => format!("{scheme}://planted:{encoded}@{place}:port{path}"),
            7 => format!("{scheme}://planted{PASSWORD}"),
            _ => format!("{scheme}://planted:{encoded}@127.0.0.1:1{path}?nonsense={encoded}"),
        };
        (variable, url)
    })
}

const WAYS: usize = 9;

#[test]
fn p13_no_command_prints_a_password_however_it_fails() {
    let project = Project::new("p13", "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE note (id int PRIMARY KEY, body text);");
    project
        .write("migrations/1_a.up.json", r#"[{ "create": "events" }]"#)
        .write("migrations/1_a.up.redis", "SET {{prefix}}a 1");
    let formats: [&[&str]; 4] = [&["-v"], &["--output", "json"], &["--output", "junit"], &["--output", "github"]];
    let mut runs: Vec<(Vec<String>, usize)> = Vec::new();
    let mut tried = 0;
    for (index, (words, command)) in commands().into_iter().enumerate() {
        let name = words.join(" ");
        if name.is_empty() || PASSED_OVER.contains(&name.as_str()) {
            continue;
        }
        tried += 1;
        let mut line = words.clone();
        line.extend(arguments(&name).into_iter().map(str::to_owned));
        // A required word that the table above does not have: any will do.
        if arguments(&name).is_empty() {
            let needed = command.get_positionals().filter(|positional| positional.is_required_set()).count();
            line.extend(std::iter::repeat_n("example".to_owned(), needed));
        }
        for way in 0..WAYS {
            for (at, format) in formats.iter().enumerate() {
                // By default each command fails in two ways and formats of its own; a soak tries all of them.
                let is_turn =
                    (way == index % WAYS || way == (index * 5 + 3) % WAYS) && at == (index + way) % formats.len();
                if is_soak() || is_turn {
                    let line = line.iter().cloned().chain(format.iter().map(|word| (*word).to_owned())).collect();
                    runs.push((line, way));
                }
            }
        }
    }
    let (stop, watch) = watch_processes();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some((line, way)) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let words: Vec<&str> = line.iter().map(String::as_str).collect();
                    let mut command = project.command(&words);
                    command.env("LYROX_LOG", "trace").env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
                    command.envs(failing(&project, *way));
                    let output = Output::new(&words, &command.output().expect("lyrox"));
                    assert!(output.code != 70 && output.code != 101, "{output}");
                    is_clean(&format!("standard output of {words:?}, way {way},"), &output.stdout);
                    is_clean(&format!("standard error of {words:?}, way {way},"), &output.stderr);
                }
            });
        }
    });
    stop.store(true, Ordering::Relaxed);
    let lines = watch.join().expect("the watch");
    assert!(lines.is_empty(), "the process list holds the password: {lines:?}");
    assert!(tried > 30, "{tried} commands");
    // Files that a failing run left: reports, journals, scaffolds.
    let mut open = vec![project.root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.path().is_dir() {
                open.push(entry.path());
            } else if let Ok(text) = std::fs::read(entry.path()) {
                is_clean(&entry.path().display().to_string(), &String::from_utf8_lossy(&text));
            }
        }
    }
    figure("P13", format!("{} runs of {tried} commands in {WAYS} ways of failing: 0 hits", runs.len()));
}
