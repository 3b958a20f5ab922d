//! Connecting to MongoDB and Redis through the library: each cause has its own code, soon.

use std::time::{Duration, Instant};

use lyrox::config::{Endpoint, Origin};
use lyrox::error::{Code, Error};
use lyrox::kind::StoreKind;
use lyrox::stores::{mongodb, redis};

use crate::support::block_on;
use crate::support::servers::servers;

fn endpoint(kind: StoreKind, url: &str) -> Endpoint {
    Endpoint { url: lyrox::url::parse(kind, url).expect("a URL"), origin: Origin::File }
}

fn refused(kind: StoreKind, url: &str) -> Error {
    let endpoint = endpoint(kind, url);
    let begun = Instant::now();
    let error = match kind {
        StoreKind::Mongodb => block_on(mongodb::connect::connect(&endpoint, None, "it")).err(),
        _ => block_on(redis::connect::connect(&endpoint, None)).err(),
    };
    assert!(begun.elapsed() < Duration::from_secs(7), "{url} took {:?}", begun.elapsed());
    error.unwrap_or_else(|| panic!("{url} connects"))
}

/// A listener that accepts and then does what it is told with each connection.
fn listener(answer: &'static [u8], close: bool) -> u16 {
    use std::io::Write as _;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.write_all(answer);
            if !close {
                kept.push(stream);
            }
        }
    });
    port
}

#[test]
fn each_cause_has_its_code() {
    let silent = listener(b"", false);
    let closing = listener(b"", true);
    let talking = listener(b"HTTP/1.1 400 Bad Request\r\n\r\n", false);
    let (mongo, redis) = (&servers().mongodb, &servers().redis);
    let place = |url: &str| url.rsplit_once('@').expect("a login").1.split('/').next().expect("a place").to_owned();
    let no_number = lyrox::url::parse(StoreKind::Redis, redis).expect("a URL").with_database("99999").expose();
    let cases = [
        (StoreKind::Mongodb, "mongodb://127.0.0.1:1/x".to_owned(), Code::ConnectRefused),
        (StoreKind::Mongodb, "mongodb://no-such-host.invalid/x".into(), Code::ConnectName),
        (StoreKind::Mongodb, format!("mongodb://127.0.0.1:{silent}/x"), Code::ConnectTimeout),
        (StoreKind::Mongodb, format!("mongodb://127.0.0.1:{closing}/x"), Code::ConnectClosed),
        (StoreKind::Mongodb, format!("mongodb://{}/?directConnection=true", place(mongo)), Code::AuthMissing),
        (StoreKind::Mongodb, format!("mongodb://no:body@{}/?directConnection=true", place(mongo)), Code::AuthMongodb),
        (StoreKind::Mongodb, format!("{mongo}&tls=true"), Code::TlsAbsent),
        (StoreKind::Mongodb, format!("{mongo}&nonsense=1"), Code::UrlInvalid),
        (StoreKind::Redis, "redis://127.0.0.1:1".into(), Code::ConnectRefused),
        (StoreKind::Redis, "redis://no-such-host.invalid".into(), Code::ConnectName),
        (StoreKind::Redis, format!("redis://127.0.0.1:{silent}"), Code::ConnectTimeout),
        (StoreKind::Redis, format!("redis://127.0.0.1:{closing}"), Code::ConnectClosed),
        (StoreKind::Redis, format!("redis://127.0.0.1:{talking}"), Code::Protocol),
        (StoreKind::Redis, format!("redis://{}", place(redis)), Code::AuthMissing),
        (StoreKind::Redis, format!("redis://:wrong-password@{}", place(redis)), Code::AuthRedis),
        (StoreKind::Redis, no_number, Code::DatabaseMissing),
        (StoreKind::Redis, format!("rediss://127.0.0.1:{silent}"), Code::TlsAbsent),
    ];
    for (kind, url, code) in cases {
        let error = refused(kind, &url);
        assert_eq!(error.code(), code, "{url}: {error}, hint {:?}", error.hint_text());
        assert!(error.why_text().is_some(), "{url}: {error:?}");
        assert!(!format!("{error}{:?}", error.hint_text()).contains("wrong-password"), "{error}");
    }
}
