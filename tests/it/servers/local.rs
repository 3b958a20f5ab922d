//! A project with local servers of its own, and what the tests look at in `/proc`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::Output;
use crate::support::servers::binary;

/// A throw-away project; its servers are stopped and removed at the end.
pub struct Local {
    folder: tempfile::TempDir,
    /// The project's name.
    pub name: String,
}

impl Local {
    /// A project with these sections of `lyrox.toml`.
    pub fn new(name: &str, sections: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("lyrox-it-").tempdir().expect("a folder");
        let local = Self { folder, name: name.to_owned() };
        local.configure(sections);
        local
    }

    /// Writes other sections.
    pub fn configure(&self, sections: &str) {
        let text = format!("[project]\nname = \"{}\"\n{sections}\n", self.name);
        std::fs::write(self.path("lyrox.toml"), text).expect("lyrox.toml");
    }

    /// The project's folder, as the system names it.
    pub fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().expect("the folder")
    }

    /// A path below it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A command with a clean environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        command(&self.root(), arguments)
    }

    /// Runs lyrox.
    pub fn lyrox(&self, arguments: &[&str]) -> Output {
        finish(arguments, &mut self.command(arguments))
    }

    /// Runs lyrox for its JSON report.
    pub fn report(&self, arguments: &[&str]) -> Output {
        self.lyrox(&[&["--output", "json"], arguments].concat())
    }

    /// What `ps` knows of one server.
    #[track_caller]
    pub fn server(&self, store: &str) -> Value {
        let report = self.report(&["ps"]).ok().json();
        let list = report["data"].as_array().expect("a list").clone();
        list.into_iter().find(|server| server["store"] == store).unwrap_or_else(|| panic!("no {store} in {report}"))
    }

    /// The process of one server.
    #[track_caller]
    pub fn pid(&self, store: &str) -> i32 {
        let server = self.server(store);
        let pid = server["pid"].as_i64().unwrap_or_else(|| panic!("no process: {server}"));
        i32::try_from(pid).expect("a pid")
    }

    /// A variable of `lyrox env`.
    #[track_caller]
    pub fn url(&self, name: &str) -> String {
        let report = self.report(&["env"]).ok().json();
        report["data"][name].as_str().unwrap_or_else(|| panic!("no {name} in {report}")).to_owned()
    }

    /// The remembered state.
    pub fn state(&self) -> Value {
        let text = std::fs::read_to_string(self.path(".lyrox/state.json")).expect("a state");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The server processes that work in the project's folder: PostgreSQL's children left out.
    pub fn processes(&self) -> Vec<i32> {
        servers_below(&self.root())
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // Whatever the test did to the configuration: servers of this folder must not stay.
        self.configure("[postgres]\n[mongodb]\n[redis]");
        let _ = self.lyrox(&["down", "--purge", "--confirm", &self.name]);
        for pid in self.processes() {
            signal(pid, "KILL");
        }
    }
}

/// lyrox in a folder, with a clean environment.
pub fn command(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(root).env_clear().stdin(Stdio::null());
    for name in ["PATH", "HOME", "USER", "LYROX_CACHE_DIR", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// Runs a command to its end.
pub fn finish(arguments: &[&str], command: &mut Command) -> Output {
    Output::new(arguments, &command.output().expect("it runs"))
}

/// Whether a test that needs root can run; says so where it cannot.
pub fn is_root(test: &str) -> bool {
    let is_root = rustix::process::geteuid().is_root() && cfg!(target_os = "linux");
    if !is_root {
        eprintln!("skipped: {test}: it needs root on Linux");
    }
    is_root
}

/// Sends a signal.
pub fn signal(pid: i32, name: &str) {
    let _ = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).stderr(Stdio::null()).status();
}

/// Whether a process lives and is not only the remains of one.
pub fn lives(pid: i32) -> bool {
    fields(pid).is_some_and(|fields| fields[0] != "Z")
}

/// The fields of `/proc/PID/stat` after the name.
pub fn fields(pid: i32) -> Option<Vec<String>> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(line[line.rfind(')')? + 2..].split(' ').map(str::to_owned).collect())
}

/// Every line of arguments in the list of processes.
pub fn all_arguments() -> Vec<(i32, String)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let words = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&words).replace('\0', " ")))
        })
        .collect()
}

fn servers_below(root: &Path) -> Vec<i32> {
    let is_server = |words: &str| {
        words.ends_with("postgres -D data ")
            || words.contains("mongod --dbpath")
            || words.ends_with("-server redis.conf ")
    };
    let is_below =
        |pid: i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|folder| folder.starts_with(root));
    all_arguments()
        .into_iter()
        .filter(|(pid, words)| is_server(words) && is_below(*pid) && lives(*pid))
        .map(|(pid, _)| pid)
        .collect()
}

/// A process that is not ours.
pub struct Bystander(Child);

impl Bystander {
    /// Starts one that does nothing.
    pub fn start() -> Self {
        Self(Command::new("sleep").arg("600").spawn().expect("sleep"))
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid")
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Redis command on a URL.
#[track_caller]
pub fn redis(url: &str, words: &[&str]) -> redis::Value {
    crate::support::block_on(async {
        let client = redis::Client::open(url).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.expect("an answer")
    })
}

/// A command on the MongoDB database of a URL.
pub fn mongo(url: &str, command: bson::Document) -> Result<bson::Document, mongodb::error::Error> {
    crate::support::block_on(async {
        let client = mongodb::Client::with_uri_str(url).await?;
        client.default_database().expect("a database in the URL").run_command(command).await
    })
}
