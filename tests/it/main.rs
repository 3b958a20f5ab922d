//! The one integration test crate: real servers, started once, a database or prefix per test.

mod check;
mod config;
mod connect_errors;
mod crash;
mod errors;
mod faults;
mod generated;
mod help;
mod migrate;
mod mongodb_store;
mod output;
mod postgres_store;
mod query;
mod redis_store;
mod reset;
mod secrets;
mod seed;
mod servers;
mod setup;
mod smoke;
mod store_run;
mod support;
mod trips;
mod url;
