//! Many attempts in one message: each in a subtransaction of one anonymous block, undone whatever its end. Where the
//! block cannot be run, one message an attempt.

use serde::Deserialize;

use super::PostgresSmoke;
use super::attempt::{Refused, count};
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::literal;

/// What became of an attempt: the first number of its answer (0 where it has none), or the server's no.
pub type Attempted = std::result::Result<u64, Refused>;

/// An attempt to make.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What to send.
    pub sql: String,
    /// It is one query whose first number is wanted.
    pub is_count: bool,
}

/// What the block says of one attempt.
#[derive(Deserialize)]
struct Told {
    code: String,
    message: String,
    detail: String,
    #[serde(rename = "constraint")]
    constraint_name: String,
    #[serde(rename = "table")]
    table_name: String,
    #[serde(rename = "column")]
    column_name: String,
}

/// The SQLSTATE by which the block itself undoes an attempt that went through.
const DONE: &str = "LX000";

impl PostgresSmoke<'_> {
    /// Makes attempts after `before`, each undone before the next.
    pub(super) async fn attempts(&mut self, before: &str, attempts: &[Attempt]) -> Result<Vec<Attempted>> {
        if attempts.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!("{before}SAVEPOINT lyrox_block;{}", block(attempts));
        match self.send(&sql).await? {
            Ok(rows) => {
                let json = rows.last().and_then(|row| text(row, 0)).unwrap_or_default();
                if let Ok(told) = serde_json::from_str::<Vec<Told>>(&json)
                    && told.len() == attempts.len()
                {
                    return Ok(told.into_iter().map(Told::read).collect());
                }
                self.queue("ROLLBACK TO SAVEPOINT lyrox_block;");
                self.one_by_one("", attempts).await
            }
            // No PL/pgSQL, or this role may not use it; or `before` itself is refused, which each then says.
            Err(_) => {
                self.queue("ROLLBACK TO SAVEPOINT lyrox_rows;");
                self.one_by_one(before, attempts).await
            }
        }
    }

    async fn one_by_one(&mut self, before: &str, attempts: &[Attempt]) -> Result<Vec<Attempted>> {
        self.queue(before);
        let mut all = Vec::new();
        for attempt in attempts {
            let said = self.send(&format!("SAVEPOINT lyrox_ask; {}", attempt.sql)).await?;
            self.queue("ROLLBACK TO SAVEPOINT lyrox_ask;");
            all.push(said.map(|rows| if attempt.is_count { count(&rows, rows.len().saturating_sub(1)) } else { 0 }));
        }
        Ok(all)
    }
}

impl Told {
    fn read(self) -> Attempted {
        if self.code == DONE {
            return Ok(self.detail.parse().unwrap_or(0));
        }
        let named = |text: String| Some(text).filter(|text| !text.is_empty());
        Err(Refused {
            words: format!("{} ({})", self.message, self.code),
            code: self.code,
            constraint: named(self.constraint_name),
            table: named(self.table_name),
            column: named(self.column_name),
        })
    }
}

/// The block, and the query of what it found.
fn block(attempts: &[Attempt]) -> String {
    let mut body = String::from(
        "DECLARE answers pg_catalog.jsonb := '[]'; n pg_catalog.int8; a pg_catalog.text; b pg_catalog.text; c pg_catalog.text; \
         d pg_catalog.text; e pg_catalog.text; f pg_catalog.text; BEGIN\n",
    );
    for Attempt { sql, is_count } in attempts {
        let into = if *is_count { " INTO n" } else { "" };
        body.push_str(&format!(
            "BEGIN n := 0; EXECUTE {}{into}; RAISE EXCEPTION USING ERRCODE = '{DONE}', MESSAGE = 'done', DETAIL = coalesce(n, 0);\n\
             EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS a = RETURNED_SQLSTATE, b = MESSAGE_TEXT, c = PG_EXCEPTION_DETAIL, \
             d = CONSTRAINT_NAME, e = TABLE_NAME, f = COLUMN_NAME;\n\
             answers := answers || pg_catalog.jsonb_build_array(pg_catalog.jsonb_build_object('code', a, 'message', b, 'detail', \
             CASE a WHEN '{DONE}' THEN c ELSE '' END, 'constraint', d, 'table', e, 'column', f)); END;\n",
            literal(sql)
        ));
    }
    body.push_str("PERFORM pg_catalog.set_config('lyrox.answers', answers::pg_catalog.text, true); END");
    format!("DO {}; SELECT pg_catalog.current_setting('lyrox.answers', true)", literal(&body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_within_its_literal() {
        let block = block(&[Attempt { sql: "SELECT '$$; DROP TABLE t'".into(), is_count: true }]);
        assert!(block.contains("''''$$; DROP TABLE t''''"), "{block}");
        let told: Told = serde_json::from_str(
            r#"{"code":"23505","message":"m","detail":"","constraint":"k","table":"t","column":""}"#,
        )
        .expect("an answer");
        let refused = told.read().expect_err("a no");
        assert_eq!((refused.words.as_str(), refused.constraint.as_deref()), ("m (23505)", Some("k")));
        assert_eq!(refused.column, None);
    }
}
