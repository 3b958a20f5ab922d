//! Stands between lyrox and PostgreSQL: cuts connections at a commit, or falls silent at a stage.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// What a request holds that ends with a migration's ledger row.
const ROW: &[u8] = b"INSERT INTO lyrox.migrations";
/// The server's word that a commit is done.
const COMMITTED: &[u8] = b"COMMIT\0";

/// What happens, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The nth commit takes place, and its answer is swallowed with the connection.
    Answer(u32),
    /// The nth request with a ledger row never arrives; the connection is cut.
    Request(u32),
    /// The server's first word on the login, and everything after it, is swallowed.
    SilentAuth,
    /// As soon as the lock is asked for, nothing passes any more.
    SilentQuery,
    /// As soon as a ledger row is sent, nothing is answered any more.
    SilentCommit,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    seen: AtomicU32,
    is_armed: AtomicBool,
    has_happened: AtomicBool,
    kept: Mutex<Vec<TcpStream>>,
}

/// A proxy with one fault; after a cut everything passes.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens on this machine.
    pub port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Listens, and passes on to a server.
    pub fn new(server: String, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = Arc::new(State {
            fault,
            seen: AtomicU32::new(0),
            is_armed: AtomicBool::new(false),
            has_happened: AtomicBool::new(false),
            kept: Mutex::new(Vec::new()),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if shared.is_silent() {
                    shared.kept.lock().expect("a list").push(client);
                    continue;
                }
                let Ok(upstream) = TcpStream::connect(&server) else { continue };
                let (from_client, to_server) = (client.try_clone(), upstream.try_clone());
                let (Ok(from_client), Ok(to_server)) = (from_client, to_server) else { continue };
                let (up, down) = (Arc::clone(&shared), Arc::clone(&shared));
                std::thread::spawn(move || up.requests(from_client, to_server));
                std::thread::spawn(move || down.answers(upstream, client));
            }
        });
        Self { port, state }
    }

    /// Whether the fault took place.
    pub fn has_happened(&self) -> bool {
        self.state.has_happened.load(Ordering::SeqCst)
    }
}

impl State {
    /// Whether nothing passes any more, on any connection.
    fn is_silent(&self) -> bool {
        let is_silence = matches!(self.fault, Fault::SilentAuth | Fault::SilentQuery | Fault::SilentCommit);
        is_silence && self.has_happened.load(Ordering::SeqCst)
    }

    fn requests(&self, mut client: TcpStream, mut server: TcpStream) {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count) = client.read(&mut bytes) {
            let chunk = &bytes[..count];
            if count == 0 {
                break;
            }
            if self.is_silent() {
                continue;
            }
            let has = |needle: &[u8]| chunk.windows(needle.len()).any(|window| window == needle);
            if has(ROW) && !self.has_happened.load(Ordering::SeqCst) {
                let seen = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
                match self.fault {
                    Fault::Request(nth) if seen == nth => {
                        self.has_happened.store(true, Ordering::SeqCst);
                        break;
                    }
                    Fault::Answer(nth) if seen == nth => self.is_armed.store(true, Ordering::SeqCst),
                    Fault::SilentCommit => self.has_happened.store(true, Ordering::SeqCst),
                    _ => {}
                }
            }
            if self.fault == Fault::SilentQuery && has(b"pg_try_advisory_lock") {
                self.has_happened.store(true, Ordering::SeqCst);
                continue;
            }
            if server.write_all(chunk).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }

    fn answers(&self, mut server: TcpStream, mut client: TcpStream) {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count) = server.read(&mut bytes) {
            let chunk = &bytes[..count];
            if count == 0 {
                break;
            }
            if self.fault == Fault::SilentAuth && chunk[0] == b'R' {
                self.has_happened.store(true, Ordering::SeqCst);
            }
            if self.is_silent() {
                continue;
            }
            let is_commit = chunk.windows(COMMITTED.len()).any(|window| window == COMMITTED);
            if is_commit && self.is_armed.swap(false, Ordering::SeqCst) {
                self.has_happened.store(true, Ordering::SeqCst);
                break;
            }
            if client.write_all(chunk).is_err() {
                break;
            }
        }
        // A silent proxy keeps its connections open.
        if self.is_silent() {
            self.kept.lock().expect("a list").push(client);
            return;
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}
