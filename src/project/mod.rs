//! What a project has on disk: migrations, seeds, smoke tests. Reads files; knows no server.

pub mod changed;
pub mod distribute;
pub mod formats;
pub mod hooks;
pub mod migration;
pub mod repeatable;
pub mod seed;
pub mod smoke;
pub mod squash;
pub mod text;
pub mod words;
