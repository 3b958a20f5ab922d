//! The binary: runtime, signals, render, exit.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use lyrox::app::App;
use lyrox::cli::{self, Cli};
use lyrox::error::{Code, Error, Result};
use lyrox::exit::Exit;
use lyrox::report::Report;
use lyrox::ui::Ui;

fn main() -> ExitCode {
    let cli = Cli::parse();
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
        let (outcome, signal) = tokio::select! {
            outcome = limited(&app, &cli.command) => (outcome, None),
            signal = signal() => (Ok(app.finish()), Some(signal)),
        };
        render(&app, outcome, signal)
    });
    runtime.shutdown_timeout(Duration::from_millis(200));
    ExitCode::from(exit.code())
}

async fn limited(app: &App, command: &cli::Command) -> Result<Report> {
    let Some(limit) = app.global.limit() else { return cli::run(app, command).await };
    tokio::time::timeout(limit, cli::run(app, command)).await.unwrap_or_else(|_| {
        Err(Error::new(Code::ConnectTimeout, format!("not finished within {} s (--timeout)", limit.as_secs_f32()))
            .hint("what was done is in the report above; run the command again to go on"))
    })
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
