//! Certificates of an authority of the laboratory's own, good and bad, made once by `openssl`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How a certificate is to be.
struct Wanted {
    name: &'static str,
    begins: &'static str,
    ends: String,
    purpose: &'static str,
    /// What it is good for.
    names: &'static str,
}

/// The folder with `ca.pem`, and `NAME.pem`, `NAME.key` for `server`, `other`, `expired`, `early`, `soon`, `client`
/// and `own`, which nobody but itself has signed.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(make).path()
}

/// A file of the folder.
pub fn file(name: &str) -> PathBuf {
    folder().join(name)
}

fn make() -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("lyrox-certificates-").tempdir().expect("a folder");
    let at = folder.path();
    std::fs::write(at.join("index.txt"), "").expect("a file");
    std::fs::write(at.join("serial"), "1000\n").expect("a file");
    let key = |name: &str| {
        openssl(at, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &format!("{name}.key")]);
    };
    key("ca");
    let authority = ["-subj", "/CN=lyrox laboratory", "-days", "30", "-addext", "basicConstraints=critical,CA:TRUE"];
    openssl(at, &[&["req", "-x509", "-new", "-key", "ca.key", "-out", "ca.pem"], &authority[..]].concat());
    key("own");
    let own = ["-subj", "/CN=localhost", "-days", "30", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
    openssl(at, &[&["req", "-x509", "-new", "-key", "own.key", "-out", "own.pem"], &own[..]].concat());
    let far = day(300);
    let (server, client, local) = ("serverAuth", "clientAuth", "DNS:localhost");
    for wanted in [
        Wanted { name: "server", begins: "20200101000000Z", ends: far.clone(), purpose: server, names: local },
        Wanted {
            name: "other",
            begins: "20200101000000Z",
            ends: far.clone(),
            purpose: server,
            names: "DNS:elsewhere.example",
        },
        Wanted {
            name: "expired",
            begins: "20200101000000Z",
            ends: "20210101000000Z".into(),
            purpose: server,
            names: local,
        },
        Wanted {
            name: "early",
            begins: "20980101000000Z",
            ends: "20990101000000Z".into(),
            purpose: server,
            names: local,
        },
        Wanted { name: "soon", begins: "20200101000000Z", ends: day(3), purpose: server, names: local },
        Wanted { name: "client", begins: "20200101000000Z", ends: far, purpose: client, names: local },
    ] {
        let name = wanted.name;
        key(name);
        let (request, signed) = (format!("{name}.csr"), format!("{name}.pem"));
        openssl(
            at,
            &["req", "-new", "-key", &format!("{name}.key"), "-subj", &format!("/CN={name}"), "-out", &request],
        );
        let settings = format!(
            "[ca]\ndefault_ca = lab\n[lab]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\ncertificate = ca.pem\n\
             private_key = ca.key\ndefault_md = sha256\npolicy = any\nx509_extensions = more\nunique_subject = no\n\
             [any]\ncommonName = supplied\n[more]\nbasicConstraints = CA:FALSE\nextendedKeyUsage = {}\nsubjectAltName = {}\n",
            wanted.purpose, wanted.names
        );
        std::fs::write(at.join("lab.cnf"), settings).expect("a file");
        let dates = ["-startdate", wanted.begins, "-enddate", &wanted.ends];
        openssl(
            at,
            &[&["ca", "-batch", "-notext", "-config", "lab.cnf", "-in", &request, "-out", &signed], &dates[..]]
                .concat(),
        );
        let pair = [std::fs::read(at.join(&signed)), std::fs::read(at.join(format!("{name}.key")))];
        let both: Vec<u8> = pair.into_iter().flat_map(|part| part.expect("a file")).collect();
        std::fs::write(at.join(format!("{name}.both")), both).expect("a file");
    }
    folder
}

/// The day so many days from now, as openssl writes it.
fn day(days: i64) -> String {
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days);
    then.strftime("%Y%m%d%H%M%SZ").to_string()
}

fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("openssl cannot be run ({error}); these tests need it"));
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
