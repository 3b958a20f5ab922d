//! dbmate.

use super::{Tool, both_ways, changed, holds, open, run};
use crate::support::Project;

struct Dbmate;

/// dbmate asks for TLS unless the URL says that there is none.
fn dbmate(project: &Project, arguments: &[&str]) -> String {
    let mark = if project.postgres.contains('?') { '&' } else { '?' };
    let url = format!("{}{mark}sslmode=disable", project.postgres);
    let mut all = vec!["--url", url.as_str(), "--no-dump-schema"];
    all.extend(arguments);
    run(project, "dbmate", &all)
}

impl Tool for Dbmate {
    fn format(&self) -> &'static str {
        "dbmate"
    }

    fn settings(&self) -> String {
        "dir = \"db/migrations\"\n".into()
    }

    fn version(&self, project: &Project) -> String {
        run(project, "dbmate", &["--version"])
    }

    fn write(&self, project: &Project, number: usize) {
        let option = if number == 4 { " transaction:false" } else { "" };
        let text = format!(
            "-- table {number}\n-- migrate:up{option}\nCREATE TABLE t{number} (id int PRIMARY KEY);\n\n-- migrate:down{option}\nDROP TABLE t{number};\n"
        );
        let text = if number.is_multiple_of(2) { text.replace('\n', "\r\n") } else { text };
        project.write(&format!("db/migrations/{number:03}_make_t{number}.sql"), &text);
    }

    fn up(&self, project: &Project) {
        dbmate(project, &["up"]);
    }

    fn check(&self, project: &Project, applied: usize) {
        // It ends with an error where something is pending.
        let text = dbmate(project, &["status", "--exit-code"]);
        assert!(text.contains(&format!("Applied: {applied}")) && text.contains("Pending: 0"), "{text}");
        let text = dbmate(project, &["up"]);
        assert!(!text.contains("Applying"), "{text}");
    }

    fn down(&self, project: &Project) -> bool {
        dbmate(project, &["down"]);
        true
    }

    fn has_way_back(&self) -> bool {
        true
    }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn it_runs_both_ways() {
    both_ways(&Dbmate);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn a_file_without_a_transaction_and_a_late_one() {
    let project = open(&Dbmate);
    Dbmate.write(&project, 1);
    let bare = "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY t1_id ON t1 (id);\n-- migrate:down transaction:false\nDROP INDEX CONCURRENTLY t1_id;\n";
    project.write("db/migrations/20240101000000_index.sql", bare);
    let migrate = project.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(migrate.ok(), "applied"), 2, "{migrate}");
    Dbmate.check(&project, 2);
    Dbmate.write(&project, 2);
    dbmate(&project, &["up"]);
    holds(&project, 2);
    project.lyrox(&["db", "status", "--check"]).ok().says("3 applied, 0 pending");
    Dbmate.write(&project, 3);
    project.lyrox(&["db", "migrate"]).ok();
    Dbmate.check(&project, 4);
}
