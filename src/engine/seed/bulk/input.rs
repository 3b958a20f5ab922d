//! Where a bulk file's bytes come from: a file or standard input, packed or not.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex};

use super::feed::{Feed, Taken};
use crate::project::seed::{Bulk, Packing};

/// Counts what is taken.
struct Counted<R> {
    from: R,
    taken: Taken,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.taken.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(count)
    }
}

/// Standard input, kept in a temporary file without a name as it is read, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Kept(Arc<Mutex<Spool>>);

#[derive(Debug)]
struct Spool {
    file: File,
    length: u64,
    is_end: bool,
}

impl Kept {
    /// Nothing is read yet.
    ///
    /// # Errors
    /// No temporary file can be made.
    pub fn new() -> std::io::Result<Self> {
        let spool = Spool { file: tempfile::tempfile()?, length: 0, is_end: false };
        Ok(Self(Arc::new(Mutex::new(spool))))
    }
}

struct KeptReader {
    kept: Kept,
    at: u64,
}

impl Read for KeptReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut spool = self.kept.0.lock().map_err(|_| std::io::Error::other("standard input was given up"))?;
        if self.at == spool.length {
            if spool.is_end {
                return Ok(0);
            }
            let count = std::io::stdin().lock().read(buffer)?;
            if count == 0 {
                spool.is_end = true;
                return Ok(0);
            }
            spool.file.seek(SeekFrom::End(0))?;
            spool.file.write_all(&buffer[..count])?;
            spool.length += count as u64;
            self.at += count as u64;
            return Ok(count);
        }
        spool.file.seek(SeekFrom::Start(self.at))?;
        let count = spool.file.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

/// The bytes as they lie there, from the beginning.
///
/// # Errors
/// It cannot be opened.
pub fn raw(file: &Bulk, kept: Option<&Kept>) -> std::io::Result<Box<dyn Read + Send>> {
    Ok(match kept {
        Some(kept) => Box::new(KeptReader { kept: kept.clone(), at: 0 }),
        None => Box::new(File::open(&file.path)?),
    })
}

/// The text, from the beginning.
///
/// # Errors
/// It cannot be opened.
pub fn feed(file: &Bulk, kept: Option<&Kept>) -> std::io::Result<Feed> {
    let size = if kept.is_some() { None } else { Some(std::fs::metadata(&file.path)?.len()) };
    let taken = Taken::default();
    let mut from = Counted { from: raw(file, kept)?, taken: Taken::clone(&taken) };
    let mut first = Vec::new();
    let packing = match file.packing {
        // What comes through a pipe has no name: its first bytes tell.
        Packing::Unknown => {
            from.by_ref().take(4).read_to_end(&mut first)?;
            match first.as_slice() {
                [0x1f, 0x8b, ..] => Packing::Gzip,
                [0x28, 0xb5, 0x2f, 0xfd] => Packing::Zstd,
                _ => Packing::None,
            }
        }
        known => known,
    };
    let from = std::io::Cursor::new(first).chain(from);
    let from: Box<dyn Read + Send> = match packing {
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(from)),
        Packing::Zstd => Box::new(zstd::stream::read::Decoder::new(from)?),
        Packing::None | Packing::Unknown => Box::new(from),
    };
    Ok(Feed::new(from, taken, size))
}
