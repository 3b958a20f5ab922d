//! What lyrox remembers of tenants: one record each. The first store of the project keeps the registry; the others keep
//! copies, by which they can be told from stores that were emptied. Pure.

use serde::{Deserialize, Serialize};

use super::name::Tenant;
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Result};

/// How far a tenant is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is being made, or its making was cut short.
    Pending,
    /// It is complete in every store: the application may serve it.
    Active,
    /// Its making failed, and all that was made was taken back: nothing that has its names is its own.
    Failed,
    /// It is complete and must not be served.
    Suspended,
    /// It is being removed, or its removal was cut short.
    Deleting,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Active, Self::Failed, Self::Suspended, Self::Deleting];

    /// The word in the registry.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Suspended => "suspended",
            Self::Deleting => "deleting",
        }
    }

    /// Reads the word of the registry.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// A tenant as the registry has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its names.
    pub tenant: Tenant,
    /// The model under which it was made.
    pub model: TenancyModel,
    /// How far it is.
    pub state: State,
    /// The last step of the present work that is done, by its word ([`super::create::Step`]); empty: none. What deletes or
    /// moves a tenant keeps its own words here.
    pub step: String,
    /// Where it is, where there are several servers; empty: the project's own.
    pub shard: String,
    /// The newest version of its migrations; none where it has none of its own.
    pub version: Option<String>,
    /// A digest of all that is applied to it ([`heads`]): tenants with equal ones are at the same state.
    pub head: Option<String>,
    /// It was not made by lyrox but taken in.
    pub is_adopted: bool,
    /// Server time of its making, RFC 3339; empty before it is written.
    pub created_at: String,
    /// Server time of the last change, RFC 3339; empty before it is written.
    pub updated_at: String,
    /// Why its making failed: a code and a sentence.
    pub error: Option<String>,
}

impl Record {
    /// The record of a tenant that is to be made.
    pub fn new(tenant: Tenant, model: TenancyModel) -> Self {
        Self {
            tenant,
            model,
            state: State::Pending,
            step: String::new(),
            shard: String::new(),
            version: None,
            head: None,
            is_adopted: false,
            created_at: String::new(),
            updated_at: String::new(),
            error: None,
        }
    }

    /// Reads what the registry holds of a tenant.
    ///
    /// # Errors
    /// `LYX-LEDGER-DAMAGED` where it holds what lyrox never wrote.
    pub fn read(key: &str, slug: &str, model: &str, state: &str) -> Result<Self> {
        let damaged = || {
            Error::new(
                Code::LedgerDamaged,
                format!("the registry's row of tenant `{}` cannot be read", super::shown(key)),
            )
            .why("its slug, model or state is none that lyrox writes")
            .data("nothing was changed")
        };
        let model = TenancyModel::ALL.into_iter().find(|known| known.name() == model).ok_or_else(damaged)?;
        let mut record = Self::new(Tenant::new(key, Some(slug)).map_err(|_| damaged())?, model);
        record.state = State::parse(state).ok_or_else(damaged)?;
        Ok(record)
    }
}

/// Which records are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of the project, sorted by key.
    All,
    /// Those whose key or slug is among these tenants'.
    Of(Vec<Tenant>),
    /// The one with this key or, where there is none, this slug.
    Named(String),
}

/// One digest of the heads of several ledgers, in store order.
pub fn heads(heads: &[String]) -> String {
    crate::project::text::sha256(heads.join("\n").as_bytes())
}
