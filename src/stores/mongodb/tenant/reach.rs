//! Reaching a tenant: its database, by the connection that there is or as its own user.

use std::time::Duration;

use bson::{Document, doc};
use futures_util::TryStreamExt as _;

use super::super::MongodbStore;
use super::super::connect::connect;
use super::super::error::work_error;
use super::super::ledger::MIGRATIONS;
use crate::config::file::TenancyModel;
use crate::error::Result;
use crate::project::migration::Version;
use crate::stores::tenant_reach::{Aim, ReachStore, Reached, Way};

impl ReachStore for MongodbStore {
    async fn reach_tenant(&mut self, aim: &Aim<'_>) -> Result<Option<Reached>> {
        if aim.terms.model() == TenancyModel::Row {
            return Ok(None);
        }
        let name = aim.tenant.name();
        let Some(login) = aim.login else {
            let asked = self.applied(&self.connected.client.database(&name), aim).await;
            let applied = asked.map_err(self.failed("look at a tenant's database"))?;
            return Ok(Some(Reached { way: Way::Connection, applied }));
        };
        let connected = connect(login, aim.target.ca_file.as_deref(), &name).await?;
        let asked = self.applied(&connected.database, aim).await;
        let _ = tokio::time::timeout(Duration::from_secs(1), connected.client.shutdown().immediate(true)).await;
        let applied = asked.map_err(|error| work_error(login, "look at the tenant's database", &error))?;
        Ok(Some(Reached { way: Way::Login, applied }))
    }
}

impl MongodbStore {
    /// The tenant's rows of the ledger; without migrations of its own, the database answers all the same.
    async fn applied(
        &self,
        database: &mongodb::Database,
        aim: &Aim<'_>,
    ) -> mongodb::error::Result<Option<Vec<(Version, String)>>> {
        let wanted = doc! { "_id.project": self.books.project.as_str(), "_id.tenant": "", "state": "applied" };
        let limit = if aim.has_ledger { 0 } else { 1 };
        let collection = database.collection::<Document>(MIGRATIONS);
        let rows = collection.find(wanted).projection(doc! { "checksum": 1 }).limit(limit).batch_size(10_000);
        let found: Vec<Document> = rows.max_time(Duration::from_secs(4)).await?.try_collect().await?;
        let row = |row: &Document| {
            let version = row.get_document("_id").ok()?.get_str("version").ok()?;
            Some((Version::new(version), row.get_str("checksum").ok()?.to_owned()))
        };
        Ok(aim.has_ledger.then(|| found.iter().filter_map(row).collect()))
    }
}
