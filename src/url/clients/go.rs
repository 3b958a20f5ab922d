//! Libraries of Go, which share the reader of Go's standard library.

use super::{Outcome, Reading, number, pairs, some, value};

/// What `net/url` makes of a text.
struct Parsed<'a> {
    scheme: &'a str,
    user: String,
    password: String,
    host: &'a str,
    path: String,
    query: &'a str,
}

fn parse(text: &str) -> Result<Parsed<'_>, String> {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return Err("refuses a control character".into());
    }
    let (scheme, rest) = text.split_once("://").ok_or("finds no scheme")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@').map_or((None, authority), |(login, host)| (Some(login), host));
    let (user, password) = match login {
        None => (String::new(), String::new()),
        Some(login) => {
            if !login.chars().all(|c| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c)) {
                return Err("refuses a character of the login".into());
            }
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            (unescaped(user)?, unescaped(password)?)
        }
    };
    check_host(host)?;
    Ok(Parsed { scheme, user, password, host, path: unescaped(path)?, query })
}

fn unescaped(text: &str) -> Result<String, String> {
    if super::super::parse::has_only_good_escapes(text) {
        return Ok(super::leniently(text));
    }
    Err("refuses a `%` that begins no escape".into())
}

fn check_host(host: &str) -> Result<(), String> {
    let port = match host.strip_prefix('[') {
        Some(inner) => inner.rsplit_once(']').ok_or("finds no end of an IPv6 address")?.1,
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let is_port =
        port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_port {
        return Err("takes something for the port that is no number".into());
    }
    if host.contains('%') && !host.starts_with('[') {
        return Err("refuses an escape in the host: write the socket as `?host=/path`".into());
    }
    if host.contains([' ', '^', '`', '{', '}', '|', '\\']) {
        return Err("refuses a character in what it takes for the host".into());
    }
    Ok(())
}

fn places(list: &str) -> Result<Vec<(String, Option<u16>)>, String> {
    let read = |text: &str| match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((name, after)) => Ok((name.replace("%25", "%"), number(after.strip_prefix(':').unwrap_or(""))?)),
        None => {
            let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
            Ok((name.to_owned(), number(port)?))
        }
    };
    list.split(',').map(read).collect()
}

/// pgx.
pub(super) fn pgx(text: &str) -> Outcome {
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return if super::super::keywords::is_form(text) {
            super::libpq::read(text)
        } else {
            Err("refuses the scheme".into())
        };
    }
    let parsed = parse(text)?;
    let given = pairs(parsed.query);
    let or = |name: &str, own: String| value(&given, name).map_or(own, str::to_owned);
    let mut hosts = places(parsed.host)?;
    if let Some(names) = value(&given, "host") {
        let port = hosts.first().and_then(|(_, port)| *port);
        hosts = names.split(',').map(|name| (name.to_owned(), port)).collect();
    }
    if let Some(ports) = value(&given, "port") {
        let ports: Vec<&str> = ports.split(',').collect();
        for (at, host) in hosts.iter_mut().enumerate() {
            host.1 = number(ports.get(at).or(ports.first()).copied().unwrap_or(""))?;
        }
    }
    Ok(Reading {
        user: some(or("user", parsed.user)),
        password: some(or("password", parsed.password)),
        hosts,
        database: some(or("dbname", parsed.path.trim_start_matches('/').to_owned())),
    })
}

/// go-redis.
pub(super) fn redis(text: &str) -> Outcome {
    const KNOWN: &[&str] = &[
        "db",
        "protocol",
        "client_name",
        "max_retries",
        "min_retry_backoff",
        "max_retry_backoff",
        "dial_timeout",
        "dial_timeout_retry",
        "dialer_retries",
        "dialer_retry_timeout",
        "read_timeout",
        "write_timeout",
        "context_timeout_enabled",
        "pool_fifo",
        "pool_size",
        "pool_timeout",
        "min_idle_conns",
        "max_idle_conns",
        "max_active_conns",
        "conn_max_idle_time",
        "conn_max_lifetime",
        "max_concurrent_dials",
        "read_buffer_size",
        "write_buffer_size",
        "skip_verify",
        "idle_timeout",
        "max_conn_age",
        "disable_identity",
        "identity_suffix",
        "failing_timeout_seconds",
        "unstable_resp3",
        "disable_indentity",
    ];
    let parsed = parse(text)?;
    let given = pairs(parsed.query);
    if given.iter().any(|(name, _)| !KNOWN.contains(&name.as_str())) {
        return Err("refuses a parameter".into());
    }
    let mut reading =
        Reading { user: some(parsed.user), password: some(parsed.password), hosts: Vec::new(), database: None };
    match parsed.scheme {
        "redis" | "rediss" => {
            let (name, port) = places(parsed.host)?.swap_remove(0);
            reading.hosts = vec![(if name.is_empty() { "localhost".into() } else { name }, port)];
            let pieces: Vec<&str> = parsed.path.split('/').filter(|piece| !piece.is_empty()).collect();
            reading.database = match pieces.as_slice() {
                [] => value(&given, "db").map(str::to_owned),
                [number] if number.parse::<i64>().is_ok() => Some((*number).to_owned()),
                _ => return Err("refuses the path, which is no number".into()),
            };
        }
        "unix" if parsed.path.trim().is_empty() => return Err("finds no path of a socket".into()),
        "unix" => {
            reading.hosts = vec![(parsed.path.trim().to_owned(), None)];
            reading.database = value(&given, "db").map(str::to_owned);
        }
        _ => return Err("refuses the scheme".into()),
    }
    Ok(reading)
}
