//! What the guides print is true: every command in `docs/recipes.md` and `docs/replace-your-scripts.md` is run, in the
//! order it stands there, in the project that its section names; what the examples' pages show is what comes out.

use std::collections::BTreeMap;
use std::path::Path;

use super::{alone, folder};
use crate::setup::Alone;
use crate::support::Output;

const EXAMPLES: [&str; 4] = ["helvino", "companyos", "conference-chat", "chatmcp"];

fn read(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect(file)
}

/// The sections of a guide: heading, text, the commands in it.
fn sections(text: &str) -> Vec<(String, String, Vec<String>)> {
    text.split("\n## ")
        .skip(1)
        .map(|section| {
            let (heading, body) = section.split_once('\n').expect("a heading");
            let commands = body.lines().filter_map(|line| line.strip_prefix("$ lyrox ")).map(str::to_owned);
            (heading.to_owned(), body.to_owned(), commands.collect())
        })
        .collect()
}

/// The project that a section speaks of.
fn project_of(heading: &str, body: &str) -> &'static str {
    EXAMPLES.into_iter().find(|name| body.contains(&format!("examples/{name}"))).unwrap_or_else(|| {
        if body.contains("repository's root") { "lyrox-os" } else { panic!("{heading} names no project") }
    })
}

fn made(name: &str) -> Alone {
    if name == "lyrox-os" { Alone::lyrox_os() } else { alone(name) }
}

/// Runs a command as a shell reads it.
fn shell(project: &Alone, command: &str) -> Output {
    let line = format!("\"$LYROX\" {command}");
    let output = project
        .command("sh")
        .env("LYROX", crate::support::servers::binary())
        .args(["-c", &line])
        .output()
        .expect("a shell");
    Output::new(&[command], &output)
}

#[test]
fn every_recipe_works() {
    let text = read("docs/recipes.md");
    let mut projects: BTreeMap<&str, Alone> = BTreeMap::new();
    let mut count = 0;
    for (heading, body, commands) in sections(&text) {
        assert!(!commands.is_empty(), "{heading} has no command");
        let name = project_of(&heading, &body);
        let project = projects.entry(name).or_insert_with(|| {
            let project = made(name);
            project.lyrox(&["setup", "--skip", "smoke-test"]).ok();
            project
        });
        for command in commands {
            shell(project, &command).ok();
            count += 1;
        }
    }
    assert!(count > 20 && projects.len() == 5, "{count} commands in {} projects", projects.len());
}

#[test]
fn pruning_takes_what_is_over_and_nothing_else() {
    let chat = super::shared("conference-chat", "sys_prune");
    chat.lyrox(&["db", "migrate"]).ok();
    chat.sql(
        "INSERT INTO session SELECT 'old' || n, '{}', now() - interval '1 s' FROM generate_series(1, 3) n; \
         INSERT INTO session SELECT 'new' || n, '{}', now() + interval '1 h' FROM generate_series(1, 2) n",
    );
    let text = read("docs/recipes.md");
    let recipe = text.lines().find(|line| line.starts_with("$ lyrox query postgres 'DELETE FROM session WHERE expire"));
    let sql = recipe.and_then(|line| line.split('\'').nth(1)).expect("the recipe");
    // Without --write it is refused, and nothing is gone.
    assert_ne!(chat.lyrox(&["query", "postgres", sql]).code, 0);
    assert_eq!(chat.sql_value("SELECT count(*) FROM session"), "5");
    chat.lyrox(&["query", "postgres", sql, "--write"]).ok();
    assert_eq!(chat.sql_value("SELECT string_agg(sid, ' ' ORDER BY sid) FROM session"), "new1 new2");
}

#[test]
fn what_replaces_the_scripts_works() {
    let text = read("docs/replace-your-scripts.md");
    let mut seen = Vec::new();
    for (heading, body, commands) in sections(&text) {
        let name = project_of(&heading, &body);
        assert_eq!(commands.first().map(String::as_str), Some("setup"), "{heading} begins with its one command");
        assert!(body.contains("\nBefore: ") && body.contains("\nAfter:"), "{heading}");
        let project = made(name);
        for command in commands {
            shell(&project, &command).ok();
        }
        seen.push(name);
    }
    assert_eq!(seen, ["lyrox-os", "helvino", "companyos", "conference-chat", "chatmcp"]);
}

/// The second command of each page, and the lines that it shows.
#[test]
fn the_pages_of_the_examples_show_what_comes_out() {
    for name in EXAMPLES {
        let page = std::fs::read_to_string(folder(name).join("README.md")).expect("README.md");
        let commands: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("$ lyrox ")).collect();
        assert_eq!(commands.first(), Some(&"setup"), "{name}");
        assert!(page.lines().count() <= 60, "{name}: one screen");
        let project = alone(name);
        project.lyrox(&["setup", "--skip", "smoke-test"]).ok();
        for command in &commands[1..] {
            let output = shell(&project, command);
            output.ok();
            let shown = page.lines().filter(|line| line.starts_with("Test "));
            let mut count = 0;
            for line in shown {
                // Ids and markers differ from run to run: what stands before the first of them is compared.
                let wanted =
                    squeezed(line.split(['(', '.']).next().unwrap_or(line)).replace("user-lyrox-smoke-", "user-");
                let found = output
                    .stdout
                    .lines()
                    .any(|line| squeezed(line).replace("user-lyrox-smoke-", "user-").starts_with(&wanted));
                assert!(found, "{name}: `{wanted}` is shown on its page\n{output}");
                count += 1;
            }
            assert!(count >= 6, "{name} shows {count} tests");
        }
    }
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
