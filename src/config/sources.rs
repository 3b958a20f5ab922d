//! Where a store's URL may come from besides `lyrox.toml` itself: variables under the names that people and
//! providers give them, a file, a command. A command runs once a process, and only when its URL is needed.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::file::Settings;
use super::variables::Origin;
use crate::error::{Code, Error, Result};

/// The keys of URLs: the variables that hold one unless `lyrox.toml` says otherwise, the usual one first, and the
/// ways in which the key is written.
pub const KEYS: &[(&str, &[&str], &[&str])] = &[
    (
        "postgres.url",
        &["DATABASE_URL", "POSTGRES_URL", "POSTGRESQL_URL", "POSTGRES_PRISMA_URL", "PG_URL", "POSTGRES_URI"],
        &["url", "url_file", "url_command"],
    ),
    (
        "postgres.direct_url",
        &[
            "DIRECT_URL",
            "DATABASE_DIRECT_URL",
            "DIRECT_DATABASE_URL",
            "DATABASE_URL_UNPOOLED",
            "DATABASE_URL_NON_POOLING",
            "POSTGRES_URL_NON_POOLING",
            "POSTGRES_DIRECT_URL",
        ],
        &["direct_url", "direct_url_file", "direct_url_command"],
    ),
    (
        "mongodb.url",
        &["MONGODB_URI", "MONGO_URI", "MONGODB_URL", "MONGO_URL", "MONGO_CONNECTION_STRING"],
        &["url", "url_file", "url_command"],
    ),
    (
        "redis.url",
        &["REDIS_URL", "KV_URL", "REDIS_URI", "REDIS_TLS_URL", "VALKEY_URL", "UPSTASH_REDIS_URL"],
        &["url", "url_file", "url_command"],
    ),
];

/// How long a command may take: a person may have to unlock a vault.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a file or a command may hold at most.
const LONGEST: u64 = 64 * 1024;

/// The URLs that files and commands gave; clones share them.
#[derive(Clone, Default)]
pub struct Sources(Arc<Mutex<BTreeMap<String, String>>>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Sources")
    }
}

/// The other ways in which a key of a URL is given: its file, its command.
pub fn of<'a>(settings: &'a Settings, key: &str) -> (Option<&'a str>, &'a [String]) {
    let (postgres, mongodb, redis) = (&settings.postgres, &settings.mongodb, &settings.redis);
    let found = match key {
        "postgres.url" => postgres.as_ref().map(|section| (&section.url_file, &section.url_command)),
        "postgres.direct_url" => {
            postgres.as_ref().map(|section| (&section.direct_url_file, &section.direct_url_command))
        }
        "mongodb.url" => mongodb.as_ref().map(|section| (&section.url_file, &section.url_command)),
        "redis.url" => redis.as_ref().map(|section| (&section.url_file, &section.url_command)),
        _ => None,
    };
    found.map_or((None, &[]), |(file, command)| (file.as_deref(), command.as_slice()))
}

/// Refuses a key that is given in two ways at once.
///
/// # Errors
/// `LYX-CONFIG-VALUE`.
pub fn check(settings: &Settings, shown: &str) -> Result<()> {
    let text = |key: &str| match key {
        "postgres.url" => settings.postgres.as_ref().map(|section| &section.url),
        "postgres.direct_url" => settings.postgres.as_ref().map(|section| &section.direct_url),
        "mongodb.url" => settings.mongodb.as_ref().map(|section| &section.url),
        _ => settings.redis.as_ref().map(|section| &section.url),
    };
    for (key, _, ways) in KEYS {
        let (file, command) = of(settings, key);
        let given = [text(key).is_some_and(|text| !text.is_empty()), file.is_some(), !command.is_empty()];
        let named: Vec<&str> = ways.iter().zip(given).filter(|(_, is_given)| *is_given).map(|(way, _)| *way).collect();
        if named.len() > 1 {
            let section = key.split('.').next().unwrap_or("");
            return Err(Error::new(Code::ConfigValue, format!("`{shown}` gives one URL in two ways"))
                .why(format!("[{section}] has `{}`", named.join("` and `")))
                .data("nothing was contacted")
                .hint(format!("keep one of them: `{}`", named[0])));
        }
    }
    Ok(())
}

impl Sources {
    /// The URL that a file or a command gives; none where the key has neither.
    ///
    /// # Errors
    /// `LYX-SECRET`: no file, no program, an end with an error, nothing or more than one line, no answer in time.
    pub fn get(&self, root: &Path, settings: &Settings, key: &str) -> Result<Option<(String, Origin)>> {
        let (file, command) = of(settings, key);
        let origin = match (file, command.first()) {
            (Some(file), _) => Origin::Secret(file.to_owned()),
            (None, Some(program)) => Origin::Command(program.clone()),
            (None, None) => return Ok(None),
        };
        let broken = || Error::bug("the table of secrets");
        let mut known = self.0.lock().map_err(|_| broken())?;
        if let Some(text) = known.get(key) {
            return Ok(Some((text.clone(), origin)));
        }
        let text = match file {
            Some(file) => from_file(root, file, key)?,
            None => from_command(root, command, key)?,
        };
        known.insert(key.to_owned(), text.clone());
        Ok(Some((text, origin)))
    }
}

fn failed(key: &str, way: &str, why: impl Into<String>) -> Error {
    Error::new(Code::Secret, format!("`{key}_{way}` gives no URL")).why(why).data("nothing was contacted")
}

/// One line, without its end. The text itself is never shown.
fn one_line(bytes: Vec<u8>) -> Result<String, &'static str> {
    let text = String::from_utf8(bytes).map_err(|_| "what it gives is no UTF-8")?;
    let text = text.trim_start_matches('\u{feff}').trim();
    match text.lines().count() {
        0 => Err("it gives nothing"),
        1 => Ok(text.to_owned()),
        _ => Err("it gives more than one line; a URL is one"),
    }
}

fn from_file(root: &Path, file: &str, key: &str) -> Result<String> {
    let path = root.join(file);
    let hint = format!("write the URL, and nothing else, to `{file}`");
    let read = std::fs::File::open(&path).and_then(|opened| {
        let mut bytes = Vec::new();
        opened.take(LONGEST).read_to_end(&mut bytes).map(|_| bytes)
    });
    let bytes = read.map_err(|error| failed(key, "file", format!("`{file}` cannot be read: {error}")).hint(&hint))?;
    one_line(bytes).map_err(|why| failed(key, "file", format!("`{file}`: {why}")).hint(&hint))
}

fn from_command(root: &Path, command: &[String], key: &str) -> Result<String> {
    let (program, arguments) = command.split_first().ok_or_else(|| Error::bug("an empty command"))?;
    let failed = |why: String| {
        failed(key, "command", why).hint(format!("run it by hand: `{program}` has to print the URL and nothing else"))
    };
    // It may ask on the terminal; what it says there is its own.
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("`{program}` cannot be started: {error}")))?;
    let mut output = child.stdout.take().ok_or_else(|| Error::bug("a command without output"))?.take(LONGEST);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        output.read_to_end(&mut bytes).map(|_| bytes)
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(failed(format!("`{program}` did not end within {} s", PATIENCE.as_secs())));
            }
            Err(error) => return Err(failed(format!("`{program}`: {error}"))),
        }
    };
    if !status.success() {
        let how = status.code().map_or_else(|| "a signal ended it".to_owned(), |code| format!("it ended with {code}"));
        return Err(failed(format!("`{program}`: {how}")));
    }
    let bytes = match reader.join() {
        Ok(Ok(bytes)) => bytes,
        _ => return Err(failed(format!("`{program}`: its output cannot be read"))),
    };
    one_line(bytes).map_err(|why| failed(format!("`{program}`: {why}")))
}
