//! `<script>.conf` beside a script of Flyway: whether it runs, and how.

use crate::error::{Code, Error, Result};
use crate::project::formats::fill::Placeholders;
use crate::project::formats::{Folder, raw, shown};
use crate::project::text::normalise;

/// What `<script>.conf` says.
#[derive(Debug, Default)]
pub struct Beside {
    /// `executeInTransaction`.
    pub executes_in_transaction: Option<bool>,
    /// `shouldExecute`.
    pub executes: Option<bool>,
    /// `placeholderReplacement`.
    pub replaces: Option<bool>,
}

/// What `<script>.conf` beside a script says.
///
/// # Errors
/// A setting that cannot be used.
pub fn beside(folder: Folder<'_>, script: &str, placeholders: &Placeholders) -> Result<Beside> {
    let file = format!("{script}.conf");
    let mut beside = Beside::default();
    if !folder.root.join(folder.dir).join(&file).is_file() {
        return Ok(beside);
    }
    let path = shown(folder, &file);
    let wrong = |line: &str, why: &str| {
        Error::new(Code::FileSyntax, format!("`{path}`: `{line}` cannot be used"))
            .why(why.to_owned())
            .data("nothing was changed")
    };
    for line in normalise(raw(folder, &file)?).lines().map(str::trim) {
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else { continue };
        let value = value.trim();
        let yes_or_no = || match value.to_ascii_lowercase().as_str() {
            "true" => Ok(Some(true)),
            "false" => Ok(Some(false)),
            _ => Err(wrong(line, "it is `true` or `false`")),
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "executeintransaction" => beside.executes_in_transaction = yes_or_no()?,
            "placeholderreplacement" => beside.replaces = yes_or_no()?,
            "shouldexecute" => {
                let text = placeholders.apply(value).unwrap_or_else(|| value.to_owned());
                let said = is_true(&text).ok_or_else(|| wrong(line, "it is `true`, `false`, `a==b` or `a!=b`"))?;
                beside.executes = Some(said);
            }
            "encoding" if value.replace('-', "").eq_ignore_ascii_case("utf8") => {}
            "encoding" => return Err(wrong(line, "lyrox reads UTF-8").hint("save the script as UTF-8")),
            _ => {}
        }
    }
    Ok(beside)
}

/// A condition of `shouldExecute`.
pub(super) fn is_true(text: &str) -> Option<bool> {
    let text = text.trim().trim_start_matches('(').trim_end_matches(')').trim();
    for (sign, both) in [("|", false), ("&", true)] {
        if let Some((left, right)) = text.split_once(sign) {
            let (left, right) = (is_true(left)?, is_true(right.trim_start_matches(sign))?);
            return Some(if both { left && right } else { left || right });
        }
    }
    let word = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    if let Some((left, right)) = text.split_once("!=") {
        return Some(word(left) != word(right));
    }
    if let Some((left, right)) = text.split_once("==") {
        return Some(word(left) == word(right));
    }
    text.parse().ok()
}
