//! Which extensions an installed PostgreSQL offers, by the files beside its programs, and the ones that lyrox
//! adds to the PostgreSQL it fetches. It starts no server.

use std::path::{Path, PathBuf};

use super::pins::{self, Pin};

/// The extension that is fetched beside the server: the packages that hold a whole PostgreSQL lack it.
pub const VECTOR: &str = "vector";

/// The wanted extensions that a server does not offer; none where its folder of extensions is not known.
pub fn lacking<'a>(program: &Path, wanted: &'a [String]) -> Vec<&'a str> {
    let Some(folder) = folder(program) else { return Vec::new() };
    let has = |name: &str| folder.iter().any(|folder| folder.join(format!("{name}.control")).is_file());
    wanted.iter().map(String::as_str).filter(|name| !has(name)).collect()
}

/// Whether the fetched PostgreSQL can offer all of these beside what is part of it.
pub fn are_fetchable(names: &[&str]) -> bool {
    names.iter().all(|name| *name == VECTOR)
}

/// `vector` for the fetched PostgreSQL of this machine, where this version of it is meant.
pub fn vector(major: u32) -> Option<&'static Pin> {
    let platform = pins::platform().filter(|_| major == pins::VECTOR_MAJOR)?;
    pins::VECTOR.iter().find(|(name, _)| *name == platform).map(|(_, pin)| pin)
}

/// The folders with the control files of a server; none where they are not in any of the places known.
fn folder(program: &Path) -> Option<Vec<PathBuf>> {
    let real = program.canonicalize().unwrap_or_else(|_| program.to_path_buf());
    let mut places = Vec::new();
    for program in [program, real.as_path()] {
        let Some(home) = program.parent().and_then(Path::parent) else { continue };
        let version = home.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        places.push(home.join("share/postgresql/extension"));
        places.push(home.join("share/extension"));
        // Debian keeps what does not depend on the machine elsewhere.
        if home.starts_with("/usr/lib/postgresql") {
            places.push(Path::new("/usr/share/postgresql").join(&version).join("extension"));
        }
        // Homebrew: `opt/postgresql@17`, and the folder that its other packages share.
        let number: String = version.chars().skip_while(|c| *c != '@').collect();
        places.push(home.join(format!("share/postgresql{number}/extension")));
        if let Some(prefix) = home.parent().and_then(Path::parent) {
            places.push(prefix.join(format!("share/postgresql{number}/extension")));
        }
    }
    // Every PostgreSQL has this one; a folder without it belongs to something else.
    let is_known = places.iter().any(|place| place.join("plpgsql.control").is_file());
    is_known.then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_lacks_is_read_from_its_folder_and_never_guessed() {
        let home = tempfile::tempdir().expect("a folder");
        let program = home.path().join("bin/postgres");
        let wanted = ["vector".to_owned(), "citext".to_owned()];
        assert!(lacking(&program, &wanted).is_empty(), "nothing is known of it");
        let folder = home.path().join("share/postgresql/extension");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("citext.control"), "").expect("a file");
        assert!(lacking(&program, &wanted).is_empty(), "it may be another program's folder");
        std::fs::write(folder.join("plpgsql.control"), "").expect("a file");
        assert_eq!(lacking(&program, &wanted), ["vector"]);
        assert!(are_fetchable(&["vector"]) && !are_fetchable(&["vector", "postgis"]));
    }
}
