//! What a statement is, from its first words: whether it can run in a transaction, ends one, carries
//! data. Only what decides how it is run; it knows nothing of what the statement means.

/// How a statement has to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// In a transaction or out of it.
    Plain,
    /// Only outside a transaction: `CREATE INDEX CONCURRENTLY`, `VACUUM`, `CREATE DATABASE`.
    Bare,
    /// `CALL` and `DO`: in a transaction; outside one they may commit by themselves.
    Procedure,
    /// `ALTER TYPE ... ADD VALUE`: the value cannot be used before the transaction ends.
    AddValue,
    /// Begins or ends a transaction.
    Control,
    /// `SAVEPOINT`, `RELEASE`, `ROLLBACK TO`: only inside a transaction.
    Savepoint,
    /// `COPY ... FROM STDIN` with its data behind it.
    CopyIn,
    /// `COPY ... TO STDOUT`: its answer has nowhere to go.
    CopyOut,
    /// `DISCARD ALL`: would give up the lock.
    Discard,
    /// `SET standard_conforming_strings`: changes how what follows is read.
    Quoting,
}

/// The first tokens of a statement outside parentheses: words in lower case, names as `"`, other
/// tokens as their first character. Of statements whose first word says that they are plain it keeps no more.
#[derive(Debug, Default)]
pub struct Head {
    words: Vec<Word>,
    is_plain: bool,
    /// `CONCURRENTLY` stands inside parentheses, as an option.
    pub has_inner_concurrently: bool,
}

/// The beginning of a word in lower case; longer than every word that is looked for.
#[derive(Clone, Copy, Debug)]
struct Word {
    bytes: [u8; LONGEST_WORD],
    len: u8,
}

/// Longer than `standard_conforming_strings`.
const LONGEST_WORD: usize = 31;

impl Word {
    fn new(word: &str) -> Self {
        let mut end = word.len().min(LONGEST_WORD);
        while !word.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = [0; LONGEST_WORD];
        bytes[..end].copy_from_slice(&word.as_bytes()[..end]);
        bytes[..end].make_ascii_lowercase();
        Self { bytes, len: u8::try_from(end).unwrap_or(0) }
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }
}

/// Enough to reach `CONCURRENTLY` and `STDIN` in every form of the grammar.
const LONGEST: usize = 32;

/// Whether a statement with this first word is, or may be, something else than plain.
fn is_telling(word: &str) -> bool {
    matches!(
        word,
        "alter"
            | "abort"
            | "begin"
            | "call"
            | "cluster"
            | "commit"
            | "copy"
            | "create"
            | "discard"
            | "do"
            | "drop"
            | "end"
            | "prepare"
            | "reindex"
            | "release"
            | "rollback"
            | "savepoint"
            | "set"
            | "start"
            | "vacuum"
    )
}

impl Head {
    /// Forgets the last statement.
    pub fn clear(&mut self) {
        self.words.clear();
        self.is_plain = false;
        self.has_inner_concurrently = false;
    }

    /// Takes the next token.
    pub fn push(&mut self, word: &str) {
        if self.is_plain || self.words.len() >= LONGEST {
            return;
        }
        let word = Word::new(word);
        self.is_plain = self.words.is_empty() && !is_telling(word.as_str());
        self.words.push(word);
    }

    /// Whether the first word says that the statement is plain, whatever follows.
    pub fn is_plain(&self) -> bool {
        self.is_plain
    }

    /// The word at a place; empty behind the end.
    pub fn word(&self, at: usize) -> &str {
        self.words.get(at).map_or("", Word::as_str)
    }

    /// Whether the statement makes a table.
    pub fn makes_table(&self) -> bool {
        self.word(0) == "create" && self.words.iter().take(5).any(|word| word.as_str() == "table")
    }

    /// Whether a function or procedure is made, whose body may be `BEGIN ATOMIC ... END`.
    pub fn makes_routine(&self) -> bool {
        let at = if (self.word(1), self.word(2)) == ("or", "replace") { 3 } else { 1 };
        self.word(0) == "create" && matches!(self.word(at), "function" | "procedure")
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|found| found.as_str() == word)
    }

    fn has_pair(&self, first: &str, second: &str) -> bool {
        self.words.windows(2).any(|pair| pair[0].as_str() == first && pair[1].as_str() == second)
    }

    /// What the statement is.
    pub fn kind(&self) -> Kind {
        match (self.word(0), self.word(1)) {
            ("begin" | "commit" | "rollback" | "end" | "abort" | "start", _) => self.control(),
            ("prepare", "transaction") => Kind::Control,
            ("savepoint" | "release", _) => Kind::Savepoint,
            ("call" | "do", _) => Kind::Procedure,
            ("vacuum", _) | ("alter", "system") | ("create" | "drop", "database" | "tablespace") => Kind::Bare,
            ("create", "index") if self.word(2) == "concurrently" => Kind::Bare,
            ("create", "unique") if (self.word(2), self.word(3)) == ("index", "concurrently") => Kind::Bare,
            ("drop", "index") if self.word(2) == "concurrently" => Kind::Bare,
            ("reindex", what) => {
                let is_wide = matches!(what, "schema" | "database" | "system");
                if is_wide || self.has_inner_concurrently || self.word(2) == "concurrently" {
                    Kind::Bare
                } else {
                    Kind::Plain
                }
            }
            ("cluster", "") => Kind::Bare,
            ("cluster", "verbose") if self.word(2).is_empty() => Kind::Bare,
            ("alter", "database") if self.has_pair("set", "tablespace") => Kind::Bare,
            ("alter", "table") if self.has("detach") && self.has("concurrently") => Kind::Bare,
            ("alter", "type") if self.has_pair("add", "value") => Kind::AddValue,
            ("create" | "drop", "subscription") => Kind::Bare,
            ("alter", "subscription") if self.has("refresh") || self.has("publication") => Kind::Bare,
            ("discard", "all") => Kind::Discard,
            ("copy", _) if self.has_pair("from", "stdin") => Kind::CopyIn,
            ("copy", _) if self.has_pair("to", "stdout") => Kind::CopyOut,
            ("set", _) if self.has("standard_conforming_strings") => Kind::Quoting,
            _ => Kind::Plain,
        }
    }

    fn control(&self) -> Kind {
        let at = if matches!(self.word(1), "work" | "transaction") { 2 } else { 1 };
        match (self.word(0), self.word(at)) {
            ("rollback", "to") => Kind::Savepoint,
            ("commit" | "rollback", "prepared") => Kind::Bare,
            _ => Kind::Control,
        }
    }

    /// The value that `SET standard_conforming_strings` gives, where it can be seen.
    pub fn turns_quoting_off(&self) -> bool {
        ["off", "false", "0", "no"].into_iter().any(|word| self.words.last().is_some_and(|last| last.as_str() == word))
    }
}
