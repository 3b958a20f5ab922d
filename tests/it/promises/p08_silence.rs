//! P8: nothing hangs. A server that falls silent at any stage ends the run with 4.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::proxy::{Fault, Proxy};
use super::{figure, is_soak, only_postgres, place, through};
use crate::support::Project;

/// The longest that any stage may take without a `--timeout`.
const BUDGET: Duration = Duration::from_secs(45);

fn project() -> Project {
    let project = Project::new("p08", "");
    only_postgres(&project, "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int);\n");
    project
}

/// Runs a migrate at a silent server; answers how long it took.
fn run(project: &Project, stage: &str, has_limit_of_its_own: bool) -> Duration {
    let begun = Instant::now();
    // The watch takes half a minute; a soak waits for it.
    let is_short = !is_soak() && !has_limit_of_its_own;
    let arguments: &[&str] = if is_short { &["db", "migrate", "--timeout", "3s"] } else { &["db", "migrate"] };
    let run = project.lyrox(arguments);
    let took = begun.elapsed();
    assert_eq!(run.code, 4, "{stage}, after {took:?}\n{run}");
    assert!(took < if is_short { Duration::from_secs(8) } else { BUDGET }, "{stage}: {took:?}\n{run}");
    took
}

#[test]
fn a_server_that_falls_silent_ends_the_run() {
    let stages = std::thread::scope(|scope| {
        let connect = scope.spawn(|| {
            let project = project();
            // A network of examples: nobody answers there.
            let url = project.postgres.replace(&place(&project), "198.51.100.7:5432");
            project.write(".env", &format!("DATABASE_URL='{url}'\n"));
            ("connect", run(&project, "connect", true))
        });
        let tls = scope.spawn(|| {
            let project = project();
            let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
            let url = through(&project, silent.local_addr().expect("an address").port());
            project.write(".env", &format!("DATABASE_URL='{url}?sslmode=require'\n"));
            ("tls", run(&project, "tls", true))
        });
        let faults = [
            ("auth", Fault::SilentAuth, true),
            ("query", Fault::SilentQuery, false),
            ("commit", Fault::SilentCommit, false),
        ];
        let others: Vec<_> = faults
            .into_iter()
            .map(|(stage, fault, has_limit)| {
                scope.spawn(move || {
                    let project = project();
                    let proxy = Proxy::new(place(&project), fault);
                    through(&project, proxy.port);
                    let took = run(&project, stage, has_limit);
                    assert!(proxy.has_happened(), "{stage}");
                    (stage, took)
                })
            })
            .collect();
        [connect, tls].into_iter().chain(others).map(|stage| stage.join().expect("a stage")).collect::<Vec<_>>()
    });
    figure("P8", format!("exit 4 after {stages:?}"));
}
