//! Declared key spaces filled with keys of their type and life. Names follow from the seed number, so that a
//! second run finds them.

use std::time::Instant;

use serde_json::{Value as Json, json};

use super::{BATCH, RedisLoader, placeholders};
use crate::config::file::{KeyType, Keyspace};
use crate::engine::event::{Event, Events};
use crate::engine::generate::options::Count;
use crate::engine::generate::provider::{self, Provider};
use crate::engine::generate::random::{Draw, Root};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, Counts, Fields, FillOrder, Filled, GenerateOrder, Record, Shape};

impl RedisLoader<'_> {
    pub(super) async fn fill_keyspaces(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        let spaces: Vec<(String, Keyspace)> =
            self.terms.keyspaces.iter().map(|(name, space)| (name.clone(), space.clone())).collect();
        let parts = spaces.len() as u64;
        let mut filled = Vec::with_capacity(spaces.len());
        for (at, (name, space)) in (0_u64..).zip(&spaces) {
            let begun = Instant::now();
            let wanted = order.rows / parts + u64::from(at < order.rows % parts);
            let root = Root::new(order.seed, &[&self.terms.project, "redis", name]);
            let mut done = self.fill_keyspace(name, space, wanted, root, &order.tenants, events).await?;
            done.elapsed = begun.elapsed();
            filled.push(done);
        }
        Ok(filled)
    }

    /// Makes the keys of a block; those that are there stay as they are.
    pub(super) async fn generate_block(&mut self, order: &GenerateOrder<'_>, events: &dyn Events) -> Result<BulkDone> {
        let space = self.keyspace(order.shape)?;
        let Count::Rows(wanted) = order.block.count else { return Ok(BulkDone::default()) };
        let root = Root::new(order.block.seed, &[&self.terms.project, "redis", &order.shape.target, "block"]);
        let done = self.fill_keyspace(&order.shape.target, &space, wanted, root, &[], events).await?;
        let counts = Counts { created: done.added, unchanged: done.before, ..Counts::default() };
        Ok(BulkDone { counts, note: None })
    }

    async fn fill_keyspace(
        &mut self,
        name: &str,
        space: &Keyspace,
        wanted: u64,
        root: Root,
        tenants: &[String],
        events: &dyn Events,
    ) -> Result<Filled> {
        // Without a placeholder there is one key.
        let has_many = !placeholders(&space.pattern).is_empty();
        let wanted = if has_many { wanted } else { wanted.min(1) };
        let mut done = Filled { target: name.to_owned(), wanted, ..Filled::default() };
        let shape = Shape { target: name.to_owned(), exists: true, ..Shape::default() };
        let tenant_column = self.terms.tenant_column.clone();
        let mut next = 0;
        while next < wanted {
            if events.is_cancelled() {
                return Err(Error::new(Code::SeedFailed, "cut short by a signal")
                    .data(format!("{} keys of `{name}` are written; running it again goes on", done.added)));
            }
            let end = (next + BATCH as u64).min(wanted);
            let mut records = Vec::new();
            for number in next..end {
                let mut draw = root.row(number, 0);
                records.push(Record {
                    fields: fields(name, space, number, tenants, tenant_column.as_deref(), &mut draw),
                    first: Vec::new(),
                    is_there: false,
                    tenant: None,
                    place: Place::file(name),
                });
            }
            next = end;
            let key = |record: &Record| self.key(space, |part| record.fields.get(part).cloned());
            let keys: Vec<String> = records.iter().filter_map(key).collect();
            self.found.clear();
            self.look_at(space, &keys).await?;
            for (record, key) in records.iter().zip(&keys) {
                if self.found.contains_key(key) {
                    done.before += 1;
                    continue;
                }
                self.write_row(&shape, space, record)?;
                done.added += 1;
            }
            self.send(false).await?;
            events.event(Event::Progress {
                task: name.to_owned(),
                store: Some(StoreKind::Redis),
                done: next,
                total: Some(wanted),
                unit: "keys",
            });
        }
        Ok(done)
    }
}

/// The parts of a key, and its value.
fn fields(
    name: &str,
    space: &Keyspace,
    number: u64,
    tenants: &[String],
    tenant_column: Option<&str>,
    draw: &mut Draw,
) -> Fields {
    let parts = placeholders(&space.pattern);
    let mut fields = Fields::new();
    for (at, part) in parts.iter().enumerate() {
        let plain = |text: &str| text.to_lowercase().replace(['_', '-'], "");
        let is_tenant =
            tenant_column.is_some_and(|column| plain(column).starts_with(plain(part).trim_end_matches("id")));
        let value = if let Some(tenant) =
            usize::try_from(number).ok().and_then(|at| tenants.get(at % tenants.len().max(1))).filter(|_| is_tenant)
        {
            tenant.clone()
        } else if at + 1 == parts.len() {
            // The last part tells the keys apart.
            (number + 1).to_string()
        } else {
            (1 + draw.below(20)).to_string()
        };
        fields.insert(part.clone(), json!(value));
    }
    fields.insert("value".into(), value(name, space.kind, number, draw));
    fields
}

fn value(name: &str, kind: KeyType, number: u64, draw: &mut Draw) -> Json {
    let word = |draw: &mut Draw| provider::text(Provider::Word, None, draw);
    let table = |draw: &mut Draw| {
        json!({
            "id": (number + 1).to_string(),
            "name": provider::text(provider::guess(name, "name"), None, draw),
            "status": provider::text(Provider::Status, None, draw),
            "count": draw.between(1, 100).to_string(),
        })
    };
    match kind {
        KeyType::String => json!(provider::text(Provider::Label, Some(number), draw)),
        KeyType::Hash => table(draw),
        KeyType::List => json!([word(draw), word(draw), word(draw)]),
        KeyType::Set => json!([format!("{}-1", word(draw)), format!("{}-2", word(draw))]),
        KeyType::Zset => {
            let (first, second) = (format!("{}-1", word(draw)), format!("{}-2", word(draw)));
            let mut members = serde_json::Map::new();
            members.insert(first, json!(draw.between(1, 1000)));
            members.insert(second, json!(draw.between(1, 1000)));
            Json::Object(members)
        }
        KeyType::Stream => json!([table(draw)]),
    }
}
