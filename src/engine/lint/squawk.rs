//! squawk's rules, through its library: its names, its ignore comments, its words. What lyrox does itself
//! (transactions, lock_timeout) is told to it, or its rule is off.

use std::collections::BTreeSet;
use std::ops::Range;

use squawk_linter::{Linter, LinterSettings, Rule, Version, Violation};

use super::rules::{RULES, Theme};
use super::sql::Source;
use super::{File, Hit, Selection};
use crate::config::Settings;
use crate::config::file::Transaction;
use crate::error::{Code, Error, Result};

/// squawk's one name for two rules.
pub const TIMEOUT_ALIAS: &str = "require-timeout-settings";

/// The PostgreSQL version that the rules have in mind.
///
/// # Errors
/// `LYX-CONFIG-VALUE` where it is no version.
pub fn version(settings: &Settings) -> Result<Version> {
    let text = &settings.lint.pg_version;
    text.parse().map_err(|_| {
        Error::new(Code::ConfigValue, format!("`[lint] pg_version` is `{text}`, which is no version"))
            .data("nothing was changed")
            .hint("write it like \"17\" or \"16.4\"")
    })
}

/// Whether a rule that lyrox makes needless is needed for this file after all.
pub fn is_forced(rule: &str, file: &File<'_>, settings: &Settings) -> bool {
    let is_needed = match rule {
        "require-lock-timeout" => settings.postgres.as_ref().is_some_and(|section| {
            file.script.header.lock_timeout.unwrap_or(section.lock_timeout).duration().is_zero()
        }),
        // Another tool's file may have transactions of its own.
        "ban-uncommitted-transaction" => file.script.foreign.is_some(),
        _ => false,
    };
    is_needed
        && !settings.lint.ignore.iter().any(|name| super::rules::expand(name).iter().any(|found| found.name == rule))
}

/// What squawk finds in a file.
pub fn judge(
    file: &File<'_>,
    source: &Source,
    selection: &Selection,
    settings: &Settings,
    version: Version,
) -> Vec<Hit> {
    let header = &file.script.header;
    let of_settings = settings.postgres.as_ref().and_then(|section| section.statement_timeout);
    let has_limit = header.statement_timeout.or(of_settings).is_some_and(|limit| !limit.duration().is_zero());
    let is_done = |name: &str| name == "require-statement-timeout" && has_limit;
    let wanted = RULES.iter().filter(|rule| {
        (rule.theme == Theme::Squawk || rule.name == "unused-ignore")
            && (selection.is_on(rule) || is_forced(rule.name, file, settings))
            && !is_done(rule.name)
    });
    let mut rules: BTreeSet<&'static str> = wanted.map(|rule| rule.name).collect();
    // lyrox refuses every BEGIN and COMMIT of a file's own, however it runs the file; not in another tool's.
    let tells_nesting = file.script.foreign.is_none() && rules.remove("transaction-nesting");
    let is_one_transaction = !source.is_journaled || settings.migrations.transaction == Transaction::All;
    let mut violations = run(source, &rules, is_one_transaction, version);
    if tells_nesting {
        let nesting = run(source, &BTreeSet::from(["transaction-nesting"]), true, version);
        violations.extend(nesting.into_iter().filter(|found| found.code == Rule::TransactionNesting));
    }
    let is_foreign = file.script.foreign.is_some();
    violations.into_iter().filter_map(|violation| hit(violation, source, is_foreign)).collect()
}

fn run(
    source: &Source,
    rules: &BTreeSet<&'static str>,
    assume_in_transaction: bool,
    version: Version,
) -> Vec<Violation> {
    let mut linter = Linter::from(rules.iter().filter_map(|name| Rule::try_from(*name).ok()));
    linter.settings = LinterSettings { pg_version: version, assume_in_transaction };
    linter.lint(&source.parse, &source.text)
}

fn hit(violation: Violation, source: &Source, is_foreign: bool) -> Option<Hit> {
    let name = violation.code.to_string();
    let rule = super::rules::find(&name)?;
    let range = usize::from(violation.text_range.start())..usize::from(violation.text_range.end());
    let hint = match (rule.name, violation.help, violation.fix) {
        ("transaction-nesting", ..) if !is_foreign => Some("take BEGIN and COMMIT out of the file".to_owned()),
        ("unused-ignore", ..) => Some("lyrox db lint --rules".to_owned()),
        (_, Some(help), _) => Some(lower(&help)),
        (_, None, fix) => fix.map(|fix| lower(&fix.title)),
    };
    let message = match rule.name {
        "transaction-nesting" if !is_foreign => {
            "the file begins or ends a transaction itself; lyrox refuses to run it".to_owned()
        }
        _ => lower(&violation.message),
    };
    let statement = statement_of(source, range.clone());
    Some(Hit { rule: rule.name, statement, at: range, message, hint })
}

/// Where the statement that holds a range begins.
fn statement_of(source: &Source, range: Range<usize>) -> usize {
    use squawk_syntax::ast::AstNode as _;
    let holds = |start: usize, end: usize| start <= range.start && range.start < end;
    let mut statements = source.parse.tree().stmts().map(|found| super::tenancy::span(found.syntax()));
    statements.find(|found| holds(found.start, found.end)).map_or(range.start, |found| found.start)
}

/// A sentence of squawk's in lyrox's manner: it begins in lower case and has no full stop.
pub fn lower(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(text.chars().skip(1)).collect()
        }
        _ => text.to_owned(),
    }
}
