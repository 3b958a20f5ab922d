//! The proof that nothing is left in MongoDB: counts where the server is on this machine, and the run's
//! marker looked for in every document.

use std::collections::BTreeMap;

use bson::{RawDocumentBuf, doc};
use futures_util::TryStreamExt as _;

use super::MongodbSmoke;
use crate::error::Result;
use crate::stores::mongodb::catalog::list;

/// How many documents of a collection are looked through for the marker.
const MOST: i64 = 100_000;

impl MongodbSmoke<'_> {
    pub(super) async fn count_before(&mut self) -> Result<()> {
        if self.run.is_local {
            self.before = Some(self.count_all().await?);
        }
        Ok(())
    }

    pub(super) async fn find_leftovers(&mut self) -> Result<Vec<String>> {
        let mut left = Vec::new();
        let journaled = self.journaled().await?;
        if journaled > 0 {
            left.push(format!("{journaled} document(s) that `lyrox_smoke_journal` lists"));
        }
        let Some(before) = self.before.take() else {
            for name in self.touched.clone() {
                if self.is_marked(&name).await? {
                    left.push(format!("documents with the run's marker in `{name}`"));
                }
            }
            return Ok(left);
        };
        let after = self.count_all().await?;
        for (name, count) in &after {
            let earlier = before.get(name).copied().unwrap_or(0);
            if self.is_marked(name).await? {
                left.push(format!("documents with the run's marker in `{name}`"));
            } else if *count != earlier {
                left.push(format!("`{name}` has {count} documents, it had {earlier}"));
            }
        }
        left.extend(after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("collection `{name}`")));
        Ok(left)
    }

    async fn count_all(&self) -> Result<BTreeMap<String, u64>> {
        let database = self.database();
        let lost = |error: mongodb::error::Error| self.lost("count documents", &error);
        let mut counts = BTreeMap::new();
        for listed in list(&database, None).await.map_err(lost)?.into_iter().filter(|listed| !listed.is_view) {
            let count =
                database.collection::<RawDocumentBuf>(&listed.name).count_documents(doc! {}).await.map_err(lost)?;
            counts.insert(listed.name, count);
        }
        Ok(counts)
    }

    async fn is_marked(&self, name: &str) -> Result<bool> {
        let lost = |error: mongodb::error::Error| self.lost("look for the run's marker", &error);
        let marker = self.run.marker().into_bytes();
        // The newest first: what a run left is among them.
        let collection = self.database().collection::<RawDocumentBuf>(name);
        let mut documents = collection.find(doc! {}).sort(doc! { "$natural": -1 }).limit(MOST).await.map_err(lost)?;
        while let Some(document) = documents.try_next().await.map_err(lost)? {
            if document.as_bytes().windows(marker.len()).any(|part| part == marker) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
