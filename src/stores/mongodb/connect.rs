//! Connecting to MongoDB: the driver's options from a [`SecretUrl`], with limits of lyrox's own so that
//! nothing hangs. Knows nothing of ledgers and migrations.

use std::path::Path;
use std::time::Duration;

use bson::{Document, doc};
use mongodb::options::{ClientOptions, ServerAddress, Tls, TlsOptions, WriteConcern};
use mongodb::{Client, Database};

use super::error::connect_error;
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::stores::reach::reach;
use crate::url::TlsMode;
use crate::url::mongodb::driver_options;

/// How long the lookup of an SRV record may take: the driver's own limits do not cover it.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long the driver looks for a primary.
const SELECT: Duration = Duration::from_secs(3);
/// How often the driver looks after its servers; also what ends a command on a frozen server.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// A connected MongoDB, and what its server said of itself.
#[derive(Clone, Debug)]
pub struct Connected {
    /// The driver's client.
    pub client: Client,
    /// The project's database.
    pub database: Database,
    /// The server's answer to `hello`.
    pub hello: Document,
}

impl Connected {
    /// Whether the server takes transactions: a replica set, or a router in front of shards.
    pub fn has_transactions(&self) -> bool {
        self.hello.contains_key("setName") || self.is_router()
    }

    fn is_router(&self) -> bool {
        self.hello.get_str("msg").is_ok_and(|text| text == "isdbgrid")
    }

    /// The database, where the server is a router in front of shards, which spreads its collections.
    pub fn router(&self) -> Option<&str> {
        self.is_router().then(|| self.database.name())
    }
}

/// Connects, logs in and greets the server.
///
/// # Errors
/// `LYX-CONNECT-*`, `LYX-TLS`, `LYX-AUTH-MONGODB` or `LYX-URL-INVALID`, each with a hint.
pub async fn connect(endpoint: &Endpoint, ca_file: Option<&Path>, database: &str) -> Result<Connected> {
    let options = options(endpoint, ca_file).await?;
    let addresses: Vec<(String, u16)> = options
        .hosts
        .iter()
        .filter_map(|host| match host {
            ServerAddress::Tcp { host, port } => Some((host.clone(), port.unwrap_or(27017))),
            _ => None,
        })
        .collect();
    reach(endpoint, &addresses, CONNECT).await?;
    let client = Client::with_options(options).map_err(|error| connect_error(endpoint, &error))?;
    let database = client.database(database);
    // A login is proved by the first connection that serves a command; without one, `hello` proves nothing.
    let hello = database.run_command(doc! { "hello": 1 }).await.map_err(|error| connect_error(endpoint, &error))?;
    if endpoint.url.user().is_none() {
        let probe =
            doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true, "filter": { "name": "" } };
        database.run_command(probe).await.map_err(|error| connect_error(endpoint, &error))?;
    }
    Ok(Connected { client, database, hello })
}

/// The driver's options: what the URL says, then lyrox's own limits and TLS.
///
/// # Errors
/// `LYX-URL-INVALID` naming the parameter, `LYX-CONNECT-NAME` where the SRV record cannot be looked up.
pub async fn options(endpoint: &Endpoint, ca_file: Option<&Path>) -> Result<ClientOptions> {
    let url = &endpoint.url;
    for name in ["proxyHost", "tlsCertificateKeyFilePassword"] {
        if url.option(name).is_some() {
            return Err(Error::new(Code::UrlInvalid, format!("lyrox cannot follow `{name}` of the MongoDB URL"))
                .why(if name == "proxyHost" { "it opens its connections itself" } else { "it opens no encrypted keys" })
                .data("nothing was contacted")
                .hint(if name == "proxyHost" {
                    "let it run where the servers can be reached, and take the proxy's parameters out"
                } else {
                    "name a file whose key is not encrypted, and keep it to yourself: chmod 600 FILE"
                }));
        }
    }
    // The URL is re-encoded in full: no character of a password can be misread here. The driver refuses what the
    // specification wants passed over, so that it gets what decides about the connection and no more.
    let plain = url.with_options(driver_options(url)).expose();
    let parsed = tokio::time::timeout(LOOKUP, ClientOptions::parse(plain)).await;
    let mut options = match parsed {
        Ok(Ok(options)) => options,
        Ok(Err(error)) => return Err(connect_error(endpoint, &error)),
        Err(_) => {
            return Err(Error::new(Code::ConnectName, format!("cannot look up `{}`", url.host().name))
                .why("the resolver did not answer the SRV question in time")
                .hint("use a URL that names the hosts (mongodb://), or mend this machine's DNS"));
        }
    };
    options.tls = Some(match url.tls() {
        TlsMode::Off => Tls::Disabled,
        mode => {
            let mut tls = match options.tls.take() {
                Some(Tls::Enabled(tls)) => tls,
                _ => TlsOptions::default(),
            };
            tls.allow_invalid_certificates = Some(mode == TlsMode::Unverified);
            if let Some(file) = ca_file {
                tls.ca_file_path = Some(file.to_owned());
            }
            Tls::Enabled(tls)
        }
    });
    options.app_name = Some("lyrox".into());
    options.connect_timeout = Some(CONNECT);
    options.server_selection_timeout = Some(SELECT);
    options.heartbeat_freq = Some(HEARTBEAT);
    options.min_pool_size = Some(0);
    options.max_pool_size = Some(8);
    options.write_concern = Some(WriteConcern::majority());
    Ok(options)
}
