//! A tenant's data handed out, removed and taken in again: byte for byte, and nobody else's touched.

mod kills;
mod lyrox_os;
mod places;
mod refusals;
mod row;

use std::collections::BTreeMap;

use futures_util::TryStreamExt as _;

use super::Own;
use crate::support::{Output, Project, block_on};

/// Every table of shared and other schemas, every collection and every key of a project with what it holds. Registry,
/// ledger and locks are lyrox's own and change with each run.
pub fn everything(project: &Project, but: &str) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema', 'lyrox') ORDER BY 1";
    for row in project.sql(tables) {
        let table = row[0].clone().expect("a name");
        // System columns as well: a row that is written again with the same values shows.
        let rows = project.sql(&format!("SELECT t.xmin::text || ' ' || t.ctid::text || ' ' || t::text FROM {table} t"));
        for row in rows.into_iter().filter_map(|row| row[0].clone()).filter(|row| !row.contains(but)) {
            all.insert(format!("postgres {table} {row}"), String::new());
        }
    }
    block_on(async {
        let client = mongodb::Client::with_uri_str(&project.mongodb).await.expect("a client");
        for database in client.list_database_names().await.expect("databases") {
            if database != project.name && !database.starts_with(&format!("t_{}", project.name)) {
                continue;
            }
            let database = client.database(&database);
            for name in database.list_collection_names().await.expect("collections") {
                if name.starts_with("lyrox_") {
                    continue;
                }
                let found = database.collection::<bson::Document>(&name).find(bson::doc! {}).await.expect("documents");
                let found: Vec<bson::Document> = found.try_collect().await.expect("documents");
                for document in found.iter().map(ToString::to_string).filter(|text| !text.contains(but)) {
                    all.insert(format!("mongodb {}.{name} {document}", database.name()), String::new());
                }
            }
        }
    });
    for key in keys(project) {
        if key.contains("lyrox:") || key.contains(but) {
            continue;
        }
        let value = project.redis(&["DUMP", &key]);
        let text = format!("{value:?}");
        let hash = project.redis(&["TYPE", &key]);
        // Which hash is whose stands in it.
        if format!("{hash:?}").contains("hash") && format!("{:?}", project.redis(&["HGETALL", &key])).contains(but) {
            continue;
        }
        all.insert(format!("redis {key} {text}"), String::new());
    }
    all
}

/// Fails where what is there came, went or changed: by name.
#[track_caller]
pub fn same<'a>(one: impl IntoIterator<Item = &'a String>, two: impl IntoIterator<Item = &'a String>, note: &str) {
    let one: std::collections::BTreeSet<&String> = one.into_iter().collect();
    let two: std::collections::BTreeSet<&String> = two.into_iter().collect();
    let went: Vec<_> = one.difference(&two).collect();
    let came: Vec<_> = two.difference(&one).collect();
    assert!(went.is_empty() && came.is_empty(), "{note}: went {went:#?}, came {came:#?}");
}

/// The project's keys.
pub fn keys(project: &Project) -> Vec<String> {
    let redis::Value::Array(found) = project.redis(&["KEYS", &format!("{}*", project.prefix)]) else {
        return Vec::new();
    };
    let mut keys: Vec<String> =
        found.into_iter().map(|key| redis::from_redis_value::<String>(key).expect("a key")).collect();
    keys.sort();
    keys
}

/// The NDJSON files and the manifest of a bundle, by name.
pub fn unpacked(project: &Project, file: &str) -> BTreeMap<String, String> {
    use std::io::Read as _;
    let bytes = std::fs::read(project.path(file)).expect("a bundle");
    let plain = zstd::stream::decode_all(bytes.as_slice()).expect("zstd");
    let mut archive = tar::Archive::new(plain.as_slice());
    let mut files = BTreeMap::new();
    for entry in archive.entries().expect("a tar archive") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut text = String::new();
        entry.read_to_string(&mut text).expect("text");
        files.insert(name, text);
    }
    files
}

/// Fails where two bundles differ, by the file in which they do.
#[track_caller]
pub fn same_bundles(project: &Project, one: &str, two: &str, note: &str) {
    let bytes = |file: &str| std::fs::read(project.path(file)).expect("a bundle");
    if bytes(one) == bytes(two) {
        return;
    }
    let (one, two) = (unpacked(project, one), unpacked(project, two));
    for (name, text) in &one {
        assert_eq!(Some(text), two.get(name), "{note}: {name}");
    }
    panic!("{note}: the bundles differ in their packing or in more files: {:?}", two.keys());
}

impl Own {
    /// Exports a tenant, which must succeed.
    #[track_caller]
    pub fn export(&self, key: &str, file: &str) -> Output {
        let output = self.lyrox(&["tenant", "export", key, file]);
        output.ok();
        output
    }

    /// Deletes a tenant, which must succeed.
    #[track_caller]
    pub fn delete(&self, key: &str, slug: &str) -> Output {
        let output = self.lyrox(&["tenant", "delete", key, "--confirm", slug]);
        output.ok().says("nothing is left");
        output
    }

    /// Imports a bundle, which must succeed.
    #[track_caller]
    pub fn import(&self, file: &str, more: &[&str]) -> Output {
        let mut arguments = vec!["tenant", "import", file, "--no-credentials"];
        arguments.extend(more);
        let output = self.lyrox(&arguments);
        output.ok();
        output
    }
}
