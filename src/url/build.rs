//! Puts a URL together from its parts.

use super::parse::{invalid, parse, schemes};
use super::split::host;
use super::{Host, SecretUrl};
use crate::error::{Error, Result};
use crate::kind::StoreKind;
use crate::secret::Secret;

/// The parts of a URL, as a person names them.
pub struct Parts {
    /// The store.
    pub kind: StoreKind,
    /// The user.
    pub user: Option<String>,
    /// The password, as it is.
    pub password: Option<String>,
    /// Hosts: `name`, `name:port`, `[address]:port`, an address without brackets, the path of a socket.
    pub hosts: Vec<String>,
    /// The port of hosts that were given without one.
    pub port: Option<u16>,
    /// The database, or Redis' database number.
    pub database: Option<String>,
    /// Parameters after the `?`.
    pub options: Vec<(String, String)>,
    /// TLS with the certificate verified.
    pub is_tls: bool,
    /// MongoDB's hosts are looked up in DNS.
    pub is_srv: bool,
}

/// Puts a URL together; what comes out reads back to the same parts.
///
/// # Errors
/// `LYX-URL-INVALID`, naming the part that is wrong.
pub fn build(parts: Parts) -> Result<SecretUrl> {
    let kind = parts.kind;
    let wrong = |why: &str| invalid(kind, why).hint("lyrox url build --help shows each part with an example");
    if parts.is_srv && kind != StoreKind::Mongodb {
        return Err(wrong("only MongoDB's hosts are looked up in DNS"));
    }
    let read = |text: &String| {
        let host = if text.starts_with('/') || text.parse::<std::net::Ipv6Addr>().is_ok() {
            Host { name: text.clone(), port: None }
        } else {
            host(text).map_err(wrong)?
        };
        let default = if host.is_socket() && kind != StoreKind::Postgres { None } else { parts.port };
        Ok(Host { port: host.port.or(default), ..host })
    };
    let hosts = parts.hosts.iter().map(read).collect::<Result<Vec<_>>>()?;
    let is_socket = hosts.iter().any(Host::is_socket);
    let mut options = parts.options;
    let scheme = match kind {
        StoreKind::Mongodb if parts.is_srv => "mongodb+srv",
        StoreKind::Redis if is_socket => "unix",
        StoreKind::Redis if parts.is_tls => "rediss",
        _ => schemes(kind)[0],
    };
    let asked = match kind {
        StoreKind::Postgres => Some(("sslmode", "verify-full")),
        StoreKind::Mongodb if !parts.is_srv => Some(("tls", "true")),
        _ => None,
    };
    if let Some((key, value)) = asked.filter(|(key, _)| parts.is_tls && !options.iter().any(|(given, _)| given == key))
    {
        options.push((key.into(), value.into()));
    }
    let url = SecretUrl {
        kind,
        scheme: scheme.into(),
        user: parts.user,
        password: parts.password.map(Secret::unregistered),
        hosts,
        database: parts.database.filter(|database| !database.is_empty()),
        options,
        is_insecure: false,
        problems: Vec::new(),
    };
    let again = parse(kind, &url.expose())?;
    let is_same = again.hosts == url.hosts
        && again.user == url.user
        && again.password.as_ref().map(Secret::expose) == url.password.as_ref().map(Secret::expose)
        && again.database == url.database;
    if is_same { Ok(again) } else { Err(Error::bug("a URL does not read back to its parts")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(kind: StoreKind, hosts: &[&str]) -> Parts {
        Parts {
            kind,
            user: Some("me".into()),
            password: Some("p??s@s".into()),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            port: Some(1234),
            database: (kind != StoreKind::Redis)
                .then(|| if kind == StoreKind::Postgres { "my db" } else { "my-db" }.into()),
            options: Vec::new(),
            is_tls: true,
            is_srv: false,
        }
    }

    #[test]
    fn parts_become_a_url_that_every_client_reads() {
        let url = |parts| build(parts).expect("a URL").expose();
        assert_eq!(
            url(parts(StoreKind::Postgres, &["a", "b:5"])),
            "postgresql://me:p%3F%3Fs%40s@a:1234,b:5/my%20db?sslmode=verify-full"
        );
        assert_eq!(url(parts(StoreKind::Mongodb, &["::1"])), "mongodb://me:p%3F%3Fs%40s@[::1]:1234/my-db?tls=true");
        assert_eq!(url(parts(StoreKind::Redis, &["r.example"])), "rediss://me:p%3F%3Fs%40s@r.example:1234");
        assert_eq!(url(parts(StoreKind::Redis, &["/run/r.sock"])), "unix://me:p%3F%3Fs%40s@/run/r.sock");
        let srv = Parts { port: None, is_srv: true, ..parts(StoreKind::Mongodb, &["c.mongodb.net"]) };
        assert_eq!(url(srv), "mongodb+srv://me:p%3F%3Fs%40s@c.mongodb.net/my-db");
        for bad in ["a@b", "a/b", "", "a:b:c", "a:0"] {
            assert!(build(parts(StoreKind::Postgres, &[bad])).is_err(), "{bad}");
        }
    }
}
