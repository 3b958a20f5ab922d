//! Two readers of Redis' URLs that are nobody else's: redis-cli's, and node-redis' of sockets.

use super::{Outcome, Reading, component, number, pairs, some, value};

/// redis-cli: the login ends at the first `@`.
pub(super) fn redis_cli(text: &str) -> Outcome {
    let lower = text.to_ascii_lowercase();
    let scheme =
        ["redis://", "rediss://", "valkey://", "valkeys://"].into_iter().find(|scheme| lower.starts_with(scheme));
    let mut rest = scheme.map(|scheme| &text[scheme.len()..]).ok_or("refuses the scheme")?;
    let decoded = |text: &str| {
        let is_good = super::super::parse::has_only_good_escapes(text);
        if is_good { Ok(super::leniently(text)) } else { Err("refuses a `%` that begins no escape".to_owned()) }
    };
    let mut reading = Reading::default();
    if let Some((login, after)) = rest.split_once('@') {
        let (user, password) = login.split_once(':').unwrap_or(("", login));
        reading.user = some(decoded(user)?);
        reading.password = some(decoded(password)?);
        rest = after;
    }
    let (place, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (name, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((name, after)) => (name, after.strip_prefix(':').unwrap_or("")),
        None => place.split_once(':').unwrap_or((place, "")),
    };
    // It reads numbers as C does: up to the first character that is no digit.
    let leading = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
    let name = if name.is_empty() { "localhost".to_owned() } else { decoded(name)? };
    reading.hosts = vec![(name, number(&leading(port))?)];
    reading.database = some(leading(path));
    Ok(reading)
}

/// `unix://user:password@/path?db=1`, as node-redis reads it.
pub(super) fn unix(text: &str) -> Outcome {
    let rest = text.strip_prefix("unix://").ok_or("refuses the scheme")?;
    let rest = rest.split('#').next().unwrap_or("");
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (login, path) = before.split_once('@').map_or((None, before), |(login, path)| (Some(login), path));
    if !path.starts_with('/') || path.len() < 2 || login.is_some_and(|login| login.contains('/')) {
        return Err("finds no path of a socket".into());
    }
    let (user, password) = login.map_or(("", ""), |login| login.split_once(':').unwrap_or((login, "")));
    Ok(Reading {
        user: some(component(user)?),
        password: some(component(password)?),
        hosts: vec![(component(path)?, None)],
        database: value(&pairs(query), "db").map(str::to_owned),
    })
}
