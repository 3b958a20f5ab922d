//! Libraries that take a URL for a web address: those of JavaScript, and those of Rust that use its `url` crate.

use url::{ParseError, Url};

use super::{Outcome, Reading, component, number, pairs, some, value};

/// Takes a text apart as browsers do.
fn web(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|error| {
        match error {
            ParseError::InvalidPort => "takes something for the port that is no number",
            ParseError::EmptyHost => "finds no host",
            ParseError::InvalidIpv6Address => "finds no end of an IPv6 address",
            ParseError::InvalidDomainCharacter => "refuses a character in what it takes for the host",
            ParseError::RelativeUrlWithoutBase => "finds no scheme",
            _ => "refuses it as a web address",
        }
        .to_owned()
    })
}

/// The host without the brackets of an address; none: an empty one.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or("");
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned()
}

fn path(url: &Url) -> &str {
    url.path().strip_prefix('/').unwrap_or_else(|| url.path())
}

/// node-postgres: `pg`, and what is built on it (Knex, Sequelize, TypeORM, Drizzle).
pub(super) fn node_postgres(text: &str) -> Outcome {
    if super::super::keywords::is_form(text) {
        return Err("takes libpq's keywords for the name of a database".into());
    }
    let mut text = text.to_owned();
    let bytes = text.as_bytes();
    let is_hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    let is_odd = |at: usize| {
        (at + 1 < bytes.len() && !is_hex(at + 1)) || (at + 2 < bytes.len() && is_hex(at + 1) && !is_hex(at + 2))
    };
    if text.contains(' ') || text.match_indices('%').any(|(at, _)| is_odd(at)) {
        text = encoded_again(&text);
    }
    let (url, has_host) = match web(&text) {
        Ok(url) => (url, true),
        Err(why) => (web(&text.replacen("@/", "@___DUMMY___/", 1)).map_err(|_| why)?, false),
    };
    let given = pairs(url.query().unwrap_or(""));
    let mut path = path(&url).to_owned();
    let name = if has_host { host(&url) } else { String::new() };
    let host = match value(&given, "host") {
        None => component(&name)?,
        Some(host) => {
            if name.to_ascii_lowercase().starts_with("%2f") {
                path = format!("{name}/{path}");
            }
            host.to_owned()
        }
    };
    let port = match value(&given, "port") {
        Some(port) => number(port)?,
        None => url.port(),
    };
    Ok(Reading {
        user: value(&given, "user")
            .map_or_else(|| component(url.username()).map(some), |user| Ok(Some(user.into())))?,
        password: value(&given, "password")
            .map_or_else(|| component(url.password().unwrap_or("")).map(some), |password| Ok(Some(password.into())))?,
        hosts: vec![(host, port)],
        database: some(without_reserved(&path)?),
    })
}

/// JavaScript's `encodeURI`, but for escapes of two decimal digits.
fn encoded_again(text: &str) -> String {
    const KEPT: &percent_encoding::AsciiSet = &percent_encoding::NON_ALPHANUMERIC
        .remove(b';')
        .remove(b',')
        .remove(b'/')
        .remove(b'?')
        .remove(b':')
        .remove(b'@')
        .remove(b'&')
        .remove(b'=')
        .remove(b'+')
        .remove(b'$')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'!')
        .remove(b'~')
        .remove(b'*')
        .remove(b'\'')
        .remove(b'(')
        .remove(b')')
        .remove(b'#');
    let encoded = percent_encoding::utf8_percent_encode(text, KEPT).to_string();
    let mut result = String::with_capacity(encoded.len());
    let mut rest = encoded.as_str();
    while let Some(at) = rest.find("%25") {
        result.push_str(&rest[..at]);
        let after = &rest[at + 3..];
        let digits = after.bytes().take(2).filter(u8::is_ascii_digit).count();
        result.push_str(if digits == 2 { "%" } else { "%25" });
        rest = after;
    }
    result.push_str(rest);
    result
}

/// JavaScript's `decodeURI`: escapes of characters with a meaning stay as they are.
fn without_reserved(text: &str) -> Result<String, String> {
    const MARK: char = '\u{1}';
    let mut kept = text.to_owned();
    for reserved in [";", "/", "?", ":", "@", "&", "=", "+", "$", ",", "#"] {
        let escape = format!("%{:02X}", reserved.as_bytes()[0]);
        for form in [escape.clone(), escape.to_ascii_lowercase()] {
            kept = kept.replace(&form, &form.replace('%', &MARK.to_string()));
        }
    }
    component(&kept).map(|text| text.replace(MARK, "%"))
}

/// postgres.js.
pub(super) fn postgres_js(text: &str) -> Outcome {
    let after = text.split_once("://").map_or(text, |(_, after)| after);
    let place = after.split(['?', '/']).next().unwrap_or("");
    let place = component(place.split_once('@').map_or(place, |(_, place)| place))?;
    let first = place.split(',').next().unwrap_or("").to_owned();
    let url = web(&text.replacen(&place, &first, 1))?;
    let list = if place.contains(',') { place } else { url.host_str().unwrap_or("").to_owned() };
    let list = if list.is_empty() { "localhost".to_owned() } else { list };
    let own = url.port();
    let hosts = list.split(',').map(|text| {
        let mut pieces = text.split(':');
        let name = pieces.next().unwrap_or("").to_owned();
        (name, pieces.next().and_then(|port| port.parse().ok()).or(own))
    });
    Ok(Reading {
        user: some(component(url.username())?),
        password: some(component(url.password().unwrap_or(""))?),
        hosts: hosts.collect(),
        database: some(path(&url)),
    })
}

fn strictly(text: &str) -> Result<String, String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    decoded.map(std::borrow::Cow::into_owned).map_err(|_| "refuses escapes that are no UTF-8".to_owned())
}

/// Prisma's engine: one host, the first piece of the path.
pub(super) fn prisma(text: &str) -> Outcome {
    let url = web(text)?;
    if !["postgres", "postgresql"].contains(&url.scheme()) {
        return Err("refuses the scheme".into());
    }
    let given = pairs(url.query().unwrap_or(""));
    let host = match value(&given, "host") {
        Some(host) => host.to_owned(),
        None => strictly(&host(&url))?,
    };
    let host = if host.is_empty() { "localhost".to_owned() } else { host };
    let database = url.path_segments().and_then(|mut pieces| pieces.next()).unwrap_or("");
    Ok(Reading {
        user: some(strictly(url.username())?),
        password: some(strictly(url.password().unwrap_or(""))?),
        hosts: vec![(host, url.port())],
        database: some(strictly(database)?),
    })
}

/// sqlx.
pub(super) fn sqlx(text: &str) -> Outcome {
    let url = web(text)?;
    let mut reading = Reading {
        user: some(strictly(url.username())?),
        password: some(strictly(url.password().unwrap_or(""))?),
        hosts: vec![(host(&url), url.port())],
        database: some(strictly(url.path().trim_start_matches('/'))?),
    };
    // An address keeps its brackets there, a name its escapes; the path of a socket is decoded.
    if reading.hosts[0].0.to_ascii_lowercase().starts_with("%2f") {
        reading.hosts[0].0 = strictly(&reading.hosts[0].0)?;
    }
    for (key, text) in pairs(url.query().unwrap_or("")) {
        match key.as_str() {
            "host" | "hostaddr" => reading.hosts[0].0 = text,
            "port" => reading.hosts[0].1 = number(&text)?,
            "user" => reading.user = some(text),
            "password" => reading.password = some(text),
            "dbname" => reading.database = some(text),
            "sslmode" if text == "no-verify" => return Err("refuses this value of `sslmode`".into()),
            _ => {}
        }
    }
    Ok(reading)
}

/// ioredis, and BullMQ on it.
pub(super) fn ioredis(text: &str) -> Outcome {
    let lower = text.to_ascii_lowercase();
    if !lower.starts_with("redis://") && !lower.starts_with("rediss://") {
        // Before what is no address of Redis' it writes `redis://`; the path is that of a socket then.
        let url = web(&format!("redis://{text}"))?;
        return Ok(Reading {
            hosts: vec![(format!("/{}", url.path().trim_start_matches('/')), None)],
            database: value(&pairs(url.query().unwrap_or("")), "db").map(str::to_owned),
            ..Reading::default()
        });
    }
    let url = web(text)?;
    let given = pairs(url.query().unwrap_or(""));
    let port = url.port().map_or_else(|| value(&given, "port").map_or(Ok(None), number), |port| Ok(Some(port)))?;
    let has_login = !url.username().is_empty() || url.password().is_some();
    let or = |own: Option<String>, name: &str| own.or_else(|| value(&given, name).map(str::to_owned));
    Ok(Reading {
        user: if has_login { some(component(url.username())?) } else { or(None, "username") },
        password: if has_login { some(component(url.password().unwrap_or(""))?) } else { or(None, "password") },
        hosts: vec![(default(host(&url)), port)],
        database: or(some(path(&url)), "db"),
    })
}

fn default(host: String) -> String {
    if host.is_empty() { "localhost".into() } else { host }
}

/// node-redis.
pub(super) fn node_redis(text: &str) -> Outcome {
    if text.starts_with("unix:") {
        return super::forms::unix(text);
    }
    let url = web(text)?;
    if !["redis", "rediss"].contains(&url.scheme()) {
        return Err("refuses the scheme".into());
    }
    let database = some(path(&url));
    if database.as_ref().is_some_and(|text| text.parse::<f64>().is_err()) {
        return Err("refuses the path, which is no number".into());
    }
    Ok(Reading {
        user: some(component(url.username())?),
        password: some(component(url.password().unwrap_or(""))?),
        hosts: vec![(default(host(&url)), url.port())],
        database,
    })
}

/// redis-rs, which lyrox itself is built on.
pub(super) fn redis_rs(text: &str) -> Outcome {
    let url = web(text)?;
    let given = pairs(url.query().unwrap_or(""));
    match url.scheme() {
        "redis" | "rediss" | "valkey" | "valkeys" => {}
        "unix" | "redis+unix" | "valkey+unix" => {
            if url.host_str().is_some_and(|host| !host.is_empty()) || !url.username().is_empty() {
                return Err("refuses a login before the path of a socket".into());
            }
            return Ok(Reading {
                user: value(&given, "user").map(str::to_owned),
                password: value(&given, "pass").map(str::to_owned),
                hosts: vec![(strictly(url.path())?, None)],
                database: value(&given, "db").map(str::to_owned),
            });
        }
        _ => return Err("refuses the scheme".into()),
    }
    if host(&url).is_empty() {
        return Err("finds no host".into());
    }
    let database = some(url.path().trim_matches('/'));
    if database.as_ref().is_some_and(|text| text.parse::<i64>().is_err()) {
        return Err("refuses the path, which is no number".into());
    }
    Ok(Reading {
        user: some(strictly(url.username())?),
        password: some(strictly(url.password().unwrap_or(""))?),
        hosts: vec![(host(&url), url.port())],
        database,
    })
}
