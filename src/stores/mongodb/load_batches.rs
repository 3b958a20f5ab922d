//! Batches of documents on their way: two connections, unordered, so that one refusal holds nothing up.

use std::collections::{BTreeMap, VecDeque};

use bson::{Document, RawDocumentBuf};
use mongodb::Database;
use mongodb::error::Error;
use tokio::task::JoinSet;

use super::encode::{self, Growing};
use crate::error::{Place, Result};
use crate::stores::mongodb::error::{Refusal, refusal_in_reply};
use crate::stores::source::Row;

/// How many bytes, and how many documents, go into one batch.
const BYTES: usize = 2 << 20;
const ROWS: usize = 20_000;
/// How many batches are under way at once.
const AT_ONCE: usize = 2;
/// After how many batches it is written down how far the load came.
const JOURNAL: usize = 2;

/// An `insert` command in the making.
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the array of documents begins.
    list: usize,
    /// Where each document begins, and its number in the source.
    starts: Vec<(usize, u64)>,
    next: u64,
    kept: Vec<(Row, Place)>,
}

impl Batch {
    /// An empty one; `first` is the number of the row that comes next.
    pub fn new(collection: &str, first: u64) -> Self {
        let mut bytes = Vec::with_capacity(BYTES + (BYTES >> 3));
        bytes.extend_from_slice(&[0; 4]);
        encode::text("insert", collection, &mut bytes);
        let at = encode::name("ordered", &mut bytes);
        bytes[at] = 8;
        bytes.push(0);
        let at = encode::name("writeConcern", &mut bytes);
        bytes[at] = 3;
        let concern = Growing::begin(&mut bytes);
        let at = encode::name("w", &mut bytes);
        bytes[at] = 0x10;
        bytes.extend_from_slice(&1_i32.to_le_bytes());
        concern.end(&mut bytes);
        let at = encode::name("documents", &mut bytes);
        bytes[at] = 4;
        let list = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        Self { bytes, list, starts: Vec::new(), next: first, kept: Vec::new() }
    }

    /// Adds a document; on an error nothing is added.
    ///
    /// # Errors
    /// The writer's.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.bytes.len();
        let number = self.next;
        self.next += 1;
        let at = encode::name(&self.starts.len().to_string(), &mut self.bytes);
        self.bytes[at] = 3;
        let document = Growing::begin(&mut self.bytes);
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(start);
            return Err(error);
        }
        document.end(&mut self.bytes);
        self.starts.push((start, number));
        Ok(())
    }

    /// Takes the last document out again.
    pub fn take_back(&mut self) {
        if let Some((start, _)) = self.starts.pop() {
            self.bytes.truncate(start);
        }
    }

    /// Keeps the row of the last document, for the case that it is refused.
    pub fn keep(&mut self, row: &Row, place: Place) {
        self.kept.push((row.clone(), place));
    }

    /// The row of a document.
    pub fn kept(&self, at: usize) -> Option<&(Row, Place)> {
        self.kept.get(at)
    }

    /// The number of a document's row.
    pub fn number(&self, at: usize) -> u64 {
        self.starts.get(at).map_or(0, |(_, number)| *number)
    }

    /// How many documents it has.
    pub fn rows(&self) -> u64 {
        self.starts.len() as u64
    }

    /// Whether it is to be sent.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES || self.starts.len() >= ROWS
    }

    fn command(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(&[0, 0]);
        let length = |count: usize| i32::try_from(count).unwrap_or(i32::MAX).to_le_bytes();
        let list = length(bytes.len() - 1 - self.list);
        bytes[self.list..self.list + 4].copy_from_slice(&list);
        let whole = length(bytes.len());
        bytes[..4].copy_from_slice(&whole);
        bytes
    }
}

/// What became of a batch.
pub struct Sent {
    /// It, without its bytes.
    pub batch: Batch,
    /// What was refused, by the number within the batch; or why nothing is known.
    pub outcome: Result<Vec<(usize, Refusal)>, Error>,
}

/// Sends batches.
pub struct Sender {
    database: Database,
    work: JoinSet<(usize, Sent)>,
    next: usize,
    /// How far the source was read when each batch was complete, and the hash of what was read; whether it is
    /// written.
    under_way: BTreeMap<usize, (u64, u64, bool)>,
    through: Option<(u64, u64)>,
    since: usize,
}

impl Sender {
    /// Nothing is under way.
    pub fn new(database: Database, _collection: &str) -> Self {
        Self { database, work: JoinSet::new(), next: 0, under_way: BTreeMap::new(), through: None, since: 0 }
    }

    /// Sends a batch as soon as a connection is free; answers those that ended meanwhile.
    pub async fn send(&mut self, mut batch: Batch, rows: u64, hash: u64) -> VecDeque<Sent> {
        let mut ended = VecDeque::new();
        while self.work.len() >= AT_ONCE {
            ended.extend(self.next_ended().await);
        }
        let (number, database) = (self.next, self.database.clone());
        self.next += 1;
        self.under_way.insert(number, (rows, hash, false));
        let bytes = batch.command();
        self.work.spawn(async move {
            let outcome = insert(&database, bytes).await;
            (number, Sent { batch, outcome })
        });
        ended
    }

    /// Waits for everything that is under way.
    pub async fn finish(&mut self) -> VecDeque<Sent> {
        let mut ended = VecDeque::new();
        while !self.work.is_empty() {
            ended.extend(self.next_ended().await);
        }
        ended
    }

    async fn next_ended(&mut self) -> Option<Sent> {
        let (number, sent) = self.work.join_next().await?.ok()?;
        if sent.outcome.is_ok()
            && let Some(entry) = self.under_way.get_mut(&number)
        {
            entry.2 = true;
        }
        while let Some(entry) = self.under_way.first_entry() {
            let (rows, hash, is_written) = *entry.get();
            if !is_written {
                break;
            }
            entry.remove();
            self.through = Some((rows, hash));
            self.since += 1;
        }
        Some(sent)
    }

    /// How many rows are written for certain, and their hash, where that is worth writing down.
    pub fn journal(&mut self) -> Option<(u64, u64)> {
        if self.since < JOURNAL {
            return None;
        }
        self.since = 0;
        self.through
    }
}

async fn insert(database: &Database, bytes: Vec<u8>) -> Result<Vec<(usize, Refusal)>, Error> {
    let command = RawDocumentBuf::from_bytes(bytes).map_err(|error| Error::custom(error.to_string()))?;
    let reply = match database.run_raw_command(command).await {
        Ok(reply) => reply,
        Err(error) => return Err(error),
    };
    let mut refused = Vec::new();
    for error in reply.get_array("writeErrors").ok().into_iter().flatten().filter_map(|error| error.as_document()) {
        let at = error.get_i32("index").ok().and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
        let one: Document = bson::doc! { "writeErrors": [error.clone()] };
        if let Some(refusal) = refusal_in_reply(&one) {
            refused.push((at, without_item(refusal)));
        }
    }
    Ok(refused)
}

/// The server counts items within the command; the place says more.
fn without_item(refusal: Refusal) -> Refusal {
    let text = refusal.text.split_once(": ").filter(|(item, _)| item.starts_with("item "));
    Refusal { text: text.map_or(refusal.text.clone(), |(_, text)| text.into()), ..refusal }
}
