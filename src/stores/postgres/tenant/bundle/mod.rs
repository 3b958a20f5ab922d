//! A tenant's rows, handed out, taken in and removed. Rows travel as JSON objects of texts, as PostgreSQL itself writes and
//! reads each type; a COPY carries them, so that memory stays flat. Reading is one snapshot, filling one transaction.

mod catalog;

use std::collections::{BTreeMap, BTreeSet};

use futures_util::TryStreamExt as _;

use self::catalog::{Catalog, Source};
use super::super::connect::text;
use super::super::error::{server_error, words};
use super::super::ident::{Ident, literal};
use super::super::{PostgresStore, run};
use super::unreadable;
use crate::config::file::{Tenancy, TenancyModel};
use crate::engine::tenant::Tenant;
use crate::engine::tenant::bundle::order::groups;
use crate::engine::tenant::policies::{Belongs, condition};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::plural;
use crate::stores::tenant::Terms;
use crate::stores::tenant_bundle::{BundleStore, Part, Scope, Sink, Survey, Wanted};
use crate::stores::trips;

/// The part that holds where sequences stand, in a place of the tenant's own.
const SEQUENCES: &str = "(sequences)";
/// Neither byte stands in JSON: a line goes through CSV as it is.
const FORM: &str = "(FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')";
/// Texts of values do not depend on who reads them.
const SETTINGS: &str = "SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL TimeZone = 'UTC'; SET LOCAL IntervalStyle = 'postgres'; \
    SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL xmloption = 'content'; \
    SET LOCAL lc_monetary = 'C'; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0;";

/// A table that is the tenant's, with the condition that tells its rows.
struct Own<'a> {
    source: &'a Source,
    condition: String,
}

impl PostgresStore {
    /// The texts that begin a transaction in which the tenant is entered.
    fn entered(&self, scope: Scope<'_>, mode: &str) -> String {
        format!(
            "BEGIN {mode}; {} {SETTINGS} SELECT pg_catalog.set_config({}, {}, true);",
            // Names and waits for locks as in every other session, whatever is between us and the server.
            self.settings.sql_local(&self.facts),
            literal(&scope.terms.tenancy.setting),
            literal(scope.tenant.key())
        )
    }

    /// Whether a table is looked at: in the models `row` and `schema` those of one schema, else all of the database.
    fn is_looked_at(&self, schema: &str, terms: &Terms) -> bool {
        terms.model() == TenancyModel::Database || schema == self.settings.schema.name()
    }

    fn part_name(&self, schema: &str, name: &str) -> String {
        if schema == self.settings.schema.name() { name.to_owned() } else { format!("{schema}.{name}") }
    }

    /// Which tables are the tenant's, and what cannot be said of others.
    async fn own_tables<'a>(
        &mut self,
        scope: Scope<'_>,
        catalog: &'a Catalog,
        survey: &mut Survey,
    ) -> Result<Vec<Own<'a>>> {
        let mut own = Vec::new();
        let is_local = |source: &&Source| source.kind != "f";
        if scope.is_inside {
            for source in catalog.tables.iter().filter(|source| self.is_looked_at(&source.schema, scope.terms)) {
                if source.kind == "f" {
                    survey.notes.push(format!("foreign table {} holds no rows of its own", source.quoted));
                } else {
                    own.push(Own { source, condition: "true".to_owned() });
                }
            }
            if catalog.large_objects > 0 && scope.terms.model() == TenancyModel::Database {
                let count = plural(usize::try_from(catalog.large_objects).unwrap_or(usize::MAX), "large object");
                survey.unclassified.push(format!("{count}, which a bundle does not carry"));
            }
            return Ok(own);
        }
        let tenancy = &scope.terms.tenancy;
        let tables = self.read_tables().await?;
        let known = self.settings.schema.name().to_owned();
        for source in catalog.tables.iter().filter(|source| source.schema == known).filter(is_local) {
            let Some(table) = tables.iter().find(|table| table.name == source.name) else { continue };
            let (belongs, condition) = condition(table, &tables, tenancy);
            match (belongs, condition) {
                (Belongs::Global, _) => {}
                (_, Some(condition)) => {
                    survey.unclassified.extend(self.hidden(source, catalog, tenancy));
                    let names_objects = |column: &&catalog::Column| matches!(column.kind.as_str(), "oid" | "lo");
                    if let Some(column) = source.columns.iter().find(names_objects).filter(|_| catalog.large_objects > 0) {
                        survey.notes.push(format!(
                            "table {}: `{}` may name large objects, which no bundle carries and no removal removes",
                            source.quoted, column.name
                        ));
                    }
                    own.push(Own { source, condition });
                }
                (_, None) => survey.unclassified.push(format!(
                    "table {}: it has no `{}`, no foreign key that must be set leads to a tenant, and `global` does not list it",
                    source.quoted,
                    tenancy.column.as_deref().unwrap_or("tenant column")
                )),
            }
        }
        for source in catalog.tables.iter().filter(|source| source.schema == known && source.kind == "f") {
            let carries = |column: &catalog::Column| tenancy.column.as_ref() == Some(&column.name);
            if source.columns.iter().any(carries) && !tenancy.global.contains(&source.name) {
                survey.unclassified.push(format!(
                    "foreign table {}: it carries the tenant, and its rows are another server's",
                    source.quoted
                ));
            }
        }
        self.look_elsewhere(scope, catalog, &own, survey);
        Ok(own)
    }

    /// Why policies may hide some of a tenant's rows from this session; none where there is at least one that lets all of
    /// them through, and none that looks at anything else.
    fn hidden(&self, source: &Source, catalog: &Catalog, tenancy: &Tenancy) -> Option<String> {
        if !source.is_guarded {
            return None;
        }
        let is_key = |name: &str| {
            let (table, column) = name.rsplit_once('.').unwrap_or((source.name.as_str(), name));
            tenancy.column.as_deref() == Some(column)
                || (tenancy.table.as_deref() == Some(table) && tenancy.key_column == column)
        };
        let others = |policy: &catalog::Policy| -> Vec<String> {
            policy.looks_at.iter().filter(|name| !is_key(name)).cloned().collect()
        };
        let speaks = |policy: &catalog::Policy| policy.text.contains(tenancy.setting.as_str());
        let all: Vec<&catalog::Policy> = catalog.policies.iter().filter(|policy| policy.table == source.oid).collect();
        let lets_through = |policy: &&&catalog::Policy| policy.is_permissive && speaks(policy);
        if !all.iter().any(|policy| lets_through(&policy)) {
            return Some(format!(
                "table {}: policies hide its rows from `{}`, and none of them reads `{}`",
                source.quoted, self.facts.user, tenancy.setting
            ));
        }
        let narrow = if all.iter().filter(lets_through).any(|policy| others(policy).is_empty()) {
            all.iter().find(|policy| !(policy.is_permissive || speaks(policy) && others(policy).is_empty()))
        } else {
            all.iter().find(lets_through)
        }?;
        let looks_at = others(narrow);
        let what = if looks_at.is_empty() { "something else".into() } else { format!("`{}`", looks_at.join("`, `")) };
        Some(format!(
            "table {}: policy `{}` may hide some of its rows from `{}`: it looks at {what} (a role with BYPASSRLS sees all)",
            source.quoted, narrow.name, self.facts.user
        ))
    }

    /// Tables of other schemas that lead to the tenant's.
    fn look_elsewhere(&self, scope: Scope<'_>, catalog: &Catalog, own: &[Own<'_>], survey: &mut Survey) {
        let tenancy = &scope.terms.tenancy;
        let ours: BTreeSet<&str> = own.iter().map(|own| own.source.oid.as_str()).collect();
        for source in catalog.tables.iter().filter(|source| source.schema != self.settings.schema.name()) {
            let is_listed = tenancy.global.iter().any(|name| *name == format!("{}.{}", source.schema, source.name));
            let leads = catalog
                .references
                .iter()
                .any(|reference| reference.child == source.oid && ours.contains(reference.parent.as_str()));
            let carries =
                tenancy.column.as_ref().is_some_and(|name| source.columns.iter().any(|column| column.name == *name));
            if (leads || carries) && !is_listed {
                survey.unclassified.push(format!(
                    "table {}: it leads to a tenant, and is not of schema {}",
                    source.quoted, self.settings.schema
                ));
            }
        }
    }

    /// The parts, parents first, each with its texts and its count.
    async fn parts(
        &mut self,
        catalog: &Catalog,
        own: &[Own<'_>],
        wanted: Option<&[Wanted]>,
        scope: Scope<'_>,
    ) -> Result<Vec<Part>> {
        let number: BTreeMap<&str, usize> =
            own.iter().enumerate().map(|(at, own)| (own.source.oid.as_str(), at)).collect();
        let mut parents = vec![Vec::new(); own.len()];
        for reference in &catalog.references {
            if let (Some(child), Some(parent)) =
                (number.get(reference.child.as_str()), number.get(reference.parent.as_str()))
            {
                parents[*child].push(*parent);
            }
        }
        let mut parts = Vec::new();
        for (group, members) in groups(&parents).into_iter().enumerate() {
            for at in members {
                let name = self.part_name(&own[at].source.schema, &own[at].source.name);
                let columns = match wanted.map(|wanted| wanted.iter().find(|(known, _)| *known == name)) {
                    Some(None) => continue,
                    Some(Some((_, columns))) => Some(columns.as_slice()),
                    None => None,
                };
                parts.push(part(&own[at], catalog, columns, name, group, scope)?);
            }
        }
        if let Some(missing) = wanted
            .into_iter()
            .flatten()
            .find(|(name, _)| name != SEQUENCES && !parts.iter().any(|part| part.name == *name))
        {
            return Err(Error::new(Code::Bundle, format!("there is no table `{}` here", missing.0))
                .why("the bundle has rows of it, and no table of the tenant has this name")
                .data("nothing was changed")
                .hint("bring the migrations of both installations to the same version"));
        }
        let counts: Vec<String> =
            parts.iter().map(|part| format!("SELECT pg_catalog.count(*)::text FROM {}", part.clear)).collect();
        if !counts.is_empty() {
            let rows = run(&mut self.connection, counts.join("; ")).await.map_err(|error| unreadable(&error))?;
            for (part, row) in parts.iter_mut().zip(&rows) {
                part.rows = text(row, 0).and_then(|count| count.parse().ok()).unwrap_or_default();
            }
        }
        Ok(parts)
    }

    /// Where the sequences of the tenant's own place stand.
    fn sequences(&self, catalog: &Catalog, group: usize, terms: &Terms) -> Option<Part> {
        let ours: Vec<_> = catalog.sequences.iter().filter(|(schema, ..)| self.is_looked_at(schema, terms)).collect();
        if ours.is_empty() {
            return None;
        }
        let each = ours.iter().map(|(schema, name, quoted)| {
            let name = literal(&self.part_name(schema, name));
            format!("SELECT {name} AS name, last_value::text AS last, is_called::text AS called FROM {quoted}")
        });
        let read = each.collect::<Vec<_>>().join(" UNION ALL ");
        let known = ours
            .iter()
            .map(|(schema, name, quoted)| format!("({}, {})", literal(&self.part_name(schema, name)), literal(quoted)));
        Some(Part {
            name: SEQUENCES.into(),
            columns: ["name", "last", "called"].map(str::to_owned).to_vec(),
            rows: ours.len() as u64,
            read: format!("SELECT pg_catalog.row_to_json(x.*) FROM ({read}) x ORDER BY x.name COLLATE \"C\""),
            write: format!(
                "SELECT pg_catalog.setval(v.seq::regclass, x.last::bigint, x.called::boolean) FROM {{stage}} s, \
                 LATERAL pg_catalog.json_to_record(s.line) AS x (name text, last text, called text) \
                 JOIN (VALUES {}) v (name, seq) ON v.name = x.name",
                known.collect::<Vec<_>>().join(", ")
            ),
            group,
            ..Part::default()
        })
    }

    /// Rows of others that refer to the tenant's: a deletion would change them, or be refused.
    async fn holders(
        &mut self,
        scope: Scope<'_>,
        catalog: &Catalog,
        own: &[Own<'_>],
        survey: &mut Survey,
    ) -> Result<()> {
        let tenancy = &scope.terms.tenancy;
        let by_oid: BTreeMap<&str, &Own<'_>> = own.iter().map(|own| (own.source.oid.as_str(), own)).collect();
        let mut asked = Vec::new();
        for reference in &catalog.references {
            let Some(parent) = by_oid.get(reference.parent.as_str()) else { continue };
            let child = by_oid.get(reference.child.as_str());
            let joined = |alias: &str| -> String {
                let pairs = reference.columns.iter().zip(&reference.parent_columns);
                pairs.map(|(own, its)| format!("p.{its} = {alias}.{own}")).collect::<Vec<_>>().join(" AND ")
            };
            let parents = format!("(SELECT * FROM {} WHERE {}) p", parent.source.quoted, parent.condition);
            let tenant = tenancy.column.as_deref().map(Ident::new).transpose()?.map(|ident| ident.to_string());
            let is_list = tenancy.table.as_deref() == Some(parent.source.name.as_str());
            let key = Ident::new(&tenancy.key_column)?.to_string();
            // The catalog quotes only what needs it.
            let is = |quoted: &str, wanted: &str| quoted == wanted || format!("\"{quoted}\"") == wanted;
            let carries = reference.columns.iter().zip(&reference.parent_columns).any(|(own, its)| {
                tenant
                    .as_deref()
                    .is_some_and(|tenant| is(own, tenant) && (is(its, tenant) || (is_list && is(its, &key))))
            });
            let others = match child {
                None => String::new(),
                // A key that carries the tenant on both sides refers to nobody else's.
                Some(_) if carries => continue,
                Some(child) => format!(
                    " AND NOT EXISTS (SELECT FROM (SELECT tableoid AS of, ctid AS at FROM {} WHERE {}) o \
                     WHERE o.of = c.tableoid AND o.at = c.ctid)",
                    child.source.quoted, child.condition
                ),
            };
            asked.push((
                reference.child_quoted.clone(),
                parent.source.quoted.clone(),
                format!(
                    "SELECT pg_catalog.count(*)::text FROM {} c WHERE EXISTS (SELECT FROM {parents} WHERE {}){others}",
                    reference.child_quoted,
                    joined("c")
                ),
            ));
        }
        if asked.is_empty() {
            return Ok(());
        }
        let sql: Vec<&str> = asked.iter().map(|(.., sql)| sql.as_str()).collect();
        let rows = run(&mut self.connection, sql.join("; ")).await.map_err(|error| unreadable(&error))?;
        for ((child, parent, _), row) in asked.iter().zip(&rows) {
            let count: usize = text(row, 0).and_then(|count| count.parse().ok()).unwrap_or_default();
            if count > 0 {
                let rows = plural(count, "row");
                survey
                    .holders
                    .push(format!("{rows} of {child} that are not the tenant's refer to its rows of {parent}"));
            }
        }
        Ok(())
    }

    /// Whoever wrote the bundle: rows of another tenant do not come in with it. What came and is the tenant's must be all
    /// that came.
    async fn refuse_foreign(&mut self, parts: &[Part]) -> Result<()> {
        let counts: Vec<String> = parts
            .iter()
            .enumerate()
            .map(|(at, part)| {
                format!(
                    "SELECT (SELECT pg_catalog.count(*) FROM pg_temp.lyrox_stage_{at})::text, (SELECT pg_catalog.count(*) FROM {})::text",
                    part.clear
                )
            })
            .collect();
        if counts.is_empty() {
            return Ok(());
        }
        let rows = match run(&mut self.connection, counts.join("; ")).await {
            Ok(rows) => rows,
            Err(error) => return Err(self.cut_short("rows cannot be counted", &error).await),
        };
        let Some((part, row)) = parts.iter().zip(&rows).find(|(_, row)| text(row, 0) != text(row, 1)) else {
            return Ok(());
        };
        let count = |at| text(row, at).unwrap_or_default();
        let why = format!("{} came, and {} are the tenant's then: others', or changed on the way", count(0), count(1));
        let _ = run(&mut self.connection, "ROLLBACK".into()).await;
        Err(Error::new(Code::Bundle, format!("rows of `{}` are not the tenant's", part.name))
            .why(why)
            .data("rolled back"))
    }

    async fn cut_short(&mut self, what: &str, error: &sqlx::Error) -> Error {
        let refused = server_error(Code::TenantFailed, what, error).data_if_none("rolled back");
        let _ = run(&mut self.connection, "ROLLBACK".into()).await;
        refused
    }
}

/// The texts of one table.
fn part(
    own: &Own<'_>,
    catalog: &Catalog,
    wanted: Option<&[String]>,
    name: String,
    group: usize,
    scope: Scope<'_>,
) -> Result<Part> {
    let source = own.source;
    let only = if source.kind == "p" { "" } else { "ONLY " };
    let columns: Vec<&catalog::Column> = match wanted {
        None => source.columns.iter().collect(),
        Some(wanted) => {
            let find = |name: &String| {
                source.columns.iter().find(|column| column.name == *name).ok_or_else(|| {
                    Error::new(Code::Bundle, format!("table {} has no column `{name}` here", source.quoted))
                        .why("the bundle has values of it, and no column of this name takes any")
                        .data("nothing was changed")
                        .hint("bring the migrations of both installations to the same version")
                })
            };
            wanted.iter().map(find).collect::<Result<_>>()?
        }
    };
    let list = |each: &dyn Fn(&catalog::Column) -> String| {
        columns.iter().map(|column| each(column)).collect::<Vec<_>>().join(", ")
    };
    let from = format!("{only}{} WHERE {}", source.quoted, own.condition);
    let order: Vec<String> = source
        .order
        .iter()
        .map(|quoted| {
            let has_collation = source.columns.iter().any(|column| column.quoted == *quoted && column.has_collation);
            format!("{}.{quoted}{}", source.quoted, if has_collation { " COLLATE \"C\"" } else { "" })
        })
        .collect();
    let order = if order.is_empty() { format!("({}.*)::text COLLATE \"C\"", source.quoted) } else { order.join(", ") };
    let refers = |quoted: &String| {
        catalog.references.iter().any(|reference| reference.child == source.oid && reference.columns.contains(quoted))
    };
    let tenancy = &scope.terms.tenancy;
    let is_key = |column: &catalog::Column| {
        !scope.is_inside
            && (tenancy.column.as_ref() == Some(&column.name)
                || (tenancy.table.as_ref() == Some(&source.name) && tenancy.key_column == column.name))
    };
    let ids = columns
        .iter()
        .filter(|column| source.order.contains(&column.quoted) && !refers(&column.quoted) && !is_key(column));
    let advance: Vec<String> = columns
        .iter()
        .filter(|_| !scope.is_inside)
        .filter_map(|column| Some((column, column.sequence.as_ref()?)))
        .map(|(column, sequence)| {
            format!(
                "; SELECT CASE WHEN m > (SELECT last_value FROM {sequence}) THEN pg_catalog.setval({}, m) END \
                 FROM (SELECT pg_catalog.max({})::bigint AS m FROM {from}) x",
                literal(sequence),
                column.quoted
            )
        })
        .collect();
    let switched = |word: &dyn Fn(&catalog::Trigger) -> &'static str| -> String {
        let ours = source.triggers.iter().filter(|trigger| trigger.on_insert && trigger.is_ours);
        ours.map(|trigger| format!("ALTER TABLE {} {} TRIGGER {};", trigger.table, word(trigger), trigger.name))
            .collect()
    };
    let around =
        (switched(&|_| "DISABLE"), switched(&|trigger| if trigger.is_always { "ENABLE ALWAYS" } else { "ENABLE" }));
    let write = if columns.is_empty() {
        format!("INSERT INTO {} SELECT FROM {{stage}} s", source.quoted)
    } else {
        format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {{stage}} s, \
             LATERAL pg_catalog.json_to_record(s.line) AS x ({})",
            source.quoted,
            list(&|column| column.quoted.clone()),
            list(&|column| format!("x.{}::{}", column.quoted, column.kind)),
            list(&|column| format!("{} text", column.quoted)),
        )
    };
    let read = if columns.is_empty() {
        format!("SELECT '{{}}'::json FROM {from}")
    } else {
        format!(
            "SELECT pg_catalog.row_to_json(\"lyrox row\") FROM (SELECT {} FROM {from} ORDER BY {order}) \"lyrox row\"",
            list(&|column| format!("{0}::text AS {0}", column.quoted)),
        )
    };
    Ok(Part {
        name,
        columns: columns.iter().map(|column| column.name.clone()).collect(),
        ids: ids.map(|column| column.name.clone()).collect(),
        rows: 0,
        read,
        clear: from,
        // What follows, here and in later looks, is planned by how many rows there are: the table may have been empty so far.
        write: format!("{write}\u{1f}; ANALYZE {}{}", source.quoted, advance.concat()),
        around,
        fires: source.triggers.iter().any(|trigger| trigger.on_delete),
        group,
        keys: None,
    })
}

/// One statement for a group: foreign keys are looked at when it ends.
fn together(statements: &[String]) -> String {
    match statements {
        [one] => one.clone(),
        many => {
            let each = many.iter().enumerate().map(|(at, statement)| format!("g{at} AS ({statement} RETURNING 1)"));
            format!("WITH {} SELECT 1", each.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Numbers of parts by group, groups in order.
fn grouped(parts: &[Part]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        groups.entry(part.group).or_default().push(at);
    }
    groups.into_values().collect()
}

impl BundleStore for PostgresStore {
    async fn begin_reading(&mut self, scope: Scope<'_>, wanted: Option<&[Wanted]>) -> Result<Survey> {
        let mut survey = Survey::default();
        let begin = self.entered(scope, "ISOLATION LEVEL REPEATABLE READ READ ONLY");
        run(&mut self.connection, begin).await.map_err(|error| unreadable(&error))?;
        let catalog = self.read_sources().await?;
        let own = self.own_tables(scope, &catalog, &mut survey).await?;
        survey.parts = self.parts(&catalog, &own, wanted, scope).await?;
        if scope.is_inside {
            let group = survey.parts.iter().map(|part| part.group + 1).max().unwrap_or_default();
            let is_wanted = wanted.is_none_or(|wanted| wanted.iter().any(|(name, _)| name == SEQUENCES));
            survey.parts.extend(self.sequences(&catalog, group, scope.terms).filter(|_| is_wanted));
            if scope.terms.model() == TenancyModel::Schema {
                let schema = self.settings.schema.name().to_owned();
                let leaning = self.leaning_on(&schema).await?;
                survey.holders.extend(leaning.into_iter().map(|what| format!("{what} leans on the tenant's schema")));
            }
        } else {
            self.holders(scope, &catalog, &own, &mut survey).await?;
            let stale = catalog.materialized.iter();
            survey.notes.extend(stale.map(|view| {
                format!("materialized view {view} is as old as its last: REFRESH MATERIALIZED VIEW {view}")
            }));
        }
        if let Some(wanted) = wanted {
            for own in own.iter().filter(|own| {
                let name = self.part_name(&own.source.schema, &own.source.name);
                wanted.iter().any(|(known, _)| *known == name)
            }) {
                let some = own.source.triggers.iter().filter(|trigger| trigger.on_insert);
                let (off, on): (Vec<&catalog::Trigger>, Vec<_>) = some.partition(|trigger| trigger.is_ours);
                for (triggers, what) in
                    [(off, "does not fire for the rows that come"), (on, "fires: it is not ours to turn off")]
                {
                    let each = triggers
                        .into_iter()
                        .map(|trigger| format!("trigger {} of {} {what}", trigger.name, trigger.table));
                    survey.notes.extend(each);
                }
            }
        }
        Ok(survey)
    }

    async fn read_part(&mut self, _scope: Scope<'_>, part: &mut Part, sink: Sink<'_>) -> Result<()> {
        trips::count(StoreKind::Postgres);
        let copy = format!("COPY ({}) TO STDOUT {FORM}", part.read);
        let failed = |error: &sqlx::Error| {
            server_error(Code::TenantFailed, format!("`{}` cannot be read", part.name), error)
                .data("nothing was changed")
        };
        let mut stream = self.connection.copy_out_raw(&copy).await.map_err(|error| failed(&error))?;
        // A line may come in pieces.
        let mut rest: Vec<u8> = Vec::new();
        while let Some(bytes) = stream.try_next().await.map_err(|error| failed(&error))? {
            let mut from = &bytes[..];
            while let Some(end) = memchr::memchr(b'\n', from) {
                if rest.is_empty() {
                    sink(&from[..end])?;
                } else {
                    rest.extend_from_slice(&from[..end]);
                    sink(&rest)?;
                    rest.clear();
                }
                from = &from[end + 1..];
            }
            rest.extend_from_slice(from);
        }
        Ok(())
    }

    async fn end_reading(&mut self) -> Result<()> {
        run(&mut self.connection, "ROLLBACK".into()).await.map(drop).map_err(|error| unreadable(&error))
    }

    async fn clear_tenant(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        let tables: Vec<&Part> = parts.iter().filter(|part| part.name != SEQUENCES).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let mut sql = self.entered(scope, "");
        sql.push_str(" SET CONSTRAINTS ALL DEFERRED;");
        let mut gone: Vec<String> = Vec::new();
        for group in grouped(parts).into_iter().rev() {
            let members: Vec<usize> = group.into_iter().filter(|at| parts[*at].name != SEQUENCES).collect();
            let statements: Vec<String> =
                members.iter().map(|at| format!("DELETE FROM {}", parts[*at].clear)).collect();
            if statements.is_empty() {
                continue;
            }
            gone.push(format!(" {};", together(&statements)));
            sql.push_str(&gone[gone.len() - 1]);
            if members.iter().any(|at| parts[*at].fires) {
                // What its triggers wrote, to a journal for instance, goes before what it refers to does.
                gone.iter().for_each(|statement| sql.push_str(statement));
            }
        }
        sql.push_str(" COMMIT");
        match run(&mut self.connection, sql).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self
                .cut_short(&format!("the rows of tenant `{}` cannot be deleted", scope.tenant.shown()), &error)
                .await
                .data("rolled back: all its rows in PostgreSQL are still there")),
        }
    }

    async fn begin_filling(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        let mut sql = self.entered(scope, "");
        sql.push_str(" SET CONSTRAINTS ALL DEFERRED;");
        for at in 0..parts.len() {
            sql.push_str(&format!(" CREATE TEMPORARY TABLE lyrox_stage_{at} (line json) ON COMMIT DROP;"));
        }
        match run(&mut self.connection, sql).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.cut_short("rows cannot be staged", &error).await),
        }
    }

    async fn fill_part(&mut self, _scope: Scope<'_>, at: usize, part: &Part, lines: &[u8]) -> Result<()> {
        trips::count(StoreKind::Postgres);
        let copy = format!("COPY pg_temp.lyrox_stage_{at} FROM STDIN {FORM}");
        let sent = async {
            let mut sink = self.connection.copy_in_raw(&copy).await?;
            sink.send(lines).await?;
            sink.finish().await
        };
        match sent.await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.cut_short(&format!("rows of `{}` cannot be sent", part.name), &error).await),
        }
    }

    async fn end_filling(&mut self, scope: Scope<'_>, parts: &[Part]) -> Result<()> {
        let before: String = parts.iter().map(|part| part.around.0.as_str()).collect();
        if !before.is_empty()
            && let Err(error) = run(&mut self.connection, before).await
        {
            return Err(self.cut_short("triggers cannot be turned off", &error).await);
        }
        for group in grouped(parts) {
            let text = |at: usize| parts[at].write.replace("{stage}", &format!("pg_temp.lyrox_stage_{at}"));
            let texts: Vec<String> = group.iter().map(|at| text(*at)).collect();
            let (statements, more): (Vec<String>, Vec<String>) = texts
                .iter()
                .map(|text| text.split_once('\u{1f}').unwrap_or((text, "")))
                .map(|(statement, more)| (statement.to_owned(), more.to_owned()))
                .unzip();
            let sql = format!("{}{}", together(&statements), more.concat());
            if let Err(error) = run(&mut self.connection, sql).await {
                let names: Vec<&str> = group.iter().map(|at| parts[*at].name.as_str()).collect();
                let refused = self.cut_short(&format!("rows of `{}` are refused", names.join("`, `")), &error).await;
                return Err(refused.hint_if_none("what the rows refer to outside the tenant must be there first"));
            }
        }
        let after: String = parts.iter().map(|part| part.around.1.as_str()).collect();
        if let Err(error) = run(&mut self.connection, format!("SET CONSTRAINTS ALL IMMEDIATE; {after}")).await {
            return Err(self.cut_short("rows are refused", &error).await);
        }
        if !scope.is_inside {
            self.refuse_foreign(parts).await?;
        }
        match run(&mut self.connection, "COMMIT".into()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.cut_short("rows cannot be committed", &error).await),
        }
    }

    async fn shut_out(&mut self, tenant: &Tenant, terms: &Terms) -> Result<()> {
        if terms.model() == TenancyModel::Row || !terms.tenancy.users {
            return Ok(());
        }
        let own = self.own_mark();
        if !self.roles_named(&[tenant.name()]).await?.iter().any(|role| role.comment.as_deref() == Some(&own)) {
            return Ok(());
        }
        let role = Ident::new(&tenant.name())?;
        let what = "the tenant's role cannot be shut out";
        self.write(format!("ALTER ROLE {role} NOLOGIN"), what).await?;
        let end = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE usename = {}",
            literal(&tenant.name())
        );
        // Ending another role's session needs its membership: whoever may not is told by what is left.
        if let Err(error) = run(&mut self.connection, end).await {
            log::debug!("sessions of {role} cannot be ended: {}", words(&error));
        }
        Ok(())
    }

    async fn traces(&mut self, tenant: &Tenant, terms: &Terms) -> Result<Vec<String>> {
        let scope = format!("project = {} AND tenant = {}", literal(&self.project), literal(tenant.key()));
        let sql = format!(
            "SELECT 'migrations', pg_catalog.count(*)::text FROM lyrox.migrations WHERE {scope} \
             UNION ALL SELECT 'snapshots', pg_catalog.count(*)::text FROM lyrox.snapshots WHERE {scope}"
        );
        let rows = run(&mut self.connection, sql).await.map_err(|error| unreadable(&error))?;
        let mut left: Vec<String> = rows
            .iter()
            .filter_map(|row| Some((text(row, 0)?, text(row, 1)?)))
            .filter(|(_, count)| count != "0")
            .map(|(what, count)| format!("{count} rows of lyrox.{what}"))
            .collect();
        if terms.model() != TenancyModel::Row {
            use crate::stores::tenant::TenantStore as _;
            let found = self.look_at_tenant(tenant, terms).await?;
            left.extend(found.into_iter().map(|(what, name)| format!("{what} {name}")));
        }
        Ok(left)
    }
}
