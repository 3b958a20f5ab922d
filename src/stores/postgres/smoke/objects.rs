//! Which test an object of the snapshot belongs to: what is missing or weaker live fails that one. Pure.

use std::collections::BTreeMap;

use super::rows::TOUCHED;
use crate::engine::snapshot::Snapshot;
use crate::kind::StoreKind;
use crate::stores::smoke::BuiltIn;

/// What a built-in test is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A table takes a valid row.
    Row(String),
    /// NOT NULL and CHECK refuse what they must.
    Refusals(String),
    /// Foreign keys refuse orphans and do what they declare.
    ForeignKeys(String),
    /// Unique keys refuse duplicates.
    Unique(String),
    /// A timestamp moves on update.
    Touch(String),
    /// Indexes are used.
    Indexes(String),
    /// Every table carries the tenant.
    TenantColumn,
    /// Row-level security is on and forced.
    RowSecurity,
    /// The application's role is bound.
    Role,
    /// Without a tenant there is nothing.
    NoTenant,
    /// Tenants cannot see each other's rows of a table.
    Isolation(String),
    /// The privileges on a table are as they were granted.
    Grants(String),
    /// What a transaction did is undone with it.
    Transaction,
    /// Objects of a kind that no test tries are as they were: functions, types, views.
    Others(String),
}

impl Subject {
    /// The order of tests: what needs a session that has never known a tenant first, then table by table.
    pub fn rank(&self) -> (u8, String, u8) {
        match self {
            Self::Role => (0, String::new(), 0),
            Self::RowSecurity => (0, String::new(), 1),
            Self::TenantColumn => (0, String::new(), 2),
            Self::NoTenant => (0, String::new(), 3),
            Self::Row(table) => (1, table.clone(), 0),
            Self::Refusals(table) => (1, table.clone(), 1),
            Self::ForeignKeys(table) => (1, table.clone(), 2),
            Self::Unique(table) => (1, table.clone(), 3),
            Self::Touch(table) => (1, table.clone(), 4),
            Self::Indexes(table) => (1, table.clone(), 5),
            Self::Isolation(table) => (1, table.clone(), 6),
            Self::Grants(table) => (1, table.clone(), 7),
            Self::Transaction => (2, String::new(), 0),
            Self::Others(kind) => (3, kind.clone(), 0),
        }
    }

    /// The test as the engine knows it.
    pub fn built_in(&self) -> BuiltIn {
        let other = if let Self::Others(kind) = self { kind.to_lowercase().replace(' ', "_") } else { String::new() };
        let (kind, object, title, writes) = match self {
            Self::Row(table) => ("row", table.as_str(), format!("{table} takes a valid row"), true),
            Self::Refusals(table) => ("check", table.as_str(), format!("{table} refuses invalid rows"), true),
            Self::ForeignKeys(table) => ("foreign_key", table.as_str(), format!("{table}: foreign keys hold"), true),
            Self::Unique(table) => ("unique", table.as_str(), format!("{table} refuses duplicates"), true),
            Self::Touch(table) => ("touch", table.as_str(), format!("{table}: the time of change moves"), true),
            Self::Indexes(table) => ("index", table.as_str(), format!("{table}: indexes are used"), false),
            Self::TenantColumn => ("tenant_column", "", "Every table carries the tenant".into(), false),
            Self::RowSecurity => ("row_security", "", "Row-level security is forced".into(), false),
            Self::Role => ("app_role", "", "Policies bind the application".into(), false),
            Self::NoTenant => ("no_tenant", "", "Without a tenant there are no rows".into(), false),
            Self::Isolation(table) => ("tenant", table.as_str(), format!("{table}: tenants are apart"), true),
            Self::Grants(table) => ("grant", table.as_str(), format!("{table}: privileges are as granted"), false),
            Self::Transaction => ("transaction", "", "A transaction is undone as a whole".into(), true),
            Self::Others(kind) => ("objects", other.as_str(), format!("{kind} are as migrated"), false),
        };
        BuiltIn::new(StoreKind::Postgres, kind, object, title, writes)
    }
}

/// The kinds of objects that have no test which tries them: they are there and unchanged, or not.
const OTHERS: [(&str, &str); 20] = [
    ("schema ", "Schemas"),
    ("extension ", "Extensions"),
    ("type ", "Types"),
    ("view ", "Views"),
    ("materialized view ", "Materialized views"),
    ("sequence ", "Sequences"),
    ("function ", "Functions"),
    ("procedure ", "Procedures"),
    ("aggregate ", "Aggregates"),
    ("trigger ", "Triggers"),
    ("rule ", "Rules"),
    ("statistics ", "Statistics"),
    ("collation ", "Collations"),
    ("text search ", "Text search"),
    ("publication ", "Publications"),
    ("event trigger ", "Event triggers"),
    ("comment ", "Comments"),
    ("grant ", "Privileges"),
    ("default privileges ", "Privileges"),
    ("index ", "Indexes of views"),
];

/// The test that an object of the kept snapshot belongs to; none: only `schema` speaks of it. `now` is its
/// live definition, where it has one.
pub fn subject(object: &str, definition: &str, now: Option<&str>, kept: &Snapshot) -> Option<Subject> {
    let root = |table: String| root(table, kept);
    Some(match own_subject(object, definition, now, kept)? {
        Subject::Row(table) => Subject::Row(root(table)),
        Subject::Refusals(table) => Subject::Refusals(root(table)),
        Subject::ForeignKeys(table) => Subject::ForeignKeys(root(table)),
        Subject::Unique(table) => Subject::Unique(root(table)),
        Subject::Touch(table) => Subject::Touch(root(table)),
        Subject::Indexes(table) => Subject::Indexes(root(table)),
        Subject::Isolation(table) => Subject::Isolation(root(table)),
        Subject::Grants(table) => Subject::Grants(root(table)),
        other => other,
    })
}

/// Whether the snapshot has a table of this name that is no partition.
pub fn is_table(name: &str, kept: &Snapshot) -> bool {
    kept.objects.contains_key(&format!("table {name}")) && root(name.to_owned(), kept) == name
}

/// A partition is tried with the table that it is a part of.
fn root(mut table: String, kept: &Snapshot) -> String {
    for _ in 0..8 {
        let Some(definition) = kept.objects.get(&format!("table {table}")) else { break };
        let is_part = definition.contains(" FOR VALUES ") || definition.contains(" DEFAULT");
        let Some((_, rest)) = definition.split_once(" INHERITS (").filter(|_| is_part) else { break };
        let Some((parent, _)) = rest.split_once(')') else { break };
        table = known_part(parent, kept);
    }
    table
}

fn own_subject(object: &str, definition: &str, now: Option<&str>, kept: &Snapshot) -> Option<Subject> {
    if let Some(name) = object.strip_prefix("table ") {
        // Policies that were switched off or that spare the owner: the table itself is as it was.
        let is_only_security = now.is_some_and(|now| without_security(now) == without_security(definition));
        return Some(if is_only_security { Subject::RowSecurity } else { Subject::Row(name.to_owned()) });
    }
    if let Some(path) = object.strip_prefix("column ") {
        let (table, _) = split(path, kept)?;
        let lost_not_null = now.is_some_and(|now| definition.contains(" NOT NULL") && !now.contains(" NOT NULL"));
        return Some(if lost_not_null { Subject::Refusals(table) } else { Subject::Row(table) });
    }
    if let Some(path) = object.strip_prefix("constraint ") {
        let (table, _) = split(path, kept)?;
        return Some(match definition.split_whitespace().next() {
            Some("FOREIGN") => Subject::ForeignKeys(table),
            Some("CHECK") => Subject::Refusals(table),
            _ => Subject::Unique(table),
        });
    }
    if object.starts_with("index ") {
        let table = indexed_table(definition, kept)?;
        if !kept.objects.contains_key(&format!("table {table}")) {
            return other(object).map(|kind| Subject::Others(kind.to_owned()));
        }
        let is_unique = definition.starts_with("CREATE UNIQUE");
        return Some(if is_unique { Subject::Unique(table) } else { Subject::Indexes(table) });
    }
    if let Some(path) = object.strip_prefix("policy ") {
        return split(path, kept).map(|(table, _)| Subject::Isolation(table));
    }
    if object.starts_with("grant ")
        && let Some(table) = table_of(object, kept)
    {
        return Some(Subject::Grants(table));
    }
    if let Some(path) = object.strip_prefix("trigger ") {
        let (table, _) = split(path, kept)?;
        let keeps_time = definition.contains("BEFORE")
            && definition.contains("UPDATE")
            && TOUCHED.iter().any(|column| kept.objects.contains_key(&format!("column {table}.{column}")));
        if keeps_time {
            return Some(Subject::Touch(table));
        }
    }
    other(object).map(|kind| Subject::Others(kind.to_owned()))
}

/// Whether an object that the snapshot does not have lets somebody do what the migrations did not allow.
pub fn opens(object: &str) -> bool {
    object.starts_with("grant ") || object.starts_with("policy ")
}

/// The table that an object is a part of: a column, constraint, policy, trigger, rule or grant.
pub fn table_of(object: &str, kept: &Snapshot) -> Option<String> {
    if let Some(path) = object.strip_prefix("grant ") {
        let path = path.rsplit_once(" to ").map_or(path, |(path, _)| path);
        return split(path, kept)
            .map(|(table, _)| table)
            .or_else(|| kept.objects.contains_key(&format!("table {path}")).then(|| path.to_owned()));
    }
    if object.starts_with("index ") {
        return indexed_table(kept.objects.get(object)?, kept);
    }
    let path =
        ["column ", "constraint ", "policy ", "trigger ", "rule "].iter().find_map(|kind| object.strip_prefix(kind))?;
    split(path, kept).map(|(table, _)| table)
}

/// Whether what is missing or changed is so because another object is gone, whose matter it is: what went with its
/// table, the comment on a view, the privileges on a sequence.
pub fn went_along(object: &str, kept: &Snapshot, live: &Snapshot) -> bool {
    let is_gone = |of: &str| kept.objects.contains_key(of) && !live.objects.contains_key(of);
    if table_of(object, kept).is_some_and(|table| !live.objects.contains_key(&format!("table {table}"))) {
        return true;
    }
    if let Some(of) = object.strip_prefix("comment ") {
        return is_gone(of);
    }
    let Some(path) = object.strip_prefix("grant ") else { return false };
    let path = path.rsplit_once(" to ").map_or(path, |(path, _)| path);
    let kinds = OTHERS.iter().map(|(kind, _)| format!("{kind}{path}"));
    if kinds.into_iter().any(|of| is_gone(&of)) {
        return true;
    }
    // The sequence of an identity is no object of its own: it goes with its column.
    kept.objects.iter().any(|(column, definition)| {
        column.strip_prefix("column ").is_some_and(|column| format!("{}_seq", column.replacen('.', "_", 1)) == path)
            && live.objects.get(column) != Some(definition)
    })
}

/// How many grants the snapshot holds, by table.
pub fn grants(kept: &Snapshot) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    let granted = kept.objects.keys().filter(|object| object.starts_with("grant "));
    for table in granted.filter_map(|object| table_of(object, kept)) {
        *counts.entry(root(table, kept)).or_insert(0) += 1;
    }
    counts
}

/// The kinds of other objects that the snapshot holds, and how many of each; triggers that keep a time are
/// tried by their own test.
pub fn others(kept: &Snapshot) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (object, definition) in &kept.objects {
        if let Some(Subject::Others(kind)) = subject(object, definition, Some(definition), kept) {
            *counts.entry(kind).or_insert(0) += 1;
        }
    }
    counts
}

fn other(object: &str) -> Option<&'static str> {
    OTHERS.iter().find(|(prefix, _)| object.starts_with(prefix)).map(|(_, kind)| *kind)
}

fn without_security(definition: &str) -> String {
    definition.replace(" ENABLE ROW LEVEL SECURITY", "").replace(" FORCE ROW LEVEL SECURITY", "")
}

/// `table.object`, where both may hold dots: the table is the longest that the snapshot knows.
fn split(path: &str, kept: &Snapshot) -> Option<(String, String)> {
    path.match_indices('.')
        .rev()
        .map(|(at, _)| (&path[..at], &path[at + 1..]))
        .find(|(table, _)| kept.objects.contains_key(&format!("table {table}")))
        .map(|(table, name)| (table.to_owned(), name.to_owned()))
}

/// The table of `CREATE INDEX name ON [ONLY] [schema.]table USING ...`, as PostgreSQL prints it.
fn indexed_table(definition: &str, kept: &Snapshot) -> Option<String> {
    let (_, rest) = definition.split_once(" ON ")?;
    let (name, _) = rest.strip_prefix("ONLY ").unwrap_or(rest).split_once(" USING ")?;
    Some(known_part(name, kept))
}

/// A name that may be qualified and quoted, as the snapshot has it: with its schema where that is not the project's own.
fn known_part(name: &str, kept: &Snapshot) -> String {
    let last = last_part(name);
    let schema =
        name.strip_suffix(&last).or_else(|| name.split_once(".\"").map(|(schema, _)| schema)).unwrap_or_default();
    let full = format!("{}.{last}", schema.trim_end_matches('.').trim_matches('"'));
    if kept.objects.contains_key(&format!("table {full}")) { full } else { last }
}

/// The last part of a name that may be qualified and quoted.
fn last_part(name: &str) -> String {
    match name.strip_suffix('"') {
        Some(inner) => inner
            .rsplit_once(".\"")
            .map_or_else(|| inner.trim_start_matches('"'), |(_, last)| last)
            .replace("\"\"", "\""),
        None => name.rsplit_once('.').map_or(name, |(_, last)| last).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_fails_its_own_test() {
        let mut kept = Snapshot::new(StoreKind::Postgres);
        for object in ["table Sale", "table a.b", "column Sale.updatedAt", "table Log"] {
            kept.objects.insert(object.into(), "table".into());
        }
        let of = |object: &str, definition: &str, now: Option<&str>| subject(object, definition, now, &kept);
        let sale = || "Sale".to_owned();
        assert_eq!(
            of("constraint Sale.k", "FOREIGN KEY (a) REFERENCES b(c)", None),
            Some(Subject::ForeignKeys(sale()))
        );
        assert_eq!(of("constraint Sale.k", "CHECK ((a > 0))", None), Some(Subject::Refusals(sale())));
        assert_eq!(of("constraint a.b.k", "UNIQUE (a)", None), Some(Subject::Unique("a.b".into())));
        assert_eq!(
            of("index i", "CREATE INDEX i ON public.\"Sale\" USING btree (a)", None),
            Some(Subject::Indexes(sale()))
        );
        assert_eq!(
            of("index i", "CREATE UNIQUE INDEX i ON \"Sale\" USING btree (a)", None),
            Some(Subject::Unique(sale()))
        );
        assert_eq!(of("policy Sale.tenant", "PERMISSIVE", None), Some(Subject::Isolation(sale())));
        assert_eq!(of("grant Sale to app", "SELECT", None), Some(Subject::Grants(sale())));
        assert_eq!(table_of("constraint a.b.k", &kept).as_deref(), Some("a.b"));
        assert!(opens("policy Sale.other") && !opens("column Sale.x"));
        let trigger = "CREATE TRIGGER t BEFORE UPDATE ON x FOR EACH ROW EXECUTE FUNCTION f()";
        assert_eq!(of("trigger Sale.t", trigger, None), Some(Subject::Touch(sale())));
        assert_eq!(of("trigger Log.t", trigger, None), Some(Subject::Others("Triggers".into())));
        assert_eq!(of("column Sale.a", "text NOT NULL", Some("text")), Some(Subject::Refusals(sale())));
        assert_eq!(of("column Sale.a", "text NOT NULL", Some("uuid NOT NULL")), Some(Subject::Row(sale())));
        let mut live = kept.clone();
        kept.objects.insert("view v".into(), "SELECT".into());
        assert!(went_along("grant v to app", &kept, &live) && went_along("comment view v", &kept, &live));
        live.objects.remove("table Sale");
        assert!(went_along("constraint Sale.k", &kept, &live) && !went_along("constraint a.b.k", &kept, &live));
        live.objects.insert("column Sale.updatedAt".into(), "other".into());
        assert!(went_along("grant Sale_updatedAt_seq to app", &kept, &live));
        let part = "table FOR VALUES FROM (1) TO (2) INHERITS (public.\"Sale\")";
        kept.objects.insert("table Sale_1".into(), part.into());
        let of = |object: &str, definition: &str, now: Option<&str>| subject(object, definition, now, &kept);
        assert_eq!(of("constraint Sale_1.k", "CHECK ((a > 0))", None), Some(Subject::Refusals(sale())));
        let forced = "table ENABLE ROW LEVEL SECURITY FORCE ROW LEVEL SECURITY";
        assert_eq!(of("table Sale", forced, Some("table ENABLE ROW LEVEL SECURITY")), Some(Subject::RowSecurity));
        assert_eq!(of("table Sale", forced, None), Some(Subject::Row(sale())));
        assert_eq!(of("function f()", "...", None), Some(Subject::Others("Functions".into())));
        assert_eq!(of("text search dictionary d", "", None), Some(Subject::Others("Text search".into())));
        assert_eq!(of("grant calm to app", "SELECT", None), Some(Subject::Others("Privileges".into())));
    }
}
