//! P15: a certificate that is not good for the host is refused by every store's check and by its driver, the cause
//! is named, and no password was sent: what goes over the wire is kept and searched.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine as _;

use crate::faults::tls;
use crate::support::{Output, Project};

const PASSWORD: &str = "Canary-9f31c-secret";

/// What a side of a connection said.
type Kept = Arc<Mutex<Vec<u8>>>;

/// Passes everything on and keeps what clients say.
fn recorder(to: u16) -> (u16, Kept) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let kept = Kept::default();
    let shared = Arc::clone(&kept);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
            let (Ok(mut back), Ok(mut answer)) = (client.try_clone(), server.try_clone()) else { continue };
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut answer, &mut back);
                let _ = back.shutdown(Shutdown::Write);
            });
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    shared.lock().expect("a lock").extend(&buffer[..count]);
                    if server.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                let _ = server.shutdown(Shutdown::Write);
            });
        }
    });
    (port, kept)
}

/// Keeps whatever it is told and answers a question for TLS with no.
fn refuser() -> (u16, Kept) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let kept = Kept::default();
    let shared = Arc::clone(&kept);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(count @ 1..) = client.read(&mut buffer) {
                    shared.lock().expect("a lock").extend(&buffer[..count]);
                    let is_question = count == 8 && buffer[4..8] == 80_877_103_u32.to_be_bytes();
                    // To anything else, what a server says that knows no TLS.
                    let answer: &[u8] = if is_question { b"N" } else { b"-ERR unknown command\r\n" };
                    if client.write_all(answer).is_err() || !is_question {
                        break;
                    }
                }
            });
        }
    });
    (port, kept)
}

fn holds_password(bytes: &[u8]) -> bool {
    let base64 = base64::engine::general_purpose::STANDARD.encode(PASSWORD);
    [PASSWORD, "Canary", &base64[..16]]
        .iter()
        .any(|form| bytes.windows(form.len()).any(|found| found == form.as_bytes()))
}

fn url(store: &str, port: u16) -> String {
    match store {
        "postgres" => format!("postgres://someone:{PASSWORD}@localhost:{port}/app?sslmode=verify-full"),
        "mongodb" => format!("mongodb://someone:{PASSWORD}@localhost:{port}/app?tls=true&directConnection=true"),
        _ => format!("rediss://someone:{PASSWORD}@localhost:{port}/0"),
    }
}

fn run(project: &Project, store: &str, url: &str, arguments: &[&str]) -> Output {
    let variable = match store {
        "postgres" => "DATABASE_URL",
        "mongodb" => "MONGODB_URI",
        _ => "REDIS_URL",
    };
    let mut all = vec!["--only", store, "--timeout", "20s"];
    all.extend(arguments);
    let output = project.command(&all).env(variable, url).output().expect("lyrox");
    Output::new(&all, &output)
}

#[test]
fn a_bad_certificate_is_refused_by_name_and_gets_no_password() {
    let authority = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls/bad/ca.pem");
    let sections: String = ["postgres", "mongodb", "redis"]
        .iter()
        .map(|store| format!("[env.tls.{store}]\nca_file = \"{}\"\n", authority.display()))
        .collect();
    let project = Project::new("bad_certificates", &sections);
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int);");
    project.write("migrations/1_a.up.json", r#"[{ "create": "a" }]"#);
    project.write("migrations/1_a.up.redis", "SET {{prefix}}a 1");
    for store in ["postgres", "mongodb", "redis"] {
        for (certificate, cause) in [
            ("expired", "expired"),
            ("early", "not valid yet"),
            ("other", "not for `localhost`"),
            ("client", "another purpose"),
            ("unknown", "authority that is not known"),
            ("self", "signed by itself"),
        ] {
            let (clear, heard) = refuser();
            let terminator = tls(&format!("bad/{certificate}"), &format!("127.0.0.1:{clear}"), store == "postgres");
            let (port, sent) = recorder(terminator);
            let url = url(store, port);
            let check = run(&project, store, &url, &["-e", "tls", "check", "--output", "json"]);
            let stage = check.exit(4).item(&format!("{store}.tls"));
            assert_eq!(stage["outcome"], "fail", "{check}");
            let text = format!("{} {}", stage["detail"], stage["why"]);
            assert!(text.contains(cause), "{store}, {certificate}: {cause} is not in {text}");
            let migrate = run(&project, store, &url, &["-e", "tls", "db", "migrate"]);
            migrate.exit(4).says("hint").never_says(PASSWORD);
            assert!(!holds_password(&sent.lock().expect("a lock")), "{store}, {certificate}: the password was sent");
            assert!(!sent.lock().expect("a lock").is_empty(), "{store}, {certificate}: nothing was tried");
            let heard = heard.lock().expect("a lock");
            assert!(heard.is_empty(), "{store}, {certificate}: the server heard {} bytes", heard.len());
        }
        // A server that will not speak TLS at all is not spoken to in clear.
        let (clear, heard) = refuser();
        let url = url(store, clear);
        run(&project, store, &url, &["-e", "tls", "check"]).exit(4);
        run(&project, store, &url, &["-e", "tls", "db", "migrate"]).exit(4);
        assert!(!holds_password(&heard.lock().expect("a lock")), "{store}: the password was sent in clear");
        // The witness can hear: without TLS the login is heard.
        let plain = url.replace("?sslmode=verify-full", "?sslmode=disable").replace("?tls=true&", "?tls=false&");
        run(&project, store, &plain.replacen("rediss:", "redis:", 1), &["-e", "tls", "check"]).exit(4);
        let heard = heard.lock().expect("a lock");
        let hears = |text: &str| heard.windows(text.len()).any(|found| found == text.as_bytes());
        assert!(hears("someone") || hears("AUTH") || hears("hello") || hears("isMaster"), "{store}: nothing is heard");
    }
}
