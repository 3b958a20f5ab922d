//! Going back: what is undone, in which order, and whose text undoes it. Pure.
//!
//! The file's way back wins over the ledger's where the file that was applied is still there unchanged: nobody runs a way
//! back before it is needed, and to mend it there is the only reason to change it. Where the file is gone, has no way back
//! any more, or is another one now, the text that the ledger kept is the one that belongs to what was applied.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ledger::{Row, State};
use super::plan::{Action, Drift, Goal, Plan, Step, Timeline};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Script, Version, label};

/// The rows that a goal undoes, in the order in which they are undone.
pub fn undone<'a>(files: &[Migration], ledgers: &'a BTreeMap<StoreKind, Vec<Row>>, goal: &Goal) -> Vec<&'a Row> {
    let timeline = Timeline::new(files);
    let all = ledgers.values().flatten();
    let mut applied: Vec<&Row> =
        all.filter(|row| row.state == State::Applied && !row.version.is_repeatable()).collect();
    // Against the order in which they were applied; what has no file lies where its version would.
    let place = |row: &Row| (timeline.place(&row.version), row.version.clone());
    applied.sort_by_cached_key(|row| std::cmp::Reverse((place(row), row.store)));
    let last = applied.iter().filter_map(|row| row.run.as_deref()).max();
    let mut newest: Vec<&Version> = applied.iter().map(|row| &row.version).collect();
    newest.dedup();
    let floor = if let Goal::BackTo(floor) = goal { timeline.place(floor) } else { 0 };
    let is_wanted = |row: &&Row| match goal {
        Goal::Back(count) => newest.iter().take(*count).any(|version| **version == row.version),
        Goal::BackTo(version) => (timeline.place(&row.version), &row.version) > (floor, version),
        Goal::BackOne(version) => row.version == *version,
        Goal::BackRun => last.is_some() && row.run.as_deref() == last,
        Goal::Latest | Goal::To(_) | Goal::Steps(_) => false,
    };
    applied.into_iter().filter(is_wanted).collect()
}

/// Where the way back of a step comes from, in words that stand behind its name; empty for a file as it was applied.
pub fn origin(step: &Step, kept: Option<&str>) -> &'static str {
    if step.is_irreversible() {
        "irreversible"
    } else if step.script.path.starts_with(LEDGER) {
        "from the ledger"
    } else if kept.is_some() && step.script.kept().as_deref() != kept {
        "the file, edited since it was applied"
    } else {
        ""
    }
}

/// What the path of a script begins with that the ledger kept.
const LEDGER: &str = "ledger:";

pub(super) fn back(
    all: &[Migration],
    files: &BTreeMap<&Version, &Migration>,
    ledgers: &BTreeMap<StoreKind, Vec<Row>>,
    goal: &Goal,
    drift: &mut Vec<Drift>,
) -> Plan {
    // What is half done must be settled before anything is undone.
    let unfinished = ledgers.values().flatten().filter(|row| matches!(row.state, State::Started | State::Failed));
    drift.extend(
        unfinished.filter(|row| !row.version.is_repeatable()).map(|row| Drift::Unfinished { row: row.clone() }),
    );

    let rows = undone(all, ledgers, goal);
    let stores: BTreeSet<StoreKind> = rows.iter().map(|row| row.store).collect();
    let mut plan = Plan::default();
    // What a repeatable made may go with what is undone: it is made again by the next migrate. Said first: a crash
    // between the two then costs a needless run, never a missing view.
    for store in stores {
        let repeatable = ledgers[&store].iter().filter(|row| row.version.is_repeatable());
        plan.steps.extend(repeatable.filter(|row| row.state == State::Applied).map(Step::forget));
    }
    plan.steps.extend(rows.into_iter().map(|row| revert(files, row)));
    plan
}

fn revert(files: &BTreeMap<&Version, &Migration>, row: &Row) -> Step {
    let part = files.get(&row.version).and_then(|file| file.parts.get(&row.store));
    let as_applied = part.filter(|part| part.up.checksum == row.checksum);
    let path = as_applied.map_or_else(|| label(&row.version, &row.name), |part| part.up.path.clone());
    // The row keeps its name, checksum and texts: only its state changes.
    let foreign = part.and_then(|part| part.up.foreign.clone());
    let up = Arc::new(Script { path, checksum: row.checksum.clone(), foreign, ..Script::default() });
    let file = as_applied.and_then(|part| part.down.clone());
    let kept = || {
        let path = format!("{LEDGER}{}.down.{}", label(&row.version, &row.name), row.store.extension());
        Script::from_kept(path, row.down_text.as_deref()?, row.store).ok().map(Arc::new)
    };
    Step {
        store: row.store,
        version: row.version.clone(),
        name: row.name.clone(),
        action: Action::Revert,
        script: file.or_else(kept).unwrap_or_else(|| up.clone()),
        up,
        down: None,
        resume_from: row.undone.unwrap_or(0),
    }
}

#[cfg(test)]
#[path = "back_tests.rs"]
mod tests;
