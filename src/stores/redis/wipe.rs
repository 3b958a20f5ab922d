//! What a reset would remove and keep, and the removing: keys below the prefix, never another's, and what
//! migrations made outside it.

use std::collections::{BTreeMap, BTreeSet};

use redis::{RedisResult, Value};

use super::keys::Keys;
use super::ledger::{Books, Trouble};
use super::link::{Link, all_of};
use super::lock::Held;
use super::probe::code;
use crate::config::file::Redis as Section;
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error};
use crate::kind::StoreKind;
use crate::stores::{Holding, lease};

/// Lists what a reset would remove. Keys are counted by key space, else by what stands before the next colon.
/// Nothing is foreign here: what is not below the prefix, nor made by a migration, is never touched.
///
/// # Errors
/// The driver's.
pub async fn holdings(
    books: &mut Books,
    section: &Section,
    tenants: &BTreeSet<String>,
) -> Result<Vec<Holding>, Trouble> {
    refuse_empty(&books.keys)?;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let keys = books.keys.clone();
    books
        .scan(async |_: &mut Link, found: Vec<Vec<u8>>| {
            for key in found.iter().filter(|key| !keys.is_own(key) && !is_tenants(&keys, tenants, key)) {
                *counts.entry(group(&keys, section, key)).or_default() += 1;
            }
            Ok::<(), Trouble>(())
        })
        .await?;
    let mut holdings: Vec<Holding> = counts
        .into_iter()
        .map(|(name, count)| Holding { kind: "keys", name, rows: Some(count), bytes: None, is_owned: true })
        .collect();
    for (kind, name) in there(books).await? {
        holdings.push(Holding { kind, name, rows: None, bytes: None, is_owned: true });
    }
    Ok(holdings)
}

/// The key space whose pattern a key fits, else its first part.
fn group(keys: &Keys, section: &Section, key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key.get(keys.prefix.len()..).unwrap_or_default()).into_owned();
    let space = section.keyspaces.iter().find(|(_, space)| fits(&space.pattern, &text));
    match (space, text.split_once(':')) {
        (Some((name, _)), _) => format!("{name} ({}{})", keys.prefix, section.keyspaces[name].pattern),
        (None, Some((first, _))) => format!("{}{first}:*", keys.prefix),
        (None, None) => format!("{}{text}", keys.prefix),
    }
}

/// Whether a key fits a pattern with `{placeholders}`, each of which stands for one part or more.
fn fits(pattern: &str, key: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('{') else { return pattern == key };
    let Some((_, after)) = rest.split_once('}') else { return pattern == key };
    let Some(key) = key.strip_prefix(before) else { return false };
    (1..=key.len()).any(|at| key.is_char_boundary(at) && fits(after, &key[at..]))
}

/// The libraries and users that migrations made and that are there still. Those of others are not looked at:
/// they belong to the whole server, as keys of another prefix do.
async fn there(books: &mut Books) -> RedisResult<Vec<(&'static str, String)>> {
    let mut found = Vec::new();
    for (kind, name) in books.owned().await? {
        match kind.as_str() {
            "function" if code(&mut books.link, &name).await?.is_some() => found.push(("function", name)),
            "user" => {
                let mut get = redis::cmd("ACL");
                get.arg("GETUSER").arg(&name);
                if get.query_async::<Value>(&mut books.link).await? != Value::Nil {
                    found.push(("user", name));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

/// Writes the resetting state.
///
/// # Errors
/// The driver's.
pub async fn begin(books: &mut Books) -> Result<(), Trouble> {
    refuse_empty(&books.keys)?;
    redis::cmd("SET").arg(books.keys.resetting()).arg(1).exec_async(&mut books.link).await?;
    Ok(())
}

/// Clears the resetting state.
///
/// # Errors
/// The driver's.
pub async fn finish(books: &mut Books) -> RedisResult<()> {
    redis::cmd("DEL").arg(books.keys.resetting()).exec_async(&mut books.link).await
}

/// Removes what the project owns, then its rows and snapshot; mark, events and lock stay. Running it again
/// finishes it. Answers how many things were removed.
///
/// # Errors
/// The driver's, or `LYX-LOCK-LOST`.
pub async fn wipe(
    books: &mut Books,
    lock: &Held,
    tenants: &BTreeSet<String>,
    events: &dyn Events,
) -> Result<u64, Trouble> {
    begin(books).await?;
    let mut removed = outside(books).await?;
    let keys = books.keys.clone();
    books
        .scan(async |link: &mut Link, mut found: Vec<Vec<u8>>| {
            found.retain(|key| !keys.is_own(key) && !is_tenants(&keys, tenants, key));
            still_ours(lock).await?;
            removed += unlink(link, &found).await?;
            events.event(Event::Progress {
                task: "removing".into(),
                store: Some(StoreKind::Redis),
                done: removed,
                total: None,
                unit: "keys",
            });
            Ok::<(), Trouble>(())
        })
        .await?;
    still_ours(lock).await?;
    let gone = own_to_go(books).await?;
    unlink(&mut books.link, &gone).await?;
    Ok(removed)
}

/// The slugs of tenants with a place of their own: those that the registry's copy has, and those whose keys hold a ledger,
/// which a tenant that is still being made has as well. A reset of the project leaves their keys alone.
///
/// # Errors
/// The driver's.
pub async fn tenants(books: &mut Books, recorded: Vec<String>) -> Result<BTreeSet<String>, Trouble> {
    let mut slugs: BTreeSet<String> = recorded.into_iter().collect();
    let keys = books.keys.clone();
    books
        .scan(async |_: &mut Link, found: Vec<Vec<u8>>| {
            let ledgers =
                found.iter().filter_map(|key| slug(&keys, key).filter(|(_, rest)| rest.starts_with(b"lyrox:")));
            slugs.extend(ledgers.map(|(slug, _)| slug));
            Ok::<(), Trouble>(())
        })
        .await?;
    Ok(slugs)
}

/// The tag behind the project's prefix, and what follows it: `app:{acme}:cart` is `acme` and `cart`.
fn slug<'k>(keys: &Keys, key: &'k [u8]) -> Option<(String, &'k [u8])> {
    let rest = key.strip_prefix(keys.prefix.as_bytes())?.strip_prefix(b"{")?;
    let end = rest.windows(2).position(|pair| pair == b"}:")?;
    let slug = String::from_utf8(rest[..end].to_vec()).ok()?;
    Some((slug, &rest[end + 2..]))
}

fn is_tenants(keys: &Keys, tenants: &BTreeSet<String>, key: &[u8]) -> bool {
    !tenants.is_empty() && slug(keys, key).is_some_and(|(slug, _)| tenants.contains(&slug))
}

/// lyrox's own keys that end with the reset: everything but the mark, the layout, the events, the lock and
/// the resetting state.
async fn own_to_go(books: &mut Books) -> Result<Vec<Vec<u8>>, Trouble> {
    let keys = books.keys.clone();
    let kept = [keys.environment(), keys.layout(), keys.events(), keys.lock(), keys.resetting(), keys.tenants()];
    let mut gone = Vec::new();
    books
        .scan(async |_: &mut Link, found: Vec<Vec<u8>>| {
            let own = found.into_iter().filter(|key| keys.is_own(key));
            gone.extend(own.filter(|key| !kept.iter().any(|kept| kept.as_bytes() == key.as_slice())));
            Ok::<(), Trouble>(())
        })
        .await?;
    Ok(gone)
}

/// Removes libraries and users.
async fn outside(books: &mut Books) -> Result<u64, Trouble> {
    let mut removed = 0;
    for (kind, name) in there(books).await? {
        let mut remove = redis::cmd(if kind == "function" { "FUNCTION" } else { "ACL" });
        remove.arg(if kind == "function" { "DELETE" } else { "DELUSER" }).arg(name);
        books.link.everywhere(&remove).await?;
        removed += 1;
    }
    Ok(removed)
}

pub(super) async fn unlink(link: &mut Link, keys: &[Vec<u8>]) -> RedisResult<u64> {
    let mut count = 0;
    if link.is_cluster() {
        // Keys of different slots do not go in one command, nor those of one slot that is moving.
        let commands = keys.iter().map(|key| {
            let mut unlink = redis::cmd("UNLINK");
            unlink.arg(key);
            unlink
        });
        for reply in all_of(link, commands.collect()).await? {
            count += redis::from_redis_value::<u64>(reply)?;
        }
    } else if !keys.is_empty() {
        count = redis::cmd("UNLINK").arg(keys).query_async(link).await?;
    }
    Ok(count)
}

async fn still_ours(lock: &Held) -> Result<(), Trouble> {
    if lock.is_ours().await? {
        return Ok(());
    }
    let error: Error = lease::lost(StoreKind::Redis);
    Err(error.data("some of it is removed; the store stays marked as resetting").into())
}

/// Without a prefix everything on the server would be the project's.
fn refuse_empty(keys: &Keys) -> Result<(), Error> {
    if !keys.prefix.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::ConfigValue, "Redis cannot be reset: the key prefix is empty")
        .why("every key of the database would count as the project's")
        .data("nothing was changed")
        .hint("set key_prefix = \"NAME:\" under [redis] in lyrox.toml"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::keys::Keys;
    use super::{fits, is_tenants};

    #[test]
    fn keys_of_tenants_are_told_from_the_projects() {
        let tenants = BTreeSet::from(["acme".to_owned()]);
        for is_cluster in [false, true] {
            let keys = Keys::new("app:", is_cluster);
            let is = |key: &str| is_tenants(&keys, &tenants, key.as_bytes());
            assert!(is("app:{acme}:cart") && is("app:{acme}:lyrox:lock"));
            assert!(!is("app:{acme2}:cart") && !is("app:{acme}cart") && !is("app:acme:cart") && !is("{acme}:cart"));
            assert!(!is("app:{lyrox}:lock"));
        }
    }

    #[test]
    fn patterns_are_fitted_part_by_part() {
        assert!(fits("session:{id}", "session:1"));
        assert!(fits("user:{id}:name", "user:1:name"));
        assert!(!fits("user:{id}:name", "user:1:mail"));
        assert!(!fits("session:{id}", "session:"));
        assert!(fits("plain", "plain") && !fits("plain", "plainer"));
    }
}
