//! As whom a server runs, and what its process does between fork and exec. Servers never run with the
//! rights of root: PostgreSQL refuses to, and the others need not.
//!
//! The one file with `unsafe`: `pre_exec` is the only way to act inside the new process.
#![allow(unsafe_code, reason = "Command::pre_exec; see the SAFETY comment")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use rustix::io::FdFlags;
use serde::{Deserialize, Serialize};

/// As whom a server runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Privileges {
    /// As the user who started lyrox, who is not root.
    #[default]
    Same,
    /// As `nobody` of a user namespace: no capability, and its files stay the starter's on disk.
    Namespace,
    /// As another user, who owns the data folder.
    User {
        /// The user's number.
        uid: u32,
        /// The group's number.
        gid: u32,
    },
}

/// The user that servers appear as inside their namespace. It must have a name: PostgreSQL looks it up.
const NOBODY: u32 = 65534;

/// What the new process is to be.
pub struct Child<'a> {
    /// As whom it runs.
    pub privileges: Privileges,
    /// A locked file. It stays open in the process, so the lock lasts exactly as long as the process
    /// and its children.
    pub lock: Option<BorrowedFd<'a>>,
    /// A server: it gets its own session, survives lyrox, and writes who it is into the locked file.
    pub is_server: bool,
}

/// Whether lyrox runs as root, so that servers need other rights.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The privileges servers get here: the user's own; as root a user namespace where the system allows
/// one, else the user `nobody`.
pub fn choose() -> Privileges {
    if !is_root() {
        return Privileges::Same;
    }
    if can_use_namespace() {
        return Privileges::Namespace;
    }
    let (uid, gid) = nobody().unwrap_or((NOBODY, NOBODY));
    Privileges::User { uid, gid }
}

fn can_use_namespace() -> bool {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", ":"]).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    enter(&mut command, &Child { privileges: Privileges::Namespace, lock: None, is_server: false });
    // A namespace that is refused makes the spawn fail, before anything is run.
    cfg!(target_os = "linux") && command.spawn().map(|mut child| child.wait()).is_ok()
}

/// The numbers of the user `nobody`, from the user database of the machine.
fn nobody() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| line.starts_with("nobody:"))?;
    let mut fields = line.split(':').skip(2).map(|field| field.parse::<i64>().ok());
    // macOS writes the number as -2.
    let number = |field: i64| u32::try_from(field).ok().or_else(|| i32::try_from(field).ok().map(i32::cast_unsigned));
    Some((number(fields.next()??)?, number(fields.next()??)?))
}

/// Whether a user's number has a name here: PostgreSQL refuses to run as someone without one. Where the
/// users are not in the usual file, nobody can tell, and the number passes.
pub fn has_name(uid: u32) -> bool {
    let Ok(users) = std::fs::read_to_string("/etc/passwd") else { return true };
    let uid = uid.to_string();
    users.lines().any(|line| line.split(':').nth(2) == Some(&uid))
}

/// Makes a command become what `child` says when it is spawned.
pub fn enter(command: &mut Command, child: &Child<'_>) {
    if let Privileges::User { uid, gid } = child.privileges {
        // The standard library leaves root's other groups as well.
        command.uid(uid).gid(gid);
    }
    let lock = child.lock.map(|lock| lock.as_raw_fd());
    let is_server = child.is_server;
    let is_namespace = child.privileges == Privileges::Namespace;
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let maps = (format!("{NOBODY} {uid} 1\n"), format!("{NOBODY} {gid} 1\n"));
    let boot = super::process::boot();
    let act = move || {
        inherit_only(lock)?;
        if is_server {
            rustix::process::setsid()?;
            if let Some(lock) = lock {
                write_identity(lock, boot.as_bytes())?;
            }
        }
        if is_namespace {
            enter_namespace(maps.0.as_bytes(), maps.1.as_bytes())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec the closure allocates nothing, takes no lock and calls nothing but
    // system calls through rustix and libc, on memory that was captured before the fork.
    unsafe {
        command.pre_exec(act);
    }
}

/// Lets the process inherit nothing but its standard streams and the lock: a server that outlives lyrox
/// must not keep someone's pipe open.
fn inherit_only(lock: Option<RawFd>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: marks file descriptors close-on-exec; touches no memory. Kernels before 5.11 refuse the
        // flag, and then only descriptors that were inheritable before stay so.
        unsafe {
            libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        }
    }
    if let Some(lock) = lock {
        // SAFETY: the caller keeps the file open across the spawn; see `Child::lock`.
        let lock = unsafe { BorrowedFd::borrow_raw(lock) };
        rustix::io::fcntl_setfd(lock, FdFlags::empty())?;
    }
    Ok(())
}

/// Writes the process' own line of `/proc`, which holds its number and start time, and the boot's name.
#[cfg(target_os = "linux")]
fn write_identity(lock: RawFd, boot: &[u8]) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    // SAFETY: as in `inherit_only`.
    let lock = unsafe { BorrowedFd::borrow_raw(lock) };
    let mut line = [0_u8; 1024];
    let stat = open(c"/proc/self/stat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let length = rustix::io::read(&stat, &mut line)?;
    rustix::io::write(lock, &line[..length])?;
    rustix::io::write(lock, boot)?;
    Ok(())
}

/// Writes nothing: elsewhere lyrox writes the identity after the spawn.
#[cfg(not(target_os = "linux"))]
fn write_identity(_: RawFd, _: &[u8]) -> io::Result<()> {
    Ok(())
}

#[cfg(target_os = "linux")]
fn enter_namespace(users: &[u8], groups: &[u8]) -> io::Result<()> {
    use rustix::fs::{Mode, OFlags, open};
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: a new user namespace shares neither memory nor descriptors differently than before.
    unsafe { unshare_unsafe(UnshareFlags::NEWUSER)? };
    let write = |path: &std::ffi::CStr, text: &[u8]| -> io::Result<()> {
        let file = open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
        rustix::io::write(&file, text)?;
        Ok(())
    };
    // user_namespaces(7): a group map needs setgroups denied first; kernels without the file need not.
    let _ = write(c"/proc/self/setgroups", b"deny");
    write(c"/proc/self/uid_map", users)?;
    write(c"/proc/self/gid_map", groups)
}

#[cfg(not(target_os = "linux"))]
fn enter_namespace(_: &[u8], _: &[u8]) -> io::Result<()> {
    Err(io::Error::from(io::ErrorKind::Unsupported))
}
