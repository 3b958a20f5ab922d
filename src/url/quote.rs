//! Quoting for the places where a URL is kept: a shell, and the readers of `.env` files, which agree on little.

/// A word of a POSIX shell, whatever it holds.
pub fn shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A value of a `.env` file. Between single quotes everything stands for itself; a text with one of those goes
/// between double quotes, where `\`, `"` and `$` are escaped. A URL as lyrox writes it holds nothing that any
/// reader of such files, or a shell that sources them, could take for its own.
pub fn dotenv(text: &str) -> String {
    if !text.contains(['\'', '\n']) {
        return format!("'{text}'");
    }
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '\\' | '"' | '$' => quoted.extend(['\\', character]),
            '\n' => quoted.push_str("\\n"),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_back_through_a_reader_of_dotenv_files() {
        for text in ["plain", "a b#c", "it's", "two\nlines", r#"a\b"c$d"#, "$HOME", "`x` !", "p=q&r;s"] {
            let line = format!("A={}\n", dotenv(text));
            let read: Vec<_> = dotenvy::from_read_iter(line.as_bytes()).collect::<Result<_, _>>().expect("a pair");
            assert_eq!(read, [("A".to_owned(), text.to_owned())], "{line}");
        }
        assert_eq!(shell("it's"), r"'it'\''s'");
    }
}
