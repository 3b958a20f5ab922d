//! `tenant verify`: every leak that is known, one at a time, is named with its object; the closed version passes.

mod fan;
mod kills;
mod places;
mod report;
mod row;

use super::Own;
use crate::support::Output;

/// How a leak is opened and closed again.
pub enum Act {
    /// Statements for PostgreSQL, in the project's database.
    Sql(String),
    /// A command for the project's MongoDB database, or another one.
    Mongo(String, bson::Document),
    /// A command for Redis.
    Redis(Vec<String>),
}

impl Act {
    fn run(&self, own: &Own) {
        match self {
            Self::Sql(sql) => drop(own.sql(sql)),
            Self::Mongo(database, command) => {
                let database = own.database().client().database(database);
                let shown = command.to_string();
                let done = crate::support::block_on(async { database.run_command(command.clone()).await });
                done.unwrap_or_else(|error| panic!("{shown}: {error}"));
            }
            Self::Redis(words) => drop(own.redis(&words.iter().map(String::as_str).collect::<Vec<_>>())),
        }
    }
}

/// One leak: the finding that has to name it, how it is opened, how it is closed.
pub struct Leak {
    pub id: String,
    pub open: Vec<Act>,
    pub close: Vec<Act>,
}

/// A leak of PostgreSQL.
pub fn sql(id: impl Into<String>, open: &str, close: &str) -> Leak {
    Leak { id: id.into(), open: vec![Act::Sql(open.into())], close: vec![Act::Sql(close.into())] }
}

/// A leak of Redis.
pub fn redis(id: impl Into<String>, open: &[&str], close: &[&str]) -> Leak {
    let act = |words: &[&str]| vec![Act::Redis(words.iter().map(|word| (*word).to_owned()).collect())];
    Leak { id: id.into(), open: act(open), close: act(close) }
}

/// The ids of the findings of a run.
pub fn findings(run: &Output) -> Vec<String> {
    let items = run.json()["items"].as_array().cloned().unwrap_or_default();
    let failed = items.iter().filter(|item| item["outcome"] == "fail");
    failed.map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Opens each leak alone: it is named, with how it was reached and what closes it; then all of them are closed.
#[track_caller]
pub fn each_is_named(own: &Own, leaks: &[Leak]) {
    let verify = || own.lyrox(&["tenant", "verify", "--output", "json"]);
    let clean = verify();
    clean.ok();
    let mut missed = Vec::new();
    let mut before: Option<&str> = None;
    for leak in leaks {
        leak.open.iter().for_each(|act| act.run(own));
        let run = verify();
        let found = findings(&run);
        let item = run.json()["items"]
            .as_array()
            .and_then(|items| items.iter().find(|item| item["id"] == leak.id && item["outcome"] == "fail").cloned());
        match item {
            None => missed.push(format!("{}: exit {}, {found:?}", leak.id, run.code)),
            Some(item) => {
                for field in ["detail", "hint", "code"] {
                    if item[field].as_str().is_none_or(str::is_empty) {
                        missed.push(format!("{}: no {field}: {item}", leak.id));
                    }
                }
                if run.code != 1 {
                    missed.push(format!("{}: exit {}", leak.id, run.code));
                }
            }
        }
        // The one before it is closed.
        if let Some(before) = before.filter(|before| *before != leak.id && found.iter().any(|id| id == before)) {
            missed.push(format!("{before} is named although it is closed"));
        }
        before = Some(&leak.id);
        leak.close.iter().for_each(|act| act.run(own));
    }
    assert!(missed.is_empty(), "{} of {}:\n{}", missed.len(), leaks.len(), missed.join("\n"));
    verify().ok();
}
