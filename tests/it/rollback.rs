//! `db rollback`: whose way back is taken, what a branch switch leaves, what is half undone, and what has no way back.

use bson::doc;

use crate::support::{Project, block_on};

const THREE: [(&str, &str, &str); 3] = [
    ("sql", "CREATE TABLE item (id int);\n", "DROP TABLE item;\n"),
    ("json", r#"[{ "create": "events" }]"#, r#"[{ "drop": "events" }]"#),
    ("redis", "SET {{prefix}}answer 42\n", "DEL {{prefix}}answer\n"),
];

/// A version with a part and a way back in each store.
fn in_three(project: &Project, label: &str, name: &str) {
    for (ending, up, down) in THREE {
        let (up, down) = (renamed(up, name), renamed(down, name));
        project.write(&format!("migrations/{label}.up.{ending}"), &up);
        project.write(&format!("migrations/{label}.down.{ending}"), &down);
    }
}

fn renamed(text: &str, name: &str) -> String {
    text.replace("item", name).replace("events", name).replace("answer", name)
}

fn remove(project: &Project, label: &str) {
    for (ending, ..) in THREE {
        project.remove(&format!("migrations/{label}.up.{ending}"));
        project.remove(&format!("migrations/{label}.down.{ending}"));
    }
}

fn is_there(project: &Project, name: &str) -> [bool; 3] {
    let names = block_on(async { project.database().list_collection_names().await }).expect("names");
    let key = project.redis(&["EXISTS", &format!("{}{name}", project.prefix)]);
    [
        project.sql_value(&format!("SELECT to_regclass('{name}') IS NOT NULL")) == "t",
        names.iter().any(|found| found == name),
        key == redis::Value::Int(1),
    ]
}

#[test]
fn a_branch_switch_is_undone_with_what_the_ledger_keeps() {
    let project = Project::new("rb_branch", "");
    in_three(&project, "1_core", "core");
    in_three(&project, "2_mine", "mine");
    project.lyrox(&["db", "migrate"]).ok();
    // The other branch has another version 3 and no 2.
    remove(&project, "2_mine");
    in_three(&project, "3_theirs", "theirs");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("lyrox db rollback --version 2");
    project.lyrox(&["db", "status"]).ok().says("lyrox db rollback --version 2");
    let dry = project.lyrox(&["db", "rollback", "--version", "2", "--dry-run"]);
    dry.ok().says("from the ledger").says("DROP TABLE mine").says("nothing was changed");
    assert_eq!(is_there(&project, "mine"), [true; 3]);
    project.lyrox(&["db", "rollback", "--version", "2", "--yes"]).ok().says("from the ledger").says("reverted");
    assert_eq!(is_there(&project, "mine"), [false; 3]);
    assert_eq!(is_there(&project, "core"), [true; 3]);
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(is_there(&project, "theirs"), [true; 3]);
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_version_that_is_another_one_on_this_branch_is_undone_with_its_own_way_back() {
    let project = Project::new("rb_other", "");
    in_three(&project, "1_core", "core");
    in_three(&project, "2_mine", "mine");
    project.lyrox(&["db", "migrate"]).ok();
    remove(&project, "2_mine");
    in_three(&project, "2_theirs", "theirs");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-RENAMED");
    project.lyrox(&["db", "rollback", "--to", "1", "--yes"]).ok().says("from the ledger");
    assert_eq!(is_there(&project, "mine"), [false; 3]);
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(is_there(&project, "theirs"), [true; 3]);
}

#[test]
fn a_mended_way_back_wins_over_the_kept_one_unless_asked() {
    let project = Project::new("rb_mended", "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int);");
    project.write("migrations/1_a.down.sql", "DROP TABLE aa;");
    project.lyrox(&["db", "migrate"]).ok();
    project
        .lyrox(&["db", "rollback", "--yes"])
        .exit(1)
        .says("1_a.down.sql:1:12")
        .says("nothing of this file was undone");
    project.write("migrations/1_a.down.sql", "DROP TABLE a;");
    project.lyrox(&["db", "rollback", "--from-ledger", "--yes"]).exit(1).says("\"aa\" does not exist");
    project.lyrox(&["db", "rollback", "--yes"]).ok().says("edited since it was applied");
    assert_eq!(project.sql_value("SELECT to_regclass('a') IS NULL"), "t");
    // Without its file the kept one is all there is.
    project.lyrox(&["db", "migrate"]).ok();
    project.remove("migrations/1_a.down.sql");
    project.lyrox(&["db", "rollback", "--yes"]).ok().says("from the ledger");
}

#[test]
fn the_last_run_is_undone_in_every_store() {
    let project = Project::new("rb_run", "");
    in_three(&project, "1_core", "core");
    project.lyrox(&["db", "migrate"]).ok();
    in_three(&project, "2_more", "more");
    in_three(&project, "3_most", "most");
    project.lyrox(&["db", "migrate"]).ok();
    let runs = project.sql_value("SELECT count(DISTINCT run) FROM lyrox.migrations");
    assert_eq!(runs, "2", "one id for all stores of a run");
    project.lyrox(&["db", "rollback", "--run", "--yes"]).ok();
    assert_eq!(is_there(&project, "more"), [false; 3]);
    assert_eq!(is_there(&project, "most"), [false; 3]);
    assert_eq!(is_there(&project, "core"), [true; 3]);
    project.lyrox(&["db", "rollback", "--run", "--yes"]).ok();
    assert_eq!(is_there(&project, "core"), [false; 3]);
    project.lyrox(&["db", "rollback", "--run", "--yes"]).ok().says("nothing to roll back");
}

#[test]
fn what_has_no_way_back_is_said_before_and_refused_before_anything_is_undone() {
    let project = Project::new("rb_irrev", "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int);");
    project
        .write("migrations/2_b.up.sql", "CREATE TABLE b (id int);")
        .write("migrations/2_b.down.sql", "DROP TABLE b;");
    let dry = project.lyrox(&["db", "migrate", "--dry-run", "--output", "json"]);
    dry.ok();
    assert!(dry.item("postgres.1")["detail"].as_str().is_some_and(|detail| detail.contains("irreversible")), "{dry}");
    assert!(!dry.item("postgres.2")["detail"].as_str().is_some_and(|detail| detail.contains("irreversible")), "{dry}");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rollback", "--to", "0", "--yes"]).exit(2).says("LYX-IRREVERSIBLE").says("1_a on postgres");
    assert_eq!(project.sql_value("SELECT to_regclass('b') IS NULL"), "f", "nothing was undone");
    project.lyrox(&["db", "rollback", "--to", "0", "--dry-run"]).exit(2).says("no way back").says("2_b");
    project.lyrox(&["db", "rollback", "--version", "9", "--yes"]).exit(2).says("there is no version `9`");
}

#[test]
fn a_rollback_cut_short_is_seen_and_goes_on_where_it_stopped() {
    let project = Project::new("rb_half", "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int); CREATE TABLE b (id int);");
    project.write("migrations/1_a.down.sql", "-- lyrox: no-transaction\nDROP TABLE IF EXISTS a;\nDROP TABLE bb;\n");
    project.write("migrations/1_a.up.json", r#"[{ "create": "a" }, { "create": "b" }]"#);
    project.write("migrations/1_a.down.json", r#"[{ "drop": "a" }, { "collMod": "nothing", "validator": {} }]"#);
    project.write("migrations/1_a.up.redis", "SET {{prefix}}n 0\n");
    project.write("migrations/1_a.down.redis", "INCR {{prefix}}n\nLPUSH {{prefix}}n x\n");
    project.lyrox(&["db", "migrate"]).ok();
    // What runs is not what was kept when it was applied.
    project.write("migrations/1_a.down.sql", "-- lyrox: no-transaction\nDROP TABLE a;\nDROP TABLE bb;\n");
    // Redis first: the last store is undone first.
    let run = project.lyrox(&["db", "rollback", "--yes", "--output", "json"]);
    run.exit(1);
    assert_eq!(run.item("redis.1")["location"]["line"], 2, "{run}");
    project.lyrox(&["db", "status"]).ok().says("half rolled back").says("step 1 of its way back is in effect");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-UNFINISHED").says("lyrox db rollback --version 1");
    // An edit of what is in effect is noticed.
    project.write("migrations/1_a.down.redis", "INCRBY {{prefix}}n 5\nDEL {{prefix}}n\n");
    project.lyrox(&["db", "rollback", "--yes"]).exit(6).says("edited since");
    project.write("migrations/1_a.down.redis", "INCR {{prefix}}n\nSET {{prefix}}done 1\n");
    let run = project.lyrox(&["db", "rollback", "--version", "1", "--yes", "--output", "json"]);
    run.exit(1);
    assert_eq!(run.item("redis.1")["change"], "reverted");
    assert_eq!(run.item("mongodb.1")["location"]["line"], 1, "{run}");
    let counter = project.redis(&["GET", &format!("{}n", project.prefix)]);
    assert_eq!(counter, redis::Value::BulkString(b"1".to_vec()), "the first step ran once");
    project.lyrox(&["db", "status"]).ok().says("1_a").says("mongodb is half rolled back");
    project.write("migrations/1_a.down.json", r#"[{ "drop": "a" }, { "drop": "b" }]"#);
    project.lyrox(&["db", "rollback", "--yes"]).exit(1).says("1_a.down.sql:3").says("step 1 of 2");
    project.lyrox(&["db", "status"]).ok().says("postgres is half rolled back");
    project.write("migrations/1_a.down.sql", "-- lyrox: no-transaction\nDROP TABLE IF EXISTS a;\nDROP TABLE b;\n");
    project.lyrox(&["db", "rollback", "--yes"]).exit(6).says("is in effect and was edited");
    project.write("migrations/1_a.down.sql", "-- lyrox: no-transaction\nDROP TABLE a;\nDROP TABLE b;\n");
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    project.lyrox(&["db", "status"]).ok().says("0 applied, 3 pending");
    project.lyrox(&["db", "migrate"]).ok();
    project.mongo(doc! { "count": "b" });
}

#[test]
fn two_projects_in_one_database_undo_only_their_own() {
    let (one, two) = (Project::new("rb_two", ""), Project::new("rb_two", ""));
    two.write(".env", &std::fs::read_to_string(one.path(".env")).expect(".env"));
    let settings = std::fs::read_to_string(two.path("lyrox.toml")).expect("lyrox.toml");
    two.write(
        "lyrox.toml",
        &settings.replace(&format!("database = \"{}\"", two.name), &format!("database = \"{}\"", one.name)),
    );
    in_three(&one, "1_a", "a");
    in_three(&two, "1_b", "b");
    one.lyrox(&["db", "migrate"]).ok();
    two.lyrox(&["db", "migrate"]).ok();
    two.lyrox(&["db", "rollback", "--run", "--yes"]).ok();
    assert_eq!(one.sql_value("SELECT to_regclass('b') IS NULL"), "t");
    assert_eq!(is_there(&one, "a"), [true; 3]);
    one.lyrox(&["db", "status", "--check"]).ok().says("3 applied");
}

#[test]
fn a_ledger_of_an_earlier_layout_is_told_and_not_guessed() {
    let project = Project::new("rb_layout", "");
    in_three(&project, "1_core", "core");
    project.lyrox(&["db", "migrate"]).ok();
    project.sql("ALTER TABLE lyrox.migrations DROP COLUMN down_text, DROP COLUMN run");
    project.lyrox(&["db", "status"]).exit(6).says("LYX-LEDGER-DAMAGED").says("does not exist");
}

/// A rollback is killed at growing delays, then run again: each way back runs once, whatever the kill hit.
#[test]
fn a_killed_rollback_is_finished_by_the_next() {
    for delay in [120, 300, 480, 700] {
        let project = Project::new("rb_kill", "");
        project.write("migrations/1_log.up.sql", "CREATE TABLE log (what int);");
        for number in 2..=6 {
            let bare = if number % 2 == 0 { "-- lyrox: no-transaction\n" } else { "" };
            project.write(&format!("migrations/{number}_t.up.sql"), &format!("CREATE TABLE t{number} (id int);"));
            project.write(
                &format!("migrations/{number}_t.down.sql"),
                &format!("{bare}INSERT INTO log SELECT {number} FROM pg_sleep(0.05);\nDROP TABLE t{number};\n"),
            );
            project.write(&format!("migrations/{number}_t.up.json"), &format!(r#"[{{ "create": "c{number}" }}]"#));
            project.write(&format!("migrations/{number}_t.down.json"), &format!(r#"[{{ "drop": "c{number}" }}]"#));
            project.write(&format!("migrations/{number}_t.up.redis"), "INCR {{prefix}}up\n");
            project.write(&format!("migrations/{number}_t.down.redis"), "INCR {{prefix}}down\nSET {{prefix}}x 1\n");
        }
        project.lyrox(&["db", "migrate"]).ok();
        let mut child = project
            .command(&["db", "rollback", "--to", "1", "--yes"])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("lyrox");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().expect("an end");
        project.lyrox(&["db", "rollback", "--to", "1", "--yes"]).ok();
        assert_eq!(
            project.sql_value("SELECT string_agg(what::text, ' ' ORDER BY what) FROM log"),
            "2 3 4 5 6",
            "{delay}"
        );
        let down = project.redis(&["GET", &format!("{}down", project.prefix)]);
        assert_eq!(down, redis::Value::BulkString(b"5".to_vec()), "{delay}");
        project.lyrox(&["db", "status"]).ok().says("1 applied, 15 pending");
    }
}

/// A baseline file of Flyway's that is left alone, because its versions are applied, is not pending.
#[test]
fn a_kept_column_that_nothing_will_make_is_a_mistake_beside_a_baseline_file_too() {
    let project = Project::new("back_except_b", "");
    let role = format!("{}_app", project.name);
    let write = |column: &str| {
        let text = format!(
            "[project]\nname = \"back\"\n[postgres]\napp_role = \"{role}\"\napp_grants_except = {{ account = [\"{column}\"] }}\n\
             [migrations]\nformat = \"flyway\"\n"
        );
        project.write("lyrox.toml", &text);
    };
    write("secret");
    project.write("migrations/V1__account.sql", "CREATE TABLE account (id int PRIMARY KEY, secret text);");
    project.write("migrations/V2__note.sql", "CREATE TABLE note (id int PRIMARY KEY);");
    project.lyrox(&["db", "migrate"]).ok();
    let both = "CREATE TABLE account (id int PRIMARY KEY, secret text); CREATE TABLE note (id int PRIMARY KEY);";
    project.write("migrations/B2__all.sql", both);
    project.lyrox(&["db", "migrate"]).ok();
    write("secrets");
    project.lyrox(&["db", "migrate"]).exit(2).says("`account.secrets`, which does not exist");
    project.sql(&format!("GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A column that the application may not read is one that a migration makes: before it and after its rollback there is none.
#[test]
fn columns_that_are_kept_from_the_application_go_and_come_with_their_migration() {
    let project = Project::new("back_except", "");
    let role = format!("{}_app", project.name);
    let write = |column: &str| {
        let text = format!(
            "[project]\nname = \"back\"\n[postgres]\napp_role = \"{role}\"\napp_grants_except = {{ account = [\"{column}\"] }}\n"
        );
        project.write("lyrox.toml", &text);
    };
    write("secret");
    project.write("migrations/1_note.up.sql", "CREATE TABLE note (id int PRIMARY KEY);");
    project.write("migrations/1_note.down.sql", "DROP TABLE note;");
    project.write("migrations/2_account.up.sql", "CREATE TABLE account (id int PRIMARY KEY, secret text);");
    project.write("migrations/2_account.down.sql", "DROP TABLE account;");
    let may_read = |column: &str| {
        project.sql_value(&format!("SELECT has_column_privilege('{role}', 'account', '{column}', 'SELECT')::text"))
    };
    project.lyrox(&["db", "migrate", "--to", "1"]).ok().says("`account.secret`, which does not exist");
    project.lyrox(&["db", "migrate"]).ok().never_says("does not exist");
    assert_eq!((may_read("id").as_str(), may_read("secret").as_str()), ("true", "false"));
    project.lyrox(&["--yes", "db", "rollback", "--to", "0"]).ok();
    project.lyrox(&["db", "migrate"]).ok();
    assert_eq!(may_read("secret"), "false");
    // With everything applied, a name that matches nothing is a mistake.
    write("secrets");
    project.lyrox(&["db", "migrate"]).exit(2).says("`account.secrets`, which does not exist");
    project.sql(&format!("GRANT {role} TO CURRENT_USER; DROP OWNED BY {role}; DROP ROLE {role}"));
}
