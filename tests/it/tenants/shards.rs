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
    // Seeds of a tenant go where it is.
    sql(&there.us, &format!("DELETE FROM {}.sale", name(1))).expect("empty");
    own.lyrox(&["db", "seed", "--tenant", &slugs[1]]).ok().says("1 created");
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
    for more in [vec![], vec!["--shard", "eu"]] {
        let mut words = vec!["db", "reset", "--no-seed", "--confirm", own.name.as_str()];
        let eu = format!("{}_eu", own.name);
        words[4] = if more.is_empty() { own.name.as_str() } else { eu.as_str() };
        words.extend(more);
        own.lyrox(&words).exit(6).says("on shard").says("nothing was changed");
    }
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

/// Tenants at home's own database, at another one of its server, and on a second server of both kinds.
fn three_places(name: &str) -> (Own, String) {
    let Second { postgres, mongodb, .. } = second();
    let project = Project::new(name, "");
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    let shards = "[postgres]\n[[postgres.shards]]\nname = \"home\"\n[[postgres.shards]]\nname = \"near\"\nurl = \"${NEAR_URL}\"\n\
                  [[postgres.shards]]\nname = \"far\"\nurl = \"${FAR_URL}\"\n";
    let text = text.replace("[postgres]\n", shards).replace(
        "[redis]\n",
        "[[mongodb.shards]]\nname = \"home\"\n[[mongodb.shards]]\nname = \"far\"\nurl = \"${FAR_MONGODB}\"\n[redis]\n",
    );
    project.write("lyrox.toml", &(text + "[tenancy]\nmodel = \"schema\"\n"));
    let own = Own(project);
    let near = format!("{}_near", own.name);
    sql(&own.postgres, &format!("CREATE DATABASE {near}")).expect("a database");
    let near = own.postgres.replace(&format!("/{}", own.name), &format!("/{near}"));
    let env = std::fs::read_to_string(own.path(".env")).expect(".env");
    own.write(".env", &format!("{env}NEAR_URL='{near}'\nFAR_URL='{postgres}'\nFAR_MONGODB='{mongodb}'\n"));
    tenant_files(&own);
    (own, near)
}

/// The tables named so of each place's tenants, as `schema` of home, near and far.
fn tables(own: &Own, near: &str, name: &str) -> [Vec<String>; 3] {
    let query = format!(
        "SELECT schemaname FROM pg_tables WHERE tablename = '{name}' AND starts_with(schemaname, 't_{}') ORDER BY 1",
        own.name
    );
    let of = |url: &str| {
        sql(url, &query).expect("tables").into_iter().filter_map(|row| row[0].clone()).collect::<Vec<String>>()
    };
    [&own.postgres, near, &second().postgres].map(of)
}

#[test]
fn work_over_tenants_reaches_each_at_its_place() {
    let (own, near) = three_places("sh_fan");
    let slugs: Vec<String> = (0..9).map(|n| own.slug(&format!("n{n}"))).collect();
    own.write("all.csv", &format!("key\n{}\n", slugs.join("\n")));
    own.lyrox(&["tenant", "create", "--from-file", "all.csv", "--no-credentials"]).ok().says("9 created");
    assert_eq!(tables(&own, &near, "sale").map(|some| some.len()), [3, 3, 3]);
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int PRIMARY KEY);");
    own.write("migrations/tenant/2_more.up.json", r#"[{ "create": "orders" }]"#);
    own.write("migrations/tenant/2_more.up.redis", "HSET {{prefix}}settings country PT\n");
    own.lyrox(&["db", "status", "--tenants", "all", "--check"]).exit(8).says("9 behind");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--jobs", "2"]).ok().says("9 done");
    let more = tables(&own, &near, "more");
    assert_eq!(more.each_ref().map(Vec::len), [3, 3, 3]);
    assert_eq!(more, tables(&own, &near, "sale"), "each where it is");
    // Documents lie where the tenant is, and on no other server.
    let listed = |uri: &str, slug: &str| {
        crate::support::block_on(async {
            let client = mongodb::Client::with_uri_str(uri).await.expect("a client");
            let names = client.database(&format!("t_{slug}")).list_collection_names().await.expect("collections");
            names.iter().any(|name| name == "orders")
        })
    };
    for slug in &slugs {
        let shard = own.sql_value(&format!("SELECT shard FROM lyrox.tenants WHERE slug = '{slug}'"));
        assert_eq!(shard.contains("postgres=far"), more[2].contains(&format!("t_{slug}")), "{slug}: {shard}");
        let is_far = shard.contains("mongodb=far");
        let found = (listed(&own.mongodb, slug), listed(&second().mongodb, slug));
        assert_eq!(found, (!is_far, is_far), "{slug}");
        let value = own.redis(&["HGET", &format!("{}{{{slug}}}:settings", own.prefix), "country"]);
        assert_eq!(value, redis::Value::BulkString(b"PT".to_vec()), "{slug}");
    }
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("9 up to date");
    own.lyrox(&["db", "status", "--tenants", "all", "--check"]).ok();
    // Seeds as well: what is missing on each server comes back.
    for (url, schemas) in [&own.postgres, &near, &second().postgres].into_iter().zip(&more) {
        for schema in schemas {
            sql(url, &format!("DELETE FROM {schema}.sale")).expect("empty");
        }
    }
    own.lyrox(&["db", "seed", "--tenants", "all", "--jobs", "3"]).ok().says("9 done");
    for (url, schemas) in [&own.postgres, &near, &second().postgres].into_iter().zip(&more) {
        for schema in schemas {
            let count = sql(url, &format!("SELECT count(*) FROM {schema}.sale")).expect("a count");
            assert_eq!(count[0][0].as_deref(), Some("1"), "{schema}");
        }
    }
    // One that fails on a shard keeps nobody; a run that is killed goes on, by two processes at once.
    let poisoned = more[2][1].clone();
    sql(&second().postgres, &format!("CREATE VIEW {poisoned}.third AS SELECT 1")).expect("in the way");
    own.write("migrations/tenant/3_third.up.sql", "SELECT pg_sleep(0.1); CREATE TABLE third (id int PRIMARY KEY);");
    let arguments = ["db", "migrate", "--tenants", "all", "--jobs", "1"];
    let doomed = crate::promises::start(&own, &arguments);
    let done = "SELECT count(*) FROM lyrox.tenant_units u JOIN lyrox.tenant_runs r ON r.id = u.run WHERE r.state = 'running' AND u.state = 'done'";
    crate::promises::wait_until(std::time::Duration::from_secs(60), "two tenants", || {
        own.sql_value(done).parse::<u32>().is_ok_and(|count| count >= 2)
    });
    doomed.kill();
    let runs = [crate::promises::start(&own, &arguments), crate::promises::start(&own, &arguments)];
    for end in runs.map(crate::promises::Run::end) {
        end.exit(7).says(poisoned.trim_start_matches("t_"));
    }
    assert_eq!(tables(&own, &near, "third").map(|some| some.len()), [3, 3, 2]);
    sql(&second().postgres, &format!("DROP VIEW {poisoned}.third")).expect("out of the way");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--only-failed"]).ok().says("1 tenant");
    assert_eq!(tables(&own, &near, "third"), more);
    own.lyrox(&["tenant", "verify", "--all", "--jobs", "3"]).ok().says("9 tenants").says("no leak");
    // A shard that does not answer: its tenants fail, each by name, the others are done.
    let env = std::fs::read_to_string(own.path(".env")).expect(".env");
    let dead: String = env
        .lines()
        .map(|line| {
            if line.starts_with("FAR_URL") {
                "FAR_URL='postgres://x:y@127.0.0.1:1/none'\n".into()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    own.write(".env", &dead);
    own.write("migrations/tenant/4_last.up.sql", "CREATE TABLE last (id int PRIMARY KEY);");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).exit(7).says("6 done, 3 failed");
    own.write(".env", &env);
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("3 done, 6 up to date");
    assert_eq!(tables(&own, &near, "last"), more);
    for slug in &slugs {
        own.lyrox(&["-q", "tenant", "delete", slug, "--confirm", slug]).ok();
    }
    let _ = sql(&own.postgres, &format!("DROP DATABASE {}_near WITH (FORCE)", own.name));
}
