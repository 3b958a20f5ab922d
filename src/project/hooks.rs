//! Hooks on disk: `hooks/MOMENT.sql`, `.json` or `.redis` below the migrations folder, run around a migrate and around
//! each of its migrations. They belong to no version and are in no ledger.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::migration::{self, Script};
use super::repeatable::files;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// The folder below the migrations folder.
pub const FOLDER: &str = "hooks";

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Before the first step of a run that has one.
    BeforeRun,
    /// Before each migration, in its transaction where it has one.
    BeforeMigration,
    /// After each migration, in its transaction where it has one.
    AfterMigration,
    /// After the last step, where all of them took effect.
    AfterRun,
}

impl Moment {
    /// Every moment, in the order in which they come.
    pub const ALL: [Self; 4] = [Self::BeforeRun, Self::BeforeMigration, Self::AfterMigration, Self::AfterRun];

    /// The file's name without its ending, and the word in the event log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::BeforeRun => "before_run",
            Self::BeforeMigration => "before_migration",
            Self::AfterMigration => "after_migration",
            Self::AfterRun => "after_run",
        }
    }
}

/// The hooks of a project.
#[derive(Clone, Debug, Default)]
pub struct Hooks(BTreeMap<(Moment, StoreKind), Arc<Script>>);

impl Hooks {
    /// The hook of a store for a moment.
    pub fn get(&self, moment: Moment, store: StoreKind) -> Option<&Arc<Script>> {
        self.0.get(&(moment, store))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the folder; a project need not have it.
///
/// # Errors
/// A file that is no hook, is empty or not UTF-8.
pub fn read(root: &Path, dir: &str) -> Result<Hooks> {
    let mut hooks = Hooks::default();
    for (file, path) in files(root, dir, FOLDER)? {
        let shown = format!("{dir}/{FOLDER}/{file}");
        let found = file.rsplit_once('.').and_then(|(name, extension)| {
            let moment = Moment::ALL.into_iter().find(|moment| moment.word() == name)?;
            let store = StoreKind::ALL.into_iter().find(|kind| kind.extension() == extension)?;
            Some((moment, store))
        });
        let Some((moment, store)) = found else {
            if migration::has_free_ending(&file) {
                continue;
            }
            return Err(Error::new(Code::FileName, format!("`{shown}` is no hook"))
                .why(
                    "hooks are before_run, before_migration, after_migration and after_run, with .sql, .json or .redis",
                )
                .data("nothing was changed")
                .hint(format!("rename it, or move it out of `{dir}/{FOLDER}`")));
        };
        hooks.0.insert((moment, store), Arc::new(migration::read_script(root, dir, &shown, &path, store)?));
    }
    Ok(hooks)
}
