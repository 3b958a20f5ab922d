//! A Redis Cluster of three masters, started once for the whole run; it ends with this process.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::block_on;
use super::servers::servers;

const PASSWORD: &str = "three-masters";

/// Three masters that hold all slots, each with an ACL file.
pub struct Cluster {
    /// The URL of one of them.
    pub url: String,
    ports: [u16; 3],
    _reaper: Child,
}

/// The cluster, started at the first call.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(start)
}

impl Cluster {
    /// A command to each master; every reply.
    pub fn each(&self, words: &[&str]) -> Vec<redis::Value> {
        self.ports.iter().map(|port| ask(*port, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))).collect()
    }

    /// A command to one master, by its place among the three.
    pub fn at(&self, master: usize, words: &[&str]) -> redis::RedisResult<redis::Value> {
        ask(self.ports[master], words)
    }

    /// A command to the master of its key.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> redis::Value {
        let sent = block_on(async {
            let client = redis::cluster::ClusterClient::new([self.url.as_str()])?;
            let mut connection = client.get_async_connection().await?;
            redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
        });
        sent.unwrap_or_else(|error: redis::RedisError| panic!("{words:?}: {error}"))
    }

    /// Every key that matches a pattern, with its master and what it holds.
    pub fn dumps(&self, pattern: &str) -> std::collections::BTreeMap<String, String> {
        let mut all = std::collections::BTreeMap::new();
        for (master, keys) in self.keys(pattern).into_iter().enumerate() {
            for key in keys {
                let dump = self.at(master, &["DUMP", &key]).expect("a dump");
                all.insert(format!("{master} {key}"), format!("{dump:?}"));
            }
        }
        all
    }

    /// Begins to move a slot from one master to another, and moves some of its keys: the cluster is asked for it all the same.
    pub fn begin_moving(&self, slot: u16, from: usize, to: usize, keys: &[String]) {
        let slot = slot.to_string();
        let id = |master| redis::from_redis_value::<String>(self.at(master, &["CLUSTER", "MYID"]).expect("an id"));
        let (source, target) = (id(from).expect("text"), id(to).expect("text"));
        self.at(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]).expect("importing");
        self.at(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]).expect("migrating");
        self.migrate(from, to, keys);
    }

    /// Ends it: what is left in the slot goes over, and all know whose it is.
    pub fn end_moving(&self, slot: u16, from: usize, to: usize) {
        let slot = slot.to_string();
        let left = self.at(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).expect("keys");
        self.migrate(from, to, &redis::from_redis_value::<Vec<String>>(left).expect("names"));
        let id = redis::from_redis_value::<String>(self.at(to, &["CLUSTER", "MYID"]).expect("an id")).expect("text");
        for master in [to, from, 3 - to - from] {
            self.at(master, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]).expect("its new master");
        }
    }

    fn migrate(&self, from: usize, to: usize, keys: &[String]) {
        let port = self.ports[to].to_string();
        for key in keys {
            let words = ["MIGRATE", "127.0.0.1", &port, key, "0", "5000", "AUTH", PASSWORD];
            self.at(from, &words).expect("a key moved");
        }
    }

    /// The keys of each master that match a pattern.
    pub fn keys(&self, pattern: &str) -> Vec<Vec<String>> {
        let keys = |value| redis::from_redis_value::<Vec<String>>(value).expect("keys");
        self.each(&["KEYS", pattern]).into_iter().map(keys).collect()
    }
}

fn ask(port: u16, words: &[&str]) -> redis::RedisResult<redis::Value> {
    block_on(async {
        let client = redis::Client::open(url(port))?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        redis::cmd(words[0]).arg(&words[1..]).query_async(&mut connection).await
    })
}

fn url(port: u16) -> String {
    format!("redis://default:{PASSWORD}@127.0.0.1:{port}")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A server program: installed, or what lyrox fetched.
fn program() -> PathBuf {
    let installed = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .flat_map(|folder| ["redis-server", "valkey-server"].map(|name| folder.join(name)))
        .find(|path| path.is_file());
    let fetched = || {
        let given = std::env::var_os("LYROX_CACHE_DIR").map(PathBuf::from);
        let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache/lyrox"));
        let folders = [given, Some("/var/cache/lyrox".into()), home];
        folders.into_iter().flatten().find_map(|folder| {
            let entries = std::fs::read_dir(folder.join("servers")).ok()?;
            entries.flatten().map(|entry| entry.path().join("valkey-server")).find(|path| path.is_file())
        })
    };
    installed.or_else(&fetched).unwrap_or_else(|| {
        // Starting the shared servers fetches it.
        servers();
        fetched().expect("a Redis server")
    })
}

fn start() -> Cluster {
    let program = program();
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster-{}", std::process::id()));
    let mut pids = Vec::new();
    let ports: [u16; 3] = std::array::from_fn(|_| free_port());
    for port in ports {
        let folder = root.join(port.to_string());
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("users.acl"), format!("user default on >{PASSWORD} ~* &* +@all\n")).expect("users");
        let bus = free_port().to_string();
        let settings = [
            ["--port", &port.to_string()],
            ["--cluster-port", &bus],
            ["--bind", "127.0.0.1"],
            ["--cluster-enabled", "yes"],
            ["--cluster-announce-ip", "127.0.0.1"],
            ["--cluster-node-timeout", "15000"],
            ["--save", ""],
            ["--appendonly", "no"],
            ["--aclfile", "users.acl"],
        ];
        let mut server = Command::new(&program);
        server.args(settings.as_flattened()).current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        pids.push(server.stderr(Stdio::null()).spawn().expect("a server").id().to_string());
    }
    let reaper = Command::new("sh")
        .arg("-c")
        .arg("cat > /dev/null; root=$1; shift; kill \"$@\"; sleep 1; rm -rf \"$root\"")
        .arg("sh")
        .arg(&root)
        .args(&pids)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let until = Instant::now() + Duration::from_secs(60);
    let wait = |is: &dyn Fn(u16) -> bool| {
        while !ports.iter().all(|port| is(*port)) {
            assert!(Instant::now() < until, "the cluster is not up");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&|port| ask(port, &["PING"]).is_ok());
    for (index, port) in ports.into_iter().enumerate() {
        let (first, last) = (16384 * index / 3, 16384 * (index + 1) / 3 - 1);
        ask(port, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).expect("slots");
        ask(port, &["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]).expect("an epoch");
    }
    // The bus has a port of its own: a node is met by both.
    for port in &ports[1..] {
        let nodes = ask(*port, &["CLUSTER", "NODES"]).and_then(|value| Ok(redis::from_redis_value::<String>(value)?));
        let nodes = nodes.expect("itself");
        let bus = nodes.split(['@', ' ', ',']).nth(2).expect("the port of its bus").to_owned();
        ask(ports[0], &["CLUSTER", "MEET", "127.0.0.1", &port.to_string(), &bus]).expect("a meeting");
    }
    wait(&|port| {
        let info = ask(port, &["CLUSTER", "INFO"]).and_then(|value| Ok(redis::from_redis_value::<String>(value)?));
        info.is_ok_and(|info| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
    });
    Cluster { url: url(ports[0]), ports, _reaper: reaper }
}
