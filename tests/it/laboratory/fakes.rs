//! What no real server can be brought to: silence at each stage, half a handshake, a provider's words. Each listens
//! on a port of its own until the tests end.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::certificates;
use crate::support::block_on;

fn serve<W>(work: impl Fn(TcpStream) -> W + Send + 'static) -> u16
where
    W: Future<Output = ()> + Send + 'static,
{
    block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(work(stream));
            }
        });
        port
    })
}

/// A port whose queue is full and that nobody serves: what is sent there is dropped, as by a firewall.
pub fn black_hole() -> u16 {
    block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let mut kept = Vec::new();
        for _ in 0..8 {
            let opened = TcpStream::connect(address);
            let Ok(stream) = tokio::time::timeout(std::time::Duration::from_millis(100), opened).await else { break };
            kept.extend(stream.ok());
        }
        // Both stay as they are until the process ends.
        std::mem::forget((listener, kept));
        address.port()
    })
}

/// Says something to each connection, after it heard a first word or at once, and then nothing more.
pub fn says(words: &'static [u8], is_asked: bool, closes: bool) -> u16 {
    serve(move |mut stream| async move {
        if is_asked {
            let mut question = [0; 1024];
            let _ = stream.read(&mut question).await;
        }
        let _ = stream.write_all(words).await;
        if !closes {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            std::future::pending::<()>().await;
        }
    })
}

/// Cuts each connection off with a reset as soon as something is asked.
pub fn resets() -> u16 {
    serve(|mut stream| async move {
        let mut question = [0; 1024];
        let _ = stream.read(&mut question).await;
        let _ = stream.set_zero_linger();
        drop(stream);
    })
}

/// Passes everything on until the server has said `until`; from then on nothing passes.
pub fn falls_silent(upstream: String, until: &'static [u8]) -> u16 {
    serve(move |client| {
        let upstream = upstream.clone();
        async move {
            let Ok(server) = TcpStream::connect(upstream).await else { return };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
            let mut bytes = vec![0; 1 << 16];
            while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                if bytes[..count].windows(until.len()).any(|window| window == until) {
                    break;
                }
                if to_client.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
            std::future::pending::<()>().await;
        }
    })
}

/// Speaks TLS with a certificate of the laboratory and passes everything on.
pub fn tls(certificate: &str, upstream: &str, asks_first: bool) -> u16 {
    use rustls::pki_types::pem::PemObject as _;
    let pem = std::fs::read(certificates::file(&format!("{certificate}.pem"))).expect("a certificate");
    let key = std::fs::read(certificates::file(&format!("{certificate}.key"))).expect("a key");
    let chain: Vec<_> =
        rustls::pki_types::CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().expect("a certificate");
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(&key).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
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

/// Speaks Redis' protocol and answers each command by its first word; `*` is every other one's answer.
pub fn redis(answers: &[(&str, String)]) -> u16 {
    let answers: HashMap<String, String> =
        answers.iter().map(|(word, answer)| ((*word).to_owned(), answer.clone())).collect();
    let answers = Arc::new(answers);
    serve(move |stream| {
        let answers = Arc::clone(&answers);
        async move {
            let (read, mut write) = stream.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Some(count) = line.strip_prefix('*').and_then(|count| count.parse::<usize>().ok()) else { return };
                let mut words = Vec::new();
                for _ in 0..count * 2 {
                    words.extend(lines.next_line().await.ok().flatten());
                }
                let word = words.get(1).map(|word| word.to_uppercase()).unwrap_or_default();
                let answer = answers.get(&word).or_else(|| answers.get("*")).cloned();
                let answer = answer.unwrap_or_else(|| "+OK\r\n".to_owned());
                if write.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
}

/// A reply of Redis that is a text.
pub fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

/// Speaks MongoDB's protocol and answers every question with the same document.
pub fn mongodb(document: &bson::Document) -> u16 {
    let body = document.to_vec().expect("a document");
    serve(move |mut stream| {
        let body = body.clone();
        async move {
            loop {
                let mut header = [0; 16];
                if stream.read_exact(&mut header).await.is_err() {
                    return;
                }
                let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
                let mut rest = vec![0; length.saturating_sub(16)];
                if stream.read_exact(&mut rest).await.is_err() {
                    return;
                }
                let total = u32::try_from(body.len() + 21).expect("short");
                let mut answer = total.to_le_bytes().to_vec();
                answer.extend(1_u32.to_le_bytes());
                answer.extend(&header[4..8]);
                answer.extend(2013_u32.to_le_bytes());
                answer.extend([0, 0, 0, 0, 0]);
                answer.extend(&body);
                if stream.write_all(&answer).await.is_err() {
                    return;
                }
            }
        }
    })
}
