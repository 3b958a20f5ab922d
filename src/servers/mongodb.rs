//! The local MongoDB: a replica set of one member with a key file and one user, because transactions
//! and change streams need a replica set.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use bson::{Document, doc};
use mongodb::Client;
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ServerAddress};

use super::files;
use super::start::Trouble;
use super::state::{OWNER, REPLICA_SET, Record};
use crate::error::{Code, Error, Result};

const POLL: Duration = Duration::from_millis(10);

/// Makes the data folder and the key of the replica set, where they are missing.
///
/// # Errors
/// `LYX-SERVER-DISK`.
pub fn make(home: &Path, own: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let data = home.join("data");
    files::private_folder(&data)?;
    own(&data)?;
    let key = home.join("keyfile");
    if !key.is_file() {
        let bytes: [u8; 96] = rand::random();
        files::private_file(&key, &base64::engine::general_purpose::STANDARD.encode(bytes))?;
        own(&key)?;
    }
    Ok(())
}

/// The arguments of the server.
pub fn arguments(record: &Record) -> Vec<String> {
    let port = record.port.to_string();
    [
        "--dbpath",
        "data",
        "--port",
        &port,
        "--bind_ip",
        "127.0.0.1",
        "--replSet",
        REPLICA_SET,
        "--keyFile",
        "keyfile",
        "--nounixsocket",
        "--wiredTigerCacheSizeGB",
        "0.25",
        // The journal is laid out in files of this size: 100 MB each otherwise.
        "--wiredTigerEngineConfigString",
        "log=(file_max=4MB)",
        // Older servers have a fault in zlib's.
        "--networkMessageCompressors",
        "snappy,zstd",
        "--setParameter",
        "diagnosticDataCollectionEnabled=false",
        // There is nobody to hand over to.
        "--setParameter",
        "shutdownTimeoutMillisForSignaledShutdown=100",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Whether it is primary and answers a query of its user.
///
/// # Errors
/// [`Trouble`].
pub async fn answers(record: &Record) -> Result<(), Trouble> {
    let client = client(record, true)?;
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.map_err(|error| trouble(&error))?;
    if !hello.get_bool("isWritablePrimary").unwrap_or(false) {
        return Err(Trouble::NotYet("it is not primary yet".into()));
    }
    // Unlike `ping`, this one is answered to users only.
    let query = doc! { "listDatabases": 1, "nameOnly": true };
    admin.run_command(query).await.map_err(|error| trouble(&error))?;
    Ok(())
}

/// Makes the replica set and the user where they are missing, follows a changed port, waits until it is
/// primary, and runs a query as the user.
///
/// # Errors
/// [`Trouble`].
pub async fn establish(record: &Record) -> Result<(), Trouble> {
    let host = format!("127.0.0.1:{}", record.port);
    if !record.is_made {
        let client = client(record, false)?;
        let admin = client.database("admin");
        let config = doc! { "_id": REPLICA_SET, "members": [{ "_id": 0, "host": &host }] };
        let initiated = admin.run_command(doc! { "replSetInitiate": config }).await;
        // 23: it is already. 13: a user exists, so that nobody may do it unknown; it is already, too.
        accept(initiated, &[23, 13])?;
        primary(&client).await?;
        let password = record.password(OWNER).map_err(Trouble::Final)?;
        let roles = vec!["root"];
        let create = doc! { "createUser": OWNER, "pwd": password.expose(), "roles": roles };
        // 51003: it exists.
        accept(admin.run_command(create).await, &[51003, 13])?;
    }
    let client = client(record, true)?;
    let admin = client.database("admin");
    let config = admin.run_command(doc! { "replSetGetConfig": 1 }).await.map_err(|error| trouble(&error))?;
    if let Some(config) = moved(&config, &host) {
        // Under its old port the server does not find itself in the set any more, and nobody is primary.
        let reconfigure = doc! { "replSetReconfig": config, "force": true };
        admin.run_command(reconfigure).await.map_err(|error| trouble(&error))?;
    }
    primary(&client).await?;
    answers(record).await
}

/// The replica set's configuration with another address, where it has another.
fn moved(answer: &Document, host: &str) -> Option<Document> {
    let config = answer.get_document("config").ok()?;
    let member = config.get_array("members").ok()?.first()?.as_document()?;
    if member.get_str("host").is_ok_and(|known| known == host) {
        return None;
    }
    let mut member = member.clone();
    member.insert("host", host);
    let mut config = config.clone();
    config.insert("members", vec![member]);
    let version = config.get_i32("version").map_or(1, |version| version + 1);
    config.insert("version", version);
    Some(config)
}

async fn primary(client: &Client) -> Result<(), Trouble> {
    loop {
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.map_err(|error| trouble(&error))?;
        if hello.get_bool("isWritablePrimary").unwrap_or(false) {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

fn accept(answer: Result<Document, DriverError>, codes: &[i32]) -> Result<(), Trouble> {
    match answer {
        Ok(_) => Ok(()),
        Err(error) => match &*error.kind {
            ErrorKind::Command(command) if codes.contains(&command.code) => Ok(()),
            _ => Err(trouble(&error)),
        },
    }
}

fn client(record: &Record, with_login: bool) -> Result<Client, Trouble> {
    let address = ServerAddress::Tcp { host: "127.0.0.1".into(), port: Some(record.port) };
    let mut options = ClientOptions::builder()
        .hosts(vec![address])
        .direct_connection(true)
        .app_name("lyrox up".to_owned())
        .connect_timeout(Duration::from_secs(2))
        .server_selection_timeout(Duration::from_secs(2))
        .build();
    if with_login {
        let password = record.password(OWNER).map_err(Trouble::Final)?;
        let credential = Credential::builder()
            .username(OWNER.to_owned())
            .password(password.expose().to_owned())
            .source("admin".to_owned())
            .build();
        options.credential = Some(credential);
    }
    Client::with_options(options).map_err(|error| trouble(&error))
}

/// The driver's own text could quote a command with a password in it, so only parts are used.
fn trouble(error: &DriverError) -> Trouble {
    let failed = |why: String| {
        Trouble::Final(
            Error::new(Code::ServerStart, "MongoDB runs and refuses what lyrox asks of it")
                .why(why)
                .hint("lyrox logs mongodb"),
        )
    };
    match &*error.kind {
        ErrorKind::Authentication { .. } => Trouble::Final(
            Error::new(Code::ServerStart, "MongoDB runs and refuses the login of lyrox")
                .why("the user has another password")
                .hint("its data is from another `.lyrox/state.json`; bring that back"),
        ),
        ErrorKind::Command(command) => {
            let why = format!("{} ({})", command.message, command.code_name);
            // Not yet initialized, no primary yet, stepping down, shutting down.
            if matches!(command.code, 94 | 11_600 | 91 | 10_107 | 13_435 | 13_436 | 189 | 76) {
                return Trouble::NotYet(why);
            }
            if files::speaks_of_disk(&why) {
                return Trouble::Final(Error::new(Code::ServerDisk, "MongoDB's disk is full").why(why));
            }
            failed(why)
        }
        ErrorKind::Io(_) | ErrorKind::ServerSelection { .. } | ErrorKind::ConnectionPoolCleared { .. } => {
            Trouble::NotYet("it does not answer".into())
        }
        _ => failed("its answer was not understood".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_port_changes_the_set_and_an_unchanged_one_does_not() {
        let answer =
            doc! { "config": { "_id": "rs0", "version": 3, "members": [{ "_id": 0, "host": "127.0.0.1:1" }] } };
        assert_eq!(moved(&answer, "127.0.0.1:1"), None);
        let config = moved(&answer, "127.0.0.1:2").expect("another configuration");
        assert_eq!(config.get_i32("version").ok(), Some(4));
        assert_eq!(config.to_string().matches("127.0.0.1:2").count(), 1);
    }
}
