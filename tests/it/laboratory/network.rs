//! Faults of the way to a server: nothing there, silence at each stage, another's protocol.

use std::time::Duration;

use super::{Case, fakes, run};
use crate::faults::closed;
use crate::support::Project;

const SOON: Duration = Duration::from_secs(6);

/// `host:port` of a URL.
fn place(url: &str) -> String {
    let url = url.rsplit_once('@').map_or(url, |(_, place)| place);
    url.split(['/', '?']).next().expect("a place").to_owned()
}

#[test]
fn the_way_to_postgresql() {
    let project = Project::new("lab_net_pg", "");
    let (mongodb, redis) = (place(&project.mongodb), place(&project.redis));
    let silent_login = fakes::falls_silent(place(&project.postgres), b"R\0\0\0");
    let url = |port: u16| format!("postgres://u:p@127.0.0.1:{port}/d");
    let through = project.postgres.replace(&place(&project.postgres), &format!("127.0.0.1:{silent_login}"));
    let cases = [
        Case::new("closed port", url(closed()), "tcp", "LYX-CONNECT-REFUSED", "lyrox up").within(SOON),
        Case::new(
            "unknown name",
            "postgres://u:p@no-such-host.invalid/d",
            "name",
            "LYX-CONNECT-NAME",
            "--env DATABASE_URL",
        ),
        Case::new("no such socket", "postgres://u:p@%2Fnowhere/d", "tcp", "LYX-CONNECT-REFUSED", "which socket"),
        Case::new("packets are dropped", url(fakes::black_hole()), "tcp", "LYX-CONNECT-TIMEOUT", "provider")
            .within(SOON),
        Case::new(
            "accepts and is silent",
            url(fakes::says(b"", false, false)),
            "hello",
            "LYX-CONNECT-TIMEOUT",
            "alive",
        )
        .within(Duration::from_secs(8)),
        Case::new("closes at once", url(fakes::says(b"", false, true)), "hello", "LYX-CONNECT-CLOSED", "--wait"),
        Case::new("resets", url(fakes::resets()), "hello", "LYX-CONNECT-CLOSED", "--wait"),
        Case::new(
            "agrees to TLS and is silent",
            format!("{}?sslmode=require", url(fakes::says(b"S", true, false))),
            "tls",
            "LYX-CONNECT-TIMEOUT",
            "alive",
        ),
        Case::new(
            "agrees to TLS and closes",
            format!("{}?sslmode=require", url(fakes::says(b"S", true, true))),
            "tls",
            "LYX-TLS",
            "server's log",
        ),
        Case::new("silent after the login's first word", through, "auth", "LYX-CONNECT-TIMEOUT", "alive")
            .arguments(&["--timeout", "3s"])
            .within(Duration::from_secs(5)),
        Case::new("a Redis", format!("postgres://u:p@{redis}/d"), "hello", "LYX-PROTOCOL", "URL of Redis"),
        Case::new("a MongoDB", format!("postgres://u:p@{mongodb}/d"), "hello", "LYX-PROTOCOL", "URL of MongoDB"),
        Case::new(
            "a web server",
            url(fakes::says(b"HTTP/1.1 400 Bad Request\r\n\r\n", true, true)),
            "hello",
            "LYX-PROTOCOL",
            "5432",
        ),
        Case::new(
            "an SSH server",
            url(fakes::says(b"SSH-2.0-OpenSSH_9.2\r\n", false, false)),
            "hello",
            "LYX-PROTOCOL",
            "5432",
        ),
        // The system has no route to these: nothing leaves the machine.
        Case::new("no way there", "postgres://u:p@255.255.255.255:7/d", "tcp", "LYX-CONNECT-UNREACHABLE", "firewall")
            .within(SOON),
        Case::new("no way over IPv6", "postgres://u:p@[ff02::1]:7/d", "tcp", "LYX-CONNECT-IPV6", "has IPv4")
            .within(SOON),
    ];
    run(&project, "postgres", &cases);
}

#[test]
fn the_way_to_mongodb() {
    let project = Project::new("lab_net_mg", "");
    let (postgres, redis) = (place(&project.postgres), place(&project.redis));
    let url = |port: u16| format!("mongodb://u:p@127.0.0.1:{port}");
    let cases = [
        Case::new("closed port", url(closed()), "tcp", "LYX-CONNECT-REFUSED", "lyrox up").within(SOON),
        Case::new("unknown name", "mongodb://u:p@no-such-host.invalid", "name", "LYX-CONNECT-NAME", "MONGODB_URI"),
        Case::new("no service record", "mongodb+srv://u:p@no-such-host.invalid", "name", "LYX-CONNECT-NAME", ""),
        Case::new("packets are dropped", url(fakes::black_hole()), "tcp", "LYX-CONNECT-TIMEOUT", "provider")
            .within(SOON),
        Case::new(
            "accepts and is silent",
            url(fakes::says(b"", false, false)),
            "hello",
            "LYX-CONNECT-TIMEOUT",
            "alive",
        ),
        Case::new("closes at once", url(fakes::says(b"", false, true)), "hello", "LYX-CONNECT-CLOSED", "--wait"),
        Case::new(
            "silent in the handshake",
            format!("{}/?tls=true", url(fakes::says(b"", false, false))),
            "tls",
            "LYX-CONNECT-TIMEOUT",
            "alive",
        ),
        Case::new("a PostgreSQL", format!("mongodb://u:p@{postgres}"), "hello", "LYX-PROTOCOL", "URL of PostgreSQL"),
        Case::new("a Redis", format!("mongodb://u:p@{redis}"), "hello", "LYX-PROTOCOL", "URL of Redis"),
        // The system has no route to these: nothing leaves the machine.
        Case::new("no way there", "mongodb://u:p@255.255.255.255:7", "tcp", "LYX-CONNECT-UNREACHABLE", "firewall")
            .within(SOON),
        Case::new("no way over IPv6", "mongodb://u:p@[ff02::1]:7", "tcp", "LYX-CONNECT-IPV6", "has IPv4").within(SOON),
    ];
    run(&project, "mongodb", &cases);
}

#[test]
fn the_way_to_redis() {
    let project = Project::new("lab_net_rd", "");
    let (postgres, mongodb) = (place(&project.postgres), place(&project.mongodb));
    let url = |port: u16| format!("redis://:p@127.0.0.1:{port}");
    let cases = [
        Case::new("closed port", url(closed()), "tcp", "LYX-CONNECT-REFUSED", "lyrox up").within(SOON),
        Case::new("unknown name", "redis://:p@no-such-host.invalid", "name", "LYX-CONNECT-NAME", "REDIS_URL"),
        Case::new("no such socket", "unix:///nowhere/redis.sock", "tcp", "LYX-CONNECT-REFUSED", "which socket"),
        Case::new("packets are dropped", url(fakes::black_hole()), "tcp", "LYX-CONNECT-TIMEOUT", "provider")
            .within(SOON),
        Case::new(
            "accepts and is silent",
            url(fakes::says(b"", false, false)),
            "hello",
            "LYX-CONNECT-TIMEOUT",
            "alive",
        ),
        Case::new("closes at once", url(fakes::says(b"", false, true)), "hello", "LYX-CONNECT-CLOSED", "--wait"),
        Case::new(
            "silent in the handshake",
            url(fakes::says(b"", false, false)).replace("redis:", "rediss:"),
            "tls",
            "LYX-CONNECT-TIMEOUT",
            "alive",
        ),
        Case::new(
            "the web page of the provider",
            url(fakes::says(b"HTTP/1.1 400 Bad Request\r\n\r\n", true, true)),
            "hello",
            "LYX-PROTOCOL",
            "rediss://",
        ),
        Case::new("a PostgreSQL", format!("redis://:p@{postgres}"), "hello", "LYX-PROTOCOL", "URL of PostgreSQL"),
        Case::new("a MongoDB", format!("redis://:p@{mongodb}"), "hello", "LYX-PROTOCOL", "URL of MongoDB"),
        // The system has no route to these: nothing leaves the machine.
        Case::new("no way there", "redis://:p@255.255.255.255:7", "tcp", "LYX-CONNECT-UNREACHABLE", "firewall")
            .within(SOON),
        Case::new("no way over IPv6", "redis://:p@[ff02::1]:7", "tcp", "LYX-CONNECT-IPV6", "has IPv4").within(SOON),
    ];
    run(&project, "redis", &cases);
}
