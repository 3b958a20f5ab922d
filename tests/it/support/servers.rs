//! The servers of the test run: started once by lyrox itself, stopped when the test process ends,
//! however it ends. `LYROX_TEST_POSTGRES`, `_MONGODB` and `_REDIS` name others to use instead.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use lyrox::config::target::LocalUrls;

/// URLs of an owner that may create databases and roles, of a MongoDB root, of a Redis user.
pub struct Servers {
    /// PostgreSQL, as a role with CREATEDB and CREATEROLE.
    pub postgres: String,
    /// MongoDB.
    pub mongodb: String,
    /// Redis.
    pub redis: String,
    /// Stops the servers when its standard input closes: at the end of this process.
    _reaper: Option<Child>,
}

/// The binary under test.
pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_lyrox")
}

/// The shared servers, started at the first call.
pub fn servers() -> &'static Servers {
    static SERVERS: OnceLock<Servers> = OnceLock::new();
    SERVERS.get_or_init(|| {
        let given = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (given("LYROX_TEST_POSTGRES"), given("LYROX_TEST_MONGODB"), given("LYROX_TEST_REDIS")) {
            (Some(postgres), Some(mongodb), Some(redis)) => Servers { postgres, mongodb, redis, _reaper: None },
            _ => start(),
        }
    })
}

fn start() -> Servers {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("servers-{}", std::process::id()));
    let settings = "[project]\nname = \"lyrox-it\"\n[postgres]\n[mongodb]\ndatabase = \"lyrox_it\"\n[redis]\n[local]\npostgres_settings = { log_statement = \"all\" }\n";
    let (reaper, urls) = local(&root, settings);
    Servers {
        postgres: urls.postgres_direct.expect("PostgreSQL"),
        mongodb: urls.mongodb.expect("MongoDB"),
        redis: urls.redis.expect("Redis"),
        _reaper: Some(reaper),
    }
}

/// Starts local servers in a folder; they end with this process.
fn local(root: &Path, settings: &str) -> (Child, LocalUrls) {
    std::fs::create_dir_all(root).expect("a folder for the servers");
    std::fs::write(root.join("lyrox.toml"), settings).expect("lyrox.toml");
    let reaper = Command::new("sh")
        .arg("-c")
        .arg("cat > /dev/null; \"$0\" -C \"$1\" -q down; rm -rf \"$1\"")
        .arg(binary())
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let up = Command::new(binary()).arg("-C").arg(root).arg("up").stdin(Stdio::null()).output().expect("lyrox up");
    assert!(
        up.status.success(),
        "lyrox up failed:\n{}{}",
        String::from_utf8_lossy(&up.stdout),
        String::from_utf8_lossy(&up.stderr)
    );
    (reaper, lyrox::servers::running(root).expect("running servers"))
}

/// A PostgreSQL and a MongoDB beside the shared ones: what is on another server is really elsewhere.
pub struct Second {
    /// PostgreSQL, as a role with CREATEDB and CREATEROLE.
    pub postgres: String,
    /// MongoDB.
    pub mongodb: String,
    _reaper: Child,
}

/// The second servers, started at the first call, stopped when the test process ends.
pub fn second() -> &'static Second {
    static SECOND: OnceLock<Second> = OnceLock::new();
    SECOND.get_or_init(|| {
        let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("second-{}", std::process::id()));
        let settings = "[project]\nname = \"lyrox-second\"\n[postgres]\n[mongodb]\ndatabase = \"lyrox_it\"\n";
        let (reaper, urls) = local(&root, settings);
        Second {
            postgres: urls.postgres_direct.expect("PostgreSQL"),
            mongodb: urls.mongodb.expect("MongoDB"),
            _reaper: reaper,
        }
    })
}
