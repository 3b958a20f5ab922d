//! Single things are broken by hand on live servers, one after the other. Each break has to fail the test whose
//! matter it is, and `schema` where the schema holds it, and no other; each is mended before the next.

mod laboratory;
mod mongodb;
mod postgres;
mod redis;

use std::collections::BTreeSet;

use crate::support::{Output, Project};

/// What is broken, how it is mended, and what has to fail.
struct Break<C> {
    /// The test that fails, without the store.
    own: &'static str,
    /// `schema` fails as well: the snapshot holds it.
    schema: bool,
    /// How it is broken.
    fault: C,
    /// How it is mended.
    repair: C,
}

/// Breaks and mends each; every break fails as it has to, and what is mended passes.
fn try_all<C: std::fmt::Debug>(project: &Project, store: &str, breaks: &[Break<C>], act: impl Fn(&C)) {
    let smoke = || project.lyrox(&["db", "smoke-test", "--only", store, "--output", "json"]);
    let clean = smoke();
    clean.ok();
    assert_eq!(failed(&clean), BTreeSet::new(), "{clean}");
    let known = ids(&clean);
    let mut wrong = Vec::new();
    for Break { own, schema, fault, repair } in breaks {
        act(fault);
        let output = smoke();
        let mut expected = BTreeSet::from([format!("{store}.{own}")]);
        if *schema {
            expected.insert(format!("{store}.schema"));
        }
        if failed(&output) != expected {
            wrong.push(format!("{fault:?}\n  expected {expected:?}\n  found {}", told(&output)));
        }
        output.exit(1);
        let id = format!("{store}.{own}");
        assert!(known.contains(&id), "{id} is a test of its own before anything is broken");
        act(repair);
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), breaks.len(), wrong.join("\n"));
    let mended = smoke();
    mended.ok();
    assert_eq!(ids(&mended), known, "all is as it was");
}

fn items(output: &Output) -> Vec<serde_json::Value> {
    output.json()["items"].as_array().cloned().unwrap_or_else(|| panic!("{output}"))
}

fn id(item: &serde_json::Value) -> String {
    item["id"].as_str().unwrap_or_default().to_owned()
}

fn ids(output: &Output) -> BTreeSet<String> {
    items(output).iter().map(id).collect()
}

fn failed(output: &Output) -> BTreeSet<String> {
    items(output).iter().filter(|item| item["outcome"] == "fail").map(id).collect()
}

/// The failures of a run, each with what it says.
fn told(output: &Output) -> String {
    let text = |item: &serde_json::Value, key: &str| item[key].as_str().unwrap_or_default().replace('\n', "; ");
    let failures = items(output).into_iter().filter(|item| item["outcome"] == "fail");
    failures.map(|item| format!("\n    {}: {} {}", id(&item), text(&item, "detail"), text(&item, "why"))).collect()
}
