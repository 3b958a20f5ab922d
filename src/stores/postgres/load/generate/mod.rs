//! Tables filled with generated rows: table after table, parents first, each by COPY. What the server refuses
//! is learnt from and tried again; what stays refused is set aside row by row.

mod block;
mod cycle;
mod later;
mod learn;
mod pools;
mod source;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use self::learn::Learnt;
use self::source::Generated;
use super::{PostgresLoader, failed, text};
use crate::engine::event::Events;
use crate::engine::generate::parents::Pool;
use crate::engine::generate::plan::{self, Lessons, Plan, all_keys, parent_of};
use crate::engine::generate::schema::{Catalog, Column, Table};
use crate::engine::generate::share::{self, Node, Part};
use crate::engine::seed::order;
use crate::error::Result;
use crate::stores::load::{FillOrder, Filled, Loader as _};
use crate::stores::postgres::error::{is_lost, reported, words};
use crate::stores::postgres::ident::{Ident, relation};
use crate::stores::postgres::tables;

/// The column that numbers staged rows.
const LINE: &str = "lyrox_line";
/// Under which name the ledger of seeds remembers what was filled.
const LEDGER: &str = "--fill";
/// How often a table is tried anew after a refusal.
const ROUNDS: usize = 12;
/// Tables in which other tools remember what they did.
const HISTORIES: [&str; 18] = [
    "_prisma_migrations",
    "schema_migrations",
    "ar_internal_metadata",
    "flyway_schema_history",
    "schema_version",
    "knex_migrations",
    "knex_migrations_lock",
    "alembic_version",
    "django_migrations",
    "goose_db_version",
    "__drizzle_migrations",
    "pgmigrations",
    "_sqlx_migrations",
    "refinery_schema_history",
    "databasechangelog",
    "databasechangeloglock",
    "typeorm_metadata",
    "__EFMigrationsHistory",
];

/// What is known while tables are filled.
struct Fill {
    catalog: Catalog,
    schema: String,
    seed: u64,
    project: String,
    /// The rows that others may refer to, by table.
    pools: BTreeMap<String, Arc<Pool>>,
    /// The columns of each table that others need.
    kept: BTreeMap<String, Vec<String>>,
    lessons: BTreeMap<String, Lessons>,
    /// How often a constraint has refused, by table and constraint.
    steps: BTreeMap<(String, String), usize>,
    /// Tables that will have rows when this table's are written.
    later: BTreeSet<String>,
    /// The column that holds the tenant, and the tenants of the run.
    tenants: Option<(String, Vec<String>)>,
    /// Foreign keys that are set when all tables have rows.
    open: Vec<(String, String)>,
}

/// What a table's rows came to.
#[derive(Debug, Default)]
struct Done {
    added: u64,
    reason: Option<String>,
}

impl PostgresLoader<'_> {
    async fn read_catalog(&mut self) -> Result<Catalog> {
        let schemas = self.store.schemas().await?;
        tables::read(&mut self.store.connection, &schemas).await
    }

    pub(super) async fn count_targets(&mut self) -> Result<u64> {
        let catalog = self.read_catalog().await?;
        Ok(catalog.tables.keys().filter(|name| !is_history(name)).count() as u64)
    }

    pub(super) async fn fill_tables(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        let catalog = self.read_catalog().await?;
        let mut excluded: BTreeMap<String, String> = BTreeMap::new();
        self.send("SAVEPOINT lyrox_fill").await.map_err(|error| failed("filling cannot begin", &error))?;
        loop {
            let filled = self.fill_once(&catalog, order, &excluded, events).await?;
            if self.terms.is_dry {
                return Ok(filled);
            }
            // Constraints and triggers that wait for the end have their say while tables can still be left out.
            match self.send("SET CONSTRAINTS ALL IMMEDIATE").await {
                Ok(_) => {
                    self.send("RELEASE SAVEPOINT lyrox_fill")
                        .await
                        .map_err(|error| failed("filling cannot end", &error))?;
                    self.remember_fill(order, &filled).await?;
                    return Ok(filled);
                }
                Err(error) => {
                    let culprits = culprits(&catalog, &error, &excluded);
                    self.send("ROLLBACK TO SAVEPOINT lyrox_fill")
                        .await
                        .map_err(|error| failed("filling cannot go on", &error))?;
                    self.sequences.clear();
                    if culprits.is_empty() {
                        return Err(failed(
                            "generated rows break what is checked at the end of the transaction",
                            &error,
                        ));
                    }
                    for culprit in culprits {
                        excluded.insert(culprit, format!("at the end of the transaction: {}", words(&error)));
                    }
                }
            }
        }
    }

    async fn fill_once(
        &mut self,
        catalog: &Catalog,
        order: &FillOrder,
        excluded: &BTreeMap<String, String>,
        events: &dyn Events,
    ) -> Result<Vec<Filled>> {
        let counts = self.count_rows(catalog).await?;
        let remembered = self.remembered_fill(order).await?;
        let names: Vec<&String> = catalog.tables.keys().filter(|name| !is_history(name)).collect();
        let place = |name: &str| names.iter().position(|other| *other == name);
        let needs: Vec<Vec<usize>> = names
            .iter()
            .map(|name| {
                let table = &catalog.tables[*name];
                let mut needs: Vec<usize> = all_keys(table)
                    .filter(|key| key.parent.as_ref() != Some(*name))
                    .filter_map(|key| place(key.parent.as_ref()?))
                    .collect();
                needs.sort_unstable();
                needs.dedup();
                needs
            })
            .collect();
        let groups = order::groups(&needs);
        let flat: Vec<usize> = groups.iter().flatten().copied().collect();
        let wanted = share::shares(&nodes(catalog, &names, &needs, &counts), &flat, order.rows);

        let mut fill = Fill {
            kept: kept(catalog, self.terms.tenant_column.as_deref()),
            catalog: catalog.clone(),
            schema: self.store.settings.schema.name().to_owned(),
            seed: order.seed,
            project: self.terms.project.clone(),
            pools: BTreeMap::new(),
            lessons: BTreeMap::new(),
            steps: BTreeMap::new(),
            later: BTreeSet::new(),
            tenants: None,
            open: Vec::new(),
        };
        self.settle_tenants(&mut fill, order).await?;
        let tenant_table = self.terms.tenant_table.as_ref().map(|(table, _)| table.clone());
        let mut filled = Vec::with_capacity(names.len());
        for group in groups {
            let members: Vec<String> = group.iter().map(|at| names[*at].clone()).collect();
            let mut open: Vec<(String, u64, u64)> = Vec::new();
            for &at in &group {
                let name = names[at];
                let before = counts.get(name).copied().unwrap_or(0);
                let mut one = Filled { target: name.clone(), wanted: wanted[at], before, ..Filled::default() };
                if let Some(why) = excluded.get(name) {
                    one.reason = Some(why.clone());
                } else if !order.tenants.is_empty() && tenant_table.as_ref() == Some(name) {
                    one.is_skipped = true;
                    one.reason = Some("the run is for tenants that are there".into());
                } else if before >= one.wanted || remembered.get(name).is_some_and(|count| before >= *count) {
                    one.wanted = one.wanted.min(before);
                } else {
                    open.push((name.clone(), one.wanted - before, before));
                }
                filled.push(one);
            }
            if self.terms.is_dry {
                for (name, rows, _) in &open {
                    if let Some(one) = filled.iter_mut().find(|one| one.target == *name) {
                        one.added = *rows;
                    }
                }
                continue;
            }
            for (name, done, elapsed) in self.fill_group(&mut fill, &members, open, events).await? {
                if let Some(one) = filled.iter_mut().find(|one| one.target == name) {
                    one.added = done.added;
                    one.reason = done.reason;
                    one.elapsed = elapsed;
                }
            }
        }
        if !self.terms.is_dry {
            self.set_open_keys(&mut fill).await?;
        }
        Ok(filled)
    }

    /// Fills tables that need each other; nearly always it is one table.
    async fn fill_group(
        &mut self,
        fill: &mut Fill,
        members: &[String],
        mut open: Vec<(String, u64, u64)>,
        events: &dyn Events,
    ) -> Result<Vec<(String, Done, std::time::Duration)>> {
        let mut all = Vec::new();
        if members.len() > 1 {
            // Keys that may be NULL wait: the rest of the group may have an order without them.
            let needs: Vec<Vec<usize>> = open
                .iter()
                .map(|(name, ..)| {
                    let table = &fill.catalog.tables[name];
                    let binding = table.foreign_keys().filter(|key| table.is_required_key(key));
                    let parents = binding.filter_map(|key| key.parent.as_ref()).filter(|parent| *parent != name);
                    parents.filter_map(|parent| open.iter().position(|(other, ..)| other == parent)).collect()
                })
                .collect();
            let inner = order::groups(&needs);
            if let Some(hard) = inner.iter().find(|group| group.len() > 1) {
                let hard: Vec<(String, u64, u64)> = hard.iter().map(|at| open[*at].clone()).collect();
                let begun = Instant::now();
                let before: Vec<usize> =
                    inner.iter().take_while(|group| group.len() == 1).map(|group| group[0]).collect();
                for at in &before {
                    let (name, rows, have) = open[*at].clone();
                    all.push(self.fill_timed(fill, members, &name, rows, have, events).await?);
                }
                for (name, done) in self.fill_cycle(fill, &hard, events).await? {
                    all.push((name, done, begun.elapsed()));
                }
                let is_done: BTreeSet<String> = all.iter().map(|(name, ..)| name.clone()).collect();
                open.retain(|(name, ..)| !is_done.contains(name));
            } else {
                let sorted: Vec<usize> = inner.into_iter().flatten().collect();
                open = sorted.into_iter().map(|at| open[at].clone()).collect();
            }
        }
        for (name, rows, have) in open {
            all.push(self.fill_timed(fill, members, &name, rows, have, events).await?);
        }
        Ok(all)
    }

    async fn fill_timed(
        &mut self,
        fill: &mut Fill,
        members: &[String],
        name: &str,
        rows: u64,
        have: u64,
        events: &dyn Events,
    ) -> Result<(String, Done, std::time::Duration)> {
        let begun = Instant::now();
        // Members of the group without rows: keys that refer to them stay open.
        fill.later = members.iter().filter(|other| *other != name).cloned().collect();
        let done = self.fill_table(fill, name, rows, have, events).await?;
        Ok((name.to_owned(), done, begun.elapsed()))
    }

    /// Makes and writes the rows of one table.
    async fn fill_table(
        &mut self,
        fill: &mut Fill,
        name: &str,
        rows: u64,
        have: u64,
        events: &dyn Events,
    ) -> Result<Done> {
        let Some(table) = fill.catalog.tables.get(name).cloned() else { return Ok(Done::default()) };
        self.read_parents(fill, &table).await?;
        let first = if have == 0 { 0 } else { self.highest(&fill.schema, &table).await?.max(have) };
        let kept = fill.kept.get(name).cloned().unwrap_or_default();
        let mut why_staged = table.is_guarded;
        let mut last = None;
        for _ in 0..ROUNDS {
            let plan = match self.plan(fill, &table, rows, first) {
                Ok(plan) => plan,
                Err(reason) => return Ok(Done { added: 0, reason: Some(reason) }),
            };
            if plan.given.is_empty() {
                return Ok(Done { added: 0, reason: Some("all of its columns are computed".into()) });
            }
            if why_staged {
                return self.fill_staged(fill, &table, plan, &kept, last, events).await;
            }
            let source = Generated::new(&plan, &kept, name);
            let columns: Vec<String> = plan
                .columns()
                .iter()
                .map(|name| Ident::new(name).map(|name| name.to_string()))
                .collect::<Result<_>>()?;
            let target = format!("{} ({})", qualified(&fill.schema, name)?, columns.join(", "));
            self.send("SAVEPOINT lyrox_table").await.map_err(|error| failed("a table cannot be begun", &error))?;
            match self.copy_source(&target, &source, events).await? {
                Ok(added) => {
                    self.send("RELEASE SAVEPOINT lyrox_table")
                        .await
                        .map_err(|error| failed("a table cannot be ended", &error))?;
                    let harvest = source.harvest();
                    if harvest.made == 0 && fill.escalate(&table) {
                        continue;
                    }
                    self.move_sequences(fill, &table, first + rows + 1).await?;
                    let reason = harvest.reason.filter(|_| added < rows);
                    let keeps = fill.keeps_keys(&table, &plan, &kept) && have == 0 && added == harvest.made;
                    fill.landed(&table, keeps.then_some(harvest.pool));
                    fill.note_open(&table, &plan);
                    return Ok(Done { added, reason });
                }
                Err(error) => {
                    if is_lost(&error) || reported(&error).is_none() {
                        return Err(failed("the connection was lost while rows were written", &error));
                    }
                    self.send("ROLLBACK TO SAVEPOINT lyrox_table; RELEASE SAVEPOINT lyrox_table")
                        .await
                        .map_err(|error| failed("a table cannot be tried again", &error))?;
                    why_staged = matches!(fill.learn(&table, &error), Learnt::Nothing);
                    last = Some(words(&error));
                }
            }
        }
        let plan = match self.plan(fill, &table, rows, first) {
            Ok(plan) => plan,
            Err(reason) => return Ok(Done { added: 0, reason: Some(reason) }),
        };
        self.fill_staged(fill, &table, plan, &kept, last, events).await
    }

    fn plan(&self, fill: &Fill, table: &Table, rows: u64, first: u64) -> Result<Plan, String> {
        Plan::new(
            table,
            rows,
            first,
            plan::Terms {
                catalog: &fill.catalog,
                pools: &fill.pools,
                later: &fill.later,
                seed: fill.seed,
                project: &fill.project,
                lessons: fill.lessons.get(&table.name).cloned().unwrap_or_default(),
                tenants: fill.tenants.as_ref().map(|(column, tenants)| (column.as_str(), tenants.as_slice())),
            },
        )
    }

    /// Moves the sequences of a table past the numbers that its rows were given.
    async fn move_sequences(&mut self, fill: &Fill, table: &Table, past: u64) -> Result<()> {
        for column in &table.columns {
            let Some(sequence) = sequence_of(column) else { continue };
            let name = Ident::new(&column.name)?;
            let rows = self.send(&format!("SELECT max({name}) FROM {}", qualified(&fill.schema, &table.name)?)).await;
            let rows = rows.map_err(|error| failed("the highest id cannot be read", &error))?;
            let highest = rows.first().and_then(|row| text(row, 0)?.parse().ok());
            if let Some(highest) = highest.or_else(|| i64::try_from(past).ok().filter(|_| table.is_guarded)) {
                self.note_sequence(sequence, highest);
            }
        }
        self.advance_sequences().await
    }

    /// What was filled, so that the same order finds it done although a table could not have more.
    async fn remember_fill(&mut self, order: &FillOrder, filled: &[Filled]) -> Result<()> {
        if filled.iter().all(|one| one.added == 0) {
            return Ok(());
        }
        let counts: BTreeMap<&str, u64> = filled
            .iter()
            .filter(|one| one.before + one.added > 0)
            .map(|one| (one.target.as_str(), one.before + one.added))
            .collect();
        let text = serde_json::json!({ "rows": order.rows, "seed": order.seed, "tables": counts }).to_string();
        self.remember(LEDGER, &text).await
    }

    async fn remembered_fill(&mut self, order: &FillOrder) -> Result<BTreeMap<String, u64>> {
        let Some(text) = self.applied(LEDGER).await? else { return Ok(BTreeMap::new()) };
        let Ok(found) = serde_json::from_str::<serde_json::Value>(&text) else { return Ok(BTreeMap::new()) };
        let is_same = found["rows"].as_u64() == Some(order.rows) && found["seed"].as_u64() == Some(order.seed);
        if !is_same || !order.tenants.is_empty() {
            return Ok(BTreeMap::new());
        }
        let tables = found["tables"].as_object().cloned().unwrap_or_default();
        Ok(tables.into_iter().filter_map(|(name, count)| Some((name, count.as_u64()?))).collect())
    }
}

fn is_history(name: &str) -> bool {
    HISTORIES.contains(&name.rsplit_once('.').map_or(name, |(_, last)| last))
}

/// The sequence behind a column: its own, or the one that its default names.
fn sequence_of(column: &Column) -> Option<String> {
    if let Some(sequence) = &column.sequence {
        return Some(sequence.clone());
    }
    let default = column.default.as_deref()?.strip_prefix("nextval('")?;
    Some(default.strip_suffix("'::regclass)")?.replace("''", "'"))
}

fn qualified(schema: &str, name: &str) -> Result<String> {
    relation(Some(schema), name)
}

/// The columns of each table that others need to refer to its rows.
fn kept(catalog: &Catalog, tenant: Option<&str>) -> BTreeMap<String, Vec<String>> {
    let mut kept: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for table in catalog.tables.values() {
        for key in all_keys(table) {
            let Some(parent) = parent_of(key) else { continue };
            let needed = key.parent_columns.iter().cloned().chain(plan::agreeing(catalog, table, key, tenant));
            let columns = kept.entry(parent.to_owned()).or_default();
            for column in needed {
                if !columns.contains(&column) {
                    columns.push(column);
                }
            }
        }
    }
    kept
}

/// The tables as their shares are judged.
fn nodes(catalog: &Catalog, names: &[&String], needs: &[Vec<usize>], counts: &BTreeMap<String, u64>) -> Vec<Node> {
    let _ = counts;
    let is_referred: BTreeSet<usize> = needs.iter().flatten().copied().collect();
    names
        .iter()
        .enumerate()
        .map(|(at, name)| {
            let table = &catalog.tables[*name];
            let unique = table.indexes.iter().filter(|index| index.is_unique && index.predicate.is_none());
            let keys = unique
                .filter(|index| index.columns.iter().all(Option::is_some))
                .map(|index| parts(table, &index.columns, names))
                .collect();
            Node {
                needs: needs[at].clone(),
                is_lookup: share::is_lookup(name, table.columns.len(), needs[at].len(), is_referred.contains(&at)),
                keys,
            }
        })
        .collect()
}

fn parts(table: &Table, columns: &[Option<String>], names: &[&String]) -> Vec<Part> {
    let columns: Vec<&String> = columns.iter().flatten().collect();
    let mut left: Vec<&String> = columns.clone();
    let mut parts = Vec::new();
    for key in table.foreign_keys().filter(|key| key.parent.as_ref() != Some(&table.name)) {
        if key.columns.iter().any(|column| left.contains(&column))
            && key.columns.iter().all(|column| columns.contains(&column))
            && let Some(parent) = key.parent.as_ref().and_then(|parent| names.iter().position(|name| *name == parent))
        {
            parts.push(Part::Parent(parent));
            left.retain(|column| !key.columns.contains(column));
        }
    }
    for name in left {
        let Some(column) = table.column(name) else { continue };
        parts.push(match (column.base.as_str(), column.labels.len()) {
            ("bool", _) => Part::Few(2),
            (_, labels) if labels > 0 => Part::Few(labels as u64),
            ("char", _) => Part::Few(26),
            ("int2", _) => Part::Few(32_000),
            ("bpchar", _) if column.modifier == 5 => Part::Few(26),
            ("bpchar" | "varchar", _) if column.modifier == 6 => Part::Few(600),
            _ => Part::Many,
        });
    }
    parts
}

/// The table of a refusal as the catalog knows it.
fn named(catalog: &Catalog, schema: &str, name: &str) -> Option<String> {
    let full = format!("{schema}.{name}");
    let known = |label: &String| catalog.tables.contains_key(label);
    // A partition speaks for the table that it is a part of.
    let root = || catalog.tables.values().find(|table| table.leaves.iter().any(|leaf| leaf.name == name));
    Some(full)
        .filter(known)
        .or_else(|| Some(name.to_owned()).filter(known))
        .or_else(|| root().map(|table| table.name.clone()))
}

/// The tables to leave out after a refusal at the end of the transaction.
fn culprits(catalog: &Catalog, error: &sqlx::Error, excluded: &BTreeMap<String, String>) -> Vec<String> {
    let Some(report) = reported(error) else { return Vec::new() };
    let context = report.r#where().unwrap_or_default();
    let named = report.table().and_then(|name| named(catalog, report.schema().unwrap_or_default(), name));
    let mut found: Vec<String> = named.into_iter().collect();
    if found.is_empty() {
        // `PL/pgSQL function check_balance() line 3 at RAISE`
        found = catalog
            .tables
            .values()
            .filter(|table| {
                table.triggers.iter().any(|one| one.is_deferred && context.contains(&format!("{}(", one.function)))
            })
            .map(|table| table.name.clone())
            .collect();
    }
    if found.is_empty() {
        let waits = |table: &&Table| table.triggers.iter().any(|trigger| trigger.is_deferred && trigger.is_enabled);
        found = catalog.tables.values().filter(waits).map(|table| table.name.clone()).collect();
    }
    found.retain(|name| catalog.tables.contains_key(name) && !excluded.contains_key(name));
    found
}
