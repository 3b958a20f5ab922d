-- The canonical schema: one row per object, its path and its definition. In braces: the schemas that are
-- the project's, the schema whose names stand alone, the application's role, a path, the test for extensions,
-- an owner where it is not the one that migrates, `{15:...}` for what only that version and later ones know.
-- Objects of extensions are left out; so is what differs between servers without a difference in meaning.

SELECT 'schema ' || n.nspname, 'schema' || {owner:n.nspowner} FROM pg_catalog.pg_namespace n
WHERE n.nspname = ANY ({schemas}) AND n.nspname <> {schema};

SELECT 'extension ' || e.extname, 'schema ' || n.nspname
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql';

SELECT 'type ' || {name:t.typname},
    CASE t.typtype
        WHEN 'e' THEN 'enum (' || coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder)
            FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid), '') || ')'
        WHEN 'd' THEN 'domain ' || pg_catalog.format_type(t.typbasetype, t.typtypmod)
            || CASE WHEN t.typcollation <> 0 AND t.typcollation <> (SELECT b.typcollation FROM pg_catalog.pg_type b WHERE b.oid = t.typbasetype)
                THEN ' COLLATE ' || t.typcollation::regcollation ELSE '' END
            || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END || coalesce(' DEFAULT ' || t.typdefault, '')
            || coalesce((SELECT ' ' || pg_catalog.string_agg(c.conname || ' ' || pg_catalog.pg_get_constraintdef(c.oid), ', ' ORDER BY c.conname)
                FROM pg_catalog.pg_constraint c WHERE c.contypid = t.oid AND c.contype = 'c'), '')
        WHEN 'r' THEN (SELECT 'range of ' || pg_catalog.format_type(r.rngsubtype, NULL)
                || CASE WHEN o.opcdefault THEN '' ELSE ' OPCLASS ' || o.opcname END
                || CASE WHEN r.rngcollation <> 0 AND r.rngcollation <> s.typcollation THEN ' COLLATE ' || r.rngcollation::regcollation ELSE '' END
                || CASE WHEN r.rngcanonical <> 0 THEN ' CANONICAL ' || r.rngcanonical ELSE '' END
                || CASE WHEN r.rngsubdiff <> 0 THEN ' DIFF ' || r.rngsubdiff ELSE '' END
            FROM pg_catalog.pg_range r JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc
            JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype WHERE r.rngtypid = t.oid)
        ELSE 'composite (' || coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
                || CASE WHEN a.attcollation <> 0 AND a.attcollation <> y.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END, ', ' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
            WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '') || ')'
    END || {owner:t.typowner}
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
WHERE n.nspname = ANY ({schemas}) AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND r.relkind = 'c')) AND {own:pg_type:t};

SELECT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' ELSE 'table ' END || {name:c.relname},
    CASE c.relkind WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid) WHEN 'm' THEN pg_catalog.pg_get_viewdef(c.oid)
        WHEN 'p' THEN 'table PARTITION BY ' || pg_catalog.pg_get_partkeydef(c.oid)
        WHEN 'f' THEN 'foreign table' || coalesce((SELECT ' SERVER ' || s.srvname || coalesce(' OPTIONS (' || pg_catalog.array_to_string(f.ftoptions, ', ') || ')', '')
            FROM pg_catalog.pg_foreign_table f JOIN pg_catalog.pg_foreign_server s ON s.oid = f.ftserver WHERE f.ftrelid = c.oid), '')
        ELSE 'table' END
    || CASE c.relpersistence WHEN 'u' THEN ' UNLOGGED' ELSE '' END
    || CASE WHEN c.reloftype <> 0 THEN ' OF ' || c.reloftype::regtype ELSE '' END
    || CASE WHEN c.relispartition THEN ' ' || pg_catalog.pg_get_expr(c.relpartbound, c.oid) ELSE '' END
    || coalesce((SELECT ' INHERITS (' || pg_catalog.string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) || ')'
        FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid), '')
    || coalesce((SELECT ' USING ' || m.amname FROM pg_catalog.pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap' AND c.relkind IN ('r', 'm')), '')
    || CASE WHEN c.relrowsecurity THEN ' ENABLE ROW LEVEL SECURITY' ELSE '' END
    || CASE WHEN c.relforcerowsecurity THEN ' FORCE ROW LEVEL SECURITY' ELSE '' END
    || CASE WHEN c.relkind IN ('r', 'p') THEN CASE c.relreplident WHEN 'n' THEN ' REPLICA IDENTITY NOTHING' WHEN 'f' THEN ' REPLICA IDENTITY FULL'
        WHEN 'i' THEN ' REPLICA IDENTITY USING INDEX ' || coalesce((SELECT x.relname FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisreplident), '?') ELSE '' END ELSE '' END
    || coalesce(' WITH (' || pg_catalog.array_to_string({options:c}, ', ') || ')', '') || {owner:c.relowner}
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'f', 'v', 'm') AND {own:pg_class:c};

SELECT 'column ' || {name:c.relname} || '.' || a.attname,
    pg_catalog.format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation
        THEN (SELECT ' COLLATE ' || pg_catalog.quote_ident(l.collname) FROM pg_catalog.pg_collation l WHERE l.oid = a.attcollation) ELSE '' END
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END
    || CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' WHEN 'd' THEN ' GENERATED BY DEFAULT AS IDENTITY' ELSE '' END
    || CASE WHEN a.attidentity <> '' THEN coalesce((SELECT {sequence} FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class q ON q.oid = s.seqrelid
        JOIN pg_catalog.pg_depend e ON e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = q.oid AND e.deptype = 'i'
            AND e.refclassid = 'pg_catalog.pg_class'::regclass AND e.refobjid = a.attrelid AND e.refobjsubid = a.attnum
        WHERE (s.seqstart, s.seqincrement, s.seqmin, s.seqcache, s.seqcycle) <> (1, 1, 1, 1, false) OR s.seqmax <>
            CASE s.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END
            OR q.relname <> c.relname || '_' || a.attname || '_seq'), '') ELSE '' END
    || CASE WHEN a.attgenerated <> '' THEN ' GENERATED ALWAYS AS (' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) || ')'
            || CASE a.attgenerated WHEN 'v' THEN ' VIRTUAL' ELSE '' END
        ELSE coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid), '') END
    || CASE WHEN a.attstorage <> t.typstorage THEN ' STORAGE ' || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END ELSE '' END
    || CASE {14:a.attcompression::text} WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' ELSE '' END
    || CASE WHEN coalesce(a.attstattarget, -1) >= 0 THEN ' STATISTICS ' || a.attstattarget ELSE '' END
    || coalesce(' OPTIONS (' || pg_catalog.array_to_string(a.attoptions, ', ') || ')', '')
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'f') AND a.attnum > 0 AND NOT a.attisdropped AND {own:pg_class:c};

SELECT 'column ' || {name:c.relname} || '.' || a.attname, 'DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind = 'v' AND {own:pg_class:c};

-- What a server makes by itself on partitions, from their parent's foreign keys and triggers, is no object of its own.
SELECT 'constraint ' || {name:c.relname} || '.' || k.conname, pg_catalog.pg_get_constraintdef(k.oid)
    || coalesce((SELECT ' WITH (' || pg_catalog.array_to_string(x.reloptions, ', ') || ')' FROM pg_catalog.pg_class x
        WHERE x.oid = k.conindid AND k.contype IN ('p', 'u', 'x')), '')
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND k.contype IN ('p', 'u', 'f', 'c', 'x') AND {own:pg_class:c} AND NOT (k.contype = 'f' AND k.conparentid <> 0);

SELECT 'index ' || {name:c.relname}, pg_catalog.pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE n.nspname = ANY ({schemas}) AND t.relkind IN ('r', 'p', 'm') AND {own:pg_class:t}
AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'));

SELECT 'sequence ' || {name:c.relname},
    pg_catalog.format_type(s.seqtypid, NULL) || ' START ' || s.seqstart || ' INCREMENT ' || s.seqincrement || ' MINVALUE ' || s.seqmin
    || ' MAXVALUE ' || s.seqmax || ' CACHE ' || s.seqcache || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END
    || CASE c.relpersistence WHEN 'u' THEN ' UNLOGGED' ELSE '' END
    || coalesce((SELECT ' OWNED BY ' || d.refobjid::regclass || '.' || pg_catalog.quote_ident(a.attname)
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a' AND d.refclassid = 'pg_catalog.pg_class'::regclass), '')
    || {owner:c.relowner}
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i');

SELECT CASE p.prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END
    || {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')',
    CASE WHEN p.prokind = 'a' THEN (SELECT pg_catalog.concat_ws(' ', pg_catalog.format_type(p.prorettype, NULL), {aggregate}) FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid = p.oid)
        ELSE pg_catalog.pg_get_functiondef(p.oid) END || {owner:p.proowner}
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_proc:p};

SELECT 'trigger ' || {name:c.relname} || '.' || g.tgname,
    pg_catalog.pg_get_triggerdef(g.oid) || CASE g.tgenabled WHEN 'O' THEN '' WHEN 'D' THEN ' DISABLED' WHEN 'R' THEN ' REPLICA' ELSE ' ALWAYS' END
FROM pg_catalog.pg_trigger g
JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND NOT g.tgisinternal AND {own:pg_class:c}
AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger o WHERE o.oid = {13:g.tgparentid} AND o.tgenabled = g.tgenabled);

SELECT 'policy ' || {name:c.relname} || '.' || p.polname,
    CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END
    || CASE p.polcmd WHEN 'r' THEN ' FOR SELECT' WHEN 'a' THEN ' FOR INSERT' WHEN 'w' THEN ' FOR UPDATE' WHEN 'd' THEN ' FOR DELETE' ELSE ' FOR ALL' END
    || ' TO ' || coalesce((SELECT pg_catalog.string_agg(r.rolname, ', ' ORDER BY r.rolname) FROM pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles)), 'public')
    || coalesce(' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '')
    || coalesce(' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')
FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c};

SELECT 'rule ' || {name:c.relname} || '.' || r.rulename,
    pg_catalog.pg_get_ruledef(r.oid) || CASE r.ev_enabled WHEN 'O' THEN '' WHEN 'D' THEN ' DISABLED' WHEN 'R' THEN ' REPLICA' ELSE ' ALWAYS' END
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND r.rulename <> '_RETURN' AND {own:pg_class:c};

SELECT 'statistics ' || {name:s.stxname}, pg_catalog.pg_get_statisticsobjdef(s.oid)
    || CASE WHEN coalesce({13:s.stxstattarget}, -1) >= 0 THEN ' STATISTICS ' || {13:s.stxstattarget} ELSE '' END
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace
WHERE n.nspname = ANY ({schemas});

SELECT 'collation ' || {name:l.collname}, pg_catalog.concat_ws(' ', l.collprovider, l.collcollate, l.collctype,
    coalesce(pg_catalog.to_jsonb(l) ->> 'colllocale', pg_catalog.to_jsonb(l) ->> 'colliculocale'), CASE WHEN l.collisdeterministic THEN NULL ELSE 'not deterministic' END)
FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_collation:l};

SELECT 'text search configuration ' || {name:g.cfgname}, 'parser ' || (SELECT r.prsname FROM pg_catalog.pg_ts_parser r WHERE r.oid = g.cfgparser) || ' '
    || coalesce((SELECT pg_catalog.string_agg(m.maptokentype || ' ' || d.dictname, ', ' ORDER BY m.maptokentype, m.mapseqno)
    FROM pg_catalog.pg_ts_config_map m JOIN pg_catalog.pg_ts_dict d ON d.oid = m.mapdict WHERE m.mapcfg = g.oid), '')
FROM pg_catalog.pg_ts_config g JOIN pg_catalog.pg_namespace n ON n.oid = g.cfgnamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_ts_config:g};

SELECT 'text search dictionary ' || {name:g.dictname}, 'template ' || (SELECT m.tmplname FROM pg_catalog.pg_ts_template m WHERE m.oid = g.dicttemplate)
    || coalesce(' ' || g.dictinitoption, '')
FROM pg_catalog.pg_ts_dict g JOIN pg_catalog.pg_namespace n ON n.oid = g.dictnamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_ts_dict:g};

-- Publications belong to the database; those that carry a table of the project are its matter.
SELECT 'publication ' || b.pubname, CASE WHEN b.puballtables THEN 'FOR ALL TABLES' ELSE 'FOR ' || pg_catalog.concat_ws(', ',
        (SELECT pg_catalog.string_agg('TABLE ' || x.prrelid::regclass || coalesce({15:(SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) || ')'
                FROM pg_catalog.pg_attribute a WHERE a.attrelid = x.prrelid AND a.attnum = ANY (x.prattrs))}, '')
            || coalesce(' WHERE (' || {15:pg_catalog.pg_get_expr(x.prqual, x.prrelid)} || ')', ''), ', ' ORDER BY x.prrelid::regclass::text)
        FROM pg_catalog.pg_publication_rel x WHERE x.prpubid = b.oid),
        {15:(SELECT pg_catalog.string_agg('TABLES IN SCHEMA ' || pg_catalog.quote_ident(s.nspname), ', ' ORDER BY s.nspname)
            FROM pg_catalog.pg_publication_namespace y JOIN pg_catalog.pg_namespace s ON s.oid = y.pnnspid WHERE y.pnpubid = b.oid)}) END
    || ' WITH (publish = ''' || pg_catalog.concat_ws(', ', CASE WHEN b.pubinsert THEN 'insert' END, CASE WHEN b.pubupdate THEN 'update' END,
        CASE WHEN b.pubdelete THEN 'delete' END, CASE WHEN b.pubtruncate THEN 'truncate' END) || ''''
    || CASE WHEN {13:b.pubviaroot} THEN ', publish_via_partition_root = true' ELSE '' END || ')'
FROM pg_catalog.pg_publication b
WHERE b.puballtables OR EXISTS (SELECT FROM pg_catalog.pg_publication_rel x JOIN pg_catalog.pg_class c ON c.oid = x.prrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE x.prpubid = b.oid AND n.nspname = ANY ({schemas}))
    OR {15:EXISTS (SELECT FROM pg_catalog.pg_publication_namespace y JOIN pg_catalog.pg_namespace n ON n.oid = y.pnnspid
        WHERE y.pnpubid = b.oid AND n.nspname = ANY ({schemas}))};

SELECT 'event trigger ' || v.evtname, 'ON ' || v.evtevent || coalesce(' WHEN TAG IN (' || (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(tag), ', ' ORDER BY tag)
        FROM pg_catalog.unnest(v.evttags) tag) || ')', '') || ' EXECUTE FUNCTION ' || v.evtfoid::regprocedure
    || CASE v.evtenabled WHEN 'O' THEN '' WHEN 'D' THEN ' DISABLED' WHEN 'R' THEN ' REPLICA' ELSE ' ALWAYS' END
FROM pg_catalog.pg_event_trigger v JOIN pg_catalog.pg_proc p ON p.oid = v.evtfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_event_trigger:v};

SELECT 'comment ' || CASE WHEN d.objsubid > 0 THEN 'column ' ELSE CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view '
        WHEN 'S' THEN 'sequence ' WHEN 'i' THEN 'index ' WHEN 'I' THEN 'index ' ELSE 'table ' END END
    || {name:c.relname} || coalesce('.' || a.attname, ''), d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON d.classoid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c}
UNION ALL
SELECT 'comment ' || CASE p.prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END
    || {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_proc p ON d.classoid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_proc:p}
UNION ALL
SELECT 'comment type ' || {name:t.typname}, d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_type t ON d.classoid = 'pg_catalog.pg_type'::regclass AND t.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_type:t}
UNION ALL
SELECT 'comment constraint ' || CASE WHEN k.conrelid <> 0 THEN {name:c.relname} ELSE {name:t.typname} END || '.' || k.conname, d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint k ON d.classoid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
WHERE n.nspname = ANY ({schemas})
UNION ALL
SELECT 'comment trigger ' || {name:c.relname} || '.' || g.tgname, d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_trigger g ON d.classoid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objoid
JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c}
UNION ALL
SELECT 'comment policy ' || {name:c.relname} || '.' || p.polname, d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_policy p ON d.classoid = 'pg_catalog.pg_policy'::regclass AND p.oid = d.objoid
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c}
UNION ALL
SELECT 'comment schema ' || n.nspname, d.description
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_namespace n ON d.classoid = 'pg_catalog.pg_namespace'::regclass AND n.oid = d.objoid
WHERE n.nspname = ANY ({schemas}) AND NOT (n.nspname = 'public' AND d.description = 'standard public schema');

-- Privileges are told where they are not those that every new object has: grantee by grantee.
WITH item (path, acl, usual, owner) AS (
    SELECT {name:c.relname}, c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner), c.relowner
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ({schemas}) AND c.relacl IS NOT NULL AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND {own:pg_class:c}
    UNION ALL
    SELECT {name:c.relname} || '.' || a.attname, a.attacl, NULL::aclitem[], 0
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ({schemas}) AND a.attacl IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped AND {own:pg_class:c}
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure ' WHEN 'a' THEN 'aggregate ' ELSE 'function ' END
        || {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', p.proacl, pg_catalog.acldefault('f', p.proowner), p.proowner
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY ({schemas}) AND p.proacl IS NOT NULL AND {own:pg_proc:p}
    UNION ALL
    SELECT 'schema ' || n.nspname, n.nspacl, {usual_schema}, n.nspowner
    FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY ({schemas}) AND n.nspacl IS NOT NULL
    UNION ALL
    SELECT 'type ' || {name:t.typname}, t.typacl, pg_catalog.acldefault('T', t.typowner), t.typowner
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = ANY ({schemas}) AND t.typacl IS NOT NULL AND {own:pg_type:t}
    UNION ALL
    SELECT 'default privileges ' || coalesce('in ' || n.nspname || ' ', '') || 'on ' || CASE f.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
            WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE f.defaclobjtype::text END
        || CASE WHEN f.defaclrole <> {owner} THEN ' of ' || pg_catalog.pg_get_userbyid(f.defaclrole) ELSE '' END,
        f.defaclacl, CASE WHEN f.defaclnamespace = 0 THEN pg_catalog.acldefault(CASE f.defaclobjtype WHEN 'S' THEN 's' ELSE f.defaclobjtype END, f.defaclrole) ELSE NULL END,
        CASE WHEN f.defaclnamespace = 0 THEN f.defaclrole ELSE 0 END
    FROM pg_catalog.pg_default_acl f LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.defaclnamespace
    WHERE n.nspname = ANY ({schemas}) OR (f.defaclnamespace = 0 AND f.defaclrole = {owner})),
held AS (
    SELECT i.path, x.grantee, pg_catalog.string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ') AS privileges
    FROM item i, pg_catalog.aclexplode(i.acl) x GROUP BY i.path, x.grantee),
usual AS (
    SELECT i.path, x.grantee, pg_catalog.string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, ', ') AS privileges
    FROM item i, pg_catalog.aclexplode(i.usual) x GROUP BY i.path, x.grantee)
SELECT CASE WHEN i.path LIKE 'default privileges %' THEN '' ELSE 'grant ' END || i.path || ' to '
    || CASE WHEN coalesce(h.grantee, u.grantee) = 0 THEN 'PUBLIC' WHEN coalesce(h.grantee, u.grantee) = i.owner THEN 'its owner'
        ELSE pg_catalog.pg_get_userbyid(coalesce(h.grantee, u.grantee))::text END, coalesce(h.privileges, 'none')
FROM held h FULL JOIN usual u ON u.path = h.path AND u.grantee = h.grantee JOIN item i ON i.path = coalesce(h.path, u.path)
WHERE h.privileges IS DISTINCT FROM u.privileges
