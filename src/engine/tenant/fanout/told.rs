//! What is told of tenants as they end: one by one where they are few, and in sums where they are many.

use std::cell::RefCell;
use std::time::Duration;

use super::super::plan::quoted;
use super::super::registry::Record;
use super::super::run::Failure;
use super::super::shown;
use super::super::unit::Task;
use super::worker::Fan;
use crate::engine::event::Event;
use crate::engine::migrate::Work;
use crate::error::{Code, Error};
use crate::exit::Exit;
use crate::report::{Change, Item, plural};

/// So many tenants are one line.
const FOLD: usize = 500;

/// What was told, and what is still to be told in one line.
#[derive(Default)]
pub(super) struct Told {
    pub(super) is_short: bool,
    pub(super) total: u64,
    pub(super) done: u64,
    pub(super) ended: u64,
    pub(super) items: RefCell<Vec<Item>>,
}

impl Fan<'_> {
    pub(super) fn tell_done(&self, record: &Record, count: usize, elapsed: Duration) {
        let mut item = Item::pass(format!("tenant.{}", record.tenant.shown()), record.tenant.shown()).elapsed(elapsed);
        item.tenant = Some(record.tenant.key().to_owned());
        item = match self.task {
            Task::Migrate(..) => {
                let at = record.version.as_deref().map_or_else(String::new, |version| format!(", now at {version}"));
                let change = if count > 0 { Change::Applied } else { Change::Unchanged };
                item.change(change).detail(format!("{}{at}", plural(count, "migration")))
            }
            Task::Seed(set) => {
                item.change(Change::Applied).detail(format!("seeds `{}`, {}", set.name, plural(count, "target")))
            }
            // It is told by what was found, and by what held.
            Task::Verify(_) => return,
        };
        let mut told = self.told.borrow_mut();
        told.done += 1;
        told.ended += 1;
        if !told.is_short {
            drop(told);
            return self.work.events.item(item);
        }
        told.items.borrow_mut().push(item);
        if told.items.borrow().len() >= FOLD {
            told.flush(self.work);
        }
        self.progress(&told);
    }

    /// Tells a failure as the tenant's, and answers it as a sentence.
    pub(super) fn tell_failed(&self, record: &Record, mut item: Item, elapsed: Duration) -> String {
        let words: Vec<String> = [Some(item.title.clone()), item.detail.clone()]
            .into_iter()
            .flatten()
            .filter(|word| !word.is_empty())
            .collect();
        let sentence = words.join(": ");
        item.id = format!("tenant.{}", record.tenant.shown());
        item.title = record.tenant.shown();
        item.tenant = Some(record.tenant.key().to_owned());
        item.detail = Some(sentence.clone());
        if let (Task::Migrate(..), Some(hint)) = (self.task, &mut item.hint) {
            let own = format!("lyrox db migrate --tenant {}", quoted(record.tenant.key()));
            *hint = hint.replace("lyrox db migrate", &own);
        }
        item.exit = Some(Exit::Tenants);
        self.work.events.item(item.elapsed(elapsed));
        let mut told = self.told.borrow_mut();
        told.ended += 1;
        self.progress(&told);
        sentence
    }

    pub(super) fn progress(&self, told: &Told) {
        if told.is_short && self.started.elapsed().as_millis() > 200 {
            let (done, total) = (told.ended, Some(told.total));
            self.work.events.event(Event::Progress {
                task: "tenants".into(),
                store: None,
                done,
                total,
                unit: "tenants",
            });
        }
    }
}

impl Told {
    /// Tells in one line what waits to be told.
    pub(super) fn flush(&self, work: Work<'_>) {
        let items = std::mem::take(&mut *self.items.borrow_mut());
        if items.is_empty() {
            return;
        }
        let line = Item::pass("tenants", plural(items.len(), "tenant")).change(Change::Applied);
        work.events.event(Event::Folded { line: Box::new(line), items });
    }
}

/// What another process of the run found.
pub(super) fn of_another(task: Task<'_>, failure: &Failure) -> Item {
    // What a proof found is what it is, whoever found it.
    let code: Option<Code> = if matches!(task, Task::Verify(_)) { failure.code.parse().ok() } else { None };
    let error = Error::new(code.unwrap_or(Code::TenantsFailed), failure.error.clone())
        .why(format!("another process of this run tried it: {}", failure.code));
    if failure.key.is_empty() {
        return Item::fail("tenants.whole", "what is no single tenant's", &error).detail(failure.error.clone());
    }
    let mut item = Item::fail(format!("tenant.{}", shown(&failure.key)), shown(&failure.key), &error);
    if code.is_some() {
        item.detail = Some(failure.error.clone());
    }
    item.tenant = Some(failure.key.clone());
    item
}
