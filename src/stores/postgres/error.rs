//! The server's and the driver's errors in lyrox's words. The driver's own texts never pass: they may
//! quote what was sent, and their "at line N" is a line of the server's source code.

use std::io::ErrorKind;

use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use crate::config::Endpoint;
use crate::error::{Code, Error};

/// The server's own report of an error, where it sent one.
pub fn reported(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    match error {
        sqlx::Error::Database(database) => database.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}

/// The SQLSTATE of an error, where the server sent one.
pub fn sqlstate(error: &sqlx::Error) -> Option<&str> {
    reported(error).map(PgDatabaseError::code)
}

/// Whether the connection cannot be used any more.
pub fn is_lost(error: &sqlx::Error) -> bool {
    match sqlstate(error) {
        // Shut down, crashed, or ended by an administrator or a timeout of the session.
        Some(code) => {
            matches!(code, "57P01" | "57P02" | "57P03" | "57P04" | "57P05" | "25P03") || code.starts_with("08")
        }
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)),
    }
}

/// The 1-based character of the sent text that the server points at.
pub fn position(error: &sqlx::Error) -> Option<usize> {
    match reported(error)?.position()? {
        PgErrorPosition::Original(position) => Some(position),
        PgErrorPosition::Internal { .. } => None,
    }
}

/// `message (SQLSTATE)`; for failures without a report, what happened to the connection.
pub fn words(error: &sqlx::Error) -> String {
    match reported(error) {
        Some(report) => clean(&format!("{} ({})", report.message(), report.code())),
        None => match error {
            sqlx::Error::Io(io) => clean(&format!("the connection was lost: {io}")),
            sqlx::Error::Tls(_) => "the TLS connection failed".into(),
            sqlx::Error::Protocol(_) => "the server's answer was not understood".into(),
            _ => "the server's answer could not be read".into(),
        },
    }
}

/// The server's detail and the innermost lines of its context, where it sent them.
pub fn detail(error: &sqlx::Error) -> Option<String> {
    let report = reported(error)?;
    let mut parts = Vec::new();
    parts.extend(report.detail().map(clean));
    if let Some(context) = report.r#where() {
        parts.extend(context.lines().take(3).map(|line| format!("in {}", clean(line))));
    }
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// The error of a statement that lyrox itself sent: reading the catalog, the ledger, granting.
pub fn server_error(code: Code, what: impl Into<String>, error: &sqlx::Error) -> Error {
    let code = match sqlstate(error) {
        Some("42501") => Code::Privilege,
        Some(state) if state.starts_with("53") && state != "53100" && state != "53200" => Code::ConnectLimit,
        _ if is_lost(error) => Code::ConnectClosed,
        _ => code,
    };
    let mut why = words(error);
    if let Some(detail) = detail(error) {
        why.push('\n');
        why.push_str(&detail);
    }
    let found = Error::new(code, what).why(why);
    match hint(error) {
        Some(hint) => found.hint(hint),
        None => found,
    }
}

/// The error of a query over the catalog that lyrox itself wrote: a server that does not understand it is
/// one that lyrox does not know.
pub fn catalog_error(what: &str, error: &sqlx::Error) -> Error {
    let is_ours = sqlstate(error).is_some_and(|state| state.starts_with("42") || state.starts_with("22"));
    server_error(if is_ours { Code::Bug } else { Code::QueryFailed }, what, error)
}

/// What to do about an error: the server's own hint, or lyrox's for states that have an answer.
pub fn hint(error: &sqlx::Error) -> Option<String> {
    let report = reported(error)?;
    let own = match report.code() {
        "25006" => "the server is a standby or read-only; name the primary in direct_url",
        "42501" => {
            "let the owner of the object run lyrox: name that role in direct_url, or grant what the message names"
        }
        "53100" => "free space on the server's disk, then run the command again",
        "53200" => "raise max_locks_per_transaction on the server, or split the file",
        "57014" => "raise the limit: `-- lyrox: statement-timeout 10m` at the top of the file",
        "3F000" => "create the schema, or mend `schema` in lyrox.toml",
        "0A000" if report.message().contains("is not available") => {
            "install the extension on the server, or switch it on in the provider's dashboard"
        }
        "53300" => "end idle connections, or let the application use a pooler",
        "57P01" => "run it again: an administrator, or a provider that suspends, ended the session",
        "40P01" | "40001" => "run it again: another session was in the way",
        "42P05" | "26000" => "a transaction pooler mixes prepared statements up: use the direct URL",
        "22P02" if report.message().ends_with(": \"\"") => {
            "an empty setting was cast: use nullif(current_setting('app.tenant', true), '')"
        }
        "55P03" => "run it again at a quieter time, or raise `lock-timeout` in the file's header",
        "42P01" | "42704" | "42883" if report.hint().is_none() => {
            "if an earlier migration makes it: check the order of versions; names keep their case only in double quotes"
        }
        _ => return report.hint().map(server_hint),
    };
    Some(own.to_owned())
}

/// The server's hint as an imperative in lyrox's style: `Perhaps you meant ...` becomes a question.
fn server_hint(text: &str) -> String {
    let text = clean(text);
    let text = text.trim_end_matches('.');
    match text.strip_prefix("Perhaps you meant to reference the column ") {
        Some(name) => format!("did you mean {}?", name.trim_end_matches(" instead")),
        None => text.to_owned(),
    }
}

/// The error of an attempt to connect.
pub fn connect_error(endpoint: &Endpoint, error: &sqlx::Error) -> Error {
    let place = endpoint.url.authority();
    let origin = &endpoint.origin;
    if let Some(report) = reported(error) {
        return login_error(endpoint, report.code(), report.message(), words(error));
    }
    match error {
        sqlx::Error::Io(io) => io_error(endpoint, &place, io),
        sqlx::Error::Tls(_) => Error::new(Code::Tls, format!("TLS with {place} failed"))
            .why("the server does not speak TLS on this port, or its certificate authority cannot be read")
            .hint("check `ca_file` and the port; only on a trusted network: `?sslmode=disable`"),
        sqlx::Error::Protocol(_) => Error::new(Code::Protocol, format!("what answers at {place} is no PostgreSQL"))
            .why("its first answer is not of PostgreSQL's protocol")
            .hint(format!("check host and port of the URL ({origin})")),
        _ => Error::new(Code::ConnectClosed, format!("cannot connect to {place}")).why(words(error)),
    }
}

/// What a server, or a pooler in its place, means by its refusal of a login.
fn login_error(endpoint: &Endpoint, state: &str, message: &str, why: String) -> Error {
    let place = endpoint.url.authority();
    let origin = &endpoint.origin;
    let user = endpoint.url.user().unwrap_or("(the system's user)");
    // Poolers say the most of their reasons under codes that mean something else.
    if let Some(error) = super::pooled_login::refusal(endpoint, state, message) {
        return error.why(why);
    }
    match state {
        "28P01" | "28000" if ["SSL off", "no encryption"].iter().any(|text| message.contains(text)) => {
            Error::new(Code::TlsRequired, format!("{place} lets `{user}` in only through TLS"))
                .why(why)
                .hint("add `?sslmode=verify-full` to the URL")
        }
        "28000" if message.contains("valid client certificate") || message.contains("certificate authentication failed") => {
            crate::stores::probe::tls::client_wanted(endpoint).why(why)
        }
        "28000" if message.contains("pg_hba.conf") => not_let_in(endpoint, &why),
        "28000" if message.contains("not permitted to log in") => {
            Error::new(Code::AuthRole, format!("the role `{user}` may not log in at {place}"))
                .why(why)
                .hint(format!("as an administrator: ALTER ROLE \"{user}\" LOGIN, or name another user in the URL ({origin})"))
        }
        "28000" if message.contains("does not exist") => {
            Error::new(Code::AuthRole, format!("there is no role `{user}` at {place}"))
                .why(why)
                .hint(format!("create the role, or mend the user in the URL ({origin})"))
        }
        "28P01" | "28000" if endpoint.url.password().is_none() => {
            Error::new(Code::AuthMissing, format!("{place} asks `{user}` for a password"))
                .why(format!("{why}; the URL has none ({origin})"))
                .hint("lyrox url build writes a URL with user and password")
        }
        "28P01" | "28000" => auth(&place, user, &why).hint(format!(
            "check the URL ({origin}): {} says what is wrong with it; a raw @ : / ? # % in the password must be encoded",
            endpoint.inspect()
        )),
        "3D000" => {
            let name = endpoint.url.database().unwrap_or(user);
            Error::new(Code::DatabaseMissing, format!("database `{name}` does not exist at {place}"))
                .why(why)
                .hint(format!("createdb `{name}`, or mend the path of the URL ({origin})"))
        }
        "55000" if message.contains("not currently accepting connections") => {
            let name = endpoint.url.database().unwrap_or(user);
            Error::new(Code::DatabaseClosed, format!("database `{name}` takes no connections"))
                .why(why)
                .hint(format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true, or mend the path of the URL ({origin})"))
        }
        "53300" => {
            let hint = if message.contains("for role") {
                format!("ALTER ROLE \"{user}\" CONNECTION LIMIT -1, or end that role's idle connections")
            } else if message.contains("for database") {
                let name = endpoint.url.database().unwrap_or(user);
                format!("ALTER DATABASE \"{name}\" CONNECTION LIMIT -1, or end its idle connections")
            } else {
                "end idle connections (pg_stat_activity shows them), use a pooler for the application, or raise max_connections".to_owned()
            };
            Error::new(Code::ConnectLimit, format!("{place} has no connection left")).why(why).hint(hint)
        }
        "53100" => Error::new(Code::StoreDisk, format!("the disk of {place} is full"))
            .why(why)
            .hint("free space on the server's disk; hosted: enlarge the disk in the dashboard"),
        "57P03" => Error::new(Code::ConnectStarting, format!("{place} is starting or stopping"))
            .why(why)
            .hint("lyrox check --wait 60s"),
        "57P01" | "57P02" => Error::new(Code::ConnectClosed, format!("{place} closed the connection"))
            .why(why)
            .hint("run it again: a server that was suspended wakes at the next connection"),
        "42501" => {
            let name = endpoint.url.database().unwrap_or(user);
            Error::new(Code::DatabaseClosed, format!("`{user}` may not connect to database `{name}`"))
                .why(why)
                .hint(format!("as its owner: GRANT CONNECT ON DATABASE \"{name}\" TO \"{user}\""))
        }
        "42704" | "22023" | "08P01" if message.contains("parameter") => {
            Error::new(Code::PoolerSetting, format!("{place} refuses a setting of the connection"))
                .why(why)
                .hint("unset PGOPTIONS in the environment, and take `options` out of the URL")
        }
        _ => Error::new(Code::ConnectClosed, format!("{place} refused the connection"))
            .why(why)
            .hint("the server's log has the reason"),
    }
}

/// The error of a pooler that let the login pass and refuses the first question; none where it is no pooler's.
pub fn pooler_error(error: &sqlx::Error) -> Option<Error> {
    let report = reported(error)?;
    super::pooled_login::meaning(report.code(), report.message()).map(|meaning| meaning.error().why(words(error)))
}

/// The error of a server that has no line in `pg_hba.conf` for this user and machine.
pub fn not_let_in(endpoint: &Endpoint, why: &str) -> Error {
    let (place, user) = (endpoint.url.authority(), endpoint.url.user().unwrap_or("(the system's user)"));
    Error::new(Code::AuthAddress, format!("{place} does not let `{user}` in from this machine")).why(why).hint(
        "add a line for user, database and address to pg_hba.conf on the server, then SELECT pg_reload_conf(); hosted: let this machine's address in at the provider",
    )
}

fn auth(place: &str, user: &str, why: &str) -> Error {
    Error::new(Code::AuthPostgres, format!("{place} refused the login of `{user}`")).why(why)
}

fn io_error(endpoint: &Endpoint, place: &str, io: &std::io::Error) -> Error {
    let origin = &endpoint.origin;
    let why = clean(&io.to_string());
    match io.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
            let hint = if endpoint.url.is_local() {
                "lyrox up starts local servers; else start the server that the URL names".to_owned()
            } else {
                format!("check that the server runs, and host and port of the URL ({origin})")
            };
            Error::new(Code::ConnectRefused, format!("nothing listens at {place}"))
                .why(format!("{why}; the address is from {origin}"))
                .hint(hint)
        }
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Error::new(Code::ConnectUnreachable, format!("there is no way to {place}"))
                .why(why)
                .hint("if the host has IPv6 addresses only, use the provider's IPv4 or session pooler address")
        }
        ErrorKind::TimedOut => timeout_error(endpoint),
        ErrorKind::InvalidData => Error::new(Code::Tls, format!("TLS with {place} failed"))
            .why(why)
            .hint("if the certificate is signed by an authority of your own: `ca_file` under [postgres] in lyrox.toml"),
        ErrorKind::UnexpectedEof
        | ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe => Error::new(Code::ConnectClosed, format!("{place} closed the connection"))
            .why(why)
            .hint(format!("check that host and port of the URL ({origin}) are PostgreSQL's")),
        _ if why.contains("lookup") || why.contains("resolve") || why.contains("Name or service") => {
            Error::new(Code::ConnectName, format!("the host name of {place} cannot be resolved"))
                .why(why)
                .hint(format!("check the host of the URL ({origin})"))
        }
        _ => Error::new(Code::ConnectClosed, format!("cannot connect to {place}")).why(why),
    }
}

/// The error of a server that did not answer within the limit.
pub fn timeout_error(endpoint: &Endpoint) -> Error {
    Error::new(Code::ConnectTimeout, format!("{} did not answer in time", endpoint.url.authority()))
        .why("no answer within 10 s: a firewall that drops packets, a paused project, or a server that hangs")
        .hint(format!("check host and port of the URL ({}); lyrox check shows the stage", endpoint.origin))
}

/// Server-derived text without control characters: it must not drive a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\n' || c == '\t' {
                c
            } else if c.is_control() {
                ' '
            } else {
                c
            }
        })
        .collect()
}
