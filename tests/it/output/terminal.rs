//! What a terminal shows: as wide as it is, coloured only where that is wanted, still where nobody watches.

use std::process::Stdio;

use super::project;
use crate::support::servers::binary;
use crate::support::{Output, Project};

/// Runs lyrox at a terminal of so many columns. What it drew is in `stdout`, escapes included.
fn terminal(project: &Project, columns: usize, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let words: Vec<String> = arguments.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("stty cols {columns} rows 50; '{}' {}", binary(), words.join(" "));
    let mut command = project.command(&[]);
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(project.root()).env_clear().stdin(Stdio::null());
    for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))) {
        script.env(name, value);
    }
    script.env("TERM", "xterm-256color").envs(variables.iter().copied());
    command.stdin(Stdio::null());
    Output::new(arguments, &script.output().expect("script, of util-linux"))
}

/// The lines as they end up on the screen: escapes taken out, what a carriage return overwrote taken away.
fn lines(output: &Output) -> Vec<String> {
    let mut text = String::new();
    let mut rest = output.stdout.as_str();
    while let Some(at) = rest.find('\u{1b}') {
        text.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        let end = tail.find(|c: char| c.is_ascii_alphabetic()).map_or(tail.len(), |end| end + 1);
        rest = &tail[end..];
    }
    text.push_str(rest);
    let shown = |line: &str| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or_default().to_owned();
    text.replace("\r\n", "\n").lines().map(shown).collect()
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let project = project("output_width");
    project.write(
        "migrations/20251108120000_a_name_that_says_what_it_does.up.sql",
        "CREATE TABLE wide (id int PRIMARY KEY);",
    );
    project.write("migrations/20251108120001_fails.up.sql", "CREATE TABLE wide (id int);");
    for columns in [64, 80, 100, 140] {
        for (arguments, code) in [
            (&["check"][..], 0),
            (&["db", "migrate"], 1),
            (&["db", "status"], 0),
            (&["db", "seed"], 0),
            (&["db", "smoke-test"], 0),
            (&["-e", "nowhere", "check"], 2),
        ] {
            let run = terminal(&project, columns, &[], arguments);
            run.exit(code);
            assert!(run.stdout.contains("\u{1b}["), "colour at a terminal\n{run}");
            for line in lines(&run) {
                // A command that is to be copied stays in one piece; an excerpt is the file's own line.
                let is_whole = line.contains("hint:") || line.contains(" | ");
                assert!(
                    is_whole || line.chars().count() <= columns,
                    "{columns} columns, {arguments:?}: {line:?}\n{run}"
                );
            }
        }
    }
}

#[test]
fn colour_is_where_it_is_wanted_and_nowhere_else() {
    let project = project("output_colour");
    let colourless: [(&[(&str, &str)], &[&str]); 4] = [
        (&[("NO_COLOR", "1")], &["check"]),
        (&[("TERM", "dumb")], &["check"]),
        (&[], &["--color", "never", "check"]),
        (&[("NO_COLOR", "1"), ("CI", "true")], &["db", "migrat"]),
    ];
    for (variables, arguments) in colourless {
        let run = terminal(&project, 80, variables, arguments);
        assert!(!run.stdout.contains("\u{1b}["), "{variables:?} {arguments:?}\n{run}");
    }
    // An empty NO_COLOR is none; what is asked for goes before it.
    for (variables, arguments) in
        [(&[("NO_COLOR", "")][..], &["check"][..]), (&[("NO_COLOR", "1")], &["--color", "always", "check"])]
    {
        let run = terminal(&project, 80, variables, arguments);
        assert!(run.stdout.contains("\u{1b}[32m"), "{variables:?} {arguments:?}\n{run}");
    }
    // No meaning by colour alone: without it the words are the same.
    let words = |variables: &[(&str, &str)]| {
        let run = terminal(&project, 80, variables, &["config", "check"]);
        let mut lines = lines(&run);
        // The last line tells the time it took.
        lines.pop();
        lines.join("\n")
    };
    assert_eq!(words(&[]), words(&[("NO_COLOR", "1")]));
    // A pipe beside a terminal is judged alone.
    let piped = terminal(&project, 80, &[], &["check", "--output", "json"]);
    assert!(!piped.stdout.contains('\u{1b}'), "{piped}");
}

#[test]
fn nothing_moves_where_nobody_watches() {
    let project = project("output_still");
    let rows: String = (0..200_000).map(|number| format!("{number},some text of row {number}\n")).collect();
    project.write("seeds/dev/postgres/note.csv", &format!("id,body\n{rows}"));
    project.remove("seeds/dev/postgres/note.toml");
    project.lyrox(&["db", "migrate"]).ok();
    let moves = |output: &Output| {
        // A terminal adds one carriage return to each line; those that move the cursor stand alone.
        let bare = output.stdout.replace("\r\n", "\n");
        bare.contains('\r') || bare.contains("\u{1b}[2K") || bare.contains("\u{1b}[1A")
    };
    for variables in [&[("CI", "true"), ("LYROX_ENV_FILE", ".env")][..], &[("TERM", "dumb")]] {
        let run = terminal(&project, 80, variables, &["db", "seed"]);
        run.ok();
        assert!(!moves(&run), "{variables:?}\n{run}");
    }
    project.sql("TRUNCATE note");
    let watched = terminal(&project, 80, &[], &["db", "seed"]);
    watched.ok();
    assert!(moves(&watched), "a person sees how far it is\n{watched}");
}
