//! Documents that a `$jsonSchema` takes, and documents that it must refuse. Pure; the server has the last
//! word. For smoke tests texts hold the run's marker wherever the schema leaves them free; for generated data
//! they are believable, and optional fields are there more often than not.

use std::collections::BTreeMap;

use crate::engine::generate::moment::EPOCH;
use crate::engine::generate::random::Draw;
use crate::engine::generate::{pattern, provider};
use bson::oid::ObjectId;
use bson::{Bson, Document, doc};

/// How deep a schema is followed.
const DEEPEST: usize = 12;

/// Where values come from.
#[derive(Clone, Debug)]
pub struct Source {
    style: Style,
    draw: Draw,
    count: u32,
}

#[derive(Clone, Debug)]
enum Style {
    /// Recognisable, and different each time.
    Marked(String),
    /// As an application would write them.
    Believable(Believable),
}

/// One document of generated data.
#[derive(Clone, Debug, Default)]
pub struct Believable {
    /// The collection.
    pub collection: String,
    /// The number of the document.
    pub serial: u64,
    /// The fields, with their dots, that no two documents may share.
    pub unique: Vec<String>,
    /// The ids of documents that a field of this name refers to.
    pub references: BTreeMap<String, Vec<ObjectId>>,
}

/// A document that must be refused.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// What is wrong with it: "`platform` missing".
    pub what: String,
    /// The document.
    pub document: Document,
}

impl Source {
    /// Values of one run.
    pub fn new(marker: &str) -> Self {
        Self { style: Style::Marked(marker.to_owned()), draw: Draw::random(), count: 0 }
    }

    /// Values of one document of generated data.
    pub fn believable(what: Believable, draw: Draw) -> Self {
        Self { style: Style::Believable(what), draw, count: 0 }
    }

    fn object_id(&mut self, path: &str) -> ObjectId {
        if let Style::Believable(what) = &self.style {
            let name = path.rsplit('.').next().unwrap_or(path);
            if let Some(ids) = what.references.get(name).filter(|ids| !ids.is_empty()) {
                return ids[self.draw.index(ids.len())];
            }
        }
        object_id(&mut self.draw)
    }

    /// A text for the field.
    fn text_of(&mut self, path: &str) -> String {
        let Style::Believable(what) = &self.style else { return self.text() };
        let name = path.rsplit('.').next().unwrap_or(path);
        let serial = what.unique.iter().any(|unique| unique == path).then_some(what.serial);
        provider::text(provider::guess(&what.collection, name), serial, &mut self.draw)
    }

    /// A text with the marker, different each time.
    pub fn text(&mut self) -> String {
        self.count += 1;
        match &self.style {
            Style::Marked(marker) => format!("{marker}-{}-{:x}", self.count, self.draw.below(1 << 32)),
            Style::Believable(what) => {
                provider::text(provider::Provider::Label, Some(what.serial + u64::from(self.count)), &mut self.draw)
            }
        }
    }

    /// A document that the schema takes; none where lyrox does not know how.
    pub fn document(&mut self, schema: &Document) -> Option<Document> {
        let Bson::Document(mut document) = self.value(schema, "", 0, "object")? else { return None };
        if !document.contains_key("_id") {
            let of_schema = schema.get_document("properties").ok().and_then(|of| of.get_document("_id").ok()).cloned();
            let id = match of_schema {
                Some(schema) => self.value(&schema, "_id", 0, "objectId")?,
                None => self.object_id("_id").into(),
            };
            let rest = std::mem::take(&mut document);
            document.insert("_id", id);
            document.extend(rest);
        }
        Some(document)
    }

    /// A value of the field at a dotted path, as the schema wants it; a text where it says nothing.
    pub fn field(&mut self, schema: &Document, path: &str) -> Option<Bson> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        let of = flattened(schema).get_document("properties").ok().and_then(|of| of.get_document(first).ok()).cloned();
        let of = of.unwrap_or_default();
        match rest {
            Some(rest) => self.field(&of, rest),
            None => self.value(&of, path, 0, "string"),
        }
    }

    /// A value of a schema; `usual` is the type where the schema names none.
    fn value(&mut self, schema: &Document, path: &str, depth: usize, usual: &str) -> Option<Bson> {
        if depth > DEEPEST {
            return None;
        }
        let schema = &flattened(schema);
        if let Ok(values) = schema.get_array("enum") {
            let at = if matches!(self.style, Style::Believable(_)) { self.draw.index(values.len()) } else { 0 };
            return values.get(at).cloned();
        }
        let kinds = kinds(schema);
        let kind = kinds.iter().map(String::as_str).find(|kind| *kind != "null").unwrap_or(usual);
        Some(match kind {
            "object" => self.object(schema, path, depth)?.into(),
            "array" => {
                let least = schema.get("minItems").and_then(number).unwrap_or(0.0);
                let most = schema.get("maxItems").and_then(number).unwrap_or(least.max(3.0));
                #[allow(clippy::cast_precision_loss, reason = "a few items")]
                let more = if matches!(self.style, Style::Believable(_)) { self.draw.below(3) as f64 } else { 0.0 };
                let count = (least + more).min(most);
                let items = schema.get_document("items").cloned().unwrap_or_default();
                let mut values = Vec::new();
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded")]
                for _ in 0..count.clamp(0.0, 100.0) as usize {
                    values.push(self.value(&items, path, depth + 1, "string")?);
                }
                values.into()
            }
            "string" => self.string(schema, path)?.into(),
            "int" => Bson::Int32(self.bounded(schema, path, 1_000_000.0)? as i32),
            "long" => Bson::Int64(self.bounded(schema, path, 1_000_000_000.0)? as i64),
            "number" | "double" => {
                let value = self.bounded(schema, path, 1_000_000.0)?;
                Bson::Double(value)
            }
            "decimal" => {
                format!("{}", self.bounded(schema, path, 1_000_000.0)?).parse::<bson::Decimal128>().ok()?.into()
            }
            "bool" | "boolean" => {
                Bson::Boolean(matches!(self.style, Style::Believable(_)) && self.draw.in_thousand(500))
            }
            "date" => match &self.style {
                Style::Marked(_) => bson::DateTime::now().into(),
                Style::Believable(_) => {
                    let second = EPOCH - self.draw.between(0, 2 * 365 * 86_400);
                    bson::DateTime::from_millis(second * 1000).into()
                }
            },
            "objectId" => self.object_id(path).into(),
            "timestamp" => Bson::Timestamp(bson::Timestamp { time: 1, increment: 1 }),
            "binData" => Bson::Binary(bson::Binary {
                subtype: bson::spec::BinarySubtype::Generic,
                bytes: self.text().into_bytes(),
            }),
            "null" => Bson::Null,
            _ => return None,
        })
    }

    fn object(&mut self, schema: &Document, path: &str, depth: usize) -> Option<Document> {
        let properties = schema.get_document("properties").cloned().unwrap_or_default();
        let mut document = Document::new();
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let required = required(schema);
        for name in &required {
            let of = properties.get_document(name).cloned().unwrap_or_default();
            let value = self.value(&of, &below(name), depth + 1, "string")?;
            document.insert(name.clone(), value);
        }
        if matches!(self.style, Style::Believable(_)) {
            for (name, of) in properties.iter().filter(|(name, _)| !required.contains(name) && *name != "_id") {
                // What is optional and not understood stays away.
                if let (true, Some(of)) = (self.draw.in_thousand(800), of.as_document())
                    && let Some(value) = self.value(of, &below(name), depth + 1, "string")
                {
                    document.insert(name.clone(), value);
                }
            }
        }
        Some(document)
    }

    fn string(&mut self, schema: &Document, path: &str) -> Option<String> {
        if let Ok(regex) = schema.get_str("pattern") {
            let draw = &mut self.draw;
            return pattern::example(regex, &mut |count| draw.index(count));
        }
        let length = |key: &str| schema.get(key).and_then(number).map(|length| length.clamp(0.0, 100_000.0));
        let mut text = self.text_of(path);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        if let Some(longest) = length("maxLength").map(|length| length as usize)
            && text.len() > longest
        {
            // The end differs each time; the beginning is the marker.
            text = text.chars().rev().take(longest).collect::<Vec<_>>().into_iter().rev().collect();
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        while length("minLength").is_some_and(|shortest| text.len() < shortest as usize) {
            text.push('x');
        }
        Some(text)
    }

    /// A whole number within `minimum` and `maximum`, or a fraction where no whole one fits.
    fn bounded(&mut self, schema: &Document, path: &str, span: f64) -> Option<f64> {
        if let Style::Believable(what) = &self.style
            && what.unique.iter().any(|unique| unique == path)
        {
            let low = schema.get("minimum").and_then(number).unwrap_or(1.0).ceil();
            #[allow(clippy::cast_precision_loss, reason = "numbers of documents are small")]
            return Some(low + what.serial as f64);
        }
        let span = if matches!(self.style, Style::Believable(_)) { span.min(1000.0) } else { span };
        let is_strict = |key: &str| schema.get_bool(key).unwrap_or(false);
        let low = schema.get("minimum").and_then(number);
        let high = schema.get("maximum").and_then(number);
        let step = schema.get("multipleOf").and_then(number).filter(|step| *step > 0.0);
        let (low, high) = match (low, high) {
            (None, None) => (1.0, span),
            (Some(low), None) => (low, low + span),
            (None, Some(high)) => (high - span, high),
            (Some(low), Some(high)) => (low, high),
        };
        let low = if is_strict("exclusiveMinimum") { low + 1.0_f64.min((high - low) / 2.0) } else { low };
        let high = if is_strict("exclusiveMaximum") { high - 1.0_f64.min((high - low) / 2.0) } else { high };
        if low > high {
            return None;
        }
        let drawn = if high - low < 1.0 { low } else { low.ceil() + self.whole(high.floor() - low.ceil()) };
        Some(match step {
            Some(step) => (drawn / step).ceil() * step,
            None => drawn,
        })
    }

    /// A whole number up to this one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "clamped")]
    fn whole(&mut self, most: f64) -> f64 {
        self.draw.below(most.clamp(0.0, 9.0e15) as u64 + 1) as f64
    }
}

/// The documents that differ from a valid one in one way that the schema forbids.
pub fn wrong(schema: &Document, valid: &Document) -> Vec<Wrong> {
    let mut found = Vec::new();
    collect(schema, valid, "", 0, &mut found, &|inner| inner);
    found
}

fn collect(
    schema: &Document,
    valid: &Document,
    path: &str,
    depth: usize,
    found: &mut Vec<Wrong>,
    whole: &dyn Fn(Document) -> Document,
) {
    if depth > 4 {
        return;
    }
    let schema = flattened(schema);
    let shown = |name: &str| if path.is_empty() { format!("`{name}`") } else { format!("`{path}.{name}`") };
    for name in required(&schema) {
        // The server adds an `_id` that is not there.
        if name == "_id" {
            continue;
        }
        let mut without = valid.clone();
        without.remove(&name);
        found.push(Wrong { what: format!("{} missing", shown(&name)), document: whole(without) });
    }
    let properties = schema.get_document("properties").cloned().unwrap_or_default();
    for (name, of) in &properties {
        let Bson::Document(of) = of else { continue };
        if name == "_id" {
            continue;
        }
        let with = |value: Bson| {
            let mut changed = valid.clone();
            changed.insert(name.clone(), value);
            whole(changed)
        };
        let flat = flattened(of);
        if let Ok(values) = flat.get_array("enum") {
            let outside = Bson::String("lyrox-smoke-outside".into());
            if !values.contains(&outside) {
                found.push(Wrong { what: format!("{} outside its enum", shown(name)), document: with(outside) });
            }
        } else {
            let kinds = kinds(&flat);
            let candidates = [("int", Bson::Int32(7)), ("string", "lyrox-smoke-wrong".into()), ("bool", true.into())];
            let other = candidates.into_iter().find(|(kind, _)| {
                !kinds.iter().any(|allowed| allowed == kind || (*kind == "int" && allowed == "number"))
            });
            if let Some((kind, value)) = other.filter(|_| !kinds.is_empty()) {
                found.push(Wrong { what: format!("{} of type {kind}", shown(name)), document: with(value) });
            }
        }
        if let Some(Bson::Document(inner)) = valid.get(name) {
            let deeper = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect(&flat, inner, &deeper, depth + 1, found, &|inner| with(inner.into()));
        }
    }
}

/// The schema with its `allOf` and the first of its `anyOf` and `oneOf` laid into it.
fn flattened(schema: &Document) -> Document {
    let mut flat = schema.clone();
    let parts = |key: &str| -> Vec<Document> {
        schema
            .get_array(key)
            .map(|parts| parts.iter().filter_map(|part| part.as_document().cloned()).collect())
            .unwrap_or_default()
    };
    let chosen =
        parts("allOf").into_iter().chain(parts("anyOf").into_iter().take(1)).chain(parts("oneOf").into_iter().take(1));
    for part in chosen {
        for (key, value) in flattened(&part) {
            match (flat.get_mut(&key), value) {
                (Some(Bson::Array(own)), Bson::Array(more)) if key == "required" => own.extend(more),
                (Some(Bson::Document(own)), Bson::Document(more)) if key == "properties" => own.extend(more),
                (_, value) => {
                    flat.insert(key, value);
                }
            }
        }
    }
    flat
}

/// The types that a schema names for the field at a dotted path; none where it says nothing of it.
pub fn field_types(schema: &Document, path: &str) -> Option<Vec<String>> {
    let mut of = flattened(schema);
    for name in path.split('.') {
        of = flattened(of.get_document("properties").ok()?.get_document(name).ok()?);
    }
    Some(kinds(&of)).filter(|kinds| !kinds.is_empty())
}

/// The names that must be there.
pub fn required(schema: &Document) -> Vec<String> {
    let names =
        schema.get_array("required").map(|names| names.iter().filter_map(Bson::as_str).map(str::to_owned).collect());
    names.unwrap_or_default()
}

fn kinds(schema: &Document) -> Vec<String> {
    match schema.get("bsonType").or_else(|| schema.get("type")) {
        Some(Bson::String(kind)) => vec![kind.clone()],
        Some(Bson::Array(kinds)) => kinds.iter().filter_map(Bson::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

/// A number of a schema, whatever type it has there.
pub fn number(value: &Bson) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "bounds are small")]
    match value {
        Bson::Int32(number) => Some(f64::from(*number)),
        Bson::Int64(number) => Some(*number as f64),
        Bson::Double(number) => Some(*number),
        _ => None,
    }
}

/// An ObjectId that follows from the draw.
pub fn object_id(draw: &mut Draw) -> ObjectId {
    let (first, second) = (draw.bits().to_be_bytes(), draw.bits().to_be_bytes());
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&first);
    bytes[8..].copy_from_slice(&second[..4]);
    ObjectId::from_bytes(bytes)
}

/// Sets the field at a dotted path; false where something else than a document is in the way.
pub fn set(document: &mut Document, path: &str, value: Bson) -> bool {
    match path.split_once('.') {
        None => {
            document.insert(path, value);
            true
        }
        Some((first, rest)) => {
            if !document.contains_key(first) {
                document.insert(first, doc! {});
            }
            match document.get_mut(first) {
                Some(Bson::Document(inner)) => set(inner, rest, value),
                _ => false,
            }
        }
    }
}

/// The value at a dotted path.
pub fn get<'d>(document: &'d Document, path: &str) -> Option<&'d Bson> {
    match path.split_once('.') {
        None => document.get(path),
        Some((first, rest)) => get(document.get_document(first).ok()?, rest),
    }
}

/// The fields that a partial index asks of its documents, as values; none where that is not simple.
pub fn partial(filter: &Document) -> Option<BTreeMap<String, Bson>> {
    let mut fields = BTreeMap::new();
    for (path, wanted) in filter {
        if path == "$and" {
            for part in filter.get_array("$and").ok()? {
                fields.extend(partial(part.as_document()?)?);
            }
            continue;
        }
        if path.starts_with('$') {
            return None;
        }
        let value = match wanted {
            Bson::Document(conditions) => match conditions.iter().next()? {
                (key, value) if key == "$eq" => value.clone(),
                (key, value) if key == "$in" => value.as_array()?.first()?.clone(),
                (key, value) if key == "$gt" || key == "$gte" => Bson::Double(number(value)? + 1.0),
                (key, value) if key == "$lt" || key == "$lte" => Bson::Double(number(value)? - 1.0),
                (key, value) if key == "$exists" && *value == Bson::Boolean(true) => continue,
                (key, _) if key == "$type" => continue,
                _ => return None,
            },
            value => value.clone(),
        };
        fields.insert(path.clone(), value);
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Document {
        doc! {
            "bsonType": "object",
            "required": ["companyId", "platform", "messages", "metadata", "at"],
            "properties": {
                "companyId": { "bsonType": "string", "pattern": "^[0-9a-f]{8}$" },
                "platform": { "enum": ["web", "email"] },
                "messages": { "bsonType": "array", "minItems": 1, "items": { "bsonType": "object", "required": ["id"] } },
                "metadata": {
                    "bsonType": "object",
                    "required": ["count"],
                    "properties": { "count": { "bsonType": ["int", "long"], "minimum": 0, "maximum": 3 } },
                },
                "at": { "bsonType": "date" },
                "name": { "bsonType": "string", "maxLength": 5 },
            },
        }
    }

    #[test]
    fn a_valid_document_has_what_is_required_and_nothing_else() {
        let mut source = Source::new("lyrox-smoke-1");
        let document = source.document(&schema()).expect("a document");
        let keys: Vec<&str> = document.keys().map(String::as_str).collect();
        assert_eq!(keys, ["_id", "companyId", "platform", "messages", "metadata", "at"]);
        assert!(document.get_str("companyId").is_ok_and(|text| text.len() == 8));
        assert!(document.get_array("messages").is_ok_and(|messages| messages.len() == 1));
        assert!(matches!(get(&document, "metadata.count"), Some(Bson::Int32(0..=3))));
    }

    #[test]
    fn each_wrong_document_breaks_one_rule() {
        let mut source = Source::new("lyrox-smoke-1");
        let valid = source.document(&schema()).expect("a document");
        let wrong = wrong(&schema(), &valid);
        let what: Vec<&str> = wrong.iter().map(|wrong| wrong.what.as_str()).collect();
        for expected in [
            "`companyId` missing",
            "`at` missing",
            "`companyId` of type int",
            "`platform` outside its enum",
            "`metadata.count` missing",
            "`metadata.count` of type string",
            "`at` of type int",
            "`name` of type int",
        ] {
            assert!(what.contains(&expected), "{expected} is not in {what:?}");
        }
        for wrong in wrong {
            assert_ne!(wrong.document, valid, "{}", wrong.what);
        }
    }

    #[test]
    fn the_types_of_a_field_are_those_that_are_named() {
        let schema =
            doc! { "properties": { "a": { "properties": { "at": { "bsonType": ["date", "null"] } } }, "b": {} } };
        assert_eq!(field_types(&schema, "a.at"), Some(vec!["date".to_owned(), "null".to_owned()]));
        assert_eq!(field_types(&schema, "b"), None);
        assert_eq!(field_types(&schema, "a.c"), None);
    }

    #[test]
    fn parts_of_a_schema_are_joined() {
        let schema = doc! { "required": ["a"], "allOf": [{ "required": ["b"] }], "anyOf": [{ "required": ["c"] }, { "required": ["d"] }] };
        let document = Source::new("m").document(&schema).expect("a document");
        assert_eq!(document.keys().map(String::as_str).collect::<Vec<_>>(), ["_id", "a", "b", "c"]);
    }

    #[test]
    fn partial_filters_are_met_where_simple() {
        let fields = partial(&doc! { "metadata.status": "active", "n": { "$gt": 5 } }).expect("fields");
        assert_eq!((fields["metadata.status"].as_str(), fields["n"].clone()), (Some("active"), Bson::Double(6.0)));
        assert_eq!(partial(&doc! { "$or": [] }), None);
        let mut document = doc! { "metadata": { "a": 1 } };
        assert!(set(&mut document, "metadata.status", "x".into()) && get(&document, "metadata.status").is_some());
    }
}
