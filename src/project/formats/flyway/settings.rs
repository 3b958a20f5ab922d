//! What lyrox heeds of Flyway's own configuration: `flyway.toml`, `flyway.conf` and `conf/` of either.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Code, Error, Result};
use crate::project::text;

/// The files, the later ones over the earlier ones, as Flyway reads them.
pub const FILES: [&str; 6] =
    ["conf/flyway.conf", "flyway.conf", "conf/flyway.toml", "flyway.toml", "conf/flyway.user.toml", "flyway.user.toml"];

/// Flyway's settings, with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The history table.
    pub table: Option<String>,
    /// The schema of the history: `defaultSchema`, else the first of `schemas`.
    pub schema: Option<String>,
    /// The folders, relative to the project's root.
    pub locations: Vec<String>,
    /// What stands for placeholders, by name in lower case.
    pub placeholders: BTreeMap<String, String>,
    /// Placeholders are filled in.
    pub replaces: bool,
    /// What placeholders begin with.
    pub prefix: String,
    /// What placeholders end with.
    pub suffix: String,
    /// What the names of versioned, undo, baseline and repeatable migrations begin with.
    pub prefixes: [String; 4],
    /// What stands between version and description.
    pub separator: String,
    /// What the names end with.
    pub suffixes: Vec<String>,
    /// Versions may come late.
    pub out_of_order: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            table: None,
            schema: None,
            locations: Vec::new(),
            placeholders: BTreeMap::new(),
            replaces: true,
            prefix: "${".into(),
            suffix: "}".into(),
            prefixes: ["V", "U", "B", "R"].map(str::to_owned),
            separator: "__".into(),
            suffixes: vec![".sql".into()],
            out_of_order: false,
        }
    }
}

impl Settings {
    /// Reads the files that are there.
    ///
    /// # Errors
    /// `LYX-FILE-SYNTAX` for one that cannot be read.
    pub fn read(root: &Path) -> Result<Self> {
        let mut settings = Self::default();
        for file in FILES {
            let path = root.join(file);
            if !path.is_file() {
                continue;
            }
            let raw = text::normalise(text::read(&path, file)?);
            let pairs = if file.ends_with(".toml") { toml_pairs(file, &raw)? } else { conf_pairs(&raw) };
            for (key, value) in pairs {
                settings.set(&key, value);
            }
        }
        Ok(settings)
    }

    /// Takes a setting by its name without `flyway.`, in lower case.
    fn set(&mut self, key: &str, value: String) {
        let list = |value: &str| -> Vec<String> {
            value.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        };
        let is_true = value.trim().eq_ignore_ascii_case("true");
        if let Some(name) = key.strip_prefix("placeholders.") {
            self.placeholders.insert(name.to_owned(), value);
            return;
        }
        match key {
            "table" => self.table = Some(value),
            "defaultschema" => self.schema = Some(value),
            "schemas" if self.schema.is_none() => self.schema = list(&value).into_iter().next(),
            "locations" => self.locations = list(&value).iter().filter_map(|text| location(text)).collect(),
            "placeholderreplacement" => self.replaces = is_true,
            "placeholderprefix" => self.prefix = value,
            "placeholdersuffix" => self.suffix = value,
            "sqlmigrationprefix" => self.prefixes[0] = value,
            "undosqlmigrationprefix" => self.prefixes[1] = value,
            "baselinemigrationprefix" => self.prefixes[2] = value,
            "repeatablesqlmigrationprefix" => self.prefixes[3] = value,
            "sqlmigrationseparator" => self.separator = value,
            "sqlmigrationsuffixes" => self.suffixes = list(&value),
            "outoforder" => self.out_of_order = is_true,
            _ => {}
        }
    }
}

/// The folder of a location; none where it is no folder of the project (a bucket, a pattern).
fn location(text: &str) -> Option<String> {
    let path = match text.split_once(':') {
        None => format!("src/main/resources/{text}"),
        Some(("classpath", path)) => format!("src/main/resources/{}", path.trim_start_matches('/')),
        Some(("filesystem", path)) => path.to_owned(),
        Some(_) => return None,
    };
    let path = path.trim_start_matches("./").trim_end_matches('/').replace('\\', "/");
    (!path.contains('*') && !path.contains('?')).then_some(path)
}

/// `flyway.key=value` lines, `#` comments, values that go on behind a backslash.
fn conf_pairs(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim().to_owned();
        if line.starts_with('#') {
            continue;
        }
        while line.ends_with('\\') {
            line.pop();
            let Some(more) = lines.next() else { break };
            line.push_str(more.trim());
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        if let Some(key) = key.trim().strip_prefix("flyway.") {
            pairs.push((key.to_lowercase(), value.trim().to_owned()));
        }
    }
    pairs
}

/// The `[flyway]` table as the same pairs.
fn toml_pairs(file: &str, text: &str) -> Result<Vec<(String, String)>> {
    let table: toml::Table = toml::from_str(text).map_err(|error| {
        Error::new(Code::FileSyntax, format!("`{file}` cannot be read"))
            .why(error.message().to_owned())
            .data("nothing was changed")
    })?;
    let mut pairs = Vec::new();
    if let Some(toml::Value::Table(flyway)) = table.get("flyway") {
        flatten("", flyway, &mut pairs);
    }
    Ok(pairs)
}

fn flatten(prefix: &str, table: &toml::Table, pairs: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = format!("{prefix}{}", key.to_lowercase());
        match value {
            toml::Value::Table(table) => flatten(&format!("{key}."), table, pairs),
            toml::Value::Array(items) => {
                let words: Vec<String> = items.iter().map(word).collect();
                pairs.push((key, words.join(",")));
            }
            other => pairs.push((key, word(other))),
        }
    }
}

fn word(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let root = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(root.path().join("conf")).expect("a folder");
        let conf = "# comment\nflyway.table=history\nflyway.schemas=app, other\nflyway.locations=filesystem:./sql,\\\n  classpath:db/migration,s3:x\nflyway.placeholders.Owner = me\nflyway.outOfOrder=true\n";
        std::fs::write(root.path().join("conf/flyway.conf"), conf).expect("a file");
        let settings = Settings::read(root.path()).expect("settings");
        assert_eq!(settings.table.as_deref(), Some("history"));
        assert_eq!(settings.schema.as_deref(), Some("app"));
        assert_eq!(settings.locations, ["sql", "src/main/resources/db/migration"]);
        assert_eq!(settings.placeholders["owner"], "me");
        assert!(settings.out_of_order && settings.replaces);
        let toml = "[flyway]\ntable = \"h2\"\nlocations = [\"filesystem:migrations\"]\nplaceholderReplacement = false\n[flyway.placeholders]\nowner = \"you\"\n[environments.x]\nurl = \"jdbc:...\"\n";
        std::fs::write(root.path().join("flyway.toml"), toml).expect("a file");
        let settings = Settings::read(root.path()).expect("settings");
        assert_eq!((settings.table.as_deref(), settings.replaces), (Some("h2"), false));
        assert_eq!((settings.locations, settings.placeholders["owner"].as_str()), (vec!["migrations".into()], "you"));
        std::fs::write(root.path().join("flyway.toml"), "[flyway\n").expect("a file");
        assert!(Settings::read(root.path()).is_err());
    }
}
