//! The careful way: rows are staged as texts and written by the server in small pieces; a piece that is refused is
//! written row by row, and what is refused then is set aside with the reason.

use std::collections::BTreeSet;

use super::source::Generated;
use super::{Done, Fill, LINE, qualified};
use crate::engine::event::Events;
use crate::engine::generate::parents::Pool;
use crate::engine::generate::plan::Plan;
use crate::engine::generate::schema::Table;
use crate::error::Result;
use crate::stores::postgres::error::words;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::postgres::load::{PostgresLoader, failed, text};

/// Where rows are staged.
const STAGE: &str = "pg_temp.lyrox_generated";
/// Which of them were refused.
const REFUSED: &str = "pg_temp.lyrox_refused";

/// `%insert%` is the statement without its condition, `%only%` the tenant's, `%wanted%` how many rows are enough.
const LOOP: &str = "DO $lyrox$
DECLARE low int8 := 1; high int8; last int8; one int8; good int8 := 0; bad int8 := 0; more int8;
BEGIN
  SELECT max(lyrox_line) INTO last FROM %stage%;
  WHILE low <= last AND good < %wanted% LOOP
    high := low + least(250, %wanted% - good) - 1;
    BEGIN
      %insert% WHERE lyrox_line BETWEEN low AND high%only% ORDER BY lyrox_line;
      GET DIAGNOSTICS more = ROW_COUNT;
      good := good + more;
    EXCEPTION WHEN OTHERS THEN
      FOR one IN SELECT lyrox_line FROM %stage% WHERE lyrox_line BETWEEN low AND high%only% ORDER BY lyrox_line LOOP
        BEGIN
          %insert% WHERE lyrox_line = one;
          GET DIAGNOSTICS more = ROW_COUNT;
          good := good + more;
        EXCEPTION WHEN OTHERS THEN
          bad := bad + 1;
          INSERT INTO %refused% VALUES (one, SQLERRM || ' (' || SQLSTATE || ')');
        END;
      END LOOP;
    END;
    EXIT WHEN good = 0 AND bad >= 500;
    low := high + 1;
  END LOOP;
  INSERT INTO %refused% VALUES (0, good::text);
  INSERT INTO %refused% SELECT lyrox_line, '' FROM %stage% WHERE lyrox_line >= low%only%;
END $lyrox$";

impl PostgresLoader<'_> {
    /// Writes the rows of a plan the careful way.
    pub(super) async fn fill_staged(
        &mut self,
        fill: &mut Fill,
        table: &Table,
        mut plan: Plan,
        kept: &[String],
        why: Option<String>,
        events: &dyn Events,
    ) -> Result<Done> {
        let wanted = plan.rows;
        if why.is_some() {
            // Some will be refused: there are more to choose from.
            plan.rows = wanted.saturating_mul(3).saturating_add(50).min(wanted.saturating_add(50_000));
        }
        let names: Vec<Ident> = plan.columns().iter().map(|name| Ident::new(name)).collect::<Result<_>>()?;
        let columns: Vec<String> = names.iter().map(|name| format!("{name} pg_catalog.text")).collect();
        let make = format!(
            "CREATE TEMP TABLE lyrox_generated ({LINE} pg_catalog.int8 PRIMARY KEY, {}) ON COMMIT DROP; \
             CREATE TEMP TABLE lyrox_refused ({LINE} pg_catalog.int8, why pg_catalog.text) ON COMMIT DROP",
            columns.join(", ")
        );
        self.send(&make).await.map_err(|error| failed("the table to stage rows in cannot be made", &error))?;
        let source = Generated::new(&plan, kept, &table.name).numbered();
        let list = names.iter().map(Ident::to_string).collect::<Vec<_>>().join(", ");
        let copied = self.copy_source(&format!("{STAGE} ({LINE}, {list})"), &source, events).await?;
        copied.map_err(|error| failed("the staged rows cannot be written", &error))?;
        let harvest = source.harvest();

        let mut casts = Vec::with_capacity(names.len());
        for (name, at) in names.iter().zip(&plan.given) {
            casts.push(format!("{name}::{}", table.columns[*at].type_name));
        }
        let has_identity = table.columns.iter().any(|column| !column.identity.is_empty());
        let insert = format!(
            "INSERT INTO {} ({list}){} SELECT {} FROM {STAGE}",
            qualified(&fill.schema, &table.name)?,
            if has_identity { " OVERRIDING SYSTEM VALUE" } else { "" },
            casts.join(", ")
        );
        let mut good = 0;
        for (setting, only) in self.parties(table, &plan).await? {
            if !setting.is_empty() {
                self.send(&setting).await.map_err(|error| failed("the tenant cannot be set", &error))?;
            }
            let sql = LOOP
                .replace("%insert%", &insert)
                .replace("%only%", &only)
                .replace("%stage%", STAGE)
                .replace("%refused%", REFUSED)
                .replace("%wanted%", &(wanted - good).to_string());
            self.send("SAVEPOINT lyrox_table").await.map_err(|error| failed("a table cannot be begun", &error))?;
            if let Err(error) = self.send(&sql).await {
                self.send("ROLLBACK TO SAVEPOINT lyrox_table")
                    .await
                    .map_err(|error| failed("a table cannot be left", &error))?;
                self.send(&format!("DROP TABLE {STAGE}, {REFUSED}"))
                    .await
                    .map_err(|error| failed("the stage cannot be dropped", &error))?;
                fill.landed(table, None);
                return Ok(Done::none(words(&error)));
            }
            let rows = self
                .send(&format!("SELECT why FROM {REFUSED} WHERE {LINE} = 0; DELETE FROM {REFUSED} WHERE {LINE} = 0"))
                .await;
            let rows = rows.map_err(|error| failed("what was refused cannot be read", &error))?;
            good += rows.first().and_then(|row| text(row, 0)?.parse::<u64>().ok()).unwrap_or(0);
        }
        let sql = format!("SELECT {LINE}, why FROM {REFUSED} ORDER BY {LINE}; DROP TABLE {STAGE}, {REFUSED}");
        let rows = self.send(&sql).await.map_err(|error| failed("what was refused cannot be read", &error))?;
        let refused: BTreeSet<u64> = rows.iter().filter_map(|row| text(row, 0)?.parse().ok()).collect();
        let reason = rows.iter().filter_map(|row| text(row, 1)).find(|why| !why.is_empty());
        self.move_sequences(fill, table, plan.first + plan.rows + 1).await?;
        // Which of the rows landed is known by their numbers, unless a trigger may have changed them.
        let is_whole = (harvest.pool.rows.len() as u64) == harvest.made && good + refused.len() as u64 == harvest.made;
        let keeps = plan.first == 0 && is_whole && fill.keeps_keys(table, &plan, kept);
        let pool = keeps.then(|| {
            let mut pool = Pool::new(harvest.pool.columns.clone());
            for (row, line) in harvest.pool.rows.iter().zip(1..) {
                if !refused.contains(&line) {
                    pool.push(row.clone());
                }
            }
            pool
        });
        fill.landed(table, pool);
        fill.note_open(table, &plan);
        let reason = (good < wanted).then(|| reason.or(harvest.reason).or(why)).flatten();
        Ok(Done { added: good, reason })
    }

    /// Under which settings the rows are written, and which of them: policies ask for one tenant at a time.
    async fn parties(&mut self, table: &Table, plan: &Plan) -> Result<Vec<(String, String)>> {
        if !table.is_guarded {
            return Ok(vec![(String::new(), String::new())]);
        }
        let own = table.settings.iter().find(|setting| plan.columns().contains(&setting.column));
        let (name, column) = match (own, &self.terms.tenant_table, &self.terms.tenant_column) {
            (Some(setting), ..) => (setting.name.clone(), setting.column.clone()),
            (None, Some((tenants, key)), _) if *tenants == table.name => {
                (self.terms.tenant_setting.clone(), key.clone())
            }
            (None, _, Some(column)) if plan.columns().contains(column) => {
                (self.terms.tenant_setting.clone(), column.clone())
            }
            _ => return Ok(vec![(String::new(), String::new())]),
        };
        let column = Ident::new(&column)?;
        let rows = self.send(&format!("SELECT DISTINCT {column} FROM {STAGE} ORDER BY 1")).await;
        let rows = rows.map_err(|error| failed("the tenants of the rows cannot be read", &error))?;
        self.tenant.clear();
        Ok(rows
            .iter()
            .filter_map(|row| text(row, 0))
            .map(|tenant| {
                let setting = format!("SELECT pg_catalog.set_config({}, {}, true)", literal(&name), literal(&tenant));
                (setting, format!(" AND {column} = {}", literal(&tenant)))
            })
            .collect())
    }
}
