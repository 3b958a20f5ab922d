-- What is granted otherwise than on every new object, as the statements that grant it. Columns as in dump.sql.
WITH item (place, part, after, path, lead, columns, target, acl, usual, owner) AS (
    SELECT {place:c}, {name:c.relname}, 'pg_class:' || c.oid, '', '', '', CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.oid::regclass,
        c.relacl, pg_catalog.acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner), c.relowner
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ({schemas}) AND c.relacl IS NOT NULL AND c.relkind IN ('r', 'p', 'v', 'm', 'S') AND {own:pg_class:c}
    UNION ALL
    SELECT {place:c}, {name:c.relname}, 'pg_class:' || c.oid, a.attname::text, '', ' (' || pg_catalog.quote_ident(a.attname) || ')', 'TABLE ' || c.oid::regclass, a.attacl, NULL::aclitem[], 0
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ({schemas}) AND a.attacl IS NOT NULL AND a.attnum > 0 AND NOT a.attisdropped AND c.relkind <> 'f' AND {own:pg_class:c}
    UNION ALL
    SELECT 4, {name:p.proname} || '(' || pg_catalog.pg_get_function_identity_arguments(p.oid) || ')', 'pg_proc:' || p.oid, '', '', '', 'ROUTINE ' || p.oid::regprocedure,
        p.proacl, pg_catalog.acldefault('f', p.proowner), p.proowner
    FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname = ANY ({schemas}) AND p.proacl IS NOT NULL AND {own:pg_proc:p}
    UNION ALL
    SELECT 0, n.nspname::text, 'pg_namespace:' || n.oid, '', '', '', 'SCHEMA ' || pg_catalog.quote_ident(n.nspname), n.nspacl, {usual_schema}, n.nspowner
    FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY ({schemas}) AND n.nspacl IS NOT NULL
    UNION ALL
    SELECT 3, {name:t.typname}, 'pg_type:' || t.oid, '', '', '', 'TYPE ' || t.oid::regtype, t.typacl, pg_catalog.acldefault('T', t.typowner), t.typowner
    FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
    WHERE n.nspname = ANY ({schemas}) AND t.typacl IS NOT NULL AND {own:pg_type:t}
    UNION ALL
    SELECT 13, coalesce(n.nspname::text, ''), '', f.defaclrole || ' ' || f.defaclobjtype::text, 'ALTER DEFAULT PRIVILEGES '
        || CASE WHEN f.defaclrole <> {owner} THEN 'FOR ROLE ' || pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(f.defaclrole)) || ' ' ELSE '' END
        || coalesce('IN SCHEMA ' || pg_catalog.quote_ident(n.nspname) || ' ', ''), '',
        CASE f.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' ELSE 'SCHEMAS' END,
        f.defaclacl, CASE WHEN f.defaclnamespace = 0 THEN pg_catalog.acldefault(CASE f.defaclobjtype WHEN 'S' THEN 's' ELSE f.defaclobjtype END, f.defaclrole) ELSE NULL END,
        CASE WHEN f.defaclnamespace = 0 THEN f.defaclrole ELSE 0 END
    FROM pg_catalog.pg_default_acl f LEFT JOIN pg_catalog.pg_namespace n ON n.oid = f.defaclnamespace
    WHERE n.nspname = ANY ({schemas}) OR (f.defaclnamespace = 0 AND f.defaclrole = {owner})),
numbered AS (SELECT pg_catalog.row_number() OVER () AS id, * FROM item),
privilege AS (
    SELECT DISTINCT i.id, x.grantee, x.privilege_type AS name, x.is_grantable FROM numbered i, pg_catalog.aclexplode(i.acl) x),
held AS (
    SELECT p.id, p.grantee, pg_catalog.string_agg(p.name || CASE WHEN p.is_grantable THEN '*' ELSE '' END, ', ' ORDER BY p.name) AS all_of_them,
        pg_catalog.string_agg(p.name || i.columns, ', ' ORDER BY p.name) FILTER (WHERE NOT p.is_grantable) AS plain,
        pg_catalog.string_agg(p.name || i.columns, ', ' ORDER BY p.name) FILTER (WHERE p.is_grantable) AS grantable
    FROM privilege p JOIN numbered i ON i.id = p.id GROUP BY p.id, p.grantee),
usual AS (
    SELECT i.id, x.grantee, pg_catalog.string_agg(DISTINCT x.privilege_type || CASE WHEN x.is_grantable THEN '*' ELSE '' END, ', ') AS all_of_them
    FROM numbered i, pg_catalog.aclexplode(i.usual) x GROUP BY i.id, x.grantee)
SELECT i.place, i.part, 11, i.path || ' ' || g.name, '', '', i.after, pg_catalog.concat_ws(E'\n',
    CASE WHEN u.all_of_them IS NOT NULL THEN i.lead || 'REVOKE ALL ON ' || i.target || ' FROM ' || g.name || ';' END,
    i.lead || 'GRANT ' || h.plain || ' ON ' || i.target || ' TO ' || g.name || ';',
    i.lead || 'GRANT ' || h.grantable || ' ON ' || i.target || ' TO ' || g.name || ' WITH GRANT OPTION;')
FROM held h FULL JOIN usual u ON u.id = h.id AND u.grantee = h.grantee JOIN numbered i ON i.id = coalesce(h.id, u.id),
LATERAL (SELECT CASE WHEN coalesce(h.grantee, u.grantee) = 0 THEN 'PUBLIC' WHEN coalesce(h.grantee, u.grantee) = {owner} THEN 'CURRENT_USER'
    ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(coalesce(h.grantee, u.grantee))) END AS name) g
WHERE h.all_of_them IS DISTINCT FROM u.all_of_them
