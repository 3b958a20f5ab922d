//! MongoDB's errors in lyrox's words. The driver's own Display carries hex dumps of server replies and
//! pieces of URLs: it is read here to tell causes apart, and never shown.

use std::error::Error as _;

use bson::{Bson, Document};
use mongodb::error::{Error as Driver, ErrorKind, WriteFailure};

use crate::config::Endpoint;
use crate::error::{Code, Error};

/// What the server refused, in its own words.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The server's number.
    pub code: i32,
    /// The server's name of that number.
    pub name: String,
    /// Its message, and the details that a person needs.
    pub text: String,
}

impl Refusal {
    /// `message (Name, 86)`.
    pub fn shown(&self) -> String {
        if self.name.is_empty() {
            format!("{} ({})", self.text, self.code)
        } else {
            format!("{} ({}, {})", self.text, self.name, self.code)
        }
    }
}

/// The refusal in a driver error; none where the server did not answer.
pub fn refusal(error: &Driver) -> Option<Refusal> {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => {
            Some(Refusal { code: command.code, name: command.code_name.clone(), text: cleaned(&command.message, None) })
        }
        ErrorKind::Write(WriteFailure::WriteError(write)) => Some(Refusal {
            code: write.code,
            name: write.code_name.clone().unwrap_or_else(|| name_of(write.code).into()),
            text: cleaned(&write.message, write.details.as_ref()),
        }),
        ErrorKind::Write(WriteFailure::WriteConcernError(concern)) => Some(Refusal {
            code: concern.code,
            name: concern.code_name.clone(),
            text: cleaned(&concern.message, concern.details.as_ref()),
        }),
        ErrorKind::InsertMany(many) => {
            let first = many.write_errors.as_ref().and_then(|errors| errors.first())?;
            Some(Refusal {
                code: first.code,
                name: first.code_name.clone().unwrap_or_else(|| name_of(first.code).into()),
                text: cleaned(&first.message, first.details.as_ref()),
            })
        }
        _ => None,
    }
}

/// The first error inside a reply that says `ok: 1`: `writeErrors` or `writeConcernError`.
pub fn refusal_in_reply(reply: &Document) -> Option<Refusal> {
    let inner = match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        Some(Bson::Document(error)) => error,
        _ => reply.get_document("writeConcernError").ok()?,
    };
    let code = inner.get("code").and_then(number).unwrap_or_default();
    let name = inner.get_str("codeName").map_or_else(|_| name_of(code).to_owned(), str::to_owned);
    let mut text = cleaned(inner.get_str("errmsg").unwrap_or_default(), inner.get_document("errInfo").ok());
    if let Ok(index) = inner.get_i32("index") {
        text = format!("item {}: {text}", index + 1);
    }
    Some(Refusal { code, name, text })
}

fn number(value: &Bson) -> Option<i32> {
    match value {
        Bson::Int32(number) => Some(*number),
        Bson::Int64(number) => i32::try_from(*number).ok(),
        #[allow(clippy::cast_possible_truncation, reason = "error numbers are small whole numbers")]
        Bson::Double(number) => Some(*number as i32),
        _ => None,
    }
}

const fn name_of(code: i32) -> &'static str {
    match code {
        121 => "DocumentValidationFailure",
        11000 => "DuplicateKey",
        _ => "",
    }
}

/// The message with what a validator found appended, cut to a length a person reads.
fn cleaned(message: &str, details: Option<&Document>) -> String {
    // The server repeats the whole command, its data and its clock included.
    let mut text = match message.split_once(" to execute command { ") {
        Some((before, command)) => {
            let name = command.split(':').next().unwrap_or_default();
            format!("{before} to execute `{name}`")
        }
        None => message.to_owned(),
    };
    let rules = details
        .and_then(|details| details.get_document("details").ok())
        .and_then(|details| details.get_array("schemaRulesNotSatisfied").ok());
    if let Some(rules) = rules {
        let rules: Vec<String> = rules.iter().map(|rule| rule.clone().into_relaxed_extjson().to_string()).collect();
        text = format!("{text}: {}", rules.join(", "));
    }
    if text.chars().count() > 600 {
        text = text.chars().take(600).chain("...".chars()).collect();
    }
    text
}

/// What a person can do about a refusal, by the server's number, where one thing helps.
pub const fn advice(code: i32) -> Option<&'static str> {
    Some(match code {
        13 => "give the user the roles readWrite and dbAdmin on the database",
        18 | 8000 => "lyrox url inspect shows what user and authentication database the URL names",
        20 | 263 => {
            "transactions need a replica set: start the server with --replSet rs0 and run rs.initiate(), or use lyrox up"
        }
        26 => "lyrox db migrate makes the collection",
        48 => "it is there already: change it with collMod, or drop it first",
        50 => "give it more time with --timeout, or an index",
        59 | 115 => {
            "the server does not know the command: a typing error, another product, or a plan that does not allow it"
        }
        64 | 100 => "too few members confirm the write: look at rs.status() and at `w` in the URL",
        67 => "the index cannot be made: the message names the option",
        85 | 86 => "give the index another name, or drop the one that is there first (dropIndexes)",
        91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436 => "lyrox check --wait 60s waits for a primary",
        94 => "run rs.initiate() once on one of the set's members",
        112 | 251 => "another write was in the way: run it again",
        121 => "the document breaks the collection's validator: the message names the rule",
        11000 => "a unique index has that value already: the message names it; change one of the documents",
        13297 => "the name is there in another case: write it as the server has it",
        _ => return None,
    })
}

/// Whether the error means that no answer came: what was asked may or may not have happened.
pub fn is_in_doubt(error: &Driver) -> bool {
    matches!(
        error.kind.as_ref(),
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } | ErrorKind::InvalidResponse { .. }
    ) || matches!(refusal(error).map(|refusal| refusal.code), Some(91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436))
}

/// Why no server could be used, in lyrox's words.
pub fn connect_error(endpoint: &Endpoint, error: &Driver) -> Error {
    let url = &endpoint.url;
    let what = format!("cannot connect to MongoDB at {}", url.label());
    let from = &endpoint.origin;
    // Everything the driver knows, to tell causes apart; never shown.
    let mut seen = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        seen.push_str(&inner.to_string());
        source = inner.source();
    }
    let has = |text: &str| seen.contains(text);

    match error.kind.as_ref() {
        ErrorKind::Authentication { .. } => return login_error(endpoint, what),
        ErrorKind::Command(command) => match command.code {
            18 | 8000 => return login_error(endpoint, what),
            13 if url.user().is_none() => {
                return Error::new(Code::AuthMissing, what)
                    .why(format!("the server asks for a login and the URL has none ({from})"))
                    .hint("lyrox url build writes a URL with user and password");
            }
            94 => {
                return Error::new(Code::ReplicaSetNew, what)
                    .why("the replica set was never initiated")
                    .hint("run rs.initiate() once on one of its members");
            }
            91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436 => {
                return Error::new(Code::ReplicaSetPrimary, what)
                    .why("the member that answered is not the primary now")
                    .hint("lyrox check --wait 60s");
            }
            _ => {
                let why = refusal(error).map(|refusal| refusal.shown()).unwrap_or_default();
                return Error::new(Code::Protocol, what).why(why).hint("the server's log has more");
            }
        },
        ErrorKind::InvalidArgument { .. } => return option_error(endpoint, &seen),
        ErrorKind::DnsResolve { .. } => {
            return Error::new(Code::ConnectName, what)
                .why(format!("there is no SRV record for `{}` ({from})", url.host().name))
                .hint("look for a typing error in the cluster's name, or whether the cluster is paused");
        }
        _ => {}
    }
    if has("authentication failed") || has("Authentication failed") || has("bad auth") {
        return login_error(endpoint, what);
    }
    if has("certificate") || has("UnknownIssuer") || matches!(error.kind.as_ref(), ErrorKind::InvalidTlsConfig { .. }) {
        let (code, why) = if has("UnknownIssuer") {
            (Code::TlsAuthority, "the authority that signed the server's certificate is not known")
        } else if has("NotValidForName") {
            (Code::TlsName, "the server's certificate is for another name")
        } else if has("Expired") {
            (Code::TlsExpired, "the server's certificate has expired")
        } else if has("No such file") {
            (Code::Tls, "the file with the authority's certificate does not exist")
        } else {
            (Code::TlsCertificate, "the server's certificate or the TLS settings cannot be used")
        };
        return Error::new(code, what).why(why).hint("name the authority's file: ca_file under [mongodb]");
    }
    if has("tls handshake eof") || has("corrupt message") || has("InvalidContentType") || has("HandshakeFailure") {
        let error = Error::new(Code::TlsAbsent, what);
        return if url.asks_tls() {
            error
                .why("the URL asks for TLS and the server does not speak it")
                .hint("take tls=true out of the URL if the server is meant to have none")
        } else {
            error
                .why("a remote server is reached through TLS unless the URL says otherwise, and it does not speak it")
                .hint("add tls=false to the parameters of the URL where the network is trusted")
        };
    }
    if has("Connection refused") {
        return Error::new(Code::ConnectRefused, what)
            .why(format!("nothing listens there ({from})"))
            .hint("lyrox up starts local servers; lyrox ps shows them");
    }
    if has("failed to lookup address") || has("Name or service not known") || has("no address") {
        return Error::new(Code::ConnectName, what)
            .why(format!("a host name cannot be resolved ({from})"))
            .hint(format!("look for a typing error in the hosts: {}", endpoint.inspect()));
    }
    if has("ReplicaSetNoPrimary") || has("Set Name") {
        let is_named = url.option("replicaSet").is_some();
        let error = Error::new(Code::ReplicaSetPrimary, what);
        return if is_named {
            error
                .why("no primary answers under the replica set's name in the URL")
                .hint("look at `replicaSet` in the URL, and whether the set has a primary")
        } else {
            error.why("the replica set has no primary now").hint("lyrox check --wait 60s")
        };
    }
    if has("end of file") || has("UnexpectedEof") || has("reset by peer") || has("Broken pipe") {
        let error = Error::new(Code::ConnectClosed, what).why("the server closed the connection");
        return if url.tls() == crate::url::TlsMode::Off {
            error.hint("if the server wants TLS, add tls=true to the URL")
        } else {
            error
        };
    }
    if matches!(error.kind.as_ref(), ErrorKind::InvalidResponse { .. }) {
        return Error::new(Code::Protocol, what)
            .why("what answers there is not MongoDB")
            .hint("look at host and port of the URL; the usual port of MongoDB is 27017");
    }
    Error::new(Code::ConnectTimeout, what)
        .why(format!("no answer in time ({from})"))
        .hint("let this machine's address in at the provider, or wake the cluster")
}

fn login_error(endpoint: &Endpoint, what: String) -> Error {
    let url = &endpoint.url;
    let user = url.user().unwrap_or("");
    let from = &endpoint.origin;
    if url.option("authSource").is_none() && url.database().is_some() && !url.is_srv() {
        return Error::new(Code::AuthMongodb, what)
            .why(format!(
                "the server refused user `{user}`; without `authSource` it is looked for in database `{}` ({from})",
                url.database().unwrap_or("admin")
            ))
            .hint("add authSource=admin to the URL if the user was created there, else look at the password");
    }
    let error =
        Error::new(Code::AuthMongodb, what).why(format!("the server refused user `{user}` or its password ({from})"));
    if crate::url::provider::provider(url).name == "Atlas" {
        // The login of the website is another than the database's.
        return error.hint(format!(
            "use a user of Database Access in Atlas, not the login of the website; {} shows what the URL names",
            endpoint.inspect()
        ));
    }
    error.hint(format!("{} shows what user and authentication database the URL names", endpoint.inspect()))
}

fn option_error(endpoint: &Endpoint, seen: &str) -> Error {
    let url = &endpoint.url;
    let error = Error::new(Code::UrlInvalid, "the MongoDB URL cannot be used");
    // Only the key is shown: the driver's text may hold the value.
    match url.options().iter().find(|(key, _)| seen.to_lowercase().contains(&key.to_lowercase())) {
        Some((key, _)) => error
            .why(format!("the driver does not take the parameter `{key}` as it is ({})", endpoint.origin))
            .hint(format!("mend or remove `{key}` after the `?` of the URL")),
        None => error
            .why(format!("the driver refuses a part of it ({})", endpoint.origin))
            .hint(format!("{} takes the URL apart", endpoint.inspect())),
    }
}

/// The error of a read or write of lyrox's own that the server refused or did not answer.
pub fn work_error(endpoint: &Endpoint, doing: &str, error: &Driver) -> Error {
    match refusal(error) {
        Some(refusal) if refusal.code == 13 => Error::new(Code::Privilege, format!("cannot {doing}"))
            .why(refusal.shown())
            .hint("give the user the role readWrite and dbAdmin on the database"),
        Some(refusal) if matches!(refusal.code, 91 | 189 | 10107 | 11600 | 11602 | 13435 | 13436) => {
            Error::new(Code::ConnectReadOnly, format!("cannot {doing}"))
                .why(refusal.shown())
                .hint("wait until the replica set has a primary, and take directConnection out of the URL")
        }
        Some(refusal) => {
            let error = Error::new(Code::LedgerDamaged, format!("cannot {doing}")).why(refusal.shown());
            match advice(refusal.code) {
                Some(advice) => error.hint(advice),
                None => error,
            }
        }
        None => {
            let cause = connect_error(endpoint, error);
            let why = cause.why_text().unwrap_or("no answer").to_owned();
            Error::new(cause.code(), format!("the connection to MongoDB was lost while lyrox tried to {doing}"))
                .why(why)
                .hint(cause.hint_text().unwrap_or("lyrox check").to_owned())
        }
    }
}
