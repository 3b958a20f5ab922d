//! Scratch databases: the first write makes one, dropping removes it with the users and roles it holds.

use std::path::Path;

use bson::doc;

use super::connect::connect;
use super::error::work_error;
use crate::config::Endpoint;
use crate::error::{Error, Result};
use crate::stores::scratch::{PREFIX, is_older};

/// A scratch database is left over after so many seconds: here nobody can tell who uses one.
const LEFT_OVER: i64 = 24 * 3600;

/// Proves that the server is there, and removes what killed runs left.
///
/// # Errors
/// The server cannot be reached.
pub async fn create(endpoint: &Endpoint, ca_file: Option<&Path>, name: &str) -> Result<()> {
    let connected = connect(endpoint, ca_file, name).await?;
    // Who may not list databases has nothing to sweep.
    let names = connected.client.list_database_names().await.unwrap_or_default();
    for name in names.iter().filter(|name| is_older(name, LEFT_OVER)) {
        let _ = connected.client.database(name).drop().await;
    }
    Ok(())
}

/// Drops a scratch database.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn remove(endpoint: &Endpoint, ca_file: Option<&Path>, name: &str) -> Result<()> {
    if !name.starts_with(PREFIX) {
        return Err(Error::bug(format!("`{name}` is no scratch database")));
    }
    let connected = connect(endpoint, ca_file, name).await?;
    for command in ["dropAllUsersFromDatabase", "dropAllRolesFromDatabase"] {
        // A user without the right to do so made none either.
        let _ = connected.database.run_command(doc! { command: 1 }).await;
    }
    connected.database.drop().await.map_err(|error| work_error(endpoint, "drop the scratch database", &error))
}
