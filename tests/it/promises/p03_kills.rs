//! P3: a kill at any moment loses nothing and repeats nothing.

use std::time::Instant;

use super::{figure, rounds, some_of, start};
use crate::crash::{is_right, slow_project};
use crate::support::Project;

/// Tables, columns and indexes as one text.
fn schema(project: &Project) -> String {
    project.sql_value(
        "SELECT md5(string_agg(line, '\n' ORDER BY line)) FROM (\
         SELECT format('%s.%s %s', table_name, column_name, data_type) FROM information_schema.columns WHERE table_schema = 'public' \
         UNION ALL SELECT format('%s %s', i.indexrelid::regclass, i.indisvalid) FROM pg_index i \
         JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'public'::regnamespace) x (line)",
    )
}

fn project() -> Project {
    let project = slow_project("p03");
    project.write(
        "migrations/11_index.up.sql",
        "CREATE INDEX CONCURRENTLY t1_id ON t1 (id);\nINSERT INTO t1 SELECT 3 FROM pg_sleep(0.05);\nDELETE FROM t1 WHERE id = 3;\n",
    );
    project
}

#[test]
fn a_run_that_is_killed_at_random_is_finished_by_the_next() {
    let clean = project();
    let begun = Instant::now();
    clean.lyrox(&["db", "migrate"]).ok();
    let whole = begun.elapsed();
    is_right(&clean, "without a kill");
    let expected = schema(&clean);
    let rounds = rounds(2, 200);
    let (mut settled, mut late) = (0, 0);
    for round in 0..rounds {
        let project = project();
        let mut run = start(&project, &["db", "migrate"]);
        let delay = some_of(whole);
        std::thread::sleep(delay);
        late += u32::from(run.has_ended());
        run.kill();
        let note = format!("round {round}, killed after {delay:?}");
        let again = project.lyrox(&["db", "migrate"]);
        if again.code == 6 {
            // A step that may or may not have taken effect is named with its way on, never guessed.
            again.says("step").says("lyrox db repair --done");
            settled += 1;
            continue;
        }
        assert_eq!(again.code, 0, "{note}\n{again}");
        is_right(&project, &note);
        assert_eq!(schema(&project), expected, "{note}");
        project.lyrox(&["db", "status", "--check"]).ok();
    }
    figure(
        "P3",
        format!("{rounds} kills within {whole:?} ({late} after the end): {settled} told in doubt, the others right"),
    );
}
