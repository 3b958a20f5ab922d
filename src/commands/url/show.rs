//! What `lyrox url inspect` shows: as a table for people, as data for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::secret::MASK;
use crate::url::clients::{Verdict, verdicts};
use crate::url::provider::{direct, pooled, provider};
use crate::url::{self, SecretUrl, TlsMode};

/// What there is to show.
pub struct Shown<'a> {
    /// The URL.
    pub url: &'a SecretUrl,
    /// The text that it was read from.
    pub text: &'a str,
    /// The variable that it stands in.
    pub variable: Option<&'a str>,
    /// Where it came from.
    pub origin: Option<&'a str>,
    /// With the hosts that DNS names.
    pub expanded: Option<&'a SecretUrl>,
    /// What other readers of `.env` files make of its line.
    pub trap: Option<&'static str>,
    /// With its secrets.
    pub reveal: bool,
}

/// The widest line.
const WIDTH: usize = 80;
/// Where values begin.
const INDENT: usize = 11;

/// What the URL asks of TLS, in words.
fn tls_words(url: &SecretUrl) -> &'static str {
    match url.tls() {
        TlsMode::Off if url.is_local() => "off (this machine)",
        TlsMode::Off => "off",
        TlsMode::Unverified => "on, certificate not verified",
        TlsMode::VerifiedChain => "on, chain verified, name not",
        TlsMode::Verified => "on, verified",
    }
}

fn shown_option<'a>(key: &str, value: &'a str, reveal: bool) -> &'a str {
    if url::is_secret_option(key) && !reveal { MASK } else { value }
}

/// The URL with its secrets, or what may be shown of it.
fn whole(url: &SecretUrl, reveal: bool) -> String {
    if reveal { url.expose() } else { format!("{}://{}", url.scheme(), url.label()) }
}

/// The table.
pub fn table(shown: &Shown<'_>) -> String {
    let Shown { url, reveal, .. } = *shown;
    let served = provider(url);
    let mut rows: Vec<(&str, String)> = vec![("store", url.kind().title().to_owned())];
    rows.extend(shown.origin.map(|origin| ("from", origin.to_owned())));
    rows.extend((!served.name.is_empty()).then(|| ("provider", served.name.to_owned())));
    rows.extend((!served.pooling.word().is_empty()).then(|| ("reached", served.pooling.word().to_owned())));
    rows.push(("scheme", url.scheme().to_owned()));
    rows.push(("user", url.user().unwrap_or("(none)").to_owned()));
    rows.push((
        "password",
        match url.password() {
            None => "(none)".to_owned(),
            Some(password) if reveal => password.expose().to_owned(),
            Some(_) => MASK.to_owned(),
        },
    ));
    for host in url.hosts() {
        let place = match (host.is_socket(), url.is_srv()) {
            (true, _) => format!("{} (socket)", host.name),
            (false, true) => format!("{} (looked up in DNS)", host.name),
            (false, false) => format!("{}:{}", host.bracketed(), url.port_of(host)),
        };
        rows.push(("host", place));
    }
    rows.push(("database", url.database().unwrap_or("(none)").to_owned()));
    for (key, value) in url.options() {
        rows.push(("parameter", format!("{key} = {}", shown_option(key, value, reveal))));
    }
    rows.push(("tls", tls_words(url).to_owned()));
    rows.extend(direct(url).map(|url| ("direct", whole(&url, reveal))));
    rows.extend(pooled(url).map(|url| ("pooled", whole(&url, reveal))));
    rows.extend(shown.expanded.map(|url| ("expanded", whole(url, reveal))));
    if reveal {
        rows.push(("url", url.expose()));
        let name = shown.variable.unwrap_or_else(|| url::usual_variable(url.kind()));
        rows.push((".env", format!("{name}={}", url::quote::dotenv(&url.expose()))));
    }
    let mut text = String::new();
    for (label, value) in rows {
        let _ = writeln!(text, "{label:<10} {}", printable(&value));
    }
    text.push_str(&clients(&verdicts(url, shown.text)));
    let trap = shown.trap.map(|trap| url::Remark {
        what: format!("the line {trap}"),
        mend: "lyrox url inspect --reveal prints a line that all read alike".to_owned(),
        is_wrong: false,
    });
    for remark in url::remarks(url).iter().chain(&trap) {
        let word = if remark.is_wrong { "wrong" } else { "note" };
        let _ = write!(text, "\n{}", row(word, &printable(&remark.what)));
        text.push_str(&row("", &format!("hint: {}", printable(&remark.mend))));
    }
    text
}

/// How the client libraries read it.
fn clients(verdicts: &[Verdict]) -> String {
    let alike: Vec<&str> =
        verdicts.iter().filter(|verdict| verdict.differences.is_empty()).map(|verdict| verdict.client).collect();
    let mut text = String::from("\n");
    if !alike.is_empty() {
        let all = if alike.len() == verdicts.len() { "all: " } else { "" };
        text.push_str(&row("read alike", &format!("{all}{}", alike.join(", "))));
    }
    for (word, is_refused) in [("otherwise", false), ("refused", true)] {
        let mut label = word;
        // Libraries that say the same share a line.
        let mut said: Vec<(String, Vec<&str>)> = Vec::new();
        for verdict in verdicts.iter().filter(|verdict| verdict.is_refused == is_refused) {
            let what = verdict.differences.join("; ");
            match said.iter_mut().find(|(known, _)| *known == what) {
                _ if what.is_empty() => {}
                Some((_, names)) => names.push(verdict.client),
                None => said.push((what, vec![verdict.client])),
            }
        }
        for (what, names) in said {
            text.push_str(&row(label, &format!("{}: {what}", names.join(", "))));
            label = "";
        }
    }
    text
}

/// A labelled text, broken between words but never between back-ticks: what stands there is to be copied.
fn row(label: &str, value: &str) -> String {
    let mut text = String::new();
    let mut line = format!("{label:<10}");
    let mut is_first = true;
    let mut pieces: Vec<String> = Vec::new();
    for word in value.split(' ') {
        match pieces.last_mut().filter(|piece| piece.matches('`').count() % 2 == 1) {
            Some(piece) => {
                piece.push(' ');
                piece.push_str(word);
            }
            None => pieces.push(word.to_owned()),
        }
    }
    for word in pieces {
        if !is_first && line.chars().count() + 1 + word.chars().count() > WIDTH {
            let _ = writeln!(text, "{}", line.trim_end());
            line = " ".repeat(INDENT - 1);
        }
        line.push(' ');
        line.push_str(&word);
        is_first = false;
    }
    let _ = writeln!(text, "{line}");
    text
}

/// Text of a URL must not drive the terminal.
fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] }).collect()
}

/// The same as data.
pub fn data(shown: &Shown<'_>) -> Value {
    let Shown { url, reveal, .. } = *shown;
    let served = provider(url);
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let other = |url: Option<&SecretUrl>| url.map(|url| whole(url, reveal));
    json!({
        "store": url.kind(),
        "from": shown.origin,
        "provider": some(served.name),
        "pooling": some(served.pooling.word()),
        "scheme": url.scheme(),
        "user": url.user(),
        "password": url.password().map(|password| if reveal { password.expose() } else { MASK }),
        "hosts": url.hosts().iter().map(|host| json!({
            "name": host.name,
            "port": if host.is_socket() || url.is_srv() { Value::Null } else { url.port_of(host).into() },
        })).collect::<Vec<_>>(),
        "database": url.database(),
        "parameters": url.options().iter().map(|(key, value)| {
            (key.clone(), Value::from(shown_option(key, value, reveal)))
        }).collect::<serde_json::Map<_, _>>(),
        "tls": match url.tls() {
            TlsMode::Off => "off",
            TlsMode::Unverified => "unverified",
            TlsMode::VerifiedChain => "verified-chain",
            TlsMode::Verified => "verified",
        },
        "is_local": url.is_local(),
        "url": whole(url, reveal),
        "direct": other(direct(url).as_ref()),
        "pooled": other(pooled(url).as_ref()),
        "expanded": other(shown.expanded),
        "clients": verdicts(url, shown.text).iter().map(|verdict| json!({
            "name": verdict.client,
            "reads": match (verdict.is_refused, verdict.differences.is_empty()) {
                (true, _) => "refused",
                (false, true) => "alike",
                (false, false) => "otherwise",
            },
            "differences": verdict.differences,
        })).collect::<Vec<_>>(),
        "remarks": url::remarks(url).iter().map(|remark| json!({
            "what": remark.what, "mend": remark.mend, "is_wrong": remark.is_wrong,
        })).collect::<Vec<_>>(),
    })
}
