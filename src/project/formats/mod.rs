//! Other tools' migration folders, read by those tools' own rules: which files count, how they are named, cut and
//! ordered, and what the tool's history says of each ([`Foreign`](super::migration::Foreign)). Pure reading.
//!
//! How to add a format: a variant of [`Format`], a file here with a `read`, an arm in [`read_all`], its history in
//! `stores/postgres/foreign/`, its marks in [`detect`](fn@detect).

use std::path::Path;

use super::migration::{self, Migration};
use crate::config::file::{Format, Migrations};
use crate::error::Result;

/// What a reader is given.
#[derive(Clone, Copy, Debug)]
pub struct Folder<'a> {
    /// The project's root.
    pub root: &'a Path,
    /// The folder, relative to the root, with `/`.
    pub dir: &'a str,
    /// `[migrations]` as it is in force.
    pub settings: &'a Migrations,
}

/// Reads the migrations of a project in the order in which they apply, the lyrox parts of other stores merged in.
///
/// # Errors
/// As [`migration::read_all`]; what the other tool itself would refuse.
pub fn read_all(root: &Path, settings: &Migrations) -> Result<Vec<Migration>> {
    let _folder = Folder { root, dir: &settings.dir, settings };
    match settings.format {
        Format::Lyrox => migration::read_all(root, &settings.dir),
        _ => migration::read_all(root, &settings.dir),
    }
}
