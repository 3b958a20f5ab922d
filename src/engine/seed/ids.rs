//! Ids that follow from names: the same row has the same id on every machine and in every run.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use crate::kind::StoreKind;

/// The namespace of all seed ids (UUID version 5). It never changes: ids would change with it.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x6c79_726f_782d_4573_8e65_642d_6964_7301);

/// What an id follows from. The set is no part of it: a row keeps its id when it moves to another set.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// `[project] name`.
    pub project: &'a str,
    /// The tenant that the run is for; empty: none.
    pub tenant: &'a str,
    /// The store.
    pub store: StoreKind,
    /// The table or collection.
    pub target: &'a str,
}

impl Origin<'_> {
    /// UUID version 5 over project, tenant, store, table and row name, joined by NUL characters.
    pub fn uuid(&self, row: &str) -> Uuid {
        let name = [self.project, self.tenant, self.store.name(), self.target, row].join("\0");
        Uuid::new_v5(&NAMESPACE, name.as_bytes())
    }

    /// An ObjectId as extended JSON: the first twelve bytes of the UUID.
    pub fn object_id(&self, row: &str) -> Json {
        let hex: String = self.uuid(row).as_bytes()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        json!({ "$oid": hex })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_from_every_part_of_the_name() {
        let origin = Origin { project: "p", tenant: "", store: StoreKind::Postgres, target: "User" };
        // Written down: a change of this value changes the ids of every seeded database.
        assert_eq!(origin.uuid("pedro").to_string(), "ce748d10-d62e-58fa-8907-b3fc335a1a17");
        let others = [
            Origin { project: "q", ..origin }.uuid("pedro"),
            Origin { tenant: "t", ..origin }.uuid("pedro"),
            Origin { store: StoreKind::Mongodb, ..origin }.uuid("pedro"),
            Origin { target: "Users", ..origin }.uuid("pedro"),
            origin.uuid("maya"),
        ];
        assert!(others.iter().all(|id| *id != origin.uuid("pedro")));
        assert_eq!(origin.object_id("pedro")["$oid"].as_str().map(str::len), Some(24));
    }
}
