//! A step made ready: its text with variables filled in, cut into statements, checked for what cannot
//! be run; and which steps share a transaction. Pure: nothing here is sent.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::splitter::{Kind, Lexer, Problem, Statement, split};
use super::{block, citus};
use crate::config::Variables;
use crate::config::file::Transaction;
use crate::engine::plan::Step;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::Script;
use crate::stores::{ApplyOptions, Preview, told};

/// At most so many files share a transaction.
const LARGEST_CHUNK: usize = 64;
/// At most so many relations are made in a shared transaction: the server's default lock table holds
/// some three thousand new tables with an index each.
const LARGEST_RELATIONS: u32 = 2_000;

/// So many statements of a file are shown.
const SHOWN: usize = 1_000;

/// How a step is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Text and ledger row in one transaction; a recorded step has no text.
    Transaction,
    /// Statement by statement, journaled before and after.
    Journal,
}

/// A step made ready.
#[derive(Clone, Debug)]
pub struct Prepared<'a> {
    /// Its place among the steps.
    pub index: usize,
    /// The step.
    pub step: &'a Step,
    /// What runs.
    pub text: Cow<'a, str>,
    /// The statements of the text.
    pub statements: Arc<Vec<Statement>>,
    /// How it is run.
    pub mode: Mode,
    fillings: Vec<Filling>,
}

/// A `${VAR}` and what took its place.
#[derive(Clone, Debug)]
struct Filling {
    at: usize,
    len: usize,
    original_at: usize,
    original_len: usize,
}

impl Prepared<'_> {
    /// A statement's text.
    pub fn statement(&self, at: usize) -> &str {
        self.statements[at].text(&self.text)
    }

    /// The place of a byte of the text in the file as it is on disk, with what stands there underlined.
    pub fn place(&self, offset: usize) -> Place {
        let width = match Lexer::new(&self.text, offset.min(self.text.len())).token() {
            Ok(Some((_, range))) if range.start == offset => {
                self.text[range].lines().next().unwrap_or("").chars().count()
            }
            _ => 1,
        };
        self.step.script.place(self.original(offset), width)
    }

    /// The place of a whole statement: its first line is underlined.
    pub fn place_of(&self, statement: usize) -> Place {
        let Some(found) = self.statements.get(statement) else { return Place::file(&self.step.script.path) };
        let width = found.text(&self.text).lines().next().unwrap_or("").trim_end().chars().count();
        self.step.script.place(self.original(found.range().start), width)
    }

    fn original(&self, offset: usize) -> usize {
        let mut shift = 0isize;
        for filling in &self.fillings {
            if offset < filling.at {
                break;
            }
            if offset < filling.at + filling.len {
                return filling.original_at;
            }
            shift = (filling.original_at + filling.original_len) as isize - (filling.at + filling.len) as isize;
        }
        offset.saturating_add_signed(shift)
    }

    /// How many relations its statements make or lock, roughly.
    pub fn relations(&self) -> u32 {
        self.statements.iter().map(|statement| u32::from(statement.relations)).sum()
    }

    /// Its number of statements.
    pub fn total(&self) -> u32 {
        u32::try_from(self.statements.len()).unwrap_or(u32::MAX)
    }
}

/// What is known before a run: the statements of scripts that were split before, so that each is split once, and whether the
/// server spreads tables.
#[derive(Debug, Default)]
pub struct Known {
    splits: Mutex<HashMap<usize, Split>>,
    has_citus: bool,
}

/// A script, which must live as long as its address stands for it, and its statements.
type Split = (Arc<Script>, Arc<Vec<Statement>>);

impl Known {
    /// Nothing is split yet.
    pub fn new(has_citus: bool) -> Self {
        Self { has_citus, ..Self::default() }
    }

    fn statements(&self, prepared: &Prepared<'_>) -> Result<Arc<Vec<Statement>>, Problem> {
        let script = &prepared.step.script;
        // What is filled in may be something else the next time.
        if script.header.vars {
            return split(&prepared.text).map(Arc::new);
        }
        let mut known = self.splits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, found)) = known.get(&Arc::as_ptr(script).addr()) {
            return Ok(found.clone());
        }
        let statements = Arc::new(split(&prepared.text)?);
        known.insert(Arc::as_ptr(script).addr(), (script.clone(), statements.clone()));
        Ok(statements)
    }
}

/// Makes every step ready.
///
/// # Errors
/// `LYX-FILE-SYNTAX`, `LYX-FILE-EMPTY` or `LYX-CONFIG-VALUE` with the place; nothing was sent.
pub fn prepare_all<'a>(steps: &'a [Step], options: &ApplyOptions, known: &Known) -> Result<Vec<Prepared<'a>>> {
    let prepared = steps
        .iter()
        .enumerate()
        .map(|(index, step)| prepare(index, step, &options.variables, known))
        .collect::<Result<Vec<_>>>()?;
    if options.transaction == Transaction::All
        && let Some(file) = prepared.iter().find(|file| file.mode == Mode::Journal)
    {
        let at = file.statements.iter().position(|statement| statement.kind == Kind::Bare).unwrap_or(0);
        return Err(Error::new(Code::FileSyntax, format!("`{}` cannot run in a transaction", file.step.script.path))
            .why("`[migrations] transaction = \"all\"` wants every file of the run in one")
            .at(file.place_of(at))
            .data("nothing was changed")
            .hint("set `transaction = \"auto\"` under [migrations] in lyrox.toml"));
    }
    Ok(prepared)
}

fn prepare<'a>(index: usize, step: &'a Step, variables: &Variables, known: &Known) -> Result<Prepared<'a>> {
    let header = &step.script.header;
    let (text, fillings) = if !step.is_ledger_only() && !header.fill.is_nothing() {
        fill_as_the_tool(step, variables)?
    } else if !step.is_ledger_only() && header.vars {
        fill(step, variables)?
    } else {
        (Cow::Borrowed(step.script.text.as_str()), Vec::new())
    };
    let mut prepared = Prepared { index, step, text, statements: Arc::default(), mode: Mode::Transaction, fillings };
    if known.has_citus && !step.is_ledger_only() {
        distribute(&mut prepared)?;
    }
    if step.is_ledger_only() {
        return Ok(prepared);
    }
    prepared.statements = known.statements(&prepared).map_err(|problem| unreadable(&prepared, problem))?;
    // Other tools take a file without a statement, and so does whoever moves here from them.
    let is_foreign = step.script.foreign.is_some();
    if prepared.statements.is_empty() && !is_foreign {
        let path = &step.script.path;
        return Err(Error::new(Code::FileEmpty, format!("`{path}` holds no statement"))
            .data("nothing was changed")
            .hint(format!("write the migration, or delete `{path}`")));
    }
    let owns_transactions = prepared.statements.iter().any(|found| found.kind == Kind::Control);
    let bare = prepared.statements.iter().position(|found| found.kind == Kind::Bare);
    if step.is_hook() && (step.script.header.no_transaction || bare.is_some()) {
        return Err(Error::new(Code::FileSyntax, format!("`{}` cannot run in a transaction", step.script.path))
            .why("a hook runs in the transaction of its migration, or in one of its own")
            .at(prepared.place_of(bare.unwrap_or(0)))
            .data("nothing was changed")
            .hint("move it into a migration with `-- lyrox: no-transaction` at its top"));
    }
    if step.script.header.no_transaction || bare.is_some() || (is_foreign && owns_transactions) {
        prepared.mode = Mode::Journal;
    }
    if is_foreign && owns_transactions {
        block::check(&prepared)?;
    }
    for at in 0..prepared.statements.len() {
        refuse(&prepared, at)?;
    }
    Ok(prepared)
}

/// Adds what the directives stand for to the end of the text; an error there is one of its directive's line.
fn distribute(prepared: &mut Prepared<'_>) -> Result<()> {
    let wanted = &prepared.step.script.header.distribute;
    if wanted.is_empty() {
        return Ok(());
    }
    let end = prepared.step.script.text.len();
    // A file may end without its last semicolon, or in a comment.
    prepared.text.to_mut().push_str("\n;");
    for (distribution, statement) in wanted.iter().zip(citus::statements(wanted)?) {
        prepared.text.to_mut().push('\n');
        let at = prepared.text.len();
        prepared.text.to_mut().push_str(&statement);
        prepared.fillings.push(Filling {
            at,
            len: statement.len(),
            original_at: distribution.offset,
            original_len: end.saturating_sub(distribution.offset),
        });
    }
    Ok(())
}

fn unreadable(prepared: &Prepared<'_>, problem: Problem) -> Error {
    Error::new(Code::FileSyntax, problem.what)
        .at(prepared.place(problem.at))
        .data("nothing was changed")
        .hint(problem.hint)
}

/// Refuses what would defeat the ledger.
fn refuse(prepared: &Prepared<'_>, at: usize) -> Result<()> {
    let is_journaled = prepared.mode == Mode::Journal;
    // `block::check` has looked at them.
    let owns_transactions =
        prepared.step.script.foreign.is_some() && prepared.statements.iter().any(|found| found.kind == Kind::Control);
    let (what, why, hint) = match prepared.statements[at].kind {
        Kind::Control | Kind::Savepoint if owns_transactions => return Ok(()),
        Kind::Control => (
            "the file controls its own transaction",
            "lyrox runs each file in one transaction with its ledger row; a COMMIT inside would tear them apart",
            "take BEGIN and COMMIT out; what must not run in a transaction goes into a file with `-- lyrox: no-transaction` at its top",
        ),
        Kind::Savepoint if is_journaled => (
            "a savepoint needs a transaction",
            "the statements of this file run one by one",
            "take the savepoint out, or move it to a file of its own",
        ),
        Kind::Discard => (
            "DISCARD ALL would give up the lock",
            "it releases the advisory lock that keeps other runs out",
            "take it out; settings are reset between files anyway",
        ),
        Kind::CopyOut => ("COPY ... TO STDOUT has nowhere to write to", "a migration has no output", "take it out"),
        _ => return Ok(()),
    };
    Err(Error::new(Code::FileSyntax, what).why(why).at(prepared.place_of(at)).data("nothing was changed").hint(hint))
}

/// A value that goes by the name of a secret is kept out of every message.
fn hide(name: &str, value: &str) {
    if ["PASS", "SECRET", "TOKEN", "KEY"].iter().any(|part| name.to_ascii_uppercase().contains(part)) {
        crate::secret::register(value);
    }
}

/// Fills in what another tool would.
fn fill_as_the_tool<'a>(step: &'a Step, variables: &Variables) -> Result<(Cow<'a, str>, Vec<Filling>)> {
    let original = &step.script.text;
    let variable = |name: &str| variables.get(name).map(|(value, _)| value);
    let values = step.script.header.fill.values(original, &variable).map_err(|unfilled| {
        Error::new(Code::FileSyntax, unfilled.what)
            .at(step.script.place(unfilled.at, 2))
            .data("nothing was changed")
            .hint(unfilled.hint)
    })?;
    let mut text = String::with_capacity(original.len());
    let mut fillings = Vec::with_capacity(values.len());
    let mut from = 0;
    for filled in values {
        hide(&filled.name, &filled.value);
        text.push_str(&original[from..filled.range.start]);
        let (at, len) = (text.len(), filled.value.len());
        fillings.push(Filling { at, len, original_at: filled.range.start, original_len: filled.range.len() });
        text.push_str(&filled.value);
        from = filled.range.end;
    }
    text.push_str(&original[from..]);
    Ok((Cow::Owned(text), fillings))
}

/// Replaces each `${VAR}`.
fn fill<'a>(step: &'a Step, variables: &Variables) -> Result<(Cow<'a, str>, Vec<Filling>)> {
    let original = &step.script.text;
    let mut text = String::with_capacity(original.len());
    let mut fillings = Vec::new();
    let mut from = 0;
    while let Some(found) = original[from..].find("${") {
        let at = from + found;
        let end = original[at..].find('}').map(|end| at + end);
        let name = end.map_or("", |end| &original[at + 2..end]);
        let is_name =
            !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()) && end.is_some();
        let value = is_name.then(|| variables.get(name)).flatten().map(|(value, _)| value);
        let (Some(end), Some(value)) = (end, value) else {
            let error = if is_name {
                Error::new(Code::ConfigValue, format!("`{name}` is not set"))
                    .why("the file asks for it with `lyrox: vars`")
                    .hint(format!("set {name} in the environment or in .env"))
            } else {
                Error::new(Code::FileSyntax, "`${` begins no variable")
                    .hint("write `${NAME}`, or take `lyrox: vars` out of the header")
            };
            return Err(error.at(step.script.place(at, 2)).data("nothing was changed"));
        };
        hide(name, &value);
        text.push_str(&original[from..at]);
        fillings.push(Filling { at: text.len(), len: value.len(), original_at: at, original_len: end + 1 - at });
        text.push_str(&value);
        from = end + 1;
    }
    text.push_str(&original[from..]);
    Ok((Cow::Owned(text), fillings))
}

/// How many of the first steps belong to one migration: itself and the hooks around it, which live and die with it.
/// A journaled migration and its hooks each stand alone.
pub fn unit(files: &[Prepared<'_>]) -> usize {
    let Some(first) = files.first() else { return 0 };
    let is_same =
        |file: &&Prepared<'_>| !first.step.version.as_str().is_empty() && file.step.version == first.step.version;
    let count = files.iter().take_while(is_same).count().max(1);
    if files[..count].iter().any(|file| file.mode == Mode::Journal) { 1 } else { count }
}

/// How many of the first steps share a transaction; 0 where the first cannot run in one.
pub fn chunk(files: &[Prepared<'_>], options: &ApplyOptions) -> usize {
    let shares = match options.transaction {
        Transaction::All => return files.len(),
        Transaction::Auto => options.is_empty,
        Transaction::Each => false,
    };
    let mut relations = 0;
    let mut migrations = 0;
    let mut count = 0;
    while count < files.len() {
        let unit = &files[count..count + unit(&files[count..])];
        if unit[0].mode == Mode::Journal {
            return count;
        }
        // A hook of the run has a transaction of its own.
        let stands_alone = unit[0].step.is_hook() && unit[0].step.version.as_str().is_empty();
        relations += unit.iter().map(Prepared::relations).sum::<u32>();
        let is_full =
            count > 0 && (!shares || stands_alone || migrations == LARGEST_CHUNK || relations > LARGEST_RELATIONS);
        if is_full {
            return count;
        }
        count += unit.len();
        migrations += 1;
        // A new value of an enum cannot be used before the transaction that adds it ends.
        let adds_value = unit.iter().flat_map(|file| file.statements.iter()).any(|found| found.kind == Kind::AddValue);
        if adds_value || stands_alone {
            return count;
        }
    }
    files.len()
}

/// What a dry run shows.
///
/// # Errors
/// As [`prepare_all`].
pub fn preview(steps: &[Step], options: &ApplyOptions, known: &Known) -> Result<Vec<Preview>> {
    let prepared = prepare_all(steps, options, known)?;
    for file in &prepared {
        told::refuse_shortened(file.step, file.statements.len())?;
    }
    let mut previews = Vec::with_capacity(prepared.len());
    let mut number = 0;
    let mut rest = prepared.as_slice();
    while !rest.is_empty() {
        let count = chunk(rest, options);
        let transaction = (count > 0).then(|| {
            number += 1;
            number
        });
        let (group, later) = rest.split_at(count.max(1));
        previews.extend(group.iter().map(|file| Preview {
            transaction,
            count: file.statements.len(),
            statements: (0..file.statements.len().min(SHOWN)).map(|at| line(file.statement(at))).collect(),
        }));
        rest = later;
    }
    Ok(previews)
}

/// A statement on one line, shortened.
pub fn line(statement: &str) -> String {
    const LONGEST: usize = 100;
    let mut line = String::new();
    for word in statement.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
            line.truncate(end);
            line.push_str(" ...");
            break;
        }
    }
    line
}
