//! A user with a tenant's rules that lives for one verification: it logs in and tries for real. It is journaled before it
//! is made, so that the next run removes what a kill left; the keys expire by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{RedisResult, Value};
use sha2::{Digest as _, Sha256};

use super::super::super::error::refusal;
use super::super::super::{RedisStore, connect};
use super::super::{acl, hexadecimal};
use super::rules::{FORBIDDEN, Group, with_keys};
use crate::config::Endpoint;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::secret::Secret;
use crate::stores::tenant_verify::Ask;

/// The keys of a verification go away by themselves after so many milliseconds.
const SAFETY: &str = "60000";

/// Reads a key that it does not declare.
const UNDECLARED: &str = "return redis.call('GET', ARGV[1])";

/// The two tenants of a verification: whose user tries, and whose keys are tried.
fn made_up(id: &str) -> Result<[Tenant; 2]> {
    let named = |name: &str| Tenant::new("verify", Some(&format!("lyrox_{name}_{id}")));
    Ok([named("verify")?, named("other")?])
}

impl RedisStore {
    fn verify_key(&self) -> String {
        self.books.keys.verify()
    }

    /// Removes the users that the journal names; says which.
    pub(super) async fn drop_throwaways(&mut self) -> RedisResult<Vec<String>> {
        let key = self.verify_key();
        let journal: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(&key).query_async(&mut self.books.link).await?;
        let mut removed = Vec::new();
        for (user, id) in journal {
            for tenant in made_up(&id).into_iter().flatten() {
                let key = format!("{}x", acl::prefix(&self.books.keys, &tenant));
                redis::cmd("DEL").arg(key).exec_async(&mut self.books.link).await?;
            }
            let mut drop = redis::cmd("ACL");
            drop.arg("DELUSER").arg(&user);
            self.books.link.everywhere(&drop).await?;
            redis::cmd("HDEL").arg(&key).arg(&user).exec_async(&mut self.books.link).await?;
            removed.push(format!("Redis' user `{user}`"));
        }
        Ok(removed)
    }

    pub(super) async fn try_throwaway(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        proof.area("logins", "A user with a tenant's rules logged in and was tried");
        if !ask.terms.tenancy.users {
            return Ok(());
        }
        if !ask.run.may_write {
            let why = "a user would be made, and the environment is protected";
            proof.untried("login", "throw-away user", why, "lyrox tenant verify --write");
            return Ok(());
        }
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "try a user");
        let [one, two] = made_up(&ask.run.id)?;
        let user = acl::user(&one);
        let password = Secret::new(uuid::Uuid::new_v4().simple().to_string());
        let optional = self.known_subcommands().await.map_err(&failed)?;
        let digest = hexadecimal(&Sha256::digest(password.expose().as_bytes()));
        let journal = self.verify_key();
        redis::cmd("HSET")
            .arg(&journal)
            .arg(&user)
            .arg(&ask.run.id)
            .exec_async(&mut self.books.link)
            .await
            .map_err(&failed)?;
        let mut make = redis::cmd("ACL");
        make.arg("SETUSER").arg(&user).arg(acl::rules(&self.books.keys, &one, Some(&digest), &optional));
        let made = self.books.link.everywhere(&make).await;
        let tried = match made {
            Err(error) => match refusal(&error) {
                None => Err(failed(error)),
                Some(refused) => {
                    let why = format!("no user can be made: {}", refused.shown());
                    proof.untried("login", "throw-away user", why, "ACL SETUSER USER +acl");
                    Ok(())
                }
            },
            Ok(_) => self.as_throwaway(ask, &one, &two, &user, password, proof).await,
        };
        let dropped = self.drop_throwaways().await.map(drop).map_err(&failed);
        tried?;
        dropped
    }

    async fn as_throwaway(
        &mut self,
        ask: &Ask<'_>,
        one: &Tenant,
        two: &Tenant,
        user: &str,
        password: Secret,
        proof: &mut Proof,
    ) -> Result<()> {
        let lost = self.endpoint.clone();
        let failed = Self::failed(&lost, "try a user");
        let (ours, theirs) =
            (format!("{}x", acl::prefix(&self.books.keys, one)), format!("{}x", acl::prefix(&self.books.keys, two)));
        for key in [&ours, &theirs] {
            let written =
                redis::cmd("SET").arg(key).arg("1").arg("PX").arg(SAFETY).exec_async(&mut self.books.link).await;
            written.map_err(&failed)?;
        }
        let url = self.endpoint.url.with_login(user, password);
        let endpoint = Endpoint { url, origin: self.endpoint.origin.clone() };
        let mut connected = match connect::connect(&endpoint, ask.ca_file.as_deref()).await {
            Ok(connected) => connected,
            Err(error) => {
                proof.untried("login", "throw-away user", format!("it cannot log in: {}", error.what()), "");
                return Ok(());
            }
        };
        let own = redis::cmd("GET").arg(&ours).query_async::<String>(&mut connected.link).await;
        if own.as_deref() != Ok("1") {
            let said = own.map_or_else(|error| error.to_string(), |_| "it reads something else".into());
            let why = format!("it cannot read its own key ({said}): its refusals prove nothing");
            proof.untried("login", "throw-away user", why, "");
            return Ok(());
        }
        proof.held(1);
        let script: &[&str] = &["EVAL", UNDECLARED, "0", "THEIRS"];
        let undeclared = (Group::Scripts, "eval", script);
        for (group, rule, words) in FORBIDDEN.iter().chain([&undeclared]) {
            // These do something even where they are refused to nobody.
            if *group == Group::Server
                || matches!(*rule, "subscribe" | "ssubscribe" | "psubscribe" | "monitor" | "select")
            {
                continue;
            }
            if matches!(*words, ["SCRIPT" | "FUNCTION", "FLUSH" | "KILL"]) {
                continue;
            }
            let words = with_keys(words, &ours, &theirs);
            let mut command = redis::cmd(&words[0]);
            command.arg(&words[1..]);
            match command.query_async::<Value>(&mut connected.link).await {
                // A refusal of any sort reaches nothing: NOPERM, or a script that was stopped by it.
                Err(error) if refusal(&error).is_some() || connected.link.is_cluster() => proof.held(1),
                Err(error) => return Err(failed(error)),
                Ok(_) => proof.leak(
                    group.kind(),
                    format!("command {}", words[0]),
                    format!(
                        "a user with the rules that lyrox gives {}: {} was answered",
                        group.what(),
                        words.join(" ").to_lowercase()
                    ),
                    format!("ACL SETUSER USER -{rule}, for every tenant's user"),
                ),
            }
        }
        self.try_channel(&endpoint, ask, &theirs, proof).await?;
        for key in [&ours, &theirs] {
            redis::cmd("DEL").arg(key).exec_async(&mut self.books.link).await.map_err(&failed)?;
        }
        Ok(())
    }

    /// Subscribing to another tenant's channel is refused; nothing that is published there arrives.
    async fn try_channel(&mut self, endpoint: &Endpoint, ask: &Ask<'_>, theirs: &str, proof: &mut Proof) -> Result<()> {
        let client = connect::client(endpoint, ask.ca_file.as_deref())?;
        let opened = tokio::time::timeout(Duration::from_secs(5), client.get_async_pubsub()).await;
        let Ok(Ok(mut listener)) = opened else {
            proof.untried("channels", "throw-away user", "no connection to subscribe with was had", "");
            return Ok(());
        };
        match listener.subscribe(theirs).await {
            Err(_) => proof.held(1),
            Ok(()) => {
                redis::cmd("PUBLISH").arg(theirs).arg("lyrox").exec_async(&mut self.books.link).await.ok();
                let heard = tokio::time::timeout(Duration::from_secs(1), listener.on_message().next()).await;
                let what =
                    if heard.is_ok() { "and what was published there arrived" } else { "and nothing was heard yet" };
                proof.leak(
                    "channels",
                    "command SUBSCRIBE",
                    format!("a user with the rules that lyrox gives subscribed to another tenant's channel, {what}"),
                    "ACL SETUSER USER resetchannels, then its own pattern",
                );
            }
        }
        Ok(())
    }
}
