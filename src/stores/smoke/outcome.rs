//! The outcome of a test that looks at several objects: which are as they should be, which are not. Pure.

use crate::error::{Code, Error};
use crate::stores::smoke::Verdict;

/// What a test found, object by object.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Objects that did what is declared.
    pub passed: usize,
    /// What was seen of them, for the line.
    pub notes: Vec<String>,
    /// The catalog itself says that something of the snapshot is missing or weaker.
    pub missing: Vec<String>,
    /// Tried, and not as declared.
    pub failed: Vec<String>,
    /// Not tried, and why.
    pub untried: Vec<String>,
}

impl Outcome {
    /// The verdict. What fails by trying while the schema is not the snapshot's is not judged: it may follow
    /// from what is missing, which fails its own test.
    pub fn verdict(mut self, differences: &[String], noun: (&str, &str), sample: Option<String>) -> Verdict {
        if let Some(difference) = differences.first() {
            let unjudged = std::mem::take(&mut self.failed);
            self.untried.extend(unjudged.into_iter().map(|what| format!("{what} (not judged: {difference})")));
        }
        let mut wrong = std::mem::take(&mut self.missing);
        wrong.append(&mut self.failed);
        if let Some(first) = wrong.first().cloned() {
            let error = Error::new(Code::SmokeFailed, first);
            let rest = wrong[1..].join("\n");
            return Verdict::Fail(if rest.is_empty() { error } else { error.why(rest) });
        }
        if self.passed == 0
            && let Some(why) = self.untried.first()
        {
            return Verdict::Skip(why.clone(), sample);
        }
        let word = if self.passed == 1 { noun.0 } else { noun.1 };
        let mut line = format!("{} {word}", self.passed);
        self.notes.dedup();
        if !self.notes.is_empty() {
            line.push_str(&format!(", {}", self.notes.join(", ")));
        }
        if !self.untried.is_empty() {
            line.push_str(&format!("; {} not tried: {}", self.untried.len(), self.untried[0]));
        }
        Verdict::Pass(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_a_difference_is_not_judged() {
        let failed = Outcome { failed: vec!["a".into()], passed: 1, ..Outcome::default() };
        assert!(matches!(failed.clone().verdict(&[], ("key", "keys"), None), Verdict::Fail(_)));
        assert!(matches!(failed.verdict(&["policy x is missing".into()], ("key", "keys"), None), Verdict::Pass(_)));
        let missing = Outcome { missing: vec!["b is missing".into()], ..Outcome::default() };
        assert!(matches!(missing.verdict(&["b is missing".into()], ("key", "keys"), None), Verdict::Fail(_)));
        let untried = Outcome { untried: vec!["why".into()], ..Outcome::default() };
        assert!(matches!(untried.verdict(&[], ("key", "keys"), None), Verdict::Skip(why, None) if why == "why"));
    }
}
