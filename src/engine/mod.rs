//! The operations: what to do and in which order. Knows no driver, no flag and no terminal.

pub mod adopt;
pub mod back;
pub mod baseline;
pub mod check;
pub mod diff;
pub mod dump;
pub mod event;
pub mod generate;
pub mod guard;
pub mod histories;
pub mod ledger;
pub mod lint;
pub mod lock;
pub mod migrate;
pub mod plan;
pub mod rehearse;
pub mod repair;
pub mod repeatables;
pub mod reset;
pub mod seed;
pub mod smoke;
pub mod snapshot;
pub mod tenant;
pub mod trial;
pub mod unlock;
