//! Corrections of a row that a person decided on, under the lock.

use bson::{Bson, Document, doc};
use mongodb::options::ReturnDocument;

use super::ledger::{self, Books, EVENTS, MIGRATIONS, Trouble};
use super::script;
use crate::engine::ledger::{Amendment, Row, State};
use crate::engine::plan::Step;
use crate::stores::{ApplyOptions, told};

/// Corrects the row of a step and writes the event.
///
/// # Errors
/// The driver's, or `LYX-USAGE` where there is nothing to correct.
pub async fn amend(books: &Books, step: &Step, amendment: Amendment, options: &ApplyOptions) -> Result<Row, Trouble> {
    let rows = books.collection(MIGRATIONS);
    let id = books.id(&step.version);
    let nothing = || Trouble::Ledger(told::nothing_to_amend(step, amendment));
    let found = rows.find_one(doc! { "_id": id.clone() }).await?.ok_or_else(nothing)?;
    let row = ledger::row(&found)?;
    let is_unfinished = matches!(row.state, State::Started | State::Failed);
    let reverting = found.get_document("reverting").ok().filter(|way| is_open(way));
    let (prefix, way) = match reverting {
        Some(way) => ("reverting.", way),
        None => ("", &found),
    };
    let update = match amendment {
        Amendment::Done if reverting.is_some() || is_unfinished && row.steps_done < row.steps_total => {
            let done = way.get_i32("steps_done").unwrap_or(0);
            let script = if prefix.is_empty() { &step.up } else { &step.script };
            let commands = if script.text.is_empty() { Vec::new() } else { script::read(script, &options.variables)? };
            let hash = usize::try_from(done).ok().and_then(|at| commands.get(at)).map(|command| command.hash.clone());
            let hash = hash.or_else(|| way.get_str("doing_hash").ok().map(str::to_owned)).unwrap_or_default();
            let mut set = cleared(prefix);
            set.insert(format!("{prefix}steps_done"), done + 1);
            if prefix.is_empty() {
                set.insert("state", State::Started.word());
                set.insert("error_code", Bson::Null);
            }
            doc! { "$set": set, "$push": { (format!("{prefix}hashes")): hash } }
        }
        Amendment::NotDone if is_open(way) => doc! { "$set": cleared(prefix) },
        Amendment::Done | Amendment::NotDone => return Err(nothing()),
        Amendment::Accept => {
            let mut set = doc! { "name": step.name.as_str() };
            if row.state == State::Applied {
                set.insert("checksum", step.up.checksum.as_str());
                set.insert("text", ledger::packed_text(&step.up.text));
            }
            doc! { "$set": set }
        }
        Amendment::Forget => doc! {
            "$set": { "state": State::Reverted.word(), "steps_done": 0, "error_code": Bson::Null, "owns": Bson::Array(Vec::new()) },
            "$unset": { "reverting": "", "doing": "", "doing_hash": "", "hashes": "" },
            "$currentDate": { "finished_at": true },
        },
    };
    let filter = doc! { "_id": id, "runner": found.get("runner").cloned().unwrap_or(Bson::Null) };
    let written = rows.find_one_and_update(filter, update).return_document(ReturnDocument::After).await?;
    let written = written.ok_or_else(nothing)?;
    let (filter, update) = books.event(&told::amended(amendment, &row.checksum), step, doc! {});
    books.collection(EVENTS).update_one(filter, update).upsert(true).await?;
    Ok(ledger::row(&written)?)
}

fn is_open(way: &Document) -> bool {
    way.get_i32("doing").is_ok()
}

fn cleared(prefix: &str) -> Document {
    doc! { (format!("{prefix}doing")): Bson::Null, (format!("{prefix}doing_hash")): Bson::Null }
}
