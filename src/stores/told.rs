//! How a finished or failed step of a document store is told: the same words for each of them.

use std::time::Duration;

use crate::engine::ledger::Row;
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error};
use crate::report::{Change, Item};

/// The item of a step that is in effect.
///
/// None where whoever planned it tells it.
pub fn item(step: &Step, row: &Row, elapsed: Duration) -> Option<Item> {
    let change = match step.action {
        Action::Apply => Change::Applied,
        Action::Revert => Change::Reverted,
        Action::Record => Change::Recorded,
        Action::Forget | Action::Hook(_) => return None,
    };
    let count = u64::from(row.steps_total);
    let item = Item::pass(format!("{}.{}", step.store, step.version), step.label()).store(step.store).change(change);
    Some(item.detail(format!("{count} {}", step.store.step_word(count))).elapsed(elapsed))
}

/// What happened to the data where `done` of `total` steps are in effect.
pub fn data(action: Action, done: usize, total: usize, was_rolled_back: bool) -> String {
    let (word, stay) = match action {
        Action::Revert => ("undone", "stay undone"),
        _ => ("applied", "stay in effect"),
    };
    match (done, was_rolled_back) {
        (0, true) => format!("rolled back; nothing of this file was {word}"),
        (0, false) => format!("nothing of this file was {word}"),
        (1, _) => format!("stopped after step 1 of {total}; it {}", stay.replacen("stay", "stays", 1)),
        (done, _) => format!("stopped after step {done} of {total}; steps 1 to {done} {stay}"),
    }
}

/// The error of a step that the user ended halfway.
pub fn cancelled(step: &Step, done: usize, total: usize) -> Error {
    Error::new(Code::Unfinished, format!("{} was cut short", step.label()))
        .data(data(step.action, done, total, false))
        .hint("run it again: it goes on at the next step")
}

/// The way on after a failure.
pub fn way_on(action: Action, done: usize) -> String {
    let command = if action == Action::Revert { "lyrox db rollback" } else { "lyrox db migrate" };
    if done == 0 {
        format!("mend the file, then run {command} again")
    } else {
        format!("mend the file from step {} on, then run {command} again: it goes on there", done + 1)
    }
}
