//! SQL scripts of a seed set: statement by statement inside the seed transaction.

use super::{PostgresLoader, failed};
use crate::error::{Code, Error, Place, Result};
use crate::project::seed::Script;
use crate::stores::postgres::error::{detail, hint, position, words};
use crate::stores::postgres::splitter::{Kind, Statement, split};

fn place(script: &Script, offset: usize) -> Place {
    Place::at_offset(&script.shown, &script.text, offset, 1)
}

/// Cuts a script into statements and refuses what would leave the transaction.
///
/// # Errors
/// `LYX-FILE-SYNTAX` or `LYX-SEED-FILE` with the place.
pub fn check(script: &Script) -> Result<Vec<Statement>> {
    let statements = split(&script.text).map_err(|problem| {
        Error::new(Code::FileSyntax, format!("`{}` cannot be read: {}", script.shown, problem.what))
            .at(place(script, problem.at))
            .data("nothing was changed")
            .hint(problem.hint)
    })?;
    for statement in &statements {
        let why = match statement.kind {
            Kind::Plain | Kind::Procedure | Kind::AddValue | Kind::Savepoint | Kind::CopyIn => continue,
            Kind::Bare => "it cannot run in a transaction, and all seeds of PostgreSQL share one",
            Kind::Control => "it would end the transaction that all seeds of PostgreSQL share",
            Kind::CopyOut => "its answer has nowhere to go",
            Kind::Discard => "it would give up the lock",
            Kind::Quoting => "it changes how the rest of the file is read",
        };
        return Err(Error::new(Code::SeedFile, format!("`{}` holds a statement that a seed cannot run", script.shown))
            .why(why)
            .at(place(script, statement.range().start))
            .data("nothing was changed")
            .hint("take it out, or make it a migration: lyrox db new NAME"));
    }
    Ok(statements)
}

impl PostgresLoader<'_> {
    pub(super) async fn run_script(&mut self, script: &Script) -> Result<()> {
        let tenant = self.own_tenant();
        self.enter(&tenant).await?;
        for statement in check(script)? {
            let sql = statement.text(&script.text);
            let outcome = if statement.kind == Kind::CopyIn {
                self.copy(sql, &script.text[statement.data()]).await
            } else {
                self.run(sql).await
            };
            if let Err(error) = outcome {
                let start = statement.range().start;
                let offset = position(&error)
                    .and_then(|at| sql.char_indices().nth(at.saturating_sub(1)))
                    .map_or(start, |(offset, _)| start + offset);
                let mut why = words(&error);
                if let Some(detail) = detail(&error) {
                    why.push('\n');
                    why.push_str(&detail);
                }
                let found = Error::new(Code::SeedFailed, format!("`{}` failed", script.shown)).why(why);
                let found = found.at(place(script, offset));
                return Err(match hint(&error) {
                    Some(hint) => found.hint(hint),
                    None => found,
                });
            }
        }
        // A dump empties the search path for the session; the run goes on with its own settings.
        let settings = self.store.settings.sql(&self.store.facts);
        self.send(&settings).await.map_err(|error| failed("the session cannot be set up again", &error))?;
        self.tenant = "\0".into();
        Ok(())
    }

    async fn copy(&mut self, sql: &str, data: &str) -> Result<u64, sqlx::Error> {
        let mut copy = self.store.connection.copy_in_raw(sql).await?;
        copy.send(data.as_bytes()).await?;
        copy.finish().await
    }
}
