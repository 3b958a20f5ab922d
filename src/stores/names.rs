//! What a script makes and what it refers to, by name: the order of repeatable migrations comes from it. Pure.

use std::collections::BTreeSet;

use crate::kind::StoreKind;
use crate::project::migration::{Header, Script};

/// The names in a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What it makes: views, functions, types, collections, libraries.
    pub makes: BTreeSet<String>,
    /// What must be there when it runs.
    pub needs: BTreeSet<String>,
    /// What stands somewhere in it, such as inside the body of a function.
    pub mentions: BTreeSet<String>,
}

/// The names in a script. One that cannot be read has none: it is refused where it is to be run.
pub fn of(store: StoreKind, script: &Script) -> Names {
    match store {
        StoreKind::Postgres => super::postgres::names::of(&script.text),
        StoreKind::Mongodb => super::mongodb::names::of(&unfilled(script)),
        StoreKind::Redis => super::redis::names::of(&unfilled(script)),
    }
}

/// The script with its variables left as they are: names do not hang on them.
fn unfilled(script: &Script) -> Script {
    Script { header: Header { vars: false, ..script.header.clone() }, ..script.clone() }
}
