//! PostgreSQL taking seeds: one transaction for the whole set. Rows travel as JSON and are cast by the
//! server itself, so every type that has a text form can be seeded.

mod bulk;
mod compare;
mod describe;
mod generate;
mod rows;
mod script;

use std::collections::BTreeMap;

use serde_json::Value as Json;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Executor as _};

use self::describe::Table;
use super::PostgresStore;
use super::connect::text;
use super::error::{detail, hint, is_lost, reported, sqlstate, words};
use super::ident::literal;
use crate::engine::event::Events;
use crate::engine::ledger::actor;
use crate::error::{Code, Error, Place, Result};
use crate::project::seed::Script;
use crate::stores::load::{
    Batch, BulkDone, BulkLoad, Fields, FillOrder, Filled, Found, GenerateOrder, Load, Loader, Probe, RowDone, Shape,
    Terms,
};

/// Texts of times mean the same on every machine: what a further session is told.
const SESSION: &str = "SET TimeZone TO 'UTC'; SET DateStyle TO 'ISO, YMD'; SET IntervalStyle TO 'iso_8601'";

/// One run's transaction.
pub struct PostgresLoader<'a> {
    store: &'a mut PostgresStore,
    terms: Terms,
    tables: BTreeMap<String, Table>,
    /// What the policies' setting is now.
    tenant: String,
    /// Whether the transaction is open.
    is_open: bool,
    has_ledger: Option<bool>,
    /// The highest value given to a column with a sequence, by the sequence's name.
    sequences: BTreeMap<String, i64>,
}

impl Load for PostgresStore {
    type Loader<'a> = PostgresLoader<'a>;

    async fn loader(&mut self, terms: &Terms) -> Result<PostgresLoader<'_>> {
        let mut loader = PostgresLoader {
            store: self,
            terms: terms.clone(),
            tables: BTreeMap::new(),
            tenant: String::new(),
            is_open: false,
            has_ledger: None,
            sequences: BTreeMap::new(),
        };
        // Texts of times and bytes mean the same on every machine.
        let begin = format!(
            "BEGIN{}; SET LOCAL TimeZone TO 'UTC'; SET LOCAL DateStyle TO 'ISO, YMD'; \
             SET LOCAL IntervalStyle TO 'iso_8601'; SET LOCAL bytea_output TO 'hex'; {}",
            if terms.is_read_only { " READ ONLY" } else { "" },
            // A session that may be pooled has no settings before it takes the lock, which a part of another run does not:
            // the names of a script are looked up in the project's schema all the same, a tenant's in its own.
            loader.store.settings.sql_local(&loader.store.facts)
        );
        loader.send(&begin).await.map_err(|error| failed("the seed transaction cannot begin", &error))?;
        loader.is_open = true;
        let tenant = loader.own_tenant();
        loader.enter(&tenant).await?;
        Ok(loader)
    }
}

impl PostgresLoader<'_> {
    /// Sends statements without parameters; answers every row.
    async fn send(&mut self, sql: &str) -> Result<Vec<PgRow>, sqlx::Error> {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_all(&mut self.store.connection).await
    }

    /// Sends a statement that writes; answers how many rows it touched.
    async fn run(&mut self, sql: &str) -> Result<u64, sqlx::Error> {
        let done = self.store.connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await?;
        Ok(done.rows_affected())
    }

    /// The tenant that the run is for; empty: none.
    fn own_tenant(&self) -> String {
        self.terms.tenant.as_ref().map(|tenant| tenant.key().to_owned()).unwrap_or_default()
    }

    /// Makes the policies see a tenant, until the transaction ends.
    async fn enter(&mut self, tenant: &str) -> Result<()> {
        if self.tenant == tenant {
            return Ok(());
        }
        let sql =
            format!("SELECT pg_catalog.set_config({}, {}, true)", literal(&self.terms.tenant_setting), literal(tenant));
        self.send(&sql).await.map_err(|error| failed("the tenant cannot be set", &error))?;
        self.tenant = tenant.to_owned();
        Ok(())
    }

    fn table(&self, shape: &Shape) -> Result<Table> {
        self.tables.get(&shape.target).cloned().ok_or_else(|| Error::bug("a target that was not described"))
    }

    /// The error of rows that the server refused, with what it means for a seed.
    async fn refused(&mut self, shape: &Shape, place: Option<Place>, error: &sqlx::Error) -> Error {
        let what = format!("PostgreSQL refused a row of `{}`", shape.target);
        let code = if is_lost(error) { Code::ConnectClosed } else { Code::SeedFailed };
        let mut why = words(error);
        if let Some(detail) = detail(error) {
            why.push('\n');
            why.push_str(&detail);
        }
        let mut found = Error::new(code, what).why(why);
        if let Some(place) = place {
            found = found.at(place);
        }
        let is_policy = sqlstate(error) == Some("42501") && shape.is_guarded;
        match sqlstate(error) {
            Some("42501") if is_policy => {
                let policies = self.policies(shape).await;
                found.hint(format!(
                    "the rows of `{}` pass {policies}; add a policy that lets this role insert, or name a role with BYPASSRLS in direct_url",
                    shape.target
                ))
            }
            Some("23505") if shape.is_guarded => found.hint(
                "a policy may hide the row that has this key: give the row the tenant and id of the stored one, or delete that one",
            ),
            Some("23503") if reported(error).is_some_and(|report| report.message().contains("insert or update")) => {
                found.hint("add the row it points at to the set, or mend the value")
            }
            _ => match hint(error) {
                Some(hint) => found.hint(hint),
                None => found,
            },
        }
    }

    /// The policies of a table, for a message. Needs a transaction that is not aborted.
    async fn policies(&mut self, shape: &Shape) -> String {
        let Ok(table) = self.table(shape) else { return "its policies".into() };
        let sql = format!(
            "SELECT pg_catalog.string_agg(pg_catalog.format('policy %I', polname), ', ' ORDER BY polname) \
             FROM pg_catalog.pg_policy WHERE polrelid = {}",
            table.oid
        );
        let rows = self.send(&sql).await.unwrap_or_default();
        rows.first()
            .and_then(|row| text(row, 0))
            .unwrap_or_else(|| "no policy: there is none, so nothing passes".into())
    }

    /// Whether there is a ledger of seeds; looked up once.
    async fn has_ledger(&mut self) -> Result<bool> {
        if let Some(known) = self.has_ledger {
            return Ok(known);
        }
        let rows = self.send("SELECT pg_catalog.to_regclass('lyrox.seeds') IS NOT NULL").await;
        let rows = rows.map_err(|error| failed("the ledger of seeds cannot be read", &error))?;
        let has = rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t");
        self.has_ledger = Some(has);
        Ok(has)
    }

    /// Makes the ledger of seeds where there is none.
    async fn make_ledger(&mut self) -> Result<()> {
        if !self.has_ledger().await? {
            let make = "CREATE SCHEMA IF NOT EXISTS lyrox; \
                CREATE TABLE IF NOT EXISTS lyrox.seeds (project text NOT NULL, file text NOT NULL, \
                checksum text NOT NULL, applied_at timestamptz NOT NULL DEFAULT pg_catalog.now(), \
                actor text NOT NULL, PRIMARY KEY (project, file))";
            self.send(make).await.map_err(|error| failed("the ledger of seeds cannot be made", &error))?;
            self.has_ledger = Some(true);
        }
        Ok(())
    }

    async fn remember_row(&mut self, file: &str, checksum: &str) -> Result<()> {
        let sql = format!(
            "INSERT INTO lyrox.seeds (project, file, checksum, actor) VALUES ({}, {}, {}, {actor}) \
             ON CONFLICT (project, file) DO UPDATE SET checksum = excluded.checksum, \
             applied_at = pg_catalog.now(), actor = excluded.actor",
            literal(&self.store.project),
            literal(file),
            literal(checksum),
            actor = literal(&actor()),
        );
        self.send(&sql).await.map_err(|error| failed("the ledger of seeds cannot be written", &error))?;
        Ok(())
    }

    /// Moves sequences past the values that rows were given, so that the next default does not collide.
    async fn advance_sequences(&mut self) -> Result<()> {
        for (sequence, value) in std::mem::take(&mut self.sequences) {
            // Away from where it comes from and never back, whichever way it counts.
            let sql = format!(
                "SELECT pg_catalog.setval(s.seqrelid, {value}) FROM {sequence} q, pg_catalog.pg_sequence s \
                 WHERE s.seqrelid = {}::regclass AND ({value} = q.last_value AND NOT q.is_called \
                   OR CASE WHEN s.seqincrement > 0 THEN {value} > q.last_value ELSE {value} < q.last_value END)",
                literal(&sequence)
            );
            self.send(&sql).await.map_err(|error| failed("a sequence cannot be moved past the seeded ids", &error))?;
        }
        Ok(())
    }
}

/// The error of a statement of lyrox's own.
fn failed(what: &str, error: &sqlx::Error) -> Error {
    super::error::server_error(Code::SeedFailed, what, error)
}

impl Loader for PostgresLoader<'_> {
    async fn describe(&mut self, targets: &[String]) -> Result<Vec<Shape>> {
        self.describe_targets(targets).await
    }

    async fn find(
        &mut self,
        shape: &Shape,
        key: &[String],
        wanted: &[String],
        probes: &[Probe],
    ) -> Result<Vec<Option<Found>>> {
        self.find_rows(shape, key, wanted, probes).await
    }

    /// The primary key's one column; of several, the one that is called `id`.
    fn identity(&self, shape: &Shape, fields: &Fields) -> Option<Json> {
        let name = match shape.identity.as_slice() {
            [name] => name,
            several => several.iter().find(|name| name.eq_ignore_ascii_case("id"))?,
        };
        fields.get(name).filter(|value| !value.is_null()).cloned()
    }

    async fn reserve(&mut self, shape: &Shape, count: usize) -> Result<Vec<Json>> {
        let table = self.table(shape)?;
        let [name] = shape.identity.as_slice() else { return Ok(Vec::new()) };
        let sequence = table.columns.get(name).and_then(|column| column.sequence.clone());
        let Some(sequence) = sequence.filter(|_| shape.field(name).is_some_and(|field| field.has_sequence)) else {
            return Ok(Vec::new());
        };
        let sql = format!(
            "SELECT pg_catalog.nextval({}::regclass) FROM pg_catalog.generate_series(1, {count})",
            literal(&sequence)
        );
        let rows = self.send(&sql).await.map_err(|error| failed("ids cannot be taken from a sequence", &error))?;
        Ok(rows.iter().filter_map(|row| text(row, 0)?.parse::<i64>().ok()).map(Json::from).collect())
    }

    async fn write(&mut self, batches: &[Batch<'_>]) -> Result<Vec<Vec<RowDone>>> {
        self.write_rows(batches).await
    }

    async fn remove_others(&mut self, shape: &Shape, key: &[String], keep: &[Probe]) -> Result<u64> {
        self.remove_rows(shape, key, keep).await
    }

    async fn bulk(&mut self, load: &BulkLoad<'_>, events: &dyn Events) -> Result<BulkDone> {
        self.load_bulk(load, events).await
    }

    async fn targets(&mut self) -> Result<u64> {
        self.count_targets().await
    }

    async fn fill(&mut self, order: &FillOrder, events: &dyn Events) -> Result<Vec<Filled>> {
        self.fill_tables(order, events).await
    }

    async fn generate(&mut self, order: &GenerateOrder<'_>, events: &dyn Events) -> Result<BulkDone> {
        self.generate_block(order, events).await
    }

    fn check_script(&self, script: &Script) -> Result<()> {
        script::check(script).map(|_| ())
    }

    async fn script(&mut self, script: &Script, name: &str) -> Result<()> {
        self.run_script(script).await?;
        self.remember(name, &script.checksum).await
    }

    async fn applied(&mut self, file: &str) -> Result<Option<String>> {
        if !self.has_ledger().await? {
            return Ok(None);
        }
        let sql = format!(
            "SELECT checksum FROM lyrox.seeds WHERE project = {} AND file = {}",
            literal(&self.store.project),
            literal(file)
        );
        let rows = self.send(&sql).await.map_err(|error| failed("the ledger of seeds cannot be read", &error))?;
        Ok(rows.first().and_then(|row| text(row, 0)))
    }

    async fn remember(&mut self, file: &str, checksum: &str) -> Result<()> {
        self.make_ledger().await?;
        self.remember_row(file, checksum).await
    }
    async fn flush(&mut self) -> Result<()> {
        // Deferred constraints are checked while a rollback still undoes everything.
        let checked = self.send("SET CONSTRAINTS ALL IMMEDIATE").await;
        checked.map(|_| ()).map_err(|error| failed("the seeded rows break a deferred constraint", &error))
    }

    async fn commit(&mut self) -> Result<()> {
        if self.terms.is_dry {
            self.abandon().await;
            return Ok(());
        }
        self.advance_sequences().await?;
        match self.send("COMMIT").await {
            Ok(_) => self.is_open = false,
            Err(error) if sqlstate(&error).is_none() => {
                return Err(Error::new(Code::InDoubt, "the connection was lost while the seeds were committed")
                    .why(words(&error))
                    .data("PostgreSQL has all of the seeds or none of them")
                    .hint("run lyrox db seed again: it writes what is missing and nothing else"));
            }
            Err(error) => return Err(failed("the seeds cannot be committed", &error)),
        }
        // A script may have changed the session; the lock stays with it.
        let settings = self.store.settings.sql(&self.store.facts);
        self.send(&settings).await.map_err(|error| failed("the session cannot be set up again", &error))?;
        Ok(())
    }

    async fn abandon(&mut self) {
        if std::mem::take(&mut self.is_open) {
            // A connection that is lost has rolled back already.
            let _ = self.send("ROLLBACK").await;
        }
    }
}
