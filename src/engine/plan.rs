//! The planner: what is pending is a function of files, ledgers and goal. Pure; nobody else computes it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::adopt::Trouble;
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
    /// The file ends before what was applied does: it was cut off, or statements at its end were taken out.
    Shortened {
        /// What was applied.
        row: Row,
        /// What is on disk now.
        script: Arc<Script>,
    },
    /// Only the directives at the top of the file are others.
    Header {
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
    /// The file has another name or another version.
    Renamed {
        /// What was applied.
        row: Row,
        /// `VERSION_name` on disk now.
        label: String,
        /// Another version has its text: the old version has no file.
        is_moved: bool,
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
    /// Another tool's history keeps lyrox from going on.
    History {
        /// The store.
        store: StoreKind,
        /// The migration, or the history itself.
        subject: String,
        /// What is wrong with it.
        trouble: Trouble,
    },
}

impl Drift {
    /// The same, seen closer where the applied text is known: an edit may be a cut, or of directives alone.
    #[must_use]
    pub fn refined(self) -> Self {
        let Self::Edited { row, script } = self else { return self };
        let Some(text) = row.text.as_deref() else { return Self::Edited { row, script } };
        let body = |text: &str| text.lines().skip_while(|line| is_header(line)).map(str::to_owned).collect::<Vec<_>>();
        let (old, now) = (text.trim_end(), script.text.trim_end());
        if old.len() > now.len() && old.starts_with(now) {
            Self::Shortened { row, script }
        // Equal texts: what differs is a file that this one includes.
        } else if text != script.text && body(text) == body(&script.text) {
            Self::Header { row, script }
        } else {
            Self::Edited { row, script }
        }
    }

    /// The stable word for reports: edited, missing, renamed, out of order, unfinished.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Edited { .. } => "changed",
            Self::Shortened { .. } => "shortened",
            Self::Header { .. } => "header changed",
            Self::Missing { .. } => "missing",
            Self::Renamed { .. } => "renamed",
            Self::OutOfOrder { .. } => "out of order",
            Self::Unfinished { .. } => "unfinished",
            Self::History { trouble, .. } => trouble.word(),
        }
    }

    /// The store and label it concerns.
    pub fn subject(&self) -> (StoreKind, String) {
        match self {
            Self::Edited { row, .. }
            | Self::Shortened { row, .. }
            | Self::Header { row, .. }
            | Self::Missing { row }
            | Self::Renamed { row, .. }
            | Self::Unfinished { row } => (row.store, label(&row.version, &row.name)),
            Self::OutOfOrder { step, .. } => (step.store, step.label()),
            Self::History { store, subject, .. } => (*store, subject.clone()),
        }
    }

    /// The error that says what it is and how to mend it.
    pub fn error(&self) -> Error {
        match self {
            Self::Edited { row, script } => {
                changed(row, script, Code::DriftEdited, "was edited after it was applied to").hint(format!(
                    "undo the edit (git checkout {}) and write the change as a new migration; or {}",
                    script.path,
                    repair("--accept", row)
                ))
            }
            Self::Shortened { row, script } => {
                changed(row, script, Code::DriftShortened, "ends before what was applied to").hint(format!(
                    "bring the whole file back (git checkout {}); or {}",
                    script.path,
                    repair("--accept", row)
                ))
            }
            Self::Header { row, script } => {
                changed(row, script, Code::DriftHeader, "has other directives at its top than what was applied to")
                    .hint(format!("what was run is the same: {}", repair("--accept", row)))
            }
            Self::Missing { row } => {
                let error = Error::new(
                    Code::DriftMissing,
                    format!("{} was applied to {} and has no file", label(&row.version, &row.name), row.store),
                )
                .data("nothing was changed")
                .hint(format!(
                    "bring the file back (git checkout); or, if it is gone for good, {}",
                    repair("--forget", row)
                ));
                match row.text.as_deref() {
                    Some(text) => {
                        error.why(format!("what was applied:\n{}", cut(text.lines().map(|line| format!("-{line}")))))
                    }
                    None => error,
                }
            }
            Self::Renamed { row, label: now, is_moved } => {
                let was = label(&row.version, &row.name);
                let error = Error::new(
                    Code::DriftRenamed,
                    format!("{was} was applied to {}, and its file is now named {now}", row.store),
                )
                .why(format!("the name differs (- applied, + file):\n-{was}\n+{now}"))
                .data("nothing was changed");
                if *is_moved {
                    error.hint(format!("name the file {was} again"))
                } else {
                    error.hint(format!("name the file {was} again; or {}", repair("--accept", row)))
                }
            }
            Self::OutOfOrder { step, newest } => Error::new(
                Code::DriftOrder,
                format!("{} is older than {newest}, the newest version applied to {}", step.label(), step.store),
            )
            .at(Place::file(&step.up.path))
            .data("nothing was changed")
            .why(format!("the order differs (- applied, + file):\n-{newest}\n+{}", step.version))
            .hint(if is_high_water(step) {
                "give it a new version: this history remembers the newest one alone, and would never run it"
            } else {
                "give it a new version, or write `lyrox: allow out-of-order` in a comment at its top"
            }),
            Self::History { store, subject, trouble } => trouble.error(*store, subject),
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

fn foreign_checksums(recorded: &str, file: &str) -> String {
    format!(
        "the history has checksum {recorded}, the file {file}\nwhere the text is the same, its line ends or byte-order mark are not"
    )
}

fn is_high_water(step: &Step) -> bool {
    step.up.foreign.as_ref().is_some_and(|foreign| foreign.is_high_water)
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

/// The error of a file that is not what was applied.
fn changed(row: &Row, script: &Script, code: Code, what: &str) -> Error {
    let error = Error::new(code, format!("`{}` {what} {}", script.path, row.store))
        .at(first_difference(row, script))
        .data("nothing was changed");
    match (difference(row, script), &script.foreign) {
        (Some(diff), _) => error.why(diff),
        (None, Some(foreign)) if !foreign.checksum.is_empty() && row.checksum != foreign.checksum => {
            error.why(foreign_checksums(&row.checksum, &foreign.checksum))
        }
        (None, _) => error,
    }
}

/// The command that settles a row.
fn repair(flag: &str, row: &Row) -> String {
    format!("lyrox db repair {flag} {} --only {}", row.version, row.store)
}

/// Whether a line can stand in a file's header: empty, or a comment.
fn is_header(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || ["--", "//", "#"].iter().any(|mark| line.starts_with(mark))
}

fn difference(row: &Row, script: &Script) -> Option<String> {
    let old = row.text.as_deref()?;
    let diff = similar::TextDiff::from_lines(old, &script.text);
    let mut lines = diff
        .iter_all_changes()
        .filter(|change| change.tag() != similar::ChangeTag::Equal)
        .map(|change| format!("{}{}", change.tag(), change.value().trim_end()))
        .peekable();
    lines.peek()?;
    Some(format!("the text differs (- applied, + file):\n{}", cut(lines)))
}

/// The first lines, and how many more there are.
fn cut(lines: impl Iterator<Item = String>) -> String {
    let mut lines: Vec<String> = lines.collect();
    if lines.len() > 12 {
        let more = lines.len() - 12;
        lines.truncate(12);
        lines.push(format!("... and {more} lines more"));
    }
    lines.join("\n")
}

/// Plans the way from what the ledgers say to the goal.
///
/// `ledgers` holds the own rows of every store of the run; parts of other stores are not planned.
///
/// # Errors
/// Every disagreement between files and ledgers, in timeline order; then nothing may be run.
pub fn plan(files: &[Migration], ledgers: &BTreeMap<StoreKind, Vec<Row>>, goal: &Goal) -> Result<Plan, Vec<Drift>> {
    let by_version: BTreeMap<&Version, &Migration> = files.iter().map(|file| (&file.version, file)).collect();
    let timeline = Timeline::new(files);
    let mut drift = Vec::new();
    for rows in ledgers.values() {
        for row in rows.iter().filter(|row| row.state != State::Reverted) {
            let part =
                by_version.get(&row.version).and_then(|file| file.parts.get(&row.store).map(|part| (file, part)));
            match part {
                None => drift.push(match moved(files, rows, row) {
                    Some(label) => Drift::Renamed { row: row.clone(), label, is_moved: true },
                    None => Drift::Missing { row: row.clone() },
                }),
                Some((file, _)) if file.name != row.name => {
                    drift.push(Drift::Renamed { row: row.clone(), label: file.label(), is_moved: false });
                }
                Some((_, part)) if row.state == State::Applied && part.up.checksum != row.checksum => {
                    drift.push(Drift::Edited { row: row.clone(), script: part.up.clone() }.refined());
                }
                Some(_) => {}
            }
        }
    }
    let plan = match goal {
        Goal::Latest | Goal::To(_) | Goal::Steps(_) => forward(files, &timeline, ledgers, goal, &mut drift),
        Goal::Back(_) | Goal::BackTo(_) => back(&by_version, &timeline, ledgers, goal, &mut drift),
    };
    drift.sort_by_key(|drift| drift.subject().1);
    if drift.is_empty() { Ok(plan) } else { Err(drift) }
}

/// The file that has the text of a row without a file, and no row of its own.
fn moved(files: &[Migration], rows: &[Row], row: &Row) -> Option<String> {
    let is_free = |file: &&Migration| !rows.iter().any(|other| other.version == file.version);
    let has_text = |file: &&Migration| file.parts.get(&row.store).is_some_and(|part| part.up.checksum == row.checksum);
    files.iter().filter(is_free).find(has_text).map(Migration::label)
}

/// The order in which migrations apply: that of the files, which each format reads in its own.
pub(super) struct Timeline<'a> {
    files: &'a [Migration],
    places: BTreeMap<&'a Version, usize>,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(files: &'a [Migration]) -> Self {
        Self { files, places: files.iter().enumerate().map(|(at, file)| (&file.version, at)).collect() }
    }

    /// The place of a version; one without a file lies between two places, by the order of versions.
    pub(super) fn place(&self, version: &Version) -> usize {
        match self.places.get(version) {
            Some(at) => 2 * at + 1,
            None => 2 * self.files.iter().filter(|file| file.version < *version).count(),
        }
    }

    /// The newest applied version that has a file; one without is told as such.
    pub(super) fn newest<'r>(&self, rows: &'r [Row]) -> Option<(usize, &'r Version)> {
        let has_file = |row: &&Row| self.places.contains_key(&row.version);
        let applied = rows.iter().filter(|row| row.state == State::Applied).filter(has_file);
        applied.map(|row| (self.place(&row.version), &row.version)).max_by_key(|(place, _)| *place)
    }
}

fn forward(
    files: &[Migration],
    timeline: &Timeline<'_>,
    ledgers: &BTreeMap<StoreKind, Vec<Row>>,
    goal: &Goal,
    drift: &mut Vec<Drift>,
) -> Plan {
    let mut plan = Plan::default();
    let mut versions = BTreeSet::new();
    let last = if let Goal::To(version) = goal { timeline.place(version) } else { usize::MAX };
    let newest: BTreeMap<StoreKind, _> = ledgers.iter().map(|(store, rows)| (*store, timeline.newest(rows))).collect();
    for file in files {
        let place = timeline.place(&file.version);
        if place > last {
            break;
        }
        for (store, rows) in ledgers {
            let Some(part) = file.parts.get(store) else { continue };
            let row = rows.iter().find(|row| row.version == file.version);
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
            let newest = newest.get(store).copied().flatten().filter(|(newest, _)| *newest > place);
            if let Some((_, newest)) = newest
                && (!part.up.header.allow_out_of_order || is_high_water(&step))
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
    timeline: &Timeline<'_>,
    ledgers: &BTreeMap<StoreKind, Vec<Row>>,
    goal: &Goal,
    drift: &mut Vec<Drift>,
) -> Plan {
    let mut plan = Plan::default();
    let mut applied: BTreeMap<(usize, &Version), Vec<&Row>> = BTreeMap::new();
    for row in ledgers.values().flatten() {
        match row.state {
            State::Applied => applied.entry((timeline.place(&row.version), &row.version)).or_default().push(row),
            // What is half done must be settled before anything below it is undone.
            State::Started | State::Failed => drift.push(Drift::Unfinished { row: row.clone() }),
            State::Reverted => {}
        }
    }
    let limit = if let Goal::Back(count) = goal { *count } else { usize::MAX };
    let floor = if let Goal::BackTo(floor) = goal { timeline.place(floor) } else { 0 };
    for ((place, version), mut rows) in applied.into_iter().rev().take(limit) {
        if place <= floor {
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
