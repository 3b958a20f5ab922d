//! Rows of targets that may need each other: looked for, settled as far as what they refer to is known,
//! and written, until none is left.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::Value as Json;

use super::{
    Batch, Error, Failure, Fields, Mode, Probe, Record, Reference, Result, Run, Sheet, Written, is_same, plain,
};
use crate::engine::seed::terms::Term;
use crate::error::Code;
use crate::kind::StoreKind;
use crate::stores::load::Loader as _;

/// A line by its sheet's and its own place.
type At = (usize, usize);

impl Run<'_> {
    /// Brings every row of the sheets to what the files say.
    pub(super) async fn group(&mut self, members: &[usize]) -> Result<(), Failure> {
        loop {
            self.look_for(members).await?;
            let ready = self.ready(members);
            if !ready.is_empty() {
                self.write_ready(ready).await?;
                continue;
            }
            let Some(open) = self.open(members) else { break };
            if !self.postpone(members) {
                return Err(self.stuck(open));
            }
        }
        self.write_postponed(members).await
    }

    /// What a reference stands for, once known.
    fn look(&self, reference: &Reference) -> Option<Json> {
        let sheet = self
            .sheets
            .iter()
            .find(|sheet| sheet.table.store == reference.store && sheet.table.target == reference.target)?;
        let line = sheet.lines.iter().find(|line| line.row.name == reference.row)?;
        match &reference.field {
            None => line.id.clone(),
            // A field that neither the file nor the store has is empty.
            Some(field) if line.is_done => Some(line.fields.get(field).cloned().unwrap_or(Json::Null)),
            Some(field) => line.fields.get(field).cloned(),
        }
    }

    /// The key and tenant of a line; none while they are not known.
    pub(super) fn probe(&self, at: usize, line: usize) -> Result<Option<Probe>> {
        let sheet = &self.sheets[at];
        let mut key = Vec::with_capacity(sheet.key.len());
        for name in &sheet.key {
            let Some(term) = sheet.lines[line].term(name) else { return Ok(None) };
            let Some(value) = self.settle(sheet, term, None)? else { return Ok(None) };
            key.push(value);
        }
        let tenant = self.tenant_of(sheet, line);
        if tenant.is_none() && sheet.shape.is_guarded && self.has_open_tenant(sheet, line) {
            return Ok(None);
        }
        Ok(Some(Probe { key, tenant, place: sheet.lines[line].row.place() }))
    }

    fn settle(&self, sheet: &Sheet<'_>, term: &Term, stored: Option<&Json>) -> Result<Option<Json>> {
        let store = sheet.table.store;
        term.settle(&|reference| self.look(reference).map(|value| into_store(store, reference.store, value)), stored)
    }

    /// The column that names a row's tenant.
    fn tenant_field(&self, sheet: &Sheet<'_>) -> Option<&str> {
        if sheet.table.store == StoreKind::Postgres
            && let Some((table, key)) = &self.terms.tenant_table
            && *table == sheet.table.target
        {
            return Some(key);
        }
        self.terms.tenant_column.as_deref()
    }

    fn tenant_of(&self, sheet: &Sheet<'_>, line: usize) -> Option<String> {
        let term = sheet.lines[line].term(self.tenant_field(sheet)?)?;
        if term.is_made() { None } else { plain(&self.settle(sheet, term, None).ok()??) }
    }

    fn has_open_tenant(&self, sheet: &Sheet<'_>, line: usize) -> bool {
        let term = self.tenant_field(sheet).and_then(|name| sheet.lines[line].term(name));
        term.is_some_and(|term| !term.is_made())
    }

    /// Looks for every row whose key is known and that was not looked for: one question a target.
    async fn look_for(&mut self, members: &[usize]) -> Result<(), Failure> {
        for &at in members {
            let begun = Instant::now();
            let mut lines = Vec::new();
            let mut probes: Vec<Probe> = Vec::new();
            let mut seen: BTreeMap<String, usize> = BTreeMap::new();
            for line in 0..self.sheets[at].lines.len() {
                let probe = self.probe(at, line).map_err(|error| self.failed(at, error))?;
                let Some(probe) = probe else { continue };
                let key: Vec<String> =
                    probe.key.iter().map(|value| plain(value).unwrap_or_else(|| value.to_string())).collect();
                if let Some(other) = seen.insert(key.join("\0"), line) {
                    let sheet = &self.sheets[at];
                    let error = Error::new(
                        Code::SeedFile,
                        format!(
                            "rows `{}` and `{}` have the same key",
                            sheet.lines[other].row.name, sheet.lines[line].row.name
                        ),
                    )
                    .why(format!("both are the row with this {}", crate::stores::load::quoted(&sheet.key)))
                    .at(sheet.lines[line].row.place())
                    .hint("give one of them another value, or name a key that tells them apart");
                    return Err(self.failed(at, error));
                }
                if !self.sheets[at].lines[line].is_looked_for {
                    lines.push(line);
                    probes.push(probe);
                }
            }
            if probes.is_empty() {
                continue;
            }
            let sheet = &self.sheets[at];
            let kind = sheet.table.store;
            let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == kind) else { continue };
            let answer = loader.find(&sheet.shape, &sheet.key, &sheet.wanted, &probes).await;
            let found = answer.map_err(|error| self.failed(at, error))?;
            for (line, found) in lines.into_iter().zip(found) {
                self.know(at, line, found).map_err(|error| self.failed(at, error))?;
            }
            self.sheets[at].elapsed += begun.elapsed();
        }
        Ok(())
    }

    /// Takes in whether a row is there, and with it its id: the stored one, or the one it will have.
    fn know(&mut self, at: usize, line: usize, found: Option<crate::stores::load::Found>) -> Result<()> {
        let sheet = &self.sheets[at];
        let mut fields = Fields::new();
        for (name, term) in &sheet.lines[line].terms {
            if !term.is_made()
                && let Some(value) = self.settle(sheet, term, None)?
            {
                fields.insert(name.clone(), value);
            }
        }
        if let Some(found) = &found {
            self.refuse_other_tenant(sheet, line, found, &fields)?;
            for (name, value) in &found.fields {
                // What the file says of a field is what it will be; an id stays what it is.
                if sheet.shape.identity.contains(name) || !fields.contains_key(name) {
                    fields.insert(name.clone(), value.clone());
                }
            }
        }
        let loader = self.loaders.iter().find(|loader| loader.kind() == sheet.table.store);
        let id = loader.and_then(|loader| loader.identity(&sheet.shape, &fields));
        let is_spent = sheet.is_spent;
        let line = &mut self.sheets[at].lines[line];
        line.is_looked_for = true;
        line.found = found;
        line.id = id;
        line.fields = fields;
        line.is_done = is_spent;
        if is_spent {
            self.sheets[at].counts.unchanged += 1;
        }
        Ok(())
    }

    fn refuse_other_tenant(
        &self,
        sheet: &Sheet<'_>,
        line: usize,
        found: &crate::stores::load::Found,
        fields: &Fields,
    ) -> Result<()> {
        let Some(column) = &self.terms.tenant_column else { return Ok(()) };
        let (Some(stored), Some(given)) = (found.fields.get(column), fields.get(column)) else { return Ok(()) };
        if stored.is_null() || is_same(stored, given) {
            return Ok(());
        }
        let row = sheet.lines[line].row;
        Err(Error::new(Code::SeedFailed, format!("row `{}` belongs to another tenant", row.name))
            .why(format!(
                "the stored row with its key has another `{column}`; an upsert never moves a row between tenants"
            ))
            .at(row.place())
            .hint(format!("make `{column}` part of the key, or delete the stored row first")))
    }

    /// The rows that can be written now: all they refer to is known, and is there or comes with them.
    fn ready(&self, members: &[usize]) -> Vec<At> {
        let lines = members.iter().flat_map(|&at| (0..self.sheets[at].lines.len()).map(move |line| (at, line)));
        let mut ready: Vec<At> = lines
            .filter(|&(at, line)| {
                let line = &self.sheets[at].lines[line];
                line.is_looked_for
                    && !line.is_done
                    && line.references().iter().all(|reference| self.look(reference).is_some())
            })
            .collect();
        loop {
            let before = ready.len();
            let kept: Vec<At> = ready
                .iter()
                .copied()
                .filter(|&(at, line)| {
                    self.sheets[at].lines[line]
                        .references()
                        .iter()
                        .all(|reference| self.is_or_comes(reference, members, &ready))
                })
                .collect();
            ready = kept;
            if ready.len() == before {
                return ready;
            }
        }
    }

    fn is_or_comes(&self, reference: &Reference, members: &[usize], ready: &[At]) -> bool {
        members.iter().all(|&at| {
            let sheet = &self.sheets[at];
            if sheet.table.store != reference.store || sheet.table.target != reference.target {
                return true;
            }
            sheet
                .lines
                .iter()
                .enumerate()
                .filter(|(_, line)| line.row.name == reference.row)
                .all(|(index, line)| line.is_done || line.found.is_some() || ready.contains(&(at, index)))
        })
    }

    fn open(&self, members: &[usize]) -> Option<At> {
        members
            .iter()
            .find_map(|&at| self.sheets[at].lines.iter().position(|line| !line.is_done).map(|line| (at, line)))
    }

    /// Holds back one row's fields that may be empty and refer to what is not there, so that the row can
    /// be written before what it refers to.
    fn postpone(&mut self, members: &[usize]) -> bool {
        for &at in members {
            for line in 0..self.sheets[at].lines.len() {
                let sheet = &self.sheets[at];
                let this = &sheet.lines[line];
                if this.is_done || !this.is_looked_for {
                    continue;
                }
                let is_open = |term: &Term| {
                    let mut references = Vec::new();
                    term.references(&mut references);
                    references.iter().any(|reference| {
                        self.look(reference).is_none() || !self.is_or_comes(reference, members, &[(at, line)])
                    })
                };
                let open: Vec<String> = this
                    .terms
                    .iter()
                    .filter(|(name, term)| !this.postponed.contains(name) && is_open(term))
                    .map(|(name, _)| name.clone())
                    .collect();
                let may_wait = |name: &String| {
                    !sheet.key.contains(name) && sheet.shape.field(name).is_none_or(|field| field.is_nullable)
                };
                if !open.is_empty() && open.iter().all(may_wait) {
                    self.sheets[at].lines[line].postponed.extend(open);
                    return true;
                }
            }
        }
        false
    }

    fn stuck(&self, (at, line): At) -> Failure {
        let row = self.sheets[at].lines[line].row;
        let error =
            Error::new(Code::SeedReference, format!("row `{}` and what it refers to need each other", row.name))
                .why("neither can be written first: the columns may not be empty, and the server gives the ids")
                .at(row.place())
                .hint("give the rows their ids in the file, or let one of the columns be empty");
        self.failed(at, error)
    }

    async fn write_ready(&mut self, ready: Vec<At>) -> Result<(), Failure> {
        let mut by_store: BTreeMap<StoreKind, BTreeMap<usize, Vec<usize>>> = BTreeMap::new();
        for (at, line) in ready {
            let sheet = &mut self.sheets[at];
            if sheet.mode == Mode::Insert && sheet.lines[line].found.is_some() {
                sheet.lines[line].is_done = true;
                sheet.counts.add(Written::Unchanged);
                continue;
            }
            by_store.entry(sheet.table.store).or_default().entry(at).or_default().push(line);
        }
        for (store, sheets) in by_store {
            let begun = Instant::now();
            let first = sheets.keys().next().copied().unwrap_or_default();
            let mut batches = Vec::new();
            for (&at, lines) in &sheets {
                let mut rows = Vec::with_capacity(lines.len());
                for &line in lines {
                    rows.push(self.record(at, line).map_err(|error| self.failed(at, error))?);
                }
                batches.push((at, rows));
            }
            let settled: Vec<Vec<Fields>> =
                batches.iter().map(|(_, rows)| rows.iter().map(|row| row.fields.clone()).collect()).collect();
            let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == store) else { continue };
            let batches: Vec<Batch<'_>> = batches
                .into_iter()
                .map(|(at, rows)| Batch { shape: &self.sheets[at].shape, key: &self.sheets[at].key, rows })
                .collect();
            let answer = loader.write(&batches).await;
            drop(batches);
            let written = answer.map_err(|error| self.failed(first, error))?;
            for (((at, lines), written), settled) in sheets.iter().zip(written).zip(settled) {
                for ((&line, written), fields) in lines.iter().zip(written).zip(settled) {
                    let sheet = &mut self.sheets[*at];
                    sheet.counts.add(written);
                    let line = &mut sheet.lines[line];
                    for (name, value) in fields {
                        // A row that is there keeps its id.
                        if line.found.is_none() || !sheet.shape.identity.contains(&name) {
                            line.fields.insert(name, value);
                        }
                    }
                    line.is_done = true;
                }
                self.learn(*at, lines).await?;
            }
            self.sheets[first].elapsed += begun.elapsed();
        }
        Ok(())
    }

    /// What goes to the store: every field settled, what is postponed left out.
    fn record(&self, at: usize, index: usize) -> Result<Record> {
        let sheet = &self.sheets[at];
        let line = &sheet.lines[index];
        let mut fields = Fields::new();
        for (name, term) in line.terms.iter().filter(|(name, _)| !line.postponed.contains(name)) {
            let stored = line.found.as_ref().and_then(|found| found.fields.get(name));
            let value = self.settle(sheet, term, stored)?.ok_or_else(|| Error::bug("a reference that is not known"))?;
            fields.insert(name.clone(), value);
        }
        let seen_under = line.found.as_ref().and_then(|found| found.tenant.clone());
        Ok(Record {
            fields,
            first: sheet.first(),
            is_there: line.found.is_some(),
            tenant: seen_under.or_else(|| self.tenant_of(sheet, index)),
            place: line.row.place(),
        })
    }

    /// Reads back what the server made for new rows, where other rows refer to it.
    async fn learn(&mut self, at: usize, lines: &[usize]) -> Result<(), Failure> {
        let sheet = &self.sheets[at];
        let is_known = |line: usize| {
            let line = &sheet.lines[line];
            line.id.is_some() && sheet.wanted.iter().all(|name| line.fields.contains_key(name))
        };
        let is_referred = |line: usize| {
            let name = &sheet.lines[line].row.name;
            self.sheets
                .iter()
                .flat_map(|other| &other.lines)
                .flat_map(|line| {
                    line.terms.iter().flat_map(|(_, term)| {
                        let mut references = Vec::new();
                        term.references(&mut references);
                        references
                    })
                })
                .any(|reference| {
                    reference.store == sheet.table.store
                        && reference.target == sheet.table.target
                        && reference.row == *name
                })
        };
        let open: Vec<usize> = lines.iter().copied().filter(|&line| !is_known(line) && is_referred(line)).collect();
        // Only PostgreSQL fills in what was not given.
        if open.is_empty() || sheet.table.store != StoreKind::Postgres {
            return Ok(());
        }
        let mut probes = Vec::new();
        for &line in &open {
            let probe = self.probe(at, line).map_err(|error| self.failed(at, error))?;
            probes.extend(probe);
        }
        let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == sheet.table.store) else {
            return Ok(());
        };
        let answer = loader.find(&sheet.shape, &sheet.key, &sheet.wanted, &probes).await;
        let found = answer.map_err(|error| self.failed(at, error))?;
        for (line, found) in open.into_iter().zip(found) {
            let Some(found) = found else { continue };
            let sheet = &mut self.sheets[at];
            let loader = self.loaders.iter().find(|loader| loader.kind() == sheet.table.store);
            let id = loader.and_then(|loader| loader.identity(&sheet.shape, &found.fields));
            let line = &mut sheet.lines[line];
            line.id = id.or(line.id.take());
            line.fields.extend(found.fields);
        }
        Ok(())
    }

    /// The fields that had to wait for other rows.
    async fn write_postponed(&mut self, members: &[usize]) -> Result<(), Failure> {
        for &at in members {
            let mut rows = Vec::new();
            for index in 0..self.sheets[at].lines.len() {
                let postponed = std::mem::take(&mut self.sheets[at].lines[index].postponed);
                if postponed.is_empty() {
                    continue;
                }
                let mut record = self.record(at, index).map_err(|error| self.failed(at, error))?;
                let key = &self.sheets[at].key;
                record.fields.retain(|name, _| key.contains(name) || postponed.contains(name));
                record.is_there = true;
                rows.push(record);
            }
            if rows.is_empty() {
                continue;
            }
            let sheet = &self.sheets[at];
            let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == sheet.table.store) else {
                continue;
            };
            let batch = Batch { shape: &sheet.shape, key: &sheet.key, rows };
            // These rows are counted already, as created.
            let answer = loader.write(&[batch]).await;
            answer.map_err(|error| self.failed(at, error))?;
        }
        Ok(())
    }
}

/// MongoDB's extended JSON means nothing to other stores: an ObjectId is its hexadecimal text there.
fn into_store(to: StoreKind, from: StoreKind, value: Json) -> Json {
    if to == from || from != StoreKind::Mongodb {
        return value;
    }
    match &value {
        Json::Object(table) if table.len() == 1 => match table.iter().next() {
            Some((name, inner)) if name.starts_with('$') && inner.is_string() => inner.clone(),
            _ => value,
        },
        _ => value,
    }
}
