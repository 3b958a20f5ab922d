//! Another tool's history in MongoDB, kept in step: golang-migrate's `schema_migrations`, one document that says the newest
//! version and whether it is dirty, and its lock `migrate_advisory_lock`. As `database/mongodb/mongodb.go` keeps them.

use bson::{Bson, DateTime, Document, doc};
use mongodb::options::IndexOptions;
use mongodb::{ClientSession, Database, IndexModel};

use super::ledger::{Books, Trouble};
use crate::config::Config;
use crate::config::file::Format;
use crate::engine::adopt::{Recorded, RecordedState, Records};
use crate::engine::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::stores::lease::holder;

/// The collection of the tool's lock.
const LOCK: &str = "migrate_advisory_lock";
/// The one value that whoever holds the lock has inserted.
const KEY: i32 = 0;
/// What the tool calls the index that lets only one of them in.
const INDEX: &str = "lock_unique_key";

/// golang-migrate's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    collection: String,
}

impl History {
    /// The history that the project's format keeps; none for lyrox's own files.
    ///
    /// # Errors
    /// `LYX-CONFIG-VALUE` for a name that lyrox needs for itself.
    pub fn of(config: &Config) -> Result<Option<Self>> {
        let Some(section) = config.settings.mongodb.as_ref().filter(|section| section.format != Format::Lyrox) else {
            return Ok(None);
        };
        let collection = section.history.clone().unwrap_or_else(|| "schema_migrations".into());
        if collection.is_empty() || collection.contains(['$', '\0']) || super::catalog::is_own(&collection) {
            return Err(Error::new(Code::ConfigValue, format!("`{collection}` cannot be golang-migrate's collection"))
                .data("nothing was changed")
                .hint("`history` under [mongodb] is the collection that `x-migrations-collection` names"));
        }
        Ok(Some(Self { collection }))
    }

    /// Whether a collection belongs to the tool.
    pub fn has(&self, collection: &str) -> bool {
        collection == self.collection || collection == LOCK
    }

    /// Reads the history.
    ///
    /// # Errors
    /// The driver's; a document that the tool did not write.
    pub async fn read(&self, database: &Database) -> Result<Records, Trouble> {
        let mut records = Records { tool: "golang-migrate", table: self.collection.clone(), ..Records::default() };
        let Some(found) = database.collection::<Document>(&self.collection).find_one(doc! {}).await? else {
            let names = database.list_collection_names().filter(doc! { "name": self.collection.as_str() }).await?;
            records.exists = !names.is_empty();
            return Ok(records);
        };
        records.exists = true;
        let number = match found.get("version") {
            Some(Bson::Int32(number)) => Some(i64::from(*number)),
            Some(Bson::Int64(number)) => Some(*number),
            _ => None,
        };
        let (Some(version), Ok(is_dirty)) = (number, found.get_bool("dirty")) else {
            return Err(Error::new(Code::HistoryForeign, format!("`{}` is not golang-migrate's", self.collection))
                .why("its document has no whole number `version` and no boolean `dirty`")
                .data("nothing was changed")
                .hint("set `history` under [mongodb] in lyrox.toml to the collection that `x-migrations-collection` names")
                .into());
        };
        // -1 stands for none.
        if version < 0 && !is_dirty {
            return Ok(records);
        }
        let state = if is_dirty { self.broken(version) } else { RecordedState::AppliedUpTo };
        let key = version.to_string();
        records.rows.push(Recorded { key, checksum: None, name: None, state, at: None });
        Ok(records)
    }

    fn broken(&self, version: i64) -> RecordedState {
        let collection = &self.collection;
        RecordedState::Broken {
            why: format!(
                "`{collection}` says that version {version} is dirty: golang-migrate began it and did not finish, or it failed there"
            ),
            hint: format!(
                "see what of version {version} is in effect and finish or undo it; then say which version is whole, as \
                 `migrate force` would: lyrox query mongodb --write '{{ \"update\": \"{collection}\", \"updates\": \
                 [{{ \"q\": {{}}, \"u\": {{ \"$set\": {{ \"version\": {version}, \"dirty\": false }} }} }}] }}'"
            ),
        }
    }

    /// Makes the collection, so that a transaction can write to it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn make(&self, database: &Database) -> mongodb::error::Result<()> {
        match database.create_collection(&self.collection).await {
            // It exists.
            Err(error) if super::error::refusal(&error).is_some_and(|refusal| refusal.code == 48) => Ok(()),
            made => made,
        }
    }

    /// Writes that a step is about to run outside a transaction: dirty.
    ///
    /// # Errors
    /// The driver's.
    pub async fn started(&self, books: &Books, step: &Step, session: &mut ClientSession) -> mongodb::error::Result<()> {
        self.write(books, step, true, session).await
    }

    /// Writes that a step is done.
    ///
    /// # Errors
    /// The driver's.
    pub async fn done(&self, books: &Books, step: &Step, session: &mut ClientSession) -> mongodb::error::Result<()> {
        self.write(books, step, false, session).await
    }

    /// Writes what was there before a step that failed without an effect.
    ///
    /// # Errors
    /// The driver's.
    pub async fn undone(&self, books: &Books, step: &Step, session: &mut ClientSession) -> mongodb::error::Result<()> {
        let before = Step { action: opposite(step.action), ..step.clone() };
        self.write(books, &before, false, session).await
    }

    async fn write(
        &self,
        books: &Books,
        step: &Step,
        is_dirty: bool,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        let version = match (&step.up.foreign, step.action) {
            (Some(_), _) => reached(step),
            // Its file is gone, and with it what came before: lyrox's own rows know that.
            (None, Action::Revert) if !step.version.is_repeatable() => {
                books.newest_below(&step.version, session).await?
            }
            // What lyrox runs beside the tool's files is not the tool's.
            (None, _) => return Ok(()),
        };
        self.set(&books.database, version, is_dirty, session).await
    }

    async fn set(
        &self,
        database: &Database,
        version: i64,
        is_dirty: bool,
        session: &mut ClientSession,
    ) -> mongodb::error::Result<()> {
        // The driver of the tool writes numbers as small as they are.
        let version = i32::try_from(version).map_or(Bson::Int64(version), Bson::Int32);
        let document = doc! { "version": version, "dirty": is_dirty };
        let collection = database.collection::<Document>(&self.collection);
        collection.replace_one(doc! {}, document).upsert(true).session(session).await.map(|_| ())
    }

    /// Takes the tool's own lock; who holds it where it is not free. What a run of lyrox that is gone has left is
    /// replaced: lyrox's own lock is held, so that run can do no more.
    ///
    /// # Errors
    /// The driver's.
    pub async fn lock(&self, database: &Database) -> mongodb::error::Result<Option<String>> {
        let collection = database.collection::<Document>(LOCK);
        let options = IndexOptions::builder().unique(true).name(INDEX.to_owned()).build();
        let index = IndexModel::builder().keys(doc! { "locking_key": -1 }).options(options).build();
        collection.create_index(index).await?;
        let document = doc! {
            "locking_key": KEY,
            "pid": i32::try_from(std::process::id()).unwrap_or(i32::MAX),
            "hostname": rustix::system::uname().nodename().to_string_lossy().into_owned(),
            "created_at": DateTime::now(),
            "lyrox": holder(),
        };
        let of_lyrox = doc! { "locking_key": KEY, "lyrox": { "$exists": true } };
        if collection.replace_one(of_lyrox, document.clone()).await?.matched_count > 0 {
            return Ok(None);
        }
        match collection.insert_one(document).await {
            Ok(_) => Ok(None),
            Err(error) if super::error::refusal(&error).is_some_and(|refusal| refusal.code == 11000) => {
                let found = collection.find_one(doc! { "locking_key": KEY }).await?.unwrap_or_default();
                let machine = found.get_str("hostname").unwrap_or("an unknown machine");
                let process = found.get_i32("pid").map_or(String::new(), |pid| format!("process {pid} on "));
                let since = found.get_datetime("created_at").ok().and_then(|at| at.try_to_rfc3339_string().ok());
                let since = since.map_or(String::new(), |since| format!(" since {since}"));
                Ok(Some(format!("golang-migrate's own lock, `{LOCK}`: {process}{machine}{since}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the tool's own lock back, where lyrox holds it.
    ///
    /// # Errors
    /// The driver's.
    pub async fn unlock(&self, database: &Database) -> mongodb::error::Result<()> {
        let of_lyrox = doc! { "locking_key": KEY, "lyrox": { "$exists": true } };
        database.collection::<Document>(LOCK).delete_many(of_lyrox).await.map(|_| ())
    }

    /// Removes the history.
    ///
    /// # Errors
    /// The driver's.
    pub async fn drop(&self, database: &Database) -> mongodb::error::Result<()> {
        database.collection::<Document>(&self.collection).drop().await
    }
}

/// The version that the history says once a step is done; -1 for none.
fn reached(step: &Step) -> i64 {
    let foreign = step.up.foreign.as_ref();
    let version = match step.action {
        Action::Revert => foreign.and_then(|foreign| foreign.previous.as_deref()),
        _ => foreign.map(|foreign| foreign.key.as_str()),
    };
    version.and_then(|version| version.parse().ok()).unwrap_or(-1)
}

fn opposite(action: Action) -> Action {
    match action {
        Action::Revert => Action::Apply,
        _ => Action::Revert,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::kind::StoreKind;
    use crate::project::migration::{Foreign, Header, Script, Version};

    #[test]
    fn a_step_moves_the_mark_by_one() {
        let step = |action, previous: Option<&str>| {
            let foreign = Foreign { key: "7".into(), previous: previous.map(str::to_owned), ..Foreign::default() };
            let script = Arc::new(Script {
                path: "m/7_a.up.json".into(),
                text: String::new(),
                checksum: String::new(),
                header: Header::default(),
                includes: std::collections::BTreeMap::new(),
                foreign: Some(foreign),
            });
            Step {
                store: StoreKind::Mongodb,
                version: Version::new("0007"),
                name: "a".into(),
                action,
                script: script.clone(),
                up: script,
                down: None,
                resume_from: 0,
            }
        };
        assert_eq!(reached(&step(Action::Apply, Some("5"))), 7);
        assert_eq!(reached(&step(Action::Revert, Some("5"))), 5);
        assert_eq!(reached(&step(Action::Revert, None)), -1);
    }
}
