//! Declared key spaces: which key belongs to which. Pure.

use std::collections::BTreeMap;

use crate::config::file::{KeyType, Keyspace};

/// The declared key spaces of a project.
#[derive(Clone, Debug, Default)]
pub struct Spaces {
    spaces: Vec<Space>,
}

#[derive(Clone, Debug)]
struct Space {
    name: String,
    /// The texts between the placeholders, the prefix in the first.
    parts: Vec<Vec<u8>>,
}

impl Spaces {
    /// Reads the patterns.
    pub fn new(prefix: &str, keyspaces: &BTreeMap<String, Keyspace>) -> Self {
        let spaces = keyspaces
            .iter()
            .map(|(name, space)| {
                let mut parts = vec![prefix.as_bytes().to_vec()];
                let mut rest = space.pattern.as_str();
                while let Some((before, after)) = rest.split_once('{') {
                    push(&mut parts, before);
                    parts.push(Vec::new());
                    rest = after.split_once('}').map_or("", |(_, rest)| rest);
                }
                push(&mut parts, rest);
                Space { name: name.clone(), parts }
            })
            .collect();
        Self { spaces }
    }

    /// The key space that a key belongs to: of several that fit, the one that spells most of it out.
    pub fn of(&self, key: &[u8]) -> Option<&str> {
        let fitting = self.spaces.iter().filter(|space| fits(&space.parts, key));
        fitting.max_by_key(|space| space.parts.iter().map(Vec::len).sum::<usize>()).map(|space| space.name.as_str())
    }
}

fn push(parts: &mut [Vec<u8>], text: &str) {
    if let Some(last) = parts.last_mut() {
        last.extend(text.bytes());
    }
}

/// Whether the parts stand in the key in this order, something between each two.
fn fits(parts: &[Vec<u8>], key: &[u8]) -> bool {
    let Some((first, rest)) = parts.split_first() else { return false };
    let Some(mut key) = key.strip_prefix(first.as_slice()) else { return false };
    let Some((last, middle)) = rest.split_last() else { return key.is_empty() };
    for part in middle {
        let Some(at) = (1..=key.len()).find(|at| key[*at..].starts_with(part)) else { return false };
        key = &key[at + part.len()..];
    }
    key.len() > last.len() && key.ends_with(last)
}

/// Whether what lies in the space must never be evicted.
pub fn is_queue(name: &str, space: &Keyspace) -> bool {
    let names = format!("{name} {}", space.pattern).to_lowercase();
    matches!(space.kind, KeyType::List | KeyType::Stream)
        || ["queue", "bull", "job"].iter().any(|word| names.contains(word))
}

/// A glob that matches what begins with a text, whatever characters the text holds.
pub fn glob(prefix: &str) -> String {
    let mut glob = String::new();
    for c in prefix.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            glob.push('\\');
        }
        glob.push(c);
    }
    glob.push('*');
    glob
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_belong_to_the_space_that_says_most() {
        let space =
            |pattern: &str| Keyspace { pattern: pattern.into(), kind: KeyType::String, ttl: None, tenant: None };
        let spaces = Spaces::new(
            "app:",
            &BTreeMap::from([
                ("cache".into(), space("cache:{company}:{id}")),
                ("api".into(), space("cache:api:{id}")),
                ("queue".into(), space("queue:{id}:wait")),
                ("config".into(), space("config")),
            ]),
        );
        for (key, name) in [
            ("app:cache:c1:7", Some("cache")),
            ("app:cache:api:7", Some("api")),
            ("app:cache:c1", None),
            ("app:queue:a:wait", Some("queue")),
            ("app:queue::wait", None),
            ("app:config", Some("config")),
            ("app:configs", None),
            ("other:config", None),
        ] {
            assert_eq!(spaces.of(key.as_bytes()), name, "{key}");
        }
    }

    #[test]
    fn a_prefix_is_matched_as_it_is_written() {
        assert_eq!(glob("a[1]*:"), "a\\[1\\]\\*:*");
    }
}
