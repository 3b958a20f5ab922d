//! `[generate]` blocks: rows of one table by a block's words, through the bulk path and by key, so that a second run
//! finds them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::learn::Learnt;
use super::source::Generated;
use super::{Fill, kept, qualified};
use crate::engine::event::Events;
use crate::engine::generate::options::{Block, Count};
use crate::engine::generate::parents::{MOST, Pool};
use crate::engine::generate::plan::{Lessons, Parents, Plan};
use crate::engine::generate::schema::Table;
use crate::engine::seed::bulk::key;
use crate::error::{Code, Error, Result};
use crate::stores::load::{BulkDone, BulkLoad, Counts, GenerateOrder, How, Loader as _};
use crate::stores::postgres::error::{is_lost, reported, words};
use crate::stores::postgres::ident::Ident;
use crate::stores::postgres::load::{PostgresLoader, failed};

/// How many rows are tried before all are written: what is learnt from them holds for all.
const TRIED: u64 = 200;

impl PostgresLoader<'_> {
    /// Makes the rows of a block and writes what differs.
    pub(in crate::stores::postgres::load) async fn generate_block(
        &mut self,
        order: &GenerateOrder<'_>,
        events: &dyn Events,
    ) -> Result<BulkDone> {
        let catalog = self.read_catalog().await?;
        let name = &order.shape.target;
        let Some(table) = catalog.tables.get(name).cloned() else {
            return Err(Error::new(Code::SeedFile, format!("rows of `{name}` cannot be generated"))
                .why("it does not lie in the project's schema")
                .hint("write its rows down, or load them from a file"));
        };
        let remembered = self.remembered_block(order).await?;
        let counts = self.count_rows(&catalog).await?;
        let have = counts.get(name).copied().unwrap_or(0);
        if let Some(kept) = remembered.as_ref().filter(|kept| kept["block"] == json!(order.checksum))
            && kept["have"].as_u64().is_some_and(|before| have >= before)
        {
            let rows = kept["rows"].as_u64().unwrap_or(0);
            return Ok(BulkDone { counts: Counts { unchanged: rows, ..Counts::default() }, note: None });
        }
        let mut fill = Fill {
            kept: kept(&catalog, self.terms.tenant_column.as_deref()),
            schema: self.store.settings.schema.name().to_owned(),
            seed: order.block.seed,
            // Each tenant has rows of its own.
            project: match &self.terms.tenant {
                Some(tenant) => format!("{}\u{1}{}", self.terms.project, tenant.key()),
                None => self.terms.project.clone(),
            },
            pools: BTreeMap::new(),
            lessons: BTreeMap::new(),
            steps: BTreeMap::new(),
            later: BTreeSet::new(),
            tenants: self
                .terms
                .tenant
                .as_ref()
                .zip(self.terms.tenant_column.clone())
                .map(|(tenant, column)| (column, vec![tenant.key().to_owned()])),
            open: Vec::new(),
            catalog,
        };
        let first = match remembered.as_ref().and_then(|kept| kept["first"].as_u64()) {
            Some(first) => first,
            None if have == 0 => 0,
            None => self.highest(&fill.schema, &table).await?,
        };
        if let Some(kept) = &remembered {
            fill.lessons.insert(name.clone(), lessons(&kept["lessons"]));
        }
        self.read_parents(&mut fill, &table).await?;
        // Rows refer to each other, not to what an earlier run made.
        let own = fill.kept.get(name).cloned().unwrap_or_default();
        fill.pools.insert(name.clone(), Arc::new(Pool::new(own)));
        if self.terms.is_dry {
            let rows = self.block_plan(&fill, &table, order, first)?.rows;
            let known = remembered.as_ref().and_then(|kept| kept["rows"].as_u64()).unwrap_or(0).min(rows);
            let counts = Counts { created: rows - known, updated: known, ..Counts::default() };
            return Ok(BulkDone { counts, note: None });
        }
        self.learn_by_trying(&mut fill, &table, order, first, events).await?;
        let plan = self.block_plan(&fill, &table, order, first)?;
        let source = Generated::new(&plan, &[], order.shown);
        let columns = plan.columns();
        let key = if order.key.iter().all(|name| columns.contains(name)) && !order.key.is_empty() {
            order.key.to_vec()
        } else {
            key(order.shape, &columns)
        };
        let how = How::default();
        let load = BulkLoad {
            source: &source,
            shape: order.shape,
            key: &key,
            checksum: order.checksum,
            name: order.name,
            how: &how,
        };
        let mut done = self.bulk(&load, events).await?;
        let harvest = source.harvest();
        if harvest.made < plan.rows {
            let reason = harvest.reason.unwrap_or_else(|| "lyrox knows no more that fit".into());
            done.note = Some(format!("{} of {} rows: {reason}", harvest.made, plan.rows));
        }
        let after = self.count_rows(&fill.catalog).await?.get(name).copied().unwrap_or(0);
        let found = fill.lessons.get(name).cloned().unwrap_or_default();
        let text = json!({
            "block": order.checksum, "first": first, "rows": harvest.made, "have": after,
            "lessons": { "leave": found.leave, "empty": found.empty, "fill": found.fill, "small": found.small },
        });
        self.remember(order.name, &text.to_string()).await?;
        Ok(done)
    }

    async fn remembered_block(&mut self, order: &GenerateOrder<'_>) -> Result<Option<Json>> {
        Ok(self.applied(order.name).await?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    fn block_plan(&self, fill: &Fill, table: &Table, order: &GenerateOrder<'_>, first: u64) -> Result<Plan> {
        let rows = match &order.block.count {
            Count::Rows(rows) => *rows,
            Count::Per(..) => 0,
        };
        let mut plan = self.plan(fill, table, rows, first).map_err(|reason| {
            Error::new(Code::SeedFailed, format!("rows of `{}` cannot be generated", table.name)).why(reason)
        })?;
        plan.now = order.block.now;
        for (column, options) in &order.block.columns {
            if let Some(at) = table.columns.iter().position(|other| other.name == *column) {
                plan.options.insert(at, options.clone());
            }
        }
        if let Count::Per(parent, low, high) = &order.block.count {
            per(&mut plan, order.block, parent, *low, *high)?;
        }
        Ok(plan)
    }

    /// Writes a few rows and takes them back: what the server refuses, it would refuse of all.
    async fn learn_by_trying(
        &mut self,
        fill: &mut Fill,
        table: &Table,
        order: &GenerateOrder<'_>,
        first: u64,
        events: &dyn Events,
    ) -> Result<()> {
        if table.is_guarded {
            return Ok(());
        }
        for _ in 0..super::ROUNDS {
            let mut plan = self.block_plan(fill, table, order, first)?;
            plan.rows = plan.rows.min(TRIED);
            let source = Generated::new(&plan, &[], order.shown);
            let columns: Vec<String> = plan
                .columns()
                .iter()
                .map(|name| Ident::new(name).map(|name| name.to_string()))
                .collect::<Result<_>>()?;
            let sql = format!("{} ({})", qualified(&fill.schema, &table.name)?, columns.join(", "));
            self.send("SAVEPOINT lyrox_try").await.map_err(|error| failed("rows cannot be tried", &error))?;
            let said = self.copy_source(&sql, &source, events).await?;
            self.send("ROLLBACK TO SAVEPOINT lyrox_try; RELEASE SAVEPOINT lyrox_try")
                .await
                .map_err(|error| failed("rows cannot be tried", &error))?;
            let Err(error) = said else { return Ok(()) };
            if is_lost(&error) || reported(&error).is_none() {
                return Err(failed("the connection was lost while rows were tried", &error));
            }
            // Rows of an earlier run are there already.
            if reported(&error).is_some_and(|report| report.code() == "23505") {
                return Ok(());
            }
            if fill.learn(table, &error) == Learnt::Nothing {
                return Err(Error::new(
                    Code::SeedFailed,
                    format!("PostgreSQL refused a generated row of `{}`", table.name),
                )
                .why(words(&error))
                .hint(
                    "say what its columns may hold: [generate.columns.NAME] with values, range, template or provider",
                ));
            }
        }
        Ok(())
    }
}

fn lessons(kept: &Json) -> Lessons {
    let list = |name: &str| -> BTreeSet<String> {
        let list = kept[name].as_array().cloned().unwrap_or_default();
        list.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect()
    };
    Lessons { leave: list("leave"), empty: list("empty"), fill: list("fill"), small: list("small") }
}

/// Gives each parent its number of rows.
fn per(plan: &mut Plan, block: &Block, parent: &str, low: u64, high: u64) -> Result<()> {
    let table = &plan.table;
    let name = table.foreign_keys().find(|key| key.parent.as_deref() == Some(parent)).map(|key| key.name.clone());
    let at = name.and_then(|name| plan.keys.iter().position(|key| key.name == name));
    let Some(at) = at else {
        return Err(Error::new(Code::SeedFile, format!("`{}` does not refer to `{parent}`", table.name))
            .why("`per` names a table that a foreign key of the target points at")
            .hint("mend `per`, or say rows = N"));
    };
    let Parents::Pool(pool) = &plan.keys[at].parents else {
        return Err(Error::new(Code::SeedFailed, format!("`{parent}` has no rows"))
            .why(format!("`{}` is to have rows for each of them", table.name))
            .hint(format!("add rows of `{parent}` to the set")));
    };
    if pool.rows.len() >= MOST {
        return Err(Error::new(Code::SeedFailed, format!("`{parent}` has more than {MOST} rows"))
            .why("rows for each parent are counted out in memory")
            .hint("say rows = N"));
    }
    let is_skewed = block.columns.iter().any(|(column, options)| {
        options.distribution == crate::engine::generate::options::Distribution::Zipf
            && plan.keys[at].columns.iter().any(|place| table.columns[*place].name == *column)
    });
    let mut ends = Vec::with_capacity(pool.rows.len());
    let mut total = 0;
    for index in 0..pool.rows.len() as u64 {
        let mut draw = plan.root.below("per").row(index, 0);
        total += low + if is_skewed { draw.zipf(high - low + 1) } else { draw.below(high - low + 1) };
        ends.push(total);
    }
    plan.rows = total;
    plan.per = Some((at, ends));
    Ok(())
}
