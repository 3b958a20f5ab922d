//! Another tool's history beside lyrox's ledger: what that history says is applied is applied. Pure.

use std::collections::BTreeMap;

use super::ledger::{Ledger, Row, State};
use super::plan::{Action, Drift, Step};
use crate::error::{Code, Error};
use crate::kind::StoreKind;
use crate::project::migration::{Foreign, Migration, Part, Version, label};

/// What a store found in another tool's history.
#[derive(Clone, Debug, Default)]
pub struct Records {
    /// The tool, as people call it.
    pub tool: &'static str,
    /// The history, as people call it: `public._sqlx_migrations`.
    pub table: String,
    /// It is there.
    pub exists: bool,
    /// What it says, in no order.
    pub rows: Vec<Recorded>,
}

/// What another tool's history says of one migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The key, as [`Foreign::key`](crate::project::migration::Foreign::key) has it.
    pub key: String,
    /// The checksum as it is written there; none where the tool writes none.
    pub checksum: Option<String>,
    /// The name or description as it is written there.
    pub name: Option<String>,
    /// Whether it is applied.
    pub state: RecordedState,
    /// When, as the table says it; server time, RFC 3339 where the table holds a time.
    pub at: Option<String>,
}

/// The state of a migration in another tool's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedState {
    /// This one is applied.
    Applied,
    /// This one and every one before it in the tool's order: a high-water mark.
    AppliedUpTo,
    /// Everything up to this version is taken as applied, whether or not there is a file of it: a baseline.
    Baseline,
    /// Applied by means that lyrox does not have (Flyway's Java migrations): no file need be there.
    Elsewhere,
    /// Begun and not finished, or failed: the tool itself would refuse to go on. What to say and the way on
    /// in that tool's own words.
    Broken {
        /// Why: `the history says dirty`.
        why: String,
        /// The command of that tool, or of lyrox, that settles it.
        hint: String,
    },
}

/// What is wrong with another tool's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A migration was begun or failed there.
    Broken {
        /// Why.
        why: String,
        /// The way on.
        hint: String,
    },
    /// lyrox recorded migrations, and the history is gone.
    Gone {
        /// The tool.
        tool: &'static str,
        /// How many migrations are recorded as applied.
        applied: usize,
    },
}

impl Trouble {
    /// The stable word for reports.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Broken { .. } => "unfinished",
            Self::Gone { .. } => "missing",
        }
    }

    /// The error that says what it is and how to go on.
    pub fn error(&self, store: StoreKind, subject: &str) -> Error {
        match self {
            Self::Broken { why, hint } => Error::new(
                Code::HistoryBroken,
                format!("{subject} on {store} was not finished by the tool that began it"),
            )
            .why(why.clone())
            .data("nothing was changed")
            .hint(hint.clone()),
            Self::Gone { tool, applied } => Error::new(
                Code::HistoryGone,
                format!("{tool}'s history `{subject}` is not in {store}"),
            )
            .why(format!(
                "lyrox's ledger says that {applied} migrations are applied; it is not known whether they still are"
            ))
            .data("nothing was changed")
            .hint(format!("lyrox db repair --record {store} writes the history, if what they made is there")),
        }
    }
}

/// Makes a ledger say what the other tool's history says: its `rows` are then the effective ones.
pub fn adopt(files: &[Migration], store: StoreKind, ledger: &mut Ledger) {
    let Some(records) = ledger.foreign.take() else { return };
    let adopted = effective(files, store, &ledger.rows, &records);
    ledger.rows = adopted.rows;
    ledger.rebuild = adopted.rebuild;
    ledger.drift = adopted.drift;
    ledger.is_empty &= records.rows.is_empty();
    ledger.foreign = Some(records);
}

/// What follows from files, own rows and another tool's history.
#[derive(Debug, Default)]
pub struct Adopted {
    /// The rows in force, in timeline order.
    pub rows: Vec<Row>,
    /// Those that the store's own ledger lacks or has otherwise.
    pub rebuild: Vec<Row>,
    /// Where history and files disagree.
    pub drift: Vec<Drift>,
}

struct Known<'a> {
    file: &'a Migration,
    part: &'a Part,
    foreign: &'a Foreign,
    own: Option<&'a Row>,
    recorded: Option<&'a Recorded>,
}

impl Known<'_> {
    /// It comes at or before a version of the tool; repeatable migrations come behind them all.
    fn is_up_to(&self, version: &Version) -> bool {
        !self.file.version.is_repeatable() && Version::new(self.foreign.key.as_str()) <= *version
    }

    fn is_unfinished(&self) -> bool {
        self.own.is_some_and(|row| matches!(row.state, State::Started | State::Failed) || row.undone.is_some())
    }
}

/// Works out the rows in force.
pub fn effective(files: &[Migration], store: StoreKind, own: &[Row], records: &Records) -> Adopted {
    let mut adopted = Adopted::default();
    let applied = own.iter().filter(|row| row.state == State::Applied).count();
    if !records.exists && applied > 0 {
        let trouble = Trouble::Gone { tool: records.tool, applied };
        adopted.rows = own.to_vec();
        adopted.drift.push(Drift::History { store, subject: records.table.clone(), trouble });
        return adopted;
    }
    let rows: BTreeMap<&Version, &Row> = own.iter().map(|row| (&row.version, row)).collect();
    let mut known: Vec<Known<'_>> = files
        .iter()
        .filter_map(|file| {
            let part = file.parts.get(&store)?;
            let foreign = part.up.foreign.as_ref()?;
            Some(Known { file, part, foreign, own: rows.get(&file.version).copied(), recorded: None })
        })
        .collect();
    mark(&mut known, store, records, &mut adopted);

    let is_broken = |recorded: &Recorded| matches!(recorded.state, RecordedState::Broken { .. });
    let is_in_doubt = records.rows.iter().any(is_broken) && known.iter().any(|one| one.foreign.is_high_water);
    // On an empty history the newest baseline stands for all before it; on another one baselines never run.
    let is_new = records.rows.is_empty() && applied == 0;
    let newest_baseline = known.iter().rev().find(|one| one.foreign.is_baseline).filter(|_| is_new);
    let newest_baseline = newest_baseline.map(|one| one.foreign.key.clone());
    for one in &known {
        let is_covered = match &newest_baseline {
            Some(newest) => one.foreign.key != *newest && one.is_up_to(&Version::new(newest.as_str())),
            None => one.foreign.is_baseline,
        };
        if is_covered && one.recorded.is_none() {
            adopted.rows.push(taken_over(one, &covered(one), store, records));
            continue;
        }
        let Some(recorded) = one.recorded else {
            match one.own {
                // A mark that is in doubt says nothing of those before it.
                Some(row) if is_in_doubt => adopted.rows.push(row.clone()),
                // The tool undid it behind our back.
                Some(row) if row.state == State::Applied => {
                    let row = Row { state: State::Reverted, steps_done: 0, undone: None, ..row.clone() };
                    adopted.rebuild.push(row.clone());
                    adopted.rows.push(row);
                }
                Some(row) => adopted.rows.push(row.clone()),
                None => {}
            }
            continue;
        };
        let is_checked = match recorded.checksum.as_deref().filter(|_| !one.foreign.checksum.is_empty()) {
            None => false,
            Some(checksum) if checksum == one.foreign.checksum => true,
            Some(checksum) if one.foreign.accepted.iter().any(|accepted| accepted == checksum) => true,
            Some(checksum) => {
                // The planner finds that the file has another one.
                let row = one.own.cloned().unwrap_or_else(|| taken_over(one, recorded, store, records));
                let state = State::Applied;
                adopted.rows.push(Row { state, checksum: checksum.to_owned(), text: None, ..row });
                continue;
            }
        };
        let row = match one.own.filter(|row| row.state == State::Applied) {
            Some(row) if is_checked => {
                let row = Row { name: one.file.name.clone(), checksum: one.part.up.checksum.clone(), ..row.clone() };
                if one.own.is_some_and(|own| own.checksum != row.checksum || own.name != row.name) {
                    let row = Row { text: Some(one.part.up.text.clone()), ..row.clone() };
                    adopted.rebuild.push(row);
                }
                row
            }
            Some(row) if row.name != one.file.name => {
                // The tool's key is the same.
                let row = Row { name: one.file.name.clone(), ..row.clone() };
                adopted.rebuild.push(row.clone());
                row
            }
            Some(row) => row.clone(),
            None => {
                let row = taken_over(one, recorded, store, records);
                adopted.rebuild.push(row.clone());
                row
            }
        };
        adopted.rows.push(row);
    }
    // Rows whose file is gone: what the history has of them was told already; what it lacks is undone.
    for row in own.iter().filter(|row| !known.iter().any(|one| one.file.version == row.version)) {
        let row = row.clone();
        // The history has it as well: lyrox's own row knows the way back.
        let told = adopted.rows.iter_mut().find(|told| told.version == row.version);
        if let Some(told) = told.filter(|_| row.state == State::Applied) {
            *told = row;
            continue;
        }
        if row.state == State::Applied && !files.iter().any(|file| file.version == row.version) {
            let row = Row { state: State::Reverted, steps_done: 0, undone: None, ..row };
            adopted.rebuild.push(row.clone());
            adopted.rows.push(row);
        } else {
            adopted.rows.push(row);
        }
    }
    adopted
}

/// Finds the file of every recorded row.
fn mark<'a>(known: &mut [Known<'a>], store: StoreKind, records: &'a Records, adopted: &mut Adopted) {
    let Adopted { rows, drift, .. } = adopted;
    let keys = |foreign: &'a Foreign| foreign.aliases.iter().chain([&foreign.key]);
    let places: BTreeMap<&str, usize> =
        known.iter().enumerate().flat_map(|(at, one)| keys(one.foreign).map(move |key| (key.as_str(), at))).collect();
    for recorded in &records.rows {
        let place = places.get(recorded.key.as_str()).or_else(|| by_text(&places, recorded)).copied();
        match (&recorded.state, place) {
            (RecordedState::Applied, Some(at)) => known[at].recorded = Some(recorded),
            (RecordedState::AppliedUpTo, Some(at)) => up_to(&mut known[..=at], recorded, drift, store),
            (RecordedState::Elsewhere, Some(at)) => known[at].recorded = Some(recorded),
            (RecordedState::Elsewhere, None) => {}
            // Nothing is said of the texts of what a baseline stands for.
            (RecordedState::Baseline, _) => {
                let version = Version::new(recorded.key.as_str());
                for one in known.iter_mut().filter(|one| one.is_up_to(&version)) {
                    one.recorded.get_or_insert(recorded);
                }
            }
            (state @ (RecordedState::Applied | RecordedState::AppliedUpTo), None) => {
                let version = Version::new(recorded.key.as_str());
                let is_number = recorded.key.bytes().all(|byte| byte.is_ascii_digit());
                // The missing file is what has to be told, not that those before it are older.
                if is_number && *state == RecordedState::AppliedUpTo {
                    for one in known.iter_mut().filter(|one| one.is_up_to(&version)) {
                        one.recorded.get_or_insert(recorded);
                    }
                }
                // The planner finds that it has no file. A history may say twice that one is applied: as a row and as a mark.
                let row = missing(recorded, store, records);
                if !rows.iter().any(|other| other.version == row.version) {
                    rows.push(row);
                }
            }
            // Our own journal knows how far it came, and goes on there.
            (RecordedState::Broken { .. }, Some(at)) if known[at].is_unfinished() => {
                if known[at].foreign.is_high_water {
                    up_to(&mut known[..at], recorded, drift, store);
                }
            }
            (RecordedState::Broken { why, hint }, place) => {
                let subject = place.map_or_else(|| recorded.key.clone(), |at| known[at].file.label());
                let trouble = Trouble::Broken { why: why.clone(), hint: hint.clone() };
                drift.push(Drift::History { store, subject, trouble });
            }
        }
    }
}

/// The file of a row that has a moment for its key: several files may be of one second, and one may have moved to another.
fn by_text<'a>(places: &'a BTreeMap<&str, usize>, recorded: &Recorded) -> Option<&'a usize> {
    let checksum = recorded.checksum.as_deref()?;
    let is_moment = !recorded.key.is_empty() && recorded.key.bytes().all(|byte| byte.is_ascii_digit());
    let exact = || places.get(format!("{} {checksum}", recorded.key).as_str());
    if is_moment { exact().or_else(|| places.get(checksum)) } else { None }
}

/// A high-water mark says nothing of a file that came late: one that lyrox, which has rows behind it, never saw.
fn up_to<'a>(known: &mut [Known<'a>], recorded: &'a Recorded, drift: &mut Vec<Drift>, store: StoreKind) {
    let seen = known.iter().rposition(|one| one.own.is_some_and(|row| row.state == State::Applied));
    let newest = seen.and_then(|at| known.get(at)).map(|one| one.file.version.clone());
    for (at, one) in known.iter_mut().enumerate() {
        let is_applied = one.own.is_some_and(|row| row.state == State::Applied);
        match &newest {
            Some(newest) if !is_applied && seen.is_some_and(|seen| at < seen) => {
                let step = Step::forward(store, one.file, one.part, Action::Apply);
                drift.push(Drift::OutOfOrder { step, newest: newest.clone() });
                one.recorded = Some(recorded);
            }
            _ => one.recorded = Some(recorded),
        }
    }
}

/// What the history would say of a migration that a baseline stands for, or of a baseline that is not needed.
fn covered(one: &Known<'_>) -> Recorded {
    Recorded { key: one.foreign.key.clone(), checksum: None, name: None, state: RecordedState::Baseline, at: None }
}

/// The row of a migration that the other tool applied.
fn taken_over(one: &Known<'_>, recorded: &Recorded, store: StoreKind, records: &Records) -> Row {
    let at = recorded.at.clone().unwrap_or_default();
    Row {
        store,
        version: one.file.version.clone(),
        name: one.file.name.clone(),
        checksum: one.part.up.checksum.clone(),
        text: Some(one.part.up.text.clone()),
        state: State::Applied,
        steps_done: 0,
        steps_total: 0,
        started_at: at.clone(),
        finished_at: Some(at),
        actor: records.tool.to_owned(),
        lyrox: env!("CARGO_PKG_VERSION").to_owned(),
        error_code: None,
        run: None,
        has_down: false,
        down_text: None,
        undone: None,
    }
}

/// The row of a migration that is recorded and has no file.
fn missing(recorded: &Recorded, store: StoreKind, records: &Records) -> Row {
    let name = recorded.name.clone().unwrap_or_default().replace(' ', "_");
    // Where the name says the key as well, once is enough.
    let name = if name == recorded.key { String::new() } else { name };
    let at = recorded.at.clone().unwrap_or_default();
    let version = Version::new(recorded.key.as_str());
    debug_assert!(!label(&version, &name).is_empty(), "a recorded row without a key");
    Row {
        store,
        version,
        name,
        checksum: recorded.checksum.clone().unwrap_or_default(),
        text: None,
        state: State::Applied,
        steps_done: 0,
        steps_total: 0,
        started_at: at.clone(),
        finished_at: Some(at),
        actor: records.tool.to_owned(),
        lyrox: String::new(),
        error_code: None,
        run: None,
        has_down: false,
        down_text: None,
        undone: None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::plan::{Goal, plan};
    use crate::project::formats;
    use crate::project::migration::Header;

    /// Files `1`, `2`, ... in this order, with a checksum of their own.
    fn files(versions: &[&str], is_high_water: bool) -> Vec<Migration> {
        let file = |(at, version): (usize, &&str)| {
            let foreign = Foreign {
                key: (*version).to_owned(),
                previous: at.checked_sub(1).map(|at| versions[at].to_owned()),
                checksum: if is_high_water { String::new() } else { format!("sum {version}") },
                accepted: vec![format!("old {version}")],
                is_high_water,
                ..Foreign::default()
            };
            let header = Header { allow_out_of_order: true, ..Header::default() };
            let up =
                formats::script(&format!("{version}_a.sql"), &format!("SELECT '{version}';\n"), header, Some(foreign));
            formats::migration(version, "a", up.expect("a script"), None)
        };
        versions.iter().enumerate().map(file).collect()
    }

    fn own(files: &[Migration], version: &str, state: State) -> Row {
        let file = files.iter().find(|file| file.version.as_str() == version);
        let up = file.map(|file| Arc::clone(&file.parts[&StoreKind::Postgres].up));
        Row {
            store: StoreKind::Postgres,
            version: Version::new(version),
            name: "a".into(),
            checksum: up.map_or_else(|| "none".to_owned(), |up| up.checksum.clone()),
            text: None,
            state,
            steps_done: 1,
            steps_total: 2,
            started_at: "2026-01-01T00:00:00Z".into(),
            finished_at: None,
            actor: "me".into(),
            lyrox: "0".into(),
            error_code: None,
            run: None,
            has_down: false,
            down_text: None,
            undone: None,
        }
    }

    fn said(key: &str, state: RecordedState, checksum: Option<&str>) -> Recorded {
        Recorded { key: key.into(), checksum: checksum.map(str::to_owned), name: None, state, at: None }
    }

    fn applied(key: &str) -> Recorded {
        said(key, RecordedState::Applied, Some(&format!("sum {key}")))
    }

    fn broken(key: &str) -> Recorded {
        said(key, RecordedState::Broken { why: "dirty".into(), hint: "settle it".into() }, None)
    }

    fn records(rows: Vec<Recorded>) -> Records {
        Records { tool: "tool", table: "public.t".into(), exists: true, rows }
    }

    /// `version state`, `+` where the ledger lacks it; then the drift; then what would be run.
    fn outcome(files: &[Migration], rows: &[Row], records: &Records) -> String {
        let adopted = effective(files, StoreKind::Postgres, rows, records);
        let mut words: Vec<String> = adopted
            .rows
            .iter()
            .map(|row| {
                let is_new = adopted.rebuild.iter().any(|other| other.version == row.version);
                format!("{} {}{}", row.version, row.state.word(), if is_new { "+" } else { "" })
            })
            .collect();
        words.extend(adopted.drift.iter().map(|drift| format!("{} is {}", drift.subject().1, drift.word())));
        let ledgers = BTreeMap::from([(StoreKind::Postgres, adopted.rows)]);
        match plan(files, &ledgers, &Goal::Latest) {
            Ok(plan) => words.extend(plan.steps.iter().map(|step| format!("run {}", step.version))),
            Err(drift) => words.extend(drift.iter().map(|drift| format!("{} {}", drift.subject().1, drift.word()))),
        }
        words.join(", ")
    }

    #[test]
    fn the_history_is_the_truth() {
        use State::{Applied, Failed, Reverted, Started};
        let files = files(&["1", "2", "3"], false);
        let row = |version, state| own(&files, version, state);
        let cases: Vec<(&str, Vec<Row>, Vec<Recorded>, &str)> = vec![
            ("nothing anywhere", vec![], vec![], "run 1, run 2, run 3"),
            ("the tool was first", vec![], vec![applied("1")], "1 applied+, run 2, run 3"),
            (
                "both say the same",
                vec![row("1", Applied), row("2", Applied)],
                vec![applied("2"), applied("1")],
                "1 applied, 2 applied, run 3",
            ),
            (
                "the tool went on",
                vec![row("1", Applied)],
                vec![applied("1"), applied("2")],
                "1 applied, 2 applied+, run 3",
            ),
            ("the tool went back", vec![row("1", Applied)], vec![], "1 reverted+, run 1, run 2, run 3"),
            (
                "the tool applied again what lyrox had undone",
                vec![row("1", Reverted)],
                vec![applied("1")],
                "1 applied+, run 2, run 3",
            ),
            (
                "our journal is cut short, the history does not know it",
                vec![row("1", Failed)],
                vec![],
                "1 failed, run 1, run 2, run 3",
            ),
            (
                "our journal is cut short, the tool wrote that it began",
                vec![row("1", Applied), row("2", Started)],
                vec![applied("1"), broken("2")],
                "1 applied, 2 started, run 2, run 3",
            ),
            (
                "the tool was cut short",
                vec![row("1", Applied)],
                vec![applied("1"), broken("2")],
                "1 applied, 2_a is unfinished, run 2, run 3",
            ),
            (
                "an older checksum",
                vec![],
                vec![said("1", RecordedState::Applied, Some("old 1"))],
                "1 applied+, run 2, run 3",
            ),
            ("no checksum", vec![], vec![said("1", RecordedState::Applied, None)], "1 applied+, run 2, run 3"),
            (
                "another checksum",
                vec![row("1", Applied)],
                vec![said("1", RecordedState::Applied, Some("else"))],
                "1 applied, 1_a changed",
            ),
            ("no file", vec![], vec![applied("1"), applied("9")], "9 applied, 1 applied+, 9 missing"),
            (
                "a row whose file and record are gone",
                vec![row("7", Applied)],
                vec![],
                "7 reverted+, run 1, run 2, run 3",
            ),
        ];
        for (what, rows, recorded, wanted) in cases {
            assert_eq!(outcome(&files, &rows, &records(recorded)), wanted, "{what}");
        }
    }

    #[test]
    fn a_high_water_mark_says_that_all_before_it_is_applied() {
        use State::{Applied, Started};
        let files = files(&["1", "2", "3"], true);
        let row = |version, state| own(&files, version, state);
        let mark = |key| said(key, RecordedState::AppliedUpTo, None);
        let cases: Vec<(&str, Vec<Row>, Vec<Recorded>, &str)> = vec![
            ("the tool was first", vec![], vec![mark("2")], "1 applied+, 2 applied+, run 3"),
            (
                "the tool went back",
                vec![row("1", Applied), row("2", Applied)],
                vec![mark("1")],
                "1 applied, 2 reverted+, run 2, run 3",
            ),
            (
                "a file that came late is not applied, whatever its header says",
                vec![row("1", Applied), row("3", Applied)],
                vec![mark("3")],
                "1 applied, 2 applied+, 3 applied, 2_a is out of order",
            ),
            (
                "our journal goes on where the tool says dirty",
                vec![row("1", Applied), row("2", Started)],
                vec![broken("2")],
                "1 applied, 2 started, run 2, run 3",
            ),
            (
                "dirty by the tool itself",
                vec![row("1", Applied)],
                vec![broken("2")],
                "1 applied, 2_a is unfinished, run 2, run 3",
            ),
        ];
        for (what, rows, recorded, wanted) in cases {
            assert_eq!(outcome(&files, &rows, &records(recorded)), wanted, "{what}");
        }
    }

    #[test]
    fn a_history_that_is_gone_stops_what_would_run_all_of_it_again() {
        let files = files(&["1"], false);
        let rows = [own(&files, "1", State::Applied)];
        let gone = Records { exists: false, ..records(vec![]) };
        assert_eq!(outcome(&files, &rows, &gone), "1 applied, public.t is missing");
        assert_eq!(outcome(&files, &[], &gone), "run 1");
    }
}
