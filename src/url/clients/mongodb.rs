//! The drivers of MongoDB: each has a reader of its own.

use super::super::parse::has_only_good_escapes;
use super::{Outcome, Reading, component, leniently, number, some};
use crate::kind::StoreKind;

type Places = Vec<(String, Option<u16>)>;

fn rest_of(text: &str) -> Result<(bool, &str), String> {
    if let Some(rest) = text.strip_prefix("mongodb+srv://") {
        return Ok((true, rest));
    }
    text.strip_prefix("mongodb://").map(|rest| (false, rest)).ok_or_else(|| "refuses the scheme".into())
}

fn places(list: &str, is_srv: bool) -> Result<Places, String> {
    let read = |text: &str| {
        if text.is_empty() {
            return Err("finds an empty host".to_owned());
        }
        if text.ends_with(".sock") {
            return Ok((leniently(text), None));
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(inner) => {
                let (name, after) = inner.split_once(']').ok_or("finds no end of an IPv6 address")?;
                (name, if after.is_empty() { None } else { after.strip_prefix(':') })
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        match port {
            None => Ok((name.to_owned(), None)),
            Some(_) if is_srv => Err("refuses a port behind `mongodb+srv`".into()),
            Some(port) => match number(port)? {
                Some(port) if port > 0 => Ok((name.to_owned(), Some(port))),
                _ => Err("takes something for the port that is no number".into()),
            },
        }
    };
    let hosts = list.split(',').map(read).collect::<Result<Places, String>>()?;
    if is_srv && hosts.len() != 1 {
        return Err("refuses several hosts behind `mongodb+srv`".into());
    }
    Ok(hosts)
}

/// The Node.js driver: Mongoose, mongosh, Compass. The login ends at the first `@`.
pub(super) fn node(text: &str) -> Outcome {
    let (is_srv, rest) = rest_of(text)?;
    if rest.starts_with('@') {
        return Err("refuses an empty login".into());
    }
    let at = rest.find('@').filter(|at| {
        // The user holds no `:`, so that an `@` after the first colon ends the password.
        let user = rest[..*at].split(':').next().unwrap_or("");
        !user.contains('@')
    });
    let (login, after) = at.map_or((None, rest), |at| (Some(&rest[..at]), &rest[at + 1..]));
    let mut reading = Reading::default();
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        if user.is_empty() {
            return Err("refuses an empty user".into());
        }
        if user.contains([':', '/', '?', '#', '[', ']', '@']) || password.contains([':', '/', '?', '#', '[', ']', '@'])
        {
            return Err("refuses a raw reserved character in the login".into());
        }
        reading.user = some(component(user)?);
        reading.password = some(component(password)?);
    }
    let (list, rest) = after.split_at(after.find(['/', '?', '@']).unwrap_or(after.len()));
    if rest.starts_with('@') || list.starts_with(':') || list.is_empty() {
        return Err("finds no host before what it takes for the path".into());
    }
    reading.hosts = places(list, is_srv)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let known = |(name, _): &(String, String)| super::super::parameters::is_known(StoreKind::Mongodb, name);
    if !super::pairs(query.split('#').next().unwrap_or("")).iter().all(known) {
        return Err("refuses an option that it does not know".into());
    }
    let path = path.split('#').next().unwrap_or("");
    reading.database = some(component(path.strip_prefix('/').unwrap_or(""))?);
    Ok(reading)
}

/// PyMongo: `+` in the login is a space.
pub(super) fn python(text: &str) -> Outcome {
    let (is_srv, rest) = rest_of(text)?;
    let before = rest.split('?').next().unwrap_or("");
    let (place, path) = before.split_once('/').unwrap_or((before, ""));
    let mut reading = Reading::default();
    let list = match place.rsplit_once('@') {
        None => place,
        Some((login, list)) => {
            if login.contains('@') || login.matches(':').count() > 1 || !has_only_good_escapes(login) {
                return Err("refuses a raw reserved character in the login".into());
            }
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            if user.is_empty() {
                return Err("refuses an empty user".into());
            }
            let spaced = |text: &str| some(leniently(&text.replace('+', " ")));
            (reading.user, reading.password) = (spaced(user), spaced(password));
            list
        }
    };
    reading.hosts = places(list, is_srv)?;
    let database = leniently(&path.replace('+', " "));
    let database = database.split('.').next().unwrap_or("").to_owned();
    if database.contains([' ', '"', '$', '/', '\\']) {
        return Err("refuses the name of the database".into());
    }
    reading.database = some(database);
    Ok(reading)
}

/// The Go driver: the login ends at the first `@`.
pub(super) fn go(text: &str) -> Outcome {
    let (is_srv, rest) = rest_of(text)?;
    let mut reading = Reading::default();
    let after = match rest.split_once('@') {
        None => rest,
        Some((login, after)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            if user.contains('/') || password.contains([':', '/']) {
                return Err("refuses a raw reserved character in the login".into());
            }
            if !has_only_good_escapes(login) {
                return Err("refuses a `%` that begins no escape".into());
            }
            if user.is_empty() {
                return Err("refuses an empty user".into());
            }
            (reading.user, reading.password) = (some(leniently(user)), some(leniently(password)));
            after
        }
    };
    let (list, rest) = after.split_at(after.find(['/', '?', '@']).unwrap_or(after.len()));
    if rest.starts_with('@') {
        return Err("refuses a raw `@` in the login".into());
    }
    reading.hosts = places(list, is_srv)?;
    let path = rest.split('?').next().unwrap_or("");
    reading.database = some(leniently(path.strip_prefix('/').unwrap_or("")));
    Ok(reading)
}

/// The Rust driver, which lyrox itself is built on.
pub(super) fn rust(text: &str) -> Outcome {
    let (is_srv, rest) = rest_of(text)?;
    let before = rest.split('?').next().unwrap_or("");
    let mut reading = Reading::default();
    let after = match before.rsplit_once('@') {
        None => before,
        Some((login, after)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            if login.contains(['/', '?', '#', '[', ']', '@']) || password.contains(':') {
                return Err("refuses a raw reserved character in the login".into());
            }
            if user.is_empty() {
                return Err("refuses an empty user".into());
            }
            (reading.user, reading.password) = (some(component(user)?), some(component(password)?));
            after
        }
    };
    let (list, path) = after.split_once('/').unwrap_or((after, ""));
    reading.hosts = places(list, is_srv)?;
    reading.database = some(component(path)?);
    Ok(reading)
}
