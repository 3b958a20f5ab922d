//! Corrections of a row that a person decided on: one script of the server that looks at the lock first.

use super::ledger::{self, Books, Event, Journal, Trouble};
use super::lock::Held;
use super::{lua, script};
use crate::engine::ledger::{Amendment, Row, State};
use crate::engine::plan::Step;
use crate::error::Error;
use crate::kind::StoreKind;
use crate::stores::{ApplyOptions, lease, packed, told};

/// Corrects the row of a step and writes the event.
///
/// # Errors
/// The driver's, `LYX-USAGE` where there is nothing to correct, or `LYX-LOCK-LOST`.
pub async fn amend(
    books: &mut Books,
    lock: &Held,
    step: &Step,
    amendment: Amendment,
    options: &ApplyOptions,
) -> Result<Row, Trouble> {
    let version = step.version.as_str();
    let nothing = || Trouble::Ledger(told::nothing_to_amend(step, amendment));
    let mut read = redis::pipe();
    read.cmd("HGET").arg(books.keys.migrations()).arg(version);
    read.cmd("HGET").arg(books.keys.journal()).arg(version);
    let (row, kept): (Option<String>, Option<String>) = read.query_async(&mut books.link).await?;
    let mut entry = ledger::entry(version, &row.ok_or_else(nothing)?)?;
    let mut kept = kept.map(|json| ledger::journal(version, &json)).transpose()?;
    let was = entry.checksum.clone();
    let is_unfinished = matches!(entry.state, State::Started | State::Failed);
    match amendment {
        Amendment::Done => {
            let way = kept.clone().filter(|kept| is_unfinished || kept.way == "down" && kept.doing.is_some());
            let way = way.or_else(|| {
                is_unfinished.then(|| Journal { way: "up".into(), doing: None, chain: String::new(), done: 0 })
            });
            let mut way = way.ok_or_else(nothing)?;
            let file = if way.way == "down" { &step.script } else { &step.up };
            let commands = if file.text.is_empty() {
                Vec::new()
            } else {
                script::read(file, &books.keys.prefix, &options.variables)?
            };
            let hash = commands.get(way.done).map(|command| command.hash.clone()).or(way.doing.take());
            way.chain = super::journal::link(&way.chain, &hash.ok_or_else(nothing)?);
            way.done += 1;
            way.doing = None;
            if is_unfinished {
                entry.state = State::Started;
                entry.error_code = None;
            }
            kept = Some(way);
        }
        Amendment::NotDone => {
            let way = kept.as_mut().filter(|way| way.doing.is_some()).ok_or_else(nothing)?;
            way.doing = None;
        }
        Amendment::Accept => {
            entry.name.clone_from(&step.name);
            if entry.state == State::Applied {
                entry.checksum.clone_from(&step.up.checksum);
            }
        }
        Amendment::Forget => {
            entry.state = State::Reverted;
            entry.steps_done = 0;
            entry.error_code = None;
            kept = None;
        }
    }
    let json = |error: serde_json::Error| Error::bug(format!("a row is no JSON: {error}"));
    let row = serde_json::to_string(&entry).map_err(json)?;
    let journal = kept.as_ref().map(serde_json::to_string).transpose().map_err(json)?.unwrap_or_default();
    let keys = &books.keys;
    let mut write = redis::cmd("EVAL");
    write.arg(lua::SETTLE).arg(5).arg(keys.lock()).arg(keys.migrations()).arg(keys.journal());
    write.arg(keys.events()).arg(keys.owned()).arg(&lock.value).arg(version).arg(&row).arg(journal);
    write.arg(Event::new(&told::amended(amendment, &was), step).json()?).arg("");
    if !write.query_async::<bool>(&mut books.link).await? {
        return Err(lease::lost(StoreKind::Redis).data("nothing was changed").into());
    }
    if amendment == Amendment::Accept && entry.state == State::Applied {
        let text = packed::pack_base64(&step.up.text).unwrap_or_default();
        let mut keep = redis::cmd("HSET");
        keep.arg(books.keys.texts()).arg(version).arg(text).exec_async(&mut books.link).await?;
    }
    Ok(ledger::row(version, &entry, kept.as_ref()))
}
