//! ChatMCP: one plain file, the extension `vector`, Redis where there is one.

use super::{alone, from_nothing_twice, shared, shows};
use crate::support::sql;

/// The local PostgreSQL has the extension, or one that has it is fetched.
#[test]
fn one_command_from_nothing_and_a_second_run_changes_nothing() {
    let chat = alone("chatmcp");
    let first = from_nothing_twice(&chat);
    first.says("001_initial-schema").says("with pgvector 0.").says("Conversations: 3 of 2 users, messages: 5");
    first.says("optional; lyrox up redis starts it").says("Redis is optional");
    shows(
        &first,
        &[
            ("Server version", "PostgreSQL 1"),
            ("Tables exist", "conversations, messages"),
            ("Row count of conversations", "3 conversations"),
            ("Each user sees only their own conversations", ""),
            ("The database exists and the role may create in it", "database chatmcp, role "),
            ("A message touches its conversation", ""),
            ("Vectors are compared", ""),
        ],
    );
    // An index on vectors is built and searched by the library that was put beside the server.
    let url = lyrox::servers::running(chat.path()).expect("servers").postgres_direct.expect("PostgreSQL");
    let search = "CREATE TEMP TABLE v (place vector(3)); INSERT INTO v SELECT ARRAY[n, n % 7, 1]::vector FROM generate_series(1, 500) n; \
                  CREATE INDEX ON v USING hnsw (place vector_l2_ops); SELECT place FROM v ORDER BY place <-> '[250,5,1]' LIMIT 1";
    let rows = sql(&url, search).expect("an answer");
    assert_eq!(rows.last().and_then(|row| row[0].clone()).as_deref(), Some("[250,5,1]"));

    // With a Redis it is tested as well.
    chat.lyrox(&["up", "redis"]).ok();
    chat.lyrox(&["setup"]).ok().never_says("is optional").says("Valkey").says("is verified");
}

/// On a server that does not offer it, the first command says so, and how it is had; nothing is changed.
#[test]
fn without_the_extension_it_is_told_how_to_get_it() {
    let chat = shared("chatmcp", "sys_vector");
    let offered = chat.sql_value("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'");
    if offered != "0" {
        return;
    }
    for command in [&["check"][..], &["db", "migrate"]] {
        let output = chat.lyrox(command);
        assert_ne!(output.code, 0, "{output}");
        output.says("LYX-EXTENSION").says("apt-get install postgresql-16-pgvector").says("pgvector/pgvector:pg16");
        output.says("lyrox up starts a server that has it");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(chat.sql_value(tables), "0");
    // The file itself says it as well, where lyrox.toml does not.
    let settings = std::fs::read_to_string(chat.path("lyrox.toml")).expect("lyrox.toml");
    let without: Vec<&str> = settings.lines().filter(|line| !line.starts_with("extensions")).collect();
    chat.write("lyrox.toml", &without.join("\n"));
    let output = chat.lyrox(&["db", "migrate"]);
    output.exit(1).says("001-initial-schema.sql:3").says("apt-get install postgresql-16-pgvector");
    assert_eq!(chat.sql_value(tables), "0");
}

/// Without Redis nothing fails, whatever is asked.
#[test]
fn without_redis_nothing_fails() {
    let chat = shared("chatmcp", "sys_noredis");
    chat.write(".env", &format!("DATABASE_URL='{}'\n", chat.postgres));
    let settings = std::fs::read_to_string(chat.path("lyrox.toml")).expect("lyrox.toml");
    chat.write("lyrox.toml", &settings.replace("extensions = [\"vector\"]", "extensions = []"));
    let file = "migrations/001-initial-schema.sql";
    let text = std::fs::read_to_string(chat.path(file)).expect("a file");
    chat.write(file, &text.replace("CREATE EXTENSION IF NOT EXISTS vector;", ""));
    chat.lyrox(&["db", "migrate"]).ok();
    chat.lyrox(&["db", "seed"]).ok();
    chat.lyrox(&["db", "status", "--check"]).ok();
    let tests = chat.lyrox(&["db", "smoke-test", "--tag", "tenancy,trigger,row,foreign_key,index,keyspace"]);
    tests.ok().says("Redis is optional").says("REDIS_URL is not set");
}
