//! Bundles that meet triggers, other forms of a key, or were written by somebody who means harm.

use lyrox::engine::tenant::bundle::write::Writer;
use lyrox::engine::tenant::bundle::{FORMAT, Manifest, TITLE};
use lyrox::kind::StoreKind;

use super::super::bundle::{everything, same, same_bundles};
use super::super::{Own, ROW, SHOP};
use crate::support::Project;

const SPACES: &str = "[redis.keyspaces.cache]\npattern = \"cache:{company_id}:{id}\"\ntype = \"string\"\n\n\
    [redis.keyspaces.session]\npattern = \"session:{id}\"\ntype = \"hash\"\ntenant = \"company\"\n";

#[test]
fn triggers_neither_change_nor_add_to_what_is_imported() {
    let own = Own::row("th_fire");
    own.sql(
        "CREATE TABLE audit (id serial PRIMARY KEY, company_id text NOT NULL, what text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO audit (company_id, what) VALUES (NEW.company_id, TG_OP); RETURN NEW; END $$;
        CREATE FUNCTION now_is() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.total := NEW.total + 1; RETURN NEW; END $$;
        CREATE TRIGGER note AFTER INSERT OR UPDATE ON sale FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER now_is BEFORE INSERT ON sale FOR EACH ROW EXECUTE FUNCTION now_is();
        CREATE TRIGGER off BEFORE INSERT ON sale FOR EACH ROW EXECUTE FUNCTION now_is(); ALTER TABLE sale DISABLE TRIGGER off;
        CREATE TRIGGER always BEFORE INSERT ON sale FOR EACH ROW EXECUTE FUNCTION now_is(); ALTER TABLE sale ENABLE ALWAYS TRIGGER always",
    );
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.sql("INSERT INTO sale VALUES (1, 'a', 1), (2, 'a', 2); INSERT INTO line VALUES (1, 1)");
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
    own.import("a.lyrox", &["--slug", &slug]).says("trigger");
    own.export("a", "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "past triggers");
    let states = "SELECT string_agg(tgname || ' ' || tgenabled::text, ', ' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'sale'::regclass AND NOT tgisinternal";
    assert_eq!(own.sql_value(states), "always A, note O, now_is O, off D");
    own.sql("INSERT INTO sale VALUES (3, 'a', 1)");
    assert_eq!(own.sql_value("SELECT total FROM sale WHERE id = 3"), "3", "they fire again");
}

#[test]
fn a_key_that_is_a_number_or_an_id_gets_its_new_form_in_documents() {
    let uuids = ["3f2a0000-0000-4000-8000-000000000001", "3f2a0000-0000-4000-8000-000000000002"];
    for (number, [old, new]) in
        [["42", "43"], uuids, ["65a0000000000000000000ff", "65a0000000000000000000fe"]].into_iter().enumerate()
    {
        let of = |key: &str| -> bson::Bson {
            match number {
                0 => bson::Bson::Int32(key.parse().expect("a number")),
                1 => {
                    let bytes = uuid::Uuid::parse_str(key).expect("a UUID").as_bytes().to_vec();
                    bson::Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Uuid, bytes })
                }
                _ => bson::Bson::ObjectId(bson::oid::ObjectId::parse_str(key).expect("an id")),
            }
        };
        let (from, to) = (Own::row(&format!("th_form_a{number}")), Own::row(&format!("th_form_b{number}")));
        from.create(old, &["--slug", &from.slug("a"), "--no-credentials"]);
        to.create(old, &["--slug", &to.slug("a"), "--no-credentials"]);
        from.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": "new", "company_id": of(old) }] });
        to.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": "mine", "company_id": of(old) }] });
        from.export(old, "a.lyrox");
        std::fs::copy(from.path("a.lyrox"), to.path("a.lyrox")).expect("a copy");
        to.import("a.lyrox", &["--key", new, "--slug", &to.slug("b")]);
        let count =
            |key: &str| to.mongo(bson::doc! { "count": "notes", "query": { "company_id": of(key) } }).get_i32("n").ok();
        assert_eq!((count(old), count(new)), (Some(1), Some(1)), "{old}");
    }
}

/// A bundle of tenant `m` that somebody wrote by hand.
fn forged(own: &Own, file: &str, store: StoreKind, part: &str, columns: &[&str], line: &str) {
    let columns: Vec<String> = columns.iter().map(|name| (*name).to_owned()).collect();
    let manifest = Manifest {
        lyrox: TITLE.into(),
        format: FORMAT,
        project: own.name.clone(),
        model: "row".into(),
        key: "m".into(),
        slug: own.slug("m"),
        version: Some("1".into()),
        parts: Vec::new(),
    };
    let _ = std::fs::remove_file(own.path(file));
    let mut writer = Writer::create(&own.path(file), manifest).expect("a file");
    let company = ["id".to_owned(), "name".to_owned()];
    writer.begin(StoreKind::Postgres, "company", &company, &[]);
    writer.line(br#"{"id":"m","name":"m"}"#).expect("room");
    writer.end().expect("room");
    writer.begin(store, part, &columns, &[]);
    writer.line(line.as_bytes()).expect("room");
    writer.end().expect("room");
    writer.finish().expect("a bundle");
}

#[test]
fn a_forged_bundle_reaches_nobody_elses_data() {
    let own = Own(Project::new("th_forged", &format!("{ROW}\n{SPACES}")));
    own.write("migrations/1_shop.up.sql", SHOP);
    own.lyrox(&["-q", "db", "migrate"]).ok();
    let slug = own.slug("v");
    own.create("v", &["--slug", &slug, "--no-credentials"]);
    own.sql("INSERT INTO sale VALUES (1, 'v', 1)");
    own.mongo(bson::doc! { "insert": "notes", "documents": [{ "_id": 1, "company_id": "v" }] });
    own.redis(&["SET", &format!("{}cache:v:1", own.prefix), "1"]);
    let before = everything(&own, "no such text");
    let (postgres, mongodb, redis) = (StoreKind::Postgres, StoreKind::Mongodb, StoreKind::Redis);
    let key = |name: &str| format!(r#"{{"key":"{name}","type":"string","expires":null,"value":"x"}}"#);
    let inside = key(&format!("{{{slug}}}:x"));
    let (of_v, lock, ledger) = (key("cache:v:2"), key("lyrox:layout"), key("lyrox:migrations"));
    let session = r#"{"key":"session:1","type":"hash","expires":null,"value":[["company","v"]]}"#;
    let typed = r#"{"key":"session:1","type":"string","expires":null,"value":"m"}"#;
    let cases: [(StoreKind, &str, &[&str], &str); 10] = [
        (postgres, "sale", &["id", "company_id", "total"], r#"{"id":"2","company_id":"v","total":"1"}"#),
        (postgres, "line", &["id", "sale_id"], r#"{"id":"1","sale_id":"1"}"#),
        (postgres, "plan", &["name"], r#"{"name":"free"}"#),
        (mongodb, "notes", &[], r#"{"_id":{"$numberInt":"2"},"company_id":"v"}"#),
        (mongodb, "notes", &[], r#"{"_id":{"$numberInt":"2"}}"#),
        (redis, "keyspace cache", &[], &of_v),
        (redis, "keyspace cache", &[], &inside),
        (redis, "keyspace cache", &[], &lock),
        (redis, "keyspace session", &[], session),
        (redis, "keyspace session", &[], typed),
    ];
    for (number, (store, part, columns, line)) in cases.into_iter().enumerate() {
        forged(&own, "m.lyrox", store, part, columns, line);
        let output = own.lyrox(&["tenant", "import", "m.lyrox", "--no-credentials"]);
        assert_ne!(output.code, 0, "{number}: {output}");
        same(everything(&own, "no such text").keys(), before.keys(), &format!("{number}: {output}"));
        assert_ne!(own.state("m").as_deref(), Some("active"), "{number}");
        assert_eq!(own.sql_value("SELECT count(*) FROM company WHERE id = 'm'"), "0", "{number}: {output}");
    }
    // Below the tenant's own prefix there is lyrox's ledger of it, and no place for another.
    forged(&own, "m.lyrox", redis, "keys", &[], &ledger);
    own.lyrox(&["tenant", "import", "m.lyrox", "--no-credentials"]).exit(2);
    // A collection of lyrox's own.
    forged(&own, "m.lyrox", mongodb, "lyrox_tenants", &[], r#"{"_id":{"$numberInt":"2"},"company_id":"m"}"#);
    own.lyrox(&["tenant", "import", "m.lyrox", "--no-credentials"]).exit(2);
    assert_eq!(own.mongo(bson::doc! { "count": "lyrox_tenants" }).get_i32("n").ok(), Some(1));
    own.lyrox(&["tenant", "verify", "v"]).never_says("LYX-LEDGER");
}

#[test]
fn the_tenants_own_row_keeps_its_key() {
    let own = Own::row("th_set");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
    own.lyrox(&["tenant", "import", "a.lyrox", "--no-credentials", "--set", "id=b"]).exit(2).says("--key");
    assert_eq!(own.sql_value("SELECT count(*) FROM company"), "0");
}

#[test]
fn streams_come_back_with_what_their_consumers_have_still_to_do() {
    let own = Own::row("th_stream");
    let slug = own.slug("a");
    own.create("a", &["--slug", &slug, "--no-credentials"]);
    let key = format!("{}{{{slug}}}:jobs", own.prefix);
    for id in ["1-1", "2-1", "3-1", "4-1"] {
        own.redis(&["XADD", &key, id, "n", id]);
    }
    own.redis(&["XGROUP", "CREATE", &key, "g", "0"]);
    own.redis(&["XGROUP", "CREATE", &key, "h", "$"]);
    own.redis(&["XREADGROUP", "GROUP", "g", "one", "COUNT", "2", "STREAMS", &key, ">"]);
    own.redis(&["XREADGROUP", "GROUP", "g", "two", "COUNT", "1", "STREAMS", &key, ">"]);
    own.redis(&["XACK", &key, "g", "2-1"]);
    own.redis(&["XGROUP", "CREATECONSUMER", &key, "h", "idle"]);
    own.redis(&["XDEL", &key, "4-1"]);
    // Fields of a hash that expire by themselves, where the server knows such.
    let hash = format!("{}{{{slug}}}:hash", own.prefix);
    own.redis(&["HSET", &hash, "stays", "1", "goes", "2"]);
    let knows = format!("{:?}", own.redis(&["COMMAND", "INFO", "HPEXPIREAT"])).contains("hpexpireat");
    if knows {
        own.redis(&["HPEXPIREAT", &hash, "4102444800000", "FIELDS", "1", "goes"]);
    }
    let moments = || format!("{:?}", own.redis(&["HPEXPIRETIME", &hash, "FIELDS", "2", "stays", "goes"]));
    let pending = || format!("{:?}", own.redis(&["XPENDING", &key, "g"]));
    let before = pending();
    let groups = format!("{:?}", own.redis(&["XINFO", "GROUPS", &key]));
    own.export("a", "a.lyrox");
    own.delete("a", &slug);
    own.import("a.lyrox", &["--slug", &slug]);
    assert_eq!(pending(), before);
    if knows {
        assert_eq!(moments(), "array([int(-1), int(4102444800000)])");
    }
    assert_eq!(format!("{:?}", own.redis(&["XINFO", "GROUPS", &key])), groups);
    own.export("a", "b.lyrox");
    same_bundles(&own, "a.lyrox", "b.lyrox", "streams");
}

#[test]
fn numbers_go_on_behind_the_rows_whoever_owns_the_sequence() {
    let make = |name: &str| {
        let own = Own::row(name);
        own.sql("CREATE SEQUENCE numbers; CREATE TABLE bill (id bigint PRIMARY KEY DEFAULT nextval('numbers'), company_id text NOT NULL)");
        own
    };
    let (from, to) = (make("th_seq_a"), make("th_seq_b"));
    let slug = from.slug("a");
    from.create("a", &["--slug", &slug, "--no-credentials"]);
    from.sql("INSERT INTO bill (company_id) SELECT 'a' FROM generate_series(1, 10)");
    from.export("a", "a.lyrox");
    std::fs::copy(from.path("a.lyrox"), to.path("a.lyrox")).expect("a copy");
    to.import("a.lyrox", &["--slug", &to.slug("a")]);
    assert_eq!(to.sql_value("INSERT INTO bill (company_id) VALUES ('a') RETURNING id"), "11");
}
