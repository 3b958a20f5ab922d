//! Tenants in Redis: a key prefix with a hash tag, an ACL user that reaches nothing else, and the registry or its copy
//! (hash `tenants` among lyrox's own keys). Everything for many tenants is one pipeline.

pub mod acl;
mod bundle;
mod reach;
mod verify;

use std::collections::{BTreeMap, BTreeSet};

use redis::{RedisResult, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::RedisStore;
use super::error::refusal;
use super::keys::Keys;
use super::link::Link;
use crate::config::file::TenancyModel;
use crate::config::{Config, Target};
use crate::engine::tenant::{Record, Tenant, Which};
use crate::error::{Code, Error, Result};
use crate::stores::Store as _;
use crate::stores::tenant::{Clash, Made, Place, TenantStore, Terms};
use crate::stores::tenant_run::Enter;

/// A record as the hash holds it, by key.
#[derive(Serialize, Deserialize)]
struct Stored {
    slug: String,
    model: String,
    state: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    shard: String,
    version: Option<String>,
    head: Option<String>,
    #[serde(default)]
    adopted: bool,
    created_ms: i64,
    updated_ms: i64,
    error: Option<String>,
}

/// A user by a tenant's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    /// Wherever it is, its rules are those of this project's tenant.
    is_ours: bool,
    /// No master lacks it.
    is_everywhere: bool,
}

impl Enter for RedisStore {
    async fn enter(&mut self, config: &Config, target: &Target) -> Result<()> {
        if self.endpoint.url.expose() != target.direct.url.expose() {
            let before = std::mem::replace(self, Self::open(config, target).await?);
            before.close().await;
            return Ok(());
        }
        self.books.keys = Keys::new(&target.namespace, self.connected.link.is_cluster());
        self.section = config.settings.redis.clone().unwrap_or_default();
        Ok(())
    }
}

impl RedisStore {
    fn tenants_key(&self) -> String {
        self.books.keys.tenants()
    }

    async fn all_records(&mut self) -> Result<Vec<Record>> {
        let key = self.tenants_key();
        let asked = redis::cmd("HGETALL").arg(&key).query_async(&mut self.books.link).await;
        let found: BTreeMap<String, String> =
            asked.map_err(Self::failed(&self.endpoint, "read the registry of tenants"))?;
        found.iter().map(|(key, json)| read(key, json)).collect()
    }

    /// The users of these tenants' names, as all masters have them; none: on no master.
    async fn users_named(&mut self, tenants: &[Tenant]) -> RedisResult<Vec<Option<User>>> {
        let keys = self.books.keys.clone();
        let mut pipe = redis::pipe();
        for tenant in tenants {
            pipe.cmd("ACL").arg("GETUSER").arg(acl::user(tenant));
        }
        let mut users: Vec<Option<User>> = vec![None; tenants.len()];
        for (number, (_, replies)) in self.books.link.pipeline_each(&pipe, tenants.len()).await?.into_iter().enumerate()
        {
            for ((tenant, user), reply) in tenants.iter().zip(&mut users).zip(replies) {
                match (reply?, user) {
                    (Value::Nil, Some(user)) => user.is_everywhere = false,
                    (Value::Nil, None) => {}
                    (reply, user) => {
                        let is_ours = holds(&reply, &format!("~{}", acl::pattern(&keys, tenant)));
                        let known = user.get_or_insert(User { is_ours: true, is_everywhere: number == 0 });
                        known.is_ours &= is_ours;
                    }
                }
            }
        }
        Ok(users)
    }

    /// Whether a tenant's own user is on any master: a run that was cut short between two of them leaves it on one.
    async fn has_own_user(&mut self, tenant: &Tenant) -> RedisResult<bool> {
        let users = self.users_named(std::slice::from_ref(tenant)).await?;
        Ok(users.into_iter().flatten().any(|user| user.is_ours))
    }

    /// The slugs of tenants that a reset leaves alone: those that have a place of their own.
    pub(super) async fn tenants_that_stay(&mut self) -> Result<BTreeSet<String>> {
        let records = self.all_records().await?;
        let own = records.into_iter().filter(|record| record.model != TenancyModel::Row);
        let slugs: Vec<String> = own.map(|record| record.tenant.slug().to_owned()).collect();
        if slugs.is_empty() && !self.has_places {
            return Ok(BTreeSet::new());
        }
        let found = super::wipe::tenants(&mut self.books, slugs).await;
        found.map_err(Self::troubled(&self.endpoint, "look for the keys of tenants"))
    }

    /// Strikes out the tenants of shared tables, which a reset removes, and their users.
    pub(super) async fn forget_rows(&mut self) -> Result<()> {
        let mut records = self.all_records().await?;
        records.retain(|record| record.model == TenancyModel::Row);
        let tenants: Vec<Tenant> = records.into_iter().map(|record| record.tenant).collect();
        if tenants.is_empty() {
            return Ok(());
        }
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "take the users of tenants away");
        let ours = self.users_named(&tenants).await.map_err(&failed)?;
        let mut drop = redis::cmd("ACL");
        drop.arg("DELUSER");
        let gone: Vec<String> = tenants
            .iter()
            .zip(ours)
            .filter(|(_, user)| user.is_some_and(|user| user.is_ours))
            .map(|(tenant, _)| acl::user(tenant))
            .collect();
        if !gone.is_empty() {
            self.books.link.everywhere(drop.arg(&gone)).await.map_err(&failed)?;
            // A server that cannot save has nothing to forget.
            let _ = self.books.link.everywhere(redis::cmd("ACL").arg("SAVE")).await;
        }
        self.forget_tenants(&tenants).await
    }

    /// The optional subcommands that the server knows.
    async fn known_subcommands(&mut self) -> RedisResult<Vec<&'static str>> {
        let mut ask = redis::cmd("COMMAND");
        ask.arg("INFO").arg(acl::OPTIONAL.as_slice());
        let replies: Vec<Value> = ask.query_async(&mut self.books.link).await?;
        let known = acl::OPTIONAL.into_iter().zip(replies).filter(|(_, reply)| *reply != Value::Nil);
        Ok(known.map(|(name, _)| name).collect())
    }
}

impl TenantStore for RedisStore {
    async fn prepare_tenants(&mut self) -> Result<()> {
        Ok(())
    }

    async fn read_tenants(&mut self, which: &Which) -> Result<Vec<Record>> {
        let mut records = self.all_records().await?;
        match which {
            Which::All => {}
            Which::Of(tenants) => records.retain(|record| {
                let is_meant =
                    |tenant: &Tenant| tenant.key() == record.tenant.key() || tenant.slug() == record.tenant.slug();
                tenants.iter().any(is_meant)
            }),
            Which::Named(name) => {
                let has_key = records.iter().any(|record| record.tenant.key() == name);
                records.retain(|record| {
                    let tenant = &record.tenant;
                    if has_key { tenant.key() == name } else { tenant.slug() == name }
                });
            }
        }
        Ok(records)
    }

    async fn write_tenants(&mut self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let mut write = redis::cmd("HSET");
        write.arg(self.tenants_key());
        for record in records {
            let created = record.created_at.parse::<jiff::Timestamp>().map_or(now, jiff::Timestamp::as_millisecond);
            let stored = Stored {
                slug: record.tenant.slug().to_owned(),
                model: record.model.name().to_owned(),
                state: record.state.word().to_owned(),
                step: record.step.clone(),
                shard: record.shard.clone(),
                version: record.version.clone(),
                head: record.head.clone(),
                adopted: record.is_adopted,
                created_ms: created,
                updated_ms: now,
                error: record.error.clone(),
            };
            let json = serde_json::to_string(&stored).map_err(|error| Error::bug(format!("a record: {error}")))?;
            write.arg(record.tenant.key()).arg(json);
        }
        let written = write.exec_async(&mut self.books.link).await;
        written.map_err(Self::failed(&self.endpoint, "write the registry of tenants"))
    }

    async fn forget_tenants(&mut self, tenants: &[Tenant]) -> Result<()> {
        if tenants.is_empty() {
            return Ok(());
        }
        let mut strike = redis::cmd("HDEL");
        strike.arg(self.tenants_key());
        tenants.iter().for_each(|tenant| {
            strike.arg(tenant.key());
        });
        let struck = strike.exec_async(&mut self.books.link).await;
        struck.map_err(Self::failed(&self.endpoint, "write the registry of tenants"))
    }

    async fn tenant_clashes(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<Clash>> {
        if !terms.tenancy.users {
            return Ok(Vec::new());
        }
        let users = self.users_named(tenants).await.map_err(Self::failed(&self.endpoint, "look for users"))?;
        let clash = |(index, found): (usize, Option<User>)| {
            // One with exactly these rules was left by a reset: it is given to its tenant again.
            found.filter(|user| !user.is_ours).map(|_| Clash {
                index,
                why: format!("Redis' user `{}` is there, and was not made for this tenant", acl::user(&tenants[index])),
                is_unmanaged: false,
                key: None,
            })
        };
        Ok(users.into_iter().enumerate().filter_map(clash).collect())
    }

    async fn make_places(&mut self, places: &[Place], _terms: &Terms) -> Result<Made> {
        let (with, without): (Vec<usize>, Vec<usize>) =
            (0..places.len()).partition(|index| places[*index].password.is_some());
        let mut made = Made { done: without.into_iter().collect(), failed: Vec::new() };
        if with.is_empty() {
            return Ok(made);
        }
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "make the users of tenants");
        let optional = self.known_subcommands().await.map_err(&failed)?;
        let tenants: Vec<Tenant> = with.iter().map(|index| places[*index].tenant.clone()).collect();
        let there = self.users_named(&tenants).await.map_err(&failed)?;
        let keys = self.books.keys.clone();
        let mut pipe = redis::pipe();
        let mut asked = Vec::new();
        for (index, found) in with.into_iter().zip(there) {
            let place = &places[index];
            if found.is_some_and(|user| !user.is_ours) {
                let what =
                    format!("Redis' user `{}` is there, and was not made for this tenant", acl::user(&place.tenant));
                made.failed.push((index, Error::new(Code::TenantClash, what).data("nothing was changed in Redis")));
                continue;
            }
            // The server gets the digest: a MONITOR sees what is sent.
            let digest =
                place.password.as_ref().map(|password| hexadecimal(&Sha256::digest(password.expose().as_bytes())));
            pipe.cmd("ACL").arg("SETUSER").arg(acl::user(&place.tenant));
            for rule in acl::rules(&keys, &place.tenant, digest.as_deref(), &optional) {
                pipe.arg(rule);
            }
            asked.push(index);
        }
        if asked.is_empty() {
            return Ok(made);
        }
        match everywhere(&mut self.books.link, &pipe, asked.len()).await {
            Ok(()) => made.done.extend(asked),
            // One rule set for all: what is refused to one is refused to every one.
            Err(error) => {
                let Some(refusal) = refusal(&error) else { return Err(failed(error)) };
                for index in asked {
                    let what = format!("Redis refuses the user of tenant `{}`", places[index].tenant.shown());
                    let code = if refusal.word == "NOPERM" { Code::Privilege } else { Code::TenantFailed };
                    let error = Error::new(code, what)
                        .why(refusal.shown())
                        .data("Redis may have it all the same; run it again");
                    made.failed.push((index, error));
                }
            }
        }
        Ok(made)
    }

    async fn keep_places(&mut self, terms: &Terms) -> Result<Option<String>> {
        if !terms.tenancy.users {
            return Ok(None);
        }
        let mut save = redis::cmd("ACL");
        save.arg("SAVE");
        let first = match self.books.link.everywhere(&save).await {
            Ok(_) => return Ok(None),
            Err(error) => refusal(&error).ok_or_else(|| Self::failed(&self.endpoint, "save the users")(error))?,
        };
        let mut rewrite = redis::cmd("CONFIG");
        rewrite.arg("REWRITE");
        match self.books.link.everywhere(&rewrite).await {
            Ok(_) => Ok(None),
            Err(error) => match refusal(&error) {
                None => Err(Self::failed(&self.endpoint, "save the users")(error)),
                Some(second) => Ok(Some(format!(
                    "Redis cannot save its users, and has none of them after a restart: {}; {}. Give the server an `aclfile`, then: ACL SAVE",
                    first.text, second.text
                ))),
            },
        }
    }

    async fn take_places(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<()> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "take a tenant's place back");
        for tenant in tenants {
            let is_ours = self.has_own_user(tenant).await.map_err(&failed)?;
            if terms.tenancy.users && is_ours {
                let mut drop = redis::cmd("ACL");
                drop.arg("DELUSER").arg(acl::user(tenant));
                self.books.link.everywhere(&drop).await.map_err(&failed)?;
            }
            let prefix = acl::prefix(&self.books.keys, tenant);
            let mut books = super::ledger::Books {
                keys: super::keys::Keys::new(&prefix, self.books.keys.is_cluster()),
                link: self.books.link.clone(),
            };
            let removed = books.scan(async |link: &mut Link, found: Vec<Vec<u8>>| {
                super::wipe::unlink(link, &found).await?;
                Ok::<(), super::ledger::Trouble>(())
            });
            removed.await.map_err(Self::troubled(&self.endpoint, "take a tenant's keys back"))?;
        }
        // `FILE for KEY`: another tenant of the same key begins with all its seeds.
        let seeds = self.books.keys.seeds();
        let known = redis::cmd("HKEYS").arg(&seeds).query_async(&mut self.books.link).await;
        let known: Vec<String> = known.map_err(&failed)?;
        let is_of = |file: &&String| {
            file.split_once(" for ").is_some_and(|(_, key)| tenants.iter().any(|tenant| tenant.key() == key))
        };
        let gone: Vec<&String> = known.iter().filter(is_of).collect();
        if !gone.is_empty() {
            let struck = redis::cmd("HDEL").arg(&seeds).arg(&gone).exec_async(&mut self.books.link).await;
            struck.map_err(&failed)?;
        }
        self.forget_tenants(tenants).await
    }

    async fn look_at_tenant(&mut self, tenant: &Tenant, _terms: &Terms) -> Result<Vec<(&'static str, String)>> {
        let users = self.users_named(std::slice::from_ref(tenant)).await;
        let users = users.map_err(Self::failed(&self.endpoint, "look at a tenant's user"))?;
        let mut found = vec![("prefix", acl::prefix(&self.books.keys, tenant))];
        match users.first() {
            Some(Some(User { is_ours: true, .. })) => found.push(("user", acl::user(tenant))),
            Some(Some(_)) => found.push(("user", format!("{}, of another prefix", acl::user(tenant)))),
            _ => {}
        }
        Ok(found)
    }

    async fn unmanaged_tenants(&mut self, _terms: &Terms, _limit: usize) -> Result<Vec<String>> {
        // Keys without a record are found by `tenant verify`, which reads all of them.
        Ok(Vec::new())
    }
}

/// Sends a pipeline to the server, or to each master; the first that is refused anywhere is the error.
async fn everywhere(link: &mut Link, pipe: &redis::Pipeline, count: usize) -> RedisResult<()> {
    for (_, replies) in link.pipeline_each(pipe, count).await? {
        replies.into_iter().collect::<RedisResult<Vec<Value>>>()?;
    }
    Ok(())
}

/// Whether a reply of ACL GETUSER has a text among its patterns: as a text of its own, or among others after spaces.
fn holds(reply: &Value, wanted: &str) -> bool {
    match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).split(' ').any(|part| part == wanted),
        Value::SimpleString(text) => text.split(' ').any(|part| part == wanted),
        Value::Array(items) | Value::Set(items) => {
            items.iter().any(|item| holds(item, wanted) || holds(item, wanted.trim_start_matches('~')))
        }
        Value::Map(pairs) => {
            pairs.iter().any(|(_, value)| holds(value, wanted) || holds(value, wanted.trim_start_matches('~')))
        }
        _ => false,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(key: &str, json: &str) -> Result<Record> {
    let stored: Stored = serde_json::from_str(json).map_err(|_| {
        Error::new(Code::LedgerDamaged, "the registry of tenants in Redis is not as lyrox wrote it")
            .why(format!("its field `{}` holds something else", crate::engine::tenant::shown(key)))
            .data("nothing was changed")
    })?;
    let mut record = Record::read(key, &stored.slug, &stored.model, &stored.state)?;
    let time = |ms| jiff::Timestamp::from_millisecond(ms).map(|time| format!("{time:.3}")).unwrap_or_default();
    record.step = stored.step;
    record.shard = stored.shard;
    (record.version, record.head, record.error) = (stored.version, stored.head, stored.error);
    record.is_adopted = stored.adopted;
    (record.created_at, record.updated_at) = (time(stored.created_ms), time(stored.updated_ms));
    Ok(record)
}
