//! Shards: further PostgreSQL and MongoDB servers that tenants are placed on. Each kind of store has its own list; shards
//! of the same name in both hold the same tenants. Redis has none: a Redis Cluster spreads the tenants itself.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;

use super::file::{Settings, TenancyModel};
use super::target::{behind_pooler, endpoint};
use super::{Config, Endpoint, Target};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::url;

/// The project's own servers, by this name.
pub const HOME: &str = "home";
/// Names that mean something else where a shard is named.
const RESERVED: [&str; 3] = ["fewest", "hash", "all"];
/// The most characters that a name has.
const NAME_LENGTH: usize = 40;

/// `[[postgres.shards]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresShard {
    /// Its name. `home` stands for the project's own server and has no URL.
    pub name: String,
    /// What the application uses; may be a pooler.
    #[serde(default)]
    pub url: String,
    /// The owner's direct connection. Falls back to `url`.
    #[serde(default)]
    pub direct_url: String,
    /// Its part of the new tenants, beside the weights of the others; 0: it takes none.
    #[serde(default = "one")]
    pub weight: u32,
    /// A PEM file with the authority that signed its certificate; default: that of `[postgres]`.
    #[serde(default)]
    pub ca_file: Option<String>,
}

/// `[[mongodb.shards]]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MongodbShard {
    /// Its name. `home` stands for the project's own server and has no URL.
    pub name: String,
    /// The connection string.
    #[serde(default)]
    pub url: String,
    /// The database there; default: that of `[mongodb]`, else the path of the URL.
    #[serde(default)]
    pub database: Option<String>,
    /// Its part of the new tenants, beside the weights of the others; 0: it takes none.
    #[serde(default = "one")]
    pub weight: u32,
    /// A PEM file with the authority that signed its certificate; default: that of `[mongodb]`.
    #[serde(default)]
    pub ca_file: Option<String>,
}

fn one() -> u32 {
    1
}

/// A shard that new tenants may be placed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name, [`HOME`] included.
    pub name: String,
    /// Its part of the new tenants.
    pub weight: u32,
}

/// The shards of a kind of store, in the order of the file, [`HOME`] only where it is listed.
pub fn candidates(settings: &Settings, kind: StoreKind) -> Vec<Candidate> {
    let one = |name: &str, weight: u32| Candidate { name: name.to_owned(), weight };
    match kind {
        StoreKind::Postgres => {
            let shards = settings.postgres.iter().flat_map(|section| &section.shards);
            shards.map(|shard| one(&shard.name, shard.weight)).collect()
        }
        StoreKind::Mongodb => {
            let shards = settings.mongodb.iter().flat_map(|section| &section.shards);
            shards.map(|shard| one(&shard.name, shard.weight)).collect()
        }
        StoreKind::Redis => Vec::new(),
    }
}

/// The names of all shards, each once, [`HOME`] left out.
pub fn names(settings: &Settings) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for candidate in StoreKind::ALL.into_iter().flat_map(|kind| candidates(settings, kind)) {
        if candidate.name != HOME && !names.contains(&candidate.name) {
            names.push(candidate.name);
        }
    }
    names
}

/// Whether a kind of store has a shard of this name, other than the project's own server.
pub fn has(settings: &Settings, kind: StoreKind, name: &str) -> bool {
    name != HOME && candidates(settings, kind).iter().any(|candidate| candidate.name == name)
}

/// The error of a shard that the configuration does not have.
pub fn unknown(settings: &Settings, name: &str) -> Error {
    let known = names(settings);
    Error::new(Code::ShardUnknown, format!("there is no shard `{}`", crate::engine::tenant::shown(name)))
        .why(match known.is_empty() {
            true => "lyrox.toml has no [[postgres.shards]] and no [[mongodb.shards]]".to_owned(),
            false => format!("lyrox.toml has {}", known.join(", ")),
        })
        .data("nothing was changed")
        .hint("lyrox config show")
}

/// The server of a shard.
///
/// # Errors
/// `LYX-SHARD-UNKNOWN`; `LYX-URL-UNSET` naming the variable; `LYX-URL-INVALID`.
pub fn target(config: &Config, kind: StoreKind, name: &str) -> Result<Target> {
    let settings = &config.settings;
    let missing = || unknown(settings, name);
    let key = |field: &str| format!("{kind}.shards.{name}.{field}");
    let ca = |own: &Option<String>, others: &Option<String>| {
        own.as_ref().or(others.as_ref()).map(|file| config.root.join(file))
    };
    match kind {
        StoreKind::Postgres => {
            let section = settings.postgres.as_ref().ok_or_else(missing)?;
            let shard = section.shards.iter().find(|shard| shard.name == name).ok_or_else(missing)?;
            let app = place(config, kind, name, &key("url"), &shard.url);
            let (app, direct) = if shard.direct_url.is_empty() {
                let app = app?;
                (app.clone(), behind_pooler(app))
            } else {
                let direct = place(config, kind, name, &key("direct_url"), &shard.direct_url)?;
                (if shard.url.is_empty() { direct.clone() } else { app? }, direct)
            };
            Ok(Target {
                kind,
                app,
                direct,
                namespace: section.schema.clone(),
                ca_file: ca(&shard.ca_file, &section.ca_file),
                allows_pooler: false,
                tenant: String::new(),
            })
        }
        StoreKind::Mongodb => {
            let section = settings.mongodb.as_ref().ok_or_else(missing)?;
            let shard = section.shards.iter().find(|shard| shard.name == name).ok_or_else(missing)?;
            let app = place(config, kind, name, &key("url"), &shard.url)?;
            let named = shard.database.clone().or_else(|| section.database.clone());
            let home = || url::parse(kind, &section.url).ok()?.database().map(str::to_owned);
            let named = named.or_else(|| app.url.database().map(str::to_owned)).or_else(home);
            let namespace = named.ok_or_else(|| {
                Error::new(Code::ConfigValue, format!("the database of MongoDB's shard `{name}` is not named"))
                    .why("neither `database` nor the path of its URL names one")
                    .hint("add `database = \"NAME\"` to [mongodb] in lyrox.toml")
            })?;
            Ok(Target {
                kind,
                direct: app.clone(),
                app,
                namespace,
                ca_file: ca(&shard.ca_file, &section.ca_file),
                allows_pooler: false,
                tenant: String::new(),
            })
        }
        StoreKind::Redis => Err(missing()),
    }
}

fn place(config: &Config, kind: StoreKind, name: &str, key: &str, text: &str) -> Result<Endpoint> {
    if !text.is_empty() {
        return endpoint(config, kind, key, text, None);
    }
    let variable = config.unset.iter().find(|(path, _)| path == key);
    let variable = variable.map_or_else(|| format!("`{key}`"), |(_, variable)| variable.clone());
    Err(Error::new(Code::UrlUnset, format!("shard `{name}` of {} has no URL: {variable} is not set", kind.title()))
        .why("local servers stand for the project's own only")
        .hint(format!("set {variable} in the environment or in .env")))
}

/// Refuses lists that cannot be meant.
///
/// # Errors
/// `LYX-CONFIG-VALUE`.
pub fn check(settings: &Settings, shown: &str) -> Result<()> {
    let refused = |what: String, why: String, hint: &str| {
        Err(Error::new(Code::ConfigValue, what).why(why).data("nothing was contacted").hint(hint))
    };
    let model = settings.tenancy.as_ref().map(|tenancy| tenancy.model);
    let mut all = BTreeSet::new();
    for kind in [StoreKind::Postgres, StoreKind::Mongodb] {
        let shards = candidates(settings, kind);
        if let (Some(shard), None) = (shards.first(), model) {
            return refused(
                format!("`{shown}` has shards of {} and no tenants", kind.title()),
                format!("shard `{}` would hold tenants, and there is no section [tenancy]", shard.name),
                "add [tenancy], or leave the shards out",
            );
        }
        let mut seen = BTreeSet::new();
        for shard in &shards {
            if !is_name(&shard.name) || RESERVED.contains(&shard.name.as_str()) {
                return refused(
                    format!(
                        "a shard of {} cannot have the name `{}`",
                        kind.title(),
                        crate::engine::tenant::shown(&shard.name)
                    ),
                    format!(
                        "it begins with a small letter and has up to {NAME_LENGTH} small letters, digits, `-` and `_`; `fewest`, `hash` and `all` mean something else"
                    ),
                    "give it another name",
                );
            }
            if !seen.insert(shard.name.clone()) {
                return refused(
                    format!("{} has two shards `{}`", kind.title(), shard.name),
                    "tenants are remembered by the shard's name".into(),
                    "give one of them another name",
                );
            }
        }
        for (name, texts) in urls(settings, kind) {
            if name == HOME && texts.iter().any(|text| !text.is_empty()) {
                return refused(
                    format!("shard `{HOME}` of {} has a URL", kind.title()),
                    format!("it is the project's own server, whose URL stands under [{kind}]"),
                    "leave the URL out, or give the shard another name",
                );
            }
        }
        same_server(settings, kind, model.unwrap_or_default(), &mut |one, other| {
            refused(
                format!("shards `{one}` and `{other}` of {} are the same place", kind.title()),
                "a tenant there would be on both".into(),
                "give each its own server, or leave one out",
            )
        })?;
        all.extend(seen);
    }
    let placement = settings.tenancy.as_ref().map(|tenancy| tenancy.placement.as_str()).unwrap_or("fewest");
    if !matches!(placement, "fewest" | "hash" | HOME) && !all.contains(placement) {
        return refused(
            format!("`placement` under [tenancy] cannot be `{}`", crate::engine::tenant::shown(placement)),
            "it is no policy, and no shard has that name".into(),
            "fewest, hash, home, or the name of a shard",
        );
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_LENGTH
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-'))
}

/// The texts of the URLs of each shard.
fn urls(settings: &Settings, kind: StoreKind) -> Vec<(&str, Vec<&str>)> {
    match kind {
        StoreKind::Postgres => {
            let shards = settings.postgres.iter().flat_map(|section| &section.shards);
            shards.map(|shard| (shard.name.as_str(), vec![shard.direct_url.as_str(), shard.url.as_str()])).collect()
        }
        StoreKind::Mongodb => {
            let shards = settings.mongodb.iter().flat_map(|section| &section.shards);
            shards.map(|shard| (shard.name.as_str(), vec![shard.url.as_str()])).collect()
        }
        StoreKind::Redis => Vec::new(),
    }
}

/// Calls `refuse` with two shards that are plainly one place. Two names of one machine are not seen here.
fn same_server(
    settings: &Settings,
    kind: StoreKind,
    model: TenancyModel,
    refuse: &mut dyn FnMut(&str, &str) -> Result<()>,
) -> Result<()> {
    let home = match kind {
        StoreKind::Postgres => {
            settings.postgres.as_ref().map(|section| vec![section.direct_url.as_str(), section.url.as_str()])
        }
        _ => settings.mongodb.as_ref().map(|section| vec![section.url.as_str()]),
    };
    let databases = |name: &str| {
        let section = settings.mongodb.as_ref()?;
        let own = section.shards.iter().find(|shard| shard.name == name).and_then(|shard| shard.database.clone());
        own.or_else(|| section.database.clone())
    };
    let mut known: Vec<(String, String)> = Vec::new();
    let listed = urls(settings, kind).into_iter().filter(|(name, _)| *name != HOME);
    for (name, texts) in home.map(|texts| (HOME, texts)).into_iter().chain(listed) {
        let Some(url) = texts.into_iter().find_map(|text| url::parse(kind, text).ok()) else { continue };
        let named = if kind == StoreKind::Mongodb { databases(name) } else { None };
        let database = named.or_else(|| url.database().map(str::to_owned)).unwrap_or_default();
        // Databases of tenants are the whole server's.
        let is_by_database = match kind {
            StoreKind::Postgres => model != TenancyModel::Database,
            _ => model == TenancyModel::Row,
        };
        let place = if is_by_database { format!("{}/{database}", url.authority()) } else { url.authority() };
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == place) {
            refuse(other, name)?;
        }
        known.push((name.to_owned(), place));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str) -> std::result::Result<(), String> {
        let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
        check(&settings, "lyrox.toml").map_err(|error| error.what().to_owned())
    }

    #[test]
    fn a_list_of_shards_is_refused_where_it_cannot_be_meant() {
        let shard = |name: &str, url: &str| format!("[[postgres.shards]]\nname = \"{name}\"\nurl = \"{url}\"\n");
        let tenancy = |placement: &str| format!("[tenancy]\nmodel = \"schema\"\nplacement = \"{placement}\"\n");
        let (one, other) = ("postgres://h/one", "postgres://h/two");
        let both = shard("eu", one) + &shard("us", other);
        assert_eq!(judged(&(both.clone() + &tenancy("us"))), Ok(()));
        assert_eq!(judged(&(both.clone() + "[tenancy]\n")), Ok(()));
        for (text, word) in [
            (both.clone(), "no tenants"),
            (both.clone() + &tenancy("asia"), "placement"),
            (shard("eu", one) + &shard("eu", other) + &tenancy("hash"), "two shards"),
            (shard("eu", one) + &shard("us", one) + &tenancy("hash"), "the same place"),
            (both + "[tenancy]\nmodel = \"database\"\n", "the same place"),
            (shard("EU", one) + &tenancy("hash"), "cannot have the name"),
            (shard("all", one) + &tenancy("hash"), "cannot have the name"),
            (shard("home", one) + &tenancy("hash"), "has a URL"),
            (format!("[postgres]\nurl = \"{one}\"\n") + &shard("eu", one) + &tenancy("hash"), "the same place"),
        ] {
            let error = judged(&text).expect_err(&text);
            assert!(error.contains(word), "{error}: {text}");
        }
    }

    #[test]
    fn shards_of_mongodb_are_told_apart_by_server_and_in_shared_collections_by_database() {
        let text = |model: &str, database: &str| {
            format!(
                "[mongodb]\nurl = \"mongodb://h\"\ndatabase = \"a\"\n[[mongodb.shards]]\nname = \"eu\"\nurl = \"mongodb://h\"\n\
                 database = \"{database}\"\n[tenancy]\nmodel = \"{model}\"\n"
            )
        };
        assert_eq!(judged(&text("row", "b")), Ok(()));
        assert!(judged(&text("row", "a")).is_err());
        assert!(judged(&text("schema", "b")).is_err());
    }
}
