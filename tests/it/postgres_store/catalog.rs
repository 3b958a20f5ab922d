//! What is read: the ledger as it is, and the schema in canonical form.

use lyrox::error::{Code, Error};
use lyrox::stores::Store as _;

use super::Bench;
use crate::support::block_on;

#[test]
fn reading_makes_nothing_and_a_damaged_ledger_is_told() {
    let bench = Bench::new("ledger", &[("1_a.up.sql", "CREATE TABLE a (id int);")]);
    let mut store = bench.open();
    let ledger = block_on(store.ledger()).expect("a ledger");
    assert!(ledger.is_empty && ledger.mark.is_none() && ledger.rows.is_empty());
    assert_eq!(bench.project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
    block_on(store.close());

    bench.migrate();
    bench.project.sql("UPDATE lyrox.layout SET version = 99");
    assert_eq!(read_error(&bench).code(), Code::LedgerNewer);
    bench.project.sql("ALTER TABLE lyrox.migrations DROP COLUMN checksum");
    assert_eq!(read_error(&bench).code(), Code::LedgerNewer);
    bench.project.sql("UPDATE lyrox.layout SET version = 1");
    assert_eq!(read_error(&bench).code(), Code::LedgerDamaged);
    bench.project.sql("DROP TABLE lyrox.migrations");
    let error = read_error(&bench);
    assert_eq!(error.code(), Code::LedgerDamaged);
    assert!(error.why_text().is_some_and(|why| why.contains("`lyrox.migrations` is missing")), "{error:?}");
}

fn read_error(bench: &Bench) -> Error {
    let mut store = bench.open();
    let error = block_on(store.ledger()).expect_err("an error");
    block_on(store.close());
    error
}

/// One of each kind of object, tied in knots.
pub const EVERYTHING: &str = r#"
CREATE EXTENSION IF NOT EXISTS citext;
CREATE SCHEMA audit;
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE DOMAIN email AS citext CHECK (VALUE ~ '@');
CREATE TYPE pair AS (a int, b text);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := now(); RETURN NEW; END $$;
CREATE FUNCTION tenant() RETURNS text LANGUAGE sql STABLE RETURN nullif(current_setting('app.tenant', true), '');
CREATE TABLE "User" (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail email NOT NULL UNIQUE, m mood DEFAULT 'ok', at timestamptz,
    tenant text DEFAULT tenant(), len int GENERATED ALWAYS AS (length(mail::text)) STORED, CHECK (id > 0));
CREATE FUNCTION name_of(u "User") RETURNS text LANGUAGE sql AS $$ SELECT u.mail::text $$;
CREATE TABLE orders (id bigserial PRIMARY KEY, "user" int REFERENCES "User" ON DELETE CASCADE, total numeric(10, 2)) ;
CREATE INDEX orders_total ON orders (total DESC) WHERE total > 0;
CREATE VIEW rich AS SELECT u.mail, sum(o.total) FROM "User" u JOIN orders o ON o."user" = u.id GROUP BY 1;
CREATE MATERIALIZED VIEW richest AS SELECT * FROM rich;
CREATE TRIGGER touched BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE "User" ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON "User" FOR ALL USING (tenant = tenant());
CREATE TABLE parts (id int, at date) PARTITION BY RANGE (at);
CREATE TABLE parts_2025 PARTITION OF parts FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE audit.log (id int);
CREATE SEQUENCE numbers START 10;
CREATE AGGREGATE sum_of (int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
INSERT INTO "User" (mail) VALUES ('a@b'), ('c@d');
"#;

#[test]
fn a_snapshot_tells_every_kind_of_object_in_canonical_form() {
    let bench = Bench::new("catalog", &[("1_all.up.sql", EVERYTHING)]);
    bench.migrate();
    let mut store = bench.open();
    let first = block_on(store.snapshot()).expect("a snapshot");
    for (object, definition) in [
        ("table User", "table ENABLE ROW LEVEL SECURITY"),
        ("column User.id", "integer NOT NULL GENERATED ALWAYS AS IDENTITY"),
        ("column User.m", "mood DEFAULT 'ok'::mood"),
        ("column User.len", "integer GENERATED ALWAYS AS (length((mail)::text))"),
        ("column orders.total", "numeric(10,2)"),
        ("constraint orders.orders_user_fkey", "FOREIGN KEY (\"user\") REFERENCES \"User\"(id) ON DELETE CASCADE"),
        ("constraint User.User_id_check", "CHECK ((id > 0))"),
        (
            "index orders_total",
            "CREATE INDEX orders_total ON public.orders USING btree (total DESC) WHERE (total > (0)::numeric)",
        ),
        ("type mood", "enum ('ok', 'sad')"),
        ("type email", "domain citext NOT VALID"),
        ("type pair", "composite (a integer, b text)"),
        (
            "trigger User.touched",
            "CREATE TRIGGER touched BEFORE UPDATE ON public.\"User\" FOR EACH ROW EXECUTE FUNCTION touch()",
        ),
        ("policy User.own", "PERMISSIVE FOR ALL TO public USING ((tenant = tenant()))"),
        ("table parts_2025", "table FOR VALUES FROM ('2025-01-01') TO ('2026-01-01') INHERITS (parts)"),
        ("table audit.log", "table"),
        ("schema audit", "schema"),
        ("extension citext", "schema public"),
        ("sequence numbers", "bigint START 10 INCREMENT 1 MINVALUE 1 MAXVALUE 9223372036854775807 CACHE 1"),
    ] {
        let found = first.objects.get(object).unwrap_or_else(|| panic!("{object} in {:#?}", first.objects));
        if object == "type email" {
            assert!(found.starts_with("domain citext email_check CHECK"), "{found}");
        } else {
            assert_eq!(found, definition, "{object}");
        }
    }
    for object in [
        "function touch()",
        "function name_of(u \"User\")",
        "view rich",
        "materialized view richest",
        "aggregate sum_of(integer)",
    ] {
        assert!(first.objects.contains_key(object), "{object} in {:#?}", first.objects.keys());
    }
    assert!(!first.objects.keys().any(|object| object.contains("lyrox") || object.contains("citext_")));
    assert_eq!(first.differences(&block_on(store.snapshot()).expect("a snapshot")), []);
    block_on(store.keep_snapshot(&first)).expect("kept");
    assert_eq!(block_on(store.kept_snapshot()).expect("a snapshot"), Some(first.clone()));
    bench
        .project
        .sql("DROP INDEX orders_total; ALTER TABLE \"User\" ALTER COLUMN m SET NOT NULL; CREATE TABLE extra ()");
    let live = block_on(store.snapshot()).expect("a snapshot");
    assert_eq!(first.differences(&live).len(), 3);
    block_on(store.close());
}
