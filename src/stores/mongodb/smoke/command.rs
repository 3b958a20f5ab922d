//! The commands of declared steps: read, told apart by what they do to the data, their answers. Pure.

use bson::oid::ObjectId;
use bson::{Bson, Document, doc};
use serde_json::Value;

use crate::error::{Code, Error, Result};
use crate::project::smoke::{placeholders, plain};
use crate::stores::smoke::{Answer, Variables};

/// How a command is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In the transaction, and again after an expected error.
    Writes,
    /// In the transaction.
    Reads,
    /// Outside: the server does not take it in one.
    Outside,
}

pub(super) fn refused(why: &str) -> Error {
    Error::new(Code::SmokeFailed, "what the step does could not be undone")
        .why(why.to_owned())
        .data("rolled back")
        .hint("a committed test inserts, and changes only what it inserted; leave `commit` out for the rest")
}

/// Reads a command; the order of its keys counts.
pub(super) fn read(text: &str) -> Result<Document> {
    let wrong = |why: String| Error::new(Code::SmokeFile, "a step is no MongoDB command").why(why).data("rolled back");
    let value: Value = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    match Bson::try_from(value).map_err(|_| wrong("a value is no extended JSON".into()))? {
        Bson::Document(document) if !document.is_empty() => Ok(document),
        _ => Err(wrong("it is a document whose first key names the command".into())),
    }
}

pub(super) fn way(command: &Document) -> Result<Way> {
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
pub(super) fn count_as_pipeline(command: &Document) -> Option<Document> {
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

pub(super) fn counted(reply: &Document) -> Bson {
    let batch = reply.get_document("cursor").ok().and_then(|cursor| cursor.get_array("firstBatch").ok());
    let first = batch.and_then(|batch| batch.first()).and_then(Bson::as_document);
    first.and_then(|first| first.get("n").cloned()).unwrap_or(Bson::Int32(0))
}

/// Inserted documents get their `_id` here: the same when they are inserted again.
pub(super) fn give_ids(command: &mut Document) {
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
pub(super) fn filters(command: &Document) -> Vec<Document> {
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
pub(super) fn inserted(command: &Document, reply: &Document) -> Vec<Bson> {
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

pub(super) fn answer(reply: &Document, elapsed: std::time::Duration) -> Answer {
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
pub(super) fn substitute(text: &str, variables: &Variables) -> String {
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
            let quoted = Value::String(plain(&value)).to_string();
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
