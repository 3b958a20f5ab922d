//! What INFO and TIME tell about a Redis server, and what is to be said of it.

use crate::error::{Code, Error, Result};
use crate::stores::redis::connect::Connected;
use crate::stores::redis::error::{refusal, work_error};
use crate::stores::stages::{Request, Stages, now};
use crate::stores::support::Product;

/// What the server tells; nothing where it is forbidden.
#[derive(Default)]
pub struct Facts {
    product: Option<Product>,
    version: String,
    policy: Option<String>,
    /// Bytes in use and the limit; 0: none.
    memory: (u64, u64),
    is_replica: bool,
    is_sentinel: bool,
    /// The last snapshot could not be written.
    is_snapshot_failing: bool,
    clients: Option<(u64, u64)>,
    /// Seconds since 1970: the server's time, and this machine's before and after.
    clock: Option<(f64, f64, f64)>,
}

/// Asks for the facts.
pub async fn read(request: &Request<'_>, connected: &mut Connected) -> Result<(Facts, String)> {
    let asked = now();
    let time = redis::cmd("TIME").query_async::<(u64, u64)>(&mut connected.link).await.ok();
    let answered = now();
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let clock = time.map(|(seconds, micros)| (seconds as f64 + micros as f64 / 1e6, asked, answered));
    let info = match connected.link.info().await {
        Ok(info) => info,
        Err(error) if refusal(&error).is_some_and(|refusal| refusal.state().is_none()) => {
            let facts = Facts { clock, ..Facts::default() };
            return Ok((facts, "unknown: the user may not ask for INFO".to_owned()));
        }
        Err(error) => return Err(work_error(request.endpoint, "ask for the server's facts", &error)),
    };
    let text = |key: &str| info.get::<String>(key);
    let (product, version) = match text("valkey_version") {
        Some(version) => (Product::Valkey, version),
        None => (Product::Redis, text("redis_version").unwrap_or_else(|| "of unknown version".into())),
    };
    let facts = Facts {
        product: Some(product),
        policy: text("maxmemory_policy"),
        memory: (info.get("used_memory").unwrap_or(0), info.get("maxmemory").unwrap_or(0)),
        is_replica: text("role").is_some_and(|role| role == "slave"),
        is_sentinel: ["redis_mode", "server_mode"]
            .into_iter()
            .any(|key| text(key).is_some_and(|mode| mode == "sentinel")),
        is_snapshot_failing: text("rdb_last_bgsave_status").is_some_and(|status| status == "err"),
        clients: info.get("connected_clients").zip(info.get("maxclients")),
        version,
        clock,
    };
    let kind = match (facts.is_sentinel, connected.link.is_cluster(), facts.is_replica) {
        (true, ..) => ", sentinel",
        (_, true, _) => ", cluster",
        (_, _, true) => ", replica",
        _ => ", primary",
    };
    let clients = facts.clients.map_or_else(String::new, |(used, most)| format!(", {used} of {most} clients"));
    let name = if product == Product::Valkey { "Valkey" } else { "Redis" };
    let words = format!("{name} {}{kind}{clients}", facts.version);
    Ok((facts, words))
}

/// Says what is to be said of the facts; none: there is nothing more to try.
pub fn judge(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts) -> Option<()> {
    let origin = &request.endpoint.origin;
    if facts.is_sentinel {
        let error = Error::new(Code::Sentinel, "a sentinel, which keeps no keys")
            .why(format!("it watches servers and tells who the primary is ({origin})"))
            .hint("SENTINEL MASTERS there shows the server's address: put that into the URL");
        stages.fail("server", error);
        return None;
    }
    if let Some(product) = facts.product {
        stages.version(product, &facts.version);
    }
    if let Some((server, asked, answered)) = facts.clock {
        stages.clock(server, asked, answered);
    }
    if facts.is_replica {
        let error = Error::new(Code::ConnectReadOnly, "a replica: it takes no writes")
            .why(format!("migrations, seeds and resets write ({origin})"))
            .hint("name the primary in the URL: INFO replication shows master_host and master_port");
        stages.fail("server", error);
        return None;
    }
    if let Some((used, most)) = facts.clients
        && most > 0
        && used * 5 >= most * 4
    {
        let what = format!("{used} of {most} clients are taken");
        stages.warn(
            "server",
            Code::ConnectBusy,
            what,
            "let the application share its connections, or raise maxclients",
        );
    }
    memory(stages, facts);
    if facts.is_snapshot_failing {
        let what = "the last snapshot could not be written: writes are refused as soon as it is due again";
        stages.warn("server", Code::StoreDisk, what, "free space on the server's disk, or mend `dir`, then BGSAVE");
    }
    Some(())
}

fn memory(stages: &mut Stages<'_>, facts: &Facts) {
    // Without a limit nothing is evicted, and keys without a TTL are safe from the volatile policies.
    let (used, limit) = facts.memory;
    let Some(policy) = facts.policy.as_ref().filter(|_| limit > 0) else { return };
    if policy.starts_with("allkeys") {
        stages.warn(
            "server",
            Code::Eviction,
            format!("maxmemory-policy {policy}: when memory runs out any key may go, queues and locks too"),
            "CONFIG SET maxmemory-policy noeviction, or a volatile one; keep caches in a Redis of their own",
        );
    } else if used < limit && used.saturating_mul(10) >= limit.saturating_mul(9) {
        let percent = used.saturating_mul(100) / limit;
        stages.warn(
            "server",
            Code::StoreMemory,
            format!("{percent} % of maxmemory is in use, and nothing without a TTL may be evicted"),
            "raise maxmemory, or delete keys, before writes are refused",
        );
    }
}
