//! Redis' migration files: one command a line, quoted as in redis-cli. Pure: it reads text and makes
//! commands; it knows no connection.

use crate::config::Variables;
use crate::error::{Code, Error, Place, Result};
use crate::project::migration::Script;
use crate::project::text::sha256;
use crate::project::words::{Word, split};
use crate::stores::expand::expand;

/// One command of a script.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its words, with prefix, files and variables filled in.
    pub words: Vec<Vec<u8>>,
    /// Where it stands in the text: a byte offset.
    pub offset: usize,
    /// How many characters of the line a caret underlines.
    pub width: usize,
    /// The line as it is in the file.
    pub shown: String,
    /// The hash of the line and what it includes: tells an edit between two runs.
    pub hash: String,
}

impl Command {
    /// Its name, in upper case.
    pub fn name(&self) -> String {
        self.word(0).to_ascii_uppercase()
    }

    /// Its name and, for commands that have them, its subcommand: `FUNCTION LOAD`.
    pub fn full_name(&self) -> String {
        let name = self.name();
        let has_subcommands = ["FUNCTION", "SCRIPT", "ACL", "XGROUP", "CLIENT", "OBJECT", "MEMORY"].contains(&&*name);
        if has_subcommands && self.words.len() > 1 {
            format!("{name} {}", self.word(1).to_ascii_uppercase())
        } else {
            name
        }
    }

    /// A word as text; empty where there is none.
    pub fn word(&self, at: usize) -> String {
        self.words.get(at).map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default()
    }

    /// How many bytes it is.
    pub fn size(&self) -> usize {
        self.words.iter().map(Vec::len).sum()
    }

    /// The name of the library that a `FUNCTION LOAD` loads: it stands in the code's first line.
    pub fn library(&self) -> Option<String> {
        let code = String::from_utf8_lossy(self.words.last()?).into_owned();
        let first = code.lines().next()?.strip_prefix("#!")?.to_owned();
        first.split_whitespace().find_map(|word| word.strip_prefix("name=").map(str::to_owned))
    }

    /// Where it stands.
    pub fn place(&self, script: &Script) -> Place {
        script.place(self.offset, self.width)
    }
}

/// Reads a script.
///
/// # Errors
/// `LYX-FILE-SYNTAX` with line and column, `LYX-FILE-EMPTY`, or a command that lyrox does not run.
/// Nothing is sent.
pub fn read(script: &Script, prefix: &str, variables: &Variables) -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    let mut start = 0;
    for line in script.text.split('\n') {
        let line_start = start;
        start += line.len() + 1;
        let shown = line.trim();
        if shown.is_empty() || shown.starts_with('#') {
            continue;
        }
        let wrong = |offset: usize, width: usize, why: String| {
            Error::new(Code::FileSyntax, format!("`{}` cannot be read", script.path))
                .why(why)
                .at(script.place(line_start + offset, width))
                .data("nothing was changed")
        };
        let found = split(line).map_err(|error| wrong(error.offset, 1, error.why.to_owned()))?;
        let mut included = String::new();
        let mut words = Vec::with_capacity(found.len());
        for word in found {
            let (offset, width) = (word.start, word.bytes.len());
            let filled = fill_in(word, script, prefix, variables, &mut included);
            words.push(filled.map_err(|why| wrong(offset, width, why))?);
        }
        let command = Command {
            words,
            offset: line_start + (line.len() - line.trim_start().len()),
            width: shown.chars().count(),
            shown: shown.to_owned(),
            hash: sha256(format!("{shown}\0{included}").as_bytes())[..16].to_owned(),
        };
        refuse(&command).map_err(|(why, hint)| {
            Error::new(Code::FileSyntax, format!("`{}` has a command that lyrox does not run", script.path))
                .why(why)
                .at(command.place(script))
                .data("nothing was changed")
                .hint(hint)
        })?;
        commands.push(command);
    }
    if commands.is_empty() {
        return Err(Error::new(Code::FileEmpty, format!("`{}` has no command in it", script.path))
            .data("nothing was changed")
            .hint(format!("write the migration, or delete `{}`", script.path)));
    }
    Ok(commands)
}

fn fill_in(
    word: Word,
    script: &Script,
    prefix: &str,
    variables: &Variables,
    included: &mut String,
) -> Result<Vec<u8>, String> {
    // Bytes that are no text hold neither names nor variables.
    let Ok(text) = String::from_utf8(word.bytes.clone()) else { return Ok(word.bytes) };
    if word.is_bare
        && let Some(name) = text.strip_prefix('@').filter(|name| !name.is_empty())
    {
        if name.starts_with('@') {
            return Ok(name.as_bytes().to_vec());
        }
        let file = script.includes.get(name).ok_or_else(|| format!("`@{name}` is no file of the migrations folder"))?;
        included.push_str(file);
        return Ok(file.clone().into_bytes());
    }
    let text = text.replace("{{prefix}}", prefix);
    let text = if script.header.vars { expand(&text, variables)? } else { text };
    Ok(text.into_bytes())
}

/// What a migration must not do: the reason and the way to do what was meant.
fn refuse(command: &Command) -> Result<(), (String, String)> {
    let name = command.name();
    let sub = command.word(1).to_ascii_uppercase();
    let out = "take it out of the file";
    let (why, hint) = match (name.as_str(), sub.as_str()) {
        ("FLUSHALL" | "FLUSHDB" | "SWAPDB", _) => {
            ("removes the keys of everyone on the server", "lyrox db reset removes what is the project's")
        }
        ("FUNCTION" | "SCRIPT", "FLUSH") | ("FUNCTION", "RESTORE") => {
            ("removes what others loaded", "FUNCTION DELETE NAME removes one library")
        }
        ("SHUTDOWN" | "DEBUG" | "REPLICAOF" | "SLAVEOF" | "FAILOVER" | "CLUSTER" | "MODULE" | "BGREWRITEAOF", _)
        | ("BGSAVE" | "SAVE" | "SYNC" | "PSYNC" | "LATENCY" | "SLOWLOG", _)
        | ("ACL", "LOAD" | "SAVE")
        | ("SCRIPT" | "FUNCTION", "KILL" | "DEBUG") => ("concerns the whole server, not the project", out),
        ("CONFIG", _) => (
            "changes the whole server for everyone on it, and is forgotten when it restarts",
            "write it into the server's own configuration",
        ),
        ("MULTI" | "EXEC" | "DISCARD" | "WATCH" | "UNWATCH", _) => {
            ("is transaction control: lyrox runs each command together with its journal entry", out)
        }
        ("SELECT" | "AUTH" | "HELLO" | "RESET" | "QUIT" | "CLIENT" | "ASKING" | "READONLY" | "READWRITE", _) => {
            ("changes lyrox's own connection", "the URL names database and user")
        }
        ("MOVE", _) => ("moves a key to another database, where lyrox does not see it", out),
        (
            "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE" | "SUNSUBSCRIBE" | "MONITOR",
            _,
        ) => ("waits for messages", out),
        (
            "BLPOP" | "BRPOP" | "BRPOPLPUSH" | "BLMOVE" | "BLMPOP" | "BZPOPMIN" | "BZPOPMAX" | "BZMPOP" | "WAIT"
            | "WAITAOF",
            _,
        ) => ("waits for others", "use the form that does not block"),
        ("KEYS", _) => {
            ("reads every key of the server and stops it meanwhile", "SCAN with MATCH reads in small pieces")
        }
        _ => return Ok(()),
    };
    let shown = if matches!(name.as_str(), "FUNCTION" | "SCRIPT" | "ACL") { format!("{name} {sub}") } else { name };
    Err((format!("`{shown}` {why}"), hint.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> Script {
        Script {
            path: "migrations/1_a.up.redis".into(),
            text: text.into(),
            checksum: String::new(),
            header: crate::project::migration::Header { vars: true, ..Default::default() },
            includes: [("lib.lua".to_owned(), "#!lua name=app\nreturn '{{prefix}}'".to_owned())].into(),
            foreign: None,
        }
    }

    fn commands(text: &str) -> Vec<Command> {
        read(&script(text), "app:", &Variables::default()).expect("commands")
    }

    fn refused(text: &str) -> Error {
        read(&script(text), "app:", &Variables::default()).expect_err("an error")
    }

    #[test]
    fn lines_become_commands_with_everything_filled_in() {
        let found = commands(
            "# lyrox: vars\n\n  set \"{{prefix}}a b\" '{{prefix}}' \nFUNCTION LOAD REPLACE @lib.lua\nSET {{prefix}}at @@x\nSET {{prefix}}q \"@lib.lua\"\nSET {{prefix}}d $${X}\n",
        );
        assert_eq!(found[0].words, [b"set".to_vec(), b"app:a b".to_vec(), b"app:".to_vec()]);
        assert_eq!((found[0].name(), found[0].full_name()), ("SET".into(), "SET".into()));
        assert_eq!(found[1].full_name(), "FUNCTION LOAD");
        assert_eq!(found[1].library().as_deref(), Some("app"));
        assert!(found[1].word(3).contains("{{prefix}}"), "a file is taken as it is");
        assert_eq!(
            (found[2].word(2), found[3].word(2), found[4].word(2)),
            ("@x".into(), "@lib.lua".into(), "${X}".into())
        );
        let place = found[0].place(&script("# lyrox: vars\n\n  set \"{{prefix}}a b\" '{{prefix}}' \n"));
        assert_eq!((place.line, place.column), (3, 3));
    }

    #[test]
    fn what_cannot_be_read_is_placed() {
        let at = |text: &str| {
            let error = refused(text);
            let place = error.place().expect("a place").clone();
            (error.code(), place.line, place.column)
        };
        assert_eq!(at("PING\n SET é \"x\n"), (Code::FileSyntax, 2, 8));
        assert_eq!(at("SET a ${LYROX_NOT_SET_ANYWHERE}\n"), (Code::FileSyntax, 1, 7));
        assert_eq!(at("FUNCTION LOAD @other.lua"), (Code::FileSyntax, 1, 15));
        assert_eq!(refused("# only words\n").code(), Code::FileEmpty);
    }

    #[test]
    fn what_must_not_run_is_refused() {
        for line in [
            "flushall",
            "FLUSHDB ASYNC",
            "SWAPDB 0 1",
            "SHUTDOWN",
            "SELECT 1",
            "MULTI",
            "EXEC",
            "WATCH a",
            "SUBSCRIBE c",
            "MONITOR",
            "CONFIG SET save ''",
            "KEYS *",
            "FUNCTION FLUSH",
            "SCRIPT FLUSH",
            "BLPOP a 0",
            "AUTH x",
            "CLIENT KILL x",
        ] {
            let error = refused(&format!("PING\n{line}\n"));
            assert_eq!((error.code(), error.place().expect("a place").line), (Code::FileSyntax, 2), "{line}");
            assert!(error.hint_text().is_some() && error.data_text() == Some("nothing was changed"), "{line}");
        }
        for line in ["SCRIPT LOAD 'return 1'", "ACL SETUSER x on", "FUNCTION DELETE x", "SET {{prefix}}flushall 1"] {
            assert_eq!(commands(line).len(), 1, "{line}");
        }
    }
}
