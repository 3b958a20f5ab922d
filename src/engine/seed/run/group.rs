//! Rows of targets that may need each other: looked for, settled as far as what they refer to is known,
//! and written, until none is left.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::{
    Batch, Error, Failure, Fields, Mode, Probe, Record, Reference, Result, Run, Sheet, Written, is_same, plain,
};
use crate::engine::seed::terms::Term;
use crate::error::Code;
use crate::kind::StoreKind;
use crate::stores::load::{Loader as _, RowDone, is_unknown, quoted, unknown};

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
            if !self.postpone(members) && !self.reserve(members).await? {
                return Err(self.stuck(open));
            }
        }
        self.write_postponed(members).await
    }

    /// What a reference stands for, once known.
    fn look(&self, reference: &Reference) -> Option<Json> {
        let (at, line) = self.row_of(reference)?;
        let line = &self.sheets[at].lines[line];
        match &reference.field {
            None => line.id.clone(),
            // A field that neither the file nor the store has is empty.
            Some(field) if line.is_done => Some(line.fields.get(field).cloned().unwrap_or(Json::Null)),
            Some(field) => line.fields.get(field).cloned(),
        }
    }

    /// The row that a reference names: of the set itself, else of those outside it.
    pub(super) fn row_of(&self, reference: &Reference) -> Option<At> {
        let mut found = None;
        for (at, sheet) in self.sheets.iter().enumerate() {
            if sheet.table.store != reference.store || sheet.table.target != reference.target {
                continue;
            }
            if let Some(line) = sheet.lines.iter().position(|line| line.row.name == reference.row) {
                if !sheet.is_outside {
                    return Some((at, line));
                }
                found = Some((at, line));
            }
        }
        found
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
        let tenant = tenant.or_else(|| self.terms.tenant.as_ref().map(|tenant| tenant.key().to_owned()));
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
                if let Some(other) = seen.insert(key.join("\0"), line)
                    && !self.sheets[at].is_outside
                {
                    let sheet = &self.sheets[at];
                    let error = Error::new(
                        Code::SeedFile,
                        format!(
                            "rows `{}` and `{}` have the same key",
                            sheet.lines[other].row.name, sheet.lines[line].row.name
                        ),
                    )
                    .why(format!("both are the row with this {}", quoted(&sheet.key)))
                    .at(sheet.lines[line].row.place())
                    .hint("give one of them another value, or name a key that tells them apart");
                    return Err(self.failed(at, error));
                }
                if self.sheets[at].lines[line].is_looked_for {
                    continue;
                }
                // Nothing has a key that a row of this dry run would bring.
                if probe.key.iter().any(is_unknown) || probe.tenant.as_ref().is_some_and(|key| is_unknown(&json!(key)))
                {
                    self.know(at, line, None).map_err(|error| self.failed(at, error))?;
                    continue;
                }
                lines.push(line);
                probes.push(probe);
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
        if found.is_none() {
            self.refuse_lost(at, line)?;
        }
        let sheet = &self.sheets[at];
        self.refuse_foreign(sheet, line)?;
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
        let (is_spent, is_outside) = (sheet.is_spent, sheet.is_outside);
        let line = &mut self.sheets[at].lines[line];
        line.is_looked_for = true;
        line.found = found;
        line.id = id;
        line.fields = fields;
        line.is_done = is_spent || is_outside;
        if is_spent {
            line.outcome = Some(RowDone::there(Vec::new()));
        }
        Ok(())
    }

    /// A row that is not there and will not be written cannot be referred to.
    fn refuse_lost(&self, at: usize, line: usize) -> Result<()> {
        let sheet = &self.sheets[at];
        let row = sheet.lines[line].row;
        let target = &sheet.table.target;
        if sheet.is_outside {
            let error = Error::new(Code::SeedReference, format!("`{}.{}` is not there", sheet.item_id(), row.name))
                .at(row.place());
            return Err(match &sheet.table.set {
                Some(set) => error
                    .why(format!("a row of set `{set}` is referred to, and {} does not have it", sheet.table.store))
                    .hint(format!("lyrox db seed --set {set}")),
                None => error
                    .why(format!("`{target}` has no row with this {}", quoted(&sheet.key)))
                    .hint("add the row to the set, or mend the key"),
            });
        }
        if sheet.is_spent && self.is_referred(at, line) {
            return Err(Error::new(Code::SeedReference, format!("`{}.{}` is not there", sheet.item_id(), row.name))
                .why("its file has the mode `once`, was applied before, and the row is gone; others refer to it")
                .at(row.place())
                .hint("mode = \"insert\" brings it back"));
        }
        Ok(())
    }

    /// A run for one tenant writes no other tenant's rows.
    fn refuse_foreign(&self, sheet: &Sheet<'_>, line: usize) -> Result<()> {
        let Some(tenant) = self.terms.tenant.as_ref().filter(|_| !sheet.is_outside) else { return Ok(()) };
        match self.tenant_of(sheet, line) {
            Some(other) if !is_same(&json!(other), &json!(tenant.key())) => {
                let row = sheet.lines[line].row;
                Err(Error::new(Code::SeedFailed, format!("row `{}` belongs to another tenant", row.name))
                    .why(format!("this run is for tenant `{}`, and the row names `{other}`", tenant.key()))
                    .at(row.place())
                    .hint("write \"@tenant\", or leave the field out: it is filled in"))
            }
            _ => Ok(()),
        }
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
                sheet.lines[line].outcome = Some(RowDone::there(Vec::new()));
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
                for ((&line, outcome), fields) in lines.iter().zip(written).zip(settled) {
                    let sheet = &mut self.sheets[*at];
                    let line = &mut sheet.lines[line];
                    line.outcome = Some(outcome);
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
            tenant: seen_under
                .or_else(|| self.tenant_of(sheet, index))
                .or_else(|| self.terms.tenant.as_ref().map(|tenant| tenant.key().to_owned())),
            place: line.row.place(),
        })
    }

    /// Whether a row of any store refers to this one.
    fn is_referred(&self, at: usize, line: usize) -> bool {
        let (table, name) = (self.sheets[at].table, &self.sheets[at].lines[line].row.name);
        self.sheets.iter().flat_map(|other| &other.lines).any(|line| {
            let mut references = Vec::new();
            line.terms.iter().for_each(|(_, term)| term.references(&mut references));
            references.iter().any(|reference| {
                reference.store == table.store && reference.target == table.target && reference.row == *name
            })
        })
    }

    /// Takes the ids of new rows that need each other from their sequences, before the rows are written.
    async fn reserve(&mut self, members: &[usize]) -> Result<bool, Failure> {
        let mut has_any = false;
        for &at in members {
            let sheet = &self.sheets[at];
            let [name] = sheet.shape.identity.as_slice() else { continue };
            let name = name.clone();
            if !sheet.shape.field(&name).is_some_and(|field| field.has_sequence) {
                continue;
            }
            let lines: Vec<usize> = (0..sheet.lines.len())
                .filter(|&line| {
                    let this = &sheet.lines[line];
                    let is_new = this.is_looked_for && !this.is_done && this.found.is_none() && this.id.is_none();
                    is_new && this.term(&name).is_none() && self.is_referred(at, line)
                })
                .collect();
            if lines.is_empty() {
                continue;
            }
            let ids = if self.terms.is_read_only {
                let id = sheet.item_id();
                lines.iter().map(|&line| unknown(&format!("{id}.{}", sheet.lines[line].row.name))).collect()
            } else {
                let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == sheet.table.store) else {
                    continue;
                };
                let answer = loader.reserve(&sheet.shape, lines.len()).await;
                answer.map_err(|error| self.failed(at, error))?
            };
            for (line, id) in lines.into_iter().zip(ids) {
                let line = &mut self.sheets[at].lines[line];
                line.terms.push((name.clone(), Term::Literal(id.clone())));
                line.fields.insert(name.clone(), id.clone());
                line.id = Some(id);
                has_any = true;
            }
        }
        Ok(has_any)
    }

    /// Reads back what the server made for new rows, where other rows refer to it.
    async fn learn(&mut self, at: usize, lines: &[usize]) -> Result<(), Failure> {
        let sheet = &self.sheets[at];
        let is_known = |line: usize| {
            let line = &sheet.lines[line];
            line.id.is_some() && sheet.wanted.iter().all(|name| line.fields.contains_key(name))
        };
        let open: Vec<usize> =
            lines.iter().copied().filter(|&line| !is_known(line) && self.is_referred(at, line)).collect();
        // Only PostgreSQL fills in what was not given.
        if open.is_empty() || sheet.table.store != StoreKind::Postgres {
            return Ok(());
        }
        if self.terms.is_read_only {
            // Nothing was written: what the server would give has a name and no value.
            let sheet = &mut self.sheets[at];
            let id = sheet.item_id();
            for line in open {
                let line = &mut sheet.lines[line];
                let name = format!("{id}.{}", line.row.name);
                line.id.get_or_insert_with(|| unknown(&name));
                for field in &sheet.wanted {
                    line.fields.entry(field.clone()).or_insert_with(|| unknown(&format!("{name}.{field}")));
                }
            }
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
            let (mut rows, mut indices) = (Vec::new(), Vec::new());
            for index in 0..self.sheets[at].lines.len() {
                let postponed = std::mem::take(&mut self.sheets[at].lines[index].postponed);
                if postponed.is_empty() {
                    continue;
                }
                let mut record = self.record(at, index).map_err(|error| self.failed(at, error))?;
                let key = &self.sheets[at].key;
                record.fields.retain(|name, _| key.contains(name) || postponed.contains(name));
                record.is_there = !self.terms.is_read_only || self.sheets[at].lines[index].found.is_some();
                rows.push(record);
                indices.push(index);
            }
            if rows.is_empty() {
                continue;
            }
            let sheet = &self.sheets[at];
            let Some(loader) = self.loaders.iter_mut().find(|loader| loader.kind() == sheet.table.store) else {
                continue;
            };
            let batch = Batch { shape: &sheet.shape, key: &sheet.key, rows };
            let answer = loader.write(&[batch]).await;
            let done = answer.map_err(|error| self.failed(at, error))?;
            for (index, done) in indices.into_iter().zip(done.into_iter().flatten()) {
                match &mut self.sheets[at].lines[index].outcome {
                    // What is new is new as a whole.
                    Some(outcome) if outcome.what != Written::Created => {
                        outcome.changed.extend(done.changed);
                        *outcome = RowDone::there(std::mem::take(&mut outcome.changed));
                    }
                    _ => {}
                }
            }
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
