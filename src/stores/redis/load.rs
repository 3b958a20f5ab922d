//! Redis taking seeds: keys of declared key spaces, compared with what is there, written in one
//! MULTI/EXEC where all keys live on one server.

#[path = "load_bulk.rs"]
mod bulk;
#[path = "load_fill.rs"]
mod fill;
#[path = "load_value.rs"]
mod value;

use std::collections::{BTreeMap, HashMap};

use redis::{Cmd, Pipeline, Value, cmd};
use serde_json::{Value as Json, json};

use self::value::{Stored, Wish, text};
use super::RedisStore;
use super::error::{Refusal, refusal, work_error};
use super::script;
use crate::config::file::Keyspace;
use crate::config::{Period, Variables};
use crate::engine::event::Events;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::{self, Header};
use crate::project::seed::{Script, nearest};
use crate::stores::load::{
    Batch, BulkDone, BulkLoad, FieldShape, Fields, FillOrder, Filled, Found, Load, Loader, Probe, Record, RowDone,
    Shape, Terms, Written,
};

/// How many keys are read or written at once.
const BATCH: usize = 1000;

/// One run's writes.
pub struct RedisLoader<'a> {
    store: &'a mut RedisStore,
    terms: Terms,
    /// Keys that were looked at.
    found: HashMap<String, Stored>,
    /// What is to be written, in order, with the row it comes from.
    held: Vec<(Place, Cmd)>,
}

impl Load for RedisStore {
    type Loader<'a> = RedisLoader<'a>;

    async fn loader(&mut self, terms: &Terms) -> Result<RedisLoader<'_>> {
        Ok(RedisLoader { store: self, terms: terms.clone(), found: HashMap::new(), held: Vec::new() })
    }
}

/// The names in braces of a key's pattern.
fn placeholders(pattern: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = pattern;
    while let Some((_, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        if !name.is_empty() {
            names.push(name.to_owned());
        }
        rest = after;
    }
    names
}

/// Characters that mean something in a pattern of SCAN, made literal.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if "*?[]\\^".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}

impl RedisLoader<'_> {
    fn failed(&self, doing: &str, error: &redis::RedisError) -> Error {
        match refusal(error) {
            Some(refusal) if refusal.word != "NOPERM" => refused(format!("cannot {doing}"), &refusal),
            _ => work_error(self.store.endpoint(), doing, error),
        }
    }

    /// What the run's keys begin with: a tenant's lie below the project's prefix.
    fn prefix(&self) -> String {
        let tenant = self.terms.tenant.as_ref().map(crate::engine::tenant::Tenant::key_prefix);
        format!("{}{}", self.store.keys().prefix, tenant.unwrap_or_default())
    }

    fn keyspace(&self, shape: &Shape) -> Result<Keyspace> {
        self.terms.keyspaces.get(&shape.target).cloned().ok_or_else(|| Error::bug("a key space that is not declared"))
    }

    /// The key that a row's fields make.
    fn key(&self, keyspace: &Keyspace, fields: impl Fn(&str) -> Option<Json>) -> Option<String> {
        let mut key = self.prefix();
        let mut rest = keyspace.pattern.as_str();
        for name in placeholders(&keyspace.pattern) {
            let (before, after) = rest.split_once(&format!("{{{name}}}"))?;
            key.push_str(before);
            key.push_str(&text(&fields(&name)?));
            rest = after;
        }
        key.push_str(rest);
        Some(key)
    }

    async fn ask(&mut self, pipeline: &Pipeline) -> Result<Vec<Value>> {
        let mut link = self.store.connected().link.clone();
        if !link.is_cluster() {
            let values = pipeline.query_async(&mut link).await;
            return values.map_err(|error| self.failed("read keys", &error));
        }
        // Keys of several nodes do not go into one pipeline.
        let mut values = Vec::new();
        for command in pipeline.cmd_iter() {
            values.push(command.query_async(&mut link).await.map_err(|error| self.failed("read keys", &error))?);
        }
        Ok(values)
    }

    /// Reads keys: type, remaining life, value.
    async fn look_at(&mut self, keyspace: &Keyspace, keys: &[String]) -> Result<()> {
        for keys in keys.chunks(BATCH) {
            let mut first = redis::pipe();
            for key in keys {
                first.cmd("TYPE").arg(key).cmd("PTTL").arg(key);
            }
            let answers = self.ask(&first).await?;
            let mut there = Vec::new();
            for (key, answer) in keys.iter().zip(answers.chunks(2)) {
                let kind = answer.first().map(value::plain).unwrap_or_default();
                let life = match answer.get(1) {
                    Some(Value::Int(life)) => *life,
                    _ => -1,
                };
                if kind != "none" {
                    there.push((key.clone(), kind, life));
                }
            }
            let mut second = redis::pipe();
            let is_right = |kind: &str| kind == keyspace.kind.name();
            for (key, ..) in there.iter().filter(|(_, kind, _)| is_right(kind)) {
                second.add_command(value::read_command(keyspace.kind, key));
            }
            let mut values = if second.is_empty() { Vec::new() } else { self.ask(&second).await? }.into_iter();
            for (key, kind, life) in there {
                let value = if is_right(&kind) { values.next() } else { None };
                let value = value.map(|value| value::read(keyspace.kind, value));
                self.found.insert(key, Stored { kind, life, value });
            }
        }
        Ok(())
    }

    /// What a row wants: its key, what that is to hold, and for how long.
    fn wanted(&self, shape: &Shape, keyspace: &Keyspace, fields: &Fields) -> Result<(String, Wish, Option<Period>)> {
        let refuse = |what: String| Error::new(Code::SeedFile, what);
        let key = self
            .key(keyspace, |name| fields.get(name).cloned())
            .ok_or_else(|| refuse(format!("a row of `{}` lacks a part of `{}`", shape.target, keyspace.pattern)))?;
        let wanted = fields.get("value").ok_or_else(|| {
            refuse(format!("a row of `{}` has no value", shape.target)).hint(value::example(keyspace.kind))
        })?;
        let life = match fields.get("ttl") {
            None => keyspace.ttl,
            Some(Json::String(never)) if never == "never" => None,
            Some(given) => {
                let period: Result<Period, String> = text(given).parse();
                Some(period.map_err(|why| refuse("`ttl` is no length of time".into()).why(why))?)
            }
        };
        let wish = Wish::read(keyspace.kind, wanted).map_err(|why| refuse(why).hint(value::example(keyspace.kind)))?;
        Ok((key, wish, life))
    }

    /// Holds what makes a key as its row wants it; answers what that is, and which of value and life differ.
    fn write_row(&mut self, shape: &Shape, keyspace: &Keyspace, row: &Record) -> Result<(Written, Vec<String>)> {
        let wanted = self.wanted(shape, keyspace, &row.fields);
        let (key, wish, life) = wanted.map_err(|error| error.at(row.place.clone()).data("nothing was changed"))?;
        let stored = self.found.get(&key);
        if let Some(stored) = stored.filter(|stored| stored.kind != keyspace.kind.name()) {
            return Err(Error::new(Code::SeedFailed, format!("`{key}` holds a {}", stored.kind))
                .why(format!("key space `{}` is declared as {}", shape.target, keyspace.kind.name()))
                .at(row.place.clone())
                .hint("delete the key, or mend `type` in lyrox.toml"));
        }
        let commands = wish.commands(&key, stored, life.map(Period::millis));
        let written = match (stored, commands.is_empty()) {
            (None, _) => Written::Created,
            (Some(_), true) => Written::Unchanged,
            (Some(_), false) => Written::Updated,
        };
        let mut changed = Vec::new();
        if written == Written::Updated {
            let is_life =
                |command: &Cmd| matches!(command.args_iter().next(), Some(redis::Arg::Simple(b"PEXPIRE" | b"PERSIST")));
            if !commands.iter().all(is_life) {
                changed.push("value".to_owned());
            }
            if commands.iter().any(is_life) {
                changed.push("ttl".to_owned());
            }
        }
        self.held.extend(commands.into_iter().map(|command| (row.place.clone(), command)));
        Ok((written, changed))
    }

    /// Sends what is held; with `together`, as one MULTI/EXEC.
    async fn send(&mut self, together: bool) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() || self.terms.is_dry {
            return Ok(());
        }
        let mut link = self.store.connected().link.clone();
        if link.is_cluster() {
            for (place, command) in &held {
                let done: redis::RedisResult<Value> = command.query_async(&mut link).await;
                done.map_err(|error| self.failed("write a key", &error).at(place.clone()))?;
            }
            return Ok(());
        }
        let mut pipeline = redis::pipe();
        if together {
            pipeline.atomic();
        }
        pipeline.ignore_errors();
        for (_, command) in &held {
            pipeline.add_command(command.clone());
        }
        let replies: redis::RedisResult<Vec<redis::RedisResult<Value>>> = pipeline.query_async(&mut link).await;
        let replies = replies.map_err(|error| {
            self.failed("write keys", &error)
                .data_if_none("Redis may have some of the keys; running it again writes what is missing")
        })?;
        for ((place, _), reply) in held.iter().zip(replies) {
            if let Err(error) = reply {
                return Err(self
                    .failed("write a key", &error)
                    .at(place.clone())
                    .data("what Redis was sent with it is in effect: Redis does not undo a transaction"));
            }
        }
        Ok(())
    }

    async fn keys_of(&mut self, keyspace: &Keyspace) -> Result<Vec<String>> {
        let pattern = self.pattern(keyspace);
        let mut link = self.store.connected().link.clone();
        let mut keys = Vec::new();
        if link.is_cluster() {
            let mut all = cmd("KEYS");
            all.arg(&pattern);
            let replies = link.each_master(&all).await.map_err(|error| self.failed("list keys", &error))?;
            for (_, reply) in replies {
                keys.extend(redis::from_redis_value::<Vec<String>>(reply).unwrap_or_default());
            }
            return Ok(keys);
        }
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
            let (next, found): (u64, Vec<String>) =
                scan.query_async(&mut link).await.map_err(|error| self.failed("list keys", &error))?;
            keys.extend(found);
            cursor = next;
            if cursor == 0 {
                keys.sort();
                keys.dedup();
                return Ok(keys);
            }
        }
    }

    fn remembering(&self, file: &str, checksum: &str) -> Cmd {
        let mut set = cmd("HSET");
        set.arg(self.ledger_key()).arg(file).arg(checksum);
        set
    }

    fn ledger_key(&self) -> String {
        self.store.keys().seeds()
    }

    /// The commands of a script: one a line, quoted as in redis-cli.
    fn commands(&self, script: &Script) -> Result<Vec<(Place, Cmd)>> {
        let source = migration::Script {
            path: script.shown.clone(),
            text: script.text.clone(),
            checksum: script.checksum.clone(),
            header: Header::default(),
            includes: BTreeMap::new(),
            foreign: None,
        };
        let commands = script::read(&source, &self.prefix(), &Variables::default())?;
        let command = |command: &script::Command| {
            let mut sent = Cmd::new();
            for word in &command.words {
                sent.arg(word.as_slice());
            }
            (command.place(&source), sent)
        };
        Ok(commands.iter().map(command).collect())
    }
}

fn refused(what: String, refusal: &Refusal) -> Error {
    let error = Error::new(Code::SeedFailed, what).why(refusal.shown());
    match refusal.advice() {
        Some(advice) => error.hint(advice),
        None => error,
    }
}

impl Loader for RedisLoader<'_> {
    async fn describe(&mut self, targets: &[String]) -> Result<Vec<Shape>> {
        let shape = |target: &String| {
            let mut shape = Shape { target: target.clone(), ..Shape::default() };
            match self.terms.keyspaces.get(target) {
                None => {
                    shape.near = nearest(target, self.terms.keyspaces.keys().map(String::as_str)).map(str::to_owned)
                }
                Some(keyspace) => {
                    shape.exists = true;
                    shape.identity = placeholders(&keyspace.pattern);
                    let names = shape.identity.iter().cloned().chain(["value".to_owned(), "ttl".to_owned()]);
                    let takes_tables = true;
                    shape.fields =
                        Some(names.map(|name| FieldShape { name, takes_tables, ..FieldShape::default() }).collect());
                }
            }
            shape
        };
        Ok(targets.iter().map(shape).collect())
    }

    async fn find(
        &mut self,
        shape: &Shape,
        key: &[String],
        _: &[String],
        probes: &[Probe],
    ) -> Result<Vec<Option<Found>>> {
        let keyspace = self.keyspace(shape)?;
        let mut keys = Vec::with_capacity(probes.len());
        for probe in probes {
            let part = |name: &str| key.iter().position(|part| part == name).and_then(|at| probe.key.get(at).cloned());
            keys.push(self.key(&keyspace, part).ok_or_else(|| Error::bug("a key that lacks a part"))?);
        }
        self.look_at(&keyspace, &keys).await?;
        let found = keys.iter().map(|key| {
            let stored = self.found.get(key)?;
            let mut fields = Fields::new();
            fields.extend(stored.value.clone().map(|value| ("value".to_owned(), value)));
            Some(Found { fields, tenant: None })
        });
        Ok(found.collect())
    }

    /// The whole key, prefix included.
    fn identity(&self, shape: &Shape, fields: &Fields) -> Option<Json> {
        let keyspace = self.terms.keyspaces.get(&shape.target)?;
        self.key(keyspace, |name| fields.get(name).cloned()).map(|key| json!(key))
    }

    /// Keys are made of their parts: the server makes none.
    async fn reserve(&mut self, _: &Shape, _: usize) -> Result<Vec<Json>> {
        Ok(Vec::new())
    }

    async fn write(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Vec<RowDone>>> {
        let mut written = Vec::with_capacity(batches.len());
        for batch in batches {
            let keyspace = self.keyspace(batch.shape)?;
            let rows = batch.rows.iter().map(|row| {
                let (what, changed) = self.write_row(batch.shape, &keyspace, row)?;
                Ok(RowDone { what, changed })
            });
            written.push(rows.collect::<Result<Vec<_>>>()?);
        }
        Ok(written)
    }

    async fn remove_others(&mut self, shape: &Shape, key: &[String], keep: &[Probe]) -> Result<u64> {
        let keyspace = self.keyspace(shape)?;
        let mut kept = Vec::with_capacity(keep.len());
        for probe in keep {
            let part = |name: &str| key.iter().position(|part| part == name).and_then(|at| probe.key.get(at).cloned());
            kept.extend(self.key(&keyspace, part));
        }
        let mut others = self.keys_of(&keyspace).await?;
        let own = self.store.keys().clone();
        others.retain(|key| !kept.contains(key) && !own.is_own(key.as_bytes()));
        let place = keep.first().map_or_else(|| Place::file(""), |probe| probe.place.clone());
        for key in &others {
            let mut unlink = cmd("UNLINK");
            unlink.arg(key);
            self.held.push((place.clone(), unlink));
        }
        Ok(others.len() as u64)
    }

    async fn bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        self.load_bulk(load, events).await
    }

    async fn targets(&mut self) -> Result<u64> {
        Ok(self.terms.keyspaces.len() as u64)
    }

    async fn fill(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        self.fill_keyspaces(order, events).await
    }

    fn check_script(&self, script: &Script) -> Result<()> {
        self.commands(script).map(|_| ())
    }

    /// What is remembered goes with the commands: a run that is killed in between has done both or neither.
    async fn script(&mut self, script: &Script, name: &str) -> Result<()> {
        let before = self.applied(name).await?;
        self.held = self.commands(script)?;
        self.held.push((Place::file(&script.shown), self.remembering(name, &script.checksum)));
        let Err(error) = self.send(true).await else { return Ok(()) };
        if error.code() == Code::SeedFailed {
            // Redis goes on behind a command that it refuses: what failed is not remembered as applied.
            match before {
                Some(checksum) => self.remember(name, &checksum).await?,
                None => {
                    let mut forget = cmd("HDEL");
                    forget.arg(self.ledger_key()).arg(name);
                    let mut link = self.store.connected().link.clone();
                    let done: redis::RedisResult<Value> = forget.query_async(&mut link).await;
                    done.map_err(|error| self.failed("write the ledger of seeds", &error))?;
                }
            }
        }
        Err(error)
    }

    async fn applied(&mut self, file: &str) -> Result<Option<String>> {
        let mut get = cmd("HGET");
        get.arg(self.ledger_key()).arg(file);
        let mut link = self.store.connected().link.clone();
        get.query_async(&mut link).await.map_err(|error| self.failed("read the ledger of seeds", &error))
    }

    async fn remember(&mut self, file: &str, checksum: &str) -> Result<()> {
        let set = self.remembering(file, checksum);
        let mut link = self.store.connected().link.clone();
        let done: redis::RedisResult<Value> = set.query_async(&mut link).await;
        done.map(|_| ()).map_err(|error| self.failed("write the ledger of seeds", &error))
    }

    async fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.found.clear();
        self.send(true).await
    }

    async fn abandon(&mut self) {
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_its_parts() {
        assert_eq!(placeholders("cache:{company}:{id}"), ["company", "id"]);
        assert!(placeholders("config").is_empty());
        assert_eq!(escaped("a*[b]"), "a\\*\\[b\\]");
    }
}
