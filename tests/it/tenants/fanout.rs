//! Work over many tenants: each stands or falls alone, a kill loses nothing, processes share a run.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::Own;
use crate::promises::{figure, is_soak, locks, place, rounds, start, wait_until};
use crate::support::{Output, Project, sql};

/// A project with schemas in PostgreSQL alone and no users, and so many tenants to whom nothing is applied yet.
fn many(name: &str, count: u32) -> Own {
    let own = Own(Project::new(name, ""));
    let text =
        format!("[project]\nname = \"{}\"\n[postgres]\n[tenancy]\nmodel = \"schema\"\nusers = false\n", own.name);
    own.write("lyrox.toml", &text);
    own.write("migrations/1_shared.up.sql", "CREATE TABLE plan (name text PRIMARY KEY);");
    own.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY, total int);");
    own.lyrox(&["-q", "db", "migrate"]).ok();
    own.lyrox(&["-q", "tenant", "create", "first", "--no-credentials"]).ok();
    own.sql(&format!(
        "DO $$ BEGIN FOR i IN 2..{count} LOOP \
         EXECUTE 'CREATE SCHEMA t_n' || i; EXECUTE 'COMMENT ON SCHEMA t_n' || i || ' IS ''lyrox: a tenant of {0}'''; END LOOP; \
         INSERT INTO lyrox.tenants (project, key, slug, model, state, actor, lyrox) \
         SELECT '{0}', 'n' || i, 'n' || i, 'schema', 'active', 'test', '0' FROM generate_series(2, {count}) i; END $$",
        own.name
    ));
    own
}

/// How often each version was applied to each tenant, as the log of events has it: `most often, how many, in all`.
fn applied(own: &Own, version: &str) -> String {
    own.sql_value(&format!(
        "SELECT max(n) || ', ' || count(*) || ', ' || sum(n) FROM (SELECT count(*) AS n FROM lyrox.events \
         WHERE what = 'applied' AND version = '{version}' AND tenant <> '' GROUP BY tenant) e"
    ))
}

/// Everything passes, each way so much later.
pub fn slow(server: String, one_way: Duration) -> u16 {
    fn pump(mut from: TcpStream, mut to: TcpStream, later: Duration) {
        let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
        std::thread::spawn(move || {
            while let Ok((due, data)) = receiver.recv() {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.write_all(&data).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
        });
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + later, buffer[..count].to_vec())).is_err() {
                break;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(&server) else { continue };
            let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
            let (back, forth) = (client.try_clone().expect("a socket"), upstream.try_clone().expect("a socket"));
            std::thread::spawn(move || pump(client, forth, one_way));
            std::thread::spawn(move || pump(upstream, back, one_way));
        }
    });
    port
}

/// The command as it would run on a machine that is 5 ms away from the server.
pub fn distant(own: &Own, port: u16, arguments: &[&str]) -> std::process::Command {
    let url = own.postgres.replace(&place(own), &format!("127.0.0.1:{port}"));
    let mut command = own.command(arguments);
    command.env("DATABASE_URL", url).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

const ALL: [&str; 6] = ["db", "migrate", "--tenants", "all", "--jobs", "1"];

/// P11. The stated number is 200 tenants.
#[test]
fn one_that_fails_keeps_nobody_and_is_the_only_one_to_be_tried_again() {
    let count = rounds(40, 200);
    let own = many("tn_poison", count);
    own.lyrox(&["-q", "db", "migrate", "--tenants", "all"]).ok();
    own.sql("INSERT INTO t_n17.sale VALUES (1, 0)");
    own.write("migrations/tenant/2_div.up.sql", "CREATE TABLE more AS SELECT 1 / total AS x FROM sale;");
    let run = own.lyrox(&["--output", "json", "db", "migrate", "--tenants", "all"]);
    let report = run.exit(7).json();
    let failed: Vec<_> =
        report["items"].as_array().expect("items").iter().filter(|item| item["outcome"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{run}");
    assert_eq!((failed[0]["tenant"].as_str(), failed[0]["code"].as_str()), (Some("n17"), Some("LYX-MIGRATION-FAILED")));
    assert_eq!(report["data"]["done"], count - 1);
    assert_eq!(applied(&own, "2"), format!("1, {0}, {0}", count - 1));
    assert_eq!(
        own.sql_value("SELECT count(*) FROM pg_class WHERE relname = 'more' AND relkind = 'r'"),
        (count - 1).to_string()
    );
    let before = own.sql_value("SELECT max(id) FROM lyrox.events");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--only-failed"]).exit(7).says("1 tenant: 1 failed");
    own.sql("UPDATE t_n17.sale SET total = 1");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says(&format!("{} up to date", count - 1));
    // What happened since then happened to one tenant, and one unit was opened.
    let since = format!("SELECT string_agg(DISTINCT tenant, ',') FROM lyrox.events WHERE id > {before}");
    assert_eq!(own.sql_value(&since), "n17");
    let units = "SELECT count(*) || ' ' || max(u.key) FROM lyrox.tenant_units u WHERE u.run = \
                 (SELECT id FROM lyrox.tenant_runs ORDER BY started_at DESC LIMIT 1)";
    assert_eq!(own.sql_value(units), "1 n17");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--only-failed"]).ok().says("0 tenants");
}

/// Two machines, each 5 ms away. The stated number is 300 tenants, and at most 0.6 of the time of one.
#[test]
fn two_processes_share_a_run_and_each_tenant_is_worked_in_once() {
    let count = rounds(60, 300);
    let own = many("tn_two", count);
    let port = slow(place(&own), Duration::from_micros(2500));
    let measured = |processes: usize| {
        let begun = Instant::now();
        let runs: Vec<_> = (0..processes).map(|_| distant(&own, port, &ALL).spawn().expect("lyrox")).collect();
        let ends: Vec<Output> =
            runs.into_iter().map(|run| Output::new(&ALL, &run.wait_with_output().expect("an end"))).collect();
        for end in &ends {
            end.ok();
        }
        (begun.elapsed(), ends)
    };
    let (alone, _) = measured(1);
    assert_eq!(applied(&own, "1"), format!("1, {count}, {count}"));
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int PRIMARY KEY, total int);");
    let (_, _) = measured(1);
    own.write("migrations/tenant/3_more.up.sql", "CREATE TABLE third (id int PRIMARY KEY, total int);");
    let (one, _) = measured(1);
    own.write("migrations/tenant/4_more.up.sql", "CREATE TABLE fourth (id int PRIMARY KEY, total int);");
    let (two, ends) = measured(2);
    assert_eq!(applied(&own, "4"), format!("1, {count}, {count}"));
    let run = "(SELECT id FROM lyrox.tenant_runs ORDER BY started_at DESC LIMIT 1)";
    let units = own.sql_value(&format!(
        "SELECT count(*) || ' units, ' || sum(attempts) || ' attempts, ' || count(DISTINCT owner) || ' owners' \
         FROM lyrox.tenant_units WHERE run = {run}"
    ));
    assert_eq!(units, format!("{count} units, {count} attempts, 2 owners"), "{}\n{}", ends[0], ends[1]);
    let ratio = two.as_secs_f64() / one.as_secs_f64();
    figure("two processes", format!("{count} tenants: first {alone:?}, one {one:?}, two {two:?}: {ratio:.2}"));
    // A busy machine tells nothing of time.
    assert!(ratio <= if is_soak() { 0.6 } else { 0.9 }, "{two:?} beside {one:?}");
}

#[test]
fn where_one_process_is_killed_the_other_finishes() {
    let count = rounds(60, 300);
    let own = many("tn_killed", count);
    own.write("migrations/tenant/2_slow.up.sql", "CREATE TABLE slow AS SELECT 1 AS x FROM pg_sleep(0.02);");
    let doomed = start(&own, &ALL);
    let half = format!("SELECT count(*) >= {} FROM lyrox.tenant_units WHERE state = 'done'", count / 4);
    let is_there = "SELECT to_regclass('lyrox.tenant_units') IS NOT NULL";
    wait_until(Duration::from_secs(60), "a run", || {
        own.sql_value(is_there) == "true" || own.sql_value(is_there) == "t"
    });
    let other = start(&own, &ALL);
    wait_until(Duration::from_secs(120), "half of it", || own.sql_value(&half).starts_with('t'));
    doomed.kill();
    let end = other.end();
    end.ok();
    assert_eq!(applied(&own, "2"), format!("1, {count}, {count}"), "{end}");
    let left = "SELECT count(*) FROM lyrox.tenant_units WHERE state <> 'done'";
    assert_eq!(own.sql_value(left), "0");
    assert_eq!(own.sql_value("SELECT state FROM lyrox.tenant_runs ORDER BY started_at DESC LIMIT 1"), "done");
    assert_eq!(locks(&own), "0");
}

#[test]
fn a_run_that_is_killed_goes_on_where_it_stopped() {
    let own = many("tn_resume", 40);
    own.write("migrations/tenant/2_slow.up.sql", "CREATE TABLE slow AS SELECT 1 AS x FROM pg_sleep(0.03);");
    let doomed = start(&own, &["db", "migrate", "--tenants", "all", "--jobs", "3"]);
    let done = "SELECT count(DISTINCT tenant) FROM lyrox.events WHERE what = 'applied' AND version = '2'";
    wait_until(Duration::from_secs(60), "ten tenants", || own.sql_value(done).parse::<u32>().expect("a count") >= 10);
    doomed.kill();
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok();
    assert_eq!(applied(&own, "2"), "1, 40, 40");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("40 up to date");
}

#[test]
fn a_canary_that_fails_and_too_many_failures_stop_the_run() {
    let own = many("tn_canary", 12);
    own.lyrox(&["-q", "db", "migrate", "--tenants", "all"]).ok();
    own.write("migrations/tenant/2_div.up.sql", "CREATE TABLE more AS SELECT 1 / total AS x FROM sale;");
    // Sorted by key: first, n10, n11, n12, n2, ...
    own.sql("INSERT INTO t_first.sale VALUES (1, 0); INSERT INTO t_n11.sale VALUES (1, 0)");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--canary", "1", "--jobs", "4"])
        .exit(7)
        .says("1 failed, 11 not begun");
    own.sql("UPDATE t_first.sale SET total = 1; UPDATE t_n12.sale SET total = 1");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--canary", "2", "--max-failures", "0", "--jobs", "1"])
        .exit(7)
        .says("2 done, 1 failed, 9 not begun");
    own.sql("UPDATE t_n11.sale SET total = 1");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--wave", "4", "--jobs", "3"]).ok().says("10 done, 2 up to date");
    let waves = "SELECT string_agg(wave || ':' || n, ' ' ORDER BY wave) FROM (SELECT wave, count(*) n FROM lyrox.tenant_units \
                 WHERE run = (SELECT id FROM lyrox.tenant_runs ORDER BY started_at DESC LIMIT 1) GROUP BY wave) w";
    assert_eq!(own.sql_value(waves), "1:4 2:4 3:2");
    let order = "SELECT bool_and(began >= ended) FROM (SELECT min(started_at) AS began, \
                 lag(max(finished_at)) OVER (ORDER BY wave) AS ended FROM lyrox.tenant_units \
                 WHERE run = (SELECT id FROM lyrox.tenant_runs ORDER BY started_at DESC LIMIT 1) GROUP BY wave) w";
    assert!(own.sql_value(order).starts_with('t'), "a wave begins when the one before it has ended");
}

/// R19: the limit is the database's here; the server answers the same (53300) where it is its own.
#[test]
fn a_server_without_connections_left_means_fewer_workers_and_no_failure() {
    let count = rounds(40, 200);
    let own = many("tn_full", count);
    own.write("migrations/tenant/2_slow.up.sql", "CREATE TABLE slow AS SELECT 1 AS x FROM pg_sleep(0.01);");
    own.sql(&format!("ALTER DATABASE {} CONNECTION LIMIT 6", own.name));
    own.lyrox(&["db", "migrate", "--tenants", "all", "--jobs", "16"])
        .ok()
        .says("going on with")
        .says(&format!("{count} done"));
    own.sql(&format!("ALTER DATABASE {} CONNECTION LIMIT -1", own.name));
    assert_eq!(applied(&own, "2"), format!("1, {count}, {count}"));
}

#[test]
fn who_is_behind_is_one_question_whatever_their_number() {
    let trips = |count| {
        let own = many(&format!("tn_quiet{count}"), count);
        own.lyrox(&["-q", "db", "migrate", "--tenants", "all"]).ok();
        let run = own.lyrox(&["-v", "db", "migrate", "--tenants", "all"]);
        run.ok().says(&format!("{count} up to date"));
        let text = format!("{}{}", run.stdout, run.stderr);
        let at = text.find(" round trips").expect("round trips");
        text[..at].rsplit(' ').next().expect("a number").to_owned()
    };
    assert_eq!(trips(3), trips(30));
}

#[test]
fn tenants_that_are_not_complete_are_left_alone_and_named() {
    let own = many("tn_part", 5);
    own.sql("UPDATE lyrox.tenants SET state = 'pending' WHERE key = 'n2'; UPDATE lyrox.tenants SET state = 'deleting' WHERE key = 'n3'");
    own.lyrox(&["db", "migrate", "--tenants", "all"])
        .ok()
        .says("n2")
        .says("lyrox tenant create n2")
        .says("being removed")
        .says("2 done")
        .says("2 left alone");
    assert_eq!(applied(&own, "1"), "1, 3, 3");
    own.lyrox(&["db", "migrate", "--tenants", "nobody"]).exit(2).says("LYX-TENANT-UNKNOWN");
    own.lyrox(&["db", "migrate", "--canary", "1"]).exit(2).says("--tenants all");
    own.write("some.txt", "n4\n\nn5\n");
    own.lyrox(&["db", "migrate", "--tenants", "@some.txt"]).ok().says("2 tenants: 2 up to date");
}

#[test]
fn others_wait_while_tenants_are_worked_in_and_other_files_are_refused() {
    let own = many("tn_shared", 6);
    own.write("migrations/tenant/2_slow.up.sql", "CREATE TABLE slow AS SELECT 1 AS x FROM pg_sleep(0.8);");
    let run = start(&own, &["db", "migrate", "--tenants", "all", "--jobs", "1"]);
    wait_until(Duration::from_secs(60), "a tenant at work", || {
        own.sql_value("SELECT count(*) FROM lyrox.events WHERE what = 'applied' AND version = '2'") != "0"
    });
    own.write("migrations/2_shared.up.sql", "CREATE TABLE other ();");
    own.lyrox(&["db", "migrate", "--lock-wait", "0s"]).exit(5).says("LYX-LOCK-HELD");
    own.write("migrations/tenant/3_new.up.sql", "CREATE TABLE new ();");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).exit(5).says("other files");
    run.end().ok();
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok();
    assert_eq!(applied(&own, "2"), "1, 6, 6");
    assert_eq!(applied(&own, "3"), "1, 6, 6");
}

#[test]
fn every_store_is_worked_in_and_seeds_reach_each_tenant() {
    let own = Own::own_place("tn_fan3", "schema");
    let slugs = [own.slug("a"), own.slug("b"), own.slug("c")];
    for slug in &slugs {
        own.create(slug, &["--no-credentials"]);
    }
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int);");
    own.write("migrations/tenant/2_more.up.json", r#"[{ "create": "orders" }]"#);
    own.write("migrations/tenant/2_more.up.redis", "HSET {{prefix}}settings country PT\n");
    own.lyrox(&["db", "status", "--tenants", "all", "--check"]).exit(8).says("3 behind");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--jobs", "2"]).ok().says("3 migrations, now at 2");
    own.lyrox(&["db", "status", "--tenants", "all", "--check"]).ok().says("0 behind");
    for slug in &slugs {
        let key = format!("{}{{{slug}}}:settings", own.prefix);
        let redis::Value::BulkString(value) = own.redis(&["HGET", &key, "country"]) else { panic!("{key}") };
        assert_eq!(value, b"PT");
        let role = format!("SELECT has_table_privilege('t_{slug}', 't_{slug}.more', 'INSERT')");
        assert!(own.sql_value(&role).starts_with('t'), "its role may write to what is new");
    }
    own.sql(&format!("DELETE FROM t_{}.setting", slugs[1]));
    own.lyrox(&["db", "seed", "--tenants", "all", "--jobs", "2"]).ok().says("3 done");
    assert_eq!(own.sql_value(&format!("SELECT count(*) FROM t_{}.setting", slugs[1])), "1");
    own.lyrox(&["tenant", "list"]).ok().never_says("behind").never_says("skew");
    own.write("migrations/tenant/3_last.up.sql", "CREATE TABLE last (id int);");
    own.lyrox(&["-q", "db", "migrate", "--tenant", &slugs[0]]).ok();
    own.lyrox(&["tenant", "list"]).ok().says("version skew").says("1 tenant\n").says("2 tenants, behind");
}

#[test]
fn databases_of_their_own_are_worked_in_as_well() {
    let own = Own::own_place("tn_fandb", "database");
    let slugs = [own.slug("a"), own.slug("b")];
    for slug in &slugs {
        own.create(slug, &["--no-credentials"]);
    }
    own.write("migrations/tenant/2_more.up.sql", "CREATE TABLE more (id int);");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("2 done");
    for slug in &slugs {
        let url = own.postgres.replace(&format!("/{}", own.name), &format!("/t_{slug}"));
        sql(&url, "SELECT * FROM more").expect("the table");
    }
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("2 up to date");
}

/// The registry is MongoDB's, and one process works at a time.
#[test]
fn without_postgresql_tenants_are_worked_in_too() {
    let own = Own(Project::new("tn_fanmo", ""));
    own.write(
        "lyrox.toml",
        &format!(
            "[project]\nname = \"{0}\"\n[mongodb]\ndatabase = \"{0}\"\n[redis]\nkey_prefix = \"{1}\"\n[tenancy]\nmodel = \"schema\"\n",
            own.name, own.prefix
        ),
    );
    own.write("migrations/tenant/1_own.up.json", r#"[{ "create": "carts" }]"#);
    own.write("migrations/tenant/1_own.up.redis", "HSET {{prefix}}settings currency EUR\n");
    let slugs = [own.slug("a"), own.slug("b"), own.slug("c")];
    for slug in &slugs {
        own.create(slug, &["--no-credentials"]);
    }
    own.write("migrations/tenant/2_more.up.json", r#"[{ "create": "orders" }]"#);
    own.lyrox(&["db", "status", "--tenants", "all", "--check"]).exit(8).says("3 behind");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--canary", "1"]).ok().says("3 done");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("3 up to date");
    own.lyrox(&["db", "migrate", "--tenants", "all", "--only-failed"]).exit(2);
}

#[test]
fn tenants_of_shared_tables_have_no_migrations_of_their_own_and_can_be_seeded() {
    let own = Own::row("tn_fanrow");
    own.write("seeds/tenant/postgres/sale.toml", "key = [\"id\"]\n[rows.first]\nid = 1\ntotal = 5\n");
    own.lyrox(&["db", "migrate", "--tenants", "all"]).ok().says("they share the project's tables");
    own.remove("seeds/tenant/postgres/sale.toml");
    own.write("seeds/tenant/postgres/plan.toml", "key = [\"name\"]\n[rows.small]\nname = \"small\"\n");
    for name in ["a", "b", "c"] {
        own.create(&own.slug(name), &["--no-credentials"]);
    }
    own.sql("DELETE FROM plan");
    own.lyrox(&["db", "seed", "--tenants", "all"]).ok().says("3 done");
    assert_eq!(own.sql_value("SELECT count(*) FROM plan"), "1");
}

/// Every tenant's set has the same rows of tables that are all tenants': workers that write them at the same moment.
#[test]
fn workers_that_seed_what_is_everybodys_do_not_clash() {
    let own = Own::row("tn_global");
    own.sql("CREATE TABLE rate (code text PRIMARY KEY, plan text REFERENCES plan (name), percent int UNIQUE)");
    let toml = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    own.write("lyrox.toml", &toml.replace("global = [\"plan\"]", "global = [\"plan\", \"rate\", \"notes\"]"));
    let rows = |from: u32, make: &dyn Fn(u32) -> String| (from..from + 300).map(make).collect::<String>();
    let plans = rows(0, &|n| format!("[rows.p{n}]\nname = \"p{n}\"\n"));
    let rates = rows(0, &|n| format!("[rows.r{n}]\ncode = \"c{n}\"\nplan = \"p{n}\"\npercent = {n}\n"));
    for n in 0..12 {
        own.create(&own.slug(&format!("k{n}")), &["--no-credentials"]);
    }
    own.write("seeds/tenant/postgres/plan.toml", &format!("key = [\"name\"]\n{plans}"));
    own.write("seeds/tenant/postgres/rate.toml", &format!("key = [\"code\"]\n{rates}"));
    own.write("seeds/tenant/mongodb/notes.toml", &format!("key = [\"name\"]\n{plans}"));
    own.write("seeds/tenant/redis/welcome.redis", "SET {{prefix}}welcome hello\n");
    own.mongo(
        bson::doc! { "createIndexes": "notes", "indexes": [{ "key": { "name": 1 }, "name": "name", "unique": true }] },
    );
    for round in 0..rounds(4, 20) {
        own.sql("DELETE FROM rate; DELETE FROM plan");
        own.mongo(bson::doc! { "delete": "notes", "deletes": [{ "q": {}, "limit": 0 }] });
        let arguments = ["db", "seed", "--tenants", "all", "--jobs", "4"];
        let two = [start(&own, &arguments), start(&own, &arguments)];
        for end in two.map(crate::promises::Run::end) {
            end.ok().says("12 done");
        }
        assert_eq!(own.sql_value("SELECT count(*) FROM plan"), "300", "round {round}");
        assert_eq!(own.sql_value("SELECT count(*) FROM rate"), "300", "round {round}");
        assert_eq!(own.mongo(bson::doc! { "count": "notes" }).get_i32("n").expect("a count"), 300, "round {round}");
        // The next one changes some: updates of the same rows, in the order of the file.
        own.sql("UPDATE rate SET percent = percent + 1000");
        own.lyrox(&arguments).ok().says("12 done");
        assert_eq!(own.sql_value("SELECT max(percent) FROM rate"), "299", "round {round}");
    }
}
