//! Where passwords go, once: a file that only its owner reads, or the terminal.
//!
//! The file has a JSON object a line: first what it is, then a login each, last that it is complete. One that is not complete
//! is of a run that was cut short: the next run may go on in it, and the later line of a user is the one that holds.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::app::App;
use crate::config::file::Tenancy;
use crate::engine::tenant::credentials::{Keeper, Login, Nobody, stores};
use crate::error::{Code, Error, Result};
use crate::ui::prompt;

/// Flags that say where passwords go.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Given {
    /// Write the passwords of new users to this new file, which only you can read
    #[arg(long, value_name = "FILE", conflicts_with = "no_credentials")]
    pub credentials: Option<PathBuf>,
    /// Tell nobody the passwords; `lyrox tenant credentials` makes new ones
    #[arg(long)]
    pub no_credentials: bool,
}

/// Chooses where passwords go, before anything is changed.
///
/// # Errors
/// `LYX-CREDENTIALS` where they have nowhere to go, or the file is there already.
pub fn keeper(app: &App, given: &Given) -> Result<Box<dyn Keeper>> {
    let config = app.config()?;
    let tenancy: Tenancy = config.settings.tenancy.clone().unwrap_or_default();
    let has_users = !stores(&tenancy, &app.home()?).is_empty();
    if let Some(path) = &given.credentials {
        return Ok(Box::new(InFile::open(path, &config.settings.project.name)?));
    }
    if !has_users || given.no_credentials {
        return Ok(Box::new(Nobody));
    }
    if prompt::can_ask(app.global.no_input) {
        return Ok(Box::new(Terminal));
    }
    Err(Error::new(Code::Credentials, "the passwords of the tenant's users have nowhere to go")
        .why("they are shown once and stored nowhere, and this is no terminal")
        .data("nothing was changed")
        .hint("--credentials FILE, or --no-credentials"))
}

/// The terminal: standard error, never what a pipe reads.
struct Terminal;

impl Keeper for Terminal {
    fn keep(&self, logins: &[Login]) -> Result<()> {
        prompt::reveal("These are shown once and stored nowhere:")?;
        for login in logins {
            prompt::reveal(&format!("  {:8}  {}", login.store.name(), login.url.expose()))?;
        }
        Ok(())
    }
}

/// A file.
struct InFile {
    path: PathBuf,
    file: RefCell<File>,
}

impl InFile {
    fn open(path: &Path, project: &str) -> Result<Self> {
        let shown = path.display();
        let failed = |why: String| {
            Error::new(Code::Credentials, format!("the passwords cannot be written to `{shown}`"))
                .why(why)
                .data("nothing was changed")
                .hint("--credentials FILE with the name of a new file")
        };
        let heading = json!({ "lyrox": "credentials", "project": project }).to_string();
        let open = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = match open {
            Ok(mut file) => {
                let written = writeln!(file, "{heading}").and_then(|()| file.sync_all());
                written.map_err(|error| failed(error.to_string()))?;
                file
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                goes_on(path, &heading).map_err(failed)?
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        Ok(Self { path: path.to_owned(), file: RefCell::new(file) })
    }
}

/// Opens a file that a run of the same project left unfinished.
fn goes_on(path: &Path, heading: &str) -> std::result::Result<File, String> {
    let words = |error: std::io::Error| error.to_string();
    let about = std::fs::symlink_metadata(path).map_err(words)?;
    let is_ours = about.is_file() && about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o077 == 0;
    let there = "it is there already, and is never overwritten".to_owned();
    if !is_ours {
        return Err(there);
    }
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).map_err(words)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|_| there.clone())?;
    let is_unfinished = text.lines().next() == Some(heading) && !text.lines().any(|line| line == COMPLETE);
    if !is_unfinished {
        return Err(there);
    }
    // A line that was cut is no line.
    let whole = text.rfind('\n').map_or(0, |at| at + 1) as u64;
    file.set_len(whole).and_then(|()| file.seek(SeekFrom::Start(whole))).map_err(words)?;
    Ok(file)
}

const COMPLETE: &str = r#"{"complete":true}"#;

impl Keeper for InFile {
    fn keep(&self, logins: &[Login]) -> Result<()> {
        let mut text = String::new();
        for login in logins {
            let line = json!({
                "tenant": login.tenant.key(), "slug": login.tenant.slug(), "store": login.store.name(),
                "user": login.url.user(), "password": login.url.password().map(|password| password.expose()),
                "url": login.url.expose(),
            });
            text.push_str(&line.to_string());
            text.push('\n');
        }
        let mut file = self.file.borrow_mut();
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(|error| {
            Error::new(Code::Credentials, format!("the passwords cannot be written to `{}`", self.path.display()))
                .why(error.to_string())
                .data("the tenants are pending and have passwords that nobody knows")
                .hint("free space there and run it again: they get new ones")
        })
    }

    fn finish(&self) -> Result<()> {
        let mut file = self.file.borrow_mut();
        // Without the last line the next run goes on in the file, which does no harm.
        let _ = writeln!(file, "{COMPLETE}").and_then(|()| file.sync_all());
        Ok(())
    }
}
