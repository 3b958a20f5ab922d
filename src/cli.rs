//! The command line: global flags, the command tree, one match.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, FromArgMatches as _, Parser, Subcommand, ValueEnum};

use crate::app::App;
use crate::commands;
use crate::config::{EnvFiles, Period, Skip};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::Report;

/// Connect, migrate, seed, smoke-test and reset PostgreSQL, MongoDB and Redis together.
#[derive(Debug, Parser)]
#[command(
    name = "lyrox",
    version,
    about = "Connect, migrate, seed, smoke-test and reset PostgreSQL, MongoDB and Redis together",
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:\n  lyrox setup            from nothing to verified: servers, migrations, seeds, smoke tests\n  lyrox check            is every store reachable and as it should be?\n  lyrox db migrate       apply what is pending on all three stores\n  lyrox help db seed     everything about one command\n\nExit codes: 0 done, 1 failed, 2 usage or configuration, 3 consent missing, 4 cannot connect,\n5 locked, 6 needs a human, 7 some tenants failed, 8 pending (--check), 70 bug, 130/143 signals"
)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Work in this folder
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Read this file instead of looking for lyrox.toml
    #[arg(long, global = true, value_name = "FILE", env = "LYROX_CONFIG")]
    pub config: Option<PathBuf>,
    /// The environment: a section [env.NAME] of lyrox.toml
    #[arg(id = "environment", short = 'e', long = "env", global = true, value_name = "NAME", env = "LYROX_ENV")]
    pub env: Option<String>,
    /// Read variables from this file too, before all others; `-` is standard input
    #[arg(long, global = true, value_name = "FILE", env = "LYROX_ENV_FILE")]
    pub env_file: Option<PathBuf>,
    /// Leave the project's .env files alone; so it is where CI is set
    #[arg(long, global = true)]
    pub no_env_file: bool,
    /// Accept URLs that give up the verification of a remote server's certificate
    #[arg(long, global = true)]
    pub insecure_tls: bool,
    /// Only these stores, separated by commas: postgres, mongodb, redis
    #[arg(long, global = true, value_name = "STORE,...", value_delimiter = ',')]
    pub only: Vec<StoreKind>,
    /// Work on the servers of this shard; `tenant create`, `adopt` and `list`: tenants there
    #[arg(long, global = true, value_name = "NAME")]
    pub shard: Option<String>,
    /// How to print the report
    #[arg(long, global = true, value_name = "FORMAT", default_value = "human", env = "LYROX_OUTPUT")]
    pub output: Output,
    /// Write the report to a file as well: JSON, JUnit XML for .xml, text for .txt, HTML for .html, SARIF for .sarif
    #[arg(long, global = true, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
    /// Print errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Tell more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Never ask; what would be asked fails, naming the flag that answers it
    #[arg(long, global = true)]
    pub no_input: bool,
    /// Answer yes to questions that destroy nothing
    #[arg(short, long, global = true)]
    pub yes: bool,
    /// Give up after this long: 500ms, 30s, 5m
    #[arg(long, global = true, value_name = "TIME")]
    pub timeout: Option<Period>,
    /// Fetch nothing
    #[arg(long, global = true)]
    pub offline: bool,
    /// Take a URL with a password from the command line, where every user of this machine can read it
    #[arg(long, global = true, overrides_with = "allow_argv_secret")]
    pub allow_argv_secret: bool,
}

impl Global {
    /// Which files of variables are read.
    pub fn env_files(&self) -> EnvFiles {
        let skip = if self.no_env_file { Some(Skip::Flag) } else { crate::ui::prompt::is_ci().then_some(Skip::Ci) };
        EnvFiles { given: self.env_file.clone(), skip }
    }

    /// The flags that say where a command works, for hints that name another command.
    pub fn place(&self) -> Vec<(&'static [&'static str], String)> {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let flags: [(&'static [&'static str], Option<String>); 5] = [
            (&["-C", "--directory"], path(&self.directory)),
            (&["--config"], path(&self.config)),
            (&["-e", "--env"], self.env.clone()),
            (&["--env-file"], path(&self.env_file).filter(|name| name != "-")),
            (&["--shard"], self.shard.clone()),
        ];
        flags.into_iter().filter_map(|(flags, value)| Some((flags, value?))).collect()
    }

    /// The bound of the whole command, if one was given.
    pub fn limit(&self) -> Option<Duration> {
        self.timeout.map(Period::duration)
    }
}

/// How the report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    #[default]
    Human,
    /// One JSON document
    Json,
    /// JUnit XML
    Junit,
    /// GitHub Actions annotations
    Github,
    /// SARIF 2.1.0: `db lint` only
    Sarif,
    /// One HTML file that needs nothing else: for an auditor
    Html,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// From nothing to verified: local servers, check, migrate, seed, smoke-test, summary
    Setup(commands::setup::Args),
    /// Start real local PostgreSQL, MongoDB and Redis under .lyrox/
    Up(commands::up::Args),
    /// Stop the local servers
    Down(commands::down::Args),
    /// Show the local servers
    Ps(commands::ps::Args),
    /// Show the log of a local server
    Logs(commands::logs::Args),
    /// Print the URLs in force, for a shell or a .env file
    Env(commands::env::Args),
    /// Verify every store stage by stage
    #[command(visible_alias = "check-connections")]
    Check(commands::check::Args),
    /// Migrations, seeds, smoke tests, reset
    #[command(subcommand)]
    Db(Db),
    /// Make, list and take in tenants in every store
    #[command(subcommand)]
    Tenant(commands::tenant::Command),
    /// Encode, decode, build, inspect and redact connection URLs
    #[command(subcommand)]
    Url(commands::url::Command),
    /// Run one query or command on a store and print the answer; read-only unless --write
    Query(commands::query::Args),
    /// Make a new project that runs at once
    Init(commands::init::Args),
    /// Show and check the configuration
    #[command(subcommand)]
    Config(commands::config::Command),
    /// Explain an error code
    Explain(commands::explain::Args),
    /// Print the completion script of a shell
    Completions(commands::completions::Args),
    /// Print or write the man pages
    Man(commands::man::Args),
    /// As `db migrate`
    #[command(hide = true)]
    Migrate(commands::migrate::Args),
    /// As `db seed`
    #[command(hide = true)]
    Seed(commands::seed::Args),
    /// As `db reset`
    #[command(hide = true)]
    Reset(commands::reset::Args),
    /// As `db smoke-test`
    #[command(hide = true)]
    SmokeTest(commands::smoke_test::Args),
}

/// The commands below `db`.
#[derive(Debug, Subcommand)]
pub enum Db {
    /// Apply what is pending, in one order across the stores
    Migrate(commands::migrate::Args),
    /// Try what is pending where it can do no harm: time, locks, rewrites
    Rehearse(commands::rehearse::Args),
    /// Undo the last migrations
    Rollback(commands::rollback::Args),
    /// Show what is applied, pending, changed, missing or out of order
    Status(commands::status::Args),
    /// Record files as applied to stores that hold the schema already
    Baseline(commands::baseline::Args),
    /// Find what differs between live stores, their snapshots and the migrations
    Diff(commands::diff::Args),
    /// Write the schema of each store to files that review well and load again
    Dump(commands::dump::Args),
    /// Settle a step in doubt, an edited or missing file, a store that lost its ledger
    Repair(commands::repair::Args),
    /// Show who holds the locks, and end those whose holder is gone
    Unlock(commands::unlock::Args),
    /// Find unsafe and tenant-unsafe migrations before they run; contacts no server
    Lint(commands::lint::Args),
    /// Make many migrations one, once a replay has proved that the schema is the same
    Squash(commands::squash::Args),
    /// Make a new migration
    New(commands::new::Args),
    /// Apply a seed set; running it again changes nothing
    Seed(commands::seed::Args),
    /// Prove that the stores work as declared; leaves nothing behind
    SmokeTest(commands::smoke_test::Args),
    /// Drop what lyrox manages, then migrate and seed again; asks first
    Reset(commands::reset::Args),
}

/// A command line that cannot be run; asking for help is one.
#[derive(Debug)]
pub struct Wrong {
    /// In clap's words.
    pub error: clap::Error,
    /// The form of report that a program asked for; none where clap's words go to a person.
    pub output: Option<Output>,
}

impl Wrong {
    /// The same as an error of lyrox.
    pub fn told(&self) -> Error {
        let text = self.error.to_string();
        let mut parts = text.split("\n\n").map(str::trim).filter(|part| !part.is_empty());
        let what = parts.next().unwrap_or("the command line cannot be read").trim_start_matches("error: ");
        let tip =
            parts.next().filter(|part| part.starts_with("tip:")).map(|part| part.trim_start_matches("tip:").trim());
        let error = Error::new(Code::Usage, what.split_whitespace().collect::<Vec<_>>().join(" "));
        let error = error.data("nothing was contacted");
        match tip {
            Some(tip) => error.why(tip).hint("lyrox --help"),
            None => error.hint("lyrox --help"),
        }
    }
}

/// Reads the command line.
///
/// # Errors
/// What is wrong with it, or the help that it asks for.
pub fn parse() -> Result<Cli, Wrong> {
    let words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let color = match value_of::<Color>(&words, "--color") {
        Some(Color::Always) => clap::ColorChoice::Always,
        Some(Color::Never) => clap::ColorChoice::Never,
        Some(Color::Auto) | None => clap::ColorChoice::Auto,
    };
    let command = <Cli as clap::CommandFactory>::command().color(color);
    let parsed = command.try_get_matches_from(&words).and_then(|mut found| Cli::from_arg_matches_mut(&mut found));
    parsed.and_then(|cli| cli.has_form().map(|()| cli)).map_err(|error| {
        // Help that was asked for is text, whatever the form of reports.
        let output = error.use_stderr().then(|| {
            let given = std::env::var("LYROX_OUTPUT").ok().and_then(|name| Output::from_str(&name, true).ok());
            value_of::<Output>(&words, "--output").or(given)
        });
        let output = output.flatten().filter(|output| !matches!(output, Output::Human | Output::Sarif));
        Wrong { error, output }
    })
}

/// The value of a flag in words that clap could not read as a whole.
fn value_of<T: ValueEnum>(words: &[std::ffi::OsString], flag: &str) -> Option<T> {
    let mut words = words.iter().filter_map(|word| word.to_str()).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let value = match word.strip_prefix(flag) {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        if let Some(value) = value {
            return T::from_str(value, true).ok();
        }
    }
    None
}

impl Cli {
    /// Whether the form of the report is one that the command has.
    ///
    /// # Errors
    /// SARIF, which only lint has; clap's own error, so that it looks like any other.
    pub fn has_form(&self) -> Result<(), clap::Error> {
        let is_lint = matches!(self.command, Command::Db(Db::Lint(_)));
        let file = self.global.output_file.as_deref().and_then(|file| file.extension());
        if is_lint || (self.global.output != Output::Sarif && file.is_none_or(|ending| ending != "sarif")) {
            return Ok(());
        }
        let message =
            "SARIF is for findings in files: only `lyrox db lint` has it; --output json is there for every command\n";
        Err(<Self as clap::CommandFactory>::command().error(clap::error::ErrorKind::InvalidValue, message))
    }
}

/// Runs the command.
///
/// # Errors
/// What the command could not report as an item.
pub async fn run(app: &App, command: &Command) -> Result<Report> {
    match command {
        Command::Setup(args) => commands::setup::run(app, args).await,
        Command::Up(args) => commands::up::run(app, args).await,
        Command::Down(args) => commands::down::run(app, args).await,
        Command::Ps(args) => commands::ps::run(app, args).await,
        Command::Logs(args) => commands::logs::run(app, args).await,
        Command::Env(args) => commands::env::run(app, args).await,
        Command::Check(args) => commands::check::run(app, args).await,
        Command::Tenant(command) => commands::tenant::run(app, command).await,
        Command::Url(command) => commands::url::run(app, command).await,
        Command::Query(args) => commands::query::run(app, args).await,
        Command::Init(args) => commands::init::run(app, args).await,
        Command::Config(command) => commands::config::run(app, command).await,
        Command::Explain(args) => commands::explain::run(app, args).await,
        Command::Completions(args) => commands::completions::run(app, args).await,
        Command::Man(args) => commands::man::run(app, args).await,
        Command::Db(Db::Migrate(args)) | Command::Migrate(args) => commands::migrate::run(app, args).await,
        Command::Db(Db::Rehearse(args)) => commands::rehearse::run(app, args).await,
        Command::Db(Db::Rollback(args)) => commands::rollback::run(app, args).await,
        Command::Db(Db::Status(args)) => commands::status::run(app, args).await,
        Command::Db(Db::Baseline(args)) => commands::baseline::run(app, args).await,
        Command::Db(Db::Unlock(args)) => commands::unlock::run(app, args).await,
        Command::Db(Db::Diff(args)) => commands::diff::run(app, args).await,
        Command::Db(Db::Dump(args)) => commands::dump::run(app, args).await,
        Command::Db(Db::Repair(args)) => commands::repair::run(app, args).await,
        Command::Db(Db::Lint(args)) => commands::lint::run(app, args).await,
        Command::Db(Db::Squash(args)) => commands::squash::run(app, args).await,
        Command::Db(Db::New(args)) => commands::new::run(app, args).await,
        Command::Db(Db::Seed(args)) | Command::Seed(args) => commands::seed::run(app, args).await,
        Command::Db(Db::SmokeTest(args)) | Command::SmokeTest(args) => commands::smoke_test::run(app, args).await,
        Command::Db(Db::Reset(args)) | Command::Reset(args) => commands::reset::run(app, args).await,
    }
}
