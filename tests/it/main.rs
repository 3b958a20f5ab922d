//! The one integration test crate: real servers, started once, a database or prefix per test.

mod config;
mod crash;
mod errors;
mod generated;
mod help;
mod migrate;
mod postgres_store;
mod reset;
mod secrets;
mod servers;
mod setup;
mod support;

mod connect_errors;
