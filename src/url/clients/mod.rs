//! How the main client libraries read a URL: each library's own way of taking a text apart, as its source has it,
//! held against what lyrox read. Nothing here shows a piece of the text: only which part differs.

mod forms;
mod go;
mod libpq;
mod mongodb;
mod python;
mod web;

use super::parameters::{LIBPQ, shown};
use super::{SecretUrl, TlsMode};
use crate::kind::StoreKind;
use crate::secret::Secret;

/// What a library takes out of a text; nothing where it refuses it, with the reason.
pub type Outcome = Result<Reading, String>;

/// The parts as a library reads them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// Hosts with their ports.
    pub hosts: Vec<(String, Option<u16>)>,
    /// The database, or Redis' number.
    pub database: Option<String>,
}

/// A client library.
#[derive(Clone, Copy)]
pub struct Client {
    /// The name people know, with the tools that are built on it.
    pub name: &'static str,
    /// The store.
    pub kind: StoreKind,
    /// Its way to take a text apart.
    pub read: fn(&str) -> Outcome,
}

/// The libraries, by store.
pub const CLIENTS: &[Client] = &[
    Client { name: "libpq (psql, psycopg)", kind: StoreKind::Postgres, read: libpq::read },
    Client { name: "node-postgres", kind: StoreKind::Postgres, read: web::node_postgres },
    Client { name: "postgres.js", kind: StoreKind::Postgres, read: web::postgres_js },
    Client { name: "Prisma", kind: StoreKind::Postgres, read: web::prisma },
    Client { name: "sqlx", kind: StoreKind::Postgres, read: web::sqlx },
    Client { name: "pgx (Go)", kind: StoreKind::Postgres, read: go::pgx },
    Client { name: "asyncpg", kind: StoreKind::Postgres, read: python::asyncpg },
    Client { name: "SQLAlchemy", kind: StoreKind::Postgres, read: python::sqlalchemy },
    Client { name: "Node.js driver, mongosh", kind: StoreKind::Mongodb, read: mongodb::node },
    Client { name: "PyMongo", kind: StoreKind::Mongodb, read: mongodb::python },
    Client { name: "Go driver", kind: StoreKind::Mongodb, read: mongodb::go },
    Client { name: "Rust driver", kind: StoreKind::Mongodb, read: mongodb::rust },
    Client { name: "redis-cli", kind: StoreKind::Redis, read: forms::redis_cli },
    Client { name: "ioredis", kind: StoreKind::Redis, read: web::ioredis },
    Client { name: "node-redis", kind: StoreKind::Redis, read: web::node_redis },
    Client { name: "redis-py", kind: StoreKind::Redis, read: python::redis },
    Client { name: "go-redis", kind: StoreKind::Redis, read: go::redis },
    Client { name: "redis-rs", kind: StoreKind::Redis, read: web::redis_rs },
];

/// How one library reads a URL beside lyrox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The library.
    pub client: &'static str,
    /// Whether it takes the URL at all.
    pub is_refused: bool,
    /// What it does otherwise; nothing: the same.
    pub differences: Vec<String>,
}

/// How the libraries of the URL's store read the text that it was read from.
pub fn verdicts(url: &SecretUrl, text: &str) -> Vec<Verdict> {
    let of_store = CLIENTS.iter().filter(|client| client.kind == url.kind());
    of_store
        .map(|client| match (client.read)(text.trim()) {
            Err(why) => Verdict { client: client.name, is_refused: true, differences: vec![why] },
            Ok(reading) => {
                let mut differences = compare(url, &reading);
                differences.extend(manners(client.name, url));
                Verdict { client: client.name, is_refused: false, differences }
            }
        })
        .collect()
}

/// Which parts differ, in words that hold none of the text.
fn compare(url: &SecretUrl, reading: &Reading) -> Vec<String> {
    let mut found = Vec::new();
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let mut part = |name: &str, ours: Option<String>, theirs: Option<String>| match (ours, theirs) {
        (ours, theirs) if ours == theirs => {}
        (Some(_), None) => found.push(format!("finds no {name}")),
        (None, Some(_)) => found.push(format!("finds a {name} where there is none")),
        _ => found.push(format!("takes another text for the {name}")),
    };
    part("user", given(url.user()), given(reading.user.as_deref()));
    part("password", given(url.password().map(Secret::expose)), given(reading.password.as_deref()));
    let number = |text: Option<String>| text.filter(|text| url.kind() != StoreKind::Redis || text != "0");
    part("database", number(given(url.database())), number(given(reading.database.as_deref())));
    let place = |name: &str, port: Option<u16>| (name.to_ascii_lowercase(), port.unwrap_or_else(|| usual(url)));
    let ours: Vec<_> = url.hosts().iter().map(|host| place(&host.name, host.port)).collect();
    let theirs: Vec<_> = reading.hosts.iter().map(|(name, port)| place(name, *port)).collect();
    let is_default = |places: &[(String, u16)]| {
        places.iter().all(|(name, _)| {
            ["", "localhost", "/run/postgresql", "/var/run/postgresql", "/tmp"].contains(&name.as_str())
        })
    };
    if ours != theirs && !(is_default(&ours) && is_default(&theirs)) {
        found.push(match theirs.len() {
            0 => "finds no host".to_owned(),
            _ if theirs.len() < ours.len() => "reads several hosts as one".to_owned(),
            _ => "takes another text for the host or the port".to_owned(),
        });
    }
    found
}

fn usual(url: &SecretUrl) -> u16 {
    url.port_of(&super::Host { name: String::new(), port: None })
}

/// What a library makes of parameters and TLS where lyrox does otherwise.
fn manners(client: &str, url: &SecretUrl) -> Vec<String> {
    let mut found = Vec::new();
    let mode = url.option("sslmode");
    let verifies = matches!(url.tls(), TlsMode::Verified | TlsMode::VerifiedChain);
    match client {
        "libpq (psql, psycopg)" => match mode {
            _ if !verifies => {}
            None | Some("allow" | "prefer") => {
                found.push("TLS without verification, or none: add `sslmode=verify-full`".into())
            }
            Some("require") if url.option("sslrootcert").is_none() => found.push("TLS without verification".into()),
            _ => {}
        },
        "node-postgres" if verifies && mode.is_none() => found.push("no TLS: add `sslmode=verify-full`".into()),
        "node-postgres" if mode == Some("no-verify") => {}
        "postgres.js" => match mode {
            None if verifies => found.push("no TLS: add `sslmode=verify-full`".into()),
            Some("require" | "allow" | "prefer") if verifies => found.push("TLS without verification".into()),
            _ => {}
        },
        "Prisma" => match mode {
            Some("verify-full" | "verify-ca" | "allow") => {
                found.push("does not know this `sslmode` and takes `prefer` for it".into());
            }
            _ if verifies => found.push("TLS without verification unless `sslaccept=strict`".into()),
            _ => {}
        },
        "sqlx" if verifies && matches!(mode, None | Some("allow" | "prefer")) => {
            found.push("TLS without verification, or none: add `sslmode=verify-full`".into());
        }
        "sqlx" if verifies && mode == Some("require") => found.push("TLS without verification".into()),
        "pgx (Go)" if verifies && mode.is_none() => {
            found.push("TLS without verification, or none: add `sslmode=verify-full`".into());
        }
        "pgx (Go)" if verifies && mode == Some("require") => found.push("TLS without verification".into()),
        "pgx (Go)" if url.option("pgbouncer").is_some() || url.option("connection_limit").is_some() => {
            found.push("sends Prisma's parameters to the server as settings, which refuses them".into());
        }
        "asyncpg" if verifies && matches!(mode, None | Some("allow" | "prefer" | "require")) => {
            found.push("TLS without verification: add `sslmode=verify-full`".into());
        }
        _ if url.kind() == StoreKind::Mongodb && url.tls() == TlsMode::Verified && !url.asks_tls() => {
            found.push("no TLS: add `tls=true`".into());
        }
        _ => {}
    }
    found
}

/// The first parameter that libpq refuses.
fn not_of_libpq<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    let found = names.find(|name| !LIBPQ.iter().any(|(known, _)| known == name) && *name != "ssl")?;
    Some(match super::parameters::is_known(StoreKind::Postgres, found) {
        true => format!("refuses the parameter `{}`", shown(found)),
        false => "refuses a parameter".to_owned(),
    })
}

/// Decodes as JavaScript's `decodeURIComponent` does.
fn component(text: &str) -> Result<String, String> {
    super::decode(text).ok_or_else(|| "refuses a `%` that begins no escape of UTF-8".to_owned())
}

/// Decodes what can be decoded, as Python's `unquote` does.
fn leniently(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Reads a port as most libraries do.
fn number(text: &str) -> Result<Option<u16>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "takes something for the port that is no number".to_owned()),
    }
}

/// The parameters of a query, `+` being a space, as forms of web pages have it.
fn pairs(query: &str) -> Vec<(String, String)> {
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn value<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().rev().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

fn some(text: impl Into<String>) -> Option<String> {
    let text = text.into();
    (!text.is_empty()).then_some(text)
}
