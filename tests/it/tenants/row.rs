//! The model `row`: shared tables.

use lyrox::kind::StoreKind;

use super::Own;
use crate::support::Project;

#[test]
fn a_tenant_is_made_in_every_store_and_again_changes_nothing() {
    let own = Own::row("tn_row");
    let slug = own.slug("a");
    let made = own.create("Acme & Sons", &["--slug", &slug, "--set", "name=Acme", "--credentials", "a.ndjson"]);
    made.says("row in company").says(&format!("user t_{slug}")).never_says("password");
    assert_eq!(own.state("Acme & Sons").as_deref(), Some("active"));
    assert_eq!(own.sql_value("SELECT name FROM company WHERE id = 'Acme & Sons'"), "Acme");
    let found =
        own.mongo(bson::doc! { "count": "lyrox_tenants", "query": { "_id.key": "Acme & Sons", "slug": &slug } });
    assert_eq!(found.get_i32("n").ok(), Some(1));
    let again = own.create("Acme & Sons", &["--no-credentials"]);
    again.says("unchanged");
    own.lyrox(&["tenant", "show", &slug]).ok().says("Acme & Sons").says("active");
    own.lyrox(&["tenant", "list"]).ok().says("Acme & Sons").says("1 tenant");
    let what = "SELECT string_agg(what, ',' ORDER BY id) FROM lyrox.events WHERE tenant = 'Acme & Sons'";
    assert_eq!(own.sql_value(what), "tenant pending,tenant active");
}

#[test]
fn the_redis_user_reaches_its_own_prefix_and_lists_nothing() {
    let own = Own::row("tn_acl");
    let (one, two) = (own.slug("one"), own.slug("two"));
    own.create("one", &["--slug", &one, "--credentials", "one.ndjson"]);
    own.create("two", &["--slug", &two, "--no-credentials"]);
    let url = own.login("one.ndjson", "one", StoreKind::Redis);
    let key = |slug: &str, name: &str| format!("{}{{{slug}}}:{name}", own.prefix);
    own.redis(&["SET", &key(&two, "secret"), "x"]);
    own.redis_as(&url, &["SET", &key(&one, "a"), "1"]).expect("its own key");
    own.redis_as(&url, &["PUBLISH", &key(&one, "news"), "1"]).expect("its own channel");
    own.redis_as(&url, &["EVAL", "return redis.call('GET', KEYS[1])", "1", &key(&one, "a")])
        .expect("a script of its own");
    let foreign = key(&two, "secret");
    let ledger = format!("{}lyrox:environment", own.prefix);
    for words in [
        vec!["GET", &foreign],
        vec!["SET", &foreign, "1"],
        vec!["COPY", &foreign, &key(&one, "b")],
        vec!["EXISTS", &foreign],
        vec!["TYPE", &foreign],
        vec!["MEMORY", "USAGE", &foreign],
        vec!["EVAL", "return redis.call('GET', ARGV[1])", "0", &foreign],
        vec!["PUBLISH", &key(&two, "news"), "1"],
        vec!["GET", &ledger],
        vec!["SCAN", "0"],
        vec!["KEYS", "*"],
        vec!["RANDOMKEY"],
        vec!["DBSIZE"],
        vec!["PUBSUB", "CHANNELS"],
        vec!["SCRIPT", "FLUSH"],
        vec!["FUNCTION", "LIST"],
        vec!["FUNCTION", "FLUSH"],
        vec!["SELECT", "1"],
        vec!["SWAPDB", "0", "1"],
        vec!["FLUSHDB"],
        vec!["MEMORY", "STATS"],
        vec!["CLIENT", "LIST"],
        vec!["CLIENT", "TRACKING", "ON", "BCAST"],
        vec!["CLUSTER", "GETKEYSINSLOT", "1", "1"],
        vec!["ACL", "LIST"],
        vec!["CONFIG", "GET", "*"],
        vec!["MONITOR"],
        vec!["INFO"],
    ] {
        let answer = own.redis_as(&url, &words);
        // A script is let in and stopped at the key.
        let is_refused = answer
            .as_ref()
            .is_err_and(|why| why.contains("NOPERM") || why.contains("ermission") || why.contains("can't access"));
        assert!(is_refused, "{words:?}: {answer:?}");
    }
}

#[test]
fn what_the_application_made_is_taken_in_and_stays_as_it_is() {
    let own = Own::row("tn_adopt");
    let slug = own.slug("x");
    own.sql(&format!("INSERT INTO company VALUES ('{slug}', 'theirs'), ('other', 'theirs too')"));
    own.lyrox(&["tenant", "list"]).ok().says("unmanaged").says("2 unmanaged");
    own.lyrox(&["tenant", "create", &slug, "--no-credentials"])
        .exit(6)
        .says("LYX-TENANT-CLASH")
        .says("lyrox tenant adopt");
    assert_eq!(own.state(&slug), None, "a refusal leaves no record");
    own.lyrox(&["tenant", "adopt", "nobody", "--no-credentials"]).exit(2).says("LYX-TENANT-UNKNOWN");
    own.lyrox(&["tenant", "adopt", &slug, "--no-credentials"]).ok();
    assert_eq!(own.state(&slug).as_deref(), Some("active"));
    assert_eq!(own.sql_value(&format!("SELECT name FROM company WHERE id = '{slug}'")), "theirs");
    assert_eq!(own.users(&format!("t_{slug}")).len(), 1);
    own.lyrox(&["tenant", "adopt", "--all", "--no-credentials"]).ok().says("1 taken in");
    own.lyrox(&["tenant", "list", "--state", "unmanaged"]).ok().says("0 tenants");
}

#[test]
fn passwords_have_a_place_to_go_or_nothing_is_done() {
    let own = Own::row("tn_cred");
    let slug = own.slug("a");
    own.lyrox(&["tenant", "create", &slug]).exit(2).says("LYX-CREDENTIALS");
    own.write("there.txt", "mine");
    own.lyrox(&["tenant", "create", &slug, "--credentials", "there.txt"]).exit(2).says("never overwritten");
    assert_eq!(std::fs::read_to_string(own.path("there.txt")).expect("a file"), "mine");
    assert_eq!(own.state(&slug), None);
    own.create(&slug, &["--credentials", "a.ndjson"]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(own.path("a.ndjson")).expect("a file"));
    assert_eq!(mode & 0o777, 0o600);
    own.lyrox(&["tenant", "create", &slug, "--credentials", "a.ndjson"]).exit(2).says("never overwritten");
    let old = own.login("a.ndjson", &slug, StoreKind::Redis);
    own.redis_as(&old, &["PING"]).expect("a login");
    let renewed = own.lyrox(&["tenant", "credentials", &slug, "--credentials", "b.ndjson", "--output", "json"]);
    renewed.ok();
    let new = own.login("b.ndjson", &slug, StoreKind::Redis);
    assert!(own.redis_as(&old, &["PING"]).is_err_and(|why| why.contains("login")), "the old password has ended");
    own.redis_as(&new, &["PING"]).expect("the new login");
    // Stored nowhere: not in the registry, the ledger, the output.
    let password = new.split(':').nth(2).and_then(|rest| rest.split('@').next()).expect("a password").to_owned();
    renewed.never_says(&password);
    let everything =
        "SELECT string_agg(t::text, '') || (SELECT string_agg(e::text, '') FROM lyrox.events e) FROM lyrox.tenants t";
    assert!(!own.sql_value(everything).contains(&password));
}

#[test]
fn what_is_refused_is_taken_back_and_the_next_run_makes_it() {
    let own = Own::row("tn_back");
    own.sql("ALTER TABLE company ADD CHECK (name <> 'bad')");
    let slug = own.slug("a");
    let run = own.lyrox(&["tenant", "create", &slug, "--set", "name=bad", "--no-credentials"]);
    run.exit(1).says("LYX-TENANT-FAILED").says("taken back");
    assert_eq!(own.state(&slug).as_deref(), Some("failed"));
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "0");
    assert!(own.users(&format!("t_{slug}")).is_empty());
    own.create(&slug, &["--set", "name=good", "--no-credentials"]);
    assert_eq!(own.state(&slug).as_deref(), Some("active"));
    // A user of that name that is another's is never touched.
    let taken = own.slug("b");
    own.redis(&["ACL", "SETUSER", &format!("t_{taken}"), "on", ">their-password", "~theirs:*", "+get"]);
    let clash = own.lyrox(&["tenant", "create", &taken, "--no-credentials"]);
    clash.exit(6).says("LYX-TENANT-CLASH").says("--slug");
    assert_eq!(own.state(&taken), None);
    let theirs = own.redis_as(
        &own.redis.replacen(
            own.redis.split("//").nth(1).and_then(|rest| rest.split('@').next()).expect("a login"),
            &format!("t_{taken}:their-password"),
            1,
        ),
        &["GET", "theirs:x"],
    );
    own.redis(&["ACL", "DELUSER", &format!("t_{taken}")]);
    theirs.expect("their user is as it was");
}

#[test]
fn many_tenants_come_from_a_file_and_a_bad_line_stops_only_itself() {
    let own = Own::row("tn_many");
    own.sql("ALTER TABLE company ADD CHECK (name <> 'bad')");
    let mut csv = String::from("key,slug,name\n");
    for number in 0..1203 {
        let name = if number == 700 { "bad" } else { "a, \"\"b\"\"" };
        csv.push_str(&format!("key {number},{},\"{name}\"\n", own.slug(&format!("n{number}"))));
    }
    csv.push_str(&format!("key 9999,{},x\n", own.slug("n1")));
    own.write("t.csv", &csv);
    let run = own.lyrox(&[
        "tenant",
        "create",
        "--from-file",
        "t.csv",
        "--credentials",
        "c.ndjson",
        "--jobs",
        "2",
        "--output",
        "json",
    ]);
    run.exit(7);
    assert_eq!(run.json()["data"], serde_json::json!({ "made": 1202, "unchanged": 0, "failed": 2, "planned": 0 }));
    assert_eq!(own.sql_value("SELECT count(*) FROM company WHERE name = 'a, \"b\"'"), "1202");
    assert_eq!(own.sql_value("SELECT count(*) FROM lyrox.tenants WHERE state = 'active'"), "1202");
    assert_eq!(own.users(&format!("t_{}_n", own.name)).len(), 1202);
    let logins = std::fs::read_to_string(own.path("c.ndjson")).expect("credentials");
    assert_eq!(logins.lines().count(), 1202 + 2);
    // Again: only what failed is tried.
    let mended =
        csv.replace("\"bad\"", "good").lines().filter(|line| !line.contains("9999")).collect::<Vec<_>>().join("\n");
    own.write("t.csv", &mended);
    let again = own.lyrox(&["tenant", "create", "--from-file", "t.csv", "--no-credentials", "--output", "json"]);
    again.ok();
    assert_eq!(again.json()["data"], serde_json::json!({ "made": 1, "unchanged": 1202, "failed": 0, "planned": 0 }));
}

#[test]
fn forced_policies_bind_the_owner_and_tenants_are_made_all_the_same() {
    let own = Own(Project::new("tn_forced", super::ROW));
    own.write("migrations/1_shop.up.sql", super::SHOP);
    own.write(
        "migrations/2_rls.up.sql",
        "ALTER TABLE company ENABLE ROW LEVEL SECURITY; ALTER TABLE company FORCE ROW LEVEL SECURITY;\n\
        CREATE POLICY own ON company USING (id = nullif(current_setting('app.tenant', true), ''));",
    );
    // An owner that no attribute lifts above the policies.
    let role = format!("{}_owner", own.name);
    own.sql(&format!("CREATE ROLE {role} LOGIN PASSWORD 'bound-owner' CREATEROLE; GRANT ALL ON DATABASE {} TO {role}; GRANT ALL ON SCHEMA public TO {role}", own.name));
    let address = own.postgres.rsplit_once('@').expect("a host").1.to_owned();
    own.write("lyrox.toml", &format!("[project]\nname = \"{}\"\n[postgres]\n{}", own.name, super::ROW));
    own.write(".env", &format!("DATABASE_URL=postgres://{role}:bound-owner@{address}\n"));
    own.lyrox(&["-q", "db", "migrate"]).ok();
    own.write("t.csv", "key,name\na,x\nb,y\nc,z\n");
    own.lyrox(&["tenant", "create", "--from-file", "t.csv"]).ok().says("3 created");
    own.create("a", &[]).says("unchanged");
    let bound = crate::support::sql(
        &format!("postgres://{role}:bound-owner@{address}"),
        "SET app.tenant = 'b'; SELECT name FROM company",
    );
    assert_eq!(bound.expect("rows")[0][0].as_deref(), Some("y"));
    own.sql(&format!(
        "GRANT {role} TO CURRENT_USER; REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"
    ));
}

#[test]
fn a_project_without_postgresql_keeps_the_registry_in_its_first_store() {
    for (name, sections) in [
        ("tn_mongo", "[mongodb]\ndatabase = \"{name}\"\n[redis]\nkey_prefix = \"{name}:\"\n"),
        ("tn_redis", "[redis]\nkey_prefix = \"{name}:\"\n"),
    ] {
        let own = Own(Project::new(name, ""));
        let sections = sections.replace("{name}", &own.name);
        own.write(
            "lyrox.toml",
            &format!("[project]\nname = \"{}\"\n{sections}[tenancy]\ncolumn = \"company\"\n", own.name),
        );
        let slug = own.slug("a");
        own.create("$where", &["--slug", &slug, "--no-credentials"]);
        own.create("$where", &["--no-credentials"]).says("unchanged");
        own.lyrox(&["tenant", "create", "other", "--slug", &slug, "--no-credentials"]).exit(6).says("LYX-TENANT-CLASH");
        own.lyrox(&["tenant", "list"]).ok().says("$where").says("active").says("1 tenant");
    }
}
