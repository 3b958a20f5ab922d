//! What a shell asks for when TAB is pressed: commands and flags, and values that only the project knows: its
//! environments, versions, seed sets, tags, and the tenants in its registry. It says nothing when it cannot know.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::CommandFactory as _;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{EnvCompleter, Shells};

use crate::app::App;
use crate::cli::{Cli, Global, Output};
use crate::engine::migrate::Work;
use crate::engine::tenant::list;
use crate::error::Code;
use crate::project::{seed, smoke};
use crate::ui::Ui;

/// The variable by which a shell's script asks.
pub const VARIABLE: &str = "LYROX_COMPLETE";

/// How long a shell waits for the tenants; then it gets none.
const PATIENCE: Duration = Duration::from_millis(900);

/// So many values are offered at most: a list that nobody reads helps nobody.
const MOST: usize = 500;

/// Answers a shell that asks for completions; false where this run is an ordinary one.
pub fn answer() -> bool {
    let Some(name) = std::env::var_os(VARIABLE).filter(|name| !name.is_empty() && *name != *"0") else { return false };
    let shells = Shells::builtins();
    let Some(shell) = name.to_str().and_then(|name| shells.completer(name)) else { return false };
    let words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    if words.is_empty() {
        return false;
    }
    let place = Arc::new(Place::of(&words));
    let mut command = with_values(Cli::command(), &place, shell.name() == "bash");
    command.build();
    let mut text = Vec::new();
    if shell.write_complete(&mut command, words, std::env::current_dir().ok().as_deref(), &mut text).is_ok() {
        let _ = std::io::stdout().write_all(&text);
    }
    true
}

/// The script that a shell reads to ask this binary.
pub fn script(shell: &str) -> Option<String> {
    let shells = Shells::builtins();
    let completer: &dyn EnvCompleter = shells.completer(shell)?;
    let mut text = Vec::new();
    completer.write_registration(VARIABLE, "lyrox", "lyrox", "lyrox", &mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// What the words so far say about the project.
#[derive(Debug, Default)]
struct Place {
    directory: Option<PathBuf>,
    config: Option<PathBuf>,
    environment: Option<String>,
}

impl Place {
    fn of(words: &[OsString]) -> Self {
        let value = |names: &[&str]| {
            words.iter().enumerate().find_map(|(at, word)| {
                let word = word.to_str()?;
                let after = |name: &&str| word.strip_prefix(*name).and_then(|rest| rest.strip_prefix('='));
                match names.iter().find_map(after) {
                    Some(value) => Some(value.to_owned()),
                    None if names.contains(&word) => words.get(at + 1)?.to_str().map(str::to_owned),
                    None => None,
                }
            })
        };
        Self {
            directory: value(&["-C", "--directory"]).map(PathBuf::from),
            config: value(&["--config"]).or_else(|| std::env::var("LYROX_CONFIG").ok()).map(PathBuf::from),
            environment: value(&["-e", "--env"]).or_else(|| std::env::var("LYROX_ENV").ok()),
        }
    }

    /// A run that prints nothing.
    fn app(&self, with_environment: bool) -> App {
        let global = Global {
            directory: self.directory.clone(),
            config: self.config.clone(),
            env: self.environment.clone().filter(|_| with_environment),
            output: Output::Json,
            quiet: true,
            no_input: true,
            offline: true,
            ..Global::default()
        };
        let ui = Ui::new(&global);
        App::new(global, ui)
    }

    fn environments(&self) -> Vec<String> {
        let app = self.app(false);
        let Ok(config) = app.config() else { return Vec::new() };
        let mut names: Vec<String> = config.settings.env.keys().cloned().collect();
        names.insert(0, crate::config::LOCAL.to_owned());
        names.dedup();
        names
    }

    /// The newest first: they are what one rolls back to.
    fn versions(&self) -> Vec<(String, String)> {
        let Ok(files) = super::migrate::files(&self.app(true)) else { return Vec::new() };
        let mut versions: Vec<(String, String)> = files
            .iter()
            .filter(|file| !file.version.is_repeatable())
            .map(|file| (file.version.to_string(), file.name.clone()))
            .collect();
        versions.reverse();
        versions
    }

    fn sets(&self) -> Vec<String> {
        let app = self.app(true);
        app.config().and_then(seed::sets).unwrap_or_default()
    }

    fn tags(&self) -> Vec<String> {
        let app = self.app(true);
        let Ok(config) = app.config() else { return Vec::new() };
        let read = smoke::read_all(&config.root, &config.settings.smoke.dir, &config.stores());
        let Ok(tests) = read else { return Vec::new() };
        let mut tags: Vec<String> = tests.iter().flat_map(|test| test.tags.iter().cloned()).collect();
        tags.sort();
        tags.dedup();
        tags
    }

    /// Asks the registry, and waits for it a moment only.
    fn tenants(&self) -> Vec<(String, String)> {
        let app = self.app(true);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
        let work = async {
            let targets = app.targets()?;
            let work = Work { config: app.config()?, targets: &targets, events: &app, wait: Duration::ZERO };
            list::list(work).await
        };
        let listed = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
        // What was cut short is dropped with the process.
        std::mem::forget(runtime);
        let Ok(Ok(listed)) = listed else { return Vec::new() };
        let known =
            listed.records.iter().map(|record| (record.tenant.key().to_owned(), record.tenant.slug().to_owned()));
        known.chain(listed.unmanaged.iter().map(|key| (key.clone(), "unmanaged".to_owned()))).collect()
    }

    fn candidates(&self, kind: Kind) -> Vec<(String, String)> {
        let plain = |words: Vec<String>| words.into_iter().map(|word| (word, String::new())).collect();
        match kind {
            Kind::Environment => plain(self.environments()),
            Kind::Version => self.versions(),
            Kind::Set => plain(self.sets()),
            Kind::Tag => plain(self.tags()),
            Kind::Tenant => self.tenants(),
            Kind::Code => Code::ALL.iter().map(|code| (code.text().to_owned(), code.title().to_owned())).collect(),
        }
    }
}

/// What a value names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Environment,
    Version,
    Set,
    Tag,
    Tenant,
    Code,
}

/// What the values of an argument are, by the command it stands in and the name it shows.
fn kind(command: &str, argument: &clap::Arg) -> Option<Kind> {
    let shown = argument.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    match (command, argument.get_id().as_str(), shown) {
        (_, "environment", _) | ("mark", "name" | "confirm", _) => Some(Kind::Environment),
        (_, _, "VERSION") => Some(Kind::Version),
        ("seed", "set", _) => Some(Kind::Set),
        (_, _, "TAG,...") => Some(Kind::Tag),
        // A tenant that is to be made has no name yet.
        ("create" | "import", _, _) => None,
        (_, _, "KEY" | "KEYS" | "KEY,..." | "TENANT") => Some(Kind::Tenant),
        ("explain", "code", _) => Some(Kind::Code),
        _ => None,
    }
}

fn with_values(command: clap::Command, place: &Arc<Place>, is_bash: bool) -> clap::Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|argument| match kind(&name, &argument) {
        None => argument,
        Some(kind) => {
            let place = Arc::clone(place);
            argument.add(ArgValueCompleter::new(move |current: &OsStr| values(&place, kind, current, is_bash)))
        }
    });
    command.mut_subcommands(|below| with_values(below, place, is_bash))
}

fn values(place: &Place, kind: Kind, current: &OsStr, is_bash: bool) -> Vec<CompletionCandidate> {
    let Some(typed) = current.to_str() else { return Vec::new() };
    let typed = typed.trim_start_matches('\'');
    let fits = |text: &str| {
        let (text, typed) = (text.to_ascii_lowercase(), typed.to_ascii_lowercase());
        // `drift-edited` finds LYX-DRIFT-EDITED.
        text.starts_with(&typed) || (kind == Kind::Code && text.trim_start_matches("lyx-").starts_with(&typed))
    };
    place
        .candidates(kind)
        .into_iter()
        .filter(|(value, _)| fits(value) && !value.chars().any(char::is_control))
        .take(MOST)
        .enumerate()
        .map(|(at, (value, help))| {
            let value = if is_bash { quoted(&value) } else { value };
            let help = (!help.is_empty()).then(|| crate::ui::one_line(&help, 60).into());
            CompletionCandidate::new(value).help(help).display_order(Some(at))
        })
        .collect()
}

/// A word as bash takes it: what a customer is called must not become a command when Enter is pressed. zsh and
/// fish quote by themselves.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if text.chars().all(is_plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_one_word_in_bash() {
        for name in ["$(id)", "a b", "auth0|x", "it's", "`id`", ";rm", "a\"b", "\\", "~x", "*"] {
            let script = format!("printf %s {}", quoted(name));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("a shell");
            assert_eq!(String::from_utf8_lossy(&output.stdout), name);
        }
    }

    #[test]
    fn the_words_so_far_name_the_project() {
        let words = ["lyrox", "-C", "dir", "--env=staging", "db", "migrate"].map(OsString::from);
        let place = Place::of(&words);
        assert_eq!(place.directory, Some(PathBuf::from("dir")));
        assert_eq!(place.environment.as_deref(), Some("staging"));
    }
}
