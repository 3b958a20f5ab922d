//! Running a command document of a person's and answering what it gives. Without leave to write, only
//! commands that are known to read.

use bson::{Bson, Document};
use futures_util::TryStreamExt as _;
use serde_json::{Value, json};

use super::connect::Connected;
use super::error::{refusal, refusal_in_reply, work_error};
use crate::config::Endpoint;
use crate::error::{Code, Error, Place, Result};
use crate::stores::query::{Answer, Options, Shown};

/// Commands that only read, in lower case.
const READING: &[&str] = &[
    "aggregate",
    "buildinfo",
    "collstats",
    "connectionstatus",
    "count",
    "datasize",
    "dbstats",
    "distinct",
    "explain",
    "find",
    "getparameter",
    "hello",
    "hostinfo",
    "ismaster",
    "listcollections",
    "listcommands",
    "listdatabases",
    "listindexes",
    "ping",
    "replsetgetconfig",
    "replsetgetstatus",
    "rolesinfo",
    "serverstatus",
    "usersinfo",
];

/// Commands that are answered by the database `admin` only.
const OF_ADMIN: &[&str] = &["getparameter", "hostinfo", "listdatabases", "replsetgetconfig", "replsetgetstatus"];

/// Commands that answer a cursor.
const CURSORS: &[&str] = &["aggregate", "find", "listcollections", "listindexes"];

/// Runs one command, written as extended JSON, on the project's database or on the one that `$db` names.
///
/// # Errors
/// `LYX-QUERY-FAILED` with the server's words; `LYX-USAGE` for a text that is no command, or one that writes.
pub async fn run(connected: &Connected, endpoint: &Endpoint, text: &str, options: &Options) -> Result<Answer> {
    let mut command = read(text)?;
    let given = command.remove("$db").and_then(|name| name.as_str().map(str::to_owned));
    if !options.may_write {
        refuse_writing(&command)?;
    }
    let name = command.keys().next().map(|name| name.to_lowercase()).unwrap_or_default();
    let database = match given.as_deref() {
        None if OF_ADMIN.contains(&name.as_str()) => connected.client.database("admin"),
        None => connected.database.clone(),
        Some(given) => connected.client.database(given),
    };
    if !command.contains_key("maxTimeMS") && matches!(name.as_str(), "find" | "aggregate" | "count" | "distinct") {
        command.insert("maxTimeMS", i64::try_from(options.time.as_millis()).unwrap_or(i64::MAX));
    }
    if name == "aggregate" && !command.contains_key("cursor") {
        command.insert("cursor", Document::new());
    }
    let failed = |error: mongodb::error::Error| match refusal(&error) {
        Some(refusal) => Error::new(Code::QueryFailed, refusal.shown()).hint(advice(refusal.code)),
        None => work_error(endpoint, "run the query", &error),
    };
    if CURSORS.contains(&name.as_str()) {
        let mut cursor = database.run_cursor_command(command).await.map_err(failed)?;
        let mut documents = Vec::new();
        let mut is_cut = false;
        while let Some(document) = cursor.try_next().await.map_err(failed)? {
            if documents.len() >= options.limit {
                is_cut = true;
                break;
            }
            documents.push(document);
        }
        return Ok(of_documents(documents, is_cut));
    }
    let reply = database.run_command(command).await.map_err(failed)?;
    if let Some(refusal) = refusal_in_reply(&reply) {
        return Err(Error::new(Code::QueryFailed, refusal.shown()).hint(advice(refusal.code)));
    }
    Ok(of_reply(reply))
}

fn advice(code: i32) -> &'static str {
    match code {
        13 => "give the user the role that the command needs",
        26 => "lyrox db migrate makes the collection",
        50 => "--timeout 5m gives it more time",
        59 => "the first key of the document is the command: '{\"find\": \"users\"}'",
        _ => super::error::advice(code).unwrap_or("look the command up in MongoDB's manual; its first key is its name"),
    }
}

fn read(text: &str) -> Result<Document> {
    let usage = |what: &str| {
        Error::new(Code::Usage, what.to_owned())
            .data("nothing was sent")
            .hint("lyrox query mongodb '{\"find\": \"users\", \"limit\": 5}'")
    };
    let value: Value = serde_json::from_str(text).map_err(|error| {
        let offset = text.lines().take(error.line().saturating_sub(1)).map(|line| line.len() + 1).sum::<usize>();
        let column = error.column().saturating_sub(1);
        usage("the query is no JSON document").at(Place::at_offset("query", text, offset + column, 1))
    })?;
    match Bson::try_from(value) {
        Ok(Bson::Document(document)) if !document.is_empty() => Ok(document),
        Ok(_) => Err(usage("the query is no command document")),
        Err(_) => Err(usage("the query is no extended JSON")),
    }
}

fn refuse_writing(command: &Document) -> Result<()> {
    let name = command.keys().next().cloned().unwrap_or_default();
    let shown: String = name.chars().filter(|c| c.is_ascii_alphanumeric()).take(40).collect();
    let refused =
        |what: String| Error::new(Code::Usage, what).data("nothing was sent").hint("--write lets a query change data");
    if !READING.contains(&name.to_lowercase().as_str()) {
        return Err(refused(format!("`{shown}` is none of the commands that only read")));
    }
    if name.eq_ignore_ascii_case("explain") {
        return match command.get(&name) {
            Some(Bson::Document(explained)) => refuse_writing(explained),
            _ => Err(refused("`explain` takes a command document".into())),
        };
    }
    if let Ok(pipeline) = command.get_array("pipeline")
        && pipeline.iter().any(writes)
    {
        return Err(refused("a pipeline with `$out` or `$merge` writes".into()));
    }
    Ok(())
}

/// Whether a pipeline, or any pipeline inside it, writes its result to a collection.
fn writes(value: &Bson) -> bool {
    match value {
        Bson::Document(document) => {
            document.iter().any(|(key, value)| matches!(key.as_str(), "$out" | "$merge") || writes(value))
        }
        Bson::Array(values) => values.iter().any(writes),
        _ => false,
    }
}

fn of_documents(documents: Vec<Document>, is_cut: bool) -> Answer {
    let columns: Vec<String> = documents.first().map_or_else(Vec::new, |first| first.keys().cloned().collect());
    let values: Vec<Value> =
        documents.into_iter().map(|document| Bson::Document(document).into_relaxed_extjson()).collect();
    let rows = values.iter().map(|value| columns.iter().map(|column| value[column].clone()).collect()).collect();
    Answer { columns, rows, value: Value::Array(values), shown: Shown::Json, is_cut }
}

fn of_reply(mut reply: Document) -> Answer {
    for noise in ["ok", "operationTime", "$clusterTime", "electionId", "opTime"] {
        reply.remove(noise);
    }
    let value = Bson::Document(reply).into_relaxed_extjson();
    let value = if value.as_object().is_some_and(serde_json::Map::is_empty) { json!({ "ok": 1 }) } else { value };
    let (columns, row) = value
        .as_object()
        .map_or_else(Default::default, |reply| reply.iter().map(|(key, value)| (key.clone(), value.clone())).unzip());
    Answer { columns, rows: vec![row], value, shown: Shown::Json, is_cut: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_commands_pass() {
        for text in [
            r#"{"find": "a", "filter": {"$merge": 1}}"#,
            r#"{"count": "a"}"#,
            r#"{"serverStatus": 1}"#,
            r#"{"aggregate": "a", "pipeline": [{"$match": {"x": "$out"}}]}"#,
            r#"{"explain": {"find": "a"}}"#,
        ] {
            refuse_writing(&read(text).expect(text)).expect(text);
        }
        for text in [
            r#"{"insert": "a", "documents": []}"#,
            r#"{"drop": "a"}"#,
            r#"{"aggregate": "a", "pipeline": [{"$match": {}}, {"$out": "b"}]}"#,
            r#"{"aggregate": "a", "pipeline": [{"$lookup": {"pipeline": [{"$merge": "b"}]}}]}"#,
            r#"{"findAndModify": "a"}"#,
            r#"{"shutdown": 1}"#,
            r#"{"eval": "x", "find": "a"}"#,
        ] {
            assert!(refuse_writing(&read(text).expect(text)).is_err(), "{text}");
        }
        for text in ["", "find", "[]", "{}", "{\"a\": }"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
