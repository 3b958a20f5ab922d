//! What the built-in tests of Redis try.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{Cmd, RedisError, Value};

use super::RedisSmoke;
use super::keyspace::glob;
use super::streams::holds;
use crate::config::Endpoint;
use crate::config::file::KeyType;
use crate::error::{Code, Error, Result};
use crate::secret::Secret;
use crate::stores::redis::error::refusal;
use crate::stores::smoke::Verdict;
use crate::url::SecretUrl;

/// How many existing keys are looked at.
const MOST: usize = 20_000;
/// A run's own keys go away by themselves after this long, should the run die.
pub(super) const SAFETY: Duration = Duration::from_secs(60);
/// How long an expiry is waited for.
const SHORT: Duration = Duration::from_millis(40);

/// Releases a lock only for its holder.
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end";

pub(super) fn shown(error: &RedisError) -> String {
    refusal(error).map_or_else(|| "no answer".into(), |refusal| refusal.shown())
}

pub(super) fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Int(number) => *number,
        _ => i64::MIN,
    }
}

impl RedisSmoke<'_> {
    /// Existing keys have type and time to live as declared; a key is written, read, and expires.
    pub(super) async fn try_space(&mut self, name: &str) -> Result<Verdict> {
        let Some(space) = self.run.config.settings.redis.as_ref().and_then(|section| section.keyspaces.get(name))
        else {
            return Ok(Verdict::skip("it is not declared"));
        };
        let space = space.clone();
        let declared = space.ttl.map(|ttl| i64::try_from(ttl.millis()).unwrap_or(i64::MAX));
        self.read_existing().await?;
        let mut count = 0;
        let mut wrong = Vec::new();
        for (key, (kind, left)) in self.existing.iter().flatten() {
            if self.spaces.of(key) != Some(name) || kind == "none" {
                continue;
            }
            count += 1;
            let key = String::from_utf8_lossy(key);
            if kind != space.kind.name() {
                wrong.push(format!("`{key}` is a {kind}, not a {}", space.kind.name()));
            } else if let Some(declared) = declared {
                if *left == -1 {
                    wrong.push(format!("`{key}` never expires"));
                } else if *left > declared {
                    let ttl = space.ttl.map(|ttl| ttl.to_string()).unwrap_or_default();
                    wrong.push(format!("`{key}` expires in {} s, declared are {ttl}", left / 1000));
                }
            }
        }
        if !wrong.is_empty() {
            let more = if wrong.len() > 8 { format!("\nand {} more", wrong.len() - 8) } else { String::new() };
            wrong.truncate(8);
            let first = wrong.remove(0);
            let error = Error::new(Code::SmokeFailed, first);
            return Ok(Verdict::Fail(if wrong.is_empty() { error } else { error.why(wrong.join("\n") + &more) }));
        }
        if let Some(verdict) = self.round_trip(name, space.kind).await? {
            return Ok(verdict);
        }
        let expiry = space.ttl.map_or_else(|| "kept".to_owned(), |ttl| format!("expires within {ttl}"));
        let keys = if count == 1 { "1 key".to_owned() } else { format!("{count} keys") };
        Ok(Verdict::Pass(format!("{}, {expiry}; {keys}", space.kind.name())))
    }

    async fn read_existing(&mut self) -> Result<()> {
        if self.existing.is_some() {
            return Ok(());
        }
        let own = format!("{}lyrox:", self.store.prefix());
        let mut keys = self.scan(&glob(self.store.prefix()), MOST).await?;
        keys.retain(|key| !key.starts_with(own.as_bytes()));
        let mut commands = Vec::with_capacity(keys.len() * 2);
        for key in &keys {
            commands.push(redis::cmd("TYPE").arg(key).to_owned());
            commands.push(redis::cmd("PTTL").arg(key).to_owned());
        }
        let replies = self.ask_all(commands).await?;
        let pairs = keys.into_iter().zip(replies.chunks(2)).map(|(key, replies)| {
            let kind = replies.first().cloned().and_then(|kind| redis::from_redis_value::<String>(kind).ok());
            (key, (kind.unwrap_or_default(), replies.get(1).map_or(-2, number)))
        });
        self.existing = Some(pairs.collect());
        Ok(())
    }

    /// Writes a key of the type, reads it back, sees it expire. None: all as it should be.
    async fn round_trip(&mut self, name: &str, kind: KeyType) -> Result<Option<Verdict>> {
        let key = self.own_key(name);
        let marker = self.run.marker();
        let (write, read): (&[&str], &[&str]) = match kind {
            KeyType::String => (&["SET", &key, &marker], &["GET", &key]),
            KeyType::Hash => (&["HSET", &key, "field", &marker], &["HGET", &key, "field"]),
            KeyType::List => (&["RPUSH", &key, &marker], &["LINDEX", &key, "0"]),
            KeyType::Set => (&["SADD", &key, &marker], &["SRANDMEMBER", &key]),
            KeyType::Zset => (&["ZADD", &key, "1", &marker], &["ZRANGE", &key, "0", "0"]),
            KeyType::Stream => (&["XADD", &key, "*", "field", &marker], &["XRANGE", &key, "-", "+"]),
        };
        self.written.insert(key.clone().into_bytes());
        let safety = SAFETY.as_millis().to_string();
        let mut pipeline = redis::pipe();
        // Together: a key of a run that dies here goes away by itself.
        pipeline.atomic().add_command(command(write)).add_command(command(&["PEXPIRE", &key, &safety]));
        let mut link = self.link();
        if let Err(error) = pipeline.query_async::<Value>(&mut link).await {
            return match refusal(&error) {
                Some(no) => Ok(Some(Verdict::fail(format!("a {} cannot be written: {}", kind.name(), no.shown())))),
                None => Err(self.lost("write a key", &error)),
            };
        }
        let short = SHORT.as_millis().to_string();
        let replies = self
            .ask_all(vec![
                command(read),
                command(&["TYPE", &key]),
                command(&["PTTL", &key]),
                command(&["PEXPIRE", &key, &short]),
            ])
            .await?;
        let is_read = replies.first().is_some_and(|reply| holds(reply, &marker));
        let left = replies.get(2).map_or(-2, number);
        tokio::time::sleep(SHORT + Duration::from_millis(20)).await;
        let gone = self.ask_all(vec![command(&["EXISTS", &key])]).await?;
        if !is_read {
            return Ok(Some(Verdict::fail("what was written is not what is read")));
        }
        if left <= 0 || left > i64::try_from(SAFETY.as_millis()).unwrap_or(i64::MAX) {
            return Ok(Some(Verdict::fail(format!("a time to live of 60 s reads as {left} ms"))));
        }
        if gone.first().map(number) != Some(0) {
            self.ask(&command(&["DEL", &key])).await?.ok();
            return Ok(Some(Verdict::fail("a key is still there after its time to live")));
        }
        Ok(None)
    }

    /// A message published on each channel arrives.
    pub(super) async fn try_channels(&mut self, group: &str) -> Result<Verdict> {
        let channels = self.run.config.settings.redis.as_ref().and_then(|section| section.channels.get(group));
        let names: Vec<String> =
            channels.into_iter().flatten().map(|channel| format!("{}{channel}", self.store.prefix())).collect();
        if names.is_empty() {
            return Ok(Verdict::skip("the group names no channel"));
        }
        let client = crate::stores::redis::connect::client(self.store.endpoint(), self.ca_file().as_deref())?;
        let lost = |error: &RedisError| self.lost("subscribe", error);
        let opened = tokio::time::timeout(Duration::from_secs(5), client.get_async_pubsub()).await;
        let mut listener = match opened {
            Ok(Ok(listener)) => listener,
            Ok(Err(error)) => return Err(lost(&error)),
            Err(_) => return Ok(Verdict::fail("a connection to subscribe with was not had within 5 s")),
        };
        for name in &names {
            if let Err(error) = listener.subscribe(name).await {
                return match refusal(&error) {
                    Some(no) => Ok(Verdict::fail(format!("cannot subscribe to `{name}`: {}", no.shown()))),
                    None => Err(lost(&error)),
                };
            }
        }
        let marker = self.run.marker();
        for name in &names {
            if let Err(error) = self.ask(&command(&["PUBLISH", name, &marker])).await? {
                return Ok(Verdict::fail(format!("cannot publish to `{name}`: {}", shown(&error))));
            }
        }
        let mut waiting = names.clone();
        let mut messages = listener.on_message();
        let until = tokio::time::Instant::now() + Duration::from_secs(2);
        while !waiting.is_empty() {
            let Ok(Some(message)) = tokio::time::timeout_at(until, messages.next()).await else { break };
            // The application may be publishing, too.
            if message.get_payload::<String>().is_ok_and(|payload| payload == marker) {
                waiting.retain(|name| name != message.get_channel_name());
            }
        }
        Ok(match waiting.first() {
            None => {
                Verdict::Pass(if names.len() == 1 { "1 channel".into() } else { format!("{} channels", names.len()) })
            }
            Some(name) => Verdict::fail(format!("a message published to `{name}` did not arrive within 2 s")),
        })
    }

    /// A lock is taken once, refused to others, released by its holder only, and ends by itself.
    pub(super) async fn try_locks(&mut self) -> Result<Verdict> {
        let key = self.own_key("lock");
        self.written.insert(key.clone().into_bytes());
        let (long, short) = (SAFETY.as_millis().to_string(), SHORT.as_millis().to_string());
        let take = |holder: &str, time: &str| command(&["SET", &key, holder, "NX", "PX", time]);
        let release = |holder: &str| command(&["EVAL", RELEASE, "1", &key, holder]);
        let steps: [(Cmd, bool, &str); 7] = [
            (take("one", &long), true, "a free lock was not given"),
            (take("two", &long), false, "a lock that is held was given to another"),
            (release("two"), false, "a lock was released by one who does not hold it"),
            (release("one"), true, "a lock was not released by its holder"),
            (take("one", &short), true, "a released lock was not given"),
            (take("two", &long), true, "a lock did not expire"),
            (release("two"), true, "a lock was not released by its holder"),
        ];
        for (index, (command, succeeds, otherwise)) in steps.into_iter().enumerate() {
            if index == 5 {
                tokio::time::sleep(SHORT + Duration::from_millis(20)).await;
            }
            match self.ask(&command).await? {
                Ok(reply) => {
                    let did = !matches!(reply, Value::Nil | Value::Int(0));
                    if did != succeeds {
                        return Ok(Verdict::fail(otherwise));
                    }
                }
                Err(error) => return Ok(Verdict::fail(format!("{otherwise}: {}", shown(&error)))),
            }
        }
        Ok(Verdict::Pass("taken, refused, released by the holder, expired".into()))
    }

    /// A user that is made for this test reads and writes below its prefix and nowhere else.
    pub(super) async fn try_access(&mut self) -> Result<Verdict> {
        let user = format!("lyrox_smoke_{}", self.run.id);
        let password = Secret::new(uuid::Uuid::new_v4().simple().to_string());
        // One slot: a refusal must not be that of the cluster.
        let (ours, theirs) = (self.own_key("a:{1}"), self.own_key("b:{1}"));
        self.written.extend([ours.clone().into_bytes(), theirs.clone().into_bytes()]);
        // Journaled first: the user of a run that dies is removed by the next one.
        let journal = self.journal();
        self.ask(&command(&["HSET", &journal, &format!("user:{user}"), "1"])).await?.ok();
        let pattern = format!("~{}", glob(&self.own_key("a:")));
        let channels = format!("&{}", glob(&self.own_key("a:")));
        let secret = format!(">{}", password.expose());
        // Clients of a cluster ask where its slots are.
        let rules = [
            "ACL",
            "SETUSER",
            &user,
            "reset",
            "on",
            &secret,
            &pattern,
            &channels,
            "+@all",
            "-@admin",
            "-@dangerous",
            "+cluster|slots",
            "+cluster|info",
        ];
        let verdict = match self.ask_everywhere(&command(&rules)).await? {
            Err(error) => Verdict::skip(format!("no user can be made: {}", shown(&error))),
            Ok(_) => self.as_user(&user, &password, &ours, &theirs).await,
        };
        self.ask_everywhere(&command(&["ACL", "DELUSER", &user])).await?.ok();
        self.ask(&command(&["DEL", &ours])).await?.ok();
        self.ask(&command(&["HDEL", &journal, &format!("user:{user}")])).await?.ok();
        Ok(verdict)
    }

    async fn as_user(&self, user: &str, password: &Secret, ours: &str, theirs: &str) -> Verdict {
        let endpoint = self.store.endpoint();
        let url = SecretUrl { user: Some(user.to_owned()), password: Some(password.clone()), ..endpoint.url.clone() };
        let endpoint = Endpoint { url, origin: endpoint.origin.clone() };
        let mut connected = match self.connect(&endpoint).await {
            Ok(connected) => connected,
            Err(error) => return Verdict::skip(format!("the user that was made cannot log in: {}", error.what())),
        };
        let safety = SAFETY.as_millis().to_string();
        if let Err(error) = command(&["SET", ours, "1", "PX", &safety]).query_async::<Value>(&mut connected.link).await
        {
            return Verdict::fail(format!("a user cannot write below its own prefix: {}", shown(&error)));
        }
        let attempts: [(&str, Cmd); 5] = [
            ("reads another prefix", command(&["GET", theirs])),
            ("asks whether a key of another prefix exists", command(&["EXISTS", theirs])),
            ("writes below another prefix", command(&["SET", theirs, "1", "PX", &safety])),
            ("copies its key to another prefix", command(&["COPY", ours, theirs])),
            ("publishes on another prefix's channel", command(&["PUBLISH", theirs, "1"])),
        ];
        let count = attempts.len();
        for (what, attempt) in attempts {
            match attempt.query_async::<Value>(&mut connected.link).await {
                Err(error) if refusal(&error).is_some_and(|no| no.word == "NOPERM") => {}
                Err(error) => return Verdict::skip(format!("{what}: {}", shown(&error))),
                Ok(_) => return Verdict::fail(format!("a user that is bound to a prefix {what}")),
            }
        }
        Verdict::Pass(format!("{count} attempts refused"))
    }

    /// Where queues are declared, the server must refuse writes rather than forget jobs.
    pub(super) async fn judge_eviction(&mut self) -> Result<Verdict> {
        let reply = match self.ask(&command(&["INFO", "memory"])).await? {
            Ok(reply) => reply,
            Err(error) => return Ok(Verdict::skip(format!("the server does not tell: {}", shown(&error)))),
        };
        let text = match reply {
            Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Value::VerbatimString { text, .. } | Value::SimpleString(text) => text,
            _ => String::new(),
        };
        let of = |name: &str| text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'));
        let has_limit = of("maxmemory").is_some_and(|limit| limit != "0");
        let hint = "CONFIG SET maxmemory-policy noeviction, and in the server's configuration";
        Ok(match of("maxmemory_policy") {
            Some("noeviction") => Verdict::Pass("maxmemory-policy noeviction".into()),
            // Queues have no time to live: only these policies take them.
            Some(policy) if policy.starts_with("allkeys") && has_limit => Verdict::Fail(
                Error::new(Code::SmokeFailed, format!("maxmemory-policy is {policy}: a full server forgets jobs"))
                    .hint(hint),
            ),
            Some(policy) => Verdict::Warn(
                format!("maxmemory-policy is {policy}, not noeviction: a full server may forget what queues need"),
                hint.into(),
            ),
            None => Verdict::skip("the server does not tell its maxmemory-policy"),
        })
    }
}
