//! What an operation tells while it runs. Whoever listens decides what a person sees.

use crate::config::Targets;
use crate::kind::StoreKind;
use crate::report::Item;

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// An item of the report is complete.
    Item(Box<Item>),
    /// Items that all passed, and the one line that a person sees in their place unless more is asked for.
    Folded {
        /// The line.
        line: Box<Item>,
        /// The items.
        items: Vec<Item>,
    },
    /// A line that stands above the items: `lyrox-os (local): 2 pending on postgres`.
    Heading(String),
    /// Something worth a line that is no item: waiting for a lock, a retry, a notice of the server.
    Note(String),
    /// Long work moved on: what, how far, of how much (none: unknown), in which unit.
    Progress {
        /// What is being done.
        task: String,
        /// On which store.
        store: Option<StoreKind>,
        /// How far.
        done: u64,
        /// Of how much; none: unknown.
        total: Option<u64>,
        /// Of what: rows, documents, files.
        unit: &'static str,
    },
}

/// Listens to events. Called from one thread at a time per operation; must not block.
pub trait Events: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);

    /// Whether the user wants the run to end: work stops before its next step.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// An item of the report is complete.
    fn item(&self, item: Item) {
        self.event(Event::Item(Box::new(item)));
    }

    /// These servers are about to be contacted.
    fn contact(&self, _: &Targets) {}

    /// Something worth a line that is no item.
    fn note(&self, text: String) {
        self.event(Event::Note(text));
    }
}

/// Listens to nothing.
pub struct Silent;

impl Events for Silent {
    fn event(&self, _: Event) {}
}
