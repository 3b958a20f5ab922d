//! Which environments take seeds.

use super::{TABLES, USERS, postgres_only};

#[test]
fn protected_environments_take_only_the_named_set() {
    let project = postgres_only("seed_guard", TABLES);
    project.write("seeds/dev/postgres/User.toml", USERS);
    let settings = |seeds: &str| {
        project.write(
            "lyrox.toml",
            &format!("[project]\nname = \"{}\"\n[postgres]\n[env.local]\nprotected = true\n{seeds}", project.name),
        );
    };
    settings("");
    project.lyrox(&["db", "seed"]).exit(3).says("LYX-PROTECTED").says("[env.local] seeds = \"dev\"");
    project.lyrox(&["db", "seed", "--dry-run"]).exit(3);
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0");
    settings("seeds = \"other\"\n");
    project.lyrox(&["db", "seed"]).exit(3);
    settings("seeds = \"dev\"\n");
    project.lyrox(&["db", "seed"]).ok().says("2 created");
    // Nothing was contacted: a host that is not this machine needs no answer to be refused.
    project.write(
        "lyrox.toml",
        "[project]\nname = \"x\"\n[postgres]\nurl = \"postgres://u:secret-word@db.example.com/d\"\ndirect_url = \"\"\n",
    );
    project.write(".env", "");
    project.lyrox(&["db", "seed"]).exit(3).says("not on this machine").never_says("secret-word");
}

#[test]
fn another_mark_stops_it() {
    let project = postgres_only("seed_mark", TABLES);
    project.write("seeds/dev/postgres/User.toml", USERS);
    let text = std::fs::read_to_string(project.path("lyrox.toml")).expect("a file");
    project.write("lyrox.toml", &format!("{text}\n[env.staging]\n"));
    project.lyrox(&["-e", "staging", "db", "seed"]).exit(6).says("LYX-MARK-DIFFERS");
    assert_eq!(project.sql_value(r#"SELECT count(*) FROM "User""#), "0");
}
