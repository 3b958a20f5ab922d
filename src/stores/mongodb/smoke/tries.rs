//! What the built-in tests of MongoDB try.

use bson::{Document, doc};

use super::document::{get, partial, required, set, wrong};
use super::{Index, MongodbSmoke};
use crate::error::Result;
use crate::stores::mongodb::error::{Refusal, refusal, refusal_in_reply};
use crate::stores::smoke::outcome::Outcome;

impl MongodbSmoke<'_> {
    /// Inserts documents, one after the other, in a transaction that is aborted; the first refusal ends it.
    pub(super) async fn insert(&mut self, collection: &str, documents: &[Document]) -> Result<Result<(), Refusal>> {
        let mut session = self.transaction().await?;
        let mut answer = Ok(());
        for document in documents {
            let command = doc! { "insert": collection, "documents": [document.clone()] };
            match self.database().run_command(command).session(&mut session).await {
                Ok(reply) => answer = refusal_in_reply(&reply).map_or(Ok(()), Err),
                Err(error) => match refusal(&error) {
                    Some(refused) => answer = Err(refused),
                    None => return Err(self.lost("try a document", &error)),
                },
            }
            if answer.is_err() {
                break;
            }
        }
        let _ = session.abort_transaction().await;
        Ok(answer)
    }

    /// The schema of a collection's validator, and a document that it takes.
    pub(super) fn valid(&mut self, name: &str) -> Option<(Document, Document)> {
        let collection = self.collections.get(name)?;
        let schema = collection.validator.get_document("$jsonSchema").cloned().unwrap_or_default();
        let mut document = self.source.document(&schema)?;
        // Conditions beside the schema, where they are as simple as those of partial indexes.
        let mut rest = collection.validator.clone();
        rest.remove("$jsonSchema");
        for (path, value) in partial(&rest)? {
            set(&mut document, &path, value);
        }
        if document.len() == 1 {
            document.insert("lyrox", self.source.text());
        }
        Some((schema, document))
    }

    pub(super) async fn try_documents(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        if !self.collections.contains_key(name) {
            return Ok(outcome);
        }
        if !self.store.connected().has_transactions() {
            outcome.untried.push("the server takes no transactions: it is no replica set".into());
            return Ok(outcome);
        }
        let Some((schema, document)) = self.valid(name) else {
            outcome.untried.push(format!("no valid document is known for `{name}`: write smoke/{name}.toml"));
            return Ok(outcome);
        };
        match self.insert(name, std::slice::from_ref(&document)).await? {
            Ok(()) => outcome.passed += 1,
            Err(refused) => {
                let why = format!("a document made for its validator was refused: {}", refused.shown());
                outcome.untried.push(format!("{why}: write smoke/{name}.toml"));
                return Ok(outcome);
            }
        }
        let collection = self.collections.get(name).cloned().unwrap_or_default();
        if schema.is_empty() || !collection.refuses {
            outcome.notes.push(if schema.is_empty() {
                "no validator".into()
            } else {
                "the validator only warns".into()
            });
            return Ok(outcome);
        }
        let mut refused = 0;
        for wrong in wrong(&schema, &document) {
            match self.insert(name, &[wrong.document]).await? {
                Err(no) if no.code == 121 => refused += 1,
                Err(no) => outcome.untried.push(format!("{}: {}", wrong.what, no.shown())),
                Ok(()) => outcome.failed.push(format!("`{name}` took a document with {}", wrong.what)),
            }
        }
        outcome.notes.push(format!("{refused} wrong one{} refused", if refused == 1 { "" } else { "s" }));
        Ok(outcome)
    }

    /// Gives a document every field of an index that it lacks, and what a partial index asks.
    fn indexed(&mut self, schema: &Document, document: &mut Document, index: &Index) -> bool {
        let asked = match &index.partial {
            Some(filter) => match partial(filter) {
                Some(asked) => asked,
                None => return false,
            },
            None => Default::default(),
        };
        for (path, value) in asked {
            if !set(document, &path, value) {
                return false;
            }
        }
        for path in index.key.keys() {
            if get(document, path).is_none() {
                let Some(value) = self.source.field(schema, path) else { return false };
                if !set(document, path, value) {
                    return false;
                }
            }
        }
        true
    }

    pub(super) async fn try_unique(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(collection) = self.collections.get(name).cloned() else { return Ok(outcome) };
        if !self.store.connected().has_transactions() {
            outcome.untried.push("the server takes no transactions: it is no replica set".into());
            return Ok(outcome);
        }
        for index in collection.indexes.iter().filter(|index| index.is_unique) {
            let (Some((schema, mut first)), Some((_, mut second))) = (self.valid(name), self.valid(name)) else {
                outcome.untried.push(format!("`{}`: no valid document is known", index.name));
                continue;
            };
            let is_made = self.indexed(&schema, &mut first, index)
                && self.indexed(&schema, &mut second, index)
                && index.key.keys().all(|path| match get(&first, path).cloned() {
                    Some(value) => set(&mut second, path, value),
                    None => false,
                });
            if !is_made {
                outcome.untried.push(format!("`{}`: no document is known that it holds", index.name));
                continue;
            }
            match self.insert(name, &[first, second]).await? {
                Err(no) if no.code == 11000 && no.text.contains(&index.name) => outcome.passed += 1,
                Err(no) => outcome.untried.push(format!("`{}`: {}", index.name, no.shown())),
                Ok(()) => outcome.failed.push(format!("index `{}` of `{name}` took a duplicate", index.name)),
            }
        }
        Ok(outcome)
    }

    /// The validator requires the tenant, and every index leads with it: there is no other wall in MongoDB.
    pub(super) fn judge_tenant(&self, name: &str) -> Outcome {
        let mut outcome = Outcome::default();
        let tenancy = self.run.config.settings.tenancy.as_ref();
        let (Some(collection), Some(column)) =
            (self.collections.get(name), tenancy.and_then(|tenancy| tenancy.column.as_ref()))
        else {
            return outcome;
        };
        let schema = collection.validator.get_document("$jsonSchema").cloned().unwrap_or_default();
        if required(&schema).contains(column) {
            outcome.passed += 1;
        } else {
            outcome.failed.push(format!("the validator of `{name}` does not require `{column}`"));
        }
        for index in &collection.indexes {
            // An index that expires documents can have one field only.
            if index.key.keys().next() == Some(column) || index.expires.is_some() {
                outcome.passed += 1;
            } else {
                outcome.failed.push(format!("index `{}` of `{name}` does not begin with `{column}`", index.name));
            }
        }
        outcome
    }
}
