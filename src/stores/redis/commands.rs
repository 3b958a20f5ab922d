//! What the server says of a script's commands before any is run: their keys, whether they only read, and
//! whether they may run inside a script.

use std::collections::BTreeMap;

use redis::{RedisResult, Value};

use super::keys::{Keys, slot};
use super::link::Link;
use super::script::Command;
use crate::error::{Code, Error, Result};
use crate::project::migration::Script;

/// Longer commands do not fit on the stack of a script.
const MOST_WORDS: usize = 4000;
/// Bigger ones are sent alone.
const MOST_BYTES: usize = 256 * 1024;

/// What is known of one command.
#[derive(Clone, Debug)]
pub struct Known {
    /// Its keys; none where the server does not tell.
    pub keys: Option<Vec<Vec<u8>>>,
    /// It only reads.
    pub is_read: bool,
    /// It may run in a script of the server, together with its journal entry.
    pub is_scripted: bool,
}

/// Looks every command of a file up. A key outside the prefix is refused before anything of it is run.
///
/// # Errors
/// `LYX-MIGRATION-FAILED` placed at the command; nothing was changed.
pub async fn look_up(link: &mut Link, keys: &Keys, script: &Script, commands: &[Command]) -> Result<Vec<Known>> {
    let flags = flags(link, commands).await;
    let found = keys_of(link, commands).await;
    let mut known = Vec::with_capacity(commands.len());
    for (command, answer) in commands.iter().zip(found) {
        let refused = |why: String| {
            Error::new(Code::MigrationFailed, format!("`{}` cannot be run", command.full_name()))
                .why(why)
                .at(command.place(script))
                .data("nothing was changed")
        };
        let its_flags = flags.as_ref().map(|flags| flags.get(&command.name()));
        if let Some(None) = its_flags {
            return Err(refused(format!("the server does not know `{}`", command.name()))
                .hint("look for a typing error, or at the server's version"));
        }
        let its_keys = answer.map_err(&refused)?;
        for key in its_keys.iter().flatten() {
            let shown = String::from_utf8_lossy(key).into_owned();
            if !keys.is_ours(key) {
                return Err(refused(format!("its key `{shown}` does not begin with the key prefix `{}`", keys.prefix))
                    .hint("write {{prefix}} before the key"));
            }
            if keys.is_own(key) {
                return Err(refused(format!("its key `{shown}` is one of lyrox's own")).hint("use another key"));
            }
        }
        let has = |flag: &str| its_flags.flatten().is_some_and(|flags| flags.iter().any(|found| found == flag));
        let is_single = matches!(command.name().as_str(), "FUNCTION" | "SCRIPT" | "ACL" | "EVAL" | "EVALSHA" | "FCALL")
            || has("noscript")
            || command.words.len() > MOST_WORDS
            || command.size() > MOST_BYTES;
        let is_at_hand = !link.is_cluster()
            || its_keys
                .as_ref()
                .is_some_and(|found| !found.is_empty() && found.iter().all(|key| slot(key) == keys.own_slot()));
        known.push(Known { is_read: has("readonly"), is_scripted: !is_single && is_at_hand, keys: its_keys });
    }
    Ok(known)
}

/// The flags of every command by its name; none where the server does not let COMMAND be asked.
async fn flags(link: &mut Link, commands: &[Command]) -> Option<BTreeMap<String, Vec<String>>> {
    let mut names: Vec<String> = commands.iter().map(Command::name).collect();
    names.sort();
    names.dedup();
    let mut ask = redis::cmd("COMMAND");
    ask.arg("INFO").arg(&names);
    let answer: Vec<Value> = ask.query_async(link).await.ok()?;
    if answer.len() != names.len() {
        return None;
    }
    let text = |value: &Value| match value {
        Value::SimpleString(text) => Some(text.clone()),
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        _ => None,
    };
    let entries = names.into_iter().zip(&answer).filter_map(|(name, entry)| {
        // The driver reads nil, the answer for an unknown name, as an empty sequence.
        let fields = entry.as_sequence().filter(|fields| !fields.is_empty())?;
        let flags = fields.get(2).and_then(Value::as_sequence).unwrap_or_default();
        Some((name, flags.iter().filter_map(text).collect()))
    });
    Some(entries.collect())
}

/// The keys of every command; an inner error is a reason to refuse it.
async fn keys_of(link: &mut Link, commands: &[Command]) -> Vec<Result<Option<Vec<Vec<u8>>>, String>> {
    let mut found = Vec::with_capacity(commands.len());
    let ask = |command: &Command| {
        let mut ask = redis::cmd("COMMAND");
        ask.arg("GETKEYS");
        for word in &command.words {
            ask.arg(word.as_slice());
        }
        ask
    };
    for batch in commands.chunks(2000) {
        let mut all = redis::pipe();
        all.ignore_errors();
        for command in batch {
            all.add_command(ask(command));
        }
        let answers: RedisResult<Vec<RedisResult<Value>>> = if link.is_cluster() {
            let mut answers = Vec::with_capacity(batch.len());
            for command in batch {
                answers.push(ask(command).query_async(link).await);
            }
            Ok(answers)
        } else {
            all.query_async(link).await
        };
        match answers {
            Ok(answers) => found.extend(answers.into_iter().map(read_keys)),
            Err(_) => found.extend(batch.iter().map(|_| Ok(None))),
        }
    }
    found
}

fn read_keys(answer: RedisResult<Value>) -> Result<Option<Vec<Vec<u8>>>, String> {
    match answer {
        Ok(value) => Ok(redis::from_redis_value(value).ok()),
        Err(error) => {
            let text = error.detail().unwrap_or_default();
            if text.contains("no key") {
                Ok(Some(Vec::new()))
            } else if text.contains("Invalid number of arguments") {
                Err("it has too few or too many words".into())
            } else {
                Ok(None)
            }
        }
    }
}
