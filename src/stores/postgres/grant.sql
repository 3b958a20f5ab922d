-- What the application's role lacks or has too much of: a word for reports, and the statement that mends it.
WITH role AS (SELECT oid, rolname FROM pg_catalog.pg_roles WHERE rolname = {role}),
hidden (tab, col) AS (VALUES {hidden}),
relation AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relacl, c.relowner, {name:c.relname} AS path
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ANY ({schemas}) AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S') AND {own:pg_class:c}
    AND pg_catalog.pg_has_role(c.relowner, 'USAGE')),
held AS (
    SELECT r.oid, x.privilege_type AS privilege
    FROM relation r, pg_catalog.aclexplode(r.relacl) x, role WHERE x.grantee = role.oid),
wanted AS (
    SELECT r.oid, p.privilege, p.place FROM relation r,
    (VALUES ('SELECT', 1), ('INSERT', 2), ('UPDATE', 3), ('DELETE', 4), ('USAGE', 5)) p (privilege, place)
    WHERE CASE r.relkind WHEN 'S' THEN p.privilege = 'USAGE' WHEN 'm' THEN p.privilege = 'SELECT' ELSE p.privilege <> 'USAGE' END
    AND NOT (p.privilege = 'SELECT' AND EXISTS (SELECT FROM hidden h WHERE h.tab = r.path))),
selectable AS (
    SELECT r.oid, a.attname, a.attnum,
        EXISTS (SELECT FROM hidden h WHERE h.tab = r.path AND h.col = a.attname) AS is_hidden,
        EXISTS (SELECT FROM pg_catalog.aclexplode(a.attacl) x, role WHERE x.grantee = role.oid AND x.privilege_type = 'SELECT') AS is_held
    FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
    WHERE a.attnum > 0 AND NOT a.attisdropped AND EXISTS (SELECT FROM hidden h WHERE h.tab = r.path))
SELECT 'schema ' || n.nspname, pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, role.rolname)
FROM pg_catalog.pg_namespace n, role
WHERE n.nspname = ANY ({schemas}) AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode(n.nspacl) x WHERE x.grantee = role.oid AND x.privilege_type = 'USAGE')
UNION ALL
SELECT CASE r.relkind WHEN 'S' THEN 'sequence ' ELSE 'table ' END || r.path, pg_catalog.format('GRANT %s ON %s %I.%I TO %I',
    pg_catalog.string_agg(w.privilege, ', ' ORDER BY w.place), CASE r.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, r.nspname, r.relname, role.rolname)
FROM relation r JOIN wanted w ON w.oid = r.oid, role
WHERE NOT EXISTS (SELECT FROM held h WHERE h.oid = r.oid AND h.privilege = w.privilege)
GROUP BY r.oid, r.relkind, r.path, r.nspname, r.relname, role.rolname
UNION ALL
SELECT 'table ' || r.path, pg_catalog.format('REVOKE %s ON TABLE %I.%I FROM %I', pg_catalog.string_agg(h.privilege, ', '), r.nspname, r.relname, role.rolname)
FROM relation r JOIN held h ON h.oid = r.oid, role
WHERE r.relkind <> 'S' AND (h.privilege = 'TRUNCATE' OR h.privilege = 'SELECT' AND EXISTS (SELECT FROM hidden d WHERE d.tab = r.path))
GROUP BY r.oid, r.path, r.nspname, r.relname, role.rolname
UNION ALL
SELECT 'table ' || r.path, pg_catalog.format('GRANT SELECT (%s) ON TABLE %I.%I TO %I',
    pg_catalog.string_agg(pg_catalog.quote_ident(s.attname), ', ' ORDER BY s.attnum), r.nspname, r.relname, role.rolname)
FROM relation r JOIN selectable s ON s.oid = r.oid, role WHERE NOT s.is_hidden
AND EXISTS (SELECT FROM selectable o WHERE o.oid = r.oid AND NOT o.is_hidden AND (NOT o.is_held
    OR EXISTS (SELECT FROM held h WHERE h.oid = r.oid AND h.privilege = 'SELECT')))
GROUP BY r.oid, r.path, r.nspname, r.relname, role.rolname
UNION ALL
SELECT 'table ' || r.path, pg_catalog.format('REVOKE SELECT (%s) ON TABLE %I.%I FROM %I',
    pg_catalog.string_agg(pg_catalog.quote_ident(s.attname), ', ' ORDER BY s.attnum), r.nspname, r.relname, role.rolname)
FROM relation r JOIN selectable s ON s.oid = r.oid, role WHERE s.is_hidden AND s.is_held
GROUP BY r.oid, r.path, r.nspname, r.relname, role.rolname
UNION ALL
SELECT 'unknown ' || h.tab || coalesce('.' || h.col, ''), NULL FROM hidden h
WHERE h.tab IS NOT NULL AND NOT EXISTS (SELECT FROM relation r JOIN pg_catalog.pg_attribute a ON a.attrelid = r.oid
    WHERE r.path = h.tab AND a.attname = h.col AND a.attnum > 0 AND NOT a.attisdropped)
