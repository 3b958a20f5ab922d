//! Shared collections (model `row`): MongoDB has no wall between documents. What stands in for one is that no document
//! is without its tenant, and that every index leads with it: a query that forgets the tenant is slow and seen.

use std::collections::BTreeSet;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;

use super::super::MongodbStore;
use super::super::document::{field_types, required};
use super::MongodbSmoke;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::engine::tenant::{Tenant, shown};
use crate::error::Result;
use crate::stores::Store as _;
use crate::stores::mongodb::catalog;
use crate::stores::tenant_verify::Ask;

/// So many tenants without a record are named in each collection.
const ORPHANS: usize = 20;

/// A text as the shell writes it.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// Judges and tries the shared collections.
///
/// # Errors
/// A lost connection.
pub async fn verify(store: &mut MongodbStore, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
    proof.area("collections", "No document is without its tenant");
    let Some(field) = ask.terms.tenancy.column.clone() else {
        proof.untried(
            "no_field",
            "tenant field",
            "lyrox.toml does not say which field carries the tenant",
            "column = \"NAME\" under [tenancy] in lyrox.toml",
        );
        return Ok(());
    };
    let live = store.snapshot().await?;
    let views = {
        let listed = catalog::list(&store.connected().database, None).await;
        listed.map_err(|error| super::work_error(store.endpoint(), "list collections", &error))?
    };
    let mut smoke = MongodbSmoke::new(store, ask.run.clone());
    smoke.collections = MongodbSmoke::read(&live);
    let global = &ask.terms.tenancy.global;
    let names: Vec<String> = smoke.collections.keys().filter(|name| !global.contains(name)).cloned().collect();
    for name in &names {
        smoke.judge_validator(name, &field, ask, proof).await?;
    }
    proof.area("indexes", "Every index begins with the tenant");
    for name in &names {
        smoke.judge_indexes(name, &field, proof);
    }
    proof.area("documents", "Every document belongs to a tenant that is there");
    for name in &names {
        smoke.judge_documents(name, &field, ask, proof).await?;
    }
    proof.area("views", "Views keep the tenant");
    for view in views.iter().filter(|listed| listed.is_view && !global.contains(&listed.name)) {
        smoke.judge_view(&view.name, &view.options, &field, &names, proof).await?;
    }
    Ok(())
}

impl MongodbSmoke<'_> {
    async fn judge_validator(&mut self, name: &str, field: &str, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        let Some(collection) = self.collections.get(name).cloned() else { return Ok(()) };
        let schema = collection.validator.get_document("$jsonSchema").cloned().unwrap_or_default();
        let object = format!("collection {name}");
        let close = |rule: &str| {
            format!(
                "db.runCommand({{ collMod: {}, validator: {{ $jsonSchema: {rule} }}, validationLevel: \"strict\", validationAction: \"error\" }})",
                quoted(name)
            )
        };
        let rule = format!(
            "{{ ..., required: [{}], properties: {{ {}: {{ bsonType: \"string\" }} }} }}",
            quoted(field),
            quoted(field)
        );
        if !required(&schema).contains(&field.to_owned()) {
            let why = format!("its validator does not require `{field}`: a document can belong to nobody");
            proof.leak("validator", object, why, close(&rule));
            return Ok(());
        }
        if !collection.refuses {
            let why = format!("its validator only warns or is off: a document without `{field}` is taken");
            proof.leak("validator_off", object, why, close("..."));
            return Ok(());
        }
        match field_types(&schema, field) {
            Some(types) if types.iter().all(|name| name != "null") => proof.held(1),
            _ => {
                let why = format!("its validator takes `{field}: null`: a document can belong to nobody");
                proof.leak("validator_null", object, why, close(&rule));
                return Ok(());
            }
        }
        if !ask.run.may_write {
            let why = "a document would be written and rolled back, and the environment is protected";
            proof.untried("protected", object, why, "lyrox tenant verify --write");
            return Ok(());
        }
        if !self.store.connected().has_transactions() {
            proof.untried("no_transactions", object, "the server takes no transactions: it is no replica set", "");
            return Ok(());
        }
        let Some((_, valid)) = self.valid(name) else {
            proof.untried("no_document", object, "no valid document is known for its validator", "");
            return Ok(());
        };
        if let Err(refused) = self.insert(name, std::slice::from_ref(&valid)).await? {
            proof.untried(
                "no_document",
                object,
                format!("a document made for its validator was refused: {}", refused.shown()),
                "",
            );
            return Ok(());
        }
        let mut without = valid.clone();
        without.remove(field);
        let mut null = valid;
        null.insert(field, Bson::Null);
        for (document, what) in [(without, "without"), (null, "with null as")] {
            match self.insert(name, &[document]).await? {
                Err(refused) if refused.code == 121 => proof.held(1),
                Err(refused) => {
                    proof.untried(
                        "document",
                        object.clone(),
                        format!("a document {what} `{field}`: {}", refused.shown()),
                        "",
                    );
                }
                Ok(()) => {
                    let why = format!("it took a document {what} `{field}`");
                    proof.leak("validator", object.clone(), why, close(&rule));
                }
            }
        }
        Ok(())
    }

    fn judge_indexes(&self, name: &str, field: &str, proof: &mut Proof) {
        let Some(collection) = self.collections.get(name) else { return };
        for index in collection.indexes.iter().filter(|index| index.name != "_id_") {
            // An index that expires documents can have one field only.
            if index.key.keys().next().is_some_and(|first| first == field) || index.expires.is_some() {
                proof.held(1);
                continue;
            }
            let mut key = doc! { field: 1 };
            key.extend(
                index.key.iter().filter(|(name, _)| *name != field).map(|(name, value)| (name.clone(), value.clone())),
            );
            let unique = if index.is_unique { ", { unique: true }" } else { "" };
            let close = format!(
                "db.getCollection({0}).createIndex({key}{unique}); db.getCollection({0}).dropIndex({1})",
                quoted(name),
                quoted(&index.name)
            );
            let object = format!("index {name}.{}", index.name);
            if index.is_unique && !index.key.contains_key(field) {
                let why = format!(
                    "it is unique without `{field}`: an insert that ends with 11000 tells that another tenant has the value"
                );
                proof.leak("unique", object, why, close);
            } else {
                let why = format!("it does not begin with `{field}`: a query without the tenant is served by it");
                proof.leak("index", object, why, close);
            }
        }
    }

    async fn judge_documents(&mut self, name: &str, field: &str, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        let lost = |error: mongodb::error::Error| super::work_error(self.store.endpoint(), "look at documents", &error);
        let collection = self.database().collection::<Document>(name);
        let found = collection.find_one(doc! { field: Bson::Null }).await.map_err(lost)?;
        if found.is_some() {
            let why = format!("find({{ {field}: null }}) shows documents that belong to nobody");
            let close = format!(
                "db.getCollection({}).deleteMany({{ {}: null }}), or give them their tenant",
                quoted(name),
                quoted(field)
            );
            proof.leak("no_tenant", format!("documents of {name}"), why, close);
        } else {
            proof.held(1);
        }
        if !ask.is_all {
            return Ok(());
        }
        let unmanaged = ask.unmanaged.iter().map(String::as_str);
        let known: BTreeSet<&str> = ask.all.iter().map(Tenant::key).chain(unmanaged).collect();
        let stages = vec![doc! { "$group": { "_id": format!("${field}") } }];
        let mut groups = collection.aggregate(stages).await.map_err(lost)?;
        let mut orphans = 0;
        while let Some(group) = groups.try_next().await.map_err(lost)? {
            let key = match group.get("_id") {
                Some(Bson::String(text)) => text.clone(),
                Some(Bson::ObjectId(id)) => id.to_hex(),
                None | Some(Bson::Null) => continue,
                Some(Bson::Binary(binary)) => {
                    binary.to_uuid().map(|id| id.to_string()).unwrap_or_else(|_| "binary".into())
                }
                Some(other) => other.to_string(),
            };
            if known.contains(key.as_str()) {
                continue;
            }
            orphans += 1;
            if orphans > ORPHANS {
                break;
            }
            let close = format!(
                "lyrox tenant create {}; if that tenant is gone for good: db.getCollection({}).deleteMany({{ {}: {} }})",
                crate::typed::word(&key),
                quoted(name),
                quoted(field),
                quoted(&key)
            );
            let object = format!("documents of {} in {name}", shown(&key));
            proof.of(
                &key,
                Weight::Astray,
                "orphan_documents",
                object,
                "no record names the tenant whose documents these are",
                close,
            );
        }
        if orphans == 0 {
            proof.held(1);
        }
        Ok(())
    }

    async fn judge_view(
        &mut self,
        name: &str,
        options: &Document,
        field: &str,
        collections: &[String],
        proof: &mut Proof,
    ) -> Result<()> {
        let on = options.get_str("viewOn").unwrap_or_default();
        if !collections.iter().any(|known| known == on) {
            return Ok(());
        }
        let lost = |error: mongodb::error::Error| super::work_error(self.store.endpoint(), "look at a view", &error);
        let object = format!("view {name}");
        let close = format!(
            "db.runCommand({{ collMod: {}, viewOn: {}, pipeline: [..., with `{field}` kept] }})",
            quoted(name),
            quoted(on)
        );
        let first = self.database().collection::<Document>(name).find_one(doc! {}).await.map_err(lost)?;
        match first {
            Some(document) if document.contains_key(field) => proof.held(1),
            Some(_) => {
                let why = format!("its documents do not carry `{field}`: nobody can ask it for one tenant's only");
                proof.leak("view", object, why, close);
            }
            None => {
                let stages = options.get_array("pipeline").cloned().unwrap_or_default();
                let reshapes = |stage: &Bson| {
                    let stage = stage.as_document();
                    stage.and_then(|stage| stage.keys().next()).is_some_and(|name| {
                        matches!(
                            name.as_str(),
                            "$project" | "$unset" | "$group" | "$replaceRoot" | "$replaceWith" | "$unionWith"
                        )
                    })
                };
                if stages.iter().any(reshapes) {
                    proof.untried(
                        "view",
                        object,
                        "it is empty: whether its documents carry the tenant was not seen",
                        close,
                    );
                } else {
                    proof.held(1);
                }
            }
        }
        Ok(())
    }
}
