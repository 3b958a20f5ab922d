//! MongoDB's migration files: an array of database commands in extended JSON, with comments. Pure: it
//! reads text and makes commands; it knows no connection.

use bson::{Bson, Document};
use serde_json::Value;

use crate::config::Variables;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::Script;
use crate::project::text::sha256;
use crate::stores::expand::expand;

/// One command of a script.
#[derive(Clone, Debug)]
pub struct Command {
    /// The command, its keys in the order of the file, variables filled in.
    pub document: Document,
    /// What it does to the server.
    pub kind: Kind,
    /// Where it stands in the text: a byte offset.
    pub offset: usize,
    /// How many characters of its first line a caret underlines.
    pub width: usize,
    /// The command as one line, variables not filled in.
    pub shown: String,
    /// The hash of the command with its variables not filled in: tells an edit between two runs.
    pub hash: String,
}

/// What a command does, and so how it is run and what is done when its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Writes documents: may take part in a transaction.
    Data,
    /// Changes the catalog: never in a transaction, its effect can be looked up.
    Catalog,
    /// Only reads: may be run again.
    Read,
    /// Anything else.
    Other,
}

/// The options of a collection that `collMod` can change.
const VALIDATION: [&str; 3] = ["validator", "validationLevel", "validationAction"];

impl Command {
    /// The command's name: its first key.
    pub fn name(&self) -> &str {
        self.document.keys().next().map_or("", String::as_str)
    }

    /// What the first key names, where that is a collection.
    pub fn target(&self) -> Option<&str> {
        self.document.iter().next().and_then(|(_, value)| value.as_str())
    }

    /// Whether a `create` asks only for what can be changed on something that is there already.
    pub fn can_change(&self) -> bool {
        let changeable = ["create", "viewOn", "pipeline", "writeConcern", "comment"];
        self.document.keys().all(|key| changeable.contains(&key.as_str()) || VALIDATION.contains(&key.as_str()))
    }

    /// The `collMod` that brings what is there to what a `create` asks for; none for a command that makes nothing.
    pub fn as_change(&self) -> Option<Self> {
        let target = self.target().filter(|_| self.name() == "create")?;
        let mut document = bson::doc! { "collMod": target };
        if let Some(on) = self.document.get("viewOn") {
            document.insert("viewOn", on.clone());
            document.insert("pipeline", self.document.get("pipeline").cloned().unwrap_or(Bson::Array(Vec::new())));
        } else {
            let defaults = [Bson::Document(Document::new()), "strict".into(), "error".into()];
            for (key, default) in VALIDATION.into_iter().zip(defaults) {
                document.insert(key, self.document.get(key).cloned().unwrap_or(default));
            }
        }
        Some(Self { document, ..self.clone() })
    }

    /// Where it stands.
    pub fn place(&self, script: &Script) -> Place {
        script.place(self.offset, self.width)
    }
}

/// Reads a script.
///
/// # Errors
/// `LYX-FILE-SYNTAX` with line and column, `LYX-FILE-EMPTY` for an empty array, or a command that lyrox
/// does not run. Nothing is sent.
pub fn read(script: &Script, variables: &Variables) -> Result<Vec<Command>> {
    let text = without_comments(script)?;
    let wrong = |offset: usize, width: usize, why: String| {
        Error::new(Code::FileSyntax, format!("`{}` cannot be read", script.path))
            .why(why)
            .at(script.place(offset, width))
            .data("nothing was changed")
    };
    let value: Value = serde_json::from_str(&text).map_err(|error| {
        let offset = offset_of(&text, error.line(), error.column());
        wrong(offset, 1, reason(&error))
    })?;
    let Value::Array(items) = value else {
        let offset = text.len() - text.trim_start().len();
        return Err(wrong(offset, 1, "the file is not an array of commands".into())
            .hint("put [ before the first command and ] after the last"));
    };
    if items.is_empty() {
        return Err(Error::new(Code::FileEmpty, format!("`{}` has no command in it", script.path))
            .data("nothing was changed")
            .hint(format!("write the migration, or delete `{}`", script.path)));
    }
    let mut commands = Vec::with_capacity(items.len());
    for (item, (offset, end)) in items.into_iter().zip(elements(&text)) {
        let width = script.text[offset..end].lines().next().unwrap_or("").trim_end().chars().count();
        let wrong = |why: String| wrong(offset, width, why);
        if let Some(key) = repeated_key(&text[offset..end]) {
            return Err(wrong(format!("the key `{key}` stands twice in one object")));
        }
        let shown = item.to_string();
        let hash = sha256(shown.as_bytes())[..16].to_owned();
        let filled = if script.header.vars { fill_in(item, variables).map_err(wrong)? } else { item };
        let document = match Bson::try_from(filled) {
            Ok(Bson::Document(document)) if !document.is_empty() => document,
            Ok(_) => return Err(wrong("a command is an object whose first key names it".into())),
            Err(_) => return Err(wrong("a value is no valid extended JSON".into())),
        };
        let command = Command { kind: kind(&document), document, offset, width, shown, hash };
        refuse(&command).map_err(|(why, hint)| {
            Error::new(Code::FileSyntax, format!("`{}` has a command that lyrox does not run", script.path))
                .why(why)
                .at(command.place(script))
                .data("nothing was changed")
                .hint(hint)
        })?;
        commands.push(command);
    }
    Ok(commands)
}

fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(before, _)| before);
    match text {
        text if text.starts_with("EOF") => format!("the file ends too soon ({text}): it may be half written"),
        text => text.to_owned(),
    }
}

/// serde_json counts columns in bytes, from 1, and 0 for a line end it stopped at.
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        line => text.match_indices('\n').nth(line - 2).map_or(text.len(), |(at, _)| at + 1),
    };
    (start + column.saturating_sub(1)).min(text.trim_end().len().saturating_sub(1))
}

/// The text with comments blanked out, so that every offset stays what it was.
pub(super) fn without_comments(script: &Script) -> Result<String> {
    let mut bytes = script.text.clone().into_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1)) {
            (b'"', _) => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            (b'/', Some(b'/')) => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    bytes[at] = b' ';
                    at += 1;
                }
            }
            (b'/', Some(b'*')) => {
                let open = at;
                let end = bytes[at + 2..].windows(2).position(|pair| pair == b"*/").map(|found| at + 2 + found + 2);
                let Some(end) = end else {
                    return Err(Error::new(Code::FileSyntax, format!("`{}` cannot be read", script.path))
                        .why("a comment is not closed")
                        .at(script.place(open, 2))
                        .data("nothing was changed"));
                };
                for byte in &mut bytes[open..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    // Only whole comments became spaces, so the text is UTF-8 still.
    String::from_utf8(bytes).map_err(|_| Error::bug("a comment was cut inside a character"))
}

/// Where each element of the outermost array begins and ends. The text is known to be valid.
fn elements(text: &str) -> Vec<(usize, usize)> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let (mut depth, mut start, mut end) = (0_usize, None, 0);
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let is_separator = depth == 1 && byte == b',' || depth <= 1 && byte == b']';
        if is_separator {
            found.extend(start.take().map(|start| (start, end)));
        } else if depth == 1 && !byte.is_ascii_whitespace() {
            start.get_or_insert(at);
        }
        match byte {
            b'"' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if !byte.is_ascii_whitespace() {
            end = at;
        }
    }
    found
}

/// A key that stands twice in one object: JSON readers keep the last one in silence.
fn repeated_key(text: &str) -> Option<String> {
    struct Keys;
    impl<'de> serde::de::DeserializeSeed<'de> for Keys {
        type Value = ();
        fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(Self)
        }
    }
    impl<'de> serde::de::Visitor<'de> for Keys {
        type Value = ();
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("JSON")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = std::collections::HashSet::new();
            while let Some(key) = map.next_key::<String>()? {
                if !seen.insert(key.clone()) {
                    return Err(serde::de::Error::custom(format!("\u{1}{key}\u{1}")));
                }
                map.next_value_seed(Self)?;
            }
            Ok(())
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            while seq.next_element_seed(Self)?.is_some() {}
            Ok(())
        }
        fn visit_bool<E>(self, _: bool) -> Result<(), E> {
            Ok(())
        }
        fn visit_i64<E>(self, _: i64) -> Result<(), E> {
            Ok(())
        }
        fn visit_u64<E>(self, _: u64) -> Result<(), E> {
            Ok(())
        }
        fn visit_f64<E>(self, _: f64) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let error = serde::de::DeserializeSeed::deserialize(Keys, &mut deserializer).err()?.to_string();
    error.split('\u{1}').nth(1).map(str::to_owned)
}

/// Variables are filled into texts only, so that a value can never change the shape of a command.
fn fill_in(value: Value, variables: &Variables) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(expand(&text, variables)?),
        Value::Array(items) => {
            Value::Array(items.into_iter().map(|item| fill_in(item, variables)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(key, value)| Ok((key, fill_in(value, variables)?)))
                .collect::<Result<_, String>>()?,
        ),
        other => other,
    })
}

fn kind(command: &Document) -> Kind {
    match command.keys().next().map_or("", String::as_str) {
        "insert" | "update" | "delete" | "findAndModify" | "findandmodify" => Kind::Data,
        "create" | "createIndexes" | "collMod" | "drop" | "dropIndexes" | "deleteIndexes" | "renameCollection" => {
            Kind::Catalog
        }
        "aggregate" => {
            let writes = command.get_array("pipeline").is_ok_and(|stages| {
                stages
                    .iter()
                    .filter_map(Bson::as_document)
                    .any(|stage| stage.contains_key("$out") || stage.contains_key("$merge"))
            });
            if writes { Kind::Other } else { Kind::Read }
        }
        "find" | "count" | "distinct" | "ping" | "hello" | "buildInfo" | "collStats" | "dbStats"
        | "listCollections" | "listIndexes" | "validate" | "explain" | "serverStatus" => Kind::Read,
        _ => Kind::Other,
    }
}

/// What a migration must not do: the reason and the way to do what was meant.
fn refuse(command: &Command) -> Result<(), (String, String)> {
    let name = command.name();
    let document = &command.document;
    match name {
        "dropDatabase" => {
            return Err((
                "`dropDatabase` would take lyrox's own collections and everything foreign with it".into(),
                "drop the collections that are meant, or use lyrox db reset".into(),
            ));
        }
        "shutdown" | "fsync" | "replSetReconfig" | "replSetStepDown" | "setParameter" | "configureFailPoint"
        | "killAllSessions" | "killOp" => {
            return Err((
                format!("`{name}` concerns the whole server, not the project's database"),
                "take it out of the file".into(),
            ));
        }
        "startTransaction" | "commitTransaction" | "abortTransaction" | "endSessions" => {
            return Err((
                format!("`{name}` is transaction control, which lyrox does itself"),
                "take it out: consecutive data commands share a transaction".into(),
            ));
        }
        _ => {}
    }
    for key in ["lsid", "txnNumber", "autocommit", "startTransaction", "$db"] {
        if document.contains_key(key) {
            return Err((format!("`{key}` is set by the driver"), format!("take `{key}` out of the command")));
        }
    }
    let own = |name: &str| name.starts_with("lyrox_");
    let touched = command.target().into_iter().chain(document.get_str("to").ok());
    if let Some(name) = touched.map(|name| name.rsplit('.').next().unwrap_or(name)).find(|name| own(name)) {
        return Err((
            format!("`{name}` is one of lyrox's own collections"),
            "names that begin with `lyrox_` are lyrox's: use another".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        Script {
            path: "migrations/1_a.up.json".into(),
            text: text.into(),
            checksum: String::new(),
            header: crate::project::migration::Header { vars: true, ..Default::default() },
            includes: std::collections::BTreeMap::new(),
            foreign: None,
        }
    }

    fn commands(text: &str) -> Vec<Command> {
        read(&script(text), &Variables::default()).expect("commands")
    }

    fn refused(text: &str) -> Error {
        read(&script(text), &Variables::default()).expect_err("an error")
    }

    #[test]
    fn key_order_types_and_comments_survive() {
        let text = "// lyrox: vars\n[\n  { \"insert\": \"é // no comment\", /* a ] */ \"documents\": [ { \"n\": { \"$numberLong\": \"7\" }, \"a\": 1 } ] },\n  {\"ping\":1} // [\n]\n";
        let commands = commands(text);
        assert_eq!(commands[0].document.keys().collect::<Vec<_>>(), ["insert", "documents"]);
        assert_eq!(commands[0].target(), Some("é // no comment"));
        let first =
            commands[0].document.get_array("documents").expect("an array")[0].as_document().expect("a document");
        assert_eq!(first.get("n"), Some(&Bson::Int64(7)));
        assert_eq!(first.keys().collect::<Vec<_>>(), ["n", "a"]);
        let place = commands[1].place(&script(text));
        assert_eq!((place.line, place.column, place.width), (4, 3, 10));
        assert_eq!((commands[0].kind, commands[1].kind), (Kind::Data, Kind::Read));
    }

    #[test]
    fn what_cannot_be_read_is_placed() {
        let at = |text: &str| {
            let error = refused(text);
            assert_eq!(error.code(), Code::FileSyntax, "{text}");
            let place = error.place().expect("a place").clone();
            (place.line, place.column)
        };
        assert_eq!(at("[\n {\"ping\": 1},\n {\"ping\" 1}\n]"), (3, 10));
        assert_eq!(at("[ { \"insert\": \"a\", \"docu"), (1, 24));
        assert_eq!(at("{ \"ping\": 1 }"), (1, 1));
        assert_eq!(at("[ {\"ping\":1}, 5 ]"), (1, 15));
        assert_eq!(at("[ {\"ping\":1},\n {\"a\": {\"$oid\": \"xyz\"}} ]"), (2, 2));
        assert_eq!(at("[ /* {\"ping\":1} ]"), (1, 3));
        assert_eq!(at("[ {\"ping\":1, \"x\": {\"a\":1,\"a\":2}} ]"), (1, 3));
        assert_eq!(at("[ {\"ping\": \"${LYROX_NOT_SET_ANYWHERE}\"} ]"), (1, 3));
        assert_eq!(refused("// nothing\n[ ]").code(), Code::FileEmpty);
    }

    #[test]
    fn what_must_not_run_is_refused() {
        for text in [
            "[{\"dropDatabase\": 1}]",
            "[{\"insert\": \"lyrox_migrations\", \"documents\": []}]",
            "[{\"renameCollection\": \"x.a\", \"to\": \"x.lyrox_meta\"}]",
            "[{\"insert\": \"a\", \"lsid\": 1}]",
            "[{\"commitTransaction\": 1}]",
            "[{\"shutdown\": 1}]",
        ] {
            let error = refused(text);
            assert!(error.hint_text().is_some() && error.data_text() == Some("nothing was changed"), "{text}");
        }
    }

    #[test]
    fn hashes_tell_edits_and_ignore_layout() {
        let hash = |text: &str| commands(text)[0].hash.clone();
        assert_eq!(hash("[{\"drop\":\"a\"}]"), hash("[ {\n \"drop\" : \"a\" } ] // x"));
        assert_ne!(hash("[{\"drop\":\"a\"}]"), hash("[{\"drop\":\"b\"}]"));
    }
}
