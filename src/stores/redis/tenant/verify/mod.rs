//! Proof that tenants cannot reach each other in Redis: the rules of each tenant's user are asked of the server
//! (`ACL DRYRUN`), a user with the same rules logs in and tries, and keys are looked through.

mod rules;
mod throwaway;

use std::collections::BTreeMap;

use redis::Value;

use super::super::RedisStore;
use super::super::error::refusal;
use super::super::ledger::{Books, Trouble};
use super::super::link::Link;
use super::{User, acl};
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::error::Result;
use crate::stores::tenant::Terms;
use crate::stores::tenant_verify::{Ask, Part, VerifyStore};

impl VerifyStore for RedisStore {
    async fn clean_verification(&mut self) -> Result<Vec<String>> {
        self.drop_throwaways().await.map_err(Self::failed(&self.endpoint.clone(), "remove what a verification left"))
    }

    async fn verify_tenants(&mut self, ask: &Ask<'_>) -> Result<Proof> {
        let mut proof = Proof::default();
        self.judge_rules(ask, &mut proof).await?;
        if ask.part == Part::Tenants {
            return Ok(proof);
        }
        self.try_throwaway(ask, &mut proof).await?;
        if ask.is_all {
            self.find_orphans(ask, &mut proof).await?;
        }
        Ok(proof)
    }

    async fn tenants_without_place(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<(usize, String)>> {
        if !terms.tenancy.users || tenants.is_empty() {
            return Ok(Vec::new());
        }
        let users = self.users_named(tenants).await;
        let users = users.map_err(Self::failed(&self.endpoint, "look for users"))?;
        let missing = |(index, found): (usize, Option<User>)| {
            let is_missing = found.is_none_or(|user| !user.is_everywhere);
            is_missing.then(|| (index, format!("user {}", acl::user(&tenants[index]))))
        };
        Ok(users.into_iter().enumerate().filter_map(missing).collect())
    }
}

impl RedisStore {
    /// Keys and users of tenants that no record names.
    async fn find_orphans(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        proof.area("orphans", "Every tenant's key belongs to a tenant that is there");
        let prefix = self.books.keys.prefix.clone();
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut books = Books { keys: self.books.keys.clone(), link: self.books.link.clone() };
        let scanned = books.scan(async |_: &mut Link, keys: Vec<Vec<u8>>| {
            for key in keys {
                let Some(rest) = key.strip_prefix(prefix.as_bytes()) else { continue };
                let Some(slug) = slug_of(rest) else { continue };
                *found.entry(slug).or_default() += 1;
            }
            Ok::<(), Trouble>(())
        });
        scanned.await.map_err(Self::troubled(&self.endpoint, "look through the keys"))?;
        for (slug, count) in found {
            if ask.all.iter().any(|tenant| tenant.slug() == slug) {
                proof.held(1);
                continue;
            }
            let pattern = format!("{prefix}{{{slug}}}:*");
            let close =
                format!("redis-cli --scan --pattern '{pattern}' | xargs redis-cli UNLINK, or: lyrox tenant adopt");
            proof.of(
                &slug,
                Weight::Astray,
                "orphan_keys",
                format!("keys {pattern}"),
                format!("{count} keys, and no record names their tenant"),
                close,
            );
        }
        // Users whose rules are those of a tenant of this project.
        let mut list = redis::cmd("ACL");
        list.arg("LIST");
        let lines = match self.books.link.each_master(&list).await {
            Ok(lines) => lines,
            Err(error) if refusal(&error).is_some() => return Ok(()),
            Err(error) => return Err(Self::failed(&self.endpoint, "list the users")(error)),
        };
        let of_project = self.books.keys.pattern();
        let of_project = format!("~{}{{", of_project.strip_suffix('*').unwrap_or(&of_project));
        let mut rules: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for (node, reply) in lines {
            let lines: Vec<String> = redis::from_redis_value(reply).unwrap_or_default();
            for line in lines.iter().filter(|line| line.split(' ').any(|part| part.starts_with(&of_project))) {
                let name = line.split(' ').nth(1).unwrap_or_default().to_owned();
                rules.entry(name).or_default().push((node.clone(), line.clone()));
            }
        }
        for (name, lines) in rules {
            let tenant = ask.all.iter().find(|tenant| acl::user(tenant) == name);
            let Some(tenant) = tenant else {
                let why = "it reaches a tenant's keys, and no record names its tenant";
                proof.of(
                    &name,
                    Weight::Astray,
                    "orphan_user",
                    format!("user {name}"),
                    why,
                    format!("ACL DELUSER {name}"),
                );
                continue;
            };
            if lines.iter().any(|(_, line)| *line != lines[0].1) {
                let nodes: Vec<&str> = lines.iter().map(|(node, _)| node.as_str()).collect();
                let why = format!("its rules differ between {}", nodes.join(", "));
                let close = format!("lyrox tenant credentials {}", crate::engine::tenant::plan::quoted(tenant.key()));
                proof.of(tenant.key(), Weight::Astray, "user_skew", format!("user {name}"), why, close);
            }
        }
        Ok(())
    }
}

/// The slug of a key below the project's prefix: `{acme}:...`.
pub(super) fn slug_of(key: &[u8]) -> Option<String> {
    let rest = key.strip_prefix(b"{")?;
    let end = rest.windows(2).position(|two| two == b"}:")?;
    let slug = std::str::from_utf8(&rest[..end]).ok()?;
    let is_slug = slug != "lyrox"
        && slug.starts_with(|c: char| c.is_ascii_lowercase())
        && slug.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
    is_slug.then(|| slug.to_owned())
}

/// The text of a reply, whatever its form.
fn words(reply: &Value) -> String {
    match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".into(),
        Value::ServerError(error) => error.details().unwrap_or_default().to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenant_of_a_key_is_its_tag() {
        assert_eq!(slug_of(b"{acme}:cart:1").as_deref(), Some("acme"));
        for key in [&b"acme:1"[..], b"{lyrox}:x", b"{acme}", b"{A}:x", b"{acme:1", b"{}:x"] {
            assert_eq!(slug_of(key), None, "{}", String::from_utf8_lossy(key));
        }
    }
}
