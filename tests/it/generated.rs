//! What is generated from code and committed: it must be what the code says today.
//! `LYROX_WRITE_GENERATED=1` writes it.

use std::fmt::Write as _;
use std::path::Path;

use lyrox::error::{Code, FOREIGN, Family};
use lyrox::report::Report;

fn hold(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("LYROX_WRITE_GENERATED").is_some() {
        std::fs::write(&path, expected).expect("the generated file");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is not what the code says; run `just generate`");
}

#[test]
fn the_error_index_is_generated_from_the_table_of_codes() {
    let mut text = String::from(
        "# Error codes\n\nGenerated from `src/error/codes.rs` and `src/error/foreign.rs`; `lyrox explain CODE` prints the same. Codes of Prisma, PostgreSQL, MongoDB\nand Redis: [below](#codes-of-others).\n\n| code | exit | meaning |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let _ =
            writeln!(text, "| [{code}](#{}) | {} | {} |", code.text().to_lowercase(), code.exit().code(), code.title());
    }
    for code in Code::ALL {
        let _ =
            write!(text, "\n## {code}\n\nExit {}: {}.\n\n{}\n", code.exit().code(), code.title(), code.explanation());
    }
    text.push_str("\n## Codes of others\n\n`lyrox explain` knows them too: `lyrox explain P1001`, `lyrox explain 28P01`, `lyrox explain NOAUTH`.\n");
    for family in Family::ALL {
        let _ = write!(text, "\n### {}\n\n| code | means | what to do | lyrox |\n|---|---|---|---|\n", family.title());
        for foreign in FOREIGN.iter().filter(|foreign| foreign.family == family) {
            let same =
                foreign.same.map_or_else(String::new, |code| format!("[{code}](#{})", code.text().to_lowercase()));
            let advice = foreign.advice.replace('|', "\\|");
            let _ = writeln!(text, "| {} | {} | {advice} | {same} |", foreign.label(), foreign.title);
        }
    }
    hold("docs/errors.md", &text);
}

#[test]
fn the_schema_of_the_report_is_generated_from_its_types() {
    let schema = schemars::schema_for!(Report);
    let mut text = serde_json::to_string_pretty(&schema).expect("JSON");
    text.push('\n');
    hold("docs/report.schema.json", &text);
}

#[test]
fn the_rules_of_lint_are_generated_from_their_table() {
    use lyrox::engine::lint::rules::{RULES, Start, Theme};
    let mut text = String::from(
        "# The rules of lint\n\nGenerated from `src/engine/lint/rules.rs`; `lyrox db lint --rules` prints the same and what is on in a project. How lint\nis used: [lint.md](lint.md).\n",
    );
    for (theme, title) in [
        (Theme::Files, "Any file"),
        (Theme::Tenancy, "Tenants (with `[tenancy] model = \"row\"` and a `column`)"),
        (Theme::Mongodb, "MongoDB"),
        (Theme::Redis, "Redis"),
        (Theme::Squawk, "PostgreSQL: squawk's rules"),
    ] {
        let _ = write!(text, "\n## {title}\n\n| rule | level | finds |\n|---|---|---|\n");
        for rule in RULES.iter().filter(|rule| rule.theme == theme) {
            let level = match rule.start {
                Start::On => rule.level.word().to_owned(),
                Start::OptIn => format!("off ({})", rule.level.word()),
                Start::Handled(why) => format!("off ({}): {why}", rule.level.word()),
            };
            let _ = writeln!(text, "| `{}` | {level} | {} |", rule.name, rule.title);
        }
    }
    hold("docs/lint-rules.md", &text);
}

/// The help of every command, as it is printed in 80 columns: a change of what users read is seen in review.
#[test]
fn the_help_of_every_command_is_kept() {
    use clap::CommandFactory as _;
    fn add(text: &mut String, command: &clap::Command, name: &str) {
        let help = command.clone().color(clap::ColorChoice::Never).term_width(80).render_long_help();
        let _ = write!(text, "\n$ lyrox help {name}\n{help}\n");
        for below in command.get_subcommands().filter(|below| below.get_name() != "help" && !below.is_hide_set()) {
            add(text, below, format!("{name} {}", below.get_name()).trim_start());
        }
    }
    let mut root = lyrox::cli::Cli::command();
    root.build();
    let mut text = String::from("The help of every command. Generated; `just generate` writes it.\n");
    add(&mut text, &root, "");
    let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    hold("docs/help.txt", &text);
}
