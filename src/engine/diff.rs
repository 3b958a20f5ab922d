//! Differences between two states of a schema as people read them: grouped by the object they belong to, in
//! a fixed order, each with both definitions. Pure, but for the reading at the end.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use serde::Serialize;
use similar::{ChangeTag, TextDiff};

use super::guard;
use super::ledger::{Ledger, State, head};
use super::migrate::{self, Work};
use super::snapshot::{Difference, Snapshot};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Item, plural};
use crate::stores::{AnyStore, Store as _};

/// What has become of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sign {
    /// It is there and should not be.
    Extra,
    /// It should be there and is not.
    Missing,
    /// It is defined otherwise.
    Changed,
}

impl Sign {
    /// `+`, `-` or `~`.
    pub const fn mark(self) -> char {
        match self {
            Self::Extra => '+',
            Self::Missing => '-',
            Self::Changed => '~',
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// What has become of it.
    pub sign: Sign,
    /// `table`, `column`, `index`, `collection`, `user`, ...
    pub kind: String,
    /// Its name below its kind: `User.email`.
    pub name: String,
    /// The definition that should be; none for an extra object.
    pub expected: Option<String>,
    /// The definition that is; none for a missing object.
    pub found: Option<String>,
    /// What comes or goes with it: the columns and indexes of a table.
    pub parts: Vec<String>,
}

/// What two states are called in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The live store, judged by the snapshot.
    Snapshot,
    /// The snapshot, judged by a replay of the migrations.
    Replay,
}

/// Kinds of objects that stand by themselves, in the order of a report.
const KINDS: [&str; 24] = [
    "schema",
    "extension",
    "collation",
    "type",
    "function",
    "procedure",
    "aggregate",
    "sequence",
    "table",
    "view",
    "materialized view",
    "text search dictionary",
    "text search configuration",
    "statistics",
    "publication",
    "event trigger",
    "default privileges",
    "collection",
    "keyspace",
    "channels",
    "user",
    "key",
    "operator",
    "cast",
];

/// Kinds of objects that belong to another one, in the order below it.
const PARTS: [&str; 8] = ["column", "constraint", "index", "trigger", "rule", "policy", "comment", "grant"];

/// Takes an object's path apart: `materialized view a.b` is the kind `materialized view` and the name `a.b`.
fn kind_and_name(object: &str) -> (&str, &str) {
    let known =
        KINDS.iter().chain(&PARTS).filter(|kind| object.strip_prefix(**kind).is_some_and(|rest| rest.starts_with(' ')));
    match known.max_by_key(|kind| kind.len()) {
        Some(kind) => (&object[..kind.len()], &object[kind.len() + 1..]),
        None => object.split_once(' ').unwrap_or((object, "")),
    }
}

/// The object that another belongs to, as it stands in one of the snapshots.
fn owner<'a>(object: &'a str, definition: &str, all: &'a BTreeMap<&'a str, ()>) -> Option<&'a str> {
    let (kind, name) = kind_and_name(object);
    let holders = ["table", "view", "materialized view", "collection"];
    let holder = |name: &str| {
        holders.iter().find_map(|kind| all.get_key_value(format!("{kind} {name}").as_str()).map(|(key, ())| *key))
    };
    match kind {
        "column" | "constraint" | "trigger" | "rule" | "policy" => below(name, &holder),
        "index" => below(name, &holder).or_else(|| {
            // `CREATE INDEX name ON [ONLY] table USING ...`, as PostgreSQL prints it.
            let (_, rest) = definition.split_once(" ON ")?;
            let (table, _) = rest.strip_prefix("ONLY ").unwrap_or(rest).split_once(" USING ")?;
            let plain = unquoted(table);
            // The project's own schema is left out of paths.
            holder(&plain).or_else(|| plain.split_once('.').and_then(|(_, last)| holder(last)))
        }),
        "grant" => {
            let (subject, _) = name.rsplit_once(" to ")?;
            all.get_key_value(subject)
                .map(|(key, ())| *key)
                .or_else(|| holder(subject))
                .or_else(|| below(subject, &holder))
                .or_else(|| all.get_key_value(format!("sequence {subject}").as_str()).map(|(key, ())| *key))
        }
        "comment" => {
            if let Some((key, ())) = all.get_key_value(name) {
                return if PARTS.iter().any(|part| name.starts_with(&format!("{part} "))) {
                    owner(name, "", all).or(Some(*key))
                } else {
                    Some(*key)
                };
            }
            None
        }
        _ => None,
    }
}

/// The holder of `holder.part`, where both may hold dots: the longest that is known.
fn below<'a>(name: &str, holder: &impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
    name.match_indices('.').rev().find_map(|(at, _)| holder(&name[..at]))
}

/// A qualified and quoted name as paths have it.
fn unquoted(name: &str) -> String {
    let mut plain = String::new();
    let mut characters = name.chars().peekable();
    let mut is_quoted = false;
    while let Some(c) = characters.next() {
        match c {
            '"' if is_quoted && characters.peek() == Some(&'"') => {
                characters.next();
                plain.push('"');
            }
            '"' => is_quoted = !is_quoted,
            c => plain.push(c),
        }
    }
    plain
}

/// The differences in the order of a report: by kind and name of the object that stands by itself, below it
/// its columns, constraints, indexes, triggers, rules, policies, comments and grants. What comes or goes
/// together with its table is part of the table's entry.
pub fn entries(expected: &Snapshot, found: &Snapshot) -> Vec<Entry> {
    let all: BTreeMap<&str, ()> =
        expected.objects.keys().chain(found.objects.keys()).map(|object| (object.as_str(), ())).collect();
    let mut list = Vec::new();
    for difference in expected.differences(found) {
        let (sign, object) = match &difference {
            Difference::Missing(object) => (Sign::Missing, object),
            Difference::Extra(object) => (Sign::Extra, object),
            Difference::Changed(object, ..) => (Sign::Changed, object),
        };
        let before = expected.objects.get(object);
        let after = found.objects.get(object);
        let definition = before.or(after).map_or("", String::as_str);
        let top = owner(object, definition, &all).map(str::to_owned);
        let (kind, name) = kind_and_name(object);
        let (top_kind, top_name) = kind_and_name(top.as_deref().unwrap_or(object));
        let rank = |kinds: &[&str], kind: &str| kinds.iter().position(|known| *known == kind).unwrap_or(kinds.len());
        let place = if top.is_some() { rank(&PARTS, kind) + 1 } else { 0 };
        let key = (rank(&KINDS, top_kind), top_name.to_owned(), place, name.to_owned());
        let entry = Entry {
            sign,
            kind: kind.to_owned(),
            name: name.to_owned(),
            expected: before.cloned(),
            found: after.cloned(),
            parts: Vec::new(),
        };
        list.push((key, top, entry));
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    let mut entries: Vec<Entry> = Vec::new();
    let mut holder: Option<(String, usize)> = None;
    for (_, top, entry) in list {
        if let (Some(top), Some((held, at))) = (&top, &holder)
            && top == held
            && entries[*at].sign == entry.sign
            && entry.sign != Sign::Changed
        {
            let definition = entry.found.as_deref().or(entry.expected.as_deref()).unwrap_or_default();
            // Below its table a part needs no table before its name.
            let owner = entries[*at].name.clone();
            let short = entry.name.strip_prefix(&format!("{owner}.")).unwrap_or(&entry.name);
            let line = match entry.kind.as_str() {
                "index" => definition.to_owned(),
                kind => format!("{kind} {short} {definition}"),
            };
            entries[*at].parts.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            continue;
        }
        if top.is_none() && entry.sign != Sign::Changed {
            holder = Some((format!("{} {}", entry.kind, entry.name), entries.len()));
        }
        entries.push(entry);
    }
    entries
}

impl Entry {
    /// `+ column User.email`.
    pub fn title(&self) -> String {
        format!("{} {} {}", self.sign.mark(), self.kind, self.name)
    }

    /// The definition, or how it changed: lines that begin with `+`, `-` or a space. Empty where the title says
    /// it all.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = match (&self.expected, &self.found) {
            (Some(before), Some(after)) => changed_lines(before, after),
            (Some(one), None) | (None, Some(one)) if is_bare(&self.kind, one) => Vec::new(),
            (Some(one), None) | (None, Some(one)) => {
                one.trim_end().lines().map(|line| format!("{} {line}", self.sign.mark())).collect()
            }
            (None, None) => Vec::new(),
        };
        lines.extend(self.parts.iter().map(|part| format!("{} {part}", self.sign.mark())));
        lines
    }

    /// The difference as an item of the report.
    pub fn item(&self, store: StoreKind, against: Against) -> Item {
        let (code, hint) = match against {
            Against::Snapshot => (Code::SchemaDrift, "undo it by hand, or write it as a migration: lyrox db new NAME"),
            Against::Replay => (
                Code::ReplayDrift,
                "write what was made by hand as a migration, lyrox db new NAME, or remove it from the live store",
            ),
        };
        let error = Error::new(code, self.words(against)).hint(hint);
        let id = match against {
            Against::Snapshot => format!("{store}.{}.{}", self.kind.replace(' ', "_"), self.name),
            Against::Replay => format!("{store}.replay.{}.{}", self.kind.replace(' ', "_"), self.name),
        };
        let mut item = Item::fail(id, self.title(), &error).store(store);
        let lines = self.lines();
        item.why = (!lines.is_empty()).then(|| lines.join("\n"));
        item
    }

    fn words(&self, against: Against) -> String {
        let words = match (self.sign, against) {
            (Sign::Extra, Against::Snapshot) => "is not in the snapshot",
            (Sign::Missing, Against::Snapshot) => "is missing",
            (Sign::Changed, Against::Snapshot) => "differs from the snapshot",
            (Sign::Extra, Against::Replay) => "is in the snapshot and no migration makes it",
            (Sign::Missing, Against::Replay) => "is made by the migrations and not in the snapshot",
            (Sign::Changed, Against::Replay) => "differs from what the migrations make",
        };
        format!("{} `{}` {words}", self.kind, self.name)
    }
}

/// A definition that says no more than the kind does.
fn is_bare(kind: &str, definition: &str) -> bool {
    definition.is_empty() || definition == kind || definition == "{}"
}

fn changed_lines(before: &str, after: &str) -> Vec<String> {
    if before.lines().count() <= 1 && after.lines().count() <= 1 {
        return vec![format!("- {before}"), format!("+ {after}")];
    }
    let diff = TextDiff::from_lines(before, after);
    let mut lines = Vec::new();
    for (index, group) in diff.grouped_ops(2).iter().enumerate() {
        if index > 0 {
            lines.push("  ...".to_owned());
        }
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let mark = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            lines.push(format!("{mark} {}", change.value().trim_end_matches('\n')).trim_end().to_owned());
        }
    }
    lines
}

/// What is known of one store.
#[derive(Debug)]
pub struct Reading {
    /// The store.
    pub kind: StoreKind,
    /// Its ledger.
    pub ledger: Ledger,
    /// The snapshot that the last migrate kept.
    pub kept: Option<Snapshot>,
    /// The schema as it is.
    pub live: Snapshot,
}

impl Reading {
    /// The kept snapshot, where it is of the state that the ledger tells.
    ///
    /// # Errors
    /// `LYX-SNAPSHOT-MISSING`, with the way to have one.
    pub fn snapshot(&self) -> Result<&Snapshot> {
        let Some(kept) = &self.kept else {
            return Err(Error::new(Code::SnapshotMissing, format!("{} keeps no snapshot", self.kind.title()))
                .why(if self.ledger.mark.is_some() {
                    "the last migrate was cut short before it kept one"
                } else {
                    "nothing was ever migrated there"
                })
                .hint("lyrox db migrate"));
        };
        if kept.head != head(&self.ledger.rows) {
            return Err(Error::new(
                Code::SnapshotMissing,
                format!("the snapshot of {} is of another state of the migrations", self.kind.title()),
            )
            .why("a run was cut short before it kept a new one, or another version of lyrox kept it")
            .hint("lyrox db migrate, which keeps a new one"));
        }
        Ok(kept)
    }

    /// The newest applied version, for headings.
    pub fn newest(&self) -> Option<String> {
        let applied = self.ledger.rows.iter().filter(|row| row.state == State::Applied);
        applied.max_by(|a, b| a.version.cmp(&b.version)).map(|row| row.version.as_str().to_owned())
    }

    /// Migrations that are not finished: what they made so far shows as drift.
    pub fn unfinished(&self) -> Vec<String> {
        let rows = self.ledger.rows.iter().filter(|row| matches!(row.state, State::Started | State::Failed));
        rows.map(|row| crate::project::migration::label(&row.version, &row.name)).collect()
    }
}

/// Reads ledger, kept snapshot and live schema of every store, side by side. Changes nothing and takes no lock.
///
/// # Errors
/// A store that cannot be read, or is marked as another environment.
pub async fn read(work: Work<'_>, stores: &mut [AnyStore]) -> Result<Vec<Reading>> {
    let readings = try_join_all(stores.iter_mut().map(async |store| {
        let ledger = store.ledger().await?;
        let (kept, live) = (store.kept_snapshot().await?, store.snapshot().await?);
        Ok::<_, Error>(Reading { kind: store.kind(), ledger, kept, live })
    }))
    .await?;
    let marks: Vec<_> = readings.iter().map(|reading| (reading.kind, reading.ledger.mark.clone())).collect();
    guard::refuse_other_mark(work.config, &marks)?;
    Ok(readings)
}

/// Reads the live schemas of scratch stores after a replay.
///
/// # Errors
/// A store that cannot be reached or read.
pub async fn read_live(work: Work<'_>) -> Result<Vec<Snapshot>> {
    let mut stores = work.open().await?;
    let read = try_join_all(stores.iter_mut().map(|store| store.snapshot())).await;
    migrate::close(stores).await;
    read
}

/// `58 objects`.
pub fn count(snapshot: &Snapshot) -> String {
    plural(snapshot.objects.len(), "object")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(objects: &[(&str, &str)]) -> Snapshot {
        let mut snapshot = Snapshot::new(StoreKind::Postgres);
        snapshot.objects = objects.iter().map(|(object, text)| ((*object).to_owned(), (*text).to_owned())).collect();
        snapshot
    }

    fn titles(before: &[(&str, &str)], after: &[(&str, &str)]) -> Vec<String> {
        entries(&snapshot(before), &snapshot(after)).iter().map(Entry::title).collect()
    }

    #[test]
    fn parts_stand_below_their_table_in_a_fixed_order() {
        let before = [
            ("table b", "table"),
            ("column b.x", "text"),
            ("index i", "CREATE INDEX i ON b USING btree (x)"),
            ("policy b.p", "old"),
            ("table a.b", "table"),
            ("trigger a.b.t", "old"),
            ("function z()", "old"),
            ("grant b to app", "SELECT"),
        ];
        let after = [
            ("table b", "table"),
            ("column b.x", "int"),
            ("policy b.p", "new"),
            ("table a.b", "table"),
            ("trigger a.b.t", "new"),
            ("function z()", "new"),
            ("type t", "enum ('a')"),
            ("constraint b.k", "CHECK (x > 0)"),
        ];
        assert_eq!(
            titles(&before, &after),
            [
                "+ type t",
                "~ function z()",
                "~ trigger a.b.t",
                "~ column b.x",
                "+ constraint b.k",
                "- index i",
                "~ policy b.p",
                "- grant b to app",
            ]
        );
    }

    #[test]
    fn what_goes_with_its_table_is_told_with_it() {
        let before = [
            ("table note", "table"),
            ("column note.id", "integer"),
            ("index n", "CREATE INDEX n ON note USING btree (id)"),
        ];
        let found = entries(&snapshot(&before), &snapshot(&[]));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines(), ["- column id integer", "- CREATE INDEX n ON note USING btree (id)"]);
        // The other way round as well; and a part of a table that stays is told by itself.
        assert_eq!(titles(&[], &before), ["+ table note"]);
        assert_eq!(titles(&before[..1], &before), ["+ column note.id", "+ index n"]);
    }

    #[test]
    fn a_short_definition_is_shown_whole_and_a_long_one_where_it_changed() {
        let one = entries(&snapshot(&[("column a.b", "text")]), &snapshot(&[("column a.b", "text NOT NULL")]));
        assert_eq!(one[0].lines(), ["- text", "+ text NOT NULL"]);
        let body = |word: &str| format!("1\n2\n3\n4\n{word}\n6\n7\n8\n9\n");
        let (before, after) = (body("five"), body("FIVE"));
        let one = entries(&snapshot(&[("function f()", &before)]), &snapshot(&[("function f()", &after)]));
        assert_eq!(one[0].lines(), ["  3", "  4", "- five", "+ FIVE", "  6", "  7"]);
    }

    #[test]
    fn names_are_unquoted_as_paths_have_them() {
        assert_eq!(unquoted("public.\"My \"\"T\"\".x\""), "public.My \"T\".x");
        let quoted = [("table My.T", "table"), ("index i", "CREATE INDEX i ON public.\"My.T\" USING btree (a)")];
        assert_eq!(titles(&quoted[..1], &quoted), ["+ index i"]);
        assert_eq!(titles(&[], &quoted), ["+ table My.T"]);
    }
}
