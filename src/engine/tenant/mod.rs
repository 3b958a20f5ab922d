//! Tenants: their names, the registry, and the operations on them. Planning is pure; what each store does is in
//! `stores/*/tenant/`, behind [`TenantStore`](crate::stores::tenant::TenantStore).

pub mod bundle;
pub mod create;
pub mod credentials;
pub mod delete;
pub mod export;
pub mod fanout;
mod hands;
pub mod import;
pub mod inside;
pub mod list;
pub mod name;
pub mod placement;
pub mod plan;
pub mod policies;
pub mod reach;
pub mod registry;
pub mod relocate;
pub mod renew;
pub mod run;
pub mod shard;
pub mod skew;
pub mod template;
pub mod unit;
pub mod verify;
pub mod wave;

pub use name::{Slug, Tenant, shown};
pub use registry::{Record, State, Which};
pub use shard::Placement;

use crate::config::Config;
use crate::config::file::Tenancy;
use crate::error::{Code, Error, Result};
use crate::stores::tenant::Terms;

/// What holds for all tenants of a project.
///
/// # Errors
/// `LYX-TENANCY` where the project has none.
pub fn terms(config: &Config) -> Result<Terms> {
    let tenancy: Tenancy = config.settings.tenancy.clone().ok_or_else(|| {
        Error::new(Code::Tenancy, "the project has no tenants")
            .why("lyrox.toml has no section [tenancy]")
            .data("nothing was changed")
            .hint("add [tenancy] with model = \"row\", \"schema\" or \"database\" to lyrox.toml")
    })?;
    Ok(Terms { project: config.settings.project.name.clone(), tenancy, template: None, keeps_roles: false })
}

/// The error of a name that no record has.
pub fn unknown(name: &str) -> Error {
    Error::new(Code::TenantUnknown, format!("there is no tenant `{}`", shown(name)))
        .why("the registry has no tenant with this key or slug")
        .data("nothing was changed")
        .hint("lyrox tenant list")
}
