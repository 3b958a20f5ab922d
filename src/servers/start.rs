//! `up`: brings the wanted servers up side by side. Each step can be cut off at any moment; the next
//! `up` goes on from what it finds.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::process::Child;

use super::binaries::{self, Program};
use super::files::{self, disk};
use super::occupant::occupant;
use super::process::{self, Launch, Process, Seat, Sitter};
use super::state::{ADMIN, FOLDER, OWNER, Record, State, slug};
use super::{UpRequest, canonical, folder, home, log, logs, mongodb, place, postgres, redis, stop};
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};

/// How long a server may take to answer: it may have to recover after a crash.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a server that runs may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// How often another port is tried when one is taken between the choice and the start.
const PORTS: usize = 3;

/// Why a server does not answer.
pub enum Trouble {
    /// It may do so in a moment.
    NotYet(String),
    /// It will not.
    Final(Error),
}

/// A server that is up.
#[derive(Clone, Debug)]
pub struct Server {
    /// The store.
    pub kind: StoreKind,
    /// `started`, or `unchanged` where it was up before.
    pub change: Change,
    /// `PostgreSQL 15.18`.
    pub product: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its process.
    pub pid: i32,
}

struct Run<'a> {
    root: PathBuf,
    request: &'a UpRequest,
    events: &'a dyn Events,
    state: Mutex<State>,
}

impl Run<'_> {
    fn record(&self, kind: StoreKind) -> Result<Record> {
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.servers.get(&kind).cloned().ok_or_else(|| Error::bug(format!("{kind} has no record")))
    }

    /// Keeps a changed record.
    fn keep(&self, kind: StoreKind, record: &Record) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.servers.insert(kind, record.clone());
        state.write(&self.root)
    }
}

/// Starts the wanted servers that do not run, side by side, and proves by a query that each answers.
/// One item a server. Running it again finds them running.
///
/// # Errors
/// `LYX-LOCK-HELD`, `LYX-SERVER-STATE`, `LYX-SERVER-DISK`, `LYX-CONFIG-VALUE`. What fails for one server
/// is its item, and is in the answer.
pub async fn up(request: &UpRequest, events: &dyn Events) -> Result<Vec<(StoreKind, Result<Server>)>> {
    postgres::check_settings(&request.local.postgres_settings)?;
    let app_role = request.app_role.clone().filter(|role| role != OWNER && !role.is_empty());
    if app_role.as_deref() == Some(ADMIN) {
        return Err(Error::new(Code::ConfigValue, format!("`[postgres] app_role` cannot be `{ADMIN}`"))
            .why("that is the superuser of the local server")
            .hint("give the application's role another name"));
    }
    let root = canonical(&request.root)?;
    if root.to_str().is_none() {
        return Err(Error::new(Code::FileEncoding, "the path of the project's folder is not valid UTF-8")
            .why("where a server has its data and programs is written down as text")
            .data("nothing was started")
            .hint("give the folder another name, and run lyrox up again"));
    }
    files::prepare(&root)?;
    let _lock = files::lock(&root.join(FOLDER).join("lock"), "the local servers", events).await?;
    let mut state = State::read(&root)?;
    if complete(&mut state, request, app_role.as_deref())? {
        state.write(&root)?;
    }
    let run = Run { root, request, events, state: Mutex::new(state) };
    Ok(futures_util::future::join_all(request.stores.iter().map(|kind| report(&run, *kind))).await)
}

async fn report(run: &Run<'_>, kind: StoreKind) -> (StoreKind, Result<Server>) {
    let begun = Instant::now();
    let result = bring_up(run, kind).await;
    let id = format!("{kind}.up");
    run.events.item(match &result {
        Ok(server) => Item::pass(id, server.product.clone())
            .store(kind)
            .change(server.change)
            .detail(format!("port {}", server.port))
            .elapsed(begun.elapsed()),
        Err(error) => Item::fail(id, kind.title(), error).store(kind).elapsed(begun.elapsed()),
    });
    (kind, result)
}

/// Adds what the state lacks: records with a port and passwords, the application's role. Whether
/// anything was added.
fn complete(state: &mut State, request: &UpRequest, app_role: Option<&str>) -> Result<bool> {
    let mut has_changed = false;
    // Held until all are chosen, so that no two are the same.
    let mut held = Vec::new();
    for kind in &request.stores {
        let database = match kind {
            StoreKind::Postgres => slug(&request.project),
            StoreKind::Mongodb => request.mongodb_database.clone().unwrap_or_else(|| slug(&request.project)),
            StoreKind::Redis => "0".to_owned(),
        };
        if !state.servers.contains_key(kind) {
            let listener = listen(0).map_err(|error| disk("no port is free", &error))?;
            let port = request.port(*kind).or(listener.local_addr().ok().map(|address| address.port())).unwrap_or(0);
            held.push(listener);
            let users: &[&str] = if *kind == StoreKind::Postgres { &[ADMIN, OWNER] } else { &[OWNER] };
            state.servers.insert(*kind, Record::new(port, users, &database));
            has_changed = true;
        }
        let Some(record) = state.servers.get_mut(kind) else { continue };
        if *kind == StoreKind::Mongodb && record.database != database {
            record.database = database;
            has_changed = true;
        }
        if *kind == StoreKind::Postgres && record.app_role.as_deref() != app_role {
            if let Some(role) = app_role {
                record.logins.entry(role.to_owned()).or_insert_with(super::state::password);
            }
            record.app_role = app_role.map(str::to_owned);
            // The roles are looked at again, also where the server runs.
            record.is_made = false;
            has_changed = true;
        }
        if *kind == StoreKind::Postgres && record.extensions != request.extensions {
            record.extensions.clone_from(&request.extensions);
            record.is_made = false;
            has_changed = true;
        }
    }
    Ok(has_changed)
}

fn listen(port: u16) -> std::io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

async fn bring_up(run: &Run<'_>, kind: StoreKind) -> Result<Server> {
    let folder = folder(&run.root, kind);
    files::private_folder(&folder)?;
    let mut record = run.record(kind)?;
    let known = record.process.clone().filter(|process| process.runs_for(&run.root));
    match (Seat::wait(&folder, &run.root).await?, known) {
        (Sitter::Server(process), _) | (_, Some(process)) => found(run, kind, &mut record, process).await,
        (Sitter::Free(seat), None) => start(run, kind, record, seat).await,
        (Sitter::Unknown, None) => Err(Error::bug("someone unknown was waited for")),
    }
}

/// A server that runs: asked whether it answers; one that was cut off while it was made is completed.
async fn found(run: &Run<'_>, kind: StoreKind, record: &mut Record, process: Process) -> Result<Server> {
    let is_known = record.process.as_ref() == Some(&process);
    let change = if is_known { Change::Unchanged } else { Change::Started };
    if is_known && record.is_made {
        let begun = Instant::now();
        loop {
            match tokio::time::timeout(ANSWER, answers(kind, record)).await {
                Ok(Ok(())) => break,
                Ok(Err(Trouble::Final(error))) => return Err(error),
                Ok(Err(Trouble::NotYet(_))) if begun.elapsed() < ANSWER => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Ok(Err(Trouble::NotYet(_))) | Err(_) => return Err(hangs(kind, &process)),
            }
        }
    } else {
        match wait_ready(run.events, kind, record, &process, None).await {
            Ok(()) => {}
            Err(Unready::Trouble(error)) => return Err(error),
            Err(Unready::Ended | Unready::Late(_)) => return Err(hangs(kind, &process)),
        }
        record.is_made = true;
        record.process = Some(process.clone());
        record.since.get_or_insert_with(now);
        run.keep(kind, record)?;
    }
    if kind == StoreKind::Postgres && record.settings != run.request.local.postgres_settings {
        run.events.note(
            "`[local] postgres_settings` have changed; they hold from the next start: lyrox down postgres, then lyrox up"
                .into(),
        );
    }
    if let Some(port) = run.request.port(kind).filter(|port| *port != record.port) {
        run.events.note(format!(
            "{kind} runs on port {}; port {port} holds from its next start: lyrox down {kind}, then lyrox up",
            record.port
        ));
    }
    let product = record.product.clone().unwrap_or_else(|| kind.title().to_owned());
    Ok(Server { kind, change, product, port: record.port, pid: process.pid })
}

fn hangs(kind: StoreKind, process: &Process) -> Error {
    Error::new(Code::ServerStart, format!("{} runs as process {} and does not answer", kind.title(), process.pid))
        .data("its data is untouched")
        .hint(format!("lyrox down {kind}, then lyrox up {kind}"))
}

async fn start(run: &Run<'_>, kind: StoreKind, mut record: Record, mut seat: Seat) -> Result<Server> {
    let found = home(&run.root, kind, &record);
    let major = if kind == StoreKind::Postgres { postgres::data_version(&found) } else { None };
    let program = binaries::find(kind, run.request, major.or(run.request.postgres_major), run.events).await?;
    same_version(kind, &record, &program, major, &found)?;
    let home = place::settle(&run.root, kind, &mut record)?;
    let own = place::owner(record.privileges);
    match kind {
        StoreKind::Postgres => postgres::make(&program, &home, &seat, record.privileges, &record, &own).await?,
        StoreKind::Mongodb => mongodb::make(&home, &own)?,
        StoreKind::Redis => {}
    }
    if kind == StoreKind::Postgres {
        record.settings.clone_from(&run.request.local.postgres_settings);
    }
    record.program = Some(program.path.clone());
    record.product = Some(program.product());
    for attempt in 1.. {
        choose_port(run, kind, &mut record)?;
        run.keep(kind, &record)?;
        let arguments = match kind {
            StoreKind::Postgres => {
                postgres::configure(&home, &record, program.extensions.as_deref(), &own)?;
                postgres::arguments()
            }
            StoreKind::Mongodb => mongodb::arguments(&record),
            StoreKind::Redis => {
                redis::configure(&home, &record, &own)?;
                redis::arguments()
            }
        };
        let log = log(&run.root, kind);
        let before = std::fs::metadata(&log).map_or(0, |data| data.len());
        let launch =
            Launch { program: &program.path, arguments, folder: &home, log: &log, privileges: record.privileges };
        let (mut child, process) = launch.start(seat, &run.root)?;
        match wait_ready(run.events, kind, &record, &process, Some(&mut child)).await {
            Ok(()) => {
                record.is_made = true;
                record.process = Some(process.clone());
                record.since = Some(now());
                run.keep(kind, &record)?;
                let (product, port) = (program.product(), record.port);
                return Ok(Server { kind, change: Change::Started, product, port, pid: process.pid });
            }
            Err(unready) => {
                // Started by us a moment ago and of no use: it must not stay.
                process::stop(&process, &folder(&run.root, kind), &stop::signals(kind)).await?;
                let (last, all) = logs::since(&log, before);
                let is_taken = all.contains("Address already in use") || all.contains("could not bind");
                if is_taken && attempt < PORTS && run.request.port(kind).is_none() {
                    run.events.note(format!("port {} was taken meanwhile; {kind} gets another", record.port));
                    seat = match Seat::wait(&folder(&run.root, kind), &run.root).await? {
                        Sitter::Free(seat) => seat,
                        _ => return Err(Error::bug("a server that was stopped still runs")),
                    };
                    record.port = free_port()?;
                    continue;
                }
                return Err(did_not_start(kind, unready, last, &all));
            }
        }
    }
    Err(Error::bug("no attempt was made"))
}

fn did_not_start(kind: StoreKind, unready: Unready, last: String, all: &str) -> Error {
    let title = kind.title();
    if files::speaks_of_disk(all) {
        return Error::new(Code::ServerDisk, format!("{title} cannot start: its disk is full or read-only"))
            .why(last)
            .hint(format!("free space there, then run lyrox up {kind}"));
    }
    let error = match unready {
        Unready::Trouble(error) => return error,
        Unready::Ended => Error::new(Code::ServerStart, format!("{title} ended as soon as it was started")),
        Unready::Late(why) => Error::new(
            Code::ServerStart,
            format!("{title} did not answer within {} s and was stopped: {why}", PATIENCE.as_secs()),
        ),
    };
    let error = if last.is_empty() { error.why("its log says nothing") } else { error.why(last) };
    error.hint(format!("lyrox logs {kind} -n 50"))
}

fn now() -> String {
    let now = jiff::Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

fn same_version(kind: StoreKind, record: &Record, program: &Program, major: Option<u32>, home: &Path) -> Result<()> {
    let refuse = |made_by: &str| {
        Err(Error::new(
            Code::ServerVersion,
            format!("{}'s data was made by {made_by}, and {} was found", kind.title(), program.product()),
        )
        .why(format!("`{}` cannot be used by another version", files::shown(&home.join("data"))))
        .data("the data folder is untouched")
        .hint(format!("name that version under [local] in lyrox.toml, or begin anew: lyrox down {kind} --purge")))
    };
    if let Some(major) = major {
        return if major == program.major() { Ok(()) } else { refuse(&format!("PostgreSQL {major}")) };
    }
    let Some(product) = record.product.as_deref().filter(|_| record.is_made && home.join("data").is_dir()) else {
        return Ok(());
    };
    let Some((name, version)) = product.split_once(' ') else { return Ok(()) };
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    let fits = match kind {
        StoreKind::Postgres => true,
        // A release series reads the data of its own and of the one before it, after steps of its own.
        StoreKind::Mongodb => numbers.iter().take(2).eq(program.numbers.iter().take(2)),
        StoreKind::Redis => name == program.name && numbers.first() <= program.numbers.first(),
    };
    if fits { Ok(()) } else { refuse(product) }
}

fn choose_port(run: &Run<'_>, kind: StoreKind, record: &mut Record) -> Result<()> {
    if let Some(port) = run.request.port(kind) {
        record.port = port;
        return listen(port).map(|_| ()).map_err(|error| {
            let why = match occupant(port) {
                Some(who) => format!("{who} listens there"),
                None => error.to_string(),
            };
            Error::new(Code::ServerStart, format!("port {port} of `[local] {kind}_port` cannot be used"))
                .why(why)
                .hint(format!("end it, set `{kind}_port` to another port, or remove it to have a free one chosen"))
        });
    }
    if record.port == 0 || listen(record.port).is_err() {
        let port = free_port()?;
        if record.port != 0 {
            let who = occupant(record.port).map(|who| format!(", {who}")).unwrap_or_default();
            run.events.note(format!("port {} is taken by another process{who}; {kind} moves to {port}", record.port));
        }
        record.port = port;
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    let address = listen(0).and_then(|listener| listener.local_addr());
    address.map(|address| address.port()).map_err(|error| disk("no port is free", &error))
}

enum Unready {
    Ended,
    Late(String),
    Trouble(Error),
}

/// Waits until the server answers, making its users on the way.
async fn wait_ready(
    events: &dyn Events,
    kind: StoreKind,
    record: &Record,
    process: &Process,
    mut child: Option<&mut Child>,
) -> Result<(), Unready> {
    let begun = Instant::now();
    let mut last = "nothing listens at its port".to_owned();
    let mut has_ended = || match &mut child {
        Some(child) => !matches!(child.try_wait(), Ok(None)),
        None => !process.runs(),
    };
    while begun.elapsed() < PATIENCE {
        if has_ended() {
            return Err(Unready::Ended);
        }
        if events.is_cancelled() {
            let error = Error::new(Code::ServerStart, format!("{} was not waited for: interrupted", kind.title()));
            return Err(Unready::Trouble(error.hint("lyrox up")));
        }
        // Drivers wait long between two attempts; a plain connection shows sooner when to begin.
        if tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, record.port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(4)).await;
            continue;
        }
        match tokio::time::timeout(PATIENCE.saturating_sub(begun.elapsed()), establish(kind, record)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Trouble::NotYet(why))) => last = why,
            Ok(Err(Trouble::Final(error))) => {
                // What answered may be another program that took the port first.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return Err(if has_ended() { Unready::Ended } else { Unready::Trouble(error) });
            }
            Err(_) => break,
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Unready::Late(last))
}

async fn establish(kind: StoreKind, record: &Record) -> Result<(), Trouble> {
    match kind {
        StoreKind::Postgres => postgres::establish(record).await,
        StoreKind::Mongodb => mongodb::establish(record).await,
        StoreKind::Redis => redis::answers(record).await,
    }
}

async fn answers(kind: StoreKind, record: &Record) -> Result<(), Trouble> {
    match kind {
        StoreKind::Postgres => postgres::answers(record).await,
        StoreKind::Mongodb => mongodb::answers(record).await,
        StoreKind::Redis => redis::answers(record).await,
    }
}
