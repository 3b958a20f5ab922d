//! Where a server's data lies, and whose it is. It starts nothing.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::files::{self, disk};
use super::home;
use super::privileges::{self, Privileges};
use super::state::Record;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// Where data lies that another user has to reach: below root's own folders nobody else gets in.
const ELSEWHERE: &str = "/var/lib/lyrox";

/// Decides as whom the server runs and where its data lies, and makes that folder.
///
/// # Errors
/// `LYX-SERVER-START` where root's data cannot be used without root's rights, `LYX-SERVER-DISK`.
pub fn settle(root: &Path, kind: StoreKind, record: &mut Record) -> Result<PathBuf> {
    if record.home.is_none() {
        let place = home(root, kind, record);
        let (uid, gid) = std::fs::metadata(place.join("data"))
            .or_else(|_| std::fs::metadata(&place))
            .map(|data| (data.uid(), data.gid()))
            .map_err(|error| disk(&format!("cannot read `{}`", files::shown(&place)), &error))?;
        record.privileges = match privileges::choose() {
            Privileges::Same => Privileges::Same,
            // The folder is a user's, and it is root who starts the server: it runs as that user.
            _ if uid != 0 && privileges::has_name(uid) => Privileges::User { uid, gid },
            chosen @ Privileges::Namespace if uid == 0 => chosen,
            Privileges::User { .. } if place.join("data").exists() => {
                return Err(Error::new(Code::ServerStart, format!("{}'s data belongs to root", kind.title()))
                    .why("no user namespace can be made here, and servers do not run as root")
                    .data("the data folder is untouched")
                    .hint("allow user namespaces, or give the project to another user and run lyrox as that one"));
            }
            chosen => {
                record.home = Some(home_elsewhere(root, kind));
                chosen
            }
        };
    }
    let place = home(root, kind, record);
    if record.home.is_some() {
        let above = place.parent().unwrap_or(Path::new(ELSEWHERE));
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o711).create(above);
        made.map_err(|error| disk(&format!("cannot make the folder `{}`", above.display()), &error))?;
    }
    files::private_folder(&place)?;
    if record.home.is_some() {
        owner(record.privileges)(&place)?;
    }
    Ok(place)
}

/// The folder of a server's data where the project's folder cannot be reached by the server's user.
pub fn home_elsewhere(root: &Path, kind: StoreKind) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let digest = Sha256::digest(root.as_os_str().as_bytes());
    let name: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    Path::new(ELSEWHERE).join(name).join(kind.name())
}

/// Whether a path is one that [`home_elsewhere`] makes: nothing else outside of a project is removed.
pub fn is_elsewhere(path: &Path) -> bool {
    let rest = path.strip_prefix(ELSEWHERE);
    rest.is_ok_and(|rest| {
        rest.components().count() == 2 && rest.components().all(|part| matches!(part, std::path::Component::Normal(_)))
    })
}

/// Gives a file to the user a server runs as.
pub fn owner(privileges: Privileges) -> impl Fn(&Path) -> Result<()> {
    move |path| match privileges {
        Privileges::User { uid, gid } => chown(path, Some(uid), Some(gid))
            .map_err(|error| disk(&format!("cannot give `{}` to the server's user", files::shown(path)), &error)),
        Privileges::Same | Privileges::Namespace => Ok(()),
    }
}
