//! Whose migration histories a PostgreSQL holds: for `init`, which has to tell tools apart.

use std::time::Duration;

use crate::config::file::Format;
use crate::config::{Config, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::{AnyStore, Store as _};

/// A table in which some tool remembers its migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its schema.
    pub schema: String,
    /// The table.
    pub table: String,
    /// Its columns.
    pub columns: Vec<String>,
    /// `ar_internal_metadata` stands beside it.
    pub is_beside_rails: bool,
    /// How many rows it has; none where they may not be read.
    pub rows: Option<u64>,
}

/// A tool that keeps a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One whose folder lyrox runs.
    Known(Format),
    /// Another.
    Other(&'static str),
}

impl Owner {
    /// The tool's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Known(format) => format.name(),
            Self::Other(name) => name,
        }
    }
}

/// The names of the tables that are looked for.
pub const TABLES: [&str; 14] = [
    "_sqlx_migrations",
    "_prisma_migrations",
    "__drizzle_migrations",
    "schema_migrations",
    "goose_db_version",
    "flyway_schema_history",
    "refinery_schema_history",
    "pgmigrations",
    "migrations",
    "alembic_version",
    "databasechangelog",
    "knex_migrations",
    "django_migrations",
    "atlas_schema_revisions",
];

impl Seen {
    /// Whose history it is. Three tools call theirs `schema_migrations`: golang-migrate's has `dirty`, Rails'
    /// stands beside `ar_internal_metadata`, the Supabase CLI's has a schema of its own, and dbmate's is the rest.
    pub fn owner(&self) -> Option<Owner> {
        let has = |column: &str| self.columns.iter().any(|found| found == column);
        Some(match self.table.as_str() {
            "_sqlx_migrations" => Owner::Known(Format::Sqlx),
            "_prisma_migrations" => Owner::Known(Format::Prisma),
            "__drizzle_migrations" => Owner::Known(Format::Drizzle),
            "schema_migrations" if has("dirty") => Owner::Known(Format::GolangMigrate),
            "schema_migrations" if self.schema == "supabase_migrations" => Owner::Known(Format::Supabase),
            "schema_migrations" if self.is_beside_rails => Owner::Other("Rails"),
            "schema_migrations" if self.columns == ["version"] => Owner::Known(Format::Dbmate),
            "goose_db_version" => Owner::Known(Format::Goose),
            "flyway_schema_history" => Owner::Known(Format::Flyway),
            "refinery_schema_history" => Owner::Known(Format::Refinery),
            "pgmigrations" => Owner::Known(Format::NodePgMigrate),
            "migrations" if self.schema == "graphile_migrate" => Owner::Known(Format::Graphile),
            "alembic_version" => Owner::Other("Alembic"),
            "databasechangelog" => Owner::Other("Liquibase"),
            "knex_migrations" => Owner::Other("Knex"),
            "django_migrations" => Owner::Other("Django"),
            "atlas_schema_revisions" => Owner::Other("Atlas"),
            _ => return None,
        })
    }

    /// `public.schema_migrations, 12 rows`.
    pub fn label(&self) -> String {
        let rows = match self.rows {
            Some(1) => ", 1 row".to_owned(),
            Some(rows) => format!(", {rows} rows"),
            None => String::new(),
        };
        format!("`{}.{}`{rows}", self.schema, self.table)
    }
}

/// Looks for histories; reads only, within a few seconds.
///
/// # Errors
/// No URL, or a server that cannot be reached or read.
pub async fn look(config: &Config, targets: &Targets) -> Result<Vec<Seen>> {
    let Some(target) = targets.get(StoreKind::Postgres) else { return Ok(Vec::new()) };
    let work = async {
        let mut store = AnyStore::open(config, target).await?;
        let seen = match &mut store {
            AnyStore::Postgres(postgres) => postgres.histories().await,
            AnyStore::Mongodb(_) | AnyStore::Redis(_) => Ok(Vec::new()),
        };
        store.close().await;
        seen
    };
    let late = |_| Error::new(Code::ConnectTimeout, "PostgreSQL did not answer within 5 s");
    tokio::time::timeout(Duration::from_secs(5), work).await.map_err(late)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_migrations_has_four_owners() {
        let seen = |schema: &str, columns: &[&str], is_beside_rails| Seen {
            schema: schema.into(),
            table: "schema_migrations".into(),
            columns: columns.iter().map(|column| column.to_string()).collect(),
            is_beside_rails,
            rows: None,
        };
        let cases = [
            (seen("public", &["version", "dirty"], false), Some(Owner::Known(Format::GolangMigrate))),
            (seen("public", &["version", "dirty"], true), Some(Owner::Known(Format::GolangMigrate))),
            (seen("public", &["version"], true), Some(Owner::Other("Rails"))),
            (seen("public", &["version"], false), Some(Owner::Known(Format::Dbmate))),
            (
                seen("supabase_migrations", &["version", "statements", "name"], false),
                Some(Owner::Known(Format::Supabase)),
            ),
            (seen("public", &["version", "inserted_at"], false), None),
        ];
        for (seen, owner) in cases {
            assert_eq!(seen.owner(), owner, "{seen:?}");
        }
    }
}
