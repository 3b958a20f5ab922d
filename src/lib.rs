//! lyrox takes a multi-tenant application from nothing to verified on PostgreSQL, MongoDB and Redis
//! together: connect, migrate, seed, smoke-test, reset.
//!
//! This is the library face: what the binary is made of, and what an application's own tests use to
//! load a project, migrate, seed and start local servers.

pub mod app;
pub mod cli;
pub mod commands;
pub mod config;
pub mod engine;
pub mod error;
pub mod exit;
pub mod kind;
pub mod project;
pub mod report;
pub mod scratch;
pub mod secret;
pub mod servers;
pub mod stores;
pub mod typed;
pub mod ui;
pub mod url;
