//! `lyrox config show | check`

use crate::app::App;
use crate::config::{self, dotenv};
use crate::error::Result;
use crate::project::{formats, seed, smoke};
use crate::report::{Item, Layout, Report, plural};
use crate::ui;

/// The commands below `config`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print each value in force and where it came from; never a secret
    #[command(
        after_help = "Examples:\n  lyrox config show\n  lyrox -e production config show    as another environment sees it"
    )]
    Show,
    /// Check lyrox.toml, URLs, migrations, seeds and smoke tests without contacting any server
    #[command(after_help = "Examples:\n  lyrox config check\n  lyrox config check --output json")]
    Check,
}

/// Runs the command.
///
/// # Errors
/// A configuration that cannot be loaded.
pub async fn run(app: &App, command: &Command) -> Result<Report> {
    match command {
        Command::Show => show(app),
        Command::Check => check(app),
    }
}

fn show(app: &App) -> Result<Report> {
    app.begin("config show", Layout::Lines);
    let config = app.config()?;
    let values = config::values(config);
    let width = values.iter().map(|value| value.key.len()).max().unwrap_or(0);
    let mut text = format!("# {}, environment {}\n", config.file.display(), config.environment);
    for (file, names) in config.variables.files() {
        text.push_str(&format!("# {file}: {}\n", ui::one_line(&names.join(", "), 200)));
    }
    if let Some(skip) = config.variables.skipped() {
        text.push_str(&format!("# .env files are not read: {}\n", skip.reason()));
    }
    for remark in dotenv::remarks(&config.root, &config.environment) {
        text.push_str(&format!("# {}\n", remark.what));
    }
    for value in &values {
        let shown = ui::one_line(&value.text, 60);
        text.push_str(&format!("{:width$}  {shown}  ({})\n", value.key, value.origin));
    }
    let data = values
        .iter()
        .map(|value| serde_json::json!({ "key": value.key, "value": value.text, "origin": value.origin.to_string() }));
    let files = config.variables.files().map(|(file, names)| serde_json::json!({ "file": file, "sets": names }));
    let data = serde_json::json!({ "values": data.collect::<Vec<_>>(), "files": files.collect::<Vec<_>>() });
    let mut report = app.finish();
    report.data = Some(data);
    report.text = Some(text);
    Ok(report)
}

fn check(app: &App) -> Result<Report> {
    app.begin("config check", Layout::Lines);
    let config = app.config()?;
    let settings = &config.settings;
    app.item(Item::pass("config.file", "lyrox.toml").detail(format!("environment {}", config.environment)));
    match app.targets() {
        Ok(targets) => {
            for target in &targets.stores {
                let id = format!("config.url.{}", target.kind);
                app.item(Item::pass(id, "URL").store(target.kind).detail(target.direct.origin.to_string()));
            }
            for (store, reason) in &targets.absent {
                app.item(Item::skip(format!("config.url.{store}"), "URL").store(*store).detail(reason));
            }
        }
        Err(error) => app.item(Item::fail("config.urls", "URLs", &error)),
    }
    for remark in dotenv::remarks(&config.root, &config.environment) {
        let id = format!("config.dotenv.{}", remark.id);
        app.item(Item::warn(id, ".env").detail(remark.what).hint(remark.hint));
    }
    let told = |id: &str, title: &str, result: Result<String>| {
        app.item(match result {
            Ok(detail) => Item::pass(id, title).detail(detail),
            Err(error) => Item::fail(id, title, &error),
        });
    };
    let files = formats::read_all(&config.root, settings);
    told("config.migrations", "migrations", files.map(|files| plural(files.len(), "version")));
    told("config.seeds", "seeds", seed::count(config));
    told("config.smoke", "smoke tests", smoke::count(config));
    Ok(app.finish())
}
