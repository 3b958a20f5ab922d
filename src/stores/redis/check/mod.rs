//! The stages of a check of Redis: TLS and hello by hand, the rest through the driver.

mod deep;
mod facts;

use std::time::Instant;

use redis::{RedisError, Value as Reply};

use super::connect::connect;
use super::error::{refusal, work_error};
use super::link::Link;
use super::query;
use crate::error::{Code, Error, Result};
use crate::stores::probe::approach;
use crate::stores::probe::hello::{greet_others, greet_through};
use crate::stores::query::Options;
use crate::stores::stages::{Block, Request, Stages, limit};

/// Checks one URL.
pub async fn check(request: Request<'_>) -> Block {
    let mut stages = Stages::new(request.clone());
    // Early return is the rule here: a stage that failed has said so.
    let _ = all(&mut stages, &request).await;
    stages.finish()
}

async fn all(stages: &mut Stages<'_>, request: &Request<'_>) -> Option<()> {
    let endpoint = request.endpoint;
    let ca_file = request.target.ca_file.as_deref();
    let reached = approach(stages, endpoint).await?;
    let (first, others) = reached.split_first()?;
    greet_through(stages, endpoint, ca_file, first).await?;
    greet_others(stages, endpoint, ca_file, others).await;

    let words = stages.login_words();
    let login = async { Ok((connect(endpoint, ca_file).await?, words)) };
    let mut connected = stages.run("auth", limit::AUTH, login).await?;
    stages.run("database", limit::REST, database(request, &mut connected.link)).await?;
    stages.run("ping", limit::REST, ping(request, &mut connected.link)).await?;
    let facts = stages.run("server", limit::REST, facts::read(request, &mut connected)).await?;
    facts::judge(stages, request, &facts)?;
    let rights = rights(request, &mut connected.link);
    stages.run("privileges", limit::REST, rights).await?;
    excess(stages, request, &mut connected.link).await;
    if request.is_deep {
        stages.run("write", limit::REST, deep::write(request, &mut connected.link)).await?;
    }

    let options = Options {
        may_write: false,
        time: limit::REST,
        limit: 100,
        tenant: None,
        needs_all_rows: false,
        prefix: request.target.namespace.clone(),
        schema: String::new(),
    };
    for (index, expect) in request.expects.iter().enumerate() {
        let work = query::run(&mut connected.link, endpoint, &expect.query, &options);
        stages.expect(index, expect, work).await;
    }
    Some(())
}

async fn database(request: &Request<'_>, link: &mut Link) -> Result<((), String)> {
    let number = request.endpoint.url.database().unwrap_or("0");
    // Forbidden to some users; then the number of keys is unknown.
    let keys = redis::cmd("DBSIZE").query_async::<i64>(link).await;
    let keys = match keys {
        Ok(1) => ", 1 key".to_owned(),
        Ok(count) => format!(", {count} keys"),
        Err(error) if refusal(&error).is_some() => String::new(),
        Err(error) => return Err(work_error(request.endpoint, "count the keys", &error)),
    };
    Ok(((), format!("{number}{keys}, prefix {}", request.target.namespace)))
}

async fn ping(request: &Request<'_>, link: &mut Link) -> Result<((), String)> {
    let begun = Instant::now();
    redis::cmd("PING")
        .query_async::<Reply>(link)
        .await
        .map_err(|error| work_error(request.endpoint, "ping the server", &error))?;
    Ok(((), format!("{:.1} ms to and fro", begun.elapsed().as_secs_f64() * 1000.0)))
}

/// Whether the user may do everything to every key, on a server that others reach as well. `default` with a password is what
/// providers hand out, and some have no other; without one the whole network may come in.
async fn excess(stages: &mut Stages<'_>, request: &Request<'_>, link: &mut Link) {
    let url = &request.endpoint.url;
    if url.is_local() {
        return;
    }
    if url.password().is_none() && url.user().is_none() {
        stages.warn(
            "privileges",
            Code::AuthOpen,
            "the server asks for no login: whoever reaches it may read and write everything",
            "ACL SETUSER default resetpass >PASSWORD, or requirepass in its configuration",
        );
        return;
    }
    let Some(user) = url.user().filter(|user| !user.is_empty() && *user != "default") else { return };
    let mut ask = redis::cmd("ACL");
    ask.arg("GETUSER").arg(user);
    let asked = ask.query_async::<std::collections::HashMap<String, Reply>>(link);
    // Who may not ask has no right to administer, which is what this is about.
    let Ok(Ok(rules)) = tokio::time::timeout(limit::REST, asked).await else { return };
    let text = |key: &str| rules.get(key).map_or_else(String::new, |value| format!("{value:?}"));
    let has_all = |key: &str, flag: &str, rule: &str| text("flags").contains(flag) || text(key).contains(rule);
    if has_all("commands", "allcommands", "+@all")
        && has_all("keys", "allkeys", "~*")
        && !text("commands").contains("-@")
    {
        let prefix = &request.target.namespace;
        stages.warn(
            "privileges",
            Code::PrivilegeExcess,
            format!("`{user}` may do everything to every key, and run the server"),
            format!("ACL SETUSER {user} resetkeys resetchannels ~{prefix}* &{prefix}* +@all -@admin -@dangerous +info"),
        );
    }
}

/// Tries reading, writing and scripts on a key of the project that does not exist: nothing changes.
async fn rights(request: &Request<'_>, link: &mut Link) -> Result<((), String)> {
    let key = format!("{}lyrox:check:{}", request.target.namespace, uuid::Uuid::new_v4().simple());
    let mut tries =
        [("read", redis::cmd("GET")), ("write", redis::cmd("SETRANGE")), ("run scripts", redis::cmd("EVAL"))];
    tries[0].1.arg(&key);
    // Nothing written to a key that is not there makes no key, and counts as a command that could add something.
    tries[1].1.arg(&key).arg(0).arg("");
    tries[2].1.arg("return redis.call('EXISTS', KEYS[1])").arg(1).arg(&key);
    let mut refused = Vec::new();
    let mut why = None;
    for (what, command) in tries {
        let answer: std::result::Result<Reply, RedisError> = command.query_async(link).await;
        let Err(error) = answer else { continue };
        match refusal(&error) {
            Some(refusal) if refusal.word == "NOPERM" || refusal.text.contains("can't access") => {
                refused.push(what);
                why.get_or_insert(refusal.shown());
            }
            // Full, read-only, loading, its disk, its slots: nothing that the user's rights could mend.
            Some(refusal) => {
                if let Some(code) = refusal.state() {
                    return Err(Error::new(code, format!("the server refuses to {what}"))
                        .why(format!("{} ({})", refusal.shown(), request.endpoint.origin))
                        .hint(refusal.advice().unwrap_or("look at the server's log")));
                }
            }
            None => return Err(work_error(request.endpoint, "try what the user may do", &error)),
        }
    }
    let prefix = &request.target.namespace;
    if refused.is_empty() {
        return Ok(((), format!("read, write and scripts under {prefix}")));
    }
    let user = request.endpoint.url.user().unwrap_or("default");
    let what = format!("`{user}` may not {} under `{prefix}`", refused.join(", "));
    Err(Error::new(Code::Privilege, what)
        .why(why.unwrap_or_default())
        .hint(format!("ACL SETUSER {user} ~{prefix}* &{prefix}* +@all -@dangerous")))
}
