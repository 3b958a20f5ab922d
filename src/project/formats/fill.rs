//! Values that other tools fill into a text before it runs: goose from the environment, Flyway from its placeholders.
//! Pure: it says what stands for what; who runs the text puts it there, so that ledgers keep the text as it is on disk.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What is filled into a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fill {
    /// Nothing.
    #[default]
    Nothing,
    /// goose's `ENVSUB`: `$NAME` and the forms of `${NAME}` on these lines (counted from 0).
    Environment(Vec<Range<usize>>),
    /// Flyway's placeholders, everywhere in the text.
    Placeholders(Placeholders),
}

/// Flyway's placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholders {
    /// What a placeholder begins with: `${`.
    pub prefix: String,
    /// What it ends with: `}`.
    pub suffix: String,
    /// The values by name, in lower case: Flyway does not tell cases apart.
    pub values: Arc<BTreeMap<String, String>>,
    /// The name of the script, for `flyway:filename`.
    pub file: String,
}

/// A place of the text and what stands there when it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filled {
    /// The bytes of the text that are replaced.
    pub range: Range<usize>,
    /// The name that was asked for.
    pub name: String,
    /// What takes their place.
    pub value: String,
}

/// What cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfilled {
    /// The byte of the text.
    pub at: usize,
    /// What is wrong.
    pub what: String,
    /// The way on.
    pub hint: String,
}

impl Fill {
    /// Nothing is to be filled in.
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// What is filled in where, in the order of the text. `variable` answers variables of the environment.
    ///
    /// # Errors
    /// A value that is wanted and not there.
    pub fn values(&self, text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Filled>, Unfilled> {
        match self {
            Self::Nothing => Ok(Vec::new()),
            Self::Environment(lines) => environment(text, lines, variable),
            Self::Placeholders(placeholders) => placeholders.values(text),
        }
    }
}

impl Placeholders {
    fn values(&self, text: &str) -> Result<Vec<Filled>, Unfilled> {
        let mut found = Vec::new();
        let mut from = 0;
        while let Some(at) = text[from..].find(&self.prefix).map(|at| from + at) {
            let begin = at + self.prefix.len();
            let Some(end) = text[begin..].find(&self.suffix).map(|end| begin + end) else {
                let what = format!("the placeholder that begins here has no `{}`", self.suffix);
                return Err(Unfilled { at, what, hint: "close it".into() });
            };
            let name = &text[begin..end];
            let key = name.to_lowercase();
            let value = match (key.as_str(), self.values.get(&key)) {
                (_, Some(value)) => value.clone(),
                ("flyway:filename", None) => self.file.clone(),
                (_, None) => {
                    let first: String = name.chars().take(60).collect();
                    return Err(Unfilled {
                        at,
                        what: format!("the placeholder `{first}` has no value"),
                        hint: format!("add it under [migrations.placeholders] in lyrox.toml: \"{first}\" = \"...\""),
                    });
                }
            };
            from = end + self.suffix.len();
            found.push(Filled { range: at..from, name: name.to_owned(), value });
        }
        Ok(found)
    }

    /// The text as it runs; none where a value is missing.
    pub fn apply(&self, text: &str) -> Option<String> {
        let mut out = String::with_capacity(text.len());
        let mut from = 0;
        for filled in self.values(text).ok()? {
            out.push_str(&text[from..filled.range.start]);
            out.push_str(&filled.value);
            from = filled.range.end;
        }
        out.push_str(&text[from..]);
        Some(out)
    }
}

fn environment(
    text: &str,
    lines: &[Range<usize>],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<Filled>, Unfilled> {
    let mut found = Vec::new();
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if lines.iter().any(|lines| lines.contains(&number)) {
            let mut at = 0;
            while let Some(dollar) = line[at..].find('$').map(|dollar| at + dollar) {
                match expansion(&line[dollar..], variable) {
                    Ok(Some((length, name, value))) => {
                        let range = start + dollar..start + dollar + length;
                        found.push(Filled { range, name, value });
                        at = dollar + length;
                    }
                    // A pair of dollars quotes a body.
                    Ok(None) => at = dollar + if line[dollar..].starts_with("$$") { 2 } else { 1 },
                    Err((what, hint)) => return Err(Unfilled { at: start + dollar, what, hint }),
                }
            }
        }
        start += line.len();
    }
    Ok(found)
}

/// What an expansion came to: its length, the variable's name, its value.
type Expansion = Option<(usize, String, String)>;

/// Reads the expansion that a text begins with; none where its `$` is only a `$`.
fn expansion(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, (String, String)> {
    let name_of = |text: &str| {
        let end = text.bytes().position(|byte| byte != b'_' && !byte.is_ascii_alphanumeric()).unwrap_or(text.len());
        let is_name = text.bytes().next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
        if is_name { text[..end].to_owned() } else { String::new() }
    };
    if let Some(rest) = text.strip_prefix("${") {
        let name = name_of(rest);
        let Some(end) = closing(rest).filter(|_| !name.is_empty()) else { return Ok(None) };
        let form = &rest[name.len()..end];
        let value = variable(&name);
        let set = value.clone().filter(|value| !value.is_empty());
        let word = |word: &str| words(word, variable);
        let value = if form.is_empty() {
            value.unwrap_or_default()
        } else if let Some(default) = form.strip_prefix(":-") {
            set.map_or_else(|| word(default), Ok)?
        } else if let Some(default) = form.strip_prefix('-') {
            value.map_or_else(|| word(default), Ok)?
        } else if let Some(message) = form.strip_prefix(":?") {
            set.ok_or_else(|| unset(&name, message))?
        } else if let Some(message) = form.strip_prefix('?') {
            value.ok_or_else(|| unset(&name, message))?
        } else if let Some(part) = form.strip_prefix(':').and_then(slice) {
            cut(&value.unwrap_or_default(), part)
        } else {
            let what = format!("`${{{name}{form}}}` is no form of a variable that goose knows");
            return Err((what, "`${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME?message}`".into()));
        };
        return Ok(Some((2 + end + 1, name, value)));
    }
    let name = name_of(&text[1..]);
    if name.is_empty() {
        return Ok(None);
    }
    let value = variable(&name).unwrap_or_default();
    Ok(Some((1 + name.len(), name, value)))
}

fn unset(name: &str, message: &str) -> (String, String) {
    let what = if message.is_empty() { format!("`{name}` is not set") } else { format!("`{name}`: {message}") };
    (what, format!("set {name} in the environment or in .env"))
}

/// Where the brace that is open at the beginning is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 1_usize;
    let mut before = 0;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if before == b'$' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        before = byte;
    }
    None
}

/// A default may itself hold variables.
fn words(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, (String, String)> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        match expansion(rest, variable)? {
            Some((length, _, value)) => {
                out.push_str(&value);
                rest = &rest[length..];
            }
            None => {
                out.push('$');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn slice(text: &str) -> Option<(i64, Option<i64>)> {
    let (offset, length) = match text.split_once(':') {
        Some((offset, length)) => (offset, Some(length.trim().parse().ok()?)),
        None => (text, None),
    };
    Some((offset.trim().parse().ok()?, length))
}

/// A part of a value, by characters; a negative offset counts from the end.
fn cut(value: &str, (offset, length): (i64, Option<i64>)) -> String {
    let total = i64::try_from(value.chars().count()).unwrap_or(i64::MAX);
    let begin = if offset < 0 { (total + offset).max(0) } else { offset.min(total) };
    let end = match length {
        None => total,
        Some(length) if length < 0 => (total + length).max(begin),
        Some(length) => (begin + length).min(total),
    };
    let number = |at: i64| usize::try_from(at).unwrap_or(0);
    value.chars().skip(number(begin)).take(number(end - begin)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(fill: &Fill, text: &str) -> Result<String, Unfilled> {
        let variable = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let mut out = String::new();
        let mut from = 0;
        for value in fill.values(text, &variable)? {
            out.push_str(&text[from..value.range.start]);
            out.push_str(&value.value);
            from = value.range.end;
        }
        Ok(out + &text[from..])
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init, reason = "one range of lines is meant")]
    fn goose_fills_in_its_own_lines() {
        let fill = Fill::Environment(vec![1..3]);
        let of =
            |text: &str| filled(&fill, &format!("$A\n{text}\nx\n$A\n")).map(|text| text[3..text.len() - 6].to_owned());
        assert_eq!(of("a $A ${A}b"), Ok("a one oneb".into()));
        assert_eq!(of("${B:-two} ${EMPTY:-two} ${EMPTY-two} ${B-two}"), Ok("two two  two".into()));
        assert_eq!(of("${B:-${A}s} ${A:0:2} ${A:-2} ${A: -2}"), Ok("ones on one ne".into()));
        assert_eq!(of("AS $$ BEGIN $1; END $$ ${B}$B."), Ok("AS $$ BEGIN $1; END $$ .".into()));
        assert_eq!(of("$$A$$"), Ok("$$A$$".into()));
        assert_eq!(of("${A?x}"), Ok("one".into()));
        assert_eq!(of("x ${B?say it}").map_err(|error| (error.at, error.what)), Err((5, "`B`: say it".into())));
        assert!(of("${A/x/y}").is_err());
    }

    #[test]
    fn placeholders_are_of_any_case_and_wanted() {
        let values = Arc::new([("name".to_owned(), "x".to_owned())].into());
        let placeholders = Placeholders { prefix: "${".into(), suffix: "}".into(), values, file: "V1__a.sql".into() };
        let fill = Fill::Placeholders(placeholders.clone());
        assert_eq!(filled(&fill, "a ${Name} '${flyway:filename}' $x"), Ok("a x 'V1__a.sql' $x".into()));
        assert_eq!(filled(&fill, "-- ${other}").map_err(|error| error.at), Err(3));
        assert!(filled(&fill, "${name").is_err());
        assert_eq!(placeholders.apply("${name}${NAME}").as_deref(), Some("xx"));
        assert_eq!(placeholders.apply("${other}"), None);
    }
}
