//! `lyrox man`

use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::app::App;
use crate::cli::Cli;
use crate::error::{Code, Error, Result};
use crate::report::{Change, Item, Layout, Report};

/// Flags of `man`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox man | man -l -          read the page of lyrox\n  lyrox man --dir man1          write a page per command into a folder"
)]
pub struct Args {
    /// Write a page per command into this folder
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// A page that cannot be written.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("man", Layout::Lines);
    let mut root = Cli::command();
    root.build();
    if let Some(dir) = &args.dir {
        std::fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
        write_pages(app, &root, "lyrox", dir)?;
        return Ok(app.finish());
    }
    let mut report = app.finish();
    report.text = Some(page(&root, "lyrox")?);
    Ok(report)
}

fn write_pages(app: &App, command: &clap::Command, name: &str, dir: &Path) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command, name)?).map_err(|error| failed(&path, &error))?;
    app.item(Item::pass(name, path.display().to_string()).change(Change::Created));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help") {
        write_pages(app, below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Result<String> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command.clone().name(name.to_owned()))
        .render(&mut page)
        .map_err(|error| Error::bug("a man page cannot be rendered").why(error.to_string()))?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::WriteFailed, format!("cannot write `{}`", path.display())).why(error.to_string())
}
