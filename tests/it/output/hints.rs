//! Hints are run as they stand: they repeat what was typed, lead to the same place, and a report that is lost is told.

use std::process::Stdio;

use super::project;
use crate::support::Output;

#[test]
fn a_hint_that_asks_for_consent_repeats_the_whole_command() {
    let project = project("hints_again");
    project.write("migrations/2_b.up.sql", "CREATE TABLE other (id int);");
    project.write("migrations/2_b.down.sql", "DROP TABLE other;");
    project.lyrox(&["db", "migrate"]).ok();
    let name = project.name.as_str();
    for (typed, hint) in [
        (&["db", "rollback", "--version", "1"][..], "lyrox db rollback --version 1 --yes".to_owned()),
        (
            &["--only", "postgres", "db", "baseline", "--to", "1"],
            "lyrox --only postgres db baseline --to 1 --yes".into(),
        ),
        (
            &["db", "repair", "--accept", "1", "--only", "postgres"],
            "lyrox db repair --accept 1 --only postgres --yes".into(),
        ),
        (&["db", "reset", "--confirm", "x", "--no-seed"], format!("lyrox db reset --no-seed --confirm {name}")),
        (&["--only", "redis", "db", "reset"], format!("lyrox --only redis db reset --confirm {name}:")),
    ] {
        project.lyrox(typed).exit(3).says(&format!("hint: {hint}\n"));
    }
}

#[test]
fn a_hint_leads_to_the_environment_and_the_folder_that_were_given() {
    let project = project("hints_place");
    let toml = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    project.write("lyrox.toml", &format!("{toml}\n[env.staging]\n"));
    project.lyrox(&["-e", "staging", "db", "diff"]).says("hint: lyrox -e staging db migrate");
    let folder = project.root().display().to_string();
    project.lyrox(&["-C", &folder, "db", "diff"]).says(&format!("hint: lyrox -C {folder} db migrate"));
    project.lyrox(&["-e", "stagin", "db", "status"]).exit(2).says("did you mean -e staging?");
}

#[test]
fn a_schema_that_is_there_already_has_its_way_in() {
    let project = project("hints_baseline");
    project.sql("CREATE TABLE note (id int PRIMARY KEY, body text)");
    project.lyrox(&["db", "migrate"]).exit(1).says("lyrox db baseline --only postgres --to 1");
    project.lyrox(&["db", "baseline", "--only", "postgres", "--to", "1", "--yes"]).ok();
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_report_that_nobody_got_is_no_success() {
    let project = project("hints_full");
    for arguments in [&["db", "status"][..], &["--output", "json", "db", "status"], &["query", "postgres", "SELECT 1"]]
    {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
        let output = project.command(arguments).stdout(Stdio::from(full)).output().expect("lyrox runs");
        Output::new(arguments, &output).exit(1).says("LYX-WRITE-FAILED").says("what was done stands");
    }
}

#[test]
fn a_project_without_a_store_is_not_all_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).expect("a file");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::support::servers::binary());
        command.args(arguments).current_dir(folder.path()).env_clear().stdin(Stdio::null());
        Output::new(arguments, &command.output().expect("lyrox runs"))
    };
    write("lyrox.toml", "");
    run(&["check"]).exit(2).says("lyrox.toml names no store").says("[postgres], [mongodb], [redis]");
    write("lyrox.toml", "[redis]\n");
    write(".env", "# one\n\nA=b\nREDIS_URL=redis://h (what for)\n");
    run(&["check"]).exit(2).says("LYX-FILE-SYNTAX").says(".env:4").never_says("redis://h");
}
