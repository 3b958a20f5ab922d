//! The reader: finds the parts of a URL even where the password holds raw reserved characters.

use percent_encoding::percent_decode_str;

use super::{Host, SecretUrl};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::secret::Secret;

/// Something odd about a URL that was nevertheless understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The password holds these reserved characters unencoded.
    RawPassword(String),
    /// A `%` in the login is not followed by two hex digits and was taken literally.
    StrayPercent,
    /// White space around the URL was cut off.
    Whitespace,
    /// A placeholder of a documentation page was left in.
    Placeholder(String),
}

/// Reads a URL for a store; odd but understood URLs pass.
///
/// # Errors
/// `LYX-URL-INVALID`, naming the part that is wrong and never its text where that could be a secret.
pub fn parse(kind: StoreKind, text: &str) -> Result<SecretUrl> {
    read(kind, text).map(|(url, _)| url)
}

/// Reads a URL and tells what is odd about it.
///
/// # Errors
/// As [`parse`].
pub fn read(kind: StoreKind, text: &str) -> Result<(SecretUrl, Vec<Problem>)> {
    let mut problems = Vec::new();
    let trimmed = text.trim();
    if trimmed.len() != text.len() {
        problems.push(Problem::Whitespace);
    }
    let invalid = |why: String| {
        Error::new(Code::UrlInvalid, format!("the {} URL cannot be read", kind.title()))
            .why(why)
            .hint("lyrox url inspect takes the URL apart and says what to mend")
    };
    let (scheme, rest) =
        trimmed.split_once("://").ok_or_else(|| invalid("it has no scheme such as `postgres://`".into()))?;
    let scheme = scheme.to_ascii_lowercase();
    if !schemes(kind).contains(&scheme.as_str()) {
        let shown: String =
            scheme.chars().filter(|c| c.is_ascii_alphanumeric() || "+-.".contains(*c)).take(20).collect();
        return Err(invalid(format!("the scheme is `{shown}`, not {}", schemes(kind).join(" or "))));
    }

    let (login, after) = split_login(rest);
    let (place, tail) = match after.find(['/', '?', '#']) {
        Some(at) => after.split_at(at),
        None => (after, ""),
    };
    let (path, query, fragment) = split_tail(tail);

    let (mut user, mut password) = (None, None);
    if let Some(login) = login {
        let (raw_user, raw_password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        if !raw_user.is_empty() {
            user = Some(decode_login(raw_user, &mut problems));
        }
        if let Some(raw) = raw_password {
            let reserved: String = {
                let mut seen = Vec::new();
                for c in raw.chars().filter(|c| "@:/?#[]%&+ \"'".contains(*c)) {
                    if !seen.contains(&c) && (c != '%' || !has_only_good_escapes(raw)) {
                        seen.push(c);
                    }
                }
                seen.into_iter().filter(|c| "@:/?#%[]".contains(*c)).collect()
            };
            if !reserved.is_empty() {
                problems.push(Problem::RawPassword(reserved));
            }
            let decoded = decode_login(raw, &mut problems);
            let lower = decoded.to_ascii_lowercase();
            for placeholder in ["[your-password]", "<password>", "<db_password>", "***", "your_password"] {
                if lower == placeholder {
                    problems.push(Problem::Placeholder(decoded.clone()));
                }
            }
            password = Some(decoded);
        }
    }

    let hosts = place.split(',').map(|text| host(kind, text).map_err(&invalid)).collect::<Result<Vec<_>>>()?;
    if scheme == "mongodb+srv" && (hosts.len() != 1 || hosts[0].port.is_some()) {
        return Err(invalid("`mongodb+srv` takes one host and no port; the ports come from DNS".into()));
    }
    let database = path
        .filter(|path| !path.is_empty())
        .map(|path| decode(path).ok_or_else(|| invalid("the path after the host holds a broken `%` escape".into())))
        .transpose()?;
    let mut options = Vec::new();
    for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let both = decode(key).zip(decode(value));
        options.push(both.ok_or_else(|| invalid("a parameter after the `?` holds a broken `%` escape".into()))?);
    }
    if let Some(fragment) = fragment {
        if kind == StoreKind::Redis && fragment == "insecure" {
            options.push(("#insecure".into(), "true".into()));
        } else {
            return Err(invalid("a `#` after the host; in a password it is written `%23`".into()));
        }
    }
    if kind == StoreKind::Redis
        && let Some(number) = &database
        && number.parse::<u32>().is_err()
    {
        return Err(invalid("the path after the host is a database number, such as `/0`".into()));
    }

    let password = password.map(|text| {
        // A password that is also an ordinary word of this URL cannot be told from that word.
        let is_word = user.as_deref() == Some(&text)
            || database.as_deref() == Some(&text)
            || hosts.iter().any(|host| host.name == text)
            || ["postgres", "postgresql", "mongodb", "redis", "lyrox", "localhost"].contains(&text.as_str());
        if is_word { Secret::unregistered(text) } else { Secret::new(text) }
    });
    for (key, value) in &options {
        if ["password", "sslpassword", "tlscertificatekeyfilepassword"].contains(&key.to_ascii_lowercase().as_str()) {
            crate::secret::register(value);
        }
    }
    Ok((SecretUrl { kind, scheme, user, password, hosts, database, options }, problems))
}

fn schemes(kind: StoreKind) -> &'static [&'static str] {
    match kind {
        StoreKind::Postgres => &["postgres", "postgresql"],
        StoreKind::Mongodb => &["mongodb", "mongodb+srv"],
        StoreKind::Redis => &["redis", "rediss", "valkey", "valkeys"],
    }
}

/// Splits at the last `@` whose right side begins with something that reads as hosts.
fn split_login(rest: &str) -> (Option<&str>, &str) {
    let mut candidates: Vec<usize> = rest.match_indices('@').map(|(at, _)| at).collect();
    candidates.reverse();
    for at in &candidates {
        let right = &rest[at + 1..];
        let place = right.split(['/', '?', '#']).next().unwrap_or("");
        let reads_as_hosts = place.split(',').all(|text| host(StoreKind::Postgres, text).is_ok() && !text.is_empty());
        // An `@` inside a query belongs to the query if the part before it already has its login.
        let in_query = rest[..*at].contains('?') && rest[..*at].contains('@') && {
            let first = rest.find('@').unwrap_or(0);
            rest[first + 1..*at].contains('?')
                && !rest[first + 1..*at].contains('@')
                && reads_as_place(&rest[first + 1..*at])
        };
        if reads_as_hosts && !in_query {
            return (Some(&rest[..*at]), right);
        }
    }
    match candidates.last() {
        Some(at) => (Some(&rest[..*at]), &rest[at + 1..]),
        None => (None, rest),
    }
}

fn reads_as_place(text: &str) -> bool {
    let place = text.split(['/', '?', '#']).next().unwrap_or("");
    !place.is_empty() && place.split(',').all(|text| host(StoreKind::Postgres, text).is_ok())
}

fn split_tail(tail: &str) -> (Option<&str>, Option<&str>, Option<&str>) {
    let (tail, fragment) = match tail.split_once('#') {
        Some((before, fragment)) => (before, Some(fragment)),
        None => (tail, None),
    };
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (tail, None),
    };
    (path.strip_prefix('/'), query, fragment)
}

fn host(kind: StoreKind, text: &str) -> Result<Host, String> {
    let (name, port) = if let Some(inner) = text.strip_prefix('[') {
        let (name, after) = inner.split_once(']').ok_or("an IPv6 address has no closing `]`")?;
        name.parse::<std::net::Ipv6Addr>().map_err(|_| "the brackets hold no IPv6 address")?;
        (name.to_owned(), after.strip_prefix(':'))
    } else {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        (decode(name).ok_or("the host holds a broken `%` escape")?, port)
    };
    if name.contains(':') && !text.starts_with('[') {
        return Err("an IPv6 address needs brackets: `[::1]:5432`".into());
    }
    let is_name =
        name.starts_with('/') || (!name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-._:".contains(c)));
    if !is_name {
        return Err(if name.is_empty() {
            "the host is missing".into()
        } else {
            format!(
                "the host is not a name or an address; a raw `@ : / ? #` in the {} password splits it wrongly",
                kind.title()
            )
        });
    }
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse::<u16>() {
            Ok(port) if port > 0 => Some(port),
            _ => return Err("the port is not a number from 1 to 65535".into()),
        },
    };
    Ok(Host { name, port })
}

fn has_only_good_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.match_indices('%')
        .all(|(at, _)| bytes.len() > at + 2 && bytes[at + 1].is_ascii_hexdigit() && bytes[at + 2].is_ascii_hexdigit())
}

fn decode_login(raw: &str, problems: &mut Vec<Problem>) -> String {
    match decode(raw) {
        Some(decoded) => decoded,
        None => {
            problems.push(Problem::StrayPercent);
            raw.to_owned()
        }
    }
}

/// Percent-decodes; none where a `%` is not followed by two hex digits or the bytes are no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !has_only_good_escapes(text) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}
