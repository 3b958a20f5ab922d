//! The local PostgreSQL: its data folder, its settings, its roles and database, and whether it answers.
//!
//! Three roles, as in production: `lyrox_admin`, the superuser, which nothing but this file uses; `lyrox`,
//! which owns the database and may what hosted servers let their owner; and the application's role, which
//! owns nothing and is held by row-level security.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::binaries::Program;
use super::files::{self, disk};
use super::privileges::Privileges;
use super::process::{self, Seat};
use super::start::Trouble;
use super::state::{ADMIN, OWNER, OWNER_RIGHTS, Record};
use crate::error::{Code, Error, Result};

/// What lyrox decides itself, so that `[local] postgres_settings` may not.
const DECIDED: [&str; 7] = [
    "port",
    "listen_addresses",
    "unix_socket_directories",
    "data_directory",
    "hba_file",
    "ident_file",
    "external_pid_file",
];

/// Checks `[local] postgres_settings`.
///
/// # Errors
/// `LYX-CONFIG-VALUE`.
pub fn check_settings(settings: &BTreeMap<String, String>) -> Result<()> {
    for (name, value) in settings {
        let refuse = |why: &str| {
            Err(Error::new(
                Code::ConfigValue,
                format!("`[local] postgres_settings` holds `{name}`, which cannot be used"),
            )
            .why(why)
            .hint(format!("remove `{name}` from it")))
        };
        if DECIDED.contains(&name.to_ascii_lowercase().as_str()) {
            return refuse("lyrox decides it; `[local] postgres_port` names a port");
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) {
            return refuse("it is no name of a setting");
        }
        if value.contains(['\n', '\r', '\0']) {
            return refuse("its value has more than one line");
        }
    }
    Ok(())
}

/// The major version that made the data folder; none where there is none.
pub fn data_version(home: &Path) -> Option<u32> {
    std::fs::read_to_string(home.join("data/PG_VERSION")).ok()?.trim().parse().ok()
}

/// Makes the data folder: beside its place first, renamed when it is whole.
///
/// # Errors
/// `LYX-SERVER-START`, `LYX-SERVER-DISK`.
pub async fn make(
    program: &Program,
    home: &Path,
    seat: &Seat,
    privileges: Privileges,
    record: &Record,
    own: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let data = home.join("data");
    if data.join("PG_VERSION").is_file() {
        return Ok(());
    }
    let (new, file) = (home.join("data.new"), home.join("password"));
    for old in [&data, &new] {
        // The seat is ours: whoever made these is gone. A folder without PG_VERSION holds no database.
        match std::fs::remove_dir_all(old) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(disk(&format!("cannot remove `{}`", files::shown(old)), &error));
            }
            _ => {}
        }
    }
    files::private_file(&file, record.password(ADMIN)?.expose())?;
    own(&file)?;
    let initdb = program.path.with_file_name("initdb");
    let base = [
        "--pgdata=data.new",
        &format!("--username={ADMIN}"),
        "--auth=scram-sha-256",
        "--pwfile=password",
        "--encoding=UTF8",
        "--no-sync",
        "--no-instructions",
    ]
    .map(str::to_owned);
    // Letters outside ASCII have upper and lower case, as on hosted servers; order stays that of the bytes.
    let unicode: &[&str] = if program.major() >= 17 {
        &["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    } else {
        &["--locale=C.UTF-8"]
    };
    let mut outcome = Ok(());
    for locale in [unicode, &["--locale=C"]] {
        let arguments: Vec<String> = base.iter().cloned().chain(locale.iter().map(|word| (*word).to_owned())).collect();
        outcome = process::run(&initdb, &arguments, home, seat, privileges).await?;
        match &outcome {
            Err(said) if said.contains("locale") => {
                let _ = std::fs::remove_dir_all(&new);
            }
            _ => break,
        }
    }
    let _ = std::fs::remove_file(&file);
    if let Err(said) = outcome {
        let _ = std::fs::remove_dir_all(&new);
        let lines: Vec<&str> = said.lines().collect();
        let code = if files::speaks_of_disk(&said) { Code::ServerDisk } else { Code::ServerStart };
        return Err(Error::new(code, "PostgreSQL's data folder cannot be made")
            .why(lines[lines.len().saturating_sub(8)..].join("\n"))
            .data("nothing was left behind")
            .hint(if code == Code::ServerDisk { "free space there, then run lyrox up" } else { "lyrox up -v" }));
    }
    std::fs::rename(&new, &data).map_err(|error| disk("cannot put PostgreSQL's data folder in place", &error))
}

/// Writes the settings for this start.
///
/// # Errors
/// `LYX-SERVER-DISK`.
pub fn configure(
    home: &Path,
    record: &Record,
    extensions: Option<&Path>,
    own: &dyn Fn(&Path) -> Result<()>,
) -> Result<()> {
    let data = home.join("data");
    let mut text =
        String::from("# Written by lyrox at each start; [local] postgres_settings in lyrox.toml adds to it.\n");
    let port = record.port.to_string();
    let own_settings = [
        ("listen_addresses", "127.0.0.1"),
        ("port", &port),
        ("unix_socket_directories", ""),
        ("max_connections", "200"),
        // What a killed server had committed is in the system's memory and not lost; a machine that
        // loses power may lose the database. This is for development.
        ("fsync", "off"),
        ("full_page_writes", "off"),
        // A client that is gone must not keep its locks until its statement ends.
        ("client_connection_check_interval", "1s"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        ("log_line_prefix", "%m [%p] %q%u@%d "),
    ];
    let places = extensions.map(|folder| {
        (format!("$system:{}", folder.join("share").display()), format!("$libdir:{}", folder.join("lib").display()))
    });
    let places = places.iter().flat_map(|(control, library)| {
        [("extension_control_path", control.as_str()), ("dynamic_library_path", library.as_str())]
    });
    let given = record.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in own_settings.into_iter().chain(places).chain(given) {
        let _ = writeln!(text, "{name} = '{}'", value.replace('\\', "\\\\").replace('\'', "''"));
    }
    let file = data.join("lyrox.conf");
    files::private_file(&file, &text)?;
    own(&file)?;
    let main = data.join("postgresql.conf");
    let include = "include_if_exists = 'lyrox.conf'";
    let what = || format!("cannot write `{}`", files::shown(&main));
    let settings = std::fs::read_to_string(&main).map_err(|error| disk(&what(), &error))?;
    if !settings.lines().any(|line| line.trim() == include) {
        files::private_file(&main, &format!("{settings}\n{include}\n"))?;
        own(&main)?;
    }
    remove_stale_pid(&data);
    Ok(())
}

/// A killed server leaves its number behind. PostgreSQL refuses to start while any process of the same
/// user has that number, be it another program, the server of another folder, or the remains of the killed
/// one that nobody has waited for. The seat is ours, so the file goes unless a living process works here.
fn remove_stale_pid(data: &Path) {
    let file = data.join("postmaster.pid");
    let Ok(text) = std::fs::read_to_string(&file) else { return };
    let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
    if pid.is_none_or(|pid| !process::works_in(pid, data)) {
        let _ = std::fs::remove_file(file);
    }
}

/// The arguments of the server.
pub fn arguments() -> Vec<String> {
    vec!["-D".into(), "data".into()]
}

/// Whether it answers a query of the owner.
///
/// # Errors
/// [`Trouble`].
pub async fn answers(record: &Record) -> Result<(), Trouble> {
    query(record, OWNER).await
}

/// Waits for nothing: makes roles and database where they are missing, gives the roles their passwords,
/// and runs a query as each.
///
/// # Errors
/// [`Trouble`].
pub async fn establish(record: &Record) -> Result<(), Trouble> {
    // Passwords go through statements of this connection, which the server's log must not hold.
    let quiet = [("log_statement", "none"), ("log_min_error_statement", "panic"), ("log_min_duration_statement", "-1")];
    let options = options(record, ADMIN)?.database("postgres").options(quiet);
    let mut admin = PgConnection::connect_with(&options).await.map_err(|error| trouble(&error))?;
    role(&mut admin, OWNER, OWNER_RIGHTS, record).await?;
    if let Some(app) = &record.app_role {
        // Made by the owner, as on a hosted server, where nobody is superuser.
        run(&mut admin, "SELECT format('SET ROLE %I', $1::text)", &[OWNER]).await?;
        role(&mut admin, app, "LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE", record).await?;
        run(&mut admin, "SELECT 'RESET ROLE'", &[]).await?;
    }
    let exists = "SELECT count(*) FROM pg_database WHERE datname = $1";
    let count: i64 = sqlx::query(exists)
        .bind(&record.database)
        .fetch_one(&mut admin)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| trouble(&error))?;
    if count == 0 {
        let create = "SELECT format('CREATE DATABASE %I OWNER %I', $1::text, $2::text)";
        run(&mut admin, create, &[&record.database, OWNER]).await?;
    }
    let _ = admin.close().await;
    untrusted(record).await?;
    query(record, OWNER).await?;
    if let Some(app) = &record.app_role {
        query(record, app).await?;
    }
    Ok(())
}

/// Makes the wanted extensions that only a superuser may make, as hosted servers do for their owners.
async fn untrusted(record: &Record) -> Result<(), Trouble> {
    if record.extensions.is_empty() {
        return Ok(());
    }
    let options = options(record, ADMIN)?.database(&record.database);
    let mut admin = PgConnection::connect_with(&options).await.map_err(|error| trouble(&error))?;
    let names = "SELECT a.name::text FROM pg_available_extensions a JOIN pg_available_extension_versions v \
                 ON v.name = a.name AND v.version = a.default_version \
                 WHERE a.name = ANY ($1) AND a.installed_version IS NULL AND v.superuser AND NOT v.trusted";
    let rows = sqlx::query(names).bind(&record.extensions).fetch_all(&mut admin).await;
    for row in rows.map_err(|error| trouble(&error))? {
        let name: String = row.try_get(0).map_err(|error| trouble(&error))?;
        run(&mut admin, "SELECT format('CREATE EXTENSION IF NOT EXISTS %I CASCADE', $1::text)", &[&name]).await?;
    }
    let _ = admin.close().await;
    Ok(())
}

async fn role(admin: &mut PgConnection, name: &str, rights: &str, record: &Record) -> Result<(), Trouble> {
    let password = record.password(name).map_err(Trouble::Final)?;
    let exists: i64 = sqlx::query("SELECT count(*) FROM pg_roles WHERE rolname = $1")
        .bind(name)
        .fetch_one(&mut *admin)
        .await
        .and_then(|row| row.try_get(0))
        .map_err(|error| trouble(&error))?;
    if exists == 0 {
        let create = "SELECT format('CREATE ROLE %I %s PASSWORD %L', $1::text, $2::text, $3::text)";
        run(admin, create, &[name, rights, password.expose()]).await
    } else {
        let alter = "SELECT format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)";
        run(admin, alter, &[name, password.expose()]).await
    }
}

/// Lets the server quote names and texts into a statement, then runs that statement.
async fn run(connection: &mut PgConnection, template: &'static str, values: &[&str]) -> Result<(), Trouble> {
    let mut query = sqlx::query(template);
    for value in values {
        query = query.bind(*value);
    }
    let row = query.fetch_one(&mut *connection).await;
    let statement: String = row.and_then(|row| row.try_get(0)).map_err(|error| trouble(&error))?;
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.map_err(|error| trouble(&error))?;
    Ok(())
}

async fn query(record: &Record, user: &str) -> Result<(), Trouble> {
    let options = options(record, user)?.database(&record.database);
    let mut connection = PgConnection::connect_with(&options).await.map_err(|error| trouble(&error))?;
    let row = sqlx::query("SELECT current_user::text").fetch_one(&mut connection).await;
    let found: String = row.and_then(|row| row.try_get(0)).map_err(|error| trouble(&error))?;
    let _ = connection.close().await;
    if found == user { Ok(()) } else { Err(Trouble::Final(Error::bug(format!("logged in as `{found}`")))) }
}

fn options(record: &Record, user: &str) -> Result<PgConnectOptions, Trouble> {
    let password = record.password(user).map_err(Trouble::Final)?;
    Ok(PgConnectOptions::new_without_pgpass()
        .host("127.0.0.1")
        .port(record.port)
        .username(user)
        .password(password.expose())
        .ssl_mode(PgSslMode::Disable)
        .application_name("lyrox up"))
}

/// The driver's own text could quote a statement with a password in it, so only parts are used.
fn trouble(error: &sqlx::Error) -> Trouble {
    let sqlx::Error::Database(error) = error else {
        return Trouble::NotYet("it does not answer".into());
    };
    let code = error.code().unwrap_or_default();
    let why = format!("{} ({code})", error.message());
    // 57P03: starting up. 57P01, 57P02: stopping.
    if code.starts_with("57P0") {
        return Trouble::NotYet(why);
    }
    let failed = Error::new(Code::ServerStart, "PostgreSQL runs and refuses what lyrox asks of it").why(why);
    Trouble::Final(match &*code {
        "28P01" | "28000" => failed.hint("its data is from another `.lyrox/state.json`; bring that back"),
        "53100" => Error::new(Code::ServerDisk, "PostgreSQL's disk is full")
            .why(error.message().to_owned())
            .hint("free space there, then run lyrox up postgres"),
        _ => failed.hint("lyrox logs postgres"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_lyrox_decides_and_names_that_are_none_are_refused() {
        let check = |name: &str, value: &str| check_settings(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        assert!(check("log_statement", "all").is_ok() && check("auto_explain.log_min_duration", "0").is_ok());
        for (name, value) in [("port", "1"), ("Listen_Addresses", "*"), ("a b", "c"), ("x", "1\nfsync = on"), ("", "")]
        {
            assert_eq!(check(name, value).err().map(|error| error.code()), Some(Code::ConfigValue), "{name}");
        }
    }
}
