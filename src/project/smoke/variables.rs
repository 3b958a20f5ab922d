//! `[vars]` of a smoke file.

use std::collections::BTreeMap;

use toml::Spanned;

use super::expect::{Values, json};
use super::place::{Source, refuse};
use super::{GIVEN, TENANT, Variable, names_in, placeholders};
use crate::error::Result;

/// Reads `[vars]`.
///
/// # Errors
/// A name that is taken, a key that is not known, a placeholder that nothing gives.
pub fn variables(source: Source<'_>, raw: &Spanned<Values>) -> Result<BTreeMap<String, Variable>> {
    let mut vars = BTreeMap::new();
    for (name, value) in raw.get_ref() {
        let wrong = |what: String| refuse(what, source.place(raw));
        if !is_name(name) {
            return Err(wrong(format!("`{name}` cannot be a variable"))
                .hint("letters, digits, `_` and `-`; `prefix`, `run` and `tenant` are taken"));
        }
        let variable = match value {
            toml::Value::Table(table) if table.contains_key("env") => {
                let known = |key: &String| key == "env" || key == "default";
                match (table.get("env"), table.keys().find(|key| !known(key))) {
                    (_, Some(key)) => return Err(wrong(format!("`{key}` is no key of the variable `{name}`"))),
                    (Some(toml::Value::String(variable)), None) => Variable::Environment {
                        name: variable.clone(),
                        default: table.get("default").cloned().map(json),
                    },
                    _ => return Err(wrong(format!("`env` of the variable `{name}` is no name"))),
                }
            }
            value => Variable::Given(json(value.clone())),
        };
        let values = match &variable {
            Variable::Given(value) | Variable::Environment { default: Some(value), .. } => Some(value),
            Variable::Environment { default: None, .. } => None,
        };
        let mut used = Vec::new();
        values.into_iter().for_each(|value| names_in(value, &mut used));
        if let Some(used) = used.iter().find(|used| !GIVEN.contains(used) && **used != TENANT) {
            return Err(wrong(format!("the variable `{name}` holds `{{{{{used}}}}}`"))
                .hint("{{run}}, {{prefix}} and {{tenant}} can stand in a variable"));
        }
        vars.insert(name.clone(), variable);
    }
    Ok(vars)
}

/// Whether a value can be saved, or given, under this name.
pub fn is_name(name: &str) -> bool {
    !GIVEN.contains(&name) && name != TENANT && !placeholders(&format!("{{{{{name}}}}}")).is_empty()
}
