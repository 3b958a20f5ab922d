//! Scratch prefixes: keys below one are removed again, with the libraries and users that migrations make
//! beside them on the whole server.

use std::path::Path;

use redis::Value;

use super::connect::connect;
use super::error::work_error;
use super::keys::Keys;
use super::ledger::Books;
use super::link::Link;
use super::probe::code;
use super::script;
use crate::config::{Config, Endpoint};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::stores::scratch::PREFIX;

/// The libraries and users that migrations make: they belong to the whole server.
///
/// # Errors
/// A script that cannot be read.
pub fn beside(files: &[Migration], config: &Config) -> Result<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for part in files.iter().filter_map(|file| file.parts.get(&StoreKind::Redis)) {
        for command in script::read(&part.up, "", &config.variables)? {
            let made = match command.full_name().as_str() {
                "FUNCTION LOAD" => command.library().map(|library| ("function", library)),
                "ACL SETUSER" => Some(("user", command.word(2))),
                _ => None,
            };
            found.extend(made.filter(|made| !found.contains(made)));
        }
    }
    Ok(found)
}

/// Proves that the server is there and that nothing on it has the name of what migrations make beside the
/// prefix.
///
/// # Errors
/// The server cannot be reached; `LYX-SCRATCH-CLUSTER` where a library or user is there already.
pub async fn create(endpoint: &Endpoint, ca_file: Option<&Path>, beside: &[(&'static str, String)]) -> Result<()> {
    let mut link = connect(endpoint, ca_file).await?.link;
    for (kind, name) in beside {
        let is_there = if *kind == "function" {
            code(&mut link, name).await.map(|code| code.is_some())
        } else {
            redis::cmd("ACL")
                .arg("GETUSER")
                .arg(name)
                .query_async::<Value>(&mut link)
                .await
                .map(|user| user != Value::Nil)
        };
        if is_there.map_err(|error| work_error(endpoint, "look for libraries and users", &error))? {
            return Err(Error::new(Code::ScratchCluster, format!("{kind} `{name}` is on the scratch server already"))
                .why("libraries and users belong to the whole server: a migration would replace it")
                .data("nothing was run")
                .hint("leave --scratch-url out, or name a Redis that has none of them"));
        }
    }
    Ok(())
}

/// Removes every key below a scratch prefix, and what was made beside it.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn remove(
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
    prefix: &str,
    beside: &[(&'static str, String)],
) -> Result<()> {
    if !prefix.starts_with(PREFIX) {
        return Err(Error::bug(format!("`{prefix}` is no scratch prefix")));
    }
    let mut link = connect(endpoint, ca_file).await?.link;
    let failed = |error: redis::RedisError| work_error(endpoint, "remove what is below the scratch prefix", &error);
    for (kind, name) in beside {
        let words = if *kind == "function" { ["FUNCTION", "DELETE"] } else { ["ACL", "DELUSER"] };
        // One that is not there was never made.
        let _ = link.everywhere(redis::cmd(words[0]).arg(words[1]).arg(name)).await;
    }
    let mut books = Books { keys: Keys::new(prefix, link.is_cluster()), link };
    books
        .scan(async |link: &mut Link, found: Vec<Vec<u8>>| {
            for key in found {
                redis::cmd("UNLINK").arg(key).exec_async(link).await?;
            }
            Ok::<(), redis::RedisError>(())
        })
        .await
        .map_err(failed)
}
