//! What a transaction queues is done as a whole, or not at all: discarded, or where a watched key has changed.

use redis::Value;
use redis::aio::ConnectionLike as _;

use super::RedisSmoke;
use super::tries::{SAFETY, command, shown};
use crate::error::Result;
use crate::stores::smoke::Verdict;

/// What is sent, by the own connection or by another; what its answer has to be, and what is wrong if it is not.
type Step<'a> = (bool, redis::Cmd, &'a dyn Fn(&Value) -> bool, &'static str);

impl RedisSmoke<'_> {
    /// Queues, discards, watches and executes on a connection of its own.
    pub(super) async fn try_transaction(&mut self) -> Result<Verdict> {
        if self.link().is_cluster() {
            return Ok(Verdict::skip("the connections of a cluster are shared: none can watch a key for itself"));
        }
        let key = self.own_key("transaction");
        self.written.insert(key.clone().into_bytes());
        let safety = SAFETY.as_millis().to_string();
        let write = |value: &str| command(&["SET", &key, value, "PX", &safety]);
        let is_ok = |reply: &Value| matches!(reply, Value::Okay) || *reply == Value::SimpleString("QUEUED".into());
        let is_queued: &dyn Fn(&Value) -> bool = &is_ok;
        let found =
            |wanted: &'static [u8]| move |reply: &Value| matches!(reply, Value::BulkString(text) if text == wanted);
        let (one, two, four) = (found(b"1"), found(b"2"), found(b"4"));
        let is_all = |reply: &Value| matches!(reply, Value::Array(replies) if replies.len() == 2);
        let is_nothing = |reply: &Value| matches!(reply, Value::Nil);
        let mut own = self.connect(self.store.endpoint()).await?.link;
        let steps: Vec<Step<'_>> = vec![
            (true, write("1"), is_queued, "a key cannot be written"),
            (true, command(&["MULTI"]), is_queued, "no transaction can be begun"),
            (true, write("0"), is_queued, "a command is not queued"),
            (false, command(&["GET", &key]), &one, "what was queued was done at once"),
            (true, command(&["DISCARD"]), is_queued, "a transaction cannot be discarded"),
            (true, command(&["GET", &key]), &one, "what was discarded was done"),
            (true, command(&["WATCH", &key]), is_queued, "a key cannot be watched"),
            (false, write("2"), is_queued, "a key cannot be written"),
            (true, command(&["MULTI"]), is_queued, "no transaction can be begun"),
            (true, write("0"), is_queued, "a command is not queued"),
            (true, command(&["EXEC"]), &is_nothing, "a transaction was done although a watched key had changed"),
            (true, command(&["GET", &key]), &two, "a transaction was done although a watched key had changed"),
            (true, command(&["MULTI"]), is_queued, "no transaction can be begun"),
            (true, write("3"), is_queued, "a command is not queued"),
            (true, command(&["INCR", &key]), is_queued, "a command is not queued"),
            (true, command(&["EXEC"]), &is_all, "a transaction was not done as a whole"),
            (false, command(&["GET", &key]), &four, "a transaction was not done as a whole"),
        ];
        let mut verdict = Verdict::Pass("discarded, stopped by a watched key, done as a whole".into());
        for (is_own, command, is_right, otherwise) in steps {
            let reply = if is_own {
                match own.req_packed_command(&command).await.and_then(Value::extract_error) {
                    Ok(reply) => Ok(reply),
                    Err(error) if crate::stores::redis::error::refusal(&error).is_some() => Err(error),
                    Err(error) => return Err(self.lost("try a transaction", &error)),
                }
            } else {
                self.ask(&command).await?
            };
            match reply {
                Ok(reply) if is_right(&reply) => {}
                Ok(_) => {
                    verdict = Verdict::fail(otherwise);
                    break;
                }
                Err(error) => {
                    verdict = Verdict::fail(format!("{otherwise}: {}", shown(&error)));
                    break;
                }
            }
        }
        self.ask(&command(&["DEL", &key])).await?.ok();
        Ok(verdict)
    }
}
