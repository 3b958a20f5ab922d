//! Tables: what a goal undoes, and whose way back is taken.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::engine::plan::plan;
use crate::project::migration::Part;

fn row(store: StoreKind, version: &str, run: &str) -> Row {
    Row {
        store,
        version: Version::new(version),
        name: "m".into(),
        checksum: format!("sum {version}"),
        text: None,
        state: State::Applied,
        steps_done: 1,
        steps_total: 1,
        started_at: String::new(),
        finished_at: None,
        actor: String::new(),
        lyrox: String::new(),
        error_code: None,
        run: Some(run.into()),
        has_down: true,
        down_text: Some(format!("kept {version}")),
        undone: None,
    }
}

fn script(path: &str, text: &str, checksum: &str) -> Arc<Script> {
    Arc::new(Script { path: path.into(), text: text.into(), checksum: checksum.into(), ..Script::default() })
}

fn file(version: &str, checksum: &str, down: Option<&str>) -> Migration {
    let up = script(&format!("migrations/{version}_m.up.sql"), "up", checksum);
    let down = down.map(|text| script(&format!("migrations/{version}_m.down.sql"), text, "down"));
    let parts = BTreeMap::from([(StoreKind::Postgres, Part { up, down })]);
    Migration { version: Version::new(version), name: "m".into(), parts }
}

fn postgres(rows: Vec<Row>) -> BTreeMap<StoreKind, Vec<Row>> {
    BTreeMap::from([(StoreKind::Postgres, rows)])
}

#[test]
fn a_goal_undoes_the_newest_first_and_the_last_store_first() {
    let (postgres, redis) = (StoreKind::Postgres, StoreKind::Redis);
    let ledgers = BTreeMap::from([
        (postgres, vec![row(postgres, "1", "a"), row(postgres, "2", "b"), row(postgres, "R__v", "c")]),
        (redis, vec![row(redis, "1", "b"), row(redis, "3", "b")]),
    ]);
    let labels = |goal: Goal| {
        let rows = undone(&[], &ledgers, &goal);
        rows.iter().map(|row| format!("{} {}", row.version, row.store)).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(labels(Goal::Back(1)), "3 redis");
    assert_eq!(labels(Goal::Back(3)), "3 redis, 2 postgres, 1 redis, 1 postgres");
    assert_eq!(labels(Goal::BackTo(Version::new("1"))), "3 redis, 2 postgres");
    assert_eq!(labels(Goal::BackOne(Version::new("2"))), "2 postgres");
    assert_eq!(labels(Goal::BackRun), "3 redis, 2 postgres, 1 redis", "a repeatable's run is not the last one");
    assert_eq!(labels(Goal::Latest), "");
}

#[test]
fn the_file_wins_where_it_is_the_one_that_was_applied() {
    let cases = [
        (vec![file("1", "sum 1", Some("kept 1"))], "migrations/1_m.down.sql", ""),
        (vec![file("1", "sum 1", Some("mended"))], "migrations/1_m.down.sql", "the file, edited since it was applied"),
        (vec![file("1", "sum 1", None)], "ledger:1_m.down.sql", "from the ledger"),
        (vec![file("1", "another", Some("another's"))], "ledger:1_m.down.sql", "from the ledger"),
        (Vec::new(), "ledger:1_m.down.sql", "from the ledger"),
    ];
    for (files, path, said) in cases {
        let ledgers = postgres(vec![row(StoreKind::Postgres, "1", "a")]);
        let found = plan(&files, &ledgers, &Goal::Back(1)).expect("no drift");
        let step = found.steps.first().expect("a step");
        assert_eq!(step.script.path, path);
        assert_eq!(origin(step, Some("kept 1")), said);
        assert_eq!(step.up.checksum, "sum 1", "the row keeps its checksum");
    }
}

#[test]
fn what_has_no_way_back_is_marked_and_what_is_unfinished_is_drift() {
    let mut lost = row(StoreKind::Postgres, "1", "a");
    (lost.has_down, lost.down_text) = (false, None);
    let found = plan(&[], &postgres(vec![lost.clone()]), &Goal::Back(1)).expect("no drift");
    assert!(found.steps[0].is_irreversible());
    lost.state = State::Failed;
    let drift = plan(&[], &postgres(vec![lost]), &Goal::Back(1)).expect_err("drift");
    assert!(matches!(drift[..], [Drift::Unfinished { .. }]), "{drift:?}");
}

#[test]
fn repeatables_are_forgotten_first_where_something_is_undone() {
    let rows = vec![row(StoreKind::Postgres, "1", "a"), row(StoreKind::Postgres, "R__v", "a")];
    let found = plan(&[file("1", "sum 1", Some("x"))], &postgres(rows.clone()), &Goal::Back(1)).expect("no drift");
    assert_eq!(found.steps.iter().map(|step| step.action).collect::<Vec<_>>(), [Action::Forget, Action::Revert]);
    assert_eq!(found.counts().get(&StoreKind::Postgres), Some(&1), "only what is undone counts");
    let only = plan(&[], &postgres(rows[1..].to_vec()), &Goal::Back(1)).expect("no drift");
    assert!(only.steps.is_empty());
}

#[test]
fn a_half_undone_row_stops_a_migrate_and_is_undone_from_there() {
    let mut half = row(StoreKind::Postgres, "1", "a");
    half.undone = Some(2);
    let files = [file("1", "sum 1", Some("x"))];
    let drift = plan(&files, &postgres(vec![half.clone()]), &Goal::Latest).expect_err("drift");
    assert!(matches!(drift[..], [Drift::HalfUndone { .. }]), "{drift:?}");
    assert!(drift[0].error().why_text().is_some_and(|why| why.contains("steps 1 to 2")));
    let found = plan(&files, &postgres(vec![half]), &Goal::Back(1)).expect("no drift");
    assert_eq!(found.steps[0].resume_from, 2);
}

#[test]
fn a_squashed_file_is_recorded_run_or_refused() {
    let mut squashed = file("2", "sum squash", None);
    let part = squashed.parts.get_mut(&StoreKind::Postgres).expect("a part");
    let mut up = Script::clone(&part.up);
    up.header.replaces = vec![(Version::new("1"), "sum 1".into()), (Version::new("2"), "sum 2".into())];
    part.up = Arc::new(up);
    let files = [squashed];
    let (one, two) = (row(StoreKind::Postgres, "1", "a"), row(StoreKind::Postgres, "2", "a"));
    let actions = |rows: Vec<Row>| {
        plan(&files, &postgres(rows), &Goal::Latest)
            .map(|plan| plan.steps.iter().map(|step| (step.action, step.version.to_string())).collect::<Vec<_>>())
    };
    let all = actions(vec![one.clone(), two.clone()]).expect("no drift");
    assert_eq!(all, [(Action::Record, "2".into()), (Action::Forget, "1".into())]);
    assert_eq!(actions(Vec::new()).expect("no drift"), [(Action::Apply, "2".into())]);
    let drift = actions(vec![one.clone()]).expect_err("drift");
    assert!(matches!(drift[..], [Drift::Squash { .. }]), "{drift:?}");
    let mut edited = two.clone();
    edited.checksum = "other".into();
    assert!(actions(vec![one.clone(), edited]).is_err());
    // Recorded, and cut short before the rest was forgotten; then done.
    let mut recorded = two;
    recorded.checksum = "sum squash".into();
    assert_eq!(actions(vec![one.clone(), recorded.clone()]).expect("no drift"), [(Action::Forget, "1".into())]);
    let mut forgotten = one;
    forgotten.state = State::Reverted;
    assert!(actions(vec![forgotten, recorded]).expect("no drift").is_empty());
}
