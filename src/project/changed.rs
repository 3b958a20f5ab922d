//! Which files are new since a revision, as git sees it. Asks the `git` program, never through a shell;
//! contacts no remote.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Code, Error, Result};

/// The files below `root` that were added, changed or renamed since the branch left `revision`, committed or
/// not, tracked or not; relative to `root`, with `/`.
///
/// # Errors
/// `LYX-GIT`: no git, no repository, no such revision, or no common history with it.
pub fn since(root: &Path, revision: &str) -> Result<BTreeSet<String>> {
    let verify = format!("{revision}^{{commit}}");
    let commit =
        git(root, &["rev-parse", "--verify", "--quiet", "--end-of-options", &verify]).map_err(|why| match why {
            Failure::Missing => no_git(),
            Failure::Said(text) if text.contains("not a git repository") => {
                Error::new(Code::Git, "the project is in no git repository")
                    .why(text)
                    .data("nothing was changed")
                    .hint("leave --base out to lint every file: lyrox db lint")
            }
            Failure::Said(text) => {
                let error = Error::new(Code::Git, format!("git knows no revision `{revision}`"))
                    .data("nothing was changed")
                    .hint(format!("git fetch origin {revision}, then --base origin/{revision}"));
                if text.is_empty() { error } else { error.why(text) }
            }
        })?;
    let commit = commit.trim();
    let told = |why: Failure| match why {
        Failure::Missing => no_git(),
        Failure::Said(text) => Error::new(Code::Git, format!("git finds no common history with `{revision}`"))
            .why(if text.is_empty() { "the clone may be shallow".into() } else { text })
            .data("nothing was changed")
            .hint("git fetch --unshallow (in a GitHub workflow: actions/checkout with fetch-depth: 0)"),
    };
    let base = git(root, &["merge-base", commit, "HEAD"]).map_err(told)?;
    let base = base.trim();
    let changed =
        git(root, &["diff", "--name-only", "-z", "--relative", "--no-ext-diff", "--diff-filter=AMR", base, "--"])
            .map_err(told)?;
    let untracked = git(root, &["ls-files", "--others", "--exclude-standard", "-z"]).map_err(told)?;
    Ok(changed.split('\0').chain(untracked.split('\0')).filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

enum Failure {
    Missing,
    Said(String),
}

fn no_git() -> Error {
    Error::new(Code::Git, "the program `git` was not found")
        .data("nothing was changed")
        .hint("install git, or leave --base out to lint every file: lyrox db lint")
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Failure::Missing,
            _ => Failure::Said(error.to_string()),
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::Said(text.lines().next().unwrap_or_default().trim_start_matches("fatal: ").to_owned()))
}
