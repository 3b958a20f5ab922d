//! Faults of a Redis server: its users, its memory, its disk, its primary, its cluster, its provider.

use std::time::Duration;

use super::certificates::file;
use super::servers::{self, Server, wait_for};
use super::{Case, fakes, run};
use crate::faults::closed;
use crate::support::{Output, Project, block_on};

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    let ca = file("ca.pem").display().to_string();
    let text = format!(
        "[project]\nname = \"lab\"\n[redis]\nurl = \"${{REDIS_URL}}\"\nkey_prefix = \"lab:\"\n[env.tls.redis]\nca_file = \"{ca}\"\n"
    );
    project.write("lyrox.toml", &text).write(".env", "");
    project
}

fn command(server: &Server, words: &[&str]) -> redis::RedisResult<redis::Value> {
    block_on(async {
        let client = redis::Client::open(server.url("", ""))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await
    })
}

#[track_caller]
fn ask(server: &Server, words: &[&str]) {
    wait_for("Redis' answer", || command(server, words).is_ok());
}

#[test]
fn users_and_certificates() {
    let project = project("lab_rd");
    let server = servers::redis(&[]);
    ask(&server, &["ACL", "SETUSER", "owner", "on", ">right", "~*", "&*", "+@all"]);
    ask(&server, &["ACL", "SETUSER", "reader", "on", ">right", "~*", "&*", "+@read", "+@connection", "+info"]);
    ask(&server, &["ACL", "SETUSER", "astray", "on", ">right", "~other:*", "&*", "+@all"]);
    ask(&server, &["ACL", "SETUSER", "mute", "on", ">right", "~*", "&*", "-@all", "+hello", "+auth", "+client"]);
    ask(&server, &["ACL", "SETUSER", "off", "off", ">right", "~*", "&*", "+@all"]);
    ask(&server, &["ACL", "SETUSER", "default", "on", ">right"]);
    let url = |login: &str, rest: &str| server.url(login, rest);
    let through = |certificate: &str| {
        format!("rediss://owner:right@localhost:{}", fakes::tls(certificate, &server.place(), false))
    };
    let good = fakes::tls("server", &server.place(), false);
    let cases = [
        Case::new("no login", url("", ""), "auth", "LYX-AUTH-MISSING", "lyrox url build"),
        Case::new("wrong password", url("owner:wrong", ""), "auth", "LYX-AUTH-REDIS", "lyrox url inspect"),
        Case::new("no such user", url("stranger:right", ""), "auth", "LYX-AUTH-REDIS", "lyrox url inspect"),
        Case::new("a user switched off", url("off:right", ""), "auth", "LYX-AUTH-REDIS", "lyrox url inspect"),
        Case::new("a user that may nothing", url("mute:right", ""), "auth", "LYX-PRIVILEGE", "ACL SETUSER"),
        Case::new(
            "a user that may only read",
            url("reader:right", ""),
            "privileges",
            "LYX-PRIVILEGE",
            "ACL SETUSER reader ~lab:*",
        ),
        Case::new(
            "a user of other keys",
            url("astray:right", ""),
            "privileges",
            "LYX-PRIVILEGE",
            "ACL SETUSER astray ~lab:*",
        ),
        Case::new(
            "no such database",
            url("owner:right", "/99"),
            "database",
            "LYX-DATABASE-MISSING",
            "number at the end",
        ),
        Case::new(
            "TLS to a server without",
            url("owner:right", "").replace("redis:", "rediss:"),
            "tls",
            "LYX-TLS-ABSENT",
            "redis://",
        ),
        Case::new(
            "no TLS where it is a must",
            format!("redis://owner:right@localhost:{good}"),
            "hello",
            "LYX-TLS-REQUIRED",
            "rediss://",
        ),
        Case::new("an unknown authority", through("server"), "tls", "LYX-TLS-AUTHORITY", "ca_file"),
        Case::new("made for another host", through("other"), "tls", "LYX-TLS-NAME", "name that the certificate is for")
            .within_environment("tls"),
        Case::new("expired", through("expired"), "tls", "LYX-TLS-EXPIRED", "renew it").within_environment("tls"),
        Case::new("not valid yet", through("early"), "tls", "LYX-TLS-NOT-YET", "clocks").within_environment("tls"),
        Case::new("signed by itself", through("own"), "tls", "LYX-TLS-AUTHORITY", "ca_file").within_environment("tls"),
        Case::new("made for clients", through("client"), "tls", "LYX-TLS-CERTIFICATE", "for servers")
            .within_environment("tls"),
        Case::new("expires in three days", through("soon"), "tls.2", "LYX-TLS-EXPIRING", "renew it")
            .within_environment("tls")
            .warns(),
        Case::new(
            "TLS off over the network",
            format!("redis://owner:right@0.0.0.0:{}", server.port),
            "url",
            "LYX-URL-UNWISE",
            "rediss://",
        )
        .warns(),
    ];
    run(&project, "redis", &cases);
    let mut deep = project.command(&["check", "--only", "redis", "--deep", "--output", "json"]);
    let deep = deep.env("REDIS_URL", url("owner:right", "")).output().expect("lyrox");
    let deep = Output::new(&["check", "--deep"], &deep);
    assert_eq!(deep.ok().item("redis.write")["outcome"], "pass", "{deep}");
}

/// A server whose folder is gone, so that its snapshots fail.
fn without_disk() -> Server {
    let server = servers::redis(&["--save", "3600 1", "--enable-protected-configs", "yes"]);
    let gone = server.folder.path().join("gone");
    std::fs::create_dir(&gone).expect("a folder");
    std::os::unix::fs::chown(&gone, Some(65534), Some(65534)).ok();
    ask(&server, &["CONFIG", "SET", "dir", &gone.display().to_string()]);
    std::fs::remove_dir_all(&gone).expect("removed");
    ask(&server, &["SET", "a", "1"]);
    let _ = command(&server, &["BGSAVE"]);
    wait_for("MISCONF", || command(&server, &["SET", "a", "2"]).is_err());
    server
}

/// A server that reads its data so slowly that it is loading all through the tests.
fn loading() -> Server {
    let full = servers::redis(&["--save", ""]);
    ask(&full, &["EVAL", "for i = 1, 3000 do redis.call('SET', 'key:' .. i, i) end return 1", "0"]);
    ask(&full, &["SAVE"]);
    let folder = tempfile::Builder::new().prefix("lyrox-lab-").tempdir().expect("a folder");
    let dump = folder.path().join("dump.rdb");
    std::fs::copy(full.folder.path().join("dump.rdb"), &dump).expect("a dump");
    for path in [folder.path(), &dump] {
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).ok();
    }
    servers::redis_in(folder, &["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"])
}

#[test]
fn ill_servers() {
    let project = project("lab_rd_ill");
    let primary = servers::redis(&["--save", ""]);
    let port = primary.port.to_string();
    let replica = servers::redis(&["--save", "", "--replicaof", "127.0.0.1", &port]);
    let nowhere = closed().to_string();
    let orphan =
        servers::redis(&["--save", "", "--replicaof", "127.0.0.1", &nowhere, "--replica-serve-stale-data", "no"]);
    let lonely = servers::redis(&["--save", "", "--min-replicas-to-write", "1"]);
    let full = servers::redis(&["--save", "", "--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let evicting = servers::redis(&["--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let narrow = servers::redis(&["--save", ""]);
    let crowded = servers::redis(&["--save", "", "--maxclients", "4"]);
    let cluster = servers::redis(&["--save", "", "--cluster-enabled", "yes"]);
    let sentinel = servers::redis(&["--sentinel"]);
    let diskless = without_disk();
    let slow = loading();
    let nearly = nearly_full(&narrow);
    ask(&cluster, &["PING"]);
    let held: Vec<_> = (0..4).map(|_| std::net::TcpStream::connect(("127.0.0.1", crowded.port))).collect();
    std::thread::sleep(Duration::from_millis(100));
    let cases = [
        Case::new("a replica", replica.url("", ""), "server.2", "LYX-CONNECT-READ-ONLY", "primary"),
        Case::new("a replica without its primary", orphan.url("", ""), "auth", "LYX-CONNECT-STARTING", "--wait"),
        Case::new(
            "fewer replicas than it wants",
            lonely.url("", ""),
            "privileges",
            "LYX-CONNECT-READ-ONLY",
            "min-replicas-to-write",
        ),
        Case::new("memory is full", full.url("", ""), "privileges", "LYX-STORE-MEMORY", "maxmemory"),
        Case::new("memory is nearly full", nearly, "server.2", "LYX-STORE-MEMORY", "maxmemory").warns(),
        Case::new("any key may be evicted", evicting.url("", ""), "server.2", "LYX-EVICTION", "noeviction").warns(),
        Case::new("no client more", crowded.url("", ""), "hello", "LYX-CONNECT-LIMIT", "maxclients"),
        Case::new("snapshots fail", diskless.url("", ""), "auth", "LYX-STORE-DISK", "disk"),
        Case::new("loading", slow.url("", ""), "auth", "LYX-CONNECT-STARTING", "--wait"),
        Case::new("a cluster without slots", cluster.url("", ""), "auth", "LYX-CLUSTER-DOWN", "CLUSTER INFO"),
        Case::new(
            "a database of a cluster",
            cluster.url("", "/1"),
            "auth",
            "LYX-DATABASE-MISSING",
            "number at the end",
        ),
        Case::new("a sentinel", sentinel.url("", ""), "server.2", "LYX-SENTINEL", "SENTINEL MASTERS"),
    ];
    run(&project, "redis", &cases);
    drop(held);
}

/// Sets the limit of a server's memory a little above what it has in use.
fn nearly_full(server: &Server) -> String {
    ask(server, &["SET", "big", &"x".repeat(4 << 20)]);
    let info = block_on(async {
        let client = redis::Client::open(server.url("", "")).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
        redis::cmd("INFO").arg("memory").query_async::<redis::InfoDict>(&mut connection).await.expect("facts")
    });
    let used: u64 = info.get("used_memory").expect("a number");
    ask(server, &["CONFIG", "SET", "maxmemory", &(used + used / 20).to_string()]);
    server.url("", "")
}

#[test]
fn what_only_providers_and_other_machines_say() {
    let project = project("lab_rd_words");
    let long_ago = "*2\r\n$10\r\n1500000000\r\n$1\r\n0\r\n".to_owned();
    let facts = fakes::bulk("redis_version:8.2.2\r\nrole:master\r\n");
    let quota = "-ERR max daily request limit exceeded. Limit: 10000, Usage: 10000.\r\n".to_owned();
    let refused = "-DENIED Redis is running in protected mode because protected mode is enabled\r\n".to_owned();
    let old = fakes::bulk("redis_version:5.0.14\r\nrole:master\r\n");
    let pong = || ("PING", "+PONG\r\n".to_owned());
    let empty = || ("DBSIZE", ":0\r\n".to_owned());
    let skewed = fakes::redis(&[pong(), empty(), ("TIME", long_ago), ("INFO", facts)]);
    let outdated = fakes::redis(&[pong(), empty(), ("INFO", old), ("TIME", "-ERR unknown command\r\n".to_owned())]);
    let used_up = fakes::redis(&[("*", quota)]);
    let protected = fakes::redis(&[("*", refused)]);
    let url = |port: u16| format!("redis://127.0.0.1:{port}");
    let cases = [
        Case::new("another time", url(skewed), "clock", "LYX-CLOCK-SKEW", "NTP").warns(),
        Case::new(
            "a version of long ago",
            format!("redis://0.0.0.0:{outdated}"),
            "version",
            "LYX-VERSION-OLD",
            "upgrade",
        )
        .warns(),
        Case::new(
            "a version with a hole",
            format!("redis://0.0.0.0:{outdated}"),
            "version.2",
            "LYX-VERSION-HOLE",
            "upgrade",
        )
        .warns(),
        Case::new("the plan's requests are used up", url(used_up), "auth", "LYX-CONNECT-QUOTA", "plan"),
        Case::new("protected mode", url(protected), "hello", "LYX-AUTH-ADDRESS", "password"),
    ];
    run(&project, "redis", &cases);
}
