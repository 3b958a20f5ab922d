//! As whom the servers run.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Command;

use super::local::{Local, finish, is_root};
use crate::support::servers::binary;
use crate::support::{Output, sql};

const ALL: &str = "[postgres]\n[mongodb]\ndatabase = \"rights\"\n[redis]";
const NOBODY: u32 = 65534;

fn status(pid: i32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).expect(field);
    line.trim().to_owned()
}

#[test]
fn started_by_root_the_servers_have_no_capability() {
    if !is_root("started_by_root_the_servers_have_no_capability") {
        return;
    }
    let local = Local::new("rootless", ALL);
    local.lyrox(&["up"]).ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert_eq!(status(local.pid(store), "CapEff").trim_matches('0'), "", "{store}");
    }
}

/// Runs lyrox as `nobody`, whose cache is the tests' own.
fn as_nobody(local: &Local, arguments: &[&str]) -> Output {
    let cache = std::env::var("LYROX_CACHE_DIR").unwrap_or_else(|_| "/var/cache/lyrox".into());
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "env", "-i"]);
    command.arg(format!("LYROX_CACHE_DIR={cache}")).arg("PATH=/usr/local/bin:/usr/bin:/bin");
    command.arg(binary()).args(arguments).current_dir(local.root());
    finish(arguments, &mut command)
}

#[test]
fn a_plain_user_needs_no_root_and_root_and_user_may_take_turns() {
    if !is_root("a_plain_user_needs_no_root_and_root_and_user_may_take_turns") {
        return;
    }
    let local = Local::new("turns", ALL);
    // Root's run fetches what the user has no client for.
    local.lyrox(&["up"]).ok();
    local.lyrox(&["down", "--purge", "--confirm", "turns"]).ok();
    std::fs::remove_dir_all(local.path(".lyrox")).expect("gone");
    std::os::unix::fs::chown(local.root(), Some(NOBODY), Some(NOBODY)).expect("given away");
    let reach = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", binary(), "--version"])
        .output()
        .expect("setpriv");
    if !reach.status.success() {
        eprintln!("skipped: the rest of a_plain_user_needs_no_root: others cannot reach the binary under test");
        return;
    }
    as_nobody(&local, &["up"]).ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert!(status(local.pid(store), "Uid").starts_with("65534"), "{store}");
    }
    as_nobody(&local, &["down"]).ok();
    local.lyrox(&["up"]).ok();
    for store in ["postgres", "mongodb", "redis"] {
        assert!(status(local.pid(store), "Uid").starts_with("65534"), "{store} started by root");
    }
    assert_eq!(std::fs::metadata(local.path(".lyrox/state.json")).expect("a state").uid(), NOBODY);
    as_nobody(&local, &["up"]).ok().says("unchanged");
    as_nobody(&local, &["down"]).ok();
    as_nobody(&local, &["up"]).ok();
}

/// Runs lyrox as root of a user namespace that knows every user and allows no namespace below it.
fn without_namespaces(local: &Local, arguments: &[&str]) -> Output {
    let inner = "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$@\"";
    let script = format!(
        "unshare --user sh -c 'while [ ! -e go ]; do sleep 0.02; done; rm go; exec sh -c '\"'\"'{inner}'\"'\"' x \"$@\"' x \"$@\" & \
         p=$!; while [ \"$(readlink /proc/$p/ns/user)\" = \"$(readlink /proc/self/ns/user)\" ]; do sleep 0.02; done; \
         echo '0 0 65536' > /proc/$p/uid_map; echo '0 0 65536' > /proc/$p/gid_map; touch go; wait $p"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, "x"]).arg(binary()).args(arguments).current_dir(local.root());
    finish(arguments, &mut command)
}

#[test]
fn where_no_namespace_is_allowed_the_servers_run_as_nobody_in_a_folder_they_can_reach() {
    if !is_root("where_no_namespace_is_allowed_the_servers_run_as_nobody_in_a_folder_they_can_reach") {
        return;
    }
    let local = Local::new("nonamespace", ALL);
    // Nobody but root may enter, as in root's home.
    std::fs::set_permissions(local.root(), std::fs::Permissions::from_mode(0o700)).expect("closed");
    without_namespaces(&local, &["up"]).ok();
    for store in ["postgres", "mongodb", "redis"] {
        let server = local.server(store);
        assert_eq!(server["state"], "running");
        assert!(status(local.pid(store), "Uid").starts_with("65534"), "{store}");
        let home = local.state()["servers"][store]["home"].as_str().expect("a home").to_owned();
        assert!(home.starts_with("/var/lib/lyrox/"), "{home}");
        let data = std::fs::metadata(&home).expect("its folder");
        assert_eq!((data.uid(), data.permissions().mode() & 0o777), (NOBODY, 0o700));
    }
    sql(&local.url("DIRECT_URL"), "CREATE TABLE t AS SELECT 1 AS a").expect("a table");
    // Found and stopped by a run that could use namespaces, and started again as before.
    local.lyrox(&["up"]).ok().says("unchanged");
    local.lyrox(&["down"]).ok();
    local.lyrox(&["up"]).ok();
    assert_eq!(sql(&local.url("DIRECT_URL"), "SELECT a FROM t").expect("a row").len(), 1);
    let home = local.state()["servers"]["redis"]["home"].as_str().expect("a home").to_owned();
    local.lyrox(&["down", "--purge", "--confirm", "nonamespace"]).ok();
    assert!(!std::path::Path::new(&home).parent().expect("a parent").exists());
}
