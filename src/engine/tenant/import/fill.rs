//! Filling the stores from a bundle, and holding what they have against it.

use std::collections::BTreeMap;

use super::super::bundle::lines::each;
use super::super::bundle::{Entry, Sum};
use super::super::create::pass;
use super::super::export::progress;
use super::super::hands;
use super::super::hands::{Hands, scope};
use super::{Fill, MARGIN_MS, Run};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};
use crate::stores::tenant_bundle::{BundleStore as _, Wanted};
use crate::stores::{AnyStore, Store as _};

impl Run<'_> {
    /// The parts of a store that come here.
    pub(super) fn parts(&self, kind: StoreKind) -> Vec<&Entry> {
        let is_left = |part: &&Entry| kind == StoreKind::Redis && self.left_out.contains(&part.name);
        self.request.bundle.parts(kind).into_iter().filter(|part| part.rows > 0 && !is_left(part)).collect()
    }

    /// What of a store's parts is to be there.
    pub(super) fn wanted(&self, kind: StoreKind) -> Vec<Wanted> {
        self.parts(kind).into_iter().map(|part| (part.name.clone(), part.columns.clone())).collect()
    }

    /// Fills every store.
    pub(in crate::engine::tenant) async fn filled(&self, hands: &mut Hands, fill: Fill) -> Result<u64> {
        // What the tables cannot take is found before the first of them is filled.
        for store in &mut hands.stores {
            let kind = store.kind();
            let survey = store.begin_reading(scope(&self.tenant, &self.terms, kind), Some(&self.wanted(kind))).await?;
            store.end_reading().await?;
            if fill == Fill::Told {
                hands::tell_notes(self.work.events, &self.tenant, &[(kind, survey)]);
            }
        }
        let mut rows = 0;
        for store in &mut hands.stores {
            let started = std::time::Instant::now();
            let kind = store.kind();
            let mut expected = self.expected(store, kind).await?;
            let is_filled = self.actual(store, kind, &expected).await? == expected.sums;
            if !is_filled {
                self.fill(store, kind).await?;
                pass(&format!("filled.{kind}"));
                // Time has passed: what expires soon is another set now.
                expected = self.expected(store, kind).await?;
                let actual = self.actual(store, kind, &expected).await?;
                if actual != expected.sums {
                    return Err(self.differs(kind, &expected.sums, &actual));
                }
            }
            pass(&format!("checked.{kind}"));
            for part in self.parts(kind) {
                rows += part.rows;
                let change = if is_filled { Change::Unchanged } else { Change::Created };
                let item = hands::item(&self.tenant, kind, &part.name, part.rows).change(change);
                if fill == Fill::Told {
                    self.work.events.item(item.elapsed(started.elapsed()));
                }
            }
        }
        Ok(rows)
    }

    pub(super) fn tell_left_out(&self) {
        for part in self.request.bundle.parts(StoreKind::Redis) {
            if part.rows > 0 && self.left_out.contains(&part.name) {
                let item = hands::item(&self.tenant, StoreKind::Redis, &part.name, part.rows);
                let count = item.detail.clone().unwrap_or_default();
                let mut item = Item { outcome: crate::report::Outcome::Warn, ..item };
                item.code = Some(Code::Bundle.text().to_owned());
                self.work
                    .events
                    .item(item.detail(format!("{count} left out: their names would be the other tenant's")));
            }
        }
    }

    /// The digests of what a store is to hold.
    async fn expected(&self, store: &mut AnyStore, kind: StoreKind) -> Result<Expected> {
        let horizon = store.now_ms().await?.map(|now| now + MARGIN_MS);
        let parts = self.request.bundle.parts(kind);
        let mut sums: BTreeMap<String, Sum> = BTreeMap::new();
        let mut pieces = self.request.bundle.pieces(kind)?;
        while let Some((at, lines)) = pieces.next()? {
            if kind == StoreKind::Redis && self.left_out.contains(&parts[at].name) {
                continue;
            }
            let sum = sums.entry(parts[at].name.clone()).or_default();
            each(&lines, |line| {
                let line = self.mapping.line(kind, parts[at], line)?;
                if !expires_by(&line, horizon)? {
                    sum.add(&line);
                }
                Ok(())
            })?;
        }
        sums.retain(|_, sum| sum.count > 0);
        Ok(Expected { horizon, sums })
    }

    /// The digests of what it holds.
    async fn actual(
        &self,
        store: &mut AnyStore,
        kind: StoreKind,
        expected: &Expected,
    ) -> Result<BTreeMap<String, Sum>> {
        let scope = scope(&self.tenant, &self.terms, kind);
        let wanted = self.wanted(kind);
        let mut sums = BTreeMap::new();
        let mut survey = store.begin_reading(scope, Some(&wanted)).await?;
        for part in &mut survey.parts {
            let mut sum = Sum::default();
            let mut take = |line: &[u8]| {
                if !expires_by(line, expected.horizon)? {
                    sum.add(line);
                }
                Ok(())
            };
            store.read_part(scope, part, &mut take).await?;
            if sum.count > 0 {
                sums.insert(part.name.clone(), sum);
            }
        }
        store.end_reading().await?;
        Ok(sums)
    }

    /// Empties a store of the tenant and fills it from the bundle.
    async fn fill(&self, store: &mut AnyStore, kind: StoreKind) -> Result<()> {
        let scope = scope(&self.tenant, &self.terms, kind);
        let all = store.begin_reading(scope, None).await?;
        store.end_reading().await?;
        store.clear_tenant(scope, &all.parts).await?;
        pass(&format!("cleared.{kind}"));
        let wanted = self.wanted(kind);
        let survey = store.begin_reading(scope, Some(&wanted)).await?;
        store.end_reading().await?;
        let entries = self.request.bundle.parts(kind);
        let total: u64 = self.parts(kind).iter().map(|part| part.rows).sum();
        let mut targets = survey.parts;
        // A collection comes to be with its first document.
        for (name, _) in &wanted {
            if !targets.iter().any(|part| part.name == *name) {
                targets.push(crate::stores::tenant_bundle::Part { name: name.clone(), ..Default::default() });
            }
        }
        store.begin_filling(scope, &targets).await?;
        let mut pieces = self.request.bundle.pieces(kind)?;
        let mut done = 0;
        while let Some((number, lines)) = pieces.next()? {
            let entry = entries[number];
            if kind == StoreKind::Redis && self.left_out.contains(&entry.name) {
                continue;
            }
            let Some(at) = targets.iter().position(|part| part.name == entry.name) else {
                return Err(Error::bug("a part without a place"));
            };
            let mut out = Vec::with_capacity(lines.len());
            each(&lines, |line| {
                done += 1;
                out.extend_from_slice(&self.mapping.line(kind, entry, line)?);
                out.push(b'\n');
                Ok(())
            })?;
            store.fill_part(scope, at, &targets[at], &out).await?;
            progress(self.work, kind, &entry.name, done, total)?;
            pass(&format!("part.{kind}"));
        }
        store.end_filling(scope, &targets).await
    }

    fn differs(&self, kind: StoreKind, expected: &BTreeMap<String, Sum>, actual: &BTreeMap<String, Sum>) -> Error {
        let mut names: Vec<&String> = expected.keys().chain(actual.keys()).collect();
        names.sort();
        names.dedup();
        let words: Vec<String> = names
            .into_iter()
            .filter(|name| expected.get(*name) != actual.get(*name))
            .map(|name| {
                let count = |sums: &BTreeMap<String, Sum>| sums.get(name).map_or(0, |sum| sum.count);
                format!("`{name}`: {} in the bundle, {} in {kind}", count(expected), count(actual))
            })
            .collect();
        Error::new(Code::TenantFailed, format!("what {kind} holds now is not what the bundle has")).why(format!(
            "{}; where counts agree, values differ: a column, a trigger or a default changed them",
            words.join("; ")
        ))
    }
}

struct Expected {
    horizon: Option<i64>,
    sums: BTreeMap<String, Sum>,
}

/// Whether a line is of a key that is gone by this moment.
fn expires_by(line: &[u8], horizon: Option<i64>) -> Result<bool> {
    let Some(horizon) = horizon else { return Ok(false) };
    #[derive(serde::Deserialize)]
    struct Line {
        expires: Option<i64>,
    }
    let line: Line = serde_json::from_slice(line)
        .map_err(|error| Error::new(Code::Bundle, "a line of the bundle cannot be read").why(error.to_string()))?;
    Ok(line.expires.is_some_and(|moment| moment <= horizon))
}
