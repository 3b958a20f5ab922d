//! A tenant's keys, handed out, taken in and removed: those below its prefix, and those of declared key spaces that say whose
//! they are. One walk over the project's keys tells them apart; names are sorted outside memory.

mod value;

use std::collections::{BTreeMap, BTreeSet};

use redis::{Cmd, Value};
use serde_json::{Value as Json, json};

use super::super::RedisStore;
use super::super::keys::Keys;
use super::super::ledger::{Books, Trouble};
use super::super::link::{Link, all_of, each_in_order};
use super::acl;
use crate::config::file::TenancyModel;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::bundle::lines::each;
use crate::engine::tenant::bundle::sort::{Sorted, Sorter};
use crate::engine::tenant::bundle::spaces::{Carrier, Matcher, Space, spaces};
use crate::error::{Code, Error, Result};
use crate::report::plural;
use crate::stores::tenant::Terms;
use crate::stores::tenant_bundle::{BundleStore, Part, Scope, Sink, Survey, Wanted};

/// The part of the keys below the tenant's prefix. No key space has this name: theirs stand behind `keyspace `.
const OWN: &str = "keys";
/// So many keys are read or written at once.
const BATCH: usize = 200;
/// What the part of a key space begins with.
const SPACE: &str = "keyspace ";

/// What one walk sorts into.
struct Walk<'a> {
    own: Vec<u8>,
    ledger: Keys,
    prefix: Vec<u8>,
    project: Keys,
    made: BTreeSet<String>,
    spaces: &'a [Space],
    matchers: Vec<Option<Matcher>>,
    tenant: &'a Tenant,
    is_strict: bool,
    sorters: BTreeMap<String, Sorter>,
    odd: BTreeMap<String, (u64, String)>,
}

impl Walk<'_> {
    /// Sorts a batch. Answers keys whose hash has to be asked, with the number of their space.
    fn sort(&mut self, found: Vec<Vec<u8>>) -> Result<Vec<(usize, Vec<u8>)>> {
        let mut asked = Vec::new();
        for key in found {
            if key.starts_with(&self.own) {
                if !self.ledger.is_own(&key) {
                    let rest = key[self.own.len()..].to_vec();
                    self.sorters.entry(OWN.to_owned()).or_default().push(rest)?;
                }
                continue;
            }
            if self.project.is_own(&key) {
                continue;
            }
            let rest = &key[self.prefix.len()..];
            if super::verify::slug_of(rest).is_some() {
                continue;
            }
            let name = String::from_utf8_lossy(rest).into_owned();
            if self.made.contains(&name) {
                continue;
            }
            let Some(at) = self.spaces.iter().position(|space| space.fits(&name)) else {
                self.odd(&name, "no key space of [redis.keyspaces] fits");
                continue;
            };
            match (&self.spaces[at].carrier, &self.matchers[at]) {
                (Carrier::Field(_), _) => asked.push((at, key)),
                (Carrier::Placeholder(_), Some(matcher)) => {
                    if matcher.place(&name).is_some() {
                        self.take(at, rest.to_vec())?;
                    }
                }
                (Carrier::Unsaid, _) => {
                    let why = format!("[redis.keyspaces.{}] does not say `tenant`", self.spaces[at].name);
                    self.odd(&self.spaces[at].pattern.clone(), &why);
                }
                (Carrier::Nobody | Carrier::Placeholder(_), _) => {}
            }
        }
        Ok(asked)
    }

    fn take(&mut self, at: usize, rest: Vec<u8>) -> Result<()> {
        self.sorters.entry(format!("{SPACE}{}", self.spaces[at].name)).or_default().push(rest)
    }

    /// Counts what nobody says whose it is, by what stands before its first colon.
    fn odd(&mut self, name: &str, why: &str) {
        if self.is_strict {
            let group = name.split_once(':').map_or_else(|| name.to_owned(), |(first, _)| format!("{first}:*"));
            self.odd.entry(group).or_insert_with(|| (0, why.to_owned())).0 += 1;
        }
    }
}

impl RedisStore {
    async fn walk(&mut self, scope: Scope<'_>) -> Result<Survey> {
        let keys = self.books.keys.clone();
        let all = spaces(&self.section, &scope.terms.tenancy)?;
        let matchers = all.iter().map(|space| space.matcher(scope.tenant)).collect::<Result<Vec<_>>>()?;
        let endpoint = self.endpoint.clone();
        let made = self.books.owned().await.map_err(Self::failed(&endpoint, "read what migrations made"))?;
        let own = acl::prefix(&keys, scope.tenant);
        let mut walk = Walk {
            ledger: Keys::new(&own, keys.is_cluster()),
            own: own.into_bytes(),
            prefix: keys.prefix.clone().into_bytes(),
            project: keys.clone(),
            made: made.into_iter().filter(|(kind, _)| kind == "key").map(|(_, name)| name).collect(),
            spaces: &all,
            matchers,
            tenant: scope.tenant,
            is_strict: scope.terms.model() == TenancyModel::Row,
            sorters: BTreeMap::new(),
            odd: BTreeMap::new(),
        };
        let mut books = Books { keys, link: self.books.link.clone() };
        let walked = books.scan(async |link: &mut Link, found: Vec<Vec<u8>>| {
            let asked = walk.sort(found)?;
            let commands: Vec<Cmd> = asked
                .iter()
                .map(|(at, key)| {
                    let mut get = redis::cmd("HGET");
                    let field = if let Carrier::Field(field) = &walk.spaces[*at].carrier { field } else { "" };
                    get.arg(key).arg(field);
                    get
                })
                .collect();
            let replies = all_of(link, commands).await?;
            for ((at, key), reply) in asked.into_iter().zip(replies) {
                if matches!(reply, Value::BulkString(bytes) if bytes == walk.tenant.key().as_bytes()) {
                    let rest = key[walk.prefix.len()..].to_vec();
                    walk.take(at, rest)?;
                }
            }
            Ok::<(), Trouble>(())
        });
        walked.await.map_err(Self::troubled(&endpoint, "look for a tenant's keys"))?;
        let mut survey = Survey::default();
        for (group, (count, why)) in walk.odd {
            let count = plural(usize::try_from(count).unwrap_or(usize::MAX), "key");
            survey.unclassified.push(format!("{count} `{}{group}`: {why}", self.books.keys.prefix));
        }
        for (name, sorter) in walk.sorters {
            let keys = sorter.finish()?;
            survey.parts.push(Part { name, rows: keys.count(), keys: Some(keys), ..Part::default() });
        }
        Ok(survey)
    }

    /// What stands before a key of a part.
    fn before(&self, scope: Scope<'_>, part: &str) -> String {
        if part == OWN { acl::prefix(&self.books.keys, scope.tenant) } else { self.books.keys.prefix.clone() }
    }

    /// Reads a batch of keys: a line each; those that went away meanwhile have none.
    async fn lines(&mut self, before: &str, names: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "read a tenant's keys");
        let whole: Vec<Vec<u8>> = names.iter().map(|name| [before.as_bytes(), name].concat()).collect();
        let first = whole.iter().flat_map(|key| {
            ["TYPE", "PEXPIRETIME"].map(|name| {
                let mut command = redis::cmd(name);
                command.arg(key);
                command
            })
        });
        let about = match all_of(&mut self.books.link, first.collect()).await {
            Ok(about) => about,
            // Before 7.0 a server knows the time left only: the moment is worked out there, where both are read at once.
            Err(error)
                if error.kind() != redis::ErrorKind::Io
                    && error.detail().is_some_and(|text| text.contains("unknown")) =>
            {
                self.about(&whole).await.map_err(&failed)?
            }
            Err(error) => return Err(failed(error)),
        };
        let (mut commands, mut counts) = (Vec::new(), Vec::new());
        for (key, about) in whole.iter().zip(about.chunks(2)) {
            let kind = match &about[0] {
                Value::SimpleString(kind) => kind.clone(),
                Value::BulkString(kind) => String::from_utf8_lossy(kind).into_owned(),
                _ => "none".to_owned(),
            };
            if kind == "none" {
                counts.push((kind, 0));
                continue;
            }
            let reads = value::reading(&kind, key).ok_or_else(|| {
                let shown = crate::engine::tenant::shown(&String::from_utf8_lossy(key));
                Error::new(Code::TenantUnclassified, format!("key `{shown}` is of a type that a bundle does not carry"))
                    .why(format!("its type is `{kind}`"))
                    .data("nothing was changed")
            })?;
            counts.push((kind, reads.len()));
            commands.extend(reads);
        }
        let mut replies = all_of(&mut self.books.link, commands).await.map_err(&failed)?.into_iter();
        let mut values = Vec::with_capacity(names.len());
        for (kind, count) in &counts {
            let own: Vec<Value> = replies.by_ref().take(*count).collect();
            values.push(if kind == "none" { None } else { value::value(kind, own)? });
        }
        self.add_moments(&whole, &counts, &mut values).await?;
        let mut lines = Vec::with_capacity(names.len());
        for (((name, about), (kind, _)), value) in names.iter().zip(about.chunks(2)).zip(counts).zip(values) {
            let Some(value) = value else { continue };
            let expires = match about[1] {
                Value::Int(moment) if moment >= 0 => Json::from(moment),
                _ => Json::Null,
            };
            let line = json!({ "key": value::text(name), "type": kind, "expires": expires, "value": value });
            lines.push(line.to_string().into_bytes());
        }
        Ok(lines)
    }

    /// Adds to the fields of hashes the moments at which they expire, where the server knows such.
    async fn add_moments(
        &mut self,
        keys: &[Vec<u8>],
        kinds: &[(String, usize)],
        values: &mut [Option<Json>],
    ) -> Result<()> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "read when fields expire");
        let hashes: Vec<usize> = (0..keys.len()).filter(|at| kinds[*at].0 == "hash" && values[*at].is_some()).collect();
        if hashes.is_empty() || !self.knows_moments().await? {
            return Ok(());
        }
        let mut commands = Vec::new();
        for at in &hashes {
            let fields = values[*at].as_ref().and_then(Json::as_array).into_iter().flatten();
            let fields = fields.map(|pair| value::bytes(&pair[0])).collect::<Result<Vec<_>>>()?;
            let mut ask = redis::cmd("HPEXPIRETIME");
            ask.arg(&keys[*at]).arg("FIELDS").arg(fields.len()).arg(fields);
            commands.push(ask);
        }
        let replies = all_of(&mut self.books.link, commands).await.map_err(&failed)?;
        for (at, reply) in hashes.into_iter().zip(replies) {
            let Value::Array(moments) = reply else { continue };
            let Some(pairs) = values[at].as_mut().and_then(Json::as_array_mut) else { continue };
            for (pair, moment) in pairs.iter_mut().zip(moments) {
                if let (Value::Int(moment @ 0..), Some(pair)) = (moment, pair.as_array_mut()) {
                    pair.push(Json::from(moment));
                }
            }
        }
        Ok(())
    }

    /// Whether fields of hashes can expire by themselves.
    async fn knows_moments(&mut self) -> Result<bool> {
        let mut ask = redis::cmd("COMMAND");
        ask.arg("INFO").arg("hpexpiretime");
        let reply: Vec<Value> = ask
            .query_async(&mut self.books.link)
            .await
            .map_err(Self::failed(&self.endpoint, "ask what the server knows"))?;
        Ok(reply.first().is_some_and(|reply| *reply != Value::Nil))
    }

    /// Below the tenant's prefix nobody else has keys; in a key space of all the same name may be another's.
    async fn refuse_taken(&mut self, before: &str, lines: &[Json]) -> Result<()> {
        let mut keys = Vec::with_capacity(lines.len());
        for line in lines {
            keys.push([before.as_bytes(), &value::bytes(&line["key"])?].concat());
        }
        let exist = keys.iter().map(|key| {
            let mut exists = redis::cmd("EXISTS");
            exists.arg(key);
            exists
        });
        let replies = all_of(&mut self.books.link, exist.collect()).await;
        let replies = replies.map_err(Self::failed(&self.endpoint, "look for keys of others"))?;
        match keys.iter().zip(replies).find(|(_, reply)| *reply != Value::Int(0)) {
            None => Ok(()),
            Some((key, _)) => {
                let shown = crate::engine::tenant::shown(&String::from_utf8_lossy(key));
                Err(Error::new(Code::TenantClash, format!("the key `{shown}` is there already, and another's"))
                    .why("its name does not tell the tenant, and the bundle has one of the same name")
                    .hint("remove it where it is not needed, or import with `--ids map`, which leaves such keys out"))
            }
        }
    }

    /// Whoever wrote the bundle: keys of another tenant, and lyrox's own, do not come in with it.
    fn refuse_foreign(&self, scope: Scope<'_>, part: &str, lines: &[Json]) -> Result<()> {
        let all = spaces(&self.section, &scope.terms.tenancy)?;
        let own = acl::prefix(&self.books.keys, scope.tenant);
        let ledger = Keys::new(&own, self.books.keys.is_cluster());
        let space = all.iter().find(|space| part.strip_prefix(SPACE) == Some(space.name.as_str()));
        let matcher = space.map(|space| space.matcher(scope.tenant)).transpose()?.flatten();
        for line in lines {
            let name = value::bytes(&line["key"])?;
            let is_own = match space {
                None => part == OWN && !ledger.is_own(&[own.as_bytes(), &name].concat()),
                Some(space) => {
                    let key = [self.books.keys.prefix.as_bytes(), &name].concat();
                    let text = String::from_utf8_lossy(&name).into_owned();
                    let is_free = !self.books.keys.is_own(&key) && super::verify::slug_of(&name).is_none();
                    is_free
                        && space.fits(&text)
                        && match (&space.carrier, &matcher) {
                            (Carrier::Placeholder(_), Some(matcher)) => matcher.place(&text).is_some(),
                            (Carrier::Field(field), _) => {
                                let pairs = line["value"].as_array().filter(|_| line["type"] == "hash");
                                let is_it = |pair: &Json| pair[0] == field.as_str() && pair[1] == scope.tenant.key();
                                pairs.is_some_and(|pairs| pairs.iter().any(is_it))
                            }
                            _ => false,
                        }
                }
            };
            if !is_own {
                let shown = crate::engine::tenant::shown(&String::from_utf8_lossy(&name));
                return Err(Error::new(Code::Bundle, format!("the key `{shown}` of `{part}` is not the tenant's"))
                    .why("its name and its fields do not tell this tenant, or it is lyrox's own"));
            }
        }
        Ok(())
    }

    async fn about(&mut self, keys: &[Vec<u8>]) -> redis::RedisResult<Vec<Value>> {
        const SCRIPT: &str = "local left = redis.call('PTTL', KEYS[1]); if left < 0 then return left end; \
            local now = redis.call('TIME'); return now[1] * 1000 + math.floor(now[2] / 1000) + left";
        let commands = keys.iter().flat_map(|key| {
            let (mut kind, mut moment) = (redis::cmd("TYPE"), redis::cmd("EVAL"));
            kind.arg(key);
            moment.arg(SCRIPT).arg(1).arg(key);
            [kind, moment]
        });
        all_of(&mut self.books.link, commands.collect()).await
    }
}

impl BundleStore for RedisStore {
    async fn begin_reading(&mut self, scope: Scope<'_>, wanted: Option<&[Wanted]>) -> Result<Survey> {
        let mut survey = self.walk(scope).await?;
        for (name, _) in wanted.into_iter().flatten().filter(|(name, _)| name != OWN) {
            if !self.section.keyspaces.contains_key(name.trim_start_matches(SPACE)) {
                return Err(Error::new(Code::Bundle, format!("there is no {name} here"))
                    .why("the bundle has keys of it, and [redis.keyspaces] does not declare it")
                    .data("nothing was changed")
                    .hint("declare it as in the other installation's lyrox.toml"));
            }
        }
        // What is to be filled is there by its name, though it has no key yet.
        for (name, _) in wanted.into_iter().flatten() {
            if !survey.parts.iter().any(|part| part.name == *name) {
                survey.parts.push(Part { name: name.clone(), ..Part::default() });
            }
        }
        survey.parts.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(survey)
    }

    async fn read_part(&mut self, scope: Scope<'_>, part: &mut Part, sink: Sink<'_>) -> Result<()> {
        let before = self.before(scope, &part.name);
        let Some(keys) = part.keys.as_mut() else { return Ok(()) };
        keys.rewind()?;
        loop {
            let names = keys.take(BATCH)?;
            if names.is_empty() {
                return Ok(());
            }
            for line in self.lines(&before, &names).await? {
                sink(&line)?;
            }
        }
    }

    async fn end_reading(&mut self) -> Result<()> {
        Ok(())
    }

    async fn clear_tenant(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "remove a tenant's keys");
        // The walk is done anew: what was surveyed may be older than the last write.
        let _ = parts;
        for part in self.walk(scope).await?.parts {
            let before = self.before(scope, &part.name);
            let mut keys: Sorted = part.keys.ok_or_else(|| Error::bug("keys without names"))?;
            loop {
                let names = keys.take(1000)?;
                if names.is_empty() {
                    break;
                }
                let whole: Vec<Vec<u8>> = names.iter().map(|name| [before.as_bytes(), name].concat()).collect();
                super::super::wipe::unlink(&mut self.books.link, &whole).await.map_err(&failed)?;
            }
        }
        Ok(())
    }

    async fn begin_filling(&mut self, _scope: Scope<'_>, _parts: &[Part]) -> Result<()> {
        Ok(())
    }

    async fn fill_part(&mut self, scope: Scope<'_>, _at: usize, part: &Part, lines: &[u8]) -> Result<()> {
        let before = self.before(scope, &part.name);
        let endpoint = self.endpoint.clone();
        let mut texts = Vec::new();
        each(lines, |line| {
            texts.push(serde_json::from_slice::<Json>(line).map_err(|error| value::bad(&error.to_string()))?);
            Ok(())
        })?;
        self.refuse_foreign(scope, &part.name, &texts)?;
        for some in texts.chunks(BATCH) {
            if part.name != OWN {
                self.refuse_taken(&before, some).await?;
            }
            let mut keys = Vec::with_capacity(some.len());
            for line in some {
                let key = [before.as_bytes(), &value::bytes(&line["key"])?].concat();
                let kind = line["type"].as_str().unwrap_or_default();
                keys.push(value::writing(&key, kind, &line["value"], line["expires"].as_i64())?);
            }
            each_in_order(&mut self.books.link, keys).await.map_err(|error| {
                match super::super::error::refusal(&error) {
                    Some(refusal) => Error::new(Code::TenantFailed, format!("keys of `{}` are refused", part.name))
                        .why(refusal.shown()),
                    None => Self::failed(&endpoint, "write a tenant's keys")(error),
                }
            })?;
        }
        Ok(())
    }

    async fn end_filling(&mut self, _scope: Scope<'_>, _parts: &[Part]) -> Result<()> {
        Ok(())
    }

    async fn shut_out(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "shut a tenant's user out");
        let is_ours = self.has_own_user(tenant).await.map_err(&failed)?;
        if terms.tenancy.users && is_ours {
            // Deleting a user ends its connections.
            let mut drop = redis::cmd("ACL");
            drop.arg("DELUSER").arg(acl::user(tenant));
            self.books.link.everywhere(&drop).await.map_err(&failed)?;
        }
        Ok(())
    }

    async fn now_ms(&mut self) -> Result<Option<i64>> {
        let asked = redis::cmd("TIME").query_async::<(i64, i64)>(&mut self.books.link).await;
        let (seconds, micros) = asked.map_err(Self::failed(&self.endpoint, "ask for the time"))?;
        Ok(Some(seconds * 1000 + micros / 1000))
    }

    async fn traces(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<String>> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "look for what is left of a tenant");
        let mut left = Vec::new();
        if terms.tenancy.users && self.has_own_user(tenant).await.map_err(failed)? {
            left.push(format!("user {}", acl::user(tenant)));
        }
        // Its ledger and whatever else is below its prefix, lyrox's own included.
        let own = acl::prefix(&self.books.keys, tenant);
        let mut books = Books { keys: Keys::new(&own, self.books.keys.is_cluster()), link: self.books.link.clone() };
        let mut count = 0;
        let counted = books.scan(async |_: &mut Link, found: Vec<Vec<u8>>| {
            count += found.len();
            Ok::<(), Trouble>(())
        });
        counted.await.map_err(Self::troubled(&endpoint, "look for what is left of a tenant"))?;
        if count > 0 {
            left.push(format!("{} below {own}", plural(count, "key")));
        }
        Ok(left)
    }
}
