//! Where URLs come from: names of variables, `.env` files, files and commands of secret managers; and what is
//! refused on the way.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use crate::support::{Output, Project};

/// A project without a `.env` and with nothing but these sections.
fn bare(name: &str, sections: &str) -> Project {
    let project = Project::new(name, "");
    project.remove(".env").write("lyrox.toml", &format!("[project]\nname = \"{name}\"\n{sections}"));
    project
}

fn run(project: &Project, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = project.command(arguments);
    command.envs(environment.iter().copied());
    Output::new(arguments, &command.output().expect("lyrox runs"))
}

#[test]
fn the_names_that_providers_give_variables_are_known() {
    let project = bare("names", "[postgres]\n[mongodb]\ndatabase = \"d\"\n[redis]\n");
    for (variable, url, key) in [
        ("DATABASE_URL", "postgres://a.example/d", "postgres.url"),
        ("POSTGRES_URL", "postgres://a.example/d", "postgres.url"),
        ("POSTGRES_PRISMA_URL", "postgres://a.example/d", "postgres.url"),
        ("DIRECT_URL", "postgres://a.example/d", "postgres.direct_url"),
        ("DATABASE_DIRECT_URL", "postgres://a.example/d", "postgres.direct_url"),
        ("DATABASE_URL_UNPOOLED", "postgres://a.example/d", "postgres.direct_url"),
        ("POSTGRES_URL_NON_POOLING", "postgres://a.example/d", "postgres.direct_url"),
        ("MONGODB_URI", "mongodb://a.example", "mongodb.url"),
        ("MONGO_URI", "mongodb://a.example", "mongodb.url"),
        ("MONGO_URL", "mongodb://a.example", "mongodb.url"),
        ("REDIS_URL", "rediss://a.example", "redis.url"),
        ("KV_URL", "rediss://a.example", "redis.url"),
        ("REDIS_TLS_URL", "rediss://a.example", "redis.url"),
    ] {
        let shown = run(&project, &["config", "show", "--output", "json"], &[(variable, url)]);
        let values = shown.ok().json()["data"]["values"].as_array().expect("values").clone();
        let value = values.iter().find(|value| value["key"] == key).unwrap_or_else(|| panic!("{key}\n{shown}"));
        assert_eq!(value["origin"], format!("{variable}, from the environment"), "{shown}");
    }
    // The usual name wins; a name that lyrox.toml writes down is the only one.
    let both = [("POSTGRES_URL", "postgres://other.example/d"), ("DATABASE_URL", "postgres://usual.example/d")];
    run(&project, &["config", "show"], &both).ok().says("usual.example").never_says("other.example");
    let named = bare("names_own", "[postgres]\nurl = \"${DATABASE_URL}\"\n");
    let hinted = run(&named, &["-e", "local", "db", "status"], &[("POSTGRES_URL", "postgres://other.example/d")]);
    hinted.exit(2).says("LYX-URL-UNSET").says("POSTGRES_URL is set").says("url = \"${POSTGRES_URL}\"");
}

#[test]
fn a_url_may_come_from_a_file_a_command_or_standard_input() {
    let servers = Project::new("sources", "");
    let question = ["query", "postgres", "SELECT current_database()"];
    let works = |project: &Project, environment: &[(&str, &str)]| {
        run(project, &question, environment).ok().says(&servers.name);
    };
    let file = bare("sources_file", "[postgres]\nurl_file = \"secrets/url\"\n");
    file.write("secrets/url", &format!("{}\n", servers.postgres));
    works(&file, &[]);
    run(&file, &["config", "show"], &[]).ok().says("secrets/url").never_says("://");
    let mounted = bare("sources_mount", "[postgres]\nurl_file = \"${DATABASE_URL_FILE}\"\n");
    let path = file.path("secrets/url").display().to_string();
    works(&mounted, &[("DATABASE_URL_FILE", &path)]);
    run(&mounted, &question, &[]).exit(2).says("LYX-URL-UNSET").says("DATABASE_URL_FILE");

    let command = bare("sources_command", "[postgres]\nurl_command = [\"sh\", \"vault.sh\", \"read\"]\n");
    command.write("vault.sh", &format!("echo \"$1\" >> asked\nprintf '%s\\n' '{}'\n", servers.postgres));
    works(&command, &[("DATABASE_URL", "postgres://stray.example/d")]);
    assert_eq!(std::fs::read_to_string(command.path("asked")).expect("asked"), "read\n", "once a process");
    run(&command, &["config", "show"], &[]).ok().says("postgres.url_command").never_says("vault.sh");
    assert_eq!(std::fs::read_to_string(command.path("asked")).expect("asked"), "read\n", "only where it is needed");

    let piped = bare("sources_stdin", "[postgres]\n");
    let mut child = piped
        .command(&[&["--env-file", "-"], &question[..]].concat())
        .env("DATABASE_URL", "postgres://stray.example/d")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lyrox");
    use std::io::Write as _;
    let text = format!("DATABASE_URL='{}'\n", servers.postgres);
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("input");
    Output::new(&question, &child.wait_with_output().expect("an end")).ok().says(&servers.name);
    // The environment's own way takes the place of the section's.
    let other =
        "[postgres]\nurl = \"postgres://base.example/d\"\n[env.ci.postgres]\nurl_command = [\"sh\", \"vault.sh\"]\n";
    let other = bare("sources_env", other);
    other.write("vault.sh", &format!("printf '%s' '{}'", servers.postgres));
    run(&other, &[&["-e", "ci"], &question[..]].concat(), &[]).ok().says(&servers.name);
}

#[test]
fn a_source_that_gives_no_url_says_which_and_why_and_shows_nothing_of_it() {
    for (index, (section, script, said)) in [
        ("url_file = \"nowhere\"", "", "`nowhere` cannot be read"),
        ("url_command = [\"no-such-program-here\"]", "", "cannot be started"),
        ("url_command = [\"sh\", \"v.sh\"]", "echo postgres://u:s3cr3tpw@h/d; exit 3", "it ended with 3"),
        ("url_command = [\"sh\", \"v.sh\"]", "true", "gives nothing"),
        ("url_command = [\"sh\", \"v.sh\"]", "echo s3cr3tpw; echo s3cr3tpw", "more than one line"),
        ("url_command = [\"sh\", \"v.sh\"]", "kill -9 $$", "a signal ended it"),
    ]
    .into_iter()
    .enumerate()
    {
        let project = bare(&format!("sources_bad{index}"), &format!("[postgres]\n{section}\n"));
        project.write("v.sh", script);
        let output = run(&project, &["db", "status"], &[]);
        output.exit(2).says("LYX-SECRET").says(said).never_says("s3cr3tpw");
    }
    let wrong = bare("sources_wrong", "[postgres]\nurl_command = [\"echo\", \"postgres://u:s3cr3tpw@h:port/d\"]\n");
    run(&wrong, &["db", "status"], &[])
        .exit(2)
        .says("LYX-URL-INVALID")
        .says("the command `echo`")
        .never_says("s3cr3tpw");
    let twice = bare("sources_twice", "[redis]\nurl = \"redis://h\"\nurl_file = \"f\"\n");
    run(&twice, &["config", "show"], &[]).exit(2).says("LYX-CONFIG-VALUE").says("`url` and `url_file`");
}

#[test]
fn dotenv_files_are_read_where_they_belong_and_nowhere_else() {
    let project = bare("dotenv", "[redis]\n");
    let shown = |folder: &str, arguments: &[&str], environment: &[(&str, &str)]| {
        let mut command = project.command(&[&["config", "show"], arguments].concat());
        command.current_dir(project.path(folder)).envs(environment.iter().copied());
        Output::new(arguments, &command.output().expect("lyrox runs"))
    };
    project
        .write(".env", "REDIS_URL=redis://root.example\nUNRELATED=1\n")
        .write("sub/.env", "REDIS_URL=redis://sub.example\n");
    // The project's own, from wherever it is called; the process wins, and a named file over all.
    shown(".", &[], &[]).ok().says("root.example").says("# .env: REDIS_URL, UNRELATED");
    shown("sub", &[], &[]).ok().says("root.example").never_says("sub.example");
    shown(".", &[], &[("REDIS_URL", "redis://process.example")]).ok().says("process.example");
    let named = [("REDIS_URL", "redis://process.example")];
    shown(".", &["--env-file", "sub/.env"], &named).ok().says("sub.example").says("REDIS_URL, from sub/.env");
    shown(".", &["--env-file", "nowhere"], &[]).exit(2).says("LYX-FILE-MISSING").says("nowhere");
    // Not at all, and in a pipeline only where it is asked for.
    shown(".", &["--no-env-file"], &[]).ok().says("not set: REDIS_URL").never_says("root.example");
    shown(".", &[], &[("CI", "true")]).ok().says("CI is set").never_says("root.example");
    shown(".", &["--env-file", ".env"], &[("CI", "true")]).ok().says("root.example");
    shown(".", &[], &[("CI", "true"), ("LYROX_ENV_FILE", ".env")]).ok().says("root.example");
    let unset = run(&project, &["db", "status"], &[("CI", "1")]);
    unset.exit(2).says("LYX-URL-UNSET").says("CI is set").says("--env-file .env");
    // A link may not lead out of the folder.
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::write(outside.path().join("env"), "REDIS_URL=redis://outside.example\n").expect("a file");
    project.remove(".env");
    std::os::unix::fs::symlink(outside.path().join("env"), project.path(".env")).expect("a link");
    shown(".", &[], &[]).exit(2).says("link that leaves").says("--env-file").never_says("outside.example");
    project.remove(".env");
    std::os::unix::fs::symlink(project.path("sub/.env"), project.path(".env")).expect("a link");
    shown(".", &[], &[]).ok().says("sub.example");
}

#[test]
fn config_check_warns_of_dotenv_files_that_others_can_read() {
    let project = bare("dotenv_open", "[redis]\n");
    project.write(".env", "REDIS_URL=rediss://:longsecret@root.example\n").write("migrations/1_a.up.redis", "PING\n");
    let mode =
        |mode| std::fs::set_permissions(project.path(".env"), std::fs::Permissions::from_mode(mode)).expect("a mode");
    mode(0o644);
    let open = run(&project, &["config", "check", "--output", "json"], &[]);
    assert_eq!(open.item("config.dotenv.readable")["outcome"], "warn", "{open}");
    open.says("chmod 600 .env").never_says("longsecret");
    mode(0o600);
    run(&project, &["config", "check"], &[]).never_says("chmod").says("lyrox.toml");
    let git = |arguments: &[&str]| {
        let done = std::process::Command::new("git").args(arguments).current_dir(project.root()).output();
        done.is_ok_and(|output| output.status.success())
    };
    if git(&["init", "-q"]) && git(&["add", "-f", ".env", "lyrox.toml"]) {
        run(&project, &["config", "check"], &[]).says("tracked by git").says("git rm --cached .env");
        // Every command that would use it says so.
        run(&project, &["query", "redis", "PING"], &[("REDIS_URL", "redis://127.0.0.1:1")])
            .exit(4)
            .says("tracked by git");
    }
    assert!(git(&["rm", "-q", "--cached", ".env"]));
    run(&project, &["config", "check"], &[]).never_says("tracked by git").says("lyrox.toml");
}

#[test]
fn a_url_that_gives_up_verification_needs_a_flag() {
    for (index, (section, variable, url, said)) in [
        ("[postgres]", "DATABASE_URL", "postgres://u:longsecret@h.invalid/d?sslmode=no-verify", "sslmode=no-verify"),
        (
            "[mongodb]\ndatabase = \"d\"",
            "MONGODB_URI",
            "mongodb://u:longsecret@h.invalid/?tlsInsecure=true",
            "tlsInsecure=true",
        ),
        (
            "[mongodb]\ndatabase = \"d\"",
            "MONGODB_URI",
            "mongodb://u:longsecret@h.invalid/?tlsAllowInvalidCertificates=true",
            "tlsAllowInvalidCertificates=true",
        ),
        ("[redis]", "REDIS_URL", "rediss://:longsecret@h.invalid#insecure", "#insecure"),
    ]
    .into_iter()
    .enumerate()
    {
        let project = bare(&format!("unverified{index}"), section);
        let refused = run(&project, &["check"], &[(variable, url)]);
        refused.exit(2).says("LYX-URL-UNVERIFIED").says(said).says("--insecure-tls").never_says("longsecret");
        // With the flag it goes on to the server, which is not there.
        run(&project, &["--insecure-tls", "check"], &[(variable, url)]).exit(4).says("LYX-CONNECT-NAME");
    }
}

/// By its address `0.0.0.0` is another machine's; a connection to it ends at this one's servers, which have no TLS.
#[test]
fn a_remote_host_is_reached_through_verified_tls_unless_the_url_says_otherwise() {
    let project = Project::new("remote_tls", "");
    let remote = |url: &str| url.replacen("127.0.0.1", "0.0.0.0", 1).replacen("localhost", "0.0.0.0", 1);
    let with = |url: &str, option: &str| match url.contains('?') {
        true => format!("{}&{option}", remote(url)),
        false => format!("{}?{option}", remote(url)),
    };
    for (variable, store, url, weaker) in [
        ("DATABASE_URL", "postgres", &project.postgres, "sslmode=disable"),
        ("MONGODB_URI", "mongodb", &project.mongodb, "tls=false"),
    ] {
        let status = ["query", store, if store == "mongodb" { "{ \"ping\": 1 }" } else { "SELECT 1" }];
        run(&project, &status, &[(variable, url)]).ok();
        run(&project, &status, &[(variable, &remote(url))]).exit(4).says("LYX-TLS");
        run(&project, &status, &[(variable, &with(url, weaker))]).ok();
        let check = run(&project, &["check", "--only", store], &[(variable, &remote(url))]);
        check.exit(4).says("LYX-TLS").says(weaker);
        let warned = run(&project, &["check", "--only", store, "--output", "json"], &[(variable, &with(url, weaker))]);
        warned.ok();
    }
}
