//! What a MongoDB server says of its replica set to everybody, and what that explains: clients pass over members
//! whose set has another name, and then only say that they found no server.

use std::time::Duration;

use bson::{Bson, Document};

use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::stores::mongodb::connect::connect;
use crate::stores::stages::Request;
use crate::url::SecretUrl;

/// How long an address that the set announces may take to answer.
const REACH: Duration = Duration::from_millis(1500);
/// How long a login with another authentication database may take.
const LOGIN: Duration = Duration::from_secs(3);

/// Compares what the URL says of the set with what the server says.
///
/// # Errors
/// `LYX-REPLICA-SET-NEW`, `LYX-REPLICA-SET-NAME`.
pub fn judge(endpoint: &Endpoint, hello: &Document) -> Result<()> {
    let url = &endpoint.url;
    let origin = &endpoint.origin;
    if hello.get_bool("isreplicaset").unwrap_or(false) {
        return Err(Error::new(Code::ReplicaSetNew, "the replica set was never initiated")
            .why(format!("the server was started with --replSet and has no configuration ({origin})"))
            .hint("run rs.initiate() once on one of its members"));
    }
    let Some(wanted) = url.option("replicaSet") else { return Ok(()) };
    match hello.get_str("setName") {
        Ok(found) if found == wanted => Ok(()),
        Ok(found) => {
            Err(Error::new(Code::ReplicaSetName, format!("the server's replica set is `{found}`, not `{wanted}`"))
                .why(format!("clients pass over a member of another set ({origin})"))
                .hint(format!("write `replicaSet={found}` in the URL")))
        }
        // A router names no set.
        Err(_) if hello.get_str("msg").is_ok_and(|text| text == "isdbgrid") => Err(Error::new(
            Code::ReplicaSetName,
            format!("the URL names the replica set `{wanted}`, and a router answers"),
        )
        .why(format!("clients of a sharded cluster name no set ({origin})"))
        .hint("take `replicaSet` out of the URL")),
        Err(_) => Err(Error::new(
            Code::ReplicaSetName,
            format!("the URL names the replica set `{wanted}`, and the server is in none"),
        )
        .why(format!("it was started without --replSet ({origin})"))
        .hint("take `replicaSet` out of the URL, or start the server with --replSet and run rs.initiate()")),
    }
}

/// The error of a set without a primary.
pub fn no_primary(endpoint: &Endpoint, hello: &Document) -> Error {
    let name = hello.get_str("setName").unwrap_or("the set");
    Error::new(Code::ReplicaSetPrimary, format!("the replica set `{name}` has no primary now"))
        .why(format!("too many members are down, or an election is under way ({})", endpoint.origin))
        .hint("lyrox check --wait 60s; rs.status() shows the members")
}

/// Finds out more about a login that failed.
pub async fn explain(request: &Request<'_>, hello: Option<&Document>, error: Error) -> Error {
    let endpoint = request.endpoint;
    match error.code() {
        Code::AuthMongodb => match other_source(request).await {
            Some(source) => Error::new(Code::AuthSource, error.what())
                .why(format!(
                    "user and password are right, and the user lives in `{source}`: the login was tried there ({})",
                    endpoint.origin
                ))
                .hint(format!("add `authSource={source}` to the parameters of the URL")),
            None => error,
        },
        Code::ReplicaSetPrimary
        | Code::ConnectTimeout
        | Code::ConnectStarting
        | Code::ConnectRefused
        | Code::ConnectName => match hello {
            Some(hello) => announced(endpoint, hello).await.unwrap_or(error),
            None => error,
        },
        _ => error,
    }
}

/// The authentication database in which the same login works, where the URL's own does not.
async fn other_source(request: &Request<'_>) -> Option<String> {
    let url = &request.endpoint.url;
    url.password()?;
    let used = url.option("authSource").or(url.database()).unwrap_or("admin");
    let namespace = request.target.namespace.as_str();
    for source in ["admin", namespace] {
        if source == used {
            continue;
        }
        let other = Endpoint { url: url.with_option("authSource", source), origin: request.endpoint.origin.clone() };
        let login = connect(&other, request.target.ca_file.as_deref(), namespace);
        if let Ok(Ok(connected)) = tokio::time::timeout(LOGIN, login).await {
            let shutdown = connected.client.shutdown().immediate(true);
            let _ = tokio::time::timeout(Duration::from_secs(1), shutdown).await;
            return Some(source.to_owned());
        }
    }
    None
}

/// A server that answered, and after which the driver found none: the set has no primary, or announces addresses
/// that do not answer from here.
async fn announced(endpoint: &Endpoint, hello: &Document) -> Option<Error> {
    let hosts: Vec<&str> = hello.get_array("hosts").ok()?.iter().filter_map(Bson::as_str).collect();
    let tries = hosts.iter().map(|host| async move {
        let reached = tokio::time::timeout(REACH, tokio::net::TcpStream::connect(*host)).await;
        (*host, matches!(reached, Ok(Ok(_))))
    });
    let tried = futures_util::future::join_all(tries).await;
    let silent: Vec<&str> = tried.iter().filter(|(_, answers)| !answers).map(|(host, _)| *host).collect();
    let has_primary = hello.contains_key("primary") || hello.get_bool("isWritablePrimary").unwrap_or(false);
    if silent.is_empty() || !has_primary && silent.len() < hosts.len() {
        return (!has_primary).then(|| no_primary(endpoint, hello));
    }
    let name = hello.get_str("setName").unwrap_or_default();
    let hint = if hosts.len() == 1 {
        "add `directConnection=true` to the parameters of the URL, or mend the set's configuration: rs.reconfig()"
    } else {
        "run lyrox where those addresses answer, or mend the set's configuration: rs.reconfig()"
    };
    Some(
        Error::new(
            Code::ReplicaSetHosts,
            format!("the replica set `{name}` announces addresses that do not answer from here"),
        )
        .why(format!("{} ({})", silent.join(", "), endpoint.origin))
        .hint(hint),
    )
}

/// The same URL for one of the members.
pub fn alone(url: &SecretUrl, host: &str) -> Option<SecretUrl> {
    let (name, port) = host.rsplit_once(':')?;
    let host = crate::url::Host { name: name.to_owned(), port: port.parse().ok() };
    let mut url = SecretUrl { hosts: vec![host], ..url.clone() };
    if url.is_srv() {
        // A service record brings TLS and the authentication database; one host has to name them.
        url.scheme = "mongodb".to_owned();
        for (name, value) in [("tls", "true"), ("authSource", "admin")] {
            if url.option(name).is_none() {
                url = url.with_option(name, value);
            }
        }
    }
    url.options.retain(|(key, _)| !key.eq_ignore_ascii_case("replicaSet"));
    Some(url.with_option("directConnection", "true"))
}
