//! A cluster behind a name: the hosts of a `mongodb+srv` URL, told by a DNS server of the test's own. lyrox asks the resolver of
//! its machine: it is run where `/etc/resolv.conf` is another file, which takes root's rights.

use std::net::UdpSocket;
use std::process::{Command, Stdio};

use crate::faults::closed;
use crate::support::{Output, Project};
use crate::url::srv::serve_at;

/// Runs lyrox with another resolver; none where this machine does not let the test do so.
fn resolving(project: &Project, at: &str, arguments: &[&str], url: &str) -> Option<Output> {
    project.write("resolv.conf", &format!("nameserver {at}\noptions timeout:2\n"));
    let mut plain = project.command(arguments);
    plain.env("MONGODB_URI", url);
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind resolv.conf /etc/resolv.conf || exit 99; exec \"$@\"", "sh"]);
    command.arg(plain.get_program()).args(plain.get_args()).current_dir(project.root()).env_clear();
    command.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let output = command.output().ok()?;
    let is_kept_out = output.status.code() == Some(99) || String::from_utf8_lossy(&output.stderr).contains("unshare:");
    (!is_kept_out).then(|| Output::new(arguments, &output))
}

#[test]
#[allow(clippy::print_stderr, reason = "what is left out has to be seen")]
fn a_cluster_that_a_name_leads_to() {
    const AT: &str = "127.77.0.1";
    let Ok(socket) = UdpSocket::bind((AT, 53)) else {
        return eprintln!("not tried: port 53 is root's");
    };
    let project = Project::new("lab_srv", "");
    let text =
        format!("[project]\nname = \"lab\"\n[mongodb]\nurl = \"${{MONGODB_URI}}\"\ndatabase = \"{}\"\n", project.name);
    project.write("lyrox.toml", &text).write(".env", "");
    let url = lyrox::url::parse(lyrox::kind::StoreKind::Mongodb, &project.mongodb).expect("a URL");
    let port = url.port_of(url.host());
    // The second member is down; the name of the first is in another zone than localhost.
    serve_at(
        socket,
        vec![("a.cluster.lab.test".to_owned(), port), ("b.cluster.lab.test".to_owned(), closed())],
        Some("authSource=admin"),
    );
    let login = format!("{}:{}", url.user().expect("a user"), url.password().expect("a password").expose());
    let named = format!("mongodb+srv://{login}@cluster.lab.test/?tls=false");
    let Some(run) = resolving(&project, AT, &["check", "--output", "json"], &named) else {
        return eprintln!("not tried: no namespace of its own");
    };
    assert_eq!(run.ok().item("mongodb.name")["detail"], "2 hosts by SRV and TXT, 2 addresses", "{run}");
    for stage in ["hello", "auth", "database", "ping"] {
        assert_eq!(run.item(&format!("mongodb.{stage}"))["outcome"], "pass", "{stage}: {run}");
    }
    let down = run.item("mongodb.reach");
    assert_eq!((&down["outcome"], &down["code"]), (&"warn".into(), &"LYX-CONNECT-HOST".into()), "{run}");
    assert!(down["detail"].as_str().expect("a detail").contains("b.cluster.lab.test"), "{run}");
    // A password that is wrong is told as one, through the name as well.
    let wrong = named.replacen(&login, "nobody:wrong-password", 1);
    let refused = resolving(&project, AT, &["check", "--output", "json"], &wrong).expect("as before");
    assert_eq!(refused.exit(4).item("mongodb.auth")["code"], "LYX-AUTH-MONGODB", "{refused}");
}
