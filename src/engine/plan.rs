//! The planner: what is pending is a function of files, ledgers and goal. Pure; nobody else computes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::ledger::{Row, State};
use crate::error::{Code, Error, Place};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Script, Version, label};

/// Where to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Everything that is pending.
    Latest,
    /// Everything pending up to and including this version.
    To(Version),
    /// The next so many pending versions.
    Steps(usize),
    /// Undo the last so many applied versions.
    Back(usize),
    /// Undo every applied version above this one; `0` undoes all.
    BackTo(Version),
}

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the up script.
    Apply,
    /// Run the down script.
    Revert,
    /// Write the ledger row only.
    Record,
}

/// One store's part of one version.
#[derive(Clone, Debug)]
pub struct Step {
    /// The store.
    pub store: StoreKind,
    /// The version.
    pub version: Version,
    /// The migration's name.
    pub name: String,
    /// What to do.
    pub action: Action,
    /// The script to run: up or down.
    pub script: Arc<Script>,
    /// The up script: its checksum and text go to the ledger.
    pub up: Arc<Script>,
    /// Statements already in effect from an earlier run that was cut short.
    pub resume_from: u32,
}

impl Step {
    /// `VERSION_name`.
    pub fn label(&self) -> String {
        label(&self.version, &self.name)
    }
}

/// An ordered list of steps.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order they run.
    pub steps: Vec<Step>,
}

impl Plan {
    /// How many steps each store has.
    pub fn counts(&self) -> BTreeMap<StoreKind, usize> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            *counts.entry(step.store).or_insert(0) += 1;
        }
        counts
    }

    /// The steps cut where the store changes: what one store can do in one go.
    pub fn batches(&self) -> impl Iterator<Item = &[Step]> {
        self.steps.chunk_by(|a, b| a.store == b.store)
    }
}

/// One way in which files and ledger disagree.
#[derive(Clone, Debug)]
pub enum Drift {
    /// The file's text differs from what was applied.
    Edited {
        /// What was applied.
        row: Row,
        /// What is on disk now.
        script: Arc<Script>,
    },
    /// There is no such file any more.
    Missing {
        /// What was applied.
        row: Row,
    },
    /// The file has another name.
    Renamed {
        /// What was applied.
        row: Row,
        /// The name on disk now.
        name: String,
    },
    /// Pending below the newest applied version of its store.
    OutOfOrder {
        /// What is pending.
        step: Step,
        /// The newest applied version of its store.
        newest: Version,
    },
    /// Cut short or failed halfway.
    Unfinished {
        /// How far it came.
        row: Row,
    },
}

impl Drift {
    /// The stable word for reports: edited, missing, renamed, out of order, unfinished.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Edited { .. } => "changed",
            Self::Missing { .. } => "missing",
            Self::Renamed { .. } => "renamed",
            Self::OutOfOrder { .. } => "out of order",
            Self::Unfinished { .. } => "unfinished",
        }
    }

    /// The store and label it concerns.
    pub fn subject(&self) -> (StoreKind, String) {
        match self {
            Self::Edited { row, .. } | Self::Missing { row } | Self::Renamed { row, .. } | Self::Unfinished { row } => {
                (row.store, label(&row.version, &row.name))
            }
            Self::OutOfOrder { step, .. } => (step.store, step.label()),
        }
    }

    /// The error that says what it is and how to mend it.
    pub fn error(&self) -> Error {
        match self {
            Self::Edited { row, script } => {
                let error = Error::new(Code::DriftEdited, format!("`{}` was edited after it was applied to {}", script.path, row.store))
                    .at(first_difference(row, script))
                    .data("nothing was changed")
                    .hint("undo the edit (git checkout), and write what you want to change as a new migration: lyrox db new NAME");
                match difference(row, script) {
                    Some(diff) => error.why(diff),
                    None => error,
                }
            }
            Self::Missing { row } => Error::new(
                Code::DriftMissing,
                format!("{} was applied to {} and has no file", label(&row.version, &row.name), row.store),
            )
            .data("nothing was changed")
            .hint("bring the file back (git checkout), or roll it back with the version of the project that has it"),
            Self::Renamed { row, name } => Error::new(
                Code::DriftRenamed,
                format!(
                    "version {} was applied to {} as `{}` and is now named `{name}`",
                    row.version, row.store, row.name
                ),
            )
            .data("nothing was changed")
            .hint(format!("name the file {} again", label(&row.version, &row.name))),
            Self::OutOfOrder { step, newest } => Error::new(
                Code::DriftOrder,
                format!("{} is older than {newest}, the newest version applied to {}", step.label(), step.store),
            )
            .at(Place::file(&step.up.path))
            .data("nothing was changed")
            .hint("give it a new version, or write `lyrox: allow out-of-order` in a comment at its top"),
            Self::Unfinished { row } => Error::new(
                Code::Unfinished,
                format!(
                    "{} on {} stopped after step {} of {}",
                    label(&row.version, &row.name),
                    row.store,
                    row.steps_done,
                    row.steps_total
                ),
            )
            .data(format!("steps 1 to {} are in effect", row.steps_done))
            .hint("mend the file from the failed step on, then run lyrox db migrate again: it goes on at that step"),
        }
    }
}

fn first_difference(row: &Row, script: &Script) -> Place {
    let line = row.text.as_deref().and_then(|old| {
        let mut old = old.lines();
        let changed = script.text.lines().position(|line| old.next() != Some(line));
        changed.or_else(|| old.next().map(|_| script.text.lines().count().saturating_sub(1)))
    });
    match line {
        Some(line) => Place::at_line(&script.path, &script.text, line + 1),
        None => Place::file(&script.path),
    }
}

fn difference(row: &Row, script: &Script) -> Option<String> {
    let old = row.text.as_deref()?;
    let diff = similar::TextDiff::from_lines(old, &script.text);
    let mut lines: Vec<String> = diff
        .iter_all_changes()
        .filter(|change| change.tag() != similar::ChangeTag::Equal)
        .map(|change| format!("{}{}", change.tag(), change.value().trim_end()))
        .collect();
    if lines.len() > 12 {
        let more = lines.len() - 12;
        lines.truncate(12);
        lines.push(format!("... and {more} lines more"));
    }
    Some(format!("the text differs (- applied, + file):\n{}", lines.join("\n")))
}

/// Plans the way from what the ledgers say to the goal.
///
/// `ledgers` holds the own rows of every store of the run; parts of other stores are not planned.
///
/// # Errors
/// Every disagreement between files and ledgers, in timeline order; then nothing may be run.
pub fn plan(files: &[Migration], ledgers: &BTreeMap<StoreKind, Vec<Row>>, goal: &Goal) -> Result<Plan, Vec<Drift>> {
    let by_version: BTreeMap<&Version, &Migration> = files.iter().map(|file| (&file.version, file)).collect();
    let mut drift = Vec::new();
    for rows in ledgers.values() {
        for row in rows.iter().filter(|row| row.state != State::Reverted) {
            let part =
                by_version.get(&row.version).and_then(|file| file.parts.get(&row.store).map(|part| (file, part)));
            match part {
                None => drift.push(Drift::Missing { row: row.clone() }),
                Some((file, _)) if file.name != row.name => {
                    drift.push(Drift::Renamed { row: row.clone(), name: file.name.clone() });
                }
                Some((_, part)) if row.state == State::Applied && part.up.checksum != row.checksum => {
                    drift.push(Drift::Edited { row: row.clone(), script: part.up.clone() });
                }
                Some(_) => {}
            }
        }
    }
    let plan = match goal {
        Goal::Latest | Goal::To(_) | Goal::Steps(_) => forward(files, ledgers, goal, &mut drift),
        Goal::Back(_) | Goal::BackTo(_) => back(&by_version, ledgers, goal, &mut drift),
    };
    drift.sort_by_key(|drift| drift.subject().1);
    if drift.is_empty() { Ok(plan) } else { Err(drift) }
}

/// The rows of one store, to be asked for each file.
struct Known<'a> {
    rows: HashMap<&'a Version, &'a Row>,
    newest: Option<&'a Version>,
}

impl<'a> Known<'a> {
    fn of(rows: &'a [Row]) -> Self {
        let applied = rows.iter().filter(|row| row.state == State::Applied);
        Self {
            rows: rows.iter().map(|row| (&row.version, row)).collect(),
            newest: applied.map(|row| &row.version).max(),
        }
    }
}

fn forward(files: &[Migration], ledgers: &BTreeMap<StoreKind, Vec<Row>>, goal: &Goal, drift: &mut Vec<Drift>) -> Plan {
    let mut plan = Plan::default();
    let mut versions = BTreeSet::new();
    let known: BTreeMap<StoreKind, Known<'_>> = ledgers.iter().map(|(store, rows)| (*store, Known::of(rows))).collect();
    for file in files {
        if matches!(goal, Goal::To(version) if file.version > *version) {
            break;
        }
        for (store, known) in &known {
            let Some(part) = file.parts.get(store) else { continue };
            let row = known.rows.get(&file.version);
            if row.is_some_and(|row| row.state == State::Applied) {
                continue;
            }
            if matches!(goal, Goal::Steps(count) if versions.len() >= *count && !versions.contains(&file.version)) {
                return plan;
            }
            versions.insert(file.version.clone());
            let resume_from =
                row.filter(|row| matches!(row.state, State::Started | State::Failed)).map_or(0, |row| row.steps_done);
            let step = Step {
                store: *store,
                version: file.version.clone(),
                name: file.name.clone(),
                action: Action::Apply,
                script: part.up.clone(),
                up: part.up.clone(),
                resume_from,
            };
            if let Some(newest) = known.newest.filter(|newest| **newest > file.version)
                && !part.up.header.allow_out_of_order
            {
                drift.push(Drift::OutOfOrder { step, newest: newest.clone() });
                continue;
            }
            plan.steps.push(step);
        }
    }
    plan
}

fn back(
    files: &BTreeMap<&Version, &Migration>,
    ledgers: &BTreeMap<StoreKind, Vec<Row>>,
    goal: &Goal,
    drift: &mut Vec<Drift>,
) -> Plan {
    let mut plan = Plan::default();
    let mut applied: BTreeMap<&Version, Vec<&Row>> = BTreeMap::new();
    for row in ledgers.values().flatten() {
        match row.state {
            State::Applied => applied.entry(&row.version).or_default().push(row),
            // What is half done must be settled before anything below it is undone.
            State::Started | State::Failed => drift.push(Drift::Unfinished { row: row.clone() }),
            State::Reverted => {}
        }
    }
    let limit = if let Goal::Back(count) = goal { *count } else { usize::MAX };
    for (version, mut rows) in applied.into_iter().rev().take(limit) {
        if matches!(goal, Goal::BackTo(floor) if version <= floor) {
            break;
        }
        // Against the order in which they were applied.
        rows.sort_by_key(|row| std::cmp::Reverse(row.store));
        for row in rows {
            let Some(part) = files.get(version).and_then(|file| file.parts.get(&row.store)) else { continue };
            plan.steps.push(Step {
                store: row.store,
                version: version.clone(),
                name: row.name.clone(),
                action: Action::Revert,
                // A part without a way back is refused by the caller, which sees that both are the same.
                script: part.down.clone().unwrap_or_else(|| part.up.clone()),
                up: part.up.clone(),
                resume_from: 0,
            });
        }
    }
    plan
}
