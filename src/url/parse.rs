//! The reader: decodes the pieces of a URL and says what is odd about them. A message never quotes a
//! piece: what looks like a host may be the tail of a password.

use percent_encoding::percent_decode_str;

use super::problem::{PLACEHOLDERS, Problem};
use super::split::{host, split};
use super::{Host, SecretUrl};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::secret::Secret;

/// Reads a URL for a store; odd but understood URLs pass, and keep their [`SecretUrl::problems`].
///
/// # Errors
/// `LYX-URL-INVALID`, naming the part that is wrong and never its text, which could be a secret.
pub fn parse(kind: StoreKind, text: &str) -> Result<SecretUrl> {
    let mut problems = Vec::new();
    let trimmed = text.trim();
    if trimmed.len() != text.len() {
        problems.push(Problem::Whitespace);
    }
    let (scheme, rest) = trimmed
        .split_once("://")
        .ok_or_else(|| invalid(kind, format!("it does not begin with a scheme such as `{}://`", schemes(kind)[0])))?;
    let scheme = scheme.to_ascii_lowercase();
    check_scheme(kind, &scheme)?;
    if is_socket_scheme(&scheme) {
        return socket(kind, scheme, rest, problems);
    }

    let pieces = split(kind, rest);
    let (user, password) = match pieces.login {
        Some(login) => read_login(kind, login, &mut problems),
        None => (None, None),
    };
    let options = read_options(kind, pieces.query.unwrap_or(""))?;
    let mut url = SecretUrl {
        kind,
        scheme,
        user,
        password: None,
        hosts: Vec::new(),
        database: read_path(kind, pieces.path)?,
        options,
        is_insecure: false,
        problems,
    };
    match pieces.fragment {
        None => {}
        Some("insecure") if kind == StoreKind::Redis => url.is_insecure = true,
        Some(_) => return Err(invalid(kind, "a `#` follows the host; in a password it is written `%23`")),
    }
    // libpq takes the parts as parameters too: `postgresql:///db?host=/var/run/postgresql`.
    let mut password = password;
    let named = if kind == StoreKind::Postgres { take_named_parts(&mut url, &mut password)? } else { Vec::new() };
    url.hosts = if !named.is_empty() && pieces.place.is_empty() {
        named
    } else {
        let read = |text| host(text).map_err(|why| invalid(kind, why));
        pieces.place.split(',').map(read).collect::<Result<Vec<_>>>()?
    };
    if url.is_srv() && (url.hosts.len() != 1 || url.hosts[0].port.is_some()) {
        return Err(invalid(kind, "`mongodb+srv` takes one host and no port; the ports come from DNS"));
    }
    finish(url, password)
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
    let scheme = text.trim().split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
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

fn is_socket_scheme(scheme: &str) -> bool {
    scheme == "unix" || scheme.ends_with("+unix")
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
        "redis-sentinel" | "redis+sentinel" => {
            ("it names sentinels, not a server", "use the URL of the server that the sentinels watch")
        }
        "mysql" | "mariadb" | "sqlserver" | "sqlite" | "file" => {
            ("it is for a database that lyrox does not work with", "the stores are PostgreSQL, MongoDB and Redis")
        }
        _ if scheme.starts_with("postgresql+") || scheme.starts_with("postgres+") => {
            ("what follows the `+` is the name of a driver", "write `postgresql://`")
        }
        _ => return None,
    })
}

fn read_login(kind: StoreKind, login: &str, problems: &mut Vec<Problem>) -> (Option<String>, Option<String>) {
    let (raw_user, raw_password) = match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        // A Redis user without a password cannot log in; redis-cli reads a lone word as the password.
        None if kind == StoreKind::Redis && !login.is_empty() => {
            problems.push(Problem::LoneWord);
            ("", Some(login))
        }
        None => (login, None),
    };
    let user = (!raw_user.is_empty()).then(|| decode_or_keep(raw_user, problems));
    let password = raw_password.map(|raw| {
        let mut reserved = String::new();
        for c in raw.chars().filter(|c| "@:/?#[]".contains(*c) || (*c == '%' && !has_only_good_escapes(raw))) {
            if !reserved.contains(c) {
                reserved.push(c);
            }
        }
        if !reserved.is_empty() {
            problems.push(Problem::RawPassword(reserved));
        }
        decode_or_keep(raw, problems)
    });
    (user, password)
}

fn read_path(kind: StoreKind, path: Option<&str>) -> Result<Option<String>> {
    let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(None) };
    let path = decode(path).ok_or_else(|| invalid(kind, "the path after the host holds a broken `%` escape"))?;
    if kind == StoreKind::Redis && path.parse::<u32>().is_err() {
        return Err(invalid(kind, "the path after the host is no database number, such as `/0`"));
    }
    Ok(Some(path))
}

fn read_options(kind: StoreKind, query: &str) -> Result<Vec<(String, String)>> {
    let broken = || invalid(kind, "a parameter after the `?` holds a broken `%` escape");
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            decode(key).zip(decode(value)).ok_or_else(broken)
        })
        .collect()
}

/// Moves `host`, `port`, `user`, `password` and `dbname` from the parameters to the parts, as libpq does.
fn take_named_parts(url: &mut SecretUrl, password: &mut Option<String>) -> Result<Vec<Host>> {
    let mut take = |name: &str| {
        let at = url.options.iter().position(|(key, _)| key == name)?;
        Some(url.options.remove(at).1)
    };
    let (names, ports) = (take("host"), take("port"));
    let (user, database, given) = (take("user"), take("dbname"), take("password"));
    url.user = user.or(url.user.take());
    url.database = database.or(url.database.take());
    *password = given.or(password.take());
    let ports: Vec<&str> = ports.as_deref().map_or_else(Vec::new, |ports| ports.split(',').collect());
    let Some(names) = names else { return Ok(Vec::new()) };
    let read = |(index, name): (usize, &str)| {
        let port = ports.get(index).or(ports.last()).filter(|port| !port.is_empty());
        let port = port.map(|port| port.parse::<u16>().ok().filter(|port| *port > 0)).map_or(Ok(None), |port| {
            port.map(Some).ok_or_else(|| invalid(StoreKind::Postgres, "the port is not a number from 1 to 65535"))
        })?;
        if name.starts_with('/') || name.contains(':') {
            return Ok(Host { name: name.to_owned(), port });
        }
        let host = host(name).map_err(|why| invalid(StoreKind::Postgres, why))?;
        Ok(Host { port, ..host })
    };
    names.split(',').enumerate().map(read).collect()
}

/// `unix:///path/to/redis.sock?db=1`, with the login before the path or as `user` and `pass`.
fn socket(kind: StoreKind, scheme: String, rest: &str, mut problems: Vec<Problem>) -> Result<SecretUrl> {
    let (before, query) = match rest.rsplit_once('?') {
        Some((before, query)) if query.contains('=') || query.is_empty() => (before, query),
        _ => (rest, ""),
    };
    let (login, path) = match before.rsplit_once("@/") {
        Some((login, path)) => (Some(login), format!("/{path}")),
        None => (None, before.to_owned()),
    };
    let path = decode(&path).filter(|path| path.starts_with('/') && path.len() > 1);
    let path = path.ok_or_else(|| invalid(kind, "the path of the socket is missing: `unix:///path/to/redis.sock`"))?;
    let (mut user, mut password) = login.map_or((None, None), |login| read_login(kind, login, &mut problems));
    let mut database = None;
    let mut options = Vec::new();
    for (key, value) in read_options(kind, query)? {
        match key.as_str() {
            "db" => database = read_path(kind, Some(&value))?,
            "user" => user = Some(value),
            "pass" | "password" => password = Some(value),
            _ => options.push((key, value)),
        }
    }
    let hosts = vec![Host { name: path, port: None }];
    finish(
        SecretUrl { kind, scheme, user, password: None, hosts, database, options, is_insecure: false, problems },
        password,
    )
}

/// Puts the password in, registered where it can be told from the other words of the URL.
fn finish(mut url: SecretUrl, password: Option<String>) -> Result<SecretUrl> {
    if let Some(text) = password {
        let lower = text.to_ascii_lowercase();
        let is_bracketed = |open, close| lower.starts_with(open) && lower.ends_with(close) && lower.contains("pass");
        if PLACEHOLDERS.contains(&lower.as_str()) || is_bracketed('[', ']') || is_bracketed('<', '>') {
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
    Ok(url)
}

pub(super) fn has_only_good_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.match_indices('%')
        .all(|(at, _)| bytes.len() > at + 2 && bytes[at + 1].is_ascii_hexdigit() && bytes[at + 2].is_ascii_hexdigit())
}

/// Decodes a piece of the login; one that was never encoded is kept as it is.
fn decode_or_keep(raw: &str, problems: &mut Vec<Problem>) -> String {
    decode(raw).unwrap_or_else(|| {
        if !problems.contains(&Problem::StrayPercent) {
            problems.push(Problem::StrayPercent);
        }
        raw.to_owned()
    })
}

/// Percent-decodes; none where a `%` is not followed by two hex digits or the bytes are no UTF-8.
pub fn decode(text: &str) -> Option<String> {
    if !has_only_good_escapes(text) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::url::TlsMode;

    fn good(kind: StoreKind, text: &str) -> SecretUrl {
        parse(kind, text).unwrap_or_else(|error| panic!("{text}: {error:?}"))
    }

    /// Everything a client would get, the password included.
    fn parts(url: &SecretUrl) -> String {
        let password = url.password().map(Secret::expose);
        format!("{:?}", (url.user(), password, url.hosts(), url.database(), url.options(), url.tls() == TlsMode::Off))
    }

    #[test]
    fn raw_passwords_are_read_right_and_named() {
        for (raw, named) in [
            ("??", "?"),
            ("p@ss", "@"),
            ("p:s/s", ":/"),
            ("a#b[c]", "#[]"),
            ("100%", "%"),
            ("%zz", "%"),
            ("x@y.z/a?b=c", "@/?"),
        ] {
            for (kind, text) in [
                (StoreKind::Postgres, format!("postgres://u:{raw}@db.example.com:5432/app?sslmode=require")),
                (StoreKind::Mongodb, format!("mongodb://u:{raw}@a.example.com:1,b.example.com:2/app?authSource=admin")),
                (StoreKind::Redis, format!("rediss://u:{raw}@r.example.com:6379/0")),
            ] {
                let url = good(kind, &text);
                assert_eq!(url.user(), Some("u"), "{text}");
                assert_eq!(url.password().map(Secret::expose), Some(raw), "{text}");
                assert!(url.host().name.ends_with(".example.com"), "{text}");
                assert!(url.problems().contains(&Problem::RawPassword(named.into())), "{text}: {:?}", url.problems());
            }
        }
    }

    #[test]
    fn every_form_of_place_is_read() {
        let url = good(StoreKind::Postgres, "postgresql://u@%2Fvar%2Frun%2Fpostgresql:5433/db");
        assert_eq!((url.host().name.as_str(), url.host().port), ("/var/run/postgresql", Some(5433)));
        assert!(url.is_local() && url.host().is_socket());
        let url = good(StoreKind::Postgres, "postgresql:///db?host=/run/pg&port=5433&user=me&password=s%40cret");
        assert_eq!((url.host().name.as_str(), url.host().port), ("/run/pg", Some(5433)));
        assert_eq!((url.user(), url.database(), url.options().len()), (Some("me"), Some("db"), 0));
        assert_eq!(url.password().map(Secret::expose), Some("s@cret"));
        let url = good(StoreKind::Postgres, "postgres:///db?host=a,b&port=1,2");
        assert_eq!(url.authority(), "a:1,b:2");
        let url = good(StoreKind::Postgres, "POSTGRES://u:p@[fe80::1]:5/db");
        assert_eq!((url.host().name.as_str(), url.host().port), ("fe80::1", Some(5)));
        let url = good(StoreKind::Mongodb, "mongodb://u:p@%2Ftmp%2Fmongodb-27017.sock/db");
        assert_eq!(url.host().name, "/tmp/mongodb-27017.sock");
        let url = good(StoreKind::Mongodb, "mongodb+srv://u:p@c.abc.mongodb.net/?retryWrites=true");
        assert!(url.is_srv() && !url.is_local() && url.database().is_none());
        let url = good(StoreKind::Redis, "unix://u:p@/run/redis.sock?db=3");
        assert_eq!((url.host().name.as_str(), url.user(), url.database()), ("/run/redis.sock", Some("u"), Some("3")));
        let url = good(StoreKind::Redis, "redis+unix:///run/redis.sock?db=3&user=u&pass=p%3F");
        assert_eq!((url.user(), url.password().map(Secret::expose)), (Some("u"), Some("p?")));
        let url = good(StoreKind::Redis, "redis://justapassword@h");
        assert_eq!((url.user(), url.password().map(Secret::expose)), (None, Some("justapassword")));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_quoting_it() {
        for (kind, text) in [
            (StoreKind::Postgres, "s3cr3t"),
            (StoreKind::Postgres, "s3cr3t://s3cr3t"),
            (StoreKind::Postgres, "redis://:s3cr3t@h"),
            (StoreKind::Postgres, "postgres://u:s3cr3t"),
            (StoreKind::Postgres, "postgres://u:p@s3cr3t s3cr3t/db"),
            (StoreKind::Postgres, "postgres://u:p@h:s3cr3t/db"),
            (StoreKind::Postgres, "postgres://u:p@h:0/s3cr3t"),
            (StoreKind::Postgres, "postgres://u:p@h/s3cr3t%"),
            (StoreKind::Postgres, "postgres://u:p@h/db?s3cr3t=%z"),
            (StoreKind::Postgres, "postgres://u:p@h/db#s3cr3t"),
            (StoreKind::Postgres, "postgres://u:p@[s3cr3t]/db"),
            (StoreKind::Postgres, "postgres://u:p@/s3cr3t"),
            (StoreKind::Mongodb, "mongodb+srv://u:s3cr3t@h:27017/db"),
            (StoreKind::Mongodb, "mongodb+srv://u:s3cr3t@a,b/db"),
            (StoreKind::Redis, "redis://:p@h/s3cr3t"),
            (StoreKind::Redis, "https://s3cr3t.upstash.io"),
        ] {
            let error = parse(kind, text).expect_err(text);
            assert_eq!(error.code(), Code::UrlInvalid, "{text}");
            let shown = format!("{error:?} {:?}", error.hint_text());
            assert!(!shown.contains("s3cr3t"), "{text}: {shown}");
        }
    }

    fn password() -> impl Strategy<Value = String> {
        prop_oneof![
            "[ -~]{1,24}",
            "[@:/?#%&=+\\[\\]]{1,12}",
            proptest::collection::vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 1..16)
                .prop_map(|characters| characters.into_iter().collect()),
        ]
    }

    fn url(kind: StoreKind) -> impl Strategy<Value = SecretUrl> {
        let hosts = prop_oneof![
            Just(vec![Host { name: "db.example.com".into(), port: Some(1234) }]),
            Just(vec![Host { name: "a".into(), port: None }, Host { name: "b".into(), port: Some(2) }]),
            Just(vec![Host { name: "::1".into(), port: Some(65535) }]),
            Just(vec![Host { name: "/var/run/x y@z".into(), port: None }]),
        ];
        let database = match kind {
            StoreKind::Redis => "[1-9][0-9]?".boxed(),
            _ => "[ -~]{1,12}".boxed(),
        };
        let options = proptest::collection::vec(("[a-z]{1,3}x", "[ -~]{0,12}"), 0..3);
        (proptest::option::of(password()), password(), hosts, proptest::option::of(database), options).prop_map(
            move |(user, password, hosts, database, options)| SecretUrl {
                kind,
                scheme: schemes(kind)[0].into(),
                user,
                password: Some(Secret::unregistered(password)),
                hosts,
                database,
                options,
                is_insecure: false,
                problems: Vec::new(),
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn what_is_written_out_reads_back(url in prop_oneof![
            url(StoreKind::Postgres), url(StoreKind::Mongodb), url(StoreKind::Redis)
        ]) {
            let text = url.expose();
            let again = parse(url.kind(), &text).map_err(|error| TestCaseError::fail(format!("{text}: {error:?}")))?;
            prop_assert_eq!(parts(&again), parts(&url), "{}", text);
            let is_odd = |problem: &Problem| !matches!(problem, Problem::Placeholder);
            prop_assert!(!again.problems().iter().any(is_odd), "{}: {:?}", text, again.problems());
        }

        #[test]
        fn a_raw_password_is_read_as_it_stands(raw in "[!-~]{1,24}") {
            // `%41` is an escape and `@h?user=` a place with a parameter: those have two readings.
            prop_assume!(!has_only_good_escapes(&raw) || !raw.contains('%'));
            for (kind, head, tail) in [
                (StoreKind::Postgres, "postgres://u", "h.example:5432/db?sslmode=require"),
                (StoreKind::Mongodb, "mongodb://u", "a:1,b:2/db?authSource=admin"),
                (StoreKind::Redis, "redis://", "[::1]:6379/1"),
            ] {
                let url = parse(kind, &format!("{head}:{raw}@{tail}"));
                let url = url.map_err(|error| TestCaseError::fail(format!("{raw}: {error:?}")))?;
                prop_assert_eq!(url.password().map(Secret::expose), Some(raw.as_str()));
                prop_assert_eq!(url.database(), Some(if kind == StoreKind::Redis { "1" } else { "db" }));
            }
        }

        #[test]
        fn an_unreadable_url_is_never_quoted(raw in "[!-~]{6,24}", tail in "[!-~]{0,12}") {
            for kind in StoreKind::ALL {
                for text in [raw.clone(), format!("{}://{raw}", schemes(kind)[0]), format!("{}://u:{raw}@{tail} ", schemes(kind)[0])] {
                    if let Err(error) = parse(kind, &text) {
                        let shown = format!("{error:?} {:?}", error.hint_text());
                        prop_assert!(!shown.contains(&raw), "{}", shown);
                    }
                }
            }
        }
    }
}
