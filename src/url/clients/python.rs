//! Libraries of Python: those on its standard reader of URLs, and SQLAlchemy's own.

use super::{Outcome, Reading, leniently, number, pairs, some, value};

/// What `urlsplit` makes of a text; tabs and line ends it drops.
struct Parsed {
    scheme: String,
    place: String,
    path: String,
    query: String,
}

fn parse(text: &str) -> Result<Parsed, String> {
    let text: String = text.chars().filter(|c| !"\t\r\n".contains(*c)).collect();
    let (scheme, rest) = text.split_once("://").ok_or("finds no scheme")?;
    let (place, after) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if place.contains('[') != place.contains(']') {
        return Err("finds no end of an IPv6 address".into());
    }
    let after = after.split_once('#').map_or(after, |(before, _)| before);
    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    // What stands between brackets must be an address.
    if let Some((_, inner)) = place.rsplit_once('@').map_or(place, |(_, host)| host).split_once('[')
        && inner
            .split(']')
            .next()
            .is_some_and(|inner| inner.split('%').next().unwrap_or("").parse::<std::net::Ipv6Addr>().is_err())
    {
        return Err("refuses what stands between brackets".into());
    }
    Ok(Parsed { scheme: scheme.to_ascii_lowercase(), place: place.into(), path: path.into(), query: query.into() })
}

/// redis-py: the login ends at the last `@` before a slash.
pub(super) fn redis(text: &str) -> Outcome {
    let parsed = parse(text)?;
    let given = pairs(&parsed.query);
    let (login, place) =
        parsed.place.rsplit_once('@').map_or(("", parsed.place.as_str()), |(login, place)| (login, place));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let mut reading = Reading {
        user: some(leniently(user)).or_else(|| value(&given, "username").map(str::to_owned)),
        password: some(leniently(password)).or_else(|| value(&given, "password").map(str::to_owned)),
        hosts: Vec::new(),
        database: value(&given, "db").map(str::to_owned),
    };
    match parsed.scheme.as_str() {
        "redis" | "rediss" => {
            let (name, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
                Some((name, after)) => (name, after.strip_prefix(':').unwrap_or("")),
                None => place.split_once(':').unwrap_or((place, "")),
            };
            let name = if name.is_empty() { "localhost".to_owned() } else { leniently(name) };
            reading.hosts =
                vec![(name, number(if port.is_empty() { value(&given, "port").unwrap_or("") } else { port })?)];
            let path = leniently(&parsed.path).replace('/', "");
            if reading.database.is_none() && path.parse::<i64>().is_ok() {
                reading.database = Some(path);
            }
        }
        "unix" => reading.hosts = vec![(leniently(&parsed.path), None)],
        _ => return Err("refuses the scheme".into()),
    }
    Ok(reading)
}

/// asyncpg: the login ends at the first `@`.
pub(super) fn asyncpg(text: &str) -> Outcome {
    let parsed = parse(text)?;
    if !["postgres", "postgresql"].contains(&parsed.scheme.as_str()) {
        return Err("refuses the scheme".into());
    }
    let given = pairs(&parsed.query);
    let (login, list) = parsed.place.split_once('@').unwrap_or(("", parsed.place.as_str()));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let read = |text: &str| {
        let (name, port) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((name, after)) => (name, after.strip_prefix(':').unwrap_or("")),
            None if text.starts_with('/') => (text, ""),
            None => text.split_once(':').unwrap_or((text, "")),
        };
        Ok((leniently(name), number(port)?))
    };
    let list = if list.is_empty() { value(&given, "host").unwrap_or("") } else { list };
    let mut hosts = list.split(',').map(read).collect::<Result<Vec<_>, String>>()?;
    if let Some(ports) = value(&given, "port") {
        let ports: Vec<&str> = ports.split(',').collect();
        for (at, host) in hosts.iter_mut().enumerate() {
            host.1 = number(ports.get(at).or(ports.first()).copied().unwrap_or(""))?;
        }
    }
    let or = |own: String, name: &str| some(own).or_else(|| value(&given, name).map(str::to_owned));
    Ok(Reading {
        user: or(leniently(user), "user"),
        password: or(leniently(password), "password"),
        hosts,
        database: or(leniently(parsed.path.strip_prefix('/').unwrap_or("")), "dbname"),
    })
}

/// SQLAlchemy: a pattern of its own, whose login ends at the first `@`.
pub(super) fn sqlalchemy(text: &str) -> Outcome {
    let (scheme, rest) = text.split_once("://").ok_or("finds no scheme")?;
    if scheme == "postgres" {
        return Err("refuses the scheme `postgres`: write `postgresql`".into());
    }
    if scheme != "postgresql" {
        return Err("refuses the scheme".into());
    }
    let mut reading = Reading::default();
    // The login is there where the pattern can be met with it: a user without `:` and `/`, a password without `@`.
    let user_end = rest.find([':', '/']).unwrap_or(rest.len());
    let password_end = if rest[user_end..].starts_with(':') { rest[user_end..].find('@') } else { None };
    let at = match password_end {
        Some(at) => Some((user_end, user_end + at)),
        None => rest[..user_end].rfind('@').map(|at| (at, at)),
    };
    let rest = match at {
        Some((user, at)) => {
            reading.user = some(leniently(&rest[..user]));
            reading.password = (user < at).then(|| leniently(&rest[user + 1..at]));
            &rest[at + 1..]
        }
        None => rest,
    };
    let (place, after) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((name, after)) if !name.contains(['/', '?']) => (name, after),
        _ => rest.split_at(rest.find(['/', ':', '?']).unwrap_or(rest.len())),
    };
    let (port, after) = match after.strip_prefix(':') {
        Some(after) => after.split_at(after.find(['/', '?']).unwrap_or(after.len())),
        None => ("", after),
    };
    let (path, query) = after.split_once('?').unwrap_or((after, ""));
    let given = pairs(query);
    reading.database = path.strip_prefix('/').and_then(|path| some(leniently(path)));
    let name = value(&given, "host").unwrap_or(place);
    reading.hosts = vec![(name.to_owned(), number(value(&given, "port").unwrap_or(port))?)];
    reading.user = reading.user.or_else(|| value(&given, "user").map(str::to_owned));
    reading.password = reading.password.or_else(|| value(&given, "password").map(str::to_owned));
    Ok(reading)
}
