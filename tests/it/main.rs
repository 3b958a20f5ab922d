//! The one integration test crate: real servers, started once, a database or prefix per test.

mod config;
mod generated;
mod support;

mod connect_errors;
