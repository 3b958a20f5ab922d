//! Documents expire as declared. The server looks for them once a minute only, so none is waited for: what has to
//! be true for it to work is proved instead.

use bson::doc;

use super::MongodbSmoke;
use super::document::field_types;
use crate::error::Result;
use crate::stores::smoke::outcome::Outcome;

impl MongodbSmoke<'_> {
    /// The indexes that expire documents have one field, which the validator makes a date, and the server's
    /// monitor is on.
    pub(super) async fn judge_expiry(&mut self, name: &str) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let Some(collection) = self.collections.get(name).cloned() else { return Ok(outcome) };
        let schema = collection.validator.get_document("$jsonSchema").cloned().unwrap_or_default();
        for (index, seconds) in collection.indexes.iter().filter_map(|index| Some((index, index.expires?))) {
            let Some(path) = index.key.keys().next().filter(|_| index.key.len() == 1) else {
                outcome
                    .failed
                    .push(format!("index `{}` of `{name}` has several fields: it expires nothing", index.name));
                continue;
            };
            match field_types(&schema, path) {
                Some(types) if !types.iter().any(|kind| kind == "date" || kind == "array") => {
                    outcome
                        .failed
                        .push(format!("`{name}.{path}` is no date by the validator: `{}` expires nothing", index.name));
                }
                _ => {
                    outcome.passed += 1;
                    outcome.notes.push(format!("{seconds} s after `{path}`"));
                }
            }
        }
        // Who may not ask is told nothing.
        let asked = doc! { "getParameter": 1, "ttlMonitorEnabled": 1 };
        let admin = self.store.connected().client.database("admin");
        if let Ok(reply) = admin.run_command(asked).await
            && matches!(reply.get_bool("ttlMonitorEnabled"), Ok(false))
        {
            outcome.failed.push("the server's TTL monitor is off: no document expires".into());
        }
        Ok(outcome)
    }
}
