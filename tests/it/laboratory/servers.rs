//! Servers of the laboratory's own, which may be made ill: real PostgreSQL, MongoDB and Valkey or Redis, each ended
//! when it is dropped.

use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lyrox::engine::event::Silent;
use lyrox::kind::StoreKind;
use lyrox::servers::{UpRequest, programs};

use super::certificates;
use crate::support::block_on;

/// `nobody`: PostgreSQL refuses to work as root.
const NOBODY: u32 = 65534;

/// A running server.
pub struct Server {
    child: Child,
    /// Where it listens on this machine.
    pub port: u16,
    /// Its folder.
    pub folder: tempfile::TempDir,
    kind: StoreKind,
}

impl Drop for Server {
    fn drop(&mut self) {
        // PostgreSQL's own children end only when it is asked; the others lose nothing that is wanted.
        if self.kind == StoreKind::Postgres
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

/// The program of a store, as `lyrox up` would find or fetch it.
fn program(kind: StoreKind) -> &'static Path {
    static FOUND: [OnceLock<PathBuf>; 3] = [OnceLock::new(), OnceLock::new(), OnceLock::new()];
    FOUND[kind as usize].get_or_init(|| {
        let root = tempfile::tempdir().expect("a folder");
        let request = UpRequest { root: root.path().to_owned(), stores: vec![kind], ..UpRequest::default() };
        let found = block_on(programs(&request, &Silent)).expect("programs");
        found.into_iter().next().expect("one").1.expect("a program").path
    })
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port()
}

fn new_folder() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("lyrox-lab-").tempdir().expect("a folder");
    own(folder.path());
    folder
}

/// Hands a file or folder to the user that PostgreSQL runs as.
fn own(path: &Path) {
    if rustix::process::getuid().is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }
}

fn command(program: &Path, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("LC_ALL", "C").env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
    if rustix::process::getuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn log(folder: &Path) -> std::fs::File {
    std::fs::File::create(folder.join("log")).expect("a log")
}

/// Waits until something answers.
#[track_caller]
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A data folder of PostgreSQL, made once and copied for each server.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let made = TEMPLATE.get_or_init(|| {
        let folder = new_folder();
        let program = program(StoreKind::Postgres);
        let initdb = if program.is_dir() { program.join("initdb") } else { program.with_file_name("initdb") };
        let mut command = command(&initdb, folder.path());
        command.args(["-D", "data", "-U", "admin", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]);
        let output = command.output().expect("initdb");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        folder
    });
    made.path()
}

/// Starts PostgreSQL with these lines of `pg_hba.conf`, settings, and, for a standby, its signal.
pub fn postgres(hba: &str, settings: &[(&str, &str)], is_standby: bool) -> Server {
    let folder = new_folder();
    let copied = Command::new("cp").arg("-a").arg(template().join("data")).arg(folder.path()).status().expect("cp");
    assert!(copied.success());
    let data = folder.path().join("data");
    std::fs::write(data.join("pg_hba.conf"), hba).expect("pg_hba.conf");
    if is_standby {
        std::fs::write(data.join("standby.signal"), "").expect("a signal");
        own(&data.join("standby.signal"));
    }
    for name in ["server.pem", "server.key", "ca.pem"] {
        let to = folder.path().join(name);
        std::fs::copy(certificates::file(name), &to).expect("a certificate");
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
        own(&to);
    }
    let port = free_port();
    let program = program(StoreKind::Postgres);
    let postgres = if program.is_dir() { program.join("postgres") } else { program.with_file_name("postgres") };
    let mut command = command(&postgres, folder.path());
    command.args(["-D", "data", "-p", &port.to_string(), "-c", "listen_addresses=*", "-c", "unix_socket_directories="]);
    for (name, value) in [("fsync", "off")].iter().chain(settings) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let child = command.stdout(log(folder.path())).stderr(log(folder.path())).spawn().expect("postgres");
    let server = Server { child, port, folder, kind: StoreKind::Postgres };
    wait_for("PostgreSQL", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

impl Server {
    /// The URL of a user, on this machine.
    pub fn url(&self, login: &str, rest: &str) -> String {
        let scheme = match self.kind {
            StoreKind::Postgres => "postgres",
            StoreKind::Mongodb => "mongodb",
            StoreKind::Redis => "redis",
        };
        let at = if login.is_empty() { "" } else { "@" };
        format!("{scheme}://{login}{at}127.0.0.1:{}{rest}", self.port)
    }

    /// `127.0.0.1:port`.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Starts MongoDB with further arguments.
pub fn mongodb(arguments: &[&str]) -> Server {
    let folder = new_folder();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    own(&data);
    for name in ["server.both", "ca.pem", "keyfile"] {
        let to = folder.path().join(name);
        if name == "keyfile" {
            std::fs::write(&to, "bGFib3JhdG9yeSBvZiBseXJveCwgYSBrZXkgZm9yIHRlc3Rz").expect("a key");
        } else {
            std::fs::copy(certificates::file(name), &to).expect("a certificate");
        }
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("its mode");
        own(&to);
    }
    let port = free_port();
    let mut command = command(program(StoreKind::Mongodb), folder.path());
    command.args(["--dbpath", "data", "--port", &port.to_string(), "--bind_ip_all", "--nounixsocket"]);
    command.args(["--wiredTigerCacheSizeGB", "0.25", "--wiredTigerEngineConfigString", "log=(file_max=4MB)"]);
    command.args(["--setParameter", "diagnosticDataCollectionEnabled=false"]).args(arguments);
    let child = command.stdout(log(folder.path())).stderr(Stdio::null()).spawn().expect("mongod");
    let server = Server { child, port, folder, kind: StoreKind::Mongodb };
    wait_for("MongoDB", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}

/// Starts Redis or Valkey with further arguments.
pub fn redis(arguments: &[&str]) -> Server {
    redis_in(new_folder(), arguments)
}

/// Starts Redis or Valkey in a folder that is there.
pub fn redis_in(folder: tempfile::TempDir, arguments: &[&str]) -> Server {
    let port = free_port();
    let mut command = command(program(StoreKind::Redis), folder.path());
    if arguments.first() == Some(&"--sentinel") {
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, format!("port {port}\n")).expect("a file");
        own(&file);
        command.arg("sentinel.conf").args(arguments);
    } else {
        command.args(["--port", &port.to_string(), "--bind", "0.0.0.0", "--protected-mode", "no"]);
        command.args(["--dir", "."]).args(arguments);
    }
    let child = command.stdout(log(folder.path())).stderr(Stdio::null()).spawn().expect("redis-server");
    let server = Server { child, port, folder, kind: StoreKind::Redis };
    wait_for("Redis", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    server
}
