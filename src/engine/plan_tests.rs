//! An edit is seen for what it is.

use std::sync::Arc;

use super::Drift;
use crate::engine::ledger::{Row, State};
use crate::kind::StoreKind;
use crate::project::migration::{Header, Script, Version};

fn word(applied: &str, now: &str) -> &'static str {
    let row = Row {
        store: StoreKind::Postgres,
        version: Version::new("1"),
        name: "a".into(),
        checksum: String::new(),
        text: Some(applied.into()),
        state: State::Applied,
        steps_done: 1,
        steps_total: 1,
        started_at: String::new(),
        finished_at: None,
        actor: String::new(),
        lyrox: String::new(),
        error_code: None,
        run: None,
        has_down: false,
        down_text: None,
        undone: None,
    };
    let script = Script {
        path: "migrations/1_a.up.sql".into(),
        text: now.into(),
        checksum: "other".into(),
        header: Header::default(),
        includes: std::collections::BTreeMap::new(),
        foreign: None,
    };
    let drift = Drift::Edited { row, script: Arc::new(script) }.refined();
    assert!(drift.error().hint_text().is_some_and(|hint| hint.contains("lyrox db repair --accept 1 --only postgres")));
    drift.word()
}

#[test]
fn an_edit_is_seen_for_what_it_is() {
    for (applied, now, expected) in [
        ("A;\nB;\n", "A;\nC;\n", "changed"),
        ("A;\nB;\n", "A;\n", "shortened"),
        ("A;\nB;\n", "A;\nB", "shortened"),
        ("A;\n", "A;\nB;\n", "changed"),
        ("A;\n\n", "A;\n", "changed"),
        ("-- lyrox: lock-timeout 1s\nA;\n", "-- lyrox: lock-timeout 2s\nA;\n", "header changed"),
        ("// lyrox: vars\n[]\n", "[]\n", "header changed"),
        ("-- a\nA;\n", "-- a\nB;\n", "changed"),
        ("A;\n-- b\n", "A;\n-- c\n", "changed"),
        // What differs is a file that it includes.
        ("A @b.lua\n", "A @b.lua\n", "changed"),
    ] {
        assert_eq!(word(applied, now), expected, "{applied:?} {now:?}");
    }
}
