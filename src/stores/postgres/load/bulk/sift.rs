//! Loading around rows that the server refuses: pieces of some thousand rows, each behind a savepoint. COPY
//! names the row it stumbles over, so that the others go in with two more statements; a foreign key names the
//! value that it did not find; what is refused without either is found by halving.

use super::encode::Encoder;
use super::merge::{LINE, Refusal, STAGE, guarded_note};
use super::{Bulk, copy_line, has_composites, progress};
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::stores::load::{BulkDone, Counts, expected};
use crate::stores::postgres::error::{reported, sqlstate, words};
use crate::stores::postgres::ident::literal;
use crate::stores::postgres::load::{PostgresLoader, failed, text as value};
use crate::stores::rejects::{Rejects, reason};
use crate::stores::source::{Cell, Form, Row};

/// How many rows, and how many bytes of them, make a piece.
const ROWS: usize = 4096;
const BYTES: usize = 4 << 20;
/// How many rows that point at rows of their own table may wait for those.
const WAITING: usize = 100_000;

/// The number of the first staged row: numbers that a refused piece has used up do not come back.
const FIRST: &str = "(SELECT min(lyrox_line) FROM pg_temp.lyrox_stage)";

/// A row with its line in the file.
struct Held {
    row: Row,
    line: usize,
}

/// Why a piece did not go in.
enum Blame {
    /// This row of it, counted from zero.
    Row(usize, String),
    /// These rows of it, which are all that break one constraint in one way.
    Rows(Vec<usize>, String),
    /// These, which point at something that is not there.
    Orphans(Vec<usize>, String),
    /// Some row of it.
    Any(String),
    /// A row has no binary form.
    Unfit,
}

/// What a sifting load carries on from piece to piece.
struct Sift<'a> {
    bulk: &'a Bulk<'a>,
    rejects: &'a Rejects,
    encoder: Encoder,
    is_direct: bool,
    counts: Counts,
    /// Rows whose foreign key found nothing: what they point at may come later in the file.
    waiting: Vec<Held>,
}

impl Sift<'_> {
    fn set_aside(&self, held: &Held, why: &str) -> Result<()> {
        let why = format!("line {}: {why}", held.line);
        self.rejects.add(self.bulk.load.source, Some(&held.row), "", &why)
    }
}

impl PostgresLoader<'_> {
    pub(super) async fn sift(
        &mut self,
        bulk: &Bulk<'_>,
        rejects: &Rejects,
        is_direct: bool,
        events: &dyn Events,
    ) -> Result<BulkDone> {
        let load = bulk.load;
        let encoder = if has_composites(bulk) { Encoder::plain(1) } else { Encoder::best(&bulk.table, load.source)? };
        let (counts, waiting) = (Counts::default(), Vec::new());
        let mut sift = Sift { bulk, rejects, encoder, is_direct, counts, waiting };
        let may_wait = is_direct && load.source.is_large() && !load.how.keeps_indexes && !self.terms.is_dry;
        // Unique indexes stay: they are what refuses rows.
        let late = if may_wait { self.drop_late(bulk, true).await? } else { None };
        if !is_direct {
            self.make_stage(bulk).await?;
        }
        let mut rows = load.source.open(if has_composites(bulk) { Form::Whole } else { Form::Cells })?;
        let (mut row, mut held, mut bytes, mut read) = (Row::default(), Vec::new(), 0, 0_u64);
        loop {
            let more = match rows.read(&mut row) {
                Ok(more) => more,
                Err(error) if rows.may_go_on() => {
                    let why = reason(&error);
                    rejects.add(load.source, (!row.is_empty()).then_some(&row), rows.text(), &why)?;
                    read += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if more {
                read += 1;
                bytes += row.size();
                held.push(Held { row: row.clone(), line: rows.place().line });
            }
            if held.len() >= ROWS || bytes >= BYTES || !more {
                if events.is_cancelled() {
                    return Err(Error::new(Code::SeedFailed, "cut short by a signal"));
                }
                self.sift_piece(&mut sift, std::mem::take(&mut held), false).await?;
                bytes = 0;
                progress(events, load, read, expected(load, read, rows.progress()));
            }
            if !more {
                break;
            }
        }
        let waiting = std::mem::take(&mut sift.waiting);
        self.sift_piece(&mut sift, waiting, true).await?;
        self.note_bulk_sequences(bulk, if is_direct { &bulk.table.name } else { STAGE }).await?;
        if !is_direct {
            self.drop_stage().await?;
        }
        if let Some(late) = &late {
            self.make_late(late).await.map_err(|error| failed("the indexes cannot be made again", &error))?;
        }
        rejects.finish()?;
        Ok(BulkDone { counts: sift.counts, note: guarded_note(load) })
    }

    /// Brings a piece in, without the rows that are refused. `is_last`: whatever its rows may point at is there.
    async fn sift_piece(&mut self, sift: &mut Sift<'_>, mut held: Vec<Held>, is_last: bool) -> Result<()> {
        let bulk = sift.bulk;
        let keyless =
            |held: &Held| bulk.key.iter().find(|at| held.row.whole().is_none() && held.row.cell(**at) == Cell::Null);
        for held in held.iter().filter(|held| keyless(held).is_some()) {
            let name = keyless(held).and_then(|at| bulk.load.source.columns().get(*at)).cloned().unwrap_or_default();
            sift.set_aside(held, &format!("it lacks `{name}`, which is part of the key"))?;
        }
        held.retain(|held| keyless(held).is_none());
        // Pieces still to be tried, the next one last.
        let mut open = vec![held];
        while let Some(mut piece) = open.pop() {
            if piece.is_empty() {
                continue;
            }
            let blame = match self.try_piece(sift, &piece).await? {
                Ok((updated, created)) => {
                    sift.counts.updated += updated;
                    sift.counts.created += created;
                    sift.counts.unchanged += (piece.len() as u64).saturating_sub(updated + created);
                    continue;
                }
                Err(blame) => blame,
            };
            match blame {
                Blame::Unfit => {
                    sift.encoder = Encoder::text(&bulk.table, bulk.load.source);
                    open.push(piece);
                }
                // What they point at may come later in the file: the piece waits as a whole.
                Blame::Orphans(..) if bulk.is_own_parent && !is_last && sift.waiting.len() < WAITING => {
                    sift.waiting.append(&mut piece);
                }
                Blame::Orphans(rows, why) | Blame::Rows(rows, why) if !rows.is_empty() => {
                    for at in rows.into_iter().rev() {
                        sift.set_aside(&piece.remove(at), &why)?;
                    }
                    open.push(piece);
                }
                Blame::Row(at, why) => {
                    let mut rest = piece.split_off(at.min(piece.len() - 1));
                    sift.set_aside(&rest.remove(0), &why)?;
                    open.push(rest);
                    open.push(piece);
                }
                Blame::Orphans(_, why) | Blame::Rows(_, why) | Blame::Any(why) if piece.len() == 1 => {
                    sift.set_aside(&piece[0], &why)?;
                }
                Blame::Orphans(..) | Blame::Rows(..) | Blame::Any(_) => {
                    open.push(piece.split_off(piece.len() / 2));
                    open.push(piece);
                }
            }
        }
        Ok(())
    }

    /// One piece behind a savepoint; the outer error is one that ends the run.
    async fn try_piece(&mut self, sift: &Sift<'_>, piece: &[Held]) -> Result<Result<(u64, u64), Blame>> {
        let bulk = sift.bulk;
        let is_raw = has_composites(bulk);
        let target = match (sift.is_direct, is_raw) {
            (true, _) => bulk.target(),
            (false, false) => format!("{STAGE} ({})", bulk.columns),
            (false, true) => "pg_temp.lyrox_raw (lyrox_row)".to_owned(),
        };
        let mut bytes = sift.encoder.head().to_vec();
        for held in piece {
            let mut whole = Row::default();
            let row = match held.row.whole() {
                Some(object) => {
                    whole.push_text(object);
                    &whole
                }
                None => &held.row,
            };
            if !sift.encoder.row(row, &mut bytes) {
                return Ok(Err(Blame::Unfit));
            }
        }
        bytes.extend_from_slice(sift.encoder.tail());
        self.mark().await?;
        let copied = async {
            let sql = format!("COPY {target} FROM STDIN{}", sift.encoder.options());
            let mut sink = self.store.connection.copy_in_raw(&sql).await?;
            sink.send(bytes.as_slice()).await?;
            sink.finish().await
        };
        let refused = match copied.await {
            Err(error) => Refusal::Server(error),
            Ok(created) if sift.is_direct => {
                self.release().await?;
                return Ok(Ok((0, created)));
            }
            Ok(_) => match self.ready_to_merge(bulk, is_raw).await {
                Err(error) => Refusal::Server(error),
                Ok(()) => match self.merge_once(bulk).await? {
                    Err(Refusal::Server(error)) if sqlstate(&error) == Some("23514") => {
                        if let Some(rows) = self.breaks_check(bulk, &error).await? {
                            self.rewind().await?;
                            return Ok(Err(Blame::Rows(rows, words(&error))));
                        }
                        Refusal::Server(error)
                    }
                    Err(refusal) => refusal,
                    Ok(counts) => {
                        let raw = if is_raw { ", pg_temp.lyrox_raw" } else { "" };
                        self.send(&format!("TRUNCATE {STAGE}{raw} RESTART IDENTITY"))
                            .await
                            .map_err(|error| failed("the stage cannot be emptied", &error))?;
                        self.release().await?;
                        return Ok(Ok(counts));
                    }
                },
            },
        };
        match refused {
            Refusal::Row(line, error) => {
                let rows = self.send(&format!("SELECT {line} - {FIRST}")).await;
                let rows = rows.map_err(|error| failed("the staged rows cannot be counted", &error))?;
                let at = rows.first().and_then(|row| value(row, 0)?.parse().ok()).unwrap_or(0);
                self.rewind().await?;
                Ok(Err(Blame::Row(at, reason(&error))))
            }
            Refusal::Server(error) if reported(&error).is_some() && !is_final(&error) => {
                self.rewind().await?;
                let why = told(&error);
                let line = copy_line(&error).and_then(|line| usize::try_from(line).ok()?.checked_sub(1));
                Ok(Err(match line {
                    _ if !nulls(bulk, piece, &error).is_empty() => {
                        Blame::Rows(nulls(bulk, piece, &error), words(&error))
                    }
                    Some(at) => Blame::Row(at, why),
                    None if sqlstate(&error) == Some("23503") => Blame::Orphans(orphans(bulk, piece, &error), why),
                    None => Blame::Any(why),
                }))
            }
            Refusal::Server(error) => Err(self.refused(bulk.load.shape, None, &error).await),
        }
    }

    /// Casts rows of JSON where there are such, and sets the mark to which a refused merge goes back.
    async fn ready_to_merge(&mut self, bulk: &Bulk<'_>, is_raw: bool) -> Result<(), sqlx::Error> {
        if is_raw {
            self.cast_raw(bulk).await?;
        }
        self.send("SAVEPOINT lyrox_merge").await.map(|_| ())
    }

    /// All staged rows that break the CHECK which the server named, counted from zero.
    async fn breaks_check(&mut self, bulk: &Bulk<'_>, error: &sqlx::Error) -> Result<Option<Vec<usize>>> {
        let Some(name) = reported(error).and_then(|report| report.constraint()) else { return Ok(None) };
        let back = self.send("ROLLBACK TO SAVEPOINT lyrox_merge").await;
        back.map_err(|error| failed("the load cannot go on", &error))?;
        let find = format!(
            "SELECT pg_catalog.pg_get_expr(conbin, conrelid) FROM pg_catalog.pg_constraint \
             WHERE conrelid = {} AND contype = 'c' AND conname = {}",
            bulk.table.oid,
            literal(name)
        );
        let rows = self.send(&find).await.map_err(|error| failed("a constraint cannot be read", &error))?;
        let Some(check) = rows.first().and_then(|row| value(row, 0)) else { return Ok(None) };
        // It may need columns that the rows do not have: then the rows are found by halving.
        let sql = format!("SELECT s.{LINE} - {FIRST} FROM {STAGE} s WHERE ({check}) IS FALSE ORDER BY 1");
        let Ok(rows) = self.send(&sql).await else { return Ok(None) };
        let at = |row: &sqlx::postgres::PgRow| value(row, 0)?.parse::<usize>().ok();
        let found: Vec<usize> = rows.iter().filter_map(at).collect();
        Ok((!found.is_empty()).then_some(found))
    }
}

/// What the server said of a row.
fn told(error: &sqlx::Error) -> String {
    match reported(error).and_then(|report| report.detail()) {
        Some(detail) => format!("{}: {detail}", words(error)),
        None => words(error),
    }
}

/// The rows that are empty where the server wants a value.
fn nulls(bulk: &Bulk<'_>, piece: &[Held], error: &sqlx::Error) -> Vec<usize> {
    let column = reported(error).filter(|report| report.code() == "23502").and_then(|report| report.column());
    let at = column.and_then(|name| bulk.load.source.columns().iter().position(|column| column == name));
    let Some(column) = at else { return Vec::new() };
    let is_null = |at: &usize| piece[*at].row.whole().is_none() && piece[*at].row.cell(column) == Cell::Null;
    (0..piece.len()).filter(is_null).collect()
}

/// The rows with the key that a foreign key did not find: `Key (a, b)=(1, 2) is not present in table "t".`
fn orphans(bulk: &Bulk<'_>, piece: &[Held], error: &sqlx::Error) -> Vec<usize> {
    let Some((names, values)) =
        reported(error).and_then(|report| report.detail()).and_then(|detail| detail.split_once(")=("))
    else {
        return Vec::new();
    };
    let names = names.split_once('(').map_or("", |(_, names)| names);
    let column = |name: &str| bulk.load.source.columns().iter().position(|column| column == name);
    let Some(columns) = names.split(", ").map(column).collect::<Option<Vec<_>>>() else { return Vec::new() };
    let is_one = |held: &Held| {
        let cells = columns.iter().map(|at| match held.row.cell(*at) {
            Cell::Null => None,
            Cell::Text(text) | Cell::Json(text) => Some(text),
        });
        let cells = cells.collect::<Option<Vec<_>>>().map(|cells| format!("{})", cells.join(", ")));
        cells.is_some_and(|cells| values.starts_with(&cells))
    };
    (0..piece.len()).filter(|at| is_one(&piece[*at])).collect()
}

/// Whether it is not the rows that are at fault: data and integrity errors, and what triggers and policies
/// raise, are of a row; everything else would be of every row.
fn is_final(error: &sqlx::Error) -> bool {
    !sqlstate(error).is_some_and(|state| {
        matches!(state.get(..2), Some("22" | "23" | "44" | "P0")) || matches!(state, "42501" | "54000" | "21000")
    })
}
