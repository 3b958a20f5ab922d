//! The one integration test crate: real servers, started once, a database or prefix per test.

mod servers;
mod support;
