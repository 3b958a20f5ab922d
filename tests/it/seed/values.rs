//! Values that are made: ids of every form, encrypted values, files, times, and how a value is kept.

use aes_gcm::aead::{Aead as _, KeyInit as _};
use base64::Engine as _;
use bson::doc;

use super::{detail, migrated, postgres_only, versions};
use crate::support::Project;

const TABLE: &str = "CREATE TABLE made (name text PRIMARY KEY, v4 uuid, v7 uuid, v5 uuid, dns uuid, cuid text, cuid2 text,
    short text, ulid text, object text, own text, literal text, gone text, secret text, sealed bytea, logo text, raw bytea,
    hash text, at timestamptz, doc jsonb);";

const ROWS: &str = r#"
[rows.one]
name = "one"
v4 = { uuid = "v4" }
v7 = { uuid = "v7" }
v5 = { uuid = "v5" }
dns = { uuid = "v5", name = "www.example.com", namespace = "dns" }
cuid = { cuid = "" }
cuid2 = { cuid2 = "" }
short = { cuid2 = "", length = 10 }
ulid = { ulid = "" }
object = { objectid = "" }
own = { ulid = "one" }
literal = { literal = "@User.nobody {{tenant}}" }
gone = { null = true }
secret = { encrypted = "token-of-one", key = "SEED_KEY" }
sealed = { encrypted = { env = "SEED_TOKEN" }, key = "SEED_KEY" }
logo = { base64 = "logo.bin" }
raw = { base64 = "../../files/logo.bin" }
hash = { bcrypt = { env = "SEED_TOKEN" } }
at = { now = "+1h30m" }
doc = { literal = { env = "production", ref = "x" } }
"#;

const KEY: [u8; 32] = [7; 32];

fn with_key(project: &Project) {
    let env = std::fs::read_to_string(project.path(".env")).expect("a file");
    let key = base64::engine::general_purpose::STANDARD.encode(KEY);
    project.write(".env", &format!("{env}SEED_KEY={key}\nSEED_TOKEN=token-from-env\n"));
}

/// Reads a sealed value as docs/seeds.md tells applications to.
fn open(sealed: &[u8], key: [u8; 32]) -> String {
    let cipher = aes_gcm::Aes256Gcm::new_from_slice(&key).expect("a key");
    let nonce = <[u8; 12]>::try_from(&sealed[..12]).expect("a nonce");
    let text = cipher.decrypt(&aes_gcm::Nonce::from(nonce), &sealed[12..]).expect("the text");
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn made_values_have_their_form_and_stay() {
    let project = postgres_only("seed_made", TABLE);
    with_key(&project);
    project.write("seeds/dev/postgres/made.toml", ROWS);
    std::fs::write(project.path("seeds/dev/postgres/.logo"), "").expect("a hidden file is passed over");
    project.write("seeds/files/logo.bin", "a logo");
    // A file beside the seeds would be taken for one of them.
    project.write("seeds/dev/postgres/made.toml", &ROWS.replace("\"logo.bin\"", "\"../../files/logo.bin\""));
    project.lyrox(&["db", "seed"]).ok().says("1 created").never_says("token-");
    let value = |column: &str| project.sql_value(&format!("SELECT {column} FROM made"));
    let is = |pattern: &str, column: &str| {
        assert_eq!(value(&format!("{column} ~ '{pattern}'")), "t", "{column}: {}", value(column));
    };
    assert_eq!(value("substr(v4::text, 15, 1) || substr(v7::text, 15, 1) || substr(v5::text, 15, 1)"), "475");
    // RFC 9562's own example.
    assert_eq!(value("dns"), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
    is("^c[0-9a-z]{24}$", "cuid");
    is("^[a-z][0-9a-z]{23}$", "cuid2");
    is("^[a-z][0-9a-z]{9}$", "short");
    is("^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "ulid");
    is("^[0-9a-f]{24}$", "object");
    is("^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "own");
    assert_eq!(value("literal"), "@User.nobody {{tenant}}");
    assert_eq!(value("gone IS NULL"), "t");
    assert_eq!(value("at > now() + interval '80 minutes'"), "t");
    assert_eq!(value("doc"), r#"{"env": "production", "ref": "x"}"#);
    assert_eq!(value("logo"), "YSBsb2dv");
    assert_eq!(value("convert_from(raw, 'UTF8')"), "a logo");

    let sealed = || value("secret").strip_prefix("aes-256-gcm:").expect("the form").to_owned();
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).expect("base64");
    assert_eq!(open(&decode(&sealed()), KEY), "token-of-one");
    assert_eq!(open(&decode(&value("replace(encode(sealed, 'base64'), E'\\n', '')")), KEY), "token-from-env");

    let before = versions(&project, "made");
    assert_eq!(detail(&project, &["db", "seed"], "postgres.made"), "1 unchanged");
    assert_eq!(versions(&project, "made"), before, "nothing was written");
    // Another text, or another key, is stored anew; nothing else of the row is.
    let text = std::fs::read_to_string(project.path("seeds/dev/postgres/made.toml")).expect("a file");
    project.write("seeds/dev/postgres/made.toml", &text.replace("token-of-one", "token-of-two"));
    let output = project.lyrox(&["db", "seed", "--output", "json"]);
    assert_eq!(output.json()["data"]["targets"][0]["rows"][0]["fields"], serde_json::json!(["secret"]));
    assert_eq!(open(&decode(&sealed()), KEY), "token-of-two");
    let env = std::fs::read_to_string(project.path(".env")).expect("a file");
    let other = [9_u8; 32].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let line = format!("SEED_KEY={}", base64::engine::general_purpose::STANDARD.encode(KEY));
    project.write(".env", &env.replace(&line, &format!("SEED_KEY={other}")));
    let output = project.lyrox(&["db", "seed", "--output", "json"]);
    assert_eq!(output.json()["data"]["targets"][0]["rows"][0]["fields"], serde_json::json!(["secret", "sealed"]));
    assert_eq!(open(&decode(&sealed()), [9; 32]), "token-of-two");
}

#[test]
fn documents_take_object_ids_and_encrypted_values() {
    let project = migrated("seed_made_mongo", "");
    with_key(&project);
    project.write(
        "seeds/dev/mongodb/notes.toml",
        r#"
key = ["name"]
[rows.one]
name = "one"
owner = { objectid = "somebody" }
random = { objectid = "" }
token = { encrypted = "token-of-one", key = "SEED_KEY" }
deep = { token = { encrypted = "deep-token", key = "SEED_KEY" }, meta = { literal = { now = "x" } } }
"#,
    );
    project.lyrox(&["db", "seed"]).ok();
    let find = || project.mongo(doc! { "find": "notes" }).get_document("cursor").expect("a cursor").clone();
    let before = find();
    let note = before.get_array("firstBatch").expect("rows")[0].as_document().expect("a note").clone();
    assert!(note.get_object_id("owner").is_ok() && note.get_object_id("random").is_ok(), "{note}");
    assert_eq!(
        note.get_document("deep").and_then(|deep| deep.get_document("meta")).expect("meta"),
        &doc! { "now": "x" }
    );
    assert!(note.get_str("token").expect("a text").starts_with("aes-256-gcm:"));
    project.lyrox(&["db", "seed"]).ok().says("1 unchanged");
    assert_eq!(find(), before);
}

#[test]
fn a_value_that_cannot_be_made_is_refused_with_its_place() {
    let project = postgres_only("seed_unmade", TABLE);
    with_key(&project);
    project.write("seeds/logo", "x");
    for (value, says) in [
        ("{ uuid = \"v6\" }", "`v6` is no version"),
        ("{ uuid = \"v5\", namespace = \"dns\" }", "`namespace` stands without `name`"),
        ("{ uuid = \"v5\", name = \"x\", namespace = \"dsn\" }", "`dsn` is no namespace"),
        ("{ cuid2 = \"\", length = 99 }", "`length` is not a number from 2 to 32"),
        ("{ encrypted = \"hunter2-hunter2\" }", "it names no variable that holds the key"),
        ("{ encrypted = \"hunter2-hunter2\", kee = \"SEED_KEY\" }", "did you mean `key`?"),
        ("{ encrypted = \"hunter2-hunter2\", key = \"SEED_TOKEN\" }", "no key of AES-256"),
        ("{ encrypted = \"hunter2-hunter2\", key = \"SEED_NONE\" }", "SEED_NONE is not set"),
        ("{ argon2id = \"hunter2-hunter2\", cost = 3 }", "`cost` cannot stand beside `argon2id`"),
        ("{ base64 = \"../../../../../etc/passwd\" }", "is not within the project"),
        ("{ base64 = \"/etc/passwd\" }", "is not within the project"),
        ("{ base64 = \"nowhere\" }", "cannot be read"),
        ("{ null = false }", "its value is not `true`"),
        ("\"@tenant\"", "--tenant KEY"),
        ("\"for {{tenant}}\"", "--tenant KEY"),
    ] {
        project.write("seeds/dev/postgres/made.toml", &format!("[rows.a]\nname = \"a\"\nsecret = {value}\n"));
        let output = project.lyrox(&["db", "seed"]);
        output.exit(2).says("LYX-SEED-FILE").says("made.toml:3").says(says).never_says("hunter2");
    }
    assert_eq!(project.sql_value("SELECT count(*) FROM made"), "0");
}
