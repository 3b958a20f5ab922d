//! A file as a source of rows. Its first megabyte is read before anything is sent; what is wrong further
//! down is found while rows are loaded.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read;

use sha2::{Digest as _, Sha256};

use super::csv::{Records, Wrong};
use super::feed::{Feed, Stop, Taken};
use super::lines::{self, Lines};
use crate::error::{Code, Error, Place, Result};
use crate::project::seed::{Bulk, Format};
use crate::stores::source::{Form, Row, RowReader, RowSource};

/// A bulk file, looked at.
#[derive(Clone, Debug)]
pub struct FileSource {
    file: Bulk,
    columns: Vec<String>,
    rows: Option<u64>,
    size: u64,
}

/// Counts what is taken from a file.
struct Counted {
    file: File,
    taken: Taken,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.taken.fetch_add(count as u64, std::sync::atomic::Ordering::Relaxed);
        Ok(count)
    }
}

impl FileSource {
    /// Reads the head of a file: its columns, and all of its rows where it is small.
    ///
    /// # Errors
    /// `LYX-FILE-*` or `LYX-SEED-FILE` with the line: unreadable, not UTF-8, a row that is no row.
    pub fn read(file: &Bulk) -> Result<Self> {
        let size = std::fs::metadata(&file.path).map_err(|error| unreadable(file, &error))?.len();
        let mut source = Self { file: file.clone(), columns: Vec::new(), rows: None, size };
        let untouched = |error: Error| error.data("nothing was changed");
        match file.format {
            Format::Csv => {
                source.columns = source.header().map_err(untouched)?;
                source.rows = source.head().map_err(untouched)?;
            }
            Format::Lines => {
                let (columns, rows) = source.keys().map_err(untouched)?;
                source.columns = columns;
                source.rows = Some(rows);
            }
        }
        Ok(source)
    }

    fn feed(&self) -> Result<Feed> {
        let file = File::open(&self.file.path).map_err(|error| unreadable(&self.file, &error))?;
        let taken = Taken::default();
        Ok(Feed::new(Box::new(Counted { file, taken: Taken::clone(&taken) }), taken, Some(self.size)))
    }

    fn records(&self) -> Result<Records> {
        Records::new(self.feed()?).map_err(|stop| self.stopped(stop, 1))
    }

    fn lines(&self) -> Result<Lines> {
        Lines::new(self.feed()?).map_err(|stop| self.stopped(stop, 1))
    }

    fn header(&self) -> Result<Vec<String>> {
        let mut records = self.records()?;
        let mut row = Row::default();
        if !records.read(&mut row).map_err(|wrong| self.wrong(wrong, &records))? {
            return Err(Error::new(Code::FileEmpty, format!("`{}` has no header", self.file.shown))
                .at(Place::file(&self.file.shown))
                .hint("its first line names the columns"));
        }
        let name = |cell| if let crate::stores::source::Cell::Text(text) = cell { text } else { "" };
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

    /// Reads the head through; how many rows there are, where the file is no longer.
    fn head(&self) -> Result<Option<u64>> {
        let mut reader = self.open(Form::Cells)?;
        let (mut row, mut rows) = (Row::default(), 0);
        while reader.progress().is_none_or(|(taken, _)| taken <= HEAD) {
            if !reader.read(&mut row)? {
                return Ok(Some(rows));
            }
            rows += 1;
        }
        Ok(None)
    }

    /// Every key of the rows, in order of appearance, and how many rows there are.
    fn keys(&self) -> Result<(Vec<String>, u64)> {
        let mut lines = self.lines()?;
        let mut columns: Vec<String> = Vec::new();
        let mut rows = 0;
        while lines.advance().map_err(|stop| self.stopped(stop, lines.line()))? {
            let read = lines::fields(lines.text(), |name, _| {
                if !columns.iter().any(|known| *known == name) {
                    columns.push(name.into_owned());
                }
            });
            read.map_err(|error| no_object(&self.file, &lines, &error))?;
            rows += 1;
        }
        Ok((columns, rows))
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

fn no_object(file: &Bulk, lines: &Lines, error: &serde_json::Error) -> Error {
    let mut place = place(file, lines.line(), lines.text());
    place.column = error.column();
    Error::new(Code::FileSyntax, format!("a line of `{}` is no JSON object", file.shown))
        .why(error.to_string().split(" at line").next().unwrap_or_default().to_owned())
        .at(place)
        .hint("one object a line: {\"name\": \"value\"}")
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

    fn has_json_texts(&self) -> bool {
        self.file.format != Format::Csv
    }

    fn checksum(&self) -> Result<String> {
        let failed = |error: std::io::Error| unreadable(&self.file, &error);
        let mut file = File::open(&self.file.path).map_err(failed)?;
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
        Ok(match self.file.format {
            Format::Csv => {
                let mut records = self.records()?;
                // The header.
                records.read(&mut Row::default()).map_err(|wrong| self.wrong(wrong, &records))?;
                Box::new(CsvReader { source: self, records })
            }
            Format::Lines => {
                let index = self.columns.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect();
                Box::new(LinesReader { source: self, lines: self.lines()?, form, index, found: Vec::new() })
            }
        })
    }
}

struct CsvReader<'a> {
    source: &'a FileSource,
    records: Records,
}

impl RowReader for CsvReader<'_> {
    fn read(&mut self, row: &mut Row) -> Result<bool> {
        if !self.records.read(row).map_err(|wrong| self.source.wrong(wrong, &self.records))? {
            return Ok(false);
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

    fn place(&self) -> Place {
        place(&self.source.file, self.records.line(), self.records.text())
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.records.progress()
    }
}

struct LinesReader<'a> {
    source: &'a FileSource,
    lines: Lines,
    form: Form,
    index: HashMap<String, usize>,
    found: Vec<Option<(usize, usize)>>,
}

impl RowReader for LinesReader<'_> {
    fn read(&mut self, row: &mut Row) -> Result<bool> {
        row.clear();
        if !self.lines.advance().map_err(|stop| self.source.stopped(stop, self.lines.line()))? {
            return Ok(false);
        }
        let file = &self.source.file;
        if self.form == Form::Whole {
            lines::fields(self.lines.text(), |_, _| {}).map_err(|error| no_object(file, &self.lines, &error))?;
            row.set_whole(self.lines.text());
            return Ok(true);
        }
        let unknown = lines::cells(self.lines.text(), &self.index, &mut self.found, row)
            .map_err(|error| no_object(file, &self.lines, &error))?;
        match unknown {
            None => Ok(true),
            Some(name) => Err(Error::new(Code::FileKind, format!("`{}` was changed while it was read", file.shown))
                .why(format!("a row has the new field `{name}`"))
                .at(self.place())),
        }
    }

    fn place(&self) -> Place {
        place(&self.source.file, self.lines.line(), self.lines.text())
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.lines.progress()
    }
}
