//! Indexes are used: of each one a query is asked that it serves, and the plan has to name it.
//!
//! Where another index serves the same query the planner may take that one; then the index is asked for by name,
//! and has to narrow the search down by its first field.

use bson::{Bson, Document, doc};

use super::document::number;
use super::{Index, MongodbSmoke};
use crate::error::Result;
use crate::stores::mongodb::error::refusal;
use crate::stores::smoke::outcome::Outcome;

impl MongodbSmoke<'_> {
    /// Asks for the plan of a query for every index of a collection.
    pub(super) async fn try_indexes(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(collection) = self.collections.get(name).cloned() else { return Ok(outcome) };
        for index in &collection.indexes {
            if index.is_hidden {
                outcome.untried.push(format!("`{}` is hidden from the planner", index.name));
                continue;
            }
            let Some(filter) = self.filter(index) else {
                outcome.untried.push(format!("`{}`: no query is known that it serves", index.name));
                continue;
            };
            let plan = match self.plan(name, index, &filter, false).await? {
                Ok(plan) => plan,
                Err(words) => {
                    outcome.untried.push(format!("`{}`: {words}", index.name));
                    continue;
                }
            };
            if used(&plan).contains(&index.name) {
                outcome.passed += 1;
                continue;
            }
            // A text index cannot be asked for by name; there is only one of them.
            let other = used(&plan).first().cloned();
            match self.plan(name, index, &filter, true).await? {
                Ok(plan) if used(&plan).contains(&index.name) && narrows(&plan, index) => {
                    outcome.passed += 1;
                    if let Some(other) = other {
                        outcome.notes.push(format!("`{}` where `{other}` is not taken", index.name));
                    }
                }
                Ok(_) => outcome.failed.push(format!("index `{}` of `{name}` is not used for its fields", index.name)),
                Err(words) => {
                    outcome
                        .failed
                        .push(format!("index `{}` of `{name}` is not used for its fields: {words}", index.name));
                }
            }
        }
        Ok(outcome)
    }

    /// What to look for so that the index serves; none where its kind is not known.
    fn filter(&mut self, index: &Index) -> Option<Document> {
        let mut filter = index.partial.clone().unwrap_or_default();
        for (path, kind) in &index.key {
            if path.contains("$**") {
                let below = path.strip_suffix("$**").unwrap_or_default();
                filter.insert(format!("{below}lyrox"), self.source.text());
                continue;
            }
            match kind.as_str() {
                // The fields of a text index are asked for together.
                _ if path == "_fts" || path == "_ftsx" => {
                    filter.insert("$text", doc! { "$search": "lyrox" });
                }
                Some("text") => {
                    filter.insert("$text", doc! { "$search": "lyrox" });
                }
                Some("2dsphere") => {
                    let around = doc! { "type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]] };
                    filter.insert(path, doc! { "$geoWithin": { "$geometry": around } });
                }
                Some("2d") => {
                    filter.insert(path, doc! { "$geoWithin": { "$box": [[0, 0], [1, 1]] } });
                }
                Some("hashed") => {}
                None if number(kind).is_some() => {}
                _ => return None,
            }
            if !filter.contains_key(path) && !filter.contains_key("$text") {
                filter.insert(path, self.source.text());
            }
        }
        Some(filter)
    }

    async fn plan(
        &self,
        name: &str,
        index: &Index,
        filter: &Document,
        by_name: bool,
    ) -> Result<std::result::Result<Document, String>> {
        let mut find = doc! { "find": name, "filter": filter.clone() };
        if let Some(collation) = &index.collation {
            find.insert("collation", collation.clone());
        }
        if by_name {
            find.insert("hint", &index.name);
        }
        let explain = doc! { "explain": find, "verbosity": "queryPlanner" };
        match self.database().run_command(explain).await {
            Ok(plan) => Ok(Ok(plan)),
            Err(error) => match refusal(&error) {
                Some(no) => Ok(Err(no.shown())),
                None => Err(self.lost("explain a query", &error)),
            },
        }
    }
}

/// Whether the plan looks at a part of the index only: the bounds of its first field are not everything.
fn narrows(plan: &Document, index: &Index) -> bool {
    let Some((first, kind)) = index.key.iter().next() else { return false };
    if number(kind).is_none() || first.contains("$**") || index.is_sparse {
        return true;
    }
    let mut bounds = Vec::new();
    collect(&Bson::Document(plan.get_document("queryPlanner").cloned().unwrap_or_default()), &mut |key, value| {
        if key == "indexBounds"
            && let Some(of_first) = value.as_document().and_then(|bounds| bounds.get_array(first).ok())
        {
            bounds.push(format!("{of_first:?}"));
        }
    });
    bounds.is_empty() || bounds.iter().any(|bounds| !bounds.contains("MinKey"))
}

/// The names of the indexes in the winning plan.
fn used(plan: &Document) -> Vec<String> {
    let mut found = Vec::new();
    collect(&Bson::Document(plan.get_document("queryPlanner").cloned().unwrap_or_default()), &mut |key, value| {
        if let (true, Bson::String(name)) = (key == "indexName", value) {
            found.push(name.clone());
        }
    });
    found
}

/// Calls with every key and value below a plan, but those of plans that were thrown away.
fn collect(value: &Bson, call: &mut dyn FnMut(&str, &Bson)) {
    match value {
        Bson::Document(document) => {
            for (key, value) in document.iter().filter(|(key, _)| *key != "rejectedPlans") {
                call(key, value);
                collect(value, call);
            }
        }
        Bson::Array(values) => values.iter().for_each(|value| collect(value, call)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_winning_plan_counts() {
        let plan = doc! { "queryPlanner": { "winningPlan": { "inputStage": { "indexName": "a",
        "indexBounds": { "x": ["[\"l\", \"l\"]"] } } }, "rejectedPlans": [{ "indexName": "b" }] } };
        assert_eq!(used(&plan), ["a"]);
        let index = |field: &str| Index {
            name: "a".into(),
            key: doc! { field: 1 },
            is_unique: false,
            partial: None,
            collation: None,
            is_hidden: false,
            is_sparse: false,
            expires: None,
        };
        assert!(narrows(&plan, &index("x")));
        let whole = doc! { "queryPlanner": { "winningPlan": { "indexBounds": { "x": ["[MinKey, MaxKey]"] } } } };
        assert!(!narrows(&whole, &index("x")));
    }
}
