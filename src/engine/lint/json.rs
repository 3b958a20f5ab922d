//! JSON with the place of every value, and comments: MongoDB's files as lint needs them. Pure; what the
//! store's own reader makes of a file is not asked, because that fills variables in.

use std::ops::Range;

use super::Hit;

/// So deep may values lie in each other; the server's own limit is lower.
const DEEPEST: usize = 200;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its bytes.
    pub at: Range<usize>,
    /// What it is.
    pub value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// Any number.
    Number(f64),
    /// A text, escapes resolved.
    Text(String),
    /// An array.
    Array(Vec<Node>),
    /// An object, its keys in the order of the file.
    Object(Vec<(Key, Node)>),
}

/// A key of an object and where it stands.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub name: String,
    /// Its bytes, quotes included.
    pub at: Range<usize>,
}

impl Node {
    /// The value behind a key.
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.entry(name).map(|(_, value)| value)
    }

    /// A key and its value.
    pub fn entry(&self, name: &str) -> Option<&(Key, Self)> {
        self.entries().iter().find(|(key, _)| key.name == name)
    }

    /// Keys and values; none where it is no object.
    pub fn entries(&self) -> &[(Key, Self)] {
        if let Value::Object(entries) = &self.value { entries } else { &[] }
    }

    /// Its elements; none where it is no array.
    pub fn items(&self) -> &[Self] {
        if let Value::Array(items) = &self.value { items } else { &[] }
    }

    /// Its text, where it is one.
    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// Its number, extended JSON's forms included.
    pub fn number(&self) -> Option<f64> {
        match &self.value {
            Value::Number(number) => Some(*number),
            Value::Object(entries) => match entries.as_slice() {
                [(key, value)] if key.name.starts_with("$number") => value.text()?.parse().ok(),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether the server takes it for true.
    pub fn is_true(&self) -> bool {
        matches!(self.value, Value::Bool(true)) || self.number().is_some_and(|number| number != 0.0)
    }

    /// A command's name and what it names: the first key and its text.
    pub fn command(&self) -> Option<(&Key, &Self)> {
        self.entries().first().map(|(key, value)| (key, value))
    }
}

/// Reads a file: an array of commands.
///
/// # Errors
/// The hit that says what cannot be read.
pub fn read(text: &str) -> Result<Vec<Node>, Hit> {
    let mut reader = Reader { text, at: 0 };
    let root = reader.value(0)?;
    reader.blanks()?;
    if reader.at < text.len() {
        return Err(reader.wrong("nothing may stand behind the array"));
    }
    match root.value {
        Value::Array(items) => match items.iter().find(|item| item.command().is_none()) {
            Some(item) => {
                Err(Hit::new("syntax-error", item.at.clone(), "a command is an object whose first key names it"))
            }
            None => Ok(items),
        },
        _ => Err(Hit::new("syntax-error", root.at, "the file is not an array of commands")
            .hint("put [ before the first command and ] after the last")),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, why: &str) -> Hit {
        let at = self.at.min(self.text.trim_end().len().saturating_sub(1));
        Hit::new("syntax-error", at..at + 1, why)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) -> Result<(), Hit> {
        loop {
            let rest = &self.text[self.at..];
            if rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                let end = comment.find("*/").ok_or_else(|| self.wrong("a comment is not closed"))?;
                self.at += end + 4;
            } else if self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
                self.at += 1;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Node, Hit> {
        self.blanks()?;
        if depth > DEEPEST {
            return Err(self.wrong("values lie too deep in each other"));
        }
        let start = self.at;
        let value = match self.peek() {
            None => return Err(self.wrong("the file ends too soon: it may be half written")),
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.array(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(_) => self.word()?,
        };
        Ok(Node { at: start..self.at, value })
    }

    fn word(&mut self) -> Result<Value, Hit> {
        let rest = &self.text[self.at..];
        let length = rest.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(byte)).count();
        let value = match &rest[..length] {
            "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            number => match serde_json::from_str::<f64>(number) {
                Ok(number) => Value::Number(number),
                Err(_) => return Err(self.wrong("a value is expected here")),
            },
        };
        self.at += length;
        Ok(value)
    }

    fn string(&mut self) -> Result<String, Hit> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        while bytes.get(end).is_some_and(|byte| *byte != b'"') {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        if end >= bytes.len() {
            return Err(self.wrong("a quote is not closed"));
        }
        let text = serde_json::from_str(&self.text[self.at..=end]).map_err(|_| self.wrong("this is no valid text"))?;
        self.at = end + 1;
        Ok(text)
    }

    /// Whether another element follows; moves behind the comma or the closing bracket.
    fn goes_on(&mut self, close: u8) -> Result<bool, Hit> {
        self.blanks()?;
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(false)
            }
            None => Err(self.wrong("the file ends too soon: it may be half written")),
            Some(_) => Err(self.wrong(&format!("`,` or `{}` is expected here", char::from(close)))),
        }
    }

    fn is_empty(&mut self, close: u8) -> Result<bool, Hit> {
        self.at += 1;
        self.blanks()?;
        let is_empty = self.peek() == Some(close);
        self.at += usize::from(is_empty);
        Ok(is_empty)
    }

    fn array(&mut self, depth: usize) -> Result<Value, Hit> {
        let mut items = Vec::new();
        if !self.is_empty(b']')? {
            loop {
                items.push(self.value(depth + 1)?);
                if !self.goes_on(b']')? {
                    break;
                }
            }
        }
        Ok(Value::Array(items))
    }

    fn object(&mut self, depth: usize) -> Result<Value, Hit> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        if !self.is_empty(b'}')? {
            loop {
                self.blanks()?;
                let start = self.at;
                if self.peek() != Some(b'"') {
                    return Err(self.wrong("a key in double quotes is expected here"));
                }
                let name = self.string()?;
                let key = Key { name, at: start..self.at };
                if entries.iter().any(|(other, _)| other.name == key.name) {
                    let message = format!("the key `{}` stands twice in one object", key.name);
                    return Err(Hit::new("syntax-error", key.at, message));
                }
                self.blanks()?;
                if self.peek() != Some(b':') {
                    return Err(self.wrong("`:` is expected here"));
                }
                self.at += 1;
                let value = self.value(depth + 1)?;
                entries.push((key, value));
                if !self.goes_on(b'}')? {
                    break;
                }
            }
        }
        Ok(Value::Object(entries))
    }
}
