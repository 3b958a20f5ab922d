//! What only MongoDB's URLs have: sockets among the hosts, names of databases, options that contradict each other.
//! The rules are those of MongoDB's specifications of connection strings, of their options and of SRV records.

use super::parameters::{MONGODB_NUMBERS, MONGODB_TRUTHS};
use super::parse::{finish, invalid, read_options, read_path};
use super::problem::Problem;
use super::split::{Pieces, host};
use super::{Host, SecretUrl};
use crate::error::Result;
use crate::kind::StoreKind;

const KIND: StoreKind = StoreKind::Mongodb;

/// The mechanisms of authentication.
const MECHANISMS: &[&str] =
    &["SCRAM-SHA-1", "SCRAM-SHA-256", "MONGODB-X509", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI", "PLAIN", "MONGODB-CR"];

/// Reads the pieces that follow the login.
pub(super) fn read(mut url: SecretUrl, password: Option<String>, pieces: &Pieces<'_>) -> Result<SecretUrl> {
    if pieces.fragment.is_some() {
        return Err(invalid(KIND, "a `#` follows the host; in a password it is written `%23`"));
    }
    if pieces.login.is_some() && url.user.is_none() {
        return Err(invalid(KIND, "the user before the `@` is missing"));
    }
    url.hosts = pieces.place.split(',').map(read_host).collect::<Result<_, _>>().map_err(|why| invalid(KIND, why))?;
    if url.is_srv() {
        let [Host { name, port: None }] = url.hosts.as_slice() else {
            return Err(invalid(KIND, "`mongodb+srv` takes one host and no port; the ports come from DNS"));
        };
        if name.starts_with('/') || name.parse::<std::net::IpAddr>().is_ok() {
            return Err(invalid(KIND, "`mongodb+srv` takes a name that DNS knows, no address and no socket")
                .hint("write `mongodb://` before an address"));
        }
    }
    url.database = read_path(KIND, pieces)?;
    if url.database.as_ref().is_some_and(|name| name.contains(['/', '\\', ' ', '"', '$'])) {
        return Err(invalid(
            KIND,
            "the database after the host holds one of `/ \\ \" $` or a space, which no name has",
        ));
    }
    let query = pieces.query.unwrap_or("");
    let separator = if query.contains(';') && !query.contains('&') {
        url.problems.push(Problem::Semicolon);
        ';'
    } else {
        '&'
    };
    if query.split(separator).any(|pair| pair.starts_with('=')) {
        return Err(invalid(KIND, "an option after the `?` has no name"));
    }
    if query.split(separator).any(|pair| !pair.is_empty() && !pair.contains('=')) {
        return Err(invalid(KIND, "an option after the `?` has no `=`"));
    }
    url.options = read_options(KIND, query, separator)?;
    check_repeated(&mut url)?;
    check_values(&mut url)?;
    check_conflicts(&url)?;
    check_login(&url, password.as_deref())?;
    finish(url, password)
}

fn read_host(text: &str) -> Result<Host, &'static str> {
    if text.ends_with(':') {
        return Err("the port after the `:` is missing");
    }
    let host = host(text)?;
    if host.name.starts_with('/') {
        if !host.name.ends_with(".sock") {
            return Err("the path of a socket ends in `.sock`: `%2Ftmp%2Fmongodb-27017.sock`");
        }
        if host.port.is_some() {
            return Err("a socket has no port");
        }
    }
    Ok(host)
}

/// Which of two equal names wins is not defined; of TLS the two must agree.
fn check_repeated(url: &mut SecretUrl) -> Result<()> {
    let mut seen: Vec<String> = Vec::new();
    for (key, _) in &url.options {
        let key = key.to_ascii_lowercase();
        if seen.contains(&key) && key != "readpreferencetags" {
            let name = super::parameters::shown(&key);
            url.problems.push(Problem::Repeated(name));
        }
        seen.push(key);
    }
    let mut modes =
        url.options.iter().filter(|(key, _)| key.eq_ignore_ascii_case("tls") || key.eq_ignore_ascii_case("ssl"));
    let first = modes.next().map(|(_, value)| truth(value));
    if modes.any(|(_, value)| Some(truth(value)) != first) {
        return Err(invalid(KIND, "`tls` and `ssl` are given with different values"));
    }
    Ok(())
}

/// A truth in any of its spellings.
fn truth(value: &str) -> Option<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "y" | "t" => Some(true),
        "false" | "0" | "-1" | "no" | "n" | "f" => Some(false),
        _ => None,
    }
}

/// Values: truths are brought to `true` and `false`; what a value may not be is refused where it decides who is
/// trusted, else kept and told of, as the specification has it.
fn check_values(url: &mut SecretUrl) -> Result<()> {
    let mut problems = Vec::new();
    for (key, value) in &mut url.options {
        let truth_of = MONGODB_TRUTHS.iter().find(|name| name.eq_ignore_ascii_case(key));
        if let Some(name) = truth_of.filter(|_| !value.is_empty()) {
            match truth(value) {
                Some(is_true) => {
                    let word = if is_true { "true" } else { "false" };
                    if value != word {
                        problems.push(Problem::OldTruth((*name).to_owned()));
                        word.clone_into(value);
                    }
                }
                None if name.starts_with("tls") || *name == "ssl" => {
                    return Err(invalid(KIND, format!("the value of `{name}` is neither `true` nor `false`")));
                }
                None => problems.push(Problem::BadValue((*name).to_owned())),
            }
        }
        if let Some((name, least)) = MONGODB_NUMBERS.iter().find(|(name, _)| name.eq_ignore_ascii_case(key))
            && !value.is_empty()
            && value.parse::<i64>().ok().is_none_or(|number| number < *least)
        {
            problems.push(Problem::BadValue((*name).to_owned()));
        }
    }
    url.problems.append(&mut problems);
    let refused = |what: &str| Err(invalid(KIND, what));
    if url.option("authSource") == Some("") {
        return refused("`authSource` is empty");
    }
    if url.option("w").and_then(|w| w.parse::<i64>().ok()).is_some_and(|w| w < 0) {
        return refused("`w` is below 0");
    }
    if url.option("w") == Some("0") && url.option("journal") == Some("true") {
        return refused("`w=0` and `journal=true` contradict each other");
    }
    const READS: [&str; 5] = ["primary", "primarypreferred", "secondary", "secondarypreferred", "nearest"];
    let preference = url.option("readPreference").map(str::to_ascii_lowercase);
    if preference.as_ref().is_some_and(|word| !READS.contains(&word.as_str())) {
        return refused("the value of `readPreference` is none that MongoDB knows");
    }
    if url.option("readPreferenceTags").is_some() && preference.is_none_or(|word| word == "primary") {
        return refused("`readPreferenceTags` are given without a `readPreference` other than `primary`");
    }
    Ok(())
}

fn check_conflicts(url: &SecretUrl) -> Result<()> {
    let has = |name: &str| url.option(name).is_some();
    let is_true = |name: &str| url.option(name) == Some("true");
    let refused = |what: String| Err(invalid(KIND, what));
    for (one, other) in [
        ("tlsInsecure", "tlsAllowInvalidCertificates"),
        ("tlsInsecure", "tlsAllowInvalidHostnames"),
        ("tlsInsecure", "tlsDisableOCSPEndpointCheck"),
        ("tlsInsecure", "tlsDisableCertificateRevocationCheck"),
        ("tlsAllowInvalidCertificates", "tlsDisableOCSPEndpointCheck"),
        ("tlsAllowInvalidCertificates", "tlsDisableCertificateRevocationCheck"),
        ("tlsDisableOCSPEndpointCheck", "tlsDisableCertificateRevocationCheck"),
    ] {
        if has(one) && has(other) {
            return refused(format!("`{one}` and `{other}` cannot stand together"));
        }
    }
    if is_true("directConnection") {
        if url.is_srv() {
            return refused("`directConnection=true` cannot stand with `mongodb+srv`".into());
        }
        if url.hosts.len() > 1 {
            return refused("`directConnection=true` cannot stand with several hosts".into());
        }
    }
    if is_true("loadBalanced") {
        if url.hosts.len() > 1 {
            return refused("`loadBalanced=true` cannot stand with several hosts".into());
        }
        for other in ["replicaSet", "directConnection"] {
            if has(other) && (other == "replicaSet" || is_true(other)) {
                return refused(format!("`loadBalanced=true` and `{other}` cannot stand together"));
            }
        }
    }
    for name in ["srvMaxHosts", "srvServiceName"] {
        if has(name) && !url.is_srv() {
            return refused(format!("`{name}` is for `mongodb+srv` only"));
        }
    }
    if url.option("srvMaxHosts").is_some_and(|most| most != "0") {
        if has("replicaSet") {
            return refused("`srvMaxHosts` and `replicaSet` cannot stand together".into());
        }
        if is_true("loadBalanced") {
            return refused("`srvMaxHosts` and `loadBalanced=true` cannot stand together".into());
        }
    }
    for name in ["proxyPort", "proxyUsername", "proxyPassword"] {
        if has(name) && !has("proxyHost") {
            return refused(format!("`{name}` is given without `proxyHost`"));
        }
    }
    if has("proxyUsername") != has("proxyPassword") {
        return refused("`proxyUsername` and `proxyPassword` are given one without the other".into());
    }
    Ok(())
}

fn check_login(url: &SecretUrl, password: Option<&str>) -> Result<()> {
    let Some(mechanism) = url.option("authMechanism") else { return Ok(()) };
    let refused = |what: String| Err(invalid(KIND, what));
    if !MECHANISMS.contains(&mechanism) {
        return refused("the value of `authMechanism` is none that MongoDB knows".into());
    }
    let needs_user = mechanism.starts_with("SCRAM") || ["GSSAPI", "PLAIN", "MONGODB-CR"].contains(&mechanism);
    if needs_user && url.user.is_none() {
        return refused(format!("`authMechanism={mechanism}` needs a user before the `@`"));
    }
    if (mechanism.starts_with("SCRAM") || mechanism == "PLAIN") && password.is_none() {
        return refused(format!("`authMechanism={mechanism}` needs a password before the `@`"));
    }
    if ["MONGODB-X509", "MONGODB-OIDC"].contains(&mechanism) && password.is_some() {
        return refused(format!("`authMechanism={mechanism}` takes no password"));
    }
    if mechanism == "MONGODB-AWS" && url.user.is_some() != password.is_some() {
        return refused("`authMechanism=MONGODB-AWS` needs both user and password, or neither".into());
    }
    let is_external = ["MONGODB-X509", "MONGODB-AWS", "MONGODB-OIDC", "GSSAPI"].contains(&mechanism);
    if is_external && url.option("authSource").is_some_and(|source| source != "$external") {
        return refused(format!("`authMechanism={mechanism}` takes no `authSource` but `$external`"));
    }
    Ok(())
}

/// The options that decide what a connection is, as a driver of the specification takes them: nothing empty,
/// nothing twice, nothing unknown, and nothing that lyrox has limits of its own for.
pub fn driver_options(url: &SecretUrl) -> Vec<(String, String)> {
    const TAKEN: &[&str] = &[
        "authMechanism",
        "authMechanismProperties",
        "authSource",
        "directConnection",
        "loadBalanced",
        "readConcernLevel",
        "readPreference",
        "readPreferenceTags",
        "replicaSet",
        "retryReads",
        "retryWrites",
        "srvMaxHosts",
        "srvServiceName",
        "tls",
        "tlsAllowInvalidCertificates",
        "tlsCAFile",
        "tlsCertificateKeyFile",
        "tlsInsecure",
    ];
    let is_bad = |name: &str| url.problems.contains(&Problem::BadValue(name.to_owned()));
    let mut found: Vec<(String, String)> = Vec::new();
    for (key, value) in &url.options {
        let key = if key.eq_ignore_ascii_case("ssl") { "tls" } else { key.as_str() };
        let Some(name) = TAKEN.iter().find(|name| name.eq_ignore_ascii_case(key)) else { continue };
        let is_list = *name == "readPreferenceTags";
        if (value.is_empty() && !is_list) || is_bad(name) {
            continue;
        }
        if !is_list {
            found.retain(|(other, _)| other != name);
        }
        found.push(((*name).to_owned(), value.clone()));
    }
    // The driver refuses these beside `tls=false`, where they mean nothing.
    if found.contains(&("tls".into(), "false".into())) {
        found.retain(|(name, _)| name == "tls" || !name.starts_with("tls"));
    }
    found
}
