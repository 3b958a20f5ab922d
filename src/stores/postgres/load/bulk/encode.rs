//! Rows as COPY takes them: in binary where every column allows it, else as text.

use super::super::describe::Table;
use super::{binary, text};
use crate::error::Result;
use crate::stores::source::{Form, Row, RowSource};

/// How many rows are tried before the binary form is chosen.
const TRIED: usize = 1000;
/// What a binary COPY begins with: signature, flags, length of the extension.
const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Turns rows into bytes.
#[derive(Clone, Debug)]
pub struct Encoder {
    columns: Columns,
    has_json_texts: bool,
}

#[derive(Clone, Debug)]
enum Columns {
    Text(Vec<text::Kind>),
    Binary(Vec<binary::Kind>),
}

impl Encoder {
    /// As text: the server reads it.
    pub fn text(table: &Table, source: &dyn RowSource) -> Self {
        let kind = |name: &String| match table.columns.get(name) {
            Some(column) => match (column.is_array, matches!(column.kind.as_str(), "json" | "jsonb")) {
                (true, true) => text::Kind::ArrayOfJson,
                (true, false) => text::Kind::Array,
                (false, true) => text::Kind::Json,
                (false, false) => text::Kind::Plain,
            },
            None => text::Kind::Plain,
        };
        let columns = Columns::Text(source.columns().iter().map(kind).collect());
        Self { columns, has_json_texts: source.has_json_texts() }
    }

    /// So many columns of plain text.
    pub fn plain(columns: usize) -> Self {
        Self { columns: Columns::Text(vec![text::Kind::Plain; columns]), has_json_texts: false }
    }

    /// In binary where all columns have a form for it and the first rows can be written in it.
    ///
    /// # Errors
    /// The source cannot be read.
    pub fn best(table: &Table, source: &dyn RowSource) -> Result<Self> {
        let kinds = source.columns().iter().map(|name| binary::Kind::of(table.columns.get(name)?));
        let Some(kinds) = kinds.collect::<Option<Vec<_>>>() else { return Ok(Self::text(table, source)) };
        let encoder = Self { columns: Columns::Binary(kinds), has_json_texts: source.has_json_texts() };
        let (mut rows, mut row, mut out) = (source.open(Form::Cells)?, Row::default(), Vec::new());
        for _ in 0..TRIED {
            match rows.read(&mut row) {
                Ok(true) => {}
                Ok(false) => break,
                // It is told when it is loaded.
                Err(_) if rows.may_go_on() => continue,
                Err(error) => return Err(error),
            }
            out.clear();
            if !encoder.row(&row, &mut out) {
                return Ok(Self::text(table, source));
            }
        }
        Ok(encoder)
    }

    /// What follows `FROM STDIN`.
    pub const fn options(&self) -> &'static str {
        match self.columns {
            Columns::Text(_) => "",
            Columns::Binary(_) => " (FORMAT binary)",
        }
    }

    /// What comes before the first row.
    pub const fn head(&self) -> &'static [u8] {
        match self.columns {
            Columns::Text(_) => b"",
            Columns::Binary(_) => HEAD,
        }
    }

    /// What comes after the last row.
    pub const fn tail(&self) -> &'static [u8] {
        match self.columns {
            Columns::Text(_) => b"",
            Columns::Binary(_) => b"\xff\xff",
        }
    }

    /// Adds a row; false: it has no binary form, and nothing is added.
    pub fn row(&self, row: &Row, out: &mut Vec<u8>) -> bool {
        match &self.columns {
            Columns::Text(kinds) => {
                text::encode(row, kinds, self.has_json_texts, out);
                true
            }
            Columns::Binary(kinds) => {
                let start = out.len();
                out.extend_from_slice(&u16::try_from(kinds.len()).unwrap_or(u16::MAX).to_be_bytes());
                for (at, kind) in kinds.iter().enumerate() {
                    if kind.write(row.cell(at), self.has_json_texts, out).is_none() {
                        out.truncate(start);
                        return false;
                    }
                }
                true
            }
        }
    }
}
