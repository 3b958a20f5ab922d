-- What is not in the lists and depends on what is: it would be dropped, or changed, by a CASCADE.
WITH going (class, oid) AS (
    SELECT 'pg_catalog.pg_class'::regclass, pg_catalog.unnest({relations}::oid[]) UNION ALL
    SELECT 'pg_catalog.pg_proc'::regclass, pg_catalog.unnest({functions}::oid[]) UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, pg_catalog.unnest({types}::oid[])),
rowtype AS (SELECT t.oid, t.typarray FROM pg_catalog.pg_type t JOIN going g ON g.class = 'pg_catalog.pg_class'::regclass AND g.oid = t.typrelid),
source AS (
    SELECT class, oid FROM going UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, oid FROM rowtype UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, typarray FROM rowtype UNION ALL
    SELECT 'pg_catalog.pg_type'::regclass, t.typarray FROM pg_catalog.pg_type t JOIN going g ON g.class = 'pg_catalog.pg_type'::regclass AND g.oid = t.oid),
dependent AS (
    SELECT DISTINCT d.classid, d.objid, s.class AS on_class, s.oid AS on_oid FROM source s
    JOIN pg_catalog.pg_depend d ON d.refclassid = s.class AND d.refobjid = s.oid WHERE d.deptype IN ('n', 'a', 'P', 'S')),
-- The table, function or type that a dependent is a part of.
whole AS (
    SELECT CASE WHEN d.classid IN ('pg_catalog.pg_proc'::regclass) THEN d.classid
                WHEN d.classid = 'pg_catalog.pg_type'::regclass AND coalesce(t.typrelid, 0) = 0 THEN d.classid
                ELSE 'pg_catalog.pg_class'::regclass END AS class,
        coalesce(rw.ev_class, nullif(k.conrelid, 0), ad.adrelid, tg.tgrelid, po.polrelid, i.indrelid, nullif(t.typrelid, 0),
            CASE WHEN d.classid IN ('pg_catalog.pg_class'::regclass, 'pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_type'::regclass) THEN coalesce(el.oid, d.objid) END) AS oid,
        d.classid, d.objid, d.on_class, d.on_oid
    FROM dependent d
    LEFT JOIN pg_catalog.pg_rewrite rw ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND rw.oid = d.objid
    LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objid
    LEFT JOIN pg_catalog.pg_attrdef ad ON d.classid = 'pg_catalog.pg_attrdef'::regclass AND ad.oid = d.objid
    LEFT JOIN pg_catalog.pg_trigger tg ON d.classid = 'pg_catalog.pg_trigger'::regclass AND tg.oid = d.objid
    LEFT JOIN pg_catalog.pg_policy po ON d.classid = 'pg_catalog.pg_policy'::regclass AND po.oid = d.objid
    LEFT JOIN pg_catalog.pg_index i ON d.classid = 'pg_catalog.pg_class'::regclass AND i.indexrelid = d.objid
    LEFT JOIN pg_catalog.pg_type t ON d.classid = 'pg_catalog.pg_type'::regclass AND t.oid = d.objid
    LEFT JOIN pg_catalog.pg_type el ON d.classid = 'pg_catalog.pg_type'::regclass AND el.typarray = d.objid)
SELECT DISTINCT pg_catalog.pg_describe_object(w.classid, w.objid, 0), pg_catalog.pg_describe_object(w.on_class, w.on_oid, 0)
FROM whole w
WHERE w.oid IS NOT NULL AND NOT EXISTS (SELECT FROM going g WHERE g.class = w.class AND g.oid = w.oid)
-- What belongs to a table or view goes with it.
AND NOT (w.class = 'pg_catalog.pg_class'::regclass AND EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d
    ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')
    WHERE c.oid = w.oid AND c.relkind IN ('S', 'c', 't') AND EXISTS (SELECT FROM going g WHERE g.class = 'pg_catalog.pg_class'::regclass AND g.oid = d.refobjid)))
AND NOT (w.class = 'pg_catalog.pg_class'::regclass AND EXISTS (SELECT FROM pg_catalog.pg_type ct JOIN going g ON g.class = 'pg_catalog.pg_type'::regclass AND g.oid = ct.oid WHERE ct.typrelid = w.oid))
ORDER BY 1 LIMIT 10
