//! The project's own tests on MongoDB.
//!
//! A test is a transaction that is aborted. An error ends a transaction in MongoDB: where a step expects
//! one, the earlier steps are done again in a new transaction, which is why inserted documents get their
//! `_id` here and not from the server. With `commit`, each step is a transaction of its own that also writes
//! the `_id`s to `lyrox_smoke_journal`; they are removed after the test, or by the next run. Steps may insert,
//! update, delete, find and modify, and read; what changes the catalog cannot be undone and is refused.

use std::time::Instant;

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use serde_json::Value;

use super::MongodbSmoke;
use crate::error::{Code, Error, Result};
use crate::project::smoke::placeholders;
use crate::stores::mongodb::error::{Refusal as Said, refusal, refusal_in_reply};
use crate::stores::smoke::{Answer, Refusal, Reply, Variables};

/// The documents that committed steps inserted.
const JOURNAL: &str = "lyrox_smoke_journal";

/// How a command is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In the transaction, and again after an expected error.
    Writes,
    /// In the transaction.
    Reads,
    /// Outside: the server does not take it in one.
    Outside,
}

impl MongodbSmoke<'_> {
    pub(super) async fn begin_declared(&mut self, commit: bool) -> Result<()> {
        self.is_committing = commit;
        self.done.clear();
        if self.store.connected().has_transactions() && !commit && self.run.may_write {
            self.session = Some(self.transaction().await?);
        }
        Ok(())
    }

    pub(super) async fn declared_step(&mut self, text: &str, variables: &Variables) -> Result<Reply> {
        let mut command = read(&substitute(text, variables))?;
        let way = way(&command)?;
        if way == Way::Writes {
            if !self.run.may_write {
                return Ok(Reply::writes());
            }
            if !self.store.connected().has_transactions() {
                return Ok(Reply::Untried("the server takes no transactions: it is no replica set".into(), None));
            }
            give_ids(&mut command);
        }
        let begun = Instant::now();
        let outcome = match (self.is_committing, way) {
            (true, Way::Writes) => self.committed(&command).await?,
            (_, Way::Outside) => self.outside(command.clone()).await?,
            (..) => self.inside(command.clone()).await?,
        };
        let elapsed = begun.elapsed();
        match outcome {
            Ok(reply) => {
                if way == Way::Writes {
                    self.done.push(command);
                }
                Ok(Reply::Answer(answer(&reply, elapsed)))
            }
            Err(no) => {
                self.start_over().await?;
                let mut codes = vec![no.code.to_string()];
                if !no.name.is_empty() {
                    codes.push(no.name);
                }
                Ok(Reply::Refused(Refusal { codes, message: no.text }))
            }
        }
    }

    async fn outside(&self, command: Document) -> Result<Result<Document, Said>> {
        self.said(self.database().run_command(command).await)
    }

    async fn inside(&mut self, command: Document) -> Result<Result<Document, Said>> {
        let (command, is_count) = match count_as_pipeline(&command) {
            Some(pipeline) => (pipeline, true),
            None => (command, false),
        };
        let database = self.database();
        let sent = match &mut self.session {
            Some(session) => database.run_command(command).session(session).await,
            None => database.run_command(command).await,
        };
        let said = self.said(sent)?;
        Ok(said.map(|reply| {
            if is_count {
                doc! { "n": counted(&reply), "ok": 1 }
            } else {
                reply
            }
        }))
    }

    fn said(&self, sent: mongodb::error::Result<Document>) -> Result<Result<Document, Said>> {
        match sent {
            Ok(reply) => Ok(match refusal_in_reply(&reply) {
                Some(no) => Err(no),
                None => Ok(reply),
            }),
            Err(error) => match refusal(&error) {
                Some(no) => Ok(Err(no)),
                None => Err(self.lost("carry out a step", &error)),
            },
        }
    }

    /// After an error: a new transaction with what was done before it.
    async fn start_over(&mut self) -> Result<()> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let _ = session.abort_transaction().await;
        self.session = Some(self.transaction().await?);
        for command in self.done.clone() {
            if let Err(no) = self.inside(command).await? {
                return Err(Error::new(
                    Code::SmokeFailed,
                    "the steps before the expected error could not be done again",
                )
                .why(no.shown()));
            }
        }
        Ok(())
    }

    /// One step in a transaction of its own, what it inserted journaled with it.
    async fn committed(&mut self, command: &Document) -> Result<Result<Document, Said>> {
        let Some((name, Bson::String(collection))) =
            command.iter().next().map(|(key, value)| (key.clone(), value.clone()))
        else {
            return Err(refused("a command needs its collection"));
        };
        let database = self.database();
        // Within the transaction it could not be made.
        let _ = database.create_collection(JOURNAL).await;
        let journal = database.collection::<Document>(JOURNAL);
        let mut session = self.transaction().await?;
        let entry = |id: &Bson, run: &str| doc! { "project": &self.run.config.settings.project.name, "run": run, "collection": &collection, "id": id.clone() };
        let lost = |error: mongodb::error::Error| self.lost("journal a committed step", &error);
        for filter in filters(command) {
            let found: Vec<Document> = {
                let mut cursor = database
                    .collection::<Document>(&collection)
                    .find(filter)
                    .projection(doc! { "_id": 1 })
                    .limit(1000)
                    .session(&mut session)
                    .await
                    .map_err(lost)?;
                cursor.stream(&mut session).try_collect().await.map_err(lost)?
            };
            for document in found {
                let id = document.get("_id").cloned().unwrap_or(Bson::Null);
                let known = journal.find_one(entry(&id, &self.run.id)).session(&mut session).await.map_err(lost)?;
                if known.is_none() {
                    let _ = session.abort_transaction().await;
                    return Err(refused(&format!("`{name}` meets documents that this test did not insert")));
                }
            }
        }
        let reply = match self.said(database.run_command(command.clone()).session(&mut session).await)? {
            Ok(reply) => reply,
            Err(no) => {
                let _ = session.abort_transaction().await;
                return Ok(Err(no));
            }
        };
        let entries: Vec<Document> = inserted(command, &reply).iter().map(|id| entry(id, &self.run.id)).collect();
        if !entries.is_empty() {
            journal.insert_many(entries).session(&mut session).await.map_err(lost)?;
        }
        session.commit_transaction().await.map_err(lost)?;
        self.touched.insert(collection);
        Ok(Ok(reply))
    }

    pub(super) async fn end_declared(&mut self) -> Result<()> {
        if let Some(mut session) = self.session.take() {
            let _ = session.abort_transaction().await;
        }
        self.done.clear();
        if self.is_committing { self.remove_journaled().await.map(|_| ()) } else { Ok(()) }
    }

    /// Removes every document that the journal lists, then the journal.
    pub(super) async fn remove_journaled(&mut self) -> Result<Vec<String>> {
        let database = self.database();
        let lost = |error: mongodb::error::Error| self.lost("remove what a smoke test wrote", &error);
        let journal = database.collection::<Document>(JOURNAL);
        let mine = doc! { "project": &self.run.config.settings.project.name };
        let entries: Vec<Document> = journal.find(mine).await.map_err(lost)?.try_collect().await.map_err(lost)?;
        let mut removed = Vec::new();
        for entry in &entries {
            let (Ok(collection), Some(id)) = (entry.get_str("collection"), entry.get("id")) else { continue };
            let gone = database
                .collection::<Document>(collection)
                .delete_one(doc! { "_id": id.clone() })
                .await
                .map_err(lost)?;
            if gone.deleted_count > 0 {
                removed.push(format!("a document of `{collection}`"));
            }
            if let Some(own) = entry.get("_id") {
                journal.delete_one(doc! { "_id": own.clone() }).await.map_err(lost)?;
            }
        }
        if !entries.is_empty() || self.is_committing {
            // Another project may share the database.
            let left = journal.find_one(doc! {}).await.map_err(lost)?;
            if left.is_none() {
                journal.drop().await.map_err(lost)?;
            }
        }
        Ok(removed)
    }

    /// How many documents of this run the journal still lists.
    pub(super) async fn journaled(&self) -> Result<u64> {
        let journal = self.database().collection::<Document>(JOURNAL);
        journal
            .count_documents(doc! { "run": &self.run.id })
            .await
            .map_err(|error| self.lost("read the journal of smoke tests", &error))
    }
}

fn refused(why: &str) -> Error {
    Error::new(Code::SmokeFailed, "what the step does could not be undone")
        .why(why.to_owned())
        .data("rolled back")
        .hint("a committed test inserts, and changes only what it inserted; leave `commit` out for the rest")
}

/// Reads a command; the order of its keys counts.
fn read(text: &str) -> Result<Document> {
    let wrong = |why: String| Error::new(Code::SmokeFile, "a step is no MongoDB command").why(why).data("rolled back");
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match Bson::try_from(value).map_err(|_| wrong("a value is no extended JSON".into()))? {
        Bson::Document(document) if !document.is_empty() => Ok(document),
        _ => Err(wrong("it is a document whose first key names the command".into())),
    }
}

fn way(command: &Document) -> Result<Way> {
    let name = command.keys().next().map_or("", String::as_str);
    Ok(match name {
        "insert" | "update" | "delete" | "findAndModify" | "findandmodify" => Way::Writes,
        "aggregate" => {
            let stages = command.get_array("pipeline").cloned().unwrap_or_default();
            let writes = |stage: &Bson| {
                stage.as_document().is_some_and(|stage| stage.contains_key("$out") || stage.contains_key("$merge"))
            };
            if stages.iter().any(writes) {
                return Err(refused("`$out` and `$merge` write outside a transaction"));
            }
            Way::Reads
        }
        "find" | "distinct" | "count" => Way::Reads,
        "ping" | "hello" | "buildInfo" | "explain" | "listCollections" | "listIndexes" | "dbStats" | "collStats"
        | "validate" | "connectionStatus" | "serverStatus" => Way::Outside,
        _ => {
            return Err(refused(&format!("`{name}` is no command of a smoke test"))
                .hint("insert, update, delete, findAndModify, find, aggregate, count, distinct, explain"));
        }
    })
}

/// A transaction takes no `count`, but a pipeline that counts.
fn count_as_pipeline(command: &Document) -> Option<Document> {
    let collection = command.get("count")?.as_str()?;
    let mut pipeline = vec![doc! { "$match": command.get_document("query").cloned().unwrap_or_default() }];
    for (key, stage) in [("skip", "$skip"), ("limit", "$limit")] {
        if let Some(value) = command.get(key) {
            pipeline.push(doc! { stage: value.clone() });
        }
    }
    pipeline.push(doc! { "$count": "n" });
    Some(doc! { "aggregate": collection, "pipeline": pipeline, "cursor": {} })
}

fn counted(reply: &Document) -> Bson {
    let batch = reply.get_document("cursor").ok().and_then(|cursor| cursor.get_array("firstBatch").ok());
    let first = batch.and_then(|batch| batch.first()).and_then(Bson::as_document);
    first.and_then(|first| first.get("n").cloned()).unwrap_or(Bson::Int32(0))
}

/// Inserted documents get their `_id` here: the same when they are inserted again.
fn give_ids(command: &mut Document) {
    if !command.contains_key("insert") {
        return;
    }
    if let Ok(documents) = command.get_array_mut("documents") {
        for document in documents.iter_mut().filter_map(Bson::as_document_mut) {
            if !document.contains_key("_id") {
                document.insert("_id", ObjectId::new());
            }
        }
    }
}

/// Which documents a command may change.
fn filters(command: &Document) -> Vec<Document> {
    let parts = |key: &str| -> Vec<Document> {
        let parts = command.get_array(key).cloned().unwrap_or_default();
        parts
            .iter()
            .filter_map(Bson::as_document)
            .map(|part| part.get_document("q").cloned().unwrap_or_default())
            .collect()
    };
    match command.keys().next().map_or("", String::as_str) {
        "update" => parts("updates"),
        "delete" => parts("deletes"),
        "findAndModify" | "findandmodify" => vec![command.get_document("query").cloned().unwrap_or_default()],
        _ => Vec::new(),
    }
}

/// The `_id`s that a command inserted, upserts included.
fn inserted(command: &Document, reply: &Document) -> Vec<Bson> {
    let of = |key: &str, from: &Document| -> Vec<Bson> {
        let parts = from.get_array(key).cloned().unwrap_or_default();
        parts.iter().filter_map(Bson::as_document).filter_map(|part| part.get("_id").cloned()).collect()
    };
    if command.contains_key("insert") {
        return of("documents", command);
    }
    let mut ids = of("upserted", reply);
    ids.extend(reply.get_document("lastErrorObject").ok().and_then(|last| last.get("upserted")).cloned());
    ids
}

fn answer(reply: &Document, elapsed: std::time::Duration) -> Answer {
    let mut reply = reply.clone();
    for key in ["$clusterTime", "operationTime"] {
        reply.remove(key);
    }
    let batch = reply.get_document("cursor").ok().and_then(|cursor| cursor.get_array("firstBatch").ok()).cloned();
    let value = Bson::Document(reply.clone()).into_relaxed_extjson();
    let (first, rows) = match (&batch, reply.get_array("values")) {
        (Some(batch), _) => (batch.first().cloned(), batch.len() as u64),
        (None, Ok(values)) => (Some(Bson::Array(values.clone())), values.len() as u64),
        _ => {
            let n = reply.get("n").and_then(super::document::number).unwrap_or(0.0);
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let n = n.max(0.0) as u64;
            (reply.get("value").or_else(|| reply.get("n")).cloned(), n)
        }
    };
    let first = first.map_or(Value::Null, Bson::into_relaxed_extjson);
    Answer { value, first, rows, ttl: None, elapsed }
}

/// Puts the values in: as JSON where a value stands alone or is all of a string, as text within a string.
fn substitute(text: &str, variables: &Variables) -> String {
    let mut result = String::with_capacity(text.len());
    let mut from = 0;
    for (range, name) in placeholders(text) {
        let value = variables.get(name).cloned().unwrap_or(Value::Null);
        result.push_str(&text[from..range.start]);
        from = range.end;
        if !is_within_string(&result) {
            result.push_str(&value.to_string());
        } else if result.ends_with('"') && text[from..].starts_with('"') {
            result.pop();
            result.push_str(&value.to_string());
            from += 1;
        } else {
            let plain = match &value {
                Value::String(text) => text.clone(),
                Value::Object(object) if object.len() == 1 => match object.values().next() {
                    Some(Value::String(text)) => text.clone(),
                    _ => value.to_string(),
                },
                other => other.to_string(),
            };
            let quoted = Value::String(plain).to_string();
            result.push_str(&quoted[1..quoted.len() - 1]);
        }
    }
    result.push_str(&text[from..]);
    result
}

fn is_within_string(text: &str) -> bool {
    let mut is_within = false;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' if is_within => {
                characters.next();
            }
            '"' => is_within = !is_within,
            _ => {}
        }
    }
    is_within
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_put_in_as_what_they_are() {
        let variables = Variables::from([
            ("id".to_owned(), json!({ "$oid": "65f000000000000000000001" })),
            ("n".to_owned(), json!(7)),
            ("t".to_owned(), json!("a \"quoted\" text")),
        ]);
        for (text, expected) in [
            (r#"{"a": {{n}}}"#, r#"{"a": 7}"#),
            (r#"{"a": "{{n}}"}"#, r#"{"a": 7}"#),
            (r#"{"a": "{{id}}"}"#, r#"{"a": {"$oid":"65f000000000000000000001"}}"#),
            (r#"{"a": {{t}}}"#, r#"{"a": "a \"quoted\" text"}"#),
            (r#"{"a": "x {{t}}"}"#, r#"{"a": "x a \"quoted\" text"}"#),
            (r#"{"a": "x {{id}}"}"#, r#"{"a": "x 65f000000000000000000001"}"#),
        ] {
            assert_eq!(substitute(text, &variables), expected);
            assert!(read(&substitute(text, &variables)).is_ok(), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_undone_is_refused() {
        for command in [
            doc! { "drop": "c" },
            doc! { "aggregate": "c", "pipeline": [{ "$out": "x" }] },
            doc! { "createIndexes": "c" },
        ] {
            assert!(way(&command).is_err(), "{command}");
        }
        assert_eq!(way(&doc! { "insert": "c" }).ok(), Some(Way::Writes));
        assert_eq!(way(&doc! { "find": "c" }).ok(), Some(Way::Reads));
    }
}
