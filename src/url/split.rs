//! Cuts a URL into its raw pieces, even where the password holds raw reserved characters. Decodes nothing.
//!
//! The login ends at the last `@` whose right side begins with something that reads as hosts, whatever
//! the login holds. One exception: an `@` inside a query of known parameters belongs to the query.

use super::Host;
use super::parse::decode;
use crate::kind::StoreKind;

/// The raw pieces of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pieces<'a> {
    /// What stands before the `@`, where there is one.
    pub login: Option<&'a str>,
    /// Hosts and ports.
    pub place: &'a str,
    /// What follows the `/`.
    pub path: Option<&'a str>,
    /// What follows the `?`.
    pub query: Option<&'a str>,
    /// What follows the `#`.
    pub fragment: Option<&'a str>,
}

/// Cuts what follows `scheme://`.
pub fn split(kind: StoreKind, rest: &str) -> Pieces<'_> {
    // Every way to read it: without a login, or with a login that ends at one of the `@`.
    let ways = std::iter::once(0).chain(rest.match_indices('@').map(|(at, _)| at + 1));
    let readable: Vec<(usize, Pieces<'_>)> =
        ways.map(|start| (start, tail(&rest[start..]))).filter(|(_, pieces)| reads_as_hosts(pieces.place)).collect();
    let has_at_in_query = |pieces: &Pieces<'_>| {
        !pieces.path.is_some_and(|path| path.contains('@'))
            && pieces.query.is_some_and(|query| query.contains('@') && has_only_known_parameters(kind, query))
    };
    let chosen = readable.iter().find(|(_, pieces)| has_at_in_query(pieces)).or_else(|| {
        let needs_login = rest.contains('@');
        readable.iter().rev().find(|(start, _)| *start > 0 || !needs_login)
    });
    let (start, pieces) = match chosen {
        Some((start, pieces)) => (*start, *pieces),
        // Nothing reads as hosts: the error is about what follows the last `@`.
        None => {
            let start = rest.rfind('@').map_or(0, |at| at + 1);
            (start, tail(&rest[start..]))
        }
    };
    Pieces { login: (start > 0).then(|| &rest[..start - 1]), ..pieces }
}

fn tail(text: &str) -> Pieces<'_> {
    let (place, after) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    let (after, fragment) = match after.split_once('#') {
        Some((after, fragment)) => (after, Some(fragment)),
        None => (after, None),
    };
    let (path, query) = match after.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (after, None),
    };
    Pieces { login: None, place, path: path.strip_prefix('/'), query, fragment }
}

fn reads_as_hosts(place: &str) -> bool {
    place.split(',').all(|text| host(text).is_ok())
}

/// Reads `name`, `name:port`, `[address]:port` or the percent-encoded path of a socket.
///
/// # Errors
/// What is wrong, without the text: it may be a piece of a password.
pub fn host(text: &str) -> Result<Host, &'static str> {
    let (name, port) = if let Some(inner) = text.strip_prefix('[') {
        let (name, after) = inner.split_once(']').ok_or("an IPv6 address has no closing `]`")?;
        let address = name.split('%').next().unwrap_or(name);
        address.parse::<std::net::Ipv6Addr>().map_err(|_| "the brackets hold no IPv6 address")?;
        let port = match after {
            "" => None,
            _ => Some(after.strip_prefix(':').ok_or("an IPv6 address is followed by something other than a port")?),
        };
        (decode(name).unwrap_or_else(|| name.to_owned()), port)
    } else {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        if name.contains(':') {
            return Err("the host has two colons; an IPv6 address needs brackets: `[::1]`");
        }
        (decode(name).ok_or("the host holds a broken `%` escape")?, port)
    };
    let is_name = |c: char| c.is_alphanumeric() || "-._".contains(c);
    let is_good = name.contains(':') || (name.starts_with('/') && !name.contains('\0')) || name.chars().all(is_name);
    if name.is_empty() {
        return Err("the host is missing");
    }
    if !is_good {
        return Err("the host is neither a name nor an address");
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("the port is not a number from 1 to 65535"),
        },
    };
    Ok(Host { name, port })
}

fn has_only_known_parameters(kind: StoreKind, query: &str) -> bool {
    query.split('&').filter(|pair| !pair.is_empty()).all(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        known_parameters(kind).iter().any(|known| known.eq_ignore_ascii_case(name))
    })
}

/// The parameters that clients of a store understand after the `?`.
pub fn known_parameters(kind: StoreKind) -> &'static [&'static str] {
    match kind {
        StoreKind::Postgres => &[
            "application_name",
            "channel_binding",
            "client_encoding",
            "connect_timeout",
            "connection_limit",
            "dbname",
            "endpoint",
            "fallback_application_name",
            "gssencmode",
            "host",
            "hostaddr",
            "keepalives",
            "keepalives_count",
            "keepalives_idle",
            "keepalives_interval",
            "krbsrvname",
            "load_balance_hosts",
            "options",
            "passfile",
            "password",
            "pgbouncer",
            "pool_timeout",
            "port",
            "prepareThreshold",
            "require_auth",
            "schema",
            "service",
            "socket_timeout",
            "ssl",
            "sslaccept",
            "sslcert",
            "sslcrl",
            "sslidentity",
            "sslkey",
            "ssl_min_protocol_version",
            "sslmode",
            "sslnegotiation",
            "sslpassword",
            "sslrootcert",
            "sslsni",
            "statement-cache-capacity",
            "statement_cache_size",
            "supa",
            "target_session_attrs",
            "tcp_user_timeout",
            "user",
        ],
        StoreKind::Mongodb => &[
            "appName",
            "authMechanism",
            "authMechanismProperties",
            "authSource",
            "compressors",
            "connectTimeoutMS",
            "directConnection",
            "heartbeatFrequencyMS",
            "journal",
            "loadBalanced",
            "localThresholdMS",
            "maxConnecting",
            "maxIdleTimeMS",
            "maxPoolSize",
            "maxStalenessSeconds",
            "minPoolSize",
            "proxyHost",
            "proxyPassword",
            "proxyPort",
            "proxyUsername",
            "readConcernLevel",
            "readPreference",
            "readPreferenceTags",
            "replicaSet",
            "retryReads",
            "retryWrites",
            "serverMonitoringMode",
            "serverSelectionTimeoutMS",
            "serverSelectionTryOnce",
            "socketTimeoutMS",
            "srvMaxHosts",
            "srvServiceName",
            "ssl",
            "timeoutMS",
            "tls",
            "tlsAllowInvalidCertificates",
            "tlsAllowInvalidHostnames",
            "tlsCAFile",
            "tlsCertificateKeyFile",
            "tlsCertificateKeyFilePassword",
            "tlsDisableCertificateRevocationCheck",
            "tlsDisableOCSPEndpointCheck",
            "tlsInsecure",
            "uuidRepresentation",
            "w",
            "waitQueueMultiple",
            "waitQueueTimeoutMS",
            "wTimeoutMS",
            "zlibCompressionLevel",
        ],
        StoreKind::Redis => {
            &["client_name", "connection_limit", "db", "family", "pass", "password", "protocol", "user"]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(rest: &str) -> (Option<&str>, &str, Option<&str>) {
        let pieces = split(StoreKind::Postgres, rest);
        (pieces.login, pieces.place, pieces.query)
    }

    #[test]
    fn the_login_ends_at_the_last_at_before_hosts() {
        for (text, login, place) in [
            ("u:p@h/db", "u:p", "h"),
            ("u:p@ss@h:1/db", "u:p@ss", "h:1"),
            ("u:p/ss@h", "u:p/ss", "h"),
            ("u:??@h:5432/db", "u:??", "h:5432"),
            ("u:p#s?s/@a,b:2/db", "u:p#s?s/", "a,b:2"),
            ("u:a@b/c@d.e/db", "u:a@b/c", "d.e"),
            ("u:@@:@[::1]:5/db", "u:@@:", "[::1]:5"),
            ("u:p@%2Fvar%2Frun/db", "u:p", "%2Fvar%2Frun"),
        ] {
            let (found, hosts, _) = cut(text);
            assert_eq!((found, hosts), (Some(login), place), "{text}");
        }
        assert_eq!(cut("h:5/db"), (None, "h:5", None));
    }

    #[test]
    fn an_at_in_a_query_of_known_parameters_belongs_to_the_query() {
        let query = Some("application_name=me@home&sslmode=require");
        assert_eq!(cut("u:p@h/db?application_name=me@home&sslmode=require"), (Some("u:p"), "h", query));
        assert_eq!(cut("h/db?application_name=me@home&sslmode=require"), (None, "h", query));
        assert_eq!(cut("u:p@x@h/db?application_name=me@home&sslmode=require"), (Some("u:p@x"), "h", query));
        // `tail=` is no parameter: the whole is a password with raw characters.
        assert_eq!(cut("u:p@h?tail=x@real/db"), (Some("u:p@h?tail=x"), "real", None));
    }
}
