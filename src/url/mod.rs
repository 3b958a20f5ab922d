//! Connection URLs of the three stores: read once, by one reader, before any driver sees them.
//!
//! `url::Url` is not used: it knows no host lists and calls a raw `?` in a password an "invalid port
//! number". The part before the last `@` whose right side reads as hosts is the login, whatever it holds.

mod build;
pub mod clients;
mod keywords;
pub mod mongodb;
pub mod parameters;
mod parse;
mod postgres;
mod problem;
pub mod provider;
pub mod quote;
mod redis;
mod split;
pub mod text;

use std::fmt;
use std::net::IpAddr;

use percent_encoding::utf8_percent_encode;

use crate::kind::StoreKind;
use crate::secret::{STRICT, Secret};

pub use build::{Parts, build};
pub use parse::{decode, kind_of, parse, read, schemes};
pub use problem::{Problem, Remark, direct_form, is_placeholder, remarks};

/// A connection URL taken apart. Display and Debug print the label; `expose` is the one door.
#[derive(Clone)]
pub struct SecretUrl {
    pub(crate) kind: StoreKind,
    pub(crate) scheme: String,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) database: Option<String>,
    pub(crate) options: Vec<(String, String)>,
    /// `rediss://...#insecure`.
    pub(crate) is_insecure: bool,
    pub(crate) problems: Vec<Problem>,
}

/// One host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name, an address without brackets, or the path of a socket.
    pub name: String,
    /// The port, where the URL names one.
    pub port: Option<u16>,
}

impl Host {
    /// Whether it is a path of a Unix socket.
    pub fn is_socket(&self) -> bool {
        self.name.starts_with('/')
    }

    /// The name, an IPv6 address in its brackets.
    pub fn bracketed(&self) -> String {
        if !self.is_socket() && self.name.contains(':') { format!("[{}]", self.name) } else { self.name.clone() }
    }

    /// Whether it can only be this machine.
    pub fn is_loopback(&self) -> bool {
        self.is_socket()
            || self.name.eq_ignore_ascii_case("localhost")
            || self.name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

/// What the URL asks of TLS. Remote hosts are verified unless the URL spells out something weaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// No TLS.
    Off,
    /// Encrypted, the certificate is not looked at.
    Unverified,
    /// Encrypted; the chain is verified, the host name is not.
    VerifiedChain,
    /// Encrypted, chain and name verified.
    Verified,
}

impl SecretUrl {
    /// The store it is for.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// The scheme, in lower case.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, decoded.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, decoded.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    /// The hosts; at least one.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The first host.
    pub fn host(&self) -> &Host {
        &self.hosts[0]
    }

    /// The port of a host, or the store's usual one.
    pub fn port_of(&self, host: &Host) -> u16 {
        host.port.unwrap_or(match self.kind {
            StoreKind::Postgres => 5432,
            StoreKind::Mongodb => 27017,
            StoreKind::Redis => 6379,
        })
    }

    /// The path: PostgreSQL's and MongoDB's database, Redis' database number.
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// A parameter after the `?`; names are compared without case.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().rev().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// All parameters after the `?`, decoded.
    pub fn options(&self) -> &[(String, String)] {
        &self.options
    }

    /// What was odd about the text it was read from.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The same server and login with another path.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        Self { database: Some(database.to_owned()), ..self.clone() }
    }

    /// The same server with another login.
    #[must_use]
    pub fn with_login(&self, user: &str, password: Secret) -> Self {
        Self { user: Some(user.to_owned()), password: Some(password), ..self.clone() }
    }

    /// The same with a parameter set.
    #[must_use]
    pub fn with_option(&self, name: &str, value: &str) -> Self {
        let mut options = self.options.clone();
        options.retain(|(key, _)| !key.eq_ignore_ascii_case(name));
        options.push((name.to_owned(), value.to_owned()));
        Self { options, ..self.clone() }
    }

    /// The same login, path and parameters with other hosts.
    #[must_use]
    pub fn with_hosts(&self, scheme: &str, hosts: Vec<Host>) -> Self {
        Self { scheme: scheme.to_owned(), hosts, ..self.clone() }
    }

    /// The same with other parameters.
    #[must_use]
    pub fn with_options(&self, options: Vec<(String, String)>) -> Self {
        Self { options, ..self.clone() }
    }

    /// Whether every host is this machine.
    pub fn is_local(&self) -> bool {
        self.scheme != "mongodb+srv" && self.hosts.iter().all(Host::is_loopback)
    }

    /// Whether the hosts are to be looked up as SRV records.
    pub fn is_srv(&self) -> bool {
        self.scheme == "mongodb+srv"
    }

    /// What the URL asks of TLS: verified for every remote host unless the URL spells out something weaker. Redis
    /// spells it out in its scheme.
    pub fn tls(&self) -> TlsMode {
        let default = if self.is_local() { TlsMode::Off } else { TlsMode::Verified };
        if self.hosts.iter().all(Host::is_socket) {
            return TlsMode::Off;
        }
        match self.kind {
            StoreKind::Postgres => match self.option("sslmode") {
                Some("disable") => TlsMode::Off,
                Some("allow" | "prefer") | None => default,
                Some("require" | "no-verify") if self.option("sslrootcert").is_none() && self.is_local() => {
                    TlsMode::Unverified
                }
                Some("no-verify") => TlsMode::Unverified,
                Some("verify-ca") => TlsMode::VerifiedChain,
                Some(_) => TlsMode::Verified,
            },
            StoreKind::Mongodb => self.mongodb_tls(default),
            StoreKind::Redis if self.scheme == "rediss" || self.scheme == "valkeys" => {
                if self.is_insecure {
                    TlsMode::Unverified
                } else {
                    TlsMode::Verified
                }
            }
            StoreKind::Redis => TlsMode::Off,
        }
    }

    /// Whether the URL itself speaks of TLS.
    pub fn asks_tls(&self) -> bool {
        self.is_srv()
            || ["rediss", "valkeys"].contains(&self.scheme.as_str())
            || self.options.iter().any(|(key, _)| {
                let key = key.to_ascii_lowercase();
                key.starts_with("tls") || key.starts_with("ssl")
            })
    }

    fn mongodb_tls(&self, default: TlsMode) -> TlsMode {
        let is = |name: &str, value: &str| self.option(name).is_some_and(|given| given.eq_ignore_ascii_case(value));
        let off = is("tls", "false") || is("ssl", "false");
        // Any option that is about TLS asks for it.
        let asks = |(key, value): &(String, String)| {
            let key = key.to_ascii_lowercase();
            (key.starts_with("tls") || key == "ssl") && !value.is_empty() && !value.eq_ignore_ascii_case("false")
        };
        let on = self.is_srv() || default != TlsMode::Off || self.options.iter().any(asks);
        match (off, on) {
            (true, _) | (false, false) => TlsMode::Off,
            _ if is("tlsInsecure", "true") || is("tlsAllowInvalidCertificates", "true") => TlsMode::Unverified,
            _ if is("tlsAllowInvalidHostnames", "true") => TlsMode::VerifiedChain,
            _ => TlsMode::Verified,
        }
    }

    /// `user@host:port/database`: what may be shown.
    pub fn label(&self) -> String {
        let mut label = String::new();
        if let Some(user) = &self.user {
            label.push_str(user);
            label.push('@');
        }
        label.push_str(&self.authority());
        if let Some(database) = &self.database {
            label.push('/');
            label.push_str(database);
        }
        label
    }

    /// `host:port,host:port`.
    pub fn authority(&self) -> String {
        let hosts = self.hosts.iter().map(|host| match host.port {
            Some(port) => format!("{}:{port}", host.bracketed()),
            None => host.bracketed(),
        });
        hosts.collect::<Vec<_>>().join(",")
    }

    /// The URL with everything percent-encoded that any client could misread. Holds the password.
    pub fn expose(&self) -> String {
        let encode = |text: &str| utf8_percent_encode(text, STRICT).to_string();
        let mut url = format!("{}://", self.scheme);
        if self.user.is_some() || self.password.is_some() {
            url.push_str(&encode(self.user.as_deref().unwrap_or("")));
            if let Some(password) = &self.password {
                url.push(':');
                url.push_str(&encode(password.expose()));
            }
            url.push('@');
        }
        let mut pairs: Vec<(&str, &str)> =
            self.options.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        if self.scheme.ends_with("unix") {
            // The path is the socket's; the database number becomes a parameter.
            url.push_str(&self.host().name.split('/').map(encode).collect::<Vec<_>>().join("/"));
            pairs.extend(self.database.iter().map(|number| ("db", number.as_str())));
        } else {
            url.push_str(&self.places(encode));
            match &self.database {
                Some(database) => url.push_str(&format!("/{}", encode(database))),
                None if !pairs.is_empty() => url.push('/'),
                None => {}
            }
        }
        for (index, (key, value)) in pairs.iter().enumerate() {
            url.push(if index == 0 { '?' } else { '&' });
            url.push_str(&format!("{}={}", encode(key), encode(value)));
        }
        if self.is_insecure {
            url.push_str("#insecure");
        }
        url
    }

    fn places(&self, encode: impl Fn(&str) -> String) -> String {
        let hosts = self.hosts.iter().map(|host| {
            let name = if host.is_socket() { encode(&host.name) } else { host.bracketed() };
            host.port.map_or(name.clone(), |port| format!("{name}:{port}"))
        });
        hosts.collect::<Vec<_>>().join(",")
    }
}

/// The variable that usually holds the URL of a store.
pub const fn usual_variable(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Postgres => "DATABASE_URL",
        StoreKind::Mongodb => "MONGODB_URI",
        StoreKind::Redis => "REDIS_URL",
    }
}

/// Whether the value of a parameter is a secret.
pub fn is_secret_option(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "secret", "token", "scram_"].iter().any(|part| name.contains(part))
        || name == "pass"
        || name == "authmechanismproperties"
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.label())
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "SecretUrl({})", self.label())
    }
}
