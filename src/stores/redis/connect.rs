//! Connecting to Redis: the driver's options field by field from a [`SecretUrl`], with limits of lyrox's
//! own. Knows nothing of ledgers and migrations.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, RedisConnectionInfo};
use redis::{RedisError, TlsCertificates};

use super::error::connect_error;
use super::link::Link;
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::stores::reach::reach;
use crate::url::TlsMode;

/// How long connecting may take, TLS and login included. TLS to a port without it never answers.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one reply may take; the driver's own half second is too little for a script or a big batch.
const RESPONSE: Duration = Duration::from_secs(30);

/// A connected Redis, and what its server said of itself.
#[derive(Clone)]
pub struct Connected {
    /// The connection.
    pub link: Link,
    /// How many replicas follow the server; none where it does not tell.
    pub replicas: Option<u64>,
}

/// Connects, logs in, and finds out whether the server is one of a cluster.
///
/// # Errors
/// `LYX-CONNECT-*`, `LYX-TLS` or `LYX-AUTH-REDIS`, each with a hint.
pub async fn connect(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<Connected> {
    let url = &endpoint.url;
    let addresses: Vec<(String, u16)> = url.hosts().iter().map(|host| (host.name.clone(), url.port_of(host))).collect();
    reach(endpoint, &addresses, CONNECT).await?;
    let failed = |error: RedisError| connect_error(endpoint, &error);
    let client = client(endpoint, ca_file)?;
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(RESPONSE));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await.map_err(failed)?;
    // A server without a password for `default` takes the connection and refuses the first command.
    let mut greeting = redis::pipe();
    greeting.ignore_errors();
    greeting.cmd("PING").cmd("INFO").arg("cluster").cmd("INFO").arg("replication");
    let mut replies: Vec<redis::RedisResult<redis::Value>> =
        tokio::time::timeout(CONNECT, greeting.query_async(&mut connection))
            .await
            .map_err(|_| connect_error(endpoint, &std::io::Error::from(std::io::ErrorKind::TimedOut).into()))?
            .map_err(failed)?;
    let info = |reply: Option<redis::RedisResult<redis::Value>>| {
        reply.and_then(Result::ok).and_then(|value| redis::from_redis_value::<redis::InfoDict>(value).ok())
    };
    // INFO may be forbidden.
    let replication = info(replies.pop());
    let cluster = info(replies.pop());
    if let Some(Err(error)) = replies.pop() {
        return Err(failed(error));
    }
    let replicas = replication.and_then(|info| info.get("connected_slaves"));
    let is_cluster = match cluster {
        Some(info) => info.get::<u8>("cluster_enabled") == Some(1),
        // A user that may not ask for INFO may often ask for this: only a server of a cluster answers it.
        None => {
            let mut ask = redis::cmd("CLUSTER");
            let asked = tokio::time::timeout(CONNECT, ask.arg("INFO").query_async::<String>(&mut connection)).await;
            asked.is_ok_and(|answer| answer.is_ok_and(|text| text.contains("cluster_state")))
        }
    };
    if !is_cluster {
        return Ok(Connected { link: Link::Single(connection), replicas });
    }
    let state = tokio::time::timeout(CONNECT, redis::cmd("CLUSTER").arg("INFO").query_async(&mut connection)).await;
    if let Ok(Ok::<String, _>(state)) = state
        && state.contains("cluster_state:fail")
    {
        let slots = state.lines().find_map(|line| line.trim().strip_prefix("cluster_slots_ok:")).unwrap_or("not all");
        return Err(Error::new(Code::ClusterDown, format!("the cluster at {} does not serve", url.authority()))
            .why(format!("{slots} of 16384 slots are served ({})", endpoint.origin))
            .hint("CLUSTER INFO shows the state; start the master that is down, or give its slots out"));
    }
    let cluster = cluster_client(endpoint, ca_file)?;
    // The driver answers before it has reached a node: what the nodes announce is seen when each is asked something.
    let reach = async {
        let mut link = Link::Cluster(cluster.get_async_connection().await?);
        link.each_master(&redis::cmd("PING")).await?;
        Ok(link)
    };
    let link = tokio::time::timeout(CONNECT * 2, reach)
        .await
        .map_err(|_| {
            Error::new(Code::ClusterReach, format!("cannot reach every node of the cluster at {}", url.authority()))
                .why("the nodes announce addresses that do not answer from here")
                .hint("set cluster-announce-ip and cluster-announce-port on each node, or run lyrox in that network")
        })?
        .map_err(|error| cluster_error(endpoint, &error))?;
    Ok(Connected { link, replicas })
}

/// The first node answered; what fails then is the cluster.
fn cluster_error(endpoint: &Endpoint, error: &RedisError) -> Error {
    let error = connect_error(endpoint, error);
    match error.code() {
        Code::ConnectRefused | Code::ConnectTimeout | Code::ConnectClosed | Code::Protocol | Code::TlsAbsent => {
            Error::new(Code::ClusterReach, format!("cannot use the cluster at {}", endpoint.url.authority()))
                .why("one node answers; it knows no slots, or the nodes announce addresses that do not answer from here")
                .hint("CLUSTER SLOTS shows what the nodes announce; cluster-announce-ip and cluster-announce-port mend it")
        }
        _ => error,
    }
}

/// The driver's client for one server.
///
/// # Errors
/// `LYX-FILE-MISSING` for the authority's file, `LYX-TLS` where it holds no certificate.
pub fn client(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<Client> {
    let info = information(endpoint)?;
    let failed = |error: RedisError| connect_error(endpoint, &error);
    match authority(endpoint, ca_file)? {
        Some(pem) => Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) }),
        None => Client::open(info),
    }
    .map_err(failed)
}

fn cluster_client(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<redis::cluster::ClusterClient> {
    let mut builder = redis::cluster::ClusterClient::builder([information(endpoint)?])
        .connection_timeout(CONNECT)
        .response_timeout(RESPONSE)
        .overall_response_timeout(Some(RESPONSE));
    if let Some(pem) = authority(endpoint, ca_file)? {
        builder = builder.certs(TlsCertificates { client_tls: None, root_cert: Some(pem) });
    }
    builder.build().map_err(|error| connect_error(endpoint, &error))
}

fn information(endpoint: &Endpoint) -> Result<redis::ConnectionInfo> {
    let url = &endpoint.url;
    let host = url.host();
    let address = match url.tls() {
        _ if host.is_socket() => ConnectionAddr::Unix(PathBuf::from(&host.name)),
        TlsMode::Off => ConnectionAddr::Tcp(host.name.clone(), url.port_of(host)),
        mode => ConnectionAddr::TcpTls {
            host: host.name.clone(),
            port: url.port_of(host),
            insecure: mode == TlsMode::Unverified,
            tls_params: None,
        },
    };
    let mut login = RedisConnectionInfo::default().set_lib_name("lyrox", env!("CARGO_PKG_VERSION"));
    if let Some(user) = url.user() {
        login = login.set_username(user);
    }
    if let Some(password) = url.password() {
        login = login.set_password(password.expose());
    }
    if let Some(number) = url.database().and_then(|text| text.parse().ok()) {
        login = login.set_db(number);
    }
    let info = address.into_connection_info().map_err(|error| connect_error(endpoint, &error))?;
    Ok(info.set_redis_settings(login))
}

fn authority(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<Option<Vec<u8>>> {
    let Some(file) = ca_file.filter(|_| endpoint.url.tls() != TlsMode::Off) else { return Ok(None) };
    let pem = std::fs::read(file).map_err(|error| {
        Error::new(Code::FileMissing, "cannot read the certificate authority of Redis")
            .why(error.to_string())
            .hint("mend `ca_file` under [redis] in lyrox.toml")
    })?;
    Ok(Some(pem))
}
