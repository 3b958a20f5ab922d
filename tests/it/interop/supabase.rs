//! The Supabase CLI, against a database that is not Supabase's.

use super::{Tool, both_ways, changed, open, program, try_run_at};
use crate::support::Project;

struct Supabase;

fn supabase(project: &Project, arguments: &[&str]) -> (i32, String) {
    let home = project.path("home").display().to_string();
    let variables = [("HOME", home.as_str()), ("DO_NOT_TRACK", "1"), ("SUPABASE_TELEMETRY_DISABLED", "1")];
    try_run_at(project, &program("supabase"), arguments, &variables)
}

fn push(project: &Project) -> String {
    let (code, text) = supabase(project, &["db", "push", "--db-url", &project.postgres, "--yes"]);
    assert_eq!(code, 0, "{text}");
    text
}

/// Comments and bodies that its splitter treats in its own way.
fn text(number: usize) -> String {
    format!(
        "-- makes t{number}\nCREATE TABLE t{number} (id int -- the key; of it\n) -- all of it\n;\n\n-- a function\n;;\n\
         CREATE FUNCTION f{number}() RETURNS int LANGUAGE sql AS $$ SELECT 1; $$; /* ; */ SELECT ';'\n;\n-- the end\n"
    )
}

impl Tool for Supabase {
    fn format(&self) -> &'static str {
        "supabase"
    }

    fn settings(&self) -> String {
        "dir = \"supabase/migrations\"".into()
    }

    fn version(&self, project: &Project) -> String {
        format!("supabase {}", supabase(project, &["--version"]).1)
    }

    fn prepare(&self, project: &Project) {
        project.write("supabase/config.toml", "project_id = \"interop\"\n");
        project.write("home/.keep", "");
        std::fs::create_dir_all(project.path("supabase/migrations")).expect("a folder");
    }

    fn write(&self, project: &Project, number: usize) {
        project.write(&format!("supabase/migrations/202401010000{number:02}_make_t{number}.sql"), &text(number));
    }

    fn up(&self, project: &Project) {
        push(project);
    }

    fn check(&self, project: &Project, applied: usize) {
        let (code, text) = supabase(project, &["migration", "list", "--db-url", &project.postgres]);
        assert_eq!(code, 0, "{text}");
        for number in 1..=applied {
            let version = format!("202401010000{number:02}");
            assert_eq!(text.matches(&version).count(), 2, "here and there\n{text}");
        }
        let text = push(project);
        assert!(text.contains("up to date"), "{text}");
        assert_eq!(
            project.sql_value("SELECT count(*) FROM supabase_migrations.schema_migrations"),
            applied.to_string()
        );
        // Whoever applied one wrote the same statements.
        let sql = "SELECT count(DISTINCT array_to_json(statements)::text) FROM (SELECT \
                   (SELECT array_agg(regexp_replace(s, '[tf][0-9]+', 'x', 'g') ORDER BY at) FROM unnest(statements) WITH ORDINALITY u(s, at)) \
                   AS statements FROM supabase_migrations.schema_migrations) all_of_them";
        assert_eq!(project.sql_value(sql), "1");
    }
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn files_run_both_ways() {
    both_ways(&Supabase);
}

#[test]
#[ignore = "needs the other tools: just interop"]
fn a_file_that_comes_late_is_refused_by_both() {
    let tool = Supabase;
    let project = open(&tool);
    tool.write(&project, 2);
    let migrate = project.lyrox(&["--output", "json", "db", "migrate"]);
    assert_eq!(changed(migrate.ok(), "applied"), 1, "{migrate}");
    tool.write(&project, 1);
    let (code, text) = supabase(&project, &["db", "push", "--db-url", &project.postgres, "--yes"]);
    assert!(code != 0 && text.contains("--include-all"), "{text}");
    project.lyrox(&["db", "migrate"]).exit(6).says("LYX-DRIFT-ORDER");
}
