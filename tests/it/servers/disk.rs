//! Full and read-only disks.

use std::process::Command;

use super::local::{Local, finish, is_root};
use crate::support::Output;
use crate::support::servers::binary;

/// Runs lyrox in the project's folder while that is a disk of its own: `prepare` makes it so, in `$1`.
fn on_disk(local: &Local, prepare: &str, arguments: &[&str]) -> Output {
    let script = format!("set -e; cp lyrox.toml /dev/shm/$$.toml; {prepare}; cd \"$1\"; shift; exec \"$0\" \"$@\"");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script]).arg(binary()).arg(local.root()).args(arguments);
    finish(arguments, command.current_dir(local.root()))
}

fn tmpfs(size: &str) -> String {
    format!("mount -t tmpfs -o size={size} none \"$1\"; mv /dev/shm/$$.toml \"$1/lyrox.toml\"")
}

#[test]
fn a_read_only_disk_is_named_as_what_it_is() {
    if !is_root("a_read_only_disk_is_named_as_what_it_is") {
        return;
    }
    let local = Local::new("readonly", "[redis]");
    let prepare = "rm /dev/shm/$$.toml; mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"";
    on_disk(&local, prepare, &["up"]).exit(4).says("LYX-SERVER-DISK").says("Read-only file system");
    assert!(!local.path(".lyrox").exists());
    // A project whose servers were made before.
    local.lyrox(&["up"]).ok();
    local.lyrox(&["down"]).ok();
    on_disk(&local, prepare, &["up"]).exit(4).says("LYX-SERVER-DISK");
    assert!(local.processes().is_empty());
    local.lyrox(&["up"]).ok();
}

#[test]
fn a_full_disk_is_named_as_what_it_is_and_no_server_stays() {
    if !is_root("a_full_disk_is_named_as_what_it_is_and_no_server_stays") {
        return;
    }
    for (store, size) in [("postgres", "5m"), ("postgres", "40m"), ("mongodb", "64k"), ("redis", "16k")] {
        let local = Local::new("full", &format!("[{store}]"));
        let up = on_disk(&local, &tmpfs(size), &["up"]);
        up.exit(4).says("LYX-SERVER-DISK").says("free space");
        assert!(local.processes().is_empty(), "{store} on {size}");
    }
}

#[test]
fn a_disk_that_is_full_does_not_keep_down_from_stopping() {
    if !is_root("a_disk_that_is_full_does_not_keep_down_from_stopping") {
        return;
    }
    let local = Local::new("filled", "[redis]");
    let script = "mount -t tmpfs -o size=1m none \"$1\"; cp /dev/shm/$$.toml \"$1/lyrox.toml\"; rm /dev/shm/$$.toml; \
                  \"$0\" -C \"$1\" up; dd if=/dev/zero of=\"$1/fill\" bs=1k 2>/dev/null || true";
    let down = on_disk(&local, script, &["down"]);
    down.ok().says("stopped").says("the record of the servers stays as it is");
    assert!(local.processes().is_empty());
}
