//! Many keys into Redis. Where none of the key space is there yet, commands are written as bytes and their
//! replies read by a thread of their own, thousands under way; else the keys are looked at and compared.

use std::collections::VecDeque;

use redis::{Value, cmd};
use tokio::sync::mpsc;

use super::value::{self, Wish};
use super::{BATCH, RedisLoader, escaped, placeholders};
use crate::config::Period;
use crate::config::file::{KeyType, Keyspace};
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::stores::load::{BulkDone, BulkLoad, Counts, Record, cut_short, expected, so_far};
use crate::stores::redis::connect;
use crate::stores::redis::error::work_error;
use crate::stores::rejects::reason;
use crate::stores::source::{Cell, Form, Row, RowReader};

/// How many bytes of commands are written at once.
const CHUNK: usize = 1 << 16;
/// How many such pieces may wait for their replies: what they answer fits into the buffers of the connection.
const AHEAD: usize = 4;

/// Commands ready to be written, each with the number of the row it is the last one of.
#[derive(Default)]
struct Piece {
    bytes: Vec<u8>,
    /// For each command the number of its row.
    rows: Vec<u64>,
    /// The rows themselves, where a refused one is set aside.
    kept: Vec<(u64, Row)>,
}

/// What came back.
struct Answer {
    /// What was refused: the row's number and the words.
    refused: Vec<(u64, redis::RedisError)>,
    kept: Vec<(u64, Row)>,
    /// The connection is gone, and with it what was under way.
    lost: Option<redis::RedisError>,
    rows: u64,
}

/// A key's pattern and the columns that fill it, for rows of a key space of strings.
struct Plan {
    /// What stands before each part, and the column of the part.
    parts: Vec<(String, usize)>,
    end: String,
    value: usize,
    ttl: Option<usize>,
    life: Option<u64>,
}

impl RedisLoader<'_> {
    pub(super) async fn load_bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        let keyspace = self.keyspace(load.shape)?;
        let is_single = !self.store.connected().link.is_cluster();
        let done = if is_single && !self.terms.is_dry && !self.has_any(&keyspace).await? {
            self.write_all(load, &keyspace, events).await?
        } else {
            self.compare_all(load, &keyspace, events).await?
        };
        if let Some(rejects) = &load.how.rejects {
            rejects.finish()?;
        }
        Ok(done)
    }

    /// Whether a key of the key space is there.
    async fn has_any(&mut self, keyspace: &Keyspace) -> Result<bool> {
        let pattern = self.pattern(keyspace);
        let mut link = self.store.connected().link.clone();
        let mut cursor = 0_u64;
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(10_000);
            let answer: redis::RedisResult<(u64, Vec<Vec<u8>>)> = scan.query_async(&mut link).await;
            let (next, found) = answer.map_err(|error| self.failed("list keys", &error))?;
            if !found.is_empty() {
                return Ok(true);
            }
            if next == 0 {
                return Ok(false);
            }
            cursor = next;
        }
    }

    /// The pattern of SCAN for a key space.
    pub(super) fn pattern(&self, keyspace: &Keyspace) -> String {
        let mut pattern = escaped(&self.prefix());
        let mut rest = keyspace.pattern.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let Some((_, after)) = after.split_once('}') else { break };
            pattern.push_str(&escaped(before));
            pattern.push('*');
            rest = after;
        }
        pattern.push_str(&escaped(rest));
        pattern
    }

    async fn write_all(&mut self, load: &BulkLoad<'_>, keyspace: &Keyspace, events: &dyn Events) -> Result<BulkDone> {
        let client = connect::client(self.store.endpoint(), self.store.ca_file())?;
        let (pieces, pieces_out) = mpsc::channel::<Piece>(2);
        let (answers_in, mut answers) = mpsc::channel::<Answer>(64);
        let thread = tokio::task::spawn_blocking(move || talk(&client, pieces_out, &answers_in));
        let plan = self.plan(load, keyspace);
        let mut rows = load.source.open(if plan.is_some() { Form::Cells } else { Form::Whole })?;
        let (mut row, mut seen, mut told) = (Row::default(), 0_u64, 0_u64);
        let (mut piece, mut done, mut failure) = (Piece::default(), BulkDone::default(), None);
        let mut more = true;
        while more && failure.is_none() {
            let read = rows.read(&mut row);
            seen += u64::from(!matches!(read, Ok(false)));
            let added = match read {
                Ok(true) => self.add(load, keyspace, plan.as_ref(), &row, seen, rows.as_ref(), &mut piece),
                Ok(false) => {
                    more = false;
                    Ok(())
                }
                Err(error) => Err(error),
            };
            match (added, &load.how.rejects) {
                (Ok(()), Some(_)) if more => piece.kept.push((seen, row.clone())),
                (Ok(()), _) => {}
                (Err(error), Some(rejects)) if rows.may_go_on() => {
                    let set = rejects.add(load.source, (!row.is_empty()).then_some(&row), rows.text(), &reason(&error));
                    failure = set.err();
                }
                (Err(error), _) => failure = Some(error),
            }
            if piece.bytes.len() >= CHUNK || (!more && !piece.rows.is_empty()) {
                if events.is_cancelled() {
                    failure = Some(cut_short(load, &done.counts));
                    break;
                }
                if pieces.send(std::mem::take(&mut piece)).await.is_err() {
                    break;
                }
                while let Ok(answer) = answers.try_recv() {
                    failure = failure.or(self.take(load, answer, &mut done.counts));
                }
                if seen - told >= 10_000 {
                    told = seen;
                    self.tell(load, events, seen, rows.as_ref());
                }
            }
        }
        drop(pieces);
        while let Some(answer) = answers.recv().await {
            failure = failure.or(self.take(load, answer, &mut done.counts));
        }
        let ended = thread.await;
        if let Ok(Err(error)) = ended {
            failure = failure.or(Some(self.failed("write keys", &error)));
        }
        match failure {
            None => Ok(done),
            Some(error) => Err(error.data_if_none(format!(
                "keys before this one are written ({}); running it again goes on",
                so_far(load, &done.counts)
            ))),
        }
    }

    fn take(&self, load: &BulkLoad<'_>, answer: Answer, counts: &mut Counts) -> Option<Error> {
        counts.created += answer.rows - answer.refused.len() as u64;
        if let Some(error) = &answer.lost {
            return Some(work_error(self.store.endpoint(), "write keys", error));
        }
        for (number, error) in &answer.refused {
            let error = self.failed("write a key", error);
            let kept = answer.kept.iter().find(|(other, _)| other == number);
            match (&load.how.rejects, kept) {
                (Some(rejects), Some((_, row))) => {
                    if let Err(error) = rejects.add(load.source, Some(row), "", &reason(&error)) {
                        return Some(error);
                    }
                }
                _ => return Some(error.at(place_of(load, *number))),
            }
        }
        None
    }

    fn tell(&self, load: &BulkLoad<'_>, events: &dyn Events, seen: u64, rows: &dyn RowReader) {
        events.event(Event::Progress {
            task: load.source.shown().to_owned(),
            store: Some(StoreKind::Redis),
            done: seen,
            total: expected(load, seen, rows.progress()),
            unit: "keys",
        });
    }

    /// How keys of strings are put together, where the columns are those of the key space.
    fn plan(&self, load: &BulkLoad<'_>, keyspace: &Keyspace) -> Option<Plan> {
        let columns = load.source.columns();
        let at = |name: &str| columns.iter().position(|column| column == name);
        let names = placeholders(&keyspace.pattern);
        let is_known = |name: &String| matches!(name.as_str(), "value" | "ttl") || names.contains(name);
        // A value in JSON may be written in another order of fields: it is read and written again elsewhere.
        if keyspace.kind != KeyType::String || !columns.iter().all(is_known) {
            return None;
        }
        let mut parts = Vec::new();
        let (mut before, mut rest) = (self.prefix(), keyspace.pattern.as_str());
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}')?;
            before.push_str(text);
            parts.push((std::mem::take(&mut before), at(name)?));
            rest = after;
        }
        before.push_str(rest);
        let life = keyspace.ttl.map(Period::millis);
        Some(Plan { parts, end: before, value: at("value")?, ttl: at("ttl"), life })
    }

    #[allow(clippy::too_many_arguments, reason = "one row and everything that decides about it")]
    fn add(
        &self,
        load: &BulkLoad<'_>,
        keyspace: &Keyspace,
        plan: Option<&Plan>,
        row: &Row,
        number: u64,
        rows: &dyn RowReader,
        piece: &mut Piece,
    ) -> Result<()> {
        let refuse = |what: String| Error::new(Code::SeedFile, what).at(rows.place());
        if let Some(plan) = plan {
            return plan.write(row, piece, number).map_err(|why| {
                refuse(format!("a row of `{}` {why}", load.shape.target)).hint(value::example(keyspace.kind))
            });
        }
        let fields = row.fields(load.source.columns()).map_err(|error| rows.not_json(&error))?;
        let fields = value::canonical(keyspace, fields);
        let (key, wish, life): (String, Wish, Option<Period>) = self
            .wanted(load.shape, keyspace, &fields)
            .map_err(|error| if error.place().is_some() { error } else { error.at(rows.place()) })?;
        for command in wish.commands(&key, None, life.map(Period::millis)) {
            piece.bytes.extend_from_slice(&command.get_packed_command());
            piece.rows.push(number);
        }
        Ok(())
    }

    async fn compare_all(&mut self, load: &BulkLoad<'_>, keyspace: &Keyspace, events: &dyn Events) -> Result<BulkDone> {
        let mut rows = load.source.open(Form::Whole)?;
        let (mut row, mut seen, mut done) = (Row::default(), 0, BulkDone::default());
        while !events.is_cancelled() {
            let mut records: Vec<(Record, Row)> = Vec::new();
            let mut more = true;
            while records.len() < BATCH * 4 {
                let read = rows.read(&mut row);
                if matches!(read, Ok(false)) {
                    more = false;
                    break;
                }
                seen += 1;
                let fields = read.and_then(|_| {
                    let fields = row.fields(load.source.columns()).map_err(|error| rows.not_json(&error))?;
                    let fields = value::canonical(keyspace, fields);
                    self.wanted(load.shape, keyspace, &fields)
                        .map_err(|error| if error.place().is_some() { error } else { error.at(rows.place()) })?;
                    Ok(fields)
                });
                match (fields, &load.how.rejects) {
                    (Ok(fields), _) => {
                        let (first, place) = (Vec::new(), rows.place());
                        let record = Record { fields, first, is_there: false, tenant: None, place };
                        records.push((record, row.clone()));
                    }
                    (Err(error), Some(rejects)) if rows.may_go_on() => {
                        rejects.add(load.source, (!row.is_empty()).then_some(&row), rows.text(), &reason(&error))?;
                    }
                    (Err(error), _) => return Err(error),
                }
            }
            if records.is_empty() && !more {
                return Ok(done);
            }
            let key = |(record, _): &(Record, Row)| self.key(keyspace, |name| record.fields.get(name).cloned());
            let keys: Vec<String> = records.iter().filter_map(key).collect();
            self.found.clear();
            self.look_at(keyspace, &keys).await?;
            for (record, row) in &records {
                match (self.write_row(load.shape, keyspace, record), &load.how.rejects) {
                    (Ok((written, _)), _) => done.counts.add(written),
                    (Err(error), Some(rejects)) => rejects.add(load.source, Some(row), "", &reason(&error))?,
                    (Err(error), None) => return Err(error),
                }
            }
            self.send(false).await?;
            self.tell(load, events, seen, rows.as_ref());
        }
        Err(cut_short(load, &done.counts))
    }
}

impl Plan {
    /// `SET key value PX life`.
    fn write(&self, row: &Row, piece: &mut Piece, number: u64) -> std::result::Result<(), String> {
        let plain = |at: usize| match row.cell(at) {
            Cell::Null => None,
            Cell::Text(text) | Cell::Json(text) => Some(text),
        };
        let mut length = self.end.len();
        for (before, column) in &self.parts {
            length += before.len() + plain(*column).ok_or("lacks a part of its key")?.len();
        }
        let value = plain(self.value).ok_or("has no value")?;
        let life = match self.ttl.and_then(plain) {
            None => self.life,
            Some("never") => None,
            Some(text) => {
                let period: Period =
                    text.parse().map_err(|why: String| format!("has a `ttl` that is no time: {why}"))?;
                Some(period.millis())
            }
        };
        let out = &mut piece.bytes;
        out.extend_from_slice(if life.is_some() { b"*5\r\n$3\r\nSET\r\n$" } else { b"*3\r\n$3\r\nSET\r\n$" });
        digits(length as u64, out);
        out.extend_from_slice(b"\r\n");
        for (before, column) in &self.parts {
            out.extend_from_slice(before.as_bytes());
            out.extend_from_slice(plain(*column).unwrap_or_default().as_bytes());
        }
        out.extend_from_slice(self.end.as_bytes());
        out.extend_from_slice(b"\r\n$");
        digits(value.len() as u64, out);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
        if let Some(life) = life {
            let life = life.to_string();
            out.extend_from_slice(b"$2\r\nPX\r\n$");
            digits(life.len() as u64, out);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(life.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        piece.rows.push(number);
        Ok(())
    }
}

fn digits(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(number.to_string().as_bytes());
}

/// Writes pieces and reads their replies on one connection, the replies some pieces behind.
fn talk(
    client: &redis::Client,
    mut pieces: mpsc::Receiver<Piece>,
    answers: &mpsc::Sender<Answer>,
) -> redis::RedisResult<()> {
    let mut connection = client.get_connection()?;
    let mut waiting: VecDeque<Piece> = VecDeque::new();
    loop {
        let next = pieces.blocking_recv();
        let is_end = next.is_none();
        if let Some(mut piece) = next {
            connection.send_packed_command(&piece.bytes)?;
            piece.bytes = Vec::new();
            waiting.push_back(piece);
        }
        while waiting.len() > if is_end { 0 } else { AHEAD } {
            let Some(piece) = waiting.pop_front() else { break };
            let mut answer = Answer { refused: Vec::new(), kept: piece.kept, lost: None, rows: 0 };
            let mut last = 0;
            for number in piece.rows {
                let outcome = connection.recv_response().and_then(Value::extract_error);
                answer.rows += u64::from(number != last);
                match outcome {
                    Ok(_) => {}
                    Err(error) if error.is_io_error() || error.is_connection_dropped() => {
                        answer.rows -= u64::from(number != last);
                        answer.lost = Some(error);
                        break;
                    }
                    // The second command of a row says nothing new.
                    Err(error) if answer.refused.last().is_none_or(|(other, _)| *other != number) => {
                        answer.refused.push((number, error));
                    }
                    Err(_) => {}
                }
                last = number;
            }
            let is_lost = answer.lost.is_some();
            if answers.blocking_send(answer).is_err() || is_lost {
                return Ok(());
            }
        }
        if is_end {
            return Ok(());
        }
    }
}

/// The place of a row, counted from one: the source is read again up to it.
fn place_of(load: &BulkLoad<'_>, number: u64) -> Place {
    let find = || {
        let mut rows = load.source.open(Form::Whole)?;
        let mut row = Row::default();
        for _ in 0..number {
            rows.read(&mut row)?;
        }
        Ok::<_, Error>(rows.place())
    };
    find().unwrap_or_else(|_| Place::file(load.source.shown()))
}
