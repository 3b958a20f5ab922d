//! `lyrox check --tenants`: every tenant is reached, its time is told, and what is broken is named.

use serde_json::Value;

use crate::promises::{figure, rounds};
use crate::support::{Output, sql};
use crate::tenants::{Own, SHOP};

/// So many tenants, and their passwords in `cred`.
fn made(own: &Own, count: u32) -> Vec<String> {
    let keys: Vec<String> = (1..=count).map(|number| own.slug(&format!("n{number:03}"))).collect();
    own.write("keys.csv", &format!("key\n{}\n", keys.join("\n")));
    own.lyrox(&["-q", "tenant", "create", "--from-file", "keys.csv", "--jobs", "2", "--credentials", "cred"]).ok();
    keys
}

fn item<'a>(report: &'a Value, tenant: &str) -> &'a Value {
    let items = report["items"].as_array().expect("items");
    let of = |item: &&Value| item["tenant"] == tenant;
    items.iter().find(of).unwrap_or_else(|| panic!("no item of {tenant} in {report}"))
}

fn trips(output: &Output, store: &str) -> u32 {
    let (before, _) = output.stdout.split_once(&format!(" round trips to {store}")).expect("round trips");
    before.rsplit(|c: char| !c.is_ascii_digit()).next().expect("a number").parse().expect("a number")
}

/// P20. The stated number is 200 tenants.
#[test]
fn every_tenant_has_its_time_and_the_broken_one_is_named() {
    let count = rounds(24, 200);
    let own = Own::own_place("ct_many", "schema");
    let keys = made(&own, count);
    let good = own.lyrox(&["check", "--tenants", "all", "--output", "json"]);
    let report = good.ok().json();
    let (data, items) = (&report["data"]["tenants"], report["items"].as_array().expect("items"));
    let timed = items.iter().filter(|item| item["tenant"].is_string() && item["elapsed_ms"].is_u64()).count();
    assert_eq!((timed, &data["total"], &data["failed"]), (count as usize, &count.into(), &0.into()), "{good}");
    let times: Vec<f64> =
        data["each"].as_array().expect("each").iter().map(|each| each["ms"].as_f64().expect("milliseconds")).collect();
    assert!(times.iter().all(|ms| *ms > 0.0) && times.is_sorted_by(|a, b| a >= b), "the slowest first: {times:?}");
    assert_eq!(data["slowest_ms"].as_f64(), Some(times[0]));
    assert_eq!(data["each"][0]["stores"].as_object().expect("stores").len(), 3);
    figure(
        "check --tenants",
        format!("{count} tenants, median {}, slowest {} ms", data["median_ms"], data["slowest_ms"]),
    );

    // What one question tells is asked once: a tenant more is one round trip more to PostgreSQL.
    let all = own.lyrox(&["check", "--tenants", "all", "--jobs", "1", "-v"]);
    let one = own.lyrox(&["check", "--tenants", &keys[0], "--jobs", "1", "-v"]);
    assert_eq!(trips(all.ok(), "PostgreSQL") - trips(one.ok(), "PostgreSQL"), count - 1, "{one}\n{all}");
    assert_eq!(trips(&all, "Redis") - trips(&one, "Redis"), count - 1, "{one}\n{all}");
    assert!(all.stdout.lines().filter(|line| line.contains(&own.name)).count() >= count as usize, "-v names all");

    // Five ways to be broken, each of another tenant.
    let name = |at: usize| format!("t_{}", keys[at]);
    own.sql(&format!("DROP SCHEMA {} CASCADE", name(1)));
    own.sql(&format!("ALTER ROLE {} NOLOGIN", name(2)));
    own.sql(&format!("REVOKE USAGE ON SCHEMA {0} FROM {0}", name(3)));
    own.redis(&["ACL", "DELUSER", &name(4)]);
    own.sql(&format!("DELETE FROM lyrox.migrations WHERE tenant = '{}'", keys[5]));
    let broken = own.lyrox(&["check", "--tenants", "all", "--output", "json"]);
    let report = broken.exit(7).json();
    for (at, store, what) in [
        (1, "postgres", "schema t_"),
        (2, "postgres", "its role cannot log in"),
        (3, "postgres", "may not use its schema"),
        (4, "redis", "user t_"),
    ] {
        let item = item(&report, &keys[at]);
        assert_eq!((&item["outcome"], &item["store"]), (&"fail".into(), &store.into()), "{item}");
        assert_eq!(item["code"], "LYX-TENANT-ASTRAY");
        assert!(item["detail"].as_str().expect("a detail").contains(what), "{item}");
        assert!(item["hint"].as_str().expect("a hint").contains(&keys[at]), "{item}");
    }
    assert_eq!(item(&report, &keys[5])["outcome"], "warn");
    assert_eq!(item(&report, &keys[6])["outcome"], "pass");
    assert_eq!(report["data"]["tenants"]["failed"], 4);

    // For people: the broken ones, the slowest, one line for the others; within 80 columns.
    let shown = own.lyrox(&["check", "--tenants", "all"]);
    let lines = shown.exit(7).stdout.lines().filter(|line| line.contains(&keys[0][..keys[0].len() - 3])).count();
    assert!(lines < 20, "{shown}");
    shown.says("more").says("median").says(&format!("{count} tenants: {} ok, 4 failed", count - 4));
}

#[test]
fn tenants_are_reached_as_themselves_where_their_passwords_are_known() {
    for model in ["schema", "database"] {
        let own = Own::own_place(&format!("ct_login_{model}"), model);
        let keys = made(&own, 3);
        let run = own.lyrox(&["check", "--tenants", "all", "--credentials", "cred", "--output", "json"]);
        let report = run.ok().json();
        for each in report["data"]["tenants"]["each"].as_array().expect("each") {
            for store in ["postgres", "mongodb", "redis"] {
                assert_eq!(each["stores"][store]["as"], "login", "{model}: {run}");
            }
        }
        let without = own.lyrox(&["check", "--tenants", "all", "--output", "json"]);
        assert_ne!(without.ok().json()["data"]["tenants"]["each"][0]["stores"]["postgres"]["as"], "login");
        // New passwords: those of the file are no longer any.
        own.lyrox(&["-q", "tenant", "credentials", &keys[1], "--credentials", "new"]).ok();
        let old = own.lyrox(&["check", "--tenants", "all", "--credentials", "cred", "--output", "json"]);
        let report = old.exit(7).json();
        assert_eq!(item(&report, &keys[1])["code"], "LYX-AUTH-POSTGRES", "{old}");
        assert_eq!(report["data"]["tenants"]["failed"], 1);
        let text = std::fs::read_to_string(own.path("cred")).expect("credentials");
        for password in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok()?["password"].as_str().map(str::to_owned))
        {
            old.never_says(&password);
        }
        own.lyrox(&["check", "--tenants", &keys[1], "--credentials", "new"]).ok();
        if model == "database" {
            sql(&own.postgres, &format!("DROP DATABASE t_{} WITH (FORCE)", keys[2])).expect("dropped");
            let gone = own.lyrox(&["check", "--tenants", "all", "--output", "json"]);
            let report = gone.exit(7).json();
            assert!(item(&report, &keys[2])["detail"].as_str().expect("a detail").contains("is not there"), "{gone}");
        }
    }
}

#[test]
fn in_shared_tables_a_tenant_has_to_see_its_own_row() {
    let own = Own::row("ct_row");
    let text = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    let role = format!("{}_app", own.name);
    own.write("lyrox.toml", &text.replacen("[postgres]\n", &format!("[postgres]\napp_role = \"{role}\"\n"), 1));
    assert!(SHOP.contains("company"));
    own.write(
        "migrations/2_wall.up.sql",
        "ALTER TABLE company ENABLE ROW LEVEL SECURITY; ALTER TABLE company FORCE ROW LEVEL SECURITY;\n\
         CREATE POLICY own ON company USING (id = nullif(current_setting('app.tenant', true), '') AND name <> 'hidden');",
    );
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let keys: Vec<String> = ["a", "b"].iter().map(|name| own.slug(name)).collect();
    for key in &keys {
        own.lyrox(&["-q", "tenant", "create", key, "--no-credentials"]).ok();
    }
    own.lyrox(&["check", "--tenants", "all"]).ok().says("2 tenants: 2 ok");
    // Whoever makes a role may not take it yet.
    let _ = sql(&own.postgres, &format!("GRANT {role} TO CURRENT_USER"));
    own.sql(&format!("UPDATE company SET name = 'hidden' WHERE id = '{}'", keys[1]));
    let run = own.lyrox(&["check", "--tenants", "all", "--output", "json"]);
    let report = run.exit(7).json();
    // The one that fails is not said to be reached.
    let each = report["data"]["tenants"]["each"].as_array().expect("each");
    assert!(each.iter().any(|each| each["stores"]["postgres"]["as"] == "role"), "{run}");
    assert_eq!(item(&report, &keys[1])["outcome"], "fail", "{run}");
    assert_eq!(item(&report, &keys[0])["outcome"], "pass", "{run}");
    own.lyrox(&["check", "--tenants", "nobody"]).exit(2).says("LYX-TENANT-UNKNOWN");
}
