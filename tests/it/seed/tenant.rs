//! `--tenant`: one tenant's seeds, with its key and slug, its ids, its keys, and nobody else's rows.

use bson::doc;

use super::{detail, versions};
use crate::support::{Project, block_on};

const SCHEMA: &str = r#"
CREATE TABLE company (id text PRIMARY KEY, name text NOT NULL);
CREATE TABLE sale (id uuid PRIMARY KEY, company_id text NOT NULL REFERENCES company (id), number text NOT NULL, note text,
    UNIQUE (company_id, number));
CREATE TABLE plan (name text PRIMARY KEY);
CREATE TABLE log (line text);
ALTER TABLE sale ENABLE ROW LEVEL SECURITY; ALTER TABLE sale FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON sale USING (company_id = nullif(current_setting('app.tenant', true), ''));
"#;

const TENANCY: &str = "[tenancy]\ntable = \"company\"\nkey_column = \"id\"\ncolumn = \"company_id\"\nglobal = [\"plan\", \"plans\"]\n\
    [redis.keyspaces.cache]\npattern = \"cache:{id}\"\ntype = \"hash\"\n";

fn project(name: &str) -> Project {
    let project = Project::new(name, TENANCY);
    project.write("migrations/1_core.up.sql", SCHEMA);
    project.lyrox(&["db", "migrate"]).ok();
    project.write("seeds/tenant/postgres/company.toml", "[rows.own]\nname = \"Company {{tenant}}\"\n");
    project.write(
        "seeds/tenant/postgres/sale.toml",
        "key = [\"company_id\", \"number\"]\n[rows.first]\nnumber = \"1\"\nnote = \"of {{tenant.slug}}\"\n",
    );
    project.write("seeds/tenant/postgres/plan.toml", "[rows.free]\nname = \"free\"\n");
    project
        .write("seeds/tenant/postgres/log.sql", "INSERT INTO log VALUES ('for ' || current_setting('app.tenant'));\n");
    project.write("seeds/tenant/mongodb/notes.toml", "[rows.hello]\nsale = \"@postgres.sale.first\"\n");
    project.write("seeds/tenant/mongodb/plans.toml", "[rows.free]\nname = \"free\"\n");
    project.write("seeds/tenant/redis/cache.toml", "[rows.a]\nid = \"a\"\nfields = { of = \"@tenant\" }\n");
    project.write("seeds/tenant/redis/log.redis", "RPUSH {{prefix}}log a\n");
    project
}

#[test]
fn one_tenant_gets_its_own_rows_in_every_store() {
    let project = project("tenant_seed");
    let seed = |key: &str, flags: &[&str]| project.lyrox(&[&["db", "seed", "--tenant", key], flags].concat());
    seed("auth0|one", &["--plan"]).ok().says("for tenant `auth0|one`");
    assert_eq!(project.sql_value("SELECT count(*) FROM company"), "0");
    let first = seed("auth0|one", &["--output", "json"]);
    first.ok();
    assert_eq!(first.item("postgres.sale")["tenant"], "auth0|one");
    seed("two", &[]).ok().says("applied");
    assert_eq!(
        project.sql_value("SELECT string_agg(id || '=' || name, ', ' ORDER BY id) FROM company"),
        "auth0|one=Company auth0|one, two=Company two"
    );
    assert_eq!(
        project.sql_value("SELECT string_agg(company_id || ' ' || note, ', ' ORDER BY company_id) FROM sale"),
        "auth0|one of auth0_one_9719be6ce62a, two of two"
    );
    assert_eq!(project.sql_value("SELECT count(DISTINCT id) FROM sale"), "2", "ids are the tenant's own");
    assert_eq!(
        project.sql_value("SELECT string_agg(line, ', ' ORDER BY line) FROM log"),
        "for auth0|one, for two",
        "a script runs once for each tenant"
    );
    let note = |tenant: &str| {
        let notes = project.database().collection::<bson::Document>("notes");
        block_on(async { notes.find_one(doc! { "company_id": tenant }).await }).expect("an answer").expect("a note")
    };
    let sale = project.sql_value("SELECT id FROM sale WHERE company_id = 'two'");
    assert_eq!(note("two").get_str("sale").ok(), Some(sale.as_str()));
    assert_ne!(note("two").get("_id"), note("auth0|one").get("_id"));
    let plans = project.mongo(doc! { "count": "plans", "query": { "company_id": { "$exists": true } } });
    assert_eq!(plans.get_i32("n").ok(), Some(0), "what is global has no tenant");
    for (slug, key) in [("auth0_one_9719be6ce62a", "auth0|one"), ("two", "two")] {
        let of = project.redis(&["HGET", &format!("{}{{{slug}}}:cache:a", project.prefix), "of"]);
        assert_eq!(of, redis::Value::BulkString(key.into()));
        let log = project.redis(&["LLEN", &format!("{}{{{slug}}}:log", project.prefix)]);
        assert_eq!(log, redis::Value::Int(1));
    }
    let before = (versions(&project, "sale"), versions(&project, "log"), versions(&project, "company"));
    for key in ["auth0|one", "two"] {
        seed(key, &[]).ok().never_says("created").never_says("updated").says("applied before");
    }
    assert_eq!(before, (versions(&project, "sale"), versions(&project, "log"), versions(&project, "company")));
}

#[test]
fn a_run_for_one_tenant_writes_no_other_tenants_rows() {
    let project = project("tenant_foreign");
    project.sql("INSERT INTO company VALUES ('two', 'Two')");
    project.write(
        "seeds/tenant/postgres/sale.toml",
        "key = [\"company_id\", \"number\"]\n[rows.first]\nnumber = \"1\"\ncompany_id = \"two\"\n",
    );
    let refused = project.lyrox(&["db", "seed", "--tenant", "one"]);
    refused.exit(1).says("belongs to another tenant").says("sale.toml:2").says("nothing was changed");
    assert_eq!(project.sql_value("SELECT count(*) FROM sale"), "0");
    // Without a tenant the set has nobody to stand for.
    project.lyrox(&["db", "seed", "--set", "tenant"]).exit(2).says("this run is for none").says("--tenant KEY");
    project.lyrox(&["db", "seed", "--tenant", ""]).exit(2).says("key cannot be used");
    project.lyrox(&["db", "seed", "--tenant", "日本", "--slug", "日本"]).exit(2).says("--slug NAME");
    project.write("seeds/tenant/postgres/sale.toml", "key = [\"number\"]\n[rows.first]\nnumber = \"1\"\n");
    project.lyrox(&["db", "seed", "--tenant", "日本", "--slug", "nihon"]).ok();
    assert_eq!(project.redis(&["EXISTS", &format!("{}{{nihon}}:cache:a", project.prefix)]), redis::Value::Int(1));
}

#[test]
fn a_row_of_the_shared_set_is_found_from_a_tenants() {
    let project = project("tenant_shared");
    project.write("seeds/dev/postgres/company.toml", "[rows.host]\nid = \"host\"\nname = \"Host\"\n");
    project.lyrox(&["db", "seed"]).ok();
    project.write("seeds/tenant/mongodb/notes.toml", "[rows.hello]\nhost = \"@postgres.company.host.name\"\n");
    project.lyrox(&["db", "seed", "--tenant", "one"]).ok();
    let notes = project.database().collection::<bson::Document>("notes");
    let note = block_on(async { notes.find_one(doc! {}).await }).expect("an answer").expect("a note");
    assert_eq!(note.get_str("host").ok(), Some("Host"));
}

#[test]
fn a_schema_of_its_own_takes_the_tenants_rows() {
    let project = Project::new("tenant_schema", "[tenancy]\nmodel = \"schema\"\n");
    let database = format!("t_{}", project.name);
    project.sql(&format!("CREATE SCHEMA {database}; CREATE TABLE {database}.item (name text PRIMARY KEY)"));
    project.write("seeds/tenant/postgres/item.toml", "[rows.a]\nname = \"of {{tenant}}\"\n");
    project.write("seeds/tenant/mongodb/notes.toml", "[rows.a]\nn = 1\n");
    let seed = || detail(&project, &["db", "seed", "--tenant", &project.name], "postgres.item");
    assert_eq!((seed(), seed()), ("1 created".into(), "1 unchanged".into()));
    assert_eq!(project.sql_value(&format!("SELECT name FROM {database}.item")), format!("of {}", project.name));
    let client = block_on(async { mongodb::Client::with_uri_str(&project.mongodb).await }).expect("a client");
    let notes = client.database(&database).collection::<bson::Document>("notes");
    assert_eq!(block_on(async { notes.count_documents(doc! {}).await }).ok(), Some(1));
    block_on(async { client.database(&database).drop().await }).expect("a drop");
}
