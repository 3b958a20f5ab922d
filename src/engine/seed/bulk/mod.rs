//! Bulk files as a source of rows: the columns from the head of the file, rows streamed. Flat memory.

mod array;
mod csv;
mod feed;
mod file;
mod input;
mod lines;

pub use file::FileSource;

use crate::stores::load::Shape;

/// The fields that tell the rows apart: the primary key, else the one unique index, where the rows have
/// their columns; none: they are loaded once per content.
pub fn key(shape: &Shape, columns: &[String]) -> Vec<String> {
    let has = |key: &&Vec<String>| !key.is_empty() && key.iter().all(|name| columns.contains(name));
    if let Some(key) = Some(&shape.identity).filter(has) {
        return key.clone();
    }
    let mut unique = shape.unique.iter().filter(has);
    match (unique.next(), unique.next()) {
        (Some(key), None) => key.clone(),
        _ => Vec::new(),
    }
}
