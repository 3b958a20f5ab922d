//! Finds and reads `lyrox.toml`: parse with places, lay the environment over it, fill variables in.

use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use toml::Table;

use super::file::Settings;
use super::sources::Sources;
use super::variables::{EnvFiles, Filled, Origin, Variables, fill};
use super::{Config, FILE_NAME, LOCAL, sources};
use crate::error::{Code, Error, Place, Result};

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// `-C`: where to start looking.
    pub directory: Option<PathBuf>,
    /// `--config`: the file itself.
    pub file: Option<PathBuf>,
    /// `-e`: the environment.
    pub environment: Option<String>,
    /// `--env-file`, `--no-env-file`.
    pub env_files: EnvFiles,
}

/// One value in force, for `config show`.
#[derive(Clone, Debug)]
pub struct Value {
    /// The key's path: `postgres.schema`.
    pub key: String,
    /// The value as TOML; secrets are already replaced.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Loads the configuration.
///
/// # Errors
/// `LYX-CONFIG-*`: no file, not TOML, unknown key (with the nearest known one and its line), bad value.
pub fn load(choice: &Choice) -> Result<Config> {
    let file = find(choice)?;
    let shown = file.file_name().map_or_else(|| FILE_NAME.to_owned(), |name| name.to_string_lossy().into_owned());
    let text = read_text(&file, &shown)?;
    from_text(file, &text, choice)
}

/// Makes the configuration of a text that stands, or is to stand, in a file.
///
/// # Errors
/// As [`load`], for what the text says.
pub fn from_text(file: PathBuf, text: &str, choice: &Choice) -> Result<Config> {
    let root = file.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf();
    let shown = file.file_name().map_or_else(|| FILE_NAME.to_owned(), |name| name.to_string_lossy().into_owned());
    let (base, typed) = parse(text, &shown)?;

    let environment = choice.environment.clone().unwrap_or_else(|| LOCAL.to_owned());
    let named = typed.env.get(&environment);
    if environment != LOCAL && named.is_none() {
        let known: Vec<&str> = typed.env.keys().map(String::as_str).collect();
        return Err(Error::new(Code::ConfigEnvironment, format!("`{shown}` has no section `[env.{environment}]`"))
            .why(if known.is_empty() {
                "it names no environments".to_owned()
            } else {
                format!("it names {}", known.join(", "))
            })
            .hint(match near(&environment, &known) {
                Some(near) => format!("did you mean -e {near}?"),
                None => format!("add `[env.{environment}]` to {shown}, or leave -e out for `{LOCAL}`"),
            }));
    }
    let is_protected = named.is_some_and(|named| named.protected);
    let allowed_seeds = named.and_then(|named| named.seeds.clone());

    let mut merged = base.clone();
    merged.remove("env");
    if let Some(toml::Value::Table(over)) = base.get("env").and_then(|envs| envs.get(&environment)) {
        let mut over = over.clone();
        over.remove("protected");
        over.remove("seeds");
        merge(&mut merged, over);
    }
    let variables = Variables::read_with(&root, &environment, &choice.env_files)?;
    with_default_urls(&mut merged, &variables);
    let mut unset = Vec::new();
    let mut origins = Vec::new();
    fill_table(&mut merged, "", &variables, &mut unset, &mut origins, &shown)?;
    let mut settings = Settings::deserialize(merged).map_err(|error| {
        Error::new(Code::ConfigValue, format!("`{shown}` cannot be used")).why(error.message().to_owned())
    })?;
    unset_urls(&mut settings);
    sources::check(&settings, &shown)?;
    super::format::check(&settings, &shown)?;
    super::shards::check(&settings, &shown)?;
    settings.env = typed.env;
    if settings.project.name.is_empty() {
        let folder =
            root.canonicalize().ok().and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()));
        settings.project.name = folder.unwrap_or_else(|| "app".into());
    }
    let agent = super::agent::agent();
    Ok(Config {
        root,
        file,
        settings,
        environment,
        is_protected,
        allowed_seeds,
        agent,
        variables,
        unset,
        origins,
        sources: Sources::default(),
    })
}

fn find(choice: &Choice) -> Result<PathBuf> {
    let start = match &choice.directory {
        Some(directory) => {
            if !directory.is_dir() {
                return Err(Error::new(Code::FileMissing, format!("`{}` is no folder", directory.display()))
                    .hint("-C names the folder to work in"));
            }
            directory.clone()
        }
        None => PathBuf::from("."),
    };
    if let Some(file) = &choice.file {
        let file = start.join(file);
        return if file.is_file() {
            Ok(file)
        } else {
            Err(Error::new(Code::ConfigMissing, format!("`{}` is no file", file.display()))
                .hint("--config names the file to read"))
        };
    }
    let absolute = start
        .canonicalize()
        .map_err(|error| Error::new(Code::FileKind, "the working directory cannot be read").why(error.to_string()))?;
    for (depth, folder) in absolute.ancestors().enumerate() {
        let candidate = folder.join(FILE_NAME);
        if candidate.is_file() {
            // Relative while it can be: it is what people typed.
            return Ok(if depth == 0 { start.join(FILE_NAME) } else { candidate });
        }
    }
    Err(Error::new(Code::ConfigMissing, format!("no `{FILE_NAME}` here or above")).hint("lyrox init writes one"))
}

fn read_text(file: &Path, shown: &str) -> Result<String> {
    let bytes = std::fs::read(file)
        .map_err(|error| Error::new(Code::FileKind, format!("cannot read `{shown}`")).why(error.to_string()))?;
    String::from_utf8(bytes).map_err(|error| {
        Error::new(Code::FileEncoding, format!("`{shown}` is not valid UTF-8"))
            .why(format!("byte {} is not", error.utf8_error().valid_up_to() + 1))
    })
}

fn parse(text: &str, shown: &str) -> Result<(Table, Settings)> {
    let place = |error: &toml::de::Error| match error.span() {
        Some(span) => {
            Place::at_offset(shown, text, span.start, text.get(span.clone()).map_or(1, |t| t.chars().count().min(40)))
        }
        None => Place::file(shown),
    };
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        Error::new(Code::ConfigSyntax, format!("`{shown}` is not valid TOML"))
            .why(error.message().replace('\n', ", "))
            .at(place(&error))
            .data("nothing was contacted")
    })?;
    let typed: Settings = toml::from_str(text).map_err(|error: toml::de::Error| {
        let message = error.message().replace('\n', ", ");
        match unknown_field(&message) {
            Some((field, nearest)) => {
                let error = Error::new(Code::ConfigKey, format!("`{shown}` has an unknown key `{field}`"))
                    .at(place(&error))
                    .data("nothing was contacted");
                match nearest {
                    Some(nearest) => error.hint(format!("did you mean `{nearest}`?")),
                    None => error.hint("config.example.toml lists every key"),
                }
            }
            None => Error::new(Code::ConfigValue, format!("`{shown}` holds a value that cannot be used"))
                .why(message)
                .at(place(&error))
                .data("nothing was contacted"),
        }
    })?;
    Ok((table, typed))
}

/// The name that is meant, where a few letters of it are others.
fn near<'n>(typed: &str, names: &[&'n str]) -> Option<&'n str> {
    let distance = |name: &&&str| strsim::damerau_levenshtein(name, typed);
    names.iter().filter(|name| distance(name) * 3 <= typed.len().max(name.len())).min_by_key(distance).copied()
}

/// Takes serde's "unknown field" message apart: the field, and the nearest of the expected ones.
pub(crate) fn unknown_field(message: &str) -> Option<(String, Option<String>)> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    let field = names.next()?.to_owned();
    let nearest = names
        .map(|name| (strsim::damerau_levenshtein(name, &field), name))
        .filter(|(distance, name)| *distance <= name.len().max(field.len()) / 2)
        .min()
        .map(|(_, name)| name.to_owned());
    Some((field, nearest))
}

fn merge(base: &mut Table, over: Table) {
    // A URL that the environment names in one way is not the one that the section above names in another.
    for ways in sources::KEYS.iter().map(|(_, _, ways)| ways) {
        if ways.iter().any(|way| over.contains_key(*way)) {
            for way in ways.iter() {
                base.remove(*way);
            }
        }
    }
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(base)), toml::Value::Table(over)) => merge(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// Writes the default URLs out, so that they are filled in like given ones. Where the usual variable is not set,
/// the first is taken of the names that providers give it.
fn with_default_urls(table: &mut Table, variables: &Variables) {
    for (key, names, ways) in sources::KEYS {
        let Some((section, _)) = key.split_once('.') else { continue };
        if let Some(toml::Value::Table(section)) = table.get_mut(section)
            && !ways.iter().any(|way| section.contains_key(*way))
        {
            let name = names.iter().find(|name| variables.get(name).is_some()).unwrap_or(&names[0]);
            section.insert(ways[0].to_owned(), toml::Value::String(format!("${{{name}}}")));
        }
    }
}

/// A URL whose variable is unset was removed; its default must not bring the `${...}` text back.
fn unset_urls(settings: &mut Settings) {
    let clear = |text: &mut String| {
        if text.starts_with("${") {
            text.clear();
        }
    };
    if let Some(postgres) = &mut settings.postgres {
        clear(&mut postgres.url);
        clear(&mut postgres.direct_url);
    }
    if let Some(mongodb) = &mut settings.mongodb {
        clear(&mut mongodb.url);
    }
    if let Some(redis) = &mut settings.redis {
        clear(&mut redis.url);
    }
}

fn fill_table(
    table: &mut Table,
    path: &str,
    variables: &Variables,
    unset: &mut Vec<(String, String)>,
    origins: &mut Vec<(String, Origin)>,
    shown: &str,
) -> Result<()> {
    let mut remove = Vec::new();
    for (key, value) in table.iter_mut() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(inner) => fill_table(inner, &path, variables, unset, origins, shown)?,
            toml::Value::Array(items) if is_shards(&path) => {
                for inner in items.iter_mut().filter_map(toml::Value::as_table_mut) {
                    let path = format!("{path}.{}", shard_name(inner));
                    fill_table(inner, &path, variables, unset, origins, shown)?;
                }
            }
            toml::Value::String(text) if text.contains("${") => {
                let filled = fill(text, variables).map_err(|why| {
                    Error::new(Code::ConfigValue, format!("`{path}` in `{shown}` cannot be filled in")).why(why)
                })?;
                match filled {
                    Filled::Text(filled, origin) => {
                        *text = filled;
                        if let Some(origin) = origin {
                            origins.push((path, origin));
                        }
                    }
                    Filled::Unset(variable) => {
                        unset.push((path, variable));
                        remove.push(key.clone());
                    }
                }
            }
            _ => {}
        }
    }
    for key in remove {
        table.remove(&key);
    }
    Ok(())
}

/// Lists whose entries have a name: its keys are `postgres.shards.NAME.url`.
fn is_shards(path: &str) -> bool {
    matches!(path, "postgres.shards" | "mongodb.shards")
}

fn shard_name(shard: &Table) -> String {
    shard.get("name").and_then(toml::Value::as_str).unwrap_or_default().to_owned()
}

/// Every value in force, with where it came from; URLs as their labels only.
pub fn values(config: &Config) -> Vec<Value> {
    let text = std::fs::read_to_string(&config.file).unwrap_or_default();
    let mut table: Table = text.parse().unwrap_or_default();
    let over = table.remove("env").and_then(|envs| envs.get(&config.environment).cloned());
    if let Some(toml::Value::Table(over)) = over {
        merge(&mut table, over);
    }
    with_default_urls(&mut table, &config.variables);
    let given = text.parse::<Table>().unwrap_or_default();
    let mut result = Vec::new();
    collect(&table, "", &mut |key, value| {
        let is_written =
            lookup(&given, key).is_some() || lookup(&given, &format!("env.{}.{key}", config.environment)).is_some();
        let origin = match config.origins.iter().find(|(path, _)| path == key) {
            Some((_, origin)) => origin.clone(),
            None if is_written => Origin::File,
            None => Origin::Default,
        };
        let source = sources::KEYS.iter().any(|(path, _, ways)| {
            let section = path.split('.').next().unwrap_or("");
            ways[1..].iter().any(|way| key == format!("{section}.{way}"))
        });
        let text = match (config.unset.iter().find(|(path, _)| path == key), is_url_key(key)) {
            (Some((_, variable)), _) => format!("(not set: {variable})"),
            // The program alone: arguments may name what nobody else should know.
            (None, _) if source => value.as_array().and_then(|words| words.first()).unwrap_or(value).to_string(),
            (None, true) => url_label(config, key),
            (None, false) => match value {
                toml::Value::String(text) => match fill(text, &config.variables) {
                    Ok(Filled::Text(text, _)) => toml::Value::String(text).to_string(),
                    _ => value.to_string(),
                },
                other => other.to_string(),
            },
        };
        result.push(Value { key: key.to_owned(), text, origin });
    });
    result
}

/// The variable that a key of `lyrox.toml` stands for, where its whole text is one `${NAME}`; the
/// default counts as written.
pub fn variable(config: &Config, key: &str) -> Option<String> {
    let text = std::fs::read_to_string(&config.file).ok()?;
    let mut table: Table = text.parse().ok()?;
    if let Some(toml::Value::Table(over)) = table.remove("env").and_then(|envs| envs.get(&config.environment).cloned())
    {
        merge(&mut table, over);
    }
    with_default_urls(&mut table, &config.variables);
    let name = lookup(&table, key)?.as_str()?.strip_prefix("${")?.strip_suffix('}')?;
    (!name.contains(['$', '}'])).then(|| name.to_owned())
}

fn is_url_key(key: &str) -> bool {
    let is_of_shard = key.starts_with("postgres.shards.") || key.starts_with("mongodb.shards.");
    matches!(key, "postgres.url" | "postgres.direct_url" | "mongodb.url" | "redis.url")
        || (is_of_shard && (key.ends_with(".url") || key.ends_with(".direct_url")))
}

fn url_label(config: &Config, key: &str) -> String {
    use crate::kind::StoreKind;
    let settings = &config.settings;
    let mut parts = key.split('.').skip(2);
    let (shard, field) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let (kind, text) = match key {
        _ if key.starts_with("postgres.shards.") => {
            let shards = settings.postgres.iter().flat_map(|section| &section.shards);
            let shard = shards.into_iter().find(|known| known.name == shard);
            let url = shard.map(|known| if field == "url" { &known.url } else { &known.direct_url });
            (StoreKind::Postgres, url)
        }
        _ if key.starts_with("mongodb.shards.") => {
            let mut shards = settings.mongodb.iter().flat_map(|section| &section.shards);
            (StoreKind::Mongodb, shards.find(|known| known.name == shard).map(|known| &known.url))
        }
        "postgres.url" => (StoreKind::Postgres, settings.postgres.as_ref().map(|section| &section.url)),
        "postgres.direct_url" => (StoreKind::Postgres, settings.postgres.as_ref().map(|section| &section.direct_url)),
        "mongodb.url" => (StoreKind::Mongodb, settings.mongodb.as_ref().map(|section| &section.url)),
        _ => (StoreKind::Redis, settings.redis.as_ref().map(|section| &section.url)),
    };
    text.map_or_else(String::new, |text| match crate::url::parse(kind, text) {
        Ok(url) => url.label(),
        Err(_) => "(a URL that cannot be read)".into(),
    })
}

fn lookup<'a>(table: &'a Table, path: &str) -> Option<&'a toml::Value> {
    let mut value: Option<&toml::Value> = None;
    for part in path.split('.') {
        value = match value {
            None => table.get(part),
            Some(toml::Value::Array(items)) => {
                items.iter().find(|item| item.as_table().is_some_and(|item| shard_name(item) == part))
            }
            Some(value) => value.get(part),
        };
        value?;
    }
    value
}

fn collect(table: &Table, path: &str, each: &mut impl FnMut(&str, &toml::Value)) {
    for (key, value) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            toml::Value::Table(inner) => collect(inner, &path, each),
            toml::Value::Array(items) if is_shards(&path) => {
                for inner in items.iter().filter_map(toml::Value::as_table) {
                    collect(inner, &format!("{path}.{}", shard_name(inner)), each);
                }
            }
            other => each(&path, other),
        }
    }
}
