//! P14: data that is protected, remote or merely there cannot be reset by accident. Without the exact
//! name, typed by whoever may type it, no statement reaches a server.

use super::witness::{Witness, remote_name};
use crate::support::Output;

/// Statements of PostgreSQL that change something.
const WRITES: [&str; 9] =
    ["DROP ", "DELETE ", "TRUNCATE", "INSERT ", "UPDATE ", "CREATE ", "ALTER ", "GRANT ", "COPY "];

struct Case<'a> {
    name: &'a str,
    arguments: &'a [&'a str],
    variables: Vec<(&'a str, &'a str)>,
    is_at_terminal: bool,
}

fn case<'a>(name: &'a str, arguments: &'a [&'a str], variables: &[(&'a str, &'a str)]) -> Case<'a> {
    Case { name, arguments, variables: variables.to_vec(), is_at_terminal: false }
}

fn at_terminal<'a>(name: &'a str, arguments: &'a [&'a str], variables: &[(&'a str, &'a str)]) -> Case<'a> {
    Case { name, arguments, variables: variables.to_vec(), is_at_terminal: true }
}

fn run(witness: &Witness, case: &Case) -> Output {
    if case.is_at_terminal {
        return witness.at_terminal(case.arguments, &case.variables, "lyrox_os");
    }
    let mut command = witness.alone.command(crate::support::servers::binary());
    let output = command.args(case.arguments).envs(case.variables.iter().copied()).output().expect("lyrox");
    Output::new(case.arguments, &output)
}

/// The URL of a local server as that of another host.
fn elsewhere(url: &str, host: &str) -> String {
    url.replace("@127.0.0.1:", &format!("@{host}:"))
}

#[test]
fn nothing_reaches_a_server_without_the_exact_name() {
    let witness = Witness::new();
    let urls = lyrox::servers::running(witness.alone.path()).expect("servers");
    let postgres = urls.postgres_direct.clone().expect("PostgreSQL");
    let remote = elsewhere(&postgres, "db.example.com");
    let remote_mongodb = elsewhere(&urls.mongodb.clone().expect("MongoDB"), "mongo.example.com");
    let other = lyrox::url::parse(lyrox::kind::StoreKind::Postgres, &postgres).expect("a URL");
    let other = other.with_database("another").expose();
    let (remote, remote_mongodb, other) = (remote.as_str(), remote_mongodb.as_str(), other.as_str());
    let cases = [
        case("no name, nobody to ask", &["db", "reset"], &[]),
        case("`--yes` is no consent", &["db", "reset", "--yes"], &[]),
        case("another name", &["db", "reset", "--confirm", "lyrox-os"], &[]),
        case("an empty name", &["db", "reset", "--confirm", ""], &[]),
        case("the name in other letters", &["db", "reset", "--confirm", "LYROX_OS"], &[]),
        case("in CI", &["db", "reset", "--yes"], &[("CI", "true")]),
        case("an agent that says yes", &["db", "reset", "--yes"], &[("CLAUDECODE", "1")]),
        case("a remote host, the name alone", &["db", "reset", "--confirm", "lyrox_os"], &[("DIRECT_URL", remote)]),
        case(
            "one remote store among local ones",
            &["db", "reset", "--confirm", "lyrox_os"],
            &[("MONGODB_URI", remote_mongodb)],
        ),
        case(
            "an agent with the exact name of a remote host",
            &["db", "reset", "--confirm", "lyrox_os@db.example.com"],
            &[("DIRECT_URL", remote), ("AI_AGENT", "1")],
        ),
        case(
            "a protected environment",
            &["-e", "production", "db", "reset", "--confirm", "lyrox_os"],
            &[
                ("DATABASE_URL", &postgres),
                ("MONGODB_URI", urls.mongodb.as_deref().expect("MongoDB")),
                ("REDIS_URL", urls.redis.as_deref().expect("Redis")),
            ],
        ),
        case(
            "a protected environment and every flag there is",
            &["-e", "production", "db", "reset", "--confirm", "lyrox_os", "--yes", "--include-foreign", "--no-input"],
            &[
                ("DATABASE_URL", &postgres),
                ("MONGODB_URI", urls.mongodb.as_deref().expect("MongoDB")),
                ("REDIS_URL", urls.redis.as_deref().expect("Redis")),
            ],
        ),
        case(
            "the name of the configured database, the URL of another",
            &["db", "reset", "--confirm", "lyrox_os"],
            &[("DIRECT_URL", other)],
        ),
        case("the hidden alias", &["reset", "--yes"], &[]),
        case("as JSON", &["db", "reset", "--output", "json"], &[]),
        case("rollback without a word", &["db", "rollback"], &[]),
        case(
            "an agent that rolls a remote host back",
            &["db", "rollback", "--no-input"],
            &[("DIRECT_URL", remote), ("CLAUDECODE", "1")],
        ),
        at_terminal("at a terminal, with --no-input", &["--no-input", "db", "reset"], &[]),
        at_terminal("at a terminal of CI", &["db", "reset"], &[("CI", "true")]),
        at_terminal("at a terminal of an agent", &["db", "reset"], &[("CLAUDECODE", "1")]),
        at_terminal(
            "a protected environment at a terminal",
            &["-e", "production", "db", "reset"],
            &[
                ("DATABASE_URL", &postgres),
                ("MONGODB_URI", urls.mongodb.as_deref().expect("MongoDB")),
                ("REDIS_URL", urls.redis.as_deref().expect("Redis")),
            ],
        ),
    ];
    let mut before = witness.reached();
    for case in &cases {
        let output = run(&witness, case);
        assert_eq!(output.code, 3, "{}\n{output}", case.name);
        let after = witness.reached();
        assert_eq!(after.statements, before.statements, "{}: PostgreSQL was sent statements\n{output}", case.name);
        assert_eq!(after.mongodb, before.mongodb, "{}: MongoDB was connected to\n{output}", case.name);
        assert_eq!(after.redis, before.redis + 1, "{}: Redis was connected to\n{output}", case.name);
        before = after;
    }
    assert!(cases.len() >= 12);
    // The witnesses can see: with the exact name all three stores are reached.
    witness.alone.lyrox(&["db", "reset", "--confirm", "lyrox_os"]).ok();
    let after = witness.reached();
    assert!(after.statements > before.statements + 10 && after.mongodb > before.mongodb, "{before:?} {after:?}");
    assert!(after.redis > before.redis + 1, "{before:?} {after:?}");
}

/// The statements since then that change something.
fn writes(witness: &Witness, since: usize) -> Vec<String> {
    let statements = witness.statements();
    let is_write = |line: &&String| {
        let upper = line.to_uppercase();
        WRITES.iter().any(|word| upper.contains(&format!(": {word}")) || upper.contains(&format!("; {word}")))
    };
    statements[since..].iter().filter(is_write).cloned().collect()
}

/// A tenant is removed by its exact slug alone; until it is given, its stores are read and no more.
#[test]
fn a_tenant_is_not_removed_without_its_exact_name() {
    let witness = Witness::new();
    witness.alone.lyrox(&["tenant", "adopt", "--all", "--no-credentials"]).ok();
    let list = witness.alone.lyrox(&["tenant", "list", "--output", "json"]).json();
    let tenants = list["data"]["tenants"].as_array().expect("tenants").clone();
    let text = |at: usize, field: &str| tenants[at][field].as_str().expect("a text").to_owned();
    let (key, slug, other) = (text(0, "key"), text(0, "slug"), text(1, "slug"));
    let delete = |more: &[&str]| -> Vec<String> {
        ["tenant", "delete", &key].iter().chain(more).map(|word| (*word).to_owned()).collect()
    };
    type Words<'a> = (&'a str, Vec<String>, &'a [(&'a str, &'a str)]);
    let cases: [Words<'_>; 10] = [
        ("no name, nobody to ask", delete(&[]), &[]),
        ("`--yes` is no consent", delete(&["--yes"]), &[]),
        ("another tenant's name", delete(&["--confirm", &other]), &[]),
        ("the database's name", delete(&["--confirm", "lyrox_os"]), &[]),
        ("an empty name", delete(&["--confirm", ""]), &[]),
        ("the name in other letters", delete(&["--confirm", &slug.to_uppercase()]), &[]),
        ("a host that is not there", delete(&["--confirm", &format!("{slug}@db.example.com")]), &[]),
        ("in CI", delete(&["--yes"]), &[("CI", "true")]),
        ("an agent that says yes", delete(&["--yes"]), &[("CLAUDECODE", "1")]),
        ("as JSON", delete(&["--output", "json"]), &[]),
    ];
    let fresh = witness.statements().len();
    for (name, arguments, variables) in &cases {
        let mut command = witness.alone.command(crate::support::servers::binary());
        let output = command.args(arguments).envs(variables.iter().copied()).output().expect("lyrox");
        let output = Output::new(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), &output);
        assert_eq!(output.code, 3, "{name}\n{output}");
        assert_eq!(writes(&witness, fresh), Vec::<String>::new(), "{name}\n{output}");
    }
    let declined = witness.at_terminal(&["tenant", "delete", &key], &[], &other);
    declined.exit(3).says(&format!("Type {slug}")).says("declined");
    witness.at_terminal(&["tenant", "delete", &key], &[("CI", "true")], &slug).exit(3);
    assert_eq!(writes(&witness, fresh), Vec::<String>::new());
    // The witness can see: with the exact name it goes.
    witness.alone.lyrox(&["tenant", "delete", &key, "--confirm", &slug]).ok();
    assert!(!writes(&witness, fresh).is_empty());
    assert!(!witness.alone.lyrox(&["tenant", "list"]).stdout.contains(&slug));
}

#[test]
fn before_consent_only_reading_reaches_a_server() {
    let witness = Witness::new();
    let fresh = witness.statements().len();
    // A person who types another name has been shown what would go, and nothing went.
    let declined = witness.at_terminal(&["db", "reset"], &[], "lyrox");
    declined.exit(3).says("Type lyrox_os").says("drop  postgres  table Company").says("declined");
    assert!(witness.statements().len() > fresh, "the list was read");
    assert_eq!(writes(&witness, fresh), Vec::<String>::new());
    witness.alone.lyrox(&["db", "reset", "--dry-run"]).ok();
    assert_eq!(writes(&witness, fresh), Vec::<String>::new());

    // The stores remember what the file no longer says.
    let urls = lyrox::servers::running(witness.alone.path()).expect("servers");
    let at = |arguments: &[&str], agent: &str, host: &str| {
        let mut command = witness.alone.command(crate::support::servers::binary());
        command.args(arguments).env("CLAUDECODE", agent);
        for (name, url) in [
            ("DIRECT_URL", &urls.postgres_direct),
            ("DATABASE_URL", &urls.postgres),
            ("MONGODB_URI", &urls.mongodb),
            ("REDIS_URL", &urls.redis),
        ] {
            let url = elsewhere(url.as_deref().expect("a URL"), host);
            let plain = if name.ends_with("_URL") && url.starts_with("postgres") && host != "127.0.0.1" {
                format!("{url}{}sslmode=disable", if url.contains('?') { '&' } else { '?' })
            } else {
                url
            };
            command.env(name, plain);
        }
        Output::new(arguments, &command.output().expect("lyrox"))
    };
    at(&["-e", "production", "env", "mark", "production", "--confirm", "production"], "", "127.0.0.1").ok();
    let file = witness.alone.path().join("lyrox.toml");
    let text = std::fs::read_to_string(&file).expect("lyrox.toml");
    std::fs::write(&file, text.replace("protected = true", "protected = false")).expect("lyrox.toml");
    let marked = witness.statements().len();
    let reset = ["-e", "production", "db", "reset", "--confirm", "lyrox_os"];
    at(&reset, "", "127.0.0.1").exit(3).says("LYX-PROTECTED").says("the store itself remembers it");
    // Another environment's name does not help, nor does calling it local.
    at(&["-e", "guarded", "db", "reset", "--confirm", "lyrox_os"], "", "127.0.0.1").exit(3);
    at(&["db", "reset", "--confirm", "lyrox_os"], "", "127.0.0.1").exit(3);
    // An agent does not take the mark away either.
    at(&["env", "mark", "local", "--confirm", "local"], "1", "127.0.0.1").exit(3).says("refused to an agent");
    assert_eq!(writes(&witness, marked), Vec::<String>::new());
    at(&["env", "mark", "local", "--confirm", "local"], "", "127.0.0.1").ok();

    // A host that is not this machine: its name is part of the name, and with it a person may.
    let Some(host) = remote_name() else { return };
    let before = witness.statements().len();
    let named = format!("lyrox_os@{host}");
    at(&["db", "reset", "--confirm", "lyrox_os"], "", &host).exit(3).says(&named);
    at(&["db", "reset", "--confirm", &named], "1", &host).exit(3).says("refused to an agent");
    assert_eq!(witness.statements().len(), before);
}
