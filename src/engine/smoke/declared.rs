//! The project's own tests: steps in order, what they save handed on, what they expect compared.

use std::time::Duration;

use serde_json::Value;

use super::expect;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::smoke::{Step, Test, placeholders};
use crate::stores::smoke::{Answer, AnySmoke, Reply, Run, Smoke as _, Variables, Verdict};

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

/// Runs one test and undoes it, whatever its end.
pub async fn run(test: &Test, run: &Run<'_>, batteries: &mut [AnySmoke<'_>]) -> Verdict {
    if let Some(absent) = stores(test).iter().find(|store| !batteries.iter().any(|one| one.kind() == **store)) {
        return Verdict::skip(format!("this run leaves {absent} out"));
    }
    if test.commit && !run.may_write {
        return Verdict::Skip("it writes, and the environment is protected".into(), Some("--write".into()));
    }
    let mut begun = Vec::new();
    let outcome = steps(test, run, batteries, &mut begun).await;
    let mut undone = Ok(());
    for store in begun {
        if let Some(battery) = batteries.iter_mut().find(|one| one.kind() == store) {
            undone = undone.and(battery.end().await);
        }
    }
    match (outcome, undone) {
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

async fn steps(
    test: &Test,
    run: &Run<'_>,
    batteries: &mut [AnySmoke<'_>],
    begun: &mut Vec<StoreKind>,
) -> Result<Verdict> {
    let mut variables = Variables::new();
    variables.insert("prefix".into(), Value::String(run.config.key_prefix()));
    variables.insert("run".into(), Value::String(run.marker()));
    let mut took = Duration::ZERO;
    for (index, step) in test.steps.iter().enumerate() {
        let Some(battery) = batteries.iter_mut().find(|one| one.kind() == step.store) else {
            return Err(Error::bug("a test without its store"));
        };
        if !begun.contains(&step.store) {
            begun.push(step.store);
            battery.begin(test.commit).await.map_err(|error| at_step(error, step))?;
        }
        let failed = |why: String| {
            let number = if test.steps.len() == 1 { String::new() } else { format!("step {}: ", index + 1) };
            let undone = if test.commit { "removed" } else { "rolled back" };
            let error = Error::new(Code::SmokeFailed, format!("{number}{why}")).at(step.place.clone()).data(undone);
            match &test.hint {
                Some(hint) => error.hint(hint.clone()),
                None => error,
            }
        };
        match battery.step(&step.text, &variables).await.map_err(|error| at_step(error, step))? {
            Reply::Answer(answer) => {
                took += answer.elapsed;
                expect::answer(&step.expect, &answer).map_err(failed)?;
                save(step, &answer, &mut variables).map_err(failed)?;
            }
            Reply::Refused(refusal) => expect::refusal(&step.expect, &refusal).map_err(|why| {
                // A table or a schema that is not there.
                let is_missing = refusal.codes.iter().any(|code| code == "42P01" || code == "3F000");
                if is_missing { failed(why).hint("lyrox db migrate") } else { failed(why) }
            })?,
            Reply::Untried(why, hint) => return Ok(Verdict::Skip(format!("step {}: {why}", index + 1), hint)),
        }
    }
    if let Some(say) = &test.say {
        return Ok(Verdict::Pass(filled(say, &variables)));
    }
    let count = test.steps.len();
    Ok(Verdict::Pass(format!("{count} step{}, {} ms", if count == 1 { "" } else { "s" }, took.as_millis())))
}

/// A text for people, each `{{name}}` replaced by what was saved under it.
fn filled(text: &str, variables: &Variables) -> String {
    let mut said = String::new();
    let mut from = 0;
    for (range, name) in placeholders(text) {
        said.push_str(&text[from..range.start]);
        match variables.get(name) {
            Some(Value::String(value)) => said.push_str(value),
            Some(value) => said.push_str(&value.to_string()),
            None => said.push_str(&text[range.clone()]),
        }
        from = range.end;
    }
    said.push_str(&text[from..]);
    said
}

/// A step that could not be sent, as an error of its place.
fn at_step(error: Error, step: &Step) -> Error {
    if error.place().is_some() { error } else { error.at(step.place.clone()) }
}

fn save(step: &Step, answer: &Answer, variables: &mut Variables) -> Result<(), String> {
    for (name, path) in &step.save {
        match path.get(&answer.value) {
            Some(value) if !value.is_null() => {
                variables.insert(name.clone(), value.clone());
            }
            _ => return Err(format!("there is nothing at `{path}` to save as `{name}`")),
        }
    }
    Ok(())
}
