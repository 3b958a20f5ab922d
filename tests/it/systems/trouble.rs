//! The troubleshooting pages of the five: what each lists is answered by lyrox's own message.

use super::{alone, shared};

/// A URL of the project's database with a part replaced, in `.env`.
fn with_url(project: &crate::support::Project, url: &str) {
    project.write(".env", &format!("DATABASE_URL='{url}'\n"));
}

#[test]
fn a_server_that_cannot_be_reached_is_named_with_where_its_url_is_from() {
    let helvino = shared("helvino", "sys_reach");
    with_url(&helvino, "postgresql://helvino:helvino_dev_password@localhost:1/helvino_dev");
    for command in
        [&["check"][..], &["db", "migrate"], &["db", "seed"], &["db", "smoke-test"], &["db", "status"], &["setup"]]
    {
        let output = helvino.lyrox(command);
        output.exit(4).says("localhost:1").says("DATABASE_URL, from .env").says("LYX-CONNECT-REFUSED");
        output.says("lyrox up").never_says("helvino_dev_password");
    }
    // The environment wins over the file, and the message says so.
    let mut command = helvino.command(&["db", "migrate"]);
    command.env("DATABASE_URL", "postgresql://helvino:helvino_dev_password@localhost:2/helvino_dev");
    let output = crate::support::Output::new(&["db", "migrate"], &command.output().expect("lyrox"));
    output.exit(4).says("localhost:2").says("DATABASE_URL, from the environment");
}

#[test]
fn missing_tables_are_answered_with_migrate_and_missing_rows_with_seed() {
    let helvino = shared("helvino", "sys_missing");
    helvino.lyrox(&["check"]).exit(1).says("relation \"organizations\" does not exist").says("hint: lyrox db migrate");
    helvino.lyrox(&["db", "seed"]).says("organizations").says("hint: lyrox db migrate");
    let tests = helvino.lyrox(&["db", "smoke-test", "--tag", "chat"]);
    tests.exit(1).says("relation \"organizations\" does not exist").says("hint: lyrox db migrate");
    tests.never_says("lyrox db seed");
    helvino.lyrox(&["query", "postgres", "SELECT * FROM organizations"]).says("lyrox db status");

    helvino.lyrox(&["db", "migrate"]).ok();
    helvino.lyrox(&["check"]).exit(1).says("the query found nothing").says("hint: lyrox db seed");
    let tests = helvino.lyrox(&["db", "smoke-test", "--tag", "chat"]);
    tests.exit(1).says("Verify demo organization exists").says("hint: lyrox db seed").never_says("lyrox db migrate");

    helvino.lyrox(&["db", "seed"]).ok();
    helvino.lyrox(&["check"]).ok().says("Created/verified organization: demo");
    helvino.lyrox(&["db", "smoke-test", "--tag", "chat"]).ok();
}

#[test]
fn a_port_in_use_is_told_with_who_uses_it() {
    let helvino = alone("helvino");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let settings = std::fs::read_to_string(helvino.path().join("lyrox.toml")).expect("lyrox.toml");
    let file = helvino.path().join("lyrox.toml");
    std::fs::write(&file, format!("{settings}\n[local]\npostgres_port = {port}\n")).expect("lyrox.toml");
    let output = helvino.lyrox(&["setup"]);
    output.exit(4).says(&format!("port {port}")).says(&format!("(process {})", std::process::id()));
    output.says("set `postgres_port` to another port");
    // Without a port of its own it takes a free one.
    std::fs::write(&file, settings).expect("lyrox.toml");
    helvino.lyrox(&["setup", "--skip", "smoke-test"]).ok();
}

#[test]
fn a_url_that_is_not_set_is_named() {
    let chat = shared("conference-chat", "sys_unset");
    chat.remove(".env");
    let output = chat.lyrox(&["-e", "production", "db", "migrate"]);
    output.exit(2).says("DATABASE_URL is not set").says("in the environment or in .env.production");
    chat.lyrox(&["db", "migrate"]).exit(2).says("DATABASE_URL is not set").says("lyrox up");
    chat.write(".env", "DATABASE_URL=\n");
    chat.lyrox(&["check"]).exit(2).says("DATABASE_URL is not set");
}

#[test]
fn a_refused_login_is_told_with_role_and_source() {
    let chat = shared("conference-chat", "sys_login");
    let (scheme, rest) = chat.postgres.split_once("://").expect("a URL");
    let (login, place) = rest.rsplit_once('@').expect("a login");
    let user = login.split(':').next().expect("a user");
    with_url(&chat, &format!("{scheme}://{user}:not-the-password@{place}"));
    for command in [&["check"][..], &["db", "migrate"], &["setup"]] {
        let output = chat.lyrox(command);
        output.exit(4).says("LYX-AUTH-POSTGRES").says(user).says("DATABASE_URL, from .env").says("lyrox url inspect");
        output.never_says("not-the-password");
    }
}

#[test]
fn sessions_that_do_not_persist_have_a_test_that_says_why() {
    let chat = shared("conference-chat", "sys_sessions");
    let wanted = "A session persists";
    let before = chat.lyrox(&["db", "smoke-test", "--tag", "session"]);
    before.exit(1).says(wanted).says("relation \"session\" does not exist").says("hint: lyrox db migrate");
    chat.lyrox(&["db", "migrate"]).ok();
    chat.lyrox(&["db", "smoke-test", "--tag", "session"]).ok().says(wanted);
    // A table that forgets, as one that is emptied at a crash: the schema's own test names it.
    chat.sql("ALTER TABLE session SET UNLOGGED");
    chat.lyrox(&["db", "smoke-test"]).exit(1).says("session");
}

#[test]
fn neons_pooler_is_known_by_its_name_and_migrations_go_around_it() {
    let chat = shared("conference-chat", "sys_neon");
    let example = std::fs::read_to_string(chat.path(".env.example")).expect(".env.example");
    let line = example.lines().find(|line| line.starts_with("DATABASE_URL=")).expect("a URL");
    assert!(line.contains("-pooler.") && line.contains("sslmode=require"), "{line}");
    let url = line.split('"').nth(1).expect("a value");
    let inspected = chat.lyrox(&["url", "inspect", url]);
    inspected.says("Neon").says("pooler").never_says(":PASSWORD@");
}
