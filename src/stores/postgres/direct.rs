//! Does the server see the very TCP connection that this process made? Then nothing stands between them that
//! could hand sessions out. Where that cannot be told, it says no, and the pooler has to be looked for.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Both ends of a connection, as the server sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The end of the client.
    pub client: SocketAddr,
    /// The end of the server.
    pub server: SocketAddr,
}

impl Line {
    /// From what the server's functions for it answer; none for a socket in the file system.
    pub fn new(client: (Option<String>, Option<String>), server: (Option<String>, Option<String>)) -> Option<Self> {
        let end = |(address, port): (Option<String>, Option<String>)| -> Option<SocketAddr> {
            Some(SocketAddr::new(address?.parse().ok()?, port?.parse().ok()?))
        };
        Some(Self { client: end(client)?, server: end(server)? })
    }

    /// Whether one of this process's own sockets has exactly these two ends. No two connections of a machine have
    /// both in common, and a pooler's connection to the server is its own.
    pub fn is_own(&self) -> bool {
        let files = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
        let sockets = files.iter().filter_map(|file| std::fs::read_to_string(file).ok());
        let inodes: Vec<String> =
            sockets.flat_map(|text| text.lines().filter_map(|line| self.inode(line)).collect::<Vec<_>>()).collect();
        if inodes.is_empty() {
            return false;
        }
        let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return false };
        let own: HashSet<String> = open
            .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
            .map(|target| target.to_string_lossy().into_owned())
            .collect();
        inodes.iter().any(|inode| own.contains(&format!("socket:[{inode}]")))
    }

    /// The inode of a line of the kernel's list, where it is this connection.
    fn inode(&self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let is_this = end(words.get(1)?)? == self.client && end(words.get(2)?)? == self.server;
        is_this.then(|| words.get(9).map(|inode| (*inode).to_owned())).flatten()
    }
}

/// `0100007F:1538`: an address as words of the machine's own byte order, and a port.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?.to_ne_bytes());
    let address = match address.len() {
        8 => IpAddr::from(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            // A socket for both families shows the older one's addresses within the newer's.
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{Line, end};

    #[test]
    #[cfg(target_os = "linux")]
    fn only_a_socket_of_this_process_with_both_ends_is_its_own() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let server = listener.local_addr().expect("an address");
            let stream = TcpStream::connect(server).expect("a connection");
            let client = stream.local_addr().expect("an address");
            assert!(Line { client, server }.is_own(), "{address}");
            let mut other = server;
            other.set_port(server.port() ^ 1);
            assert!(!Line { client, server: other }.is_own(), "a pooler listens elsewhere than the server");
            let mut other = client;
            other.set_port(client.port() ^ 1);
            assert!(!Line { client: other, server }.is_own());
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_words_are_read() {
        assert_eq!(end("0100007F:1538"), "127.0.0.1:5432".parse().ok());
        assert_eq!(end("00000000000000000000000001000000:1538"), "[::1]:5432".parse().ok());
        assert_eq!(end("0000000000000000FFFF00000100007F:1538"), "127.0.0.1:5432".parse().ok());
        assert_eq!(end("local_address"), None);
    }
}
