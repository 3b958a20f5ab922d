//! The schema as SQL that makes it anew: one statement after another in an order in which they work, each table
//! with what belongs to it. The order is the server's own dependencies, and names where those leave a choice.

use std::collections::{BTreeMap, BTreeSet};

use super::connect::text;
use super::error::catalog_error;
use super::{PostgresStore, run};
use crate::engine::dump::Dump;
use crate::error::Result;

const STATEMENTS: &str = include_str!("dump.sql");
const GRANTS: &str = include_str!("dump_grants.sql");

/// Which of the project's objects need which; a sequence does not need the table whose column owns it.
const DEPENDENCIES: &str = "SELECT e.classid::regclass, e.objid, e.refclassid::regclass, e.refobjid FROM pg_catalog.pg_depend e \
    WHERE e.objid >= 16384 AND e.refobjid >= 16384 AND e.deptype <> 'e' AND NOT (e.deptype = 'a' AND e.classid = 'pg_catalog.pg_class'::regclass \
    AND EXISTS (SELECT FROM pg_catalog.pg_class s WHERE s.oid = e.objid AND s.relkind = 'S'))";

/// What a dump has no statement for: kinds that migrations of applications hardly ever make.
const LEFT_OUT: &str = "SELECT 'foreign table ' || c.oid::regclass FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ({schemas}) AND c.relkind = 'f' AND {own:pg_class:c}
    UNION ALL SELECT 'base type ' || t.oid::regtype FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = ANY ({schemas}) AND t.typtype IN ('b', 'p') AND t.typelem = 0 AND {own:pg_type:t}
    UNION ALL SELECT 'operator ' || o.oid::regoperator FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
    WHERE n.nspname = ANY ({schemas}) AND {own:pg_operator:o}
    UNION ALL SELECT 'operator class ' || o.opcname FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_namespace n ON n.oid = o.opcnamespace
    WHERE n.nspname = ANY ({schemas}) AND {own:pg_opclass:o}
    UNION ALL SELECT 'conversion ' || v.conname FROM pg_catalog.pg_conversion v JOIN pg_catalog.pg_namespace n ON n.oid = v.connamespace
    WHERE n.nspname = ANY ({schemas}) AND {own:pg_conversion:v}
    UNION ALL SELECT 'cast from ' || k.castsource::regtype || ' to ' || k.casttarget::regtype FROM pg_catalog.pg_cast k WHERE k.oid >= 16384 AND {own:pg_cast:k}
    UNION ALL SELECT 'foreign server ' || s.srvname FROM pg_catalog.pg_foreign_server s WHERE {own:pg_foreign_server:s}
    ORDER BY 1";

/// The order where dependencies leave a choice: kind, object, place below it, name.
type Key = (u32, String, u32, String);

/// A statement and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unit {
    /// Where it would like to stand.
    key: Key,
    /// The objects it makes.
    makes: Vec<String>,
    /// The objects it needs beyond the server's own dependencies.
    after: Vec<String>,
    /// The statement.
    sql: String,
}

impl PostgresStore {
    /// Writes the dump, from one consistent look at the catalog.
    pub(super) async fn write_dump(&mut self) -> Result<Dump> {
        let schemas = self.schemas().await?;
        let unreadable = |error: sqlx::Error| catalog_error("the catalog cannot be read", &error);
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path TO {}",
            self.settings.schema
        );
        run(&mut self.connection, begin).await.map_err(unreadable)?;
        let read = async {
            let statements = self.fill(&format!("{STATEMENTS}; {GRANTS}"), &schemas);
            let rows = run(&mut self.connection, statements).await?;
            let needs = run(&mut self.connection, DEPENDENCIES.into()).await?;
            let left_out = self.fill(LEFT_OUT, &schemas);
            let left_out = run(&mut self.connection, left_out).await?;
            Ok::<_, sqlx::Error>((rows, needs, left_out))
        }
        .await;
        let ended = run(&mut self.connection, "ROLLBACK".into()).await;
        let (rows, needs, left_out) = read.map_err(unreadable)?;
        ended.map_err(unreadable)?;
        let word = |row, at| text(row, at).unwrap_or_default();
        let list = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let number = |row, at| word(row, at).parse().unwrap_or(u32::MAX);
        let mut units: Vec<Unit> = rows
            .iter()
            .map(|row| Unit {
                key: (number(row, 0), word(row, 1), number(row, 2), word(row, 3)),
                makes: list(format!("{} {}", word(row, 4), word(row, 5))),
                after: list(word(row, 6)),
                sql: word(row, 7).trim().to_owned(),
            })
            .filter(|unit| !unit.sql.is_empty())
            .collect();
        let snapshot = self.read_schema().await?;
        units.extend(snapshot.objects.iter().filter_map(|(object, definition)| {
            let name = object.strip_prefix("publication ")?;
            let sql = format!("CREATE PUBLICATION \"{}\" {definition};", name.replace('"', "\"\""));
            Some(Unit { key: (10, name.to_owned(), 0, String::new()), makes: Vec::new(), after: Vec::new(), sql })
        }));
        let edges = needs
            .iter()
            .map(|row| (format!("{}:{}", word(row, 0), word(row, 1)), format!("{}:{}", word(row, 2), word(row, 3))));
        let ordered = order(units, edges);
        let mut text = self.heading(&snapshot);
        let mut last: Option<(u32, String)> = None;
        for unit in &ordered {
            let here = (unit.key.0, unit.key.1.clone());
            // What belongs to one object stands together; long statements get air.
            if last.as_ref() != Some(&here) || unit.sql.contains('\n') {
                text.push('\n');
            }
            text.push_str(&unit.sql);
            text.push('\n');
            last = Some(here);
        }
        Ok(Dump {
            text,
            beside: Vec::new(),
            statements: ordered.len(),
            left_out: left_out.iter().filter_map(|row| super::connect::text(row, 0)).collect(),
        })
    }

    fn heading(&self, snapshot: &crate::engine::snapshot::Snapshot) -> String {
        let mut roles: BTreeSet<&str> = BTreeSet::new();
        for (object, definition) in &snapshot.objects {
            let is_grant = object.starts_with("grant ") || object.starts_with("default privileges ");
            if let Some((_, role)) = object.rsplit_once(" to ").filter(|_| is_grant) {
                roles.insert(role);
            }
            if let Some((_, rest)) = definition.split_once(" TO ").filter(|_| object.starts_with("policy ")) {
                let end = rest.find(" USING (").or_else(|| rest.find(" WITH CHECK (")).unwrap_or(rest.len());
                roles.extend(rest[..end].split(", ").filter(|role| *role != "public"));
            }
            if let Some((_, role)) = definition.rsplit_once(" OWNER ").filter(|(_, role)| !role.contains([' ', '\n'])) {
                roles.insert(role);
            }
        }
        roles.remove("PUBLIC");
        roles.remove("its owner");
        let mut text = format!(
            "-- The schema of {} as `lyrox db dump` writes it; no data is in it.\n-- Into an empty database: psql -1 -v ON_ERROR_STOP=1 -f FILE, or as a migration.\n",
            self.project.replace(['\n', '\r'], " ")
        );
        if !roles.is_empty() {
            let roles: Vec<&str> = roles.into_iter().collect();
            text.push_str(&format!(
                "-- It names roles of the server, which must exist: {}\n",
                roles.join(", ").replace(['\n', '\r'], " ")
            ));
        }
        text.push_str(&format!("SET check_function_bodies = off;\nSET search_path = {};\n", self.settings.schema));
        text
    }
}

/// Brings statements into an order in which each stands behind what it needs; of those that could come next
/// the one with the smallest key does. Where objects need each other the smallest key goes first.
fn order(units: Vec<Unit>, edges: impl Iterator<Item = (String, String)>) -> Vec<Unit> {
    let mut maker: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, unit) in units.iter().enumerate() {
        for made in &unit.makes {
            maker.entry(made).or_insert(at);
        }
    }
    let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); units.len()];
    for (at, unit) in units.iter().enumerate() {
        waits[at].extend(unit.after.iter().filter_map(|made| maker.get(made.as_str())));
    }
    for (needs, needed) in edges {
        if let (Some(needs), Some(needed)) = (maker.get(needs.as_str()), maker.get(needed.as_str())) {
            waits[*needs].insert(*needed);
        }
    }
    let mut wanted: Vec<Vec<usize>> = vec![Vec::new(); units.len()];
    for (at, waits) in waits.iter_mut().enumerate() {
        waits.remove(&at);
        for other in waits.iter() {
            wanted[*other].push(at);
        }
    }
    let mut left: BTreeSet<(&Key, usize)> = units.iter().enumerate().map(|(at, unit)| (&unit.key, at)).collect();
    let mut ready: BTreeSet<_> = left.iter().copied().filter(|(_, at)| waits[*at].is_empty()).collect();
    let mut ordered = Vec::with_capacity(units.len());
    while let Some(next) = ready.pop_first().or_else(|| left.first().copied()) {
        if !left.remove(&next) {
            continue;
        }
        ordered.push(next.1);
        for at in &wanted[next.1] {
            waits[*at].remove(&next.1);
            if waits[*at].is_empty() {
                ready.insert((&units[*at].key, *at));
            }
        }
    }
    ordered.into_iter().map(|at| units[at].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(key: (u32, &str, u32), makes: &str, after: &str) -> Unit {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Unit {
            key: (key.0, key.1.into(), key.2, String::new()),
            makes: list(makes),
            after: list(after),
            sql: format!("{} {}", key.1, key.2),
        }
    }

    fn ordered(units: Vec<Unit>, edges: &[(&str, &str)]) -> Vec<String> {
        let edges = edges.iter().map(|(needs, needed)| ((*needs).to_owned(), (*needed).to_owned()));
        order(units, edges).into_iter().map(|unit| unit.sql).collect()
    }

    #[test]
    fn what_belongs_to_a_table_stands_with_it_and_behind_what_it_needs() {
        let units = || {
            vec![
                unit((6, "b", 0), "pg_class:2", ""),
                unit((6, "a", 2), "pg_class:9", "pg_class:1"),
                unit((6, "a", 0), "pg_class:1 pg_type:1", ""),
                unit((4, "f", 0), "pg_proc:3", ""),
                unit((4, "g", 0), "pg_proc:4", ""),
            ]
        };
        assert_eq!(ordered(units(), &[]), ["f 0", "g 0", "a 0", "a 2", "b 0"]);
        // `f` takes a row of `b`, and `a` calls `f`.
        let edges = [("pg_proc:3", "pg_class:2"), ("pg_class:1", "pg_proc:3")];
        assert_eq!(ordered(units(), &edges), ["g 0", "b 0", "f 0", "a 0", "a 2"]);
    }

    #[test]
    fn objects_that_need_each_other_are_written_all_the_same() {
        let units = vec![unit((6, "b", 0), "x:2", ""), unit((6, "a", 0), "x:1", "")];
        assert_eq!(ordered(units, &[("x:1", "x:2"), ("x:2", "x:1"), ("x:1", "x:1")]), ["a 0", "b 0"]);
    }
}
