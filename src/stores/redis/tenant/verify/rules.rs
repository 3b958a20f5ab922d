//! What each tenant's user may do, asked of the server command by command.

use redis::Value;

use super::super::super::RedisStore;
use super::super::super::error::refusal;
use super::super::acl;
use super::words;
use crate::engine::tenant::Tenant;
use crate::engine::tenant::verify::proof::{Proof, Weight};
use crate::error::Result;
use crate::stores::tenant_verify::{Ask, Part};

/// So many tenants in one pipeline.
const AT_ONCE: usize = 50;

/// What a group of commands would let a tenant do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    Keys,
    Channels,
    Enumerates,
    Scripts,
    Server,
}

impl Group {
    pub(super) const ALL: [Self; 5] = [Self::Keys, Self::Channels, Self::Enumerates, Self::Scripts, Self::Server];

    pub(super) const fn kind(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Channels => "channels",
            Self::Enumerates => "enumerates",
            Self::Scripts => "scripts",
            Self::Server => "server",
        }
    }

    pub(super) const fn what(self) -> &'static str {
        match self {
            Self::Keys => "reaches another tenant's keys",
            Self::Channels => "hears or speaks on another tenant's channels",
            Self::Enumerates => "learns of all tenants' keys and sessions",
            Self::Scripts => "reaches what all tenants' scripts share, or others' keys by a script",
            Self::Server => "governs the server",
        }
    }

    /// The rule that closes it.
    fn close(self, user: &str, pattern: &str, commands: &[&str]) -> String {
        match self {
            Self::Keys => format!("ACL SETUSER {user} resetkeys ~{pattern} clearselectors"),
            Self::Channels if commands.iter().all(|command| *command != "pubsub") => {
                format!("ACL SETUSER {user} resetchannels &{pattern} clearselectors")
            }
            _ => {
                let rules: Vec<String> = commands.iter().map(|command| format!("-{command}")).collect();
                format!("ACL SETUSER {user} {}", rules.join(" "))
            }
        }
    }
}

/// Commands as words, with the rule's name; `OURS` and `THEIRS` stand for a key of one's own and one of another's.
pub(super) const FORBIDDEN: &[(Group, &str, &[&str])] = &[
    (Group::Keys, "get", &["GET", "THEIRS"]),
    (Group::Keys, "mget", &["MGET", "OURS", "THEIRS"]),
    (Group::Keys, "exists", &["EXISTS", "THEIRS"]),
    (Group::Keys, "type", &["TYPE", "THEIRS"]),
    (Group::Keys, "pttl", &["PTTL", "THEIRS"]),
    (Group::Keys, "dump", &["DUMP", "THEIRS"]),
    (Group::Keys, "hgetall", &["HGETALL", "THEIRS"]),
    (Group::Keys, "xread", &["XREAD", "STREAMS", "THEIRS", "0"]),
    (Group::Keys, "object", &["OBJECT", "ENCODING", "THEIRS"]),
    (Group::Keys, "memory", &["MEMORY", "USAGE", "THEIRS"]),
    (Group::Keys, "set", &["SET", "THEIRS", "1"]),
    (Group::Keys, "del", &["DEL", "THEIRS"]),
    (Group::Keys, "unlink", &["UNLINK", "THEIRS"]),
    (Group::Keys, "expire", &["EXPIRE", "THEIRS", "1"]),
    (Group::Keys, "copy", &["COPY", "THEIRS", "OURS"]),
    (Group::Keys, "copy", &["COPY", "OURS", "THEIRS"]),
    (Group::Keys, "rename", &["RENAME", "OURS", "THEIRS"]),
    (Group::Keys, "sunionstore", &["SUNIONSTORE", "OURS", "THEIRS"]),
    (Group::Channels, "publish", &["PUBLISH", "THEIRS", "1"]),
    (Group::Channels, "spublish", &["SPUBLISH", "THEIRS", "1"]),
    (Group::Channels, "subscribe", &["SUBSCRIBE", "THEIRS"]),
    (Group::Channels, "ssubscribe", &["SSUBSCRIBE", "THEIRS"]),
    (Group::Channels, "psubscribe", &["PSUBSCRIBE", "*"]),
    (Group::Enumerates, "pubsub", &["PUBSUB", "CHANNELS"]),
    (Group::Enumerates, "scan", &["SCAN", "0"]),
    (Group::Enumerates, "keys", &["KEYS", "*"]),
    (Group::Enumerates, "randomkey", &["RANDOMKEY"]),
    (Group::Enumerates, "dbsize", &["DBSIZE"]),
    (Group::Enumerates, "info", &["INFO"]),
    (Group::Enumerates, "memory|stats", &["MEMORY", "STATS"]),
    (Group::Enumerates, "monitor", &["MONITOR"]),
    (Group::Enumerates, "slowlog", &["SLOWLOG", "GET"]),
    (Group::Enumerates, "client|list", &["CLIENT", "LIST"]),
    (Group::Enumerates, "client|tracking", &["CLIENT", "TRACKING", "ON", "BCAST"]),
    (Group::Enumerates, "cluster|getkeysinslot", &["CLUSTER", "GETKEYSINSLOT", "0", "10"]),
    (Group::Enumerates, "select", &["SELECT", "1"]),
    (Group::Scripts, "eval", &["EVAL", "return 1", "1", "THEIRS"]),
    (Group::Scripts, "script", &["SCRIPT", "FLUSH"]),
    (Group::Scripts, "script", &["SCRIPT", "KILL"]),
    (Group::Scripts, "function", &["FUNCTION", "LIST"]),
    (Group::Scripts, "function", &["FUNCTION", "FLUSH"]),
    (Group::Server, "flushdb", &["FLUSHDB"]),
    (Group::Server, "flushall", &["FLUSHALL"]),
    (Group::Server, "swapdb", &["SWAPDB", "0", "1"]),
    (Group::Server, "config", &["CONFIG", "GET", "*"]),
    (Group::Server, "acl", &["ACL", "LIST"]),
    (Group::Server, "acl", &["ACL", "SETUSER", "x"]),
    (Group::Server, "client|kill", &["CLIENT", "KILL", "ID", "1"]),
    (Group::Server, "debug", &["DEBUG", "SLEEP", "0"]),
    (Group::Server, "migrate", &["MIGRATE", "127.0.0.1", "1", "THEIRS", "0", "1"]),
    (Group::Server, "replicaof", &["REPLICAOF", "NO", "ONE"]),
    (Group::Server, "shutdown", &["SHUTDOWN", "NOSAVE"]),
];

/// What a tenant has to be able to do: else its refusals prove nothing.
const ALLOWED: &[&[&str]] = &[&["GET", "OURS"], &["SET", "OURS", "1"], &["PUBLISH", "OURS", "1"]];

/// The words with the keys put in.
pub(super) fn with_keys(words: &[&str], ours: &str, theirs: &str) -> Vec<String> {
    let put = |word: &&str| match *word {
        "OURS" => ours.to_owned(),
        "THEIRS" => theirs.to_owned(),
        word => word.to_owned(),
    };
    words.iter().map(put).collect()
}

impl RedisStore {
    pub(super) async fn judge_rules(&mut self, ask: &Ask<'_>, proof: &mut Proof) -> Result<()> {
        proof.area("users", "Each user reaches nothing but its own prefix");
        if !ask.terms.tenancy.users {
            if ask.part == Part::Tenants {
                return Ok(());
            }
            proof.untried(
                "no_users",
                "users of the tenants",
                "`users = false`: all tenants share the application's user, and only what the application names keeps them apart",
                "users = true under [tenancy] in lyrox.toml, then: lyrox tenant create KEY",
            );
            return Ok(());
        }
        if ask.part == Part::Whole {
            return self.judge_default(proof).await;
        }
        for (start, tenants) in ask.tenants.chunks(AT_ONCE).enumerate() {
            // The neighbour's keys; where there is none, those of a tenant that is not there.
            let other = |index: usize| {
                let at = start * AT_ONCE + index + 1;
                let next =
                    ask.all.iter().filter(|other| other.key() != tenants[index].key()).nth(at % ask.all.len().max(1));
                next.or_else(|| ask.all.iter().find(|other| other.key() != tenants[index].key())).map_or_else(
                    || format!("{}{{lyrox_verify}}:x", self.books.keys.prefix),
                    |other| format!("{}x", acl::prefix(&self.books.keys, other)),
                )
            };
            let theirs: Vec<String> = (0..tenants.len()).map(other).collect();
            self.judge_these(tenants, &theirs, proof).await?;
        }
        Ok(())
    }

    /// Who needs no password is every tenant.
    async fn judge_default(&mut self, proof: &mut Proof) -> Result<()> {
        let mut ask = redis::cmd("ACL");
        ask.arg("GETUSER").arg("default");
        let replies = match self.books.link.each_master(&ask).await {
            Ok(replies) => replies,
            Err(error) => {
                let Some(refused) = refusal(&error) else {
                    return Err(Self::failed(&self.endpoint, "look at users")(error));
                };
                proof.untried("default_user", "user default", refused.shown(), "ACL SETUSER USER +acl|getuser");
                return Ok(());
            }
        };
        let is_open = |(_, reply): &(String, Value)| {
            let text = format!("{reply:?}");
            let is_on = super::super::holds(reply, "on");
            is_on && super::super::holds(reply, "nopass") && (text.contains("~*") || text.contains("allkeys"))
        };
        if replies.iter().any(is_open) {
            proof.leak(
                "default_user",
                "user default",
                "it needs no password and reaches every key: whoever gets to the port is every tenant",
                "ACL SETUSER default off resetkeys resetchannels -@all",
            );
        } else {
            proof.held(1);
        }
        Ok(())
    }

    async fn judge_these(&mut self, tenants: &[Tenant], theirs: &[String], proof: &mut Proof) -> Result<()> {
        let endpoint = self.endpoint.clone();
        let failed = Self::failed(&endpoint, "try the rules of users");
        let users = self.users_named(tenants).await.map_err(&failed)?;
        let mut pipe = redis::pipe();
        let mut asked = Vec::new();
        for (index, tenant) in tenants.iter().enumerate() {
            // Who is not there is named among the places.
            if users.get(index).is_none_or(Option::is_none) {
                continue;
            }
            let ours = format!("{}x", acl::prefix(&self.books.keys, tenant));
            let all = FORBIDDEN.iter().map(|(_, _, words)| *words).chain(ALLOWED.iter().copied());
            for words in all {
                pipe.cmd("ACL").arg("DRYRUN").arg(acl::user(tenant)).arg(with_keys(words, &ours, &theirs[index]));
            }
            pipe.cmd("ACL").arg("GETUSER").arg(acl::user(tenant));
            asked.push(index);
        }
        if asked.is_empty() {
            return Ok(());
        }
        let each = FORBIDDEN.len() + ALLOWED.len() + 1;
        let replies = self.books.link.pipeline_each(&pipe, asked.len() * each).await.map_err(&failed)?;
        for (node, replies) in &replies {
            for (index, replies) in asked.iter().zip(replies.chunks(each)) {
                // A master that lacks it is named among the places.
                if !matches!(replies.last(), Some(Ok(Value::Nil))) {
                    self.judge_one(&tenants[*index], node, replies, proof);
                }
            }
        }
        Ok(())
    }

    /// Judges a user by the replies of one master; the node has no name where there is but one server.
    fn judge_one(&self, tenant: &Tenant, node: &str, replies: &[redis::RedisResult<Value>], proof: &mut Proof) {
        let on = if node.is_empty() { String::new() } else { format!(" on {node}") };
        let user = acl::user(tenant);
        let object = format!("user {user}");
        let pattern = acl::pattern(&self.books.keys, tenant);
        // DRYRUN came with Redis 7.
        let is_unknown = |reply: &redis::RedisResult<Value>| {
            reply.as_ref().is_err_and(|error| error.to_string().to_lowercase().contains("unknown subcommand"))
        };
        if replies.first().is_some_and(is_unknown) {
            let why = "the server has no ACL DRYRUN: its rules were not tried";
            proof.of(tenant.key(), Weight::Untried, "dryrun", object, why, "");
            return;
        }
        let is_allowed = |reply: &redis::RedisResult<Value>| reply.as_ref().is_ok_and(|reply| words(reply) == "OK");
        let mut held = 0;
        // The tries name one neighbour; a pattern may lead to any.
        let rules = replies.last().and_then(|reply| reply.as_ref().ok());
        let beyond = |field: &str| rules.map(|rules| beyond(rules, field, &pattern)).unwrap_or_default();
        for group in Group::ALL {
            let of = FORBIDDEN.iter().zip(replies).filter(|((own, ..), _)| *own == group);
            let (through, kept): (Vec<_>, Vec<_>) = of.partition(|(_, reply)| is_allowed(reply));
            held += kept.len();
            if through.is_empty() {
                let patterns = match group {
                    Group::Keys => beyond("keys"),
                    Group::Channels => beyond("channels"),
                    _ => Vec::new(),
                };
                if !patterns.is_empty() {
                    let why = format!("it {}: its rules{on} hold {}", group.what(), patterns.join(" "));
                    let close = group.close(&user, &pattern, &[]);
                    proof.of(tenant.key(), Weight::Leak, group.kind(), object.clone(), why, close);
                }
                continue;
            }
            let mut commands: Vec<&str> = through.iter().map(|((_, rule, _), _)| *rule).collect();
            commands.dedup();
            let shown: Vec<String> = through.iter().map(|((_, _, words), _)| words.join(" ").to_lowercase()).collect();
            let why = format!("it {}: ACL DRYRUN{on} allows {}", group.what(), shown.join(", "));
            proof.of(
                tenant.key(),
                Weight::Leak,
                group.kind(),
                object.clone(),
                why,
                group.close(&user, &pattern, &commands),
            );
        }
        proof.held(held);
        let own = &replies[FORBIDDEN.len()..];
        if let Some((words, reply)) = ALLOWED.iter().zip(own).find(|(_, reply)| !is_allowed(reply)) {
            let said = reply.as_ref().map_or_else(ToString::to_string, super::words);
            let why = format!("it cannot {} below its own prefix{on}: {said}", words[0]);
            let close = format!("lyrox tenant credentials {}", crate::engine::tenant::plan::quoted(tenant.key()));
            proof.of(tenant.key(), Weight::Astray, "own_keys", object.clone(), why, close);
        }
        if let Some(Ok(reply)) = own.last()
            && super::super::holds(reply, "nopass")
        {
            let why = "it takes any password";
            proof.of(
                tenant.key(),
                Weight::Leak,
                "nopass",
                object,
                why,
                format!(
                    "ACL SETUSER {user} resetpass, then: lyrox tenant credentials {}",
                    crate::engine::tenant::plan::quoted(tenant.key())
                ),
            );
        }
    }
}

/// The patterns of a field of `ACL GETUSER`, those of selectors included, that do not lie below a tenant's own.
fn beyond(rules: &Value, field: &str, own: &str) -> Vec<String> {
    let pairs: Vec<(&Value, &Value)> = match rules {
        Value::Map(pairs) => pairs.iter().map(|(name, value)| (name, value)).collect(),
        Value::Array(items) => items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect(),
        _ => Vec::new(),
    };
    let own = own.trim_end_matches('*');
    let mut found = Vec::new();
    for (name, value) in pairs {
        let name = super::words(name);
        if name == "selectors"
            && let Value::Array(selectors) | Value::Set(selectors) = value
        {
            found.extend(selectors.iter().flat_map(|selector| beyond(selector, field, own)));
        } else if name == field {
            // Redis 6 lists them, later ones write them into one text.
            let texts: Vec<String> = match value {
                Value::Array(items) | Value::Set(items) => items.iter().map(super::words).collect(),
                text => super::words(text).split(' ').map(str::to_owned).collect(),
            };
            let is_beyond = |text: &String| {
                let bare = text.trim_start_matches(['%', 'R', 'W']);
                let bare = bare.strip_prefix(['~', '&']).unwrap_or(text);
                !text.is_empty() && !bare.starts_with(own)
            };
            found.extend(texts.into_iter().filter(is_beyond));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_beyond_the_own_are_found() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let own = "shop:{a}:*";
        let with = |keys: Value, channels: &str, selectors: Value| {
            Value::Array(vec![
                text("flags"),
                Value::Array(vec![text("on")]),
                text("keys"),
                keys,
                text("channels"),
                text(channels),
                text("selectors"),
                selectors,
            ])
        };
        let none = || Value::Array(Vec::new());
        let held = with(text("~shop:{a}:*"), "&shop:{a}:*", none());
        assert!(beyond(&held, "keys", own).is_empty() && beyond(&held, "channels", own).is_empty());
        let two = with(text("~shop:{a}:* %R~shop:{b}:*"), "&*", none());
        assert_eq!(beyond(&two, "keys", own), ["%R~shop:{b}:*"]);
        assert_eq!(beyond(&two, "channels", own), ["&*"]);
        let six = with(Value::Array(vec![text("shop:{a}:*"), text("*")]), "", none());
        assert_eq!(beyond(&six, "keys", own), ["*"]);
        let selector =
            Value::Array(vec![Value::Array(vec![text("commands"), text("-@all +get"), text("keys"), text("~x")])]);
        assert_eq!(beyond(&with(text("~shop:{a}:*"), "", selector), "keys", own), ["~x"]);
    }
}
