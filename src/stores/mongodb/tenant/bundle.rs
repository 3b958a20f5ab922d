//! A tenant's documents, handed out, taken in and removed: canonical Extended JSON, sorted by `_id`. A document that this
//! form would not give back as it is travels as its bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bson::{Bson, Document, RawDocumentBuf, doc, oid::ObjectId};
use futures_util::TryStreamExt as _;
use mongodb::options::Collation;

use super::MongodbStore;
use crate::config::file::TenancyModel;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::bundle::lines::each;
use crate::error::{Code, Error, Result};
use crate::stores::tenant::Terms;
use crate::stores::tenant_bundle::{BundleStore, Part, Scope, Sink, Survey, Wanted};

/// So many documents are inserted at once, or so many bytes.
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 8 << 20;
/// The field of a line that holds a document's bytes.
const BYTES: &str = "$lyroxBytes";

impl MongodbStore {
    /// Which documents of a collection are the tenant's.
    fn own_filter(scope: Scope<'_>) -> Option<Document> {
        if scope.is_inside {
            return Some(doc! {});
        }
        let column = scope.terms.tenancy.column.as_deref()?;
        Some(doc! { column: { "$in": keys(scope.tenant) } })
    }

    /// Collections by name, with whether they are plain ones.
    async fn own_collections(&self, scope: Scope<'_>) -> mongodb::error::Result<Vec<(String, bool)>> {
        let mut listed: Vec<(String, bool)> = Vec::new();
        let mut found = self.connected.database.list_collections().await?;
        while let Some(found) = found.try_next().await? {
            let is_plain = matches!(found.collection_type, mongodb::results::CollectionType::Collection);
            let is_view = matches!(found.collection_type, mongodb::results::CollectionType::View);
            let is_global = !scope.is_inside && scope.terms.tenancy.global.contains(&found.name);
            if !is_view && !is_global && !self.books.is_own(&found.name) {
                listed.push((found.name, is_plain));
            }
        }
        listed.sort();
        Ok(listed)
    }

    async fn survey(&self, scope: Scope<'_>, wanted: Option<&[Wanted]>) -> mongodb::error::Result<Survey> {
        let mut survey = Survey::default();
        let Some(filter) = Self::own_filter(scope) else {
            let some = self.own_collections(scope).await?;
            survey.unclassified.extend(
                some.iter().map(|(name, _)| {
                    format!("collection `{name}`: [tenancy] names no `column` that carries the tenant")
                }),
            );
            return Ok(survey);
        };
        for (name, is_plain) in self.own_collections(scope).await? {
            if wanted.is_some_and(|wanted| !wanted.iter().any(|(known, _)| *known == name)) {
                continue;
            }
            if !is_plain {
                survey
                    .unclassified
                    .push(format!("collection `{name}`: it is a time series, which a bundle does not carry"));
                continue;
            }
            let collection = self.connected.database.collection::<Document>(&name);
            if let Some(column) = scope.terms.tenancy.column.as_deref().filter(|_| !scope.is_inside) {
                // Both what lacks the field and what holds null there.
                let nobodys = collection.count_documents(doc! { column: null }).collation(simple()).limit(1000).await?;
                let several = doc! { "$and": [filter.clone(), { column: { "$type": "array" } }] };
                if collection.count_documents(several).collation(simple()).limit(1).await? > 0 {
                    survey.unclassified.push(format!(
                        "collection `{name}`: documents have more than one tenant in `{column}`, and `global` does not list it"
                    ));
                    continue;
                }
                if nobodys > 0 {
                    let many = if nobodys == 1000 { "1000 or more".to_owned() } else { nobodys.to_string() };
                    survey.unclassified.push(format!(
                        "collection `{name}`: {many} of its documents have no `{column}`, and `global` does not list it"
                    ));
                    continue;
                }
            }
            let rows = collection.count_documents(filter.clone()).collation(simple()).await?;
            if rows > 0 || wanted.is_some() {
                let ids = vec!["_id".to_owned()];
                survey.parts.push(Part { read: name.clone(), name, ids, rows, ..Part::default() });
            }
        }
        Ok(survey)
    }

    async fn insert(&self, part: &Part, documents: &mut Vec<Document>) -> Result<()> {
        if documents.is_empty() {
            return Ok(());
        }
        let collection = self.connected.database.collection::<Document>(&part.name);
        let batch = std::mem::take(documents);
        collection.insert_many(batch).await.map(drop).map_err(|error| {
            let words = super::super::error::refusal(&error).map(|refusal| refusal.shown());
            let failed = self.failed("insert a tenant's documents")(error);
            match words {
                Some(words) => {
                    Error::new(Code::TenantFailed, format!("documents of `{}` are refused", part.name)).why(words)
                }
                None => failed,
            }
        })
    }
}

/// Bytes are compared, whatever collation a collection has: one that does not look at case would give `acme` what is
/// `ACME`'s.
pub(super) fn simple() -> Collation {
    Collation::builder().locale("simple").build()
}

/// The tenant's key in every form in which a field may hold it.
fn keys(tenant: &Tenant) -> Vec<Bson> {
    let key = tenant.key();
    let mut keys = vec![Bson::String(key.to_owned())];
    if let Ok(id) = ObjectId::parse_str(key) {
        keys.push(Bson::ObjectId(id));
    }
    if let Ok(id) = uuid::Uuid::parse_str(key)
        && id.to_string() == key
    {
        let subtype = bson::spec::BinarySubtype::Uuid;
        keys.push(Bson::Binary(bson::Binary { subtype, bytes: id.as_bytes().to_vec() }));
    }
    if let Ok(number) = key.parse::<i64>()
        && number.to_string() == key
    {
        // Whatever kind of number it is: they compare by value.
        keys.push(Bson::Int64(number));
    }
    keys
}

/// Whether a field of a document holds one of these keys.
fn carries(document: &Document, column: &str, keys: &[Bson]) -> bool {
    let mut at = document;
    let mut pieces = column.split('.').peekable();
    while let Some(piece) = pieces.next() {
        match at.get(piece) {
            Some(Bson::Document(inner)) if pieces.peek().is_some() => at = inner,
            Some(value) if pieces.peek().is_none() => {
                let number = match value {
                    Bson::Int32(number) => Some(i64::from(*number)),
                    Bson::Double(number) if number.fract() == 0.0 => number.to_string().parse().ok(),
                    Bson::Decimal128(number) => number.to_string().parse().ok(),
                    _ => None,
                };
                return keys.contains(value) || number.is_some_and(|number| keys.contains(&Bson::Int64(number)));
            }
            _ => return false,
        }
    }
    false
}

/// A document as a line of canonical Extended JSON. A field that would not come back from it as it is, because it looks like
/// the form itself, is written as its bytes; the others, the tenant's key among them, stay readable.
fn line(document: &Document) -> Result<Vec<u8>> {
    let mut fields = serde_json::Map::new();
    for (name, value) in document {
        let json = value.clone().into_canonical_extjson();
        let whole = doc! { "": value.clone() };
        let is_same = json.get(BYTES).is_none()
            && Bson::try_from(json.clone()).is_ok_and(|back| same(&doc! { "": back }, &whole));
        let json = if is_same {
            json
        } else {
            let bytes = bson::serialize_to_vec(&whole).map_err(|error| Error::bug(format!("a document: {error}")))?;
            serde_json::json!({ BYTES: STANDARD.encode(bytes) })
        };
        fields.insert(name.clone(), json);
    }
    Ok(serde_json::Value::Object(fields).to_string().into_bytes())
}

/// Equal byte for byte: NaN is, and fields in another order are not.
fn same(one: &Document, other: &Document) -> bool {
    matches!((bson::serialize_to_vec(one), bson::serialize_to_vec(other)), (Ok(one), Ok(other)) if one == other)
}

/// A document as its bytes say. Read through serde, a field that looks like extended JSON would become what it looks like.
fn exact(bytes: Vec<u8>) -> Result<Document, bson::error::Error> {
    Document::try_from(RawDocumentBuf::from_bytes(bytes)?)
}

/// The document of a line.
fn document(line: &[u8]) -> Result<Document> {
    let bad = |why: String| Error::new(Code::Bundle, "a line of the bundle is no document").why(why);
    let fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|error| bad(error.to_string()))?;
    let mut document = Document::new();
    for (name, json) in fields {
        let value = match json.get(BYTES).and_then(serde_json::Value::as_str) {
            Some(text) => {
                let bytes = STANDARD.decode(text).map_err(|error| bad(error.to_string()))?;
                let whole = exact(bytes).map_err(|error| bad(error.to_string()))?;
                whole.get("").cloned().ok_or_else(|| bad("a field without its value".into()))?
            }
            None => Bson::try_from(json).map_err(|error| bad(error.to_string()))?,
        };
        document.insert(name, value);
    }
    Ok(document)
}

impl BundleStore for MongodbStore {
    async fn begin_reading(&mut self, scope: Scope<'_>, wanted: Option<&[Wanted]>) -> Result<Survey> {
        let is_global = |name: &String| !scope.is_inside && scope.terms.tenancy.global.contains(name);
        if let Some((name, _)) =
            wanted.into_iter().flatten().find(|(name, _)| self.books.is_own(name) || is_global(name))
        {
            return Err(Error::new(Code::Bundle, format!("collection `{name}` is no tenant's here"))
                .why("the bundle has documents of it")
                .data("nothing was changed"));
        }
        let mut survey = self.survey(scope, wanted).await.map_err(self.failed("look for a tenant's documents"))?;
        for (name, _) in wanted.into_iter().flatten() {
            if !survey.parts.iter().any(|part| part.name == *name) {
                survey.notes.push(format!(
                    "collection `{name}`: no migration makes it; it comes without the indexes and options that it had"
                ));
            }
        }
        Ok(survey)
    }

    async fn read_part(&mut self, scope: Scope<'_>, part: &mut Part, sink: Sink<'_>) -> Result<()> {
        let failed = self.failed("read a tenant's documents");
        let filter = Self::own_filter(scope).unwrap_or_default();
        let collection = self.connected.database.collection::<RawDocumentBuf>(&part.read);
        let found = collection.find(filter).sort(doc! { "_id": 1 }).collation(simple()).allow_disk_use(true).await;
        let mut found = found.map_err(&failed)?;
        while let Some(document) = found.try_next().await.map_err(&failed)? {
            let document = exact(document.into_bytes()).map_err(|error| Error::bug(format!("a document: {error}")))?;
            sink(&line(&document)?)?;
        }
        Ok(())
    }

    async fn end_reading(&mut self) -> Result<()> {
        Ok(())
    }

    async fn clear_tenant(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        let filter = Self::own_filter(scope).unwrap_or_default();
        for part in parts {
            let collection = self.connected.database.collection::<Document>(&part.read);
            let deleted = collection.delete_many(filter.clone()).collation(simple()).await;
            deleted.map_err(self.failed("delete a tenant's documents"))?;
        }
        Ok(())
    }

    async fn begin_filling(&mut self, _scope: Scope<'_>, _parts: &[Part]) -> Result<()> {
        Ok(())
    }

    async fn fill_part(&mut self, scope: Scope<'_>, _at: usize, part: &Part, lines: &[u8]) -> Result<()> {
        let own = keys(scope.tenant);
        let (mut documents, mut texts, mut bytes) = (Vec::new(), Vec::new(), 0);
        each(lines, |line| {
            texts.push(line.to_vec());
            Ok(())
        })?;
        for text in texts {
            bytes += text.len();
            let document = document(&text)?;
            // Whoever wrote the bundle: a document of another tenant does not come in with it.
            if !scope.is_inside
                && !scope.terms.tenancy.column.as_deref().is_some_and(|column| carries(&document, column, &own))
            {
                return Err(Error::new(Code::Bundle, format!("a document of `{}` is not the tenant's", part.name))
                    .why(format!(
                        "its `{}` is not `{}`",
                        scope.terms.tenancy.column.as_deref().unwrap_or_default(),
                        scope.tenant.shown()
                    )));
            }
            documents.push(document);
            if documents.len() >= BATCH || bytes >= BATCH_BYTES {
                self.insert(part, &mut documents).await?;
                bytes = 0;
            }
        }
        self.insert(part, &mut documents).await
    }

    async fn end_filling(&mut self, _scope: Scope<'_>, _parts: &[Part]) -> Result<()> {
        Ok(())
    }

    async fn shut_out(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        if terms.model() == TenancyModel::Row || !terms.tenancy.users {
            return Ok(());
        }
        let name = tenant.name();
        let users =
            self.users_named(std::slice::from_ref(&name)).await.map_err(self.failed("look for a tenant's user"))?;
        if users.iter().any(|(_, is_ours)| *is_ours) {
            let database = self.connected.client.database(&name);
            // Its rights end with it, on connections that are open as well.
            let dropped = database.run_command(doc! { "dropUser": name.as_str() }).await;
            dropped.map_err(self.failed("drop a tenant's user"))?;
        }
        Ok(())
    }

    async fn traces(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<String>> {
        let mut left = Vec::new();
        if terms.model() != TenancyModel::Row {
            let found = self.look_at_place(tenant).await.map_err(self.failed("look at a tenant's place"))?;
            left.extend(found.into_iter().map(|(what, name)| format!("{what} {name}")));
        }
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_comes_back_byte_for_byte() {
        let plain = doc! {
            "_id": ObjectId::from_bytes([7; 12]), "int": 1_i32, "long": 1_i64, "double": 1.0, "nan": f64::NAN,
            "date": bson::DateTime::from_millis(1), "null": Bson::Null, "text": "é\"\\\n", "list": [1, "x", { "y": 2.5 }],
            "uuid": bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes: vec![1; 16] },
            "decimal": Bson::Decimal128("1.20".parse().expect("a number")),
        };
        // A field that looks like the form itself.
        let odd = doc! { "_id": 1, "price": { "$numberLong": "12" } };
        for (whole, is_readable) in [(plain, true), (odd, false)] {
            let text = line(&whole).expect("a line");
            assert!(same(&document(&text).expect("a document"), &whole), "{}", String::from_utf8_lossy(&text));
            let text = String::from_utf8_lossy(&text).into_owned();
            assert_eq!(!text.contains("$lyroxBytes"), is_readable, "{text}");
            assert!(text.starts_with("{\"_id\":{"), "what is not odd stays readable: {text}");
        }
        assert!(document(b"[1]").is_err() && document(b"{\"a\":{\"$lyroxBytes\":\"AA==\"}}").is_err());
    }

    #[test]
    fn a_key_is_looked_for_in_every_form() {
        let forms = |key: &str| keys(&Tenant::new(key, None).expect("a tenant")).len();
        assert_eq!(forms("acme"), 1);
        assert_eq!(forms("42"), 2);
        assert_eq!(forms("042"), 1);
        assert_eq!(forms("3f2a0000-0000-4000-8000-000000000001"), 2);
        assert_eq!(forms("65a0000000000000000000ff"), 2);
    }
}
