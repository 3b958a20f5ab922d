//! The queries by which an index is asked, and what a plan says. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::error::Result;
use crate::stores::postgres::ident::relation;

/// An index, and how it is asked.
#[derive(Clone, Debug, Deserialize)]
pub struct Asked {
    pub table: String,
    pub name: String,
    /// The constraint that it stands for.
    pub constraint: Option<String>,
    pub method: String,
    pub is_valid: bool,
    pub is_partitioned: bool,
    /// The policies bind this role.
    pub is_bound: bool,
    pub predicate: Option<String>,
    /// Its parts on partitions.
    pub parts: Vec<String>,
    pub keys: Vec<Key>,
}

/// A key of an index.
#[derive(Clone, Debug, Deserialize)]
pub struct Key {
    /// The column or expression, with its collation where that is not the usual one.
    pub text: String,
    /// `OPERATOR(pg_catalog.=)`; none: the class has none that is known.
    pub operator: Option<String>,
    /// The type of the other side.
    pub other: Option<String>,
    /// The operator orders rows (nearest neighbours) instead of choosing them.
    pub is_order: bool,
    /// Of the class that ORDER BY means.
    pub is_usual: bool,
    pub is_descending: bool,
    pub has_nulls_first: bool,
}

/// Queries that an index serves, the plainest first; none where its operators are not known.
///
/// # Errors
/// A name that PostgreSQL could not keep.
pub fn queries(index: &Asked) -> Result<Vec<String>> {
    let only = if index.is_partitioned { "" } else { "ONLY " };
    let from = format!("SELECT 1 FROM {only}{}", relation(None, &index.table)?);
    // Of a value that the planner does not know.
    let side =
        |key: &Key| Some(format!("{} {} (SELECT NULL::{})", key.text, key.operator.as_ref()?, key.other.as_ref()?));
    let given = |keys: &[Key]| keys.iter().map(side).collect::<Option<Vec<String>>>();
    let chosen = |mut conditions: Vec<String>| {
        conditions.extend(index.predicate.clone());
        if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) }
    };
    let Some(all) = given(&index.keys) else { return Ok(Vec::new()) };
    if let [key] = index.keys.as_slice()
        && key.is_order
    {
        return Ok(vec![format!("{from}{} ORDER BY {} LIMIT 1", chosen(Vec::new()), all[0])]);
    }
    if index.keys.iter().any(|key| key.is_order) {
        return Ok(Vec::new());
    }
    let mut queries = vec![format!("{from}{}", chosen(all))];
    if index.method == "btree" && index.keys.iter().all(|key| key.is_usual) {
        let order = |keys: &[Key]| {
            let parts: Vec<String> = keys
                .iter()
                .map(|key| {
                    let way = if key.is_descending { " DESC" } else { "" };
                    let nulls = if key.has_nulls_first { "FIRST" } else { "LAST" };
                    format!("{}{way} NULLS {nulls}", key.text)
                })
                .collect();
            parts.join(", ")
        };
        if let Some((first, rest)) = index.keys.split_first().filter(|(_, rest)| !rest.is_empty()) {
            let first = given(std::slice::from_ref(first)).unwrap_or_default();
            queries.push(format!("{from}{} ORDER BY {}", chosen(first), order(rest)));
        }
        queries.push(format!("{from}{} ORDER BY {}", chosen(Vec::new()), order(&index.keys)));
    }
    Ok(queries)
}

/// The names of the indexes that a plan in JSON reads.
pub fn used_indexes(plan: &str) -> BTreeSet<String> {
    fn walk(value: &serde_json::Value, found: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Object(object) => {
                if let Some(serde_json::Value::String(name)) = object.get("Index Name") {
                    found.insert(name.clone());
                }
                object.values().for_each(|value| walk(value, found));
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    if let Ok(plan) = serde_json::from_str(plan) {
        walk(&plan, &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(method: &str, keys: Vec<Key>) -> Asked {
        Asked {
            table: "t".into(),
            name: "i".into(),
            constraint: None,
            method: method.into(),
            is_valid: true,
            is_partitioned: false,
            is_bound: false,
            predicate: Some("(d IS NULL)".into()),
            parts: Vec::new(),
            keys,
        }
    }

    fn key(text: &str, operator: &str, other: &str) -> Key {
        Key {
            text: text.into(),
            operator: Some(format!("OPERATOR(pg_catalog.{operator})")),
            other: Some(other.into()),
            is_order: false,
            is_usual: true,
            is_descending: text == "b",
            has_nulls_first: text == "b",
        }
    }

    #[test]
    fn an_index_is_asked_in_its_own_language() {
        let btree = queries(&index("btree", vec![key("a", "=", "integer"), key("b", "=", "text")])).expect("queries");
        assert_eq!(
            btree,
            [
                "SELECT 1 FROM ONLY \"t\" WHERE a OPERATOR(pg_catalog.=) (SELECT NULL::integer) AND b OPERATOR(pg_catalog.=) (SELECT NULL::text) AND (d IS NULL)",
                "SELECT 1 FROM ONLY \"t\" WHERE a OPERATOR(pg_catalog.=) (SELECT NULL::integer) AND (d IS NULL) ORDER BY b DESC NULLS FIRST",
                "SELECT 1 FROM ONLY \"t\" WHERE (d IS NULL) ORDER BY a NULLS LAST, b DESC NULLS FIRST",
            ]
        );
        let gin = queries(&index("gin", vec![key("tags", "@>", "text[]")])).expect("queries");
        assert_eq!(
            gin,
            ["SELECT 1 FROM ONLY \"t\" WHERE tags OPERATOR(pg_catalog.@>) (SELECT NULL::text[]) AND (d IS NULL)"]
        );
        let nearest = Key { is_order: true, ..key("v", "<->", "vector") };
        let hnsw = queries(&index("hnsw", vec![nearest])).expect("queries");
        assert_eq!(
            hnsw,
            [
                "SELECT 1 FROM ONLY \"t\" WHERE (d IS NULL) ORDER BY v OPERATOR(pg_catalog.<->) (SELECT NULL::vector) LIMIT 1"
            ]
        );
        assert!(
            queries(&index("gist", vec![Key { operator: None, ..key("x", "=", "box") }])).expect("none").is_empty()
        );
    }

    #[test]
    fn every_index_of_a_plan_is_found() {
        let plan = r#"[{"Plan":{"Node Type":"Bitmap Heap Scan","Plans":[{"Node Type":"Result"},{"Index Name":"a"},{"Index Name":"b"}]}}]"#;
        assert_eq!(used_indexes(plan), BTreeSet::from(["a".to_owned(), "b".to_owned()]));
    }
}
