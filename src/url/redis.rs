//! What only Redis' URLs have: parts that may all be left out, a database number, sockets with their own scheme,
//! a login among the parameters. The rules are those of the registered `redis` and `rediss` schemes.

use super::SecretUrl;
use super::parse::{decode_strictly, finish, invalid, place, read_login, read_options, read_path};
use super::problem::Problem;
use super::split::{Pieces, host};
use crate::error::Result;
use crate::kind::StoreKind;

const KIND: StoreKind = StoreKind::Redis;

/// Whether the path of such a URL is that of a socket.
pub(super) fn is_socket_scheme(scheme: &str) -> bool {
    scheme == "unix" || scheme.ends_with("+unix")
}

/// Reads the pieces that follow the login.
pub(super) fn read(mut url: SecretUrl, password: Option<String>, pieces: &Pieces<'_>) -> Result<SecretUrl> {
    match pieces.fragment {
        None => {}
        Some("insecure") => url.is_insecure = true,
        Some(_) => return Err(invalid(KIND, "a `#` follows the host; in a password it is written `%23`")),
    }
    if pieces.place.contains(',') {
        return Err(invalid(KIND, "it names several hosts; a Redis URL names one")
            .hint("name any one node of a cluster; lyrox asks it for the others"));
    }
    url.hosts = vec![match pieces.place {
        "" => place("localhost", None),
        text => match text.strip_prefix(':') {
            Some(port) => place("localhost", super::split::port(port).map_err(|why| invalid(KIND, why))?),
            None => host(text).map_err(|why| invalid(KIND, why))?,
        },
    }];
    url.database = read_path(KIND, pieces)?.map(number).transpose()?;
    url.options = read_options(KIND, pieces.query.unwrap_or(""), '&')?;
    let password = take_named_parts(&mut url, password)?;
    finish(url, password)
}

/// `unix:///path/to/redis.sock?db=1`, with the login before the path or as `user` and `pass`.
pub(super) fn socket(scheme: String, rest: &str, mut problems: Vec<Problem>) -> Result<SecretUrl> {
    let (before, query) = match rest.rsplit_once('?') {
        Some((before, query)) if query.contains('=') || query.is_empty() => (before, query),
        _ => (rest, ""),
    };
    let (login, path) = match before.rsplit_once("@/") {
        Some((login, path)) => (Some(login), format!("/{path}")),
        None => (None, before.to_owned()),
    };
    let path = decode_strictly(&path).map_err(|why| invalid(KIND, format!("the path of the socket {why}")))?;
    if !path.starts_with('/') || path.len() < 2 {
        return Err(invalid(KIND, "the path of the socket is missing: `unix:///path/to/redis.sock`"));
    }
    let (user, password) = login.map_or(Ok((None, None)), |login| read_login(KIND, login, &mut problems))?;
    let mut url = SecretUrl {
        kind: KIND,
        scheme,
        user,
        password: None,
        hosts: vec![place(path, None)],
        database: None,
        options: read_options(KIND, query, '&')?,
        is_insecure: false,
        problems,
    };
    let password = take_named_parts(&mut url, password)?;
    finish(url, password)
}

/// Login and database number may stand among the parameters; what stands at its own place wins.
fn take_named_parts(url: &mut SecretUrl, password: Option<String>) -> Result<Option<String>> {
    let mut take = |names: &[&str]| {
        let at = url.options.iter().position(|(key, _)| names.contains(&key.as_str()))?;
        Some(url.options.remove(at).1)
    };
    let (user, given, database) = (take(&["user", "username"]), take(&["password", "pass"]), take(&["db"]));
    url.user = url.user.take().or(user);
    let given_number = database.map(number).transpose()?;
    url.database = url.database.take().or(given_number);
    Ok(password.or(given))
}

/// A database number: digits, no leading zero.
fn number(text: String) -> Result<String> {
    let is_number = text.parse::<u32>().is_ok() && (text == "0" || !text.starts_with(['0', '+']));
    if is_number { Ok(text) } else { Err(invalid(KIND, "the database after the host is no number, such as `/0`")) }
}
