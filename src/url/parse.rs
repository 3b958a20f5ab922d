//! The reader: decodes the pieces of a URL and says what is odd about them. What only one store's URLs have is
//! in that store's file. A message never quotes a piece: what looks like a host may be the tail of a password.

use percent_encoding::percent_decode_str;

use super::problem::{Problem, is_placeholder};
use super::split::{Pieces, split};
use super::{Host, SecretUrl, keywords, mongodb, postgres, redis};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::secret::Secret;

/// Reads a URL for a store; odd but understood URLs pass, and keep their [`SecretUrl::problems`].
///
/// # Errors
/// `LYX-URL-INVALID`, naming the part that is wrong and never its text, which could be a secret.
pub fn parse(kind: StoreKind, text: &str) -> Result<SecretUrl> {
    let (trimmed, mut problems) = trimmed(text);
    if kind == StoreKind::Postgres && keywords::is_form(trimmed) {
        return keywords::parse(trimmed, problems);
    }
    let (scheme, rest) = trimmed
        .split_once("://")
        .ok_or_else(|| invalid(kind, format!("it does not begin with a scheme such as `{}://`", schemes(kind)[0])))?;
    let scheme = scheme.to_ascii_lowercase();
    check_scheme(kind, &scheme)?;
    if redis::is_socket_scheme(&scheme) {
        return redis::socket(scheme, rest, problems);
    }

    let pieces = split(kind, rest);
    if [Some(pieces.place), pieces.path, pieces.query].into_iter().flatten().any(|piece| piece.contains(is_blank)) {
        problems.push(Problem::InnerWhitespace);
    }
    if pieces.path.into_iter().chain(pieces.query).any(|piece| piece.contains('#')) {
        problems.push(Problem::RawFragment);
    }
    let (user, password) = match pieces.login {
        Some(login) => read_login(kind, login, &mut problems)?,
        None => (None, None),
    };
    let url = SecretUrl {
        kind,
        scheme,
        user,
        password: None,
        hosts: Vec::new(),
        database: None,
        options: Vec::new(),
        is_insecure: false,
        problems,
    };
    match kind {
        StoreKind::Postgres => postgres::read(url, password, &pieces),
        StoreKind::Mongodb => mongodb::read(url, password, &pieces),
        StoreKind::Redis => redis::read(url, password, &pieces),
    }
}

/// Reads a URL and tells what is odd about it.
///
/// # Errors
/// As [`parse`].
pub fn read(kind: StoreKind, text: &str) -> Result<(SecretUrl, Vec<Problem>)> {
    let url = parse(kind, text)?;
    let problems = url.problems.clone();
    Ok((url, problems))
}

/// The store that a URL is for, by its scheme.
///
/// # Errors
/// `LYX-URL-INVALID` where the scheme is none of a store's.
pub fn kind_of(text: &str) -> Result<StoreKind> {
    let (text, _) = trimmed(text);
    if keywords::is_form(text) {
        return Ok(StoreKind::Postgres);
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let known = |scheme: &String| StoreKind::ALL.into_iter().find(|kind| schemes(*kind).contains(&scheme.as_str()));
    scheme.as_ref().and_then(known).ok_or_else(|| {
        let error = Error::new(Code::UrlInvalid, "the URL is for none of the stores");
        match scheme.as_deref().and_then(foreign_scheme) {
            Some((what, hint)) => error.why(what).hint(hint),
            None => error.why("its scheme is none that is known").hint(
                "PostgreSQL: `postgresql://`; MongoDB: `mongodb://`, `mongodb+srv://`; Redis: `redis://`, `rediss://`",
            ),
        }
    })
}

pub(super) fn invalid(kind: StoreKind, why: impl Into<String>) -> Error {
    Error::new(Code::UrlInvalid, format!("the {} URL cannot be read", kind.title())).why(why).hint(
        "user:password@host:port/database; encode a password with lyrox url encode, or put the URL together with lyrox url build",
    )
}

/// The schemes of a store's URLs; the usual one first.
pub fn schemes(kind: StoreKind) -> &'static [&'static str] {
    match kind {
        StoreKind::Postgres => &["postgresql", "postgres"],
        StoreKind::Mongodb => &["mongodb", "mongodb+srv"],
        StoreKind::Redis => &["redis", "rediss", "valkey", "valkeys", "unix", "redis+unix", "valkey+unix"],
    }
}

/// Cuts off what surrounds a URL: white space, and quotes that a reader of `.env` files left on.
fn trimmed(text: &str) -> (&str, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut inner = text.trim();
    if inner.len() != text.len() {
        problems.push(Problem::Whitespace);
    }
    for quote in ['"', '\''] {
        if let Some(within) = inner.strip_prefix(quote).and_then(|inner| inner.strip_suffix(quote)) {
            problems.push(Problem::Quoted);
            inner = within.trim();
            break;
        }
    }
    (inner, problems)
}

fn check_scheme(kind: StoreKind, scheme: &str) -> Result<()> {
    if schemes(kind).contains(&scheme) {
        return Ok(());
    }
    let error = |why: String| invalid(kind, why);
    if let Some(other) = StoreKind::ALL.into_iter().find(|other| schemes(*other).contains(&scheme)) {
        return Err(error(format!("its scheme is {}'s", other.title())).hint(format!(
            "a {} URL begins with `{}://`",
            kind.title(),
            schemes(kind)[0]
        )));
    }
    Err(match foreign_scheme(scheme) {
        Some((what, hint)) => error(what.into()).hint(hint),
        // What stands before `://` is not shown: it may be a piece of a password.
        None => error(format!("it does not begin with `{}://`", schemes(kind)[0])),
    })
}

/// Schemes that people paste, and what to write instead.
fn foreign_scheme(scheme: &str) -> Option<(&'static str, &'static str)> {
    Some(match scheme {
        "http" | "https" => (
            "it is a web address",
            "use the server's own URL from the provider's dashboard; Upstash: `rediss://...`, not the REST URL",
        ),
        "prisma" | "prisma+postgres" => (
            "it is an address of Prisma's proxy, which only Prisma can use",
            "use the database's own `postgresql://` URL",
        ),
        "jdbc:postgresql" => ("it is a JDBC address", "leave `jdbc:` out and put the login before the host"),
        "redis-sentinel" | "redis+sentinel" | "rediss-sentinel" => {
            ("it names sentinels, not a server", "use the URL of the server that the sentinels watch")
        }
        "redis-socket" | "redis+socket" => {
            ("it is one client's own form of a socket", "write `unix:///path/to/redis.sock?db=0`")
        }
        "mongodb+tls" | "mongodb+ssl" => ("it is no scheme of MongoDB's", "write `mongodb://...?tls=true`"),
        "mysql" | "mariadb" | "sqlserver" | "sqlite" | "file" => {
            ("it is for a database that lyrox does not work with", "the stores are PostgreSQL, MongoDB and Redis")
        }
        _ if scheme.starts_with("postgresql+") || scheme.starts_with("postgres+") => {
            ("what follows the `+` is the name of a driver", "write `postgresql://`")
        }
        _ => return None,
    })
}

pub(super) type Login = (Option<String>, Option<String>);

pub(super) fn read_login(kind: StoreKind, login: &str, problems: &mut Vec<Problem>) -> Result<Login> {
    let (raw_user, raw_password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        // A Redis user without a password cannot log in; redis-cli reads a lone word as the password.
        None if kind == StoreKind::Redis && !login.is_empty() => {
            problems.push(Problem::LoneWord);
            ("", Some(login))
        }
        None => (login, None),
    };
    let in_user = reserved(raw_user);
    if !in_user.is_empty() {
        problems.push(Problem::RawUser(in_user));
    }
    let in_password = raw_password.map(reserved).unwrap_or_default();
    if !in_password.is_empty() {
        problems.push(Problem::RawPassword(in_password));
    }
    let user = (!raw_user.is_empty()).then(|| decode_or_keep(kind, raw_user, problems)).transpose()?;
    let password = raw_password.map(|raw| decode_or_keep(kind, raw, problems)).transpose()?;
    Ok((user, password))
}

/// The characters of a piece that have to be encoded, each once.
fn reserved(raw: &str) -> String {
    let mut found = String::new();
    let is_bad_percent = |c: char| c == '%' && !has_only_good_escapes(raw);
    for c in raw.chars().filter(|c| "@:/?#[]".contains(*c) || is_blank(*c) || is_bad_percent(*c)) {
        if !found.contains(c) {
            found.push(c);
        }
    }
    found
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

/// The pairs after the `?`. A value may lack; a name may not.
pub(super) fn read_options(kind: StoreKind, query: &str, separator: char) -> Result<Vec<(String, String)>> {
    let decoded =
        |text: &str| decode_strictly(text).map_err(|why| invalid(kind, format!("a parameter after the `?` {why}")));
    let pairs = query.split(separator).filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(key)?, decoded(value)?))
        })
        .collect()
}

/// The path after the hosts; an empty one is none.
pub(super) fn read_path(kind: StoreKind, pieces: &Pieces<'_>) -> Result<Option<String>> {
    let Some(path) = pieces.path.filter(|path| !path.is_empty()) else { return Ok(None) };
    decode_strictly(path).map(Some).map_err(|why| invalid(kind, format!("the path after the host {why}")))
}

/// Puts the password in, registered where it can be told from the other words of the URL.
pub(super) fn finish(mut url: SecretUrl, password: Option<String>) -> Result<SecretUrl> {
    if let Some(text) = password {
        if is_placeholder(&text) {
            url.problems.push(Problem::Placeholder);
        }
        let is_word = url.user.as_deref() == Some(&text)
            || url.database.as_deref() == Some(&text)
            || url.hosts.iter().any(|host| host.name == text)
            || ["postgres", "postgresql", "mongodb", "redis", "lyrox", "localhost"].contains(&text.as_str());
        url.password = Some(if is_word { Secret::unregistered(text) } else { Secret::new(text) });
    }
    for (key, value) in &url.options {
        if super::is_secret_option(key) {
            crate::secret::register(value);
        }
    }
    let is_left_over =
        |text: &str| is_placeholder(text) || (text.starts_with(['[', '<', '{']) && text.ends_with([']', '>', '}']));
    let words = [url.user.as_deref(), url.database.as_deref()].into_iter().flatten();
    if words.chain(url.hosts.iter().map(|host| host.name.as_str())).any(is_left_over) {
        url.problems.push(Problem::PlaceholderElsewhere);
    }
    Ok(url)
}

pub(super) fn place(name: impl Into<String>, port: Option<u16>) -> Host {
    Host { name: name.into(), port }
}

pub(super) fn has_only_good_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.match_indices('%')
        .all(|(at, _)| bytes.len() > at + 2 && bytes[at + 1].is_ascii_hexdigit() && bytes[at + 2].is_ascii_hexdigit())
}

/// Decodes a piece of the login; one that was never encoded is kept as it is.
fn decode_or_keep(kind: StoreKind, raw: &str, problems: &mut Vec<Problem>) -> Result<String> {
    if !has_only_good_escapes(raw) {
        if !problems.contains(&Problem::StrayPercent) {
            problems.push(Problem::StrayPercent);
        }
        return Ok(raw.to_owned());
    }
    decode_strictly(raw).map_err(|why| invalid(kind, format!("the login before the `@` {why}")))
}

/// Percent-decodes, or says what is wrong with the piece.
pub(super) fn decode_strictly(text: &str) -> Result<String, &'static str> {
    if !has_only_good_escapes(text) {
        return Err("holds a `%` without two hex digits after it");
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| {
        "holds escapes that are no UTF-8 (as a tool makes them that takes text for Latin-1); lyrox url encode writes UTF-8"
    })?;
    if text.contains("%00") || decoded.contains('\0') {
        return Err("holds a NUL byte (`%00`)");
    }
    Ok(decoded.into_owned())
}

/// Percent-decodes; none where a `%` is not followed by two hex digits or the bytes are no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !has_only_good_escapes(text) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
