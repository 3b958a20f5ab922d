//! Faults of a PostgreSQL server, of its users and databases, and of its certificates.

use super::certificates::file;
use super::servers::{self, Server};
use super::{Case, fakes, run};
use crate::support::{Project, sql};

const HBA: &str = "\
host all admin,nobody_here,no_login 0.0.0.0/0 trust
hostnossl all tls_only 0.0.0.0/0 reject
hostssl all tls_only 0.0.0.0/0 scram-sha-256
hostssl all shows_certificate 0.0.0.0/0 cert
host all turned_away 0.0.0.0/0 reject
host all people,reader,limited,crowd,stranger_at_home 0.0.0.0/0 scram-sha-256
";

const USERS: &str = "\
CREATE ROLE people LOGIN PASSWORD 'right'; CREATE ROLE reader LOGIN PASSWORD 'right'; \
CREATE ROLE limited LOGIN PASSWORD 'right' CONNECTION LIMIT 0; CREATE ROLE crowd LOGIN PASSWORD 'right'; \
CREATE ROLE tls_only LOGIN PASSWORD 'right'; CREATE ROLE shows_certificate LOGIN; CREATE ROLE turned_away LOGIN; \
CREATE ROLE no_login";

/// Databases, each with a fault of its own.
const DATABASES: &[&str] = &[
    "CREATE DATABASE good OWNER people",
    "CREATE DATABASE old OWNER people",
    "CREATE DATABASE closed OWNER people ALLOW_CONNECTIONS false",
    "CREATE DATABASE private OWNER admin",
    "REVOKE CONNECT ON DATABASE private FROM PUBLIC",
    "CREATE DATABASE crowded OWNER admin CONNECTION LIMIT 0",
    "CREATE DATABASE frozen OWNER people",
    "ALTER DATABASE frozen SET default_transaction_read_only = on",
    "CREATE DATABASE latin OWNER people ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'",
];

/// A configuration with an environment for each fault that needs one.
fn project(name: &str) -> Project {
    let project = Project::new(name, "");
    let ca = file("ca.pem").display().to_string();
    let text = format!(
        "[project]\nname = \"lab\"\n[postgres]\nurl = \"${{DATABASE_URL}}\"\n\
         [env.tls.postgres]\nca_file = \"{ca}\"\n[env.lost.postgres]\nca_file = \"/nowhere/ca.pem\"\n\
         [env.schema.postgres]\nschema = \"nowhere\"\n[env.absent.postgres]\nextensions = [\"no_such_extension\"]\n\
         [env.waiting.postgres]\nextensions = [\"plpgsql\", \"hstore\"]\n[env.role.postgres]\napp_role = \"app\"\n\
         [env.two.postgres]\ndirect_url = \"${{DIRECT_URL}}\"\n"
    );
    project.write("lyrox.toml", &text).write(".env", "");
    project
}

fn make(server: &Server) {
    let admin = server.url("admin", "/postgres");
    servers::wait_for("PostgreSQL's login", || sql(&admin, "SELECT 1").is_ok());
    sql(&admin, USERS).expect("users");
    for statement in DATABASES {
        sql(&admin, statement).unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
}

#[test]
fn what_a_server_refuses() {
    let tls = [
        ("ssl", "on"),
        ("ssl_cert_file", "../server.pem"),
        ("ssl_key_file", "../server.key"),
        ("ssl_ca_file", "../ca.pem"),
    ];
    let server = servers::postgres(HBA, &tls, false);
    let project = project("lab_pg");
    make(&server);
    let url = |login: &str, rest: &str| server.url(login, rest);
    let named = |login: &str, rest: &str| url(login, rest).replace("127.0.0.1", "localhost");
    let good = |rest: &str| named("people:right", &format!("/good?{rest}"));
    let through = |certificate: &str| {
        let port = fakes::tls(certificate, &server.place(), true);
        format!("postgres://people:right@localhost:{port}/good?sslmode=verify-full")
    };
    let cases = [
        Case::new("wrong password", url("people:wrong", "/good"), "auth", "LYX-AUTH-POSTGRES", "lyrox url inspect"),
        Case::new("encoded twice", url("people:a%2540b", "/good"), "auth", "LYX-AUTH-POSTGRES", "lyrox url inspect"),
        Case::new("no password", url("people", "/good"), "auth", "LYX-AUTH-MISSING", "lyrox url build"),
        Case::new("no such role", url("nobody_here", "/good"), "auth", "LYX-AUTH-ROLE", "create the role"),
        Case::new(
            "a role without LOGIN",
            url("no_login", "/good"),
            "auth",
            "LYX-AUTH-ROLE",
            "ALTER ROLE \"no_login\" LOGIN",
        ),
        Case::new(
            "no such database",
            url("people:right", "/nowhere"),
            "database",
            "LYX-DATABASE-MISSING",
            "createdb `nowhere`",
        ),
        Case::new(
            "a database that takes no connections",
            url("people:right", "/closed"),
            "database",
            "LYX-DATABASE-CLOSED",
            "ALLOW_CONNECTIONS true",
        ),
        Case::new(
            "no right to connect",
            url("people:right", "/private"),
            "database",
            "LYX-DATABASE-CLOSED",
            "GRANT CONNECT ON DATABASE \"private\"",
        ),
        Case::new(
            "the role's own limit",
            url("limited:right", "/good"),
            "auth",
            "LYX-CONNECT-LIMIT",
            "ALTER ROLE \"limited\"",
        ),
        Case::new(
            "the database's own limit",
            url("people:right", "/crowded"),
            "auth",
            "LYX-CONNECT-LIMIT",
            "ALTER DATABASE \"crowded\"",
        ),
        Case::new(
            "no TLS where it is a must",
            url("tls_only:right", "/good"),
            "auth",
            "LYX-TLS-REQUIRED",
            "sslmode=verify-full",
        ),
        Case::new(
            "an address without a line",
            named("stranger:right", "/good?sslmode=verify-full"),
            "auth",
            "LYX-AUTH-ADDRESS",
            "pg_hba.conf",
        )
        .within_environment("tls"),
        Case::new(
            "a user turned away",
            named("turned_away:right", "/good?sslmode=verify-full"),
            "auth",
            "LYX-AUTH-ADDRESS",
            "pg_hba.conf",
        )
        .within_environment("tls"),
        Case::new(
            "a certificate is asked for",
            named("shows_certificate", "/good?sslmode=verify-full"),
            "auth",
            "LYX-TLS-CLIENT",
            "sslcert=FILE",
        )
        .within_environment("tls"),
        Case::new("an unknown authority", good("sslmode=verify-full"), "tls", "LYX-TLS-AUTHORITY", "ca_file"),
        Case::new(
            "another name",
            url("people:right", "/good?sslmode=verify-full"),
            "tls",
            "LYX-TLS-NAME",
            "name that the certificate is for",
        )
        .within_environment("tls"),
        Case::new(
            "the authority's file is not there",
            good("sslmode=verify-full"),
            "tls",
            "LYX-FILE-MISSING",
            "ca_file",
        )
        .within_environment("lost"),
        Case::new("expired", through("expired"), "tls", "LYX-TLS-EXPIRED", "renew it").within_environment("tls"),
        Case::new("not valid yet", through("early"), "tls", "LYX-TLS-NOT-YET", "clocks").within_environment("tls"),
        Case::new("signed by itself", through("own"), "tls", "LYX-TLS-AUTHORITY", "ca_file").within_environment("tls"),
        Case::new("made for clients", through("client"), "tls", "LYX-TLS-CERTIFICATE", "for servers")
            .within_environment("tls"),
        Case::new("made for another host", through("other"), "tls", "LYX-TLS-NAME", "name that the certificate is for")
            .within_environment("tls"),
        Case::new("expires in three days", through("soon"), "tls.2", "LYX-TLS-EXPIRING", "renew it")
            .within_environment("tls")
            .warns(),
        Case::new(
            "read-only by default",
            url("people:right", "/frozen"),
            "server.2",
            "LYX-CONNECT-READ-ONLY",
            "RESET default_transaction_read_only",
        ),
        Case::new(
            "no right to create",
            url("reader:right", "/good"),
            "privileges",
            "LYX-PRIVILEGE",
            "GRANT CREATE ON SCHEMA",
        ),
        Case::new("no such schema", url("people:right", "/good"), "database", "LYX-SCHEMA-MISSING", "CREATE SCHEMA")
            .within_environment("schema")
            .warns(),
        Case::new(
            "an extension nobody has",
            url("people:right", "/good"),
            "extensions",
            "LYX-EXTENSION",
            "install `no_such_extension`",
        )
        .within_environment("absent"),
        Case::new(
            "an extension to be made",
            url("people:right", "/good"),
            "extensions",
            "LYX-EXTENSION",
            "lyrox -e waiting db migrate",
        )
        .within_environment("waiting")
        .warns(),
        Case::new("another encoding", url("people:right", "/latin"), "server.2", "LYX-ENCODING", "ENCODING 'UTF8'")
            .warns(),
        Case::new(
            "an application that is superuser",
            url("admin", "/good"),
            "privileges",
            "LYX-ROLE-POWER",
            "log in as `app`",
        )
        .within_environment("role")
        .warns(),
        Case::new(
            "two URLs, two databases",
            url("people:right", "/good"),
            "direct.urls",
            "LYX-URLS-DIFFER",
            "lyrox -e two config show",
        )
        .within_environment("two")
        .with("DIRECT_URL", url("people:right", "/old"))
        .warns(),
        Case::new(
            "TLS off over the network",
            format!("postgres://people:right@0.0.0.0:{}/good?sslmode=disable", server.port),
            "url",
            "LYX-URL-UNWISE",
            "sslmode=verify-full",
        )
        .warns(),
        Case::new(
            "a placeholder for a password",
            url("people:[YOUR-PASSWORD]", "/good"),
            "auth",
            "LYX-AUTH-POSTGRES",
            "lyrox url inspect",
        ),
    ];
    assert!(cases.len() >= 30);
    run(&project, "postgres", &cases);
    let output = project
        .command(&["check", "--only", "postgres", "--deep", "--output", "json"])
        .env("DATABASE_URL", url("people:right", "/good"))
        .output();
    let output = crate::support::Output::new(&["check", "--deep"], &output.expect("lyrox"));
    assert_eq!(output.ok().item("postgres.write")["outcome"], "pass", "{output}");
    let left = sql(&url("people:right", "/good"), "SELECT count(*) FROM pg_class WHERE relname LIKE 'lyrox%'")
        .expect("a count");
    assert_eq!(left[0][0].as_deref(), Some("0"), "a deep check leaves nothing");
}

#[test]
fn connections_run_out() {
    let settings = [("max_connections", "10"), ("superuser_reserved_connections", "2")];
    let server = servers::postgres(HBA, &settings, false);
    let project = project("lab_pg_slots");
    make(&server);
    let url = server.url("people:right", "/good");
    let open = |count: usize| -> Vec<sqlx::PgConnection> {
        use sqlx::Connection as _;
        (0..count).filter_map(|_| crate::support::block_on(sqlx::PgConnection::connect(&url)).ok()).collect()
    };
    let held = open(6);
    assert_eq!(held.len(), 6);
    run(&project, "postgres", &[Case::new("nearly all taken", &url, "server.2", "LYX-CONNECT-BUSY", "pooler").warns()]);
    let more = open(4);
    assert_eq!(more.len(), 2, "the last two are reserved");
    let taken = Case::new("all taken", &url, "auth", "LYX-CONNECT-LIMIT", "pg_stat_activity");
    let absent =
        Case::new("no TLS there", format!("{url}?sslmode=require"), "tls", "LYX-TLS-ABSENT", "sslmode=disable");
    run(&project, "postgres", &[taken, absent]);
    drop((held, more));
}

#[test]
fn a_standby_and_a_server_that_starts() {
    let standby = servers::postgres(HBA, &[], true);
    let starting = servers::postgres(HBA, &[("hot_standby", "off")], true);
    let project = project("lab_pg_standby");
    let url = standby.url("admin", "/postgres");
    servers::wait_for("the standby", || sql(&url, "SELECT 1").is_ok());
    let both = format!("postgres://admin@{},{}/postgres", standby.place(), starting.place());
    let cases = [
        Case::new("a standby", &url, "server.2", "LYX-CONNECT-READ-ONLY", "primary"),
        Case::new("starting", starting.url("admin", "/postgres"), "auth", "LYX-CONNECT-STARTING", "lyrox check --wait"),
        Case::new("the application's standby", &url, "server.2", "LYX-CONNECT-READ-ONLY", "primary")
            .within_environment("two")
            .with("DIRECT_URL", project.postgres.clone())
            .warns(),
    ];
    run(&project, "postgres", &cases);
    // Of two hosts one is well enough to log in to, and --deep tells of the other.
    let output = project
        .command(&["check", "--only", "postgres", "--deep", "--output", "json"])
        .env("DATABASE_URL", &both)
        .output();
    let output = crate::support::Output::new(&["check", "--deep"], &output.expect("lyrox"));
    assert_eq!(output.exit(4).item("postgres.hosts")["code"], "LYX-CONNECT-HOST", "{output}");
}
