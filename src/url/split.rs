//! Cuts a URL into its raw pieces, even where the password holds raw reserved characters. Decodes nothing.
//!
//! The login ends at the last `@` whose right side begins with something that reads as hosts, whatever
//! the login holds. Two exceptions: an `@` inside a query of known parameters belongs to the query, and one after
//! a `/` belongs to the path where what stands before it could only be a user with a raw `/` and no password.

use super::parse::decode;
use super::{Host, parameters};
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
    let readable: Vec<(usize, Pieces<'_>)> = ways
        .map(|start| (start, tail(kind, &rest[start..])))
        .filter(|(_, pieces)| reads_as_hosts(kind, pieces.place))
        .collect();
    let has_at_in_query = |pieces: &Pieces<'_>| {
        !pieces.path.is_some_and(|path| path.contains('@'))
            && pieces.query.is_some_and(|query| query.contains('@') && has_only_known_parameters(kind, query))
    };
    let has_plain_start = readable.first().is_some_and(|(start, pieces)| *start == 0 && !pieces.place.is_empty());
    let is_path = |start: usize| {
        let login = &rest[..start.saturating_sub(1)];
        has_plain_start && start > 0 && login.contains('/') && !login.contains(':')
    };
    let chosen = readable.iter().find(|(_, pieces)| has_at_in_query(pieces)).or_else(|| {
        let needs_login = rest.match_indices('@').any(|(at, _)| !is_path(at + 1));
        readable.iter().rev().find(|(start, _)| if *start > 0 { !is_path(*start) } else { !needs_login })
    });
    let (start, pieces) = match chosen {
        Some((start, pieces)) => (*start, *pieces),
        // Nothing reads as hosts: the error is about what follows the last `@`.
        None => {
            let start = rest.rfind('@').map_or(0, |at| at + 1);
            (start, tail(kind, &rest[start..]))
        }
    };
    Pieces { login: (start > 0).then(|| &rest[..start - 1]), ..pieces }
}

/// A `#` begins a fragment in Redis' URLs only; PostgreSQL and MongoDB know none, so that it stands for itself in
/// a path or a query. Right after the hosts it can be neither.
fn tail(kind: StoreKind, text: &str) -> Pieces<'_> {
    let (place, after) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
    let (after, fragment) = match after.split_once('#') {
        Some((before, fragment)) if kind == StoreKind::Redis || before.is_empty() => (before, Some(fragment)),
        _ => (after, None),
    };
    let (path, query) = match after.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (after, None),
    };
    Pieces { login: None, place, path: path.strip_prefix('/'), query, fragment }
}

fn reads_as_hosts(kind: StoreKind, place: &str) -> bool {
    match kind {
        // Every field of these is optional.
        StoreKind::Redis if place.is_empty() => true,
        StoreKind::Postgres => {
            place.split(',').all(|text| text.is_empty() || text.starts_with(':') || host(text).is_ok())
        }
        _ => place.split(',').all(|text| host(text).is_ok()),
    }
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
    let port = port.map_or(Ok(None), self::port)?;
    Ok(Host { name, port })
}

/// Reads a port; an empty one is none.
///
/// # Errors
/// What is wrong, without the text.
pub fn port(text: &str) -> Result<Option<u16>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    // `parse` would take a sign.
    let number = text.parse::<u16>().ok().filter(|port| *port > 0 && text.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(Some).ok_or("the port is not a number from 1 to 65535")
}

fn has_only_known_parameters(kind: StoreKind, query: &str) -> bool {
    query.split('&').filter(|pair| !pair.is_empty()).all(|pair| {
        let name = pair.split('=').next().unwrap_or("");
        parameters::is_known(kind, name)
    })
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
