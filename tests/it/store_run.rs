//! Runs a project's migrations on one store through the library: lock, ledger, plan, apply, snapshot.

use std::collections::BTreeMap;
use std::sync::Mutex;

use lyrox::config::{self, Choice, Config, Target, Targets};
use lyrox::engine::event::{Event, Events};
use lyrox::engine::guard::{self, Consent, Permit};
use lyrox::engine::ledger::Mark;
use lyrox::engine::plan::{Goal, Plan, plan};
use lyrox::kind::StoreKind;
use lyrox::project::migration;
use lyrox::stores::{Applied, ApplyOptions, LockAnswer, Store};

use crate::support::Project;

/// Keeps what it is told.
#[derive(Default)]
pub struct Heard(pub Mutex<Vec<Event>>);

impl Events for Heard {
    fn event(&self, event: Event) {
        self.0.lock().expect("a lock").push(event);
    }
}

/// The project's configuration, read afresh.
pub fn config(project: &Project) -> Config {
    let choice = Choice { directory: Some(project.root().to_owned()), ..Choice::default() };
    config::load(&choice).expect("a configuration")
}

/// The targets of a configuration.
pub fn targets(config: &Config, kind: StoreKind) -> Targets {
    Targets::resolve(config, &[kind], &Default::default()).expect("targets")
}

/// The one target of a kind.
pub fn target(config: &Config, kind: StoreKind) -> Target {
    targets(config, kind).stores.remove(0)
}

/// The mark of the tests.
pub fn mark() -> Mark {
    Mark { environment: "local".into(), is_protected: false }
}

/// A permit, given the way a user would.
pub fn permit(config: &Config, kind: StoreKind) -> Permit {
    let targets = targets(config, kind);
    let consent = Consent { confirm: Some(guard::name_to_confirm(&targets)) };
    guard::permit(config, &targets, &[], &consent, "reset").expect("a permit")
}

/// How steps are run in the tests.
pub fn options(config: &Config) -> ApplyOptions {
    ApplyOptions {
        is_empty: false,
        transaction: config::file::Transaction::Auto,
        variables: config.variables.clone(),
        run: String::new(),
    }
}

/// What is to be done for a goal, as files and ledger are now.
pub async fn planned<S: Store>(store: &mut S, config: &Config, goal: &Goal) -> Plan {
    let files = migration::read_all(&config.root, "migrations").expect("migrations");
    let rows = store.ledger().await.expect("a ledger").rows;
    let ledgers = BTreeMap::from([(store.kind(), rows)]);
    plan(&files, &ledgers, goal)
        .unwrap_or_else(|drift| panic!("{:?}", drift.iter().map(|d| d.error()).collect::<Vec<_>>()))
}

/// Goes to a goal under the lock. A snapshot is kept where all went well.
pub async fn go<S: Store>(store: &mut S, config: &Config, goal: Goal) -> Applied {
    assert_eq!(store.try_lock().await.expect("a lock"), LockAnswer::Obtained);
    store.prepare(&mark()).await.expect("a ledger");
    let plan = planned(store, config, &goal).await;
    let applied = store.apply(&plan.steps, &options(config), &Heard::default()).await;
    if applied.failure.is_none() {
        let snapshot = store.snapshot().await.expect("a snapshot");
        store.keep_snapshot(&snapshot).await.expect("to keep it");
    }
    store.unlock().await.expect("the lock given back");
    applied
}

/// Goes to the latest version; everything has to work.
#[track_caller]
pub fn done(applied: &Applied) -> Vec<String> {
    if let Some((at, error)) = &applied.failure {
        panic!("step {at}: {error} [{:?}]", error.data_text());
    }
    applied.done.iter().map(|done| done.row.version.to_string()).collect()
}
