//! What lyrox promises under failure, each promise with a test that runs the real binary against real servers.
//! A few rounds by default; with `LYROX_SOAK=1` the number of rounds that the promise names (`just soak`).

mod bouncer;
pub use bouncer::session;
mod p01_runners;
mod p02_indexes;
mod p03_kills;
mod p04_dead_lock;
mod p05_terminate;
mod p06_traffic;
mod p07_commit;
mod p08_silence;
mod p09_pooler;
mod p10_invalid;
mod p13_secrets;
mod p16_files;
mod p17_lease;
mod p18_downloads;
mod proxy;

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lyrox::kind::StoreKind;
use rand::RngExt as _;

use crate::support::{Output, Project};

/// So many rounds: few by default, the stated number in a soak. `LYROX_ROUNDS` sets another.
pub fn rounds(few: u32, stated: u32) -> u32 {
    let given = std::env::var("LYROX_ROUNDS").ok().and_then(|count| count.parse().ok());
    given.unwrap_or(if is_soak() { stated } else { few })
}

/// Whether the stated number of rounds is asked for.
pub fn is_soak() -> bool {
    std::env::var_os("LYROX_SOAK").is_some_and(|value| value == "1")
}

/// A random time below a bound.
pub fn some_of(bound: Duration) -> Duration {
    bound.mul_f64(rand::rng().random_range(0.0..1.0))
}

/// A figure of a promise, for who reads the output of a soak.
#[allow(clippy::print_stderr, reason = "figures of a soak")]
pub fn figure(promise: &str, text: String) {
    eprintln!("{promise}: {text}");
}

/// A run of lyrox that goes on.
pub struct Run {
    child: Child,
    arguments: String,
}

/// Starts a run.
pub fn start(project: &Project, arguments: &[&str]) -> Run {
    let mut command = project.command(arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox");
    Run { child, arguments: arguments.join(" ") }
}

impl Run {
    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a pid");
        let _ = rustix::process::kill_process(pid, signal);
    }

    /// Kills it as `kill -9` does, and waits.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("an end");
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a state").is_some()
    }

    /// Waits for its end.
    pub fn end(self) -> Output {
        let output = self.child.wait_with_output().expect("an end");
        Output::new(&[&self.arguments], &output)
    }
}

/// Waits until something is so; answers how long that took.
#[track_caller]
pub fn wait_until(limit: Duration, what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

/// Leaves PostgreSQL alone in the configuration.
pub fn only_postgres(project: &Project, extra: &str) {
    project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{extra}\n", project.name));
}

/// `host:port` of the project's PostgreSQL.
pub fn place(project: &Project) -> String {
    let url = lyrox::url::parse(StoreKind::Postgres, &project.postgres).expect("a URL");
    format!("{}:{}", url.host().name, url.port_of(url.host()))
}

/// Lets the project reach its PostgreSQL through another port of this machine.
pub fn through(project: &Project, port: u16) -> String {
    let url = project.postgres.replace(&place(project), &format!("127.0.0.1:{port}"));
    assert_ne!(url, project.postgres);
    project.write(
        ".env",
        &format!("DATABASE_URL='{url}'\nMONGODB_URI='{}'\nREDIS_URL='{}'\n", project.mongodb, project.redis),
    );
    url
}

/// How many advisory locks are held in the project's database.
pub fn locks(project: &Project) -> String {
    project.sql_value(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
         WHERE l.locktype = 'advisory' AND d.datname = current_database()",
    )
}

/// How many sessions of others in the project's database run a statement that matches.
pub fn running(project: &Project, pattern: &str) -> bool {
    project.sql_value(&format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() \
         AND state = 'active' AND query LIKE '{pattern}'"
    )) != "0"
}
