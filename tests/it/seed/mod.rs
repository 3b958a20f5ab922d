//! `lyrox db seed`: rows in three stores that refer to each other, and a second run that changes nothing.

mod bulk;
mod checks;
mod failure;
mod guard;
mod order;
mod outside;
mod plan;
mod rows;
mod scripts;
mod sets;
mod tenant;
mod tenants;
mod types;
mod values;

use crate::support::Project;

const TABLES: &str = r#"
CREATE TABLE "User" (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email text NOT NULL UNIQUE,
    "passwordHash" text,
    balance numeric(12, 2) NOT NULL DEFAULT 0,
    settings jsonb NOT NULL DEFAULT '{}',
    tags text[] NOT NULL DEFAULT '{}',
    "createdAt" timestamptz NOT NULL DEFAULT now(),
    "updatedAt" timestamptz NOT NULL DEFAULT now());
CREATE TABLE "Company" (
    id uuid PRIMARY KEY, "ownerId" uuid NOT NULL REFERENCES "User" (id), name text NOT NULL, UNIQUE ("ownerId", name));
CREATE TABLE writes (what text NOT NULL);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO writes VALUES (TG_OP || ' ' || TG_TABLE_NAME); NEW."updatedAt" = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON "User" FOR EACH ROW EXECUTE FUNCTION touch();
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO writes VALUES (TG_OP || ' statement'); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON "User" FOR EACH STATEMENT EXECUTE FUNCTION note();
"#;

const USERS: &str = r#"
key = ["email"]
[rows.pedro]
email = "pedro@example.com"
passwordHash = { argon2id = "temp-password-123" }
balance = 12.50
settings = { json = { theme = "dark", owner = "@User.pedro" } }
tags = ["a", "b,c"]
createdAt = { now = "-2d" }
[rows.maya]
email = "maya@example.com"
passwordHash = { bcrypt = "temp-password-456" }
"#;

/// A project whose PostgreSQL has the tables above, made by a migration.
fn project(name: &str, extra: &str) -> Project {
    let project = Project::new(name, extra);
    project.write("migrations/1_core.up.sql", TABLES);
    project
}

fn migrated(name: &str, extra: &str) -> Project {
    let project = project(name, extra);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

/// A project of PostgreSQL alone.
fn postgres_only(name: &str, schema: &str) -> Project {
    let project = Project::new(name, "");
    project.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n", project.name));
    project.write("migrations/1_core.up.sql", schema);
    project.lyrox(&["db", "migrate"]).ok();
    project
}

/// Every row of a table with the transaction that wrote it.
fn versions(project: &Project, table: &str) -> Vec<Vec<Option<String>>> {
    project.sql(&format!("SELECT xmin, ctid, t FROM {table} t ORDER BY ctid"))
}

fn detail(project: &Project, arguments: &[&str], id: &str) -> String {
    let output = project.lyrox(&[arguments, &["--output", "json"]].concat());
    output.ok();
    output.item(id)["detail"].as_str().unwrap_or_default().to_owned()
}

const BULK: &str =
    "CREATE TABLE item (id int PRIMARY KEY, name text NOT NULL, price numeric(10,2), data jsonb, tags text[]);
    CREATE TABLE part (id int PRIMARY KEY, item int NOT NULL REFERENCES item (id));
    CREATE TABLE log (line text);";
