//! The proof that nothing is left in Redis, and the tidying up after runs that died.

use super::RedisSmoke;
use super::keyspace::glob;
use crate::error::Result;

/// How many keys are compared.
const MOST: usize = 1_000_000;

impl RedisSmoke<'_> {
    /// Puts back what a dead run journaled, and removes its own keys.
    pub(super) async fn remove_dead(&mut self) -> Result<Vec<String>> {
        let mut removed = self.put_back().await?;
        let pattern = glob(&self.own_prefix());
        // Where it is far away, the keys of a dead run go away by themselves within a minute.
        if self.run.is_local {
            for key in self.scan(&pattern, MOST).await? {
                removed.push(format!("key `{}`", String::from_utf8_lossy(&key)));
                self.ask(redis::cmd("DEL").arg(key)).await?.ok();
            }
        }
        Ok(removed)
    }

    pub(super) async fn count_before(&mut self) -> Result<()> {
        if self.run.is_local {
            self.before = Some(self.scan(&glob(self.store.prefix()), MOST).await?.into_iter().collect());
        }
        Ok(())
    }

    pub(super) async fn find_leftovers(&mut self) -> Result<Vec<String>> {
        let Some(before) = self.before.take() else {
            // Far away: the journal is empty, and the run's own keys are gone. What was put back is there.
            let own = self.own_prefix().into_bytes();
            let mut left = Vec::new();
            let mut keys: Vec<Vec<u8>> = self.written.iter().filter(|key| key.starts_with(&own)).cloned().collect();
            keys.push(self.journal().into_bytes());
            let commands = keys.iter().map(|key| redis::cmd("EXISTS").arg(key.as_slice()).to_owned()).collect();
            for (key, reply) in keys.iter().zip(self.ask_all(commands).await?) {
                if reply != redis::Value::Int(0) {
                    left.push(format!("key `{}`", String::from_utf8_lossy(key)));
                }
            }
            return Ok(left);
        };
        // Keys that expired meanwhile are no loss.
        let after = self.scan(&glob(self.store.prefix()), MOST).await?;
        Ok(after
            .into_iter()
            .filter(|key| !before.contains(key))
            .map(|key| format!("key `{}`", String::from_utf8_lossy(&key)))
            .collect())
    }
}
