//! Indexes are used: of each one a query is asked that it serves, and the planner, table scans being dear, has to
//! name it.
//!
//! The query compares every key with a value that the planner does not know, by an operator of the key's own
//! class as the catalog lists it, so that every access method is asked in its own language; ordered indexes
//! are asked for their order as well. Where another index serves the same query it may be taken instead: on
//! servers of this machine it is dropped for the length of that one question, in a transaction that is rolled
//! back.

use std::collections::{BTreeMap, BTreeSet};

use super::PostgresSmoke;
use super::query::{Asked, queries, used_indexes};
use crate::error::{Error, Result};
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal, relation};
use crate::stores::smoke::outcome::Outcome;

/// How many tables are asked about in one message.
const AT_ONCE: usize = 25;
/// How many other indexes may stand in for one.
const RIVALS: usize = 6;

/// What became of an index.
#[derive(Clone, Debug)]
enum Found {
    Used,
    /// After others that serve the same query were put aside.
    Alone(Vec<String>),
    /// Another one is taken.
    Beside(String),
    Unused(String),
    Untried(String),
}

/// What was found out about every index, by table.
#[derive(Debug, Default)]
pub struct Plans(BTreeMap<String, Vec<(String, Found)>>);

const INDEXES: &str = "
SELECT coalesce(json_agg(json_build_object('table', %label%, 'name', i.relname, 'method', m.amname,
  'constraint', (SELECT k.conname FROM pg_catalog.pg_constraint k WHERE k.conindid = i.oid AND k.conrelid = c.oid AND k.contype IN ('p', 'u', 'x') LIMIT 1),
  'is_valid', x.indisvalid AND x.indisready, 'is_partitioned', c.relkind = 'p', 'is_bound', pg_catalog.row_security_active(c.oid),
  'predicate', pg_catalog.pg_get_expr(x.indpred, c.oid),
  'parts', ARRAY(WITH RECURSIVE below AS (SELECT h.inhrelid FROM pg_catalog.pg_inherits h WHERE h.inhparent = i.oid
      UNION ALL SELECT h.inhrelid FROM below b JOIN pg_catalog.pg_inherits h ON h.inhparent = b.inhrelid)
    SELECT p.relname FROM below b JOIN pg_catalog.pg_class p ON p.oid = b.inhrelid),
  'keys', (SELECT json_agg(json_build_object(
      'text', pg_catalog.pg_get_indexdef(i.oid, n, false) || CASE WHEN x.indcollation[n - 1] IN (0, 100) THEN '' ELSE
        (SELECT ' COLLATE ' || pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(l.collname)
         FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace s ON s.oid = l.collnamespace WHERE l.oid = x.indcollation[n - 1]) END,
      'operator', (SELECT 'OPERATOR(' || pg_catalog.quote_ident(s.nspname) || '.' || p.oprname || ')'
        FROM pg_catalog.pg_operator p JOIN pg_catalog.pg_namespace s ON s.oid = p.oprnamespace WHERE p.oid = a.amopopr),
      'other', CASE WHEN t.typtype <> 'p' THEN pg_catalog.format_type(a.amoprighttype, NULL) ELSE
        (SELECT pg_catalog.format_type(CASE WHEN y.typtype = 'd' THEN y.typbasetype ELSE y.oid END, NULL) FROM pg_catalog.pg_attribute r
         JOIN pg_catalog.pg_type y ON y.oid = r.atttypid WHERE r.attrelid = c.oid AND r.attnum = x.indkey[n - 1] AND r.attnum > 0) END,
      'is_order', a.amoppurpose = 'o', 'is_usual', o.opcdefault,
      'is_descending', x.indoption[n - 1] & 1 = 1, 'has_nulls_first', x.indoption[n - 1] & 2 = 2) ORDER BY n)
    FROM generate_series(1, x.indnkeyatts) n JOIN pg_catalog.pg_opclass o ON o.oid = x.indclass[n - 1]
    LEFT JOIN LATERAL (SELECT a.amopopr, a.amoprighttype, a.amoppurpose FROM pg_catalog.pg_amop a JOIN pg_catalog.pg_operator p ON p.oid = a.amopopr
      WHERE a.amopfamily = o.opcfamily AND a.amoplefttype = o.opcintype
      ORDER BY a.amoppurpose = 's' DESC, m.amname = 'btree' AND NOT o.opcdefault AND a.amopstrategy = 1 DESC,
        pg_catalog.array_position(CASE m.amname WHEN 'gin' THEN ARRAY['@>', '@@', '~~', '&&'] ELSE ARRAY['=', '&&', '@>', '@@', '~~', '<@'] END, p.oprname::text) NULLS LAST,
        a.amoprighttype = a.amoplefttype DESC LIMIT 1) a ON true
    LEFT JOIN pg_catalog.pg_type t ON t.oid = a.amoprighttype)
  ) ORDER BY c.relname, i.relname), '[]')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_index x ON x.indrelid = c.oid
JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid JOIN pg_catalog.pg_am m ON m.oid = i.relam
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN (%schemas%)";

impl PostgresSmoke<'_> {
    /// Says which of a table's indexes are used; all tables are asked about at the first call.
    pub(super) async fn try_indexes(&mut self, name: &str) -> Result<Outcome> {
        if self.plans.is_none() {
            self.plans = Some(self.explain_all().await?);
        }
        let mut outcome = Outcome::default();
        let found = self.plans.as_ref().and_then(|plans| plans.0.get(name)).cloned().unwrap_or_default();
        for (index, found) in found {
            match found {
                Found::Used => outcome.passed += 1,
                Found::Alone(others) => {
                    outcome.passed += 1;
                    outcome.notes.push(format!("`{index}` where `{}` is not", others.join("`, `")));
                }
                Found::Beside(other) => outcome.untried.push(format!("`{index}`: `{other}` is taken for its queries")),
                Found::Unused(why) => outcome.failed.push(format!("index `{index}` of `{name}` is not used: {why}")),
                Found::Untried(why) => outcome.untried.push(format!("`{index}`: {why}")),
            }
        }
        Ok(outcome)
    }

    async fn explain_all(&mut self) -> Result<Plans> {
        let mut plans = Plans::default();
        let own = literal(self.store.settings.schema.name());
        let label = format!(
            "CASE WHEN n.nspname = {own} AND pg_catalog.strpos(c.relname, '.') = 0 THEN c.relname::text ELSE n.nspname || '.' || c.relname END"
        );
        let sql = INDEXES.replace("%label%", &label).replace("%schemas%", &self.schema_list());
        let rows = match self.send(&sql).await? {
            Ok(rows) => rows,
            Err(refused) => return Err(Error::bug("the indexes cannot be read").why(refused.words)),
        };
        let json = rows.first().and_then(|row| text(row, 0)).unwrap_or_default();
        let all: Vec<Asked> = serde_json::from_str(&json)
            .map_err(|error| Error::bug("the indexes cannot be read").why(error.to_string()))?;
        let mut tables: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
        for asked in all.into_iter().filter(|asked| self.catalog.tables.contains_key(&asked.table)) {
            tables.entry(asked.table.clone()).or_default().push(asked);
        }
        let tables: Vec<Vec<Asked>> = tables.into_values().collect();
        for part in tables.chunks(AT_ONCE) {
            let all: Vec<Asked> = part.concat();
            let found = match self.explain(&all).await? {
                Ok(found) => found,
                // One that cannot be asked spoils a message: each table by itself, then each index.
                Err(_) => self.explain_each(part).await?,
            };
            for (asked, found) in found {
                plans.0.entry(asked.table.clone()).or_default().push((asked.name.clone(), found));
            }
        }
        Ok(plans)
    }

    async fn explain_each(&mut self, tables: &[Vec<Asked>]) -> Result<Vec<(Asked, Found)>> {
        let mut all = Vec::new();
        for table in tables {
            match self.explain(table).await? {
                Ok(found) => all.extend(found),
                Err(_) => {
                    for one in table {
                        match self.explain(std::slice::from_ref(one)).await? {
                            Ok(found) => all.extend(found),
                            Err(words) => all.push((one.clone(), Found::Untried(words))),
                        }
                    }
                }
            }
        }
        Ok(all)
    }

    /// Asks for the plans of all queries of these indexes; the inner error is the server's no.
    async fn explain(&mut self, all: &[Asked]) -> Result<Result<Vec<(Asked, Found)>, String>> {
        let queries: Vec<Vec<String>> = all.iter().map(queries).collect::<Result<_>>()?;
        let mut sql = self.begin_asking(all)?;
        for query in queries.iter().flatten() {
            sql.push_str(&format!("EXPLAIN (FORMAT JSON, COSTS OFF) {query};"));
        }
        sql.push_str("ROLLBACK");
        let rows = match self.send(&sql).await? {
            Ok(rows) => rows,
            Err(refused) => {
                self.send("ROLLBACK").await?.ok();
                return Ok(Err(refused.words));
            }
        };
        let mut plans = rows.iter().map(|row| used_indexes(&text(row, 0).unwrap_or_default()));
        let mut found = Vec::new();
        for (asked, queries) in all.iter().zip(&queries) {
            let used: Vec<BTreeSet<String>> = plans.by_ref().take(queries.len()).collect();
            let names_it = |used: &BTreeSet<String>| {
                used.contains(&asked.name) || asked.parts.iter().any(|part| used.contains(part))
            };
            let answer = if !asked.is_valid {
                Found::Unused("it is invalid".into())
            } else if queries.is_empty() {
                Found::Untried("no query is known that it serves".into())
            } else if used.iter().any(names_it) {
                Found::Used
            } else if asked.is_partitioned && asked.parts.is_empty() {
                Found::Untried("there is no partition yet".into())
            } else {
                self.explain_alone(asked, all, queries, used.into_iter().next().unwrap_or_default()).await?
            };
            found.push((asked.clone(), answer));
        }
        Ok(Ok(found))
    }

    /// Asks again while what was taken instead is not there.
    async fn explain_alone(
        &mut self,
        asked: &Asked,
        all: &[Asked],
        queries: &[String],
        taken: BTreeSet<String>,
    ) -> Result<Found> {
        let is_of_table = |name: &String| all.iter().find(|other| other.table == asked.table && other.name == *name);
        let mut rivals: Vec<String> = taken.iter().filter(|name| is_of_table(name).is_some()).cloned().collect();
        let can_drop = self.run.is_local && self.run.may_write && !asked.is_partitioned;
        let Some(query) = queries.first() else { return Ok(Found::Untried("no query is known".into())) };
        if rivals.is_empty() || !can_drop {
            return Ok(match taken.iter().next() {
                Some(other) => Found::Beside(other.clone()),
                None if asked.is_bound => Found::Untried("the policies keep the planner from it".into()),
                None => Found::Unused(format!("`{query}` reads the whole table")),
            });
        }
        for _ in 0..RIVALS {
            let mut sql = self.begin_asking(std::slice::from_ref(asked))?;
            for rival in rivals.iter().filter_map(is_of_table) {
                sql.push_str(&match &rival.constraint {
                    Some(name) => format!(
                        "ALTER TABLE {} DROP CONSTRAINT {} CASCADE;",
                        relation(None, &rival.table)?,
                        Ident::new(name)?
                    ),
                    None => {
                        let schema = rival.table.split_once('.').map(|(schema, _)| schema);
                        format!("DROP INDEX {};", index_name(schema, &rival.name)?)
                    }
                });
            }
            sql.push_str(&format!("EXPLAIN (FORMAT JSON, COSTS OFF) {query};ROLLBACK"));
            let rows = match self.send(&sql).await? {
                Ok(rows) => rows,
                Err(refused) => {
                    self.send("ROLLBACK").await?.ok();
                    return Ok(Found::Untried(refused.words));
                }
            };
            let used = used_indexes(&rows.first().and_then(|row| text(row, 0)).unwrap_or_default());
            if used.contains(&asked.name) {
                return Ok(Found::Alone(rivals));
            }
            let more: Vec<String> = used.into_iter().filter(|name| is_of_table(name).is_some()).collect();
            if more.is_empty() {
                return Ok(Found::Unused(format!("`{query}` reads the whole table")));
            }
            rivals.extend(more);
        }
        Ok(Found::Untried("too many others serve its queries".into()))
    }

    /// Begins the transaction in which is asked: read-only where nothing has to be lifted or dropped.
    fn begin_asking(&self, all: &[Asked]) -> Result<String> {
        let mut sql = String::from("BEGIN;");
        if !self.run.may_write {
            sql = String::from("BEGIN READ ONLY;");
        }
        sql.push_str("SET LOCAL statement_timeout = '20s'; SET LOCAL lock_timeout = '1s';");
        if self.run.may_write && self.run.is_local {
            // The owner whom the policies bind lifts them for this transaction only: what they add to a query
            // would keep the planner from some indexes.
            let bound: BTreeSet<&String> =
                all.iter().filter(|asked| asked.is_bound).map(|asked| &asked.table).collect();
            for table in bound {
                sql.push_str(&format!("ALTER TABLE {} NO FORCE ROW LEVEL SECURITY;", relation(None, table)?));
            }
        }
        sql.push_str("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;");
        Ok(sql)
    }
}

/// An index lies where its table does.
fn index_name(schema: Option<&str>, name: &str) -> Result<String> {
    let name = Ident::new(name)?;
    Ok(match schema {
        Some(schema) => format!("{}.{name}", Ident::new(schema)?),
        None => name.to_string(),
    })
}
