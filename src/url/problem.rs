//! What is odd about a URL that was nevertheless understood, and what is unwise about one that is well
//! formed: each with the way to mend it. Nothing here shows a secret or contacts anything.

use super::parameters::{self, Effect};
use super::provider::{Pooling, provider};
use super::{SecretUrl, TlsMode};
use crate::kind::StoreKind;

/// Something odd about a URL that was nevertheless understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The password holds these reserved characters unencoded.
    RawPassword(String),
    /// The user holds these reserved characters unencoded.
    RawUser(String),
    /// A `%` in the login is not followed by two hex digits and was taken literally.
    StrayPercent,
    /// White space around the URL was cut off.
    Whitespace,
    /// Quotes around the URL were cut off.
    Quoted,
    /// White space or a control character stands inside the URL, outside of its login.
    InnerWhitespace,
    /// A raw `#` stands in the path or in a parameter.
    RawFragment,
    /// The password is a placeholder of a documentation page.
    Placeholder,
    /// User, host or database is a placeholder.
    PlaceholderElsewhere,
    /// A Redis login without a colon was taken as the password.
    LoneWord,
    /// MongoDB's options are separated by `;`.
    Semicolon,
    /// An option of MongoDB stands twice.
    Repeated(String),
    /// A truth is written in an old way: `1`, `yes`.
    OldTruth(String),
    /// The value of an option is none that it takes, so that the option has no effect.
    BadValue(String),
}

/// Whether a text is what dashboards, templates and documentation print in a password's place.
pub fn is_placeholder(text: &str) -> bool {
    const WORDS: &[&str] = &[
        "your-password",
        "your_password",
        "yourpassword",
        "your_password_here",
        "your-password-here",
        "yoursecret",
        "changeme",
        "change_me",
        "change-me",
        "replace_me",
        "replaceme",
        "insert_password_here",
        "password_here",
        "mypassword_here",
        "xxx",
        "xxxx",
        "xxxxxx",
        "xxxxxxxx",
        "redacted",
        "todo",
        "...",
    ];
    let lower = text.to_ascii_lowercase();
    let is_bracketed = |open: &str, close: &str| {
        lower.len() > open.len() + close.len() && lower.starts_with(open) && lower.ends_with(close)
    };
    let speaks_of_one = ["pass", "pwd", "secret", "your", "token", "key"].iter().any(|word| lower.contains(word));
    WORDS.contains(&lower.as_str())
        || (lower.len() >= 3 && lower.chars().all(|c| c == '*'))
        || (lower.len() >= 3 && text.chars().all(|c| c == '\u{2022}'))
        || is_bracketed("${", "}")
        || is_bracketed("{{", "}}")
        || (speaks_of_one
            && (is_bracketed("[", "]") || is_bracketed("<", ">") || is_bracketed("{", "}") || is_bracketed("%", "%")))
        || ((lower.starts_with("your_") || lower.starts_with("your-")) && speaks_of_one)
}

/// One remark on a URL and the way to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// What is wrong or unwise: lower case, no full stop, no secret.
    pub what: String,
    /// How to mend it.
    pub mend: String,
    /// Other tools read such a URL otherwise, or a connection would fail.
    pub is_wrong: bool,
}

impl Problem {
    /// The problem as a person reads it.
    pub fn remark(&self) -> Remark {
        match self {
            Self::RawPassword(characters) => wrong(
                format!("the password holds raw {}; other tools take such a URL apart wrongly", listed(characters)),
                "write the password as `lyrox url encode` prints it; `lyrox url inspect --reveal` prints the whole URL mended",
            ),
            Self::RawUser(characters) => wrong(
                format!("the user holds raw {}; other tools take such a URL apart wrongly", listed(characters)),
                "write the user as `lyrox url encode` prints it; `lyrox url inspect --reveal` prints the whole URL mended",
            ),
            Self::StrayPercent => wrong(
                "a `%` in the login is not followed by two hex digits and was taken literally",
                "write a literal `%` as `%25`: lyrox url encode",
            ),
            Self::Whitespace => {
                wrong("white space surrounds the URL and was cut off", "take it out where the URL is set")
            }
            Self::Quoted => wrong(
                "quotes surround the URL and were cut off; other tools take them for a part of it",
                "take them out where the URL is set, or let a shell or a reader of .env files do it",
            ),
            Self::InnerWhitespace => wrong(
                "white space stands inside the URL: some clients drop it, others refuse it",
                "write a space as `%20`, and take line breaks and tabs out",
            ),
            Self::RawFragment => {
                wrong("a raw `#` stands after the host: many clients cut the URL off there", "write it as `%23`")
            }
            Self::PlaceholderElsewhere => wrong(
                "user, host or database is a placeholder, not a name",
                "put the real name in its place; the provider's dashboard shows it",
            ),
            Self::Semicolon => {
                wrong("the options are separated by `;`, which few clients still read", "write `&` between options")
            }
            Self::Repeated(name) => wrong(
                format!("`{name}` stands twice; which of the two counts differs from client to client"),
                "take one of them out",
            ),
            Self::OldTruth(name) => unwise(
                format!("`{name}` is written in an old way that some clients refuse"),
                format!("write `{name}=true` or `{name}=false`"),
            ),
            Self::BadValue(name) => wrong(
                format!("the value of `{name}` is none that it takes; it has no effect"),
                "mend the value, or take the option out",
            ),
            Self::Placeholder => wrong(
                "the password is a placeholder, not a password",
                "put the real password in its place, as lyrox url encode prints it",
            ),
            Self::LoneWord => wrong(
                "the login has no colon; it was taken as the password, other clients take it as the user",
                "write `redis://:PASSWORD@HOST`",
            ),
        }
    }
}

fn listed(characters: &str) -> String {
    let shown = |c: char| match c {
        ' ' => "a space".to_owned(),
        c if c.is_whitespace() || c.is_control() => "white space".to_owned(),
        c => format!("`{c}`"),
    };
    let list: Vec<String> = characters.chars().map(shown).collect();
    list.join(" ")
}

fn wrong(what: impl Into<String>, mend: impl Into<String>) -> Remark {
    Remark { what: what.into(), mend: mend.into(), is_wrong: true }
}

fn unwise(what: impl Into<String>, mend: impl Into<String>) -> Remark {
    Remark { what: what.into(), mend: mend.into(), is_wrong: false }
}

/// Everything there is to say about a URL without contacting anything.
pub fn remarks(url: &SecretUrl) -> Vec<Remark> {
    let mut found: Vec<Remark> = url.problems().iter().map(Problem::remark).collect();
    match url.kind() {
        StoreKind::Postgres => postgres(url, &mut found),
        StoreKind::Mongodb => mongodb(url, &mut found),
        StoreKind::Redis => redis(url, &mut found),
    }
    for (key, _) in url.options() {
        let name = parameters::shown(key);
        if !parameters::is_known(url.kind(), key) {
            found.push(unwise(
                format!("the parameter `{name}` is not known; it has no effect here"),
                parameters::nearest(url.kind(), key)
                    .map_or_else(|| "take it out".to_owned(), |near| format!("did you mean `{near}`?")),
            ));
        } else if parameters::effect(url.kind(), key) == Effect::Ignored {
            found.push(unwise(format!("the parameter `{name}` has no effect in lyrox"), ignored_way(key)));
        }
    }
    if url.tls() == TlsMode::Unverified && !url.is_local() {
        found.push(unwise(
            "TLS is on, but the certificate is not verified: anyone in between can read along",
            "name the authority with `ca_file` in lyrox.toml and take the weakening parameter out of the URL",
        ));
    }
    if url.tls() == TlsMode::Off && !url.is_local() && !must_use_tls(url) {
        found.push(unwise(
            "TLS is off: password and data cross the network in the clear",
            match url.kind() {
                StoreKind::Postgres => "write `?sslmode=verify-full`",
                StoreKind::Mongodb => "add `tls=true` to the parameters",
                StoreKind::Redis => "write `rediss://` in place of `redis://`",
            },
        ));
    }
    found
}

/// What to do about a parameter that lyrox does not follow.
fn ignored_way(key: &str) -> &'static str {
    match key {
        "passfile" => "lyrox reads no password file: give the password in the URL, or with `url_file` or `url_command`",
        "channel_binding" | "require_auth" => "the server is verified by its certificate: write `sslmode=verify-full`",
        "proxyHost" | "proxyPort" | "proxyUsername" | "proxyPassword" => {
            "lyrox opens its connections itself: let it run where the servers can be reached"
        }
        "ssl_ca_certs" => "name the authority with `ca_file` in lyrox.toml",
        "ssl_cert_reqs" | "ssl_check_hostname" => {
            "lyrox verifies; name a private authority with `ca_file` in lyrox.toml"
        }
        _ => "it stays in force for the clients that know it",
    }
}

fn must_use_tls(url: &SecretUrl) -> bool {
    matches!(provider(url).name, "Upstash" | "Atlas" | "Neon")
}

fn postgres(url: &SecretUrl, found: &mut Vec<Remark>) {
    let host = url.host().name.to_ascii_lowercase();
    let served = provider(url);
    if host.ends_with(".pooler.supabase.com")
        && url.user().is_some_and(|user| !user.contains('.'))
        && !url.option("options").is_some_and(|options| options.contains("reference="))
    {
        found.push(wrong(
            "the user of Supabase's pooler carries the project: `postgres.<project ref>`",
            "add the project ref to the user; the dashboard shows it under Connect",
        ));
    }
    if served.pooling == Pooling::Transaction {
        let what = format!("{} hands out a connection per transaction here: the application may use it", served.name);
        found.push(unwise(
            what,
            match direct_form(url) {
                Some(direct) => format!("for migrations set direct_url to {direct}"),
                None => "for migrations set direct_url to the server itself".to_owned(),
            },
        ));
    }
    if must_use_tls(url) && url.tls() == TlsMode::Off {
        found.push(wrong(format!("{} takes no connection without TLS", served.name), "write `?sslmode=verify-full`"));
    }
}

fn mongodb(url: &SecretUrl, found: &mut Vec<Remark>) {
    if url.user().is_some() && url.password().is_none() && url.option("authMechanism").is_none() {
        found.push(unwise(
            "there is a user and no password",
            "write `user:password@`, or name the mechanism that needs none: `authMechanism=MONGODB-X509`",
        ));
    }
    if !url.is_srv()
        && url.user().is_some()
        && url.option("authSource").is_none()
        && url.option("authMechanism").is_none_or(|mechanism| mechanism.starts_with("SCRAM"))
        && url.database().is_some_and(|database| database != "admin")
    {
        found.push(unwise(
            "the user is looked for in the database of the path; most users live in `admin`",
            "add `authSource=admin` to the parameters, unless the user was made in that database",
        ));
    }
    if !url.is_srv() && must_use_tls(url) && url.tls() == TlsMode::Off {
        found.push(wrong(
            "Atlas takes no connection without TLS",
            "use the `mongodb+srv://` URL of the dashboard, or add `tls=true`",
        ));
    }
}

fn redis(url: &SecretUrl, found: &mut Vec<Remark>) {
    if must_use_tls(url) && url.tls() == TlsMode::Off {
        found.push(wrong("Upstash takes no connection without TLS", "write `rediss://` in place of `redis://`"));
    }
}

/// The host and port of the direct door beside a known pooler, as text to write.
pub fn direct_form(url: &SecretUrl) -> Option<String> {
    let host = &url.host().name;
    let lower = host.to_ascii_lowercase();
    if lower.ends_with(".pooler.supabase.com") {
        return Some(format!("{host}:5432 (session pooler), or to db.<project ref>.supabase.co:5432 (IPv6)"));
    }
    if lower.ends_with(".supabase.co") {
        return Some(format!("{host}:5432"));
    }
    if lower.ends_with(".neon.tech") {
        return Some(host.replacen("-pooler", "", 1));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::url::parse;

    fn says(kind: StoreKind, text: &str) -> String {
        let url = parse(kind, text).expect(text);
        remarks(&url).iter().map(|remark| format!("{} -> {}\n", remark.what, remark.mend)).collect()
    }

    #[test]
    fn providers_traps_are_named_with_their_way_out() {
        for (kind, text, expected) in [
            (
                StoreKind::Postgres,
                "postgres://postgres:p@aws-0-eu-west-1.pooler.supabase.com:5432/postgres",
                "postgres.<project ref>",
            ),
            (
                StoreKind::Postgres,
                "postgres://postgres.abc:p@aws-0-eu-west-1.pooler.supabase.com:6543/postgres",
                ":5432 (session pooler)",
            ),
            (
                StoreKind::Postgres,
                "postgres://u:p@ep-cool-1-pooler.eu.aws.neon.tech/db?sslmode=require",
                "direct_url to ep-cool-1.eu.aws.neon.tech",
            ),
            (StoreKind::Postgres, "postgres://u:p@db.example.com/db?sslmode=disable", "in the clear"),
            (StoreKind::Mongodb, "mongodb://u:p@localhost/?replicaSe=rs0", "did you mean `replicaSet`?"),
            (StoreKind::Postgres, "postgres://u:p@localhost/db?channel_binding=require", "no effect in lyrox"),
            (StoreKind::Postgres, "postgres://u:[YOUR-PASSWORD]@localhost/db", "placeholder"),
            (StoreKind::Mongodb, "mongodb://u:<db_password>@localhost/app", "placeholder"),
            (StoreKind::Mongodb, "mongodb://u:p@localhost/app", "authSource=admin"),
            (StoreKind::Redis, "redis://default:p@happy-moose-1.upstash.io:6379", "rediss://"),
            (StoreKind::Redis, "redis://word@localhost", "redis://:PASSWORD@HOST"),
        ] {
            let said = says(kind, text);
            assert!(said.contains(expected), "{text}: {said}");
        }
        assert_eq!(says(StoreKind::Postgres, "postgres://u:p@localhost:5432/db?application_name=x"), "");
        assert_eq!(says(StoreKind::Mongodb, "mongodb://u:p@localhost/?authSource=admin"), "");
        assert_eq!(says(StoreKind::Redis, "redis://:p@localhost:6379/0"), "");
    }
}
