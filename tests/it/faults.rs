//! Things that stand between a client and a server, or in a server's place: silence, closed doors, other
//! protocols, TLS, a pooler. Each listens on a port of its own until the tests end.

use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sqlx::{AssertSqlSafe, Column as _, Connection as _, Either, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;

use crate::support::block_on;

/// Answers `words` to every connection, then closes it or keeps it open in silence.
pub fn listener(words: &'static [u8], closes: bool) -> u16 {
    serve(move |mut stream| async move {
        let _ = stream.write_all(words).await;
        if !closes {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            std::future::pending::<()>().await;
        }
    })
}

/// A port on which nothing listens.
pub fn closed() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Begins to listen on a port that was free, and passes everything on.
pub fn forward(port: u16, upstream: &str) {
    let upstream = upstream.to_owned();
    let listener = block_on(TcpListener::bind(("127.0.0.1", port))).expect("the port");
    accept(listener, move |mut stream| {
        let upstream = upstream.clone();
        async move {
            let Ok(mut server) = TcpStream::connect(upstream).await else { return };
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    });
}

/// The certificate authority of the fixtures.
pub fn authority() -> String {
    fixture("ca.pem").display().to_string()
}

/// Speaks TLS with a certificate of the fixtures and passes everything on to a server that does not.
/// `asks_first`: PostgreSQL's way, where TLS begins after a question.
pub fn tls(certificate: &str, upstream: &str, asks_first: bool) -> u16 {
    let read = |ending: &str| std::fs::read(fixture(&format!("{certificate}.{ending}"))).expect("a fixture");
    let chain = CertificateDer::pem_slice_iter(&read("pem")).collect::<Result<Vec<_>, _>>().expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(&read("key")).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let upstream = upstream.to_owned();
    serve(move |mut stream| {
        let (acceptor, upstream) = (acceptor.clone(), upstream.clone());
        async move {
            if asks_first {
                let mut question = [0; 8];
                if stream.read_exact(&mut question).await.is_err() || stream.write_all(b"S").await.is_err() {
                    return;
                }
            }
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let Ok(mut server) = TcpStream::connect(upstream).await else { return };
            let _ = copy_bidirectional(&mut stream, &mut server).await;
        }
    })
}

/// A pooler that hands out one of `size` sessions of a real PostgreSQL per transaction, in turn or the one
/// used last. It knows simple queries only, and lets everybody in.
pub fn pooler(url: &str, size: usize, is_in_turn: bool) -> u16 {
    let sessions = block_on(async {
        let mut sessions = std::collections::VecDeque::new();
        for _ in 0..size {
            sessions.push_back(sqlx::PgConnection::connect(url).await.expect("a session"));
        }
        Arc::new(Mutex::new(sessions))
    });
    serve(move |stream| {
        let sessions = Arc::clone(&sessions);
        async move {
            let _ = pooled(stream, &sessions, is_in_turn).await;
        }
    })
}

type Sessions = Mutex<std::collections::VecDeque<sqlx::PgConnection>>;

async fn pooled(mut stream: TcpStream, sessions: &Sessions, is_in_turn: bool) -> std::io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await?;
        if body.starts_with(&80_877_103_u32.to_be_bytes()) {
            stream.write_all(b"N").await?;
            continue;
        }
        break;
    }
    let mut hello = Vec::new();
    message(&mut hello, b'R', &0_u32.to_be_bytes());
    message(&mut hello, b'S', b"server_version\x0015.0\0");
    message(&mut hello, b'K', &[0; 8]);
    message(&mut hello, b'Z', b"I");
    stream.write_all(&hello).await?;
    let mut held: Option<sqlx::PgConnection> = None;
    loop {
        let kind = stream.read_u8().await.unwrap_or(b'X');
        if kind != b'Q' {
            break;
        }
        let length = stream.read_u32().await?;
        let mut body = vec![0; length as usize - 4];
        stream.read_exact(&mut body).await?;
        let sql = String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
        let mut session = match held.take() {
            Some(session) => session,
            None => loop {
                if let Some(session) = sessions.lock().await.pop_front() {
                    break session;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            },
        };
        let mut answer = run(&mut session, &sql).await;
        let is_open = sql.starts_with("BEGIN");
        message(&mut answer, b'Z', if is_open { b"T" } else { b"I" });
        if is_open {
            held = Some(session);
        } else {
            let mut sessions = sessions.lock().await;
            if is_in_turn { sessions.push_back(session) } else { sessions.push_front(session) }
        }
        stream.write_all(&answer).await?;
    }
    if let Some(session) = held {
        sessions.lock().await.push_back(session);
    }
    Ok(())
}

async fn run(session: &mut sqlx::PgConnection, sql: &str) -> Vec<u8> {
    let mut answer = Vec::new();
    let query = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    let mut parts = query.fetch_many(session);
    let mut is_described = false;
    loop {
        match parts.try_next().await {
            Ok(None) => return answer,
            Ok(Some(Either::Left(_))) => {
                message(&mut answer, b'C', b"DONE\0");
                is_described = false;
            }
            Ok(Some(Either::Right(row))) => {
                let count = u16::try_from(row.len()).expect("few columns").to_be_bytes();
                if !is_described {
                    let mut body = count.to_vec();
                    for column in row.columns() {
                        body.extend(column.name().as_bytes());
                        // No table, type text, any length, as text.
                        body.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255, 0, 0]);
                    }
                    message(&mut answer, b'T', &body);
                    is_described = true;
                }
                let mut body = count.to_vec();
                for at in 0..row.len() {
                    match row.try_get_raw(at).ok().and_then(|raw| raw.as_str().ok().map(str::to_owned)) {
                        Some(text) => {
                            body.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
                            body.extend(text.as_bytes());
                        }
                        None => body.extend((-1_i32).to_be_bytes()),
                    }
                }
                message(&mut answer, b'D', &body);
            }
            Err(error) => {
                // As a pooler does, the server's words and code are passed on.
                let error = error.as_database_error();
                let text = error.map_or("lost", |error| error.message());
                let code = error.and_then(|error| error.code()).unwrap_or("08006".into());
                message(&mut answer, b'E', format!("SERROR\0VERROR\0C{code}\0M{text}\0\0").as_bytes());
                return answer;
            }
        }
    }
}

fn message(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(kind);
    out.extend(u32::try_from(body.len() + 4).expect("short").to_be_bytes());
    out.extend(body);
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

fn serve<W>(work: impl Fn(TcpStream) -> W + Send + 'static) -> u16
where
    W: Future<Output = ()> + Send + 'static,
{
    let listener = block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    accept(listener, work);
    port
}

fn accept<W>(listener: TcpListener, work: impl Fn(TcpStream) -> W + Send + 'static)
where
    W: Future<Output = ()> + Send + 'static,
{
    block_on(async {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(work(stream));
            }
        });
    });
}
