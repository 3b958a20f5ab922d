//! The five systems, each as a user has it: its folder alone, the one command of its README, servers of its own that
//! did not exist before. What the page of each shows is looked for; a second run changes nothing, neither a row, nor a
//! document, nor a key.

mod chatmcp;
mod companyos;
mod conference_chat;
mod guides;
mod helvino;
mod lyrox_os;
mod state;
mod trouble;

use std::path::{Path, PathBuf};

use crate::setup::{Alone, copy};
use crate::support::{Output, Project};

use state::State;

/// The folder of an example.
pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// An example by itself, without databases yet.
pub fn alone(name: &str) -> Alone {
    let alone = Alone::new();
    copy(&folder(name), alone.path());
    alone
}

/// An example on the shared servers: its database, and its prefix in Redis, are the test's own.
pub fn shared(name: &str, project: &str) -> Project {
    let project = Project::new(project, "");
    copy(&folder(name), project.root());
    let settings = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    let lines = settings.lines().map(|line| {
        if line.starts_with("key_prefix = ") { format!("key_prefix = \"{}\"", project.prefix) } else { line.to_owned() }
    });
    project.write("lyrox.toml", &lines.collect::<Vec<_>>().join("\n"));
    project
}

/// Runs the one command twice. The first run starts from nothing and passes every test; the second changes nothing.
/// Answers what the first printed.
#[track_caller]
pub fn from_nothing_twice(alone: &Alone) -> Output {
    assert!(!alone.path().join(".lyrox").exists() && !alone.path().join(".env").exists(), "nothing is there yet");
    let first = alone.lyrox(&["setup"]);
    first.ok().never_says("FAIL").says("is verified: ").says("Nothing is left behind");
    let before = State::read(alone.path());
    let second = alone.lyrox(&["setup", "--output", "json"]);
    second.ok();
    let report = second.json();
    let items = report["items"].as_array().expect("items");
    let changed: Vec<_> =
        items.iter().filter(|item| !matches!(item["change"].as_str(), None | Some("unchanged"))).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert!(items.iter().filter(|item| item["change"] == "unchanged").count() >= 2, "{second}");
    let after = State::read(alone.path());
    before.is_same_as(&after);
    first
}

/// Each of these lines stands in the output, blanks aside, in this order: the title of a test and the beginning of what
/// it says.
#[track_caller]
pub fn shows(output: &Output, lines: &[(&str, &str)]) {
    let mut rest = output.stdout.lines();
    for (title, said) in lines {
        let wanted = format!(": {title} PASS: {said}");
        let found = rest.any(|line| line.split_whitespace().collect::<Vec<_>>().join(" ").contains(&wanted));
        assert!(found, "`{wanted}` does not stand there, or not in this order\n{output}");
    }
}
