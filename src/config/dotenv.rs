//! What is unwise about the project's `.env` files: who may read them, whether git keeps them, and values that
//! other readers of such files take otherwise. It never looks at a value but for its shape.

use std::path::{Path, PathBuf};

/// One remark on a `.env` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// A word for it: `tracked`, `readable`, `replaced`.
    pub id: &'static str,
    /// What is unwise: lower case, no full stop.
    pub what: String,
    /// The command that mends it.
    pub hint: String,
}

/// Everything there is to say about the files of an environment. Reads no server and starts no program.
pub fn remarks(root: &Path, environment: &str) -> Vec<Remark> {
    let mut found = Vec::new();
    for name in [format!(".env.{environment}"), ".env".to_owned()] {
        let path = root.join(&name);
        let Ok(file) = std::fs::metadata(&path) else { continue };
        if is_tracked(root, &name) {
            found.push(Remark {
                id: "tracked",
                what: format!("`{name}` is tracked by git: whoever has the repository has its passwords"),
                hint: format!("git rm --cached {name}, add it to .gitignore, and change the passwords"),
            });
        }
        if is_open(&file) && holds_secret(&path) {
            found.push(Remark {
                id: "readable",
                what: format!("`{name}` holds passwords and others on this machine may read it"),
                hint: format!("chmod 600 {name}"),
            });
        }
        found.extend(replaced(&path).into_iter().map(|variable| Remark {
            id: "replaced",
            what: format!("`{name}`: a `$` in {variable} stands for a variable, and is not a part of its value"),
            hint: "put the value between single quotes; in a password lyrox url encode writes `$` as `%24`".into(),
        }));
    }
    found
}

#[cfg(unix)]
fn is_open(file: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.permissions().mode() & 0o044 != 0
}

#[cfg(not(unix))]
fn is_open(_: &std::fs::Metadata) -> bool {
    false
}

/// Whether a value of the file is a URL of a store with a password.
fn holds_secret(path: &Path) -> bool {
    let Ok(text) = std::fs::read(path) else { return false };
    dotenvy::from_read_iter(text.as_slice()).flatten().any(|(_, value)| {
        let kind = crate::url::kind_of(&value);
        kind.is_ok_and(|kind| {
            crate::url::parse(kind, &value).is_ok_and(|url| url.password().is_some() && !url.is_local())
        })
    })
}

/// The URLs in which a `$` is replaced while the file is read: most often one that a password lost without a word.
fn replaced(path: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let lines = text.lines().map(|line| line.trim().trim_start_matches("export "));
    lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .filter(|(name, value)| {
            let is_read = !name.starts_with('#') && !value.starts_with('\'');
            is_read && value.contains("://") && value.replace("\\$", "").contains('$') && !value.contains("${")
        })
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether git's index names the file. Indexes of version 4 shorten paths; there the file is found only where it
/// does not share the beginning of its path with its neighbour.
fn is_tracked(root: &Path, name: &str) -> bool {
    let Ok(root) = root.canonicalize() else { return false };
    let Some((top, folder)) = root.ancestors().find_map(|top| git_folder(top).map(|folder| (top, folder))) else {
        return false;
    };
    let Ok(index) = std::fs::read(folder.join("index")) else { return false };
    let Ok(below) = root.strip_prefix(top) else { return false };
    let wanted = below.join(name);
    let Some(wanted) = wanted.to_str().map(|path| path.replace('\\', "/")) else { return false };
    // An entry is its path after two bytes whose lower 12 bits are the path's length, and a NUL.
    let mut entry = vec![(wanted.len() >> 8) as u8 & 0x0f, (wanted.len() & 0xff) as u8];
    entry.extend_from_slice(wanted.as_bytes());
    entry.push(0);
    memchr::memmem::find(&index, &entry).is_some()
}

/// The folder where git keeps the index of a working tree.
fn git_folder(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = std::fs::read_to_string(&git).ok()?;
    Some(top.join(text.trim().strip_prefix("gitdir: ")?))
}

/// How other readers of `.env` files take the line of a variable otherwise; none where all agree.
pub fn trap(file: &Path, variable: &str) -> Option<&'static str> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().rev().find_map(|line| {
        let line = line.trim().strip_prefix("export ").unwrap_or(line.trim());
        let (name, value) = line.split_once('=')?;
        (name.trim() == variable).then(|| value.trim().to_owned())
    })?;
    let quote = line.chars().next().filter(|quote| ['\'', '"', '`'].contains(quote));
    let has = |characters: &[char]| line.contains(characters);
    match quote {
        Some('\'') if has(&['$']) => Some("holds `$`, which dotenv-expand replaces even between single quotes"),
        Some('\'') => None,
        Some('"') if has(&['$', '`', '\\', '!']) => {
            Some("holds `$`, a back-tick, `\\` or `!` between double quotes, which shells and many readers replace")
        }
        Some('"') => None,
        _ if has(&['#']) => Some("holds `#` without quotes, where many readers begin a comment"),
        _ if has(&['$', '`', '\\', '"', '\'', '!']) => {
            Some("holds a character without quotes that shells and many readers replace")
        }
        _ if has(&['&', ';', '(', ')', '|', '<', '>', ' ']) => {
            Some("has no quotes around `&`, `;` or a bracket, so that a shell cannot read the file")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_readers_take_differently_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(".env");
        for (value, is_trap) in [
            ("postgres://u:p@h/d", false),
            ("'postgres://u:p@h/d?a=b&c=d'", false),
            ("postgres://u:p@h/d?a=b&c=d", true),
            ("postgres://u:p#x@h/d", true),
            ("postgres://u:p$w@h/d", true),
            ("\"postgres://u:p$w@h/d\"", true),
            ("'postgres://u:p$w@h/d'", true),
            ("\"postgres://u:p@h/d?a=b&c=d\"", false),
        ] {
            std::fs::write(&file, format!("# URL=no\nexport URL={value}\n")).expect("a file");
            assert_eq!(trap(&file, "URL").is_some(), is_trap, "{value}");
        }
        assert_eq!(trap(&file, "OTHER"), None);
    }

    #[test]
    fn a_password_that_would_lose_its_dollar_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        for (line, is_told) in [
            ("URL=postgres://u:p$w@h/d", true),
            ("export URL=\"postgres://u:p$w@h/d\"", true),
            ("URL='postgres://u:p$w@h/d'", false),
            ("URL=postgres://u:p\\$w@h/d", false),
            ("URL=postgres://u:p%24w@h/d", false),
            ("URL=postgres://u:${PASSWORD}@h/d", false),
            ("# URL=postgres://u:p$w@h/d", false),
            ("PRICE=5$", false),
        ] {
            std::fs::write(folder.path().join(".env"), format!("{line}\n")).expect("a file");
            let told = remarks(folder.path(), "local").iter().any(|found| found.id == "replaced");
            assert_eq!(told, is_told, "{line}");
        }
    }
}
