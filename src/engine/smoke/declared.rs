//! The project's own tests: steps in order, what they save handed on, what they expect compared; again where
//! they may be tried again, and once for each tenant.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::expect;
use crate::config::Config;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::smoke::{Retry, Step, TENANT, Tenants, Test, Variable, filled, filled_value};
use crate::stores::smoke::{Answer, AnySmoke, Call, Reply, Run, Smoke as _, Variables, Verdict};

/// What selects a declared test: its own tags, `declared`, and the stores it speaks to.
pub fn tags(test: &Test) -> Vec<String> {
    let mut tags = test.tags.clone();
    tags.push("declared".into());
    tags.extend(stores(test).iter().map(StoreKind::to_string));
    tags
}

/// The store of a test that speaks to one only.
pub fn single_store(test: &Test) -> Option<StoreKind> {
    match stores(test).as_slice() {
        [store] => Some(*store),
        _ => None,
    }
}

fn stores(test: &Test) -> Vec<StoreKind> {
    let mut stores: Vec<StoreKind> = test.steps.iter().map(|step| step.store).collect();
    stores.sort_unstable();
    stores.dedup();
    stores
}

/// Whom a test is run for: nobody, or one tenant after the other.
///
/// # Errors
/// The tenants cannot be listed. The inner error: the test cannot be tried, and why.
pub async fn tenants(test: &Test, batteries: &mut [AnySmoke<'_>]) -> Result<Result<Vec<Option<String>>, Verdict>> {
    match &test.tenants {
        Tenants::None => return Ok(Ok(vec![None])),
        Tenants::These(keys) => return Ok(Ok(keys.iter().cloned().map(Some).collect())),
        Tenants::All => {}
    }
    for battery in batteries {
        if let Some(keys) = battery.tenants().await? {
            return Ok(if keys.is_empty() {
                Err(Verdict::skip("there is no tenant yet"))
            } else {
                Ok(keys.into_iter().map(Some).collect())
            });
        }
    }
    let why = "no store of this run lists the tenants: `[tenancy] table` names the PostgreSQL table that does";
    Ok(Err(Verdict::skip(why)))
}

/// Runs one test, again where it fails and may be tried again, and undoes it, whatever its end.
pub async fn run(test: &Test, tenant: Option<&str>, run: &Run<'_>, batteries: &mut [AnySmoke<'_>]) -> Verdict {
    if let Some(absent) = stores(test).iter().find(|store| !batteries.iter().any(|one| one.kind() == **store)) {
        return Verdict::skip(format!("this run leaves {absent} out"));
    }
    if test.commit && !run.may_write {
        return Verdict::Skip("it writes, and the environment is protected".into(), Some("--write".into()));
    }
    let variables = match given(test, tenant, run) {
        Ok(variables) => variables,
        Err(verdict) => return verdict,
    };
    let mut left = test.retry.times;
    loop {
        let verdict = attempt(test, tenant, run, variables.clone(), batteries).await;
        // What is left of a test cannot be mended by another one.
        let is_final = !matches!(&verdict, Verdict::Fail(error) if error.code() == Code::SmokeFailed);
        if is_final || left == 0 {
            return verdict;
        }
        left -= 1;
        tokio::time::sleep(test.retry.every).await;
    }
}

async fn attempt(
    test: &Test,
    tenant: Option<&str>,
    run: &Run<'_>,
    variables: Variables,
    batteries: &mut [AnySmoke<'_>],
) -> Verdict {
    let mut begun = Vec::new();
    let started = Instant::now();
    let outcome = steps(test, tenant, run, variables, batteries, &mut begun).await;
    let took = started.elapsed();
    let mut undone = Ok(());
    for store in begun {
        if let Some(battery) = batteries.iter_mut().find(|one| one.kind() == store) {
            undone = undone.and(battery.end().await);
        }
    }
    match (outcome, undone) {
        (Ok(Verdict::Pass(detail)), Ok(())) => match test.within.filter(|within| took > *within) {
            None => Verdict::Pass(detail),
            Some(within) => Verdict::Fail(
                Error::new(
                    Code::SmokeFailed,
                    format!("expected the test within {}, it took {}", expect::span(within), expect::span(took)),
                )
                .at(test.place.clone())
                .data(if test.commit { "removed" } else { "rolled back" }),
            ),
        },
        (Ok(verdict), Ok(())) => verdict,
        (Err(error), _) => Verdict::Fail(error),
        (Ok(_), Err(error)) => Verdict::Fail(
            Error::new(Code::SmokeLeftover, "what the test wrote could not be removed")
                .why(error.to_string())
                .at(test.place.clone())
                .hint("run it again: what the journal lists is removed first"),
        ),
    }
}

/// The variables that a test begins with.
fn given(test: &Test, tenant: Option<&str>, run: &Run<'_>) -> Result<Variables, Verdict> {
    let mut variables = Variables::new();
    variables.insert("prefix".into(), Value::String(run.config.key_prefix()));
    variables.insert("run".into(), Value::String(run.marker()));
    if let Some(tenant) = tenant {
        variables.insert(TENANT.into(), Value::String(tenant.to_owned()));
    }
    let first = variables.clone();
    for (name, variable) in &test.vars {
        let value = match variable {
            Variable::Given(value) => filled_value(value, &first),
            Variable::Environment { name, default } => match (environment(run.config, name), default) {
                (Some(text), _) => Value::String(text),
                (None, Some(default)) => filled_value(default, &first),
                (None, None) => return Err(Verdict::skip(format!("the variable `{name}` is not set"))),
            },
        };
        variables.insert(name.clone(), value);
    }
    Ok(variables)
}

/// A variable of the environment; no output may show it.
fn environment(config: &Config, name: &str) -> Option<String> {
    let (text, _) = config.variables.get(name)?;
    crate::secret::register(&text);
    Some(text)
}

async fn steps(
    test: &Test,
    tenant: Option<&str>,
    run: &Run<'_>,
    mut variables: Variables,
    batteries: &mut [AnySmoke<'_>],
    begun: &mut Vec<StoreKind>,
) -> Result<Verdict> {
    let mut took = Duration::ZERO;
    for (index, step) in test.steps.iter().enumerate() {
        let Some(battery) = batteries.iter_mut().find(|one| one.kind() == step.store) else {
            return Err(Error::bug("a test without its store"));
        };
        if !begun.contains(&step.store) {
            begun.push(step.store);
            let can = battery.begin(test.commit, tenant).await.map_err(|error| at_step(error, step))?;
            if let Err(why) = can {
                let hint = (!run.may_write).then(|| "--write".to_owned());
                return Ok(Verdict::Skip(why, hint));
            }
        }
        match tried(step, battery, &variables).await? {
            Tried::Done(answer) => {
                took += answer.elapsed;
                for (name, path) in &step.save {
                    if let Some(value) = path.get(&answer.value) {
                        variables.insert(name.clone(), value);
                    }
                }
            }
            Tried::Refused => {}
            Tried::Wrong(why, hint) => {
                let number = if test.steps.len() == 1 { String::new() } else { format!("step {}: ", index + 1) };
                let undone = if test.commit { "removed" } else { "rolled back" };
                let error = Error::new(Code::SmokeFailed, format!("{number}{why}")).at(step.place.clone()).data(undone);
                return Err(match hint.or(test.hint.as_deref()) {
                    Some(hint) => error.hint(hint),
                    None => error,
                });
            }
            Tried::Not(why, hint) => return Ok(Verdict::Skip(format!("step {}: {why}", index + 1), hint)),
        }
    }
    let count = test.steps.len();
    Ok(Verdict::Pass(match &test.say {
        Some(say) => filled(say, &variables),
        None => format!("{count} step{}, {} ms", if count == 1 { "" } else { "s" }, took.as_millis()),
    }))
}

/// How a step ended.
enum Tried {
    /// As expected.
    Done(Answer),
    /// Refused, as expected.
    Refused,
    /// Not as expected: why, and what to do about it where that is known.
    Wrong(String, Option<&'static str>),
    /// It cannot be tried: why, and what to do about it.
    Not(String, Option<String>),
}

/// Sends a step until it is as expected or may not be tried again.
async fn tried(step: &Step, battery: &mut AnySmoke<'_>, variables: &Variables) -> Result<Tried> {
    let Retry { times, every } = step.retry;
    let mut left = times;
    let mut reconnect = step.reconnect;
    loop {
        let call = Call { text: &step.text, session: step.session.as_deref(), reconnect };
        let reply = battery.step(call, variables).await.map_err(|error| at_step(error, step))?;
        let expected = match reply {
            Reply::Answer(answer) => expect::answer(&step.expect, &answer, variables)
                .and_then(|()| savable(step, &answer))
                .map(|()| Tried::Done(answer))
                .map_err(|why| (why, None)),
            Reply::Refused(refusal) => {
                expect::refusal(&step.expect, &refusal).map(|()| Tried::Refused).map_err(|why| {
                    // A table or a schema that is not there.
                    let is_missing = refusal.codes.iter().any(|code| code == "42P01" || code == "3F000");
                    (why, is_missing.then_some("lyrox db migrate"))
                })
            }
            Reply::Untried(why, hint) => return Ok(Tried::Not(why, hint)),
        };
        let (why, hint) = match expected {
            Ok(tried) => return Ok(tried),
            Err(wrong) => wrong,
        };
        if left == 0 {
            let after = if times == 0 { String::new() } else { format!(" (tried {} times)", times + 1) };
            return Ok(Tried::Wrong(format!("{why}{after}"), hint));
        }
        left -= 1;
        reconnect = false;
        battery.take_back(step.session.as_deref()).await.map_err(|error| at_step(error, step))?;
        tokio::time::sleep(every).await;
    }
}

/// A step that could not be sent, as an error of its place.
fn at_step(error: Error, step: &Step) -> Error {
    if error.place().is_some() { error } else { error.at(step.place.clone()) }
}

fn savable(step: &Step, answer: &Answer) -> Result<(), String> {
    for (name, path) in &step.save {
        if path.get(&answer.value).is_none_or(|value| value.is_null()) {
            return Err(format!("there is nothing at `{path}` to save as `{name}`"));
        }
    }
    Ok(())
}
