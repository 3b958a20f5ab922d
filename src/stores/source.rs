//! Where the rows of a bulk load come from: a file, standard input, a generator. Rows are pulled one
//! after the other and never held together. Knows no store.

use serde_json::{Map, Value as Json};

use crate::error::{Error, Place, Result};

/// Rows of one target, which can be read from the beginning as often as needed: each time the same ones.
pub trait RowSource: Send + Sync {
    /// How messages name it: a file relative to the project's root, a block of a seed.
    fn shown(&self) -> &str;

    /// The columns, in the order of the cells.
    fn columns(&self) -> &[String];

    /// How many rows there are, where that is known before they are read.
    fn rows(&self) -> Option<u64>;

    /// Whether it is worth preparations that pay with many rows only; judged without reading it.
    fn is_large(&self) -> bool {
        self.rows().is_some_and(|rows| rows >= 20_000)
    }

    /// How rows that are set aside are written.
    fn written(&self) -> Written {
        Written::Csv
    }

    /// Whether its texts are texts of JSON: in a column of JSON they stay texts.
    fn has_json_texts(&self) -> bool {
        false
    }

    /// A text that is another one where the rows are others (SHA-256, hex): what has no key is loaded once
    /// per content.
    ///
    /// # Errors
    /// It cannot be read, or not more than once.
    fn checksum(&self) -> Result<String>;

    /// Begins to read.
    ///
    /// # Errors
    /// It cannot be read.
    fn open(&self, form: Form) -> Result<Box<dyn RowReader + '_>>;
}

/// The column of a file of rows that were set aside which says why. A load passes over it, so that a
/// mended file can be loaded as it is.
pub const REASON: &str = "lyrox_reason";

/// How rows are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// As comma-separated values.
    Csv,
    /// As one JSON object a line.
    Lines,
    /// As one JSON array.
    Array,
}

/// How rows are wanted. A source whose rows are no JSON objects gives cells in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One cell per column.
    Cells,
    /// The row's JSON object as it is written, where it is one.
    Whole,
}

/// Rows being read.
pub trait RowReader: Send {
    /// Puts the next row in place of what `row` holds; false: there is none, and `row` is empty.
    ///
    /// # Errors
    /// `LYX-FILE-*` or `LYX-SEED-FILE` with the place: what is there is no row.
    fn read(&mut self, row: &mut Row) -> Result<bool>;

    /// Whether what could not be read last was one row, and the next one can be.
    fn may_go_on(&self) -> bool {
        false
    }

    /// What is wrong with the last row, where whoever took its whole object could not read it.
    fn not_json(&self, error: &serde_json::Error) -> Error {
        Error::bug("a row whose JSON is none").why(error.to_string())
    }

    /// The last row as it is written; empty where it is written nowhere.
    fn text(&self) -> &str {
        ""
    }

    /// Where the last row stands, with its text.
    fn place(&self) -> Place;

    /// How much is read, and of how much, in one unit; none where the end is not known.
    fn progress(&self) -> Option<(u64, u64)>;
}

/// One value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing: NULL.
    Null,
    /// A text, which the store reads as it sees fit.
    Text(&'a str),
    /// JSON other than a text or null: a number, true, false, a list, a table.
    Json(&'a str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Text,
    Json,
}

/// One row: one allocation that is used again for the next.
#[derive(Clone, Debug, Default)]
pub struct Row {
    text: String,
    cells: Vec<(usize, Kind)>,
    is_whole: bool,
}

impl Row {
    /// Takes everything out.
    pub fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
        self.is_whole = false;
    }

    /// Adds an empty cell.
    pub fn push_null(&mut self) {
        self.cells.push((self.text.len(), Kind::Null));
    }

    /// Adds a text.
    pub fn push_text(&mut self, text: &str) {
        self.text.push_str(text);
        self.cells.push((self.text.len(), Kind::Text));
    }

    /// Adds JSON that is neither a text nor null; it is not checked again.
    pub fn push_json(&mut self, json: &str) {
        self.text.push_str(json);
        self.cells.push((self.text.len(), Kind::Json));
    }

    /// Adds a value that is at hand.
    pub fn push(&mut self, value: &Json) {
        match value {
            Json::Null => self.push_null(),
            Json::String(text) => self.push_text(text),
            other => self.push_json(&other.to_string()),
        }
    }

    /// A text that is put together in parts, each added to [`Self::open_text`]; this makes it a cell.
    pub fn close_text(&mut self) {
        self.cells.push((self.text.len(), Kind::Text));
    }

    /// Where parts of a text go until [`Self::close_text`].
    pub fn open_text(&mut self) -> &mut String {
        &mut self.text
    }

    /// Makes it a row whose JSON object stands for all of its cells.
    pub fn set_whole(&mut self, object: &str) {
        self.clear();
        self.text.push_str(object);
        self.is_whole = true;
    }

    /// The JSON object, where the row is one.
    pub fn whole(&self) -> Option<&str> {
        self.is_whole.then_some(self.text.as_str())
    }

    /// Takes a cell out.
    pub fn remove(&mut self, at: usize) {
        if at >= self.cells.len() {
            return;
        }
        let (end, _) = self.cells.remove(at);
        let begin = if at == 0 { 0 } else { self.cells[at - 1].0 };
        self.text.replace_range(begin..end, "");
        for cell in &mut self.cells[at..] {
            cell.0 -= end - begin;
        }
    }

    /// How many cells it has.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether it has no cells.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// How many bytes its values have.
    pub fn size(&self) -> usize {
        self.text.len()
    }

    /// A cell; one that is not there is empty.
    pub fn cell(&self, at: usize) -> Cell<'_> {
        let Some(&(end, kind)) = self.cells.get(at) else { return Cell::Null };
        let begin = if at == 0 { 0 } else { self.cells[at - 1].0 };
        match kind {
            Kind::Null => Cell::Null,
            Kind::Text => Cell::Text(&self.text[begin..end]),
            Kind::Json => Cell::Json(&self.text[begin..end]),
        }
    }

    /// Its cells, in order.
    pub fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        (0..self.cells.len()).map(|at| self.cell(at))
    }

    /// Its fields by name; empty cells are left out.
    ///
    /// # Errors
    /// What is given as JSON is none: see [`RowReader::not_json`].
    pub fn fields(&self, columns: &[String]) -> serde_json::Result<Map<String, Json>> {
        if let Some(object) = self.whole() {
            return serde_json::from_str(object);
        }
        let mut fields = Map::new();
        for (name, cell) in columns.iter().zip(self.cells()) {
            let value = match cell {
                Cell::Null => continue,
                Cell::Text(text) => Json::String(text.to_owned()),
                Cell::Json(json) => serde_json::from_str(json)?,
            };
            fields.insert(name.clone(), value);
        }
        Ok(fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_come_back_as_they_went_in() {
        let mut row = Row::default();
        row.push_text("a");
        row.push_null();
        row.push_text("");
        row.push_json("[1]");
        row.open_text().push_str("in ");
        row.open_text().push_str("parts");
        row.close_text();
        let cells: Vec<Cell<'_>> = row.cells().collect();
        let wanted = [Cell::Text("a"), Cell::Null, Cell::Text(""), Cell::Json("[1]"), Cell::Text("in parts")];
        assert_eq!(cells, wanted);
        let columns: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).to_vec();
        let fields = row.fields(&columns).expect("fields");
        assert_eq!(Json::Object(fields), serde_json::json!({ "a": "a", "c": "", "d": [1], "e": "in parts" }));
        row.remove(3);
        row.remove(0);
        assert_eq!(row.cells().collect::<Vec<_>>(), [Cell::Null, Cell::Text(""), Cell::Text("in parts")]);
        row.set_whole("{\"x\": null}");
        assert_eq!(row.fields(&columns).expect("fields").get("x"), Some(&Json::Null));
        row.clear();
        assert!(row.is_empty() && row.whole().is_none() && row.cell(3) == Cell::Null);
    }
}
