//! A run that one process keeps in its memory, for projects without PostgreSQL: the same waves, canary and limits. Pure.

use std::time::Instant;

use super::registry::Record;
use super::run::{Begun, Ended, Failure, Group, How, Overview, Selection, Summary, Turn, Unit, WHOLE, Want};

/// A unit and how far it is.
struct Kept {
    place: i64,
    /// None: the whole.
    record: Option<Record>,
    found: Option<(String, String)>,
    wave: i64,
    is_leased: bool,
    end: Option<How>,
    not_before: Option<Instant>,
}

/// The run.
pub struct OwnRun {
    want: Want,
    units: Vec<Kept>,
}

/// The records that are meant, of all.
fn meant<'a>(want: &'a Want, records: &'a [Record]) -> impl Iterator<Item = &'a Record> {
    let has_key = |name: &str| records.iter().any(|record| record.tenant.key() == name);
    records.iter().filter(move |record| match &want.selection {
        Selection::All => true,
        Selection::Named(names) => {
            names.iter().any(|name| record.tenant.key() == name || (record.tenant.slug() == name && !has_key(name)))
        }
    })
}

/// What the registry's records tell before anything is begun.
pub fn overview(want: &Want, records: &[Record]) -> Overview {
    let mut overview = Overview::default();
    for record in meant(want, records) {
        overview.total += 1;
        match (want.is_complete(record), want.is_settled(record)) {
            (true, true) => overview.settled += 1,
            (true, false) => overview.behind += 1,
            (false, _) => {}
        }
    }
    if let Selection::Named(names) = &want.selection {
        let is_known = |name: &&String| {
            records.iter().any(|record| record.tenant.key() == **name || record.tenant.slug() == **name)
        };
        overview.unknown = names.iter().filter(|name| !is_known(name)).take(5).cloned().collect();
    }
    overview
}

/// How many are at which version.
pub fn groups(want: &Want, records: &[Record]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for record in meant(want, records).filter(|record| want.is_complete(record)) {
        let is_settled = want.is_settled(record);
        let known = groups.iter_mut().find(|group| group.version == record.version && group.is_settled == is_settled);
        match known {
            Some(group) => group.tenants += 1,
            None => groups.push(Group { version: record.version.clone(), is_settled, tenants: 1 }),
        }
    }
    groups
}

/// The records that are behind.
pub fn behind(want: &Want, records: &[Record], limit: usize) -> Vec<Record> {
    let is_behind = |record: &&Record| want.is_complete(record) && !want.is_settled(record);
    meant(want, records).filter(is_behind).take(limit).cloned().collect()
}

/// The records that are meant and not complete.
pub fn incomplete(want: &Want, records: &[Record], limit: usize) -> Vec<Record> {
    meant(want, records).filter(|record| !want.is_complete(record)).take(limit).cloned().collect()
}

impl OwnRun {
    /// Begins a run over those of the records that are behind.
    pub fn begin(want: &Want, records: &[Record]) -> (Self, Begun) {
        let unit = |place, wave, record| Kept {
            place,
            record,
            found: None,
            wave,
            is_leased: false,
            end: None,
            not_before: None,
        };
        let whole = want.what.has_whole().then(|| unit(WHOLE, -1, None));
        let each = behind(want, records, usize::MAX).into_iter().zip(0..).map(|(record, place)| {
            let wave = i64::try_from(want.wave_of(place)).unwrap_or(i64::MAX);
            unit(i64::try_from(place).unwrap_or(i64::MAX), wave, Some(record))
        });
        let units: Vec<Kept> = whole.into_iter().chain(each).collect();
        let begun = Begun { id: String::new(), is_joined: false, units: units.len() as u64, open: units.len() as u64 };
        (Self { want: want.clone(), units }, begun)
    }

    /// Notes how units ended, and hands out others.
    pub fn turn(&mut self, ended: &[Ended], limit: usize) -> Turn {
        for end in ended {
            for (key, code, sentence) in &end.marks {
                let is_its = |unit: &&mut Kept| unit.record.as_ref().is_some_and(|record| record.tenant.key() == key);
                if let Some(unit) = self.units.iter_mut().find(is_its) {
                    unit.found = Some((code.clone(), sentence.clone()));
                }
            }
            let Ok(at) = self.units.binary_search_by_key(&end.place, |unit| unit.place) else { continue };
            let unit = &mut self.units[at];
            unit.is_leased = false;
            match &end.how {
                How::Back(pause) => unit.not_before = Some(Instant::now() + *pause),
                how => unit.end = Some(how.clone()),
            }
            if let Some(record) = &end.record {
                unit.record = Some(record.clone());
            }
        }
        let mut turn = Turn { is_halted: self.is_halted(), ..Turn::default() };
        let wave = self.units.iter().filter(|unit| unit.end.is_none()).map(|unit| unit.wave).min();
        for unit in &mut self.units {
            let is_free = unit.end.is_none() && !unit.is_leased && Some(unit.wave) == wave;
            let is_due = unit.not_before.is_none_or(|time| time <= Instant::now());
            if is_free && is_due && !turn.is_halted && turn.units.len() < limit {
                unit.is_leased = true;
                turn.units.push(Unit { place: unit.place, record: unit.record.clone(), found: unit.found.clone() });
            }
        }
        turn.leased = self.units.iter().filter(|unit| unit.is_leased).count() as u64;
        turn.waiting = self.units.iter().filter(|unit| unit.end.is_none() && !unit.is_leased).count() as u64;
        turn
    }

    fn failed(&self) -> impl Iterator<Item = &Kept> {
        self.units.iter().filter(|unit| matches!(unit.end, Some(How::Failed(..))))
    }

    fn is_halted(&self) -> bool {
        let has_too_many = |limit: u32| self.failed().count() > limit as usize;
        self.failed().any(|unit| unit.wave == 0) || self.want.max_failures.is_some_and(has_too_many)
    }

    /// How it stands.
    pub fn summary(&self) -> Summary {
        let tenants = || self.units.iter().filter(|unit| unit.place != WHOLE);
        let count = |is: fn(&How) -> bool| tenants().filter(|unit| unit.end.as_ref().is_some_and(is)).count() as u64;
        let failure = |unit: &Kept| match &unit.end {
            Some(How::Failed(code, error)) => Some(Failure {
                key: unit.record.as_ref().map(|record| record.tenant.key().to_owned()).unwrap_or_default(),
                code: code.clone(),
                error: error.clone(),
                is_own: true,
            }),
            _ => None,
        };
        Summary {
            done: count(|how| matches!(how, How::Done)),
            failed: count(|how| matches!(how, How::Failed(..))),
            skipped: count(|how| matches!(how, How::Skipped(_))),
            left: tenants().filter(|unit| unit.end.is_none()).count() as u64,
            failures: self.units.iter().filter_map(failure).take(1000).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::file::TenancyModel;
    use crate::engine::tenant::run::What;
    use crate::engine::tenant::{State, Tenant};

    fn record(key: &str, head: Option<&str>) -> Record {
        let mut record = Record::new(Tenant::new(key, None).expect("a tenant"), TenancyModel::Schema);
        (record.state, record.head) = (State::Active, head.map(str::to_owned));
        record
    }

    fn want(canary: u32, wave: u32, max_failures: Option<u32>) -> Want {
        Want {
            what: What::Migrate,
            selection: Selection::All,
            settled: Some(vec!["new".into()]),
            digest: String::new(),
            model: TenancyModel::Schema,
            canary,
            wave,
            max_failures,
            only_failed: false,
        }
    }

    fn end(place: i64, how: How) -> Ended {
        Ended::new(place, how, None, Duration::ZERO)
    }

    fn failed(place: i64) -> Ended {
        end(place, How::Failed("LYX".into(), "no".into()))
    }

    fn places(turn: &Turn) -> Vec<i64> {
        turn.units.iter().map(|unit| unit.place).collect()
    }

    #[test]
    fn only_who_is_behind_and_complete_is_a_unit() {
        let mut records =
            vec![record("a", Some("new")), record("b", Some("old")), record("c", None), record("d", None)];
        records[3].state = State::Pending;
        let want = want(0, 0, None);
        let seen = overview(&want, &records);
        assert_eq!((seen.total, seen.settled, seen.behind), (4, 1, 2));
        assert_eq!(incomplete(&want, &records, 9).len(), 1);
        let (mut run, begun) = OwnRun::begin(&want, &records);
        assert_eq!(begun.units, 2);
        assert_eq!(places(&run.turn(&[], 9)), [0, 1]);
        assert!(run.turn(&[end(0, How::Done), end(1, How::Done)], 9).is_over());
    }

    #[test]
    fn the_whole_comes_first_and_what_it_says_of_a_tenant_goes_with_its_unit() {
        let records: Vec<Record> = ["a", "b"].map(|key| record(key, None)).into();
        let want = Want { what: What::Verify, ..want(0, 0, None) };
        let (mut run, begun) = OwnRun::begin(&want, &records);
        assert_eq!(begun.units, 3);
        assert_eq!(places(&run.turn(&[], 9)), [WHOLE]);
        assert!(run.turn(&[], 9).units.is_empty(), "tenants wait for it");
        let mark = ("b".to_owned(), "LYX".to_owned(), "open".to_owned());
        let whole = Ended { marks: vec![mark], ..end(WHOLE, How::Done) };
        let turn = run.turn(&[whole], 9);
        assert_eq!(places(&turn), [0, 1]);
        assert_eq!(turn.units.iter().map(|unit| unit.found.is_some()).collect::<Vec<_>>(), [false, true]);
        assert!(run.turn(&[end(0, How::Done), failed(1)], 9).is_over());
        assert_eq!((run.summary().done, run.summary().failed), (1, 1), "the whole is no tenant");
    }

    #[test]
    fn a_wave_waits_for_the_one_before_it_and_a_failed_canary_for_nobody() {
        let records: Vec<Record> = ["a", "b", "c", "d", "e"].map(|key| record(key, None)).into();
        let (mut run, _) = OwnRun::begin(&want(1, 2, None), &records);
        assert_eq!(places(&run.turn(&[], 9)), [0]);
        assert_eq!(places(&run.turn(&[end(0, How::Done)], 1)), [1]);
        assert_eq!(places(&run.turn(&[], 9)), [2]);
        assert!(run.turn(&[end(1, How::Done)], 9).units.is_empty(), "2 is at work");
        assert_eq!(places(&run.turn(&[failed(2)], 9)), [3, 4], "a failure after the canary stops nobody");
        let (mut run, _) = OwnRun::begin(&want(1, 2, None), &records);
        run.turn(&[], 1);
        assert!(run.turn(&[failed(0)], 9).is_over());
        assert_eq!((run.summary().failed, run.summary().left), (1, 4));
    }

    #[test]
    fn more_failures_than_allowed_stop_the_run() {
        let records: Vec<Record> = ["a", "b", "c", "d"].map(|key| record(key, None)).into();
        let (mut run, _) = OwnRun::begin(&want(0, 0, Some(1)), &records);
        run.turn(&[], 1);
        assert_eq!(places(&run.turn(&[failed(0)], 1)), [1], "one is allowed");
        assert!(run.turn(&[failed(1)], 9).is_over());
        assert_eq!(run.summary().left, 2);
    }

    #[test]
    fn a_unit_that_is_given_back_comes_again() {
        let (mut run, _) = OwnRun::begin(&want(0, 0, None), &[record("a", None)]);
        run.turn(&[], 1);
        let turn = run.turn(&[end(0, How::Back(Duration::from_secs(60)))], 1);
        assert!(turn.units.is_empty() && !turn.is_over());
        let (mut run, _) = OwnRun::begin(&want(0, 0, None), &[record("a", None)]);
        run.turn(&[], 1);
        assert_eq!(places(&run.turn(&[end(0, How::Back(Duration::ZERO))], 1)), [0]);
    }
}
