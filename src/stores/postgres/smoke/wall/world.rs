//! Two tenants with a row in every table, and what the one tries at the other's: all of it in a few messages.

use std::collections::BTreeMap;

use super::super::PostgresSmoke;
use super::super::attempt::Unmade;
use super::super::attempts::{Attempt, Attempted};
use super::super::catalog::Table;
use super::super::row::{Ask as Wanted, Insert, Values, condition, sql, tenant_column};
use super::judge::{Aim, Try};
use crate::config::file::Tenancy;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::tenant_verify::Ask;

/// The rows of one made-up tenant.
#[derive(Default)]
pub(super) struct World {
    /// Its key.
    pub(super) key: String,
    /// All that was written for it, in order.
    pub(super) inserts: Vec<Insert>,
    /// Its row in each table.
    pub(super) rows: BTreeMap<String, Values>,
}

/// A policy that applies to the role.
struct Rule {
    table: String,
    name: String,
    /// `*`, `r`, `a`, `w`, `d`.
    command: String,
    is_permissive: bool,
    qual: Option<String>,
    check: Option<String>,
}

impl Rule {
    /// What it asks of a row for a command: what is there for all but INSERT, what comes to be for that.
    fn asks(&self, command: &str) -> Option<&str> {
        if self.command != "*" && self.command != command {
            return None;
        }
        if command == "a" { self.check.as_deref().or(self.qual.as_deref()) } else { self.qual.as_deref() }
    }
}

impl PostgresSmoke<'_> {
    /// Tables whose rows belong to tenants: by their own column, or by a foreign key that leads to one.
    pub(super) fn walled(&self, tenancy: &Tenancy) -> Vec<String> {
        let mut walled: Vec<String> = self.tenant_tables();
        loop {
            let more: Vec<String> = self
                .catalog
                .tables
                .values()
                .filter(|table| !walled.contains(&table.name) && !tenancy.global.contains(&table.name))
                .filter(|table| {
                    table.foreign_keys().any(|key| key.parent.as_ref().is_some_and(|parent| walled.contains(parent)))
                })
                .map(|table| table.name.clone())
                .collect();
            if more.is_empty() {
                // Parents first, as far as the alphabet allows: rows of children find them there.
                return walled;
            }
            walled.extend(more);
        }
    }

    pub(super) async fn try_world(&mut self, ask: &Ask<'_>, role: &str, proof: &mut Proof) -> Result<()> {
        let tenancy = &ask.terms.tenancy;
        let tables = self.walled(tenancy);
        if tables.is_empty() {
            proof.untried("no_tables", "made-up tenants", "no table carries a tenant", "lyrox db migrate");
            return Ok(());
        }
        let near = tables[0].clone();
        let (Some(ours), Some(theirs)) = (self.draw_tenant(&near), self.draw_tenant(&near)) else {
            proof.untried("no_tenant_made", "made-up tenants", "no value is known for the tenant column", "");
            return Ok(());
        };
        let is_unset = self.begin_world(tenancy).await?;
        let found = self.in_world(ask, role, &tables, [ours, theirs], is_unset, proof).await;
        self.end_test();
        self.flush().await?;
        found
    }

    /// Begins the transaction; whether the session has never known the setting, and rows can be written without it.
    async fn begin_world(&mut self, tenancy: &Tenancy) -> Result<bool> {
        let setting = literal(&tenancy.setting);
        let begin = format!(
            "BEGIN; SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL lock_timeout = '3s'; SET LOCAL statement_timeout = '20s'; \
             SELECT pg_catalog.current_setting({setting}, true) IS NULL"
        );
        let is_null = match self.send(&begin).await? {
            Ok(rows) => rows.last().and_then(|row| text(row, 0)).as_deref() == Some("t"),
            Err(_) => false,
        };
        Ok(is_null && !self.catalog.tables.values().any(|table| table.is_guarded))
    }

    async fn in_world(
        &mut self,
        ask: &Ask<'_>,
        role: &str,
        tables: &[String],
        [ours, theirs]: [String; 2],
        is_unset: bool,
        proof: &mut Proof,
    ) -> Result<()> {
        let tenancy = &ask.terms.tenancy;
        self.queue("SAVEPOINT lyrox_us;");
        let us = self.populate(tables, &ours, is_unset, proof).await?;
        self.queue("SAVEPOINT lyrox_them;");
        let them = self.populate(tables, &theirs, is_unset, proof).await?;
        self.queue("SAVEPOINT lyrox_rows;");
        if is_unset {
            self.try_nobody(tables, role, tenancy, "never set", "", &us, &them, proof).await?;
        }
        let empty = format!("SELECT pg_catalog.set_config({}, '', true);", literal(&tenancy.setting));
        self.try_nobody(tables, role, tenancy, "''", &empty, &us, &them, proof).await?;
        let mut tries = self.tries(tables, tenancy, &us, &them)?;
        tries.extend(self.policies(tables, role, &them).await?);
        if let Err(why) = self.become_application(role).await? {
            let close = format!("GRANT {} TO {}", Ident::new(role)?, Ident::new(&self.store.facts.user)?);
            proof.untried("become", format!("role {}", Ident::new(role)?), why, close);
            return Ok(());
        }
        let act = self.set_tenant(Some(&us.key));
        let attempts: Vec<Attempt> = tries.iter().map(|one| one.attempt.clone()).collect();
        let said = self.attempts(&format!("{act}SAVEPOINT lyrox_rows;"), &attempts).await?;
        self.judge_tries(tenancy, role, tries, said, proof)?;
        self.try_copy(tables, role, &us, &them, proof).await?;
        self.try_built(ask, role, &us, &them, proof).await
    }

    /// A row in each table for one tenant. A table that takes none is told: nothing was tried there.
    async fn populate(&mut self, tables: &[String], key: &str, is_unset: bool, proof: &mut Proof) -> Result<World> {
        let mut world = World { key: key.to_owned(), ..World::default() };
        for name in tables {
            let Some(table) = self.catalog.tables.get(name).cloned() else { continue };
            if let Some(there) = world.inserts.iter().rev().find(|insert| insert.table == *name && insert.of.is_none())
            {
                world.rows.insert(name.clone(), there.values.clone());
                continue;
            }
            // What has no tenant's column is somebody's by its parents.
            let keys = table.foreign_keys().map(|key| key.name.clone()).collect();
            let tenancy = self.run.config.settings.tenancy.clone().unwrap_or_default();
            let wanted = match tenant_column(&table, &tenancy) {
                Some(_) => Wanted::default(),
                None => Wanted { keys, ..Wanted::default() },
            };
            let set = if is_unset { String::new() } else { self.set_tenant(Some(key)) };
            self.queue(&format!("SAVEPOINT lyrox_table; {set}"));
            let before = world.inserts.clone();
            match self.make_after(Some(key), &before, |chain| chain.row(name, &wanted)).await? {
                Ok((row, inserts, _)) => {
                    world.inserts = inserts;
                    world.rows.insert(name.clone(), row);
                }
                Err(Unmade::Unknown(reason) | Unmade::Fault(reason)) => {
                    self.queue("ROLLBACK TO SAVEPOINT lyrox_table;");
                    proof.untried(
                        "no_row",
                        format!("table {}", Ident::new(name)?),
                        format!("no row could be made: {reason}"),
                        format!("a seed of `{name}` for two tenants, then: lyrox tenant verify --all"),
                    );
                }
            }
        }
        Ok(world)
    }

    /// Without a tenant there are no rows, and no error.
    #[allow(clippy::too_many_arguments, reason = "what a try is made of")]
    async fn try_nobody(
        &mut self,
        tables: &[String],
        role: &str,
        tenancy: &Tenancy,
        state: &str,
        set: &str,
        us: &World,
        them: &World,
        proof: &mut Proof,
    ) -> Result<()> {
        if self.become_application(role).await?.is_err() {
            // Said where the tenants are tried.
            return Ok(());
        }
        let mut names = Vec::new();
        let mut attempts = Vec::new();
        for name in tables.iter().filter(|name| us.rows.contains_key(*name) && them.rows.contains_key(*name)) {
            let object = format!("table {}", Ident::new(name)?);
            if proof.leaks(&object) {
                continue;
            }
            names.push(name);
            let sql = format!("SELECT count(*) FROM (SELECT FROM {} LIMIT 1) part", Ident::new(name)?);
            attempts.push(Attempt { sql, is_count: true });
        }
        let said = self.attempts(&format!("{set}SAVEPOINT lyrox_rows;"), &attempts).await?;
        self.queue("ROLLBACK TO SAVEPOINT lyrox_rows; RESET ROLE; SAVEPOINT lyrox_rows;");
        let setting = &tenancy.setting;
        for (name, said) in names.into_iter().zip(said) {
            let object = format!("table {}", Ident::new(name)?);
            match said {
                Ok(0) => proof.held(1),
                Err(refused) if refused.code == "42501" => proof.held(1),
                Ok(_) => proof.leak(
                    "unset",
                    object,
                    format!("SELECT as {role} with `{setting}` {state} shows rows"),
                    self.policy_of(name, tenancy)?,
                ),
                Err(refused) if refused.code == "57014" => {
                    proof.untried("slow", object, format!("reading it with `{setting}` {state} took too long"), "");
                }
                Err(refused) => proof.leak(
                    "setting_error",
                    object,
                    format!(
                        "SELECT as {role} with `{setting}` {state} fails instead of showing nothing: {}",
                        refused.words
                    ),
                    self.policy_of(name, tenancy)?,
                ),
            }
        }
        Ok(())
    }

    /// The policy that a table should have, as a statement.
    pub(super) fn policy_of(&self, name: &str, tenancy: &Tenancy) -> Result<String> {
        let full = format!("{}.{}", self.store.settings.schema, Ident::new(name)?);
        let table = self.catalog.tables.get(name);
        let Some(column) = table.and_then(|table| tenant_column(table, tenancy)) else {
            return Ok(format!(
                "ALTER POLICY ... ON {full} USING (EXISTS (SELECT FROM the parent that carries the tenant))"
            ));
        };
        let type_name =
            table.and_then(|table| table.column(&column)).map_or("text", |column| column.type_name.as_str());
        let value = format!("nullif(current_setting({}, true), '')", literal(&tenancy.setting));
        let value =
            if matches!(type_name, "text" | "character varying") { value } else { format!("{value}::{type_name}") };
        let test = format!("{} = {value}", Ident::new(&column)?);
        Ok(format!("ALTER POLICY ... ON {full} USING ({test}) WITH CHECK ({test})"))
    }

    /// What is tried, table by table.
    fn tries(&mut self, tables: &[String], tenancy: &Tenancy, us: &World, them: &World) -> Result<Vec<Try>> {
        let mut tries = Vec::new();
        for name in tables {
            let (Some(our), Some(their)) = (us.rows.get(name), them.rows.get(name)) else { continue };
            let Some(table) = self.catalog.tables.get(name).cloned() else { continue };
            self.tries_at(&table, tenancy, us, them, our, their, &mut tries)?;
        }
        Ok(tries)
    }

    #[allow(clippy::too_many_arguments, reason = "what a try is made of")]
    fn tries_at(
        &mut self,
        table: &Table,
        tenancy: &Tenancy,
        us: &World,
        them: &World,
        our: &Values,
        their: &Values,
        tries: &mut Vec<Try>,
    ) -> Result<()> {
        let shown = Ident::new(&table.name)?;
        let key: Vec<String> = match table.primary_key() {
            [] => our.keys().cloned().collect(),
            key => key.to_vec(),
        };
        let (our_key, their_key) = (condition(our, key.iter())?, condition(their, key.iter())?);
        let own = tenant_column(table, tenancy);
        let column = Ident::new(&own.clone().or_else(|| key.first().cloned()).unwrap_or_default())?;
        let mut add = |aim: Aim, sql: String, is_count: bool| {
            tries.push(Try { table: table.name.clone(), aim, attempt: Attempt { sql, is_count } });
        };
        let changed = |change: &str| format!("WITH changed AS ({change} RETURNING 1) SELECT count(*) FROM changed");
        add(Aim::Own, format!("SELECT count(*) FROM {shown} WHERE {our_key}"), true);
        add(Aim::Reads, format!("SELECT count(*) FROM {shown} WHERE {their_key}"), true);
        if own.is_some() {
            let foreign = format!("{column} IS DISTINCT FROM {}", literal(&us.key));
            add(Aim::Lists, format!("SELECT count(*) FROM (SELECT FROM {shown} WHERE {foreign} LIMIT 1) part"), true);
        }
        add(Aim::Changes, changed(&format!("UPDATE {shown} SET {column} = {column} WHERE {their_key}")), true);
        add(Aim::Deletes, changed(&format!("DELETE FROM {shown} WHERE {their_key}")), true);
        let is_tenants_own = tenancy.table.as_deref() == Some(table.name.as_str());
        if !is_tenants_own && own.is_some() {
            let moved = format!("UPDATE {shown} SET {column} = {} WHERE {our_key}", literal(&them.key));
            add(Aim::Gives, changed(&moved), true);
        }
        if !is_tenants_own {
            let mut chain = self.chain(Some(&them.key)).after(&them.inserts);
            let keys = if own.is_none() {
                table.foreign_keys().map(|key| key.name.clone()).collect()
            } else {
                Default::default()
            };
            if chain.row(&table.name, &Wanted { keys, ..Wanted::default() }).is_ok() {
                let planted = chain.inserts[them.inserts.len()..].to_vec();
                add(Aim::Plants, sql(&self.catalog, &planted, false)?.join(";"), false);
            }
        }
        self.tries_at_keys(table, tenancy, us, their, tries)?;
        self.tries_at_parents(table, tenancy, us, them, tries)
    }

    /// A unique key that does not hold the tenant tells who has a value.
    fn tries_at_keys(
        &mut self,
        table: &Table,
        tenancy: &Tenancy,
        us: &World,
        their: &Values,
        tries: &mut Vec<Try>,
    ) -> Result<()> {
        let own = tenant_column(table, tenancy);
        if tenancy.table.as_deref() == Some(table.name.as_str()) {
            return Ok(());
        }
        for index in table.indexes.iter().filter(|index| index.is_unique && index.is_valid) {
            if own.as_ref().is_some_and(|own| index.uses.contains(own)) {
                continue;
            }
            // Nobody guesses what the database draws, and a row's own key by its parent says what the parent's does.
            let is_drawn = index.uses.iter().all(|name| {
                table.column(name).is_some_and(|column| {
                    column.base == "uuid" || !column.identity.is_empty() || column.sequence.is_some()
                }) || table.foreign_keys().any(|key| key.columns.contains(name))
            });
            let is_primary = table.primary_key().iter().all(|name| index.uses.contains(name))
                && !table.primary_key().is_empty()
                && index.uses.len() == table.primary_key().len();
            if is_drawn || (is_primary && table.primary_key().len() == 1 && self.is_random(table)) {
                continue;
            }
            let values: Values =
                index.uses.iter().filter_map(|name| Some((name.clone(), their.get(name)?.clone()))).collect();
            let is_whole = values.len() == index.uses.len() && values.values().all(Option::is_some);
            let mut chain = self.chain(Some(&us.key)).after(&us.inserts);
            let fill = index.uses.iter().cloned().collect();
            let planned = is_whole && chain.row(&table.name, &Wanted { values, fill, ..Wanted::default() }).is_ok();
            let inserts = std::mem::take(&mut chain.inserts);
            let aim = Aim::Tells { index: index.name.clone(), columns: index.uses.clone() };
            let sql = if planned {
                sql(&self.catalog, &inserts[us.inserts.len()..], false)?.join(";")
            } else {
                // The index says it all by itself.
                "SELECT 0".to_owned()
            };
            tries.push(Try { table: table.name.clone(), aim, attempt: Attempt { sql, is_count: false } });
        }
        Ok(())
    }

    /// A text key that the application draws, such as a cuid: it has no default, and nobody guesses it. A number is guessed.
    fn is_random(&self, table: &Table) -> bool {
        let [name] = table.primary_key() else { return false };
        table.column(name).is_some_and(|column| column.category == "S" && name.to_lowercase().ends_with("id"))
    }

    /// A foreign key without the tenant lets a row refer to another tenant's.
    fn tries_at_parents(
        &mut self,
        table: &Table,
        tenancy: &Tenancy,
        us: &World,
        them: &World,
        tries: &mut Vec<Try>,
    ) -> Result<()> {
        let own = tenant_column(table, tenancy);
        for key in table.foreign_keys() {
            let Some(parent) = key.parent.as_ref().filter(|parent| tenancy.table.as_ref() != Some(*parent)) else {
                continue;
            };
            if own.as_ref().is_some_and(|own| key.columns.contains(own)) {
                continue;
            }
            let (Some(known), Some(there)) = (self.catalog.tables.get(parent), them.rows.get(parent)) else { continue };
            let is_guessed = key
                .parent_columns
                .iter()
                .any(|name| known.column(name).is_some_and(|column| column.base != "uuid" && column.category != "S"));
            let mut values = Values::new();
            for (column, there_column) in key.columns.iter().zip(&key.parent_columns) {
                let Some(value) = there.get(there_column) else { continue };
                values.insert(column.clone(), value.clone());
            }
            if values.len() != key.columns.len() {
                continue;
            }
            let mut chain = self.chain(Some(&us.key)).after(&us.inserts);
            // Given on purpose: the row is not to get a parent of its own.
            let orphan = key.columns.iter().cloned().collect();
            if chain.row(&table.name, &Wanted { values, orphan, ..Wanted::default() }).is_err() {
                continue;
            }
            let inserts = std::mem::take(&mut chain.inserts);
            let aim = Aim::Refers {
                key: key.name.clone(),
                columns: key.columns.clone(),
                parent: parent.clone(),
                parent_columns: key.parent_columns.clone(),
                is_guessed,
            };
            let sql = sql(&self.catalog, &inserts[us.inserts.len()..], false)?.join(";");
            tries.push(Try { table: table.name.clone(), aim, attempt: Attempt { sql, is_count: false } });
        }
        Ok(())
    }

    /// Each policy by itself, asked whether it lets the other tenant's row through: without touching it, for every
    /// command, and by name.
    async fn policies(&mut self, tables: &[String], role: &str, them: &World) -> Result<Vec<Try>> {
        let schema = literal(self.store.settings.schema.name());
        let set = self.set_tenant(Some(&them.key));
        let mut sql = format!(
            "{set} SELECT 'policy', c.relname, p.polname, p.polcmd::text, p.polpermissive::text, pg_catalog.pg_get_expr(p.polqual, p.polrelid), \
             pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, pg_catalog.pg_roles r WHERE n.nspname = {schema} AND c.relrowsecurity AND r.rolname = {} \
             AND (0 = ANY (p.polroles) OR EXISTS (SELECT FROM pg_catalog.unnest(p.polroles) x WHERE x <> 0 AND pg_catalog.pg_has_role(r.oid, x, 'MEMBER'))) ORDER BY 2, 3;",
            literal(role)
        );
        for name in tables {
            let (Some(their), Some(table)) = (them.rows.get(name), self.catalog.tables.get(name)) else { continue };
            let key: Vec<String> = match table.primary_key() {
                [] => their.keys().cloned().collect(),
                key => key.to_vec(),
            };
            let shown = Ident::new(name)?;
            sql.push_str(&format!(
                "SELECT 'row', {}, pg_catalog.to_jsonb(t)::text FROM {shown} t WHERE {} LIMIT 1;",
                literal(name),
                condition(their, key.iter())?
            ));
        }
        sql.push_str("SAVEPOINT lyrox_rows");
        let rows = self.send(&sql).await?.unwrap_or_default();
        let mut rules: Vec<Rule> = Vec::new();
        let mut whole: BTreeMap<String, String> = BTreeMap::new();
        for row in &rows {
            let of = |at| text(row, at);
            match of(0).as_deref() {
                Some("policy") => rules.push(Rule {
                    table: of(1).unwrap_or_default(),
                    name: of(2).unwrap_or_default(),
                    command: of(3).unwrap_or_default(),
                    is_permissive: of(4).as_deref() == Some("true"),
                    qual: of(5),
                    check: of(6),
                }),
                Some("row") => {
                    whole.insert(of(1).unwrap_or_default(), of(2).unwrap_or_default());
                }
                _ => {}
            }
        }
        let mut tries = Vec::new();
        for rule in rules.iter().filter(|rule| rule.is_permissive) {
            let Some(json) = whole.get(&rule.table) else { continue };
            let shown = Ident::new(&rule.table)?;
            for (command, word) in [("r", "SELECT"), ("a", "INSERT"), ("w", "UPDATE"), ("d", "DELETE")] {
                let Some(own) = rule.asks(command) else { continue };
                let limits = rules.iter().filter(|other| !other.is_permissive && other.table == rule.table);
                let limits: String =
                    limits.filter_map(|other| other.asks(command)).map(|text| format!(" AND ({text})")).collect();
                let sql = format!(
                    "SELECT CASE WHEN ({own}){limits} THEN 1 ELSE 0 END FROM (SELECT (pg_catalog.jsonb_populate_record(NULL::{}.{shown}, {}::pg_catalog.jsonb)).*) AS {shown}",
                    self.store.settings.schema,
                    literal(json)
                );
                let aim = Aim::Lets { policy: rule.name.clone(), command: word };
                tries.push(Try { table: rule.table.clone(), aim, attempt: Attempt { sql, is_count: true } });
            }
        }
        Ok(tries)
    }

    fn judge_tries(
        &self,
        tenancy: &Tenancy,
        role: &str,
        tries: Vec<Try>,
        said: Vec<Attempted>,
        proof: &mut Proof,
    ) -> Result<()> {
        for (one, said) in tries.into_iter().zip(said) {
            let close = self.policy_of(&one.table, tenancy)?;
            one.judge(&self.store.settings.schema.to_string(), tenancy, role, said, close, proof)?;
        }
        Ok(())
    }
}
