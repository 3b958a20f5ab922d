//! The promises of `Store` kept by PostgreSQL, against a real server: what fails, what is cut short,
//! what is shared, what is removed.

mod catalog;
mod chunk;
mod failure;
mod journal;
mod lock;
mod lost;
mod role;
mod text;
mod wipe;

use std::sync::Mutex;

use lyrox::config::file::Transaction;
use lyrox::config::{self, Choice, Config, Targets};
use lyrox::engine::event::{Event, Events};
use lyrox::engine::guard::{self, Permit};
use lyrox::engine::ledger::{Ledger, Mark, State, head};
use lyrox::engine::plan::{Goal, Step, plan};
use lyrox::error::Error;
use lyrox::kind::StoreKind;
use lyrox::project::migration::read_all;
use lyrox::report::Item;
use lyrox::stores::postgres::PostgresStore;
use lyrox::stores::{Applied, ApplyOptions, LockAnswer, Store as _};

use crate::support::{Project, block_on};

/// Keeps what it hears.
#[derive(Default)]
struct Recorder {
    items: Mutex<Vec<Item>>,
    notes: Mutex<Vec<String>>,
}

impl Events for Recorder {
    fn event(&self, event: Event) {
        match event {
            Event::Item(item) => self.items.lock().expect("items").push(*item),
            Event::Note(note) => self.notes.lock().expect("notes").push(note),
            _ => {}
        }
    }
}

impl Recorder {
    fn notes(&self) -> String {
        self.notes.lock().expect("notes").join("\n")
    }
}

/// A project with PostgreSQL alone, worked on through the library.
struct Bench {
    project: Project,
    config: Config,
    targets: Targets,
    events: Recorder,
}

impl Bench {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        Self::with(name, "", files)
    }

    fn with(name: &str, extra: &str, files: &[(&str, &str)]) -> Self {
        let project = Project::new(&format!("pg_{name}"), "");
        project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{extra}\n", project.name));
        for (file, text) in files {
            project.write(&format!("migrations/{file}"), text);
        }
        let choice = Choice { directory: Some(project.root().to_owned()), ..Choice::default() };
        let config = config::load(&choice).expect("a configuration");
        let targets = Targets::resolve(&config, &[], &Default::default()).expect("targets");
        Self { project, config, targets, events: Recorder::default() }
    }

    fn write(&self, file: &str, text: &str) -> &Self {
        self.project.write(&format!("migrations/{file}"), text);
        self
    }

    fn open(&self) -> PostgresStore {
        block_on(PostgresStore::open(&self.config, self.targets.get(StoreKind::Postgres).expect("a target")))
            .expect("a connection")
    }

    fn options(&self, ledger: &Ledger, transaction: Transaction) -> ApplyOptions {
        ApplyOptions {
            is_empty: ledger.is_empty,
            transaction,
            variables: self.config.variables.clone(),
            run: String::new(),
        }
    }

    fn steps(&self, ledger: &Ledger, goal: &Goal) -> Vec<Step> {
        let files = read_all(self.project.root(), "migrations").expect("migrations");
        let ledgers = [(StoreKind::Postgres, ledger.rows.clone())].into();
        plan(&files, &ledgers, goal).expect("a plan").steps
    }

    /// Lock, ledger, plan, apply, unlock: what a migrate does.
    fn run(&self, goal: &Goal, transaction: Transaction) -> Applied {
        let mut store = self.open();
        let applied = block_on(self.run_on(&mut store, goal, transaction));
        block_on(store.close());
        applied
    }

    async fn run_on(&self, store: &mut PostgresStore, goal: &Goal, transaction: Transaction) -> Applied {
        assert_eq!(store.try_lock().await.expect("a lock"), LockAnswer::Obtained);
        let ledger = store.ledger().await.expect("a ledger");
        let steps = self.steps(&ledger, goal);
        let options = self.options(&ledger, transaction);
        store.prepare(&mark()).await.expect("a ledger");
        let applied = store.apply(&steps, &options, &self.events).await;
        store.unlock().await.expect("the lock given back");
        applied
    }

    #[track_caller]
    fn migrate(&self) -> Applied {
        let applied = self.run(&Goal::Latest, Transaction::Auto);
        if let Some((_, error)) = &applied.failure {
            panic!("{error:?}: {:?}\n{:?}", error.place(), error.data_text());
        }
        applied
    }

    #[track_caller]
    fn fail(&self) -> Error {
        self.run(&Goal::Latest, Transaction::Auto).failure.expect("a failure").1
    }

    /// What a migrate ends with: grants, and the snapshot.
    #[track_caller]
    fn settle(&self) {
        let mut store = self.open();
        block_on(async {
            store.grant(&|| false, &self.events).await.expect("grants");
            let mut snapshot = store.snapshot().await.expect("a snapshot");
            snapshot.head = head(&store.ledger().await.expect("a ledger").rows);
            store.keep_snapshot(&snapshot).await.expect("a kept snapshot");
            store.close().await;
        });
    }

    /// The permit that a reset of this project needs.
    fn permit(&self) -> Permit {
        let consent = guard::Consent { confirm: Some(guard::name_to_confirm(&self.targets)) };
        guard::permit(&self.config, &self.targets, &[], &consent, "reset").expect("a permit")
    }

    fn wipe(&self, include_foreign: bool) -> Result<u64, Error> {
        let mut store = self.open();
        let permit = self.permit();
        block_on(async {
            store.begin_reset(&permit).await?;
            let count = store.wipe(&permit, include_foreign, &self.events).await?;
            store.finish_reset().await?;
            store.close().await;
            Ok(count)
        })
    }

    /// `kind name` of every holding, with `*` where it is owned.
    fn holdings(&self) -> Vec<String> {
        let mut store = self.open();
        let holdings = block_on(store.holdings(false)).expect("holdings");
        block_on(store.close());
        let line = |holding: &lyrox::stores::Holding| {
            let rows = holding.rows.map_or(String::new(), |rows| format!(" {rows}"));
            format!("{}{} {}{rows}", if holding.is_owned { "*" } else { "" }, holding.kind, holding.name)
        };
        holdings.iter().map(line).collect()
    }

    /// Version and state of every row.
    fn states(&self) -> Vec<(String, State)> {
        let mut store = self.open();
        let ledger = block_on(store.ledger()).expect("a ledger");
        block_on(store.close());
        ledger.rows.iter().map(|row| (row.version.to_string(), row.state)).collect()
    }

    fn has(&self, relation: &str) -> bool {
        self.project.sql_value(&format!("SELECT to_regclass('{relation}') IS NOT NULL")) == "t"
    }
}

fn mark() -> Mark {
    Mark { environment: "local".into(), is_protected: false }
}

fn place(error: &Error) -> (String, usize, usize, usize) {
    let place = error.place().expect("a place");
    (place.file.clone(), place.line, place.column, place.width)
}
