//! Which words of a Redis command are keys, which commands write them, and which declared key space a key
//! belongs to. Static knowledge of the commands; a server is not asked.

use super::redis::Word;
use crate::config::{Period, Settings};

/// A declared key space.
pub struct Space {
    /// Its name.
    pub name: String,
    /// How long its keys live; none: for ever.
    pub ttl: Option<Period>,
    /// The literal pieces between its placeholders.
    pieces: Vec<String>,
}

impl Space {
    /// Whether a key, without its prefix, is of this space: a placeholder stands for any text, not for none.
    pub fn holds(&self, key: &str) -> bool {
        let [first, middle @ ..] = self.pieces.as_slice() else { return false };
        let Some((last, middle)) = middle.split_last() else { return key == first };
        let Some(mut rest) = key.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            let Some(at) =
                rest.char_indices().skip(1).map(|(at, _)| at).find(|at| rest[*at..].starts_with(piece.as_str()))
            else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.strip_suffix(last.as_str()).is_some_and(|variable| !variable.is_empty())
    }
}

/// The key spaces of the configuration.
pub fn declared(settings: &Settings) -> Vec<Space> {
    let spaces = settings.redis.iter().flat_map(|redis| &redis.keyspaces);
    spaces.map(|(name, space)| Space { name: name.clone(), ttl: space.ttl, pieces: pieces(&space.pattern) }).collect()
}

fn pieces(pattern: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((_, behind)) = after.split_once('}') else { break };
        pieces.push(before.to_owned());
        rest = behind;
    }
    pieces.push(rest.to_owned());
    pieces
}

/// Whether a command writes the keys it names.
pub fn writes(name: &str) -> bool {
    [
        "SET",
        "SETNX",
        "GETSET",
        "MSET",
        "MSETNX",
        "APPEND",
        "INCR",
        "INCRBY",
        "INCRBYFLOAT",
        "DECR",
        "DECRBY",
        "SETRANGE",
        "SETBIT",
        "BITFIELD",
        "HSET",
        "HMSET",
        "HSETNX",
        "HINCRBY",
        "HINCRBYFLOAT",
        "LPUSH",
        "RPUSH",
        "LINSERT",
        "SADD",
        "ZADD",
        "ZINCRBY",
        "XADD",
        "PFADD",
        "GEOADD",
    ]
    .contains(&name)
}

/// The words of a command that are keys; none where the command has none or is not known.
pub fn keys<'a>(name: &str, words: &'a [Word]) -> Vec<&'a Word> {
    let at = |range: std::ops::Range<usize>| {
        words.get(range.start..range.end.min(words.len())).unwrap_or_default().iter().collect()
    };
    let counted = |count: usize| {
        let number = words.get(count).and_then(|word| word.text.parse::<usize>().ok()).unwrap_or(0);
        count + 1..(count + 1).saturating_add(number)
    };
    match name {
        "UNLINK" | "DEL" | "EXISTS" | "TOUCH" | "MGET" | "SINTER" | "SUNION" | "SDIFF" | "SINTERSTORE"
        | "SUNIONSTORE" | "SDIFFSTORE" | "PFCOUNT" | "PFMERGE" => at(1..words.len()),
        "MSET" | "MSETNX" => words.iter().skip(1).step_by(2).collect(),
        "RENAME" | "RENAMENX" | "COPY" | "SMOVE" | "LMOVE" | "RPOPLPUSH" | "ZRANGESTORE" | "GEOSEARCHSTORE" => at(1..3),
        "EVAL" | "EVALSHA" | "EVAL_RO" | "EVALSHA_RO" | "FCALL" | "FCALL_RO" => at(counted(2)),
        "ZUNIONSTORE" | "ZINTERSTORE" | "ZDIFFSTORE" => {
            let mut found: Vec<&Word> = at(1..2);
            found.extend::<Vec<&Word>>(at(counted(2)));
            found
        }
        "XGROUP" | "XINFO" | "OBJECT" | "MEMORY" => at(2..3),
        "BITOP" => at(2..words.len()),
        "GET" | "GETEX" | "GETDEL" | "GETRANGE" | "GETBIT" | "BITCOUNT" | "STRLEN" | "SETEX" | "PSETEX" | "PERSIST"
        | "TYPE" | "TTL" | "PTTL" | "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" | "DUMP" | "RESTORE" | "SORT"
        | "HGET" | "HMGET" | "HGETALL" | "HKEYS" | "HVALS" | "HLEN" | "HDEL" | "HEXISTS" | "HEXPIRE" | "HSCAN"
        | "LPOP" | "RPOP" | "LLEN" | "LINDEX" | "LRANGE" | "LREM" | "LSET" | "LTRIM" | "LPUSHX" | "RPUSHX" | "SREM"
        | "SPOP" | "SCARD" | "SISMEMBER" | "SMEMBERS" | "SSCAN" | "ZREM" | "ZCARD" | "ZSCORE" | "ZRANGE"
        | "ZREMRANGEBYSCORE" | "ZREMRANGEBYRANK" | "ZPOPMIN" | "ZPOPMAX" | "ZSCAN" | "XDEL" | "XLEN" | "XRANGE"
        | "XTRIM" | "XACK" | "XSETID" | "GEOPOS" | "GEODIST" => at(1..2),
        name if writes(name) => at(1..2),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_holds_keys_with_any_text_at_its_placeholders() {
        let space = |pattern: &str| Space { name: "x".into(), ttl: None, pieces: pieces(pattern) };
        for (pattern, key, expected) in [
            ("config", "config", true),
            ("config", "config2", false),
            ("session:{id}", "session:a", true),
            ("session:{id}", "session:", false),
            ("cache:{company}:{id}", "cache:a:b", true),
            ("cache:{company}:{id}", "cache:a", false),
            ("queue:{id}:wait", "queue:mail:wait", true),
            ("queue:{id}:wait", "queue::wait", false),
            ("{a}{b}", "xy", true),
        ] {
            assert_eq!(space(pattern).holds(key), expected, "{pattern} {key}");
        }
    }
}
