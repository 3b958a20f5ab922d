//! `down`: stops servers, and removes their data where that was asked for. It works with a damaged
//! state as well: a server is found by the seat it holds.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::files::{self, disk};
use super::place::{home_elsewhere, is_elsewhere};
use super::process::{self, Seat, Sitter};
use super::state::{FOLDER, State};
use super::{DownRequest, canonical, folder};
use crate::engine::event::Events;
use crate::error::{Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};

/// Stops the servers; one item each. A server that does not run is `unchanged`.
///
/// # Errors
/// `LYX-LOCK-HELD`, `LYX-SERVER-DISK`. What fails for one server is its item, and is in the answer.
pub async fn down(request: &DownRequest, events: &dyn Events) -> Result<Vec<(StoreKind, Result<Change>)>> {
    let root = canonical(&request.root)?;
    if !root.join(FOLDER).is_dir() {
        return Ok(Vec::new());
    }
    let _lock = files::lock(&root.join(FOLDER).join("lock"), "the local servers", events).await?;
    let mut state = State::read(&root);
    let is_wanted = |kind: &StoreKind| request.stores.is_empty() || request.stores.contains(kind);
    let is_there = |kind: &StoreKind| folder(&root, *kind).is_dir();
    let kinds: Vec<StoreKind> = StoreKind::ALL.into_iter().filter(|kind| is_wanted(kind) && is_there(kind)).collect();
    let ended = futures_util::future::join_all(kinds.iter().map(|kind| {
        let known = state.as_ref().ok().and_then(|state| state.servers.get(kind)?.process.clone());
        let root = &root;
        async move {
            let begun = Instant::now();
            let ended = end(root, *kind, known.filter(|process| process.runs_for(root))).await;
            (*kind, ended, begun.elapsed())
        }
    }))
    .await;
    let mut results = Vec::new();
    for (kind, ended, elapsed) in ended {
        let id = format!("{kind}.down");
        let done = ended.and_then(|change| {
            if let Ok(state) = &mut state
                && let Some(record) = state.servers.get_mut(&kind)
            {
                record.process = None;
                record.since = None;
            }
            if !request.purges {
                return Ok(change);
            }
            purge(&root, kind, state.as_mut().ok())?;
            Ok(Change::Dropped)
        });
        events.item(match &done {
            Ok(change) => {
                let title = kind.title();
                let item = Item::pass(id, title).store(kind).change(*change).elapsed(elapsed);
                match change {
                    Change::Unchanged => item.detail("it was not running"),
                    Change::Dropped => item.detail("stopped, its data removed"),
                    _ => item,
                }
            }
            Err(error) => Item::fail(id, kind.title(), error).store(kind).elapsed(elapsed),
        });
        results.push((kind, done));
    }
    match state {
        Ok(state) if request.purges && state.servers.is_empty() => remove_state(&root)?,
        Ok(state) if request.purges => state.write(&root)?,
        // The servers are stopped, and a process that is gone is believed by nobody.
        Ok(state) => {
            if let Err(error) = state.write(&root) {
                events.note(format!("the record of the servers stays as it is: {error}"));
            }
        }
        Err(_) if request.purges && request.stores.is_empty() => remove_state(&root)?,
        Err(error) if request.purges => return Err(error),
        Err(error) => events.note(format!("the record of the servers stays as it is: {error}")),
    }
    Ok(results)
}

async fn end(root: &Path, kind: StoreKind, known: Option<process::Process>) -> Result<Change> {
    let folder = folder(root, kind);
    let process = match (Seat::wait(&folder, root).await?, known) {
        (Sitter::Server(process), _) | (_, Some(process)) => process,
        _ => return Ok(Change::Unchanged),
    };
    process::stop(&process, &folder, &signals(kind)).await?;
    Ok(Change::Stopped)
}

/// How a server is asked to end, then told, then made to.
pub fn signals(kind: StoreKind) -> Vec<(Signal, Duration)> {
    let seconds = Duration::from_secs;
    match kind {
        // "Fast": transactions are rolled back, then a checkpoint. "Immediate": no checkpoint.
        StoreKind::Postgres => {
            vec![(Signal::INT, seconds(20)), (Signal::QUIT, seconds(5)), (Signal::KILL, seconds(5))]
        }
        StoreKind::Mongodb | StoreKind::Redis => vec![(Signal::TERM, seconds(20)), (Signal::KILL, seconds(5))],
    }
}

fn purge(root: &Path, kind: StoreKind, state: Option<&mut State>) -> Result<()> {
    let recorded = state.and_then(|state| state.servers.remove(&kind)).and_then(|record| record.home);
    let recorded = recorded.filter(|path| is_elsewhere(path));
    let elsewhere = recorded.unwrap_or_else(|| home_elsewhere(root, kind));
    for path in [&elsewhere, &folder(root, kind)] {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(disk(&format!("cannot remove `{}`", files::shown(path)), &error));
            }
            _ => {}
        }
    }
    // The folder of the project there goes with the last of its servers.
    if let Some(above) = elsewhere.parent() {
        let _ = std::fs::remove_dir(above);
    }
    Ok(())
}

fn remove_state(root: &Path) -> Result<()> {
    for name in ["state.json", "state.copy.json"] {
        match std::fs::remove_file(root.join(FOLDER).join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let error: Error = disk(&format!("cannot remove `{FOLDER}/{name}`"), &error);
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}
