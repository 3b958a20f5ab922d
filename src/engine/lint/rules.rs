//! Every rule that lint knows: its name, how bad it is, whether it is on, and what it says. Static data;
//! `db lint --rules`, `docs/lint.md`, SARIF and the judging itself all read this table.

use super::squawk;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Lint fails.
    Error,
    /// Told; lint does not fail.
    Warning,
}

impl Level {
    /// The word in output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// One of squawk's rules, judged by its library.
    Squawk,
    /// Tenants: only with `[tenancy] model = "row"` and a `column`.
    Tenancy,
    /// Any file of any store.
    Files,
    /// MongoDB's files.
    Mongodb,
    /// Redis' files.
    Redis,
}

impl Theme {
    /// The word in output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Squawk => "squawk",
            Self::Tenancy => "tenancy",
            Self::Files => "files",
            Self::Mongodb => "mongodb",
            Self::Redis => "redis",
        }
    }
}

/// Whether a rule is on where the configuration says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// On; `[lint] ignore` turns it off.
    On,
    /// Off; `[lint] enable` turns it on.
    OptIn,
    /// Off, because lyrox itself sees to it: in these words. `[lint] enable` turns it on.
    Handled(&'static str),
}

/// One rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As it is written in comments and in the configuration.
    pub name: &'static str,
    /// What it is about.
    pub theme: Theme,
    /// How bad it is.
    pub level: Level,
    /// Whether it is on.
    pub start: Start,
    /// What it finds, in one line.
    pub title: &'static str,
}

impl Rule {
    /// Whether it also judges the way back: a `.down` file exists to take things away.
    pub fn judges_down(&self) -> bool {
        let takes_away = ["ban-drop", "renaming-", "ban-set-", "ban-revoke", "mongodb-drop", "mongodb-rename"];
        !takes_away.iter().any(|beginning| self.name.starts_with(beginning)) && self.theme != Theme::Tenancy
    }
}

/// The rule with a name; squawk's own second spellings count.
pub fn find(name: &str) -> Option<&'static Rule> {
    let name = if name == "prefer-timestamptz" { "prefer-timestamp-tz" } else { name };
    RULES.iter().find(|rule| rule.name == name)
}

/// The rules that a name in an ignore or enable list stands for: itself, or what an alias expands to.
pub fn expand(name: &str) -> Vec<&'static Rule> {
    if name == squawk::TIMEOUT_ALIAS {
        return ["require-lock-timeout", "require-statement-timeout"].into_iter().filter_map(find).collect();
    }
    find(name).into_iter().collect()
}

/// The known name nearest to a mistyped one.
pub fn nearest(name: &str) -> Option<&'static str> {
    RULES
        .iter()
        .map(|rule| (strsim::damerau_levenshtein(rule.name, name), rule.name))
        .min()
        .filter(|(distance, _)| *distance <= name.len() / 2)
        .map(|(_, name)| name)
}

const fn rule(theme: Theme, level: Level, start: Start, name: &'static str, title: &'static str) -> Rule {
    Rule { name, theme, level, start, title }
}

const fn unsafe_sql(name: &'static str, title: &'static str) -> Rule {
    rule(Theme::Squawk, Level::Error, Start::On, name, title)
}

const fn better_sql(name: &'static str, title: &'static str) -> Rule {
    rule(Theme::Squawk, Level::Warning, Start::On, name, title)
}

const fn strict_sql(name: &'static str, title: &'static str) -> Rule {
    rule(Theme::Squawk, Level::Error, Start::OptIn, name, title)
}

const fn wrong(theme: Theme, name: &'static str, title: &'static str) -> Rule {
    rule(theme, Level::Error, Start::On, name, title)
}

const fn doubtful(theme: Theme, name: &'static str, title: &'static str) -> Rule {
    rule(theme, Level::Warning, Start::On, name, title)
}

/// Every rule, by theme.
pub static RULES: &[Rule] = &[
    // any file
    wrong(Theme::Files, "syntax-error", "the file cannot be read as what its ending promises"),
    wrong(Theme::Files, "literal-password", "a password stands in the file, and so in the repository and the ledger"),
    doubtful(Theme::Files, "unused-ignore", "an ignore comment names a rule that does not exist"),
    // tenants
    wrong(Theme::Tenancy, "tenant-column-missing", "a table has no tenant column and is not listed as global"),
    doubtful(Theme::Tenancy, "tenant-column-nullable", "the tenant column may be NULL: such a row is nobody's"),
    wrong(Theme::Tenancy, "tenant-rls-missing", "row-level security is not enabled on a tenant's table"),
    wrong(Theme::Tenancy, "tenant-rls-not-forced", "row-level security is not forced: the owner sees every tenant"),
    doubtful(Theme::Tenancy, "tenant-policy-missing", "row-level security is on and no policy lets a tenant in"),
    wrong(Theme::Tenancy, "tenant-policy-open", "a permissive policy is always true: it opens every tenant's rows"),
    doubtful(Theme::Tenancy, "tenant-policy-setting", "a policy fails or compares with '' where no tenant is set"),
    wrong(Theme::Tenancy, "tenant-unique", "a unique key does not hold the tenant: it tells what others have"),
    doubtful(Theme::Tenancy, "tenant-index", "an index is not led by the tenant column, by which every query filters"),
    doubtful(Theme::Tenancy, "tenant-foreign-key", "a foreign key between tenants' tables may point at another tenant"),
    wrong(Theme::Tenancy, "tenant-view", "a view reads tenants' tables with its owner's eyes, around the policies"),
    wrong(Theme::Tenancy, "tenant-mongodb-unique", "a unique index of a collection is not led by the tenant field"),
    doubtful(Theme::Tenancy, "tenant-mongodb-index", "an index of a collection is not led by the tenant field"),
    doubtful(Theme::Tenancy, "tenant-mongodb-validator", "a collection's validator does not require the tenant field"),
    // MongoDB
    wrong(Theme::Mongodb, "mongodb-index-name", "an index has no name: the server refuses it"),
    doubtful(Theme::Mongodb, "mongodb-index-background", "`background` has meant nothing since MongoDB 4.2"),
    doubtful(Theme::Mongodb, "mongodb-unique-existing", "a unique index on a collection in use fails on duplicates"),
    wrong(Theme::Mongodb, "mongodb-ttl-index", "a TTL index that the server refuses or that never removes anything"),
    wrong(Theme::Mongodb, "mongodb-ttl-existing", "a TTL index on a collection in use removes old documents at once"),
    wrong(Theme::Mongodb, "mongodb-validator-existing", "a strict validator on a collection in use refuses updates"),
    wrong(Theme::Mongodb, "mongodb-validator-id", "a validator without additional properties forgets `_id`"),
    doubtful(Theme::Mongodb, "mongodb-validator-warn", "a validator that only warns keeps nothing out"),
    wrong(Theme::Mongodb, "mongodb-drop", "a collection with its documents is dropped"),
    wrong(Theme::Mongodb, "mongodb-drop-database", "the whole database is dropped; lyrox refuses it"),
    wrong(Theme::Mongodb, "mongodb-drop-all-indexes", "every index of a collection is dropped at once"),
    wrong(Theme::Mongodb, "mongodb-rename", "a collection is renamed under the running application"),
    wrong(Theme::Mongodb, "mongodb-empty-filter", "an update or delete without a filter reaches every document"),
    doubtful(Theme::Mongodb, "mongodb-capped", "a capped collection forgets by size and cannot be sharded"),
    wrong(Theme::Mongodb, "mongodb-unacknowledged", "a write with w: 0 is reported as done whatever happens"),
    // Redis
    wrong(Theme::Redis, "redis-keys", "KEYS stops the server while it walks every key"),
    wrong(Theme::Redis, "redis-flush", "FLUSHALL and FLUSHDB remove everybody's keys"),
    wrong(Theme::Redis, "redis-wait", "a command that waits for others would hold the migration"),
    wrong(Theme::Redis, "redis-server", "a command that concerns the whole server or lyrox's own connection"),
    doubtful(Theme::Redis, "redis-slow", "a command whose cost grows with the data blocks everybody meanwhile"),
    doubtful(Theme::Redis, "redis-delete", "DEL frees a large value while everybody waits; UNLINK does not"),
    wrong(Theme::Redis, "redis-ttl", "a key of a key space that expires is written without a time to live"),
    doubtful(Theme::Redis, "redis-no-ttl", "a key of no declared key space is written for ever"),
    wrong(Theme::Redis, "redis-prefix", "a key does not begin with the project's prefix"),
    // squawk: what locks, rewrites or scans
    unsafe_sql("require-concurrent-index-creation", "CREATE INDEX blocks writes while it builds"),
    unsafe_sql("require-concurrent-index-deletion", "DROP INDEX blocks reads and writes of the table"),
    unsafe_sql("require-concurrent-partition-detach", "DETACH PARTITION blocks the partitioned table"),
    unsafe_sql("require-concurrent-reindex", "REINDEX blocks writes, and reads through the index"),
    unsafe_sql("ban-concurrent-index-creation-in-transaction", "CONCURRENTLY cannot run in a transaction"),
    unsafe_sql("constraint-missing-not-valid", "a new constraint scans the table under a lock"),
    unsafe_sql("adding-foreign-key-constraint", "a new foreign key scans under a lock on both tables"),
    unsafe_sql("adding-field-with-default", "a column whose default is computed rewrites the table"),
    unsafe_sql("adding-not-nullable-field", "SET NOT NULL scans the table under a lock"),
    unsafe_sql("adding-required-field", "a NOT NULL column without a default fails where there are rows"),
    unsafe_sql("adding-serial-primary-key-field", "a new primary key builds its index under a lock"),
    unsafe_sql("disallowed-unique-constraint", "a new unique constraint builds its index under a lock"),
    unsafe_sql("changing-column-type", "a new column type rewrites the table and breaks clients"),
    better_sql("prefer-repack", "VACUUM FULL, CLUSTER and REINDEX lock the table"),
    unsafe_sql("ban-alter-domain-with-add-constraint", "a domain's constraint scans every table that uses it"),
    better_sql("ban-create-domain-with-constraint", "a domain's constraint is hard to change later"),
    // squawk: what breaks the application that runs, or loses data
    unsafe_sql("ban-drop-database", "the database is dropped"),
    unsafe_sql("ban-drop-table", "a table with its rows is dropped"),
    unsafe_sql("ban-drop-column", "a column with its values is dropped"),
    unsafe_sql("ban-drop-schema", "a schema with all that is in it is dropped"),
    unsafe_sql("ban-truncate-cascade", "TRUNCATE CASCADE empties tables that are not named"),
    unsafe_sql("renaming-column", "a column is renamed under the running application"),
    unsafe_sql("renaming-table", "a table is renamed under the running application"),
    unsafe_sql("renaming-object", "an object is renamed under the running application"),
    unsafe_sql("ban-set-schema", "an object is moved to another schema under the running application"),
    better_sql("ban-drop-constraint", "what the constraint kept out is let in"),
    better_sql("ban-drop-default", "inserts that relied on the default fail or store NULL"),
    better_sql("ban-drop-domain", "what uses the domain breaks"),
    better_sql("ban-drop-extension", "what uses the extension breaks"),
    better_sql("ban-drop-function", "callers of the function break"),
    better_sql("ban-drop-generated-expression", "the column is no longer computed"),
    better_sql("ban-drop-not-null", "readers that expect a value meet NULL"),
    better_sql("ban-drop-sequence", "what draws from the sequence breaks"),
    better_sql("ban-drop-type", "what uses the type breaks"),
    better_sql("ban-drop-view", "readers of the view break"),
    better_sql("ban-alter-identity", "inserts that give, or do not give, the value break"),
    // squawk: transactions, names, types
    unsafe_sql("transaction-nesting", "a file with its own BEGIN or COMMIT is refused: lyrox has begun already"),
    rule(
        Theme::Squawk,
        Level::Error,
        Start::Handled("`transaction-nesting` tells every BEGIN"),
        "ban-uncommitted-transaction",
        "a transaction is begun and not ended",
    ),
    unsafe_sql("identifier-too-long", "PostgreSQL cuts a name after 63 bytes without an error"),
    unsafe_sql("ban-duplicate-column-assignments", "an UPDATE sets a column twice"),
    better_sql("require-enum-value-ordering", "ADD VALUE without BEFORE or AFTER puts the value last"),
    better_sql("ban-char-field", "char(n) pads with blanks"),
    better_sql("prefer-bigint-over-int", "an integer key runs out at 2^31"),
    better_sql("prefer-bigint-over-smallint", "a smallint key runs out at 2^15"),
    better_sql("prefer-identity", "serial columns have their own sequence and grants"),
    better_sql("prefer-text-field", "the limit of varchar(n) is changed under a lock"),
    better_sql("prefer-timestamp-tz", "timestamp without time zone loses the zone"),
    // squawk: what lyrox does itself
    rule(
        Theme::Squawk,
        Level::Warning,
        Start::Handled("a file is one transaction, or journaled and resumed at its step"),
        "prefer-robust-stmts",
        "a statement cannot be run twice",
    ),
    rule(
        Theme::Squawk,
        Level::Error,
        Start::Handled("lyrox sets `lock_timeout` for every file, unless it is 0"),
        "require-lock-timeout",
        "a lock is waited for without a limit",
    ),
    rule(
        Theme::Squawk,
        Level::Warning,
        Start::OptIn,
        "require-statement-timeout",
        "a statement runs without a limit: neither `[postgres] statement_timeout` nor the header sets one",
    ),
    // squawk: only where asked for
    rule(
        Theme::Squawk,
        Level::Warning,
        Start::OptIn,
        "require-table-schema",
        "a table is named without its schema; lyrox sets `search_path`",
    ),
    strict_sql("ban-add-column", "a column is added"),
    strict_sql("ban-add-composite-attribute", "a composite type gets an attribute"),
    strict_sql("ban-add-enum-value", "an enum gets a value that old clients do not know"),
    strict_sql("ban-alter-database-options", "settings of the database change"),
    strict_sql("ban-alter-extension", "an extension changes"),
    strict_sql("ban-alter-function-options", "options of a function change"),
    strict_sql("ban-alter-generated-expression", "a generated column is computed otherwise"),
    strict_sql("ban-alter-policy-condition", "the condition of a policy changes"),
    strict_sql("ban-alter-policy-roles", "the roles of a policy change"),
    strict_sql("ban-alter-role-options", "options of a role change"),
    strict_sql("ban-alter-row-level-security", "row-level security is switched"),
    strict_sql("ban-alter-sequence-values", "a sequence gives other values"),
    strict_sql("ban-alter-system-options", "settings of the whole server change"),
    strict_sql("ban-alter-view-options", "options of a view change"),
    strict_sql("ban-create-policy", "a policy is made"),
    strict_sql("ban-detach-inheritance", "a table leaves its parent"),
    strict_sql("ban-disable-trigger", "a trigger is switched off"),
    strict_sql("ban-drop-index", "an index is dropped"),
    strict_sql("ban-drop-policy", "a policy is dropped"),
    strict_sql("ban-drop-trigger", "a trigger is dropped"),
    strict_sql("ban-new-write-restriction", "writes that worked are refused"),
    strict_sql("ban-replace-view-function", "a view or function is replaced"),
    strict_sql("ban-replica-identity", "what logical replication sends changes"),
    strict_sql("ban-revoke", "a right is taken away"),
    strict_sql("ban-set-default", "a default changes"),
];
