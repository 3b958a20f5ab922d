//! Unpacks a fetched archive. Names in an archive are never trusted: what would leave the folder, and
//! anything that is neither file nor folder, is refused, and then nothing is kept.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use super::files::{self, disk};
use super::pins::Contents;
use crate::error::{Code, Error, Result};

/// No program is larger; an archive that claims more is refused.
const LARGEST: u64 = 1 << 30;

/// Unpacks what is wanted of an archive into a new folder, and syncs it to disk.
///
/// # Errors
/// `LYX-SERVER-DOWNLOAD` for an archive that cannot be trusted or read, `LYX-SERVER-DISK`.
pub fn unpack(archive: &Path, contents: Contents, target: &Path) -> Result<()> {
    std::fs::create_dir(target).map_err(|error| disk("cannot write to the cache", &error))?;
    let file = File::open(archive).map_err(|error| disk("cannot read what was fetched", &error))?;
    match contents {
        Contents::Tree(prefix, links) => {
            tree(flate2::read::GzDecoder::new(file), prefix, target)?;
            link(target, prefix, links)
        }
        Contents::One(name) => one(file, name, target),
        Contents::Extension(prefix, name) => extension(file, prefix, name, target),
    }
}

/// A relative path of plain names.
fn is_plain(path: &Path) -> bool {
    path.components().next().is_some() && path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn tree(reader: impl Read, prefix: &str, target: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(reader);
    let entries = archive.entries().map_err(|error| unreadable(&error))?;
    for entry in entries {
        let mut entry = entry.map_err(|error| unreadable(&error))?;
        let path = entry.path().map_err(|error| unreadable(&error))?.into_owned();
        let kind = entry.header().entry_type();
        if matches!(kind, tar::EntryType::XGlobalHeader | tar::EntryType::XHeader) {
            continue;
        }
        if !is_plain(&path) || !(kind.is_file() || kind.is_dir()) || entry.size() > LARGEST {
            return Err(refused(&path));
        }
        let Ok(inside) = path.strip_prefix(prefix) else { continue };
        let place = target.join(inside);
        if kind.is_dir() {
            std::fs::create_dir_all(&place).map_err(|error| disk("cannot write to the cache", &error))?;
            continue;
        }
        // The packages do not keep the bit that lets a file be run.
        let is_program = inside.starts_with("bin") || entry.header().mode().is_ok_and(|mode| mode & 0o111 != 0);
        write(&mut entry, &place, is_program)?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// The package format keeps no symbolic links; this one lists them in a file, which is replayed.
fn link(target: &Path, prefix: &str, list: &str) -> Result<()> {
    let text = match std::fs::read(target.join(list)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(disk("cannot read what was unpacked", &error)),
    };
    let links: Vec<Link> = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
    let top = Path::new(prefix).file_name().map(Path::new).unwrap_or(Path::new(""));
    for link in links {
        if !is_plain(&link.source) || !is_plain(&link.target) {
            return Err(refused(&link.target));
        }
        let (Ok(source), Ok(place)) = (link.source.strip_prefix(top), link.target.strip_prefix(top)) else {
            return Err(refused(&link.target));
        };
        // Links point along their own folder only, so that none can lead out of the tree.
        if source.parent() != place.parent() {
            return Err(refused(&link.target));
        }
        let Some(name) = source.file_name() else { return Err(refused(&link.target)) };
        let place = target.join(place);
        if let Err(error) = symlink(name, &place)
            && error.kind() != std::io::ErrorKind::AlreadyExists
        {
            return Err(disk("cannot write to the cache", &error));
        }
    }
    Ok(())
}

fn one(reader: impl Read + Seek, name: &str, target: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(reader).map_err(|error| unreadable(&error))?;
    let mut entry = archive.by_name(name).map_err(|error| unreadable(&error))?;
    let path = Path::new(name);
    let Some(file) = path.file_name().filter(|_| entry.is_file() && !entry.is_symlink() && entry.size() <= LARGEST)
    else {
        return Err(refused(path));
    };
    write(&mut entry, &target.join(file), true)
}

/// The files of one extension: `lib/` and `share/extension/`, each below its name.
fn extension(reader: impl Read + Seek, prefix: &str, name: &str, target: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(reader).map_err(|error| unreadable(&error))?;
    let control = format!("{name}.control");
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|error| unreadable(&error))?;
        let path = PathBuf::from(entry.name().map_err(|error| unreadable(&error))?.into_owned());
        let Ok(inside) = path.strip_prefix(prefix) else { continue };
        let (Some(folder), Some(file)) = (inside.parent(), inside.file_name()) else { continue };
        let file = file.to_string_lossy();
        let is_wanted = match folder.to_str() {
            Some("lib") => file == format!("{name}.so") || file == format!("{name}.dylib"),
            Some("share/extension") => {
                file == control || file.starts_with(&format!("{name}--")) && file.ends_with(".sql")
            }
            _ => false,
        };
        if !is_wanted {
            continue;
        }
        if !is_plain(&path) || !entry.is_file() || entry.is_symlink() || entry.size() > LARGEST {
            return Err(refused(&path));
        }
        let place = target.join(inside);
        if file == control {
            // As with hosted servers, the owner of a database may create it.
            write(&mut entry.by_ref().chain(&b"\ntrusted = true\n"[..]), &place, false)?;
        } else {
            write(&mut entry, &place, folder == Path::new("lib"))?;
        }
    }
    Ok(())
}

fn write(reader: &mut impl Read, place: &Path, is_program: bool) -> Result<()> {
    let failed = |error: std::io::Error| disk("cannot write to the cache", &error);
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let mode = if is_program { 0o755 } else { 0o644 };
    // `create_new` follows no link and replaces nothing.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(place).map_err(failed)?;
    std::io::copy(&mut reader.take(LARGEST), &mut file).map_err(failed)?;
    file.set_permissions(files::mode(mode)).map_err(failed)?;
    file.sync_all().map_err(failed)
}

fn refused(path: &Path) -> Error {
    Error::new(Code::ServerDownload, "the archive holds what it must not")
        .why(format!("`{}` leaves its folder or is no plain file", path.display()))
        .data("nothing was kept")
}

fn unreadable(error: &dyn std::fmt::Display) -> Error {
    Error::new(Code::ServerDownload, "the archive cannot be read").why(error.to_string()).data("nothing was kept")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder);
        builder.into_inner().expect("an archive")
    }

    fn entry(builder: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, link: Option<&str>) {
        let mut header = tar::Header::new_ustar();
        // Written past the checks of the builder, as a hostile archive would be.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(if kind.is_file() { 3 } else { 0 });
        header.set_cksum();
        builder.append(&header, if kind.is_file() { &b"abc"[..] } else { b"" }).expect("an entry");
    }

    fn unpacked(bytes: &[u8]) -> (tempfile::TempDir, Result<()>) {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("inside");
        std::fs::create_dir(&target).expect("a folder");
        let result = tree(bytes, "package/native", &target);
        (folder, result)
    }

    #[test]
    fn a_plain_tree_is_unpacked_and_only_the_wanted_part() {
        let bytes = archive(|builder| {
            entry(builder, "package/native/bin/postgres", tar::EntryType::Regular, None);
            entry(builder, "package/native/lib/a.so.1", tar::EntryType::Regular, None);
            entry(builder, "package/readme", tar::EntryType::Regular, None);
        });
        let (folder, result) = unpacked(&bytes);
        result.expect("a good archive");
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name: &str| {
            std::fs::metadata(folder.path().join("inside").join(name)).map(|data| data.permissions().mode() & 0o777)
        };
        assert_eq!(mode("bin/postgres").ok(), Some(0o755));
        assert_eq!(mode("lib/a.so.1").ok(), Some(0o644));
        assert!(!folder.path().join("inside/readme").exists() && !folder.path().join("readme").exists());
    }

    #[test]
    fn names_that_leave_the_folder_and_links_are_refused() {
        for (name, kind, link) in [
            ("package/native/../../../escaped", tar::EntryType::Regular, None),
            ("../escaped", tar::EntryType::Regular, None),
            ("/escaped", tar::EntryType::Regular, None),
            ("package/native/link", tar::EntryType::Symlink, Some("/etc")),
            ("package/native/link", tar::EntryType::Link, Some("../../escaped")),
            ("package/native/fifo", tar::EntryType::Fifo, None),
        ] {
            let (folder, result) = unpacked(&archive(|builder| entry(builder, name, kind, link)));
            assert_eq!(result.err().map(|error| error.code()), Some(Code::ServerDownload), "{name}");
            assert!(!folder.path().join("escaped").exists(), "{name}");
            let left = std::fs::read_dir(folder.path().join("inside")).expect("a folder").count();
            assert_eq!(left, 0, "{name}");
        }
    }

    #[test]
    fn listed_links_stay_in_their_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let list = |text: &str| std::fs::write(folder.path().join("links.json"), text).expect("a file");
        std::fs::create_dir(folder.path().join("lib")).expect("a folder");
        list(r#"[{"source":"native/lib/x.so.1","target":"native/lib/x.so"}]"#);
        link(folder.path(), "package/native", "links.json").expect("a good list");
        assert_eq!(std::fs::read_link(folder.path().join("lib/x.so")).ok(), Some(PathBuf::from("x.so.1")));
        for bad in [
            r#"[{"source":"native/lib/x.so.1","target":"../out"}]"#,
            r#"[{"source":"/etc/passwd","target":"native/lib/p"}]"#,
            r#"[{"source":"native/lib/../../x","target":"native/lib/y"}]"#,
            r#"[{"source":"native/bin/x","target":"native/lib/y"}]"#,
            r#"[{"source":"other/x","target":"other/y"}]"#,
        ] {
            list(bad);
            assert!(link(folder.path(), "package/native", "links.json").is_err(), "{bad}");
        }
    }

    #[test]
    fn of_a_wheel_only_the_named_file_is_taken() {
        use std::io::Write as _;
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (name, text) in [("../escaped", "no"), ("pkg/bin/mongod", "yes")] {
            writer.start_file(name, options).expect("an entry");
            writer.write_all(text.as_bytes()).expect("its text");
        }
        let bytes = writer.finish().expect("an archive");
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("inside");
        std::fs::create_dir(&target).expect("a folder");
        one(bytes, "pkg/bin/mongod", &target).expect("the file is there");
        assert_eq!(std::fs::read_to_string(target.join("mongod")).ok().as_deref(), Some("yes"));
        assert!(!folder.path().join("escaped").exists());
    }

    #[test]
    fn of_an_extension_only_its_own_files_are_taken_and_its_owner_may_create_it() {
        use std::io::Write as _;
        let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for name in [
            "pkg/lib/vector.so",
            "pkg/lib/other.so",
            "pkg/share/extension/vector.control",
            "pkg/share/extension/vector--1.sql",
            "pkg/share/extension/../vector--2.sql",
            "pkg/share/extension/other--1.sql",
            "elsewhere/lib/vector.so",
        ] {
            writer.start_file(name, options).expect("an entry");
            writer.write_all(b"default_version = '1'").expect("its text");
        }
        let bytes = writer.finish().expect("an archive");
        let folder = tempfile::tempdir().expect("a folder");
        extension(bytes, "pkg", "vector", folder.path()).expect("the files are there");
        let control = std::fs::read_to_string(folder.path().join("share/extension/vector.control")).expect("a file");
        assert_eq!(control, "default_version = '1'\ntrusted = true\n");
        let count = |place: &str| std::fs::read_dir(folder.path().join(place)).expect("a folder").count();
        assert_eq!((count("lib"), count("share/extension"), count("share")), (1, 2, 1));
    }
}
