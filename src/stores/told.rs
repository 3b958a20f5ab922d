//! How a finished or failed step of a document store is told: the same words for each of them.

use std::time::Duration;

use crate::engine::ledger::{Amendment, Row};
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item, plural};

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
    let detail = match change {
        Change::Recorded => "not run".to_owned(),
        _ => format!("{count} {}", step.store.step_word(count)),
    };
    let item = Item::pass(format!("{}.{}", step.store, step.version), step.label()).store(step.store).change(change);
    Some(item.detail(detail).elapsed(elapsed))
}

/// The item of what a reset removed from a store; none where nothing was there.
pub fn wiped(store: StoreKind, place: &str, removed: u64) -> Option<Item> {
    let detail = plural(usize::try_from(removed).unwrap_or(usize::MAX), "object");
    let item = Item::pass(format!("{store}.wipe"), place).store(store).change(Change::Dropped).detail(detail);
    (removed > 0).then_some(item)
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

/// Refuses a file that holds fewer statements than are in effect of it.
///
/// # Errors
/// `LYX-DRIFT-SHORTENED`.
pub fn refuse_shortened(step: &Step, count: usize) -> Result<()> {
    let done = step.resume_from as usize;
    if step.action != Action::Apply || count >= done {
        return Ok(());
    }
    let word = step.store.step_word(2);
    Err(Error::new(Code::DriftShortened, format!("`{}` holds fewer {word} than are in effect", step.script.path))
        .why(format!("it holds {count}, and {done} of it are in effect on {}", step.store))
        .at(crate::error::Place::file(&step.script.path))
        .data("nothing was changed")
        .hint(format!("bring the whole file back: git checkout {}", step.script.path)))
}

/// The error of a step that was begun and whose end nobody saw; the two commands that settle it.
pub fn in_doubt(step: &Step, at: usize, why: String) -> Error {
    let settle = |flag: &str| format!("lyrox db repair {flag} {} --only {}", step.version, step.store);
    Error::new(Code::InDoubt, format!("it is not known whether step {} of {} took effect", at + 1, step.label()))
        .why(why)
        .hint(format!("look for its effect in the data, then {} or {}", settle("--done"), settle("--not-done")))
}

/// The error of an amendment that has nothing to amend.
pub fn nothing_to_amend(step: &Step, amendment: Amendment) -> Error {
    let what = match amendment {
        Amendment::Done => format!("{} on {} has no step left that could be done", step.label(), step.store),
        Amendment::NotDone => format!("no step of {} on {} is in doubt", step.label(), step.store),
        Amendment::Accept | Amendment::Forget => format!("{} has no row on {}", step.label(), step.store),
    };
    Error::new(Code::Usage, what).data("nothing was changed").hint("lyrox db status shows where things stand")
}

/// What an amendment is called in the event log; an accepted file goes with the checksum that it takes over from.
pub fn amended(amendment: Amendment, was: &str) -> String {
    match amendment {
        Amendment::Done => "settled as done".into(),
        Amendment::NotDone => "settled as not done".into(),
        Amendment::Accept => format!("accepted, was {was}"),
        Amendment::Forget => "forgotten".into(),
    }
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
