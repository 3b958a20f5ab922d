//! The bundle of a tenant: a tar archive, compressed with zstd, of NDJSON files and a manifest as its last entry. The same
//! data makes the same bytes: everything is sorted by its key, and no clock, no host and no program's version is in it.
//!
//! ```text
//! postgres/001-Company/000001.ndjson     whole lines, about a megabyte each
//! mongodb/001-conversations/000001.ndjson
//! redis/001-keys/000001.ndjson
//! manifest.json                          what it is of, the parts with counts and digests, the files with SHA-256
//! ```

pub mod lines;
pub mod order;
pub mod read;
pub mod sort;
pub mod spaces;
pub mod write;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::kind::StoreKind;

/// The form of this page.
pub const FORMAT: u32 = 1;
/// The name of the last entry.
pub const MANIFEST: &str = "manifest.json";
/// What a bundle calls itself.
pub const TITLE: &str = "tenant bundle";

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`TITLE`].
    pub lyrox: String,
    /// [`FORMAT`].
    pub format: u32,
    /// The project that it was exported from.
    pub project: String,
    /// The model of its tenants.
    pub model: String,
    /// The tenant's key.
    pub key: String,
    /// The tenant's slug.
    pub slug: String,
    /// The newest migration that its tables have.
    pub version: Option<String>,
    /// Tables, collections and key spaces.
    pub parts: Vec<Entry>,
}

/// A part of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Where it is from.
    pub store: StoreKind,
    /// Its name there.
    pub name: String,
    /// Its columns, where it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Those columns that hold its own ids.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// So many lines.
    pub rows: u64,
    /// The [`Sum`] of its lines.
    pub digest: String,
    /// Its files, in order.
    pub files: Vec<Piece>,
}

/// A file of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// Its path in the archive.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// A digest of lines that does not look at their order: the sum of their SHA-256 as numbers, modulo 2^256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    words: [u64; 4],
    /// How many lines were added.
    pub count: u64,
}

impl Sum {
    /// Adds a line.
    pub fn add(&mut self, line: &[u8]) {
        let digest = Sha256::digest(line);
        let mut one = Self { count: 1, ..Self::default() };
        for (word, bytes) in one.words.iter_mut().zip(digest.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        self.join(&one);
    }

    /// Adds the lines of another sum.
    pub fn join(&mut self, other: &Self) {
        let mut carry = false;
        for (word, number) in self.words.iter_mut().zip(other.words) {
            let (sum, over) = word.overflowing_add(number);
            let (sum, again) = sum.overflowing_add(u64::from(carry));
            *word = sum;
            carry = over || again;
        }
        self.count += other.count;
    }

    /// The digest as text.
    pub fn text(&self) -> String {
        self.words.iter().map(|word| format!("{word:016x}")).collect()
    }
}

/// Bytes in hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_knows_lines_and_not_their_order() {
        let sum = |lines: &[&str]| {
            let mut sum = Sum::default();
            lines.iter().for_each(|line| sum.add(line.as_bytes()));
            sum
        };
        assert_eq!(sum(&["a", "b", "c"]), sum(&["c", "a", "b"]));
        assert_ne!(sum(&["a", "b"]).text(), sum(&["a", "c"]).text());
        assert_ne!(sum(&["a"]), sum(&["a", "a"]), "a line twice is another thing");
        assert_eq!(sum(&[]).text(), "0".repeat(64));
        let mut joined = sum(&["a", "b"]);
        joined.join(&sum(&["c"]));
        assert_eq!(joined, sum(&["a", "b", "c"]));
    }
}
