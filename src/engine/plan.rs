//! The planner: what is pending is a function of files, ledgers and goal. Pure; nobody else computes it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::adopt::Trouble;
use super::back::back;
use super::ledger::{Row, State};
use super::repeatables;
use crate::error::{Code, Error, Place};
use crate::kind::StoreKind;
use crate::project::hooks::{Hooks, Moment};
use crate::project::migration::{Migration, Part, Script, Version, label};

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
    /// Undo this version alone.
    BackOne(Version),
    /// Undo what the last run applied.
    BackRun,
}

impl Goal {
    /// Whether it undoes.
    pub const fn is_back(&self) -> bool {
        matches!(self, Self::Back(_) | Self::BackTo(_) | Self::BackOne(_) | Self::BackRun)
    }
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
    /// Write only that it is applied no more: a repeatable whose ground was rolled back runs again, a squashed version
    /// is part of another.
    Forget,
    /// Run a hook: an event, and no row.
    Hook(Moment),
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
    /// The way back: its text goes to the ledger with the up script's.
    pub down: Option<Arc<Script>>,
    /// Statements already in effect from an earlier run that was cut short.
    pub resume_from: u32,
}

impl Step {
    /// A step that applies or records a part from its beginning.
    pub fn forward(store: StoreKind, file: &Migration, part: &Part, action: Action) -> Self {
        Self {
            store,
            version: file.version.clone(),
            name: file.name.clone(),
            action,
            script: part.up.clone(),
            up: part.up.clone(),
            down: part.down.clone(),
            resume_from: 0,
        }
    }

    /// A step that makes the ledger say that a row is applied no more.
    pub fn forget(row: &Row) -> Self {
        let script = Arc::new(Script {
            path: label(&row.version, &row.name),
            checksum: row.checksum.clone(),
            ..Script::default()
        });
        Self {
            store: row.store,
            version: row.version.clone(),
            name: row.name.clone(),
            action: Action::Forget,
            script: script.clone(),
            up: script,
            down: None,
            resume_from: 0,
        }
    }

    /// `VERSION_name`; of a hook what it stands before or after.
    pub fn label(&self) -> String {
        match self.action {
            Action::Hook(moment @ (Moment::BeforeRun | Moment::AfterRun)) => moment.word().to_owned(),
            Action::Hook(Moment::BeforeMigration) => format!("before {}", label(&self.version, &self.name)),
            Action::Hook(Moment::AfterMigration) => format!("after {}", label(&self.version, &self.name)),
            _ => label(&self.version, &self.name),
        }
    }

    /// Runs no text of its own: only the ledger is written.
    pub const fn is_ledger_only(&self) -> bool {
        matches!(self.action, Action::Record | Action::Forget)
    }

    /// A hook of a run or of a migration.
    pub const fn is_hook(&self) -> bool {
        matches!(self.action, Action::Hook(_))
    }

    /// Is to be undone, and nothing says how.
    pub fn is_irreversible(&self) -> bool {
        self.action == Action::Revert && Arc::ptr_eq(&self.script, &self.up)
    }

    /// Once it is applied there is no way back.
    pub fn will_be_irreversible(&self) -> bool {
        self.action == Action::Apply && self.down.is_none() && !self.version.is_repeatable()
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
        for step in self.steps.iter().filter(|step| !step.is_hook() && step.action != Action::Forget) {
            *counts.entry(step.store).or_insert(0) += 1;
        }
        counts
    }

    /// Puts the hooks around the run and around each migration. A plan that runs nothing runs no hook.
    pub fn with_hooks(self, hooks: &Hooks, stores: &[StoreKind]) -> Self {
        if hooks.is_empty() || !self.steps.iter().any(|step| step.action == Action::Apply) {
            return self;
        }
        let around = |moment: Moment, store: StoreKind, version: &Version, name: &str| {
            hooks.get(moment, store).map(|script| Step {
                store,
                version: version.clone(),
                name: name.to_owned(),
                action: Action::Hook(moment),
                script: script.clone(),
                up: script.clone(),
                down: None,
                resume_from: 0,
            })
        };
        let none = Version::new("");
        let of_run = |moment: Moment| {
            let (around, none) = (&around, &none);
            stores.iter().filter_map(move |store| around(moment, *store, none, ""))
        };
        let mut steps: Vec<Step> = of_run(Moment::BeforeRun).collect();
        for step in self.steps {
            if step.action != Action::Apply {
                steps.push(step);
                continue;
            }
            let (before, after) = (
                around(Moment::BeforeMigration, step.store, &step.version, &step.name),
                around(Moment::AfterMigration, step.store, &step.version, &step.name),
            );
            steps.extend(before.into_iter().chain([step]).chain(after));
        }
        steps.extend(of_run(Moment::AfterRun));
        Self { steps }
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
    /// A rollback was cut short halfway.
    HalfUndone {
        /// What is neither applied nor undone.
        row: Row,
    },
    /// Some of the versions that a squashed file stands for are applied and others are not, or were others.
    Squash {
        /// The squashed file's step.
        step: Step,
        /// What does not fit, in words.
        why: String,
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
            Self::Unfinished { .. } | Self::HalfUndone { .. } => "unfinished",
            Self::Squash { .. } => "changed",
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
            | Self::Unfinished { row }
            | Self::HalfUndone { row } => (row.store, label(&row.version, &row.name)),
            Self::OutOfOrder { step, .. } | Self::Squash { step, .. } => (step.store, step.label()),
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
                .hint(if row.has_down {
                    format!(
                        "bring the file back (git checkout); or undo it as the ledger remembers: lyrox db rollback --version {}",
                        row.version
                    )
                } else {
                    format!("bring the file back (git checkout); or, if it is gone for good, {}", repair("--forget", row))
                });
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
            Self::HalfUndone { row } => Error::new(
                Code::Unfinished,
                format!("{} on {} is half rolled back", label(&row.version, &row.name), row.store),
            )
            .why(match row.undone {
                Some(0) => "the first step of its way back was begun, and it is not known how it ended".to_owned(),
                Some(1) => "step 1 of its way back is in effect".to_owned(),
                done => format!("steps 1 to {} of its way back are in effect", done.unwrap_or_default()),
            })
            .data("nothing was changed")
            .hint(format!("lyrox db rollback --version {} goes on where it stopped", row.version)),
            Self::Squash { step, why } => Error::new(
                Code::DriftSquash,
                format!("`{}` stands for versions that are not all as they were on {}", step.up.path, step.store),
            )
            .why(why.clone())
            .at(Place::file(&step.up.path))
            .data("nothing was changed")
            .hint("check out the commit before the squash, run lyrox db migrate there, then come back"),
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
    let plan = if goal.is_back() {
        // Only what is undone is looked at: what is wrong elsewhere does not keep anyone from going back.
        back(files, &by_version, ledgers, goal, &mut drift)
    } else {
        compare(&by_version, files, ledgers, &mut drift);
        forward(files, &timeline, ledgers, goal, &mut drift)
    };
    drift.sort_by_key(|drift| drift.subject().1);
    if drift.is_empty() { Ok(plan) } else { Err(drift) }
}

/// Every applied row must have its file as it was. Repeatables are never in the wrong: they run again.
fn compare(
    by_version: &BTreeMap<&Version, &Migration>,
    files: &[Migration],
    ledgers: &BTreeMap<StoreKind, Vec<Row>>,
    drift: &mut Vec<Drift>,
) {
    let parts = files.iter().flat_map(|file| &file.parts);
    let squashed: HashSet<(StoreKind, &Version)> = parts
        .flat_map(|(store, part)| part.up.header.replaces.iter().map(move |(version, _)| (*store, version)))
        .collect();
    let is_squashed = |row: &Row| squashed.contains(&(row.store, &row.version));
    let rows = ledgers.values().flatten().filter(|row| row.state != State::Reverted && !row.version.is_repeatable());
    for row in rows {
        let part = by_version.get(&row.version).and_then(|file| file.parts.get(&row.store).map(|part| (file, part)));
        match part {
            _ if row.undone.is_some() => drift.push(Drift::HalfUndone { row: row.clone() }),
            // Whether it is as it was is decided with the file that stands for it.
            _ if is_squashed(row) => {}
            None => drift.push(match moved(files, &ledgers[&row.store], row) {
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

/// What a squashed file comes to in a store.
enum Squash {
    /// It stands for nothing: an ordinary file, or none of its versions is applied.
    Ordinary,
    /// The versions that it stands for are applied: the ledger is told.
    Record(Vec<Step>),
    /// They are neither applied nor unknown.
    Unfit(String),
}

/// Looks what a store has of the versions that a file stands for.
fn squash(store: StoreKind, file: &Migration, part: &Part, rows: &[Row]) -> Squash {
    let replaces = &part.up.header.replaces;
    if replaces.is_empty() {
        return Squash::Ordinary;
    }
    let applied = |version: &Version| rows.iter().find(|row| row.version == *version && row.state == State::Applied);
    let is_recorded = applied(&file.version).is_some_and(|row| row.checksum == part.up.checksum);
    let found: Vec<(&Version, &str, &Row)> = replaces
        .iter()
        .filter_map(|(version, checksum)| Some((version, checksum.as_str(), applied(version)?)))
        .filter(|(version, ..)| !is_recorded || **version != file.version)
        .collect();
    let forgotten = found.iter().filter(|(version, ..)| **version != file.version);
    let forgotten = forgotten.map(|(.., row)| Step::forget(row)).collect::<Vec<_>>();
    if is_recorded {
        return Squash::Record(forgotten);
    }
    if found.is_empty() {
        return Squash::Ordinary;
    }
    if let Some((version, ..)) = found.iter().find(|(_, checksum, row)| row.checksum != *checksum) {
        return Squash::Unfit(format!("{version} was applied with another text than the one that was squashed"));
    }
    let missing: Vec<&str> = replaces
        .iter()
        .filter(|(version, _)| applied(version).is_none())
        .map(|(version, _)| version.as_str())
        .collect();
    if !missing.is_empty() {
        return Squash::Unfit(format!("not applied: {}", missing.join(", ")));
    }
    let mut steps = vec![Step::forward(store, file, part, Action::Record)];
    steps.extend(forgotten);
    Squash::Record(steps)
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
    places: HashMap<&'a Version, usize>,
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
        let applied = rows
            .iter()
            .filter(|row| row.state == State::Applied)
            .filter(|row| !row.version.is_repeatable())
            .filter(has_file);
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
    let mut stops = false;
    let last = if let Goal::To(version) = goal { timeline.place(version) } else { usize::MAX };
    let known: HashMap<(StoreKind, &Version), &Row> =
        ledgers.iter().flat_map(|(store, rows)| rows.iter().map(move |row| ((*store, &row.version), row))).collect();
    let newest: BTreeMap<StoreKind, _> = ledgers.iter().map(|(store, rows)| (*store, timeline.newest(rows))).collect();
    for file in files.iter().filter(|file| !file.version.is_repeatable()) {
        let place = timeline.place(&file.version);
        for (store, rows) in ledgers {
            let Some(part) = file.parts.get(store) else { continue };
            match squash(*store, file, part, rows) {
                Squash::Ordinary => {}
                Squash::Record(steps) => {
                    plan.steps.extend(steps);
                    continue;
                }
                Squash::Unfit(why) => {
                    drift.push(Drift::Squash { step: Step::forward(*store, file, part, Action::Record), why });
                    continue;
                }
            }
            let row = known.get(&(*store, &file.version)).copied();
            if row.is_some_and(|row| row.state == State::Applied) {
                continue;
            }
            let is_beyond = match goal {
                Goal::To(_) => place > last,
                Goal::Steps(count) => versions.len() >= *count && !versions.contains(&file.version),
                _ => false,
            };
            if is_beyond {
                stops = true;
                continue;
            }
            versions.insert(file.version.clone());
            let mut step = Step::forward(*store, file, part, Action::Apply);
            step.resume_from =
                row.filter(|row| matches!(row.state, State::Started | State::Failed)).map_or(0, |row| row.steps_done);
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
    // What a repeatable needs may be among the versions that are left for later.
    if !stops {
        plan.steps.extend(repeatables::pending(files, ledgers));
    }
    plan
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
