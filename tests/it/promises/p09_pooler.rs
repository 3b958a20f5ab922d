//! P9: a pooler can neither corrupt a run nor go unnoticed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::bouncer::{Bouncer, session, value};
use super::{figure, locks, only_postgres, rounds, start, through};
use crate::support::{Project, block_on};

fn project(files: u32) -> Project {
    let project = Project::new("p09", "");
    only_postgres(&project, "");
    for number in 1..=files {
        let sql = if number == 1 {
            "CREATE TABLE marks (n int);\nINSERT INTO marks VALUES (1);\n".to_owned()
        } else {
            format!("INSERT INTO marks VALUES ({number});\n")
        };
        project.write(&format!("migrations/{number:02}_m.up.sql"), &sql);
    }
    project
}

/// Clients that keep a pool at work until they are dropped.
struct Busy(Arc<AtomicBool>, Vec<std::thread::JoinHandle<()>>);

impl Busy {
    fn new(url: &str, count: u32) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let one = |_| {
            let (url, is_over) = (url.to_owned(), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut session = session(&url);
                while !is_over.load(Ordering::Relaxed) {
                    let _ = block_on(sqlx::raw_sql("SELECT pg_sleep(0.002)").execute(&mut session));
                }
            })
        };
        let threads = (0..count).map(one).collect();
        Self(is_over, threads)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_transaction_or_statement_pooler_never_goes_unnoticed() {
    let project = project(1);
    let rounds = rounds(1, 100);
    let mut kinds: Vec<(&str, u32, bool)> = vec![("statement", 2, false)];
    let sizes: &[u32] = if super::is_soak() { &[1, 2, 5, 20] } else { &[1, 5] };
    for size in sizes {
        kinds.extend([("transaction", *size, false), ("transaction", *size, true)]);
    }
    let mut found = 0;
    for (mode, size, is_in_turn) in kinds {
        let bouncer = Bouncer::start(&project.postgres, mode, size, is_in_turn);
        let url = through(&project, bouncer.port);
        for round in 0..rounds {
            let _busy = (round % 2 == 1 && mode != "statement").then(|| Busy::new(&url, 4));
            let run = project.lyrox(&["db", "migrate"]);
            assert_eq!(run.code, 4, "{mode}, {size}, in turn: {is_in_turn}, round {round}\n{run}");
            run.says("LYX-POOLER").says("direct_url");
            found += 1;
        }
        if mode == "statement" {
            project.lyrox(&["db", "migrate", "--allow-pooler"]).exit(4).says("statement pooler");
        }
        assert_eq!(project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
        assert_eq!(locks(&project), "0", "{mode}, {size}: an orphan lock");
    }
    figure("P9", format!("{found} of {found} runs through a pooler refused"));
}

#[test]
fn nothing_is_taken_for_a_pooler_that_is_none() {
    let rounds = rounds(3, 200);
    let project = project(2);
    let bouncer = Bouncer::start(&project.postgres, "session", 20, true);
    for round in 0..rounds {
        if round % 4 == 3 {
            through(&project, bouncer.port);
        } else {
            project.write(".env", &format!("DATABASE_URL='{}'\n", project.postgres));
        }
        project.lyrox(&["db", "migrate"]).ok();
        // The flag changes nothing where there is no pooler.
        if round == 0 {
            project.lyrox(&["db", "migrate", "--allow-pooler"]).ok();
        }
    }
    figure("P9", format!("{rounds} direct and session-mode runs: 0 false alarms"));
}

#[test]
fn four_runners_through_a_pooler_apply_each_file_once() {
    let rounds = rounds(1, 30);
    for round in 0..rounds {
        let project = project(10);
        let bouncer = Bouncer::start(&project.postgres, "transaction", 3, round % 2 == 0);
        through(&project, bouncer.port);
        let runs: Vec<_> = (0..4).map(|_| start(&project, &["db", "migrate", "--allow-pooler"])).collect();
        for run in runs {
            run.end().ok().never_says("LYX-");
        }
        let marks = "SELECT count(*) || ' ' || count(DISTINCT n) FROM marks";
        assert_eq!(project.sql_value(marks), "10 10", "round {round}");
        assert_eq!(locks(&project), "0", "round {round}: an orphan lock");
        let applied = "SELECT count(*) FROM lyrox.events WHERE what = 'applied'";
        assert_eq!(project.sql_value(applied), "10", "round {round}");
    }
    figure(
        "P9",
        format!("4 runners x {rounds} rounds x 10 files with --allow-pooler: 0 errors, each once, 0 orphan locks"),
    );
}

#[test]
fn through_a_pooler_nothing_stays_with_the_session_and_journaled_files_are_refused() {
    let project = project(1);
    let bouncer = Bouncer::start(&project.postgres, "transaction", 1, false);
    let url = through(&project, bouncer.port);
    project.write(
        "migrations/02_settings.up.sql",
        "SET statement_timeout = '77s';\nSET search_path = pg_catalog;\nINSERT INTO public.marks VALUES (2);\n",
    );
    let before = value(&url, "SHOW search_path");
    project.lyrox(&["db", "migrate", "--allow-pooler"]).ok().says("02_settings");
    for (setting, expected) in [("statement_timeout", "0"), ("lock_timeout", "0"), ("search_path", before.as_str())] {
        assert_eq!(value(&url, &format!("SHOW {setting}")), expected, "{setting}");
    }
    assert_eq!(project.sql_value("SELECT count(*) FROM marks"), "2");

    project.write("migrations/03_index.up.sql", "CREATE INDEX CONCURRENTLY marks_n ON marks (n);\n");
    project.write("migrations/04_more.up.sql", "INSERT INTO marks VALUES (4);\n");
    let run = project.lyrox(&["db", "migrate", "--allow-pooler"]);
    run.exit(4).says("LYX-POOLER").says("migrations/03_index.up.sql").says("nothing was changed");
    assert_eq!(project.sql_value("SELECT count(*) FROM marks"), "2");
    project.lyrox(&["db", "status"]).ok().says("03_index");

    // A file that fails is rolled back and told as ever.
    project.write("migrations/03_index.up.sql", "INSERT INTO marks VALUES (3), ('x');\n");
    project.lyrox(&["db", "migrate", "--allow-pooler"]).exit(1).says("03_index.up.sql:1").says("rolled back");
    assert_eq!(project.sql_value("SELECT count(*) FROM marks"), "2");
}
