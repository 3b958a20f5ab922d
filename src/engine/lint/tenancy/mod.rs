//! Tenancy: whether every table and collection keeps the tenants apart once all files have run.

mod alter;
mod mongodb;
mod policy;
mod read;
mod schema;

use std::ops::Range;

use squawk_syntax::SyntaxNode;

use self::read::Reader;
use self::schema::{Key, Kind, Name, Schema, Spot, Table};
use super::{File, Hit, Parsed};
use crate::config::Settings;
use crate::config::file::Tenancy;

/// The bytes of a node without the blanks and comments around it.
pub fn span(node: &SyntaxNode) -> Range<usize> {
    let tokens = || {
        node.descendants_with_tokens()
            .filter_map(|element| element.into_token())
            .filter(|token| !token.kind().is_trivia())
    };
    let range = node.text_range();
    let start = tokens().next().map_or(range.start(), |token| token.text_range().start());
    let end = node.last_token().and_then(|last| {
        std::iter::successors(Some(last), |token| token.prev_token()).find(|token| !token.kind().is_trivia())
    });
    let end = end.map_or(range.end(), |token| token.text_range().end());
    usize::from(start)..usize::from(end).max(usize::from(start))
}

/// Judges the whole series and adds hits to the files that hold the cause.
pub fn judge(files: &[File<'_>], parsed: &[Parsed], settings: &Settings, tenancy: &Tenancy, hits: &mut [Vec<Hit>]) {
    let Some(column) = tenancy.column.as_deref() else { return };
    let postgres = settings.postgres.as_ref();
    let schema = postgres.map_or("public", |section| section.schema.as_str());
    let mut reader = Reader::new(schema, postgres.and_then(|section| section.app_role.as_deref()));
    for (number, (file, parsed)) in files.iter().zip(parsed).enumerate() {
        if let Parsed::Sql(source) = parsed
            && !file.is_down
        {
            reader.file(number, source);
        }
    }
    let judge = Judge { schema: &reader.schema, tenancy, column, default_schema: schema };
    for (spot, hit) in judge.all() {
        if let Some(hits) = hits.get_mut(spot.file) {
            hits.push(hit.statement(spot.statement));
        }
    }
    mongodb::judge(files, parsed, column, &tenancy.global, hits);
}

struct Judge<'a> {
    schema: &'a Schema,
    tenancy: &'a Tenancy,
    column: &'a str,
    default_schema: &'a str,
}

impl Judge<'_> {
    fn shown(&self, name: &Name) -> String {
        if name.0 == self.default_schema { name.1.clone() } else { format!("{}.{}", name.0, name.1) }
    }

    fn is_named(&self, listed: &str, name: &Name) -> bool {
        listed == self.shown(name) || listed == name.1
    }

    fn is_global(&self, name: &Name) -> bool {
        name.0 == "lyrox" || self.tenancy.global.iter().any(|listed| self.is_named(listed, name))
    }

    fn is_list(&self, name: &Name) -> bool {
        self.tenancy.table.as_deref().is_some_and(|listed| self.is_named(listed, name))
    }

    /// A table whose rows are the tenants'.
    fn is_tenants(&self, name: &Name) -> bool {
        !self.is_global(name) && (self.is_list(name) || self.schema.tables.contains_key(name))
    }

    fn all(&self) -> Vec<(Spot, Hit)> {
        let mut found = Vec::new();
        for (name, table) in self.schema.tables.iter().filter(|(name, _)| !self.is_global(name)) {
            let has_column = self.is_list(name) || self.judge_column(name, table, &mut found);
            if has_column {
                self.judge_security(name, table, &mut found);
            }
            if has_column && !self.is_list(name) {
                self.judge_keys(name, table, &mut found);
            }
        }
        self.judge_views(&mut found);
        found
    }

    fn judge_column(&self, name: &Name, table: &Table, found: &mut Vec<(Spot, Hit)>) -> bool {
        let shown = self.shown(name);
        let column = self.column;
        match table.columns.get(column) {
            None if table.is_open => return true,
            None => {
                let spot = table.dropped.get(column).unwrap_or(&table.made);
                let mut hint = format!("add the column {column}, or list {shown} under `[tenancy] global`");
                let folded = |listed: &&String| listed.eq_ignore_ascii_case(&name.1);
                if let Some(listed) = self.tenancy.global.iter().find(folded) {
                    hint = format!("`[tenancy] global` names `{listed}`; without quotes the table is `{}`", name.1);
                }
                let message = format!("table `{shown}` has no column `{column}`");
                found.push((spot.clone(), Hit::new("tenant-column-missing", spot.at.clone(), message).hint(hint)));
                return false;
            }
            Some(false) => found.push((
                table.made.clone(),
                Hit::new(
                    "tenant-column-nullable",
                    table.made.at.clone(),
                    format!("`{column}` of `{shown}` may be NULL"),
                )
                .hint("a row without a tenant is seen by nobody and belongs to nobody: NOT NULL"),
            )),
            Some(true) => {}
        }
        true
    }

    fn judge_security(&self, name: &Name, table: &Table, found: &mut Vec<(Spot, Hit)>) {
        let shown = self.shown(name);
        let quoted = quote(name, self.default_schema);
        let spot = table.switched_off.as_ref().unwrap_or(&table.made).clone();
        if !table.has_rls {
            let message = format!("row-level security is not enabled on `{shown}`");
            let hit = Hit::new("tenant-rls-missing", spot.at.clone(), message).hint(format!(
                "ALTER TABLE {quoted} ENABLE ROW LEVEL SECURITY; ALTER TABLE {quoted} FORCE ROW LEVEL SECURITY"
            ));
            found.push((spot, hit));
            return;
        }
        if !table.is_forced {
            let message = format!("row-level security is not forced on `{shown}`: its owner sees every tenant");
            let hit = Hit::new("tenant-rls-not-forced", spot.at.clone(), message)
                .hint(format!("ALTER TABLE {quoted} FORCE ROW LEVEL SECURITY"));
            found.push((spot, hit));
        }
        if table.policies.is_empty() {
            let message = format!("`{shown}` has row-level security and no policy: nobody sees a row");
            let hit = Hit::new("tenant-policy-missing", table.made.at.clone(), message).hint(format!(
                "CREATE POLICY tenant ON {quoted} USING (... = nullif(current_setting('{}', true), ''))",
                self.tenancy.setting
            ));
            found.push((table.made.clone(), hit));
        }
        for policy in table.policies.values() {
            if policy.is_open {
                let message = format!("the policy lets every tenant into `{shown}`: its condition is true");
                let hit = Hit::new("tenant-policy-open", policy.spot.at.clone(), message)
                    .hint("compare the tenant column, or make it AS RESTRICTIVE, or give it TO a role of its own");
                found.push((policy.spot.clone(), hit));
            }
            if let Some(at) = &policy.fragile {
                let message = "the setting may be unset (an error) or '' (what an earlier transaction leaves behind)";
                let hit = Hit::new("tenant-policy-setting", at.clone(), message)
                    .hint(format!("nullif(current_setting('{}', true), '')", self.tenancy.setting));
                found.push((policy.spot.clone(), hit));
            }
        }
    }

    fn judge_keys(&self, name: &Name, table: &Table, found: &mut Vec<(Spot, Hit)>) {
        let shown = self.shown(name);
        let column = self.column;
        for key in &table.keys {
            let holds = key.columns.iter().flatten().any(|of| of == column);
            let is_led = key.columns.first().is_some_and(|first| first.as_deref() == Some(column));
            // One column alone is a surrogate: a guess at another tenant's id tells nothing.
            let is_surrogate = key.kind == Kind::Primary && key.columns.len() == 1;
            if is_led || is_surrogate || key.kind == Kind::Other || (key.kind == Kind::Exclusion && holds) {
                continue;
            }
            let listed = columns(key);
            if key.kind != Kind::Index && !holds {
                let message = format!(
                    "the unique key ({listed}) of `{shown}` does not hold `{column}`: it tells a tenant what others have"
                );
                let hit = Hit::new("tenant-unique", key.spot.at.clone(), message).hint(format!("({column}, {listed})"));
                found.push((key.spot.clone(), hit));
            } else if !self.serves_foreign_key(table, key) {
                let message =
                    format!("the index ({listed}) of `{shown}` is not led by `{column}`, by which every query filters");
                let rest: Vec<&str> =
                    key.columns.iter().map(|of| of.as_deref().unwrap_or("...")).filter(|of| *of != column).collect();
                let hit = Hit::new("tenant-index", key.spot.at.clone(), message)
                    .hint(format!("({column}, {})", rest.join(", ")));
                found.push((key.spot.clone(), hit));
            }
        }
        for key in &table.foreign {
            if key.columns.iter().any(|of| of == column) || self.is_list(&key.target) || !self.is_tenants(&key.target) {
                continue;
            }
            let target = self.shown(&key.target);
            let listed = key.columns.join(", ");
            let message =
                format!("the foreign key ({listed}) from `{shown}` to `{target}` may point at another tenant's row");
            let hit = Hit::new("tenant-foreign-key", key.spot.at.clone(), message).hint(format!(
                "FOREIGN KEY ({column}, {listed}) REFERENCES {} ({column}, ...)",
                quote(&key.target, self.default_schema)
            ));
            found.push((key.spot.clone(), hit));
        }
    }

    /// The check of a foreign key looks rows up without the tenant: its index is led by its columns.
    fn serves_foreign_key(&self, table: &Table, key: &Key) -> bool {
        let first = key.columns.first().and_then(Option::as_deref);
        key.kind == Kind::Index
            && table.foreign.iter().any(|foreign| foreign.columns.first().map(String::as_str) == first)
    }

    fn judge_views(&self, found: &mut Vec<(Spot, Hit)>) {
        for (name, view) in &self.schema.views {
            let is_read = |table: &&Name| view.reads.contains(&table.1) && self.is_tenants(table);
            let Some(table) = self.schema.tables.keys().find(is_read) else { continue };
            if self.is_global(name) || view.is_invoker {
                continue;
            }
            let (shown, table) = (self.shown(name), self.shown(table));
            let (message, hint) = if view.is_materialized {
                (
                    format!(
                        "the materialized view `{shown}` keeps every tenant's rows of `{table}`: no policy looks at it"
                    ),
                    format!(
                        "keep it from the application and list `{shown}` under `[tenancy] global`, or make it a view"
                    ),
                )
            } else {
                (
                    format!("the view `{shown}` reads `{table}` with its owner's eyes, around the policies"),
                    "CREATE VIEW ... WITH (security_invoker = true), PostgreSQL 15 and later".to_owned(),
                )
            };
            found.push((view.spot.clone(), Hit::new("tenant-view", view.spot.at.clone(), message).hint(hint)));
        }
    }
}

fn columns(key: &Key) -> String {
    key.columns.iter().map(|column| column.as_deref().unwrap_or("...")).collect::<Vec<_>>().join(", ")
}

/// A table's name as it is written in SQL.
fn quote(name: &Name, default_schema: &str) -> String {
    let one = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
        if is_plain && !text.is_empty() { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    };
    if name.0 == default_schema { one(&name.1) } else { format!("{}.{}", one(&name.0), one(&name.1)) }
}
