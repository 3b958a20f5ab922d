//! What must hold between the keys that speak of other tools' folders.

use super::file::{Format, Settings};
use crate::error::{Code, Error, Result};

/// Refuses keys that would mean nothing, or that contradict each other.
///
/// # Errors
/// `LYX-CONFIG-VALUE`.
pub fn check(settings: &Settings, shown: &str) -> Result<()> {
    let migrations = &settings.migrations;
    let format = migrations.format;
    let refused = |what: String, why: &str, hint: &str| {
        Err(Error::new(Code::ConfigValue, what).why(why).data("nothing was contacted").hint(hint))
    };
    if format != Format::Lyrox && settings.postgres.is_none() {
        return refused(
            format!("`{shown}` has `format = \"{}\"` and no PostgreSQL", format.name()),
            "`format` under [migrations] says whose files PostgreSQL's are",
            "add a section [postgres], or leave `format` out",
        );
    }
    if format == Format::Lyrox && migrations.parts_dir.is_some() {
        return refused(
            "`parts_dir` means nothing where `format` is `lyrox`".into(),
            "the parts of all stores lie in `dir` then",
            "leave `parts_dir` out",
        );
    }
    if matches!(format, Format::Lyrox | Format::Plain) && migrations.history.is_some() {
        return refused(
            format!("`history` means nothing where `format` is `{}`", format.name()),
            "it names the history of another tool",
            "leave `history` out, or say whose it is: format = \"sqlx\"",
        );
    }
    if format != Format::Flyway && !migrations.placeholders.is_empty() {
        return refused(
            "`placeholders` under [migrations] are Flyway's".into(),
            "no other format fills them in",
            "leave them out; files of lyrox fill in ${VAR} with `lyrox: vars`",
        );
    }
    match settings.mongodb.as_ref().map(|mongodb| mongodb.format) {
        None | Some(Format::Lyrox | Format::GolangMigrate) => Ok(()),
        Some(other) => refused(
            format!("`format` under [mongodb] cannot be `{}`", other.name()),
            "of the other tools only golang-migrate has files of MongoDB that lyrox runs",
            "lyrox or golang-migrate",
        ),
    }
}
