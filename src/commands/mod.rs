//! One file per command: its flags, and `run`, which translates, calls the engine and returns a report.

pub mod baseline;
pub mod check;
pub mod completions;
pub mod config;
pub mod down;
pub mod env;
pub mod explain;
pub mod init;
mod init_from;
pub mod logs;
pub mod man;
pub mod migrate;
pub mod new;
pub mod ps;
pub mod query;
pub mod repair;
pub mod reset;
pub mod rollback;
pub mod seed;
pub mod setup;
pub mod smoke_test;
pub mod status;
pub mod unlock;
pub mod up;
pub mod url;
