//! Proof that tenants cannot reach each other in MongoDB.

mod throwaway;
mod users;

use super::MongodbStore;
use crate::config::file::TenancyModel;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::mongodb::smoke::wall;
use crate::stores::tenant::Terms;
use crate::stores::tenant_verify::{Ask, Part, VerifyStore};

impl VerifyStore for MongodbStore {
    async fn clean_verification(&mut self) -> Result<Vec<String>> {
        self.drop_throwaways().await.map_err(self.failed("remove what a verification left"))
    }

    async fn verify_tenants(&mut self, ask: &Ask<'_>) -> Result<Proof> {
        let mut proof = Proof::default();
        match ask.terms.model() {
            TenancyModel::Row if ask.part == Part::Tenants => {}
            TenancyModel::Row => wall::verify(self, ask, &mut proof).await?,
            _ => {
                self.judge_users(ask, &mut proof).await?;
                if ask.part == Part::Whole {
                    self.try_throwaway(ask, &mut proof).await?;
                }
            }
        }
        Ok(proof)
    }

    async fn tenants_without_place(&mut self, tenants: &[Tenant], terms: &Terms) -> Result<Vec<(usize, String)>> {
        if terms.model() == TenancyModel::Row || !terms.tenancy.users || tenants.is_empty() {
            return Ok(Vec::new());
        }
        // A database comes to be with its first collection; the user is what is made.
        let names: Vec<String> = tenants.iter().map(Tenant::name).collect();
        let users = self.users_named(&names).await.map_err(self.failed("look for users"))?;
        let has = |name: &String| users.iter().any(|(user, _)| user == name);
        Ok(names
            .iter()
            .enumerate()
            .filter(|(_, name)| !has(name))
            .map(|(index, name)| (index, format!("user {name}")))
            .collect())
    }
}
