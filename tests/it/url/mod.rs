//! `lyrox url`: through the binary, as a user types it.

mod cases;
mod clients;
mod logins;
mod sources;
pub mod srv;

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::servers::binary;
use crate::support::{Output, Project};

fn with_input(arguments: &[&str], environment: &[(&str, &str)], input: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(folder.path()).env_clear().envs(environment.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("lyrox runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("input");
    Output::new(arguments, &child.wait_with_output().expect("an end"))
}

fn run(arguments: &[&str]) -> Output {
    with_input(arguments, &[], "")
}

#[test]
fn encode_and_decode_undo_each_other() {
    let run_ok = run(&["url", "encode", "p??ss"]);
    assert_eq!((run_ok.ok().stdout.as_str(), run_ok.stderr.as_str()), ("p%3F%3Fss\n", ""));
    assert_eq!(with_input(&["url", "encode"], &[], "a b@\n").ok().stdout, "a%20b%40\n");
    assert_eq!(run(&["url", "encode", "--", "-x/ü"]).ok().stdout, "-x%2F%C3%BC\n");
    assert_eq!(run(&["url", "decode", "p%3F%3Fss"]).ok().stdout, "p??ss\n");
    run(&["url", "decode", "100%"]).exit(2).says("LYX-USAGE").says("%25");
    let twice = run(&["url", "encode", "p%3Fss"]);
    twice.exit(2).says("encoded already").says("--raw");
    assert_eq!(twice.stdout, "");
    assert_eq!(run(&["url", "encode", "--raw", "p%3Fss"]).ok().stdout, "p%253Fss\n");
    run(&["url", "encode", "redis://:x@h"]).ok().says("a whole URL");
    assert_eq!(run(&["url", "encode", "a?", "--output", "json"]).ok().json()["data"], "a%3F");
}

#[test]
fn build_takes_the_password_from_standard_input_only() {
    let parts = ["url", "build", "--store", "postgres", "--user", "me", "--host", "h:1", "--database", "d"];
    let with = |more: &[&'static str], input| with_input(&[&parts[..], more].concat(), &[], input);
    let built = with(&["--tls", "--password-stdin"], "p@??:/#%\n");
    assert_eq!(built.ok().stdout, "postgresql://me:p%40%3F%3F%3A%2F%23%25@h:1/d?sslmode=verify-full\n");
    with(&[], "").exit(2).says("--password-stdin");
    with(&["--password-stdin"], "").exit(2).says("empty");
    with(&["--option", "sslpassword=x", "--no-password"], "").exit(2).says("takes no secret");
    assert_eq!(with(&["--no-password"], "").ok().stdout, "postgresql://me@h:1/d\n");
    run(&["url", "build", "--store", "postgres", "--host", "a@b", "--no-password"]).exit(2).says("LYX-URL-INVALID");
    let dotenv = with(&["--format", "dotenv", "--password-stdin"], "p'@$`\\!#\n");
    assert_eq!(dotenv.ok().stdout, "DATABASE_URL='postgresql://me:p%27%40%24%60%5C%21%23@h:1/d'\n");
    let shell = with(&["--format", "shell", "--name", "DIRECT_URL", "--no-password"], "");
    assert_eq!(shell.ok().stdout, "export DIRECT_URL='postgresql://me@h:1/d'\n");
    with(&["--name", "no name", "--no-password"], "").exit(2);
    let help = run(&["url", "build", "--help"]);
    assert!(!help.ok().stdout.contains("--password <"), "{help}");
}

#[test]
fn inspect_explains_and_keeps_the_secret() {
    let raw = "postgres://postgres:tr??cky@pw@aws-0-eu-west-1.pooler.supabase.com:6543/postgres";
    let inspect = |more: &[&'static str]| {
        with_input(&[&["url", "inspect", "--env", "SOME_URL"], more].concat(), &[("SOME_URL", raw)], "")
    };
    let shown = inspect(&[]);
    shown.ok().says("Supabase").says("transaction pooler").says("`?` `@`").says("postgres.<project ref>");
    shown.says("SOME_URL, from the environment").never_says("tr??cky@pw").never_says("tr%3F%3Fcky");
    let json = inspect(&["--output", "json"]);
    assert_eq!(json.ok().json()["data"]["password"], "***");
    assert_eq!(json.json()["data"]["hosts"][0]["port"], 6543);
    json.never_says("tr??cky@pw").never_says("tr%3F%3Fcky");
    let revealed = inspect(&["--reveal"]);
    assert!(revealed.ok().stdout.contains("tr%3F%3Fcky%40pw@aws-0"), "{revealed}");
    assert!(!revealed.stderr.contains("cky"), "{revealed}");

    let argument = run(&["url", "inspect", "redis://:longsecret@localhost/0"]);
    argument.ok().says("visible in the process list").never_says("longsecret");
    with_input(&["url", "inspect"], &[], "redis://localhost:6379\n").ok().says("localhost:6379");
    run(&["url", "inspect", "--env", "NO_SUCH_VARIABLE"]).exit(2).says("NO_SUCH_VARIABLE");
    run(&["url", "inspect", "longsecret://x:longsecret"]).exit(2).says("LYX-URL-INVALID").never_says("longsecret");
    for (url, hint) in [
        ("https://eu1-moose.upstash.io", "rediss://"),
        ("postgresql+asyncpg://u:p@h/d", "postgresql://"),
        ("mysql://u:p@h/d", "PostgreSQL, MongoDB and Redis"),
    ] {
        run(&["url", "inspect", url]).exit(2).says(hint);
    }
}

#[test]
fn inspect_reads_the_projects_dotenv_of_the_environment() {
    let project = Project::new("url_env", "[env.staging]\n");
    project.write(".env.staging", "REDIS_URL=redis://:stagingsecret@staging.example:6380/2\n");
    let staging = project.lyrox(&["-e", "staging", "url", "inspect", "--env", "REDIS_URL"]);
    staging.ok().says("staging.example:6380").says(".env.staging").never_says("stagingsecret");
    project.lyrox(&["url", "inspect", "--env", "DATABASE_URL"]).ok().says(&project.name);
}

#[test]
fn redact_masks_a_stream() {
    let text = "a postgres://u:o?ne@h/d and redis://:t@wo@h\nPGPASSWORD=three x\nlast";
    let shown = with_input(&["url", "redact"], &[], text);
    assert_eq!(shown.ok().stdout, "a postgres://u:***@h/d and redis://:***@h\nPGPASSWORD=*** x\nlast");
    run(&["url", "redact", "--output", "json"]).exit(2);

    // What the project calls secret is masked as well, in any form.
    let project = Project::new("url_redact", "");
    project.write(".env", "API_SECRET='sesame?open'\nREDIS_URL='redis://:anothersecret@h'\n");
    let mut child = project
        .command(&["url", "redact"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("lyrox runs");
    let text = b"got sesame?open, sesame%3Fopen and anothersecret\n";
    child.stdin.take().expect("a pipe").write_all(text).expect("input");
    let shown = Output::new(&["url", "redact"], &child.wait_with_output().expect("an end"));
    assert_eq!(shown.ok().stdout, "got ***, *** and ***\n");
}

#[test]
fn inspect_tells_the_other_door_and_how_libraries_read_it() {
    let inspect = |url: &str, more: &[&'static str]| {
        with_input(&[&["url", "inspect", "--env", "SOME_URL"], more].concat(), &[("SOME_URL", url)], "")
    };
    let pooled = "postgresql://u:longpass@ep-cool-1-pooler.eu.aws.neon.tech/db?sslmode=verify-full";
    let shown = inspect(pooled, &[]);
    shown.ok().says("direct     postgresql://u@ep-cool-1.eu.aws.neon.tech/db").never_says("longpass");
    shown.says("otherwise  Prisma: does not know this `sslmode`").says("read alike libpq");
    assert!(shown.stdout.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let direct = inspect("postgresql://u:longpass@ep-cool-1.eu.aws.neon.tech/db", &["--output", "json"]);
    assert_eq!(direct.ok().json()["data"]["pooled"], "postgresql://u@ep-cool-1-pooler.eu.aws.neon.tech/db");
    let json = inspect("postgres://u:lo?ng@pass@h.example/db?schema=app", &["--output", "json"]);
    let clients = json.ok().never_says("lo?ng").json()["data"]["clients"].as_array().expect("clients").clone();
    assert_eq!(clients.len(), 8);
    let reads = |name: &str| clients.iter().find(|client| client["name"] == name).map(|client| client["reads"].clone());
    assert_eq!(reads("SQLAlchemy"), Some("refused".into()), "{json}");
    assert_eq!(reads("libpq (psql, psycopg)"), Some("refused".into()), "{json}");

    // Mended, and as a line of a file that every reader takes alike: with --reveal only.
    let raw = "postgres://u:tr??cky$w@h.example/db";
    inspect(raw, &[]).ok().never_says("tr%3F%3Fcky").says("--reveal");
    inspect(raw, &["--reveal"]).ok().says("SOME_URL='postgres://u:tr%3F%3Fcky%24w@h.example/db'");
    let project = Project::new("url_trap", "");
    project.write(".env", "REDIS_URL=redis://:tr#cky$w@h.example\n");
    project.lyrox(&["url", "inspect", "--env", "REDIS_URL"]).ok().says("without quotes").never_says("cky");
}
