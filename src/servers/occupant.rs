//! Who listens at a port of this machine. It asks the system and connects to nobody.

/// `postgres (process 1234)`; none where the system does not tell, as with another user's process.
#[cfg(target_os = "linux")]
pub fn occupant(port: u16) -> Option<String> {
    let wanted: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .flat_map(|table| sockets(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if wanted.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    for pid in pids {
        let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let holds = files.flatten().any(|file| {
            std::fs::read_link(file.path())
                .is_ok_and(|link| wanted.iter().any(|socket| link.as_os_str() == socket.as_str()))
        });
        if holds {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            return Some(format!("`{}` (process {pid})", name.trim()));
        }
    }
    None
}

/// The numbers of the sockets that listen at a port, from the system's table.
#[cfg(target_os = "linux")]
fn sockets(table: &str, port: u16) -> Vec<String> {
    let end = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        // 0A: it listens.
        .filter(|words| words.len() > 9 && words[1].ends_with(&end) && words[3] == "0A")
        .map(|words| words[9].to_owned())
        .collect()
}

/// `postgres (process 1234)`; none where the system does not tell, as with another user's process.
#[cfg(not(target_os = "linux"))]
pub fn occupant(port: u16) -> Option<String> {
    let output = std::process::Command::new("lsof")
        .args(["-nP", &format!("-iTCP:{port}"), "-sTCP:LISTEN", "-Fpc"])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let of = |letter: char| text.lines().find_map(|line| line.strip_prefix(letter));
    Some(format!("`{}` (process {})", of('c')?, of('p')?))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_found_by_the_port_alone() {
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let found = occupant(port).expect("this process");
        assert!(found.ends_with(&format!("(process {})", std::process::id())), "{found}");
        drop(listener);
        assert_eq!(occupant(port), None);
    }

    #[test]
    fn a_connection_that_is_open_is_nobody_who_listens() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                     0: 0100007F:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 77 1\n\
                     1: 0100007F:1538 0100007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 78 1\n\
                     2: 0100007F:1539 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 79 1\n";
        assert_eq!(sockets(table, 5432), ["77"]);
    }
}
