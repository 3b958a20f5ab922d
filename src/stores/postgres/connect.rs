//! Making a connection: every option from the URL, none from the environment, then the session's
//! settings in one round trip. It knows nothing of migrations.

use std::path::Path;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};

use super::direct::Line;
use super::error::{connect_error, is_lost, sqlstate, timeout_error};
use super::ident::{Ident, literal};
use crate::config::{Config, Endpoint, Target};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::trips;
use crate::url::{Host, SecretUrl, TlsMode};

/// How long name, TCP, TLS and login of one host may take together.
pub const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// What a session is told before it works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The schema that unqualified names are looked up and made in.
    pub schema: Ident,
    /// How long one statement waits for a lock, in milliseconds.
    pub lock_timeout: u64,
    /// How long one statement may run, in milliseconds; 0: no limit.
    pub statement_timeout: u64,
}

impl Settings {
    /// The project's settings.
    ///
    /// # Errors
    /// A schema that is no name.
    pub fn of(config: &Config) -> Result<Self> {
        let section = config.settings.postgres.clone().unwrap_or_default();
        Ok(Self {
            schema: Ident::new(&section.schema)?,
            lock_timeout: section.lock_timeout.millis(),
            statement_timeout: section.statement_timeout.map_or(0, |limit| limit.millis()),
        })
    }

    /// One `SELECT` that brings a session to these settings, ended by `;`. Its row means nothing.
    pub fn sql(&self, facts: &Facts) -> String {
        format!("SELECT {};", self.columns(facts, false))
    }

    /// The same for the transaction that is open, and for nothing after it.
    pub fn sql_local(&self, facts: &Facts) -> String {
        format!("SELECT {};", self.columns(facts, true))
    }

    /// What a `SELECT` has to hold to bring a session, or the open transaction alone, to these settings.
    pub fn columns(&self, facts: &Facts, is_local: bool) -> String {
        let mut sql = self.common(is_local);
        for (name, value, is_known) in
            [(IDLE.0, IDLE.1, facts.version >= 140_000), (WATCH.0, WATCH.1, facts.watches_client)]
        {
            if is_known {
                sql.push_str(&format!(", pg_catalog.set_config('{name}', '{value}', {is_local})"));
            }
        }
        sql
    }

    /// The same for a session with a server of which nothing is known yet.
    fn first_columns(&self) -> String {
        let when = |condition: &str, (name, value): (&str, &str)| {
            format!("CASE WHEN {condition} THEN pg_catalog.set_config('{name}', '{value}', false) END")
        };
        let is_14 = "pg_catalog.current_setting('server_version_num')::int >= 140000";
        format!("{}, {}, {}", self.common(false), when(is_14, IDLE), when(WATCHES_CLIENT, WATCH))
    }

    fn common(&self, is_local: bool) -> String {
        // `extensions` is where Supabase keeps them; a schema that does not exist is passed over.
        format!(
            "pg_catalog.set_config('search_path', {}, {is_local}), \
             pg_catalog.set_config('lock_timeout', '{}', {is_local}), \
             pg_catalog.set_config('statement_timeout', '{}', {is_local}), \
             pg_catalog.set_config('idle_in_transaction_session_timeout', '300000', {is_local})",
            literal(&format!("{}, extensions", self.schema)),
            self.lock_timeout,
            self.statement_timeout
        )
    }
}

/// An idle session must keep the lock that it holds. Servers have it from version 14 on.
const IDLE: (&str, &str) = ("idle_session_timeout", "0");

/// A server that looks after its client ends a killed runner's statement within half a second.
const WATCH: (&str, &str) = ("client_connection_check_interval", "500ms");

/// What the server said of itself at login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `150018` for 15.18.
    pub version: u32,
    /// The process that serves this session.
    pub pid: i32,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// A standby: it takes no writes.
    pub is_standby: bool,
    /// It can notice a vanished client while a statement runs.
    pub watches_client: bool,
    /// The database has Citus: tables can be spread over nodes.
    pub has_citus: bool,
    /// Both ends of the connection as the server sees them.
    pub line: Option<Line>,
}

/// Options for one host of the URL. Everything is set, so that no `PG*` variable and no password file
/// decides anything. (`PGOPTIONS`, `PGSSLCERT` and `PGSSLKEY` cannot be unset here: the driver has no way.)
pub fn options(url: &SecretUrl, host: &Host, ca_file: Option<&Path>, application: &str) -> PgConnectOptions {
    let user = url.user().map_or_else(system_user, str::to_owned);
    // What poolers and the server read at the start of a session has no other door in the driver than its own URL.
    let start = url.option("options").map(|text| {
        let encoded = percent_encoding::utf8_percent_encode(text, crate::secret::STRICT);
        format!("postgres://localhost/?password=none&options={encoded}")
    });
    let mut options = start
        .and_then(|start| start.parse::<PgConnectOptions>().ok())
        .unwrap_or_else(PgConnectOptions::new_without_pgpass)
        .host(&host.name)
        .port(url.port_of(host))
        .username(&user)
        .password(url.password().map_or("", |password| password.expose()))
        .database(url.database().unwrap_or(&user))
        // The server's own default serves, and poolers refuse a start that asks for it.
        .extra_float_digits(None)
        .application_name(&application_name(application))
        .ssl_mode(match url.tls() {
            TlsMode::Off => PgSslMode::Disable,
            TlsMode::Unverified => PgSslMode::Require,
            TlsMode::VerifiedChain => PgSslMode::VerifyCa,
            TlsMode::Verified => PgSslMode::VerifyFull,
        })
        .disable_statement_logging();
    let given = url.option("sslrootcert").filter(|file| *file != "system").map(Path::new);
    options = match ca_file.or(given) {
        Some(file) => options.ssl_root_cert(file),
        // An empty file of authorities adds none; it takes the place of what the environment names.
        None => options.ssl_root_cert_from_pem(Vec::new()),
    };
    if let (Some(certificate), Some(key)) = (url.option("sslcert"), url.option("sslkey")) {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    options
}

fn system_user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "postgres".into())
}

/// `lyrox VERSION PROJECT`, within the 63 bytes that the server keeps.
fn application_name(project: &str) -> String {
    let mut name = format!("lyrox {} {project}", env!("CARGO_PKG_VERSION"));
    name.retain(|c| c.is_ascii() && !c.is_ascii_control());
    name.truncate(super::ident::LONGEST);
    name
}

/// Connects as the URL says and changes no setting: what the application would get.
///
/// # Errors
/// `LYX-CONNECT-*`, `LYX-TLS`, `LYX-AUTH-POSTGRES`, `LYX-DATABASE-MISSING`, each with a hint.
pub async fn connect(endpoint: &Endpoint, ca_file: Option<&Path>, application: &str) -> Result<PgConnection> {
    if let Some(file) = ca_file
        && !file.is_file()
    {
        return Err(Error::new(Code::FileMissing, format!("`{}` does not exist", file.display()))
            .why("`[postgres] ca_file` names it")
            .hint("mend `ca_file` in lyrox.toml"));
    }
    let mut last = None;
    for host in endpoint.url.hosts() {
        match connect_host(endpoint, host, ca_file, application).await {
            Ok(connection) => return Ok(connection),
            Err(error) => {
                let is_final = matches!(
                    error.code(),
                    Code::AuthPostgres
                        | Code::AuthRole
                        | Code::AuthBlocked
                        | Code::DatabaseMissing
                        | Code::DatabaseClosed
                );
                last = Some(error);
                if is_final {
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Error::bug("a URL without a host")))
}

async fn connect_host(
    endpoint: &Endpoint,
    host: &Host,
    ca_file: Option<&Path>,
    application: &str,
) -> Result<PgConnection> {
    let options = options(&endpoint.url, host, ca_file, application);
    match tokio::time::timeout(CONNECT_LIMIT, PgConnection::connect_with(&options)).await {
        Err(_) => Err(timeout_error(endpoint)),
        Ok(Err(error)) => Err(connect_error(endpoint, &error)),
        Ok(Ok(connection)) => Ok(connection),
    }
}

/// Connects for work that changes the store: through the direct URL, with the session's settings.
/// Of several hosts the first that takes writes is used.
///
/// # Errors
/// As [`connect`].
pub async fn open(config: &Config, target: &Target) -> Result<(PgConnection, Facts)> {
    open_with(config, target, Some(&Settings::of(config)?)).await
}

/// The same without the session's settings: behind a pooler they would stay with a connection that others use.
///
/// # Errors
/// As [`connect`].
pub async fn open_plain(config: &Config, target: &Target) -> Result<(PgConnection, Facts)> {
    open_with(config, target, None).await
}

async fn open_with(config: &Config, target: &Target, settings: Option<&Settings>) -> Result<(PgConnection, Facts)> {
    let endpoint = &target.direct;
    let mut last = None;
    let mut standby = None;
    for host in endpoint.url.hosts() {
        let one = Endpoint { url: with_host(&endpoint.url, host), origin: endpoint.origin.clone() };
        let opened = async {
            let mut connection = connect(&one, target.ca_file.as_deref(), &config.settings.project.name).await?;
            let facts = read_facts(&one, &mut connection, settings).await?;
            Ok((connection, facts))
        };
        match opened.await {
            Ok((connection, facts)) if facts.is_standby => {
                standby.get_or_insert((connection, facts));
            }
            Ok(opened) => return Ok(opened),
            Err(error) => last = Some(error),
        }
    }
    match (standby, last) {
        (Some(opened), _) => Ok(opened),
        (None, Some(error)) => Err(error),
        (None, None) => Err(Error::bug("a URL without a host")),
    }
}

/// The same URL with one of its hosts alone.
pub fn with_host(url: &SecretUrl, host: &Host) -> SecretUrl {
    SecretUrl { hosts: vec![host.clone()], ..url.clone() }
}

/// Reads what the server says of itself and, where they are given, brings the session to its settings: one
/// round trip.
async fn read_facts(endpoint: &Endpoint, connection: &mut PgConnection, settings: Option<&Settings>) -> Result<Facts> {
    let settings = settings.map_or_else(String::new, |settings| format!("; SELECT {}", settings.first_columns()));
    let sql = format!("{FACTS}, {WATCHES_CLIENT}, {HAS_CITUS}{settings}");
    trips::count(StoreKind::Postgres);
    let rows = tokio::time::timeout(CONNECT_LIMIT, sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut *connection))
        .await
        .map_err(|_| timeout_error(endpoint))?
        .map_err(|error| session_error(endpoint, &error))?;
    let row = rows.first().ok_or_else(|| Error::bug("the server answered no facts"))?;
    let fact = |at| text(row, at).ok_or_else(|| Error::bug("the server left a fact out"));
    let facts = Facts {
        version: fact(0)?.parse().unwrap_or(0),
        pid: fact(1)?.parse().unwrap_or(0),
        database: fact(2)?,
        user: fact(3)?,
        is_standby: fact(4)? == "t",
        line: Line::new((text(row, 5), text(row, 6)), (text(row, 7), text(row, 8))),
        watches_client: fact(9)? == "t",
        has_citus: fact(10)? == "t",
    };
    if facts.version < 120_000 {
        return Err(Error::new(Code::Protocol, format!("PostgreSQL {} is too old", facts.version / 10_000))
            .why("lyrox works with version 12 and later")
            .data("nothing was changed"));
    }
    Ok(facts)
}

/// Brings a session to its settings.
///
/// # Errors
/// As [`connect`].
pub async fn set_up(
    endpoint: &Endpoint,
    connection: &mut PgConnection,
    settings: &Settings,
    facts: &Facts,
) -> Result<()> {
    let sql = settings.sql(facts);
    trips::count(StoreKind::Postgres);
    let sent = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
    sent.map(drop).map_err(|error| session_error(endpoint, &error))
}

/// The columns of [`Facts`] but the last.
const FACTS: &str = "SELECT pg_catalog.current_setting('server_version_num'), pg_catalog.pg_backend_pid(), \
    pg_catalog.current_database(), current_user, pg_catalog.pg_is_in_recovery(), \
    pg_catalog.host(pg_catalog.inet_client_addr()), pg_catalog.inet_client_port(), \
    pg_catalog.host(pg_catalog.inet_server_addr()), pg_catalog.inet_server_port()";

const HAS_CITUS: &str = "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')";

/// Platforms differ in whether they can tell that a client is gone; asking for it elsewhere is an error.
const WATCHES_CLIENT: &str = "pg_catalog.current_setting('server_version_num')::int >= \
    CASE WHEN pg_catalog.version() ~ 'linux' THEN 140000 WHEN pg_catalog.version() ~ 'apple|bsd' THEN 150000 ELSE 2000000 END";

fn session_error(endpoint: &Endpoint, error: &sqlx::Error) -> Error {
    if is_lost(error) || sqlstate(error).is_none() {
        connect_error(endpoint, error)
    } else {
        super::error::server_error(Code::Protocol, "the session cannot be set up", error)
    }
}

/// A column of a simple query's row as the server's text; none for NULL.
pub fn text(row: &PgRow, at: usize) -> Option<String> {
    row.try_get_raw(at).ok().and_then(|raw| raw.as_str().ok().map(str::to_owned))
}
