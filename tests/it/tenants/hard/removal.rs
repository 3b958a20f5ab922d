//! What is in the way of a removal, and what an export must not leave out.

use std::time::Duration;

use super::super::{Own, ROW, SHOP};
use crate::support::{Project, sql};

#[test]
fn rights_of_a_tenants_role_elsewhere_go_with_it() {
    for model in ["schema", "database"] {
        let own = Own::own_place(&format!("th_grant_{}", &model[..1]), model);
        let slug = own.slug("a");
        own.create("a", &["--slug", &slug, "--no-credentials"]);
        own.sql(&format!("GRANT SELECT ON plan TO t_{slug}; GRANT USAGE ON SCHEMA public TO t_{slug}"));
        own.delete("a", &slug);
        assert_eq!(own.sql_value(&format!("SELECT count(*) FROM pg_roles WHERE rolname = 't_{slug}'")), "0");
        own.sql("SELECT * FROM plan");
    }
}

#[test]
fn what_a_trigger_writes_while_rows_go_goes_as_well() {
    for (number, reference) in ["", " REFERENCES company (id)"].into_iter().enumerate() {
        for name in ["aaa", "zzz"] {
            let own = Own::row(&format!("th_trig_{number}{name}"));
            own.sql(&format!(
                "CREATE TABLE {name} (company_id text NOT NULL{reference}, what text);
                CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                    INSERT INTO {name} VALUES (OLD.company_id, 'gone'); RETURN OLD; END $$;
                CREATE TRIGGER note AFTER DELETE ON sale FOR EACH ROW EXECUTE FUNCTION note()"
            ));
            let (one, two) = (own.slug("a"), own.slug("b"));
            own.create("a", &["--slug", &one, "--no-credentials"]);
            own.create("b", &["--slug", &two, "--no-credentials"]);
            own.sql("INSERT INTO sale SELECT n, 'a', n FROM generate_series(1, 20) n; INSERT INTO sale VALUES (100, 'b', 1)");
            own.delete("a", &one);
            assert_eq!(own.sql_value(&format!("SELECT count(*) FROM {name}")), "0");
            assert_eq!(own.sql_value("SELECT count(*) FROM sale"), "1");
        }
    }
}

#[test]
fn a_document_of_several_tenants_stops_the_removal() {
    let own = Own::row("th_both");
    let (one, two) = (own.slug("a"), own.slug("b"));
    own.create("a", &["--slug", &one, "--no-credentials"]);
    own.create("b", &["--slug", &two, "--no-credentials"]);
    own.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": 1, "company_id": ["a", "b"] }, { "_id": 2, "company_id": "a" }] });
    own.lyrox(&["tenant", "delete", "a", "--confirm", &one]).exit(6).says("LYX-TENANT-UNCLASSIFIED").says("notes");
    own.lyrox(&["tenant", "export", "a", "a.lyrox"]).exit(6).says("notes");
    assert_eq!(own.mongo(bson::doc! { "count": "notes" }).get_i32("n").ok(), Some(2));
    own.mongo(bson::doc! { "delete": "notes", "deletes": [{ "q": { "_id": 1 }, "limit": 1 }] });
    own.delete("a", &one);
}

#[test]
fn documents_are_a_tenants_by_the_bytes_of_its_key() {
    let own = Own::row("th_case");
    let (one, two) = (own.slug("a"), own.slug("b"));
    own.create("acme", &["--slug", &one, "--no-credentials"]);
    own.create("ACME", &["--slug", &two, "--no-credentials"]);
    own.mongo(bson::doc! { "create": "notes", "collation": { "locale": "en", "strength": 2 } });
    own.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": 1, "company_id": "acme" }, { "_id": 2, "company_id": "ACME" }] });
    own.export("acme", "a.lyrox").says("1 document");
    own.delete("acme", &one);
    assert_eq!(own.mongo(bson::doc! { "count": "notes" }).get_i32("n").ok(), Some(1), "the other's");
    own.import("a.lyrox", &["--slug", &one]);
    assert_eq!(own.mongo(bson::doc! { "count": "notes" }).get_i32("n").ok(), Some(2));
}

#[test]
fn an_export_that_a_removal_overtakes_is_none() {
    let own = Own::row("th_overtaken");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.sql("INSERT INTO sale VALUES (1, 'a', 1)");
    let mut session = crate::support::block_on(async {
        use sqlx::Connection as _;
        let mut session = sqlx::PgConnection::connect(&own.postgres).await.expect("a session");
        let lock = "BEGIN; LOCK TABLE line IN ACCESS EXCLUSIVE MODE";
        sqlx::raw_sql(sqlx::AssertSqlSafe(lock.to_owned())).execute(&mut session).await.expect("a lock");
        session
    });
    let mut command = own.command(&["tenant", "export", "a", "a.lyrox"]);
    let child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().expect("lyrox");
    let waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'line'::regclass";
    for _ in 0..200 {
        if own.sql_value(waits) != "0" {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    own.sql("UPDATE lyrox.tenants SET state = 'deleting' WHERE key = 'a'");
    crate::support::block_on(async {
        sqlx::raw_sql(sqlx::AssertSqlSafe("COMMIT".to_owned())).execute(&mut session).await.expect("an end");
    });
    let output = child.wait_with_output().expect("an end");
    let output = crate::support::Output::new(&["tenant", "export"], &output);
    output.exit(6).says("LYX-TENANT-STATE");
    assert!(!own.path("a.lyrox").exists() && !own.path("a.lyrox.partial").exists());
}

#[test]
fn policies_that_hide_some_of_a_tenants_rows_stop_an_export_and_a_removal() {
    let own = Own(Project::new("th_hides", ROW));
    let role = format!("{}_r", own.name);
    own.sql(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'x' CREATEROLE; GRANT {role} TO CURRENT_USER; ALTER DATABASE {0} OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}",
        own.name
    ));
    let (_, rest) = own.postgres.split_once('@').expect("a URL");
    let url = format!("postgres://{role}:x@{rest}");
    let env = std::fs::read_to_string(own.path(".env")).expect("a file");
    own.write(".env", &env.replace(&own.postgres, &url));
    own.write("migrations/1_shop.up.sql", SHOP);
    own.write(
        "migrations/2_rls.up.sql",
        "ALTER TABLE sale ADD COLUMN hidden boolean NOT NULL DEFAULT false;
ALTER TABLE sale ENABLE ROW LEVEL SECURITY; ALTER TABLE sale FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sale USING (company_id = nullif(current_setting('app.tenant', true), '') AND NOT hidden);",
    );
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.sql("INSERT INTO sale VALUES (1, 'a', 1, false), (2, 'a', 2, true)");
    own.lyrox(&["tenant", "export", "a", "a.lyrox"]).exit(6).says("sale").says("LYX-TENANT-UNCLASSIFIED");
    own.lyrox(&["tenant", "delete", "a", "--confirm", &slug]).exit(6).says("LYX-TENANT-UNCLASSIFIED");
    assert_eq!(own.sql_value("SELECT count(*) FROM sale"), "2");
    // A restrictive one as well.
    own.sql(&format!(
        "SET ROLE {role}; DROP POLICY tenant ON sale; CREATE POLICY tenant ON sale USING (company_id = nullif(current_setting('app.tenant', true), ''));
        CREATE POLICY shy ON sale AS RESTRICTIVE FOR SELECT USING (NOT hidden)"
    ));
    own.lyrox(&["tenant", "export", "a", "a.lyrox"]).exit(6).says("sale");
    own.sql(&format!("SET ROLE {role}; DROP POLICY shy ON sale"));
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
    own.import("a.lyrox", &["--slug", &slug]);
    assert_eq!(own.sql_value("SELECT count(*) FROM sale"), "2");

    let drop = format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}");
    own.sql(&drop);
    sql(&own.postgres, &format!("ALTER DATABASE {} OWNER TO CURRENT_USER; DROP ROLE {role}", own.name))
        .expect("no role");
}
