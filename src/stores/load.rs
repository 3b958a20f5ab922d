//! How a store takes seeds: the contract between the seed operation and the stores, and its data.
//!
//! Values cross it as JSON in the store's own dialect: PostgreSQL casts texts itself, MongoDB reads
//! extended JSON, Redis takes texts, lists and tables.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::rejects::Rejects;
use super::source::RowSource;
use super::{AnyStore, mongodb, postgres, redis};
use crate::config::file::Keyspace;
use crate::engine::event::Events;
use crate::engine::tenant::Tenant;
use crate::error::{Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::Script;

/// The fields of one row, in order.
pub type Fields = Map<String, Json>;

/// What holds for a whole run.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Nothing stays: what is written is rolled back.
    pub is_dry: bool,
    /// A dry run in which PostgreSQL writes nothing at all: its transaction can only read. Rows that only a
    /// write would bring are unknown in it.
    pub is_read_only: bool,
    /// The tenant that the run is for.
    pub tenant: Option<Tenant>,
    /// Tenants that the set's own rows name: rows that policies hide are looked for under each of them.
    pub tenants: Vec<String>,
    /// `[tenancy] table` and the column that holds its key.
    pub tenant_table: Option<(String, String)>,
    /// `[tenancy] column`.
    pub tenant_column: Option<String>,
    /// `[tenancy] setting`.
    pub tenant_setting: String,
    /// The project has migrations for the store: what is missing must come from them.
    pub has_migrations: bool,
    /// `[project] name`.
    pub project: String,
    /// `[redis.keyspaces]`.
    pub keyspaces: BTreeMap<String, Keyspace>,
}

/// What a store says of one target.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// The target as the files name it.
    pub target: String,
    /// Whether there is such a target, or it may be made by writing to it.
    pub exists: bool,
    /// A target with a similar name, where there is no such one.
    pub near: Option<String>,
    /// Its fields; none where any are allowed.
    pub fields: Option<Vec<FieldShape>>,
    /// The fields of the primary key.
    pub identity: Vec<String>,
    /// The unique indexes beside it that tell rows apart.
    pub unique: Vec<Vec<String>>,
    /// The targets of this run that its foreign keys point at, with the fields that do.
    pub references: Vec<(Vec<String>, String)>,
    /// Row-level security holds for lyrox's own role.
    pub is_guarded: bool,
}

impl Shape {
    /// The field of this name, where fields are declared.
    pub fn field(&self, name: &str) -> Option<&FieldShape> {
        self.fields.iter().flatten().find(|field| field.name == name)
    }
}

/// What a store says of one field.
#[derive(Clone, Debug, Default)]
pub struct FieldShape {
    /// Its name.
    pub name: String,
    /// It holds a UUID.
    pub is_uuid: bool,
    /// It takes tables as they are: JSON, composite types.
    pub takes_tables: bool,
    /// It may be empty.
    pub is_nullable: bool,
    /// The server computes it; it cannot be given.
    pub is_computed: bool,
    /// It holds bytes.
    pub is_bytes: bool,
    /// A sequence makes its values where none is given.
    pub has_sequence: bool,
}

/// A row to look for.
#[derive(Clone, Debug)]
pub struct Probe {
    /// The values of the key, in its order.
    pub key: Vec<Json>,
    /// The tenant it belongs to, where known.
    pub tenant: Option<String>,
    /// Where it is written.
    pub place: Place,
}

/// A row that is there.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The fields that were asked for.
    pub fields: Fields,
    /// The tenant under which it can be seen, where that matters.
    pub tenant: Option<String>,
}

/// Rows of one target to be written.
#[derive(Clone, Debug)]
pub struct Batch<'a> {
    /// The target.
    pub shape: &'a Shape,
    /// The fields that tell rows apart.
    pub key: &'a [String],
    /// The rows.
    pub rows: Vec<Record>,
}

/// One row to be written.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its fields.
    pub fields: Fields,
    /// Fields that are written with a new row only: ids, beside a natural key.
    pub first: Vec<String>,
    /// It was found; else it is new.
    pub is_there: bool,
    /// The tenant it belongs to or was found under.
    pub tenant: Option<String>,
    /// Where it is written.
    pub place: Place,
}

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is new.
    Created,
    /// It differed.
    Updated,
    /// It was as it should be; nothing was sent that writes.
    Unchanged,
}

/// What became of one named row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowDone {
    /// Whether it was written.
    pub what: Written,
    /// The fields that differed, where it was there before.
    pub changed: Vec<String>,
}

impl RowDone {
    /// A row that is new.
    pub const fn created() -> Self {
        Self { what: Written::Created, changed: Vec::new() }
    }

    /// A row that was there: updated where fields differed.
    pub fn there(changed: Vec<String>) -> Self {
        let what = if changed.is_empty() { Written::Unchanged } else { Written::Updated };
        Self { what, changed }
    }
}

/// What a value begins with that only the server can give, while nothing is written.
const UNKNOWN: &str = "\u{1}new ";

/// A value that is known only once the row is written; the same for the same name.
pub fn unknown(name: &str) -> Json {
    Json::String(format!("{UNKNOWN}{name}"))
}

/// Whether a value is one that is known only once a row is written, or holds one.
pub fn is_unknown(value: &Json) -> bool {
    match value {
        Json::String(text) => text.contains(UNKNOWN),
        Json::Array(items) => items.iter().any(is_unknown),
        Json::Object(table) => table.values().any(is_unknown),
        _ => false,
    }
}

/// What became of the rows of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// New rows.
    pub created: u64,
    /// Rows that differed.
    pub updated: u64,
    /// Rows that were as they should be.
    pub unchanged: u64,
    /// Rows that were deleted (mode `replace`).
    pub deleted: u64,
}

impl Counts {
    /// Counts one row.
    pub fn add(&mut self, written: Written) {
        match written {
            Written::Created => self.created += 1,
            Written::Updated => self.updated += 1,
            Written::Unchanged => self.unchanged += 1,
        }
    }
}

/// What a bulk file came to.
#[derive(Clone, Debug, Default)]
pub struct BulkDone {
    /// What became of its rows.
    pub counts: Counts,
    /// How it was done, where that is worth a word.
    pub note: Option<String>,
}

/// How many rows are to be loaded.
#[derive(Default)]
pub struct How {
    /// Connections that write at once; 0 or 1: one, in the transaction of the set.
    pub jobs: usize,
    /// Where rows go that are refused; none: the first of them ends the load.
    pub rejects: Option<Rejects>,
    /// Indexes stay while an empty table is filled.
    pub keeps_indexes: bool,
}

/// Rows to be loaded: a file's or a generator's.
#[derive(Clone, Copy)]
pub struct BulkLoad<'a> {
    /// Where the rows come from.
    pub source: &'a dyn RowSource,
    /// Its target.
    pub shape: &'a Shape,
    /// The fields that tell rows apart; empty: it is loaded once per content.
    pub key: &'a [String],
    /// Of the source, where there is no key; else empty.
    pub checksum: &'a str,
    /// What the ledger of seeds knows it by.
    pub name: &'a str,
    /// How it is wanted.
    pub how: &'a How,
}

/// Rows to be made without a file.
#[derive(Clone, Debug, Default)]
pub struct FillOrder {
    /// How many rows the store's targets shall hold together.
    pub rows: u64,
    /// The seed number.
    pub seed: u64,
    /// Only for these tenants; empty: for all.
    pub tenants: Vec<String>,
}

/// What became of one target that was to be filled.
#[derive(Clone, Debug, Default)]
pub struct Filled {
    /// The table, collection or key space.
    pub target: String,
    /// How many rows it should have.
    pub wanted: u64,
    /// How many it had.
    pub before: u64,
    /// How many were added.
    pub added: u64,
    /// Why it has fewer than it should.
    pub reason: Option<String>,
    /// It is left out on purpose.
    pub is_skipped: bool,
    /// How long it took.
    pub elapsed: std::time::Duration,
}

/// One store taking seeds. Made by [`Load::loader`], ended by [`Loader::finish`]; dropping it undoes
/// what the store can undo.
#[allow(async_fn_in_trait, reason = "used through AnyLoader only, never spawned")]
pub trait Loader {
    /// What the store knows of the targets, in their order. Reads only.
    async fn describe(&mut self, targets: &[String]) -> Result<Vec<Shape>>;

    /// Looks for rows by key and reads the wanted fields of those that are there. Reads only.
    async fn find(
        &mut self,
        shape: &Shape,
        key: &[String],
        wanted: &[String],
        probes: &[Probe],
    ) -> Result<Vec<Option<Found>>>;

    /// The id by which other rows refer to a row with these fields, where they tell it.
    fn identity(&self, shape: &Shape, fields: &Fields) -> Option<Json>;

    /// Ids for so many new rows, where the store makes them itself and can tell them before it has the
    /// rows; empty where it cannot.
    async fn reserve(&mut self, shape: &Shape, count: usize) -> Result<Vec<Json>>;

    /// Writes rows of several targets that may refer to each other. Compares before it writes; in a dry
    /// run it only compares.
    async fn write(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Vec<RowDone>>>;

    /// Deletes the rows of a target that have none of these keys; says how many.
    async fn remove_others(&mut self, shape: &Shape, key: &[String], keep: &[Probe]) -> Result<u64>;

    /// Loads a bulk file, streaming it.
    async fn bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone>;

    /// How many targets [`Loader::fill`] would look at. Reads only.
    async fn targets(&mut self) -> Result<u64>;

    /// Makes rows for every target until they hold what is ordered together.
    async fn fill(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>>;

    /// Checks a script without sending it.
    fn check_script(&self, script: &Script) -> Result<()>;

    /// Runs a script and remembers it under this name, both or neither where the store can do that.
    async fn script(&mut self, script: &Script, name: &str) -> Result<()>;

    /// The checksum under which a file was applied last. Reads only.
    async fn applied(&mut self, file: &str) -> Result<Option<String>>;

    /// Remembers that a file was applied with this checksum.
    async fn remember(&mut self, file: &str, checksum: &str) -> Result<()>;

    /// Sends what was held back: the last moment at which a refusal undoes everything everywhere.
    async fn flush(&mut self) -> Result<()>;

    /// Makes the rows written so far last.
    async fn commit(&mut self) -> Result<()>;

    /// Undoes what is not committed, as far as the store can.
    async fn abandon(&mut self);
}

/// A store that takes seeds.
#[allow(async_fn_in_trait, reason = "used through AnyStore only, never spawned")]
pub trait Load {
    /// Takes the seeds of one run.
    type Loader<'a>: Loader
    where
        Self: 'a;

    /// Begins a run.
    async fn loader(&mut self, terms: &Terms) -> Result<Self::Loader<'_>>;
}

/// Any of the loaders.
#[allow(clippy::large_enum_variant, reason = "there are at most three of them in a run")]
pub enum AnyLoader<'a> {
    /// PostgreSQL.
    Postgres(postgres::load::PostgresLoader<'a>),
    /// MongoDB.
    Mongodb(mongodb::load::MongodbLoader<'a>),
    /// Redis.
    Redis(redis::load::RedisLoader<'a>),
}

impl Load for AnyStore {
    type Loader<'a> = AnyLoader<'a>;

    async fn loader(&mut self, terms: &Terms) -> Result<AnyLoader<'_>> {
        Ok(match self {
            Self::Postgres(store) => AnyLoader::Postgres(store.loader(terms).await?),
            Self::Mongodb(store) => AnyLoader::Mongodb(store.loader(terms).await?),
            Self::Redis(store) => AnyLoader::Redis(store.loader(terms).await?),
        })
    }
}

macro_rules! forward {
    ($self:ident, $loader:ident => $call:expr) => {
        match $self {
            AnyLoader::Postgres($loader) => $call,
            AnyLoader::Mongodb($loader) => $call,
            AnyLoader::Redis($loader) => $call,
        }
    };
}

impl AnyLoader<'_> {
    /// The kind of store.
    pub fn kind(&self) -> StoreKind {
        match self {
            Self::Postgres(_) => StoreKind::Postgres,
            Self::Mongodb(_) => StoreKind::Mongodb,
            Self::Redis(_) => StoreKind::Redis,
        }
    }
}

impl Loader for AnyLoader<'_> {
    async fn describe(&mut self, targets: &[String]) -> Result<Vec<Shape>> {
        forward!(self, loader => loader.describe(targets).await)
    }
    async fn find(
        &mut self,
        shape: &Shape,
        key: &[String],
        wanted: &[String],
        probes: &[Probe],
    ) -> Result<Vec<Option<Found>>> {
        forward!(self, loader => loader.find(shape, key, wanted, probes).await)
    }
    fn identity(&self, shape: &Shape, fields: &Fields) -> Option<Json> {
        forward!(self, loader => loader.identity(shape, fields))
    }
    async fn reserve(&mut self, shape: &Shape, count: usize) -> Result<Vec<Json>> {
        forward!(self, loader => loader.reserve(shape, count).await)
    }
    async fn write(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Vec<RowDone>>> {
        forward!(self, loader => loader.write(batches).await)
    }
    async fn remove_others(&mut self, shape: &Shape, key: &[String], keep: &[Probe]) -> Result<u64> {
        forward!(self, loader => loader.remove_others(shape, key, keep).await)
    }
    async fn bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        forward!(self, loader => loader.bulk(load, events).await)
    }
    async fn targets(&mut self) -> Result<u64> {
        forward!(self, loader => loader.targets().await)
    }
    async fn fill(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        forward!(self, loader => loader.fill(order, events).await)
    }
    fn check_script(&self, script: &Script) -> Result<()> {
        forward!(self, loader => loader.check_script(script))
    }
    async fn script(&mut self, script: &Script, name: &str) -> Result<()> {
        forward!(self, loader => loader.script(script, name).await)
    }
    async fn applied(&mut self, file: &str) -> Result<Option<String>> {
        forward!(self, loader => loader.applied(file).await)
    }
    async fn remember(&mut self, file: &str, checksum: &str) -> Result<()> {
        forward!(self, loader => loader.remember(file, checksum).await)
    }
    async fn flush(&mut self) -> Result<()> {
        forward!(self, loader => loader.flush().await)
    }
    async fn commit(&mut self) -> Result<()> {
        forward!(self, loader => loader.commit().await)
    }
    async fn abandon(&mut self) {
        forward!(self, loader => loader.abandon().await);
    }
}

/// Two rows where the key should find one.
pub fn several(shape: &Shape, key: &[String], place: &Place) -> Error {
    Error::new(
        crate::error::Code::SeedFailed,
        format!("several rows of `{}` have the {} of this row", shape.target, quoted(key)),
    )
    .why("a key must tell rows apart")
    .at(place.clone())
    .hint("name a key that is unique: key = [...]")
}

/// A bulk load that a signal ended between two batches.
pub fn cut_short(load: &BulkLoad<'_>, counts: &Counts) -> Error {
    Error::new(crate::error::Code::SeedFailed, "cut short by a signal").data(format!(
        "{} of `{}` are as they should be; running it again goes on",
        so_far(load, counts),
        load.source.shown()
    ))
}

/// How many rows are dealt with: `1000 of 5000 rows`.
pub fn so_far(load: &BulkLoad<'_>, counts: &Counts) -> String {
    let done = counts.created + counts.updated + counts.unchanged;
    load.source.rows().map_or_else(|| format!("{done} rows"), |rows| format!("{done} of {rows} rows"))
}

/// How many rows there will be: known, or judged by how much of the source is read.
pub fn expected(load: &BulkLoad<'_>, done: u64, progress: Option<(u64, u64)>) -> Option<u64> {
    load.source.rows().or_else(|| {
        let (taken, size) = progress?;
        u64::try_from(u128::from(done) * u128::from(size) / u128::from(taken.max(1))).ok()
    })
}

/// Names as a list for messages.
pub fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
