//! Corrections of a row that a person decided on: one statement with its event, under the lock.

use super::error::server_error;
use super::ident::{literal, literal_or_null};
use super::ledger::{COLUMNS, LARGEST_TEXT, LYROX, read_row};
use super::{PostgresStore, run};
use crate::engine::ledger::{Amendment, Row, actor};
use crate::engine::plan::Step;
use crate::error::{Code, Result};
use crate::stores::told;

impl PostgresStore {
    /// Corrects the row of a step.
    pub(super) async fn amend_row(&mut self, step: &Step, amendment: Amendment) -> Result<Row> {
        // A statement of a way back that is open has a negative number.
        let (set, which) = match amendment {
            Amendment::Done => (
                "steps_done = steps_done + CASE WHEN step_open < 0 THEN 0 ELSE 1 END, \
                 down_done = down_done + CASE WHEN step_open < 0 THEN 1 ELSE 0 END, step_open = NULL, \
                 state = CASE WHEN state = 'failed' THEN 'started' ELSE state END, error_code = NULL"
                    .to_owned(),
                "(step_open < 0 OR state IN ('started', 'failed') AND steps_done < steps_total)",
            ),
            Amendment::NotDone => ("step_open = NULL".to_owned(), "step_open IS NOT NULL"),
            Amendment::Accept => {
                let text = (step.up.text.len() <= LARGEST_TEXT).then_some(step.up.text.as_str());
                (
                    format!(
                        "name = {}, checksum = CASE WHEN state = 'applied' THEN {} ELSE checksum END, \
                         text = CASE WHEN state = 'applied' THEN {} ELSE text END",
                        literal(&step.name),
                        literal(&step.up.checksum),
                        literal_or_null(text)
                    ),
                    "true",
                )
            }
            Amendment::Forget => (
                "state = 'reverted', steps_done = 0, down_done = 0, step_open = NULL, error_code = NULL, \
                 finished_at = pg_catalog.clock_timestamp()"
                    .to_owned(),
                "true",
            ),
        };
        let was = format!("(SELECT checksum FROM lyrox.migrations WHERE {})", self.row_of(step));
        let event = told::amended(amendment, "");
        let sql = format!(
            "{history}WITH m AS (UPDATE lyrox.migrations SET {set} WHERE {row} AND {which} RETURNING *), \
             e AS (INSERT INTO lyrox.events (project, tenant, store, version, what, step, actor, lyrox) \
             SELECT m.project, m.tenant, m.store, m.version, {event}{was}, m.steps_done, {actor}, {lyrox} FROM m) \
             SELECT {COLUMNS} FROM m",
            history = self.history_amended(step, amendment),
            row = self.row_of(step),
            event = literal(&event),
            // The statement sees the row as it was before.
            was = if amendment == Amendment::Accept { format!(" || {was}") } else { String::new() },
            actor = literal(&actor()),
            lyrox = literal(LYROX),
        );
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| server_error(Code::LedgerDamaged, "the ledger cannot be written", &error))?;
        rows.last().map_or_else(|| Err(told::nothing_to_amend(step, amendment)), read_row)
    }
}
