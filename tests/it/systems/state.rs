//! All that the stores of a project hold, as one hash for each table, collection and key.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::TryStreamExt as _;

use crate::support::{block_on, sql};

/// Who holds MongoDB's lock, and how often it was taken: every run counts it up. Nothing else may change.
const LOCK: &str = "mongodb lyrox_lock";

/// Hashes by `postgres schema.table`, `mongodb collection`, `redis key`.
#[derive(Debug, PartialEq, Eq)]
pub struct State(pub BTreeMap<String, String>);

impl State {
    /// Reads the local servers of a project.
    pub fn read(root: &Path) -> Self {
        let urls = lyrox::servers::running(root).expect("running servers");
        let mut hashes = BTreeMap::new();
        if let Some(url) = urls.postgres_direct {
            postgres(&url, &mut hashes);
        }
        if let Some(url) = urls.mongodb {
            block_on(mongodb(&url, &mut hashes));
        }
        if let Some(url) = urls.redis {
            block_on(redis(&url, &mut hashes));
        }
        hashes.remove(LOCK);
        Self(hashes)
    }

    /// Fails where anything came, went or changed, by name.
    #[track_caller]
    pub fn is_same_as(&self, after: &Self) {
        assert!(self.0.len() > 3, "too little is there to prove anything: {:?}", self.0.keys());
        let names = self.0.keys().chain(after.0.keys());
        let different: Vec<_> = names.filter(|name| self.0.get(*name) != after.0.get(*name)).collect();
        assert!(different.is_empty(), "changed: {different:?}");
    }
}

/// Every table of every schema, system columns included: a row that is written again, even with the same values, shows.
fn postgres(url: &str, hashes: &mut BTreeMap<String, String>) {
    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
                  WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1";
    for row in sql(url, tables).expect("tables") {
        let table = row[0].clone().expect("a name");
        let query = format!(
            "SELECT count(*) || ' rows, ' || coalesce(md5(string_agg(t.xmin::text || ' ' || t::text, '|' ORDER BY t::text)), '') FROM {table} t"
        );
        let hash = sql(url, &query).unwrap_or_else(|error| panic!("{table}: {error}"))[0][0].clone();
        hashes.insert(format!("postgres {table}"), hash.expect("a hash"));
    }
}

async fn mongodb(url: &str, hashes: &mut BTreeMap<String, String>) {
    let client = mongodb::Client::with_uri_str(url).await.expect("a client");
    let database = client.default_database().expect("a database in the URL");
    for name in database.list_collection_names().await.expect("collections") {
        let cursor = database.collection::<bson::Document>(&name).find(bson::doc! {}).await.expect("documents");
        let mut documents: Vec<String> =
            cursor.map_ok(|document| document.to_string()).try_collect().await.expect("documents");
        documents.sort();
        hashes.insert(format!("mongodb {name}"), documents.join("\n"));
    }
}

/// The dump of each key, and whether it expires: the time that is left runs on.
async fn redis(url: &str, hashes: &mut BTreeMap<String, String>) {
    let client = redis::Client::open(url).expect("a URL");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.expect("keys");
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query_async(&mut connection).await.expect("a type");
        // The order of a hash or a set in a dump is the server's affair.
        let command = match kind.as_str() {
            "hash" => "HGETALL",
            "set" => "SMEMBERS",
            _ => "DUMP",
        };
        let value: redis::Value = redis::cmd(command).arg(&key).query_async(&mut connection).await.expect("a value");
        let ttl: i64 = redis::cmd("TTL").arg(&key).query_async(&mut connection).await.expect("a time");
        let mut words: Vec<String> = match value {
            redis::Value::Array(values) if kind == "hash" => values.chunks(2).map(|pair| format!("{pair:?}")).collect(),
            redis::Value::Array(values) | redis::Value::Set(values) => {
                values.iter().map(|value| format!("{value:?}")).collect()
            }
            redis::Value::Map(pairs) => pairs.iter().map(|pair| format!("{pair:?}")).collect(),
            value => vec![format!("{value:?}")],
        };
        words.sort();
        hashes.insert(format!("redis {key}"), format!("{kind} {} {}", ttl >= 0, words.join(" ")));
    }
}
