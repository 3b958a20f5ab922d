//! A kill at each step of the making: the next run of the same command ends right.

use std::process::Stdio;

use lyrox::kind::StoreKind;

use super::Own;
use crate::promises::{rounds, some_of};
use crate::support::{Output, sql};

const POINTS: [&str; 9] =
    ["registered", "postgres", "mongodb", "redis", "copied", "migrated", "seeded", "handed", "active"];

fn project(name: &str, model: &str) -> Own {
    if model == "row" {
        let own = Own::row(name);
        own.write("seeds/tenant/postgres/plan.toml", "[rows.small]\nname = \"small\"\n");
        own
    } else {
        Own::own_place(name, model)
    }
}

/// Complete in every store, and its users log in.
#[track_caller]
fn is_whole(own: &Own, model: &str, slug: &str, file: &str, note: &str) {
    assert_eq!(own.state(slug).as_deref(), Some("active"), "{note}");
    own.lyrox(&["tenant", "show", slug]).ok().never_says("not known here");
    let redis = own.login(file, slug, StoreKind::Redis);
    own.redis_as(&redis, &["SET", &format!("{}{{{slug}}}:x", own.prefix), "1"])
        .unwrap_or_else(|why| panic!("{note}: {why}"));
    if model == "row" {
        assert_eq!(own.sql_value(&format!("SELECT count(*) FROM company WHERE id = '{slug}'")), "1", "{note}");
        return;
    }
    let url = own.login(file, slug, StoreKind::Postgres);
    let rows = sql(&url, "SELECT count(*) FROM setting").unwrap_or_else(|why| panic!("{note}: {why}"));
    assert_eq!(rows[0][0].as_deref(), Some("1"), "{note}");
    let mongo = own.login(file, slug, StoreKind::Mongodb);
    own.mongo_as(&mongo, &format!("t_{slug}"), bson::doc! { "count": "carts" })
        .unwrap_or_else(|why| panic!("{note}: {why}"));
}

fn killed_at_each_point(model: &str) {
    let own = project(&format!("tn_kill_{}", &model[..1]), model);
    for (number, point) in POINTS.into_iter().enumerate() {
        if model == "row" && point == "migrated" {
            continue;
        }
        let slug = own.slug(&format!("k{number}"));
        let file = format!("{point}.ndjson");
        let arguments = ["tenant", "create", &slug, "--credentials", &file];
        let output = own.command(&arguments).env("LYROX_TEST_KILL", point).output().expect("lyrox");
        let killed = Output::new(&arguments, &output);
        assert_eq!(killed.code, 137, "{point}\n{killed}");
        let state = if point == "active" { "active" } else { "pending" };
        assert_eq!(own.state(&slug).as_deref(), Some(state), "{model}, killed at {point}");
        own.lyrox(&arguments).ok();
        // Passwords of a tenant that was complete are in the file already.
        is_whole(&own, model, &slug, &file, &format!("{model}, killed at {point}"));
    }
}

#[test]
fn a_tenant_of_shared_tables_survives_a_kill_at_each_step() {
    killed_at_each_point("row");
}

#[test]
fn a_tenant_with_a_schema_survives_a_kill_at_each_step() {
    killed_at_each_point("schema");
}

#[test]
fn a_tenant_with_a_database_survives_a_kill_at_each_step() {
    killed_at_each_point("database");
}

/// Killed at random, twice in a row, then run to its end. The stated number is 100.
#[test]
fn a_making_that_is_killed_at_random_is_finished_by_the_next() {
    for round in 0..rounds(3, 100) {
        let model = ["schema", "database", "row"][round as usize % 3];
        let own = project(&format!("tn_rnd{}", &model[..1]), model);
        let slug = own.slug("a");
        let arguments = ["tenant", "create", &slug, "--credentials", "c.ndjson"];
        let mut states = Vec::new();
        for _ in 0..2 {
            let mut child = own.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
            std::thread::sleep(some_of(std::time::Duration::from_millis(900)));
            let _ = child.kill();
            child.wait().expect("an end");
            states.push(own.state(&slug));
        }
        let note = format!("round {round}, {model}, {states:?}");
        let run = own.lyrox(&arguments);
        // A run that had come to its end left a file that says so.
        assert!(run.code == 0 || (run.code == 2 && run.stderr.contains("never overwritten")), "{note}\n{run}");
        is_whole(&own, model, &slug, "c.ndjson", &note);
    }
}
