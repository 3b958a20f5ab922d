//! libpq's own reader: psql, pg_dump, psycopg, the drivers of Ruby, PHP and C.

use super::super::parse::{self, parse};
use super::{Outcome, Reading, not_of_libpq, number, some};
use crate::kind::StoreKind;

/// libpq.
pub(super) fn read(text: &str) -> Outcome {
    let Some(rest) = ["postgresql://", "postgres://"].iter().find_map(|scheme| text.strip_prefix(scheme)) else {
        if !super::super::keywords::is_form(text) {
            return Err("takes it for keyword=value pairs, and finds no `=` where it needs one".into());
        }
        // lyrox reads this form by the same rules; the parts are its own.
        let url = parse(StoreKind::Postgres, text).map_err(|_| "refuses it".to_owned())?;
        return Ok(Reading {
            user: url.user().map(str::to_owned),
            password: url.password().map(|password| password.expose().to_owned()),
            hosts: url.hosts().iter().map(|host| (host.name.clone(), host.port)).collect(),
            database: url.database().map(str::to_owned),
        });
    };
    let mut reading = Reading::default();
    // A login is looked for before the first slash only.
    let rest = match rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@')) {
        Some(at) => {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            reading.user = some(decoded(user)?);
            reading.password = some(decoded(password)?);
            &rest[at + 1..]
        }
        None => rest,
    };
    let (mut names, mut ports, rest) = hosts(rest)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    reading.database = some(decoded(path.strip_prefix('/').unwrap_or(path))?);
    let mut given = Vec::new();
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or("refuses a parameter without `=`")?;
        if value.contains('=') {
            return Err("refuses a second `=` in a parameter".into());
        }
        given.push((decoded(key)?, decoded(value)?));
    }
    if let Some(why) = not_of_libpq(given.iter().map(|(name, _)| name.as_str())) {
        return Err(why);
    }
    for (key, value) in given {
        match key.as_str() {
            "user" => reading.user = some(value),
            "password" => reading.password = some(value),
            "dbname" => reading.database = some(value),
            "host" => names = value.split(',').map(str::to_owned).collect(),
            "port" => ports = value.split(',').map(str::to_owned).collect(),
            "hostaddr" if names.iter().all(String::is_empty) => names = value.split(',').map(str::to_owned).collect(),
            "sslmode" if value == "no-verify" => return Err("refuses this value of `sslmode`".into()),
            "ssl" if value != "true" => return Err("refuses the parameter `ssl`".into()),
            _ => {}
        }
    }
    if ports.len() != 1 && ports.len() != names.len() {
        return Err("refuses another number of ports than of hosts".into());
    }
    let port = |at: usize| number(&ports[if ports.len() == 1 { 0 } else { at }]);
    reading.hosts =
        names.into_iter().enumerate().map(|(at, name)| Ok((name, port(at)?))).collect::<Result<_, String>>()?;
    Ok(reading)
}

/// Hosts, ports, and what follows them.
fn hosts(mut rest: &str) -> Result<(Vec<String>, Vec<String>, &str), String> {
    let (mut names, mut ports) = (Vec::new(), Vec::new());
    loop {
        let name = if let Some(inner) = rest.strip_prefix('[') {
            let (name, after) = inner.split_once(']').ok_or("finds no end of an IPv6 address")?;
            if name.is_empty() || !(after.is_empty() || after.starts_with([':', '/', '?', ','])) {
                return Err("refuses what follows an IPv6 address".into());
            }
            rest = after;
            name
        } else {
            let (name, after) = rest.split_at(rest.find([':', '/', '?', ',']).unwrap_or(rest.len()));
            rest = after;
            name
        };
        names.push(decoded(name)?);
        let mut port = "";
        if let Some(after) = rest.strip_prefix(':') {
            (port, rest) = after.split_at(after.find(['/', '?', ',']).unwrap_or(after.len()));
        }
        ports.push(decoded(port)?);
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => return Ok((names, ports, rest)),
        }
    }
}

fn decoded(text: &str) -> Result<String, String> {
    if !parse::has_only_good_escapes(text) || text.contains("%00") {
        return Err("refuses a `%` that begins no escape".into());
    }
    Ok(super::leniently(text))
}
