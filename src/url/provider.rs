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

/// Recognises the provider by the host and port of the URL.
pub fn provider(url: &SecretUrl) -> Provider {
    let host = url.host().name.to_ascii_lowercase();
    let port = url.port_of(url.host());
    let found = |name, pooling| Provider { name, pooling };
    if url.is_local() {
        return found("local", if url.kind() == StoreKind::Postgres { Pooling::Unknown } else { Pooling::Direct });
    }
    match url.kind() {
        StoreKind::Postgres => {
            if host.ends_with(".pooler.supabase.com") {
                found("Supabase", if port == 6543 { Pooling::Transaction } else { Pooling::Session })
            } else if host.ends_with(".supabase.co") {
                found("Supabase", if port == 6543 { Pooling::Transaction } else { Pooling::Direct })
            } else if host.ends_with(".neon.tech") {
                let is_pooled = host.split('.').next().is_some_and(|first| first.ends_with("-pooler"));
                found("Neon", if is_pooled { Pooling::Transaction } else { Pooling::Direct })
            } else if host.ends_with(".rds.amazonaws.com") {
                found("Amazon RDS", if host.contains(".proxy-") { Pooling::Session } else { Pooling::Direct })
            } else {
                found("", Pooling::Unknown)
            }
        }
        StoreKind::Mongodb if host.ends_with(".mongodb.net") => found("Atlas", Pooling::Direct),
        StoreKind::Redis if host.ends_with(".upstash.io") => found("Upstash", Pooling::Direct),
        StoreKind::Redis if host.ends_with(".cache.amazonaws.com") => found("ElastiCache", Pooling::Direct),
        _ => found("", Pooling::Direct),
    }
}
