-- The statements that make the schema anew. Each row: where it stands (a number per kind, the object it belongs
-- to, a number and a name below that), the object (`catalog:number`), what else is made with it, what it has to
-- stand behind beyond the server's own dependencies, and the statement. Placeholders are those of catalog.sql.

SELECT 0, n.nspname::text, 0, '', 'pg_namespace:' || n.oid, '', '',
    'CREATE SCHEMA ' || CASE WHEN n.nspname = {schema} THEN 'IF NOT EXISTS ' ELSE '' END || pg_catalog.quote_ident(n.nspname) || ';'
FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY ({schemas}) AND n.nspname <> 'public';

SELECT 0, n.nspname::text, 9, 'owner', '', '', 'pg_namespace:' || n.oid, 'ALTER SCHEMA ' || pg_catalog.quote_ident(n.nspname) || ' OWNER TO ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(n.nspowner)) || ';'
FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY ({schemas}) AND n.nspname <> {schema} AND n.nspowner <> {owner};

SELECT 1, e.extname::text, 0, '', 'pg_extension:' || e.oid, '', '',
    CASE WHEN n.nspname = ANY ({schemas} || '{public,pg_catalog}'::name[]) THEN '' ELSE 'CREATE SCHEMA IF NOT EXISTS ' || pg_catalog.quote_ident(n.nspname) || E';\n' END
    || 'CREATE EXTENSION IF NOT EXISTS ' || pg_catalog.quote_ident(e.extname) || ' WITH SCHEMA ' || pg_catalog.quote_ident(n.nspname) || ';'
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname <> 'plpgsql';

SELECT 2, {name:l.collname}, 0, '', 'pg_collation:' || l.oid, '', '',
    'CREATE COLLATION ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(l.collname) || ' (provider = ' || CASE l.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END
    || coalesce(', locale = ' || pg_catalog.quote_literal(coalesce(pg_catalog.to_jsonb(l) ->> 'colllocale', pg_catalog.to_jsonb(l) ->> 'colliculocale',
        CASE WHEN l.collprovider = 'i' OR l.collcollate = l.collctype THEN l.collcollate::text END)),
        ', lc_collate = ' || pg_catalog.quote_literal(l.collcollate) || ', lc_ctype = ' || pg_catalog.quote_literal(l.collctype))
    || CASE WHEN l.collisdeterministic THEN '' ELSE ', deterministic = false' END || ');'
FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_collation:l};

SELECT 2, {name:d.dictname}, 1, '', 'pg_ts_dict:' || d.oid, '', '',
    'CREATE TEXT SEARCH DICTIONARY ' || d.oid::regdictionary || ' (TEMPLATE = ' || pg_catalog.quote_ident(x.nspname) || '.' || pg_catalog.quote_ident(m.tmplname) || coalesce(', ' || d.dictinitoption, '') || ');'
FROM pg_catalog.pg_ts_dict d JOIN pg_catalog.pg_namespace n ON n.oid = d.dictnamespace JOIN pg_catalog.pg_ts_template m ON m.oid = d.dicttemplate
JOIN pg_catalog.pg_namespace x ON x.oid = m.tmplnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_ts_dict:d};

SELECT 2, {name:g.cfgname}, 2, '', 'pg_ts_config:' || g.oid, '', '',
    'CREATE TEXT SEARCH CONFIGURATION ' || g.oid::regconfig || ' (PARSER = ' || pg_catalog.quote_ident(x.nspname) || '.' || pg_catalog.quote_ident(r.prsname) || ');'
    || coalesce((SELECT pg_catalog.string_agg(E'\nALTER TEXT SEARCH CONFIGURATION ' || g.oid::regconfig || ' ADD MAPPING FOR ' || w.alias || ' WITH ' || w.dicts || ';', '' ORDER BY w.alias)
        FROM (SELECT k.alias, pg_catalog.string_agg(m.mapdict::regdictionary::text, ', ' ORDER BY m.mapseqno) AS dicts FROM pg_catalog.pg_ts_config_map m
            JOIN pg_catalog.ts_token_type(g.cfgparser) k ON k.tokid = m.maptokentype WHERE m.mapcfg = g.oid GROUP BY k.alias) w), '')
FROM pg_catalog.pg_ts_config g JOIN pg_catalog.pg_namespace n ON n.oid = g.cfgnamespace JOIN pg_catalog.pg_ts_parser r ON r.oid = g.cfgparser
JOIN pg_catalog.pg_namespace x ON x.oid = r.prsnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_ts_config:g};

SELECT 3, {name:t.typname}, 0, '', 'pg_type:' || t.oid,
    pg_catalog.concat_ws(' ', 'pg_type:' || t.typarray, 'pg_class:' || t.typrelid, {14:(SELECT 'pg_type:' || r.rngmultitypid || ' pg_type:' || m.typarray FROM pg_catalog.pg_range r JOIN pg_catalog.pg_type m ON m.oid = r.rngmultitypid WHERE r.rngtypid = t.oid)},
        (SELECT pg_catalog.string_agg('pg_constraint:' || k.oid, ' ') FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid)), '',
    CASE t.typtype
        WHEN 'e' THEN 'CREATE TYPE ' || t.oid::regtype || E' AS ENUM (\n    ' || coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_literal(l.enumlabel), E',\n    ' ORDER BY l.enumsortorder)
            FROM pg_catalog.pg_enum l WHERE l.enumtypid = t.oid), '') || E'\n);'
        WHEN 'd' THEN 'CREATE DOMAIN ' || t.oid::regtype || ' AS ' || pg_catalog.format_type(t.typbasetype, t.typtypmod)
            || CASE WHEN t.typcollation <> 0 AND t.typcollation <> (SELECT b.typcollation FROM pg_catalog.pg_type b WHERE b.oid = t.typbasetype)
                THEN ' COLLATE ' || t.typcollation::regcollation ELSE '' END
            || coalesce(' DEFAULT ' || pg_catalog.pg_get_expr(t.typdefaultbin, 0), '') || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
            || coalesce((SELECT pg_catalog.string_agg(E'\n    CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid), '' ORDER BY k.conname)
                FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c' AND k.convalidated), '') || ';'
            || coalesce((SELECT pg_catalog.string_agg(E'\nALTER DOMAIN ' || t.oid::regtype || ' ADD CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid) || ';', '' ORDER BY k.conname)
                FROM pg_catalog.pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c' AND NOT k.convalidated), '')
        WHEN 'r' THEN (SELECT 'CREATE TYPE ' || t.oid::regtype || ' AS RANGE (' || pg_catalog.concat_ws(', ', 'SUBTYPE = ' || pg_catalog.format_type(r.rngsubtype, NULL),
                CASE WHEN NOT o.opcdefault THEN 'SUBTYPE_OPCLASS = ' || pg_catalog.quote_ident(x.nspname) || '.' || pg_catalog.quote_ident(o.opcname) END,
                CASE WHEN r.rngcollation <> 0 AND r.rngcollation <> s.typcollation THEN 'COLLATION = ' || r.rngcollation::regcollation END,
                CASE WHEN r.rngsubdiff <> 0 THEN 'SUBTYPE_DIFF = ' || r.rngsubdiff END, 'MULTIRANGE_TYPE_NAME = ' || {14:pg_catalog.format_type(r.rngmultitypid, NULL)}) || ');'
            FROM pg_catalog.pg_range r JOIN pg_catalog.pg_opclass o ON o.oid = r.rngsubopc JOIN pg_catalog.pg_namespace x ON x.oid = o.opcnamespace
            JOIN pg_catalog.pg_type s ON s.oid = r.rngsubtype WHERE r.rngtypid = t.oid)
        ELSE 'CREATE TYPE ' || t.oid::regtype || E' AS (\n    ' || coalesce((SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname) || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
                || CASE WHEN a.attcollation <> 0 AND a.attcollation <> y.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END, E',\n    ' ORDER BY a.attnum)
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type y ON y.oid = a.atttypid WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped), '') || E'\n);'
    END
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
WHERE n.nspname = ANY ({schemas}) AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND r.relkind = 'c')) AND {own:pg_type:t};

SELECT 3, {name:t.typname}, 9, 'owner', '', '', 'pg_type:' || t.oid, 'ALTER ' || CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || t.oid::regtype || ' OWNER TO ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(t.typowner)) || ';'
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid
WHERE n.nspname = ANY ({schemas}) AND (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND r.relkind = 'c')) AND {own:pg_type:t} AND t.typowner <> {owner};

SELECT 4, {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', 0, '', 'pg_proc:' || p.oid, '', '',
    CASE WHEN p.prokind = 'a' THEN 'CREATE AGGREGATE ' || pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) || '('
        || coalesce(nullif(pg_catalog.pg_get_function_arguments(p.oid), ''), '*') || E') (\n    '
        || (SELECT pg_catalog.replace({aggregate}, ', ', E',\n    ') FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid = p.oid) || E'\n);'
    ELSE pg_catalog.rtrim(pg_catalog.pg_get_functiondef(p.oid), E'\n') || ';' END
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_proc:p};

SELECT 4, {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', 9, 'owner', '', '', 'pg_proc:' || p.oid,
    'ALTER ROUTINE ' || p.oid::regprocedure || ' OWNER TO ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(p.proowner)) || ';'
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_proc:p} AND p.proowner <> {owner};

SELECT 5, {name:c.relname}, 0, '', 'pg_class:' || c.oid, '', '',
    'CREATE ' || CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END || 'SEQUENCE ' || c.oid::regclass
    || CASE WHEN s.seqtypid = 'int8'::regtype THEN '' ELSE ' AS ' || pg_catalog.format_type(s.seqtypid, NULL) END
    || CASE WHEN s.seqincrement = 1 THEN '' ELSE ' INCREMENT ' || s.seqincrement END
    || CASE WHEN s.seqmin = CASE WHEN s.seqincrement > 0 THEN 1 ELSE -b.most - 1 END THEN '' ELSE ' MINVALUE ' || s.seqmin END
    || CASE WHEN s.seqmax = CASE WHEN s.seqincrement > 0 THEN b.most ELSE -1 END THEN '' ELSE ' MAXVALUE ' || s.seqmax END
    || CASE WHEN s.seqstart = CASE WHEN s.seqincrement > 0 THEN s.seqmin ELSE s.seqmax END THEN '' ELSE ' START ' || s.seqstart END
    || CASE WHEN s.seqcache = 1 THEN '' ELSE ' CACHE ' || s.seqcache END || CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END || ';'
FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
LATERAL (SELECT CASE s.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END AS most) b
WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
    WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'i');

SELECT 6, {name:t.relname}, 1, c.relname::text, '', '', 'pg_class:' || c.oid || ' pg_class:' || t.oid,
    'ALTER SEQUENCE ' || c.oid::regclass || ' OWNED BY ' || t.oid::regclass || '.' || pg_catalog.quote_ident(a.attname) || ';'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'a' AND d.refclassid = 'pg_catalog.pg_class'::regclass
JOIN pg_catalog.pg_class t ON t.oid = d.refobjid JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = ANY ({schemas}) AND c.relkind = 'S' AND {own:pg_class:c};

-- Tables, with their columns and those constraints that need nothing made later.
SELECT 6, {name:c.relname}, 0, '', 'pg_class:' || c.oid,
    pg_catalog.concat_ws(' ', 'pg_type:' || c.reltype, (SELECT 'pg_type:' || t.typarray FROM pg_catalog.pg_type t WHERE t.oid = c.reltype),
        (SELECT pg_catalog.string_agg('pg_attrdef:' || d.oid, ' ') FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
            WHERE d.adrelid = c.oid AND (a.attgenerated <> '' OR NOT {late:pg_attrdef:d.oid})),
        (SELECT pg_catalog.string_agg('pg_constraint:' || k.oid || CASE WHEN k.conindid <> 0 AND k.contype IN ('p', 'u', 'x') THEN ' pg_class:' || k.conindid ELSE '' END, ' ')
            FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND {inline}),
        (SELECT pg_catalog.string_agg('pg_class:' || e.objid, ' ') FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::regclass AND e.deptype = 'i'
            AND e.refclassid = 'pg_catalog.pg_class'::regclass AND e.refobjid = c.oid)), '',
    'CREATE ' || CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END || 'TABLE ' || c.oid::regclass || CASE WHEN c.reloftype <> 0 THEN ' OF ' || c.reloftype::regtype ELSE '' END
    || coalesce(E' (\n    ' || (SELECT pg_catalog.string_agg(b.line, E',\n    ' ORDER BY b.part, b.number, b.line) FROM (
        SELECT 0 AS part, a.attnum AS number, pg_catalog.quote_ident(a.attname) || CASE WHEN c.reloftype <> 0 THEN ' WITH OPTIONS' ELSE ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod)
            || CASE {14:a.attcompression::text} WHEN 'p' THEN ' COMPRESSION pglz' WHEN 'l' THEN ' COMPRESSION lz4' ELSE '' END
            || CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END END
            || CASE WHEN a.attgenerated <> '' THEN ' GENERATED ALWAYS AS (' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) || ')' || CASE a.attgenerated WHEN 's' THEN ' STORED' ELSE '' END
                WHEN a.attidentity <> '' AND NOT c.relispartition THEN CASE a.attidentity WHEN 'a' THEN ' GENERATED ALWAYS AS IDENTITY' ELSE ' GENERATED BY DEFAULT AS IDENTITY' END
                    || coalesce((SELECT {sequence} FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class q ON q.oid = s.seqrelid
                    JOIN pg_catalog.pg_depend e ON e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = q.oid AND e.deptype = 'i'
                        AND e.refclassid = 'pg_catalog.pg_class'::regclass AND e.refobjid = a.attrelid AND e.refobjsubid = a.attnum
                    WHERE (s.seqstart, s.seqincrement, s.seqmin, s.seqcache, s.seqcycle) <> (1, 1, 1, 1, false) OR s.seqmax <>
                        CASE s.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 ELSE 9223372036854775807 END
                        OR q.relname <> c.relname || '_' || a.attname || '_seq'), '')
                WHEN d.oid IS NOT NULL AND NOT {late:pg_attrdef:d.oid} THEN ' DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) ELSE '' END
            || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END AS line
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (a.attislocal OR c.relispartition)
        UNION ALL
        SELECT 1, CASE k.contype WHEN 'p' THEN 0 WHEN 'u' THEN 1 ELSE 2 END, 'CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid)
        FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND {inline}) b
        WHERE NOT (c.reloftype <> 0 AND b.line LIKE '% WITH OPTIONS')) || E'\n)', CASE WHEN c.reloftype <> 0 THEN '' ELSE ' ()' END)
    || CASE WHEN c.relispartition THEN '' ELSE coalesce(' INHERITS (' || (SELECT pg_catalog.string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
        FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) || ')', '') END
    || CASE WHEN c.relkind = 'p' THEN ' PARTITION BY ' || pg_catalog.pg_get_partkeydef(c.oid) ELSE '' END
    || coalesce((SELECT ' USING ' || m.amname FROM pg_catalog.pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap' AND c.relkind = 'r'), '')
    || coalesce(' WITH (' || pg_catalog.array_to_string({options:c}, ', ') || ')', '') || ';'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p') AND {own:pg_class:c};

-- Defaults and checks that call functions which need tables themselves.
SELECT 6, {name:c.relname}, 1, 'default ' || a.attname, 'pg_attrdef:' || d.oid, '', 'pg_class:' || c.oid,
    'ALTER ' || CASE c.relkind WHEN 'v' THEN 'VIEW ' ELSE 'TABLE ONLY ' END || c.oid::regclass || ' ALTER COLUMN ' || pg_catalog.quote_ident(a.attname) || ' SET DEFAULT ' || pg_catalog.pg_get_expr(d.adbin, d.adrelid) || ';'
FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'v') AND {own:pg_class:c} AND a.attgenerated = '' AND NOT a.attisdropped
AND (c.relkind = 'v' OR ({late:pg_attrdef:d.oid} AND (a.attislocal OR c.relispartition)));

SELECT 9, {name:c.relname}, 0, k.conname::text, 'pg_constraint:' || k.oid, '', 'pg_class:' || c.oid,
    'ALTER TABLE ' || c.oid::regclass || ' ADD CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ' || pg_catalog.pg_get_constraintdef(k.oid) || ';'
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p') AND {own:pg_class:c} AND NOT {inline} AND k.contype IN ('c', 'f') AND k.coninhcount = 0 AND k.conparentid = 0;

-- A child of a table that says other things of an inherited column than its parent.
SELECT 6, {name:c.relname}, 1, 'inherited ' || a.attname, '', '', 'pg_class:' || c.oid, pg_catalog.concat_ws(E'\n',
    CASE WHEN w.expression IS DISTINCT FROM v.expression THEN 'ALTER TABLE ONLY ' || c.oid::regclass || ' ALTER COLUMN ' || pg_catalog.quote_ident(a.attname) || coalesce(' SET DEFAULT ' || w.expression, ' DROP DEFAULT') || ';' END,
    CASE WHEN a.attnotnull AND NOT v.attnotnull THEN 'ALTER TABLE ONLY ' || c.oid::regclass || ' ALTER COLUMN ' || pg_catalog.quote_ident(a.attname) || ' SET NOT NULL;' END)
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace,
LATERAL (SELECT (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) AS expression) w,
LATERAL (SELECT o.attnotnull, (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = o.attrelid AND d.adnum = o.attnum) AS expression
    FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_attribute o ON o.attrelid = i.inhparent AND o.attname = a.attname WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) v
WHERE n.nspname = ANY ({schemas}) AND c.relkind = 'r' AND NOT c.relispartition AND a.attnum > 0 AND NOT a.attisdropped AND NOT a.attislocal AND a.attgenerated = '' AND {own:pg_class:c}
AND (w.expression IS DISTINCT FROM v.expression OR (a.attnotnull AND NOT v.attnotnull));

SELECT 6, {name:c.relname}, 1, 'option ' || a.attname, '', '', 'pg_class:' || c.oid, pg_catalog.concat_ws(E'\n',
    CASE WHEN a.attstorage <> t.typstorage THEN 'ALTER TABLE ONLY ' || c.oid::regclass || ' ALTER COLUMN ' || pg_catalog.quote_ident(a.attname) || ' SET STORAGE '
        || CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END || ';' END,
    CASE WHEN coalesce(a.attstattarget, -1) >= 0 THEN 'ALTER TABLE ONLY ' || c.oid::regclass || ' ALTER COLUMN ' || pg_catalog.quote_ident(a.attname) || ' SET STATISTICS ' || a.attstattarget || ';' END,
    'ALTER TABLE ONLY ' || c.oid::regclass || ' ALTER COLUMN ' || pg_catalog.quote_ident(a.attname) || ' SET (' || pg_catalog.array_to_string(a.attoptions, ', ') || ');')
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND {own:pg_class:c}
AND (a.attstorage <> t.typstorage OR coalesce(a.attstattarget, -1) >= 0 OR a.attoptions IS NOT NULL);

SELECT 6, {name:c.relname}, 1, 'constraint ' || k.conname, '', '', 'pg_class:' || c.oid, 'ALTER INDEX ' || x.oid::regclass || ' SET (' || pg_catalog.array_to_string(x.reloptions, ', ') || ');'
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class x ON x.oid = k.conindid
WHERE n.nspname = ANY ({schemas}) AND k.contype IN ('p', 'u', 'x') AND x.reloptions IS NOT NULL AND {own:pg_class:c};

SELECT CASE t.relkind WHEN 'm' THEN 8 ELSE 6 END, CASE WHEN n.nspname = {schema} THEN t.relname::text ELSE n.nspname || '.' || t.relname END, 2, c.relname::text, 'pg_class:' || c.oid, '', 'pg_class:' || t.oid, pg_catalog.pg_get_indexdef(i.indexrelid) || ';'
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE n.nspname = ANY ({schemas}) AND t.relkind IN ('r', 'p', 'm') AND {own:pg_class:t}
AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'));

SELECT 6, {name:c.relname}, 3, '', '', '', 'pg_class:' || c.oid, pg_catalog.concat_ws(E'\n',
    CASE c.relreplident WHEN 'n' THEN 'ALTER TABLE ONLY ' || c.oid::regclass || ' REPLICA IDENTITY NOTHING;' WHEN 'f' THEN 'ALTER TABLE ONLY ' || c.oid::regclass || ' REPLICA IDENTITY FULL;'
        WHEN 'i' THEN (SELECT 'ALTER TABLE ONLY ' || c.oid::regclass || ' REPLICA IDENTITY USING INDEX ' || pg_catalog.quote_ident(x.relname) || ';' FROM pg_catalog.pg_index i
            JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisreplident) END,
    CASE WHEN c.relrowsecurity THEN 'ALTER TABLE ' || c.oid::regclass || ' ENABLE ROW LEVEL SECURITY;' END,
    CASE WHEN c.relforcerowsecurity THEN 'ALTER TABLE ' || c.oid::regclass || ' FORCE ROW LEVEL SECURITY;' END)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p') AND {own:pg_class:c} AND (c.relreplident IN ('n', 'f', 'i') OR c.relrowsecurity OR c.relforcerowsecurity);

-- A partition is attached when it and the table above it have all their indexes: the server then finds them.
SELECT 6, {name:c.relname}, 4, '', 'attach:' || c.oid, '', pg_catalog.concat_ws(' ', 'pg_class:' || c.oid, 'pg_class:' || o.oid,
        (SELECT pg_catalog.string_agg('pg_class:' || i.indexrelid, ' ') FROM pg_catalog.pg_index i WHERE i.indrelid IN (c.oid, o.oid))),
    'ALTER TABLE ONLY ' || o.oid::regclass || ' ATTACH PARTITION ' || c.oid::regclass || ' ' || pg_catalog.pg_get_expr(c.relpartbound, c.oid) || ';'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid JOIN pg_catalog.pg_class o ON o.oid = i.inhparent
WHERE n.nspname = ANY ({schemas}) AND c.relispartition AND c.relkind IN ('r', 'p') AND {own:pg_class:c};

SELECT CASE c.relkind WHEN 'v' THEN 7 ELSE 8 END, {name:c.relname}, 0, '', 'pg_class:' || c.oid,
    pg_catalog.concat_ws(' ', 'pg_type:' || c.reltype, (SELECT 'pg_type:' || t.typarray FROM pg_catalog.pg_type t WHERE t.oid = c.reltype),
        (SELECT pg_catalog.string_agg('pg_rewrite:' || r.oid, ' ') FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.rulename = '_RETURN')), '',
    CASE c.relkind WHEN 'v' THEN 'CREATE VIEW ' ELSE 'CREATE MATERIALIZED VIEW ' END || c.oid::regclass
    || coalesce((SELECT ' USING ' || m.amname FROM pg_catalog.pg_am m WHERE m.oid = c.relam AND m.amname <> 'heap' AND c.relkind = 'm'), '')
    || coalesce(' WITH (' || pg_catalog.array_to_string(c.reloptions, ', ') || ')', '') || E' AS\n'
    || pg_catalog.rtrim(pg_catalog.pg_get_viewdef(c.oid), ';') || CASE c.relkind WHEN 'm' THEN E'\nWITH NO DATA;' ELSE ';' END
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('v', 'm') AND {own:pg_class:c};

SELECT 11, {name:c.relname}, 0, '', 'refresh:' || c.oid, '', pg_catalog.concat_ws(' ', 'pg_class:' || c.oid,
        (SELECT pg_catalog.string_agg('refresh:' || e.refobjid, ' ') FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend e ON e.classid = 'pg_catalog.pg_rewrite'::regclass AND e.objid = r.oid
            AND e.refclassid = 'pg_catalog.pg_class'::regclass AND e.refobjid <> c.oid WHERE r.ev_class = c.oid)),
    'REFRESH MATERIALIZED VIEW ' || c.oid::regclass || ';'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ({schemas}) AND c.relkind = 'm' AND {own:pg_class:c};

SELECT CASE c.relkind WHEN 'S' THEN 5 WHEN 'v' THEN 7 WHEN 'm' THEN 8 ELSE 6 END, {name:c.relname}, 9, 'owner', '', '', 'pg_class:' || c.oid,
    'ALTER ' || CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' ELSE 'TABLE ' END || c.oid::regclass || ' OWNER TO ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)) || ';'
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND {own:pg_class:c} AND c.relowner <> {owner}
-- A sequence of a column follows its table.
AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
    AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i')));

SELECT {place:c}, {name:c.relname}, 5, g.tgname::text, 'pg_trigger:' || g.oid, '', 'pg_class:' || c.oid,
    CASE WHEN {13:g.tgparentid} <> 0 THEN '' ELSE pg_catalog.pg_get_triggerdef(g.oid) || ';' END
    || CASE WHEN g.tgenabled = 'O' AND NOT coalesce({13:g.tgparentid} <> 0, false) THEN '' ELSE E'\nALTER TABLE ' || c.oid::regclass || ' ' || CASE g.tgenabled WHEN 'O' THEN 'ENABLE' WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END
        || ' TRIGGER ' || pg_catalog.quote_ident(g.tgname) || ';' END
FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND NOT g.tgisinternal AND c.relkind <> 'f' AND {own:pg_class:c}
AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger o WHERE o.oid = {13:g.tgparentid} AND o.tgenabled = g.tgenabled);

SELECT {place:c}, {name:c.relname}, 6, r.rulename::text, 'pg_rewrite:' || r.oid, '', 'pg_class:' || c.oid,
    pg_catalog.pg_get_ruledef(r.oid) || CASE r.ev_enabled WHEN 'O' THEN '' ELSE E'\nALTER TABLE ' || c.oid::regclass || ' ' || CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END
        || ' RULE ' || pg_catalog.quote_ident(r.rulename) || ';' END
FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND r.rulename <> '_RETURN' AND {own:pg_class:c};

SELECT 6, {name:c.relname}, 7, p.polname::text, 'pg_policy:' || p.oid, '', 'pg_class:' || c.oid,
    'CREATE POLICY ' || pg_catalog.quote_ident(p.polname) || ' ON ' || c.oid::regclass || CASE WHEN p.polpermissive THEN '' ELSE ' AS RESTRICTIVE' END
    || CASE p.polcmd WHEN 'r' THEN ' FOR SELECT' WHEN 'a' THEN ' FOR INSERT' WHEN 'w' THEN ' FOR UPDATE' WHEN 'd' THEN ' FOR DELETE' ELSE '' END
    || coalesce(' TO ' || (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(r.rolname), ', ' ORDER BY r.rolname) FROM pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles)), '')
    || coalesce(E'\n    USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '') || coalesce(E'\n    WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') || ';'
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c};

SELECT 6, CASE WHEN n.nspname = {schema} THEN c.relname::text ELSE n.nspname || '.' || c.relname END, 8, s.stxname::text, 'pg_statistic_ext:' || s.oid, '', 'pg_class:' || c.oid,
    pg_catalog.pg_get_statisticsobjdef(s.oid) || ';' || CASE WHEN coalesce({13:s.stxstattarget}, -1) >= 0
        THEN E'\nALTER STATISTICS ' || pg_catalog.quote_ident(x.nspname) || '.' || pg_catalog.quote_ident(s.stxname) || ' SET STATISTICS ' || {13:s.stxstattarget} || ';' ELSE '' END
FROM pg_catalog.pg_statistic_ext s JOIN pg_catalog.pg_namespace x ON x.oid = s.stxnamespace JOIN pg_catalog.pg_class c ON c.oid = s.stxrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE x.nspname = ANY ({schemas});

SELECT 12, v.evtname::text, 0, '', 'pg_event_trigger:' || v.oid, '', 'pg_proc:' || v.evtfoid,
    'CREATE EVENT TRIGGER ' || pg_catalog.quote_ident(v.evtname) || ' ON ' || v.evtevent || coalesce(' WHEN TAG IN (' || (SELECT pg_catalog.string_agg(pg_catalog.quote_literal(tag), ', ' ORDER BY tag)
        FROM pg_catalog.unnest(v.evttags) tag) || ')', '') || ' EXECUTE FUNCTION ' || v.evtfoid::regprocedure || ';'
    || CASE v.evtenabled WHEN 'O' THEN '' ELSE E'\nALTER EVENT TRIGGER ' || pg_catalog.quote_ident(v.evtname) || ' ' || CASE v.evtenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END || ';' END
FROM pg_catalog.pg_event_trigger v JOIN pg_catalog.pg_proc p ON p.oid = v.evtfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = ANY ({schemas}) AND {own:pg_event_trigger:v};

SELECT CASE WHEN d.objsubid = 0 AND c.relkind IN ('i', 'I') THEN CASE t.relkind WHEN 'm' THEN 8 ELSE 6 END WHEN c.relkind = 'c' THEN 3 ELSE {place:c} END,
    CASE WHEN n.nspname = {schema} THEN coalesce(t.relname, c.relname)::text ELSE n.nspname || '.' || coalesce(t.relname, c.relname) END,
    10, 'comment ' || c.relname || d.objsubid, '', '', 'pg_class:' || c.oid,
    'COMMENT ON ' || CASE WHEN d.objsubid > 0 THEN 'COLUMN ' ELSE CASE c.relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' WHEN 'S' THEN 'SEQUENCE '
        WHEN 'i' THEN 'INDEX ' WHEN 'I' THEN 'INDEX ' ELSE 'TABLE ' END END
    || c.oid::regclass || coalesce('.' || pg_catalog.quote_ident(a.attname), '') || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_class c ON d.classoid = 'pg_catalog.pg_class'::regclass AND c.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND d.objsubid > 0
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid LEFT JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
WHERE n.nspname = ANY ({schemas}) AND c.relkind <> 'f' AND {own:pg_class:c};

SELECT 4, {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', 10, 'comment', '', '', 'pg_proc:' || p.oid,
    'COMMENT ON ' || CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' WHEN 'a' THEN 'AGGREGATE ' ELSE 'FUNCTION ' END
    || CASE p.prokind WHEN 'a' THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) || '(' || coalesce(nullif(pg_catalog.pg_get_function_identity_arguments(p.oid), ''), '*') || ')'
        ELSE p.oid::regprocedure::text END || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_proc p ON d.classoid = 'pg_catalog.pg_proc'::regclass AND p.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_proc:p};

SELECT 3, {name:t.typname}, 10, 'comment', '', '', 'pg_type:' || t.oid, 'COMMENT ON ' || CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || t.oid::regtype || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_type t ON d.classoid = 'pg_catalog.pg_type'::regclass AND t.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_type:t};

SELECT CASE WHEN k.contypid <> 0 THEN 3 WHEN k.contype = 'f' THEN 9 ELSE 6 END, CASE WHEN k.contypid <> 0 THEN {name:t.typname} ELSE {name:c.relname} END, 10, 'constraint ' || k.conname, '', '', 'pg_constraint:' || k.oid,
    'COMMENT ON CONSTRAINT ' || pg_catalog.quote_ident(k.conname) || ' ON ' || CASE WHEN k.contypid <> 0 THEN 'DOMAIN ' || k.contypid::regtype ELSE k.conrelid::regclass::text END || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_constraint k ON d.classoid = 'pg_catalog.pg_constraint'::regclass AND k.oid = d.objoid
JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace LEFT JOIN pg_catalog.pg_class c ON c.oid = k.conrelid LEFT JOIN pg_catalog.pg_type t ON t.oid = k.contypid
WHERE n.nspname = ANY ({schemas});

SELECT {place:c}, {name:c.relname}, 10, 'trigger ' || g.tgname, '', '', 'pg_trigger:' || g.oid, 'COMMENT ON TRIGGER ' || pg_catalog.quote_ident(g.tgname) || ' ON ' || c.oid::regclass || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_trigger g ON d.classoid = 'pg_catalog.pg_trigger'::regclass AND g.oid = d.objoid
JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c};

SELECT 6, {name:c.relname}, 10, 'policy ' || p.polname, '', '', 'pg_policy:' || p.oid, 'COMMENT ON POLICY ' || pg_catalog.quote_ident(p.polname) || ' ON ' || c.oid::regclass || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_policy p ON d.classoid = 'pg_catalog.pg_policy'::regclass AND p.oid = d.objoid
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY ({schemas}) AND {own:pg_class:c};

SELECT 0, n.nspname::text, 10, 'comment', '', '', 'pg_namespace:' || n.oid, 'COMMENT ON SCHEMA ' || pg_catalog.quote_ident(n.nspname) || ' IS ' || pg_catalog.quote_literal(d.description) || ';'
FROM pg_catalog.pg_description d JOIN pg_catalog.pg_namespace n ON d.classoid = 'pg_catalog.pg_namespace'::regclass AND n.oid = d.objoid
WHERE n.nspname = ANY ({schemas}) AND NOT (n.nspname = 'public' AND d.description = 'standard public schema')
