//! Bad input of every kind: a clear error with its code, a hint, the documented exit code, nothing changed.

use crate::support::Project;

fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    project.write("migrations/1_a.up.sql", "CREATE TABLE a (id int);\n");
    project
}

#[track_caller]
fn nothing_was_made(project: &Project) {
    assert_eq!(project.sql_value("SELECT count(*) FROM pg_namespace WHERE nspname = 'lyrox'"), "0");
    assert_eq!(project.sql_value("SELECT to_regclass('a') IS NULL"), "t");
}

#[test]
fn bad_files_are_refused_before_anything_is_sent() {
    let cases: [(&str, &str, &str, &[u8]); 10] = [
        ("LYX-FILE-EMPTY", "2_b.up.sql", "2_b.up.sql", b"  \n"),
        ("LYX-FILE-DUPLICATE", "new version", "1_b.up.sql", b"SELECT 1;"),
        ("LYX-FILE-NAME", "rename", "second.sql", b"SELECT 1;"),
        ("LYX-FILE-ENCODING", "UTF-8", "2_b.up.sql", b"SELECT '\xff';"),
        ("LYX-FILE-SYNTAX", "2_b.up.sql:2", "2_b.up.sql", b"SELECT 1;\nSELECT 'half"),
        ("LYX-FILE-SYNTAX", "2_b.up.json:1", "2_b.up.json", b"[{ \"create\": "),
        ("LYX-FILE-SYNTAX", "2_b.up.redis:1", "2_b.up.redis", b"SET \"a"),
        ("LYX-FILE-SYNTAX", "no-transactions", "2_b.up.sql", b"-- lyrox: no-transactions\nSELECT 1;"),
        ("LYX-FILE-MISSING", "@missing.lua", "2_b.up.redis", b"FUNCTION LOAD @missing.lua"),
        ("LYX-FILE-NAME", "2_b.down.sql", "2_b.down.sql", b"SELECT 1;"),
    ];
    for (code, text, file, bytes) in cases {
        let project = project("err_file");
        std::fs::write(project.path("migrations").join(file), bytes).expect("a file");
        project.lyrox(&["db", "migrate"]).exit(2).says(code).says(text);
        nothing_was_made(&project);
    }
    let project = project("err_folder");
    std::fs::create_dir(project.path("migrations/2_b.up.sql")).expect("a folder");
    project.lyrox(&["db", "migrate"]).exit(2).says("LYX-FILE-KIND").says("is a folder");
    std::fs::remove_dir_all(project.path("migrations")).expect("no folder");
    project.lyrox(&["db", "migrate"]).exit(2).says("LYX-FILE-MISSING");
    nothing_was_made(&project);
}

#[test]
fn a_missing_or_broken_configuration_says_what_to_do() {
    let project = project("err_config");
    project.remove("lyrox.toml");
    project.lyrox(&["db", "migrate"]).exit(2).says("LYX-CONFIG-MISSING").says("lyrox init");
    project.write("lyrox.toml", "[postgres\n");
    project.lyrox(&["db", "migrate"]).exit(2).says("LYX-CONFIG-SYNTAX").says("lyrox.toml:1");
    project.write("lyrox.toml", "[postgres]\nurll = \"x\"\n");
    project.lyrox(&["check"]).exit(2).says("LYX-CONFIG-KEY").says("did you mean `url`");
    std::fs::remove_file(project.path("lyrox.toml")).expect("a file");
    std::fs::create_dir(project.path("lyrox.toml")).expect("a folder");
    project.lyrox(&["check"]).exit(2);
}

#[test]
fn unreachable_and_refused_servers_end_with_4() {
    let project = project("err_connect");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let set = |name: &str, url: &str| {
        let mut command = project.command(&["db", "migrate"]);
        let output = command.env(name, url).output().expect("lyrox");
        crate::support::Output::new(&["db", "migrate"], &output)
    };
    for (name, url) in [
        ("DATABASE_URL", format!("postgres://u:secretsecret@127.0.0.1:{free}/d")),
        ("MONGODB_URI", format!("mongodb://u:secretsecret@127.0.0.1:{free}/d")),
        ("REDIS_URL", format!("redis://u:secretsecret@127.0.0.1:{free}")),
    ] {
        let run = set(name, &url);
        run.exit(4).says("LYX-CONNECT-REFUSED").says("hint").never_says("secretsecret");
    }
    let wrong = |url: &str| {
        let (head, tail) = url.split_once("://").expect("a URL");
        let (login, rest) = tail.rsplit_once('@').expect("a login");
        let user = login.split(':').next().expect("a user");
        format!("{head}://{user}:notthepassword@{rest}")
    };
    for (name, url, code) in [
        ("DATABASE_URL", wrong(&project.postgres), "LYX-AUTH-POSTGRES"),
        ("MONGODB_URI", wrong(&project.mongodb), "LYX-AUTH-MONGODB"),
        ("REDIS_URL", wrong(&project.redis), "LYX-AUTH-REDIS"),
    ] {
        let run = set(name, &url);
        run.exit(4).says(code).never_says("notthepassword");
    }
    nothing_was_made(&project);
}

#[test]
fn wrong_usage_ends_with_2() {
    let project = project("err_usage");
    for arguments in [
        &["db", "migrat"][..],
        &["--only", "mysql", "check"],
        &["db", "migrate", "--to", "7777"],
        &["-e", "nowhere", "db", "status"],
        &["explain", "LYX-NOTHING"],
        &["-C", "no/such/folder", "check"],
    ] {
        let run = project.lyrox(arguments);
        run.exit(2);
        assert!(!run.stderr.is_empty(), "{run}");
    }
}

/// Codes that people paste from elsewhere are explained as well, with the one that lyrox gives to the same cause.
#[test]
fn the_codes_of_others_are_explained() {
    let project = crate::support::Project::new("errors_explain", "");
    for (code, family, says) in [
        ("P1001", "Prisma", "LYX-CONNECT-TIMEOUT"),
        ("p3005", "Prisma", "lyrox db baseline"),
        ("28P01", "PostgreSQL", "LYX-AUTH-POSTGRES"),
        ("18", "MongoDB", "authSource=admin"),
        ("NotWritablePrimary", "MongoDB", "LYX-CONNECT-READ-ONLY"),
        ("noauth", "Redis", "LYX-AUTH-MISSING"),
    ] {
        project.lyrox(&["explain", code]).ok().says(family).says(says);
        let json = project.lyrox(&["explain", code, "--output", "json"]);
        assert!(json.ok().json()["data"][0]["of"].as_str().expect("whose").starts_with(family), "{json}");
    }
    project.lyrox(&["explain", "P1009"]).exit(2).says("did you mean P100");
}
