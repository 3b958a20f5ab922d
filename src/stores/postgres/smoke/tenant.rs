//! Tenants cannot see each other: tried as the application's role, with two tenants that are made up.

use super::PostgresSmoke;
use super::attempt::Unmade;
use super::attempts::{Attempt, Attempted};
use super::catalog::Table;
use super::row::{Ask, Insert, Values, condition, sql, tenant_column};
use crate::config::file::Tenancy;
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal, relation};
use crate::stores::smoke::outcome::Outcome;

impl PostgresSmoke<'_> {
    pub(super) fn tenancy(&self) -> Option<Tenancy> {
        self.run.config.settings.tenancy.clone()
    }

    /// The application's role, where the configuration names one.
    pub(super) fn app_role(&self) -> Option<String> {
        self.run.config.settings.postgres.as_ref().and_then(|section| section.app_role.clone())
    }

    /// Tables whose rows belong to one tenant: the tenant table, and all that carry its column.
    pub(super) fn tenant_tables(&self) -> Vec<String> {
        let Some(tenancy) = self.tenancy() else { return Vec::new() };
        let is_tenants =
            |table: &&Table| !tenancy.global.contains(&table.name) && tenant_column(table, &tenancy).is_some();
        self.catalog.tables.values().filter(is_tenants).map(|table| table.name.clone()).collect()
    }

    /// Whether the table's policies are in force; where they are not, `row_security` says it.
    fn has_rls(&self, name: &str) -> bool {
        self.catalog.tables.get(name).is_some_and(|table| table.has_rls)
    }

    /// A tenant's key that is nobody's; none where the project has no tenants in rows.
    pub(super) fn draw_tenant(&mut self, near: &str) -> Option<String> {
        let tenancy = self.tenancy()?;
        let listed = tenancy.table.as_ref().and_then(|name| self.catalog.tables.get(name));
        let of_list = listed.and_then(|table| table.column(&tenancy.key_column));
        let of_table = |table: &Table| tenancy.column.as_ref().and_then(|name| table.column(name)).cloned();
        let column = of_list
            .cloned()
            .or_else(|| self.catalog.tables.get(near).and_then(of_table))
            .or_else(|| self.catalog.tables.values().find_map(of_table))?;
        self.source.value(&column, &Default::default())
    }

    /// `SET LOCAL ROLE` to the application's role. Where the direct role made it but was not given it, it
    /// gives it to itself: within the transaction, which is rolled back.
    pub(super) async fn become_application(&mut self, role: &str) -> Result<Result<(), String>> {
        let name = Ident::new(role)?;
        let become_it = format!("SET LOCAL ROLE {name}");
        let Err(first) = self.send(&format!("SAVEPOINT lyrox_role; {become_it}")).await? else { return Ok(Ok(())) };
        let grant = format!("ROLLBACK TO SAVEPOINT lyrox_role; GRANT {name} TO CURRENT_USER; {become_it}");
        if self.send(&grant).await?.is_ok() {
            return Ok(Ok(()));
        }
        let grant =
            format!("ROLLBACK TO SAVEPOINT lyrox_role; GRANT {name} TO CURRENT_USER WITH SET TRUE; {become_it}");
        if self.store.facts.version >= 160_000 && self.send(&grant).await?.is_ok() {
            return Ok(Ok(()));
        }
        self.send("ROLLBACK TO SAVEPOINT lyrox_role").await?.ok();
        Ok(Err(format!("this role may not act as `{role}`: {}", first.words)))
    }

    /// Without a tenant there are no rows and no error: never set, and left empty by an earlier transaction.
    pub(super) async fn try_without_tenant(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let (Some(tenancy), Some(role)) = (self.tenancy(), self.app_role()) else { return Ok(outcome) };
        if let Some(why) = self.unbound().await? {
            outcome.untried.push(why);
            return Ok(outcome);
        }
        let setting = literal(&tenancy.setting);
        // Acting as the application may need a grant, which a read-only transaction refuses.
        let mode = if self.run.may_write { "" } else { " READ ONLY" };
        let begin = format!(
            "BEGIN{mode}; SET LOCAL statement_timeout = '20s'; SELECT pg_catalog.current_setting({setting}, true) IS NULL"
        );
        let is_unset = match self.send(&begin).await? {
            Ok(rows) => rows.first().and_then(|row| text(row, 0)).as_deref() == Some("t"),
            Err(_) => false,
        };
        if let Err(why) = self.become_application(&role).await? {
            self.end_test();
            outcome.untried.push(why);
            return Ok(outcome);
        }
        let mut states = vec![("''", format!("SELECT pg_catalog.set_config({setting}, '', true);"))];
        if is_unset {
            // First, while the session has never known the setting: afterwards it is '' for ever.
            states.insert(0, ("unset", String::new()));
        }
        for (state, set) in states {
            let tables: Vec<String> = self.tenant_tables().into_iter().filter(|name| self.has_rls(name)).collect();
            let mut attempts = Vec::new();
            for name in &tables {
                let sql = format!("SELECT CASE WHEN EXISTS (SELECT FROM {}) THEN 1 ELSE 0 END", relation(None, name)?);
                attempts.push(Attempt { sql, is_count: true });
            }
            let said = self.attempts(&format!("{set}SAVEPOINT lyrox_rows;"), &attempts).await?;
            for (name, said) in tables.iter().zip(said) {
                match said {
                    Ok(0) => outcome.passed += 1,
                    Ok(_) => {
                        outcome.missing.push(format!("`{name}` shows rows although `{}` is {state}", tenancy.setting))
                    }
                    // What the application may not read at all, it does not see.
                    Err(refused) if refused.code == "42501" => outcome.passed += 1,
                    Err(refused) if refused.code == "57014" => {
                        outcome.untried.push(format!("`{name}` is too large to look through"))
                    }
                    Err(refused) => outcome.failed.push(format!(
                        "reading `{name}` fails although `{}` is merely {state}: {}",
                        tenancy.setting, refused.words
                    )),
                }
            }
        }
        self.end_test();
        if !is_unset {
            outcome.notes.push("'' only".into());
        }
        Ok(outcome)
    }

    /// Makes two tenants and tries, as the application working for the first, what is the second's.
    pub(super) async fn try_isolation(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let (Some(tenancy), Some(role)) = (self.tenancy(), self.app_role()) else { return Ok(outcome) };
        if let Some(why) = self.unbound().await? {
            outcome.untried.push(why);
            return Ok(outcome);
        }
        if !self.has_rls(name) {
            outcome.untried.push(format!("row-level security is not enabled on `{name}`"));
            return Ok(outcome);
        }
        let (Some(ours), Some(theirs)) = (self.draw_tenant(name), self.draw_tenant(name)) else {
            outcome.untried.push("no tenant can be made up".into());
            return Ok(outcome);
        };
        self.begin_test(Some(&ours));
        let found = self.isolation(name, &tenancy, &role, [&ours, &theirs], &mut outcome).await;
        self.end_test();
        found?;
        Ok(outcome)
    }

    async fn isolation(
        &mut self,
        name: &str,
        tenancy: &Tenancy,
        role: &str,
        [ours, theirs]: [&String; 2],
        outcome: &mut Outcome,
    ) -> Result<()> {
        let Some(table) = self.catalog.tables.get(name).cloned() else { return Ok(()) };
        let mut rows: Vec<(Values, Vec<Insert>)> = Vec::new();
        for tenant in [ours, theirs] {
            let set = self.set_tenant(Some(tenant));
            self.queue(&set);
            match self.make(Some(tenant), |chain| chain.row(name, &Ask::default())).await? {
                Ok((row, inserts, _)) => rows.push((row, inserts)),
                Err(Unmade::Unknown(reason) | Unmade::Fault(reason)) => {
                    outcome.untried.push(format!("no row could be made: {reason}"));
                    return Ok(());
                }
            }
        }
        let ((our_row, _), (their_row, their_inserts)) = (&rows[0], &rows[1]);
        let key: Vec<String> = match table.primary_key() {
            [] => our_row.keys().cloned().collect(),
            key => key.to_vec(),
        };
        // A second row of theirs, to be written by us.
        let mut chain = self.chain(Some(theirs)).after(their_inserts);
        let is_tenants_own = tenancy.table.as_deref() == Some(name);
        let planted =
            if is_tenants_own { Err("a tenant's own row".to_owned()) } else { chain.row(name, &Ask::default()) };
        let planted = planted.is_ok().then(|| chain.inserts[their_inserts.len()..].to_vec());
        if let Err(why) = self.become_application(role).await? {
            outcome.untried.push(why);
            return Ok(());
        }
        let before = self.set_tenant(Some(ours));
        let shown = relation(None, name)?;
        let (our_key, their_key) = (condition(our_row, key.iter())?, condition(their_row, key.iter())?);
        let column = tenant_column(&table, tenancy).unwrap_or_else(|| key.first().cloned().unwrap_or_default());
        let column = Ident::new(&column)?;
        let foreign = format!("{column} IS DISTINCT FROM {}", literal(ours));
        let changed = |change: &str| format!("WITH changed AS ({change} RETURNING 1) SELECT count(*) FROM changed");
        let mut asks = vec![
            (Leak::Own, format!("SELECT count(*) FROM {shown} WHERE {our_key}")),
            (Leak::Sees("reads another tenant's row"), format!("SELECT count(*) FROM {shown} WHERE {their_key}")),
            (
                Leak::Sees("reads rows that are not its own"),
                format!("SELECT count(*) FROM (SELECT FROM {shown} WHERE {foreign} LIMIT 1) part"),
            ),
            (
                Leak::Sees("changes another tenant's row"),
                changed(&format!("UPDATE {shown} SET {column} = {column} WHERE {their_key}")),
            ),
            (Leak::Sees("deletes another tenant's row"), changed(&format!("DELETE FROM {shown} WHERE {their_key}"))),
        ];
        if !is_tenants_own {
            let moved = format!("UPDATE {shown} SET {column} = {} WHERE {our_key}", literal(theirs));
            asks.push((Leak::Gives, changed(&moved)));
        }
        if let Some(planted) = planted {
            asks.push((Leak::Plants, sql(&self.catalog, &planted, false)?.join(";")));
        }
        let attempts: Vec<Attempt> = asks
            .iter()
            .map(|(leak, sql)| Attempt { sql: sql.clone(), is_count: !matches!(leak, Leak::Plants) })
            .collect();
        // The savepoint to which the block falls back stands after the rows, the role and the tenant.
        let said = self.attempts(&format!("{before}SAVEPOINT lyrox_rows;"), &attempts).await?;
        for ((leak, _), said) in asks.into_iter().zip(said) {
            leak.judge(name, role, Asked::of(said), outcome);
        }
        Ok(())
    }
}

/// What is tried across the wall.
#[derive(Clone, Copy)]
enum Leak {
    /// Reading what is one's own, which has to work.
    Own,
    /// Reaching another tenant's rows.
    Sees(&'static str),
    /// Giving a row of one's own away.
    Gives,
    /// Writing a row for another tenant.
    Plants,
}

impl Leak {
    fn judge(self, name: &str, role: &str, asked: Asked, outcome: &mut Outcome) {
        match (self, asked) {
            (Self::Own, Asked::Count(1)) => outcome.passed += 1,
            (Self::Own, Asked::Count(_)) => {
                outcome.failed.push(format!("a tenant does not see its own row of `{name}`"));
            }
            (Self::Own, Asked::Denied) => outcome.notes.push(format!("`{role}` may not read it")),
            (Self::Own, Asked::Other(words)) => outcome.failed.push(format!("`{role}` cannot read `{name}`: {words}")),
            (_, Asked::Denied) | (Self::Sees(_) | Self::Gives, Asked::Count(0)) => outcome.passed += 1,
            (Self::Sees(what), Asked::Count(_)) => outcome.missing.push(format!("a tenant {what} in `{name}`")),
            // A key that refuses speaks of a row that was seen.
            (Self::Sees(what), Asked::Other(words)) if words.contains("(23") => {
                outcome.missing.push(format!("a tenant {what} in `{name}`: only a key held it back: {words}"));
            }
            (Self::Sees(what), Asked::Other(words)) => outcome.untried.push(format!("{what}: {words}")),
            (Self::Gives, Asked::Count(_)) => {
                outcome.missing.push(format!("a tenant gives its row of `{name}` to another one"));
            }
            (Self::Gives, Asked::Other(words)) if words.contains("(23") => {
                outcome.missing.push(format!(
                    "a tenant gives its row of `{name}` to another one: only a key held it back: {words}"
                ));
            }
            (Self::Gives, Asked::Other(words)) => outcome.untried.push(format!("giving a row away: {words}")),
            (Self::Plants, Asked::Other(words)) if !words.contains("(23") => {
                outcome.untried.push(format!("writing for another tenant: {words}"));
            }
            (Self::Plants, _) => outcome.missing.push(format!("a tenant writes a row of another one into `{name}`")),
        }
    }
}

enum Asked {
    Count(u64),
    Denied,
    Other(String),
}

impl Asked {
    fn of(said: Attempted) -> Self {
        match said {
            Ok(count) => Self::Count(count),
            Err(refused) if refused.code == "42501" => Self::Denied,
            Err(refused) => Self::Other(refused.words),
        }
    }
}
