//! What commands make and refer to: libraries and their functions. Pure.

use super::script::read;
use crate::config::Variables;
use crate::project::migration::Script;
use crate::stores::names::Names;

/// The names in a script.
pub fn of(script: &Script) -> Names {
    let mut names = Names::default();
    for command in read(script, "", &Variables::default()).unwrap_or_default() {
        match command.full_name().as_str() {
            "FUNCTION LOAD" => {
                names.makes.extend(command.library());
                let code = command.words.last().map(|word| String::from_utf8_lossy(word).into_owned());
                names.makes.extend(functions(&code.unwrap_or_default()));
            }
            "FCALL" | "FCALL_RO" => {
                names.needs.insert(command.word(1));
            }
            _ => {}
        }
    }
    names
}

/// The names that a library registers.
fn functions(code: &str) -> impl Iterator<Item = String> {
    ["register_function(", "function_name"]
        .into_iter()
        .flat_map(move |word| {
            code.match_indices(word).filter_map(move |(at, _)| {
                let rest = code[at + word.len()..].trim_start_matches([' ', '=', '(']);
                let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
                rest[1..].split(quote).next().map(str::to_owned)
            })
        })
        .collect::<Vec<_>>()
        .into_iter()
}
