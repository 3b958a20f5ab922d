//! Faults of a Redis Cluster: nodes that announce what nobody reaches, a user who may not see that it is one; and one in
//! good health.

use std::net::TcpListener;

use super::servers::{self, Server, wait_for};
use super::{Case, fakes, run};
use crate::faults::closed;
use crate::support::cluster::cluster;
use crate::support::{Output, Project, block_on};

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    let text = "[project]\nname = \"lab\"\n[redis]\nurl = \"${REDIS_URL}\"\nkey_prefix = \"lab:\"\n";
    project.write("lyrox.toml", text).write(".env", "");
    project
}

fn ask(server: &Server, words: &[&str]) -> redis::RedisResult<redis::Value> {
    block_on(async {
        let client = redis::Client::open(server.url("", ""))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    })
}

/// A node, and the port of its bus.
fn node(more: &[&str]) -> (Server, String) {
    let bus = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port().to_string();
    let own = ["--save", "", "--cluster-enabled", "yes", "--cluster-port", &bus];
    (servers::redis(&[&own, more].concat()), bus)
}

fn is_up(server: &Server) -> bool {
    let info = ask(server, &["CLUSTER", "INFO"]).ok();
    let info = info.and_then(|info| redis::from_redis_value::<String>(info).ok());
    info.is_some_and(|info| info.contains("cluster_state:ok"))
}

/// One node that holds every slot and announces another port than its own.
fn announcing(port: u16) -> Server {
    let (server, _) = node(&["--cluster-announce-ip", "127.0.0.1", "--cluster-announce-port", &port.to_string()]);
    wait_for("a node", || ask(&server, &["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).is_ok());
    wait_for("a cluster", || is_up(&server));
    server
}

#[test]
fn clusters_that_cannot_be_used() {
    let project = project("lab_cl");
    let (closed, silent) = (announcing(closed()), announcing(fakes::black_hole()));
    // All but one slot are the second's: whatever the first is asked for is there.
    let (first, _) = node(&["--cluster-announce-ip", "127.0.0.1"]);
    let (second, bus) = node(&["--cluster-announce-ip", "127.0.0.1"]);
    wait_for("a node", || ask(&first, &["CLUSTER", "ADDSLOTS", "0"]).is_ok());
    wait_for("a node", || ask(&second, &["CLUSTER", "ADDSLOTSRANGE", "1", "16383"]).is_ok());
    ask(&second, &["CLUSTER", "SET-CONFIG-EPOCH", "2"]).expect("an epoch");
    ask(&first, &["CLUSTER", "MEET", "127.0.0.1", &second.port.to_string(), &bus]).expect("a meeting");
    wait_for("a cluster", || is_up(&first) && is_up(&second));
    ask(&first, &["ACL", "SETUSER", "blind", "on", ">right", "~*", "&*", "+@all", "-info", "-cluster"])
        .expect("a user");
    let cases = [
        Case::new(
            "it announces a closed port",
            closed.url("", ""),
            "auth",
            "LYX-CLUSTER-REACH",
            "cluster-announce-port",
        ),
        Case::new(
            "it announces a port that is silent",
            silent.url("", ""),
            "auth",
            "LYX-CLUSTER-REACH",
            "cluster-announce-port",
        )
        .within(std::time::Duration::from_secs(12)),
        Case::new(
            "a user who may not see that it is a cluster",
            first.url("blind:right", ""),
            "privileges",
            "LYX-CLUSTER-HIDDEN",
            "+info",
        ),
    ];
    run(&project, "redis", &cases);
}

#[test]
fn a_cluster_in_good_health() {
    let project = project("lab_cl_good");
    let mut command = project.command(&["check", "--only", "redis", "--deep", "--output", "json"]);
    let run = Output::new(&["check", "--deep"], &command.env("REDIS_URL", &cluster().url).output().expect("lyrox"));
    let report = run.ok().json();
    let odd = report["items"].as_array().expect("items").iter().find(|item| item["outcome"] != "pass");
    assert!(odd.is_none(), "{run}");
    assert_eq!(run.item("redis.write")["outcome"], "pass");
    assert!(run.item("redis.server")["detail"].as_str().expect("facts").contains("cluster"), "{run}");
}
