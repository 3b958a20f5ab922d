//! Can the address be reached at all? Asked before a driver is, because drivers wait out their whole
//! timeout where the system knows at once that nothing listens. Knows no driver and no protocol.

use std::io;
use std::time::Duration;

use futures_util::future::join_all;

use crate::config::Endpoint;
use crate::error::{Code, Error, Result};

/// Tries every address at once; one that answers is enough.
///
/// # Errors
/// `LYX-CONNECT-NAME`, `LYX-CONNECT-REFUSED` or `LYX-CONNECT-TIMEOUT`, of the first address.
pub async fn reach(endpoint: &Endpoint, addresses: &[(String, u16)], limit: Duration) -> Result<()> {
    let tries = addresses.iter().filter(|(host, _)| !host.starts_with('/')).map(|(host, port)| async move {
        match tokio::time::timeout(limit, tokio::net::TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err((host, *port, error)),
            Err(_) => Err((host, *port, io::ErrorKind::TimedOut.into())),
        }
    });
    let mut first = None;
    for outcome in join_all(tries).await {
        match outcome {
            Ok(()) => return Ok(()),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    match first {
        Some((host, port, error)) => Err(unreachable(endpoint, host, port, &error)),
        // Only sockets: the driver tells at once.
        None => Ok(()),
    }
}

/// The error of an address that cannot be reached.
pub fn unreachable(endpoint: &Endpoint, host: &str, port: u16, error: &io::Error) -> Error {
    let store = endpoint.url.kind();
    let what = format!("cannot reach {} at {host}:{port}", store.title());
    let from = format!("the address is from {}", endpoint.origin);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Error::new(Code::ConnectRefused, what)
            .why(format!("nothing listens there ({from})"))
            .hint(if endpoint.url.is_local() {
                "lyrox up starts local servers; lyrox ps shows them".to_owned()
            } else {
                format!("look whether the server runs, and whether host and port are right: {}", endpoint.inspect())
            }),
        io::ErrorKind::TimedOut => Error::new(Code::ConnectTimeout, what)
            .why(format!("no answer: a firewall, a paused project, or a wrong address ({from})"))
            .hint("let this machine's address in at the provider, or wake the project"),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => Error::new(Code::ConnectClosed, what)
            .why(format!("the connection was closed at once ({from})"))
            .hint("lyrox check --wait 60s waits for a server that is starting; else look at its log"),
        // The system's resolver has no kind of its own for a name that does not exist.
        _ if error.raw_os_error().is_none() => Error::new(Code::ConnectName, what)
            .why(format!("the name `{host}` cannot be resolved ({from})"))
            .hint(format!("look for a typing error in the host: {}", endpoint.inspect())),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable => {
            Error::new(Code::ConnectUnreachable, what)
                .why(format!("{error} ({from})"))
                .hint("look at the network, the VPN and the firewall of this machine")
        }
        _ => Error::new(Code::ConnectTimeout, what)
            .why(format!("{error} ({from})"))
            .hint("look at the network, the VPN and the firewall of this machine"),
    }
}
