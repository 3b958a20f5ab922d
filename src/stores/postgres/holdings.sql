-- What stands by itself in the project's schemas: catalog class, number, kind, path as in snapshots, bare name,
-- name quoted for DROP, size, estimated rows, whether rows may be hidden, relations locked by a DROP, foreign
-- keys that point at it. Objects of extensions, and what belongs to a table, are left out.
SELECT 'pg_class', c.oid, CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence' ELSE 'table' END,
    {name:c.relname}, c.relname::text, pg_catalog.format('%I.%I', n.nspname, c.relname),
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_catalog.pg_total_relation_size(c.oid) END,
    CASE WHEN c.relkind IN ('r', 'm') AND c.reltuples >= 0 THEN c.reltuples::bigint END,
    c.relkind <> 'r' OR pg_catalog.row_security_active(c.oid),
    1 + 2 * (c.reltoastrelid <> 0)::int + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid)
      + (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend d WHERE d.refclassid = 'pg_catalog.pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i') AND d.classid = 'pg_catalog.pg_class'::regclass),
    (SELECT pg_catalog.count(*) FROM pg_catalog.pg_constraint k WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conrelid <> c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND {own:pg_class:c}
AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass
    AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')))
UNION ALL
SELECT 'pg_proc', p.oid, CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
    {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', p.proname::text,
    pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)), NULL, NULL, false, 1, 0
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_proc:p}
UNION ALL
SELECT 'pg_type', t.oid, 'type', {name:t.typname}, t.typname::text, pg_catalog.format('%I.%I', n.nspname, t.typname), NULL, NULL, false, 1, 0
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
WHERE n.nspname = ANY ({schemas}) AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND r.relkind = 'c')) AND {own:pg_type:t}
UNION ALL
SELECT 'pg_collation', l.oid, 'collation', {name:l.collname}, l.collname::text, pg_catalog.format('%I.%I', n.nspname, l.collname), NULL, NULL, false, 1, 0
FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_collation:l}
UNION ALL
SELECT 'pg_ts_config', g.oid, 'text search configuration', {name:g.cfgname}, g.cfgname::text, pg_catalog.format('%I.%I', n.nspname, g.cfgname), NULL, NULL, false, 1, 0
FROM pg_catalog.pg_ts_config g JOIN pg_catalog.pg_namespace n ON n.oid = g.cfgnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_ts_config:g}
UNION ALL
SELECT 'pg_ts_dict', g.oid, 'text search dictionary', {name:g.dictname}, g.dictname::text, pg_catalog.format('%I.%I', n.nspname, g.dictname), NULL, NULL, false, 1, 0
FROM pg_catalog.pg_ts_dict g JOIN pg_catalog.pg_namespace n ON n.oid = g.dictnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_ts_dict:g}
UNION ALL
SELECT 'pg_namespace', n.oid, 'schema', n.nspname::text, n.nspname::text, pg_catalog.quote_ident(n.nspname), NULL, NULL, false, 1, 0
FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY ({schemas}) AND n.nspname <> {schema}
