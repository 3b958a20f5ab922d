//! PostgreSQL, broken thing by thing.

use super::laboratory::{Servers, project};
use super::{Break, try_all};
use crate::support::sql;

const SCHEMA: &str = r#"
CREATE TYPE mood AS ENUM ('calm', 'busy');
CREATE DOMAIN address AS text CONSTRAINT at CHECK (VALUE ~ '^[^@ ]+@[^@ ]+\.[a-z]{2,}$');
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE FUNCTION told() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_notify('told', TG_TABLE_NAME); RETURN NULL; END $$;
CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT n * 2 $$;
CREATE TABLE org (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar(40) NOT NULL CONSTRAINT org_name UNIQUE);
CREATE TABLE member (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "orgId" uuid NOT NULL CONSTRAINT member_org REFERENCES org ON DELETE CASCADE,
    email address NOT NULL,
    mood mood NOT NULL,
    chief bigint CONSTRAINT member_chief REFERENCES member ON DELETE SET NULL,
    CONSTRAINT member_email UNIQUE ("orgId", email)
);
CREATE TABLE item (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    "orgId" uuid NOT NULL CONSTRAINT item_org REFERENCES org ON DELETE CASCADE,
    owner bigint NOT NULL CONSTRAINT item_owner REFERENCES member ON DELETE RESTRICT,
    slug text NOT NULL,
    kind text NOT NULL CONSTRAINT item_kind CHECK (kind IN ('x', 'y')),
    price integer NOT NULL DEFAULT 0 CONSTRAINT item_price CHECK (price >= 0),
    gross integer GENERATED ALWAYS AS (price * 2) STORED,
    tags text[] NOT NULL DEFAULT '{}',
    during int4range NOT NULL,
    deleted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT item_during EXCLUDE USING gist (during WITH &&)
);
CREATE UNIQUE INDEX item_slug ON item ("orgId", lower(slug)) WHERE deleted_at IS NULL;
CREATE INDEX item_created ON item ("orgId", created_at DESC);
CREATE INDEX item_org ON item ("orgId");
CREATE INDEX item_tags ON item USING gin (tags);
CREATE INDEX item_price ON item (price) WHERE price > 0;
CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch();
CREATE TRIGGER told AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION told();
CREATE TABLE note (id integer PRIMARY KEY, "orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE,
    item uuid CONSTRAINT note_item REFERENCES item DEFERRABLE INITIALLY DEFERRED, body text NOT NULL);
CREATE TABLE log ("orgId" uuid NOT NULL REFERENCES org ON DELETE CASCADE, at date NOT NULL, n integer NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE log_past PARTITION OF log FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE log_now PARTITION OF log FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE INDEX log_org ON log ("orgId", at);
CREATE SEQUENCE tickets INCREMENT 2;
CREATE STATISTICS item_stats (dependencies) ON kind, price FROM item;
CREATE VIEW cheap WITH (security_invoker = true) AS SELECT id, "orgId" FROM item WHERE price < 10;
COMMENT ON TABLE item IS 'What is sold';
DO $$ DECLARE t text; BEGIN
    FOREACH t IN ARRAY ARRAY['member', 'item', 'note', 'log'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format('CREATE POLICY tenant ON %I USING ("orgId" = nullif(current_setting(''app.tenant'', true), '''')::uuid)', t);
    END LOOP;
END $$;
ALTER TABLE org ENABLE ROW LEVEL SECURITY;
ALTER TABLE org FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON org USING (id = nullif(current_setting('app.tenant', true), '')::uuid);
"#;

const fn of(own: &'static str, fault: &'static str, repair: &'static str) -> Break<&'static str> {
    Break { own, schema: true, fault, repair }
}

/// What no schema holds.
const fn beside(own: &'static str, fault: &'static str, repair: &'static str) -> Break<&'static str> {
    Break { own, schema: false, fault, repair }
}

const POLICY: &str = r#"DROP POLICY IF EXISTS tenant ON item;
    CREATE POLICY tenant ON item USING ("orgId" = nullif(current_setting('app.tenant', true), '')::uuid)"#;
const TOUCH: &str = "CREATE TRIGGER touch BEFORE UPDATE ON item FOR EACH ROW EXECUTE FUNCTION touch()";
const TOUCHES: &str = "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS \
    $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$";
const MEMBER_ORG: &str = r#"ALTER TABLE member DROP CONSTRAINT IF EXISTS member_org,
    ADD CONSTRAINT member_org FOREIGN KEY ("orgId") REFERENCES org ON DELETE CASCADE"#;
const KIND: &str =
    "ALTER TABLE item DROP CONSTRAINT IF EXISTS item_kind, ADD CONSTRAINT item_kind CHECK (kind IN ('x', 'y'))";
const CREATED: &str =
    r#"DROP INDEX IF EXISTS item_created; CREATE INDEX item_created ON item ("orgId", created_at DESC)"#;
const CHEAP: &str = r#"DROP VIEW IF EXISTS cheap;
    CREATE VIEW cheap WITH (security_invoker = true) AS SELECT id, "orgId" FROM item WHERE price < 10;
    GRANT SELECT, INSERT, UPDATE, DELETE ON cheap TO app_role"#;

const BREAKS: &[Break<&str>] = &[
    // Indexes and keys.
    of("index.item", "DROP INDEX item_created", CREATED),
    of(
        "index.item",
        r#"DROP INDEX item_created; CREATE INDEX item_created ON item ("orgId", updated_at DESC)"#,
        CREATED,
    ),
    of("index.item", "DROP INDEX item_tags", "CREATE INDEX item_tags ON item USING gin (tags)"),
    of(
        "index.item",
        "DROP INDEX item_price; CREATE INDEX item_price ON item (price)",
        "DROP INDEX item_price; CREATE INDEX item_price ON item (price) WHERE price > 0",
    ),
    of(
        "index.item",
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'item_org'::regclass",
        "UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'item_org'::regclass",
    ),
    of(
        "row.log",
        "ALTER TABLE log DETACH PARTITION log_past",
        "ALTER TABLE log ATTACH PARTITION log_past FOR VALUES FROM (MINVALUE) TO ('2020-01-01')",
    ),
    of("index.log", "DROP INDEX log_org", r#"CREATE INDEX log_org ON log ("orgId", at)"#),
    of(
        "unique.item",
        "DROP INDEX item_slug",
        r#"CREATE UNIQUE INDEX item_slug ON item ("orgId", lower(slug)) WHERE deleted_at IS NULL"#,
    ),
    of(
        "unique.item",
        r#"DROP INDEX item_slug; CREATE INDEX item_slug ON item ("orgId", lower(slug)) WHERE deleted_at IS NULL"#,
        r#"DROP INDEX item_slug; CREATE UNIQUE INDEX item_slug ON item ("orgId", lower(slug)) WHERE deleted_at IS NULL"#,
    ),
    of(
        "unique.item",
        "ALTER TABLE item DROP CONSTRAINT item_during",
        "ALTER TABLE item ADD CONSTRAINT item_during EXCLUDE USING gist (during WITH &&)",
    ),
    of(
        "unique.org",
        "ALTER TABLE org DROP CONSTRAINT org_name",
        "ALTER TABLE org ADD CONSTRAINT org_name UNIQUE (name)",
    ),
    of(
        "unique.member",
        "ALTER TABLE member DROP CONSTRAINT member_email",
        r#"ALTER TABLE member ADD CONSTRAINT member_email UNIQUE ("orgId", email)"#,
    ),
    of("unique.note", "ALTER TABLE note DROP CONSTRAINT note_pkey", "ALTER TABLE note ADD PRIMARY KEY (id)"),
    // Foreign keys.
    of("foreign_key.member", "ALTER TABLE member DROP CONSTRAINT member_org", MEMBER_ORG),
    of(
        "foreign_key.member",
        r#"ALTER TABLE member DROP CONSTRAINT member_org, ADD CONSTRAINT member_org FOREIGN KEY ("orgId") REFERENCES org ON DELETE RESTRICT"#,
        MEMBER_ORG,
    ),
    of(
        "foreign_key.member",
        r#"ALTER TABLE member DROP CONSTRAINT member_org, ADD CONSTRAINT member_org FOREIGN KEY ("orgId") REFERENCES org ON DELETE CASCADE NOT VALID"#,
        MEMBER_ORG,
    ),
    of(
        "foreign_key.member",
        "ALTER TABLE member DROP CONSTRAINT member_chief, ADD CONSTRAINT member_chief FOREIGN KEY (chief) REFERENCES member",
        "ALTER TABLE member DROP CONSTRAINT member_chief, ADD CONSTRAINT member_chief FOREIGN KEY (chief) REFERENCES member ON DELETE SET NULL",
    ),
    of(
        "foreign_key.item",
        "ALTER TABLE item DROP CONSTRAINT item_owner, ADD CONSTRAINT item_owner FOREIGN KEY (owner) REFERENCES member ON DELETE CASCADE",
        "ALTER TABLE item DROP CONSTRAINT item_owner, ADD CONSTRAINT item_owner FOREIGN KEY (owner) REFERENCES member ON DELETE RESTRICT",
    ),
    of(
        "foreign_key.note",
        "ALTER TABLE note ALTER CONSTRAINT note_item NOT DEFERRABLE",
        "ALTER TABLE note ALTER CONSTRAINT note_item DEFERRABLE INITIALLY DEFERRED",
    ),
    // Columns, checks, types.
    of("check.item", "ALTER TABLE item ALTER slug DROP NOT NULL", "ALTER TABLE item ALTER slug SET NOT NULL"),
    of("check.item", "ALTER TABLE item DROP CONSTRAINT item_kind", KIND),
    of(
        "check.item",
        "ALTER TABLE item DROP CONSTRAINT item_kind, ADD CONSTRAINT item_kind CHECK (kind IN ('x', 'y', 'z'))",
        KIND,
    ),
    of(
        "check.item",
        "ALTER TABLE item DROP CONSTRAINT item_kind, ADD CONSTRAINT item_kind CHECK (kind IN ('x', 'y')) NOT VALID",
        KIND,
    ),
    of("row.item", "ALTER TABLE item ALTER price DROP DEFAULT", "ALTER TABLE item ALTER price SET DEFAULT 0"),
    of("row.org", "ALTER TABLE org ALTER id DROP DEFAULT", "ALTER TABLE org ALTER id SET DEFAULT gen_random_uuid()"),
    of("row.org", "ALTER TABLE org ALTER name TYPE varchar(50)", "ALTER TABLE org ALTER name TYPE varchar(40)"),
    of(
        "row.member",
        "ALTER TABLE member ALTER id DROP IDENTITY",
        "ALTER TABLE member ALTER id ADD GENERATED ALWAYS AS IDENTITY; GRANT USAGE ON member_id_seq TO app_role",
    ),
    of("row.note", "ALTER TABLE note RENAME body TO text", "ALTER TABLE note RENAME text TO body"),
    of(
        "objects.types",
        "ALTER DOMAIN address DROP CONSTRAINT at",
        r"ALTER DOMAIN address ADD CONSTRAINT at CHECK (VALUE ~ '^[^@ ]+@[^@ ]+\.[a-z]{2,}$')",
    ),
    of(
        "objects.types",
        "ALTER TYPE mood RENAME VALUE 'busy' TO 'hectic'",
        "ALTER TYPE mood RENAME VALUE 'hectic' TO 'busy'",
    ),
    // Triggers and functions.
    of("touch.item", "DROP TRIGGER touch ON item", TOUCH),
    of("touch.item", "ALTER TABLE item DISABLE TRIGGER touch", "ALTER TABLE item ENABLE TRIGGER touch"),
    of(
        "objects.triggers",
        "DROP TRIGGER told ON member",
        "CREATE TRIGGER told AFTER INSERT ON member FOR EACH ROW EXECUTE FUNCTION told()",
    ),
    of("objects.triggers", "ALTER TABLE member DISABLE TRIGGER told", "ALTER TABLE member ENABLE TRIGGER told"),
    of(
        "objects.functions",
        "CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$",
        TOUCHES,
    ),
    of(
        "objects.functions",
        "DROP FUNCTION twice(integer)",
        "CREATE FUNCTION twice(n integer) RETURNS integer LANGUAGE sql IMMUTABLE AS $$ SELECT n * 2 $$",
    ),
    // Walls between tenants.
    of("tenant.item", "DROP POLICY tenant ON item", POLICY),
    of("tenant.item", "DROP POLICY tenant ON item; CREATE POLICY tenant ON item USING (true)", POLICY),
    of("tenant.item", "ALTER POLICY tenant ON item WITH CHECK (true)", POLICY),
    of("tenant.item", "CREATE POLICY open ON item FOR SELECT USING (true)", "DROP POLICY open ON item"),
    of("row_security", "ALTER TABLE item NO FORCE ROW LEVEL SECURITY", "ALTER TABLE item FORCE ROW LEVEL SECURITY"),
    of("row_security", "ALTER TABLE item DISABLE ROW LEVEL SECURITY", "ALTER TABLE item ENABLE ROW LEVEL SECURITY"),
    of("grant.item", "REVOKE INSERT ON item FROM app_role", "GRANT INSERT ON item TO app_role"),
    of("grant.item", "GRANT TRUNCATE ON item TO app_role", "REVOKE TRUNCATE ON item FROM app_role"),
    of("grant.item", "GRANT SELECT ON item TO PUBLIC", "REVOKE SELECT ON item FROM PUBLIC"),
    beside("app_role", "ALTER ROLE app_role BYPASSRLS", "ALTER ROLE app_role NOBYPASSRLS"),
    beside("app_role", "GRANT owner_role TO app_role", "REVOKE owner_role FROM app_role"),
    // What else a schema has.
    of("objects.views", "DROP VIEW cheap", CHEAP),
    of("objects.views", "ALTER VIEW cheap RESET (security_invoker)", "ALTER VIEW cheap SET (security_invoker = true)"),
    of("objects.sequences", "ALTER SEQUENCE tickets INCREMENT 1", "ALTER SEQUENCE tickets INCREMENT 2"),
    of(
        "objects.statistics",
        "DROP STATISTICS item_stats",
        "CREATE STATISTICS item_stats (dependencies) ON kind, price FROM item",
    ),
    of("objects.comments", "COMMENT ON TABLE item IS NULL", "COMMENT ON TABLE item IS 'What is sold'"),
];

#[test]
fn a_break_in_postgres_fails_its_own_test_and_no_other() {
    let servers = Servers::start("postgres");
    let superuser = servers.superuser.clone().expect("a superuser");
    let mut project = project("mutpg", "[postgres]\napp_role = \"app_role\"\n", "");
    let urls = |database: &str| {
        let url = lyrox::url::parse(lyrox::kind::StoreKind::Postgres, &superuser).expect("a URL");
        url.with_database(database).expose()
    };
    // The migrations' role owns the schema and is bound by the policies that it forces.
    sql(&superuser, "CREATE ROLE owner_role LOGIN CREATEROLE PASSWORD 'mutation-owner'").expect("a role");
    sql(&superuser, "CREATE DATABASE broken OWNER owner_role").expect("a database");
    let all = urls("broken");
    let (_, server) = all.rsplit_once('@').expect("a URL with a role");
    project.write(".env", &format!("DATABASE_URL='postgres://owner_role:mutation-owner@{server}'\n"));
    project.write("migrations/1_all.up.sql", SCHEMA);
    project.lyrox(&["db", "migrate"]).ok();
    project.postgres = urls("broken");
    try_all(&project, "postgres", BREAKS, |statements| {
        // As the owner, so that what is made again belongs to whom it belonged; as the superuser where it must be.
        let set = if statements.contains("ROLE") && !statements.contains("ROLLBACK") || statements.contains("pg_index")
        {
            ""
        } else {
            "SET ROLE owner_role;"
        };
        project.sql(&format!("{set}{statements}"));
    });
}
