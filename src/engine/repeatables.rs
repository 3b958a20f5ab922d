//! Repeatable migrations: which run again, and in which order. Pure.
//!
//! One runs after those it names with `lyrox: after NAME` and after those that make what its text refers to; where
//! nothing else decides, by store and name.

use std::collections::{BTreeMap, BTreeSet};

use super::ledger::{Row, State};
use super::plan::{Action, Step};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::{Migration, Part};
use crate::stores::names;

/// One store's part of a repeatable.
type Node<'a> = (StoreKind, &'a Migration, &'a Part);

/// Why one part waits for another: what is said and what must be is not given up, what is only mentioned is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    /// Its name stands somewhere in the text.
    Mentioned,
    /// The server needs it when the text runs.
    Needed,
    /// `lyrox: after NAME`.
    Said,
}

/// Refuses repeatables that need each other.
///
/// # Errors
/// `LYX-REPEATABLE-CYCLE` naming them.
pub fn check(files: &[Migration]) -> Result<()> {
    order(files).map(drop)
}

/// What runs again: new, changed, failed, or on ground that was rolled back.
pub fn pending(files: &[Migration], ledgers: &BTreeMap<StoreKind, Vec<Row>>) -> Vec<Step> {
    let is_pending = |store: StoreKind, file: &Migration, part: &Part| {
        let row = ledgers.get(&store).map(|rows| rows.iter().find(|row| row.version == file.version));
        row.is_some_and(|row| row.is_none_or(|row| row.state != State::Applied || row.checksum != part.up.checksum))
    };
    let nodes = nodes(files);
    if !nodes.iter().any(|(store, file, part)| is_pending(*store, file, part)) {
        return Vec::new();
    }
    // A cycle was refused when the files were read.
    let order = order(files).unwrap_or(nodes);
    let pending = order.into_iter().filter(|(store, file, part)| is_pending(*store, file, part));
    pending.map(|(store, file, part)| Step::forward(store, file, part, Action::Apply)).collect()
}

/// The rows of repeatables whose file is gone: what they made stays.
pub fn orphans<'a>(files: &[Migration], ledgers: &'a BTreeMap<StoreKind, Vec<Row>>) -> Vec<&'a Row> {
    let has_file =
        |row: &Row| files.iter().any(|file| file.version == row.version && file.parts.contains_key(&row.store));
    let rows = ledgers.values().flatten();
    rows.filter(|row| row.version.is_repeatable() && row.state != State::Reverted && !has_file(row)).collect()
}

fn nodes(files: &[Migration]) -> Vec<Node<'_>> {
    let files = files.iter().filter(|file| file.version.is_repeatable());
    let mut nodes: Vec<Node<'_>> =
        files.flat_map(|file| file.parts.iter().map(move |(store, part)| (*store, file, part))).collect();
    nodes.sort_by_key(|(store, file, _)| (*store, &file.version));
    nodes
}

fn order(files: &[Migration]) -> Result<Vec<Node<'_>>> {
    let nodes = nodes(files);
    let ties = ties(&nodes);
    let mut left: BTreeSet<usize> = (0..nodes.len()).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while !left.is_empty() {
        let waits = |at: usize, from: Tie| ties[at].iter().any(|(other, tie)| *tie >= from && left.contains(other));
        let free = |from: Tie| left.iter().copied().find(|at| !waits(*at, from));
        // Two functions that call each other are no cycle to the server: it looks inside when they run.
        let Some(next) = free(Tie::Mentioned).or_else(|| free(Tie::Needed)) else {
            return Err(cycle(&nodes, &ties, &left));
        };
        left.remove(&next);
        order.push(nodes[next]);
    }
    Ok(order)
}

/// For each part, those it waits for.
fn ties(nodes: &[Node<'_>]) -> Vec<BTreeMap<usize, Tie>> {
    let names: Vec<names::Names> = nodes.iter().map(|(store, _, part)| names::of(*store, &part.up)).collect();
    let is_said = |at: usize, other: usize| {
        let after = &nodes[at].2.up.header.after;
        let version = &nodes[other].1.version;
        after.iter().any(|name| *version == crate::project::migration::Version::repeatable(name))
    };
    let tie = |at: usize, other: usize| {
        if is_said(at, other) {
            return Some(Tie::Said);
        }
        // What is said the other way round outweighs what only looks like a reference.
        if nodes[at].0 != nodes[other].0 || is_said(other, at) {
            return None;
        }
        let made = &names[other].makes;
        if made.is_empty() || !made.is_disjoint(&names[at].makes) {
            return None;
        }
        if !made.is_disjoint(&names[at].needs) {
            return Some(Tie::Needed);
        }
        (!made.is_disjoint(&names[at].mentions)).then_some(Tie::Mentioned)
    };
    (0..nodes.len())
        .map(|at| {
            let others =
                (0..nodes.len()).filter(|other| *other != at && nodes[*other].1.version != nodes[at].1.version);
            others.filter_map(|other| Some((other, tie(at, other)?))).collect()
        })
        .collect()
}

/// Follows the ties until a part comes twice.
fn cycle(nodes: &[Node<'_>], ties: &[BTreeMap<usize, Tie>], left: &BTreeSet<usize>) -> Error {
    let mut path = Vec::new();
    let mut at = left.first().copied();
    while let Some(now) = at.filter(|now| !path.contains(now)) {
        path.push(now);
        let mut waits = ties[now].iter();
        at = waits.find(|(other, tie)| **tie >= Tie::Needed && left.contains(other)).map(|(other, _)| *other);
    }
    let from = path.iter().position(|seen| Some(*seen) == at).unwrap_or(0);
    let round: Vec<&str> = path[from..].iter().map(|at| nodes[*at].2.up.path.as_str()).collect();
    let shown: Vec<String> = round.iter().chain(round.first()).map(|path| format!("`{path}`")).collect();
    let error = Error::new(Code::RepeatableCycle, "repeatable migrations need each other")
        .why(format!("{} (each runs after the next)", shown.join(" -> ")))
        .data("nothing was changed")
        .hint("put them into one file, or say which comes first: `lyrox: after NAME` in the other's header");
    match path.get(from) {
        Some(first) => error.at(crate::error::Place::file(&nodes[*first].2.up.path)),
        None => error,
    }
}

#[cfg(test)]
#[path = "repeatables_tests.rs"]
mod tests;
