//! The configuration in force: `lyrox.toml` with its environment laid over it and variables filled in.

pub mod agent;
pub mod dotenv;
pub mod file;
mod format;
pub mod period;
mod read;
pub mod shards;
pub mod sources;
pub mod target;
pub mod variables;

use std::path::PathBuf;

use crate::error::{Code, Error, Result};

pub use file::Settings;
pub use period::Period;
pub(crate) use read::unknown_field;
pub use read::{Choice, Value, from_text, load, values, variable};
pub use target::{Endpoint, Target, Targets};
pub use variables::{EnvFiles, Origin, Skip, Variables};

/// The name of the configuration file.
pub const FILE_NAME: &str = "lyrox.toml";
/// The environment that is used unless another is named.
pub const LOCAL: &str = "local";

/// A loaded project configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder of `lyrox.toml`: everything is relative to it.
    pub root: PathBuf,
    /// The file that was read.
    pub file: PathBuf,
    /// The settings in force.
    pub settings: Settings,
    /// The environment in force.
    pub environment: String,
    /// `[env.NAME]` says so: nothing destructive goes through.
    pub is_protected: bool,
    /// The one seed set that `[env.NAME]` allows where seeding is guarded.
    pub allowed_seeds: Option<String>,
    /// The variable by which a coding agent shows that it runs this process.
    pub agent: Option<&'static str>,
    /// The variables that were looked at.
    pub variables: Variables,
    /// Keys whose variable is unset: the key's path and the variable's name.
    pub unset: Vec<(String, String)>,
    /// Where keys that hold a variable got their value: the key's path and its origin.
    pub origins: Vec<(String, Origin)>,
    /// What files and commands of `url_file` and `url_command` gave in this run.
    pub sources: sources::Sources,
}

impl Config {
    /// The prefix of every Redis key of the project.
    pub fn key_prefix(&self) -> String {
        let given = self.settings.redis.as_ref().and_then(|redis| redis.key_prefix.clone());
        given.unwrap_or_else(|| format!("{}:", self.settings.project.name))
    }

    /// A project without a store has nothing that could be checked, migrated or tested.
    ///
    /// # Errors
    /// `LYX-CONFIG-VALUE`.
    pub fn names_a_store(&self) -> Result<()> {
        if !self.stores().is_empty() {
            return Ok(());
        }
        Err(Error::new(Code::ConfigValue, "lyrox.toml names no store")
            .data("nothing was contacted")
            .hint("add at least one of the sections [postgres], [mongodb], [redis]"))
    }

    /// The stores the project has, in order.
    pub fn stores(&self) -> Vec<crate::kind::StoreKind> {
        use crate::kind::StoreKind;
        StoreKind::ALL
            .into_iter()
            .filter(|kind| match kind {
                StoreKind::Postgres => self.settings.postgres.is_some(),
                StoreKind::Mongodb => self.settings.mongodb.is_some(),
                StoreKind::Redis => self.settings.redis.is_some(),
            })
            .collect()
    }
}
