//! P7: a commit whose answer is lost is told truthfully.

use std::collections::BTreeSet;

use rand::RngExt as _;

use super::proxy::{Fault, Proxy};
use super::{figure, only_postgres, place, rounds, through};
use crate::support::Project;

const FILES: u32 = 6;

#[test]
fn a_commit_that_is_cut_off_is_told_as_the_server_has_it() {
    let rounds = rounds(3, 100);
    let (mut through_all, mut refused, mut untouched) = (0, 0, 0);
    for round in 0..rounds {
        let project = Project::new("p07", "");
        only_postgres(&project, "[migrations]\ntransaction = \"each\"");
        for number in 1..=FILES {
            // One file runs statement by statement.
            let header = if number == 4 { "-- lyrox: no-transaction\n" } else { "" };
            let sql = format!("{header}CREATE TABLE t{number} (id int);\nINSERT INTO t{number} VALUES (1);\n");
            project.write(&format!("migrations/{number}_m.up.sql"), &sql);
        }
        let nth = rand::rng().random_range(1..=FILES);
        let fault = if round % 3 == 2 { Fault::Request(nth) } else { Fault::Answer(nth) };
        let proxy = Proxy::new(place(&project), fault);
        through(&project, proxy.port);
        let run = project.lyrox(&["db", "migrate", "--output", "json"]);
        let note = format!("round {round}, {fault:?}\n{run}");
        if !proxy.has_happened() {
            untouched += 1;
        }
        let truth: BTreeSet<String> = project
            .sql("SELECT version FROM lyrox.migrations WHERE state = 'applied'")
            .into_iter()
            .filter_map(|row| row.into_iter().next().flatten())
            .collect();
        let report = run.json();
        let items = report["items"].as_array().expect("items");
        let version = |item: &serde_json::Value| {
            item["id"].as_str().and_then(|id| id.strip_prefix("postgres.")).map(str::to_owned)
        };
        let claimed: BTreeSet<String> =
            items.iter().filter(|item| item["change"] == "applied").filter_map(version).collect();
        assert_eq!(claimed, truth, "what is told as applied is what the server has: {note}");
        if run.code == 0 {
            assert_eq!(truth.len(), FILES as usize, "{note}");
            through_all += 1;
        } else {
            let failed = items.iter().find(|item| item["outcome"] == "fail").expect("a failure");
            // The server can be reached: nothing is left in doubt.
            assert_ne!(failed["code"], "LYX-IN-DOUBT", "{note}");
            assert!(!truth.contains(&version(failed).unwrap_or_default()), "{note}");
            refused += 1;
        }
        project.lyrox(&["db", "migrate"]).ok();
        for number in 1..=FILES {
            assert_eq!(project.sql_value(&format!("SELECT count(*) FROM t{number}")), "1", "t{number}: {note}");
        }
    }
    figure(
        "P7",
        format!(
            "{rounds} cuts ({untouched} without effect): {through_all} went on, {refused} told as rolled back, 0 wrong, 0 in doubt"
        ),
    );
}
