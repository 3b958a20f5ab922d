//! Redis Cluster with three real masters: what a project does, and what tenants do.

use lyrox::kind::StoreKind;

use super::bundle::{same, same_bundles, unpacked};
use super::{Own, SHOP};
use crate::support::Project;
use crate::support::cluster::{Cluster, cluster};

/// A project whose Redis is the cluster.
fn project(name: &str, tenancy: &str) -> (Own, &'static Cluster) {
    let there = cluster();
    let mut project = Project::new(name, tenancy);
    project.redis.clone_from(&there.url);
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("lyrox.toml");
    let spaces = "[redis.keyspaces.sessions]\npattern = \"session:{id}\"\ntype = \"hash\"\nttl = \"24h\"\n[redis.channels]\nall = [\"sold\"]\n";
    project.write("lyrox.toml", &text.replacen(tenancy, &format!("{spaces}{tenancy}"), 1));
    let env =
        format!("DATABASE_URL='{}'\nMONGODB_URI='{}'\nREDIS_URL='{}'\n", project.postgres, project.mongodb, there.url);
    project.write(".env", &env);
    project.write(
        "migrations/1_core.up.redis",
        "SET {{prefix}}config:version 1\nSADD {{prefix}}tags a b c\nHSET {{prefix}}limits free 10\nSET {{prefix}}x 1\nSET {{prefix}}y 2\n",
    );
    project.write(
        "migrations/1_core.down.redis",
        "DEL {{prefix}}config:version\nDEL {{prefix}}tags\nDEL {{prefix}}limits\nDEL {{prefix}}x\nDEL {{prefix}}y\n",
    );
    project.write(
        "seeds/dev/redis/sessions.toml",
        &(0..30).map(|n| format!("[rows.s{n}]\nid = \"{n}\"\nvalue = {{ user = \"u{n}\" }}\n")).collect::<String>(),
    );
    (Own(project), there)
}

fn tenant_files(own: &Own) {
    own.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY);");
    own.write("migrations/tenant/1_own.up.redis", "HSET {{prefix}}settings currency EUR\nSADD {{prefix}}flags new\n");
    own.write("seeds/tenant/redis/welcome.redis", "SET {{prefix}}welcome hello\n");
}

#[test]
fn a_project_on_three_masters_is_checked_migrated_seeded_tested_and_reset() {
    let (own, there) = project("cl_project", "");
    own.write("migrations/1_core.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
    own.lyrox(&["check", "--only", "redis"]).ok().says("cluster");
    own.lyrox(&["db", "migrate"]).ok();
    own.lyrox(&["db", "seed"]).ok().says("30 created");
    own.lyrox(&["db", "seed"]).ok().says("30 unchanged");
    let keys = there.keys(&format!("{}session:*", own.prefix));
    assert_eq!(keys.iter().map(Vec::len).sum::<usize>(), 30);
    assert!(keys.iter().all(|keys| !keys.is_empty()), "every master holds some: {keys:?}");
    own.lyrox(&["db", "smoke-test"]).ok().says("A user stays within its keys").says("attempts refused");
    own.lyrox(&["db", "diff"]).ok();
    own.lyrox(&["db", "status", "--check"]).ok();
    own.lyrox(&["db", "rollback", "--yes", "--only", "redis"]).ok();
    assert!(there.keys(&format!("{}config:version", own.prefix)).iter().all(Vec::is_empty));
    own.lyrox(&["db", "migrate"]).ok();
    // Keys of another prefix stay; the project's go from every master and come back.
    there.each(&["CLUSTER", "INFO"]);
    own.lyrox(&["query", "--write", "redis", &format!("SET other:{} 1", own.name)]).ok();
    own.lyrox(&["query", "--write", "redis", &format!("SET {}stray 1", own.prefix)]).ok();
    own.lyrox(&["db", "reset", "--confirm", &own.name, "--no-seed"]).ok();
    let left: Vec<String> = there.keys(&format!("{}*", own.prefix)).concat();
    assert!(left.iter().any(|key| key.ends_with("config:version")), "{left:?}");
    assert!(!left.iter().any(|key| key.contains("session:") || key.contains("stray")), "{left:?}");
    assert_eq!(there.keys(&format!("other:{}", own.name)).concat().len(), 1);
    own.lyrox(&["query", "--write", "redis", &format!("DEL other:{}", own.name)]).ok();
}

#[test]
fn a_tenant_on_three_masters_is_made_and_proved_apart() {
    let (own, there) = project("cl_schema", "[tenancy]\nmodel = \"schema\"\n");
    tenant_files(&own);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let slugs: Vec<String> = (0..6).map(|n| own.slug(&format!("n{n}"))).collect();
    for slug in &slugs {
        own.create(slug, &["--slug", slug, "--credentials", &format!("{slug}.ndjson")]);
    }
    // A tenant's keys are all on one master, its user is on all of them, and the tenants are on several.
    let mut holders = std::collections::BTreeSet::new();
    for slug in &slugs {
        let keys = there.keys(&format!("{}{{{slug}}}:*", own.prefix));
        let at: Vec<usize> = (0..3).filter(|node| !keys[*node].is_empty()).collect();
        assert_eq!(at.len(), 1, "{slug}: {keys:?}");
        holders.extend(at);
        let user = format!("t_{slug}");
        for reply in there.each(&["ACL", "GETUSER", &user]) {
            assert_ne!(reply, redis::Value::Nil, "{user}");
        }
    }
    assert!(holders.len() > 1, "six tenants, and one master has them all");
    let proved = own.lyrox(&["tenant", "verify", "--all"]);
    proved.ok().says("A user with a tenant's rules logged in").says("no leak").never_says("not tried");
    // A login reaches its own keys wherever they are, and no other's.
    let login = own.login(&format!("{}.ndjson", slugs[0]), &slugs[0], StoreKind::Redis);
    let get = |slug: &str| {
        let client = redis::cluster::ClusterClient::new([login.as_str()]).expect("a client");
        crate::support::block_on(async {
            let mut connection = client.get_async_connection().await.map_err(|error| error.to_string())?;
            let key = format!("{}{{{slug}}}:welcome", own.prefix);
            redis::cmd("GET").arg(key).query_async::<String>(&mut connection).await.map_err(|error| error.to_string())
        })
    };
    assert_eq!(get(&slugs[0]).as_deref(), Ok("hello"));
    for other in &slugs[1..] {
        assert!(get(other).is_err_and(|why| why.contains("NOPERM") || why.contains("ermission")), "{other}");
    }
    // A user that reaches its neighbour's keys is found; new passwords bring its rules back too.
    let user = format!("t_{}", slugs[1]);
    there.each(&["ACL", "SETUSER", &user, &format!("~{}{{{}}}:*", own.prefix, slugs[2])]);
    own.lyrox(&["tenant", "verify", "--all"]).exit(1).says(&format!("user {user}"));
    own.lyrox(&["tenant", "credentials", &slugs[1], "--credentials", "again.ndjson"]).ok();
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    // A reset is the project's: tenants with places of their own keep theirs.
    own.lyrox(&["db", "reset", "--confirm", &own.name, "--no-seed"]).ok();
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    assert_eq!(get(&slugs[0]).as_deref(), Ok("hello"));
}

#[test]
fn tenants_of_shared_tables_go_with_a_reset_from_every_master() {
    let tenancy = super::ROW;
    let (own, there) = project("cl_row", tenancy);
    own.write("migrations/1_core.up.sql", SHOP);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let list: String = (0..40).map(|n| format!("{}\n", own.slug(&format!("k{n}")))).collect();
    own.write("all.csv", &format!("key\n{list}"));
    own.lyrox(&["tenant", "create", "--from-file", "all.csv", "--no-credentials"]).ok().says("40 created");
    let count = || {
        let names = there.each(&["ACL", "USERS"]).into_iter().map(redis::from_redis_value::<Vec<String>>);
        let own = format!("t_{}", own.name);
        names
            .map(|names| names.expect("names").iter().filter(|name| name.starts_with(&own)).count())
            .collect::<Vec<_>>()
    };
    assert_eq!(count(), [40, 40, 40]);
    own.lyrox(&["db", "reset", "--confirm", &own.name, "--no-seed"]).ok();
    assert_eq!(count(), [0, 0, 0]);
    own.lyrox(&["tenant", "list"]).ok().says("0 tenants");
}

/// Keys of every type below a tenant's prefix.
fn fill(own: &Own, there: &Cluster, slug: &str) {
    let key = |name: &str| format!("{}{{{slug}}}:{name}", own.prefix);
    there.run(&["SET", &key("until"), "soon", "PXAT", "4102444800123"]);
    there.run(&["RPUSH", &key("list"), "b", "a", "b"]);
    there.run(&["ZADD", &key("board"), "1.5", "x", "-inf", "y"]);
    there.run(&["SADD", &key("tags"), "one", "two", slug]);
    there.run(&["XADD", &key("log"), "5-1", "what", "began"]);
    for n in 0..300 {
        there.run(&["HSET", &key(&format!("cart:{n}")), "at", &n.to_string()]);
    }
}

/// Which master has a tenant's keys.
fn holder(there: &Cluster, pattern: &str) -> usize {
    let keys = there.keys(pattern);
    let at: Vec<usize> = (0..3).filter(|master| !keys[*master].is_empty()).collect();
    assert_eq!(at.len(), 1, "{pattern}: {keys:?}");
    at[0]
}

fn has_nothing(there: &Cluster, pattern: &str, user: &str, note: &str) {
    let left: Vec<String> = there.keys(pattern).concat();
    assert!(left.is_empty(), "{note}: {left:?}");
    assert_eq!(there.each(&["ACL", "GETUSER", user]), vec![redis::Value::Nil; 3], "{note}");
}

#[test]
fn a_tenant_on_three_masters_goes_out_away_and_in_again() {
    let (own, there) = project("cl_out", "[tenancy]\nmodel = \"schema\"\n");
    tenant_files(&own);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let (one, two) = (own.slug("one"), own.slug("two"));
    for (key, slug) in [("one", &one), ("two", &two)] {
        own.create(key, &["--slug", slug, "--no-credentials"]);
        fill(&own, there, slug);
    }
    own.sql(&format!("INSERT INTO t_{one}.sale VALUES (1), (2)"));
    let (pattern, user) = (format!("{}{{{one}}}:*", own.prefix), format!("t_{one}"));
    let others = || there.dumps(&format!("{}{{{two}}}:*", own.prefix)).into_iter().map(|(key, dump)| key + &dump);
    let before: Vec<String> = others().collect();
    own.export("one", "a.lyrox").says("keys");
    // 300 carts, five others, and what the migration and the seeds made: settings, flags, welcome.
    let lines = unpacked(&own, "a.lyrox");
    let keys = lines.iter().find(|(name, _)| name.contains("redis")).expect("a part of Redis").1;
    assert_eq!(keys.lines().count(), 308, "{:?}", lines.keys());
    own.lyrox(&["tenant", "delete", "one", "--dry-run"]).ok().says("308");
    own.delete("one", &one);
    has_nothing(there, &pattern, &user, "removed");
    same(&others().collect::<Vec<_>>(), &before, "the other tenant after the removal");

    own.import("a.lyrox", &[]);
    own.export("one", "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "taken in again");
    own.lyrox(&["tenant", "verify", "--all"]).ok().says("no leak");
    // A removal that was cut short between two masters left the user on one of them; keys are found on whichever they are.
    for left in 0..3 {
        for gone in (0..3).filter(|master| *master != left) {
            there.at(gone, &["ACL", "DELUSER", &user]).expect("gone");
        }
        own.lyrox(&["tenant", "verify", "one"]).exit(1).says(&format!("user {user} in Redis"));
        own.delete("one", &one);
        has_nothing(there, &pattern, &user, &format!("the user was on master {left} alone"));
        own.import("a.lyrox", &[]);
    }
    // Rules that are wider on one master than on the others are a leak, whichever it is.
    for master in 0..3 {
        there.at(master, &["ACL", "SETUSER", &user, "%R~*"]).expect("a leak");
        own.lyrox(&["tenant", "verify", "one"]).exit(1).says("leak").says("reaches another tenant's keys");
        own.lyrox(&["tenant", "credentials", "one", "--credentials", &format!("{master}.ndjson")]).ok();
        own.lyrox(&["tenant", "verify", "--all"]).ok();
    }
    // Killed at each step of a removal: the next one leaves nothing on any master.
    for point in ["deleting", "shut_out", "taken.redis", "taken.postgres", "proved", "copies"] {
        let arguments = ["tenant", "delete", "one", "--confirm", &one];
        let killed = own.command(&arguments).env("LYROX_TEST_KILL", point).output().expect("lyrox");
        assert_eq!(crate::support::Output::new(&arguments, &killed).code, 137, "{point}");
        own.delete("one", &one);
        has_nothing(there, &pattern, &user, point);
        own.import("a.lyrox", &[]);
    }
    own.export("one", "c.lyrox");
    same_bundles(&own, "a.lyrox", "c.lyrox", "after all of it");
    same(&others().collect::<Vec<_>>(), &before, "the other tenant after all of it");
}

#[test]
fn a_slot_that_is_on_its_way_to_another_master_takes_no_key_with_it() {
    let (own, there) = project("cl_slot", "[tenancy]\nmodel = \"schema\"\n");
    tenant_files(&own);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let one = own.slug("one");
    own.create("one", &["--slug", &one, "--no-credentials"]);
    fill(&own, there, &one);
    let (pattern, user) = (format!("{}{{{one}}}:*", own.prefix), format!("t_{one}"));
    own.export("one", "a.lyrox");
    let from = holder(there, &pattern);
    let to = (from + 1) % 3;
    let slot = there.run(&["CLUSTER", "KEYSLOT", &format!("{{{one}}}")]);
    let slot = redis::from_redis_value::<u16>(slot).expect("a slot");
    let some: Vec<String> = there.keys(&pattern)[from].iter().step_by(2).cloned().collect();
    there.begin_moving(slot, from, to, &some);
    assert!(there.keys(&pattern).iter().filter(|keys| keys.len() > 100).count() == 2, "half of them on each");
    own.export("one", "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "while the slot moves");
    // The ledger is read with several keys at once, which a server puts off while some of them are elsewhere: what is not
    // done then is said, and done afterwards.
    let arguments = ["tenant", "delete", "one", "--confirm", &one];
    let removal = own.lyrox(&arguments);
    there.end_moving(slot, from, to);
    if removal.code != 0 {
        own.export("one", "c.lyrox");
        same_bundles(&own, "a.lyrox", "c.lyrox", "after a removal that was refused");
        own.lyrox(&arguments).ok();
    }
    has_nothing(there, &pattern, &user, "removed");
    own.import("a.lyrox", &[]);
    assert_eq!(holder(there, &pattern), to);
    own.export("one", "c.lyrox");
    same_bundles(&own, "a.lyrox", "c.lyrox", "at its new master");
    own.delete("one", &one);
    has_nothing(there, &pattern, &user, "removed from its new master");
}

#[test]
fn keys_of_shared_key_spaces_are_told_apart_on_every_master() {
    let spaces = "[redis.keyspaces.carts]\npattern = \"cart:{company_id}:{id}\"\ntype = \"string\"\n\
                  [redis.keyspaces.logins]\npattern = \"login:{id}\"\ntype = \"hash\"\ntenant = \"company_id\"\n";
    // The keys of the project's migration are its own, whichever master has them: they stop no export.
    let (own, there) = project("cl_space", &format!("{spaces}{}", super::ROW));
    own.write("migrations/1_core.up.sql", SHOP);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let slugs = [own.slug("one"), own.slug("two")];
    for (at, slug) in slugs.iter().enumerate() {
        own.create(slug, &["--no-credentials"]);
        own.sql(&format!("INSERT INTO sale VALUES ({at}, '{slug}', 1)"));
        for n in 0..60 {
            there.run(&["SET", &format!("{}cart:{slug}:{n}", own.prefix), "1", "PXAT", "4102444800123"]);
            there.run(&["HSET", &format!("{}login:{at}{n}", own.prefix), "company_id", slug, "n", "1"]);
        }
    }
    let held = there.keys(&format!("{}cart:{}:*", own.prefix, slugs[0]));
    assert!(held.iter().all(|keys| !keys.is_empty()), "every master has some: {held:?}");
    let others = || {
        let all = [format!("{}cart:{}:*", own.prefix, slugs[1]), format!("{}login:1*", own.prefix)];
        all.into_iter().flat_map(|pattern| there.dumps(&pattern)).map(|(key, dump)| key + &dump)
    };
    let before: Vec<String> = others().collect();
    assert_eq!(before.len(), 120);
    own.export(&slugs[0], "a.lyrox").says("carts").says("logins");
    own.delete(&slugs[0], &slugs[0]);
    has_nothing(there, &format!("{}cart:{}:*", own.prefix, slugs[0]), &format!("t_{}", slugs[0]), "removed");
    assert!(there.keys(&format!("{}login:0*", own.prefix)).concat().is_empty());
    same(&others().collect::<Vec<_>>(), &before, "the other tenant after the removal");
    own.import("a.lyrox", &[]);
    own.export(&slugs[0], "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "taken in again");
    same(&others().collect::<Vec<_>>(), &before, "the other tenant after the import");
}
