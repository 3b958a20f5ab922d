//! The binary: runtime, signals, render, exit.

use std::pin::{Pin, pin};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lyrox::app::App;
use lyrox::cli;
use lyrox::error::{Code, Error, Result};
use lyrox::exit::Exit;
use lyrox::report::Report;
use lyrox::typed::{self, Typed};
use lyrox::ui::Ui;

/// How long a step that is running may take to end after the first signal.
const GRACE: Duration = Duration::from_secs(3);

/// The report is printed: the process only ends.
static IS_LEAVING: AtomicBool = AtomicBool::new(false);

/// The PostgreSQL driver fills in from these what a URL leaves open, and cannot be told not to. Nothing but
/// lyrox's own configuration may decide where and how it connects.
const FOREIGN_VARIABLES: [&str; 3] = ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"];

#[allow(unsafe_code, reason = "the only way to unset a variable of the process")]
fn main() -> ExitCode {
    for name in FOREIGN_VARIABLES {
        // SAFETY: no other thread exists yet.
        unsafe { std::env::remove_var(name) };
    }
    // A shell that completes a line gets its answer and nothing else, whatever goes wrong.
    if std::env::var_os(lyrox::commands::complete::VARIABLE).is_some() {
        std::panic::set_hook(Box::new(|_| ()));
        if lyrox::commands::complete::answer() {
            return ExitCode::SUCCESS;
        }
    }
    std::panic::set_hook(Box::new(report_bug));
    let cli = match cli::parse() {
        Ok(cli) => cli,
        Err(wrong) => return refuse(&wrong),
    };
    let words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    typed::set(Typed { words, place: cli.global.place() });
    let ui = Ui::new(&cli.global);
    let app = App::new(cli.global, ui);
    // The drivers must agree on one TLS provider; it is chosen once, before any of them is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            app.ui.error(&Error::bug("the runtime cannot start").why(error.to_string()));
            return ExitCode::from(Exit::Bug.code());
        }
    };
    let exit = runtime.block_on(async {
        let mut work = pin!(limited(&app, &cli.command));
        let (outcome, signal) = tokio::select! {
            outcome = &mut work => (outcome, None),
            signal = signal() => {
                app.cancel();
                (polite_end(&app, work.as_mut()).await, Some(signal))
            }
        };
        let exit = render(&app, outcome, signal);
        // From here on nothing is at work but what the drivers still had in hand: it is dropped, not waited for.
        IS_LEAVING.store(true, Ordering::Relaxed);
        exit
    });
    if exit == Exit::Done {
        // The system takes back threads and memory at once; to end them one by one takes milliseconds.
        std::mem::forget(runtime);
    } else {
        // What was cut short may still be taking something away.
        runtime.shutdown_timeout(Duration::from_millis(200));
    }
    ExitCode::from(exit.code())
}

/// A command line that is none: clap's own words for a person, a report in the form that was asked for else.
fn refuse(wrong: &cli::Wrong) -> ExitCode {
    let Some(output) = wrong.output else { wrong.error.exit() };
    let global = cli::Global { output, ..cli::Global::default() };
    let app = App::new(global.clone(), Ui::new(&global));
    app.begin("lyrox", lyrox::report::Layout::Lines);
    ExitCode::from(render(&app, Err(wrong.told()), None).code())
}

/// A panic is a bug: it is told like any error, through the redactor, and ends with its own exit code.
fn report_bug(panic: &std::panic::PanicHookInfo<'_>) {
    // A driver's task that finds its other end gone: everything is told already, and the exit code decided.
    if IS_LEAVING.load(Ordering::Relaxed) {
        return;
    }
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let error = Error::bug(format!("lyrox failed at {place}"))
        .why(panic.payload_as_str().unwrap_or("no reason is known").to_owned())
        .hint("please report it; what was done until here is in the ledgers: lyrox db status");
    Ui::new(&cli::Global::default()).error(&error);
    std::process::exit(i32::from(Exit::Bug.code()));
}

async fn limited(app: &App, command: &cli::Command) -> Result<Report> {
    let Some(limit) = app.global.limit() else { return cli::run(app, command).await };
    tokio::time::timeout(limit, cli::run(app, command)).await.unwrap_or_else(|_| {
        Err(Error::new(Code::ConnectTimeout, format!("not finished within {} s (--timeout)", limit.as_secs_f32()))
            .hint("what was done is in the report above; run the command again to go on"))
    })
}

/// After the first signal: the running step may end and locks be given back; a second signal or the end
/// of the grace leaves at once, which is as safe as `kill -9`.
async fn polite_end(app: &App, work: Pin<&mut impl Future<Output = Result<Report>>>) -> Result<Report> {
    let waiting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        app.ui.say("  finishing the running step; another signal leaves at once");
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        outcome = work => outcome,
        () = waiting => Ok(app.finish()),
        _ = signal() => Ok(app.finish()),
    }
}

/// Waits for SIGINT or SIGTERM.
async fn signal() -> Exit {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}

fn render(app: &App, outcome: Result<Report>, signal: Option<Exit>) -> Exit {
    let mut report = match outcome {
        Ok(report) => report,
        Err(error) => {
            let mut report = app.finish();
            if app.ui.is_human() {
                app.ui.error(&error);
                report.decide(error.exit());
            } else {
                report.push(lyrox::report::Item::fail("error", report.command.clone(), &error));
            }
            report
        }
    };
    if let Some(signal) = signal {
        report.decide(signal);
        report.summary = Some("cut short by a signal: what is listed above was done".into());
    }
    if let Err(error) = app.ui.finish(&report, app.global.output_file.as_deref()) {
        app.ui.error(&error);
        report.decide(error.exit());
    }
    report.exit
}
