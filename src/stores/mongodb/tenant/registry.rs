//! Records of tenants: one document each in `lyrox_tenants`, by project and key.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;
use mongodb::Collection;
use mongodb::IndexModel;
use mongodb::options::IndexOptions;

use super::MongodbStore;
use crate::engine::ledger::actor;
use crate::engine::tenant::{Record, Tenant, Which};
use crate::error::{Code, Error, Result};

/// The collection.
pub const TENANTS: &str = "lyrox_tenants";

impl MongodbStore {
    pub(super) fn tenants(&self) -> Collection<Document> {
        self.connected.database.collection(TENANTS)
    }

    fn id(&self, key: &str) -> Document {
        doc! { "project": self.books.project.as_str(), "key": key }
    }

    /// A slug is one tenant's.
    pub(super) async fn make_registry(&self) -> mongodb::error::Result<()> {
        let options = IndexOptions::builder().unique(true).name("slug".to_owned()).build();
        let index = IndexModel::builder().keys(doc! { "_id.project": 1, "slug": 1 }).options(options).build();
        self.tenants().create_index(index).await.map(drop)
    }

    /// Reads records, sorted by key.
    pub(super) async fn read_registry(&self, which: &Which) -> Result<Vec<Record>> {
        let mut filter = doc! { "_id.project": self.books.project.as_str() };
        match which {
            Which::All => {}
            Which::Of(tenants) if tenants.is_empty() => return Ok(Vec::new()),
            Which::Of(tenants) => {
                let ids: Vec<Document> = tenants.iter().map(|tenant| self.id(tenant.key())).collect();
                let slugs: Vec<&str> = tenants.iter().map(Tenant::slug).collect();
                filter.insert("$or", vec![doc! { "_id": { "$in": ids } }, doc! { "slug": { "$in": slugs } }]);
            }
            Which::Named(name) => {
                let (name, id) = (name.as_str(), self.id(name));
                filter.insert("$or", vec![doc! { "_id": id }, doc! { "slug": name }]);
            }
        }
        let asked = async { self.tenants().find(filter).sort(doc! { "_id": 1 }).await?.try_collect().await };
        let found: Vec<Document> = asked.await.map_err(self.failed("read the registry of tenants"))?;
        let mut records = found.iter().map(read).collect::<Result<Vec<_>>>()?;
        if let Which::Named(name) = which {
            let is_key = |record: &Record| record.tenant.key() == name;
            if records.iter().any(is_key) {
                records.retain(is_key);
            }
        }
        Ok(records)
    }

    /// Writes records: one command for all of them.
    pub(super) async fn write_registry(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        let updates: Vec<Document> = records
            .iter()
            .map(|record| {
                let fields = doc! {
                    "slug": record.tenant.slug(), "model": record.model.name(), "state": record.state.word(),
                    "step": record.step.as_str(), "shard": record.shard.as_str(), "version": record.version.as_deref(),
                    "head": record.head.as_deref(), "adopted": record.is_adopted, "error": record.error.as_deref(),
                    "actor": actor(),
                };
                // The server's clock; what is written first stays the time of the making.
                let change = vec![
                    doc! { "$set": fields_literal(fields) },
                    doc! { "$set": {
                        "updated_at": "$$NOW", "created_at": { "$ifNull": ["$created_at", "$$NOW"] },
                    } },
                ];
                doc! { "q": { "_id": self.id(record.tenant.key()) }, "u": change, "upsert": true }
            })
            .collect();
        let command =
            doc! { "update": TENANTS, "updates": updates, "ordered": false, "writeConcern": { "w": "majority" } };
        let reply = self.connected.database.run_command(command).await;
        let reply = reply.map_err(self.failed("write the registry of tenants"))?;
        match super::super::error::refusal_in_reply(&reply) {
            None => Ok(()),
            Some(refusal) if refusal.code == 11000 => {
                Err(Error::new(Code::TenantClash, "a slug was taken by another run at this moment")
                    .hint("run it again"))
            }
            Some(refusal) => {
                Err(Error::new(Code::LedgerDamaged, "the registry of tenants cannot be written").why(refusal.shown()))
            }
        }
    }

    /// Forgets which scripts a tenant's seeds had (`FILE for KEY`): another tenant of the same key begins with all of them.
    pub(super) async fn forget_seeds(&self, tenant: &Tenant) -> mongodb::error::Result<()> {
        let file = format!("(?s)^(?:(?! for ).)* for {}\\z", regex::escape(tenant.key()));
        let seeds = self.connected.database.collection::<Document>("lyrox_seeds");
        let of = doc! { "_id.project": self.books.project.as_str(), "_id.file": { "$regex": file } };
        seeds.delete_many(of).await.map(drop)
    }

    /// Strikes records out.
    pub(super) async fn strike_out(&self, tenants: &[Tenant]) -> mongodb::error::Result<()> {
        let ids: Vec<Document> = tenants.iter().map(|tenant| self.id(tenant.key())).collect();
        self.tenants().delete_many(doc! { "_id": { "$in": ids } }).await.map(drop)
    }
}

/// Values as they are: a text that begins with `$` names no field.
fn fields_literal(fields: Document) -> Document {
    fields.into_iter().map(|(name, value)| (name, Bson::Document(doc! { "$literal": value }))).collect()
}

fn read(found: &Document) -> Result<Record> {
    let word = |name: &str| found.get_str(name).unwrap_or_default();
    let key = found.get_document("_id").ok().and_then(|id| id.get_str("key").ok()).unwrap_or_default();
    let mut record = Record::read(key, word("slug"), word("model"), word("state"))?;
    let optional = |name: &str| found.get_str(name).ok().map(str::to_owned);
    let time = |name: &str| {
        found.get_datetime(name).ok().and_then(|time| time.try_to_rfc3339_string().ok()).unwrap_or_default()
    };
    record.step = word("step").to_owned();
    record.shard = word("shard").to_owned();
    (record.version, record.head, record.error) = (optional("version"), optional("head"), optional("error"));
    record.is_adopted = found.get_bool("adopted").unwrap_or(false);
    (record.created_at, record.updated_at) = (time("created_at"), time("updated_at"));
    Ok(record)
}
