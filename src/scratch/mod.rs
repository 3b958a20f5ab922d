//! Scratch stores: stores that nobody else uses, in which the project's migrations are run again. They stand as
//! the live ones' migrations left them, and are gone when the work ends, however it ends.
//!
//! ```text
//! let request = scratch::Request::new(&args.scratch_url, &config.variables, offline, false)?;
//! let scratch = Scratch::open(work, &mut live_stores, &files, &request).await?;   // nothing of the live ones is changed
//! scratch.replay(events).await?;                       // runs `files` forward, settles and keeps snapshots
//! let mut stores = scratch.work(events).open().await?; // PostgreSQL, MongoDB, Redis as after a migrate
//! migrate::close(stores).await;
//! scratch.close().await?;                              // or dropped: the same, its errors unsaid
//! ```
//! `files` are what is to be run: [`applied`] picks those that the ledgers list. A store for which there is none
//! is not made, and is in neither `targets` nor the work.
//!
//! A store's scratch server is the one that `--scratch-url` names, shared with others: there a database or prefix
//! of a unique name is made, statements that concern the whole server are refused, and all is removed again. Else
//! it is a throw-away server that lyrox starts in a temporary folder, of the live one's major version: there
//! everything may run, as the superuser, in a database of the live one's name. It knows no terminal and prints nothing.

mod own;

use std::collections::BTreeMap;

use crate::config::{Config, Endpoint, Origin, Target, Targets, Variables};
use crate::engine::event::{Event, Events};
use crate::engine::ledger::{Row, State};
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::engine::snapshot::Snapshot;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::report::{Item, Outcome};
use crate::stores::scratch::{Namespace, beside, name, refuse_cluster_statements, roles_named};
use crate::stores::{AnyStore, Store as _};
use crate::url::SecretUrl;

use own::Own;

/// Where scratch stores may be made.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `--scratch-url`: at most one a store.
    pub urls: Vec<SecretUrl>,
    /// Fetch no server program.
    pub offline: bool,
}

impl Request {
    /// Reads what `--scratch-url` was given: a URL, or `${NAME}`, which keeps a password out of the process list.
    ///
    /// # Errors
    /// A password in a URL that stands there itself, a text that is no URL of a store, a variable that is not set, or two URLs for one store.
    pub fn new(urls: &[String], variables: &Variables, offline: bool, allows_secret: bool) -> Result<Self> {
        let mut request = Self { urls: Vec::new(), offline };
        for text in urls {
            let is_literal = !text.contains("${");
            let text = match !is_literal {
                true => crate::stores::expand::expand(text, variables)
                    .map_err(|why| Error::new(Code::Usage, "--scratch-url cannot be filled in").why(why))?,
                false => text.clone(),
            };
            let url = crate::url::parse(crate::url::kind_of(&text)?, &text)?;
            if is_literal && !allows_secret && url.password().is_some() {
                return Err(Error::new(Code::Usage, "--scratch-url holds a password")
                    .why("every user of this machine can read the command lines of running programs")
                    .data("nothing was contacted")
                    .hint("--scratch-url '${NAME}', with the URL in the variable NAME; --allow-argv-secret where no one else is"));
            }
            if request.urls.iter().any(|other| other.kind() == url.kind()) {
                let kind = url.kind().title();
                return Err(Error::new(Code::Usage, format!("--scratch-url names two servers of {kind}"))
                    .data("nothing was contacted")
                    .hint("leave one of them out"));
            }
            request.urls.push(url);
        }
        Ok(request)
    }
}

/// Scratch stores. Dropping it removes them.
pub struct Scratch {
    /// The project's configuration, brought to the scratch stores.
    pub config: Config,
    /// The scratch stores.
    pub targets: Targets,
    files: Vec<Migration>,
    /// The key prefixes: the live one and, on a shared server, the scratch one.
    prefixes: Option<(String, String)>,
    remains: Remains,
}

/// What has to be removed again.
#[derive(Default)]
struct Remains {
    own: Option<Own>,
    namespaces: Vec<Namespace>,
}

/// The parts of the files that the ledgers list as applied, in the files' order.
pub fn applied(files: &[Migration], rows: &BTreeMap<StoreKind, Vec<Row>>) -> Vec<Migration> {
    let is_applied = |store: &StoreKind, file: &Migration| {
        let rows = rows.get(store).map(Vec::as_slice).unwrap_or_default();
        rows.iter().any(|row| row.version == file.version && row.state == State::Applied)
    };
    let mut files = files.to_vec();
    for file in &mut files {
        let whole = file.clone();
        file.parts.retain(|store, _| is_applied(store, &whole));
    }
    files.retain(|file| !file.parts.is_empty());
    files
}

impl Scratch {
    /// Makes scratch stores for what the files hold, beside the live stores, which are only asked for their
    /// version and roles.
    ///
    /// # Errors
    /// `LYX-SCRATCH-VERSION`, `LYX-SCRATCH-CLUSTER`, `LYX-USAGE` for a URL that names a live store, and what keeps a
    /// server from starting or a database from being made. Nothing is left behind.
    pub async fn open(work: Work<'_>, live: &mut [AnyStore], files: &[Migration], request: &Request) -> Result<Self> {
        let has_part = |kind: StoreKind| files.iter().any(|file| file.parts.contains_key(&kind));
        let wanted: Vec<&Target> = work.targets.stores.iter().filter(|target| has_part(target.kind)).collect();
        let url_of = |kind: StoreKind| request.urls.iter().find(|url| url.kind() == kind);
        for target in &wanted {
            if let Some(url) = url_of(target.kind) {
                refuse_live(target, url)?;
                refuse_cluster_statements(files, target.kind)?;
            }
        }
        let mut products = BTreeMap::new();
        for store in live.iter_mut() {
            products.insert(store.kind(), store.product().await?);
        }
        let mut scratch = Self {
            config: work.config.clone(),
            targets: Targets::default(),
            files: files.to_vec(),
            prefixes: None,
            remains: Remains::default(),
        };
        // Protection is the live stores' matter; and no local server of the project is meant.
        scratch.config.is_protected = false;
        let own: Vec<StoreKind> =
            wanted.iter().map(|target| target.kind).filter(|kind| url_of(*kind).is_none()).collect();
        let mut own_targets = Vec::new();
        if !own.is_empty() {
            let roles = roles(live, files).await?;
            let started = Own::start(work, &own, &products, request.offline, &mut scratch.remains.own).await?;
            own_targets = own::targets(&started, &wanted, &roles).await?;
        }
        for target in wanted {
            let made = match url_of(target.kind) {
                Some(url) => scratch.share(work, target, url, files).await?,
                None => own_targets
                    .iter()
                    .find(|made| made.kind == target.kind)
                    .cloned()
                    .ok_or_else(|| Error::bug(format!("no scratch server of {}", target.kind)))?,
            };
            scratch.targets.stores.push(made);
        }
        scratch.compare_versions(work, &products).await?;
        Ok(scratch)
    }

    /// A namespace of a unique name on a server that others may use.
    async fn share(&mut self, work: Work<'_>, live: &Target, url: &SecretUrl, files: &[Migration]) -> Result<Target> {
        let endpoint = Endpoint { url: url.clone(), origin: Origin::Flag("--scratch-url") };
        let mut namespace = Namespace {
            kind: live.kind,
            endpoint: endpoint.clone(),
            ca_file: live.ca_file.clone(),
            name: if live.kind == StoreKind::Redis { format!("{}:", name()) } else { name() },
            beside: beside(files, live.kind, work.config)?,
        };
        namespace.create(work.config).await?;
        let (mut url, mut place) = (endpoint.url.clone(), live.namespace.clone());
        match live.kind {
            StoreKind::Postgres => url = url.with_database(&namespace.name),
            StoreKind::Mongodb => place.clone_from(&namespace.name),
            StoreKind::Redis => {
                self.prefixes = Some((live.namespace.clone(), namespace.name.clone()));
                place.clone_from(&namespace.name);
            }
        }
        self.remains.namespaces.push(namespace);
        let endpoint = Endpoint { url, origin: endpoint.origin };
        let direct = endpoint.clone();
        Ok(Target {
            kind: live.kind,
            app: endpoint,
            direct,
            namespace: place,
            ca_file: live.ca_file.clone(),
            allows_pooler: false,
            tenant: String::new(),
        })
    }

    /// A shared server of another version is told; what it prints may differ by that alone.
    async fn compare_versions(&self, work: Work<'_>, live: &BTreeMap<StoreKind, String>) -> Result<()> {
        for namespace in &self.remains.namespaces {
            let Some(target) = self.targets.get(namespace.kind) else { continue };
            let mut store = AnyStore::open(&self.config, target).await?;
            let product = store.product().await?;
            store.close().await;
            let live = live.get(&namespace.kind).map_or("", String::as_str);
            if own::major(live) != own::major(&product) {
                work.events.note(format!(
                    "the scratch server is {product}, the live one {live}: they may print the same schema differently"
                ));
            }
        }
        Ok(())
    }

    /// Work on the scratch stores; its items are the caller's to show or to leave.
    pub fn work<'a>(&'a self, events: &'a dyn Events) -> Work<'a> {
        Work { config: &self.config, targets: &self.targets, events, wait: std::time::Duration::from_secs(10) }
    }

    /// Runs the files forward on the scratch stores. Only notes and progress are told.
    ///
    /// # Errors
    /// `LYX-REPLAY-FAILED` with the place and words of what failed.
    pub async fn replay(&self, events: &dyn Events) -> Result<()> {
        self.replay_only(&self.files, events).await
    }

    /// The same with some of the files alone: those that come before what is to be tried.
    ///
    /// # Errors
    /// As [`Scratch::replay`].
    pub async fn replay_only(&self, files: &[Migration], events: &dyn Events) -> Result<()> {
        let quiet = Quiet::new(events);
        let outcome = migrate::migrate(self.work(&quiet), files, &Goal::Latest).await?;
        if events.is_cancelled() {
            return Err(
                Error::new(Code::ReplayFailed, "the replay was interrupted").data("the live stores were not touched")
            );
        }
        if !outcome.has_failed {
            return Ok(());
        }
        let failure = quiet.failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let error = Error::new(Code::ReplayFailed, "the migrations cannot be replayed on a scratch server")
            .data("the live stores were not touched");
        let Some(item) = failure else { return Err(error) };
        let store = item.store.map_or("", |store| store.name());
        let what = item.detail.unwrap_or_default();
        let why = item.why.map_or_else(|| what.clone(), |why| if why == what { why } else { format!("{what}\n{why}") });
        let error = error.why(format!("{store} {}: {why}", item.title));
        let error = match item.location.and_then(|location| location.place) {
            Some(place) => error.at(place),
            None => error,
        };
        Err(error.hint(format!(
            "if it needs something that only the live server has, name a server that has it: --scratch-url {}://...",
            item.store.map_or("postgres", |store| if store == StoreKind::Postgres { "postgres" } else { store.name() })
        )))
    }

    /// A snapshot of a scratch store as the live one would have it.
    pub fn as_live(&self, mut snapshot: Snapshot) -> Snapshot {
        if let Some((live, scratch)) = self.prefixes.as_ref().filter(|_| snapshot.store == StoreKind::Redis) {
            for definition in snapshot.objects.values_mut() {
                *definition = definition.replace(scratch, live);
            }
        }
        snapshot
    }

    /// Removes the scratch stores.
    ///
    /// # Errors
    /// What could not be removed, by its name.
    pub async fn close(mut self) -> Result<()> {
        std::mem::take(&mut self.remains).remove().await
    }
}

impl Drop for Scratch {
    /// A run that was cut short removes its scratch stores as well. The thread that drops it waits for that.
    fn drop(&mut self) {
        let remains = std::mem::take(&mut self.remains);
        if remains.own.is_none() && remains.namespaces.is_empty() {
            return;
        }
        let removing = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                // Nobody is left to be told.
                let _ = runtime.block_on(remains.remove());
            }
        });
        let _ = removing.join();
    }
}

impl Remains {
    async fn remove(self) -> Result<()> {
        let mut removed = Ok(());
        for namespace in &self.namespaces {
            removed = removed.and(namespace.remove().await);
        }
        match self.own {
            Some(own) => removed.and(own.stop().await),
            None => removed,
        }
    }
}

/// The roles of the live PostgreSQL that migrations name and do not make: on a throw-away server they are made
/// first, without rights.
async fn roles(live: &mut [AnyStore], files: &[Migration]) -> Result<Vec<String>> {
    for store in live {
        if let AnyStore::Postgres(store) = store {
            return store.roles_among(&roles_named(files)).await;
        }
    }
    Ok(Vec::new())
}

/// Refuses a scratch URL that leads to the live store itself.
fn refuse_live(live: &Target, url: &SecretUrl) -> Result<()> {
    let of = |url: &SecretUrl| {
        let hosts: Vec<_> = url.hosts().iter().map(|host| (host.name.to_lowercase(), url.port_of(host))).collect();
        (hosts, url.database().map(str::to_owned))
    };
    let is_live = [&live.direct.url, &live.app.url].into_iter().any(|live| of(live) == of(url));
    // MongoDB and Redis get a database or prefix of their own in any case; the path of the URL decides nothing.
    if is_live && live.kind == StoreKind::Postgres {
        let database = url.database().unwrap_or_default();
        return Err(Error::new(Code::Usage, format!("--scratch-url names the live database `{database}`"))
            .why("a scratch database is made beside it; the URL names where to ask for it")
            .data("nothing was contacted")
            .hint("give the URL another path, such as `/postgres`"));
    }
    Ok(())
}

/// Lets notes and progress through, keeps the first failure, and swallows the rest.
pub(crate) struct Quiet<'a> {
    events: &'a dyn Events,
    failure: std::sync::Mutex<Option<Item>>,
}

impl Events for Quiet<'_> {
    fn event(&self, event: Event) {
        match event {
            Event::Item(item) if item.outcome == Outcome::Fail => {
                let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                failure.get_or_insert(*item);
            }
            Event::Progress { .. } => self.events.event(event),
            // What the server notices while it replays was noticed when it was live.
            Event::Item(_) | Event::Folded { .. } | Event::Heading(_) | Event::Note(_) => {}
        }
    }

    fn is_cancelled(&self) -> bool {
        self.events.is_cancelled()
    }
}

impl<'a> Quiet<'a> {
    fn new(events: &'a dyn Events) -> Self {
        Self { events, failure: std::sync::Mutex::new(None) }
    }
}
