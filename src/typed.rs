//! The command line as it was typed, for hints that are to be run as they stand: the same command with a flag more, and
//! other commands at the same place (folder, file, environment, shard). Set once, before anything is read.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::OnceLock;

static TYPED: OnceLock<Typed> = OnceLock::new();

/// The commands that work on a project, and so at a place.
const PLACED: [&str; 12] =
    ["setup", "up", "down", "ps", "logs", "env", "check", "db", "tenant", "query", "config", "url"];

/// A command line.
#[derive(Debug, Default)]
pub struct Typed {
    /// What followed the program's name.
    pub words: Vec<String>,
    /// The flags that say where, short or long, with their values.
    pub place: Vec<(&'static [&'static str], String)>,
}

/// Remembers the command line.
pub fn set(typed: Typed) {
    let _ = TYPED.set(typed);
}

/// The command once more with a flag and its value (`--yes` has none), in place of the same flag where that was given.
pub fn again(flag: &str, value: Option<&str>) -> String {
    match TYPED.get() {
        Some(typed) => repeated(&typed.words, flag, value),
        None => format!("the same command with{}", flagged(flag, value)),
    }
}

/// A hint whose commands are led to the place of this one.
pub fn there(hint: &str) -> Cow<'_, str> {
    match TYPED.get() {
        Some(typed) if !typed.place.is_empty() => Cow::Owned(placed(hint, &typed.place)),
        _ => Cow::Borrowed(hint),
    }
}

/// A word as a shell takes it: quoted where it has to be.
pub fn word(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./_-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

fn flagged(flag: &str, value: Option<&str>) -> String {
    let value = value.map(|value| format!(" {}", word(value))).unwrap_or_default();
    format!(" {flag}{value}")
}

fn repeated(words: &[String], flag: &str, value: Option<&str>) -> String {
    let mut command = String::from("lyrox");
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let mut given = words[..end].iter();
    while let Some(word) = given.next() {
        if word == flag {
            if value.is_some() {
                given.next();
            }
        } else if !word.strip_prefix(flag).is_some_and(|rest| rest.starts_with('=')) {
            let _ = write!(command, " {}", self::word(word));
        }
    }
    command.push_str(&flagged(flag, value));
    for word in &words[end..] {
        let _ = write!(command, " {}", self::word(word));
    }
    command
}

/// Pure: `lyrox db migrate` becomes `lyrox -e staging db migrate`; a flag that is there already is left.
fn placed(hint: &str, place: &[(&[&str], String)]) -> String {
    let mut pieces = hint.split("lyrox ");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let first = piece.split(|c: char| !c.is_ascii_lowercase()).next().unwrap_or_default();
        text.push_str("lyrox");
        let has = |flag: &&str| piece.split([' ', '=']).any(|word| word == *flag);
        let wanted = place.iter().filter(|(flags, _)| PLACED.contains(&first) && !flags.iter().any(has));
        wanted.for_each(|(flags, value)| text.push_str(&flagged(flags[0], Some(value))));
        text.push(' ');
        text.push_str(piece);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_same_command_is_given_with_all_that_was_typed() {
        for (typed, flag, value, wanted) in [
            ("db rollback --version 2", "--yes", None, "lyrox db rollback --version 2 --yes"),
            ("-e prod db reset", "--confirm", Some("app@h"), "lyrox -e prod db reset --confirm app@h"),
            (
                "db reset --confirm ap --only redis",
                "--confirm",
                Some("app"),
                "lyrox db reset --only redis --confirm app",
            ),
            ("db reset --confirm=ap", "--confirm", Some("my app"), "lyrox db reset --confirm 'my app'"),
            ("tenant delete -- -x", "--confirm", Some("x"), "lyrox tenant delete --confirm x -- -x"),
            ("tenant delete a|b", "--confirm", Some("it's"), r"lyrox tenant delete 'a|b' --confirm 'it'\''s'"),
        ] {
            assert_eq!(repeated(&words(typed), flag, value), wanted);
        }
    }

    #[test]
    fn commands_of_a_hint_are_led_to_the_same_place() {
        for (hint, wanted) in [
            ("lyrox db migrate", "lyrox -e staging db migrate"),
            ("lyrox up; lyrox ps shows them", "lyrox -e staging up; lyrox -e staging ps shows them"),
            ("lyrox explain lists them all", "lyrox explain lists them all"),
            ("lyrox -e prod db status", "lyrox -e prod db status"),
            ("lyrox db reset -e staging --confirm a", "lyrox db reset -e staging --confirm a"),
            ("lyrox db reset --env=staging", "lyrox db reset --env=staging"),
            ("did you mean `url`?", "did you mean `url`?"),
            ("`lyrox url encode` does it", "`lyrox -e staging url encode` does it"),
        ] {
            assert_eq!(placed(hint, &[(&["-e", "--env"], "staging".into())]), wanted);
        }
    }
}
