//! The live schema in canonical form, read from the catalog in one consistent look.

use super::connect::text;
use super::error::{catalog_error, sqlstate};
use super::ident::literal;
use super::{PostgresStore, run};
use crate::engine::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::kind::StoreKind;

const CATALOG: &str = include_str!("catalog.sql");

impl PostgresStore {
    /// Reads the live schema.
    pub(super) async fn read_schema(&mut self) -> Result<Snapshot> {
        let schemas = self.schemas().await?;
        let sql = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO {}; {}; COMMIT",
            self.settings.schema,
            self.fill(CATALOG, &schemas)
        );
        let rows = match run(&mut self.connection, sql).await {
            Ok(rows) => rows,
            Err(error) => {
                let _ = run(&mut self.connection, "ROLLBACK".into()).await;
                return Err(unreadable(&error));
            }
        };
        let mut snapshot = Snapshot::new(StoreKind::Postgres);
        for row in &rows {
            let object = text(row, 0).ok_or_else(|| Error::bug("an object without a name"))?;
            snapshot.objects.insert(object, text(row, 1).unwrap_or_default());
        }
        Ok(snapshot)
    }

    /// The schemas that are the project's: its own, and those that its applied migrations create. Others
    /// in the same database may be another project's.
    pub(super) async fn schemas(&mut self) -> Result<Vec<String>> {
        let own = self.settings.schema.name().to_owned();
        let sql = format!(
            "SELECT n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname NOT IN ('lyrox', 'information_schema', {own}) \
             AND n.nspname !~ '^pg_' AND EXISTS (SELECT FROM (SELECT r.text FROM lyrox.migrations r WHERE r.project = {project} AND r.tenant = {tenant} \
             AND r.store = 'postgres' AND r.state <> 'reverted'{assumed}) m WHERE m.text ~* ('create\\s+schema\\s+(if\\s+not\\s+exists\\s+)?\"?' \
             || pg_catalog.regexp_replace(n.nspname, '([]^$.*+?(){{}}|\\\\[-])', '\\\\\\1', 'g') || '(\"|\\s|;|$)')) ORDER BY 1",
            own = literal(&own),
            project = literal(&self.project),
            tenant = literal(&self.target.tenant),
            assumed =
                self.assumed.iter().map(|text| format!(" UNION ALL SELECT {}", literal(text))).collect::<String>(),
        );
        let mut schemas = vec![own];
        match run(&mut self.connection, sql).await {
            Ok(rows) => schemas.extend(rows.iter().filter_map(|row| text(row, 0))),
            // Before there is a ledger there is only the one.
            Err(error) if matches!(sqlstate(&error), Some("42P01" | "3F000")) => {}
            Err(error) => return Err(unreadable(&error)),
        }
        Ok(schemas)
    }
}

fn unreadable(error: &sqlx::Error) -> Error {
    catalog_error("the catalog cannot be read", error)
}
