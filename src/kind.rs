//! The three kinds of store, and what each can and cannot do: data, asked before a run.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A kind of store. The order is the order in which lyrox takes locks and applies one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// PostgreSQL.
    Postgres,
    /// MongoDB.
    Mongodb,
    /// Redis or Valkey.
    Redis,
}

impl StoreKind {
    /// Every kind, in order.
    pub const ALL: [Self; 3] = [Self::Postgres, Self::Mongodb, Self::Redis];

    /// The name used in configuration, flags and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
        }
    }

    /// The product's name, for sentences.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::Mongodb => "MongoDB",
            Self::Redis => "Redis",
        }
    }

    /// The ending of this store's migration files.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Postgres => "sql",
            Self::Mongodb => "json",
            Self::Redis => "redis",
        }
    }

    /// What one step of a migration is called.
    pub const fn step_word(self, count: u64) -> &'static str {
        match (self, count) {
            (Self::Postgres, 1) => "statement",
            (Self::Postgres, _) => "statements",
            (_, 1) => "command",
            (..) => "commands",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for StoreKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is no store; the stores are postgres, mongodb and redis"))
    }
}
