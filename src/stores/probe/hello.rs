//! Is it such a server at all? The first words of each protocol, and what the answers give away.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Reached, Route, Stream, tls};
use crate::config::Endpoint;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::stages::{Stages, limit};
use crate::url::TlsMode;

/// What answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// One of the stores.
    Store(StoreKind),
    /// HTTP.
    Http,
    /// MySQL or MariaDB.
    Mysql,
    /// SSH.
    Ssh,
    /// TLS, and nothing else.
    Tls,
}

impl Speaks {
    const fn name(self) -> &'static str {
        match self {
            Self::Store(kind) => kind.title(),
            Self::Http => "a web server",
            Self::Mysql => "MySQL",
            Self::Ssh => "an SSH server",
            Self::Tls => "a server that speaks TLS",
        }
    }
}

/// `SSLRequest` of PostgreSQL's protocol: the length, then the number 80877103.
const SSL_REQUEST: &[u8] = &[0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// `PING` in RESP.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// `{ hello: 1, $db: "admin" }` as `OP_MSG`.
const HELLO: &[u8] = b"\x34\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0\
    \x1f\0\0\0\x10hello\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0";

/// How long a silent server is waited for before it is asked what else it may be.
const PATIENCE: Duration = Duration::from_millis(700);
/// How long it may take to find out what else it is.
const GUESS: Duration = Duration::from_millis(1500);

const fn greeting(kind: StoreKind) -> &'static [u8] {
    match kind {
        StoreKind::Postgres => SSL_REQUEST,
        StoreKind::Mongodb => HELLO,
        StoreKind::Redis => PING,
    }
}

/// What the first bytes of an answer to that greeting give away.
fn classify(kind: StoreKind, bytes: &[u8]) -> Option<Speaks> {
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    // What is expected comes first: numbers in its header may look like another's greeting.
    let is = match kind {
        StoreKind::Postgres => matches!(bytes, b"S" | b"N") || (bytes.starts_with(b"E\0") && has(b"SFATAL")),
        // The fourth number of the header is the kind of message: OP_MSG or OP_REPLY.
        StoreKind::Mongodb => bytes.len() >= 16 && matches!(bytes[12..16], [0xdd, 7, 0, 0] | [1, 0, 0, 0]),
        StoreKind::Redis => {
            bytes.starts_with(b"+PONG")
                || (bytes.first() == Some(&b'-') && bytes.get(1).is_some_and(u8::is_ascii_uppercase))
        }
    };
    if is {
        return Some(Speaks::Store(kind));
    }
    if bytes.starts_with(b"HTTP/") || has(b"native driver port") {
        return Some(Speaks::Http);
    }
    if bytes.starts_with(b"SSH-") {
        return Some(Speaks::Ssh);
    }
    if bytes.len() > 2 && matches!(bytes[0], 0x15 | 0x16) && bytes[1] == 3 {
        return Some(Speaks::Tls);
    }
    if bytes.len() > 5 && bytes[3] == 0 && matches!(bytes[4], 0x0a | 0xff) {
        return Some(Speaks::Mysql);
    }
    None
}

/// Sends the first words and reads the beginning of the answer; empty: the server closed.
async fn exchange(stream: &mut dyn Stream, words: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(words).await?;
    stream.flush().await?;
    let mut bytes = vec![0; 256];
    let count = stream.read(&mut bytes).await?;
    bytes.truncate(count);
    Ok(bytes)
}

/// Reads MongoDB's answer to [`HELLO`] to its end.
async fn rest(stream: &mut dyn Stream, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    const LARGEST: usize = 1 << 20;
    let length = bytes.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length) as usize);
    while bytes.len() < length.min(LARGEST) && stream.read_buf(bytes).await? > 0 {}
    Ok(())
}

/// What a MongoDB says of itself to everybody; none where its answer is of another form.
pub fn document(answer: &[u8]) -> Option<bson::Document> {
    // The header, the flags, the kind of the one section.
    bson::Document::from_reader(answer.get(21..)?).ok()
}

/// Finds out what answers at an address; none: nothing that is known.
pub async fn identify(route: &Route, host: &str) -> Option<Speaks> {
    let ask = |kind: StoreKind| async move {
        let mut stream = route.open().await.ok()?;
        let bytes = exchange(&mut *stream, greeting(kind)).await.ok()?;
        classify(kind, &bytes)
    };
    let speaks_tls = async {
        let stream = route.open().await.ok()?;
        tls::answers(stream, host).await.then_some(Speaks::Tls)
    };
    let questions: [Pin<Box<dyn Future<Output = Option<Speaks>> + Send + '_>>; 4] = [
        Box::pin(ask(StoreKind::Postgres)),
        Box::pin(ask(StoreKind::Mongodb)),
        Box::pin(ask(StoreKind::Redis)),
        Box::pin(speaks_tls),
    ];
    let mut answers: FuturesUnordered<_> = questions.into_iter().collect();
    let first = async {
        while let Some(answer) = answers.next().await {
            if answer.is_some() {
                return answer;
            }
        }
        None
    };
    tokio::time::timeout(GUESS, first).await.ok().flatten()
}

/// Greets a server and answers its first bytes. A server of another kind is named.
///
/// # Errors
/// `LYX-PROTOCOL`, `LYX-TLS` where it speaks TLS only, `LYX-CONNECT-CLOSED`.
pub async fn greet(endpoint: &Endpoint, route: &Route, host: &str, stream: &mut dyn Stream) -> Result<Vec<u8>> {
    let kind = endpoint.url.kind();
    let is_plain = endpoint.url.tls() == TlsMode::Off || kind == StoreKind::Postgres;
    let other = async {
        tokio::time::sleep(PATIENCE).await;
        match identify(route, host).await {
            Some(speaks) if is_plain && speaks != Speaks::Store(kind) => speaks,
            _ => std::future::pending().await,
        }
    };
    let answered = tokio::select! {
        answered = exchange(stream, greeting(kind)) => answered,
        speaks = other => return Err(another(endpoint, speaks)),
    };
    // Since TLS 1.3 a server says only after the handshake that it wants a certificate.
    if let Err(error) = &answered
        && let Some(rustls::Error::AlertReceived(alert)) =
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    {
        return Err(tls::alert_error(endpoint, *alert));
    }
    let mut bytes = answered.unwrap_or_default();
    match classify(kind, &bytes) {
        Some(speaks) if speaks == Speaks::Store(kind) => {
            if let Some(error) = turned_away(endpoint, &bytes) {
                return Err(error);
            }
            if kind == StoreKind::Mongodb {
                let _ = rest(stream, &mut bytes).await;
            }
            Ok(bytes)
        }
        Some(speaks) => Err(another(endpoint, speaks)),
        None => {
            let found = if is_plain { identify(route, host).await } else { None };
            Err(match found.filter(|speaks| *speaks != Speaks::Store(kind)) {
                Some(speaks) => another(endpoint, speaks),
                None if bytes.is_empty() => Error::new(Code::ConnectClosed, "the server closed the connection at once")
                    .why(format!("it may be starting, full, or no {} ({})", kind.title(), endpoint.origin))
                    .hint("lyrox check --wait 60s waits for a server that is starting; else look at its log"),
                None => Error::new(Code::Protocol, format!("what answers is not {}", kind.title()))
                    .why(format!("its first bytes fit no {} ({})", kind.title(), endpoint.origin))
                    .hint("look at host and port of the URL"),
            })
        }
    }
}

/// The warning of a certificate that has to be renewed soon; the days left, where they are few.
pub fn expiring(stages: &mut Stages<'_>, days: Option<i64>) {
    let Some(days) = days else { return };
    let left = match days {
        0 => "today".to_owned(),
        1 => "tomorrow".to_owned(),
        days => format!("in {days} days"),
    };
    stages.warn("tls", Code::TlsExpiring, format!("the certificate expires {left}"), "renew it on the server");
}

/// The stages `tls` and `hello` of a store whose protocol begins inside TLS: what the server answered; none: one
/// failed.
pub async fn greet_through(
    stages: &mut Stages<'_>,
    endpoint: &Endpoint,
    ca_file: Option<&Path>,
    reached: &Reached,
) -> Option<Vec<u8>> {
    let Reached { host, route, .. } = reached;
    let mode = endpoint.url.tls();
    let open = async || {
        route.open().await.map_err(|error| {
            Error::new(Code::ConnectClosed, "the server took no second connection").why(error.to_string())
        })
    };
    let mut asks_certificate = false;
    let mut stream = if mode == TlsMode::Off {
        stages.pass("tls", "off");
        None
    } else {
        let shake = async {
            let peer = tls::handshake(endpoint, host, ca_file, open().await?);
            tokio::pin!(peer);
            // A plain server waits for the rest of what it takes for a command.
            let plain = async {
                tokio::time::sleep(PATIENCE).await;
                match identify(route, host).await {
                    Some(speaks) if speaks != Speaks::Tls => speaks,
                    _ => std::future::pending().await,
                }
            };
            let peer = tokio::select! {
                peer = &mut peer => match peer {
                    Ok(peer) => peer,
                    Err(tls::Failure::Certificate(error) | tls::Failure::Authority(error)) => return Err(error),
                    Err(tls::Failure::NotTls) => {
                        return Err(match identify(route, host).await {
                            Some(speaks) if speaks != Speaks::Store(endpoint.url.kind()) => another(endpoint, speaks),
                            _ => no_tls(endpoint),
                        });
                    }
                },
                speaks = plain => return Err(match speaks {
                    Speaks::Store(kind) if kind == endpoint.url.kind() => no_tls(endpoint),
                    speaks => another(endpoint, speaks),
                }),
            };
            let words = peer.words(mode);
            Ok((peer, words))
        };
        let peer = stages.run("tls", limit::TLS, shake).await?;
        expiring(stages, peer.expires_soon());
        asks_certificate = peer.asks_certificate;
        Some(peer.stream)
    };
    let hello = async {
        let mut stream = match stream.take() {
            Some(stream) => stream,
            None => open().await?,
        };
        match greet(endpoint, route, host, &mut *stream).await {
            // Some servers end the connection without a word when they were shown none.
            Err(error) if asks_certificate && error.code() == Code::ConnectClosed => Err(tls::client_wanted(endpoint)
                .why(format!(
                    "it asked for one in the handshake, and then closed the connection ({})",
                    endpoint.origin
                ))),
            answered => Ok((answered?, String::new())),
        }
    };
    stages.run("hello", limit::HELLO, hello).await
}

/// Tries TLS with the hosts that were reached besides the first: one that fails is a warning, because it would
/// take over some day.
pub async fn greet_others(stages: &mut Stages<'_>, endpoint: &Endpoint, ca_file: Option<&Path>, others: &[Reached]) {
    if endpoint.url.tls() == TlsMode::Off {
        return;
    }
    let tries = others.iter().map(|reached| async move {
        let shake = async {
            let stream = reached.route.open().await.map_err(|error| error.to_string())?;
            match tls::handshake(endpoint, &reached.host, ca_file, stream).await {
                Ok(_) => Ok(()),
                Err(tls::Failure::Certificate(error) | tls::Failure::Authority(error)) => Err(error.what().to_owned()),
                Err(tls::Failure::NotTls) => Err("it does not speak TLS".to_owned()),
            }
        };
        let shaken = tokio::time::timeout(limit::TLS, shake).await;
        (reached, shaken.unwrap_or_else(|_| Err("no answer in time".to_owned())))
    });
    for (reached, shaken) in futures_util::future::join_all(tries).await {
        if let Err(why) = shaken {
            let what = format!("TLS with {}:{} fails: {why}", reached.host, reached.port);
            stages.warn("reach", Code::ConnectHost, what, "mend that server; the others serve meanwhile");
        }
    }
}

/// A Redis that answers the first word with a refusal and closes.
fn turned_away(endpoint: &Endpoint, answer: &[u8]) -> Option<Error> {
    if endpoint.url.kind() != StoreKind::Redis {
        return None;
    }
    let from = &endpoint.origin;
    if answer.starts_with(b"-ERR max number of clients") {
        return Some(
            Error::new(Code::ConnectLimit, "the server has no connection left")
                .why(format!("as many clients are connected as it takes: maxclients ({from})"))
                .hint("let the application share its connections, or raise maxclients"),
        );
    }
    answer.starts_with(b"-DENIED").then(|| {
        Error::new(Code::AuthAddress, "the server lets in its own machine alone")
            .why(format!("it is in protected mode and has no password ({from})"))
            .hint("give the server a password (requirepass, or an ACL file) and put it into the URL")
    })
}

/// The error of a server that speaks something else.
pub fn another(endpoint: &Endpoint, speaks: Speaks) -> Error {
    let kind = endpoint.url.kind();
    if speaks == Speaks::Tls && endpoint.url.tls() == TlsMode::Off {
        return Error::new(Code::TlsRequired, "the server speaks TLS only, and the URL asks for none")
            .why(format!("it answers a TLS handshake and nothing else ({})", endpoint.origin))
            .hint(match kind {
                StoreKind::Postgres => "write `?sslmode=verify-full`, and look at the port",
                StoreKind::Mongodb => "add `tls=true` to the parameters of the URL",
                StoreKind::Redis => "write `rediss://` in place of `redis://`",
            });
    }
    Error::new(Code::Protocol, format!("what answers is {}, not {}", speaks.name(), kind.title()))
        .why(format!("host or port is another service's ({})", endpoint.origin))
        .hint(match speaks {
            Speaks::Store(other) => {
                format!("is it the URL of {}? the usual port of {} is {}", other.title(), kind.title(), port(kind))
            }
            Speaks::Http if kind == StoreKind::Redis => {
                "Upstash: use the rediss:// URL of the dashboard, not the REST URL".to_owned()
            }
            _ => format!("look at host and port of the URL; the usual port of {} is {}", kind.title(), port(kind)),
        })
}

const fn port(kind: StoreKind) -> u16 {
    match kind {
        StoreKind::Postgres => 5432,
        StoreKind::Mongodb => 27017,
        StoreKind::Redis => 6379,
    }
}

/// The error of a server that does not speak TLS although the URL asks for it.
pub fn no_tls(endpoint: &Endpoint) -> Error {
    let (asked, mend) = match endpoint.url.kind() {
        StoreKind::Mongodb if !endpoint.url.asks_tls() => (
            "a remote server is reached through TLS unless the URL says otherwise",
            "add `tls=false` to the parameters of the URL where the network is trusted",
        ),
        StoreKind::Postgres => ("the URL asks for TLS", "on this machine or a trusted network: `?sslmode=disable`"),
        StoreKind::Mongodb => {
            ("`tls=true` asks for TLS", "take `tls=true` out of the URL if the server is meant to have none")
        }
        StoreKind::Redis => ("`rediss://` asks for TLS", "write `redis://` if the server is meant to have none"),
    };
    Error::new(Code::TlsAbsent, "the server does not speak TLS on this port")
        .why(format!("{asked} ({})", endpoint.origin))
        .hint(mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_well_formed() {
        assert_eq!(HELLO.len(), 0x34);
        let document = bson::Document::from_reader(&HELLO[21..]).expect("a document");
        assert_eq!(document, bson::doc! { "hello": 1, "$db": "admin" });
        assert_eq!(u32::from_be_bytes([SSL_REQUEST[4], SSL_REQUEST[5], SSL_REQUEST[6], SSL_REQUEST[7]]), 80_877_103);
    }

    #[test]
    fn first_bytes_give_the_server_away() {
        use StoreKind::{Mongodb, Postgres, Redis};
        for (kind, bytes, speaks) in [
            (Postgres, &b"S"[..], Some(Speaks::Store(Postgres))),
            (Postgres, b"N", Some(Speaks::Store(Postgres))),
            (Postgres, b"-ERR unknown command\r\n", None),
            (Redis, b"+PONG\r\n", Some(Speaks::Store(Redis))),
            (Redis, b"-NOAUTH Authentication required.\r\n", Some(Speaks::Store(Redis))),
            (Redis, b"HTTP/1.1 400 Bad Request\r\n", Some(Speaks::Http)),
            (Redis, &[0x15, 3, 3, 0, 2, 2, 0x46], Some(Speaks::Tls)),
            (Mongodb, b"\x4a\0\0\0\x0a8.0.11\0", Some(Speaks::Mysql)),
            // A reply to request 10: its header looks like MySQL's greeting.
            (Mongodb, b"\x40\x01\0\0\x0a\0\0\0\x01\0\0\0\xdd\x07\0\0", Some(Speaks::Store(Mongodb))),
            (Mongodb, b"SSH-2.0-OpenSSH_9", Some(Speaks::Ssh)),
            (Mongodb, b"", None),
        ] {
            assert_eq!(classify(kind, bytes), speaks, "{bytes:?}");
        }
    }
}
