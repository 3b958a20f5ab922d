//! Ignore comments: `lyrox: lint ignore RULE` in the header for the file, further down for the statement
//! that follows. (squawk's own comments are read by squawk.)

use std::collections::BTreeSet;

use super::{File, Hit, rules};
use crate::kind::StoreKind;

/// What the comments of a file switch off.
pub struct Ignores<'a> {
    text: &'a str,
    whole: BTreeSet<&'static str>,
    /// By 0-based line: the first line that is no comment behind the directive.
    lines: Vec<(usize, BTreeSet<&'static str>)>,
}

impl Ignores<'_> {
    /// Whether a hit of a rule is covered.
    pub fn covers(&self, rule: &str, hit: &Hit) -> bool {
        if self.whole.contains(rule) {
            return true;
        }
        let line = |offset: usize| self.text[..floor(self.text, offset)].matches('\n').count();
        let (place, statement) = (line(hit.at.start), line(hit.statement));
        self.lines.iter().any(|(at, rules)| (*at == place || *at == statement) && rules.contains(rule))
    }
}

fn floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

fn marker(store: StoreKind) -> &'static str {
    match store {
        StoreKind::Postgres => "--",
        StoreKind::Mongodb => "//",
        StoreKind::Redis => "#",
    }
}

/// One name in one directive: its byte offset, the name, whether it stands in the header, its 0-based line.
struct Named<'a> {
    at: usize,
    name: &'a str,
    is_header: bool,
    line: usize,
}

fn names<'a>(file: &File<'a>) -> Vec<Named<'a>> {
    let marker = marker(file.store);
    let mut found = Vec::new();
    let mut is_header = true;
    let mut start = 0;
    for (line, text) in file.script.text.split('\n').enumerate() {
        let trimmed = text.trim_start();
        let begin = start + (text.len() - trimmed.len());
        start += text.len() + 1;
        let Some(rest) = trimmed.strip_prefix(marker) else {
            is_header = is_header && trimmed.trim_end().is_empty();
            continue;
        };
        let Some(directive) = rest.trim_start().strip_prefix("lyrox:") else { continue };
        let mut words = directive.split_whitespace();
        if (words.next(), words.next()) != (Some("lint"), Some("ignore")) {
            continue;
        }
        for word in words {
            let name = word.trim_matches(',');
            // Both are parts of the same line.
            let at = begin + (name.as_ptr() as usize - trimmed.as_ptr() as usize);
            found.push(Named { at, name, is_header, line });
        }
    }
    found
}

/// Reads the directives of a file.
pub fn ignores<'a>(file: &File<'a>) -> Ignores<'a> {
    let marker = marker(file.store);
    let lines: Vec<&str> = file.script.text.split('\n').collect();
    let mut found = Ignores { text: &file.script.text, whole: BTreeSet::new(), lines: Vec::new() };
    for named in names(file) {
        let rules = rules::expand(named.name).into_iter().map(|rule| rule.name);
        if named.is_header {
            found.whole.extend(rules);
            continue;
        }
        let is_code = |line: &&str| !line.trim().is_empty() && !line.trim_start().starts_with(marker);
        let target = lines.iter().skip(named.line).position(is_code).map(|below| named.line + below);
        if let Some(target) = target {
            found.lines.push((target, rules.collect()));
        }
    }
    found
}

/// Names in directives that are no rule.
pub fn unknown(file: &File<'_>) -> Vec<Hit> {
    let unknown = names(file).into_iter().filter(|named| rules::expand(named.name).is_empty());
    unknown
        .map(|named| {
            let message = format!("`{}` is no rule, so the comment ignores nothing", named.name);
            let hit = Hit::new("unused-ignore", named.at..named.at + named.name.len(), message);
            match rules::nearest(named.name) {
                Some(nearest) => hit.hint(format!("did you mean `{nearest}`?")),
                None => hit.hint("lyrox db lint --rules"),
            }
        })
        .collect()
}
