//! Who serves a URL, and what that means: direct or pooled, and where the direct door is.

use super::SecretUrl;
use crate::kind::StoreKind;

/// A known provider's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The name people know: `Supabase`, `Neon`, `Atlas`, `Upstash`, `local`.
    pub name: &'static str,
    /// Whether and how connections are pooled there.
    pub pooling: Pooling,
}

/// How an endpoint pools connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The server itself.
    Direct,
    /// A pooler that keeps one server connection per client session.
    Session,
    /// A pooler that hands out a server connection per transaction: no locks, no settings, no DDL.
    Transaction,
    /// Not known from the URL.
    Unknown,
}

impl Pooling {
    /// How `inspect` and `check` call it; nothing where it says nothing.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Session => "session pooler",
            Self::Transaction => "transaction pooler",
            Self::Unknown => "",
        }
    }
}

/// Providers whose endpoints need no more than their name: store, ending of the host, name.
const ENDINGS: &[(StoreKind, &str, &str)] = &[
    (StoreKind::Postgres, ".postgres.database.azure.com", "Azure"),
    (StoreKind::Postgres, ".rlwy.net", "Railway"),
    (StoreKind::Postgres, ".render.com", "Render"),
    (StoreKind::Postgres, ".aivencloud.com", "Aiven"),
    (StoreKind::Postgres, ".ondigitalocean.com", "DigitalOcean"),
    (StoreKind::Postgres, ".cockroachlabs.cloud", "CockroachDB"),
    (StoreKind::Mongodb, ".mongodb.net", "Atlas"),
    (StoreKind::Mongodb, ".cosmos.azure.com", "Azure"),
    (StoreKind::Mongodb, ".docdb.amazonaws.com", "Amazon DocumentDB"),
    (StoreKind::Mongodb, ".ondigitalocean.com", "DigitalOcean"),
    (StoreKind::Mongodb, ".rlwy.net", "Railway"),
    (StoreKind::Redis, ".upstash.io", "Upstash"),
    (StoreKind::Redis, ".cache.amazonaws.com", "ElastiCache"),
    (StoreKind::Redis, ".redislabs.com", "Redis Cloud"),
    (StoreKind::Redis, ".redis-cloud.com", "Redis Cloud"),
    (StoreKind::Redis, ".redis.cache.windows.net", "Azure"),
    (StoreKind::Redis, ".aivencloud.com", "Aiven"),
    (StoreKind::Redis, ".ondigitalocean.com", "DigitalOcean"),
    (StoreKind::Redis, ".rlwy.net", "Railway"),
    (StoreKind::Redis, ".render.com", "Render"),
];

/// Recognises the provider by the host and port of the URL.
pub fn provider(url: &SecretUrl) -> Provider {
    let host = url.host().name.to_ascii_lowercase();
    let is_pooler_port = url.port_of(url.host()) == 6543;
    let pooled = |is_pooled, otherwise| if is_pooled { Pooling::Transaction } else { otherwise };
    // What a host name does not tell, PostgreSQL's poolers being what they are.
    let untold = if url.kind() == StoreKind::Postgres { Pooling::Unknown } else { Pooling::Direct };
    let (name, pooling) = if url.is_local() {
        ("local", untold)
    } else if let Some((_, _, name)) =
        ENDINGS.iter().find(|(kind, ending, _)| *kind == url.kind() && host.ends_with(ending))
    {
        (*name, untold)
    } else if url.kind() != StoreKind::Postgres {
        ("", untold)
    } else if host.ends_with(".pooler.supabase.com") {
        ("Supabase", pooled(is_pooler_port, Pooling::Session))
    } else if host.ends_with(".supabase.co") {
        ("Supabase", pooled(is_pooler_port, Pooling::Direct))
    } else if host.ends_with(".neon.tech") {
        let is_pooled = host.split('.').next().is_some_and(|first| first.ends_with("-pooler"));
        ("Neon", pooled(is_pooled, Pooling::Direct))
    } else if host.ends_with(".rds.amazonaws.com") {
        ("Amazon RDS", if host.contains(".proxy-") { Pooling::Session } else { Pooling::Direct })
    } else {
        ("", untold)
    };
    Provider { name, pooling }
}

/// The same server and login without the transaction pooler, where the provider makes its address known by
/// the pooler's: Neon's host without `-pooler`, Supabase's port 5432 (a session of its own) instead of 6543.
pub fn direct(url: &SecretUrl) -> Option<SecretUrl> {
    let Provider { name, pooling: Pooling::Transaction } = provider(url) else { return None };
    let [host] = url.hosts() else { return None };
    let mut host = host.clone();
    match name {
        "Neon" => {
            let (first, rest) = host.name.split_once('.')?;
            host.name = format!("{}.{rest}", first.strip_suffix("-pooler")?);
        }
        "Supabase" => host.port = Some(5432),
        _ => return None,
    }
    let mut direct = SecretUrl { hosts: vec![host], ..url.clone() };
    direct.options.retain(|(key, _)| !key.eq_ignore_ascii_case("pgbouncer"));
    Some(direct)
}

/// The same server and login through its provider's transaction pooler, where its address is known by the direct
/// one's: Neon's host with `-pooler`, port 6543 of Supabase's session pooler. Supabase's direct host has a pooler
/// in some plans only.
pub fn pooled(url: &SecretUrl) -> Option<SecretUrl> {
    let served = provider(url);
    let [host] = url.hosts() else { return None };
    let mut host = host.clone();
    match (served.name, served.pooling) {
        ("Neon", Pooling::Direct) => {
            let (first, rest) = host.name.split_once('.')?;
            host.name = format!("{first}-pooler.{rest}");
        }
        ("Supabase", Pooling::Session) => host.port = Some(6543),
        _ => return None,
    }
    Some(SecretUrl { hosts: vec![host], ..url.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_address_is_derived_where_the_poolers_tells_it() {
        for (pooled, expected) in [
            (
                "postgres://u:p%40ss@ep-cool-dew-1-pooler.eu-central-1.aws.neon.tech/db?sslmode=require",
                Some("postgres://u:p%40ss@ep-cool-dew-1.eu-central-1.aws.neon.tech/db?sslmode=require"),
            ),
            (
                "postgres://postgres.ref:x@aws-0-eu-west-1.pooler.supabase.com:6543/postgres?pgbouncer=true",
                Some("postgres://postgres.ref:x@aws-0-eu-west-1.pooler.supabase.com:5432/postgres"),
            ),
            (
                "postgres://postgres:x@db.abcdefghijklmnopqrst.supabase.co:6543/postgres",
                Some("postgres://postgres:x@db.abcdefghijklmnopqrst.supabase.co:5432/postgres"),
            ),
            ("postgres://u:x@ep-cool-dew-1.eu-central-1.aws.neon.tech/db", None),
            ("postgres://u:x@aws-0-eu-west-1.pooler.supabase.com:5432/postgres", None),
            ("postgres://u:x@pooler.example.com:6543/db", None),
        ] {
            let url = crate::url::parse(StoreKind::Postgres, pooled).expect("a URL");
            assert_eq!(direct(&url).map(|url| url.expose()).as_deref(), expected, "{pooled}");
        }
    }

    #[test]
    fn the_poolers_address_is_derived_where_the_direct_one_tells_it() {
        for (direct, expected) in [
            (
                "postgres://u:p%40ss@ep-cool-dew-1.eu-central-1.aws.neon.tech/db?sslmode=require",
                Some("postgres://u:p%40ss@ep-cool-dew-1-pooler.eu-central-1.aws.neon.tech/db?sslmode=require"),
            ),
            (
                "postgres://postgres.ref:x@aws-0-eu-west-1.pooler.supabase.com:5432/postgres",
                Some("postgres://postgres.ref:x@aws-0-eu-west-1.pooler.supabase.com:6543/postgres"),
            ),
            ("postgres://postgres:x@db.abcdefghijklmnopqrst.supabase.co:5432/postgres", None),
            ("postgres://u:x@ep-cool-dew-1-pooler.eu-central-1.aws.neon.tech/db", None),
            ("postgres://u:x@db.example.com/db", None),
        ] {
            let url = crate::url::parse(StoreKind::Postgres, direct).expect("a URL");
            assert_eq!(pooled(&url).map(|url| url.expose()).as_deref(), expected, "{direct}");
        }
    }
}
