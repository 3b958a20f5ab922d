//! What a transaction did is undone with it, as a whole and to a savepoint.

use super::PostgresSmoke;
use super::attempt::count;
use super::row::{Ask, condition};
use crate::error::Result;
use crate::stores::postgres::ident::relation;
use crate::stores::smoke::outcome::Outcome;

/// How many tables are tried until one takes a row.
const MOST: usize = 8;

impl PostgresSmoke<'_> {
    /// Writes a row, sees it, rolls back and does not see it any more.
    pub(super) async fn try_transaction(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let names: Vec<String> = self.catalog.tables.keys().take(MOST).cloned().collect();
        for name in names {
            let tenant = self.draw_tenant(&name);
            self.begin_test(tenant.as_deref());
            let made = self.make(tenant.as_deref(), |chain| chain.row(&name, &Ask::default())).await;
            let row = match made {
                Ok(Ok((row, ..))) => row,
                Ok(Err(_)) => {
                    self.end_test();
                    continue;
                }
                Err(error) => return Err(error),
            };
            let key: Vec<String> = match self.catalog.tables.get(&name).map(|table| table.primary_key().to_vec()) {
                Some(key) if !key.is_empty() => key,
                _ => row.keys().cloned().collect(),
            };
            let look =
                format!("SELECT count(*) FROM {} WHERE {};", relation(None, &name)?, condition(&row, key.iter())?);
            let act = self.set_tenant(tenant.as_deref());
            let sql = format!(
                "{look} ROLLBACK TO SAVEPOINT lyrox_rows; {look} ROLLBACK; BEGIN READ ONLY; {act} {look} ROLLBACK"
            );
            let said = self.send(&sql).await?;
            let seen = match said {
                Ok(rows) => [0, 1, rows.len().saturating_sub(1)].map(|at| count(&rows, at)),
                Err(refused) => {
                    self.end_test();
                    outcome.untried.push(refused.words);
                    return Ok(outcome);
                }
            };
            match seen {
                [1, 0, 0] => {
                    outcome.passed = 1;
                    outcome.notes.push(format!("a row of `{name}` was there until the rollback"));
                    return Ok(outcome);
                }
                [0, ..] => {}
                [_, 0, _] => outcome.failed.push(format!("a row of `{name}` is there after the rollback")),
                _ => outcome.failed.push(format!("a row of `{name}` is there after the rollback to a savepoint")),
            }
        }
        if outcome.failed.is_empty() {
            outcome.untried.push("no table took a row that could be seen".into());
        }
        Ok(outcome)
    }
}
