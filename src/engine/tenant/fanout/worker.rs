//! The workers of one process: each takes tenants, works in them with its connections, and says how they ended.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select, try_join_all};
use rand::RngExt as _;
use tokio::sync::Mutex;

use super::super::registry::{Record, State};
use super::super::run::{Ended, Failure, How, RENEWAL, Unit, WHOLE};
use super::super::unit::{Became, Task, work_in};
use super::super::verify::{self, Verdict};
use super::announce::why_not;
use super::book::Book;
use super::told::{Told, of_another};
use crate::config::file::TenancyModel;
use crate::engine::migrate::{self, Work};
use crate::error::{Code, Error, Result};
use crate::report::{Item, plural};
use crate::stores::AnyStore;

/// A worker takes about this much work at a time: little enough that the end is shared evenly.
const SHARE: Duration = Duration::from_millis(300);
/// A worker takes at most so many tenants at a time.
const MOST: usize = 16;
/// At most so many are verified together.
const TOGETHER: usize = 50;

/// The workers of one process.
pub(super) struct Fan<'a> {
    pub(super) work: Work<'a>,
    pub(super) task: Task<'a>,
    pub(super) model: TenancyModel,
    /// The run may end by one failure more: no worker begins several tenants at once.
    pub(super) counts_failures: bool,
    pub(super) book: Mutex<Book<'a>>,
    /// How many are at work: fewer where a server has no connection left.
    pub(super) workers: Cell<usize>,
    /// How long a tenant takes, about.
    pub(super) pace: Cell<Option<Duration>>,
    pub(super) told: RefCell<Told>,
    pub(super) started: Instant,
}

/// How a worker ended.
pub(super) enum End {
    /// Nothing is left to do, or to be begun.
    Over,
    /// The user wants the run to end.
    Cancelled,
    /// A server has no connection left for it.
    Dismissed,
}

impl Fan<'_> {
    /// Lets so many workers work, and renews their leases. Answers whether the run is over.
    pub(super) async fn all(&self, jobs: usize) -> Result<bool> {
        let workers = try_join_all((0..jobs).map(|_| self.worker()));
        let ends = match select(Box::pin(workers), Box::pin(self.beat())).await {
            Either::Left((ends, _)) => ends?,
            Either::Right((error, _)) => return Err(error),
        };
        Ok(!ends.iter().any(|end| matches!(end, End::Cancelled)))
    }

    async fn beat(&self) -> Error {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = self.book.lock().await.renew().await {
                return error;
            }
        }
    }

    /// Takes tenants, works in them, says how they ended, until none is left.
    async fn worker(&self) -> Result<End> {
        let mut stores: Vec<AnyStore> = Vec::new();
        let mut ended: Vec<Ended> = Vec::new();
        let mut full_since: Option<Instant> = None;
        let end = loop {
            let is_cancelled = self.work.events.is_cancelled();
            let limit = if is_cancelled { 0 } else { self.share() };
            let turn = self.book.lock().await.turn(&ended, limit).await?;
            ended.clear();
            if is_cancelled {
                break End::Cancelled;
            }
            if turn.is_over() {
                break End::Over;
            }
            if turn.units.is_empty() {
                // Others are at work, or a wave is to end.
                let jitter = rand::rng().random_range(0.5..1.5);
                tokio::time::sleep(Duration::from_millis(100).mul_f64(jitter)).await;
                continue;
            }
            let full = match self.task {
                Task::Verify(verification) => self.prove(verification, &mut stores, turn.units, &mut ended).await?,
                Task::Migrate(..) | Task::Seed(_) => self.each(&mut stores, turn.units, &mut ended).await,
            };
            if !ended.iter().all(|end| matches!(end.how, How::Back(_))) {
                full_since = None;
            }
            if let Some(error) = full {
                migrate::close(std::mem::take(&mut stores)).await;
                let since = *full_since.get_or_insert_with(Instant::now);
                if self.workers.get() > 1 {
                    self.workers.set(self.workers.get() - 1);
                    self.work.events.note(format!(
                        "{}; going on with {}",
                        error.what(),
                        plural(self.workers.get(), "worker")
                    ));
                    self.book.lock().await.turn(&ended, 0).await?;
                    return Ok(End::Dismissed);
                }
                if since.elapsed() > self.work.wait {
                    return Err(error);
                }
                let pause = Duration::from_millis(500).mul_f64(rand::rng().random_range(0.5..1.5));
                tokio::time::sleep(pause).await;
            }
        };
        migrate::close(stores).await;
        Ok(end)
    }

    /// Works in one tenant after the other. Answers the error of a server that has no connection left.
    async fn each(&self, stores: &mut Vec<AnyStore>, units: Vec<Unit>, ended: &mut Vec<Ended>) -> Option<Error> {
        let (mut full, mut has_failed) = (None, false);
        for unit in units {
            // After a failure the book says whether any further one is begun.
            if full.is_some() || has_failed || self.work.events.is_cancelled() {
                ended.push(Ended::new(unit.place, How::Back(Duration::ZERO), None, Duration::ZERO));
                continue;
            }
            match self.one(stores, unit).await {
                Ok(end) => {
                    has_failed = matches!(end.how, How::Failed(..));
                    ended.push(end);
                }
                Err((end, error)) => {
                    ended.push(end);
                    full = Some(error);
                }
            }
        }
        full
    }

    /// Proves that several tenants are apart, or looks at the whole. The answer is the error of a server that has no
    /// connection left.
    async fn prove(
        &self,
        verification: &verify::Verification,
        stores: &mut Vec<AnyStore>,
        units: Vec<Unit>,
        ended: &mut Vec<Ended>,
    ) -> Result<Option<Error>> {
        let started = Instant::now();
        let (mut batch, mut records) = (Vec::new(), Vec::new());
        for unit in units {
            if unit.place == WHOLE {
                match verification.whole(self.work, stores).await {
                    Ok(whole) => {
                        let how = whole.failure.map_or(How::Done, |(code, sentence)| How::Failed(code, sentence));
                        let end = Ended::new(unit.place, how, None, started.elapsed());
                        ended.push(Ended { marks: whole.marks, ..end });
                    }
                    Err(error) if error.code() == Code::ConnectLimit => {
                        ended.push(Ended::new(unit.place, How::Back(Duration::ZERO), None, Duration::ZERO));
                        return Ok(Some(error));
                    }
                    Err(error) => return Err(error),
                }
                continue;
            }
            let is_complete = |record: &Record| {
                matches!(record.state, State::Active | State::Suspended) && record.model == self.model
            };
            match unit.record {
                Some(record) if is_complete(&record) => {
                    batch.push((unit.place, unit.found));
                    records.push(record);
                }
                _ => {
                    let how = How::Skipped("it is not complete any more, or gone".into());
                    ended.push(Ended::new(unit.place, how, None, Duration::ZERO));
                    self.told.borrow_mut().ended += 1;
                }
            }
        }
        if records.is_empty() {
            return Ok(None);
        }
        let verdicts = verification.tenants(self.work, stores, &records.iter().collect::<Vec<_>>()).await;
        let elapsed = started.elapsed() / u32::try_from(records.len()).unwrap_or(u32::MAX);
        let verdicts = match verdicts {
            Ok(verdicts) => verdicts,
            Err(error) => {
                migrate::close(std::mem::take(stores)).await;
                if error.code() != Code::ConnectLimit {
                    return Err(error);
                }
                let back = |place| Ended::new(place, How::Back(Duration::ZERO), None, Duration::ZERO);
                ended.extend(batch.into_iter().map(|(place, _)| back(place)));
                return Ok(Some(error));
            }
        };
        self.pace.set(Some(self.pace.get().map_or(elapsed, |pace| (pace * 7 + elapsed) / 8)));
        let mut told = self.told.borrow_mut();
        for (((place, found), verdict), record) in batch.into_iter().zip(verdicts).zip(&records) {
            // What the whole says of a tenant was told by who looked at it.
            if let (Some((code, error)), false, false) =
                (&found, verification.has_whole(), matches!(verdict, Verdict::Again))
            {
                let (key, code, error) = (record.tenant.key().to_owned(), code.clone(), error.clone());
                let failure = Failure { key, code, error, is_own: false };
                self.work.events.item(of_another(self.task, &failure));
            }
            let how = match (verdict, found) {
                (Verdict::Again, _) => How::Back(Duration::from_millis(1500)),
                (Verdict::Apart, None) => {
                    told.done += 1;
                    How::Done
                }
                (Verdict::Apart, Some((code, sentence))) | (Verdict::Found(code, sentence), None) => {
                    How::Failed(code, sentence)
                }
                (Verdict::Found(code, sentence), Some((_, of_whole))) => {
                    How::Failed(code, format!("{of_whole}; {sentence}"))
                }
            };
            told.ended += u64::from(!matches!(how, How::Back(_)));
            ended.push(Ended::new(place, how, None, elapsed));
        }
        self.progress(&told);
        Ok(None)
    }

    /// How many tenants a worker takes at a time.
    fn share(&self) -> usize {
        if let Task::Verify(_) = self.task {
            // What is asked of a catalog is asked once for all of them; the end is shared evenly all the same.
            let parts = 4 * self.workers.get() as u64;
            let even = usize::try_from(self.told.borrow().total / parts.max(1)).unwrap_or(TOGETHER);
            return if self.counts_failures { 1 } else { even.clamp(1, TOGETHER) };
        }
        let Some(pace) = self.pace.get() else { return 1 };
        let count = SHARE.as_micros() / pace.as_micros().max(1);
        usize::try_from(count).unwrap_or(MOST).clamp(1, MOST)
    }

    /// Works in one tenant. The error is that a server has no connection left: the tenant was not touched.
    async fn one(&self, stores: &mut Vec<AnyStore>, unit: Unit) -> Result<Ended, (Ended, Error)> {
        let started = Instant::now();
        let end = |how, record, elapsed| Ended::new(unit.place, how, record, elapsed);
        let Some(mut record) = unit.record else {
            self.told.borrow_mut().ended += 1;
            return Ok(end(How::Skipped("it was removed".into()), None, Duration::ZERO));
        };
        let is_complete = matches!(record.state, State::Active | State::Suspended) && record.model == self.model;
        if !is_complete {
            let (why, command) = why_not(&record, self.model);
            let mut item = Item::skip(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
            item.tenant = Some(record.tenant.key().to_owned());
            self.work.events.item(item.detail(why.clone()).hint(command));
            self.told.borrow_mut().ended += 1;
            return Ok(end(How::Skipped(why), None, Duration::ZERO));
        }
        let became = work_in(self.work, stores, &mut record, self.task).await;
        let elapsed = started.elapsed();
        let item = match became {
            Ok(Became::Done(count)) => {
                let pace = self.pace.get().map_or(elapsed, |pace| (pace * 7 + elapsed) / 8);
                self.pace.set(Some(pace));
                self.tell_done(&record, count, elapsed);
                return Ok(end(How::Done, Some(record), elapsed));
            }
            Ok(Became::Busy) => {
                let item = How::Back(Duration::from_millis(500));
                return Ok(end(item, None, elapsed));
            }
            Ok(Became::Failed(item)) => *item,
            Err(error) if error.code() == Code::ConnectLimit => {
                return Err((end(How::Back(Duration::ZERO), None, elapsed), error));
            }
            Err(error) => Item::fail("", "", &error),
        };
        // What a failure left in the session is not the next tenant's.
        migrate::close(std::mem::take(stores)).await;
        let code = item.code.clone().unwrap_or_default();
        let error = self.tell_failed(&record, item, elapsed);
        Ok(end(How::Failed(code, error), Some(record), elapsed))
    }
}
