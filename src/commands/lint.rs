//! `lyrox db lint`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::config::Config;
use crate::engine::event::{Event, Events as _};
use crate::engine::lint::{self, Finding, Level, Selection, Start, rules::RULES};
use crate::error::{Code, Error, Result};
use crate::project::changed;
use crate::project::migration::{Migration, Script};
use crate::report::{Item, Layout, Outcome, Report, plural};

/// Flags of `db lint`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db lint                                every migration; exit 1 when one breaks a rule\n  lyrox db lint --base main                    only what is new since the branch left main\n  lyrox db lint --rules                        every rule, and whether it is on\n  lyrox db lint --base main --output github    annotations on the pull request\n  lyrox db lint --output sarif > lint.sarif    for code scanning"
)]
pub struct Args {
    /// Only these files or folders of migrations
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Only files that are new or changed since the branch left this git revision
    #[arg(long, value_name = "REVISION")]
    pub base: Option<String>,
    /// List the rules instead
    #[arg(long, conflicts_with_all = ["files", "base"])]
    pub rules: bool,
}

/// So deep may a parsed expression lie in others: the parsers are recursive, and a migration may hold a
/// condition of thousands of terms.
const STACK: usize = 256 << 20;

/// Runs the command. It contacts no server.
///
/// # Errors
/// Files that cannot be read, `[lint]` naming an unknown rule, git that cannot answer.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db lint", Layout::Findings);
    let config = app.config()?;
    if args.rules {
        return list(app, config);
    }
    let migrations = super::migrate::files(app)?;
    let kinds = app.kinds()?;
    let mut shown: Vec<_> = lint::paths(&migrations).into_iter().filter(|(store, _)| kinds.contains(store)).collect();
    if let Some(base) = &args.base {
        let new = changed::since(&config.root, base)?;
        shown.retain(|(_, script)| is_new(script, &new));
    }
    if !args.files.is_empty() {
        let named = named(app, config, &migrations, &args.files)?;
        shown.retain(|(_, script)| named.contains(&script.path));
    }
    // Some tools keep both ways in one file.
    let mut seen = BTreeSet::new();
    shown.retain(|(_, script)| seen.insert(script.path.clone()));
    let mut findings = judge(&migrations, config)?;
    let paths: BTreeSet<&str> = shown.iter().map(|(_, script)| script.path.as_str()).collect();
    findings.retain(|finding| paths.contains(finding.place.file.as_str()));

    let mut clean = Vec::new();
    for (store, script) in &shown {
        let mut of_file = findings.iter().filter(|finding| finding.place.file == script.path).peekable();
        if of_file.peek().is_none() {
            clean.push(Item::pass(format!("{store}.{}", script.path), &script.path).store(*store));
        }
        for (number, finding) in of_file.enumerate() {
            app.item(item(finding, number));
        }
    }
    if !clean.is_empty() {
        let line = Item::pass("clean", format!("{}: nothing found", plural(clean.len(), "file")));
        app.event(Event::Folded { line: Box::new(line), items: clean });
    }
    let mut report = app.finish();
    let of = |level: Level| findings.iter().filter(|finding| finding.rule.level == level).count();
    let found = match (of(Level::Error), of(Level::Warning)) {
        (0, 0) => "nothing found".to_owned(),
        (0, warnings) => plural(warnings, "warning"),
        (errors, 0) => plural(errors, "error"),
        (errors, warnings) => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    };
    report.summary = Some(format!("{found} in {}", plural(shown.len(), "file")));
    Ok(report)
}

fn is_new(script: &Script, new: &BTreeSet<String>) -> bool {
    let path = script.path.trim_start_matches("./");
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let beside = |name: &String| if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
    new.contains(path) || script.includes.keys().any(|name| new.contains(&beside(name)))
}

/// The files of the series that the arguments name.
fn named(app: &App, config: &Config, migrations: &[Migration], files: &[PathBuf]) -> Result<BTreeSet<String>> {
    let start = app.global.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let known: Vec<(String, Option<PathBuf>)> = lint::paths(migrations)
        .into_iter()
        .map(|(_, script)| (script.path.clone(), config.root.join(&script.path).canonicalize().ok()))
        .collect();
    let mut found = BTreeSet::new();
    for file in files {
        let shown = file.display();
        let whole = [start.join(file), file.clone()].into_iter().find_map(|path| path.canonicalize().ok());
        let Some(whole) = whole else {
            return Err(Error::new(Code::FileMissing, format!("`{shown}` does not exist")).data("nothing was changed"));
        };
        let is_meant = |path: &Option<PathBuf>| path.as_deref().is_some_and(|path: &Path| path.starts_with(&whole));
        let before = found.len();
        found.extend(known.iter().filter(|(_, path)| is_meant(path)).map(|(name, _)| name.clone()));
        if found.len() == before && !known.iter().any(|(_, path)| is_meant(path)) {
            return Err(Error::new(Code::FileName, format!("`{shown}` is no migration of the project"))
                .data("nothing was changed")
                .hint(format!("migrations lie in `{}`: lyrox db lint", config.settings.migrations.dir)));
        }
    }
    Ok(found)
}

fn judge(migrations: &[Migration], config: &Config) -> Result<Vec<Finding>> {
    let prefix = config.key_prefix();
    std::thread::scope(|scope| {
        let work = || lint::lint(migrations, &config.settings, &prefix);
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::bug("lint cannot start").why(error.to_string()))?;
        thread.join().map_err(|_| Error::bug("lint failed"))?
    })
}

fn item(finding: &Finding, number: usize) -> Item {
    let mut error = Error::new(Code::Lint, finding.message.clone()).at(finding.place.clone());
    if let Some(hint) = &finding.hint {
        error = error.hint(hint.clone());
    }
    let place = &finding.place;
    let id = format!("{}.{}.{}.{}", finding.store, place.file, number + 1, finding.rule.name);
    let mut item = Item::fail(id, finding.rule.name, &error).store(finding.store);
    if finding.rule.level == Level::Warning {
        item.outcome = Outcome::Warn;
    }
    item
}

fn list(app: &App, config: &Config) -> Result<Report> {
    let selection = Selection::new(&config.settings)?;
    let mut text = String::new();
    let mut theme = "";
    for rule in RULES {
        if rule.theme.word() != theme {
            theme = rule.theme.word();
            text.push_str(&format!("{}{theme}\n", if text.is_empty() { "" } else { "\n" }));
        }
        let state = if selection.is_on(rule) { rule.level.word() } else { "off" };
        text.push_str(&format!("  {state:8} {}\n           {}\n", rule.name, rule.title));
        if let Start::Handled(why) = rule.start {
            text.push_str(&format!("           needless: {why}\n"));
        }
    }
    let rules = RULES.iter().map(|rule| {
        let start = match rule.start {
            Start::On => "on",
            Start::OptIn => "opt-in",
            Start::Handled(_) => "handled",
        };
        serde_json::json!({
            "name": rule.name, "theme": rule.theme.word(), "level": rule.level.word(), "default": start,
            "on": selection.is_on(rule), "title": rule.title,
        })
    });
    let mut report = app.finish();
    report.data = Some(serde_json::json!({ "rules": rules.collect::<Vec<_>>() }));
    report.text = Some(text);
    Ok(report)
}
