//! A real PgBouncer of a test's own.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lyrox::kind::StoreKind;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _};

use super::wait_until;
use crate::support::block_on;

/// A running PgBouncer in front of a server; any database of it can be named. Ended when it is dropped.
pub struct Bouncer {
    child: Child,
    /// Where it listens on this machine.
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Bouncer {
    /// Starts one. `mode`: session, transaction, statement.
    pub fn start(server: &str, mode: &str, size: u32, is_in_turn: bool) -> Self {
        let url = lyrox::url::parse(StoreKind::Postgres, server).expect("a URL");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let folder = tempfile::Builder::new().prefix("lyrox-bouncer-").tempdir().expect("a folder");
        let path = folder.path().join("bouncer.ini");
        let settings = format!(
            "[databases]\n* = host={} port={} user={} password='{}'\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = {size}\nserver_round_robin = {}\n\
             max_client_conn = 500\nlogfile =\npidfile =\n",
            url.host().name,
            url.port_of(url.host()),
            url.user().expect("a user"),
            url.password().map_or("", |password| password.expose()),
            u8::from(is_in_turn),
        );
        std::fs::write(&path, settings).expect("a file");
        let program = ["/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"]
            .into_iter()
            .find(|path| std::path::Path::new(path).exists())
            .unwrap_or("pgbouncer");
        let mut command = Command::new(program);
        if rustix::process::getuid().is_root() {
            // It refuses to work as root.
            command.args(["-u", "nobody"]);
        }
        let child =
            command.arg("-q").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.unwrap_or_else(|error| {
            panic!("PgBouncer cannot be started ({error}); these tests need it: apt-get install pgbouncer")
        });
        let bouncer = Self { child, port, _folder: folder };
        wait_until(Duration::from_secs(10), "PgBouncer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        bouncer
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A session through a pooler, which refuses what the driver asks for by default.
pub fn session(url: &str) -> sqlx::PgConnection {
    let options: PgConnectOptions = url.parse().expect("a URL");
    block_on(options.extra_float_digits(None).connect()).expect("a session")
}

/// The first value of a query through a pooler.
pub fn value(url: &str, query: &str) -> String {
    let mut session = session(url);
    let rows = block_on(sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch_all(&mut session)).expect("an answer");
    let raw = rows.first().and_then(|row| row.try_get_raw(0).ok().and_then(|raw| raw.as_str().ok().map(str::to_owned)));
    raw.unwrap_or_default()
}
