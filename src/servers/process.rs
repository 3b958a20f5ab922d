//! Processes: started as daemons, found again, and stopped only with proof that they are ours. A bare
//! process number is never proof: numbers are used again.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, SeekFrom};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};
use tokio::process::Child;

use super::files::{self, disk, shown};
use super::privileges::{self, Privileges};
use crate::error::{Code, Error, Result};

/// A log longer than this is set aside when its server starts.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;
const POLL: Duration = Duration::from_millis(10);

/// A process and the proof of which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// When it started: on Linux the boot's name and the ticks since, elsewhere the time.
    pub started: String,
    /// The project it serves: a copied folder must not take the original's servers for its own.
    pub root: PathBuf,
}

impl Process {
    /// Whether it still is that process.
    pub fn runs(&self) -> bool {
        identity(self.pid).is_some_and(|started| started == self.started)
    }

    /// Whether it still is that process, and serves the project at `root` (canonical).
    pub fn runs_for(&self, root: &Path) -> bool {
        self.root == root && self.runs()
    }

    /// Sends a signal if it still is that process.
    fn signal(&self, signal: Signal) {
        let Some(pid) = Pid::from_raw(self.pid) else { return };
        #[cfg(target_os = "linux")]
        {
            use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
            // The descriptor is taken first: what is then proven to be ours cannot be exchanged any more.
            if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) {
                if self.runs() {
                    let _ = pidfd_send_signal(handle, signal);
                }
                return;
            }
        }
        if self.runs() {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }
}

/// The name of this boot of the machine: start times count from it.
#[cfg(target_os = "linux")]
pub fn boot() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Start times are absolute here.
#[cfg(not(target_os = "linux"))]
pub fn boot() -> String {
    String::new()
}

/// When the living process with this number started; none where there is none, or only its remains.
#[cfg(target_os = "linux")]
fn identity(pid: i32) -> Option<String> {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, state, ticks) = parse_stat(&line)?;
    (!matches!(state, 'Z' | 'X')).then(|| format!("{}/{ticks}", boot()))
}

/// When the living process with this number started; none where there is none, or only its remains.
#[cfg(not(target_os = "linux"))]
fn identity(pid: i32) -> Option<String> {
    let arguments = ["-o", "state=,lstart=", "-p", &pid.to_string()];
    let output = Command::new("ps").args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let (state, started) = text.split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// Whether a living process works in a folder; where that cannot be seen, whether it lives.
pub fn works_in(pid: i32, folder: &Path) -> bool {
    if identity(pid).is_none() {
        return false;
    }
    match (std::fs::read_link(format!("/proc/{pid}/cwd")), folder.canonicalize()) {
        (Ok(cwd), Ok(folder)) => cwd == folder,
        _ => true,
    }
}

/// Number, state and start time in a line of `/proc/PID/stat` (proc_pid_stat(5)). The second field is
/// the program's name in parentheses and may hold anything, so that fields are counted from its end.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn parse_stat(line: &str) -> Option<(i32, char, u64)> {
    let pid = line.split_once(' ')?.0.parse().ok()?;
    let rest = &line[line.rfind(')')? + 1..];
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((pid, state, fields.nth(18)?.parse().ok()?))
}

/// The file that a server keeps locked while it lives, and that says who it is.
pub struct Seat {
    file: File,
    path: PathBuf,
}

/// Who sits on the seat of a server.
pub enum Sitter {
    /// Nobody: the seat is locked by us until it is dropped or passed on.
    Free(Seat),
    /// This server.
    Server(Process),
    /// A process that does not say who it is: a program that makes a data folder, or the children of
    /// a server that was killed. They end by themselves.
    Unknown,
}

impl Seat {
    /// Looks who sits on the seat in a server's folder.
    ///
    /// # Errors
    /// `LYX-SERVER-DISK`.
    pub fn look(folder: &Path, root: &Path) -> Result<Sitter> {
        let path = folder.join("process");
        let what = || format!("cannot open `{}`", shown(&path));
        let file = files::lock_file(&path).map_err(|error| disk(&what(), &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Sitter::Free(Self { file, path })),
            Err(TryLockError::Error(error)) => Err(disk(&what(), &error)),
            Err(TryLockError::WouldBlock) => {
                let process = identity_in(&file, root).filter(Process::runs);
                Ok(process.map_or(Sitter::Unknown, Sitter::Server))
            }
        }
    }

    /// As [`Seat::look`], but waits while someone unknown sits there.
    ///
    /// # Errors
    /// `LYX-SERVER-START` where that does not end.
    pub async fn wait(folder: &Path, root: &Path) -> Result<Sitter> {
        let begun = Instant::now();
        loop {
            match Self::look(folder, root)? {
                Sitter::Unknown if begun.elapsed() < Duration::from_secs(20) => tokio::time::sleep(POLL).await,
                Sitter::Unknown => {
                    return Err(Error::new(
                        Code::ServerStart,
                        format!("another process holds `{}`", shown(&folder.join("process"))),
                    )
                    .why("it belongs to a server that ran here, and lyrox cannot prove which process it is")
                    .hint("end that process by hand, then run lyrox up"));
                }
                sitter => return Ok(sitter),
            }
        }
    }

    /// The file, for programs that have to hold the seat while they work.
    pub fn file(&self) -> &File {
        &self.file
    }
}

fn identity_in(file: &File, root: &Path) -> Option<Process> {
    let mut bytes = [0_u8; 2048];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    let (first, second) = text.rsplit_once('\n')?;
    let (pid, started) = if cfg!(target_os = "linux") {
        let (pid, _, ticks) = parse_stat(first)?;
        (pid, format!("{second}/{ticks}"))
    } else {
        (first.parse().ok()?, second.to_owned())
    };
    Some(Process { pid, started, root: root.to_path_buf() })
}

/// A server to start.
pub struct Launch<'a> {
    /// The program.
    pub program: &'a Path,
    /// Its arguments; never a secret.
    pub arguments: Vec<String>,
    /// The folder it works in.
    pub folder: &'a Path,
    /// The file that takes what it prints.
    pub log: &'a Path,
    /// As whom it runs.
    pub privileges: Privileges,
}

impl Launch<'_> {
    /// Starts the server as a daemon: own session, no terminal, output to its log. It takes the seat over.
    ///
    /// # Errors
    /// `LYX-SERVER-START`, `LYX-SERVER-DISK`.
    pub fn start(&self, seat: Seat, root: &Path) -> Result<(Child, Process)> {
        let log = open_log(self.log)?;
        let both = log.try_clone().map_err(|error| disk("cannot open the log", &error))?;
        let seat_failed = |error: std::io::Error| disk(&format!("cannot write `{}`", shown(&seat.path)), &error);
        seat.file.set_len(0).map_err(seat_failed)?;
        (&seat.file).seek(SeekFrom::Start(0)).map_err(seat_failed)?;
        let mut command = clean_command(self.program);
        command.args(&self.arguments).current_dir(self.folder).stdin(Stdio::null()).stdout(log).stderr(both);
        let child = privileges::Child { privileges: self.privileges, lock: Some(seat.file.as_fd()), is_server: true };
        privileges::enter(&mut command, &child);
        let mut child = tokio::process::Command::from(command);
        let child = child.spawn().map_err(|error| cannot_run(self.program, &error))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        #[cfg(not(target_os = "linux"))]
        if let Some(started) = identity(pid) {
            seat.file.write_all_at(format!("{pid}\n{started}").as_bytes(), 0).map_err(seat_failed)?;
        }
        let process = identity_in(&seat.file, root).filter(|process| process.pid == pid);
        // Without an identity the server has ended already; its exit is seen by whoever waits for it.
        Ok((child, process.unwrap_or(Process { pid, started: String::new(), root: root.to_path_buf() })))
    }
}

/// Runs a program to its end, holding the seat, and hands out what it printed to standard error if it
/// failed. It ends with lyrox.
///
/// # Errors
/// `LYX-SERVER-START`; the inner error is what the program said.
pub async fn run(
    program: &Path,
    arguments: &[String],
    folder: &Path,
    seat: &Seat,
    privileges: Privileges,
) -> Result<Result<(), String>> {
    let mut command = clean_command(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = privileges::Child { privileges, lock: Some(seat.file().as_fd()), is_server: false };
    privileges::enter(&mut command, &child);
    let mut command = tokio::process::Command::from(command);
    let output = command.kill_on_drop(true).output().await.map_err(|error| cannot_run(program, &error))?;
    Ok(if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) })
}

/// A command with nothing of the user's environment but what finds libraries.
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    for name in ["LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The error of a program that cannot be started.
pub fn cannot_run(program: &Path, error: &std::io::Error) -> Error {
    let error = Error::new(Code::ServerStart, format!("cannot run `{}`", program.display())).why(error.to_string());
    if privileges::is_root() {
        return error.hint("servers run without root's rights: every folder above the program must let others in");
    }
    error.hint("see that the file exists and may be run, or name another under [local] in lyrox.toml")
}

fn open_log(path: &Path) -> Result<File> {
    let what = || format!("cannot write `{}`", shown(path));
    if std::fs::metadata(path).is_ok_and(|data| data.len() > LOG_LIMIT) {
        std::fs::rename(path, path.with_extension("1")).map_err(|error| disk(&what(), &error))?;
    }
    let log = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    log.and_then(|log| files::hand_over(path).map(|()| log)).map_err(|error| disk(&what(), &error))
}

/// Stops a server: each signal in turn, with the time it has to end, until it is gone and its children
/// have left the seat.
///
/// # Errors
/// `LYX-SERVER-START` where even the last signal did not end it.
pub async fn stop(process: &Process, folder: &Path, steps: &[(Signal, Duration)]) -> Result<()> {
    for (signal, patience) in steps {
        process.signal(*signal);
        let begun = Instant::now();
        while begun.elapsed() < *patience {
            if !process.runs() && !matches!(Seat::look(folder, &process.root)?, Sitter::Unknown) {
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }
    if !process.runs() {
        return Ok(());
    }
    Err(Error::new(Code::ServerStart, format!("process {} does not end", process.pid))
        .hint("it waits for the disk or is being traced; end that, then run lyrox down"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_cannot_shift_the_fields_of_stat() {
        let rest = "S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 987654 1000 200";
        assert_eq!(parse_stat(&format!("42 (post) gres (x) {rest}")), Some((42, 'S', 987_654)));
        assert_eq!(parse_stat("42 (cut"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_process_is_known_by_its_start_and_not_by_its_number() {
        let pid = i32::try_from(std::process::id()).expect("a pid");
        let started = identity(pid).expect("this process lives");
        let root = PathBuf::from("/project");
        let me = Process { pid, started: started.clone(), root: root.clone() };
        assert!(me.runs() && me.runs_for(&root) && !me.runs_for(Path::new("/copy")));
        assert!(!Process { started: format!("{started}0"), ..me }.runs());
    }
}
