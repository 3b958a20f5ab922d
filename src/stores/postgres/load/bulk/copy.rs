//! Streaming rows into COPY.

use sqlx::PgConnection;

use super::encode::Encoder;
use super::progress;
use crate::engine::event::Events;
use crate::error::{Code, Error, Result};
use crate::stores::load::{BulkLoad, expected};
use crate::stores::source::{Cell, Form, Row};

/// How much is sent at once.
const CHUNK: usize = 1 << 16;
/// After how much one COPY ends and the next begins, so that a refusal is heard before the end of the file.
const PIECE: usize = 64 << 20;

/// How a COPY ended.
pub enum Copied {
    /// All rows are in.
    Rows(u64),
    /// A row has no binary form.
    Unfit,
    /// This row lacks the field of the key with this number.
    Keyless(u64, usize),
    /// The server refused; before the rows of this COPY there were so many others.
    Refused(sqlx::Error, u64),
}

/// What is copied, and where to.
pub struct Copy<'a> {
    /// `table (columns)`.
    pub target: &'a str,
    /// How rows are written.
    pub encoder: &'a Encoder,
    /// Which cells must not be empty: those of the key.
    pub key: &'a [usize],
    /// The rows may refer to each other: they go in with one statement.
    pub is_one: bool,
}

/// Streams all rows of a load. Whatever it answers, the connection is at rest; what was sent stays in the
/// transaction, unless it is [`Copied::Refused`].
///
/// # Errors
/// The rows cannot be read, or a signal came.
pub async fn copy(
    connection: &mut PgConnection,
    copy: &Copy<'_>,
    load: &BulkLoad<'_>,
    events: &dyn Events,
) -> Result<Copied> {
    let mut rows = load.source.open(Form::Cells)?;
    let sql = format!("COPY {} FROM STDIN{}", copy.target, copy.encoder.options());
    let (mut row, mut buffer) = (Row::default(), Vec::with_capacity(CHUNK + (CHUNK >> 1)));
    let (mut read, mut told, mut before) = (0_u64, 0_u64, 0_u64);
    let mut more = true;
    while more {
        let mut sink = match connection.copy_in_raw(&sql).await {
            Ok(sink) => sink,
            Err(error) => return Ok(Copied::Refused(error, before)),
        };
        buffer.extend_from_slice(copy.encoder.head());
        let mut sent = 0;
        // What ends the load before its rows do. The COPY is ended as if all were well: after `CopyFail` a
        // server that had refused already would leave the connection one answer behind.
        let mut end = None;
        while end.is_none() && more && (sent < PIECE || copy.is_one) {
            match rows.read(&mut row) {
                Ok(true) => {
                    read += 1;
                    let empty = copy.key.iter().position(|at| row.cell(*at) == Cell::Null);
                    if let Some(at) = empty {
                        end = Some(Ok(Copied::Keyless(read, at)));
                    } else if !copy.encoder.row(&row, &mut buffer) {
                        end = Some(Ok(Copied::Unfit));
                    }
                }
                Ok(false) => more = false,
                Err(error) => end = Some(Err(error)),
            }
            if buffer.len() >= CHUNK {
                if events.is_cancelled() {
                    end = Some(Err(Error::new(Code::SeedFailed, "cut short by a signal")));
                }
                if let Err(error) = sink.send(buffer.as_slice()).await {
                    return Ok(Copied::Refused(error, before));
                }
                sent += buffer.len();
                buffer.clear();
                if read - told >= 5000 {
                    told = read;
                    progress(events, load, read, expected(load, read, rows.progress()));
                }
            }
        }
        buffer.extend_from_slice(copy.encoder.tail());
        let done = match sink.send(buffer.as_slice()).await {
            Ok(_) => sink.finish().await,
            Err(error) => return Ok(Copied::Refused(error, before)),
        };
        buffer.clear();
        match (done, end) {
            (_, Some(Err(error))) => return Err(error),
            (Err(error), _) => return Ok(Copied::Refused(error, before)),
            (Ok(_), Some(Ok(end))) => return Ok(end),
            (Ok(count), None) => before += count,
        }
    }
    if told > 0 {
        progress(events, load, read, Some(read));
    }
    Ok(Copied::Rows(before))
}
