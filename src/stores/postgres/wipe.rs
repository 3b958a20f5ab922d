//! Removing what the project owns, in batches that fit the server's lock table. Nothing that is kept is
//! ever dropped or changed through a CASCADE: what depends on the objects to go is looked at first.

use super::connect::text;
use super::error::{catalog_error, server_error, sqlstate};
use super::holdings::Object;
use super::ident::literal;
use super::{PostgresStore, run};
use crate::engine::event::{Event, Events};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::told;

const DEPENDENTS: &str = include_str!("dependents.sql");

/// A transaction locks at most so many relations: the default lock table holds 6,400, shared by all.
const LARGEST: usize = 500;

/// In this order: what looks at tables, tables, what tables look at.
const ORDER: [&str; 13] = [
    "view",
    "materialized view",
    "foreign table",
    "table",
    "sequence",
    "procedure",
    "function",
    "aggregate",
    "type",
    "text search configuration",
    "text search dictionary",
    "collation",
    "schema",
];

impl PostgresStore {
    /// Writes `resetting`, and what is to be kept.
    pub(super) async fn mark_resetting(&mut self) -> Result<()> {
        let kept: Vec<String> =
            self.objects().await?.iter().filter(|object| !object.is_owned).map(Object::key).collect();
        let json = serde_json::to_string(&kept).map_err(|error| Error::bug(format!("a list: {error}")))?;
        let sql = format!(
            "UPDATE lyrox.environment SET resetting_since = coalesce(resetting_since, pg_catalog.clock_timestamp()), \
             kept_objects = coalesce(kept_objects, {}) WHERE project = {}; {}",
            literal(&json),
            literal(&self.project),
            self.event("resetting", None, None, None)
        );
        self.write(sql, "the reset cannot be begun").await
    }

    /// Removes the objects and the ledger's rows.
    pub(super) async fn drop_objects(&mut self, include_foreign: bool, events: &dyn Events) -> Result<u64> {
        let mut objects = self.objects().await?;
        objects.retain(|object| object.is_owned || include_foreign);
        self.refuse_dependents(&objects).await?;
        objects.sort_by_key(|object| {
            let place = ORDER.iter().position(|kind| *kind == object.kind).unwrap_or(ORDER.len());
            // A table that many point at goes last: its CASCADE then meets nobody.
            (place, object.referenced)
        });
        let total = objects.len();
        let mut done = 0;
        let mut rest = objects.as_slice();
        while !rest.is_empty() {
            let count = batch(rest);
            let (now, later) = rest.split_at(count);
            self.drop_batch(now).await?;
            done += count;
            rest = later;
            events.event(Event::Progress {
                task: "dropping".into(),
                store: Some(StoreKind::Postgres),
                done: done as u64,
                total: Some(total as u64),
                unit: "objects",
            });
        }
        let (project, scope) = (literal(&self.project), self.scope());
        // Made by the first seed that needs it.
        let seeds = run(
            &mut self.connection,
            "SELECT FROM pg_catalog.pg_class WHERE oid = pg_catalog.to_regclass('lyrox.seeds')".into(),
        );
        let seeds = seeds.await.map_err(|error| catalog_error("the ledger of seeds cannot be looked up", &error))?;
        let seeds = if seeds.is_empty() {
            String::new()
        } else {
            format!("DELETE FROM lyrox.seeds WHERE project = {project};")
        };
        let tenants = self.forget_rows().await?;
        let sql = format!(
            "BEGIN; {seeds} {tenants} DELETE FROM lyrox.migrations WHERE {scope}; DELETE FROM lyrox.snapshots WHERE {scope}; {} {} COMMIT",
            self.drop_history(),
            self.event("wiped", None, None, None)
        );
        if let Err(error) = self.write(sql, "the ledger cannot be emptied").await {
            let _ = run(&mut self.connection, "ROLLBACK".into()).await;
            return Err(error);
        }
        self.found = None;
        let item = told::wiped(StoreKind::Postgres, &self.facts.database, total as u64);
        item.into_iter().for_each(|item| events.item(item));
        Ok(total as u64)
    }

    /// Clears `resetting`.
    pub(super) async fn clear_resetting(&mut self) -> Result<()> {
        let sql = format!(
            "UPDATE lyrox.environment SET resetting_since = NULL, kept_objects = NULL WHERE project = {}; {}",
            literal(&self.project),
            self.event("reset", None, None, None)
        );
        self.write(sql, "the reset cannot be ended").await
    }

    /// Stops where something that is to be kept depends on something that is to go.
    async fn refuse_dependents(&mut self, objects: &[Object]) -> Result<()> {
        let list = |class: &str| {
            let oids: Vec<&str> =
                objects.iter().filter(|object| object.class == class).map(|object| object.oid.as_str()).collect();
            format!("'{{{}}}'", oids.join(","))
        };
        let sql = DEPENDENTS
            .replace("{relations}", &list("pg_class"))
            .replace("{functions}", &list("pg_proc"))
            .replace("{types}", &list("pg_type"));
        let rows = run(&mut self.connection, sql)
            .await
            .map_err(|error| catalog_error("the catalog cannot be read", &error))?;
        if rows.is_empty() {
            return Ok(());
        }
        let pairs: Vec<String> = rows
            .iter()
            .map(|row| format!("{} depends on {}", text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default()))
            .collect();
        Err(Error::new(Code::ResetFailed, "something that is not the project's depends on what a reset removes")
            .why(pairs.join("\n"))
            .data("nothing was dropped; the store is marked as resetting")
            .hint("drop it by hand, or pass --include-foreign to remove foreign objects as well"))
    }

    /// Drops objects of one kind in one transaction; smaller ones where the lock table is full.
    async fn drop_batch(&mut self, objects: &[Object]) -> Result<()> {
        let mut queue = vec![objects];
        while let Some(now) = queue.pop() {
            let Some(first) = now.first() else { continue };
            let names: Vec<&str> = now.iter().map(|object| object.quoted.as_str()).collect();
            // A schema that is not empty holds something foreign, and stays.
            let cascade = if first.kind == "schema" { "" } else { " CASCADE" };
            let word = match first.kind {
                "function" | "procedure" | "aggregate" => "ROUTINE".to_owned(),
                kind => kind.to_uppercase(),
            };
            let sql = format!("DROP {word} IF EXISTS {}{cascade}", names.join(", "));
            let Err(error) = run(&mut self.connection, sql).await else { continue };
            match sqlstate(&error) {
                Some("53200" | "40P01" | "55P03" | "2BP01") if now.len() > 1 => {
                    let (front, back) = now.split_at(now.len() / 2);
                    queue.extend([back, front]);
                }
                Some("2BP01") if first.kind == "schema" => {}
                _ => {
                    return Err(server_error(Code::ResetFailed, format!("{} cannot be dropped", first.key()), &error)
                        .data("some objects are dropped; the store stays marked as resetting")
                        .hint_if_none("run lyrox db reset again: it goes on"));
                }
            }
        }
        Ok(())
    }
}

/// How many of the first objects, all of one kind, fit one transaction.
fn batch(objects: &[Object]) -> usize {
    let mut weight = 0;
    let kind = objects.first().map(|object| object.kind);
    let fits = objects.iter().take_while(|object| {
        weight += object.weight;
        Some(object.kind) == kind && weight <= LARGEST
    });
    fits.count().max(1)
}
