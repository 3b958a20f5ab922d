//! The only place that prints. Takes events, keeps the report, shows items as they come, and hands
//! the finished report to one renderer. Everything printed passes the redactor.

mod github;
mod html;
mod human;
mod json;
mod junit;
mod progress;
pub mod prompt;
mod sarif;

use std::io::IsTerminal as _;
use std::path::Path;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use console::Style;

use crate::cli::{Color, Global, Output};
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error, Result};
use crate::report::{Item, Layout, Report};
use crate::secret::{self, redact};

pub use human::{bytes, one_line, seconds, summary};
use progress::Progress;

/// The terminal, as the flags want it.
pub struct Ui {
    output: Output,
    is_quiet: bool,
    verbose: u8,
    colors: Colors,
    /// The columns of a terminal on standard error.
    columns: Option<usize>,
    /// A GitHub runner reads what is printed.
    is_runner: bool,
    /// Why standard output could not be written.
    lost: OnceLock<String>,
    state: Mutex<State>,
}

struct State {
    report: Report,
    /// From the repository to the project, with a slash at its end; empty where they are one.
    root: String,
    /// The servers that were named as about to be contacted.
    contacted: String,
    progress: Progress,
    human: human::Human,
}

/// Whether each stream is coloured.
#[derive(Clone, Copy, Debug)]
pub struct Colors {
    out: bool,
    err: bool,
}

impl Colors {
    fn new(choice: Color) -> Self {
        let allowed = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        let decide = |is_terminal: bool| match choice {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && allowed,
        };
        Self { out: decide(std::io::stdout().is_terminal()), err: decide(std::io::stderr().is_terminal()) }
    }
}

impl Ui {
    /// Looks at the streams and takes the flags.
    pub fn new(global: &Global) -> Self {
        let colors = Colors::new(global.color);
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false");
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        // Where nobody sits a display that moves is noise, terminal or not.
        let is_watched = std::io::stderr().is_terminal() && !is_dumb && !is_set("CI");
        let is_live = global.output == Output::Human && !global.quiet && is_watched;
        Self {
            output: global.output,
            is_quiet: global.quiet,
            verbose: global.verbose,
            colors,
            columns: columns(&console::Term::stderr()),
            is_runner: is_set("GITHUB_ACTIONS"),
            lost: OnceLock::new(),
            state: Mutex::new(State {
                report: Report::new(""),
                root: String::new(),
                contacted: String::new(),
                progress: Progress::new(is_live, !global.quiet),
                human: human::Human::new(columns(&console::Term::stdout())),
            }),
        }
    }

    /// How much more was asked for with `-v`.
    pub fn verbosity(&self) -> u8 {
        self.verbose
    }

    /// Whether a person reads standard output as it comes.
    pub fn is_human(&self) -> bool {
        self.output == Output::Human
    }

    /// Whether items are shown as they come: annotations stand at the end of a log that a person reads.
    fn shows(&self) -> bool {
        matches!(self.output, Output::Human | Output::Github) && !self.is_quiet
    }

    /// Begins the report of a command.
    pub fn begin(&self, command: &str, layout: Layout) {
        self.with(|state| {
            state.report.command = command.to_owned();
            state.report.layout = layout;
        });
    }

    /// Shows items that are all there already, in one piece.
    pub fn items(&self, items: impl Iterator<Item = Item>) {
        let shows = self.shows();
        self.with(|state| {
            let mut text = String::new();
            for item in items {
                if shows {
                    text.push_str(&state.human.item(&item, state.report.layout, self.colors.out));
                }
                state.report.push(item);
            }
            if shows {
                state.progress.suspend(|| self.told(&text));
            }
        });
    }

    /// Changes the layout for the items that follow.
    pub fn layout(&self, layout: Layout) {
        self.with(|state| state.report.layout = layout);
    }

    /// The totals so far.
    pub fn totals(&self) -> crate::report::Totals {
        self.with(|state| state.report.totals)
    }

    /// Notes the environment in the report.
    pub fn environment(&self, name: &str) {
        self.with(|state| state.report.environment = Some(name.to_owned()));
    }

    /// Notes where the project is: a runner's annotations are placed in its repository.
    pub fn root(&self, root: &Path) {
        let workspace = std::env::var_os("GITHUB_WORKSPACE").map(std::path::PathBuf::from);
        let Some(workspace) = workspace.and_then(|path| path.canonicalize().ok()) else { return };
        let inside = root.canonicalize().ok().and_then(|root| root.strip_prefix(workspace).map(Path::to_path_buf).ok());
        let Some(inside) = inside.filter(|inside| !inside.as_os_str().is_empty()) else { return };
        self.with(|state| state.root = format!("{}/", inside.display()));
    }

    /// The report as it stands, which is taken out: the end of a command, or of one that was cut short.
    pub fn take(&self, elapsed: Duration) -> Report {
        self.with(|state| {
            state.progress.clear();
            let mut report = std::mem::replace(&mut state.report, Report::new(""));
            report.elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
            report
        })
    }

    /// Prints the finished report in the chosen form, and writes the output file if one was named.
    ///
    /// # Errors
    /// The output file, or standard output, cannot be written.
    pub fn finish(&self, report: &Report, file: Option<&Path>) -> Result<()> {
        self.with(|state| state.progress.clear());
        if report.reveals && self.is_runner {
            self.mask(report);
        }
        match self.output {
            Output::Human => {
                match &report.text {
                    Some(text) if report.reveals => self.out_raw(text),
                    Some(text) => self.out(text),
                    None => {}
                }
                self.close(report);
            }
            Output::Json if report.reveals => self.out_raw(&json::render(report)),
            Output::Json => self.out(&json::render(report)),
            Output::Junit => self.out(&junit::render(report)),
            Output::Github => {
                self.close(report);
                let root = self.with(|state| state.root.clone());
                self.out(&github::render(report, &root));
                self.summarize(report)?;
            }
            Output::Sarif => self.out(&sarif::render(report)),
            Output::Html => self.out(&html::render(report)),
        }
        if let Some(path) = file {
            let text = match path.extension().and_then(|extension| extension.to_str()) {
                Some("xml") => junit::render(report),
                Some("sarif") => sarif::render(report),
                Some("html") => html::render(report),
                Some("txt") => human::whole(report),
                _ => json::render(report),
            };
            std::fs::write(path, redact(&text).as_bytes()).map_err(|error| {
                Error::new(Code::WriteFailed, format!("cannot write `{}`", path.display()))
                    .why(error.to_string())
                    .data("what was done stands; its report is lost")
            })?;
        }
        match self.lost.get() {
            Some(why) => Err(Error::new(Code::WriteFailed, "cannot write to standard output")
                .why(why.clone())
                .data("what was done stands; a part of what is printed is lost")),
            None => Ok(()),
        }
    }

    /// Tells a GitHub runner to mask what is about to be printed, each form by itself: it masks what it is told and no more. On
    /// standard error, which the runner reads as well: standard output is what a shell or a file takes.
    fn mask(&self, report: &Report) {
        let own = report.revealed.iter().flat_map(|text| secret::forms(text));
        let forms: std::collections::BTreeSet<String> = secret::known().into_iter().chain(own).collect();
        let lines: String = forms.iter().map(|form| format!("::add-mask::{}\n", github::data(form))).collect();
        if !lines.is_empty() {
            let _ = write_line(&mut std::io::stderr().lock(), lines.trim_end_matches('\n'));
        }
    }

    /// The closing lines of the report.
    fn close(&self, report: &Report) {
        let text = self.with(|state| state.human.closing(report, self.colors.out));
        if !text.is_empty() && (!self.is_quiet || !report.ok) {
            self.told(&text);
        }
    }

    /// Adds the report to the summary of the job, where a runner names a file for it.
    fn summarize(&self, report: &Report) -> Result<()> {
        use std::io::Write as _;
        let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else { return Ok(()) };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(&path);
        let written = file.and_then(|mut file| file.write_all(redact(&github::summary(report)).as_bytes()));
        written.map_err(|error| {
            Error::new(Code::WriteFailed, "cannot write the summary of the job")
                .why(format!("GITHUB_STEP_SUMMARY names its file: {error}"))
        })
    }

    /// Prints an error that ended the command, on standard error.
    pub fn error(&self, error: &Error) {
        self.with(|state| state.progress.clear());
        self.err(&human::error(error, self.columns, self.colors.err));
    }

    /// Says who is about to be contacted: the first sign of life of a run that may have to wait.
    pub fn contact(&self, places: &str) {
        let text = format!("  contacting {}", human::flat(places));
        self.with(|state| {
            if self.shows() && state.contacted != text {
                let shown = paint(&text, &Style::new().dim(), self.colors.err);
                state.progress.suspend(|| self.err(&shown));
                state.contacted = text;
            }
        });
    }

    /// Prints a line on standard error, unless quiet.
    pub fn say(&self, text: &str) {
        if !self.is_quiet {
            self.with(|state| state.progress.suspend(|| self.err(text)));
        }
    }

    /// Prints text on standard output as it is: for commands that exist to print a secret.
    pub fn out_raw(&self, text: &str) {
        if let Err(error) = write_line(&mut std::io::stdout().lock(), text) {
            let _ = self.lost.set(error.to_string());
        }
    }

    /// Prints a line of somebody else's text on standard output, without control characters and secrets:
    /// for commands whose result comes line by line.
    pub fn line(&self, text: &str) {
        self.out(&human::clean(text));
    }

    /// Writes a piece of a stream on standard output, redacted, with nothing added to it.
    ///
    /// # Errors
    /// The reader has gone.
    pub fn stream(&self, text: &str) -> std::io::Result<()> {
        use std::io::Write as _;
        let mut out = std::io::stdout().lock();
        out.write_all(redact(text).as_bytes())?;
        out.flush()
    }

    fn out(&self, text: &str) {
        self.out_raw(&redact(text));
    }

    /// Prints what lyrox tells, in words that may be a server's.
    fn told(&self, text: &str) {
        if self.is_runner { self.out(&human::disarm(text)) } else { self.out(text) }
    }

    fn err(&self, text: &str) {
        let text = redact(text);
        let text = if self.is_runner { human::disarm(&text).into() } else { text };
        // Where a person cannot be told, there is nobody to tell it to.
        let _ = write_line(&mut std::io::stderr().lock(), &text);
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut state)
    }
}

impl Events for Ui {
    fn event(&self, event: Event) {
        let shows = self.shows();
        self.with(|state| match event {
            Event::Item(item) => {
                if shows {
                    let mut text = state.human.item(&item, state.report.layout, self.colors.out);
                    if self.verbose > 0 {
                        text.push_str(&human::more(&item.lines, self.colors.out));
                    }
                    state.progress.suspend(|| self.told(&text));
                }
                state.report.push(*item);
            }
            Event::Folded { line, items } => {
                let shown = if self.verbose == 0 { std::slice::from_ref(&*line) } else { items.as_slice() };
                if shows {
                    for item in shown {
                        let text = state.human.item(item, state.report.layout, self.colors.out);
                        state.progress.suspend(|| self.told(&text));
                    }
                }
                items.into_iter().for_each(|item| state.report.push(item));
            }
            Event::Heading(text) => {
                if shows {
                    let text = state.human.heading(&text, self.colors.out);
                    state.progress.suspend(|| self.told(&text));
                }
            }
            Event::Note(text) => {
                if !self.is_quiet {
                    let text = human::clean(&text);
                    let text = paint(&format!("  {text}"), &Style::new().dim(), self.colors.err);
                    state.progress.suspend(|| self.err(&format!("{text}\n")));
                }
            }
            Event::Progress { task, store, done, total, unit } => {
                if let Some(line) = state.progress.update(&task, store, done, total, unit) {
                    self.err(&line);
                }
            }
        });
    }
}

/// The columns of a terminal; none where it is none.
fn columns(term: &console::Term) -> Option<usize> {
    term.is_term()
        .then(|| term.size_checked())
        .flatten()
        .map(|(_, columns)| usize::from(columns))
        .filter(|columns| *columns > 0)
}

/// A closed pipe is the reader's choice, not an error.
fn write_line(stream: &mut dyn std::io::Write, text: &str) -> std::io::Result<()> {
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    let written = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(end.as_bytes()));
    match written.and_then(|()| stream.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

fn paint(text: &str, style: &Style, is_on: bool) -> String {
    if is_on { style.clone().force_styling(true).apply_to(text).to_string() } else { text.to_owned() }
}
