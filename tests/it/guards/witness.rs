//! Servers that write down whatever reaches them, and a terminal to type at.

use std::io::Write as _;
use std::net::ToSocketAddrs as _;
use std::process::Stdio;

use crate::setup::Alone;
use crate::support::Output;
use crate::support::servers::binary;

/// LYROX OS on servers of its own, set up; PostgreSQL logs every statement.
pub struct Witness {
    /// The project.
    pub alone: Alone,
}

/// How much has reached the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// PostgreSQL: statements in its log.
    pub statements: usize,
    /// MongoDB: connections in its log.
    pub mongodb: usize,
    /// Redis: connections that it counted.
    pub redis: usize,
}

impl Witness {
    /// Starts the servers and sets the project up.
    pub fn new() -> Self {
        let alone = Alone::lyrox_os();
        let file = alone.path().join("lyrox.toml");
        let text = std::fs::read_to_string(&file).expect("lyrox.toml");
        let more = "\n[env.guarded]\n\n[local]\npostgres_settings = { log_statement = \"all\" }\n";
        std::fs::write(&file, format!("{text}{more}")).expect("lyrox.toml");
        alone.lyrox(&["-q", "setup", "--skip", "check,expect,smoke-test"]).ok();
        Self { alone }
    }

    fn log(&self, store: &str) -> String {
        let log = std::fs::read(self.alone.path().join(".lyrox").join(store).join("log")).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Every statement that PostgreSQL has been sent.
    pub fn statements(&self) -> Vec<String> {
        let is_statement = |line: &&str| line.contains("statement: ") || line.contains("execute ");
        self.log("postgres").lines().filter(is_statement).map(str::to_owned).collect()
    }

    /// How much has reached the servers so far. The look itself makes one connection to Redis.
    pub fn reached(&self) -> Reached {
        let url = lyrox::servers::running(self.alone.path()).expect("servers").redis.expect("Redis");
        let mut connection =
            redis::Client::open(url).and_then(|client| client.get_connection()).expect("a connection to Redis");
        let info: String = redis::cmd("INFO").arg("stats").query(&mut connection).expect("INFO");
        let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).expect("a count");
        Reached {
            statements: self.statements().len(),
            mongodb: self.log("mongodb").lines().filter(|line| line.contains("\"Connection accepted\"")).count(),
            redis: count.trim().parse().expect("a number"),
        }
    }

    /// Runs lyrox at a terminal of 80 columns and types a line.
    pub fn at_terminal(&self, arguments: &[&str], variables: &[(&str, &str)], typed: &str) -> Output {
        let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
        let line = format!("stty cols 80 rows 40; '{}' {}", binary(), words.join(" "));
        let mut command = self.alone.command("script");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm-256color");
        command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("script, of util-linux");
        let mut keyboard = child.stdin.take().expect("a keyboard");
        let text = format!("{typed}\n");
        std::thread::spawn(move || {
            // A person reads before typing; what is typed too early is lost when the prompt clears its line.
            std::thread::sleep(std::time::Duration::from_millis(1500));
            let _ = keyboard.write_all(text.as_bytes());
            std::thread::sleep(std::time::Duration::from_secs(20));
        });
        Output::new(arguments, &child.wait_with_output().expect("an end"))
    }
}

/// The name of this machine, where it leads to this machine: an address that no client takes for local.
pub fn remote_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?.trim().to_owned();
    let mut addresses = (name.as_str(), 1).to_socket_addrs().ok()?;
    (name != "localhost" && addresses.any(|address| address.ip().to_string() == "127.0.0.1")).then_some(name)
}
