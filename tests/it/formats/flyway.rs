//! Flyway's folder and `flyway_schema_history`.

use super::{project, rows};
use crate::support::Project;

/// As Flyway makes it on PostgreSQL.
const TABLE: &str = "CREATE TABLE flyway_schema_history (installed_rank INT NOT NULL, version VARCHAR(50), \
    description VARCHAR(200) NOT NULL, type VARCHAR(20) NOT NULL, script VARCHAR(1000) NOT NULL, checksum INTEGER, \
    installed_by VARCHAR(100) NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT now(), execution_time INTEGER NOT NULL, \
    success BOOLEAN NOT NULL); ALTER TABLE flyway_schema_history ADD CONSTRAINT flyway_schema_history_pk PRIMARY KEY (installed_rank); \
    CREATE INDEX flyway_schema_history_s_idx ON flyway_schema_history (success)";

fn insert(
    rank: i32,
    version: &str,
    description: &str,
    kind: &str,
    script: &str,
    checksum: &str,
    success: bool,
) -> String {
    let version = if version.is_empty() { "NULL".to_owned() } else { format!("'{version}'") };
    format!(
        "INSERT INTO flyway_schema_history VALUES ({rank}, {version}, '{description}', '{kind}', '{script}', {checksum}, 'flyway', \
         '2024-01-02 03:04:05', 12, {success})"
    )
}

/// `V1__init.sql` with the text of the vector, applied by Flyway; two more that are not.
fn begun(text: &str) -> Project {
    let project = project("flyway", "dir = \"sql\"");
    project.write("sql/V1__init.sql", text);
    project.write("sql/V1_1__more_of_it.sql", "CREATE TABLE u (id int);\n");
    project.write("sql/sub/V1.10__last.sql", "CREATE TABLE v (id int);\n");
    project.sql(TABLE);
    project.sql(&insert(1, "1", "init", "SQL", "V1__init.sql", "92137680", true));
    project.sql("CREATE TABLE t (id int)");
    project
}

const INIT: &str = "CREATE TABLE t (id int);\n";

#[test]
fn what_flyway_applied_counts_and_the_rest_is_written_as_flyway_would() {
    let project = begun(INIT);
    project.lyrox(&["db", "status"]).ok().says("1 applied, 2 pending").says("2024-01-02 03:04");
    project.lyrox(&["db", "migrate"]).ok().says("1.1_more_of_it").says("1.10_last");
    rows(
        &project,
        "SELECT installed_rank, version, description, type, script, checksum, installed_by = current_user, \
         execution_time BETWEEN 0 AND 60000, success FROM flyway_schema_history ORDER BY 1 OFFSET 1",
        &[
            &["2", "1.1", "more of it", "SQL", "V1_1__more_of_it.sql", "-990693616", "t", "t", "t"],
            &["3", "1.10", "last", "SQL", "sub/V1.10__last.sql", "1561415953", "t", "t", "t"],
        ],
    );
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn line_ends_and_the_mark_do_not_count_and_edits_do() {
    for text in ["CREATE TABLE t (id int);\r\n", "CREATE TABLE t (id int);\r", "\u{feff}CREATE TABLE t (id int);\n"] {
        begun(text).lyrox(&["db", "migrate"]).ok();
    }
    let project = begun("CREATE TABLE t (id bigint);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED").says("92137680").says("V1__init.sql");
    project.lyrox(&["db", "repair", "--accept", "1"]).ok();
    project.lyrox(&["db", "status"]).ok().says("pending");
    rows(
        &project,
        "SELECT checksum, version FROM flyway_schema_history WHERE installed_rank = 1",
        &[&[&crc("CREATE TABLE t (id bigint);"), "1"]],
    );
    project.remove("sql/V1__init.sql");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("1_init");
}

#[test]
fn the_history_is_replayed_by_rank() {
    let project = begun(INIT);
    project.sql(&insert(2, "1.1", "more of it", "SQL", "V1_1__more_of_it.sql", "-990693616", true));
    project.sql(&insert(3, "1.1", "more of it", "UNDO_SQL", "U1_1__more_of_it.sql", "5", true));
    project.sql(&insert(4, "1.10", "last", "SQL", "sub/V1.10__last.sql", "1561415953", true));
    project.sql(&insert(5, "1.10.0", "last", "DELETE", "sub/V1.10__last.sql", "NULL", true));
    project.sql(&insert(6, "1.10", "last", "DELETE", "sub/V1.10__last.sql", "NULL", true));
    project.sql(&insert(7, "0.5", "java", "JDBC", "db.migration.V0_5__java", "NULL", true));
    project.sql(&insert(0, "", "<< Flyway Schema Creation >>", "SCHEMA", "\"app\"", "NULL", true));
    project.lyrox(&["db", "status"]).ok().says("1 applied, 2 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT installed_rank, version, type FROM flyway_schema_history WHERE installed_rank > 7 ORDER BY 1",
        &[&["8", "1.1", "SQL"], &["9", "1.10", "SQL"]],
    );
}

#[test]
fn a_failed_row_stops_everything_and_says_the_way_on() {
    let project = begun(INIT);
    project.sql(&insert(2, "1.1", "more of it", "SQL", "V1_1__more_of_it.sql", "-990693616", false));
    let run = project.lyrox(&["db", "migrate"]);
    run.exit(6).says("LYX-HISTORY-BROKEN").says("1.1_more_of_it").says("flyway repair").says("nothing was changed");
    project
        .lyrox(&["query", "postgres", "--write", "DELETE FROM \"public\".\"flyway_schema_history\" WHERE NOT success"])
        .ok();
    project.lyrox(&["db", "migrate"]).ok();
}

#[test]
fn a_baseline_hides_what_is_below_it() {
    let project = begun(INIT);
    project.sql("DELETE FROM flyway_schema_history");
    project.sql(&insert(1, "1.5", "<< Flyway Baseline >>", "BASELINE", "<< Flyway Baseline >>", "NULL", true));
    project.lyrox(&["db", "migrate"]).ok().says("1.10_last").never_says("applied  1.1_more_of_it");
    rows(&project, "SELECT to_regclass('u') IS NULL, to_regclass('v') IS NOT NULL", &[&["t", "t"]]);
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_baseline_script_stands_for_all_before_it_on_an_empty_database_only() {
    let project = begun(INIT);
    project.write("sql/B1_1__all.sql", "CREATE TABLE t (id int);\nCREATE TABLE u (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT count(*) FROM flyway_schema_history WHERE type = 'SQL_BASELINE'", &[&["0"]]);

    let project = super::project("flyway", "dir = \"sql\"");
    project.write("sql/V1__init.sql", INIT).write("sql/V1_1__more.sql", "CREATE TABLE u (id int);\n");
    project.write("sql/B1_1__all.sql", "CREATE TABLE t (id int);\nCREATE TABLE u (id int);\n");
    project.write("sql/V2__two.sql", "CREATE TABLE two (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT installed_rank, version, description, type, script FROM flyway_schema_history ORDER BY 1",
        &[&["1", "1.1", "all", "SQL_BASELINE", "B1_1__all.sql"], &["2", "2", "two", "SQL", "V2__two.sql"]],
    );
    project.lyrox(&["db", "migrate"]).ok().says("up to date");
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn placeholders_come_from_both_configurations() {
    let project = begun(INIT);
    project.write("lyrox.toml", &format!(
        "[project]\nname = \"{}\"\n[postgres]\n[migrations]\nformat = \"flyway\"\n[migrations.placeholders]\nWho = \"me\"\n",
        project.name
    ));
    project.write(
        "flyway.toml",
        "[flyway]\nlocations = [\"filesystem:sql\"]\n[flyway.placeholders]\nwho = \"nobody\"\nnumber = \"7\"\n",
    );
    project.write(
        "sql/V2__fill.sql",
        "INSERT INTO t VALUES (${number});\nCOMMENT ON TABLE t IS '${who} in ${flyway:filename}';\n",
    );
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT id, obj_description('t'::regclass) FROM t", &[&["7", "me in V2__fill.sql"]]);
    project.write("sql/V3__unknown.sql", "SELECT 1;\n-- ${nothing}\n");
    project.lyrox(&["db", "migrate"]).exit(2).says("V3__unknown.sql:2:4").says("[migrations.placeholders]");
}

#[test]
fn undo_scripts_are_the_way_back() {
    let project = begun(INIT);
    project.write("sql/U1.10__last.sql", "DROP TABLE v;\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.lyrox(&["db", "rollback", "--yes"]).ok();
    rows(
        &project,
        "SELECT installed_rank, version, description, type, script, success FROM flyway_schema_history ORDER BY 1 DESC LIMIT 1",
        &[&["4", "1.10", "last", "UNDO_SQL", "U1.10__last.sql", "t"]],
    );
    project.lyrox(&["db", "status"]).ok().says("2 applied, 1 pending");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT max(installed_rank), to_regclass('v') IS NOT NULL FROM flyway_schema_history",
        &[&["5", "t"]],
    );
}

#[test]
fn what_stands_beside_a_script_is_heeded() {
    let project = begun(INIT);
    project.write("sql/V2__bare.sql", "INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (1 / 0);\n");
    project.write("sql/V2__bare.sql.conf", "executeInTransaction=false\n");
    project.write("sql/V3__not_here.sql", "SELECT 1 / 0;\n");
    project.write("sql/V3__not_here.sql.conf", "shouldExecute=false\n");
    project.lyrox(&["db", "migrate"]).exit(1).says("division by zero");
    rows(
        &project,
        "SELECT installed_rank, version, success FROM flyway_schema_history ORDER BY 1 DESC LIMIT 1",
        &[&["4", "2", "f"]],
    );
    project.write("sql/V2__bare.sql", "INSERT INTO t VALUES (1);\nINSERT INTO t VALUES (2);\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(&project, "SELECT id FROM t ORDER BY 1", &[&["1"], &["2"]]);
    rows(
        &project,
        "SELECT version, success, checksum IS NOT NULL FROM flyway_schema_history WHERE installed_rank > 3 ORDER BY installed_rank",
        &[&["2", "t", "t"], &["3", "t", "t"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn a_late_version_is_refused_unless_flyway_allows_it() {
    let project = begun(INIT);
    project.lyrox(&["db", "migrate"]).ok();
    project.write("sql/V1_2__late.sql", "CREATE TABLE late (id int);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER").says("1.2_late");
    project.write("flyway.conf", "flyway.outOfOrder=true\n");
    project.lyrox(&["db", "migrate"]).ok().says("1.2_late");
}

#[test]
fn its_lock_keeps_lyrox_out() {
    let project = begun(INIT);
    let hash = "\"public\".\"flyway_schema_history\""
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    super::held(&project, 77_431_708_279_161 + i64::from(hash), || {
        project.lyrox(&["db", "migrate", "--lock-wait", "0s"]).exit(5).says("Flyway's own lock");
    });
}

#[test]
fn repeatables_run_again_when_text_or_placeholder_change() {
    let project = begun(INIT);
    let configured = |who: &str| {
        let settings = format!(
            "[project]\nname = \"{}\"\n[postgres]\n[migrations]\nformat = \"flyway\"\ndir = \"sql\"\n[migrations.placeholders]\nwho = \"{who}\"\n",
            project.name
        );
        project.write("lyrox.toml", &settings);
    };
    configured("me");
    project.write("sql/R__the_view.sql", "CREATE OR REPLACE VIEW w AS SELECT '${who}'::text AS who, id FROM v;\n");
    project.lyrox(&["db", "migrate"]).ok().says("R__the_view");
    let newest = "SELECT version, description, type, script, checksum, success, count(*) OVER () FROM flyway_schema_history \
                  WHERE version IS NULL ORDER BY installed_rank DESC LIMIT 1";
    let sum = |who: &str| crc(&format!("CREATE OR REPLACE VIEW w AS SELECT '{who}'::text AS who, id FROM v;"));
    rows(&project, newest, &[&["-", "the view", "SQL", "R__the_view.sql", &sum("me"), "t", "1"]]);
    project.lyrox(&["db", "migrate"]).ok().says("up to date");

    configured("you");
    project.lyrox(&["db", "status", "--check"]).exit(8);
    project.lyrox(&["db", "migrate"]).ok().says("R__the_view");
    rows(&project, newest, &[&["-", "the view", "SQL", "R__the_view.sql", &sum("you"), "t", "2"]]);
    project.sql("INSERT INTO v VALUES (1)");
    rows(&project, "SELECT who FROM w", &[&["you"]]);
    // A version that comes later is not late: repeatables come behind them all.
    project.write("sql/V2__two.sql", "CREATE TABLE two (id int);\n");
    project.lyrox(&["db", "migrate"]).ok().says("2_two").never_says("R__the_view");

    // What Flyway ran meanwhile counts; the plain sum is as good.
    let text = "CREATE OR REPLACE VIEW w AS SELECT 'they'::text AS who, id FROM v;\n";
    project.write("sql/R__the_view.sql", text);
    project.sql(&insert(9, "", "the view", "SQL", "R__the_view.sql", &crc(text.trim_end()), true));
    project.lyrox(&["db", "migrate"]).ok().never_says("R__the_view");
    project.lyrox(&["db", "status", "--check"]).ok();
    project.remove("sql/R__the_view.sql");
    project.lyrox(&["db", "status", "--check"]).ok();
}

fn crc(text: &str) -> String {
    crc32fast::hash(text.as_bytes()).cast_signed().to_string()
}
