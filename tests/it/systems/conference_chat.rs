//! conference-chat: drizzle-kit's folder, and the session store of connect-pg-simple.

use super::{alone, from_nothing_twice, shared, shows};

#[test]
fn one_command_from_nothing_and_a_second_run_changes_nothing() {
    let chat = alone("conference-chat");
    let first = from_nothing_twice(&chat);
    first.says("Users: 2, clients: 2, widgets: 3").says("Sessions: 0 live, 0 expired");
    shows(
        &first,
        &[
            ("Two users do not see each other's data", "neither sees"),
            ("Expired sessions are pruned", ""),
            ("A user persists across a reconnect", "user-"),
            ("Widget configuration persists", "position bottom"),
            ("A session persists", "signed in as"),
            ("An API key does not change", "the same on three connections"),
        ],
    );
    let dotenv = std::fs::read_to_string(chat.path().join(".env")).expect(".env");
    assert!(dotenv.contains("\n# DATABASE_URL=") && dotenv.contains("\nSESSION_SECRET=change-me\n"), "{dotenv}");
}

#[test]
fn api_keys_stay_as_they_are_whatever_is_seeded_again() {
    let chat = shared("conference-chat", "sys_keys");
    chat.lyrox(&["db", "migrate"]).ok();
    chat.lyrox(&["db", "seed"]).ok();
    let keys = "SELECT string_agg(id || ' ' || \"apiKey\" || ' ' || name, ',' ORDER BY id) FROM clients";
    let before = chat.sql_value(keys);
    chat.sql("UPDATE clients SET name = 'Renamed' WHERE name = 'Autumn Summit'");
    chat.lyrox(&["db", "seed"]).ok().says("1 updated");
    assert_eq!(chat.sql_value(keys), before);
}

/// What connect-pg-simple's own table.sql makes, so that it finds the table as it wants it.
#[test]
fn the_session_table_is_that_of_connect_pg_simple() {
    let chat = shared("conference-chat", "sys_session");
    chat.lyrox(&["db", "migrate"]).ok();
    chat.sql(
        r#"CREATE SCHEMA theirs; CREATE TABLE theirs."session" (
             "sid" varchar NOT NULL COLLATE "default", "sess" json NOT NULL, "expire" timestamp(6) NOT NULL);
           ALTER TABLE theirs."session" ADD CONSTRAINT "session_pkey" PRIMARY KEY ("sid") NOT DEFERRABLE INITIALLY IMMEDIATE;
           CREATE INDEX "IDX_session_expire" ON theirs."session" ("expire")"#,
    );
    let shape = |schema: &str| {
        let columns = chat.sql(&format!(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute \
             WHERE attrelid = '{schema}.session'::regclass AND attnum > 0 ORDER BY attnum"
        ));
        let indexes = chat.sql(&format!(
            "SELECT indexname, replace(indexdef, '{schema}.', '') FROM pg_indexes WHERE schemaname = '{schema}' \
             AND tablename = 'session' ORDER BY 1"
        ));
        (columns, indexes)
    };
    assert_eq!(shape("public"), shape("theirs"));
}
