//! Reaching a tenant: its keys, as its own user, or its ledger and what the rules of its user would allow.

use std::collections::BTreeMap;

use redis::Value;

use super::super::RedisStore;
use super::super::connect;
use super::super::error::{connect_error, refusal, work_error};
use super::super::keys::Keys;
use super::super::ledger::Entry;
use super::acl;
use crate::engine::ledger::State;
use crate::engine::tenant::plan::quoted;
use crate::error::{Code, Error, Result};
use crate::project::migration::Version;
use crate::stores::tenant_reach::{Aim, ReachStore, Reached, Way};

impl ReachStore for RedisStore {
    async fn reach_tenant(&mut self, aim: &Aim<'_>) -> Result<Option<Reached>> {
        let prefix = acl::prefix(&self.books.keys, aim.tenant);
        let probe = format!("{prefix}lyrox-check");
        if let Some(login) = aim.login {
            let mut connected = connect::connect(login, aim.target.ca_file.as_deref()).await?;
            let mut exists = redis::cmd("EXISTS");
            exists.arg(&probe);
            let asked: redis::RedisResult<Value> = exists.query_async(&mut connected.link).await;
            asked.map_err(|error| match refusal(&error) {
                Some(refusal) if refusal.word == "NOPERM" => {
                    refused(aim, "the user of the tenant may not read its own keys", &refusal.shown())
                }
                Some(_) => work_error(login, "look at the tenant's keys", &error),
                None => connect_error(login, &error),
            })?;
            return Ok(Some(Reached { way: Way::Login, applied: None }));
        }
        if !aim.has_ledger && !aim.terms.tenancy.users {
            return Ok(None);
        }
        let keys = Keys::new(&prefix, self.books.keys.is_cluster());
        let mut pipe = redis::pipe();
        pipe.ignore_errors().cmd("HGETALL").arg(keys.migrations());
        if aim.terms.tenancy.users {
            pipe.cmd("ACL").arg("DRYRUN").arg(acl::user(aim.tenant)).arg("GET").arg(&probe);
        }
        let failed = Self::failed(&self.endpoint, "look at a tenant's keys");
        let link = &mut self.books.link;
        let replies: Vec<redis::RedisResult<Value>> = if link.is_cluster() {
            // The slots of one pipeline are one node's; the rules are every node's.
            let mut replies = Vec::with_capacity(2);
            for command in pipe.cmd_iter() {
                replies.push(command.query_async(link).await);
            }
            replies
        } else {
            pipe.query_async(link).await.map_err(&failed)?
        };
        let mut replies = replies.into_iter();
        let rows = replies.next().unwrap_or(Ok(Value::Nil)).map_err(&failed)?;
        // A server before 7.0 does not know DRYRUN; whether the user is there was asked for all tenants at once.
        if let Some(Ok(answer)) = replies.next()
            && let Ok(words) = redis::from_redis_value::<String>(answer)
            && words != "OK"
        {
            return Err(refused(aim, "the user of the tenant may not read its own keys", &words));
        }
        let applied = aim.has_ledger.then(|| entries(rows)).transpose()?;
        Ok(Some(Reached { way: Way::Connection, applied }))
    }
}

fn entries(rows: Value) -> Result<Vec<(Version, String)>> {
    let damaged = || {
        Error::new(Code::LedgerDamaged, "the tenant's ledger in Redis is not as lyrox wrote it").hint("lyrox db repair")
    };
    let found: BTreeMap<String, String> = redis::from_redis_value(rows).map_err(|_| damaged())?;
    let mut applied = Vec::with_capacity(found.len());
    for (version, json) in found {
        let entry: Entry = serde_json::from_str(&json).map_err(|_| damaged())?;
        if entry.state == State::Applied {
            applied.push((Version::new(version.as_str()), entry.checksum));
        }
    }
    Ok(applied)
}

fn refused(aim: &Aim<'_>, what: &str, why: &str) -> Error {
    Error::new(Code::TenantAstray, what)
        .why(why)
        .hint(format!("lyrox tenant credentials {} gives it its rules again", quoted(aim.tenant.key())))
}
