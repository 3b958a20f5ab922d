//! Lines of a bundle on their way into stores: as they are, or with another tenant's key and new ids. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Entry;
use super::spaces::Matcher;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// The length of a UUID in its usual form.
const UUID: usize = 36;
/// The length of an ObjectId in hexadecimal.
const OBJECT_ID: usize = 24;

/// Hands out the lines of a text, without their ends.
///
/// # Errors
/// Those of `take`.
pub fn each(text: &[u8], mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\n', rest) {
        take(&rest[..at])?;
        rest = &rest[at + 1..];
    }
    if rest.is_empty() { Ok(()) } else { take(rest) }
}

/// The ids that get new ones, and how a new one follows from an old one: the same each time, so that a run that was cut short
/// goes on with the same ids.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    namespace: Uuid,
    uuids: Vec<u128>,
    objects: Vec<[u8; 12]>,
}

impl Ids {
    /// No ids yet, for a tenant of a project.
    pub fn new(project: &str, key: &str) -> Self {
        let name = format!("lyrox\0tenant import\0{project}\0{key}");
        Self { namespace: Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()), ..Self::default() }
    }

    /// Takes the ids of a line.
    ///
    /// # Errors
    /// `LYX-BUNDLE` for an id that is neither a UUID nor an ObjectId: a new one cannot be made of it.
    pub fn learn(&mut self, entry: &Entry, line: &[u8]) -> Result<()> {
        let value: Value = serde_json::from_slice(line).map_err(|error| not_json(entry, &error))?;
        for column in &entry.ids {
            match &value[column.as_str()] {
                Value::String(text) => match Uuid::parse_str(text) {
                    Ok(id) if text.len() == UUID => self.uuids.push(id.as_u128()),
                    _ => return Err(unmappable(entry, column, text)),
                },
                value @ Value::Object(_) if binary(value).is_some() => {
                    self.uuids.extend(binary(value).map(|id| id.as_u128()));
                }
                Value::Object(object) => {
                    let id = object.get("$oid").and_then(Value::as_str).and_then(object_id);
                    self.objects
                        .push(id.ok_or_else(|| unmappable(entry, column, &value[column.as_str()].to_string()))?);
                }
                Value::Null => {}
                other => return Err(unmappable(entry, column, &other.to_string())),
            }
        }
        Ok(())
    }

    /// After the last line: from now on ids are looked up.
    pub fn seal(&mut self) {
        self.uuids.sort_unstable();
        self.uuids.dedup();
        self.objects.sort_unstable();
        self.objects.dedup();
    }

    fn uuid(&self, text: &str) -> Option<String> {
        let id = Uuid::parse_str(text).ok()?;
        self.uuids.binary_search(&id.as_u128()).ok()?;
        Some(Uuid::new_v5(&self.namespace, id.as_bytes()).to_string())
    }

    fn object(&self, text: &str) -> Option<String> {
        let id = object_id(text)?;
        self.objects.binary_search(&id).ok()?;
        let digest = Sha256::digest([self.namespace.as_bytes().as_slice(), &id].concat());
        // The first four bytes are the time of its making, by which programs sort.
        Some(super::hexadecimal(&[&id[..4], &digest[..8]].concat()))
    }
}

/// The UUID that a document holds as its bytes.
fn binary(value: &Value) -> Option<Uuid> {
    let binary = value.get("$binary")?;
    let bytes = STANDARD.decode(binary["base64"].as_str()?).ok()?;
    (binary["subType"] == "04").then(|| Uuid::from_slice(&bytes).ok()).flatten()
}

fn in_bytes(id: Uuid) -> Value {
    serde_json::json!({ "$binary": { "base64": STANDARD.encode(id.as_bytes()), "subType": "04" } })
}

fn object_id(text: &str) -> Option<[u8; 12]> {
    if text.len() != OBJECT_ID || !text.is_ascii() {
        return None;
    }
    let mut id = [0; 12];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).ok()?;
    }
    Some(id)
}

fn unmappable(entry: &Entry, column: &str, text: &str) -> Error {
    Error::new(Code::Bundle, format!("`{}` of `{}` cannot get new ids", column, entry.name))
        .why(format!("`{}` is neither a UUID nor an ObjectId", crate::engine::tenant::shown(text)))
        .data("nothing was changed")
        .hint("import it with `--ids keep`, into an installation that does not have these ids")
}

fn not_json(entry: &Entry, error: &serde_json::Error) -> Error {
    Error::new(Code::Bundle, format!("a line of `{}` cannot be read", entry.name))
        .why(error.to_string())
        .data("nothing was changed")
}

/// What becomes of lines.
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    /// The tenant's key in the bundle.
    pub old: String,
    /// Its key here.
    pub new: String,
    /// Where the key stands, by store and part: the name of a column or field.
    pub carriers: BTreeMap<(StoreKind, String), String>,
    /// Key spaces whose names tell the tenant: how its old key is found in them.
    pub spaces: BTreeMap<String, Matcher>,
    /// Columns of its row in the tenant table that get other values, and the name of that table.
    pub set: Option<(String, Vec<(String, String)>)>,
    /// New ids; none: they stay.
    pub ids: Option<Ids>,
}

impl Mapping {
    /// Whether every line stays as it is.
    pub fn is_identity(&self) -> bool {
        self.old == self.new && self.set.is_none() && self.ids.is_none()
    }

    /// A line as the store gets it.
    ///
    /// # Errors
    /// A line that is no JSON object.
    pub fn line<'a>(&self, store: StoreKind, entry: &Entry, line: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        if self.is_identity() {
            return Ok(Cow::Borrowed(line));
        }
        let mut line = Cow::Borrowed(line);
        let is_uuid = Uuid::parse_str(&self.old).is_ok() && self.old.len() == UUID;
        if self.old != self.new {
            line = Cow::Owned(self.renamed(store, entry, &line)?);
        }
        if self.ids.is_some() || (is_uuid && self.old != self.new) {
            line = Cow::Owned(self.replaced(&line, is_uuid));
            if store == StoreKind::Mongodb && self.ids.is_some() && memchr::memmem::find(&line, b"$binary").is_some() {
                let mut value: Value = serde_json::from_slice(&line).map_err(|error| not_json(entry, &error))?;
                self.rebound(&mut value);
                line = Cow::Owned(value.to_string().into_bytes());
            }
        }
        if let Some((table, set)) = &self.set
            && store == StoreKind::Postgres
            && *table == entry.name
        {
            let mut value: Value = serde_json::from_slice(&line).map_err(|error| not_json(entry, &error))?;
            for (column, given) in set {
                value[column.as_str()] = Value::String(given.clone());
            }
            line = Cow::Owned(value.to_string().into_bytes());
        }
        Ok(line)
    }

    /// The key where it is known to stand: any text may be a key, and the same text elsewhere means something else.
    fn renamed(&self, store: StoreKind, entry: &Entry, line: &[u8]) -> Result<Vec<u8>> {
        let mut value: Value = serde_json::from_slice(line).map_err(|error| not_json(entry, &error))?;
        if let Some(field) = self.carriers.get(&(store, entry.name.clone())) {
            let at = if store == StoreKind::Redis { "value" } else { field.as_str() };
            if store == StoreKind::Redis {
                for pair in value[at].as_array_mut().into_iter().flatten() {
                    if pair[0] == field.as_str() && pair[1] == self.old.as_str() {
                        pair[1] = Value::String(self.new.clone());
                    }
                }
            } else if value[at] == self.old.as_str() {
                value[at] = Value::String(self.new.clone());
            } else if value[at].is_object() {
                self.retype(entry, &mut value[at])?;
            }
        }
        if store == StoreKind::Redis
            && let Some(matcher) = self.spaces.get(&entry.name)
            && let Some(key) = value["key"].as_str()
            && let Some(range) = matcher.place(key)
        {
            let mut key = key.to_owned();
            key.replace_range(range, &self.new);
            value["key"] = Value::String(key);
        }
        Ok(value.to_string().into_bytes())
    }

    /// The key where a document holds it as a number, an ObjectId or the bytes of a UUID: the new one in the same form.
    fn retype(&self, entry: &Entry, value: &mut Value) -> Result<()> {
        let unfit = |form: &str| {
            Error::new(Code::Bundle, format!("the new key cannot stand in the documents of `{}`", entry.name))
                .why(format!("they hold the tenant's key as {form}, and `{}` is none", super::super::shown(&self.new)))
                .data("nothing was changed")
                .hint("name another key: --key KEY")
        };
        for form in ["$numberInt", "$numberLong", "$numberDouble", "$numberDecimal"] {
            let Some(text) = value[form].as_str() else { continue };
            let number = |text: &str| text.parse::<i64>().ok().filter(|number| number.to_string() == text);
            let whole = text.strip_suffix(".0").unwrap_or(text);
            if whole != self.old || number(whole).is_none() {
                return Ok(());
            }
            let new = number(&self.new).filter(|number| form != "$numberInt" || i32::try_from(*number).is_ok());
            let new = new.ok_or_else(|| unfit("a number"))?;
            *value = serde_json::json!({ form: format!("{new}{}", &text[whole.len()..]) });
            return Ok(());
        }
        if value["$oid"].as_str().is_some_and(|id| object_id(id).is_some() && object_id(id) == object_id(&self.old)) {
            object_id(&self.new).ok_or_else(|| unfit("an ObjectId"))?;
            *value = serde_json::json!({ "$oid": self.new.to_lowercase() });
        } else if let (Some(old), Some(id)) = (Uuid::parse_str(&self.old).ok(), binary(value))
            && old == id
        {
            let new = Uuid::parse_str(&self.new).map_err(|_| unfit("the bytes of a UUID"))?;
            *value = in_bytes(new);
        }
        Ok(())
    }

    /// Ids that stand as the bytes of a UUID.
    fn rebound(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.rebound(item)),
            Value::Object(_) if binary(value).is_some() => {
                let new = binary(value).and_then(|id| self.ids.as_ref()?.uuid(&id.to_string()));
                if let Some(new) = new.and_then(|new| Uuid::parse_str(&new).ok()) {
                    *value = in_bytes(new);
                }
            }
            Value::Object(fields) => fields.values_mut().for_each(|field| self.rebound(field)),
            _ => {}
        }
    }

    /// Ids wherever they stand, in texts as well: nothing else looks like a UUID that the tenant has.
    fn replaced(&self, line: &[u8], is_uuid: bool) -> Vec<u8> {
        let Ok(text) = std::str::from_utf8(line) else { return line.to_vec() };
        let new = Value::String(self.new.clone()).to_string();
        let new = &new[1..new.len() - 1];
        let is_word = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
        let mut out = String::with_capacity(line.len());
        let mut at = 0;
        while at < line.len() {
            let start = at;
            while at < line.len() && is_word(line[at]) {
                at += 1;
            }
            let word = &text[start..at];
            let found = match word.len() {
                UUID if is_uuid && word == self.old && self.old != self.new => Some(new.to_owned()),
                UUID => self.ids.as_ref().and_then(|ids| ids.uuid(word)),
                OBJECT_ID => self.ids.as_ref().and_then(|ids| ids.object(word)),
                _ => None,
            };
            out.push_str(found.as_deref().unwrap_or(word));
            let rest = at;
            while at < line.len() && !is_word(line[at]) {
                at += 1;
            }
            out.push_str(&text[rest..at]);
        }
        out.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "3f2a0000-0000-4000-8000-000000000001";
    const NEW: &str = "3f2a0000-0000-4000-8000-000000000002";
    const ROW: &str = "aaaa0000-0000-4000-8000-00000000000a";
    const USER: &str = "bbbb0000-0000-4000-8000-00000000000b";
    const OBJECT: &str = "65a0000000000000000000ff";

    fn entry(store: StoreKind, name: &str, ids: &[&str]) -> Entry {
        Entry {
            store,
            name: name.into(),
            columns: Vec::new(),
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            rows: 0,
            digest: String::new(),
            files: Vec::new(),
        }
    }

    fn mapped(mapping: &Mapping, entry: &Entry, line: &str) -> String {
        let line = mapping.line(entry.store, entry, line.as_bytes()).expect("a line");
        String::from_utf8(line.into_owned()).expect("text")
    }

    #[test]
    fn without_anything_to_change_a_line_stays() {
        let mapping = Mapping { old: "a".into(), new: "a".into(), ..Mapping::default() };
        let sale = entry(StoreKind::Postgres, "sale", &[]);
        assert_eq!(mapped(&mapping, &sale, "{ \"odd\" :1}"), "{ \"odd\" :1}");
    }

    #[test]
    fn a_key_that_is_any_text_is_changed_where_it_is_the_key_only() {
        let carriers = [
            ((StoreKind::Postgres, "sale".to_owned()), "company".to_owned()),
            ((StoreKind::Redis, "sessions".to_owned()), "company".to_owned()),
        ];
        let mapping =
            Mapping { old: "acme".into(), new: "b\"b".into(), carriers: carriers.into(), ..Mapping::default() };
        let sale = entry(StoreKind::Postgres, "sale", &[]);
        assert_eq!(
            mapped(&mapping, &sale, r#"{"id":"1","company":"acme","note":"acme"}"#),
            r#"{"id":"1","company":"b\"b","note":"acme"}"#
        );
        let session = entry(StoreKind::Redis, "sessions", &[]);
        assert_eq!(
            mapped(&mapping, &session, r#"{"key":"s:acme","type":"hash","value":[["company","acme"],["x","acme"]]}"#),
            r#"{"key":"s:acme","type":"hash","value":[["company","b\"b"],["x","acme"]]}"#
        );
    }

    #[test]
    fn ids_are_changed_wherever_they_stand_and_others_stay() {
        let sale = entry(StoreKind::Postgres, "sale", &["id"]);
        let talk = entry(StoreKind::Mongodb, "talks", &["_id"]);
        let mut ids = Ids::new("p", NEW);
        ids.learn(&sale, format!(r#"{{"id":"{ROW}","user":"{USER}"}}"#).as_bytes()).expect("an id");
        ids.learn(&talk, format!(r#"{{"_id":{{"$oid":"{OBJECT}"}}}}"#).as_bytes()).expect("an id");
        assert!(ids.learn(&sale, br#"{"id":"42"}"#).is_err(), "a number cannot be mapped");
        ids.seal();
        let mapping = Mapping { old: OLD.into(), new: NEW.into(), ids: Some(ids), ..Mapping::default() };
        let line = format!(r#"{{"id":"{ROW}","company":"{OLD}","user":"{USER}","text":"see {ROW}, {OBJECT}."}}"#);
        let found = mapped(&mapping, &sale, &line);
        assert_eq!(found, mapped(&mapping, &sale, &line), "the same each time");
        assert!(!found.contains(ROW) && !found.contains(OLD) && !found.contains(OBJECT), "{found}");
        assert!(found.contains(NEW) && found.contains(USER) && found.contains("65a00000"), "{found}");
        let id = &found[7..43];
        assert_eq!(found.matches(id).count(), 2, "both places got the same");
        assert_eq!(mapped(&mapping, &sale, &format!("{{\"x\":\"{ROW}0\"}}")), format!("{{\"x\":\"{ROW}0\"}}"));
    }

    #[test]
    fn columns_of_the_tenants_row_can_be_given() {
        let set = Some(("company".to_owned(), vec![("owner".to_owned(), "x\"y".to_owned())]));
        let mapping = Mapping { old: "a".into(), new: "a".into(), set, ..Mapping::default() };
        let company = entry(StoreKind::Postgres, "company", &[]);
        assert_eq!(mapped(&mapping, &company, r#"{"id":"a","owner":"o"}"#), r#"{"id":"a","owner":"x\"y"}"#);
    }
}
