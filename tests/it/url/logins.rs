//! A hundred passwords, each through a real log-in to each of the three stores: set on the server, written into a
//! URL, read by lyrox, and used.

use std::collections::BTreeSet;

use lyrox::config::{Endpoint, Origin};
use lyrox::kind::StoreKind;
use lyrox::secret::Secret;
use lyrox::url::{SecretUrl, parse};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::{Project, block_on};

const COUNT: usize = 100;

/// Passwords that between them hold every printable character of ASCII and Latin-1.
fn passwords() -> Vec<String> {
    let all: Vec<char> = (0x20..=0x7e_u8).chain(0xa1..=0xac).chain(0xae..=0xff).map(char::from).collect();
    let mut random = StdRng::seed_from_u64(100);
    let passwords: Vec<String> = (0..COUNT)
        .map(|index| {
            let mut text: Vec<char> = vec![all[index], all[(index + COUNT) % all.len()]];
            text.extend((0..random.random_range(4..14)).map(|_| all[random.random_range(0..all.len())]));
            // The two that stand for their place do not always stand at the beginning.
            let turn = random.random_range(0..text.len());
            text.rotate_left(turn);
            text.into_iter().collect()
        })
        .collect();
    let seen: BTreeSet<char> = passwords.iter().flat_map(|text| text.chars()).collect();
    assert_eq!(seen.len(), all.len(), "every printable character is in some password");
    passwords
}

/// The project's URL with another login, as text and read again: what a user would have in a `.env` file.
fn endpoint(kind: StoreKind, url: &str, user: &str, password: &str) -> Endpoint {
    let url = parse(kind, url).expect("a URL").with_login(user, Secret::unregistered(password));
    let again: SecretUrl = parse(kind, &url.expose()).expect("a URL");
    assert_eq!(again.password().map(Secret::expose), Some(password));
    Endpoint { url: again, origin: Origin::File }
}

#[test]
fn a_hundred_passwords_log_in_to_postgresql() {
    let project = Project::new("logins_pg", "");
    let role = project.name.clone();
    project.sql(&format!("CREATE ROLE {role} LOGIN"));
    let connect = |password: &str| {
        let endpoint = endpoint(StoreKind::Postgres, &project.postgres, &role, password);
        block_on(async move { lyrox::stores::postgres::connect::connect(&endpoint, None, "logins").await })
    };
    let mut count = 0;
    for password in passwords() {
        project.sql(&format!("ALTER ROLE {role} PASSWORD '{}'", password.replace('\'', "''")));
        if let Err(error) = connect(&password) {
            panic!("{password:?}: {error:?}");
        }
        count += 1;
    }
    let error = connect("another password").err().expect("a refusal");
    assert_eq!((count, error.code().text()), (COUNT, "LYX-AUTH-POSTGRES"), "{error:?}");
    project.sql(&format!("DROP ROLE {role}"));
}

#[test]
fn a_hundred_passwords_log_in_to_mongodb() {
    let project = Project::new("logins_mongo", "");
    let user = project.name.clone();
    project.mongo(bson::doc! { "createUser": &user, "pwd": "x", "roles": [{ "role": "read", "db": &project.name }] });
    let place = parse(StoreKind::Mongodb, &project.mongodb).expect("a URL").authority();
    let url = format!("mongodb://{place}/{}?authSource={}&directConnection=true", project.name, project.name);
    let connect = |password: &str| {
        let endpoint = endpoint(StoreKind::Mongodb, &url, &user, password);
        let name = project.name.clone();
        block_on(async move { lyrox::stores::mongodb::connect::connect(&endpoint, None, &name).await })
    };
    let mut count = 0;
    for password in passwords() {
        project.mongo(bson::doc! { "updateUser": &user, "pwd": &password });
        if let Err(error) = connect(&password) {
            panic!("{password:?}: {error:?}");
        }
        count += 1;
    }
    let error = connect("another password").err().expect("a refusal");
    assert_eq!((count, error.code().text()), (COUNT, "LYX-AUTH-MONGODB"), "{error:?}");
    project.mongo(bson::doc! { "dropUser": &user });
}

#[test]
fn a_hundred_passwords_log_in_to_redis() {
    let project = Project::new("logins_redis", "");
    let user = project.name.clone();
    let connect = |password: &str| {
        let endpoint = endpoint(StoreKind::Redis, &project.redis, &user, password);
        block_on(async move { lyrox::stores::redis::connect::connect(&endpoint, None).await })
    };
    let mut count = 0;
    for password in passwords() {
        project.redis(&["ACL", "SETUSER", &user, "reset", "on", &format!(">{password}"), "+@all", "~*"]);
        if let Err(error) = connect(&password) {
            panic!("{password:?}: {error:?}");
        }
        count += 1;
    }
    let error = connect("another password").err().expect("a refusal");
    assert_eq!((count, error.code().text()), (COUNT, "LYX-AUTH-REDIS"), "{error:?}");
    project.redis(&["ACL", "DELUSER", &user]);
}
