//! What every command gets: flags, configuration, and the recorder of its report. Made once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Once, OnceLock};
use std::time::Instant;

use crate::cli::Global;
use crate::config::{self, Choice, Config, Targets, dotenv};
use crate::engine::event::{Event, Events};
use crate::engine::tenant::shard;
use crate::error::Result;
use crate::kind::StoreKind;
use crate::report::{Item, Layout, Report};
use crate::servers;
use crate::ui::Ui;

/// The state of one run of lyrox.
pub struct App {
    /// The global flags.
    pub global: Global,
    /// The terminal.
    pub ui: Ui,
    started: Instant,
    is_cancelled: AtomicBool,
    config: OnceLock<Config>,
    dotenv: Once,
}

impl App {
    /// Takes the flags; reads nothing yet.
    pub fn new(global: Global, ui: Ui) -> Self {
        Self {
            global,
            ui,
            started: Instant::now(),
            is_cancelled: AtomicBool::new(false),
            config: OnceLock::new(),
            dotenv: Once::new(),
        }
    }

    /// The project's configuration, read at the first call.
    ///
    /// # Errors
    /// As [`config::load`].
    pub fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = config::load(&Choice {
            directory: self.global.directory.clone(),
            file: self.global.config.clone(),
            environment: self.global.env.clone(),
            env_files: self.global.env_files(),
        })?;
        self.ui.environment(&config.environment);
        self.ui.root(&config.root);
        Ok(self.config.get_or_init(|| config))
    }

    /// The servers of this run, `--only` and `--shard` applied, the running local ones included.
    ///
    /// # Errors
    /// A store without a URL, or with one that cannot be read; `LYX-SHARD-UNKNOWN`.
    pub fn targets(&self) -> Result<Targets> {
        let targets = self.home()?;
        match &self.global.shard {
            Some(name) => shard::only(self.config()?, &targets, name),
            None => Ok(targets),
        }
    }

    /// The project's own servers, whatever `--shard` says: where the registry of tenants is.
    ///
    /// # Errors
    /// A store without a URL, or with one that cannot be read.
    pub fn home(&self) -> Result<Targets> {
        let config = self.config()?;
        config.names_a_store()?;
        self.dotenv.call_once(|| {
            let told =
                dotenv::remarks(&config.root, &config.environment).into_iter().filter(|found| found.id != "readable");
            told.for_each(|found| self.note(format!("{}; {}", found.what, found.hint)));
        });
        let local =
            if config.environment == config::LOCAL { servers::running(&config.root)? } else { Default::default() };
        let targets = Targets::resolve(config, &self.global.only, &local)?;
        if !self.global.insecure_tls {
            targets.are_verified()?;
        }
        Ok(targets)
    }

    /// What is unwise about the project's `.env` files, for a command that tells it itself: no note is made of it any more.
    ///
    /// # Errors
    /// As [`App::config`].
    pub fn env_remarks(&self) -> Result<Vec<dotenv::Remark>> {
        let config = self.config()?;
        self.dotenv.call_once(|| {});
        Ok(dotenv::remarks(&config.root, &config.environment))
    }

    /// The stores of the run as `--only` leaves them.
    ///
    /// # Errors
    /// As [`App::config`].
    pub fn kinds(&self) -> Result<Vec<StoreKind>> {
        let stores = self.config()?.stores();
        Ok(stores.into_iter().filter(|kind| self.global.only.is_empty() || self.global.only.contains(kind)).collect())
    }

    /// Begins the report of a command; from here on items are shown as they come.
    pub fn begin(&self, command: &str, layout: Layout) {
        self.ui.begin(command, layout);
    }

    /// Ends the report begun before and hands it out.
    pub fn finish(&self) -> Report {
        self.ui.take(self.started.elapsed())
    }

    /// Asks the work to stop before its next step.
    pub fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Since the process began.
    pub fn elapsed(&self) -> std::time::Duration {
        self.started.elapsed()
    }

    /// Adds items to the report that are all there already.
    pub fn items(&self, items: impl Iterator<Item = Item>) {
        self.ui.items(items);
    }

    /// Adds an item to the report.
    pub fn item(&self, item: Item) {
        self.ui.item(item);
    }
}

impl Events for App {
    fn event(&self, event: Event) {
        self.ui.event(event);
    }

    fn contact(&self, targets: &Targets) {
        // Servers of this machine answer at once; whoever waits for others wants to know for whom.
        let remote = targets.stores.iter().filter(|target| !target.direct.url.is_local());
        let places: Vec<String> =
            remote.map(|target| format!("{} at {}", target.kind, target.direct.url.authority())).collect();
        if !places.is_empty() {
            self.ui.contact(&places.join(", "));
        }
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::Relaxed)
    }
}
