//! `--from-file`: a CSV file with a heading, read line by line. `key` is the tenant's key, `slug` its slug; every other
//! column is one of its row in the tenant table. An empty field is left to the column's default.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::engine::tenant::plan::Wanted;
use crate::error::{Code, Error, Place, Result};

/// The tenants of a file.
pub struct Tenants {
    lines: BufReader<File>,
    shown: String,
    columns: Vec<String>,
    line: u64,
    has_failed: bool,
}

impl Tenants {
    /// Opens a file and reads its heading.
    ///
    /// # Errors
    /// No such file, or no column `key`.
    pub fn open(path: &Path) -> Result<Self> {
        let shown = path.display().to_string();
        let file = File::open(path).map_err(|error| {
            Error::new(Code::FileMissing, format!("cannot read `{shown}`"))
                .why(error.to_string())
                .data("nothing was changed")
        })?;
        let mut tenants = Self {
            lines: BufReader::with_capacity(1 << 16, file),
            shown,
            columns: Vec::new(),
            line: 0,
            has_failed: false,
        };
        tenants.columns =
            tenants.record()?.unwrap_or_default().into_iter().map(|name| name.trim().to_owned()).collect();
        let is_twice = |name: &String| tenants.columns.iter().filter(|other| *other == name).count() > 1;
        if let Some(name) = tenants.columns.iter().find(|name| name.is_empty() || is_twice(name)) {
            return Err(tenants.wrong(format!("its heading names the column `{name}` twice, or one has no name")));
        }
        if !tenants.columns.iter().any(|name| name == "key") {
            return Err(tenants.wrong("its first line does not name a column `key`".into()).hint("key,slug,name"));
        }
        Ok(tenants)
    }

    fn wrong(&self, why: String) -> Error {
        Error::new(Code::FileSyntax, format!("`{}` is no list of tenants", self.shown)).why(why).at(Place {
            file: self.shown.clone(),
            line: usize::try_from(self.line).unwrap_or(usize::MAX),
            column: 0,
            text: None,
            width: 1,
        })
    }

    /// The next record: RFC 4180, fields in quotes may hold commas, quotes (doubled) and line ends.
    fn record(&mut self) -> Result<Option<Vec<String>>> {
        let mut text = String::new();
        loop {
            let before = text.len();
            let count = self.lines.read_line(&mut text).map_err(|error| self.wrong(error.to_string()))?;
            self.line += u64::from(count > 0);
            if count == 0 {
                if before == 0 {
                    return Ok(None);
                }
                return Err(self.wrong("a quote is not closed at the end of the file".into()));
            }
            if before == 0 && self.line == 1 {
                text = text.trim_start_matches('\u{feff}').to_owned();
            }
            if text.trim_end_matches(['\r', '\n']).is_empty() {
                text.clear();
                continue;
            }
            match fields(&text) {
                Ok(Some(fields)) => return Ok(Some(fields)),
                // Within quotes the line end belongs to the field.
                Ok(None) => {}
                Err(why) => return Err(self.wrong(why.to_owned())),
            }
        }
    }

    fn read(&mut self) -> Result<Option<Wanted>> {
        let Some(fields) = self.record()? else { return Ok(None) };
        let line = self.line;
        if fields.len() != self.columns.len() {
            let why = format!("line {line} has {} fields, and the heading {}", fields.len(), self.columns.len());
            return Err(self.wrong(why));
        }
        let mut wanted = Wanted { key: String::new(), slug: None, fields: Vec::new(), line: Some(line) };
        for (name, value) in self.columns.iter().zip(fields) {
            match name.as_str() {
                "key" => wanted.key = value,
                _ if value.is_empty() => {}
                "slug" => wanted.slug = Some(value),
                _ => wanted.fields.push((name.clone(), value)),
            }
        }
        Ok(Some(wanted))
    }
}

impl Iterator for Tenants {
    type Item = Result<Wanted>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_failed {
            return None;
        }
        let next = self.read().transpose();
        self.has_failed = matches!(next, Some(Err(_)));
        next
    }
}

/// The fields of a record; none where it goes on with the next line.
fn fields(text: &str) -> Result<Option<Vec<String>>, &'static str> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut chars = quoted.char_indices().peekable();
            let end = loop {
                match chars.next() {
                    None => return Ok(None),
                    Some((_, '"')) if chars.peek().is_some_and(|(_, next)| *next == '"') => {
                        chars.next();
                        field.push('"');
                    }
                    Some((at, '"')) => break at + 1,
                    Some((_, c)) => field.push(c),
                }
            };
            fields.push(field);
            rest = &quoted[end..];
        } else {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let end_of_field =
                if rest[end..].starts_with(',') { end } else { rest.trim_end_matches(['\r', '\n']).len().min(end) };
            fields.push(rest[..end_of_field].to_owned());
            rest = &rest[end..];
        }
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None if rest.trim_end_matches(['\r', '\n']).is_empty() => return Ok(Some(fields)),
            None => return Err("after a closing quote comes something else than a comma"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn records_are_those_of_the_rfc() {
        let of = |text: &str| fields(text).expect("a record").expect("a whole one");
        assert_eq!(of("a,b\r\n"), ["a", "b"]);
        assert_eq!(of("a,,\n"), ["a", "", ""]);
        assert_eq!(of("\"a,\"\"b\"\"\",c"), ["a,\"b\"", "c"]);
        assert_eq!(of("\"two\nlines\",x\n"), ["two\nlines", "x"]);
        assert_eq!(fields("\"open\n"), Ok(None));
        assert!(fields("\"a\"b\n").is_err());
    }
}
