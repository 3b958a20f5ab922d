//! What only PostgreSQL's URLs have: parts among the parameters, hosts that are left out, libpq's own words.
//! The rules are libpq's; what it refuses is refused, but for the parameters of other clients.

use std::path::Path;

use super::parameters::{self, LIBPQ};
use super::parse::{finish, invalid, place, read_options, read_path};
use super::split::{Pieces, host, port};
use super::{Host, SecretUrl};
use crate::error::{Error, Result};
use crate::kind::StoreKind;

const KIND: StoreKind = StoreKind::Postgres;

/// Parameters that take one of a few words.
const WORDS: &[(&str, &[&str])] = &[
    ("sslmode", &["disable", "allow", "prefer", "require", "verify-ca", "verify-full", "no-verify"]),
    ("channel_binding", &["disable", "prefer", "require"]),
    ("gssencmode", &["disable", "prefer", "require"]),
    ("sslnegotiation", &["postgres", "direct"]),
    ("sslcertmode", &["disable", "allow", "require"]),
    ("load_balance_hosts", &["disable", "random"]),
    ("target_session_attrs", &["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]),
];

/// Parameters that take a whole number.
const NUMBERS: &[&str] = &[
    "connect_timeout",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
];

/// Reads the pieces that follow the login.
pub(super) fn read(mut url: SecretUrl, password: Option<String>, pieces: &Pieces<'_>) -> Result<SecretUrl> {
    if pieces.fragment.is_some() {
        return Err(invalid(KIND, "a `#` follows the host; in a password it is written `%23`"));
    }
    let query = pieces.query.unwrap_or("");
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        match pair.matches('=').count() {
            _ if pair.is_empty() || pair.starts_with('=') => {
                return Err(invalid(KIND, "a parameter after the `?` has no name"));
            }
            0 => return Err(invalid(KIND, "a parameter after the `?` has no `=`")),
            1 => {}
            _ => return Err(invalid(KIND, "a parameter after the `?` has two `=`; in a value it is written `%3D`")),
        }
    }
    url.options = read_options(KIND, query, '&')?;
    url.database = read_path(KIND, pieces)?;
    let read = |text: &str| match text.strip_prefix(':') {
        _ if text.is_empty() => Ok(place("", None)),
        Some(number) if !number.contains(':') => port(number).map(|port| place("", port)),
        _ => host(text),
    };
    url.hosts = pieces.place.split(',').map(read).collect::<Result<_, _>>().map_err(|why| invalid(KIND, why))?;
    settle(url, password)
}

/// Moves the parts that stand among the parameters to their places, where they win over those of the URL, and
/// looks at the words of the rest.
pub(super) fn settle(mut url: SecretUrl, mut password: Option<String>) -> Result<SecretUrl> {
    let mut take = |name: &str| {
        let found = url.options.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        url.options.retain(|(key, _)| key != name);
        found
    };
    let (names, ports, address) = (take("host"), take("port"), take("hostaddr"));
    let (user, database, given) = (take("user"), take("dbname"), take("password"));
    let tls = take("ssl");
    url.user = user.filter(|user| !user.is_empty()).or(url.user.take());
    url.database = database.or(url.database.take()).filter(|database| !database.is_empty());
    password = given.filter(|given| !given.is_empty()).or(password);
    take_hosts(&mut url, names.as_deref(), ports.as_deref(), address)?;
    // JDBC's word for it, which libpq takes as well; other clients know more values of it.
    if let Some(mode) = tls {
        let mode = match mode.as_str() {
            "true" | "1" => "require",
            "false" | "0" => "disable",
            "no-verify" => "no-verify",
            _ => return Err(invalid(KIND, "the value of the parameter `ssl` is neither `true` nor `false`").hint(FULL)),
        };
        if url.option("sslmode").is_none() {
            url.options.push(("sslmode".into(), mode.into()));
        }
    }
    check(&url)?;
    finish(url, password)
}

const FULL: &str = "write `sslmode=verify-full`";

/// Hosts and ports as lists: of a list of parameters each part stands for the host at its place.
fn take_hosts(url: &mut SecretUrl, names: Option<&str>, ports: Option<&str>, address: Option<String>) -> Result<()> {
    let mut hosts = std::mem::take(&mut url.hosts);
    if let Some(names) = names {
        let read = |name: &str| match name.chars().next() {
            None => Ok(place("", None)),
            Some('/') => Ok(place(name, None)),
            Some('@') => Err("the host is an abstract socket, which no driver here can open"),
            _ if name.parse::<std::net::Ipv6Addr>().is_ok() => Ok(place(name, None)),
            _ if name.contains(':') => Err("the parameter `host` holds a port; that is a parameter of its own: `port`"),
            _ => host(&name.replace('%', "%25")),
        };
        let given: Vec<Host> =
            names.split(',').map(read).collect::<Result<_, _>>().map_err(|why| invalid(KIND, why))?;
        let old: Vec<Option<u16>> = hosts.iter().map(|host| host.port).collect();
        hosts = with_ports(given, &old)?;
    }
    if let Some(addresses) = address.filter(|address| !address.is_empty()) {
        if addresses.split(',').any(|address| address.parse::<std::net::IpAddr>().is_err()) {
            return Err(invalid(KIND, "the parameter `hostaddr` holds something other than an address"));
        }
        if hosts.iter().all(|host| host.name.is_empty()) {
            let old: Vec<Option<u16>> = hosts.iter().map(|host| host.port).collect();
            hosts = with_ports(addresses.split(',').map(|address| place(address, None)).collect(), &old)?;
        } else if addresses.split(',').count() == hosts.len() {
            url.options.push(("hostaddr".into(), addresses));
        } else {
            return Err(invalid(KIND, "the parameter `hostaddr` names more or fewer places than there are hosts"));
        }
    }
    if let Some(ports) = ports {
        let ports: Vec<Option<u16>> =
            ports.split(',').map(port).collect::<Result<_, _>>().map_err(|why| invalid(KIND, why))?;
        hosts = with_ports(hosts, &ports)?;
    }
    for host in &mut hosts {
        if host.name.is_empty() {
            host.name = default_host(host.port.unwrap_or(5432));
        }
    }
    url.hosts = hosts;
    Ok(())
}

/// One port serves all hosts; else each has its own.
fn with_ports(mut hosts: Vec<Host>, ports: &[Option<u16>]) -> Result<Vec<Host>> {
    if ports.len() != 1 && ports.len() != hosts.len() {
        return Err(invalid(KIND, format!("{} ports cannot be for {} hosts", ports.len(), hosts.len()))
            .hint("name one port for all hosts, or one for each"));
    }
    for (at, host) in hosts.iter_mut().enumerate() {
        host.port = ports[if ports.len() == 1 { 0 } else { at }];
    }
    Ok(hosts)
}

/// Where a server is looked for that the URL does not name: the socket of this machine's server, where there is
/// one in the usual folders, else `localhost`.
fn default_host(port: u16) -> String {
    let folders = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
    let has_socket = |folder: &&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    folders.into_iter().find(has_socket).unwrap_or("localhost").to_owned()
}

fn check(url: &SecretUrl) -> Result<()> {
    for (key, value) in &url.options {
        if !parameters::is_known(KIND, key) {
            return Err(unknown(key));
        }
        let refused = |what: &str| invalid(KIND, format!("the value of the parameter `{key}` is {what}"));
        if let Some((_, words)) = WORDS.iter().find(|(name, words)| name == key && !words.contains(&value.as_str())) {
            return Err(refused("none that PostgreSQL knows").hint(format!("{key} is one of {}", words.join(", "))));
        }
        if NUMBERS.contains(&key.as_str()) && value.trim().parse::<i64>().is_err() {
            return Err(refused("no number"));
        }
        if key == "service" || key == "servicefile" {
            return Err(invalid(
                KIND,
                format!("the parameter `{key}` names a file of services, which lyrox does not read"),
            )
            .hint("write host, port, database and user of that service into the URL"));
        }
    }
    Ok(())
}

fn unknown(key: &str) -> Error {
    let near = parameters::nearest(KIND, key)
        .or_else(|| LIBPQ.iter().map(|(name, _)| *name).find(|name| name.eq_ignore_ascii_case(key)));
    // A name near to none may be a piece of a password.
    match near {
        Some(near) => invalid(KIND, format!("the parameter `{}` is not known", parameters::shown(key)))
            .hint(format!("did you mean `{near}`?")),
        None => invalid(KIND, "a parameter after the `?` is none that PostgreSQL's clients know")
            .hint("take it out; lyrox url inspect shows how clients read a URL"),
    }
}
