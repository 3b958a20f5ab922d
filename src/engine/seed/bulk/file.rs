//! A file as a source of rows. Its first megabyte is read before anything is sent; what is wrong further
//! down is found while rows are loaded.

use std::collections::{BTreeSet, HashMap};
use std::io::Read as _;

use sha2::{Digest as _, Sha256};

use super::array::{self, Array};
use super::csv::{Records, Wrong};
use super::feed::{Feed, Stop};
use super::input::{self, Kept};
use super::lines::{self, Lines};
use crate::error::{Code, Error, Place, Result};
use crate::kind::StoreKind;
use crate::project::seed::{Bulk, Format};
use crate::stores::source::{Cell, Form, REASON, Row, RowReader, RowSource, Written};

/// A bulk file, looked at.
#[derive(Clone, Debug)]
pub struct FileSource {
    file: Bulk,
    kept: Option<Kept>,
    columns: Vec<String>,
    /// The column of reasons in a file of rows that were set aside.
    reason: Option<usize>,
    rows: Option<u64>,
    size: u64,
}

impl FileSource {
    /// Reads the head of a file: its columns, and all of its rows where it is small.
    ///
    /// # Errors
    /// `LYX-FILE-*` or `LYX-SEED-FILE` with the line: unreadable, not UTF-8, a row that is no row. Nothing
    /// was changed.
    pub fn read(file: &Bulk) -> Result<Self> {
        Self::look(file, false).map_err(|error| error.data_if_none("nothing was changed"))
    }

    /// The same where rows may be set aside: a row that is no row is met when it is loaded.
    ///
    /// # Errors
    /// The file or its header cannot be read.
    pub fn read_leniently(file: &Bulk) -> Result<Self> {
        Self::look(file, true).map_err(|error| error.data_if_none("nothing was changed"))
    }

    fn look(file: &Bulk, is_lenient: bool) -> Result<Self> {
        let kept = if file.is_stdin { Some(Kept::new().map_err(|error| unreadable(file, &error))?) } else { None };
        let size = if file.is_stdin {
            0
        } else {
            std::fs::metadata(&file.path).map_err(|error| unreadable(file, &error))?.len()
        };
        let mut source = Self { file: file.clone(), kept, columns: Vec::new(), reason: None, rows: None, size };
        if file.format == Format::Csv {
            source.columns = source.header()?;
            source.reason = source.columns.iter().position(|name| name == REASON);
            source.columns.retain(|name| name != REASON);
        }
        source.rows = source.head(is_lenient)?;
        Ok(source)
    }

    fn feed(&self) -> Result<Feed> {
        input::feed(&self.file, self.kept.as_ref()).map_err(|error| unreadable(&self.file, &error))
    }

    fn records(&self) -> Result<Records> {
        Records::new(self.feed()?).map_err(|stop| self.stopped(stop, 1))
    }

    fn objects(&self) -> Result<Objects> {
        Ok(match self.file.format {
            Format::Array => Objects::Array(Array::new(self.feed()?)),
            _ => Objects::Lines(Lines::new(self.feed()?).map_err(|stop| self.stopped(stop, 1))?),
        })
    }

    fn header(&self) -> Result<Vec<String>> {
        let mut records = self.records()?;
        let mut row = Row::default();
        if !records.read(&mut row).map_err(|wrong| self.wrong(wrong, &records))? {
            return Err(Error::new(Code::FileEmpty, format!("`{}` has no header", self.file.shown))
                .at(Place::file(&self.file.shown))
                .hint("its first line names the columns"));
        }
        let name = |cell| if let Cell::Text(text) = cell { text } else { "" };
        let columns: Vec<String> = row.cells().map(|cell| name(cell).to_owned()).collect();
        let refuse = |what: String| {
            let place = place(&self.file, records.line(), records.text());
            Err(Error::new(Code::SeedFile, format!("the header of `{}` has {what}", self.file.shown)).at(place))
        };
        let mut seen = BTreeSet::new();
        match columns.iter().find(|name| name.is_empty() || name.contains('\r') || !seen.insert(name.as_str())) {
            None => Ok(columns),
            Some(name) if name.is_empty() => refuse("a column without a name".into()),
            Some(name) if name.contains('\r') => refuse("lines that end with CR alone".into()),
            Some(name) => refuse(format!("`{name}` twice")),
        }
    }

    /// Reads the head through: what is wrong there is found before anything is sent. Says how many rows there
    /// are, where the file is no longer. PostgreSQL has to know every field of the rows beforehand: of objects
    /// all are looked through.
    fn head(&mut self, is_lenient: bool) -> Result<Option<u64>> {
        if self.file.format == Format::Csv {
            let mut reader = self.open(Form::Cells)?;
            let (mut row, mut rows, mut bytes) = (Row::default(), 0, 0);
            while bytes <= HEAD {
                match reader.read(&mut row) {
                    Ok(false) => return Ok(Some(rows)),
                    Ok(true) => rows += 1,
                    Err(_) if is_lenient && reader.may_go_on() => rows += 1,
                    Err(error) => return Err(error),
                }
                bytes += reader.text().len() as u64;
            }
            return Ok(None);
        }
        let mut objects = self.objects()?;
        let mut columns: Vec<String> = Vec::new();
        let mut index: BTreeSet<String> = BTreeSet::new();
        let (mut rows, mut bytes) = (0, 0);
        let wants_all = self.file.store == StoreKind::Postgres;
        let mut is_whole = true;
        while self.advance(&mut objects)? {
            let read = lines::fields(objects.text(), |name, _| {
                if name != REASON && !index.contains(name.as_ref()) {
                    index.insert(name.to_string());
                    columns.push(name.into_owned());
                }
            });
            match read {
                Ok(()) => rows += 1,
                Err(_) if is_lenient => rows += 1,
                Err(error) => return Err(self.no_object(&objects, &error)),
            }
            bytes += objects.text().len() as u64;
            if bytes > HEAD && !wants_all {
                is_whole = false;
                break;
            }
        }
        self.columns = columns;
        Ok(is_whole.then_some(rows))
    }

    fn advance(&self, objects: &mut Objects) -> Result<bool> {
        match objects {
            Objects::Lines(lines) => lines.advance().map_err(|stop| self.stopped(stop, lines.line())),
            Objects::Array(array) => array.advance().map_err(|wrong| match wrong {
                array::Wrong::Stop(stop) => self.stopped(stop, array.line()),
                array::Wrong::Expected(words) => {
                    Error::new(Code::FileSyntax, format!("`{}` is no JSON array of objects", self.file.shown))
                        .why(format!("here should be {words}"))
                        .at(place(&self.file, array.line(), array.text()))
                }
            }),
        }
    }

    fn no_object(&self, objects: &Objects, error: &serde_json::Error) -> Error {
        let (file, line) = (&self.file, objects.line() + error.line() as u64 - 1);
        let text = objects.text().lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
        let mut place = place(file, line, text);
        place.column = error.column();
        let what = if file.format == Format::Array { "an item" } else { "a line" };
        Error::new(Code::FileSyntax, format!("{what} of `{}` is no JSON object", file.shown))
            .why(error.to_string().split(" at line").next().unwrap_or_default().to_owned())
            .at(place)
            .hint("one object a line: {\"name\": \"value\"}")
    }

    fn stopped(&self, stop: Stop, line: u64) -> Error {
        let file = &self.file;
        match stop {
            Stop::Unreadable(error) => unreadable(file, &error),
            Stop::Encoding => Error::new(Code::FileEncoding, format!("`{}` is not valid UTF-8", file.shown))
                .at(place(file, line, ""))
                .hint("save the file as UTF-8"),
            Stop::TooLong => Error::new(Code::FileSyntax, format!("a row of `{}` does not end", file.shown))
                .why("it is longer than 256 MiB: a quote that was opened may not be closed")
                .at(place(file, line, "")),
        }
    }

    fn wrong(&self, wrong: Wrong, records: &Records) -> Error {
        let file = &self.file;
        let syntax = |why: &str| {
            Error::new(Code::FileSyntax, format!("a row of `{}` is no CSV", file.shown))
                .why(why.to_owned())
                .at(place(file, records.line(), records.text()))
                .hint("within quotes a quote is written twice: \"a \"\"b\"\" c\"")
        };
        match wrong {
            Wrong::Stop(stop) => self.stopped(stop, records.line()),
            Wrong::AfterQuote => syntax("after the closing quote of a field comes something else than a comma"),
            Wrong::Open => syntax("a quote is opened and the file ends before it is closed"),
        }
    }
}

/// How much of a file is read before anything is sent.
const HEAD: u64 = 1 << 20;

fn unreadable(file: &Bulk, error: &std::io::Error) -> Error {
    Error::new(Code::FileKind, format!("cannot read `{}`", file.shown)).why(error.to_string())
}

fn place(file: &Bulk, line: u64, text: &str) -> Place {
    let text = text.lines().next().map(|text| text.chars().take(200).collect());
    Place { file: file.shown.clone(), line: usize::try_from(line).unwrap_or(0), column: 0, text, width: 1 }
}

impl RowSource for FileSource {
    fn shown(&self) -> &str {
        &self.file.shown
    }

    fn columns(&self) -> &[String] {
        &self.columns
    }

    fn rows(&self) -> Option<u64> {
        self.rows
    }

    fn is_large(&self) -> bool {
        self.size >= 4 * HEAD
    }

    fn written(&self) -> Written {
        match self.file.format {
            Format::Csv => Written::Csv,
            Format::Lines => Written::Lines,
            Format::Array => Written::Array,
        }
    }

    fn has_json_texts(&self) -> bool {
        self.file.format != Format::Csv
    }

    fn checksum(&self) -> Result<String> {
        let failed = |error: std::io::Error| unreadable(&self.file, &error);
        let mut file = input::raw(&self.file, self.kept.as_ref()).map_err(failed)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
            }
            hasher.update(&buffer[..count]);
        }
    }

    fn open(&self, form: Form) -> Result<Box<dyn RowReader + '_>> {
        if self.file.format == Format::Csv {
            let mut records = self.records()?;
            // The header.
            records.read(&mut Row::default()).map_err(|wrong| self.wrong(wrong, &records))?;
            return Ok(Box::new(CsvReader { source: self, records, may_go_on: true }));
        }
        let index = self.columns.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
        let (objects, found) = (self.objects()?, Vec::new());
        Ok(Box::new(ObjectReader { source: self, objects, form, index, found, may_go_on: true }))
    }
}

/// Objects, however they are put together.
enum Objects {
    Lines(Lines),
    Array(Array),
}

impl Objects {
    fn text(&self) -> &str {
        match self {
            Self::Lines(lines) => lines.text(),
            Self::Array(array) => array.text(),
        }
    }

    const fn line(&self) -> u64 {
        match self {
            Self::Lines(lines) => lines.line(),
            Self::Array(array) => array.line(),
        }
    }

    fn progress(&self) -> Option<(u64, u64)> {
        match self {
            Self::Lines(lines) => lines.progress(),
            Self::Array(array) => array.progress(),
        }
    }
}

struct CsvReader<'a> {
    source: &'a FileSource,
    records: Records,
    may_go_on: bool,
}

impl RowReader for CsvReader<'_> {
    fn read(&mut self, row: &mut Row) -> Result<bool> {
        match self.records.read(row) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(wrong) => {
                self.may_go_on = matches!(wrong, Wrong::AfterQuote);
                row.clear();
                return Err(self.source.wrong(wrong, &self.records));
            }
        }
        if let Some(at) = self.source.reason {
            row.remove(at);
        }
        let (has, wanted) = (row.len(), self.source.columns.len());
        if has != wanted {
            return Err(Error::new(
                Code::SeedFile,
                format!("`{}`: a row has another number of fields than the header", self.source.file.shown),
            )
            .why(format!("{has} fields where the header has {wanted}"))
            .at(self.place()));
        }
        Ok(true)
    }

    fn may_go_on(&self) -> bool {
        self.may_go_on
    }

    fn text(&self) -> &str {
        self.records.text()
    }

    fn place(&self) -> Place {
        place(&self.source.file, self.records.line(), self.records.text())
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.records.progress()
    }
}

struct ObjectReader<'a> {
    source: &'a FileSource,
    objects: Objects,
    form: Form,
    index: HashMap<String, usize>,
    found: Vec<Option<(usize, usize)>>,
    may_go_on: bool,
}

impl RowReader for ObjectReader<'_> {
    fn read(&mut self, row: &mut Row) -> Result<bool> {
        row.clear();
        self.may_go_on = false;
        if !self.source.advance(&mut self.objects)? {
            return Ok(false);
        }
        self.may_go_on = true;
        let text = self.objects.text();
        if self.form == Form::Whole {
            // Whoever takes the whole object reads it, and finds what is wrong with it.
            if memchr::memmem::find(text.as_bytes(), REASON.as_bytes()).is_some()
                && let Ok(mut object) = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text)
            {
                object.shift_remove(REASON);
                row.set_whole(&serde_json::Value::Object(object).to_string());
            } else {
                row.set_whole(text);
            }
            return Ok(true);
        }
        let unknown = lines::cells(text, &self.index, &mut self.found, row)
            .map_err(|error| self.source.no_object(&self.objects, &error))?;
        match unknown {
            None => Ok(true),
            Some(name) if name == REASON => Ok(true),
            Some(name) => {
                self.may_go_on = false;
                let what = format!("`{}` was changed while it was read", self.source.file.shown);
                Err(Error::new(Code::FileKind, what).why(format!("a row has the new field `{name}`")).at(self.place()))
            }
        }
    }

    fn may_go_on(&self) -> bool {
        self.may_go_on
    }

    fn not_json(&self, error: &serde_json::Error) -> Error {
        self.source.no_object(&self.objects, error)
    }

    fn text(&self) -> &str {
        self.objects.text()
    }

    fn place(&self) -> Place {
        place(&self.source.file, self.objects.line(), self.objects.text())
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.objects.progress()
    }
}
