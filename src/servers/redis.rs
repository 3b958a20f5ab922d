//! The local Redis or Valkey: an ACL file with one user, the default user off, every write on disk.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::files;
use super::start::Trouble;
use super::state::{OWNER, Record};
use crate::error::{Code, Error, Result};

/// Makes the data folder, and writes configuration and users for this start. Users that were added and
/// saved since stay.
///
/// # Errors
/// `LYX-SERVER-DISK`.
pub fn configure(home: &Path, record: &Record, own: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let data = home.join("data");
    files::private_folder(&data)?;
    own(&data)?;
    let config = home.join("redis.conf");
    let text = format!(
        "# Written by lyrox at each start.\nbind 127.0.0.1\nport {}\nprotected-mode yes\ndaemonize no\ndir data\n\
         aclfile ../users.acl\nappendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\n\
         set-proc-title no\n",
        record.port
    );
    files::private_file(&config, &text)?;
    own(&config)?;
    let users = home.join("users.acl");
    let before = std::fs::read_to_string(&users).unwrap_or_default();
    let mut text = String::from("user default off\n");
    // The file is split at spaces, so that only the digest of a password can always be written.
    let digest = Sha256::digest(record.password(OWNER)?.expose().as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let _ = writeln!(text, "user {OWNER} on #{digest} ~* &* +@all");
    let is_other = |line: &&str| {
        let name = line.strip_prefix("user ").and_then(|rest| rest.split(' ').next());
        name.is_some_and(|name| name != "default" && name != OWNER)
    };
    for line in before.lines().filter(is_other) {
        let _ = writeln!(text, "{line}");
    }
    files::private_file(&users, &text)?;
    own(&users)
}

/// The arguments of the server: the file, so that nothing of it is in the list of processes.
pub fn arguments() -> Vec<String> {
    vec!["redis.conf".into()]
}

/// Whether it answers its user and has read its data.
///
/// # Errors
/// [`Trouble`].
pub async fn answers(record: &Record) -> Result<(), Trouble> {
    let password = record.password(OWNER).map_err(Trouble::Final)?;
    let url = format!("redis://{OWNER}:{}@127.0.0.1:{}/{}", password.expose(), record.port, record.database);
    let client = redis::Client::open(url).map_err(|error| trouble(&error))?;
    let config = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(2)))
        .set_response_timeout(Some(Duration::from_secs(2)));
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = connection.map_err(|error| trouble(&error))?;
    // Refused while the data is read from disk, unlike a login.
    let size: Result<u64, _> = redis::cmd("DBSIZE").query_async(&mut connection).await;
    size.map(|_| ()).map_err(|error| trouble(&error))
}

/// The driver's own text could quote a command, so only parts are used.
fn trouble(error: &redis::RedisError) -> Trouble {
    let code = error.code().unwrap_or_default();
    match code {
        "WRONGPASS" | "NOAUTH" => Trouble::Final(
            Error::new(Code::ServerStart, "Redis runs and refuses the login of lyrox")
                .why("the user has another password")
                .hint("lyrox down redis, then lyrox up redis"),
        ),
        "NOPERM" | "MISCONF" => Trouble::Final(
            Error::new(
                if code == "MISCONF" { Code::ServerDisk } else { Code::ServerStart },
                "Redis runs and refuses what lyrox asks of it",
            )
            .why(code.to_owned())
            .hint("lyrox logs redis"),
        ),
        _ => Trouble::NotYet("it does not answer".into()),
    }
}
