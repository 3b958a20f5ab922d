//! Reading a bundle. It is read to its end, every checksum held against the manifest, before anything is changed; what is
//! read after that is known to be whole. Nothing of it is ever unpacked to disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::Header;
use zstd::stream::read::Decoder;

use super::{Entry, FORMAT, MANIFEST, Manifest, Sum, TITLE, hexadecimal};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// No file of a bundle is longer: one line may be a row of PostgreSQL, which holds at most a gigabyte.
const LONGEST: u64 = 2 << 30;
/// No manifest is longer.
const LONGEST_MANIFEST: u64 = 256 << 20;
const BLOCK: usize = 512;

/// A bundle that is whole.
#[derive(Clone, Debug)]
pub struct Bundle {
    path: PathBuf,
    /// What it holds.
    pub manifest: Manifest,
    /// The SHA-256 of the manifest: it stands for all of the bundle.
    pub id: String,
}

impl Bundle {
    /// Opens a bundle and reads all of it.
    ///
    /// # Errors
    /// `LYX-BUNDLE` where it is no bundle, or not whole.
    pub fn open(path: &Path) -> Result<Self> {
        let bad = |why: String| refused(path, why);
        let mut archive = Archive::open(path)?;
        let mut seen: BTreeMap<String, (u64, String, Sum)> = BTreeMap::new();
        let mut manifest = None;
        while let Some((name, bytes)) = archive.next()? {
            if manifest.is_some() {
                return Err(bad("something stands behind its manifest".into()));
            }
            if name == MANIFEST {
                let id = hexadecimal(&Sha256::digest(&bytes));
                let read: Manifest = serde_json::from_slice(&bytes)
                    .map_err(|error| bad(format!("its manifest cannot be read: {error}")))?;
                manifest = Some((read, id));
                continue;
            }
            if bytes.last() != Some(&b'\n') {
                return Err(bad(format!("`{name}` ends in the middle of a line")));
            }
            let mut sum = Sum::default();
            super::lines::each(&bytes, |line| {
                sum.add(line);
                Ok(())
            })?;
            let found = (bytes.len() as u64, hexadecimal(&Sha256::digest(&bytes)), sum);
            if seen.insert(name.clone(), found).is_some() {
                return Err(bad(format!("`{name}` is there twice")));
            }
        }
        let Some((manifest, id)) = manifest else {
            return Err(bad("it has no manifest: its end is missing".into()));
        };
        if manifest.lyrox != TITLE || manifest.format > FORMAT {
            return Err(bad(format!(
                "its form is `{}` {}, and this lyrox reads up to {FORMAT}",
                manifest.lyrox, manifest.format
            )));
        }
        let mut names = BTreeSet::new();
        for part in &manifest.parts {
            let mut whole = Sum::default();
            for piece in &part.files {
                match seen.remove(&piece.path) {
                    None => return Err(bad(format!("`{}` is missing", piece.path))),
                    Some((bytes, sha256, _)) if bytes != piece.bytes || sha256 != piece.sha256 => {
                        return Err(bad(format!("`{}` is not as it was written: its checksum differs", piece.path)));
                    }
                    Some((.., sum)) => whole.join(&sum),
                }
            }
            if whole.count != part.rows || whole.text() != part.digest {
                return Err(bad(format!("its manifest has another count or digest of `{}` than its files", part.name)));
            }
            if !names.insert((part.store, part.name.as_str())) {
                return Err(bad(format!("its manifest names `{}` twice", part.name)));
            }
        }
        if let Some(name) = seen.keys().next() {
            return Err(bad(format!("`{name}` is not in its manifest")));
        }
        Ok(Self { path: path.to_owned(), manifest, id })
    }

    /// The parts of a store.
    pub fn parts(&self, store: StoreKind) -> Vec<&Entry> {
        self.manifest.parts.iter().filter(|part| part.store == store).collect()
    }

    /// Reads the lines of a store's parts in order: the number of the part among the store's, and whole lines.
    ///
    /// # Errors
    /// The file changed since it was opened, or cannot be read any more.
    pub fn pieces(&self, store: StoreKind) -> Result<Pieces> {
        let mut of = BTreeMap::new();
        for (number, part) in self.parts(store).into_iter().enumerate() {
            for piece in &part.files {
                of.insert(piece.path.clone(), (number, piece.sha256.clone()));
            }
        }
        Ok(Pieces { archive: Archive::open(&self.path)?, path: self.path.clone(), of })
    }
}

/// The files of one store.
pub struct Pieces {
    archive: Archive,
    path: PathBuf,
    of: BTreeMap<String, (usize, String)>,
}

impl Pieces {
    /// The next: the number of its part, and its lines.
    ///
    /// # Errors
    /// As [`Bundle::pieces`].
    #[allow(clippy::should_implement_trait, reason = "it may fail")]
    pub fn next(&mut self) -> Result<Option<(usize, Vec<u8>)>> {
        while !self.of.is_empty() {
            let Some((name, bytes)) = self.archive.next()? else {
                return Err(refused(&self.path, "it became shorter while it was read".into()));
            };
            let Some((number, sha256)) = self.of.remove(&name) else { continue };
            if hexadecimal(&Sha256::digest(&bytes)) != sha256 {
                return Err(refused(&self.path, "it changed while it was read".into()));
            }
            return Ok(Some((number, bytes)));
        }
        Ok(None)
    }
}

/// The entries of the archive, one after the other.
struct Archive {
    path: PathBuf,
    from: Decoder<'static, BufReader<File>>,
}

impl Archive {
    fn open(path: &Path) -> Result<Self> {
        let from = File::open(path).and_then(Decoder::new).map_err(|error| {
            Error::new(Code::Bundle, format!("the bundle `{}` cannot be opened", path.display()))
                .why(error.to_string())
                .data("nothing was changed")
        })?;
        Ok(Self { path: path.to_owned(), from })
    }

    fn bad(&self, why: impl Into<String>) -> Error {
        refused(&self.path, why.into())
    }

    fn next(&mut self) -> Result<Option<(String, Vec<u8>)>> {
        let mut block = [0; BLOCK];
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            // The end is two blocks of nothing.
            self.fill(&mut block)?;
            if block.iter().any(|byte| *byte != 0) || self.from.read(&mut [0; 1]).unwrap_or(1) != 0 {
                return Err(self.bad("something stands behind its end"));
            }
            return Ok(None);
        }
        let mut header = Header::new_ustar();
        header.as_mut_bytes().copy_from_slice(&block);
        let sound = header.entry_type().is_file() && header.cksum().is_ok_and(|sum| sum == checksum(&block));
        let name = header.path().ok().and_then(|path| path.to_str().map(str::to_owned));
        let (Some(name), Ok(size), true) = (name, header.entry_size(), sound) else {
            return Err(self.bad("it is no tar archive that lyrox wrote"));
        };
        if size > if name == MANIFEST { LONGEST_MANIFEST } else { LONGEST } {
            return Err(self.bad(format!("`{name}` is longer than any that lyrox writes")));
        }
        let mut bytes = Vec::new();
        let read = (&mut self.from).take(size).read_to_end(&mut bytes).map_err(|error| self.bad(error.to_string()))?;
        if read as u64 != size {
            return Err(self.bad("its end is missing"));
        }
        let beyond = (BLOCK - (read % BLOCK)) % BLOCK;
        self.fill(&mut block[..beyond])?;
        Ok(Some((name, bytes)))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => self.bad("its end is missing"),
            _ => self.bad(error.to_string()),
        })
    }
}

/// The checksum of a header: its bytes, with blanks where the checksum itself stands.
fn checksum(block: &[u8; BLOCK]) -> u32 {
    let byte = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) };
    block.iter().enumerate().map(byte).sum()
}

fn refused(path: &Path, why: String) -> Error {
    Error::new(Code::Bundle, format!("`{}` cannot be used as a bundle", path.display()))
        .why(why)
        .data("nothing was changed")
        .hint("lyrox tenant export KEY FILE writes a whole one")
}

#[cfg(test)]
mod tests {
    use super::super::write::Writer;
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            lyrox: TITLE.into(),
            format: FORMAT,
            project: "p".into(),
            model: "row".into(),
            key: "k".into(),
            slug: "k".into(),
            version: None,
            parts: Vec::new(),
        }
    }

    fn written(folder: &Path, name: &str, lines: usize) -> PathBuf {
        let path = folder.join(name);
        let mut writer = Writer::create(&path, manifest()).expect("a file");
        for table in ["Company", "a/../b \"x\""] {
            writer.begin(StoreKind::Postgres, table, &["id".into()], &[]);
            for number in 0..lines {
                writer.line(format!("{{\"id\":\"{number}\",\"x\":\"{}\"}}", "y".repeat(100)).as_bytes()).expect("room");
            }
            writer.end().expect("room");
        }
        writer.finish().expect("a bundle");
        path
    }

    #[test]
    fn what_is_written_is_read_and_the_same_data_makes_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let (one, two) = (written(folder.path(), "one", 30_000), written(folder.path(), "two", 30_000));
        let text = std::fs::read(&one).expect("bytes");
        assert_eq!(text, std::fs::read(&two).expect("bytes"));
        let bundle = Bundle::open(&one).expect("a whole bundle");
        let mut pieces = bundle.pieces(StoreKind::Postgres).expect("pieces");
        let (mut rows, mut count) = ([0, 0], 0);
        while let Some((part, lines)) = pieces.next().expect("a piece") {
            rows[part] += lines.iter().filter(|byte| **byte == b'\n').count();
            count += 1;
        }
        assert_eq!(rows, [30_000, 30_000]);
        assert!(count > 4, "more than one file each");
        assert_eq!(bundle.manifest.parts[1].name, "a/../b \"x\"");
        assert!(bundle.manifest.parts[1].files[0].path.starts_with("postgres/002-a_.._b__x_/"));
        assert!(Writer::create(&one, manifest()).is_err(), "never over another");
        // Two at once: the second neither takes the first's room nor its name.
        let three = folder.path().join("three");
        let first = Writer::create(&three, manifest()).expect("a file");
        let second = Writer::create(&three, manifest()).err().expect("it is being written");
        assert!(second.to_string().contains("is being written"), "{second}");
        first.finish().expect("a bundle");
        assert!(Bundle::open(&three).is_ok() && !folder.path().join("three.partial").exists());
        // What a kill left is written anew.
        let four = folder.path().join("four");
        std::fs::write(folder.path().join("four.partial"), "half").expect("a file");
        Writer::create(&four, manifest()).expect("a file").finish().expect("a bundle");
        assert!(Bundle::open(&four).is_ok());
    }

    #[test]
    fn a_bundle_that_is_not_whole_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole = std::fs::read(written(folder.path(), "whole", 2000)).expect("bytes");
        let plain = zstd::stream::decode_all(whole.as_slice()).expect("a tar");
        let refused = |plain: &[u8], what: &str| {
            let path = folder.path().join("bad");
            std::fs::write(&path, zstd::stream::encode_all(plain, 3).expect("bytes")).expect("a file");
            let error = Bundle::open(&path).expect_err(what);
            assert_eq!(error.code(), Code::Bundle, "{what}");
        };
        for cut in [0, 100, 512, 5000, plain.len() - 1024, plain.len() - 1] {
            refused(&plain[..cut], &format!("cut behind {cut}"));
        }
        for at in [0, 130, 600, 5000, plain.len() - 3000] {
            let mut changed = plain.clone();
            changed[at] ^= 1;
            refused(&changed, &format!("byte {at} flipped"));
        }
        refused(&[plain.as_slice(), &[1]].concat(), "something behind");
        // Sound files, and a manifest that says something else of them.
        for (was, is) in [("\"rows\": 2000", "\"rows\": 1999"), ("\"rows\": 2000", "\"rows\": 2001")] {
            let at = plain.windows(was.len()).position(|window| window == was.as_bytes()).expect("a count");
            let mut changed = plain.clone();
            changed[at..at + is.len()].copy_from_slice(is.as_bytes());
            refused(&changed, is);
        }
        let path = folder.path().join("cut");
        std::fs::write(&path, &whole[..whole.len() / 2]).expect("a file");
        assert!(Bundle::open(&path).is_err(), "half of the compressed bytes");
        std::fs::write(&path, b"no bundle").expect("a file");
        assert!(Bundle::open(&path).is_err());
        assert!(Bundle::open(&folder.path().join("nothing")).is_err());
    }
}
