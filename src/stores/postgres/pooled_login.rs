//! What poolers mean by their refusals. PgBouncer, Supavisor and Neon's proxy answer in PostgreSQL's words, under a
//! few codes that say little; what they mean stands in the message. No driver is named here.

use crate::config::Endpoint;
use crate::error::{Code, Error};

/// What a pooler means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It knows no such user or project.
    Login,
    /// User or password is wrong.
    Password,
    /// It knows no such database.
    Database,
    /// Its pool or its list of clients is full.
    Full,
    /// It cannot reach the server behind it.
    Server,
    /// It takes no connection without TLS.
    Tls,
    /// It does not let this address in.
    Address,
    /// It takes no login for a while.
    Blocked,
    /// It refuses a startup parameter.
    Setting,
    /// It takes no prepared statements of this kind.
    Prepared,
    /// The client told it no host name, by which it finds the project.
    Endpoint,
}

/// Pieces of messages, in lower case, and what they mean. The first that fits counts.
const MESSAGES: &[(&str, Meaning)] = &[
    // Supavisor: a word in brackets, and the older sentence.
    ("enotfound", Meaning::Login),
    ("tenant or user not found", Meaning::Login),
    ("tenant/user", Meaning::Login),
    ("no such user", Meaning::Login),
    ("emaxconn", Meaning::Full),
    ("max clients reached", Meaning::Full),
    ("echeckouttimeout", Meaning::Full),
    ("unable to check out", Meaning::Full),
    ("eaddrnotallowed", Meaning::Address),
    ("address not in tenant allow_list", Meaning::Address),
    ("esslrequired", Meaning::Tls),
    ("ssl connection is required", Meaning::Tls),
    ("ecircuitbreaker", Meaning::Blocked),
    ("too many authentication", Meaning::Blocked),
    ("ebanned", Meaning::Blocked),
    ("epssimplequery", Meaning::Prepared),
    // PgBouncer.
    ("no such database", Meaning::Database),
    ("sasl authentication failed", Meaning::Password),
    // Of the server, whose words it passes on; its own have no user.
    ("password authentication failed for user", Meaning::Server),
    ("password authentication failed", Meaning::Password),
    ("no more connections allowed", Meaning::Full),
    ("query_wait_timeout", Meaning::Full),
    ("client_login_timeout", Meaning::Server),
    ("server login failed", Meaning::Server),
    ("server login has been failing", Meaning::Server),
    ("server_login_retry", Meaning::Server),
    ("pgbouncer cannot connect to server", Meaning::Server),
    ("unsupported startup parameter", Meaning::Setting),
    ("unsupported startup options", Meaning::Setting),
    ("ssl required", Meaning::Tls),
    // Neon.
    ("endpoint id is not specified", Meaning::Endpoint),
    ("connection is insecure", Meaning::Tls),
    ("couldn't connect to compute node", Meaning::Server),
    ("control plane request failed", Meaning::Server),
];

/// What a message means; none where it is no pooler's.
pub fn meaning(state: &str, message: &str) -> Option<Meaning> {
    let message = message.to_lowercase();
    // PostgreSQL's own codes for a wrong password and a missing database say all there is to say.
    if matches!(state, "28P01" | "3D000") && message.contains("password authentication failed") {
        return None;
    }
    MESSAGES.iter().find(|(piece, _)| message.contains(piece)).map(|(_, meaning)| *meaning)
}

/// The error of a refused login, where the message is a pooler's; its `why` is still to be given.
pub fn refusal(endpoint: &Endpoint, state: &str, message: &str) -> Option<Error> {
    let meaning = match meaning(state, message)? {
        Meaning::Server
            if endpoint.url.user().is_some_and(|user| message.contains(&format!("for user \"{user}\""))) =>
        {
            Meaning::Password
        }
        // A login needs the server only as long as the pooler has never reached it.
        Meaning::Full if message.contains("query_wait_timeout") => Meaning::Server,
        meaning => meaning,
    };
    let place = endpoint.url.authority();
    let user = endpoint.url.user().unwrap_or("(the system's user)");
    let origin = &endpoint.origin;
    Some(match meaning {
        Meaning::Password => Error::new(Code::AuthPostgres, format!("the pooler at {place} refused the login of `{user}`"))
            .hint(format!(
                "user or password is wrong, or the pooler's auth_file lacks the user; {} takes the URL apart ({origin})",
                endpoint.inspect()
            )),
        Meaning::Database => {
            let name = endpoint.url.database().unwrap_or(user);
            Error::new(Code::DatabaseMissing, format!("the pooler at {place} knows no database `{name}`"))
                .hint(format!("add it under [databases] of the pooler, or mend the path of the URL ({origin})"))
        }
        Meaning::Login => Error::new(Code::PoolerLogin, format!("the pooler at {place} knows no user `{user}`")).hint(
            "behind a shared pooler the user is `user.project`, and each region has its own host: copy the URL anew from the provider's dashboard; look whether the project is paused",
        ),
        other => other.error(),
    })
}

impl Meaning {
    /// The error, without the place and the user.
    pub fn error(self) -> Error {
        let error = Error::new;
        match self {
            Self::Login => error(Code::PoolerLogin, "the pooler knows no such user or project".to_owned())
                .hint("copy the URL anew from the provider's dashboard; look whether the project is paused"),
            Self::Password => error(Code::AuthPostgres, "the pooler refused the login".to_owned())
                .hint("lyrox url inspect takes the URL apart"),
            Self::Database => error(Code::DatabaseMissing, "the pooler knows no such database".to_owned())
                .hint("add it under [databases] of the pooler, or mend the path of the URL"),
            Self::Full => error(Code::PoolerFull, "the pooler has no connection left".to_owned()).hint(
                "end idle clients, raise the pool's size, or let the application use the transaction pooler (Supabase: port 6543)",
            ),
            Self::Server => error(Code::PoolerServer, "the pooler cannot reach its server".to_owned())
                .hint("lyrox check --wait 60s waits for a server that wakes; else look at the pooler's log and its own login"),
            Self::Tls => error(Code::TlsRequired, "the pooler takes no connection without TLS".to_owned())
                .hint("add `?sslmode=verify-full` to the URL"),
            Self::Address => error(Code::AuthAddress, "the pooler does not let this machine's address in".to_owned())
                .hint("add this machine's address to the network restrictions of the project"),
            Self::Blocked => error(Code::AuthBlocked, "the pooler takes no login for a while".to_owned())
                .hint("mend the URL whose password is wrong, then wait some minutes; Supabase lists bans under Database, Settings"),
            Self::Setting => error(Code::PoolerSetting, "the pooler refuses a setting of the connection".to_owned())
                .hint("take `options` out of the URL and unset PGOPTIONS, or set `direct_url` to the server itself"),
            Self::Prepared => error(Code::Pooler, "the pooler takes no prepared statements".to_owned())
                .hint("set `direct_url` to the server itself, or use the session pooler"),
            Self::Endpoint => error(Code::PoolerLogin, "the provider cannot tell which project is meant".to_owned())
                .hint("use the host name of the dashboard, not an address; else add `options=endpoint%3D<endpoint id>` to the URL"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poolers_words_are_understood() {
        for (state, message, code) in [
            ("XX000", "(ENOTFOUND) tenant/user postgres.abc not found", Some(Code::PoolerLogin)),
            ("XX000", "Tenant or user not found", Some(Code::PoolerLogin)),
            ("XX000", "(EMAXCONNSESSION) max clients reached in session mode", Some(Code::PoolerFull)),
            ("XX000", "MaxClientsInSessionMode: max clients reached", Some(Code::PoolerFull)),
            ("XX000", "(ECHECKOUTTIMEOUT) unable to check out connection", Some(Code::PoolerFull)),
            ("XX000", "(EADDRNOTALLOWED) address not in tenant allow_list", Some(Code::AuthAddress)),
            ("XX000", "(ESSLREQUIRED) SSL connection is required", Some(Code::TlsRequired)),
            ("XX000", "(ECIRCUITBREAKER) too many authentication errors", Some(Code::AuthBlocked)),
            ("XX000", "(EBANNED) banned", Some(Code::AuthBlocked)),
            ("XX000", "(EPSSIMPLEQUERY) prepared statement", Some(Code::Pooler)),
            ("08P01", "no such database: shop", Some(Code::DatabaseMissing)),
            ("08P01", "SASL authentication failed", Some(Code::AuthPostgres)),
            ("08P01", "query_wait_timeout", Some(Code::PoolerFull)),
            ("08P01", "no more connections allowed (max_client_conn)", Some(Code::PoolerFull)),
            ("08P01", "unsupported startup parameter: search_path", Some(Code::PoolerSetting)),
            ("08P01", "server login failed: FATAL no pg_hba.conf entry", Some(Code::PoolerServer)),
            ("08P01", "ERROR: Endpoint ID is not specified.", Some(Code::PoolerLogin)),
            ("08P01", "connection is insecure (try using `sslmode=require`)", Some(Code::TlsRequired)),
            ("XX000", "Couldn't connect to compute node", Some(Code::PoolerServer)),
            ("08P01", "password authentication failed for user \"pool\"", Some(Code::PoolerServer)),
            ("28P01", "password authentication failed for user \"emaxconn\"", None),
            ("3D000", "database \"x\" does not exist", None),
        ] {
            assert_eq!(meaning(state, message).map(|meaning| meaning.error().code()), code, "{message}");
        }
    }
}
