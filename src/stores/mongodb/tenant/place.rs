//! A database of its own for each tenant, and a user that has no rights but in it. The database itself comes to be with
//! the first collection; the user, or a marker, holds its name until then.

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt as _;

use super::super::error::refusal;
use super::MongodbStore;
use crate::engine::tenant::{Tenant, Which};
use crate::error::{Code, Error, Result};
use crate::stores::tenant::{Clash, Made, Place, Terms};

/// What a tenant's user may do, in its own database only.
pub const ROLE: &str = "readWrite";

impl MongodbStore {
    /// What tells a user of this project's tenants from others.
    fn mark(&self) -> Document {
        doc! { "lyrox": self.books.project.as_str() }
    }

    /// The databases of these names that there are.
    async fn databases_named(&self, names: &[String]) -> mongodb::error::Result<Vec<String>> {
        let filter = doc! { "name": { "$in": names } };
        self.connected.client.list_database_names().filter(filter).await
    }

    /// The users of these names in the databases of the same names: name, and whether it is ours.
    pub(super) async fn users_named(&self, names: &[String]) -> mongodb::error::Result<Vec<(String, bool)>> {
        let wanted: Vec<Document> =
            names.iter().map(|name| doc! { "user": name.as_str(), "db": name.as_str() }).collect();
        let reply = self.connected.client.database("admin").run_command(doc! { "usersInfo": wanted }).await?;
        let users = reply.get_array("users").cloned().unwrap_or_default();
        let each = |user: &Bson| {
            let user = user.as_document()?;
            let is_ours = user.get_document("customData").ok().is_some_and(|data| *data == self.mark());
            Some((user.get_str("user").ok()?.to_owned(), is_ours))
        };
        Ok(users.iter().filter_map(each).collect())
    }

    pub(super) async fn place_clashes(&self, tenants: &[Tenant], terms: &Terms) -> mongodb::error::Result<Vec<Clash>> {
        let names: Vec<String> = tenants.iter().map(Tenant::name).collect();
        let mut clashes = Vec::new();
        let index = |name: &String| names.iter().position(|known| known == name);
        for name in self.databases_named(&names).await? {
            let Some(index) = index(&name) else { continue };
            let why = format!("MongoDB's database `{name}` is there, and was not made for this tenant");
            clashes.push(Clash { index, why, is_unmanaged: true, key: None });
        }
        if terms.tenancy.users {
            for (name, _) in self.users_named(&names).await?.into_iter().filter(|(_, is_ours)| !is_ours) {
                let Some(index) = index(&name) else { continue };
                let why = format!("MongoDB's user `{name}` is there, and was not made for this tenant");
                clashes.push(Clash { index, why, is_unmanaged: false, key: None });
            }
        }
        Ok(clashes)
    }

    /// Makes users, or gives them their present password and no other rights than these.
    pub(super) async fn make_users(&self, places: &[Place]) -> Result<Made> {
        let names: Vec<String> = places.iter().map(|place| place.tenant.name()).collect();
        let users = self.users_named(&names).await.map_err(self.failed("look for users"))?;
        let mut made = Made::default();
        for (index, (place, name)) in places.iter().zip(&names).enumerate() {
            let Some(password) = &place.password else {
                made.done.insert(index);
                continue;
            };
            let there = users.iter().find(|(user, _)| user == name);
            if there.is_some_and(|(_, is_ours)| !is_ours) {
                let what = format!("MongoDB's user `{name}` is there, and was not made for this tenant");
                made.failed.push((index, Error::new(Code::TenantClash, what).data("nothing was changed in MongoDB")));
                continue;
            }
            let command = if there.is_some() { "updateUser" } else { "createUser" };
            let command = doc! {
                command: name.as_str(), "pwd": password.expose(), "roles": [{ "role": ROLE, "db": name.as_str() }],
                "customData": self.mark(), "writeConcern": { "w": "majority" },
            };
            match self.connected.client.database(name).run_command(command).await {
                Ok(_) => {
                    made.done.insert(index);
                }
                Err(error) => {
                    let Some(refusal) = refusal(&error) else {
                        return Err(self.failed("make a tenant's user")(error));
                    };
                    let what = format!("MongoDB refuses the user of tenant `{}`", place.tenant.shown());
                    let code = if refusal.code == 13 { Code::Privilege } else { Code::TenantFailed };
                    let error = Error::new(code, what).why(refusal.shown()).data("MongoDB has nothing of it");
                    made.failed.push((index, error));
                }
            }
        }
        Ok(made)
    }

    /// Drops a tenant's user, if it is ours, and its database.
    pub(super) async fn drop_place(&self, tenant: &Tenant) -> mongodb::error::Result<()> {
        let name = tenant.name();
        let database = self.connected.client.database(&name);
        if self.users_named(std::slice::from_ref(&name)).await?.iter().any(|(_, is_ours)| *is_ours) {
            database.run_command(doc! { "dropUser": name.as_str() }).await?;
        }
        database.drop().await
    }

    /// Deletes the documents of a tenant that never was active: what its seeds wrote.
    pub(super) async fn delete_documents(&self, tenant: &Tenant, terms: &Terms) -> mongodb::error::Result<()> {
        let Some(column) = &terms.tenancy.column else { return Ok(()) };
        let names = self.connected.database.list_collection_names().await?;
        for name in names.iter().filter(|name| !self.books.is_own(name) && !terms.tenancy.global.contains(name)) {
            let collection = self.connected.database.collection::<Document>(name);
            collection.delete_many(doc! { column.as_str(): tenant.key() }).collation(super::bundle::simple()).await?;
        }
        Ok(())
    }

    pub(super) async fn look_at_place(&self, tenant: &Tenant) -> mongodb::error::Result<Vec<(&'static str, String)>> {
        let names = [tenant.name()];
        let mut found = Vec::new();
        found.extend(self.databases_named(&names).await?.into_iter().map(|name| ("database", name)));
        found.extend(self.users_named(&names).await?.into_iter().map(|(name, _)| ("user", name)));
        Ok(found)
    }

    /// Slugs of databases with a tenant's name that no record names.
    pub(super) async fn unmanaged_databases(&self, limit: usize) -> Result<Vec<String>> {
        let filter = doc! { "name": { "$regex": "^t_[a-z][a-z0-9_]{0,39}$" } };
        let asked = self.connected.client.list_database_names().filter(filter).await;
        let names = asked.map_err(self.failed("list the databases"))?;
        // Without users nothing tells this project's databases from another's of the same server: only what bears our
        // ledger counts.
        let records = self.read_registry(&Which::All).await?;
        let known: std::collections::HashSet<&str> = records.iter().map(|record| record.tenant.slug()).collect();
        let mut slugs = Vec::new();
        for name in names {
            let slug = name[2..].to_owned();
            if known.contains(slug.as_str()) || slugs.len() == limit {
                continue;
            }
            let rows = self.connected.client.database(&name).collection::<Document>(super::super::ledger::MIGRATIONS);
            let asked = async { rows.find(doc! {}).limit(1).await?.try_collect::<Vec<_>>().await };
            let rows = asked.await.map_err(self.failed("look into a database"))?;
            let is_ours = |row: &Document| {
                row.get_document("_id").ok().and_then(|id| id.get_str("project").ok())
                    == Some(self.books.project.as_str())
            };
            if rows.first().is_some_and(is_ours) {
                slugs.push(slug);
            }
        }
        slugs.sort();
        Ok(slugs)
    }
}
