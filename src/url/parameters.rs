//! The parameters after the `?`, by store: whose they are, and what lyrox makes of them.

use crate::kind::StoreKind;

/// What lyrox makes of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what the parameter says.
    Used,
    /// It concerns pools, names and patience, which lyrox has its own rules for.
    Harmless,
    /// It would change what a connection is or may do, and lyrox does not do it.
    Ignored,
}

use Effect::{Harmless, Ignored, Used};

/// What libpq documents, and what lyrox makes of it.
pub const LIBPQ: &[(&str, Effect)] = &[
    ("application_name", Harmless),
    ("channel_binding", Ignored),
    ("client_encoding", Harmless),
    ("connect_timeout", Harmless),
    ("dbname", Used),
    ("fallback_application_name", Harmless),
    ("gssdelegation", Ignored),
    ("gssencmode", Harmless),
    ("gsslib", Ignored),
    ("host", Used),
    ("hostaddr", Used),
    ("keepalives", Harmless),
    ("keepalives_count", Harmless),
    ("keepalives_idle", Harmless),
    ("keepalives_interval", Harmless),
    ("krbsrvname", Ignored),
    ("load_balance_hosts", Harmless),
    ("max_protocol_version", Harmless),
    ("min_protocol_version", Harmless),
    ("oauth_client_id", Ignored),
    ("oauth_client_secret", Ignored),
    ("oauth_issuer", Ignored),
    ("oauth_scope", Ignored),
    ("options", Used),
    ("passfile", Ignored),
    ("password", Used),
    ("port", Used),
    ("replication", Ignored),
    ("require_auth", Ignored),
    ("requirepeer", Ignored),
    ("requiressl", Harmless),
    ("scram_client_key", Ignored),
    ("scram_server_key", Ignored),
    ("service", Ignored),
    ("servicefile", Ignored),
    ("ssl_max_protocol_version", Harmless),
    ("ssl_min_protocol_version", Ignored),
    ("sslcert", Used),
    ("sslcertmode", Harmless),
    ("sslcompression", Harmless),
    ("sslcrl", Ignored),
    ("sslcrldir", Ignored),
    ("sslkey", Used),
    ("sslkeylogfile", Harmless),
    ("sslmode", Used),
    ("sslnegotiation", Harmless),
    ("sslpassword", Ignored),
    ("sslrootcert", Used),
    ("sslsni", Harmless),
    ("target_session_attrs", Harmless),
    ("tcp_user_timeout", Harmless),
    ("user", Used),
];

/// What other clients of PostgreSQL read beside, and libpq refuses.
pub const POSTGRES_OTHERS: &[&str] = &[
    "connection_limit",
    "currentSchema",
    "default_query_exec_mode",
    "description_cache_capacity",
    "idle_in_transaction_session_timeout",
    "idle_timeout",
    "lock_timeout",
    "loginTimeout",
    "max",
    "max_lifetime",
    "pgbouncer",
    "pool_max_conn_idle_time",
    "pool_max_conn_lifetime",
    "pool_max_conns",
    "pool_min_conns",
    "pool_mode",
    "pool_timeout",
    "preferQueryMode",
    "prepare",
    "prepareThreshold",
    "prepared_statement_cache_size",
    "prepared_statements",
    "query_timeout",
    "reWriteBatchedInserts",
    "schema",
    "search_path",
    "single_use_connections",
    "socketTimeout",
    "socket_timeout",
    "ssl",
    "sslaccept",
    "sslidentity",
    "statement-cache-capacity",
    "statement_cache_capacity",
    "statement_cache_mode",
    "statement_cache_size",
    "statement_timeout",
    "supa",
    "tcpKeepAlive",
    "timezone",
    "uselibpqcompat",
    "workaround",
];

/// The options of MongoDB's connection strings.
pub const MONGODB: &[(&str, Effect)] = &[
    ("appName", Harmless),
    ("authMechanism", Used),
    ("authMechanismProperties", Used),
    ("authSource", Used),
    ("compressors", Harmless),
    ("connectTimeoutMS", Harmless),
    ("directConnection", Used),
    ("heartbeatFrequencyMS", Harmless),
    ("journal", Harmless),
    ("loadBalanced", Used),
    ("localThresholdMS", Harmless),
    ("maxConnecting", Harmless),
    ("maxIdleTimeMS", Harmless),
    ("maxPoolSize", Harmless),
    ("maxStalenessSeconds", Harmless),
    ("minPoolSize", Harmless),
    ("proxyHost", Ignored),
    ("proxyPassword", Ignored),
    ("proxyPort", Ignored),
    ("proxyUsername", Ignored),
    ("readConcernLevel", Harmless),
    ("readPreference", Used),
    ("readPreferenceTags", Used),
    ("replicaSet", Used),
    ("retryReads", Harmless),
    ("retryWrites", Harmless),
    ("serverMonitoringMode", Harmless),
    ("serverSelectionTimeoutMS", Harmless),
    ("serverSelectionTryOnce", Harmless),
    ("socketTimeoutMS", Harmless),
    ("srvMaxHosts", Used),
    ("srvServiceName", Used),
    ("ssl", Used),
    ("timeoutMS", Harmless),
    ("tls", Used),
    ("tlsAllowInvalidCertificates", Used),
    ("tlsAllowInvalidHostnames", Used),
    ("tlsCAFile", Used),
    ("tlsCertificateKeyFile", Used),
    ("tlsCertificateKeyFilePassword", Ignored),
    ("tlsDisableCertificateRevocationCheck", Harmless),
    ("tlsDisableOCSPEndpointCheck", Harmless),
    ("tlsInsecure", Used),
    ("uuidRepresentation", Harmless),
    ("w", Harmless),
    ("waitQueueMultiple", Harmless),
    ("waitQueueTimeoutMS", Harmless),
    ("wTimeoutMS", Harmless),
    ("zlibCompressionLevel", Harmless),
];

/// The options of MongoDB that hold a truth.
pub const MONGODB_TRUTHS: &[&str] = &[
    "directConnection",
    "journal",
    "loadBalanced",
    "retryReads",
    "retryWrites",
    "serverSelectionTryOnce",
    "ssl",
    "tls",
    "tlsAllowInvalidCertificates",
    "tlsAllowInvalidHostnames",
    "tlsDisableCertificateRevocationCheck",
    "tlsDisableOCSPEndpointCheck",
    "tlsInsecure",
];

/// The options of MongoDB that hold a whole number, with the least that it may be.
pub const MONGODB_NUMBERS: &[(&str, i64)] = &[
    ("connectTimeoutMS", 0),
    ("heartbeatFrequencyMS", 500),
    ("localThresholdMS", 0),
    ("maxConnecting", 1),
    ("maxIdleTimeMS", 0),
    ("maxPoolSize", 0),
    ("maxStalenessSeconds", -1),
    ("minPoolSize", 0),
    ("proxyPort", 1),
    ("serverSelectionTimeoutMS", 0),
    ("socketTimeoutMS", 0),
    ("srvMaxHosts", 0),
    ("timeoutMS", 0),
    ("waitQueueTimeoutMS", 0),
    ("wTimeoutMS", 0),
    ("zlibCompressionLevel", -1),
];

/// What clients of Redis read after the `?`.
pub const REDIS: &[(&str, Effect)] = &[
    ("client_name", Harmless),
    ("connection_limit", Harmless),
    ("db", Used),
    ("decode_responses", Harmless),
    ("dial_timeout", Harmless),
    ("family", Harmless),
    ("health_check_interval", Harmless),
    ("max_connections", Harmless),
    ("pass", Used),
    ("password", Used),
    ("pool_size", Harmless),
    ("protocol", Harmless),
    ("read_timeout", Harmless),
    ("socket_connect_timeout", Harmless),
    ("socket_timeout", Harmless),
    ("ssl_ca_certs", Ignored),
    ("ssl_cert_reqs", Ignored),
    ("ssl_certfile", Ignored),
    ("ssl_check_hostname", Ignored),
    ("ssl_keyfile", Ignored),
    ("user", Used),
    ("username", Used),
    ("write_timeout", Harmless),
];

fn table(kind: StoreKind) -> &'static [(&'static str, Effect)] {
    match kind {
        StoreKind::Postgres => LIBPQ,
        StoreKind::Mongodb => MONGODB,
        StoreKind::Redis => REDIS,
    }
}

/// Every parameter that some client of the store understands.
pub fn known(kind: StoreKind) -> impl Iterator<Item = &'static str> {
    let others: &[&str] = if kind == StoreKind::Postgres { POSTGRES_OTHERS } else { &[] };
    table(kind).iter().map(|(name, _)| *name).chain(others.iter().copied())
}

/// Whether some client of the store understands the parameter. PostgreSQL's have their case, the others' do not.
pub fn is_known(kind: StoreKind, name: &str) -> bool {
    known(kind).any(|known| known == name || (kind != StoreKind::Postgres && known.eq_ignore_ascii_case(name)))
}

/// What lyrox makes of a parameter that is known.
pub fn effect(kind: StoreKind, name: &str) -> Effect {
    table(kind).iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(Harmless, |(_, effect)| *effect)
}

/// The known parameter that is nearest to a name, where one is near.
pub fn nearest(kind: StoreKind, name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let distance = |known: &'static str| (strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &name), known);
    known(kind)
        .map(distance)
        .filter(|(distance, known)| *distance <= 2 && *distance < known.len())
        .min()
        .map(|(_, known)| known)
}

/// A parameter's name as it may be shown: of what lies outside a name's characters nothing is kept.
pub fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(40).collect()
}
