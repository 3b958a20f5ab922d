//! The placeholders of the queries over the catalog: names, schemas, and what differs between versions. It sends
//! nothing.

use super::PostgresStore;
use super::ident::{literal, literal_or_null};

impl PostgresStore {
    /// Fills the placeholders of a query over the catalog.
    pub(super) fn fill(&self, query: &str, schemas: &[String]) -> String {
        let list: Vec<String> = schemas.iter().map(|schema| literal(schema)).collect();
        let schema = literal(self.settings.schema.name());
        let role = self.config.settings.postgres.as_ref().and_then(|section| section.app_role.as_deref());
        let mut sql = String::with_capacity(query.len() * 2);
        let mut rest = query;
        while let Some((before, after)) = rest.split_once('{') {
            sql.push_str(before);
            let (key, after) = closed(after);
            match key.split(':').collect::<Vec<_>>().as_slice() {
                ["schemas"] => sql.push_str(&format!("ARRAY[{}]::name[]", list.join(", "))),
                ["schema"] => sql.push_str(&schema),
                ["role"] => sql.push_str(&literal_or_null(role)),
                ["owner"] => sql.push_str(OWNER),
                ["owner", of] => sql.push_str(&format!(
                    "CASE WHEN {of} <> {OWNER} THEN ' OWNER ' || pg_catalog.pg_get_userbyid({of}) ELSE '' END"
                )),
                ["place", relation] => sql.push_str(&format!(
                    "CASE {relation}.relkind WHEN 'S' THEN 5 WHEN 'v' THEN 7 WHEN 'm' THEN 8 ELSE 6 END"
                )),
                ["options", relation] => sql.push_str(&format!(
                    "nullif(coalesce({relation}.reloptions, '{{}}') || coalesce((SELECT pg_catalog.array_agg('toast.' || o.text ORDER BY o.text) \
                     FROM pg_catalog.pg_class t, pg_catalog.unnest(t.reloptions) o (text) WHERE t.oid = {relation}.reltoastrelid), '{{}}'), '{{}}')"
                )),
                ["late", class, oid] => sql.push_str(&late(class, oid)),
                ["inline"] => sql.push_str(&format!(
                    "((k.contype IN ('p', 'u', 'x') OR (k.contype = 'c' AND k.convalidated AND NOT ({} AND NOT c.relispartition AND NOT EXISTS \
                     (SELECT FROM pg_catalog.pg_inherits h WHERE c.oid IN (h.inhrelid, h.inhparent))))) AND (k.conislocal OR c.relispartition))",
                    late("pg_constraint", "k.oid")
                )),
                ["usual_schema"] => sql.push_str(USUAL_SCHEMA),
                ["sequence"] => sql.push_str(SEQUENCE),
                ["aggregate"] => sql.push_str(AGGREGATE),
                ["name", name] => sql.push_str(&format!(
                    "CASE WHEN n.nspname = {schema} THEN {name}::text ELSE n.nspname || '.' || {name} END"
                )),
                ["own", class, alias] => {
                    sql.push_str(&format!(
                    "NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.{class}'::regclass \
                     AND e.objid = {alias}.oid AND e.deptype IN ('e'{}))",
                    // A range type brings functions that come and go with it.
                    if *class == "pg_proc" { ", 'i'" } else { "" }
                ));
                    // Another tool's history is lyrox's own object: no part of the schema.
                    if *class == "pg_class" && self.history.is_some() {
                        sql.push_str(&format!(" AND {}", self.not_history(alias)));
                    }
                }
                [version, ..] if version.parse::<u32>().is_ok() => {
                    let known = version.parse::<u32>().is_ok_and(|version| self.facts.version / 10_000 >= version);
                    let (_, expression) = key.split_once(':').unwrap_or_default();
                    sql.push_str(&if known { self.fill(expression, schemas) } else { "NULL".to_owned() });
                }
                _ => {
                    sql.push('{');
                    sql.push_str(key);
                    sql.push('}');
                }
            }
            rest = after;
        }
        sql.push_str(rest);
        sql
    }
}

/// Who migrates: the owner of the ledger's schema, whoever looks at it now; before there is one, whoever looks.
const OWNER: &str = "coalesce((SELECT w.nspowner FROM pg_catalog.pg_namespace w WHERE w.nspname = 'lyrox'), \
    (SELECT w.oid FROM pg_catalog.pg_roles w WHERE w.rolname = current_user))";

/// What a schema `n` grants unless told otherwise. `public` is open to everyone, until version 15 also for making things.
const USUAL_SCHEMA: &str = "pg_catalog.acldefault('n', n.nspowner) || CASE WHEN n.nspname <> 'public' THEN NULL \
    WHEN pg_catalog.current_setting('server_version_num')::int < 150000 \
    THEN ARRAY[pg_catalog.makeaclitem(0, n.nspowner, 'USAGE', false), pg_catalog.makeaclitem(0, n.nspowner, 'CREATE', false)] \
    ELSE ARRAY[pg_catalog.makeaclitem(0, n.nspowner, 'USAGE', false)] END";

/// The options of an identity column's sequence, which is `s` and `q`.
const SEQUENCE: &str = "' (SEQUENCE NAME ' || q.oid::regclass || ' START ' || s.seqstart || ' INCREMENT ' || s.seqincrement \
    || ' MINVALUE ' || s.seqmin || ' MAXVALUE ' || s.seqmax || ' CACHE ' || s.seqcache || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END || ')'";

/// The options of `CREATE AGGREGATE`, comma by comma, from `pg_aggregate g`.
const AGGREGATE: &str = "pg_catalog.concat_ws(', ', 'SFUNC = ' || g.aggtransfn, \
    'STYPE = ' || pg_catalog.format_type(g.aggtranstype, NULL), CASE WHEN g.aggtransspace <> 0 THEN 'SSPACE = ' || g.aggtransspace END, \
    CASE WHEN g.aggfinalfn <> 0 THEN 'FINALFUNC = ' || g.aggfinalfn END, CASE WHEN g.aggfinalextra THEN 'FINALFUNC_EXTRA' END, \
    CASE g.aggfinalmodify WHEN 's' THEN 'FINALFUNC_MODIFY = SHAREABLE' WHEN 'w' THEN 'FINALFUNC_MODIFY = READ_WRITE' END, \
    CASE WHEN g.aggcombinefn <> 0 THEN 'COMBINEFUNC = ' || g.aggcombinefn END, CASE WHEN g.aggserialfn <> 0 THEN 'SERIALFUNC = ' || g.aggserialfn END, \
    CASE WHEN g.aggdeserialfn <> 0 THEN 'DESERIALFUNC = ' || g.aggdeserialfn END, 'INITCOND = ' || pg_catalog.quote_literal(g.agginitval), \
    CASE WHEN g.aggmtransfn <> 0 THEN 'MSFUNC = ' || g.aggmtransfn END, CASE WHEN g.aggminvtransfn <> 0 THEN 'MINVFUNC = ' || g.aggminvtransfn END, \
    CASE WHEN g.aggmtranstype <> 0 THEN 'MSTYPE = ' || pg_catalog.format_type(g.aggmtranstype, NULL) END, \
    CASE WHEN g.aggmtransspace <> 0 THEN 'MSSPACE = ' || g.aggmtransspace END, CASE WHEN g.aggmfinalfn <> 0 THEN 'MFINALFUNC = ' || g.aggmfinalfn END, \
    CASE WHEN g.aggmfinalextra THEN 'MFINALFUNC_EXTRA' END, 'MINITCOND = ' || pg_catalog.quote_literal(g.aggminitval), \
    CASE WHEN g.aggsortop <> 0 THEN 'SORTOP = OPERATOR(' || (SELECT pg_catalog.quote_ident(s.nspname) || '.' || o.oprname FROM pg_catalog.pg_operator o \
        JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace WHERE o.oid = g.aggsortop) || ')' END, \
    CASE p.proparallel WHEN 's' THEN 'PARALLEL = SAFE' WHEN 'r' THEN 'PARALLEL = RESTRICTED' END, CASE WHEN g.aggkind = 'h' THEN 'HYPOTHETICAL' END)";

/// Whether an expression calls a routine that needs a table itself: it cannot be made with a table then.
fn late(class: &str, oid: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_depend e JOIN pg_catalog.pg_depend f ON f.classid = 'pg_catalog.pg_proc'::regclass AND f.objid = e.refobjid \
         WHERE e.classid = 'pg_catalog.{class}'::regclass AND e.objid = {oid} AND e.refclassid = 'pg_catalog.pg_proc'::regclass \
         AND (f.refclassid = 'pg_catalog.pg_class'::regclass OR (f.refclassid = 'pg_catalog.pg_type'::regclass AND EXISTS \
         (SELECT FROM pg_catalog.pg_type y JOIN pg_catalog.pg_class z ON z.oid = y.typrelid WHERE y.oid = f.refobjid AND z.relkind <> 'c'))))"
    )
}

/// What stands before the brace that closes, and what stands behind it.
fn closed(text: &str) -> (&str, &str) {
    let mut depth = 1;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return (&text[..at], &text[at + 1..]);
        }
    }
    (text, "")
}
