//! A real PgBouncer in its three modes, and what it says when it is full, alone or asked for too much.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::{Case, run, servers};
use crate::faults::closed;
use crate::support::{Output, Project};

struct Bouncer {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one that asks for a password, with one database `shop` at a server.
fn bouncer(server: &str, mode: &str, more: &str) -> Bouncer {
    let url = lyrox::url::parse(lyrox::kind::StoreKind::Postgres, server).expect("a URL");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
    let folder = tempfile::Builder::new().prefix("lyrox-lab-bouncer-").tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("its mode");
    let users = folder.path().join("users.txt");
    std::fs::write(&users, "\"people\" \"right\"\n").expect("a file");
    let text = format!(
        "[databases]\nshop = host={} port={} user={} password='{}' dbname={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n\
         logfile =\npidfile =\n{more}\n",
        url.host().name,
        url.port_of(url.host()),
        url.user().expect("a user"),
        url.password().map_or("", |password| password.expose()),
        url.database().expect("a database"),
        users.display(),
    );
    let path = folder.path().join("bouncer.ini");
    std::fs::write(&path, text).expect("a file");
    let program = ["/usr/sbin/pgbouncer", "/usr/local/bin/pgbouncer", "/opt/homebrew/bin/pgbouncer"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .unwrap_or("pgbouncer");
    let mut command = Command::new(program);
    if rustix::process::getuid().is_root() {
        command.args(["-u", "nobody"]);
    }
    let child = command.arg("-q").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child =
        child.unwrap_or_else(|error| panic!("PgBouncer cannot be started ({error}): apt-get install pgbouncer"));
    let bouncer = Bouncer { child, port, _folder: folder };
    servers::wait_for("PgBouncer", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    bouncer
}

impl Bouncer {
    fn url(&self, login: &str, database: &str) -> String {
        format!("postgres://{login}@127.0.0.1:{}/{database}", self.port)
    }
}

#[test]
fn a_pooler_in_three_modes_and_its_words() {
    let project = Project::new("lab_pooler", "");
    project.write(
        "lyrox.toml",
        "[project]\nname = \"lab\"\n[postgres]\nurl = \"${DATABASE_URL}\"\n[env.two.postgres]\ndirect_url = \"${DIRECT_URL}\"\n",
    );
    project.write(".env", "");
    let per_transaction = bouncer(&project.postgres, "transaction", "");
    let per_statement = bouncer(&project.postgres, "statement", "");
    let per_session = bouncer(&project.postgres, "session", "");
    let full = bouncer(&project.postgres, "session", "max_client_conn = 1");
    let waiting = bouncer(&project.postgres, "session", "default_pool_size = 1\nquery_wait_timeout = 1");
    let gone = project.postgres.replacen(&at(&project.postgres), &format!("127.0.0.1:{}", closed()), 1);
    let alone = bouncer(&gone, "transaction", "server_login_retry = 1\nquery_wait_timeout = 2");
    let wrong = lyrox::url::parse(lyrox::kind::StoreKind::Postgres, &project.postgres).expect("a URL");
    let wrong = wrong.with_login("postgres", lyrox::secret::Secret::new("not-it".to_owned())).expose();
    let locked_out = bouncer(&wrong, "transaction", "server_login_retry = 1\nquery_wait_timeout = 2");
    let held = [session(&full.url("people:right", "shop")), session(&waiting.url("people:right", "shop"))];
    let shop = |bouncer: &Bouncer| bouncer.url("people:right", "shop");
    let cases = [
        Case::new("per transaction", shop(&per_transaction), "pooler", "LYX-POOLER", "direct_url"),
        Case::new("per statement", shop(&per_statement), "pooler", "LYX-POOLER-STATEMENT", "pool_mode"),
        Case::new(
            "per statement, for the application",
            shop(&per_statement),
            "pooler",
            "LYX-POOLER-STATEMENT",
            "pool_mode",
        )
        .within_environment("two")
        .with("DIRECT_URL", &project.postgres)
        .warns(),
        Case::new(
            "a database it does not know",
            per_session.url("people:right", "nowhere"),
            "database",
            "LYX-DATABASE-MISSING",
            "[databases]",
        ),
        Case::new("a wrong password", per_session.url("people:wrong", "shop"), "auth", "LYX-AUTH-POSTGRES", ""),
        Case::new(
            "a user it does not know",
            per_session.url("stranger:right", "shop"),
            "auth",
            "LYX-AUTH-POSTGRES",
            "",
        ),
        Case::new(
            "a setting that it does not pass on",
            per_session.url("people:right", "shop?options=-c%20work_mem%3D8MB"),
            "auth",
            "LYX-POOLER-SETTING",
            "take `options` out of the URL",
        ),
        Case::new("no client more", shop(&full), "auth", "LYX-POOLER-FULL", "idle clients"),
        Case::new("its pool is full", shop(&waiting), "ping", "LYX-POOLER-FULL", "pool"),
        Case::new("its server is down", shop(&alone), "auth", "LYX-POOLER-SERVER", "--wait"),
        Case::new("its own login is wrong", shop(&locked_out), "auth", "LYX-POOLER-SERVER", "pooler's log"),
    ];
    run(&project, "postgres", &cases);
    drop(held);
    // A pooler that keeps sessions apart is no fault.
    let mut command = project.command(&["check", "--only", "postgres", "--output", "json"]);
    let good = Output::new(&["check"], &command.env("DATABASE_URL", shop(&per_session)).output().expect("lyrox"));
    assert_eq!(good.ok().item("postgres.pooler")["outcome"], "pass", "{good}");
}

/// A session that asked something, and stays.
fn session(url: &str) -> sqlx::PgConnection {
    let mut session = crate::promises::session(url);
    crate::support::block_on(sqlx::raw_sql("SELECT 1").execute(&mut session)).expect("an answer");
    session
}

/// `host:port` of a URL.
fn at(url: &str) -> String {
    let place = url.rsplit_once('@').expect("a login").1;
    place.split(['/', '?']).next().expect("a place").to_owned()
}
