//! Passwords through each store's reader and its driver's own parser, and the models of client libraries held
//! against the libraries that are there.

use std::str::FromStr as _;

use lyrox::kind::StoreKind;
use lyrox::url::clients::{CLIENTS, Reading, verdicts};
use lyrox::url::{Parts, build, parse};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redis::IntoConnectionInfo as _;
use sqlx::ConnectOptions as _;

/// Passwords for each store.
const COUNT: usize = 10_000;

/// Printable ASCII, Latin-1 and, one in eight, any other character.
fn password(random: &mut StdRng) -> String {
    let length = random.random_range(1..32);
    let is_wide = random.random_range(0..8) == 0;
    let one = |random: &mut StdRng| match random.random_range(0..6) {
        0..=2 => char::from(random.random_range(0x20..0x7f_u8)),
        3 => char::from(b"@:/?#[]%&=+;,'\"\\$ {}|^`<>"[random.random_range(0..25)]),
        4 => char::from(random.random_range(0xa1..=0xff_u8)),
        _ if is_wide => char::from_u32(random.random_range(1..0x1_0000)).unwrap_or('\u{1f600}'),
        _ => char::from(random.random_range(b'0'..=b'9')),
    };
    (0..length).map(|_| one(random)).collect()
}

/// What the driver of a store takes out of a URL: user and password.
fn driver(kind: StoreKind, text: &str) -> Result<(Option<String>, Option<String>), String> {
    Ok(match kind {
        StoreKind::Postgres => {
            let options = sqlx::postgres::PgConnectOptions::from_str(text).map_err(|error| error.to_string())?;
            // sqlx shows its password only in the URL that it makes of its options.
            let written = options.clone().username("u").to_url_lossy();
            let password = percent_encoding::percent_decode_str(written.password().unwrap_or("")).decode_utf8();
            let password = password.map_err(|error| error.to_string())?.into_owned();
            (Some(options.get_username().to_owned()), Some(password))
        }
        StoreKind::Mongodb => {
            let read = mongodb::options::ConnectionString::parse(text).map_err(|error| error.to_string())?;
            read.credential.map_or((None, None), |login| (login.username, login.password))
        }
        StoreKind::Redis => {
            let info = text.into_connection_info().map_err(|error| error.to_string())?;
            let login = info.redis_settings();
            (login.username().map(str::to_owned), login.password().map(str::to_owned))
        }
    })
}

#[test]
fn ten_thousand_passwords_pass_each_reader_and_its_drivers_parser() {
    let mut random = StdRng::seed_from_u64(0x10_000);
    for kind in StoreKind::ALL {
        let mut read = 0;
        for _ in 0..COUNT {
            let secret = password(&mut random);
            // The user is the same text: both sides of the login are tried.
            let url = build(Parts {
                kind,
                user: Some(secret.clone()),
                password: Some(secret.clone()),
                hosts: vec!["db.example.com".into()],
                port: Some(1234),
                database: Some(if kind == StoreKind::Redis { "1" } else { "app" }.into()),
                options: Vec::new(),
                is_tls: false,
                is_srv: false,
            })
            .unwrap_or_else(|error| panic!("{kind} {secret:?}: {error:?}"));
            let text = url.expose();
            let again = parse(kind, &text).unwrap_or_else(|error| panic!("{kind} {secret:?}: {error:?}"));
            assert_eq!(again.password().map(|password| password.expose()), Some(secret.as_str()), "{kind}");
            assert_eq!(again.user(), Some(secret.as_str()), "{kind}");
            let login = driver(kind, &text);
            let expected = (Some(secret.clone()), Some(secret.clone()));
            assert_eq!(login, Ok(expected), "{kind}: {text}");
            // Every client that is modelled reads it alike.
            if read % 50 == 0 {
                for verdict in verdicts(&again, &text) {
                    let is_about_login = verdict.is_refused
                        || verdict.differences.iter().any(|what| what.contains("user") || what.contains("password"));
                    assert!(!is_about_login || verdict.client == "PyMongo", "{text}: {verdict:?}");
                }
            }
            read += 1;
        }
        assert_eq!(read, COUNT);
    }
}

/// The models of the three drivers that lyrox is built on, against the drivers, on texts of every kind: raw,
/// encoded, broken.
#[test]
fn the_models_of_client_libraries_agree_with_the_libraries() {
    let mut random = StdRng::seed_from_u64(7);
    let mut counts = [0_usize; 2];
    for _ in 0..6_000 {
        let kind = StoreKind::ALL[random.random_range(0..3)];
        let raw: String = password(&mut random).chars().filter(|c| !c.is_control()).collect();
        // MongoDB's driver panics where a `%` stands before a character of several bytes; lyrox never lets it see one.
        let raw = if raw.is_ascii() { raw } else { raw.replace('%', "") };
        let scheme = match kind {
            StoreKind::Postgres => "postgres",
            StoreKind::Mongodb => "mongodb",
            StoreKind::Redis => "redis",
        };
        let host = ["h", "h:5", "a:1,b:2", "[::1]:7", "", "h:x"][random.random_range(0..6)];
        let path = ["", "/", "/1", "/x%2Fy"][random.random_range(0..4)];
        let text = match random.random_range(0..3) {
            0 => format!("{scheme}://u:{raw}@{host}{path}"),
            1 => format!("{scheme}://{host}{path}"),
            _ => format!("{scheme}://u:p%3F@{host}{path}"),
        };
        let name = match kind {
            StoreKind::Postgres => "sqlx",
            StoreKind::Mongodb => "Rust driver",
            StoreKind::Redis => "redis-rs",
        };
        let model = CLIENTS.iter().find(|client| client.name == name).expect("a model");
        let modelled = (model.read)(&text);
        let real = driver(kind, &text);
        match (&modelled, &real) {
            (Err(_), Err(_)) => counts[0] += 1,
            (Ok(Reading { user, password, .. }), Ok((real_user, real_password))) => {
                let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
                let is_same = some(password) == some(real_password)
                    && (some(user) == some(real_user) || (kind == StoreKind::Postgres && user.is_none()));
                assert!(is_same, "{text}\n  model {user:?} {password:?}\n  real  {real_user:?} {real_password:?}");
                counts[1] += 1;
            }
            // Names of databases and options are each driver's own business; the login is what is modelled.
            (Ok(_), Err(why)) if why.contains("database name") || why.contains("Host") || why.contains("host") => {}
            _ => panic!("{text}\n  model {modelled:?}\n  real  {real:?}"),
        }
    }
    assert!(counts[0] > 500 && counts[1] > 500, "{counts:?}");
}

/// What differs, library by library: the traps that people fall into.
#[test]
fn where_libraries_differ_is_said_by_part_and_never_by_text() {
    let said = |kind: StoreKind, text: &str, client: &str| {
        let url = parse(kind, text).unwrap_or_else(|error| panic!("{text}: {error:?}"));
        let all = verdicts(&url, text);
        let verdict =
            all.iter().find(|verdict| verdict.client.starts_with(client)).unwrap_or_else(|| panic!("{client}"));
        let word = match (verdict.is_refused, verdict.differences.is_empty()) {
            (true, _) => "refused",
            (_, true) => "alike",
            _ => "otherwise",
        };
        format!("{word}: {}", verdict.differences.join("; "))
    };
    use StoreKind::{Mongodb, Postgres, Redis};
    let mut wrong = String::new();
    for (kind, text, client, expected) in [
        (
            Postgres,
            "postgres://u:p@ss@localhost/db",
            "libpq",
            "otherwise: takes another text for the password; takes another text for the host",
        ),
        (Postgres, "postgres://u:p@ss@localhost/db", "node-postgres", "alike"),
        (Postgres, "postgres://u:p@ss@localhost/db", "SQLAlchemy", "refused: refuses the scheme `postgres`"),
        (Postgres, "postgresql://u:p??s@localhost/db", "libpq", "alike"),
        (
            Postgres,
            "postgresql://u:p??s@localhost/db",
            "Prisma",
            "refused: takes something for the port that is no number",
        ),
        // Without a letter before it the port is merely empty, and the user is taken for the host.
        (Postgres, "postgresql://u:??@localhost/db", "Prisma", "otherwise: finds no user; finds no password"),
        (Postgres, "postgresql://u:p/w@localhost/db", "libpq", "refused: takes something for the port"),
        (Postgres, "postgresql://u:p/w@localhost/db", "SQLAlchemy", "alike"),
        (Postgres, "postgresql://u:100%@localhost/db", "libpq", "refused: refuses a `%`"),
        (Postgres, "postgresql://u:p#w@localhost/db", "pgx", "refused"),
        (Postgres, "postgresql://u:p@localhost/db?schema=app", "libpq", "refused: refuses the parameter `schema`"),
        (
            Postgres,
            "postgresql://u:p@h.example/db?sslmode=verify-full",
            "Prisma",
            "otherwise: does not know this `sslmode`",
        ),
        (Postgres, "postgresql://u:p@h.example/db", "node-postgres", "otherwise: no TLS"),
        (Postgres, "postgresql://u:p@h.example/db?sslmode=require", "libpq", "otherwise: TLS without verification"),
        (Postgres, "postgresql://a:1,b:2/db?sslmode=verify-full", "libpq", "alike"),
        (Postgres, "postgresql://a:1,b:2/db?sslmode=verify-full", "sqlx", "refused"),
        (Postgres, "postgresql://u@%2Fvar%2Frun/db", "pgx", "refused: refuses an escape in the host"),
        (Postgres, "host=localhost user=u dbname=db", "node-postgres", "refused: takes libpq's keywords"),
        (Mongodb, "mongodb://localhost/?anything=1", "Node.js", "refused: refuses an option"),
        (
            Mongodb,
            "mongodb://u:a+b@localhost/?authSource=admin",
            "PyMongo",
            "otherwise: takes another text for the password",
        ),
        (Mongodb, "mongodb://u:a+b@localhost/?authSource=admin", "Node.js", "alike"),
        (Mongodb, "mongodb://u:a@b@localhost/", "Node.js", "refused"),
        (Mongodb, "mongodb://u:a@b@localhost/", "Go driver", "refused: refuses a raw `@`"),
        (Mongodb, "mongodb://u:p#w@localhost/", "PyMongo", "alike"),
        (Mongodb, "mongodb://h.example/", "Node.js", "otherwise: no TLS"),
        (Redis, "redis://:p@ss@localhost:6379/1", "redis-cli", "otherwise"),
        (Redis, "redis://:p@ss@localhost:6379/1", "ioredis", "alike"),
        (Redis, "redis://word@localhost", "ioredis", "otherwise"),
        (Redis, "redis://word@localhost", "redis-cli", "alike"),
        (Redis, "redis://:p?w@localhost", "redis-py", "refused: takes something for the port"),
        (Redis, "redis://localhost?db=3", "redis-py", "alike"),
        (Redis, "redis://localhost?db=3", "redis-rs", "otherwise: finds no database"),
        (Redis, "redis://localhost?family=6", "go-redis", "refused: refuses a parameter"),
        (Redis, "redis://", "redis-rs", "refused: finds no host"),
        (Redis, "unix:///run/r.sock?db=1", "ioredis", "alike"),
        (Redis, "unix://u:p@/run/r.sock", "ioredis", "otherwise: finds no user; finds no password"),
        (Redis, "unix://u:p@/run/r.sock", "redis-rs", "refused"),
    ] {
        let found = said(kind, text, client);
        if !found.starts_with(expected) {
            wrong.push_str(&format!("{text} by {client}\n  {found}\n"));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    // Nothing of the text is in what is said.
    let text = "postgres://us3r:s3cr3t?@#/x@h0st.example:5432/d4ta?sslmode=require";
    let url = parse(Postgres, text).expect("a URL");
    let all = format!("{:?}", verdicts(&url, text));
    for piece in ["us3r", "s3cr3t", "h0st", "d4ta"] {
        assert!(!all.contains(piece), "{all}");
    }
}
