//! What the catalog says of the walls between tenants: columns, policies in force, views, the application's role.

use super::PostgresSmoke;
use super::objects::Subject;
use super::row::tenant_column;
use crate::error::Result;
use crate::stores::postgres::connect::text;
use crate::stores::postgres::ident::literal;
use crate::stores::smoke::outcome::Outcome;

impl PostgresSmoke<'_> {
    /// Every table carries the tenant, or is listed as one that deliberately does not.
    pub(super) fn judge_columns(&self) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(tenancy) = self.tenancy() else { return outcome };
        for table in self.catalog.tables.values() {
            if tenancy.global.contains(&table.name) || tenant_column(table, &tenancy).is_some() {
                outcome.passed += 1;
            } else {
                let column = tenancy.column.clone().unwrap_or_default();
                outcome
                    .failed
                    .push(format!("table `{}` has no column `{column}` and is not in `[tenancy] global`", table.name));
            }
        }
        outcome
    }

    /// Row-level security is on and binds the owner, on every tenant's table.
    pub(super) async fn judge_rls(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for name in self.tenant_tables() {
            let Some(table) = self.catalog.tables.get(&name) else { continue };
            if !table.has_rls {
                outcome.missing.push(format!("row-level security is not enabled on `{name}`"));
            } else if !table.is_forced {
                outcome
                    .missing
                    .push(format!("row-level security is not forced on `{name}`: its owner sees every tenant"));
            } else {
                outcome.passed += 1;
            }
        }
        if let Some(role) = self.app_role() {
            let around = self.views_around(&role).await?;
            // A view that is not as migrated is the matter of its own test.
            let views = [Subject::Others("Views".into()), Subject::Others("Materialized views".into())];
            if views.iter().any(|views| self.missing.contains_key(views)) {
                outcome.untried.extend(around);
            } else {
                outcome.missing.extend(around);
            }
        }
        Ok(outcome)
    }

    /// Views that the application may read and that show every tenant's rows: a view reads with its owner's
    /// eyes unless it is `security_invoker`, and what a materialized view holds no policy looks at.
    async fn views_around(&mut self, role: &str) -> Result<Vec<String>> {
        let sql = format!(
            "SELECT v.relname, v.relkind = 'm' FROM pg_catalog.pg_class v JOIN pg_catalog.pg_namespace n ON n.oid = v.relnamespace \
             JOIN pg_catalog.pg_roles o ON o.oid = v.relowner JOIN pg_catalog.pg_roles r ON r.rolname = {role} \
             WHERE n.nspname IN ({schema}) AND v.relkind IN ('v', 'm') AND pg_catalog.has_table_privilege(r.oid, v.oid, 'SELECT') \
             AND EXISTS (SELECT FROM pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass \
              AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass JOIN pg_catalog.pg_class c ON c.oid = d.refobjid \
              WHERE w.ev_class = v.oid AND c.oid <> v.oid AND c.relrowsecurity AND (v.relkind = 'm' \
               OR (o.rolsuper OR o.rolbypassrls OR (c.relowner = v.relowner AND NOT c.relforcerowsecurity)) \
               AND NOT coalesce(v.reloptions && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'], false)))",
            role = literal(role),
            schema = self.schema_list(),
        );
        Ok(match self.send(&sql).await? {
            Ok(rows) => rows
                .iter()
                .map(|row| {
                    let name = text(row, 0).unwrap_or_default();
                    if text(row, 1).as_deref() == Some("t") {
                        format!("materialized view `{name}` shows `{role}` every tenant's rows")
                    } else {
                        format!("view `{name}` goes around the policies: it is not `security_invoker`")
                    }
                })
                .collect(),
            Err(_) => Vec::new(),
        })
    }

    /// Why no policy binds the application's role; none: they do. What follows from it is that test's matter.
    pub(super) async fn unbound(&mut self) -> Result<Option<String>> {
        if self.unbound.is_none() {
            self.unbound = Some(self.judge_role().await?.missing);
        }
        Ok(self.unbound.as_ref().and_then(|reasons| reasons.first().cloned()))
    }

    /// The application's role is bound by policies.
    pub(super) async fn judge_role(&mut self) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(role) = self.app_role() else { return Ok(outcome) };
        let sql = format!(
            "SELECT r.rolsuper, r.rolbypassrls, r.rolcanlogin, \
             (SELECT pg_catalog.string_agg(c.relname, ', ') FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE n.nspname IN ({schema}) AND c.relkind IN ('r', 'p') AND c.relowner = r.oid), \
             (SELECT pg_catalog.string_agg(DISTINCT o.rolname, ', ') FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              JOIN pg_catalog.pg_roles o ON o.oid = c.relowner WHERE n.nspname IN ({schema}) AND c.relkind IN ('r', 'p') AND o.oid <> r.oid \
              AND pg_catalog.pg_has_role(r.oid, o.oid, 'MEMBER')), \
             (SELECT pg_catalog.string_agg(m.rolname, ', ') FROM pg_catalog.pg_roles m WHERE (m.rolsuper OR m.rolbypassrls) AND m.oid <> r.oid \
              AND NOT r.rolsuper AND pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER')) \
             FROM pg_catalog.pg_roles r WHERE r.rolname = {role}",
            schema = self.schema_list(),
            role = literal(&role),
        );
        let rows = match self.send(&sql).await? {
            Ok(rows) => rows,
            Err(refused) => {
                outcome.untried.push(refused.words);
                return Ok(outcome);
            }
        };
        let Some(row) = rows.first() else {
            outcome.missing.push(format!("role `{role}` does not exist"));
            return Ok(outcome);
        };
        let is = |at| text(row, at).as_deref() == Some("t");
        if is(0) {
            outcome.missing.push(format!("`{role}` is a superuser: no policy binds it"));
        }
        if is(1) {
            outcome.missing.push(format!("`{role}` has BYPASSRLS: no policy binds it"));
        }
        if let Some(tables) = text(row, 3) {
            outcome.missing.push(format!("`{role}` owns {tables}: it could switch the policies off"));
        }
        if let Some(owner) = text(row, 4).or_else(|| text(row, 5)) {
            outcome.missing.push(format!("`{role}` is a member of `{owner}`: it could become what no policy binds"));
        }
        if outcome.missing.is_empty() {
            outcome.passed = 1;
        }
        Ok(outcome)
    }
}
