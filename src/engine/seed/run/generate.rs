//! `[generate]` blocks of a run.

use std::time::Instant;

use super::{Failure, Item, Run, ledger_name, told};
use crate::engine::generate::moment::{EPOCH, SECOND, moment};
use crate::engine::generate::options::{Block, ColumnOptions, Count, Distribution};
use crate::engine::generate::provider::PROVIDERS;
use crate::error::{Error, Result};
use crate::project::seed::generate::{self, Generate, Spread};
use crate::project::text::sha256;
use crate::stores::load::{BulkDone, GenerateOrder, Loader as _};

impl Run<'_> {
    pub(super) async fn generate(&mut self, at: usize) -> Result<(), Failure> {
        let begun = Instant::now();
        let (events, is_dry) = (self.work.events, self.is_dry);
        let sheet = &self.sheets[at];
        let (table, id) = (sheet.table, format!("{}.generate", sheet.item_id()));
        let Some(generate) = table.generate.as_ref().filter(|_| !sheet.is_spent) else { return Ok(()) };
        let title = format!("{} (generate)", table.target);
        let block = block(generate);
        // Another block, other columns or another shape of the target: other rows.
        let checksum = sha256(format!("{}\0{:?}", generate.text, block.seed).as_bytes());
        let key = table.key.as_ref().map(|(names, _)| names.clone()).unwrap_or_default();
        let shape = sheet.shape.clone();
        let name = format!("{}#generate", ledger_name(&self.terms, &table.source.shown));
        let order = GenerateOrder {
            shape: &shape,
            key: &key,
            block: &block,
            shown: &table.source.shown,
            name: &name,
            checksum: &checksum,
        };
        let outcome: Result<BulkDone> = self.loader(table.store).generate(&order, events).await;
        let done = outcome.map_err(|error: Error| {
            let error = if error.place().is_some() { error } else { error.at(generate.place()) };
            (id.clone(), title.clone(), table.store, error)
        })?;
        let item = told(Item::pass(id, title), done.counts, done.note, begun.elapsed(), is_dry).store(table.store);
        self.items.entry(table.store).or_default().push(item);
        Ok(())
    }
}

/// A block as generators take it; what it names was checked before.
fn block(generate: &Generate) -> Block {
    Block {
        count: match &generate.count {
            generate::Count::Rows(rows) => Count::Rows(*rows),
            generate::Count::Per(parent, low, high) => Count::Per(parent.clone(), *low, *high),
        },
        seed: generate.seed,
        now: generate.now.as_deref().and_then(moment).map_or(EPOCH, |micros| micros / SECOND),
        columns: generate.columns.iter().map(|spread| (spread.column.clone(), options(spread))).collect(),
    }
}

fn options(spread: &Spread) -> ColumnOptions {
    let provider = spread.provider.as_deref();
    ColumnOptions {
        values: spread.values.clone(),
        weights: spread.weights.clone(),
        distribution: match spread.distribution.as_str() {
            "normal" => Distribution::Normal,
            "zipf" => Distribution::Zipf,
            _ => Distribution::Uniform,
        },
        range: spread.range.clone(),
        nulls: spread.nulls,
        template: spread.template.clone(),
        provider: PROVIDERS.iter().find(|(name, _)| Some(*name) == provider).map(|(_, provider)| *provider),
    }
}
