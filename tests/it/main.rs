//! The one integration test crate: real servers, started once, a database or prefix per test.

mod check;
mod config;
mod crash;
mod errors;
mod faults;
mod generated;
mod help;
mod migrate;
mod postgres_store;
mod query;
mod reset;
mod secrets;
mod servers;
mod setup;
mod support;
mod url;

mod connect_errors;
