//! Versions and names from other tools' file names, where those tools themselves have none: the leading digits, as long as
//! no other file has them.

use std::collections::BTreeSet;

/// Hands out versions, each once.
#[derive(Debug, Default)]
pub struct Labels {
    taken: BTreeSet<String>,
}

impl Labels {
    /// Version and name of `20240101000000_init`: its digits and the rest. A stem without digits, or with digits that an
    /// earlier one has, is its own version and has no name.
    pub fn take(&mut self, stem: &str) -> (String, String) {
        let end = stem.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(stem.len());
        let (digits, rest) = stem.split_at(end);
        let name = rest.strip_prefix(['_', '-']).unwrap_or(rest);
        let is_number = (1..=32).contains(&digits.len());
        if is_number && self.taken.insert(digits.to_owned()) {
            return (digits.to_owned(), name.to_owned());
        }
        self.taken.insert(stem.to_owned());
        (stem.to_owned(), String::new())
    }
}

/// The digits that a name begins with.
pub fn digits(name: &str) -> &str {
    &name[..name.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(name.len())]
}

/// The clock, or one more than the newest version where that is not later: as many digits as the clock has.
pub fn later(clock: &str, newest: Option<&str>) -> String {
    let number = |text: &str| digits(text).parse::<u128>().ok();
    match (number(clock), newest.and_then(number)) {
        (Some(now), Some(newest)) if newest >= now => format!("{:0width$}", newest + 1, width = clock.len()),
        _ => clock.to_owned(),
    }
}

/// The variable that a configuration written in a programming language takes the URL from: the name behind `before`,
/// in a line that says `url` or the like.
pub fn variable(text: &str, before: &str) -> Option<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let lines =
        lines.filter(|line| ["url", "connectionstring"].iter().any(|word| line.to_ascii_lowercase().contains(word)));
    let rest = lines.filter_map(|line| line.split_once(before)).map(|(_, rest)| rest).next()?;
    let end = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
    Some(rest[..end].to_owned()).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_given_once() {
        let mut labels = Labels::default();
        let mut take = |stem: &str| labels.take(stem);
        assert_eq!(take("0001_a_b"), ("0001".into(), "a_b".into()));
        assert_eq!(take("0001_c"), ("0001_c".into(), String::new()));
        assert_eq!(take("init"), ("init".into(), String::new()));
        assert_eq!(take("2-x"), ("2".into(), "x".into()));
        assert_eq!(take("3"), ("3".into(), String::new()));
    }

    #[test]
    fn a_new_version_is_later_than_the_newest() {
        assert_eq!(later("20240101000000", None), "20240101000000");
        assert_eq!(later("20240101000000", Some("20230101000000")), "20240101000000");
        assert_eq!(later("20240101000000", Some("20250101000009_x")), "20250101000010");
        assert_eq!(later("20240101000000", Some("init")), "20240101000000");
    }

    #[test]
    fn the_variable_of_the_url_is_found() {
        assert_eq!(variable("  url = env(\"DATABASE_URL\")", "env(\""), Some("DATABASE_URL".into()));
        assert_eq!(variable("// url: process.env.OLD\n  url: process.env.NEW!,", "process.env."), Some("NEW".into()));
        assert_eq!(variable("name = env(\"OTHER\")", "env(\""), None);
    }

    #[test]
    fn digits_end_where_something_else_begins() {
        assert_eq!(digits("0001_a"), "0001");
        assert_eq!(digits("a1"), "");
        assert_eq!(digits("12"), "12");
    }
}
