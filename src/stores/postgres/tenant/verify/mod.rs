//! Proof that tenants cannot reach each other in PostgreSQL: what the catalog allows, and what was tried.

mod places;
mod role;
mod shared;
mod throwaway;

use super::super::connect::text;
use super::super::ident::literal;
use super::super::smoke::wall;
use super::super::{PostgresStore, run};
use super::unreadable;
use crate::config::file::TenancyModel;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::tenant::Terms;
use crate::stores::tenant_verify::{Ask, Part, VerifyStore};

impl VerifyStore for PostgresStore {
    async fn clean_verification(&mut self) -> Result<Vec<String>> {
        self.drop_throwaways().await
    }

    async fn verify_tenants(&mut self, ask: &Ask<'_>) -> Result<Proof> {
        self.set_up().await?;
        let mut proof = Proof::default();
        match ask.terms.model() {
            TenancyModel::Row => {
                // Which role it is, and which tables are open to all, is known by judging them; what that says is told once.
                let mut judged = Proof::default();
                let role = self.judge_shared(ask, &mut judged).await?;
                if ask.part == Part::Whole {
                    proof = judged.clone();
                }
                if let Some((role, is_bound)) = role {
                    wall::verify(self, ask, &role, is_bound, &judged, &mut proof).await?;
                }
            }
            TenancyModel::Schema if ask.part == Part::Tenants => self.try_tenants(ask, &mut proof).await?,
            TenancyModel::Database if ask.part == Part::Tenants => {}
            TenancyModel::Schema => self.judge_schemas(ask, &mut proof).await?,
            TenancyModel::Database => self.judge_databases(ask, &mut proof).await?,
        }
        Ok(proof)
    }

    async fn tenants_without_place(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<(usize, String)>> {
        if tenants.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = tenants.iter().map(Tenant::name).collect();
        let mut missing = Vec::new();
        let (what, found) = match terms.model() {
            TenancyModel::Row => {
                if terms.tenancy.table.is_none() {
                    return Ok(missing);
                }
                let keys = self.keys_with_row(tenants, terms).await?;
                for (index, _) in
                    tenants.iter().enumerate().filter(|(_, tenant)| !keys.iter().any(|key| key == tenant.key()))
                {
                    missing.push((index, "row".to_owned()));
                }
                return Ok(missing);
            }
            TenancyModel::Schema => ("schema", self.schemas_named(&names).await?),
            TenancyModel::Database => ("database", self.databases_named(&names).await?),
        };
        let has = |found: &[super::Named], name: &String| found.iter().any(|named| named.name == *name);
        for (index, name) in names.iter().enumerate().filter(|(_, name)| !has(&found, name)) {
            missing.push((index, format!("{what} {name}")));
        }
        if terms.tenancy.users {
            let roles = self.roles_named(&names).await?;
            for (index, name) in names.iter().enumerate().filter(|(_, name)| !has(&roles, name)) {
                missing.push((index, format!("role {name}")));
            }
        }
        Ok(missing)
    }
}

impl PostgresStore {
    /// Reads one JSON document, the first column of the last row of a query.
    async fn facts_of<T: serde::de::DeserializeOwned>(&mut self, sql: String) -> Result<T> {
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let json = rows.last().and_then(|row| text(row, 0)).unwrap_or_else(|| "null".into());
        serde_json::from_str(&json)
            .map_err(|error| crate::error::Error::bug(format!("an answer of the catalog: {error}")))
    }

    fn schema_literal(&self) -> String {
        literal(self.settings.schema.name())
    }
}
