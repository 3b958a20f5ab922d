//! Redis Cluster with three real masters: what a project does, and what tenants do.

use lyrox::kind::StoreKind;

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
    // A user that one master lacks, and one with too much: found.
    let user = format!("t_{}", slugs[1]);
    for pattern in ["~*", "&*"] {
        there.each(&["ACL", "SETUSER", &user, pattern]);
    }
    own.lyrox(&["tenant", "verify", "--all"]).exit(1).says(&format!("user {user}"));
    own.lyrox(&["tenant", "credentials", &slugs[1], "--credentials", "again.ndjson"]).ok();
    own.lyrox(&["tenant", "verify", "--all"]).ok();
    // A reset is the project's: tenants with places of their own keep theirs.
    own.lyrox(&["db", "reset", "--confirm", &own.name]).ok();
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
        let names =
            there.each(&["ACL", "USERS"]).into_iter().map(|value| redis::from_redis_value::<Vec<String>>(value));
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
