//! Lint: the migrations' files against rules, before anything runs. Pure: files and settings in, findings
//! out; it contacts no server and reads nothing from disk. Tenancy is judged over the whole series, so a
//! table made in one file and protected in a later one is fine.

mod comments;
mod json;
mod keyspace;
mod mask;
mod mongodb;
mod redis;
pub mod rules;
mod secrets;
mod sql;
mod squawk;
mod tenancy;

use std::collections::BTreeSet;
use std::ops::Range;

use crate::config::Settings;
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Script};

pub use rules::{Level, Rule, Start, Theme};
use sql::Source;

/// One thing that is wrong in one place.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// The store whose file it is.
    pub store: StoreKind,
    /// Where; its text holds no password.
    pub place: Place,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
}

/// What a judge found in a file, before ignore comments and the configuration are asked.
#[derive(Clone, Debug)]
struct Hit {
    rule: &'static str,
    /// The bytes that the caret underlines.
    at: Range<usize>,
    /// Where the statement or command begins that holds it.
    statement: usize,
    message: String,
    hint: Option<String>,
}

impl Hit {
    fn new(rule: &'static str, at: Range<usize>, message: impl Into<String>) -> Self {
        Self { rule, statement: at.start, at, message: message.into(), hint: None }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn statement(mut self, start: usize) -> Self {
        self.statement = start;
        self
    }
}

/// One file of the series.
#[derive(Clone, Copy, Debug)]
struct File<'a> {
    store: StoreKind,
    script: &'a Script,
    is_down: bool,
}

/// The rules that are on.
#[derive(Clone, Debug)]
pub struct Selection {
    on: BTreeSet<&'static str>,
}

impl Selection {
    /// Reads `[lint]` and `[tenancy]`.
    ///
    /// # Errors
    /// `LYX-CONFIG-VALUE` for a name that is no rule, with the nearest one that is.
    pub fn new(settings: &Settings) -> Result<Self> {
        let named = |key: &str, names: &[String]| -> Result<BTreeSet<&'static str>> {
            let mut found = BTreeSet::new();
            for name in names {
                let rules = rules::expand(name);
                if rules.is_empty() {
                    let error =
                        Error::new(Code::ConfigValue, format!("`[lint] {key}` names `{name}`, which is no rule"))
                            .data("nothing was changed");
                    return Err(match rules::nearest(name) {
                        Some(nearest) => {
                            error.hint(format!("did you mean `{nearest}`? lyrox db lint --rules lists them"))
                        }
                        None => error.hint("lyrox db lint --rules"),
                    });
                }
                found.extend(rules.iter().map(|rule| rule.name));
            }
            Ok(found)
        };
        let ignored = named("ignore", &settings.lint.ignore)?;
        let enabled = named("enable", &settings.lint.enable)?;
        let has_tenants = settings
            .tenancy
            .as_ref()
            .is_some_and(|tenancy| tenancy.model == TenancyModel::Row && tenancy.column.is_some());
        let is_on = |rule: &&Rule| {
            (rule.start == Start::On || enabled.contains(rule.name))
                && !ignored.contains(rule.name)
                && (rule.theme != Theme::Tenancy || has_tenants)
        };
        let on = rules::RULES.iter().filter(is_on).map(|rule| rule.name).collect();
        Ok(Self { on })
    }

    /// Whether a rule is on.
    pub fn is_on(&self, rule: &Rule) -> bool {
        self.on.contains(rule.name)
    }
}

/// Lints a whole series. Findings come out by file and place.
///
/// # Errors
/// As [`Selection::new`], or a `[lint] pg_version` that is no version.
pub fn lint(migrations: &[Migration], settings: &Settings, key_prefix: &str) -> Result<Vec<Finding>> {
    let selection = Selection::new(settings)?;
    let version = squawk::version(settings)?;
    let files = files(migrations);
    let parsed: Vec<Parsed> = files.iter().map(parse).collect();
    let mut hits: Vec<Vec<Hit>> = Vec::with_capacity(files.len());
    let mut masks = Vec::with_capacity(files.len());
    for (file, parsed) in files.iter().zip(&parsed) {
        let mut found = comments::unknown(file);
        let mut secret = secrets::urls(&file.script.text);
        match parsed {
            Parsed::Sql(source) => {
                found.extend(sql::syntax(source));
                found.extend(squawk::judge(file, source, &selection, settings, version));
                secret.extend(secrets::sql(source, file.script));
            }
            Parsed::Json(Ok(commands)) => secret.extend(secrets::mongodb(commands)),
            Parsed::Json(Err(hit)) => found.push(hit.clone()),
            Parsed::Words(lines) => {
                found.extend(redis::judge(lines, settings, key_prefix));
                secret.extend(secrets::redis(lines));
            }
        }
        masks.push(secrets::spans(&mut secret));
        found.extend(secret.into_iter().map(|secret| secret.hit));
        hits.push(found);
    }
    mongodb::judge(&files, &parsed, &mut hits);
    if let Some(tenancy) = &settings.tenancy {
        tenancy::judge(&files, &parsed, settings, tenancy, &mut hits);
    }
    let mut findings = Vec::new();
    for ((file, hits), mask) in files.iter().zip(hits).zip(&masks) {
        let ignores = comments::ignores(file);
        let mut of_file: Vec<(usize, Finding)> = Vec::new();
        for hit in hits {
            let Some(rule) = rules::find(hit.rule) else { continue };
            let is_judged = selection.is_on(rule) || squawk::is_forced(rule.name, file, settings);
            if !is_judged || (file.is_down && !rule.judges_down()) || ignores.covers(rule.name, &hit) {
                continue;
            }
            let place = mask::place(file.script, hit.at.clone(), mask);
            let message = hit.message;
            of_file.push((hit.at.start, Finding { rule, store: file.store, place, message, hint: hit.hint }));
        }
        of_file.sort_by(|a, b| (a.0, a.1.rule.level, a.1.rule.name).cmp(&(b.0, b.1.rule.level, b.1.rule.name)));
        findings.extend(of_file.into_iter().map(|(_, finding)| finding));
    }
    Ok(findings)
}

/// A file as its store's reader sees it.
enum Parsed {
    Sql(Source),
    Json(Result<Vec<json::Node>, Hit>),
    Words(Vec<redis::Line>),
}

fn parse(file: &File<'_>) -> Parsed {
    match file.store {
        StoreKind::Postgres => Parsed::Sql(sql::read(file.script)),
        StoreKind::Mongodb => Parsed::Json(json::read(&file.script.text)),
        StoreKind::Redis => Parsed::Words(redis::read(file.script)),
    }
}

/// The files of a series in the order in which they run, each way back behind its way there.
fn files(migrations: &[Migration]) -> Vec<File<'_>> {
    let mut files = Vec::new();
    for migration in migrations {
        for (store, part) in &migration.parts {
            files.push(File { store: *store, script: &part.up, is_down: false });
            if let Some(down) = &part.down {
                files.push(File { store: *store, script: down, is_down: true });
            }
        }
    }
    files
}

/// The names of the files of a series, in the order in which they are judged.
pub fn paths(migrations: &[Migration]) -> Vec<(StoreKind, &Script)> {
    files(migrations).into_iter().map(|file| (file.store, file.script)).collect()
}
