//! Scratch databases: made beside others on a server, and dropped again. Nothing is touched that is not of a
//! name that only lyrox gives.

use std::collections::BTreeSet;
use std::path::Path;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::connect::{connect, text};
use super::error::{catalog_error, server_error, sqlstate};
use super::ident::{Ident, literal};
use super::{PostgresStore, run};
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::stores::scratch::{PREFIX, is_older};

/// A scratch database that nobody is connected to is left over after so many seconds.
const LEFT_OVER: i64 = 3600;

/// Makes a database. Answers the application's role where the server does not have it yet: a migrate makes it,
/// and it goes with the database.
///
/// # Errors
/// `LYX-CONNECT-*` and its kin; `LYX-PRIVILEGE` where no database may be made.
pub async fn create(
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
    name: &str,
    app_role: Option<&str>,
) -> Result<Option<String>> {
    let ident = Ident::new(name)?;
    let mut connection = connect(endpoint, ca_file, "scratch").await?;
    sweep(&mut connection).await;
    let made = run(&mut connection, format!("CREATE DATABASE {ident}")).await;
    made.map_err(|error| {
        server_error(Code::Privilege, "no scratch database can be made", &error)
            .data("nothing was changed")
            .hint("name a role that has CREATEDB in --scratch-url, or leave it out for a server of lyrox' own")
    })?;
    let mut missing = None;
    if let Some(role) = app_role {
        let sql = format!("SELECT FROM pg_catalog.pg_roles WHERE rolname = {}", literal(role));
        let found = run(&mut connection, sql).await.map_err(|error| catalog_error("roles cannot be read", &error))?;
        missing = found.is_empty().then(|| role.to_owned());
    }
    let _ = connection.close().await;
    Ok(missing)
}

/// Drops a database that [`create`] made, and the roles that came with it.
///
/// # Errors
/// The server cannot be reached, or refuses.
pub async fn remove(
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
    name: &str,
    beside: &[(&'static str, String)],
) -> Result<()> {
    if !name.starts_with(PREFIX) {
        return Err(Error::bug(format!("`{name}` is no scratch database")));
    }
    let mut connection = connect(endpoint, ca_file, "scratch").await?;
    drop_database(&mut connection, name)
        .await
        .map_err(|error| server_error(Code::ResetFailed, format!("`{name}` cannot be dropped"), &error))?;
    for (_, role) in beside.iter().filter(|(kind, _)| *kind == "role") {
        // It may own something by now: then it is somebody's.
        let _ = run(&mut connection, format!("DROP ROLE IF EXISTS {}", Ident::new(role)?)).await;
    }
    let _ = connection.close().await;
    Ok(())
}

async fn drop_database(connection: &mut PgConnection, name: &str) -> std::result::Result<(), sqlx::Error> {
    let ident = format!("\"{}\"", name.replace('"', "\"\""));
    match run(connection, format!("DROP DATABASE IF EXISTS {ident} WITH (FORCE)")).await {
        // Before version 13 there is no FORCE.
        Err(error) if sqlstate(&error) == Some("42601") => {
            let end = format!(
                "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {}",
                literal(name)
            );
            run(connection, end).await?;
            run(connection, format!("DROP DATABASE IF EXISTS {ident}")).await.map(|_| ())
        }
        dropped => dropped.map(|_| ()),
    }
}

/// Drops what killed runs left, as far as it is certain. What cannot be dropped stays for the next.
async fn sweep(connection: &mut PgConnection) {
    let sql = format!(
        "SELECT d.datname FROM pg_catalog.pg_database d WHERE pg_catalog.starts_with(d.datname::text, {}) \
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.datname = d.datname)",
        literal(PREFIX)
    );
    let Ok(rows) = run(connection, sql).await else { return };
    for name in rows.iter().filter_map(|row| text(row, 0)).filter(|name| is_older(name, LEFT_OVER)) {
        let _ = run(connection, format!("DROP DATABASE IF EXISTS \"{name}\"")).await;
    }
}

/// Makes a database of a given name on a server of lyrox' own, unless it is there.
///
/// # Errors
/// As [`create`].
pub async fn create_named(endpoint: &Endpoint, name: &str, roles: &[String]) -> Result<()> {
    let ident = Ident::new(name)?;
    let mut connection = connect(endpoint, None, "scratch").await?;
    match run(&mut connection, format!("CREATE DATABASE {ident}")).await {
        Ok(_) => {}
        Err(error) if sqlstate(&error) == Some("42P04") => {}
        Err(error) => return Err(server_error(Code::Privilege, format!("`{name}` cannot be made"), &error)),
    }
    for role in roles {
        match run(&mut connection, format!("CREATE ROLE {}", Ident::new(role)?)).await {
            Ok(_) => {}
            Err(error) if sqlstate(&error) == Some("42710") => {}
            Err(error) => return Err(server_error(Code::Privilege, format!("`{role}` cannot be made"), &error)),
        }
    }
    let _ = connection.close().await;
    Ok(())
}

impl PostgresStore {
    /// Those of the names that are roles of this server and not the server's own.
    ///
    /// # Errors
    /// The roles cannot be read.
    pub async fn roles_among(&mut self, names: &BTreeSet<String>) -> Result<Vec<String>> {
        let sql = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_' ORDER BY 1".to_owned();
        let rows =
            run(&mut self.connection, sql).await.map_err(|error| catalog_error("roles cannot be read", &error))?;
        Ok(rows.iter().filter_map(|row| text(row, 0)).filter(|role| names.contains(role)).collect())
    }
}
