//! A role that lives for one verification: who is nobody here, and what is open to everybody. It is made and committed,
//! because a login needs it; its comment tells it from every other, so that the next run removes what a kill left.

use super::super::super::connect::text;
use super::super::super::ident::{Ident, literal};
use super::super::super::{PostgresStore, run};
use super::super::{scram, unreadable};
use crate::error::Result;
use crate::secret::Secret;

/// What their names begin with.
const NAME: &str = "lyrox_verify_";

impl PostgresStore {
    fn throwaway_mark(&self) -> String {
        format!("lyrox: a verification of {}", self.project)
    }

    /// Makes the role; the inner error is the server's no.
    pub(super) async fn make_throwaway(&mut self, id: &str) -> Result<Result<(String, Secret), String>> {
        let name = format!("{NAME}{id}");
        let password = Secret::new(uuid::Uuid::new_v4().simple().to_string());
        let ident = Ident::new(&name)?;
        let sql = format!(
            "BEGIN; CREATE ROLE {ident} LOGIN NOINHERIT PASSWORD {}; COMMENT ON ROLE {ident} IS {}; COMMIT",
            literal(&scram::verifier(password.expose())),
            literal(&self.throwaway_mark())
        );
        match run(&mut self.connection, sql).await {
            Ok(_) => Ok(Ok((name, password))),
            Err(error) if super::super::super::error::is_lost(&error) => Err(unreadable(&error)),
            Err(error) => {
                let words = super::super::super::error::words(&error);
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                Ok(Err(words))
            }
        }
    }

    /// Drops every such role of the project; says which.
    pub(super) async fn drop_throwaways(&mut self) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT r.rolname FROM pg_catalog.pg_roles r WHERE pg_catalog.starts_with(r.rolname::text, '{NAME}') \
             AND pg_catalog.shobj_description(r.oid, 'pg_authid') = {}",
            literal(&self.throwaway_mark())
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let mut removed = Vec::new();
        for name in rows.iter().filter_map(|row| text(row, 0)) {
            let drop = format!("DROP ROLE {}", Ident::new(&name)?);
            run(&mut self.connection, drop).await.map_err(|error| unreadable(&error))?;
            removed.push(format!("role `{name}`"));
        }
        Ok(removed)
    }
}
