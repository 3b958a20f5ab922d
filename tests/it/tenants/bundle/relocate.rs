//! A tenant goes from the project's own servers to a shard and back: whole, and nothing of it is left where it was.

use lyrox::kind::StoreKind;

use super::super::{Own, ROW, SHOP};
use super::same_bundles;
use crate::promises::{rounds, some_of};
use crate::support::servers::{Second, second};
use crate::support::{Output, Project, block_on, sql};

/// A project with a further database as PostgreSQL's shard `eu`; new tenants are placed at home.
struct Sharded {
    own: Own,
    eu: String,
}

impl Sharded {
    fn new(name: &str, model: &str) -> Self {
        let project = Project::new(name, "");
        let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
        let shard = "[postgres]\n[[postgres.shards]]\nname = \"eu\"\nurl = \"${EU_URL}\"\n";
        let tenancy = if model == "row" { ROW.to_owned() } else { format!("[tenancy]\nmodel = \"{model}\"\n") };
        let tenancy = tenancy.replace("[tenancy]\n", "[tenancy]\nplacement = \"home\"\n");
        project.write("lyrox.toml", &(text.replace("[postgres]\n", shard) + &tenancy));
        let own = Own(project);
        let database = format!("{}_eu", own.name);
        sql(&own.postgres, &format!("CREATE DATABASE {database}")).expect("a database");
        let eu = own.postgres.replace(&format!("/{}", own.name), &format!("/{database}"));
        let env = std::fs::read_to_string(own.path(".env")).expect(".env");
        own.write(".env", &format!("{env}EU_URL='{eu}'\n"));
        if model == "row" {
            own.write("migrations/1_shop.up.sql", SHOP);
        } else {
            own.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY, total int);");
            own.write("migrations/1_shared.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
        }
        own.lyrox(&["-q", "db", "migrate"]).ok();
        own.lyrox(&["-q", "db", "migrate", "--shard", "eu"]).ok();
        Self { own, eu }
    }

    /// Two tenants with rows and keys; answers the slug of the first.
    fn fill(&self, model: &str) -> String {
        let own = &self.own;
        let (slug, other) = (own.slug("k"), own.slug("o"));
        for (key, slug, base) in [("k", &slug, 0), ("o", &other, 100)] {
            own.create(key, &["--slug", slug, "--no-credentials"]);
            own.redis(&["SET", &format!("{}{{{slug}}}:x", own.prefix), "1"]);
            let insert = if model == "row" {
                format!(
                    "INSERT INTO sale SELECT {base} + n, '{key}', n FROM generate_series(1, 50) n; INSERT INTO line SELECT {base} + n, {base} + n FROM generate_series(1, 50) n"
                )
            } else {
                format!("INSERT INTO t_{slug}.sale SELECT n, n FROM generate_series(1, 50) n")
            };
            own.sql(&insert);
        }
        slug
    }

    fn is_at(&self, model: &str, slug: &str, place: &str, note: &str) {
        let query = if model == "row" {
            "SELECT count(*) FROM sale WHERE company_id = 'k'".to_owned()
        } else {
            format!("SELECT count(*) FROM pg_tables WHERE schemaname = 't_{slug}'")
        };
        let count = |url: &str| sql(url, &query).expect("a count")[0][0].clone().expect("a number");
        let whole = if model == "row" { "50" } else { "1" };
        let (home, away) = if place == "home" { (whole, "0") } else { ("0", whole) };
        assert_eq!((count(&self.own.postgres).as_str(), count(&self.eu).as_str()), (home, away), "{note}");
        let record = "SELECT state || ' ' || shard || ' ' || step FROM lyrox.tenants WHERE key = 'k'";
        let shard = if place == "home" { "" } else { "postgres=eu" };
        assert_eq!(self.own.sql_value(record), format!("active {shard} "), "{note}");
        for url in [&self.own.postgres, &self.eu] {
            let ledger = sql(url, "SELECT count(*) FROM lyrox.migrations WHERE tenant = 'k'").expect("a count");
            let is_here = (url == &self.eu) == (place == "eu") && model != "row";
            assert_eq!(ledger[0][0].as_deref() != Some("0"), is_here, "{note}: the ledger at {url}");
        }
    }
}

impl Drop for Sharded {
    fn drop(&mut self) {
        let _ = sql(&self.own.postgres, &format!("DROP DATABASE IF EXISTS {}_eu WITH (FORCE)", self.own.name));
    }
}

fn there_and_back(model: &str) {
    let there = Sharded::new(&format!("tb_mv_{}", &model[..1]), model);
    let own = &there.own;
    let slug = there.fill(model);
    own.export("k", "a.lyrox");
    let other = own.export("o", "o.lyrox");
    other.ok();
    own.lyrox(&["tenant", "move", "k", "--to", "eu", "--dry-run"]).ok().says("a dry run");
    there.is_at(model, &slug, "home", "after a dry run");
    own.lyrox(&["tenant", "move", "k", "--to", "eu", "--credentials", "eu.ndjson"]).ok().says("k is at eu");
    there.is_at(model, &slug, "eu", "moved");
    own.export("k", "b.lyrox");
    same_bundles(own, "a.lyrox", "b.lyrox", "at the shard");
    if model == "schema" {
        let login = own.login("eu.ndjson", "k", StoreKind::Postgres);
        let rows = sql(&login, "SELECT current_database(), count(*) FROM sale").expect("its own rows");
        assert_eq!(rows[0], [Some(format!("{}_eu", own.name)), Some("50".into())]);
    }
    own.lyrox(&["tenant", "move", "k", "--to", "eu", "--no-credentials"]).ok().says("at eu already");
    own.lyrox(&["tenant", "move", "k", "--to", "asia", "--no-credentials"]).exit(2).says("LYX-SHARD-UNKNOWN");
    own.lyrox(&["tenant", "move", "k", "--to", "home", "--no-credentials"]).ok();
    there.is_at(model, &slug, "home", "back");
    own.export("k", "c.lyrox");
    same_bundles(own, "a.lyrox", "c.lyrox", "at home again");
    own.export("o", "p.lyrox");
    same_bundles(own, "o.lyrox", "p.lyrox", "the other tenant");
    // What is in the way there is not touched, and the tenant stays where it is.
    let trap = if model == "row" {
        "INSERT INTO company (id) VALUES ('k')".to_owned()
    } else {
        format!("CREATE SCHEMA t_{slug}")
    };
    sql(&there.eu, &trap).expect("a trap");
    own.lyrox(&["tenant", "move", "k", "--to", "eu", "--no-credentials"]).exit(6).says("LYX-TENANT-CLASH");
    assert_eq!(own.state("k").as_deref(), Some("active"));
    let undo = if model == "row" { "DELETE FROM company".to_owned() } else { format!("DROP SCHEMA t_{slug}") };
    sql(&there.eu, &undo).expect("no trap");
    // A shard that is also where it goes when it is removed.
    own.lyrox(&["tenant", "move", "k", "--to", "eu", "--no-credentials"]).ok();
    own.delete("k", &slug);
    own.import("a.lyrox", &["--shard", "eu"]);
    there.is_at(model, &slug, "eu", "imported there");
    own.export("k", "d.lyrox");
    same_bundles(own, "a.lyrox", "d.lyrox", "imported at the shard");
}

#[test]
fn rows_of_shared_tables_move_and_come_back() {
    there_and_back("row");
}

#[test]
fn a_schema_moves_and_comes_back() {
    there_and_back("schema");
}

#[test]
fn what_the_other_place_refuses_leaves_the_tenant_where_it_was() {
    let there = Sharded::new("tb_mv_no", "row");
    let slug = there.fill("row");
    sql(&there.eu, "ALTER TABLE sale ADD CHECK (total < 40)").expect("a rule");
    let run = there.own.lyrox(&["tenant", "move", "k", "--to", "eu", "--no-credentials"]);
    run.exit(1).says("23514").says("active where it was");
    there.is_at("row", &slug, "home", "after a refusal");
    assert_eq!(sql(&there.eu, "SELECT count(*) FROM company").expect("a count")[0][0].as_deref(), Some("0"));
}

const POINTS: [&str; 12] = [
    "suspended",
    "read",
    "placed",
    "migrated",
    "filled",
    "verified",
    "switched",
    "looked",
    "emptied",
    "taken.postgres",
    "proved",
    "moved",
];

fn each_point(model: &str) {
    let there = Sharded::new(&format!("tb_mk_{}", &model[..1]), model);
    let own = &there.own;
    let slug = there.fill(model);
    own.export("k", "k.lyrox");
    own.export("o", "o.lyrox");
    for (number, point) in POINTS.into_iter().enumerate() {
        let to = if number % 2 == 0 { "eu" } else { "home" };
        let arguments = ["tenant", "move", "k", "--to", to, "--no-credentials"];
        let output = own.command(&arguments).env("LYROX_TEST_KILL", point).output().expect("lyrox");
        let run = Output::new(&arguments, &output);
        assert_eq!(run.code, 137, "{model}, {point}\n{run}");
        if point != "moved" {
            let delete = own.lyrox(&["tenant", "delete", "k", "--confirm", &slug]);
            delete.exit(6).says("being moved").says("lyrox tenant move k --to");
        }
        own.lyrox(&arguments).ok();
        there.is_at(model, &slug, to, &format!("{model}, killed at {point}"));
        let file = format!("{point}.lyrox");
        own.export("k", &file);
        same_bundles(own, "k.lyrox", &file, point);
    }
    own.export("o", "p.lyrox");
    same_bundles(own, "o.lyrox", "p.lyrox", "the other tenant");
}

#[test]
fn a_move_of_rows_survives_a_kill_at_each_step() {
    each_point("row");
}

#[test]
fn a_move_of_a_schema_survives_a_kill_at_each_step() {
    each_point("schema");
}

/// Killed at random, twice in a row, then run to its end. The stated number is 100.
#[test]
fn a_move_that_is_killed_at_random_is_finished_by_the_next() {
    let count = rounds(2, 100);
    for (number, model) in ["row", "schema"].into_iter().enumerate() {
        let there = Sharded::new(&format!("tb_mr_{}", &model[..1]), model);
        let own = &there.own;
        let slug = there.fill(model);
        own.export("k", "k.lyrox");
        let mut to = "eu";
        for round in (0..count).filter(|round| *round as usize % 2 == number) {
            let arguments = ["tenant", "move", "k", "--to", to, "--no-credentials"];
            for _ in 0..2 {
                let null = std::process::Stdio::null;
                let mut child = own.command(&arguments).stdout(null()).stderr(null()).spawn().expect("lyrox");
                std::thread::sleep(some_of(std::time::Duration::from_millis(1200)));
                let _ = child.kill();
                child.wait().expect("an end");
            }
            own.lyrox(&arguments).ok();
            let note = format!("{model}, round {round}");
            there.is_at(model, &slug, to, &note);
            let file = format!("{round}.lyrox");
            own.export("k", &file);
            same_bundles(own, "k.lyrox", &file, &note);
            to = if to == "eu" { "home" } else { "eu" };
        }
    }
}

/// What was written at the old place after it was copied is told, also by the run after a kill, and goes when it was told.
#[test]
fn late_writes_are_told_after_a_kill_as_well() {
    for model in ["row", "schema"] {
        let there = Sharded::new(&format!("tb_ml_{}", &model[..1]), model);
        let own = &there.own;
        let slug = there.fill(model);
        let arguments = ["tenant", "move", "k", "--to", "eu", "--no-credentials"];
        let killed = own.command(&arguments).env("LYROX_TEST_KILL", "switched").output().expect("lyrox");
        assert_eq!(Output::new(&arguments, &killed).code, 137);
        let table = if model == "row" { "public.sale".to_owned() } else { format!("t_{slug}.sale") };
        let row = |n: u32| if model == "row" { format!("({n}, 'k', 1)") } else { format!("({n}, 1)") };
        own.sql(&format!("INSERT INTO {table} VALUES {}", row(900)));
        let count = || own.sql_value(&format!("SELECT count(*) FROM {table} WHERE id >= 900"));
        own.lyrox(&arguments).exit(6).says("LYX-TENANT-LEFT").says("after it was copied").says("served at `eu`");
        assert_eq!(count(), "1", "it is as it is");
        // Written after that was told: told again.
        own.sql(&format!("INSERT INTO {table} VALUES {}", row(901)));
        own.lyrox(&arguments).exit(6).says("after it was copied");
        assert_eq!(count(), "2");
        assert_eq!(own.state("k").as_deref(), Some("active"), "it is served meanwhile");
        own.lyrox(&arguments).ok();
        there.is_at(model, &slug, "eu", model);
    }
}

/// A project whose shard `eu` is a second server of both kinds.
struct Two {
    own: Own,
    /// PostgreSQL and MongoDB of the shard.
    eu: (String, String),
}

impl Two {
    fn new(name: &str, model: &str) -> Self {
        let Second { postgres, mongodb, .. } = second();
        let project = Project::new(name, "");
        let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
        let shard =
            |store: &str| format!("[[{store}.shards]]\nname = \"eu\"\nurl = \"${{EU_{}}}\"\n", store.to_uppercase());
        let text = text
            .replace("[postgres]\n", &format!("[postgres]\n{}", shard("postgres")))
            .replace("[redis]\n", &format!("{}[redis]\n", shard("mongodb")));
        let tenancy = if model == "row" { ROW.to_owned() } else { format!("[tenancy]\nmodel = \"{model}\"\n") };
        project.write("lyrox.toml", &(text + &tenancy.replace("[tenancy]\n", "[tenancy]\nplacement = \"home\"\n")));
        let own = Own(project);
        sql(postgres, &format!("CREATE DATABASE {}", own.name)).expect("a database");
        let start = postgres.rfind('/').expect("a path");
        let rest = postgres[start..].find('?').map_or("", |at| &postgres[start + at..]);
        let eu = (format!("{}/{}{rest}", &postgres[..start], own.name), mongodb.clone());
        let env = std::fs::read_to_string(own.path(".env")).expect(".env");
        own.write(".env", &format!("{env}EU_POSTGRES='{}'\nEU_MONGODB='{}'\n", eu.0, eu.1));
        if model == "row" {
            own.write("migrations/1_shop.up.sql", SHOP);
            own.write("migrations/1_shop.up.json", r#"[{ "create": "carts" }]"#);
        } else {
            own.write("migrations/1_shared.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
            own.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY, total int);");
            own.write("migrations/tenant/1_own.up.json", r#"[{ "create": "carts" }]"#);
            own.write("migrations/tenant/1_own.up.redis", "HSET {{prefix}}settings currency EUR\n");
        }
        own.lyrox(&["-q", "db", "migrate"]).ok();
        own.lyrox(&["-q", "db", "migrate", "--shard", "eu"]).ok();
        Self { own, eu }
    }

    /// The database in which a tenant's rows are, at a place.
    fn postgres(&self, model: &str, slug: &str, is_away: bool) -> String {
        let url = if is_away { &self.eu.0 } else { &self.own.postgres };
        if model == "database" {
            url.replace(&format!("/{}", self.own.name), &format!("/t_{slug}"))
        } else {
            url.clone()
        }
    }

    fn carts(&self, model: &str, slug: &str, is_away: bool) -> u64 {
        let uri = if is_away { &self.eu.1 } else { &self.own.mongodb };
        let (name, own) = match model {
            "row" => (self.own.name.clone(), bson::doc! { "company_id": "k" }),
            _ => (format!("t_{slug}"), bson::doc! {}),
        };
        block_on(async {
            let client = mongodb::Client::with_uri_str(uri).await.expect("a client");
            client.database(&name).collection::<bson::Document>("carts").count_documents(own).await.expect("a count")
        })
    }

    fn fill(&self, model: &str) -> String {
        let own = &self.own;
        let (slug, other) = (own.slug("k"), own.slug("o"));
        for (key, slug, base) in [("k", &slug, 0), ("o", &other, 100)] {
            own.create(key, &["--slug", slug, "--no-credentials"]);
            let rows = match model {
                "row" => format!("INSERT INTO sale SELECT {base} + n, '{key}', n FROM generate_series(1, 50) n"),
                "schema" => format!("INSERT INTO t_{slug}.sale SELECT n, n FROM generate_series(1, 50) n"),
                _ => "INSERT INTO sale SELECT n, n FROM generate_series(1, 50) n".to_owned(),
            };
            sql(&self.postgres(model, slug, false), &rows).expect("rows");
            let name = if model == "row" { own.name.clone() } else { format!("t_{slug}") };
            block_on(async {
                let client = mongodb::Client::with_uri_str(&own.mongodb).await.expect("a client");
                let documents = (0..30).map(|n| bson::doc! { "_id": format!("{key}{n}"), "company_id": key, "n": n });
                client.database(&name).collection("carts").insert_many(documents).await.expect("documents");
            });
            own.redis(&["SET", &format!("{}{{{slug}}}:x", own.prefix), "1"]);
        }
        slug
    }

    /// All of it is at one place, and nothing at the other: rows, documents, roles, users, ledgers.
    fn is_at(&self, model: &str, slug: &str, place: &str, note: &str) {
        let is_away = place == "eu";
        let table = match model {
            "row" => "sale WHERE company_id = 'k'".to_owned(),
            "schema" => format!("t_{slug}.sale"),
            _ => "sale".to_owned(),
        };
        let count = |url: &str| sql(url, &format!("SELECT count(*) FROM {table}"));
        let there = count(&self.postgres(model, slug, is_away)).unwrap_or_else(|error| panic!("{note}: {error}"));
        assert_eq!(there[0][0].as_deref(), Some("50"), "{note}");
        match count(&self.postgres(model, slug, !is_away)) {
            Ok(left) => assert_eq!((left[0][0].as_deref(), model), (Some("0"), "row"), "{note}"),
            Err(_) => assert_ne!(model, "row", "{note}"),
        }
        assert_eq!((self.carts(model, slug, is_away), self.carts(model, slug, !is_away)), (30, 0), "{note}");
        let record = "SELECT state || ' ' || shard || ' ' || step FROM lyrox.tenants WHERE key = 'k'";
        let shard = if is_away { "postgres=eu,mongodb=eu" } else { "" };
        assert_eq!(self.own.sql_value(record), format!("active {shard} "), "{note}");
        if model != "row" {
            let roles = format!("SELECT count(*) FROM pg_roles WHERE rolname = 't_{slug}'");
            let at = |url: &str| sql(url, &roles).expect("a count")[0][0].clone().expect("a number");
            let whole = (at(&self.own.postgres), at(&self.eu.0));
            let wanted = if is_away { ("0", "1") } else { ("1", "0") };
            assert_eq!((whole.0.as_str(), whole.1.as_str()), wanted, "{note}: roles");
            let users = |uri: &str| {
                block_on(async {
                    let client = mongodb::Client::with_uri_str(uri).await.expect("a client");
                    let asked = client.database(&format!("t_{slug}")).run_command(bson::doc! { "usersInfo": 1 }).await;
                    asked.expect("users").get_array("users").expect("a list").len()
                })
            };
            let wanted = if is_away { (0, 1) } else { (1, 0) };
            assert_eq!((users(&self.own.mongodb), users(&self.eu.1)), wanted, "{note}: users");
        }
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        for tenant in ["k", "o"] {
            let _ = self.own.lyrox(&["-q", "tenant", "delete", tenant, "--confirm", &self.own.slug(tenant)]);
        }
        let _ = sql(&second().postgres, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.own.name));
    }
}

fn between_servers(model: &str) {
    let there = Two::new(&format!("tb_m2_{}", &model[..1]), model);
    let own = &there.own;
    let slug = there.fill(model);
    own.export("k", "a.lyrox").says("sale").says("carts");
    own.export("o", "o.lyrox");
    own.lyrox(&["tenant", "move", "k", "--to", "eu", "--credentials", "eu.ndjson"]).ok().says("80 rows and documents");
    there.is_at(model, &slug, "eu", "moved");
    own.export("k", "b.lyrox");
    same_bundles(own, "a.lyrox", "b.lyrox", "at the shard");
    if model != "row" {
        let login = own.login("eu.ndjson", "k", StoreKind::Postgres);
        assert_eq!(sql(&login, "SELECT count(*) FROM sale").expect("its own rows")[0][0].as_deref(), Some("50"));
        let login = own.login("eu.ndjson", "k", StoreKind::Mongodb);
        own.mongo_as(&login, &format!("t_{slug}"), bson::doc! { "find": "carts" }).expect("its own documents");
    }
    if model != "row" {
        own.lyrox(&["tenant", "verify", "--all"]).ok().says("no leak");
    }
    own.lyrox(&["tenant", "move", "k", "--to", "home", "--no-credentials"]).ok();
    there.is_at(model, &slug, "home", "back");
    // Killed at each step, and finished by the same command.
    for (number, point) in POINTS.into_iter().chain(["taken.mongodb"]).enumerate() {
        let to = if number % 2 == 0 { "eu" } else { "home" };
        let arguments = ["tenant", "move", "k", "--to", to, "--no-credentials"];
        let output = own.command(&arguments).env("LYROX_TEST_KILL", point).output().expect("lyrox");
        assert_eq!(Output::new(&arguments, &output).code, 137, "{model}, {point}");
        own.lyrox(&arguments).ok();
        there.is_at(model, &slug, to, &format!("{model}, killed at {point}"));
        let file = format!("{point}.lyrox");
        own.export("k", &file);
        same_bundles(own, "a.lyrox", &file, point);
    }
    own.export("o", "p.lyrox");
    same_bundles(own, "o.lyrox", "p.lyrox", "the other tenant");
}

#[test]
fn rows_and_documents_move_between_two_servers() {
    between_servers("row");
}

#[test]
fn a_schema_and_its_documents_move_between_two_servers() {
    between_servers("schema");
}

#[test]
fn a_database_and_its_documents_move_between_two_servers() {
    between_servers("database");
}
