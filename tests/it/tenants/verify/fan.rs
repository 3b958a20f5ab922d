//! A verification of many tenants: each is a unit that stands or falls alone, the whole is one as well and is looked at once;
//! a kill loses nothing, processes share the run.

use std::time::{Duration, Instant};

use super::super::Own;
use super::super::fanout::{distant, slow};
use super::findings;
use crate::promises::{figure, place, rounds, start, wait_until};
use crate::support::{Output, Project};

/// A project with schemas and roles in PostgreSQL alone, and so many tenants; answers their slugs, sorted.
fn many(name: &str, count: u32) -> (Own, Vec<String>) {
    let own = Own(Project::new(name, ""));
    own.write(
        "lyrox.toml",
        &format!("[project]\nname = \"{}\"\n[postgres]\n[tenancy]\nmodel = \"schema\"\n", own.name),
    );
    own.write("migrations/tenant/1_own.up.sql", "CREATE TABLE sale (id int PRIMARY KEY, total int);");
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let slugs: Vec<String> = (0..count).map(|n| own.slug(&format!("n{n:03}"))).collect();
    own.write("all.csv", &format!("key\n{}\n", slugs.join("\n")));
    own.lyrox(&["-q", "tenant", "create", "--from-file", "all.csv", "--no-credentials"]).ok();
    (own, slugs)
}

const RUN: &str = "(SELECT id FROM lyrox.tenant_runs WHERE what = 'verify' ORDER BY started_at DESC LIMIT 1)";

impl Own {
    fn leak(&self, of: &str, to: &str) {
        self.sql(&format!("GRANT USAGE ON SCHEMA t_{of} TO t_{to}; GRANT SELECT ON t_{of}.sale TO t_{to}"));
    }

    fn close(&self, of: &str, to: &str) {
        self.sql(&format!("REVOKE USAGE ON SCHEMA t_{of} FROM t_{to}; REVOKE SELECT ON t_{of}.sale FROM t_{to}"));
    }

    /// Units of the last verification: `state:key` of those that are not done.
    fn undone(&self) -> Vec<String> {
        let units = format!(
            "SELECT state || ':' || key FROM lyrox.tenant_units WHERE run = {RUN} AND state <> 'done' ORDER BY place"
        );
        self.sql(&units).into_iter().filter_map(|row| row[0].clone()).collect()
    }

    fn units(&self) -> String {
        self.sql_value(&format!(
            "SELECT count(*) || ' units, ' || sum(attempts) || ' attempts, ' || count(DISTINCT owner) || ' owners' \
             FROM lyrox.tenant_units WHERE run = {RUN}"
        ))
    }
}

#[test]
fn a_tenant_that_leaks_is_the_unit_that_failed_and_alone_is_tried_again() {
    let (own, slugs) = many("vf_leak", 12);
    let clean = own.lyrox(&["tenant", "verify", "--all", "--jobs", "3"]);
    clean.ok().says("12 tenants").says("no leak").says("Each role was tried at another tenant's tables");
    assert_eq!(own.undone(), Vec::<String>::new());
    let (third, far) = (&slugs[3], &slugs[9]);
    own.leak(third, far);
    let run = own.lyrox(&["tenant", "verify", "--all", "--jobs", "3", "--output", "json"]);
    run.exit(1);
    assert_eq!(findings(&run), [format!("{third}.postgres.schema_usage.t_{third}")], "{run}");
    let data = &run.json()["data"];
    assert_eq!((&data["failed"], &data["done"], &data["leaks"]), (&1.into(), &11.into(), &1.into()), "{run}");
    assert_eq!(own.undone(), [format!("failed:{third}")]);
    assert!(
        own.sql_value(&format!("SELECT error FROM lyrox.tenant_units WHERE run = {RUN} AND state = 'failed'"))
            .contains("schema_usage")
    );
    // What is tried, and not what the catalog says: a registry that says otherwise than the tenant's ledger.
    own.sql(&format!("UPDATE lyrox.tenants SET head = 'other' WHERE key = '{}'", slugs[5]));
    let run = own.lyrox(&["tenant", "verify", "--all", "--output", "json"]);
    run.exit(1);
    assert_eq!(own.undone(), [format!("failed:{third}"), format!("failed:{}", slugs[5])]);
    assert!(
        findings(&run).contains(&format!("{0}.tenants.ledger_differs.of.tenant.{0}", slugs[5])),
        "{:?}",
        findings(&run)
    );
    own.lyrox(&["-q", "db", "migrate", "--tenants", "all"]).ok();
    // Only those two are opened again, beside the whole.
    let again = own.lyrox(&["tenant", "verify", "--only-failed"]);
    again.exit(1).says("2 tenants").says(third);
    assert!(own.units().starts_with("3 units, 3 attempts"), "{}", own.units());
    own.close(third, far);
    own.lyrox(&["tenant", "verify", "--only-failed"]).ok().says("1 tenant:");
    own.lyrox(&["tenant", "verify", "--only-failed"]).ok().says("0 tenants");
    own.lyrox(&["tenant", "verify", "--all"]).ok().says("no leak");
    // With more failures than allowed nothing further is begun.
    own.leak(&slugs[0], far);
    own.leak(&slugs[1], far);
    let run = own.lyrox(&["tenant", "verify", "--all", "--jobs", "1", "--max-failures", "1"]);
    run.exit(1).says("10 not begun");
    own.close(&slugs[0], far);
    own.close(&slugs[1], far);
    // Single ones, by name: the others are not opened.
    own.lyrox(&["tenant", "verify", &slugs[2], &slugs[4]]).ok().says("2 tenants");
    assert!(own.units().starts_with("3 units"), "{}", own.units());
}

#[test]
fn what_is_no_tenants_is_looked_at_once_and_fails_the_run() {
    let (own, slugs) = many("vf_whole", 3);
    own.sql("CREATE FUNCTION public.peek() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'");
    let run = own.lyrox(&["tenant", "verify", "--all", "--jobs", "2", "--output", "json"]);
    run.exit(1);
    assert_eq!(findings(&run).len(), 1, "{:?}", findings(&run));
    assert_eq!(own.undone(), ["failed:"], "the whole, and no tenant");
    assert_eq!(run.json()["data"]["done"], 3, "{run}");
    own.sql("DROP FUNCTION public.peek()");
    // In a protected environment nothing is written, the record of the run neither.
    let runs = || own.sql_value("SELECT count(*) FROM lyrox.tenant_runs WHERE what = 'verify'");
    let before = runs();
    let toml = std::fs::read_to_string(own.path("lyrox.toml")).expect("lyrox.toml");
    own.write("lyrox.toml", &format!("{toml}[env.local]\nprotected = true\n"));
    own.leak(&slugs[0], &slugs[1]);
    let tried = own.lyrox(&["tenant", "verify", "--all", "--output", "json"]);
    assert!(findings(tried.exit(1)).contains(&format!("{0}.postgres.schema_usage.t_{0}", slugs[0])), "{tried}");
    own.lyrox(&["tenant", "verify", "--only-failed"]).exit(2).says("--write");
    own.close(&slugs[0], &slugs[1]);
    // A role that is granted for a try cannot be where nothing is written: that is said, and is no success.
    own.lyrox(&["tenant", "verify", "--all"]).exit(1).says("no leak").says("not tried");
    assert_eq!(runs(), before);
    own.lyrox(&["tenant", "verify", "--all", "--write"]).ok();
    assert_ne!(runs(), before);
}

const ALL: [&str; 5] = ["tenant", "verify", "--all", "--jobs", "1"];

#[test]
fn two_processes_share_a_verification_and_the_whole_is_looked_at_once() {
    let count = rounds(24, 200);
    let (own, slugs) = many("vf_two", count);
    own.leak(&slugs[7], &slugs[2]);
    let port = slow(place(&own), Duration::from_micros(2500));
    let measured = |processes: usize| {
        let begun = Instant::now();
        let runs: Vec<_> = (0..processes).map(|_| distant(&own, port, &ALL).spawn().expect("lyrox")).collect();
        let ends = runs.into_iter().map(|run| Output::new(&ALL, &run.wait_with_output().expect("an end")));
        (ends.collect::<Vec<Output>>(), begun.elapsed())
    };
    let (one, alone) = measured(1);
    one[0].exit(1);
    let (two, both) = measured(2);
    for end in &two {
        end.exit(1).says(&slugs[7]);
    }
    assert_eq!(own.units(), format!("{0} units, {0} attempts, 2 owners", count + 1), "{}\n{}", two[0], two[1]);
    assert_eq!(own.undone(), [format!("failed:{}", slugs[7])]);
    let ratio = both.as_secs_f64() / alone.as_secs_f64();
    figure("verify by two processes", format!("{count} tenants: one {alone:?}, two {both:?}: {ratio:.2}"));
}

#[test]
fn where_one_process_is_killed_the_other_finishes_and_a_lone_one_goes_on() {
    let count = rounds(24, 200);
    let (own, slugs) = many("vf_kill", count);
    own.leak(&slugs[7], &slugs[2]);
    let port = slow(place(&own), Duration::from_millis(10));
    let done = format!("SELECT count(*) FROM lyrox.tenant_units WHERE run = {RUN} AND state IN ('done', 'failed')");
    let some = |least: u32| {
        wait_until(Duration::from_secs(60), "some tenants", || {
            own.sql_value(&done).parse::<u32>().is_ok_and(|count| count >= least)
        });
    };
    let is_there = || own.sql_value("SELECT to_regclass('lyrox.tenant_runs') IS NOT NULL").starts_with('t');
    assert!(is_there());
    let begun = |runs: &str| {
        let count = "SELECT count(*) FROM lyrox.tenant_runs WHERE what = 'verify'";
        wait_until(Duration::from_secs(60), "a run", || own.sql_value(count) == runs);
    };
    let mut doomed = distant(&own, port, &ALL).spawn().expect("lyrox");
    begun("1");
    let other = start(&own, &ALL);
    some(4);
    doomed.kill().expect("killed");
    doomed.wait().expect("an end");
    let end = other.end();
    end.exit(1).says(&slugs[7]);
    assert_eq!(own.undone(), [format!("failed:{}", slugs[7])], "{end}");
    assert!(own.units().starts_with(&format!("{} units", count + 1)), "{}", own.units());
    // Alone: what it had done stays done.
    let mut doomed = distant(&own, port, &ALL).spawn().expect("lyrox");
    begun("2");
    some(4);
    doomed.kill().expect("killed");
    doomed.wait().expect("an end");
    let before: u32 = own.sql_value(&done).parse().expect("a count");
    let end = own.lyrox(&ALL);
    end.exit(1).says("going on with a run that was begun before").says(&slugs[7]);
    begun("2");
    assert_eq!(own.undone(), [format!("failed:{}", slugs[7])], "{end}");
    let data = own.lyrox(&["tenant", "verify", "--only-failed", "--output", "json"]);
    assert_eq!(data.json()["data"]["tenants"], 1, "{data}");
    assert!(before >= 4 && before < count + 1, "{before}");
    own.close(&slugs[7], &slugs[2]);
    own.lyrox(&["tenant", "verify", "--all"]).ok();
}
