//! A text that matches a pattern: the simple part of PostgreSQL's regular expressions, and LIKE. Pure.
//! What is not understood is said, not guessed: the caller skips.

/// The shortest text of a simple kind that a regular expression matches; none where it is not simple.
///
/// Understood: literals, `.`, classes, `\d \w \s` and escapes, groups, alternatives (the first is taken),
/// `* + ? {n} {n,} {n,m}`, and anchors.
///
/// `pick(n)` chooses one of n; where it always says 0, the answer is always the same.
pub fn example(pattern: &str, pick: &mut dyn FnMut(usize) -> usize) -> Option<String> {
    let characters: Vec<char> = pattern.chars().collect();
    let mut reader = Reader { characters: &characters, at: 0, pick };
    let text = reader.alternatives()?;
    (reader.at == characters.len()).then_some(text)
}

/// A text that a LIKE pattern matches; `free` stands where anything may.
pub fn like(pattern: &str, free: &str) -> String {
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '%' => text.push_str(free),
            '_' => text.push('x'),
            '\\' => text.extend(characters.next()),
            c => text.push(c),
        }
    }
    text
}

struct Reader<'a> {
    characters: &'a [char],
    at: usize,
    pick: &'a mut dyn FnMut(usize) -> usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += 1;
        Some(c)
    }

    fn takes(&mut self, c: char) -> bool {
        let is_there = self.peek() == Some(c);
        self.at += usize::from(is_there);
        is_there
    }

    fn alternatives(&mut self) -> Option<String> {
        let first = self.sequence()?;
        while self.takes('|') {
            self.sequence()?;
        }
        Some(first)
    }

    fn sequence(&mut self) -> Option<String> {
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| !matches!(c, '|' | ')')) {
            if c == '^' || c == '$' {
                self.at += 1;
                continue;
            }
            let start = self.at;
            let first = self.atom()?;
            let count = self.count()?;
            let end = self.at;
            if count > 0 {
                text.push_str(&first);
            }
            for _ in 1..count {
                self.at = start;
                text.push_str(&self.atom()?);
            }
            self.at = end;
        }
        Some(text)
    }

    fn atom(&mut self) -> Option<String> {
        Some(match self.next()? {
            '(' => {
                if self.takes('?') && !self.takes(':') {
                    return None;
                }
                let text = self.alternatives()?;
                self.takes(')').then_some(text)?
            }
            '[' => self.class()?.to_string(),
            '.' => self.member(&[('a', 'z')])?.to_string(),
            '\\' => match self.next()? {
                'd' => self.member(&[('0', '9')])?.to_string(),
                'w' => self.member(&[('a', 'z'), ('0', '9')])?.to_string(),
                c => escape(c)?.to_string(),
            },
            '*' | '+' | '?' | '{' => return None,
            c => c.to_string(),
        })
    }

    /// How often the atom before stands; at least once where that is allowed, so that texts are not empty.
    fn count(&mut self) -> Option<usize> {
        let count = match self.peek() {
            Some('?') => {
                self.at += 1;
                1
            }
            Some('*' | '+') => {
                self.at += 1;
                1 + (self.pick)(8)
            }
            Some('{') => {
                self.at += 1;
                let low = self.number()?;
                let high = if self.takes(',') { self.number().unwrap_or(usize::MAX) } else { low };
                if !self.takes('}') || low > 1000 {
                    return None;
                }
                let low = if low == 0 { high.min(1) } else { low };
                low + (self.pick)(high.saturating_sub(low).min(8) + 1)
            }
            _ => 1,
        };
        // Laziness changes what is captured, not what matches.
        self.takes('?');
        Some(count)
    }

    fn number(&mut self) -> Option<usize> {
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        self.characters[start..self.at].iter().collect::<String>().parse().ok()
    }

    /// A member of the ranges: the first, or another of the first range that is wide.
    fn member(&mut self, ranges: &[(char, char)]) -> Option<char> {
        let (low, high) = *ranges.iter().find(|(low, high)| high > low).or_else(|| ranges.first())?;
        let size = u32::from(high).checked_sub(u32::from(low))? + 1;
        let step = u32::try_from((self.pick)(size as usize)).ok()?;
        char::from_u32(u32::from(low) + step)
    }

    fn class(&mut self) -> Option<char> {
        let is_negated = self.takes('^');
        let mut ranges: Vec<(char, char)> = Vec::new();
        loop {
            let c = self.next()?;
            match c {
                ']' if !ranges.is_empty() => break,
                '[' if self.peek() == Some(':') => {
                    self.at += 1;
                    let mut name = String::new();
                    loop {
                        match self.next()? {
                            ':' if self.takes(']') => break,
                            c => name.push(c),
                        }
                    }
                    ranges.extend(named(&name)?);
                }
                '\\' => match self.next()? {
                    'd' => ranges.push(('0', '9')),
                    'w' => ranges.extend([('a', 'z'), ('A', 'Z'), ('0', '9'), ('_', '_')]),
                    's' => ranges.push((' ', ' ')),
                    c => {
                        let c = escape(c)?;
                        ranges.push((c, c));
                    }
                },
                low => {
                    let is_range = self.peek() == Some('-') && self.characters.get(self.at + 1) != Some(&']');
                    if is_range {
                        self.at += 1;
                        let high = self.next()?;
                        ranges.push((low, high));
                    } else {
                        ranges.push((low, low));
                    }
                }
            }
        }
        if is_negated {
            let outside = |c: &char| !ranges.iter().any(|(low, high)| low <= c && c <= high);
            let free: Vec<char> = ('a'..='z').chain('0'..='9').chain('A'..='Z').filter(outside).collect();
            let at = (self.pick)(free.len());
            free.get(at).copied()
        } else {
            self.member(&ranges)
        }
    }
}

fn escape(c: char) -> Option<char> {
    Some(match c {
        'd' => '1',
        'w' => 'x',
        's' => ' ',
        'n' => '\n',
        't' => '\t',
        'D' | 'S' => 'x',
        'W' => '-',
        // Word boundaries, back references and the like are not simple.
        c if c.is_ascii_alphanumeric() => return None,
        c => c,
    })
}

fn named(name: &str) -> Option<Vec<(char, char)>> {
    Some(match name {
        "alpha" => vec![('a', 'z'), ('A', 'Z')],
        "digit" => vec![('0', '9')],
        "alnum" => vec![('a', 'z'), ('A', 'Z'), ('0', '9')],
        "lower" => vec![('a', 'z')],
        "upper" => vec![('A', 'Z')],
        "space" | "blank" => vec![(' ', ' ')],
        "xdigit" => vec![('0', '9'), ('a', 'f'), ('A', 'F')],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_match_their_patterns() {
        for (pattern, text) in [
            (r"^[^@]+@[^@]+\.[a-z]{2,}$", "a@a.aa"),
            (r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "00000000-0000-0000-0000-000000000000"),
            (r"^\d{3}-\d+$", "000-0"),
            (r"^(draft|sent)$", "draft"),
            (r"^[A-Z]{3}$", "AAA"),
            (r"^#?[[:xdigit:]]{6}$", "#000000"),
            (r"^https?://.+", "https://a"),
            (r"^[a-z][a-z0-9_]{0,39}$", "aa"),
            (r"^(?:a|b)*$", "a"),
            (r"^[-_]$", "-"),
            (r"^[]x]$", "]"),
        ] {
            assert_eq!(example(pattern, &mut |_| 0).as_deref(), Some(text), "{pattern}");
        }
        for pattern in [r"(?=a)b", r"\mword", r"(a)\1", "[a", "(a", "a)", "*a"] {
            assert_eq!(example(pattern, &mut |_| 0), None, "{pattern}");
        }
        let long = example("^[a-z]{3,5}$", &mut |count| count - 1);
        assert_eq!(long.as_deref(), Some("zzzzz"));
    }

    #[test]
    fn like_patterns_are_filled_in() {
        assert_eq!(like(r"%@_\%%", "lyrox"), "lyrox@x%lyrox");
    }
}
