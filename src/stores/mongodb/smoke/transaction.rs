//! What a transaction did is undone with it, and nobody else saw it.

use bson::doc;

use super::MongodbSmoke;
use crate::error::Result;
use crate::stores::mongodb::error::refusal;
use crate::stores::smoke::outcome::Outcome;

/// How many collections are tried until one takes a document.
const MOST: usize = 8;

impl MongodbSmoke<'_> {
    /// Writes a document, sees it within the transaction and not outside, aborts and does not see it any more.
    pub(super) async fn try_transaction(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        if !self.store.connected().has_transactions() {
            outcome.untried.push("the server takes no transactions: it is no replica set".into());
            return Ok(outcome);
        }
        let names: Vec<String> = self.collections.keys().take(MOST).cloned().collect();
        for name in names {
            let Some((_, document)) = self.valid(&name) else { continue };
            let lost = |error: mongodb::error::Error| self.lost("try a transaction", &error);
            let collection = self.database().collection::<bson::Document>(&name);
            let Some(id) = document.get("_id").cloned() else { continue };
            let only = doc! { "_id": id };
            let mut session = self.transaction().await?;
            if let Err(error) = collection.insert_one(document).session(&mut session).await {
                let _ = session.abort_transaction().await;
                if refusal(&error).is_none() && !matches!(*error.kind, mongodb::error::ErrorKind::Write(_)) {
                    return Err(lost(error));
                }
                continue;
            }
            let within = collection.count_documents(only.clone()).session(&mut session).await.map_err(lost)?;
            let outside = collection.count_documents(only.clone()).await.map_err(lost)?;
            session.abort_transaction().await.map_err(lost)?;
            let after = collection.count_documents(only).await.map_err(lost)?;
            match (within, outside, after) {
                (1, 0, 0) => {
                    outcome.passed = 1;
                    outcome.notes.push(format!("a document of `{name}` was there until the abort"));
                }
                (_, 0, 0) => outcome.failed.push(format!("a transaction does not see its own document of `{name}`")),
                (_, _, 0) => {
                    outcome.failed.push(format!("a document of `{name}` was seen before the transaction ended"))
                }
                _ => outcome.failed.push(format!("a document of `{name}` is there after the transaction was aborted")),
            }
            return Ok(outcome);
        }
        outcome.untried.push("no collection took a document".into());
        Ok(outcome)
    }
}
