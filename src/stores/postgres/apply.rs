//! Runs the steps of a batch in order: transactions here, journaled files in their own room. What is
//! shared for speed is taken apart again where it fails, so that a file stands or falls by itself.

use super::failure::stays;
use super::script::{Mode, Prepared, chunk, prepare_all, unit};
use super::transaction::Undone;
use super::{Path, PostgresStore};
use crate::config::file::Transaction;
use crate::engine::event::Events;
use crate::engine::plan::{Action, Step};
use crate::error::Error;
use crate::kind::StoreKind;
use crate::report::{Change, Item};
use crate::stores::{Applied, ApplyOptions, Done};

impl PostgresStore {
    /// Applies the steps; see [`Store::apply`](crate::stores::Store::apply).
    pub(super) async fn run_steps(&mut self, steps: &[Step], options: &ApplyOptions, events: &dyn Events) -> Applied {
        let mut applied = Applied::default();
        self.run_id.clone_from(&options.run);
        let files = match prepare_all(steps, options, &self.known) {
            Ok(files) => files,
            Err(error) => {
                applied.failure = Some((0, error));
                return applied;
            }
        };
        let mut rest = files.as_slice();
        while let Some(first) = rest.first() {
            if events.is_cancelled() {
                break;
            }
            // Behind a pooler another run may take the lock between two files: each stands by itself.
            let shares = self.path != Path::Pooled || options.transaction == Transaction::All;
            let count = if shares { chunk(rest, options) } else { 1 };
            let (group, later) = rest.split_at(count.max(1));
            let result = if first.mode == Mode::Journal {
                match self.run_journal(first, &names(&applied), events).await {
                    Ok(done) => {
                        tell(events, first, &done);
                        applied.done.push(done);
                        Ok(())
                    }
                    Err(error) => Err((first.index, error)),
                }
            } else {
                self.run_group(group, later.is_empty(), options, events, &mut applied).await
            };
            if let Err(failure) = result {
                applied.failure = Some(failure);
                break;
            }
            rest = later;
        }
        self.restore().await;
        applied
    }

    /// Runs a group in one transaction. Where that fails, what stood before the failing file is run
    /// without it, the file alone, then the rest: a file that is broken keeps no other from its place.
    async fn run_group(
        &mut self,
        group: &[Prepared<'_>],
        is_last: bool,
        options: &ApplyOptions,
        events: &dyn Events,
        applied: &mut Applied,
    ) -> Result<(), (usize, Error)> {
        let mut queue = vec![group];
        while let Some(files) = queue.pop() {
            if files.is_empty() {
                continue;
            }
            if events.is_cancelled() {
                return Ok(());
            }
            let is_last = is_last && queue.iter().all(|files| files.is_empty());
            match self.run_transaction(files, &stays(&names(applied)), is_last, events).await {
                Ok(done) => {
                    for (file, done) in files.iter().filter(|file| !file.step.is_hook()).zip(done) {
                        tell(events, file, &done);
                        applied.done.push(done);
                    }
                }
                Err(undone) => {
                    let Undone { file, may_split, error, sqlstate } = *undone;
                    if unit(files) == files.len() || !may_split || options.transaction == Transaction::All {
                        let migration = files.iter().position(|file| !file.step.is_hook());
                        let failed = &files[file.or(migration).unwrap_or(0)];
                        let event = self.event("failed", Some(failed.step), None, sqlstate.as_deref());
                        // The failure is told whether or not the log could be written.
                        let _ = super::run(&mut self.connection, event).await;
                        return Err((failed.index, error));
                    }
                    // The queue is a stack: what is to run first goes on last.
                    let units = units(files);
                    match file.and_then(|at| units.iter().find(|unit| unit.contains(&at))) {
                        Some(unit) => {
                            queue.extend([&files[unit.end..], &files[unit.clone()], &files[..unit.start]]);
                        }
                        None => queue.extend(units.into_iter().rev().map(|unit| &files[unit])),
                    }
                }
            }
        }
        Ok(())
    }

    /// Leaves the session as it was found: a file's settings are its own.
    async fn restore(&mut self) {
        if self.path == Path::Pooled || std::mem::take(&mut self.is_restored) {
            return;
        }
        let sql = self.restoring().join("; ");
        // A connection that is lost is noticed by whoever uses it next.
        let _ = super::run(&mut self.connection, sql).await;
    }

    /// The statements that bring the session back to its settings, whatever a file did to them.
    pub(super) fn restoring(&self) -> [String; 3] {
        ["SET SESSION AUTHORIZATION DEFAULT".into(), "RESET ALL".into(), self.settings.sql(&self.facts)]
    }
}

/// Where each migration, with its hooks, begins and ends.
fn units(files: &[Prepared<'_>]) -> Vec<std::ops::Range<usize>> {
    let mut units = Vec::new();
    let mut from = 0;
    while from < files.len() {
        let until = from + unit(&files[from..]);
        units.push(from..until);
        from = until;
    }
    units
}

fn names(applied: &Applied) -> Vec<String> {
    applied.done.iter().map(|done| crate::project::migration::label(&done.row.version, &done.row.name)).collect()
}

/// Tells a finished step.
fn tell(events: &dyn Events, file: &Prepared<'_>, done: &Done) {
    let step = file.step;
    let count = u64::from(file.total());
    let (change, detail) = match step.action {
        Action::Apply => (Change::Applied, statements(count)),
        Action::Revert => (Change::Reverted, statements(count)),
        Action::Record => (Change::Recorded, "not run".to_owned()),
        // A row that says less is told by whoever planned it.
        Action::Forget | Action::Hook(_) => return,
    };
    let item = Item::pass(format!("{}.{}", step.store, step.version), step.label());
    events.item(item.store(step.store).change(change).detail(detail).elapsed(done.elapsed));
}

fn statements(count: u64) -> String {
    format!("{count} {}", StoreKind::Postgres.step_word(count))
}
