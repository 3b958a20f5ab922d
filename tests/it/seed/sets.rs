//! Sets that extend each other, and the modes of a target.

use super::{detail, postgres_only};

#[test]
fn sets_extend_each_other_and_modes_differ() {
    let project = postgres_only("seed_sets", "CREATE TABLE t (name text PRIMARY KEY, v int, w int)");
    project
        .write("seeds/base/postgres/t.toml", "[rows.a]\nname = \"a\"\nv = 1\nw = 1\n[rows.b]\nname = \"b\"\nv = 1\n");
    project.write("seeds/demo/set.toml", "extends = \"base\"\n");
    project.write("seeds/demo/postgres/t.toml", "[rows.a]\nv = 2\n[rows.c]\nname = \"c\"\n");
    let seed = || detail(&project, &["db", "seed", "--set", "demo"], "postgres.t");
    let rows = || project.sql_value("SELECT string_agg(concat(name, v, '-', w), ' ' ORDER BY name) FROM t");
    assert_eq!(seed(), "3 created");
    assert_eq!(rows(), "a2-1 b1- c-");
    assert_eq!(seed(), "3 unchanged");

    project.sql("UPDATE t SET v = 9");
    let set_mode = |mode: &str| {
        project.write(
            "seeds/demo/postgres/t.toml",
            &format!("mode = \"{mode}\"\n[rows.a]\nv = 2\n[rows.c]\nname = \"c\"\n"),
        );
    };
    set_mode("insert");
    project.sql("DELETE FROM t WHERE name = 'c'");
    assert_eq!(seed(), "1 created, 2 unchanged");
    assert_eq!(rows(), "a9-1 b9- c-");
    set_mode("once");
    assert_eq!(seed(), "2 updated, 1 unchanged");
    project.sql("DELETE FROM t WHERE name = 'c'");
    assert_eq!(seed(), "3 unchanged; applied once before");
    assert_eq!(rows(), "a2-1 b1-");
    set_mode("replace");
    project.sql("INSERT INTO t VALUES ('z', 1)");
    assert_eq!(
        detail(&project, &["db", "seed", "--set", "demo", "--dry-run"], "postgres.t"),
        "1 to create, 1 to delete, 2 unchanged"
    );
    assert_eq!(seed(), "1 created, 1 deleted, 2 unchanged");
    assert_eq!(rows(), "a2-1 b1- c-");
    assert_eq!(seed(), "3 unchanged");
}
