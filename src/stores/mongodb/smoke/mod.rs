//! Smoke tests of MongoDB. What writes does so in a transaction that is aborted.

mod command;
mod declared;
mod expiry;
mod index;
mod leftover;
mod transaction;
mod tries;
pub(super) mod wall;

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document};
use mongodb::ClientSession;

use super::MongodbStore;
use super::document::{self, Source};
use super::error::work_error;
use crate::engine::smoke::difference_words;
use crate::engine::snapshot::{Difference, Snapshot};
use crate::error::{Error, Result};
use crate::kind::StoreKind;
use crate::stores::smoke::outcome::Outcome;
use crate::stores::smoke::{BuiltIn, Call, Reply, Run, Smoke, Variables, Verdict};

/// What a built-in test is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    /// A collection takes valid documents and refuses wrong ones.
    Documents(String),
    /// Unique indexes refuse duplicates.
    Unique(String),
    /// Indexes are used.
    Indexes(String),
    /// Documents expire as declared.
    Expiry(String),
    /// Validator and indexes scope by tenant.
    Tenant(String),
    /// What a transaction did is undone with it.
    Transaction,
    /// Views are as migrated.
    Views,
}

impl Subject {
    /// The collection it is about; after all of them, what is about none.
    fn collection(&self) -> (bool, &str) {
        match self {
            Self::Documents(name)
            | Self::Unique(name)
            | Self::Indexes(name)
            | Self::Expiry(name)
            | Self::Tenant(name) => (false, name),
            Self::Transaction | Self::Views => (true, ""),
        }
    }

    fn built_in(&self) -> BuiltIn {
        let name = if let Self::Views = self { "views" } else { self.collection().1 };
        let (kind, title, writes) = match self {
            Self::Documents(_) => ("validator", format!("{name} takes valid documents only"), true),
            Self::Unique(_) => ("unique", format!("{name} refuses duplicates"), true),
            Self::Indexes(_) => ("index", format!("{name}: indexes are used"), false),
            Self::Expiry(_) => ("ttl", format!("{name}: documents expire"), false),
            Self::Tenant(_) => ("tenant", format!("{name}: scoped by tenant"), false),
            Self::Views => ("objects", "Views are as migrated".into(), false),
            Self::Transaction => ("transaction", "A transaction is undone as a whole".into(), true),
        };
        BuiltIn::new(StoreKind::Mongodb, kind, name, title, writes)
    }
}

/// A live collection.
#[derive(Clone, Debug, Default)]
struct Collection {
    validator: Document,
    /// `off`, `moderate` or `strict`; `error` or `warn`.
    refuses: bool,
    indexes: Vec<Index>,
}

/// A live index.
#[derive(Clone, Debug)]
struct Index {
    name: String,
    key: Document,
    is_unique: bool,
    partial: Option<Document>,
    collation: Option<Document>,
    is_hidden: bool,
    is_sparse: bool,
    /// After so many seconds.
    expires: Option<f64>,
}

/// The smoke tests of a connected MongoDB.
pub struct MongodbSmoke<'a> {
    store: &'a mut MongodbStore,
    run: Run<'a>,
    collections: BTreeMap<String, Collection>,
    tests: Vec<Subject>,
    /// How many views the snapshot holds.
    views: usize,
    differences: Vec<String>,
    missing: BTreeMap<Subject, Vec<String>>,
    source: Source,
    before: Option<BTreeMap<String, u64>>,
    /// The sessions of the declared test, by name; its own has none.
    sessions: BTreeMap<String, declared::Open>,
    touched: BTreeSet<String>,
    is_committing: bool,
}

impl<'a> MongodbSmoke<'a> {
    /// Borrows the store for a run.
    pub fn new(store: &'a mut MongodbStore, run: Run<'a>) -> Self {
        let source = Source::new(&run.marker());
        Self {
            store,
            run,
            collections: BTreeMap::new(),
            tests: Vec::new(),
            views: 0,
            differences: Vec::new(),
            missing: BTreeMap::new(),
            source,
            before: None,
            sessions: BTreeMap::new(),
            touched: BTreeSet::new(),
            is_committing: false,
        }
    }

    fn database(&self) -> mongodb::Database {
        self.store.connected().database.clone()
    }

    fn lost(&self, doing: &str, error: &mongodb::error::Error) -> Error {
        work_error(self.store.endpoint(), doing, error)
    }

    /// A session with a transaction begun.
    async fn transaction(&self) -> Result<ClientSession> {
        self.transaction_of(&self.store.connected().client).await
    }

    /// A session of a client with a transaction begun.
    async fn transaction_of(&self, client: &mongodb::Client) -> Result<ClientSession> {
        let lost = |error: &mongodb::error::Error| self.lost("begin a transaction", error);
        let mut session = client.start_session().await.map_err(|error| lost(&error))?;
        session.start_transaction().await.map_err(|error| lost(&error))?;
        Ok(session)
    }

    /// The collections as both snapshots describe them; views have nothing of their own to test.
    fn read(live: &Snapshot) -> BTreeMap<String, Collection> {
        let mut collections: BTreeMap<String, Collection> = BTreeMap::new();
        for (object, definition) in &live.objects {
            let Some(options) = parse(definition) else { continue };
            if let Some(name) = object.strip_prefix("collection ") {
                let collection = collections.entry(name.to_owned()).or_default();
                collection.validator = options.get_document("validator").cloned().unwrap_or_default();
                collection.refuses = !matches!(options.get_str("validationLevel"), Ok("off"))
                    && !matches!(options.get_str("validationAction"), Ok("warn"));
            } else if let Some((collection, index)) = object.strip_prefix("index ").and_then(|path| split(path, live)) {
                let key = options.get_document("key").cloned().unwrap_or_default();
                collections.entry(collection).or_default().indexes.push(Index {
                    name: index,
                    key,
                    is_unique: options.get_bool("unique").unwrap_or(false),
                    partial: options.get_document("partialFilterExpression").cloned().ok(),
                    collation: options.get_document("collation").cloned().ok(),
                    is_hidden: options.get_bool("hidden").unwrap_or(false),
                    is_sparse: options.get_bool("sparse").unwrap_or(false),
                    expires: options.get("expireAfterSeconds").and_then(document::number),
                });
            }
        }
        collections
    }

    fn subjects(&self) -> Vec<Subject> {
        let mut subjects: BTreeSet<Subject> = self.missing.keys().cloned().collect();
        let tenancy = self.run.config.settings.tenancy.as_ref().filter(|tenancy| tenancy.column.is_some());
        for (name, collection) in &self.collections {
            subjects.insert(Subject::Documents(name.clone()));
            if collection.indexes.iter().any(|index| index.is_unique) {
                subjects.insert(Subject::Unique(name.clone()));
            }
            if !collection.indexes.is_empty() {
                subjects.insert(Subject::Indexes(name.clone()));
            }
            if collection.indexes.iter().any(|index| index.expires.is_some()) {
                subjects.insert(Subject::Expiry(name.clone()));
            }
            if tenancy.is_some_and(|tenancy| !tenancy.global.contains(name)) {
                subjects.insert(Subject::Tenant(name.clone()));
            }
        }
        if !self.collections.is_empty() {
            subjects.insert(Subject::Transaction);
        }
        if self.views > 0 {
            subjects.insert(Subject::Views);
        }
        let mut subjects: Vec<Subject> = subjects.into_iter().collect();
        subjects.sort_by(|a, b| a.collection().cmp(&b.collection()).then_with(|| a.cmp(b)));
        subjects
    }
}

/// `collection.index`, where both may hold dots: the collection is the longest that is there.
fn split(path: &str, live: &Snapshot) -> Option<(String, String)> {
    path.match_indices('.')
        .rev()
        .map(|(at, _)| (&path[..at], &path[at + 1..]))
        .find(|(collection, _)| live.objects.contains_key(&format!("collection {collection}")))
        .or_else(|| path.split_once('.'))
        .map(|(collection, index)| (collection.to_owned(), index.to_owned()))
}

fn parse(definition: &str) -> Option<Document> {
    let value: serde_json::Value = serde_json::from_str(definition).ok()?;
    match Bson::try_from(value).ok()? {
        Bson::Document(document) => Some(document),
        _ => None,
    }
}

/// The test that an object of the snapshot belongs to; none: only `schema` speaks of it.
fn subject(object: &str, definition: &str, kept: &Snapshot) -> Option<Subject> {
    if object.starts_with("view ") {
        return Some(Subject::Views);
    }
    if let Some(name) = object.strip_prefix("collection ") {
        return Some(Subject::Documents(name.to_owned()));
    }
    let (collection, _) = split(object.strip_prefix("index ")?, kept)?;
    let index = parse(definition).unwrap_or_default();
    Some(if index.get_bool("unique").unwrap_or(false) {
        Subject::Unique(collection)
    } else if index.contains_key("expireAfterSeconds") {
        Subject::Expiry(collection)
    } else {
        Subject::Indexes(collection)
    })
}

impl Smoke for MongodbSmoke<'_> {
    fn kind(&self) -> StoreKind {
        StoreKind::Mongodb
    }

    async fn clean_up(&mut self) -> Result<Vec<String>> {
        self.remove_journaled().await
    }

    async fn tally(&mut self) -> Result<()> {
        self.count_before().await
    }

    async fn prepare(&mut self, kept: &Snapshot, live: &Snapshot) -> Result<Vec<BuiltIn>> {
        self.collections = Self::read(live);
        self.missing.clear();
        self.differences.clear();
        for difference in kept.differences(live) {
            let words = difference_words(&difference);
            self.differences.push(words.clone());
            let (Difference::Missing(object) | Difference::Changed(object, ..)) = &difference else { continue };
            // What went with its collection is the collection's matter.
            let of = object.strip_prefix("index ").and_then(|path| split(path, kept));
            if of.is_some_and(|(name, _)| !live.objects.contains_key(&format!("collection {name}"))) {
                continue;
            }
            let definition = kept.objects.get(object).map_or("", String::as_str);
            if let Some(subject) = subject(object, definition, kept) {
                self.missing.entry(subject).or_default().push(words);
            }
        }
        self.views = kept.objects.keys().filter(|object| object.starts_with("view ")).count();
        self.tests = self.subjects();
        Ok(self.tests.iter().map(Subject::built_in).collect())
    }

    async fn try_out(&mut self, index: usize) -> Result<Verdict> {
        let Some(subject) = self.tests.get(index).cloned() else { return Ok(Verdict::skip("there is no such test")) };
        let (mut outcome, noun) = match &subject {
            Subject::Documents(name) => (self.try_documents(name).await?, ("document", "documents")),
            Subject::Unique(name) => (self.try_unique(name).await?, ("index", "indexes")),
            Subject::Indexes(name) => (self.try_indexes(name).await?, ("index", "indexes")),
            Subject::Expiry(name) => (self.judge_expiry(name).await?, ("index", "indexes")),
            Subject::Tenant(name) => (self.judge_tenant(name), ("rule", "rules")),
            Subject::Views => (Outcome { passed: self.views, ..Outcome::default() }, ("view", "views")),
            Subject::Transaction => (self.try_transaction().await?, ("transaction", "transactions")),
        };
        if let Some(missing) = self.missing.get(&subject) {
            outcome.missing.splice(0..0, missing.iter().cloned());
        }
        Ok(outcome.verdict(&self.differences, noun, None))
    }

    async fn rest(&mut self) -> Result<()> {
        Ok(())
    }

    async fn tenants(&mut self) -> Result<Option<Vec<String>>> {
        Ok(None)
    }

    async fn begin(&mut self, commit: bool, _tenant: Option<&str>) -> Result<Result<(), String>> {
        // MongoDB has no wall between tenants but the filter: the step itself names the tenant.
        self.begin_declared(commit).await.map(Ok)
    }

    async fn step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        self.declared_step(call, variables).await
    }

    async fn take_back(&mut self, session: Option<&str>) -> Result<()> {
        self.take_back_declared(session).await
    }

    async fn end(&mut self) -> Result<()> {
        self.end_declared().await
    }

    async fn leftovers(&mut self) -> Result<Vec<String>> {
        self.find_leftovers().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_belong_to_the_test_that_tries_them() {
        let mut kept = Snapshot::new(StoreKind::Mongodb);
        kept.objects.insert("collection a.b".into(), "{}".into());
        let unique = r#"{"key":{"x":1},"unique":true}"#;
        assert_eq!(subject("index a.b.c.d", unique, &kept), Some(Subject::Unique("a.b".into())));
        assert_eq!(subject("index a.b.c", "{}", &kept), Some(Subject::Indexes("a.b".into())));
        let expiring = r#"{"key":{"x":1},"expireAfterSeconds":60}"#;
        assert_eq!(subject("index a.b.t", expiring, &kept), Some(Subject::Expiry("a.b".into())));
        assert_eq!(subject("collection a.b", "{}", &kept), Some(Subject::Documents("a.b".into())));
        assert_eq!(subject("view v", "{}", &kept), Some(Subject::Views));
    }
}
