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

#[test]
fn sets_extend_in_chains_and_several_at_once() {
    let project = postgres_only("seed_chain", "CREATE TABLE t (name text PRIMARY KEY, v int)");
    let row = |set: &str, rows: &str| {
        project.write(&format!("seeds/{set}/postgres/t.toml"), rows);
    };
    row("base", "[rows.a]\nname = \"a\"\nv = 1\n[rows.b]\nname = \"b\"\nv = 1\n");
    project.write("seeds/base/postgres/once.sql", "INSERT INTO t VALUES ('script', 0);\n");
    row("left", "[rows.a]\nv = 2\n[rows.l]\nname = \"l\"\n");
    row("right", "[rows.a]\nv = 3\n[rows.r]\nname = \"r\"\n");
    row("top", "[rows.b]\nv = 9\n");
    project.write("seeds/left/set.toml", "extends = \"base\"\n");
    project.write("seeds/right/set.toml", "extends = [\"base\"]\n");
    project.write("seeds/top/set.toml", "extends = [\"left\", \"right\"]\n");
    project.lyrox(&["db", "seed", "--set", "top"]).ok();
    // The base lies under both, once; what is named last lies on top.
    assert_eq!(project.sql_value("SELECT string_agg(concat(name, v), ' ' ORDER BY name) FROM t"), "a3 b9 l r script0");
    project.lyrox(&["db", "seed", "--set", "top"]).ok().never_says("created").never_says("updated");
    project.write("seeds/base/set.toml", "extends = \"top\"\n");
    let circle = project.lyrox(&["db", "seed", "--set", "top"]);
    circle.exit(2).says("LYX-SEED-FILE").says("top extends left extends base extends top").says("seeds/base/set.toml");
    project.write("seeds/base/set.toml", "extends = \"base\"\n");
    project.lyrox(&["db", "seed", "--set", "base"]).exit(2).says("base extends base");
    project.write("seeds/base/set.toml", "extends = \"bsae\"\n");
    project.lyrox(&["db", "seed", "--set", "base"]).exit(2).says("did you mean `base`?");
    project.write("seeds/base/set.toml", "extends = 3\n");
    project.lyrox(&["db", "seed", "--set", "base"]).exit(2).says("`extends` names no sets").says("set.toml:1");
}
