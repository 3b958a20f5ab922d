//! What can be told about a server before any driver speaks to it: does its name resolve, does its
//! port answer, does it speak TLS, is it the right kind of server at all.

pub mod hello;
pub mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::reach::unreachable;
use crate::stores::stages::{Stages, limit};
use crate::url::Host;

/// A connection to a server, plain or encrypted.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A way to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// An address.
    Tcp(SocketAddr),
    /// A socket file.
    Socket(PathBuf),
}

impl Route {
    /// Opens a connection.
    ///
    /// # Errors
    /// Those of the system.
    pub async fn open(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                // What was cut off at once says so when it is asked.
                let _ = stream.set_nodelay(true);
                Box::new(stream)
            }
            Self::Socket(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    fn is_ipv6(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.is_ipv6() && !address.ip().is_loopback())
    }
}

/// One host of a URL with the ways to it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The name as the certificate should have it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The ways, the system's favourite first.
    pub routes: Vec<Route>,
}

/// A host that takes connections.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The name as the certificate should have it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The way that worked.
    pub route: Route,
}

/// The stages `name` and `tcp`: the hosts that take connections; none: a stage failed.
pub async fn approach(stages: &mut Stages<'_>, endpoint: &Endpoint) -> Option<Vec<Reached>> {
    let url = &endpoint.url;
    let needs_name =
        url.is_srv() || url.hosts().iter().any(|host| !host.is_socket() && host.name.parse::<IpAddr>().is_err());
    let places = if needs_name {
        stages.run("name", limit::NAME, names(endpoint)).await?
    } else {
        // Nothing to look up: this cannot fail.
        names(endpoint).await.map(|(places, _)| places).unwrap_or_default()
    };
    let routes: Vec<&Route> = places.iter().flat_map(|place| &place.routes).collect();
    let is_ipv6_only = !routes.is_empty() && routes.iter().all(|route| route.is_ipv6());
    let reached = stages.run("tcp", limit::TCP, connect(endpoint, &places, is_ipv6_only)).await?;
    if reached.len() < places.len() {
        let missing = places
            .iter()
            .filter(|place| !reached.iter().any(|reached| reached.host == place.host && reached.port == place.port));
        let names: Vec<String> = missing.map(|place| format!("{}:{}", place.host, place.port)).collect();
        stages.warn(
            "reach",
            Code::ConnectHost,
            format!("no connection to {}", names.join(", ")),
            "look whether that server is down; the others serve meanwhile",
        );
    }
    if is_ipv6_only {
        stages.warn(
            "reach",
            Code::ConnectIpv6,
            "networks without IPv6, CI runners among them, cannot use this address",
            ipv4_way(endpoint),
        );
    }
    Some(reached)
}

fn ipv4_way(endpoint: &Endpoint) -> &'static str {
    if endpoint.url.host().name.to_ascii_lowercase().ends_with(".supabase.co") {
        "use the session pooler from the Supabase dashboard, or the IPv4 add-on"
    } else {
        "use an address of the provider that has IPv4"
    }
}

async fn names(endpoint: &Endpoint) -> Result<(Vec<Place>, String)> {
    let url = &endpoint.url;
    let (hosts, found) = if url.is_srv() {
        let (hosts, text) = service(endpoint).await?;
        let found = format!("{} hosts by SRV{text}, ", hosts.len());
        (hosts, found)
    } else {
        (url.hosts().to_vec(), String::new())
    };
    let looked_up = join_all(hosts.iter().map(|host| routes(endpoint, host))).await;
    let mut places = Vec::new();
    let mut first = None;
    for outcome in looked_up {
        match outcome {
            Ok(place) => places.push(place),
            Err(error) => first = first.or(Some(error)),
        }
    }
    if let (true, Some(error)) = (places.is_empty(), first) {
        return Err(error);
    }
    let routes: Vec<&Route> = places.iter().flat_map(|place| &place.routes).collect();
    let count = routes.len();
    let kind = if routes.iter().all(|route| route.is_ipv6()) { ", IPv6 only" } else { "" };
    let detail = format!("{found}{count} address{}{kind}", if count == 1 { "" } else { "es" });
    Ok((places, detail))
}

async fn routes(endpoint: &Endpoint, host: &Host) -> Result<Place> {
    let port = endpoint.url.port_of(host);
    let name = &host.name;
    let routes = if host.is_socket() {
        let path = PathBuf::from(name);
        let is_folder = endpoint.url.kind() == StoreKind::Postgres;
        vec![Route::Socket(if is_folder { path.join(format!(".s.PGSQL.{port}")) } else { path })]
    } else {
        let found = tokio::net::lookup_host((name.as_str(), port)).await;
        let mut routes = Vec::new();
        match found {
            Ok(addresses) => {
                for route in addresses.map(Route::Tcp) {
                    if !routes.contains(&route) {
                        routes.push(route);
                    }
                }
            }
            Err(error) => return Err(unresolved(endpoint, name, &error).await),
        }
        routes
    };
    Ok(Place { host: name.clone(), port, routes })
}

async fn unresolved(endpoint: &Endpoint, name: &str, error: &io::Error) -> Error {
    let what = Error::new(Code::ConnectName, format!("`{name}` cannot be resolved"));
    if error.to_string().contains("Temporary failure") {
        return what
            .why(format!("the resolver of this machine does not answer ({})", endpoint.origin))
            .hint("look at the network and at /etc/resolv.conf");
    }
    // Resolvers hide IPv6 addresses from machines that have no IPv6; asking for them tells.
    if let Ok(resolver) = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build)
        && resolver.ipv6_lookup(format!("{name}.")).await.is_ok_and(|found| !found.answers().is_empty())
    {
        return Error::new(Code::ConnectIpv6, format!("`{name}` cannot be reached from here"))
            .why(format!("it has IPv6 addresses only, and this machine has no IPv6 ({})", endpoint.origin))
            .hint(ipv4_way(endpoint));
    }
    what.why(format!("there is no such name ({})", endpoint.origin)).hint(match endpoint.origin.variable() {
        Some(variable) => format!("look for a typing error: lyrox url inspect --env {variable}"),
        None => "look for a typing error in the host of the URL".to_owned(),
    })
}

/// The hosts behind a `mongodb+srv` name, and what its TXT record adds.
async fn service(endpoint: &Endpoint) -> Result<(Vec<Host>, String)> {
    let name = &endpoint.url.host().name;
    let service = endpoint.url.option("srvServiceName").unwrap_or("mongodb");
    let failed = |why: &str| {
        Error::new(Code::ConnectName, format!("the hosts of `{name}` cannot be looked up"))
            .why(format!("{why} ({})", endpoint.origin))
    };
    let resolver = TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build).map_err(|_| {
        failed("this machine names no DNS server").hint("mend /etc/resolv.conf, or use a mongodb:// URL")
    })?;
    let (hosts, text) =
        tokio::join!(resolver.srv_lookup(format!("_{service}._tcp.{name}.")), resolver.txt_lookup(format!("{name}.")));
    let hosts = hosts.map_err(|error| {
        if error.is_no_records_found() || error.is_nx_domain() {
            failed("there is no SRV record of that name")
                .hint("look for a typing error in the cluster's name, or whether the cluster is paused or deleted")
        } else {
            failed("the DNS server does not answer questions for SRV records")
                .hint("use the mongodb:// URL that names the hosts, or another DNS server")
        }
    })?;
    let hosts = hosts
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) => {
                Some(Host { name: service.target.to_utf8().trim_end_matches('.').to_owned(), port: Some(service.port) })
            }
            _ => None,
        })
        .collect();
    let has_text = text.is_ok_and(|text| !text.answers().is_empty());
    Ok((hosts, if has_text { " and TXT".to_owned() } else { String::new() }))
}

async fn connect(endpoint: &Endpoint, places: &[Place], is_ipv6_only: bool) -> Result<(Vec<Reached>, String)> {
    // A little less than the stage has: a silent address must not hide the others' answers.
    let bound = limit::TCP - std::time::Duration::from_millis(200);
    let tries = places.iter().map(|place| async move {
        let opened = place.routes.iter().map(|route| async move {
            match tokio::time::timeout(bound, route.open()).await {
                Ok(Ok(_)) => Ok(route.clone()),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        });
        let mut first = None;
        for outcome in join_all(opened).await {
            match outcome {
                Ok(route) => return Ok(Reached { host: place.host.clone(), port: place.port, route }),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err((place, first.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into())))
    });
    let mut reached = Vec::new();
    let mut first = None;
    for outcome in join_all(tries).await {
        match outcome {
            Ok(found) => reached.push(found),
            Err(failure) => first = first.or(Some(failure)),
        }
    }
    match (reached.is_empty(), first) {
        (true, Some((place, error))) => Err(refused(endpoint, place, &error, is_ipv6_only)),
        _ => {
            let detail =
                if places.len() == 1 { String::new() } else { format!("{} of {} hosts", reached.len(), places.len()) };
            Ok((reached, detail))
        }
    }
}

fn refused(endpoint: &Endpoint, place: &Place, error: &io::Error, is_ipv6_only: bool) -> Error {
    let place_name = format!("{}:{}", place.host, place.port);
    if place.host.starts_with('/') {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "there is no such socket",
            io::ErrorKind::PermissionDenied => "this user may not open the socket",
            _ => "no server listens on the socket",
        };
        return Error::new(Code::ConnectRefused, format!("no connection through `{}`", place.host))
            .why(why)
            .hint("look whether the server runs, and which socket it opens");
    }
    match error.kind() {
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable
            if is_ipv6_only =>
        {
            Error::new(Code::ConnectIpv6, format!("there is no way to {place_name} from here"))
                .why(format!("the name has IPv6 addresses only, and this machine has no IPv6 ({})", endpoint.origin))
                .hint(ipv4_way(endpoint))
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::AddrNotAvailable => {
            Error::new(Code::ConnectUnreachable, format!("there is no way to {place_name} from here"))
                .why(error.to_string())
                .hint("look at the network, the VPN and the firewall of this machine")
        }
        _ => unreachable(endpoint, &place.host, place.port, error),
    }
}
