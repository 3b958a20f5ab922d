//! Writing a bundle: entries of about a megabyte, the manifest last, under its final name only when it is complete.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};
use zstd::stream::write::Encoder;

use super::{Entry, MANIFEST, Manifest, Piece, Sum, hexadecimal};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// A file of the archive ends behind so many bytes.
const PIECE: usize = 1 << 20;
/// zstd's own default.
const LEVEL: i32 = 3;

/// A bundle that is being written.
pub struct Writer {
    path: PathBuf,
    partial: PathBuf,
    archive: Builder<Encoder<'static, BufWriter<File>>>,
    manifest: Manifest,
    buffer: Vec<u8>,
    sum: Sum,
}

impl Writer {
    /// Begins a bundle beside its final place.
    ///
    /// # Errors
    /// `LYX-BUNDLE` where the file is there already or cannot be made.
    pub fn create(path: &Path, manifest: Manifest) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::new(Code::Bundle, format!("`{}` is there already", path.display()))
                .why("a bundle is never written over another file")
                .data("nothing was changed")
                .hint("name another file, or remove that one"));
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        // What a run that was cut short left goes, and what one writes at this moment does not; the new one is the owner's
        // only from its first byte, and locked from then on.
        if let Ok(old) = File::open(&partial)
            && matches!(old.try_lock(), Err(std::fs::TryLockError::WouldBlock))
        {
            return Err(Error::new(Code::Bundle, format!("`{}` is being written", path.display()))
                .why("another export has it open")
                .data("nothing was changed")
                .hint("name another file"));
        }
        let _ = std::fs::remove_file(&partial);
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial);
        let encoder = file
            .and_then(|file| file.try_lock().map(|()| file).map_err(std::io::Error::from))
            .and_then(|file| Encoder::new(BufWriter::with_capacity(1 << 17, file), LEVEL))
            .map_err(|error| failed(path, &error))?;
        let archive = Builder::new(encoder);
        Ok(Self { path: path.to_owned(), partial, archive, manifest, buffer: Vec::new(), sum: Sum::default() })
    }

    /// Begins a part; what comes next are its lines.
    pub fn begin(&mut self, store: StoreKind, name: &str, columns: &[String], ids: &[String]) {
        self.manifest.parts.push(Entry {
            store,
            name: name.to_owned(),
            columns: columns.to_vec(),
            ids: ids.to_vec(),
            rows: 0,
            digest: String::new(),
            files: Vec::new(),
        });
        self.sum = Sum::default();
    }

    /// Takes a line without its end.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn line(&mut self, line: &[u8]) -> Result<()> {
        self.sum.add(line);
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        if self.buffer.len() >= PIECE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let number = self.manifest.parts.iter().rev();
        let Some(part) = self.manifest.parts.last() else { return Err(Error::bug("lines before a part")) };
        let of_store = number.filter(|other| other.store == part.store).count();
        let file = part.files.len() + 1;
        let path = format!("{}/{of_store:03}-{}/{file:06}.ndjson", part.store.name(), readable(&part.name));
        append(&mut self.archive, &path, &self.buffer).map_err(|error| failed(&self.path, &error))?;
        let piece = Piece { path, bytes: self.buffer.len() as u64, sha256: hexadecimal(&Sha256::digest(&self.buffer)) };
        self.buffer.clear();
        if let Some(part) = self.manifest.parts.last_mut() {
            part.files.push(piece);
        }
        Ok(())
    }

    /// Ends a part. Answers how many lines it has.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn end(&mut self) -> Result<u64> {
        self.flush()?;
        if let Some(part) = self.manifest.parts.last_mut() {
            part.rows = self.sum.count;
            part.digest = self.sum.text();
        }
        Ok(self.sum.count)
    }

    /// Ends the bundle: from now on it has its name. Answers the manifest, and how long the file is.
    ///
    /// # Errors
    /// The file cannot be written, or another took its name.
    pub fn finish(self) -> Result<(Manifest, u64)> {
        let partial = self.partial.clone();
        let finished = self.finished();
        // What could not be finished takes no room.
        let _ = std::fs::remove_file(&partial);
        finished
    }

    fn finished(self) -> Result<(Manifest, u64)> {
        let Self { path, partial, mut archive, manifest, .. } = self;
        let mut text = serde_json::to_string_pretty(&manifest).map_err(|error| Error::bug(format!("{error}")))?;
        text.push('\n');
        let wrap = |error: std::io::Error| failed(&path, &error);
        append(&mut archive, MANIFEST, text.as_bytes()).map_err(wrap)?;
        let out = archive.into_inner().and_then(Encoder::finish).map_err(wrap)?;
        let file = out.into_inner().map_err(|error| wrap(error.into_error()))?;
        file.sync_all().map_err(wrap)?;
        let bytes = file.metadata().map_err(wrap)?.len();
        // A link, unlike a renaming, never takes the place of another file.
        std::fs::hard_link(&partial, &path).or_else(|error| named(&partial, &path, error)).map_err(wrap)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
            && let Ok(folder) = File::open(folder)
        {
            let _ = folder.sync_all();
        }
        Ok((manifest, bytes))
    }

    /// Removes what was written.
    pub fn discard(self) {
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// The name for a file on a file system that knows no links.
fn named(partial: &Path, path: &Path, error: std::io::Error) -> std::io::Result<()> {
    use std::io::ErrorKind::{PermissionDenied, Unsupported};
    if !matches!(error.kind(), PermissionDenied | Unsupported) || path.symlink_metadata().is_ok() {
        return Err(error);
    }
    std::fs::rename(partial, path)
}

fn append(archive: &mut Builder<Encoder<'static, BufWriter<File>>>, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    archive.append_data(&mut header, path, bytes)
}

/// What of a name can stand in a path: it is for people, the number before it tells parts apart.
fn readable(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '_' };
    name.chars().map(plain).take(40).collect()
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::Bundle, format!("the bundle `{}` cannot be written", path.display()))
        .why(error.to_string())
        .data("nothing was changed in any store")
        .hint("name a file in a folder that you may write to and that has room")
}
