//! The splitter: cuts a script into statements exactly where PostgreSQL and psql would, and says how
//! each has to be run. Pure; it is the one place that reads SQL.

mod classify;
mod lexer;

#[cfg(test)]
mod tests;

pub use classify::Kind;
pub use lexer::{Lexer, Token};

use std::ops::Range;

use self::classify::Head;
use self::lexer::Open;

/// One statement of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    start: u32,
    end: u32,
    data: (u32, u32),
    /// How it has to be run.
    pub kind: Kind,
    /// How many relations it makes or locks, roughly.
    pub relations: u16,
}

impl Statement {
    /// Its bytes: from its first to its last token, without the `;`.
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The bytes of the data behind `COPY ... FROM STDIN`, without the closing `\.`.
    pub fn data(&self) -> Range<usize> {
        self.data.0 as usize..self.data.1 as usize
    }

    /// Its text.
    pub fn text<'a>(&self, script: &'a str) -> &'a str {
        &script[self.range()]
    }
}

/// Why a script cannot be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, in words.
    pub what: String,
    /// The byte offset.
    pub at: usize,
    /// What to do about it.
    pub hint: &'static str,
}

impl From<Open> for Problem {
    fn from(open: Open) -> Self {
        Self {
            what: format!("a {} is not closed", open.what),
            at: open.at,
            hint: "close it; nothing after it can be read",
        }
    }
}

/// Cuts a script into its statements. Empty ones are left out.
///
/// # Errors
/// A quote, comment, parenthesis, body or data block that is not closed; a command of psql.
pub fn split(script: &str) -> Result<Vec<Statement>, Problem> {
    if u32::try_from(script.len()).is_err() {
        return Err(Problem { what: "the file is larger than 4 GiB".into(), at: 0, hint: "split it" });
    }
    let mut splitter = Splitter {
        script,
        lexer: Lexer::new(script, 0),
        statements: Vec::new(),
        head: Head::default(),
        start: None,
        end: 0,
        parentheses: Vec::new(),
        body: None,
        relations: 0,
    };
    splitter.run()?;
    Ok(splitter.statements)
}

struct Splitter<'a> {
    script: &'a str,
    lexer: Lexer<'a>,
    statements: Vec<Statement>,
    head: Head,
    /// Where the current statement began.
    start: Option<usize>,
    /// Where its last token ended.
    end: usize,
    /// Where the open parentheses are.
    parentheses: Vec<usize>,
    /// A `BEGIN ATOMIC` body: where it began, and how many `END`s it wants.
    body: Option<(usize, usize)>,
    relations: u16,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), Problem> {
        // Most statements of large files are short.
        self.statements.reserve(self.script.len() / 512);
        let mut previous = (Token::Symbol(0), 0..0);
        while let Some((token, range)) = self.lexer.token()? {
            match token {
                Token::Symbol(b';') if self.parentheses.is_empty() && self.body.is_none() => {
                    self.finish(Some(range.end))?;
                }
                Token::Symbol(b'\\') => self.backslash(range.start)?,
                _ => self.take(token, &range, &previous),
            }
            previous = (token, range);
        }
        if let Some((at, _)) = self.body {
            return Err(Problem {
                what: "the body that begins here has no END".into(),
                at,
                hint: "close the body with END;",
            });
        }
        if let Some(at) = self.parentheses.first() {
            return Err(Problem {
                what: "a parenthesis is not closed".into(),
                at: *at,
                hint: "close it; the file may be half written",
            });
        }
        self.finish(None)
    }

    fn take(&mut self, token: Token, range: &Range<usize>, previous: &(Token, Range<usize>)) {
        self.start.get_or_insert(range.start);
        self.end = range.end;
        let text = &self.script[range.clone()];
        let is_outside = self.parentheses.is_empty();
        match token {
            Token::Symbol(b'(') => self.parentheses.push(range.start),
            Token::Symbol(b')') => {
                self.parentheses.pop();
            }
            // Bodies and relations are in definitions alone.
            Token::Word if !self.head.is_plain() => self.word(text, range, previous),
            _ => {}
        }
        if is_outside && !self.head.is_plain() {
            match token {
                Token::Word => self.head.push(text),
                Token::Name => self.head.push("\""),
                Token::Text => self.head.push(text.trim_matches('\'')),
                // Parenthesised parts and what ties names together say nothing about the kind.
                Token::Symbol(b'(' | b')') => {}
                Token::Number | Token::Symbol(_) => self.head.push(text),
            }
        }
    }

    fn word(&mut self, text: &str, range: &Range<usize>, previous: &(Token, Range<usize>)) {
        let is = |word: &str| text.eq_ignore_ascii_case(word);
        let before = &self.script[previous.1.clone()];
        // After a dot or AS even a reserved word is only a name.
        let is_name = previous.0 == Token::Symbol(b'.') || before.eq_ignore_ascii_case("as");
        match &mut self.body {
            Some((_, ends)) if !is_name => {
                if is("case") {
                    *ends += 1;
                } else if is("end") {
                    *ends -= 1;
                    if *ends == 0 {
                        self.body = None;
                    }
                }
            }
            None if is("atomic") && before.eq_ignore_ascii_case("begin") && self.head.makes_routine() => {
                self.body = Some((range.start, 1));
            }
            _ => {}
        }
        if !self.parentheses.is_empty() && is("concurrently") {
            self.head.has_inner_concurrently = true;
        }
        // Each of these makes an index or a sequence beside the table.
        if ["primary", "unique", "exclude", "serial", "bigserial", "smallserial", "identity"].into_iter().any(is) {
            self.relations = self.relations.saturating_add(1);
        }
    }

    fn finish(&mut self, behind: Option<usize>) -> Result<(), Problem> {
        let Some(start) = self.start.take() else { return Ok(()) };
        let kind = self.head.kind();
        if kind == Kind::Quoting {
            self.lexer.has_escapes = self.head.turns_quoting_off();
        }
        let relations = if self.head.makes_table() { self.relations.saturating_add(1) } else { 1 };
        let data = if kind == Kind::CopyIn { self.data(start, behind)? } else { (0, 0) };
        self.statements.push(Statement {
            start: offset(start),
            end: offset(self.end),
            data,
            kind,
            relations: if matches!(self.head.word(0), "create" | "alter" | "drop") { relations } else { 0 },
        });
        self.head.clear();
        self.relations = 0;
        Ok(())
    }

    /// The lines behind `COPY ... FROM STDIN;` up to the one that is `\.`.
    fn data(&mut self, start: usize, behind: Option<usize>) -> Result<(u32, u32), Problem> {
        let problem = |what: &str, at: usize| Problem {
            what: what.to_owned(),
            at,
            hint: "the data begins on the line behind the `;` and ends with a line that is `\\.`",
        };
        let behind = behind.ok_or_else(|| problem("COPY ... FROM STDIN has no data behind it", start))?;
        let rest = &self.script[behind..];
        let (line, _) = rest.split_once('\n').unwrap_or((rest, ""));
        if !line.trim().is_empty() && !line.trim_start().starts_with("--") {
            return Err(problem("there is text between COPY ... FROM STDIN and its data", behind));
        }
        let first = (behind + line.len() + 1).min(self.script.len());
        let mut at = first;
        for line in self.script[first..].split_inclusive('\n') {
            if line.trim_end_matches(['\n', '\r']) == "\\." {
                self.lexer.jump(at + line.len());
                return Ok((offset(first), offset(at)));
            }
            at += line.len();
        }
        Err(problem("the data of COPY ... FROM STDIN does not end", start))
    }

    /// A backslash outside quotes is a command of psql, which the server does not know.
    fn backslash(&mut self, at: usize) -> Result<(), Problem> {
        let line = self.script[at..].lines().next().unwrap_or("");
        let command: String = line.chars().skip(1).take_while(|c| !c.is_whitespace()).take(20).collect();
        // pg_dump brackets its output with these two; they guard psql alone.
        if self.start.is_none() && matches!(command.as_str(), "restrict" | "unrestrict") {
            self.lexer.jump(at + line.len());
            return Ok(());
        }
        Err(Problem {
            what: format!("`\\{command}` is a command of psql, not SQL"),
            at,
            hint: "take it out; the server does not know psql's commands",
        })
    }
}

/// Offsets fit: `split` refuses longer texts.
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
