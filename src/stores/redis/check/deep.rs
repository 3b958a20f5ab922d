//! What `--deep` tries at Redis: a key that expires by itself, a script, a message, and every master of a cluster.

use redis::Value as Reply;

use crate::error::{Code, Error, Result};
use crate::stores::redis::error::refusal;
use crate::stores::redis::link::Link;
use crate::stores::stages::Request;

/// How long the key would live if lyrox were killed here, in milliseconds.
const LIFE: u32 = 10_000;

/// Writes a key, reads it, removes it; publishes to a channel that nobody listens to.
pub async fn write(request: &Request<'_>, link: &mut Link) -> Result<((), String)> {
    let prefix = &request.target.namespace;
    let name = format!("{prefix}lyrox:check:{}", uuid::Uuid::new_v4().simple());
    let failed = |what: &str, error: &redis::RedisError| {
        let found = refusal(error);
        let why = found.as_ref().map_or_else(|| "no answer".to_owned(), crate::stores::redis::error::Refusal::shown);
        let code = match &found {
            Some(refusal) if refusal.word == "NOPERM" => Code::Privilege,
            Some(refusal) => refusal.state().unwrap_or(Code::WriteProbe),
            None => Code::WriteProbe,
        };
        let advice = found.as_ref().and_then(crate::stores::redis::error::Refusal::advice);
        Error::new(code, format!("{what} was tried and failed"))
            .why(format!("{why} ({})", request.endpoint.origin))
            .data("nothing stays of it")
            .hint(advice.unwrap_or("look at the server's log"))
    };
    let mut set = redis::cmd("SET");
    set.arg(&name).arg(1).arg("PX").arg(LIFE).arg("NX");
    set.query_async::<Reply>(link).await.map_err(|error| failed("a write", &error))?;
    let read = redis::cmd("GET").arg(&name).query_async::<Option<String>>(link).await;
    let removed = redis::cmd("DEL").arg(&name).query_async::<i64>(link).await;
    let read = read.map_err(|error| failed("a read", &error))?;
    removed.map_err(|error| failed("a removal", &error))?;
    if read.as_deref() != Some("1") {
        return Err(Error::new(Code::WriteProbe, "what was written is not there")
            .why("the server took a key and did not find it again: another host answers, or it evicts at once")
            .data("nothing stays of it")
            .hint("look at maxmemory and maxmemory-policy, and at what stands between lyrox and the server"));
    }
    let publish = redis::cmd("PUBLISH").arg(&name).arg("").query_async::<i64>(link).await;
    publish.map_err(|error| failed("a message", &error))?;
    let masters =
        link.each_master(&redis::cmd("PING")).await.map_err(|error| failed("a ping of each master", &error))?;
    let masters = if link.is_cluster() { format!("; {} masters answer", masters.len()) } else { String::new() };
    Ok(((), format!("a key and a message; removed again{masters}")))
}
