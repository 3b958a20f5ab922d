//! `lyrox.toml` as types: every key, its default and its meaning. Unknown keys are refused.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::period::Period;
use super::shards::{MongodbShard, PostgresShard};
use crate::kind::StoreKind;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The project.
    pub project: Project,
    /// PostgreSQL; absent: the project has none.
    pub postgres: Option<Postgres>,
    /// MongoDB; absent: the project has none.
    pub mongodb: Option<Mongodb>,
    /// Redis; absent: the project has none.
    pub redis: Option<Redis>,
    /// Where migrations lie and how they run.
    pub migrations: Migrations,
    /// Where seeds lie.
    pub seeds: Seeds,
    /// Where the project's own smoke tests lie.
    pub smoke: Smoke,
    /// How tenants are told apart; absent: the project has none.
    pub tenancy: Option<Tenancy>,
    /// Which rules `lyrox db lint` judges by.
    pub lint: Lint,
    /// What `lyrox check` should find.
    pub check: Check,
    /// Local servers.
    pub local: Local,
    /// Environments, by name.
    pub env: BTreeMap<String, Environment>,
}

/// `[project]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Project {
    /// Part of the lock key and of every deterministic id. Default: the folder's name.
    pub name: String,
}

/// `[postgres]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// What the application uses; may be a pooler.
    pub url: String,
    /// A file that holds the URL and nothing else, in place of `url`.
    pub url_file: Option<String>,
    /// A command that prints the URL, program and arguments, in place of `url`.
    pub url_command: Vec<String>,
    /// The owner's direct connection: migrate, seed, reset. Falls back to `url`.
    pub direct_url: String,
    /// A file that holds the direct URL and nothing else, in place of `direct_url`.
    pub direct_url_file: Option<String>,
    /// A command that prints the direct URL, in place of `direct_url`.
    pub direct_url_command: Vec<String>,
    /// The schema the migrations work in.
    pub schema: String,
    /// The role of the application; lyrox creates it and grants after each migrate. Off unless set.
    pub app_role: Option<String>,
    /// Columns that the application role may not read, by table.
    pub app_grants_except: BTreeMap<String, Vec<String>>,
    /// Extensions that the project needs.
    pub extensions: Vec<String>,
    /// How long one statement of a migration waits for a lock before the transaction is retried.
    pub lock_timeout: Period,
    /// The limit of one statement of a migration; off unless set.
    pub statement_timeout: Option<Period>,
    /// A PEM file with the authority that signed the server's certificate.
    pub ca_file: Option<String>,
    /// A store that may be absent is reported as skip.
    pub optional: bool,
    /// Further servers that tenants are placed on.
    pub shards: Vec<PostgresShard>,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: "${DATABASE_URL}".into(),
            url_file: None,
            url_command: Vec::new(),
            direct_url: "${DIRECT_URL}".into(),
            direct_url_file: None,
            direct_url_command: Vec::new(),
            schema: "public".into(),
            app_role: None,
            app_grants_except: BTreeMap::new(),
            extensions: Vec::new(),
            lock_timeout: Period::seconds(3),
            statement_timeout: None,
            ca_file: None,
            optional: false,
            shards: Vec::new(),
        }
    }
}

/// `[mongodb]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mongodb {
    /// The connection string.
    pub url: String,
    /// A file that holds the URL and nothing else, in place of `url`.
    pub url_file: Option<String>,
    /// A command that prints the URL, program and arguments, in place of `url`.
    pub url_command: Vec<String>,
    /// The database; falls back to the path of the URL.
    pub database: Option<String>,
    /// How the MongoDB files are laid out: `lyrox` or `golang-migrate`.
    pub format: Format,
    /// With golang-migrate's format: the folder with its files; default: that of `[migrations]`.
    pub migrations_dir: Option<String>,
    /// With golang-migrate's format: its collection, where that is not `schema_migrations`.
    pub history: Option<String>,
    /// A PEM file with the authority that signed the server's certificate.
    pub ca_file: Option<String>,
    /// A store that may be absent is reported as skip.
    pub optional: bool,
    /// Further servers that tenants are placed on.
    pub shards: Vec<MongodbShard>,
}

impl Default for Mongodb {
    fn default() -> Self {
        Self {
            url: "${MONGODB_URI}".into(),
            url_file: None,
            url_command: Vec::new(),
            database: None,
            format: Format::Lyrox,
            migrations_dir: None,
            history: None,
            ca_file: None,
            optional: false,
            shards: Vec::new(),
        }
    }
}

/// `[redis]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Redis {
    /// The connection URL.
    pub url: String,
    /// A file that holds the URL and nothing else, in place of `url`.
    pub url_file: Option<String>,
    /// A command that prints the URL, program and arguments, in place of `url`.
    pub url_command: Vec<String>,
    /// What every key of the project begins with. Default: `<project name>:`.
    pub key_prefix: Option<String>,
    /// The key spaces, by name.
    pub keyspaces: BTreeMap<String, Keyspace>,
    /// Pub/sub channels, by group.
    pub channels: BTreeMap<String, Vec<String>>,
    /// A PEM file with the authority that signed the server's certificate.
    pub ca_file: Option<String>,
    /// A store that may be absent is reported as skip.
    pub optional: bool,
}

impl Default for Redis {
    fn default() -> Self {
        Self {
            url: "${REDIS_URL}".into(),
            url_file: None,
            url_command: Vec::new(),
            key_prefix: None,
            keyspaces: BTreeMap::new(),
            channels: BTreeMap::new(),
            ca_file: None,
            optional: false,
        }
    }
}

/// `[redis.keyspaces.NAME]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Keyspace {
    /// The key below the prefix, with `{placeholders}`.
    pub pattern: String,
    /// The type of its values.
    #[serde(rename = "type")]
    pub kind: KeyType,
    /// How long a key lives; none: for ever.
    #[serde(default)]
    pub ttl: Option<Period>,
    /// Whose a key is, where it is not below a tenant's prefix: `{placeholder}` of the pattern, a field of the hash that
    /// holds the tenant's key, or `none`.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// The type of a Redis value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    /// A string.
    String,
    /// A hash.
    Hash,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    Zset,
    /// A stream.
    Stream,
}

impl KeyType {
    /// The name that `TYPE` answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Hash => "hash",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Stream => "stream",
        }
    }
}

/// `[migrations]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Migrations {
    /// The folder, relative to the project's root.
    pub dir: String,
    /// How the PostgreSQL files are laid out: lyrox's own way or another tool's.
    pub format: Format,
    /// With another tool's format: the folder with lyrox files for the other stores, merged by version.
    pub parts_dir: Option<String>,
    /// With another tool's format: its history table, `table` or `schema.table`, where it is not the tool's default.
    pub history: Option<String>,
    /// Flyway: what stands for `${NAME}` in its files.
    pub placeholders: BTreeMap<String, String>,
    /// How many files share a PostgreSQL transaction.
    pub transaction: Transaction,
}

impl Default for Migrations {
    fn default() -> Self {
        Self {
            dir: "migrations".into(),
            format: Format::Lyrox,
            parts_dir: None,
            history: None,
            placeholders: BTreeMap::new(),
            transaction: Transaction::Auto,
        }
    }
}

/// How migration files are laid out: by whose rules they are named, cut, ordered and remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// lyrox's own.
    #[default]
    Lyrox,
    /// Numbered SQL files of no tool: `001-name.sql`.
    Plain,
    /// sqlx-cli.
    Sqlx,
    /// Prisma Migrate 2 to 7.
    Prisma,
    /// drizzle-kit, 0.x and 1.0.
    Drizzle,
    /// dbmate.
    Dbmate,
    /// golang-migrate.
    GolangMigrate,
    /// goose, SQL files.
    Goose,
    /// Flyway: V, R and B files.
    Flyway,
    /// The Supabase CLI.
    Supabase,
    /// refinery, SQL files.
    Refinery,
    /// node-pg-migrate, SQL files.
    NodePgMigrate,
    /// graphile-migrate, committed files.
    Graphile,
}

impl Format {
    /// Every format, in the order in which documentation lists them.
    pub const ALL: [Self; 13] = [
        Self::Lyrox,
        Self::Plain,
        Self::Sqlx,
        Self::Prisma,
        Self::Drizzle,
        Self::Dbmate,
        Self::GolangMigrate,
        Self::Goose,
        Self::Flyway,
        Self::Supabase,
        Self::Refinery,
        Self::NodePgMigrate,
        Self::Graphile,
    ];

    /// The word in `lyrox.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lyrox => "lyrox",
            Self::Plain => "plain",
            Self::Sqlx => "sqlx",
            Self::Prisma => "prisma",
            Self::Drizzle => "drizzle",
            Self::Dbmate => "dbmate",
            Self::GolangMigrate => "golang-migrate",
            Self::Goose => "goose",
            Self::Flyway => "flyway",
            Self::Supabase => "supabase",
            Self::Refinery => "refinery",
            Self::NodePgMigrate => "node-pg-migrate",
            Self::Graphile => "graphile",
        }
    }
}

/// How many files share a PostgreSQL transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transaction {
    /// Chunks into an empty database, one each otherwise.
    #[default]
    Auto,
    /// One transaction a file.
    Each,
    /// One transaction for all files of a run.
    All,
}

/// `[seeds]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Seeds {
    /// The folder, relative to the project's root.
    pub dir: String,
    /// The set that `db seed` applies unless `--set` names another.
    pub set: String,
    /// The set that `db seed --tenant` applies unless `--set` names another, and that a new tenant gets.
    pub tenant_set: String,
}

impl Default for Seeds {
    fn default() -> Self {
        Self { dir: "seeds".into(), set: "dev".into(), tenant_set: "tenant".into() }
    }
}

/// `[smoke]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Smoke {
    /// The folder of the project's own tests, relative to its root.
    pub dir: String,
}

impl Default for Smoke {
    fn default() -> Self {
        Self { dir: "smoke".into() }
    }
}

/// `[tenancy]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tenancy {
    /// `row`, `schema` or `database`.
    pub model: TenancyModel,
    /// The PostgreSQL table that lists the tenants.
    pub table: Option<String>,
    /// Its column that holds the tenant's key.
    pub key_column: String,
    /// The column or field that carries the tenant everywhere else.
    pub column: Option<String>,
    /// The transaction-local setting that policies read.
    pub setting: String,
    /// Tables that are deliberately not per tenant.
    pub global: Vec<String>,
    /// The folder of the migrations that each tenant gets in the models `schema` and `database`, relative to the
    /// project's root.
    pub migrations: String,
    /// Each tenant gets users of its own that reach nothing but its own place.
    pub users: bool,
    /// Findings of `lyrox tenant verify` that are meant to be so, by their ids: shown as warnings.
    pub accepted: Vec<String>,
    /// Where there are shards, which one a new tenant is placed on: `fewest` (that with the fewest for its weight),
    /// `hash` (by its slug), or the name of one.
    pub placement: String,
}

impl Default for Tenancy {
    fn default() -> Self {
        Self {
            model: TenancyModel::Row,
            table: None,
            key_column: "id".into(),
            column: None,
            setting: "app.tenant".into(),
            global: Vec::new(),
            migrations: "migrations/tenant".into(),
            users: true,
            accepted: Vec::new(),
            placement: "fewest".into(),
        }
    }
}

/// How tenants are kept apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenancyModel {
    /// Shared tables with a tenant column.
    #[default]
    Row,
    /// A schema per tenant.
    Schema,
    /// A database per tenant.
    Database,
}

impl TenancyModel {
    /// Every model, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Row, Self::Schema, Self::Database];

    /// The word in `lyrox.toml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Row => "row",
            Self::Schema => "schema",
            Self::Database => "database",
        }
    }
}

/// `[lint]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Lint {
    /// Rules that are off.
    pub ignore: Vec<String>,
    /// Rules that are on although they are off by themselves.
    pub enable: Vec<String>,
    /// The oldest PostgreSQL that the files must be safe on.
    pub pg_version: String,
}

impl Default for Lint {
    fn default() -> Self {
        Self { ignore: Vec::new(), enable: Vec::new(), pg_version: "15".into() }
    }
}

/// `[check]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Check {
    /// What should be found and said, once connected.
    pub expect: Vec<Expect>,
}

/// `[[check.expect]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// The store asked.
    pub store: StoreKind,
    /// SQL, a MongoDB command as extended JSON, or a Redis command. It must only read.
    pub query: String,
    /// What to say; `{0}`, `{1}` are the columns of the first row.
    #[serde(default)]
    pub say: Option<String>,
    /// What the first column must be, as text.
    #[serde(default)]
    pub value: Option<String>,
}

/// `[local]`: the servers of `lyrox up`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Local {
    /// The folder that holds PostgreSQL's programs; found or fetched where not set.
    pub postgres_bin: Option<String>,
    /// The `mongod` program; found or fetched where not set.
    pub mongod: Option<String>,
    /// The `redis-server` or `valkey-server` program; found or fetched where not set.
    pub redis_server: Option<String>,
    /// PostgreSQL's port; a free one is chosen once and kept where not set.
    pub postgres_port: Option<u16>,
    /// MongoDB's port; a free one is chosen once and kept where not set.
    pub mongodb_port: Option<u16>,
    /// Redis' port; a free one is chosen once and kept where not set.
    pub redis_port: Option<u16>,
    /// Settings of the PostgreSQL server by name, as postgresql.conf has them: `log_statement = "all"`.
    /// They hold from the next start of the server.
    pub postgres_settings: BTreeMap<String, String>,
}

/// `[env.NAME]`: may override any section.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Environment {
    /// Nothing destructive goes through, whatever the flags.
    pub protected: bool,
    /// The one set that `setup` and `db seed` may apply here although it is not local.
    pub seeds: Option<String>,
    /// Overrides `[postgres]`.
    pub postgres: Option<Postgres>,
    /// Overrides `[mongodb]`.
    pub mongodb: Option<Mongodb>,
    /// Overrides `[redis]`.
    pub redis: Option<Redis>,
    /// Overrides `[migrations]`.
    pub migrations: Option<Migrations>,
    /// Overrides `[smoke]`.
    pub smoke: Option<Smoke>,
    /// Overrides `[tenancy]`.
    pub tenancy: Option<Tenancy>,
    /// Overrides `[check]`.
    pub check: Option<Check>,
}
