//! Views and functions: what they answer to one tenant must not change with another tenant's rows. Each is asked with both
//! tenants' rows there, with one's only, and with none.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::super::PostgresSmoke;
use super::super::attempts::{Attempt, Attempted};
use super::world::World;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::{Ident, literal};
use crate::stores::tenant_verify::Ask;

/// So many calls of one function.
const CALLS: usize = 8;

/// Something that answers.
#[derive(Debug, Deserialize)]
struct Built {
    /// `view`, `function` or `procedure`.
    kind: String,
    /// Qualified and quoted; a function with the types of its arguments.
    path: String,
    /// Qualified and quoted, without them.
    call: String,
    /// It runs or reads with the rights of its owner, whom no policy binds.
    is_around: bool,
    /// The types of the arguments: as printed, and the names below domains.
    arguments: Vec<(String, String)>,
    /// It may write.
    is_volatile: bool,
}

impl PostgresSmoke<'_> {
    /// What the application's role may ask that is built on tables.
    async fn built(&mut self, role: &str) -> Result<Vec<Built>> {
        let schema = literal(self.store.settings.schema.name());
        let sql = format!(
            "WITH app AS (SELECT * FROM pg_catalog.pg_roles WHERE rolname = {role}), \
             unbound AS (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolsuper OR r.rolbypassrls OR EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE n.nspname = {schema} AND c.relrowsecurity AND NOT c.relforcerowsecurity AND pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE'))), \
             n AS (SELECT n.* FROM pg_catalog.pg_namespace n, app WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'lyrox') AND pg_catalog.has_schema_privilege(app.oid, n.oid, 'USAGE')), \
             extension AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e') \
             SELECT coalesce(pg_catalog.jsonb_agg(o ORDER BY o->>'path'), '[]')::text FROM ( \
             SELECT pg_catalog.jsonb_build_object('kind', 'view', 'path', CASE n.nspname WHEN {schema} THEN pg_catalog.format('%I', v.relname) ELSE pg_catalog.format('%I.%I', n.nspname, v.relname) END, \
              'call', pg_catalog.format('%I.%I', n.nspname, v.relname), \
              'is_around', v.relowner IN (SELECT oid FROM unbound) AND NOT coalesce(v.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false), \
              'arguments', '[]'::pg_catalog.jsonb, 'is_volatile', false) AS o \
             FROM pg_catalog.pg_class v JOIN n ON n.oid = v.relnamespace, app WHERE v.relkind = 'v' AND pg_catalog.has_any_column_privilege(app.oid, v.oid, 'SELECT') \
              AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = v.oid) \
             UNION ALL SELECT pg_catalog.jsonb_build_object('kind', CASE f.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, \
              'path', CASE n.nspname WHEN {schema} THEN pg_catalog.format('%I(%s)', f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid)) ELSE pg_catalog.format('%I.%I(%s)', n.nspname, f.proname, pg_catalog.pg_get_function_identity_arguments(f.oid)) END, \
              'call', pg_catalog.format('%I.%I', n.nspname, f.proname), 'is_around', f.proowner IN (SELECT oid FROM unbound), \
              'arguments', (SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(pg_catalog.format_type(y.oid, NULL), CASE y.typtype WHEN 'd' THEN b.typname ELSE y.typname END) ORDER BY u.at), '[]') \
               FROM pg_catalog.unnest(f.proargtypes::pg_catalog.oid[]) WITH ORDINALITY u (type, at) JOIN pg_catalog.pg_type y ON y.oid = u.type LEFT JOIN pg_catalog.pg_type b ON b.oid = y.typbasetype), \
              'is_volatile', f.provolatile = 'v') \
             FROM pg_catalog.pg_proc f JOIN n ON n.oid = f.pronamespace, app WHERE f.prosecdef AND f.prokind IN ('f', 'p') AND f.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) \
              AND pg_catalog.has_function_privilege(app.oid, f.oid, 'EXECUTE') \
              AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_catalog.pg_proc'::regclass AND e.objid = f.oid)) all_of_it",
            role = literal(role),
        );
        let rows = self.send(&sql).await?.unwrap_or_default();
        let json = rows.last().and_then(|row| text(row, 0)).unwrap_or_default();
        Ok(serde_json::from_str(&json).unwrap_or_default())
    }

    pub(super) async fn try_built(
        &mut self,
        ask: &Ask<'_>,
        role: &str,
        us: &World,
        them: &World,
        proof: &mut Proof,
    ) -> Result<()> {
        proof.area("built", "Views and SECURITY DEFINER functions answer with no other tenant's rows");
        let _ = ask;
        self.send("ROLLBACK TO SAVEPOINT lyrox_rows; RESET ROLE; SAVEPOINT lyrox_rows").await?.ok();
        let built = self.built(role).await?;
        let mut asks: Vec<(usize, String, String)> = Vec::new();
        for (at, one) in built.iter().enumerate() {
            for call in self.calls(one, them) {
                let sql = match one.kind.as_str() {
                    "procedure" => continue,
                    "view" => format!("SELECT v::text AS line FROM {call} v"),
                    _ => format!("SELECT f::text AS line FROM {call} f"),
                };
                let sql = format!(
                    "SELECT (pg_catalog.hashtextextended(coalesce(pg_catalog.string_agg(line, '|' ORDER BY line), ''), 0) & 9223372036854775807)::pg_catalog.int8 FROM ({sql}) lines"
                );
                asks.push((at, call, sql));
            }
        }
        let attempts: Vec<Attempt> =
            asks.iter().map(|(_, _, sql)| Attempt { sql: sql.clone(), is_count: true }).collect();
        // With both, twice: what differs by itself says nothing. Then with ours only, then with none.
        let both = self.ask_as(role, &us.key, "", &attempts).await?;
        let again = self.ask_as(role, &us.key, "", &attempts).await?;
        let ours =
            self.ask_as(role, &us.key, "ROLLBACK TO SAVEPOINT lyrox_them; SAVEPOINT lyrox_rows;", &attempts).await?;
        let none =
            self.ask_as(role, &us.key, "ROLLBACK TO SAVEPOINT lyrox_us; SAVEPOINT lyrox_rows;", &attempts).await?;
        for (at, one) in built.iter().enumerate() {
            let of: Vec<usize> = (0..asks.len()).filter(|index| asks[*index].0 == at).collect();
            self.judge_built(one, role, &of, &asks, [&both, &again, &ours, &none], proof)?;
        }
        Ok(())
    }

    /// Asks as the application for a tenant, after `before`, which goes back to where rows are fewer.
    async fn ask_as(&mut self, role: &str, key: &str, before: &str, attempts: &[Attempt]) -> Result<Vec<Attempted>> {
        self.queue(before);
        if self.become_application(role).await?.is_err() {
            return Ok(Vec::new());
        }
        let act = self.set_tenant(Some(key));
        let said = self.attempts(&format!("{act}SAVEPOINT lyrox_rows;"), attempts).await?;
        self.queue("ROLLBACK TO SAVEPOINT lyrox_rows; RESET ROLE; SAVEPOINT lyrox_rows;");
        Ok(said)
    }

    /// How a view is named or a function called: with values of the other tenant's rows that fit its arguments.
    fn calls(&self, one: &Built, them: &World) -> Vec<String> {
        if one.kind == "view" {
            return vec![one.call.clone()];
        }
        let mut by_type: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (table, row) in &them.rows {
            let Some(table) = self.catalog.tables.get(table) else { continue };
            for (name, value) in row {
                let (Some(column), Some(value)) = (table.column(name), value) else { continue };
                let known = by_type.entry(column.base.as_str()).or_default();
                if !known.contains(&value.as_str()) {
                    known.push(value);
                }
            }
        }
        let is_text = |name: &str| matches!(name, "text" | "varchar" | "bpchar" | "name");
        let texts: Vec<&str> = std::iter::once(them.key.as_str())
            .chain(by_type.iter().filter(|(name, _)| is_text(name)).flat_map(|(_, values)| values.iter().copied()))
            .collect();
        let mut calls: Vec<String> = Vec::new();
        for turn in 0..CALLS {
            let arguments: Vec<String> = one
                .arguments
                .iter()
                .map(|(printed, base)| {
                    let known = if is_text(base) { Some(&texts) } else { by_type.get(base.as_str()) };
                    match known.filter(|values| !values.is_empty()) {
                        Some(values) => format!("{}::{printed}", literal(values[turn % values.len()])),
                        None if matches!(base.as_str(), "int2" | "int4" | "int8" | "numeric") => {
                            format!("{}::{printed}", [1, 10, 0][turn % 3])
                        }
                        None if base == "bool" => (turn % 2 == 0).to_string(),
                        None => format!("NULL::{printed}"),
                    }
                })
                .collect();
            let call = format!("{}({})", one.call, arguments.join(", "));
            if !calls.contains(&call) {
                calls.push(call);
            }
        }
        calls
    }

    fn judge_built(
        &self,
        one: &Built,
        role: &str,
        of: &[usize],
        asks: &[(usize, String, String)],
        [both, again, ours, none]: [&Vec<Attempted>; 4],
        proof: &mut Proof,
    ) -> Result<()> {
        let object = format!("{} {}", one.kind, one.path);
        let role_name = Ident::new(role)?;
        let close = if one.kind == "view" {
            format!("ALTER VIEW {} SET (security_invoker = true)", one.call)
        } else {
            format!("ALTER {} {} SECURITY INVOKER", one.kind.to_uppercase(), one.path)
        };
        let value = |said: &Vec<Attempted>, at: usize| said.get(at).and_then(|said| said.as_ref().ok().copied());
        let differs =
            |a: &Vec<Attempted>, b: &Vec<Attempted>, at: usize| value(a, at).is_some() && value(a, at) != value(b, at);
        for at in of {
            if differs(both, ours, *at) && value(both, *at) == value(again, *at) {
                let kind = if one.kind == "view" { "view" } else { "definer" };
                let why = format!(
                    "`SELECT * FROM {}` as {role_name} answers otherwise when another tenant has rows: it reads with its owner's eyes",
                    asks[*at].1
                );
                proof.leak(kind, object, why, close);
                return Ok(());
            }
        }
        if !one.is_around {
            proof.held(1);
            return Ok(());
        }
        let answered = of.iter().filter(|at| value(both, **at).is_some()).count();
        let sees_own = of.iter().any(|at| differs(ours, none, *at));
        let refused = of.iter().find_map(|at| both.get(*at).and_then(|said| said.as_ref().err()));
        if sees_own {
            proof.held(1);
        } else if one.kind == "procedure" || answered == 0 {
            let why = refused.map_or_else(
                || "a procedure is not called: it may commit".to_owned(),
                |refused| format!("it answered no call: {}", refused.words),
            );
            proof.untried("built_untried", object, format!("no policy binds its owner, and {why}"), close);
        } else if one.kind == "view" {
            let why = "no policy binds its owner, and it showed neither tenant's rows";
            proof.untried("built_untried", object, why, close);
        } else if one.is_volatile {
            proof.weak(
                "definer_unseen",
                object,
                "no policy binds its owner, and it showed neither tenant's rows: what it writes was not looked at",
                close,
            );
        } else {
            proof.held(1);
        }
        Ok(())
    }
}
