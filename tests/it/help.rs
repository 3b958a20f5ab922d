//! Every command's help has an example, and every example works as it is written.

use clap::CommandFactory as _;
use lyrox::cli::Cli;

use crate::setup::Alone;
use crate::support::{Output, Project};

/// Every command below `root` that can be run, with its words.
fn leaves(command: &clap::Command, words: Vec<String>, found: &mut Vec<(Vec<String>, clap::Command)>) {
    let below: Vec<_> =
        command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()).collect();
    if below.is_empty() || !command.is_subcommand_required_set() {
        found.push((words.clone(), command.clone()));
    }
    for command in below {
        let mut words = words.clone();
        words.push(command.get_name().to_owned());
        leaves(command, words, found);
    }
}

/// Every command that can be run.
pub fn commands() -> Vec<(Vec<String>, clap::Command)> {
    let mut root = Cli::command();
    root.build();
    let mut found = Vec::new();
    leaves(&root, Vec::new(), &mut found);
    found
}

fn examples(command: &clap::Command) -> Vec<String> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let after = after.split("Examples:").nth(1).unwrap_or_default().to_owned();
    let lines = after.lines().filter(|line| line.starts_with("  ") && line.contains("lyrox"));
    lines.map(|line| line.trim_start().split("  ").next().unwrap_or_default().trim_end().to_owned()).collect()
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for (words, command) in commands() {
        assert!(!examples(&command).is_empty(), "`lyrox {}` has no example", words.join(" "));
    }
}

/// LYROX OS on servers of its own: examples name its tables and versions, stop its servers and purge them.
#[test]
fn every_example_works_as_it_is_written() {
    let alone = Alone::lyrox_os();
    let configuration = std::fs::read_to_string(alone.path().join("lyrox.toml")).expect("lyrox.toml");
    std::fs::write(alone.path().join("lyrox.toml"), format!("{configuration}\n[env.staging]\n")).expect("lyrox.toml");
    std::fs::create_dir(alone.path().join("bin")).expect("a folder");
    std::os::unix::fs::symlink(crate::support::servers::binary(), alone.path().join("bin/lyrox")).expect("a link");
    let path = format!("{}:{}", alone.path().join("bin").display(), std::env::var("PATH").unwrap_or_default());
    for (words, command) in commands() {
        let words = words.join(" ");
        for example in examples(&command) {
            // Examples are independent of each other: one may have stopped, purged or rolled back.
            std::fs::remove_dir_all(alone.path().join("migrations")).expect("migrations");
            let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
            crate::setup::copy(&own, &alone.path().join("migrations"));
            if words != "setup" && words != "init" {
                alone.lyrox(&["-q", "setup", "--skip", "check,expect,smoke-test"]).ok();
            }
            // What an example leaves to the reader.
            let line = example.replace("PROJECT", "lyrox-os").replace("NAME", "example");
            let line = line.trim_end_matches(" --follow");
            let mut shell = alone.command("sh");
            if line.contains("--env ") {
                let urls = lyrox::servers::running(alone.path()).expect("running servers");
                for (name, url) in
                    [("DATABASE_URL", urls.postgres), ("MONGODB_URI", urls.mongodb), ("REDIS_URL", urls.redis)]
                {
                    shell.env(name, url.expect("a URL"));
                }
            }
            let users = "id,email,passwordHash\n6f1c2a52-0000-4000-8000-00000000000a,a@example.com,x\n";
            std::fs::write(alone.path().join("users.csv"), users).expect("a file");
            alone.command("sh").args(["-c", "gzip -kf users.csv"]).output().expect("a packed file");
            let output = shell.args(["-c", line]).env("PATH", &path).env("NO_COLOR", "1").output().expect("a shell");
            let output = Output::new(&[line], &output);
            let expected: &[i32] = match words.as_str() {
                // There is nothing to repair, a folder can be made into a project once.
                "db repair" | "init" => &[0, 2],
                // No environment but `local` has a URL here, and nobody is asked.
                _ if line.contains("-e ") => &[0, 2, 3, 6],
                "db reset" | "db rollback" => &[0, 3],
                // The folder is in no git repository.
                // The companies of the seed are no tenants before they are adopted.
                "tenant verify" => &[0, 1],
                // There is no tenant `acme`, and no file of it.
                "tenant export" | "tenant import" | "tenant delete" => &[2],
                "db lint" if line.contains("--base") => &[2],
                "db status" => &[0, 8],
                // Nothing was dumped yet.
                "db dump" => &[0, 6],
                _ => &[0],
            };
            assert!(expected.contains(&output.code), "the example of `lyrox {words}`\n{output}");
        }
    }
}

#[test]
fn help_and_version_are_on_standard_output() {
    let project = Project::new("help_out", "");
    for arguments in [&["--help"][..], &["--version"], &["help", "db", "migrate"], &["db", "seed", "--help"]] {
        let run = project.lyrox(arguments);
        run.ok();
        assert!(!run.stdout.is_empty() && run.stderr.is_empty(), "{run}");
    }
}
