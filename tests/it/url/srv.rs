//! `lyrox url inspect --srv`, against a DNS server of the test's own.

use std::net::UdpSocket;
use std::process::Command;

use crate::support::Output;
use crate::support::servers::binary;

/// Answers every question of a type with its records, until the test ends.
fn serve(hosts: &'static [(&'static str, u16)], text: Option<&'static str>) -> std::net::SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let hosts = hosts.iter().map(|(name, port)| ((*name).to_owned(), *port)).collect();
    serve_at(socket, hosts, text)
}

/// The same at a socket that is open.
pub fn serve_at(socket: UdpSocket, hosts: Vec<(String, u16)>, text: Option<&'static str>) -> std::net::SocketAddr {
    let address = socket.local_addr().expect("an address");
    std::thread::spawn(move || {
        let mut buffer = [0_u8; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&answer(&buffer[..length], &hosts, text), from);
        }
    });
    address
}

/// The answer to a question: its header and question again, and the records of its type.
fn answer(question: &[u8], hosts: &[(String, u16)], text: Option<&str>) -> Vec<u8> {
    let mut end = 12;
    while question[end] != 0 {
        end += usize::from(question[end]) + 1;
    }
    let kind = u16::from_be_bytes([question[end + 1], question[end + 2]]);
    let mut records: Vec<(u16, Vec<u8>)> = Vec::new();
    match kind {
        33 => records.extend(hosts.iter().map(|(name, port)| {
            let mut data = vec![0, 0, 0, 0];
            data.extend(port.to_be_bytes());
            for label in name.split('.') {
                data.push(label.len() as u8);
                data.extend(label.as_bytes());
            }
            data.push(0);
            (33, data)
        })),
        16 => records.extend(text.iter().map(|text| {
            let mut data = vec![text.len() as u8];
            data.extend(text.as_bytes());
            (16, data)
        })),
        // Every name is this machine.
        1 => records.push((1, vec![127, 0, 0, 1])),
        _ => {}
    }
    let mut out = question[..2].to_vec();
    // An answer, recursion available; nothing found is a name that does not exist.
    out.extend([0x81, if records.is_empty() && kind == 33 { 0x83 } else { 0x80 }, 0, 1]);
    out.extend((records.len() as u16).to_be_bytes());
    out.extend([0, 0, 0, 0]);
    out.extend(&question[12..end + 5]);
    for (kind, data) in records {
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 60]);
        out.extend((data.len() as u16).to_be_bytes());
        out.extend(data);
    }
    out
}

fn inspect(url: &str, dns: &str, more: &[&str]) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [&["url", "inspect", "--env", "SOME_URL", "--srv", "--dns", dns], more].concat();
    let mut command = Command::new(binary());
    command.args(&arguments).current_dir(folder.path()).env_clear().env("SOME_URL", url);
    Output::new(&arguments, &command.output().expect("lyrox runs"))
}

const HOSTS: &[(&str, u16)] = &[("b.abc.example.net", 27018), ("a.abc.example.net", 27017)];

#[test]
fn the_hosts_behind_a_name_are_written_out() {
    let dns = serve(HOSTS, Some("authSource=admin&replicaSet=atlas-x")).to_string();
    let url = "mongodb+srv://u:tr%3Fcky@c.abc.example.net/db?retryWrites=true";
    let shown = inspect(url, &dns, &[]);
    shown.ok().says("expanded   mongodb://u@a.abc.example.net:27017,b.abc.example.net:27018/db");
    shown.never_says("tr?cky").never_says("tr%3Fcky");
    let revealed = inspect(url, &dns, &["--reveal"]);
    revealed.ok().says(
        "mongodb://u:tr%3Fcky@a.abc.example.net:27017,b.abc.example.net:27018/db?retryWrites=true&authSource=admin&replicaSet=atlas-x&tls=true",
    );
    let json = inspect(url, &dns, &["--reveal", "--output", "json"]);
    let expanded = json.ok().json()["data"]["expanded"].as_str().expect("a URL").to_owned();
    let again = lyrox::url::parse(lyrox::kind::StoreKind::Mongodb, &expanded).expect("a URL");
    assert_eq!((again.hosts().len(), again.is_srv(), again.option("replicaSet")), (2, false, Some("atlas-x")));
    // What the URL says itself wins over the TXT record; `srvMaxHosts` holds.
    let own = inspect("mongodb+srv://u:longpass@c.abc.example.net/?authSource=own", &dns, &["--reveal"]);
    own.ok().says("authSource=own").never_says("authSource=admin");
    let one = inspect("mongodb+srv://c.abc.example.net/?srvMaxHosts=1", &serve(HOSTS, None).to_string(), &[]);
    one.ok().says("expanded   mongodb://a.abc.example.net:27017\n");
}

#[test]
fn what_dns_may_not_answer_is_refused_with_its_reason() {
    let url = "mongodb+srv://u:longpass@c.abc.example.net/";
    for (hosts, text, said) in [
        (&[][..], None, "no SRV record"),
        (&[("a.evil.example.org", 27017)][..], None, "another domain"),
        (HOSTS, Some("ssl=false"), "something other than authSource"),
    ] {
        let refused = inspect(url, &serve(hosts, text).to_string(), &[]);
        refused.exit(4).says("LYX-CONNECT-NAME").says(said).never_says("longpass");
    }
    let dns = serve(HOSTS, None).to_string();
    inspect("mongodb://h/", &dns, &[]).exit(2).says("names its hosts itself");
    inspect("redis://h/", &dns, &[]).exit(2).says("names its hosts itself");
}
