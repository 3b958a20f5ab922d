//! Redis' errors in lyrox's words.

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::config::Endpoint;
use crate::error::{Code, Error};
use crate::url::TlsMode;

/// What the server refused: its prefix word and its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `WRONGTYPE`, `NOPERM`, `ERR`, ...
    pub word: String,
    /// The rest.
    pub text: String,
}

impl Refusal {
    /// Reads the server's line: `WRONGTYPE Operation against ...`.
    pub fn read(line: &str) -> Self {
        let line = line.trim().trim_start_matches('-');
        match line.split_once(' ') {
            Some((word, text)) if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                Self { word: word.to_owned(), text: text.to_owned() }
            }
            _ => Self { word: "ERR".into(), text: line.to_owned() },
        }
    }

    /// `message (WRONGTYPE)`.
    pub fn shown(&self) -> String {
        let text: String = if self.text.chars().count() > 600 {
            self.text.chars().take(600).chain("...".chars()).collect()
        } else {
            self.text.clone()
        };
        if text.is_empty() { self.word.clone() } else { format!("{text} ({})", self.word) }
    }

    /// What a person can do about it, for the prefixes that mean one thing.
    pub fn advice(&self) -> Option<&'static str> {
        Some(match self.word.as_str() {
            "NOPERM" => "give the user the command, key or channel: ACL SETUSER",
            "OOM" => "the server is full: raise maxmemory, delete keys, or let caches be evicted (maxmemory-policy)",
            "READONLY" => "the URL names a replica: use the primary's address",
            "MISCONF" => {
                "the server's snapshots fail: free space on its disk, or mend `dir`; LASTSAVE and its log tell more"
            }
            "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" => "lyrox check --wait 60s",
            "CLUSTERDOWN" => "CLUSTER INFO shows the state; start the master that is down, or give its slots out",
            "CROSSSLOT" => "give the key prefix a hash tag, such as `{app}:`, so that its keys share a slot",
            "MOVED" | "ASK" => "let the user ask INFO, by which a cluster is recognised: ACL SETUSER ... +info",
            "NOREPLICAS" => "start the replicas that min-replicas-to-write asks for, or lower it",
            "NOAUTH" => "lyrox url build writes a URL with user and password",
            "WRONGTYPE" => "the key holds another type: TYPE KEY shows it",
            "EXECABORT" => "one command of the transaction was refused when it was queued; the message before names it",
            "NOSCRIPT" => "the script was not loaded there, or the server was started anew: EVAL in place of EVALSHA",
            "BUSYGROUP" => "the consumer group is already there: nothing needs to be done",
            "NOPROTO" => "the server speaks RESP2 only: take `protocol=3` out of the URL",
            _ if self.is_quota() => {
                "raise the plan's limit, or wait until it is counted anew; idle queue workers use it up"
            }
            _ if self.text.contains("DB index is out of range") => {
                "take the number at the end of the URL away, or use one the server has"
            }
            _ if self.text.contains("max number of clients") => {
                "let the application share its connections, or raise maxclients"
            }
            _ => return None,
        })
    }

    /// The condition of the server that a refusal tells of; none where it speaks of the command alone.
    pub fn state(&self) -> Option<Code> {
        Some(match self.word.as_str() {
            "OOM" => Code::StoreMemory,
            "MISCONF" => Code::StoreDisk,
            "READONLY" | "NOREPLICAS" => Code::ConnectReadOnly,
            "LOADING" | "BUSY" | "TRYAGAIN" | "MASTERDOWN" => Code::ConnectStarting,
            "CLUSTERDOWN" => Code::ClusterDown,
            "MOVED" | "ASK" => Code::ClusterHidden,
            "NOAUTH" => Code::AuthMissing,
            _ if self.is_quota() => Code::ConnectQuota,
            // Inside a script the prefix stands in the middle.
            _ if self.text.contains("-OOM ") || self.text.contains("OOM command not allowed") => Code::StoreMemory,
            _ => return None,
        })
    }

    /// A hosted server's own limits.
    fn is_quota(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        ["max daily request limit", "max requests limit", "max request size", "max monthly request limit"]
            .iter()
            .any(|piece| text.contains(piece))
    }
}

/// The refusal in a driver error; none where the server did not answer.
pub fn refusal(error: &RedisError) -> Option<Refusal> {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::AuthenticationFailed => Some(Refusal {
            word: error.code().unwrap_or("ERR").to_owned(),
            text: error.detail().unwrap_or_default().to_owned(),
        }),
        _ => None,
    }
}

/// Why the server could not be used, in lyrox's words.
pub fn connect_error(endpoint: &Endpoint, error: &RedisError) -> Error {
    let url = &endpoint.url;
    let what = format!("cannot connect to Redis at {}", url.label());
    let from = &endpoint.origin;
    // Everything the driver knows, to tell causes apart; never shown.
    let seen = format!("{error} {}", error.detail().unwrap_or_default());
    let has = |text: &str| seen.contains(text);

    if error.kind() == ErrorKind::AuthenticationFailed || has("WRONGPASS") || has("invalid password") {
        let user = url.user().unwrap_or("default");
        return Error::new(Code::AuthRedis, what)
            .why(format!("the server refused user `{user}` or its password ({from})"))
            .hint(format!(
                "{} shows which user the URL names; a raw reserved character must be encoded",
                endpoint.inspect()
            ));
    }
    if has("NOAUTH") || error.code() == Some("NOAUTH") {
        return Error::new(Code::AuthMissing, what)
            .why(format!("the server asks for a login and the URL has none ({from})"))
            .hint("lyrox url build writes a URL with user and password");
    }
    if has("DENIED") && has("protected mode") {
        return Error::new(Code::AuthAddress, what)
            .why(format!(
                "the server is in protected mode and has no password: it lets in its own machine alone ({from})"
            ))
            .hint("give the server a password (requirepass, or an ACL file) and put it into the URL");
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown) => {
            return Error::new(Code::ConnectStarting, what)
                .why(format!("the server is loading its data, or waits for its primary ({from})"))
                .hint("lyrox check --wait 60s");
        }
        ErrorKind::Server(ServerErrorKind::ClusterDown) => {
            return Error::new(Code::ClusterDown, what)
                .why(format!("the cluster does not serve all of its slots ({from})"))
                .hint("CLUSTER INFO shows the state; start the master that is down, or give its slots out");
        }
        ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask) => {
            return Error::new(Code::ClusterHidden, what)
                .why("the server is one node of a cluster and does not let INFO tell so")
                .hint("let the user ask INFO: ACL SETUSER ... +info +cluster");
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            return Error::new(Code::Privilege, what)
                .why(error.detail().unwrap_or("a command is not allowed").to_owned())
                .hint("give the user the command: ACL SETUSER");
        }
        ErrorKind::InvalidClientConfig => {
            return Error::new(Code::Tls, what)
                .why("the TLS settings cannot be used")
                .hint("look at `ca_file` under [redis]: it must hold a PEM certificate");
        }
        _ => {}
    }
    if has("DB index is out of range") || has("SELECT is not allowed") {
        return Error::new(Code::DatabaseMissing, what)
            .why(format!("the server has no database {} ({from})", url.database().unwrap_or("0")))
            .hint("take the number at the end of the URL away, or use one the server has");
    }
    if has("max number of clients") {
        return Error::new(Code::ConnectLimit, what)
            .why(format!("the server has no connection left: maxclients is reached ({from})"))
            .hint("let the application share its connections, or raise maxclients");
    }
    if has("certificate") || has("UnknownIssuer") || has("NotValidForName") || has("Expired") {
        let (code, why) = if has("UnknownIssuer") {
            (Code::TlsAuthority, "the authority that signed the server's certificate is not known")
        } else if has("NotValidForName") {
            (Code::TlsName, "the server's certificate is for another name")
        } else if has("Expired") {
            (Code::TlsExpired, "the server's certificate has expired")
        } else {
            (Code::TlsCertificate, "the server's certificate cannot be used")
        };
        return Error::new(code, what).why(why).hint("name the authority's file: ca_file under [redis]");
    }
    if error.is_connection_refusal() {
        return Error::new(Code::ConnectRefused, what)
            .why(format!("nothing listens there ({from})"))
            .hint("lyrox up starts local servers; lyrox ps shows them");
    }
    if has("tls handshake eof") || has("corrupt message") || has("InvalidContentType") || has("HandshakeFailure") {
        return no_tls(what);
    }
    if error.is_timeout() {
        return if url.tls() == TlsMode::Off {
            Error::new(Code::ConnectTimeout, what)
                .why("the port is open and nothing answers: a frozen server, or no Redis")
                .hint("if the server wants TLS, write rediss:// in the URL")
        } else {
            no_tls(what)
        };
    }
    if error.is_connection_dropped() || has("end of file") {
        let error = Error::new(Code::ConnectClosed, what).why("the server closed the connection");
        return if url.tls() == TlsMode::Off {
            error.hint("if the server wants TLS, write rediss:// in the URL")
        } else {
            error
        };
    }
    if error.kind() == ErrorKind::Parse {
        return Error::new(Code::Protocol, what)
            .why("what answers there does not speak Redis' protocol")
            .hint("look at host and port of the URL; the usual port of Redis is 6379");
    }
    match refusal(error) {
        Some(refusal) => Error::new(refusal.state().unwrap_or(Code::Protocol), what)
            .why(refusal.shown())
            .hint(refusal.advice().unwrap_or("look at host and port of the URL, and at the server's log")),
        None => Error::new(Code::Protocol, what)
            .why("the driver could not use the connection")
            .hint("look at host and port of the URL; the usual port of Redis is 6379"),
    }
}

fn no_tls(what: String) -> Error {
    Error::new(Code::TlsAbsent, what)
        .why("the URL asks for TLS (rediss://) and the server does not answer in it")
        .hint("write redis:// if the server is meant to have none")
}

/// The error of a read or write of lyrox's own that the server refused or did not answer.
pub fn work_error(endpoint: &Endpoint, doing: &str, error: &RedisError) -> Error {
    match refusal(error) {
        Some(refusal) if refusal.word == "NOPERM" => Error::new(Code::Privilege, format!("cannot {doing}"))
            .why(refusal.shown())
            .hint("give the user the command, key or channel: ACL SETUSER"),
        Some(refusal) => {
            let code = refusal.state().unwrap_or(Code::LedgerDamaged);
            let shown = Error::new(code, format!("cannot {doing}")).why(refusal.shown());
            match refusal.advice() {
                Some(advice) => shown.hint(advice),
                None => shown,
            }
        }
        None => {
            let cause = connect_error(endpoint, error);
            let why = cause.why_text().unwrap_or("no answer").to_owned();
            Error::new(cause.code(), format!("the connection to Redis was lost while lyrox tried to {doing}"))
                .why(why)
                .hint(cause.hint_text().unwrap_or("lyrox check").to_owned())
        }
    }
}
