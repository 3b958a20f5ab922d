//! refinery's folder and `refinery_schema_history`.

use super::{project, rows};
use crate::support::Project;

fn table(version: &str) -> String {
    format!(
        "CREATE TABLE refinery_schema_history (version {version} PRIMARY KEY, name VARCHAR(255), applied_on VARCHAR(255), \
         checksum VARCHAR(255))"
    )
}

/// `V1__init.sql` with the text of the vectors, applied by refinery; a second version that is not.
fn begun(version: &str, checksum: &str, text: &str) -> Project {
    let project = project("refinery", "");
    project.write("migrations/V1__init.sql", text);
    project.write("migrations/V2__more_of_it.sql", "CREATE TABLE u (id int);\n");
    project.sql(&table(version));
    project.sql(&format!(
        "INSERT INTO refinery_schema_history VALUES (1, 'init', '2024-01-02T03:04:05.123456789Z', '{checksum}')"
    ));
    project.sql("CREATE TABLE t (id int)");
    project
}

const LF: &str = "CREATE TABLE t (id int);\n";
const CRLF: &str = "CREATE TABLE t (id int);\r\n";

#[test]
fn what_refinery_applied_counts_and_the_rest_is_written_as_refinery_would() {
    let project = begun("int4", "6576007071847067829", LF);
    project.lyrox(&["db", "status"]).ok().says("1 applied, 1 pending").says("2024-01-02 03:04");
    project.lyrox(&["db", "migrate"]).ok().says("2_more_of_it");
    rows(
        &project,
        "SELECT version, name, applied_on LIKE '20__-__-__T__:__:__.______Z', checksum FROM refinery_schema_history WHERE version = 2",
        &[&["2", "more_of_it", "t", "4444387867285129701"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok();
    project.lyrox(&["db", "rollback", "--yes"]).exit(2).says("LYX-IRREVERSIBLE");
}

#[test]
fn line_ends_and_the_width_of_versions_count() {
    for (version, checksum, text) in [
        ("int4", "16955263325309060721", CRLF),
        ("int8", "1695251398622326877", LF),
        ("int8", "3440096413603980446", CRLF),
    ] {
        let project = begun(version, checksum, text);
        project.lyrox(&["db", "migrate"]).ok();
        project.lyrox(&["db", "status", "--check"]).ok();
        project.write("migrations/V1__init.sql", if text == LF { CRLF } else { LF });
        project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED").says("line ends");
        let sum = if version == "int4" { "4444387867285129701" } else { "4640167715757140442" };
        rows(&project, "SELECT checksum FROM refinery_schema_history WHERE version = 2", &[&[sum]]);
    }
}

#[test]
fn versions_that_need_64_bits_make_the_table_so() {
    let project = project("refinery", "");
    project.write("migrations/V1__init.sql", LF);
    project.write("migrations/V20240102030405__wide.sql", "CREATE TABLE u (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    rows(
        &project,
        "SELECT version, checksum, pg_typeof(version) FROM refinery_schema_history ORDER BY 1 LIMIT 1",
        &[&["1", "1695251398622326877", "bigint"]],
    );
    project.lyrox(&["db", "status", "--check"]).ok();
}

#[test]
fn unversioned_files_may_come_late_and_versioned_ones_may_not() {
    let project = begun("int4", "6576007071847067829", LF);
    project.write("migrations/V5__e.sql", "CREATE TABLE e (id int);\n");
    project.lyrox(&["db", "migrate"]).ok();
    project.write("migrations/U3__late.sql", "CREATE TABLE late (id int);\n");
    project.lyrox(&["db", "migrate"]).ok().says("3_late");
    project.write("migrations/V4__too_late.sql", "CREATE TABLE too_late (id int);\n");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER").says("4_too_late");
    rows(&project, "SELECT version FROM refinery_schema_history ORDER BY 1", &[&["1"], &["2"], &["3"], &["5"]]);
}

#[test]
fn an_edit_and_a_missing_file_stop() {
    let project = begun("int4", "1", LF);
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-EDITED").says("V1__init.sql").says("6576007071847067829");
    project.lyrox(&["db", "repair", "--accept", "1"]).ok();
    project.lyrox(&["db", "status"]).ok().says("pending");
    rows(&project, "SELECT checksum FROM refinery_schema_history WHERE version = 1", &[&["6576007071847067829"]]);
    project.remove("migrations/V1__init.sql");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-MISSING").says("1_init");
}
