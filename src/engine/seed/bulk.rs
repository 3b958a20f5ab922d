//! Bulk files, looked through once before anything is written: columns, rows, content. Flat memory.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};

use serde_json::{Map, Value as Json};
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Error, Place, Result};
use crate::project::seed::{Bulk, Format};
use crate::stores::load::Shape;

/// What a bulk file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The header, or every key of its rows, in order of appearance.
    pub columns: Vec<String>,
    /// How many rows it has.
    pub rows: u64,
}

/// Reads a file through.
///
/// # Errors
/// `LYX-FILE-*` or `LYX-SEED-FILE` with the line: unreadable, not UTF-8, a row that is no row.
pub fn scan(file: &Bulk) -> Result<Scan> {
    match file.format {
        Format::Csv => csv(file),
        Format::Lines => lines(file),
    }
}

fn unreadable(file: &Bulk, error: &std::io::Error) -> Error {
    Error::new(Code::FileKind, format!("cannot read `{}`", file.shown))
        .why(error.to_string())
        .data("nothing was changed")
}

fn open(file: &Bulk) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 16, File::open(&file.path).map_err(|error| unreadable(file, &error))?))
}

fn at(file: &Bulk, line: u64, text: Option<&str>) -> Place {
    let text = text.map(|text| text.chars().take(200).collect());
    Place { file: file.shown.clone(), line: usize::try_from(line).unwrap_or(0), column: 0, text, width: 1 }
}

fn csv(file: &Bulk) -> Result<Scan> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(open(file)?);
    let mut record = csv::StringRecord::new();
    let mut columns: Vec<String> = Vec::new();
    let mut rows = 0;
    loop {
        let more = reader.read_record(&mut record).map_err(|error| csv_error(file, &error))?;
        if !more {
            break;
        }
        if columns.is_empty() {
            columns = record.iter().map(|name| name.trim_start_matches('\u{feff}').to_owned()).collect();
            let mut seen = BTreeSet::new();
            if let Some(name) = columns.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
                let what = if name.is_empty() { "a column without a name".into() } else { format!("`{name}` twice") };
                return Err(Error::new(Code::SeedFile, format!("the header of `{}` has {what}", file.shown))
                    .at(at(file, 1, None))
                    .data("nothing was changed"));
            }
        } else {
            rows += 1;
        }
    }
    if columns.is_empty() {
        return Err(Error::new(Code::FileEmpty, format!("`{}` has no header", file.shown))
            .at(Place::file(&file.shown))
            .data("nothing was changed")
            .hint("its first line names the columns"));
    }
    Ok(Scan { columns, rows })
}

fn csv_error(file: &Bulk, error: &csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    let (code, what, why) = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => (
            Code::SeedFile,
            "a row has another number of fields than the header",
            format!("{len} fields where the header has {expected_len}"),
        ),
        csv::ErrorKind::Utf8 { .. } => {
            (Code::FileEncoding, "a row is not valid UTF-8", "save the file as UTF-8".into())
        }
        csv::ErrorKind::Io(error) => (Code::FileKind, "the file cannot be read", error.to_string()),
        _ => (Code::FileSyntax, "the file is no CSV", "it cannot be parsed".into()),
    };
    Error::new(code, format!("`{}`: {what}", file.shown)).why(why).at(at(file, line, None)).data("nothing was changed")
}

fn lines(file: &Bulk) -> Result<Scan> {
    let mut columns: Vec<String> = Vec::new();
    let mut rows = 0;
    each_line(file, |number, text| {
        let row = object(file, number, text)?;
        for name in row.keys() {
            if !columns.iter().any(|known| known == name) {
                columns.push(name.clone());
            }
        }
        rows += 1;
        Ok(())
    })?;
    Ok(Scan { columns, rows })
}

/// Reads the JSON object of a line.
///
/// # Errors
/// `LYX-FILE-SYNTAX` with the line.
pub fn object(file: &Bulk, number: u64, text: &str) -> Result<Map<String, Json>> {
    serde_json::from_str(text).map_err(|error| {
        let mut place = at(file, number, Some(text));
        place.column = error.column();
        Error::new(Code::FileSyntax, format!("a line of `{}` is no JSON object", file.shown))
            .why(error.to_string().split(" at line").next().unwrap_or_default().to_owned())
            .at(place)
            .data("nothing was changed")
            .hint("one object a line: {\"name\": \"value\"}")
    })
}

fn each_line(file: &Bulk, mut each: impl FnMut(u64, &str) -> Result<()>) -> Result<()> {
    let mut reader = open(file)?;
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        if reader.read_until(b'\n', &mut bytes).map_err(|error| unreadable(file, &error))? == 0 {
            return Ok(());
        }
        number += 1;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::new(Code::FileEncoding, format!("`{}` is not valid UTF-8", file.shown))
                .at(at(file, number, None))
                .data("nothing was changed")
        })?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if !text.is_empty() {
            each(number, text)?;
        }
    }
}

/// SHA-256 (hex) of the file's bytes.
///
/// # Errors
/// It cannot be read.
pub fn checksum(file: &Bulk) -> Result<String> {
    let mut reader = open(file)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = reader.read(&mut buffer).map_err(|error| unreadable(file, &error))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The fields that tell the rows apart: the primary key, else the one unique index, where the file has
/// their columns; none: it is loaded once per content.
pub fn key(shape: &Shape, columns: &[String]) -> Vec<String> {
    let has = |key: &&Vec<String>| !key.is_empty() && key.iter().all(|name| columns.contains(name));
    if let Some(key) = Some(&shape.identity).filter(has) {
        return key.clone();
    }
    let mut unique = shape.unique.iter().filter(has);
    match (unique.next(), unique.next()) {
        (Some(key), None) => key.clone(),
        _ => Vec::new(),
    }
}

/// The rows of a file, one after the other, with the line each begins on.
pub struct Rows<'a> {
    file: &'a Bulk,
    inner: Inner,
}

enum Inner {
    Csv { reader: Box<csv::Reader<BufReader<File>>>, columns: Vec<String> },
    Lines { reader: BufReader<File>, number: u64 },
}

impl<'a> Rows<'a> {
    /// Opens the file again, after [`scan`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn open(file: &'a Bulk, columns: &[String]) -> Result<Self> {
        let inner = match file.format {
            Format::Csv => Inner::Csv {
                reader: Box::new(csv::ReaderBuilder::new().has_headers(true).from_reader(open(file)?)),
                columns: columns.to_vec(),
            },
            Format::Lines => Inner::Lines { reader: open(file)?, number: 0 },
        };
        Ok(Self { file, inner })
    }

    /// The next row. In a CSV file all values are texts, and an empty one is left out.
    ///
    /// # Errors
    /// As [`scan`]: the file was changed since.
    pub fn row(&mut self) -> Result<Option<(Place, Map<String, Json>)>> {
        match &mut self.inner {
            Inner::Csv { reader, columns } => {
                let mut record = csv::StringRecord::new();
                if !reader.read_record(&mut record).map_err(|error| csv_error(self.file, &error))? {
                    return Ok(None);
                }
                let line = record.position().map_or(0, csv::Position::line);
                let cells = columns.iter().zip(record.iter()).filter(|(_, value)| !value.is_empty());
                let row = cells.map(|(name, value)| (name.clone(), Json::String(value.to_owned()))).collect();
                Ok(Some((at(self.file, line, None), row)))
            }
            Inner::Lines { reader, number } => {
                let mut bytes = Vec::new();
                loop {
                    bytes.clear();
                    let count = reader.read_until(b'\n', &mut bytes).map_err(|error| unreadable(self.file, &error))?;
                    if count == 0 {
                        return Ok(None);
                    }
                    *number += 1;
                    let text = String::from_utf8_lossy(&bytes);
                    let text = text.trim_start_matches('\u{feff}').trim();
                    if !text.is_empty() {
                        return Ok(Some((at(self.file, *number, Some(text)), object(self.file, *number, text)?)));
                    }
                }
            }
        }
    }
}
