//! Which test an object of the snapshot belongs to: what is missing or weaker live fails that one. Pure.

use super::catalog::Catalog;
use crate::kind::StoreKind;
use crate::stores::smoke::BuiltIn;

/// What a built-in test is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A table takes a valid row.
    Row(String),
    /// NOT NULL and CHECK refuse what they must.
    Refusals(String),
    /// Foreign keys refuse orphans and do what they declare.
    ForeignKeys(String),
    /// Unique keys refuse duplicates.
    Unique(String),
    /// A timestamp moves on update.
    Touch(String),
    /// Indexes are used.
    Indexes(String),
    /// Every table carries the tenant.
    TenantColumn,
    /// Row-level security is on and forced.
    RowSecurity,
    /// The application's role is bound.
    Role,
    /// Without a tenant there is nothing.
    NoTenant,
    /// Tenants cannot see each other's rows of a table.
    Isolation(String),
}

impl Subject {
    /// The order of tests: what needs a session that has never known a tenant first, then table by table.
    pub fn rank(&self) -> (u8, String, u8) {
        match self {
            Self::Role => (0, String::new(), 0),
            Self::RowSecurity => (0, String::new(), 1),
            Self::TenantColumn => (0, String::new(), 2),
            Self::NoTenant => (0, String::new(), 3),
            Self::Row(table) => (1, table.clone(), 0),
            Self::Refusals(table) => (1, table.clone(), 1),
            Self::ForeignKeys(table) => (1, table.clone(), 2),
            Self::Unique(table) => (1, table.clone(), 3),
            Self::Touch(table) => (1, table.clone(), 4),
            Self::Indexes(table) => (1, table.clone(), 5),
            Self::Isolation(table) => (1, table.clone(), 6),
        }
    }

    /// The test as the engine knows it.
    pub fn built_in(&self) -> BuiltIn {
        let (kind, object, title, writes) = match self {
            Self::Row(table) => ("row", table.as_str(), format!("{table} takes a valid row"), true),
            Self::Refusals(table) => ("check", table.as_str(), format!("{table} refuses invalid rows"), true),
            Self::ForeignKeys(table) => ("foreign_key", table.as_str(), format!("{table}: foreign keys hold"), true),
            Self::Unique(table) => ("unique", table.as_str(), format!("{table} refuses duplicates"), true),
            Self::Touch(table) => ("touch", table.as_str(), format!("{table}: the time of change moves"), true),
            Self::Indexes(table) => ("index", table.as_str(), format!("{table}: indexes are used"), false),
            Self::TenantColumn => ("tenant_column", "", "Every table carries the tenant".into(), false),
            Self::RowSecurity => ("row_security", "", "Row-level security is forced".into(), false),
            Self::Role => ("app_role", "", "Policies bind the application".into(), false),
            Self::NoTenant => ("no_tenant", "", "Without a tenant there are no rows".into(), false),
            Self::Isolation(table) => ("tenant", table.as_str(), format!("{table}: tenants are apart"), true),
        };
        BuiltIn::new(StoreKind::Postgres, kind, object, title, writes)
    }
}

/// The test that an object of the snapshot belongs to; none: only `schema` speaks of it.
pub fn subject(object: &str, definition: &str, now: Option<&str>, catalog: &Catalog) -> Option<Subject> {
    let _ = (object, definition, now, catalog);
    None
}
