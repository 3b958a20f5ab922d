//! The canonical schema of a store: what smoke tests, drift and reset are judged against.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::kind::StoreKind;

/// The schema of one store as named objects with canonical definitions. Two stores with the same
/// schema have equal snapshots, whatever order things were made in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The store.
    pub store: StoreKind,
    /// [`head`](super::ledger::head) of the ledger rows after which it was taken; empty for a live one.
    #[serde(default)]
    pub head: String,
    /// Objects by their path: `table User`, `column User.email`, `index public.user_email_key`,
    /// `collection conversations`, `function lyrox_locks`. The value is the canonical definition.
    pub objects: BTreeMap<String, String>,
}

/// One difference between two snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// In the snapshot and not live.
    Missing(String),
    /// Live and not in the snapshot.
    Extra(String),
    /// Defined otherwise: the object, the snapshot's definition, the live one.
    Changed(String, String, String),
}

impl Snapshot {
    /// An empty snapshot.
    pub fn new(store: StoreKind) -> Self {
        Self { store, head: String::new(), objects: BTreeMap::new() }
    }

    /// What has to change for `self` to become `live`, in object order.
    pub fn differences(&self, live: &Self) -> Vec<Difference> {
        let mut found = Vec::new();
        for (object, definition) in &self.objects {
            match live.objects.get(object) {
                None => found.push(Difference::Missing(object.clone())),
                Some(other) if other != definition => {
                    found.push(Difference::Changed(object.clone(), definition.clone(), other.clone()));
                }
                Some(_) => {}
            }
        }
        found.extend(
            live.objects.keys().filter(|object| !self.objects.contains_key(*object)).cloned().map(Difference::Extra),
        );
        found
    }
}
