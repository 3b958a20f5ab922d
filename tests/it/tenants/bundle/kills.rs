//! A kill at each step of removal and import: the next run of the same command ends right.

use std::process::Stdio;
use std::time::Duration;

use super::super::Own;
use super::{everything, keys, same, same_bundles};
use crate::promises::{rounds, some_of};
use crate::support::Output;

const DELETE: [&str; 12] = [
    "deleting",
    "shut_out",
    "emptied.redis",
    "emptied.mongodb",
    "emptied.postgres",
    "taken.redis",
    "taken.mongodb",
    "taken.postgres",
    "proved",
    "copies",
    "forgotten",
    "none",
];
const IMPORT: [&str; 20] = [
    "registered",
    "postgres",
    "mongodb",
    "redis",
    "copied",
    "migrated",
    "cleared.postgres",
    "part.postgres",
    "filled.postgres",
    "checked.postgres",
    "cleared.mongodb",
    "part.mongodb",
    "filled.mongodb",
    "checked.mongodb",
    "cleared.redis",
    "part.redis",
    "filled.redis",
    "checked.redis",
    "handed",
    "active",
];

/// A project with two tenants that have something in every store, and a bundle of the first.
fn project(name: &str, model: &str) -> (Own, String) {
    let own = if model == "row" { Own::row(name) } else { Own::own_place(name, model) };
    let (slug, other) = (own.slug("k"), own.slug("o"));
    for (key, slug, base) in [("k", &slug, 0), ("o", &other, 100)] {
        own.create(key, &["--slug", slug, "--no-credentials"]);
        own.redis(&["SET", &format!("{}{{{slug}}}:x", own.prefix), "1"]);
        let place = format!("t_{slug}");
        match model {
            "row" => {
                own.sql(&format!(
                    "INSERT INTO sale SELECT {base} + n, '{key}', n FROM generate_series(1, 50) n; INSERT INTO line SELECT {base} + n, {base} + n FROM generate_series(1, 50) n"
                ));
                own.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": key, "company_id": key }] });
            }
            "schema" => {
                own.sql(&format!("INSERT INTO {place}.sale SELECT n, n FROM generate_series(1, 50) n"));
            }
            _ => {
                let url = own.postgres.replace(&format!("/{}", own.name), &format!("/{place}"));
                crate::support::sql(&url, "INSERT INTO sale SELECT n, n FROM generate_series(1, 50) n").expect("rows");
            }
        }
        if model != "row" {
            let client = own.mongodb.clone();
            crate::support::block_on(async {
                let client = mongodb::Client::with_uri_str(&client).await.expect("a client");
                let carts = client.database(&place).collection::<bson::Document>("carts");
                carts.insert_one(bson::doc! { "_id": 1 }).await.expect("a document");
            });
        }
    }
    own.export("k", "k.lyrox");
    (own, slug)
}

fn killed(own: &Own, arguments: &[&str], point: &str) -> Output {
    let output = own.command(arguments).env("LYROX_TEST_KILL", point).output().expect("lyrox");
    Output::new(arguments, &output)
}

#[track_caller]
fn is_gone(own: &Own, slug: &str, note: &str) {
    assert_eq!(own.state("k"), None, "{note}");
    assert!(keys(own).iter().all(|key| !key.contains(&format!("{{{slug}}}"))), "{note}: {:?}", keys(own));
    assert!(own.users(&format!("t_{slug}")).is_empty(), "{note}");
    let left = format!(
        "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname = 't_{slug}') + (SELECT count(*) FROM pg_database WHERE datname = 't_{slug}') \
         + (SELECT count(*) FROM pg_roles WHERE rolname = 't_{slug}') + (SELECT count(*) FROM lyrox.migrations WHERE tenant = 'k')"
    );
    assert_eq!(own.sql_value(&left), "0", "{note}");
}

fn others(own: &Own) -> Vec<String> {
    let mark = own.slug("o");
    everything(own, "no such text").into_keys().filter(|name| name.contains(&mark) || name.contains(",o,")).collect()
}

fn each_point(model: &str) {
    let (own, slug) = project(&format!("tb_kill_{}", &model[..1]), model);
    let before = others(&own);
    let delete = ["tenant", "delete", "k", "--confirm", &slug];
    let import = ["tenant", "import", "k.lyrox", "--no-credentials"];
    let mut seen = 0;
    for point in DELETE {
        let run = killed(&own, &delete, point);
        if run.code == 137 {
            seen += 1;
            if point == "forgotten" {
                own.lyrox(&delete).exit(2).says("no tenant");
            } else {
                assert_eq!(own.state("k").as_deref(), Some("deleting"), "{point}");
                own.lyrox(&["tenant", "create", "k", "--slug", &slug, "--no-credentials"])
                    .exit(6)
                    .says("tenant delete k");
                own.lyrox(&["tenant", "export", "k", "x.lyrox"]).exit(6);
                // Consent was given: it goes on without.
                own.lyrox(&["tenant", "delete", "k"]).ok().says("nothing is left");
            }
        } else {
            run.ok();
        }
        is_gone(&own, &slug, &format!("{model}, deleted, {point}"));
        own.lyrox(&import).ok();
    }
    assert!(seen >= 8, "{model}: {seen} points of the removal were reached");
    own.delete("k", &slug);
    let mut seen = 0;
    for point in IMPORT {
        let run = killed(&own, &import, point);
        let note = format!("{model}, imported, {point}");
        if run.code == 137 {
            seen += 1;
            if point == "active" {
                assert_eq!(own.state("k").as_deref(), Some("active"), "{note}");
            } else {
                assert_eq!(own.state("k").as_deref(), Some("pending"), "{note}");
                own.lyrox(&["tenant", "create", "k", "--slug", &slug, "--no-credentials"])
                    .exit(6)
                    .says("being imported");
                own.lyrox(&import).ok();
            }
        } else {
            run.ok();
        }
        let file = format!("{point}.lyrox");
        own.export("k", &file);
        same_bundles(&own, "k.lyrox", &file, &note);
        own.delete("k", &slug);
        is_gone(&own, &slug, &note);
    }
    assert!(seen >= 14, "{model}: {seen} points of the import were reached");
    same(&others(&own), &before, model);
}

#[test]
fn shared_tables_survive_a_kill_at_each_step() {
    each_point("row");
}

#[test]
fn a_schema_survives_a_kill_at_each_step() {
    each_point("schema");
}

#[test]
fn a_database_survives_a_kill_at_each_step() {
    each_point("database");
}

/// A removal and an import, each killed at random twice in a row, then run to its end. The stated number is 100.
#[test]
fn what_is_killed_at_random_is_finished_by_the_next() {
    let count = rounds(3, 100);
    let models = ["schema", "database", "row"];
    for (number, model) in models.into_iter().enumerate() {
        let (own, slug) = project(&format!("tb_rnd_{}", &model[..1]), model);
        let before = others(&own);
        let delete = ["tenant", "delete", "k", "--confirm", &slug];
        let import = ["tenant", "import", "k.lyrox", "--no-credentials"];
        for round in (0..count).filter(|round| *round as usize % models.len() == number) {
            let mut states = Vec::new();
            let cut = |arguments: &[&str], bound: u64, states: &mut Vec<Option<String>>| {
                for _ in 0..2 {
                    let mut child =
                        own.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("lyrox");
                    std::thread::sleep(some_of(Duration::from_millis(bound)));
                    let _ = child.kill();
                    child.wait().expect("an end");
                    states.push(own.state("k"));
                }
            };
            cut(&delete, 700, &mut states);
            let run = own.lyrox(&delete);
            let note = format!("round {round}, {model}, {states:?}");
            assert!(run.code == 0 || (run.code == 2 && run.stderr.contains("no tenant")), "{note}\n{run}");
            is_gone(&own, &slug, &note);
            cut(&import, 1200, &mut states);
            let run = own.lyrox(&import);
            let note = format!("round {round}, {model}, {states:?}");
            assert!(run.code == 0 || (run.code == 6 && run.stderr.contains("there already")), "{note}\n{run}");
            let file = format!("{round}.lyrox");
            own.export("k", &file);
            same_bundles(&own, "k.lyrox", &file, &note);
        }
        same(&others(&own), &before, model);
    }
}
