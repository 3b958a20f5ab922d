//! What is odd about a URL that was nevertheless understood, and what is unwise about one that is well
//! formed: each with the way to mend it. Nothing here shows a secret or contacts anything.

use super::provider::{Pooling, provider};
use super::split::known_parameters;
use super::{SecretUrl, TlsMode};
use crate::kind::StoreKind;

/// Something odd about a URL that was nevertheless understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The password holds these reserved characters unencoded.
    RawPassword(String),
    /// A `%` in the login is not followed by two hex digits and was taken literally.
    StrayPercent,
    /// White space around the URL was cut off.
    Whitespace,
    /// The password is a placeholder of a documentation page.
    Placeholder,
    /// A Redis login without a colon was taken as the password.
    LoneWord,
}

/// Passwords that are none: what dashboards and templates print, in lower case.
pub const PLACEHOLDERS: &[&str] = &[
    "***",
    "****",
    "********",
    "your-password",
    "your_password",
    "yourpassword",
    "your_password_here",
    "changeme",
    "<password>",
    "<db_password>",
    "[your-password]",
];

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
            Self::RawPassword(characters) => {
                let list: Vec<String> = characters.chars().map(|c| format!("`{c}`")).collect();
                wrong(
                    format!("the password holds raw {}; other tools take such a URL apart wrongly", list.join(" ")),
                    "write the password as lyrox url encode prints it; lyrox url inspect --reveal prints the whole URL mended",
                )
            }
            Self::StrayPercent => wrong(
                "a `%` in the login is not followed by two hex digits and was taken literally",
                "write a literal `%` as `%25`: lyrox url encode",
            ),
            Self::Whitespace => {
                wrong("white space surrounds the URL and was cut off", "take it out where the URL is set")
            }
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
        if !known_parameters(url.kind()).iter().any(|known| known.eq_ignore_ascii_case(key)) {
            let nearest = known_parameters(url.kind())
                .iter()
                .map(|known| {
                    (strsim::damerau_levenshtein(&known.to_ascii_lowercase(), &key.to_ascii_lowercase()), known)
                })
                .filter(|(distance, _)| *distance <= 2)
                .min();
            let shown: String =
                key.chars().filter(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).take(40).collect();
            found.push(unwise(
                format!("the parameter `{shown}` is not known; it has no effect here"),
                nearest.map_or_else(|| "take it out".to_owned(), |(_, known)| format!("did you mean `{known}`?")),
            ));
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
    if let Some(mode) = url.option("sslmode")
        && !["disable", "allow", "prefer", "require", "verify-ca", "verify-full", "no-verify"].contains(&mode)
    {
        found.push(wrong("the value of `sslmode` is none that PostgreSQL knows", "write `sslmode=verify-full`"));
    }
    if must_use_tls(url) && url.tls() == TlsMode::Off {
        found.push(wrong(format!("{} takes no connection without TLS", served.name), "write `?sslmode=verify-full`"));
    }
}

fn mongodb(url: &SecretUrl, found: &mut Vec<Remark>) {
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
            (StoreKind::Postgres, "postgres://u:p@localhost/db?sslmod=disable", "did you mean `sslmode`?"),
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
