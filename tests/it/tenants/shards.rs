//! Tenants on shards: placed by the policy, made there and nowhere else, listed, shown, proved and given passwords where
//! they are.

use lyrox::kind::StoreKind;

use super::{Own, ROW, SHOP};
use crate::support::servers::{Second, second};
use crate::support::{Project, sql};

/// A project with two further databases as PostgreSQL's shards.
struct Sharded {
    own: Own,
    eu: String,
    us: String,
}

impl Sharded {
    fn new(name: &str, tenancy: &str) -> Self {
        let project = Project::new(name, "");
        let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
        let shards = "[postgres]\n[[postgres.shards]]\nname = \"eu\"\nurl = \"${EU_URL}\"\n[[postgres.shards]]\nname = \"us\"\nurl = \"${US_URL}\"\n";
        project.write("lyrox.toml", &(text.replace("[postgres]\n", shards) + tenancy));
        let own = Own(project);
        let database = |shard: &str| {
            let name = format!("{}_{shard}", own.name);
            sql(&own.postgres, &format!("CREATE DATABASE {name}")).expect("a database");
            own.postgres.replace(&format!("/{}", own.name), &format!("/{name}"))
        };
        let (eu, us) = (database("eu"), database("us"));
        let env = std::fs::read_to_string(own.path(".env")).expect(".env");
        own.write(".env", &format!("{env}EU_URL='{eu}'\nUS_URL='{us}'\n"));
        Self { own, eu, us }
    }

    fn schemas(&self, url: &str) -> Vec<String> {
        let own = format!("t_{}", self.own.name);
        let rows =
            sql(url, &format!("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, '{own}') ORDER BY 1"));
        rows.expect("schemas").into_iter().filter_map(|row| row[0].clone()).collect()
    }
}

impl Drop for Sharded {
    fn drop(&mut self) {
        for shard in ["eu", "us"] {
            let _ = sql(&self.own.postgres, &format!("DROP DATABASE IF EXISTS {}_{shard} WITH (FORCE)", self.own.name));
        }
    }
}

fn tenant_files(own: &Own) {
    own.write("migrations/1_shared.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
    own.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY, total int);");
    own.write("migrations/tenant/1_own.up.json", r#"[{ "create": "carts" }]"#);
    own.write("migrations/tenant/1_own.up.redis", "HSET {{prefix}}settings currency EUR\n");
    own.write("seeds/tenant/postgres/sale.toml", "key = [\"id\"]\n[rows.first]\nid = 1\ntotal = 5\n");
    own.lyrox(&["-q", "db", "migrate"]).ok();
}

#[test]
fn tenants_are_spread_over_the_shards_and_each_has_its_place_on_one() {
    let there = Sharded::new("sh_schema", "[tenancy]\nmodel = \"schema\"\n");
    let own = &there.own;
    tenant_files(own);
    let slugs: Vec<String> = (1..=4).map(|n| own.slug(&format!("n{n}"))).collect();
    for slug in &slugs {
        own.create(slug, &["--slug", slug, "--credentials", &format!("{slug}.ndjson")]).says("shard");
    }
    let name = |at: usize| format!("t_{}", slugs[at]);
    assert_eq!(there.schemas(&there.eu), [name(0), name(2)]);
    assert_eq!(there.schemas(&there.us), [name(1), name(3)]);
    assert!(there.schemas(&own.postgres).is_empty(), "the registry is at home, the tenants are not");
    // The login leads to the shard, and there to its own tables.
    let login = own.login(&format!("{}.ndjson", slugs[1]), &slugs[1], StoreKind::Postgres);
    let rows = sql(&login, "SELECT current_database(), total FROM sale").expect("rows");
    assert_eq!(rows[0], [Some(format!("{}_us", own.name)), Some("5".into())]);
    own.lyrox(&["tenant", "list"]).ok().says("shard").says("eu").says("us");
    let listed = own.lyrox(&["tenant", "list", "--shard", "us", "--output", "json"]);
    let keys: Vec<String> = listed.ok().json()["data"]["tenants"]
        .as_array()
        .expect("tenants")
        .iter()
        .map(|tenant| tenant["key"].as_str().expect("a key").to_owned())
        .collect();
    assert_eq!(keys, [slugs[1].clone(), slugs[3].clone()]);
    own.lyrox(&["tenant", "show", &slugs[1]]).ok().says("shard      us").says("version    1").never_says("not known");
    own.lyrox(&["tenant", "verify", "--all"]).ok().says("4 tenants").says("no leak");
    own.lyrox(&["tenant", "credentials", &slugs[1], "--credentials", "new.ndjson"]).ok();
    let renewed = own.login("new.ndjson", &slugs[1], StoreKind::Postgres);
    assert!(sql(&login, "SELECT 1").is_err() && sql(&renewed, "SELECT FROM sale").is_ok());
    // What is there already stays where it is; a place is asked for by name.
    own.lyrox(&["tenant", "create", &slugs[1], "--no-credentials"]).ok().says("shard us");
    own.lyrox(&["tenant", "create", &slugs[1], "--shard", "eu", "--no-credentials"]).exit(6).says("is at `us`");
    let fifth = own.slug("n5");
    own.create(&fifth, &["--slug", &fifth, "--shard", "us", "--no-credentials"]);
    assert_eq!(there.schemas(&there.us).len(), 3);
    own.lyrox(&["tenant", "create", "x", "--shard", "asia", "--no-credentials"]).exit(2).says("LYX-SHARD-UNKNOWN");
    own.lyrox(&["tenant", "show", &fifth, "--shard", "us"]).exit(2);
}

#[test]
fn what_leaks_or_is_astray_on_a_shard_is_found_there() {
    let there = Sharded::new("sh_verify", "[tenancy]\nmodel = \"schema\"\n");
    let own = &there.own;
    tenant_files(own);
    let slugs: Vec<String> = (1..=4).map(|n| own.slug(&format!("n{n}"))).collect();
    for slug in &slugs {
        own.create(slug, &["--slug", slug, "--no-credentials"]);
    }
    let (one, three) = (format!("t_{}", slugs[0]), format!("t_{}", slugs[2]));
    sql(&there.eu, &format!("GRANT USAGE ON SCHEMA {one} TO {three}; GRANT SELECT ON {one}.sale TO {three}"))
        .expect("a leak");
    let leak = own.lyrox(&["tenant", "verify", "--all", "--output", "json"]);
    leak.exit(1).says("shard eu: ").says("schema_usage");
    own.lyrox(&["tenant", "verify", &slugs[1]]).ok();
    sql(&there.eu, &format!("REVOKE USAGE ON SCHEMA {one} FROM {three}; REVOKE SELECT ON {one}.sale FROM {three}"))
        .expect("closed");
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    // A schema that nobody made there, and a tenant whose place went.
    let stray = own.slug("stray");
    sql(&there.us, &format!("CREATE SCHEMA t_{stray}; DROP SCHEMA t_{} CASCADE", slugs[1])).expect("astray");
    let astray = own.lyrox(&["tenant", "verify", "--all"]);
    astray.exit(1).says(&format!("tenant {stray}")).says("PostgreSQL of shard us");
    own.lyrox(&["tenant", "list"]).ok().says("unmanaged on us");
    own.lyrox(&["tenant", "adopt", "--all", "--shard", "us", "--no-credentials"]).ok().says("1 taken in");
    own.lyrox(&["tenant", "show", &stray]).ok().says("shard      us");
    // A shard that does not answer: the registry is told, nothing is called proved.
    sql(&own.postgres, &format!("DROP DATABASE {}_us WITH (FORCE)", own.name)).expect("gone");
    own.lyrox(&["tenant", "list"]).ok().says("shard us of postgres was not asked");
    own.lyrox(&["tenant", "verify", "--all"]).exit(4).says("shard `us`");
    own.lyrox(&["tenant", "verify", &slugs[0]]).ok();
}

#[test]
fn shared_tables_are_migrated_on_each_shard_and_hold_its_tenants() {
    let there = Sharded::new("sh_row", &format!("{ROW}placement = \"hash\"\n"));
    let own = &there.own;
    own.write("migrations/1_shop.up.sql", SHOP);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let early = own.lyrox(&["tenant", "create", "early", "--shard", "eu", "--no-credentials"]);
    early.exit(2).says("`company` is not there").says("lyrox db migrate --shard eu");
    own.lyrox(&["-q", "db", "migrate", "--shard", "eu"]).ok();
    own.lyrox(&["-q", "db", "migrate", "--shard", "us"]).ok();
    own.lyrox(&["db", "status", "--check", "--shard", "us"]).ok();
    let list: String = (0..40).map(|n| format!("{}\n", own.slug(&format!("k{n}")))).collect();
    own.write("all.csv", &format!("key\n{list}"));
    own.lyrox(&["tenant", "create", "--from-file", "all.csv", "--no-credentials", "--jobs", "2"])
        .ok()
        .says("40 created");
    let count = |url: &str| sql(url, "SELECT count(*) FROM company").expect("rows")[0][0].clone().expect("a count");
    let counts: Vec<usize> = [&there.eu, &there.us].map(|url| count(url).parse().expect("a number")).to_vec();
    assert_eq!((counts.iter().sum::<usize>(), count(&own.postgres).as_str()), (40, "0"), "{counts:?}");
    assert!(counts.iter().all(|count| *count > 8), "{counts:?}");
    // Running it again makes nothing.
    own.lyrox(&["tenant", "create", "--from-file", "all.csv", "--no-credentials"]).ok().says("40 unchanged");
    sql(&there.eu, "DELETE FROM company WHERE id = (SELECT min(id) FROM company)").expect("a row less");
    own.lyrox(&["tenant", "verify", "--all"]).exit(1).says("row in PostgreSQL of shard eu");
}

#[test]
fn a_database_each_on_a_second_server_of_both_kinds() {
    let Second { postgres, mongodb, .. } = second();
    let project = Project::new("sh_database", "");
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    let text = text.replace("[postgres]\n", "[postgres]\n[[postgres.shards]]\nname = \"eu\"\nurl = \"${EU_URL}\"\n").replace(
        "[redis]\n",
        "[[mongodb.shards]]\nname = \"eu\"\nurl = \"${EU_MONGODB}\"\n[[mongodb.shards]]\nname = \"home\"\n[redis]\n",
    );
    project.write("lyrox.toml", &(text + "[tenancy]\nmodel = \"database\"\n"));
    let own = Own(project);
    let env = std::fs::read_to_string(own.path(".env")).expect(".env");
    own.write(".env", &format!("{env}EU_URL='{postgres}'\nEU_MONGODB='{mongodb}'\n"));
    tenant_files(&own);
    let slug = own.slug("far");
    own.create(&slug, &["--slug", &slug, "--credentials", "far.ndjson"]).says("shard eu");
    let login = own.login("far.ndjson", &slug, StoreKind::Postgres);
    assert_eq!(sql(&login, "SELECT total FROM sale").expect("rows")[0][0].as_deref(), Some("5"));
    let login = own.login("far.ndjson", &slug, StoreKind::Mongodb);
    own.mongo_as(&login, &format!("t_{slug}"), bson::doc! { "find": "carts" }).expect("its own, over there");
    let here =
        sql(&own.postgres, &format!("SELECT count(*) FROM pg_database WHERE datname = 't_{slug}'")).expect("rows");
    assert_eq!(here[0][0].as_deref(), Some("0"), "nothing of it at home");
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    let shown = own.lyrox(&["config", "show"]);
    shown.ok().says("postgres.shards.eu.url").never_says(postgres);
}
