//! What is told of the making.

use super::super::registry::Record;
use super::super::shard::Placement;
use super::super::shard::fleet::Fleet;
use super::super::{Tenant, shown};
use super::{Run, Unit};
use crate::engine::event::Event;
use crate::error::{Error, Result};
use crate::exit::Exit;
use crate::report::{Change, Item};
use crate::stores::Store as _;
use crate::stores::tenant::TenantStore as _;

impl Run<'_> {
    pub(super) fn tell_failed(&self, key: &str, line: Option<u64>, error: &Error) {
        self.created.borrow_mut().failed += 1;
        let title = match line {
            Some(line) => format!("{} (line {line})", shown(key)),
            None => shown(key),
        };
        let mut item = Item::fail(format!("tenant.{}", shown(key)), title, error);
        item.tenant = Some(key.to_owned());
        item.exit = self.request.is_brief.then_some(Exit::Tenants);
        self.work.events.item(item);
    }

    pub(super) fn tell_unchanged(&self, record: &Record) {
        self.created.borrow_mut().unchanged += 1;
        if !self.request.is_brief {
            let item = item(&record.tenant).change(Change::Unchanged);
            self.work.events.item(item.detail(format!(
                "{}, {}{}",
                record.state.word(),
                record.tenant.name(),
                at(record)
            )));
        }
    }

    pub(super) fn tell_planned(&self, units: &[Unit]) {
        self.created.borrow_mut().planned += units.len();
        for unit in units {
            let way = match (unit.is_new, self.request.takes_in) {
                (true, true) => "would be taken in",
                (true, false) => "would be made",
                (false, _) => "would go on",
            };
            let item = item(&unit.record.tenant).change(Change::Planned);
            self.work.events.item(item.detail(format!("{way} as {}{}", unit.record.tenant.name(), at(&unit.record))));
        }
    }

    pub(super) fn tell_made(&self, units: &[Unit]) {
        self.created.borrow_mut().made += units.len();
        let change = if self.request.takes_in { Change::Recorded } else { Change::Created };
        let items: Vec<Item> = units
            .iter()
            .map(|unit| {
                let item = item(&unit.record.tenant).change(change).elapsed(unit.started.elapsed());
                item.detail(format!("active, {}{}", unit.record.tenant.name(), at(&unit.record)))
            })
            .collect();
        match (self.request.is_brief, items.len()) {
            (true, 2..) => {
                let line = Item::pass("tenants", format!("{} tenants", items.len())).change(change);
                let line = line.elapsed(units.first().map(|unit| unit.started.elapsed()).unwrap_or_default());
                self.work.events.event(Event::Folded { line: Box::new(line.detail("active")), items });
            }
            _ => items.into_iter().for_each(|item| self.work.events.item(item)),
        }
    }

    pub(super) async fn tell_places(
        &self,
        fleet: &mut Fleet<'_>,
        placement: &Placement,
        tenant: &Tenant,
    ) -> Result<()> {
        for store in fleet.at(placement).await? {
            let kind = store.kind();
            let found = store.look_at_tenant(tenant, &self.terms).await?;
            if found.is_empty() {
                continue;
            }
            let mut words: Vec<String> = found.iter().map(|(what, name)| format!("{what} {name}")).collect();
            words.extend(placement.of(kind).map(|name| format!("shard {name}")));
            let mut item = Item::pass(format!("{}.{kind}", tenant.slug()), "place").store(kind).change(Change::Created);
            item.tenant = Some(tenant.key().to_owned());
            self.work.events.item(item.detail(words.join(", ")));
        }
        Ok(())
    }

    pub(super) fn progress(&self) {
        let created = *self.created.borrow();
        let done = (created.made + created.unchanged + created.failed + created.planned) as u64;
        if self.request.is_brief && self.started.elapsed().as_millis() > 200 {
            let (task, total) = ("tenants".to_owned(), self.request.total);
            self.work.events.event(Event::Progress { task, store: None, done, total, unit: "tenants" });
        }
    }
}

/// Where a tenant is, for a line that has said what it is; nothing for the project's own servers.
fn at(record: &Record) -> String {
    match record.placement() {
        Ok(placement) if !placement.is_home() => format!(", shard {placement}"),
        _ => String::new(),
    }
}

fn item(tenant: &Tenant) -> Item {
    let mut item = Item::pass(format!("tenant.{}", tenant.shown()), tenant.shown());
    item.tenant = Some(tenant.key().to_owned());
    item
}
