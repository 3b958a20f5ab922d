//! The smoke test operation: built-in tests of every store, then the project's own, then the proof that
//! nothing is left. It knows no driver; what a test means to a store is the store's.

pub mod declared;
pub mod expect;
mod same;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::event::{Event, Events};
use super::guard;
use super::lock::with_lock;
use super::snapshot::{Difference, Snapshot};
use crate::config::{Config, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::smoke::Test;
use crate::report::Item;
use crate::stores::smoke::{AnySmoke, BuiltIn, Run, Smoke as _, Verdict};
use crate::stores::{AnyStore, Store as _};

/// How long a run waits for another one, or for a migration, to end.
const WAIT: Duration = Duration::from_secs(5);

/// What was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only tests with one of these tags; none: all.
    pub tags: Vec<String>,
    /// No tests with one of these tags.
    pub skip_tags: Vec<String>,
    /// Tests may write although the environment is protected.
    pub write: bool,
}

/// A test as `--list` shows it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// What it proves.
    pub title: String,
    /// What `--tag` selects it by.
    pub tags: Vec<String>,
    /// It writes: skipped on a protected environment.
    pub writes: bool,
}

/// What the stores remember, read before anything is written.
struct Kept {
    snapshot: Snapshot,
    live: Snapshot,
}

/// Runs the tests; each is told as an item. Under the project's lock where tests may write, so that no
/// migration runs meanwhile and every journal that is found is a dead run's.
///
/// # Errors
/// A store cannot be read, its mark names another environment, or the lock is held. A failed test is an item.
pub async fn run(
    config: &Config,
    targets: &Targets,
    stores: &mut [AnyStore],
    declared: &[Test],
    options: &Options,
    events: &dyn Events,
) -> Result<()> {
    let may_write = may_write(config, stores, options).await?;
    if !may_write {
        return test(config, targets, stores, declared, options, may_write, events).await;
    }
    with_lock(stores, WAIT, events, async |stores: &mut [AnyStore]| {
        test(config, targets, stores, declared, options, may_write, events).await
    })
    .await
}

/// The tests that a run would try, in order. Reads only.
///
/// # Errors
/// As [`run`].
pub async fn list(
    config: &Config,
    targets: &Targets,
    stores: &mut [AnyStore],
    declared: &[Test],
    options: &Options,
) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    let (kept, _) = read_snapshots(stores).await?;
    let run = new_run(config, targets, false);
    for store in stores {
        let Some(kept) = kept.get(&store.kind()) else { continue };
        let mut smoke = store.smoke(&run);
        listed.push(schema_test(smoke.kind()));
        listed.extend(smoke.prepare(&kept.snapshot, &kept.live).await?);
    }
    let mut listed: Vec<Listed> = listed
        .into_iter()
        .map(|test| Listed { tags: built_in_tags(&test.id), id: test.id, title: test.title, writes: test.writes })
        .collect();
    listed.extend(declared.iter().map(|test| Listed {
        id: test.id.clone(),
        title: test.name.clone(),
        tags: declared::tags(test),
        writes: test.commit,
    }));
    listed.retain(|test| is_wanted(&test.tags, options));
    Ok(listed)
}

async fn may_write(config: &Config, stores: &mut [AnyStore], options: &Options) -> Result<bool> {
    let mut marks = Vec::new();
    for store in stores.iter_mut() {
        marks.push((store.kind(), store.ledger().await?.mark));
    }
    guard::refuse_other_mark(config, &marks)?;
    Ok(options.write || guard::refuse_protected(config, &marks, "a smoke test").is_ok())
}

fn new_run<'a>(config: &'a Config, targets: &Targets, may_write: bool) -> Run<'a> {
    let id = uuid::Uuid::new_v4().simple().to_string()[..8].to_owned();
    Run { id, config, may_write, is_local: targets.is_local() }
}

/// The kept and the live snapshot of every store that has a kept one, and the stores that have none.
async fn read_snapshots(stores: &mut [AnyStore]) -> Result<(BTreeMap<StoreKind, Kept>, Vec<StoreKind>)> {
    let mut kept = BTreeMap::new();
    let mut without = Vec::new();
    for store in stores.iter_mut() {
        match store.kept_snapshot().await? {
            Some(snapshot) => {
                let live = store.snapshot().await?;
                kept.insert(store.kind(), Kept { snapshot, live });
            }
            None => without.push(store.kind()),
        }
    }
    Ok((kept, without))
}

async fn test(
    config: &Config,
    targets: &Targets,
    stores: &mut [AnyStore],
    declared: &[Test],
    options: &Options,
    may_write: bool,
    events: &dyn Events,
) -> Result<()> {
    let (kept, without) = read_snapshots(stores).await?;
    if !without.is_empty() {
        let names: Vec<&str> = without.iter().map(|kind| kind.title()).collect();
        let error = Error::new(Code::SmokeFailed, format!("no snapshot is stored in {}", names.join(", ")))
            .why("the built-in tests are derived from the snapshot that the last migrate kept")
            .hint("lyrox db migrate");
        events.item(Item::fail("snapshot", "A snapshot is stored", &error));
    }
    let run = new_run(config, targets, may_write);
    let mut batteries: Vec<AnySmoke<'_>> = stores.iter_mut().map(|store| store.smoke(&run)).collect();
    if may_write {
        for battery in &mut batteries {
            for removed in battery.clean_up().await? {
                events.note(format!("removed what a run that was cut short left: {removed}"));
            }
            battery.tally().await?;
        }
    }
    let mut has_none = true;
    for battery in &mut batteries {
        if let Some(kept) = kept.get(&battery.kind()) {
            has_none &= !built_in(battery, kept, &run, options, events).await?;
        }
    }
    let wanted: Vec<&Test> = declared.iter().filter(|test| is_wanted(&declared::tags(test), options)).collect();
    has_none &= wanted.is_empty();
    if !wanted.is_empty() {
        events.event(Event::Heading("The project's own".into()));
    }
    for test in wanted {
        if events.is_cancelled() {
            break;
        }
        own(test, &run, &mut batteries, events).await?;
    }
    if may_write && !has_none {
        events.event(Event::Heading("Afterwards".into()));
        events.item(leftovers(&mut batteries, &run).await);
    }
    Ok(())
}

/// Runs one of the project's own tests, for each tenant that it is for.
async fn own(test: &Test, run: &Run<'_>, batteries: &mut [AnySmoke<'_>], events: &dyn Events) -> Result<()> {
    let told = |verdict: Verdict, tenant: Option<&String>, begun: Instant| {
        let mut item = item(&test.id, &test.name, verdict).elapsed(begun.elapsed());
        if let Some(tenant) = tenant {
            // Ids are unique within a report.
            item.id = format!("{}.{tenant}", test.id);
            item.tenant = Some(tenant.clone());
        }
        events.item(match declared::single_store(test) {
            Some(store) => item.store(store),
            None => item,
        });
    };
    let begun = Instant::now();
    let tenants = match declared::tenants(test, batteries).await? {
        Ok(tenants) => tenants,
        Err(verdict) => {
            told(verdict, None, begun);
            return Ok(());
        }
    };
    for tenant in tenants {
        if events.is_cancelled() {
            break;
        }
        let begun = Instant::now();
        let verdict = declared::run(test, tenant.as_deref(), run, batteries).await;
        told(verdict, tenant.as_ref(), begun);
    }
    Ok(())
}

/// Tries what is wanted of one store's built-in tests; says whether there was any.
async fn built_in(
    battery: &mut AnySmoke<'_>,
    kept: &Kept,
    run: &Run<'_>,
    options: &Options,
    events: &dyn Events,
) -> Result<bool> {
    let store = battery.kind();
    let tests = battery.prepare(&kept.snapshot, &kept.live).await?;
    let schema = schema_test(store);
    let is_schema_wanted = is_wanted(&built_in_tags(&schema.id), options);
    let wanted: Vec<(usize, &BuiltIn)> =
        tests.iter().enumerate().filter(|(_, test)| is_wanted(&built_in_tags(&test.id), options)).collect();
    if !is_schema_wanted && wanted.is_empty() {
        return Ok(false);
    }
    events.event(Event::Heading(store.title().to_owned()));
    let differences = kept.snapshot.differences(&kept.live);
    if is_schema_wanted {
        events.item(item(&schema.id, &schema.title, judge_schema(&kept.snapshot, &differences)).store(store));
    }
    for (index, test) in wanted {
        if events.is_cancelled() {
            break;
        }
        let begun = Instant::now();
        let verdict = if test.writes && !run.may_write {
            Verdict::Skip("it writes, and the environment is protected".into(), Some("--write".into()))
        } else {
            battery.try_out(index).await?
        };
        events.item(item(&test.id, &test.title, verdict).store(store).elapsed(begun.elapsed()));
    }
    battery.rest().await?;
    Ok(true)
}

fn schema_test(store: StoreKind) -> BuiltIn {
    BuiltIn::new(store, "schema", "", "Schema equals the snapshot", false)
}

fn judge_schema(kept: &Snapshot, differences: &[Difference]) -> Verdict {
    if differences.is_empty() {
        let count = kept.objects.len();
        return Verdict::Pass(format!("{count} object{}", if count == 1 { "" } else { "s" }));
    }
    let mut lines: Vec<String> = differences.iter().take(12).map(difference_words).collect();
    if differences.len() > lines.len() {
        lines.push(format!("and {} more", differences.len() - lines.len()));
    }
    let what = match differences.len() {
        1 => "the live schema differs from the snapshot in 1 object".to_owned(),
        count => format!("the live schema differs from the snapshot in {count} objects"),
    };
    Verdict::Fail(
        Error::new(Code::SmokeFailed, what)
            .why(lines.join("\n"))
            .hint("undo what was changed by hand, or write it as a migration: lyrox db new NAME"),
    )
}

/// One difference in one line.
pub fn difference_words(difference: &Difference) -> String {
    let short = |text: &str| {
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.chars().count() <= 120 { line } else { format!("{}...", line.chars().take(117).collect::<String>()) }
    };
    match difference {
        Difference::Missing(object) => format!("{object} is missing"),
        Difference::Extra(object) => format!("{object} is not in the snapshot"),
        Difference::Changed(object, kept, live) => format!("{object} is `{}`, was `{}`", short(live), short(kept)),
    }
}

async fn leftovers(batteries: &mut [AnySmoke<'_>], run: &Run<'_>) -> Item {
    let begun = Instant::now();
    let mut found = Vec::new();
    for battery in batteries.iter_mut() {
        match battery.leftovers().await {
            Ok(left) => found.extend(left.into_iter().map(|left| format!("{}: {left}", battery.kind()))),
            Err(error) => found.push(format!("{}: it could not be looked at: {error}", battery.kind())),
        }
    }
    let verdict = if found.is_empty() {
        let how = if run.is_local { "every count is as before" } else { "the run's marker is nowhere" };
        Verdict::Pass(format!("{how} ({})", run.marker()))
    } else {
        Verdict::Fail(
            Error::new(Code::SmokeLeftover, "something of this run is left, or a count changed meanwhile")
                .why(found.join("\n"))
                .hint("run it again: what the journal lists is removed first; search for the marker by hand else"),
        )
    };
    item("leftover", "Nothing is left behind", verdict).elapsed(begun.elapsed())
}

fn item(id: &str, title: &str, verdict: Verdict) -> Item {
    match verdict {
        Verdict::Pass(detail) => Item::pass(id, title).detail(detail),
        Verdict::Warn(detail, hint) => Item::warn(id, title).detail(detail).hint(hint).code(Code::SmokeFailed),
        Verdict::Skip(detail, None) => Item::skip(id, title).detail(detail),
        Verdict::Skip(detail, Some(hint)) => Item::skip(id, title).detail(detail).hint(hint),
        Verdict::Fail(error) => Item::fail(id, title, &error),
    }
}

/// A built-in test is selected by `built-in`, its store, and its kind.
fn built_in_tags(id: &str) -> Vec<String> {
    std::iter::once("built-in").chain(id.split('.').take(2)).map(str::to_owned).collect()
}

fn is_wanted(tags: &[String], options: &Options) -> bool {
    let is_any = |of: &[String]| tags.iter().any(|tag| of.contains(tag));
    (options.tags.is_empty() || is_any(&options.tags)) && !is_any(&options.skip_tags)
}
