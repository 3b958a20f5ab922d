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
