//! P17: a runner that lost its lease stops before its next step.

use std::time::Duration;

use rustix::process::Signal;

use super::{figure, is_soak, rounds, some_of, start, wait_until};
use crate::support::Project;

const STEPS: usize = 12;

/// MongoDB alone: catalog commands and inserts in turn, with slow ones between.
fn mongodb() -> Project {
    let project = Project::new("p17", "");
    project.write("lyrox.toml", &format!("[project]\nname = \"{0}\"\n[mongodb]\ndatabase = \"{0}\"\n", project.name));
    let steps: Vec<String> = (0..STEPS)
        .map(|n| {
            format!(
                "{{ \"insert\": \"marks\", \"documents\": [{{ \"n\": {n} }}] }},\n{{ \"create\": \"c{n}\" }},\n\
                 {{ \"count\": \"slow\", \"query\": {{ \"$where\": \"sleep(150) || true\" }} }}"
            )
        })
        .collect();
    project.write("migrations/1_setup.up.json", "[{ \"insert\": \"slow\", \"documents\": [{ \"n\": 1 }] }]");
    project.write("migrations/2_slow.up.json", &format!("[{}]", steps.join(",\n")));
    project
}

/// Redis alone: many small files, since each is one script.
fn redis() -> Project {
    let project = Project::new("p17r", "");
    let (name, prefix) = (&project.name, &project.prefix);
    project.write("lyrox.toml", &format!("[project]\nname = \"{name}\"\n[redis]\nkey_prefix = \"{prefix}\"\n"));
    for number in 1..=300 {
        project.write(&format!("migrations/{number:03}_m.up.redis"), "INCR {{prefix}}marks\nLPUSH {{prefix}}list x\n");
    }
    project
}

/// Lets the lease of the paused runner run out: by waiting in a soak, else by setting the server's clock against it.
fn run_out(project: &Project, is_mongodb: bool) {
    if is_soak() {
        std::thread::sleep(Duration::from_secs(16));
    } else if is_mongodb {
        project.mongo(bson::doc! { "update": "lyrox_lock", "updates": [
        { "q": { "_id": "lock" }, "u": { "$set": { "expires": bson::DateTime::from_millis(0) } } } ] });
    } else {
        project.redis(&["DEL", &format!("{}lyrox:lock", project.prefix)]);
    }
}

fn is_held(project: &Project, is_mongodb: bool) -> bool {
    if is_mongodb {
        let found = project.mongo(bson::doc! { "count": "marks" });
        return found.get_i32("n").is_ok_and(|count| count > 0);
    }
    project.redis(&["EXISTS", &format!("{}marks", project.prefix)]) == redis::Value::Int(1)
}

#[test]
fn a_paused_runner_does_nothing_after_its_lease_was_taken_over() {
    let rounds = rounds(2, 50);
    let (mut stopped, mut in_doubt, mut early) = (0, 0, 0);
    for round in 0..rounds {
        let is_mongodb = round % 2 == 0;
        let project = if is_mongodb { mongodb() } else { redis() };
        let mut first = start(&project, &["db", "migrate"]);
        wait_until(Duration::from_secs(20), "the first step", || is_held(&project, is_mongodb) || first.has_ended());
        let most = if is_mongodb { 1200 } else { 60 };
        std::thread::sleep(some_of(Duration::from_millis(most)));
        first.signal(Signal::STOP);
        run_out(&project, is_mongodb);
        let second = project.lyrox(&["db", "migrate", "--lock-wait", "40s"]);
        let is_unsettled = second.code == 6;
        if is_unsettled {
            // The command that was under way may have taken effect: that is told, and nothing is guessed.
            second.says("step").says("lyrox db repair");
            in_doubt += 1;
        } else {
            second.ok();
        }
        let before = marks(&project, is_mongodb);
        first.signal(Signal::CONT);
        let first = first.end();
        if first.code == 0 {
            // It had done all its steps before it was paused.
            early += 1;
        } else if first.code == 6 {
            // The pause broke its connection as well, in the middle of a step: that step is named.
            first.says("LYX-IN-DOUBT").says("step");
            stopped += 1;
        } else {
            assert_eq!(first.code, 5, "round {round}\n{first}");
            first.says("LYX-LOCK-LOST");
            stopped += 1;
        }
        assert_eq!(marks(&project, is_mongodb), before, "round {round}: a step after the takeover\n{first}");
        if !is_unsettled {
            let expected = if is_mongodb { STEPS.to_string() } else { "300 300".to_owned() };
            assert_eq!(before, expected, "round {round}: each step once\n{second}");
        }
    }
    figure(
        "P17",
        format!(
            "{rounds} pauses: {stopped} stopped, {early} had ended, {in_doubt} in doubt; 0 steps after the takeover"
        ),
    );
}

fn marks(project: &Project, is_mongodb: bool) -> String {
    if is_mongodb {
        let found = project.mongo(bson::doc! { "count": "marks" });
        return found.get_i32("n").expect("a count").to_string();
    }
    let text = |value| match value {
        redis::Value::BulkString(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        redis::Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let marks = text(project.redis(&["GET", &format!("{}marks", project.prefix)]));
    let list = text(project.redis(&["LLEN", &format!("{}list", project.prefix)]));
    format!("{marks} {list}")
}
