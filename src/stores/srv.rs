//! The hosts behind a `mongodb+srv` URL, and the URL that names them: what a driver asks DNS for, written out.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

use crate::error::{Code, Error, Result};
use crate::url::{Host, SecretUrl};

/// How long DNS may take.
const LOOKUP: Duration = Duration::from_secs(10);

/// Asks DNS, this machine's server or the one named, and answers the URL with the hosts written out.
///
/// # Errors
/// `LYX-USAGE` where the URL is no `mongodb+srv` one, `LYX-CONNECT-NAME` where DNS does not answer or answers what
/// the specification forbids.
pub async fn expand(url: &SecretUrl, server: Option<SocketAddr>) -> Result<SecretUrl> {
    if !url.is_srv() {
        return Err(Error::new(Code::Usage, "the URL names its hosts itself")
            .why("--srv is for `mongodb+srv://`, whose hosts are in DNS")
            .hint("leave --srv out"));
    }
    let name = url.host().name.trim_end_matches('.').to_owned();
    let service = url.option("srvServiceName").unwrap_or("mongodb").to_owned();
    let failed = |why: &str| {
        Error::new(Code::ConnectName, format!("the hosts of `{name}` cannot be looked up")).why(why.to_owned())
    };
    let resolver = resolver(server).ok_or_else(|| {
        failed("this machine names no DNS server").hint("lyrox url inspect --srv --dns 1.1.1.1 asks another one")
    })?;
    let both = async {
        tokio::join!(resolver.srv_lookup(format!("_{service}._tcp.{name}.")), resolver.txt_lookup(format!("{name}.")))
    };
    let (hosts, texts) = tokio::time::timeout(LOOKUP, both).await.map_err(|_| {
        failed("the DNS server did not answer in time").hint("lyrox url inspect --srv --dns 1.1.1.1 asks another one")
    })?;
    let hosts = hosts.map_err(|error| {
        if error.is_no_records_found() || error.is_nx_domain() {
            failed("there is no SRV record of that name")
                .hint("look for a typing error in the cluster's name, or whether the cluster is paused or deleted")
        } else {
            failed("the DNS server does not answer questions for SRV records")
                .hint("lyrox url inspect --srv --dns 1.1.1.1 asks another one")
        }
    })?;
    let mut found: Vec<Host> = hosts
        .answers()
        .iter()
        .filter_map(|record| match &record.data {
            RData::SRV(service) => {
                let name = service.target.to_utf8().trim_end_matches('.').to_ascii_lowercase();
                Some(Host { name, port: Some(service.port) })
            }
            _ => None,
        })
        .collect();
    found.sort_by(|a, b| (&a.name, a.port).cmp(&(&b.name, b.port)));
    if found.is_empty() {
        return Err(failed("its SRV record names no host"));
    }
    if found.iter().any(|host| !is_below(&name, &host.name)) {
        return Err(failed("its SRV record names a host of another domain, which drivers refuse")
            .hint("use the URL of the provider's dashboard, and look who runs the DNS server that answered"));
    }
    if let Some(most) = url.option("srvMaxHosts").and_then(|most| most.parse::<usize>().ok()).filter(|most| *most > 0) {
        found.truncate(most);
    }
    let texts: Vec<String> = texts.map_or_else(
        |_| Vec::new(),
        |texts| {
            let records = texts.answers().iter().filter_map(|record| match &record.data {
                RData::TXT(text) => {
                    Some(text.txt_data.iter().map(|piece| String::from_utf8_lossy(piece)).collect::<String>())
                }
                _ => None,
            });
            records.collect()
        },
    );
    if texts.len() > 1 {
        return Err(failed("it has more than one TXT record, which drivers refuse"));
    }
    let mut options = url.options().to_vec();
    for pair in texts.iter().flat_map(|text| text.split('&')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !["authSource", "replicaSet", "loadBalanced"].iter().any(|known| known.eq_ignore_ascii_case(key)) {
            return Err(failed("its TXT record holds something other than authSource, replicaSet and loadBalanced"));
        }
        if url.option(key).is_none() {
            options.push((key.to_owned(), value.to_owned()));
        }
    }
    options.retain(|(key, _)| !key.to_ascii_lowercase().starts_with("srv"));
    if !options.iter().any(|(key, _)| key.eq_ignore_ascii_case("tls") || key.eq_ignore_ascii_case("ssl")) {
        options.push(("tls".to_owned(), "true".to_owned()));
    }
    Ok(url.with_hosts("mongodb", found).with_options(options))
}

/// Whether a host lies in the domain of the cluster's name: what follows its first label, or the whole of a name
/// of fewer than three.
fn is_below(name: &str, host: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let domain = match name.matches('.').count() {
        0 | 1 => name.as_str(),
        _ => name.split_once('.').map_or(name.as_str(), |(_, domain)| domain),
    };
    host.strip_suffix(domain).is_some_and(|before| before.ends_with('.') && before.len() > 1)
}

fn resolver(server: Option<SocketAddr>) -> Option<TokioResolver> {
    let Some(server) = server else {
        return TokioResolver::builder_tokio().and_then(hickory_resolver::ResolverBuilder::build).ok();
    };
    let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.port();
    }
    let named = NameServerConfig::new(server.ip(), true, connections.to_vec());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![named]);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).build().ok()
}

#[cfg(test)]
mod tests {
    use super::is_below;

    #[test]
    fn a_host_lies_in_the_clusters_domain() {
        assert!(is_below("c.abc.mongodb.net", "c-shard-00-00.abc.mongodb.net"));
        assert!(!is_below("c.abc.mongodb.net", "c-shard-00-00.xyz.mongodb.net"));
        assert!(!is_below("c.abc.mongodb.net", "evilabc.mongodb.net"));
        assert!(is_below("mongo.local", "a.mongo.local"));
        assert!(!is_below("mongo.local", "b.local"));
        assert!(!is_below("mongo.local", "mongo.local"));
    }
}
