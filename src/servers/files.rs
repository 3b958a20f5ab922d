//! Folders, files and locks below `.lyrox/`, and what their failures mean. It knows no server.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, lchown};
use std::path::Path;
use std::time::{Duration, Instant};

use super::privileges;
use super::state::FOLDER;
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};

/// How long one lyrox waits for another that works on the same servers.
const WAIT: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(25);

/// What the system says when a disk is full or read-only.
const DISK_WORDS: [&str; 4] =
    ["No space left on device", "Read-only file system", "Disk quota exceeded", "Errors writing to the AOF file"];

/// Permissions from their number.
pub fn mode(mode: u32) -> Permissions {
    Permissions::from_mode(mode)
}

/// The error of something that could not be written.
pub fn disk(what: &str, error: &io::Error) -> Error {
    let is_disk = matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::ReadOnlyFilesystem | ErrorKind::QuotaExceeded | ErrorKind::PermissionDenied
    );
    let code = if is_disk { Code::ServerDisk } else { Code::WriteFailed };
    let hint = match error.kind() {
        ErrorKind::PermissionDenied => format!("give your user the folder: chown -R \"$USER\" {FOLDER}"),
        ErrorKind::ReadOnlyFilesystem => {
            format!("work in a folder that can be written to; the servers live in `{FOLDER}/`")
        }
        _ => "free space on that disk, then run the command again".to_owned(),
    };
    // Temporary files have names of their own making, which say nothing to anyone.
    let text = error.to_string();
    let why = text.split(" at path ").next().unwrap_or_default();
    Error::new(code, what).why(why).hint(hint)
}

/// Whether a server's words mean a full or read-only disk.
pub fn speaks_of_disk(text: &str) -> bool {
    DISK_WORDS.iter().any(|words| text.contains(words))
}

/// Makes a folder that only its owner may enter.
///
/// # Errors
/// `LYX-SERVER-DISK`.
pub fn private_folder(path: &Path) -> Result<()> {
    let made = match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        made => made.and_then(|()| hand_over(path)),
    };
    made.map_err(|error| disk(&format!("cannot make the folder `{}`", shown(path)), &error))
}

/// What root makes in the folder of a user belongs to that user, who must be able to go on without root.
pub fn hand_over(path: &Path) -> io::Result<()> {
    if !privileges::is_root() {
        return Ok(());
    }
    let parent = std::fs::metadata(path.parent().unwrap_or(Path::new(".")))?;
    if parent.uid() == 0 { Ok(()) } else { lchown(path, Some(parent.uid()), Some(parent.gid())) }
}

/// Writes a file that only its owner may read, whole or not at all.
///
/// # Errors
/// `LYX-SERVER-DISK`.
pub fn private_file(path: &Path, text: &str) -> Result<()> {
    let what = || format!("cannot write `{}`", shown(path));
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().permissions(mode(0o600)).tempfile_in(folder);
    let mut file = file.map_err(|error| disk(&what(), &error))?;
    io::Write::write_all(&mut file, text.as_bytes()).map_err(|error| disk(&what(), &error))?;
    hand_over(file.path()).map_err(|error| disk(&what(), &error))?;
    file.persist(path).map_err(|error| disk(&what(), &error.error))?;
    Ok(())
}

/// Makes `.lyrox/` with its `.gitignore`.
///
/// # Errors
/// `LYX-SERVER-DISK`.
pub fn prepare(root: &Path) -> Result<()> {
    let folder = root.join(FOLDER);
    private_folder(&folder)?;
    let permissions = std::fs::metadata(&folder).map(|data| data.permissions().mode() & 0o777);
    if permissions.ok() != Some(0o700) {
        std::fs::set_permissions(&folder, mode(0o700))
            .map_err(|error| disk(&format!("cannot close `{FOLDER}/` to others"), &error))?;
    }
    let ignore = folder.join(".gitignore");
    if !ignore.exists() {
        private_file(&ignore, "*\n")?;
    }
    Ok(())
}

/// Opens a file for locking: made if need be, never truncated.
///
/// # Errors
/// As the system says.
pub fn lock_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    hand_over(path)?;
    Ok(file)
}

/// Takes the lock that lets one lyrox at a time work on the servers of a project. It ends with the file.
///
/// # Errors
/// `LYX-LOCK-HELD` after five minutes; `LYX-SERVER-DISK`.
pub async fn lock(path: &Path, who: &str, events: &dyn Events) -> Result<File> {
    let what = || format!("cannot lock `{}`", shown(path));
    let file = lock_file(path).map_err(|error| disk(&what(), &error))?;
    let begun = Instant::now();
    let mut has_told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(disk(&what(), &error)),
            Err(TryLockError::WouldBlock) if begun.elapsed() > WAIT => {
                return Err(Error::new(Code::LockHeld, format!("another lyrox holds {who}"))
                    .why(format!("it did not end within {} s", WAIT.as_secs()))
                    .hint("wait for it or end it; the lock ends with its process"));
            }
            Err(TryLockError::WouldBlock) if events.is_cancelled() => {
                return Err(Error::new(Code::LockHeld, format!("another lyrox holds {who}"))
                    .why("the wait for it was interrupted")
                    .data("nothing was changed"));
            }
            Err(TryLockError::WouldBlock) => {
                if !has_told && begun.elapsed() > Duration::from_millis(300) {
                    events.note(format!("another lyrox holds {who}; waiting for it"));
                    has_told = true;
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }
}

/// The size of everything below a folder, in bytes on disk.
pub fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let data = entry.metadata().ok()?;
        Some(if data.is_dir() { size(&entry.path()) } else { data.blocks() * 512 })
    });
    sizes.sum()
}

/// A path as people name it: from `.lyrox` on where it lies there.
pub fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    match text.find(&format!("/{FOLDER}/")) {
        Some(at) => text[at + 1..].to_owned(),
        None if text.ends_with(&format!("/{FOLDER}")) => FOLDER.to_owned(),
        None => text,
    }
}
