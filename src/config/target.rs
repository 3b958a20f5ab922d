//! Which servers a command works on: a URL per store, where it came from, and how far it may go.

use std::path::PathBuf;

use super::file::{Mongodb, Postgres, Redis};
use super::{Config, LOCAL, Origin, Skip, sources};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::url::{self, SecretUrl, TlsMode};

/// A URL in force and where it came from.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The URL.
    pub url: SecretUrl,
    /// Where it came from.
    pub origin: Origin,
}

impl Endpoint {
    /// The command that takes this URL apart.
    pub fn inspect(&self) -> String {
        match self.origin.variable() {
            Some(variable) => format!("lyrox url inspect --env {variable}"),
            None => "lyrox url inspect".to_owned(),
        }
    }
}

/// One store of the project in this environment.
#[derive(Clone, Debug)]
pub struct Target {
    /// The kind of store.
    pub kind: StoreKind,
    /// What the application uses.
    pub app: Endpoint,
    /// What lyrox works through: PostgreSQL's `direct_url`; elsewhere the same.
    pub direct: Endpoint,
    /// PostgreSQL: the schema. MongoDB: the database. Redis: the key prefix.
    pub namespace: String,
    /// An additional certificate authority, absolute or relative to the working directory.
    pub ca_file: Option<PathBuf>,
    /// A transaction pooler may be in the way: `--allow-pooler`.
    pub allows_pooler: bool,
    /// The key of the tenant whose rows of a shared ledger are meant; empty: the project's own.
    pub tenant: String,
}

/// The stores of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// The stores that have a URL.
    pub stores: Vec<Target>,
    /// Optional stores that have none: the kind and the reason.
    pub absent: Vec<(StoreKind, String)>,
}

/// The URLs of the running local servers.
#[derive(Clone, Debug, Default)]
pub struct LocalUrls {
    /// PostgreSQL as the application role.
    pub postgres: Option<String>,
    /// PostgreSQL as the owner.
    pub postgres_direct: Option<String>,
    /// MongoDB.
    pub mongodb: Option<String>,
    /// Redis.
    pub redis: Option<String>,
}

impl Targets {
    /// Resolves every store of the project. `local` are the running local servers; they serve only
    /// the environment `local`, and only stores whose URL is not set.
    ///
    /// # Errors
    /// `LYX-URL-UNSET` naming the variable, `LYX-URL-INVALID`, or a bad value.
    pub fn resolve(config: &Config, only: &[StoreKind], local: &LocalUrls) -> Result<Self> {
        let mut targets = Self::default();
        for kind in config.stores() {
            if !only.is_empty() && !only.contains(&kind) {
                continue;
            }
            match target(config, kind, local) {
                Ok(target) => targets.stores.push(target),
                Err(error) if error.code() == Code::UrlUnset && is_optional(config, kind) => {
                    targets.absent.push((kind, error.what().to_owned()));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(missing) = only.iter().find(|kind| !config.stores().contains(kind)) {
            return Err(Error::new(Code::Usage, format!("the project has no {missing}"))
                .why(format!("lyrox.toml has no section `[{missing}]`"))
                .hint(format!("leave `{missing}` out of --only, or add the section")));
        }
        Ok(targets)
    }

    /// Refuses URLs that give up the verification of a remote server.
    ///
    /// # Errors
    /// `LYX-URL-UNVERIFIED` naming the store, where the URL is from, and what in it says so.
    pub fn are_verified(&self) -> Result<()> {
        for endpoint in self.stores.iter().flat_map(|target| [&target.direct, &target.app]) {
            let url = &endpoint.url;
            if url.tls() == TlsMode::Unverified && !url.is_local() {
                let what = match url.kind() {
                    StoreKind::Postgres => "`sslmode=no-verify`",
                    StoreKind::Mongodb if url.option("tlsInsecure").is_some() => "`tlsInsecure=true`",
                    StoreKind::Mongodb => "`tlsAllowInvalidCertificates=true`",
                    StoreKind::Redis => "`#insecure`",
                };
                return Err(Error::new(
                    Code::UrlUnverified,
                    format!("the URL of {} gives up the verification of `{}`", url.kind().title(), url.host().name),
                )
                .why(format!("it says {what} ({})", endpoint.origin))
                .data("nothing was contacted")
                .hint(format!(
                    "name the authority with `ca_file` under [{}] and take {what} out; --insecure-tls accepts it",
                    url.kind()
                )));
            }
        }
        Ok(())
    }

    /// The target of a kind, if the run has it.
    pub fn get(&self, kind: StoreKind) -> Option<&Target> {
        self.stores.iter().find(|target| target.kind == kind)
    }

    /// Whether every store is on this machine.
    pub fn is_local(&self) -> bool {
        self.stores.iter().all(|target| target.direct.url.is_local() && target.app.url.is_local())
    }
}

/// Whether the project runs without this store.
pub fn is_optional(config: &Config, kind: StoreKind) -> bool {
    let settings = &config.settings;
    match kind {
        StoreKind::Postgres => settings.postgres.as_ref().is_some_and(|section| section.optional),
        StoreKind::Mongodb => settings.mongodb.as_ref().is_some_and(|section| section.optional),
        StoreKind::Redis => settings.redis.as_ref().is_some_and(|section| section.optional),
    }
}

fn target(config: &Config, kind: StoreKind, local: &LocalUrls) -> Result<Target> {
    let settings = &config.settings;
    let ca = |file: &Option<String>| file.as_ref().map(|file| config.root.join(file));
    match kind {
        StoreKind::Postgres => {
            let section: &Postgres = settings.postgres.as_ref().ok_or_else(|| Error::bug("no postgres section"))?;
            let app = endpoint(config, kind, "postgres.url", &section.url, local.postgres.as_deref());
            let has = |key: &str, text: &str| !text.is_empty() || sources::of(settings, key) != (None, &[]);
            let (has_url, has_direct) =
                (has("postgres.url", &section.url), has("postgres.direct_url", &section.direct_url));
            let given = (has_direct || !has_url).then(|| {
                endpoint(config, kind, "postgres.direct_url", &section.direct_url, local.postgres_direct.as_deref())
            });
            let (app, direct) = match (app, given) {
                (Ok(app), None) => (app.clone(), behind_pooler(app)),
                (Ok(app), Some(Ok(direct))) => (app, direct),
                (Err(error), Some(Ok(direct))) if has_direct && error.code() == Code::UrlUnset => {
                    (direct.clone(), direct)
                }
                (Err(error), _) | (_, Some(Err(error))) => return Err(error),
            };
            Ok(Target {
                kind,
                app,
                direct,
                namespace: section.schema.clone(),
                ca_file: ca(&section.ca_file),
                allows_pooler: false,
                tenant: String::new(),
            })
        }
        StoreKind::Mongodb => {
            let section: &Mongodb = settings.mongodb.as_ref().ok_or_else(|| Error::bug("no mongodb section"))?;
            let app = endpoint(config, kind, "mongodb.url", &section.url, local.mongodb.as_deref())?;
            let named = section.database.clone().or_else(|| app.url.database().map(str::to_owned));
            let namespace = named.ok_or_else(|| {
                Error::new(Code::ConfigValue, "MongoDB's database is not named")
                    .why("neither `[mongodb] database` nor the path of the URL names one")
                    .hint("add `database = \"NAME\"` to [mongodb] in lyrox.toml")
            })?;
            Ok(Target {
                kind,
                direct: app.clone(),
                app,
                namespace,
                ca_file: ca(&section.ca_file),
                allows_pooler: false,
                tenant: String::new(),
            })
        }
        StoreKind::Redis => {
            let section: &Redis = settings.redis.as_ref().ok_or_else(|| Error::bug("no redis section"))?;
            let app = endpoint(config, kind, "redis.url", &section.url, local.redis.as_deref())?;
            Ok(Target {
                kind,
                direct: app.clone(),
                app,
                namespace: config.key_prefix(),
                ca_file: ca(&section.ca_file),
                allows_pooler: false,
                tenant: String::new(),
            })
        }
    }
}

/// The server behind a provider's transaction pooler, where the pooler's address tells it and no direct
/// address is configured.
pub(super) fn behind_pooler(app: Endpoint) -> Endpoint {
    match url::provider::direct(&app.url) {
        Some(url) => Endpoint { url, origin: Origin::Derived(Box::new(app.origin)) },
        None => app,
    }
}

pub(super) fn endpoint(
    config: &Config,
    kind: StoreKind,
    key: &str,
    text: &str,
    local: Option<&str>,
) -> Result<Endpoint> {
    if let Some((text, origin)) = config.sources.get(&config.root, &config.settings, key)? {
        let url = url::parse(kind, &text).map_err(|error| {
            let why = format!("{} ({origin})", error.why_text().unwrap_or("it is no URL"));
            error.why(why)
        })?;
        return Ok(Endpoint { url, origin });
    }
    if !text.is_empty() {
        let origin =
            config.origins.iter().find(|(path, _)| path == key).map_or(Origin::File, |(_, origin)| origin.clone());
        let url = url::parse(kind, text).map_err(|error| {
            let why = format!("{} ({origin})", error.why_text().unwrap_or("it is no URL"));
            error.why(why)
        })?;
        return Ok(Endpoint { url, origin });
    }
    if config.environment == LOCAL
        && let Some(local) = local
    {
        return Ok(Endpoint { url: url::parse(kind, local)?, origin: Origin::Local });
    }
    let variable = variable(config, key);
    let (what, mut why, file) = if config.environment == LOCAL {
        (format!("{kind} has no URL: {variable} is not set, and no local server is running"), Vec::new(), ".env".into())
    } else {
        let why = format!("environment `{}` does not use local servers", config.environment);
        (format!("{kind} has no URL: {variable} is not set"), vec![why], format!(".env.{}", config.environment))
    };
    let mut hint = match config.environment.as_str() {
        LOCAL => format!("lyrox up, or set {variable} in the environment or in .env"),
        _ => format!("set {variable} in the environment or in {file}"),
    };
    // A variable that is set under another of the names it goes by.
    let other = sources::KEYS.iter().find(|(name, ..)| *name == key).and_then(|(_, names, ways)| {
        let name = names.iter().find(|name| **name != variable && config.variables.get(name).is_some())?;
        Some((*name, ways[0], key.split('.').next().unwrap_or("")))
    });
    if let Some((name, way, section)) = other {
        why.push(format!("{name} is set, but lyrox.toml names {variable}"));
        hint = format!("write `{way} = \"${{{name}}}\"` under [{section}], or set {variable}");
    }
    match config.variables.skipped() {
        Some(Skip::Ci) => {
            why.push("CI is set, so that the .env files of the project were not read".to_owned());
            hint = format!("set {variable} in the environment, or have a file read with --env-file {file}");
        }
        Some(Skip::Flag) => why.push("--no-env-file: the .env files of the project were not read".to_owned()),
        None => {}
    }
    let error = Error::new(Code::UrlUnset, what).hint(hint);
    Err(if why.is_empty() { error } else { error.why(why.join("; ")) })
}

/// The variable whose absence leaves the key without a value, whichever way the key is written.
fn variable(config: &Config, key: &str) -> String {
    let is_way = |path: &str| path == key || path == format!("{key}_file");
    let unset = config.unset.iter().find(|(path, _)| is_way(path));
    unset.map_or_else(|| format!("`{key}`"), |(_, variable)| variable.clone())
}
