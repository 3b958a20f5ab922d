//! The one integration test crate: real servers, started once, a database or prefix per test.

mod support;

mod connect_errors;
mod mongodb_store;
mod store_run;
