//! The place of a finding, with no password in its excerpt.

use std::ops::Range;

use crate::error::Place;
use crate::project::migration::Script;
use crate::secret::MASK;

/// The place of a range. A line that holds one of the secrets is cut where the secret begins; a place
/// behind one, or inside one that spans lines, is shown without its line.
pub fn place(script: &Script, at: Range<usize>, secrets: &[Range<usize>]) -> Place {
    let text = &script.text;
    let width =
        text.get(at.clone()).and_then(|range| range.lines().next()).map_or(1, |line| line.trim_end().chars().count());
    let mut place = script.place(at.start, width);
    let start = text[..floor(text, at.start)].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let first =
        secrets.iter().filter(|secret| secret.start < end && secret.end > start).min_by_key(|secret| secret.start);
    if let Some(secret) = first {
        if secret.start < start || at.start > secret.start {
            place.text = None;
            place.width = 1;
        } else {
            let shown = &text[start..secret.start];
            place.text = Some(format!("{shown}{MASK}"));
            let room = (shown.chars().count() + MASK.len() + 1).saturating_sub(place.column);
            place.width = place.width.min(room).max(1);
        }
    }
    place
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
