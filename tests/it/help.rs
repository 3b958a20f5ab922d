//! Every command's help has an example, and every example works as it is written.

use std::path::Path;

use clap::CommandFactory as _;
use lyrox::cli::Cli;

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

fn commands() -> Vec<(Vec<String>, clap::Command)> {
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
    lines.map(|line| line.trim_start().split("   ").next().unwrap_or_default().trim_end().to_owned()).collect()
}

#[test]
fn every_command_has_an_example_in_its_help() {
    for (words, command) in commands() {
        assert!(!examples(&command).is_empty(), "`lyrox {}` has no example", words.join(" "));
    }
}

#[test]
fn every_example_works_as_it_is_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let project = Project::new("help", "");
    let prefix = project.prefix.clone();
    for part in ["migrations", "seeds", "smoke"] {
        crate::setup::copy(&root.join(part), &project.path(part));
    }
    // LYROX OS in databases of this test: examples name its tables and versions.
    let role = format!("{}_app", project.name);
    let own = std::fs::read_to_string(root.join("lyrox.toml")).expect("lyrox.toml");
    let own = own
        .replace("name = \"lyrox-os\"", &format!("name = \"{}\"", project.name))
        .replace("lyrox_db", &project.name)
        .replace("\"lyrox_app\"", &format!("\"{role}\""))
        .replace("\"lyrox:\"", &format!("\"{prefix}\""));
    project.write("lyrox.toml", &format!("{own}\n[env.staging]\n"));
    for file in std::fs::read_dir(project.path("smoke")).expect("smoke").flatten() {
        let text = std::fs::read_to_string(file.path()).expect("a test");
        std::fs::write(file.path(), text.replace("lyrox_app", &role)).expect("a test");
    }
    std::fs::create_dir(project.path("bin")).expect("a folder");
    std::os::unix::fs::symlink(crate::support::servers::binary(), project.path("bin/lyrox")).expect("a link");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "seed"]).ok();

    for (words, command) in commands() {
        for example in examples(&command) {
            // What an example stands for, in this project; and how it may end here.
            let line = example
                .replace("lyrox_os", &project.name)
                .replace("--confirm PROJECT", &format!("--confirm {}", project.name))
                .replace("NAME", "example");
            let line = line.trim_end_matches(" --follow").to_owned();
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", &line]).current_dir(project.root()).env_clear().stdin(std::process::Stdio::null());
            for name in ["HOME", "USER", "LYROX_CACHE_DIR", "TMPDIR"] {
                if let Some(value) = std::env::var_os(name) {
                    shell.env(name, value);
                }
            }
            shell.env(
                "PATH",
                format!("{}:{}", project.path("bin").display(), std::env::var("PATH").unwrap_or_default()),
            );
            shell.env("DATABASE_URL", &project.postgres).env("DIRECT_URL", &project.postgres);
            shell.env("MONGODB_URI", &project.mongodb).env("REDIS_URL", &project.redis);
            let output = Output::new(&[line.as_str()], &shell.output().expect("a shell"));
            let allowed: &[i32] = match words.join(" ").as_str() {
                // There is nothing to repair, and a marked store is refused for another environment.
                "db repair" => &[2],
                "env mark" => &[0, 6],
                _ if line.contains("-e staging") || line.contains("-e production") => &[0, 2, 3, 6],
                "db status" => &[0, 8],
                "db rollback" | "db migrate" => &[0],
                _ => &[0],
            };
            assert!(allowed.contains(&output.code), "the example of `lyrox {}`\n{output}", words.join(" "));
        }
    }
    let _ = project.sql(&format!("DROP OWNED BY {role}"));
    let _ = project.sql(&format!("DROP ROLE {role}"));
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
