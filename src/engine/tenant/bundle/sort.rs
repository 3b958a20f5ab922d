//! Sorting more names than memory should hold: runs go to temporary files and are merged into one. Knows no store.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _};

use crate::error::{Code, Error, Result};

/// So many bytes are held before they go to a file.
const HELD: usize = 16 << 20;

/// Takes names in any order.
#[derive(Debug, Default)]
pub struct Sorter {
    held: Vec<Vec<u8>>,
    bytes: usize,
    runs: Vec<File>,
}

/// Names in the order of their bytes, each once.
#[derive(Debug)]
pub struct Sorted {
    held: Vec<Vec<u8>>,
    at: usize,
    file: Option<BufReader<File>>,
    count: u64,
}

impl Sorter {
    /// Takes a name.
    ///
    /// # Errors
    /// A temporary file that cannot be written.
    pub fn push(&mut self, name: Vec<u8>) -> Result<()> {
        self.bytes += name.len() + 32;
        self.held.push(name);
        if self.bytes >= HELD {
            self.spill()?;
        }
        Ok(())
    }

    fn spill(&mut self) -> Result<()> {
        self.held.sort_unstable();
        let file = tempfile::tempfile().map_err(failed)?;
        let mut out = BufWriter::new(file);
        for name in self.held.drain(..) {
            write(&mut out, &name)?;
        }
        self.runs.push(rewound(out)?);
        self.bytes = 0;
        Ok(())
    }

    /// The end of it: names that came twice are there once.
    ///
    /// # Errors
    /// A temporary file that cannot be written or read.
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            self.held.sort_unstable();
            self.held.dedup();
            let count = self.held.len() as u64;
            return Ok(Sorted { held: self.held, at: 0, file: None, count });
        }
        self.spill()?;
        let mut runs: Vec<BufReader<File>> = self.runs.into_iter().map(BufReader::new).collect();
        let mut heap = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            if let Some(name) = read(run)? {
                heap.push(Reverse((name, number)));
            }
        }
        let mut out = BufWriter::new(tempfile::tempfile().map_err(failed)?);
        let (mut last, mut count): (Option<Vec<u8>>, u64) = (None, 0);
        while let Some(Reverse((name, number))) = heap.pop() {
            if last.as_ref() != Some(&name) {
                write(&mut out, &name)?;
                count += 1;
                last = Some(name);
            }
            if let Some(run) = runs.get_mut(number)
                && let Some(name) = read(run)?
            {
                heap.push(Reverse((name, number)));
            }
        }
        Ok(Sorted { held: Vec::new(), at: 0, file: Some(BufReader::new(rewound(out)?)), count })
    }
}

impl Sorted {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Back to the first.
    ///
    /// # Errors
    /// A temporary file that cannot be read.
    pub fn rewind(&mut self) -> Result<()> {
        self.at = 0;
        match &mut self.file {
            Some(file) => file.seek(SeekFrom::Start(0)).map(drop).map_err(failed),
            None => Ok(()),
        }
    }

    /// The next so many; none at the end.
    ///
    /// # Errors
    /// A temporary file that cannot be read.
    pub fn take(&mut self, most: usize) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        if let Some(file) = &mut self.file {
            while names.len() < most
                && let Some(name) = read(file)?
            {
                names.push(name);
            }
            return Ok(names);
        }
        names.extend(self.held.iter().skip(self.at).take(most).cloned());
        self.at += names.len();
        Ok(names)
    }
}

fn write(out: &mut BufWriter<File>, name: &[u8]) -> Result<()> {
    let length = u32::try_from(name.len()).map_err(|_| Error::bug("a name of four gigabytes"))?;
    out.write_all(&length.to_le_bytes()).and_then(|()| out.write_all(name)).map_err(failed)
}

fn read(run: &mut BufReader<File>) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match run.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(failed(error)),
    }
    let mut name = vec![0; u32::from_le_bytes(length) as usize];
    run.read_exact(&mut name).map_err(failed)?;
    Ok(Some(name))
}

fn rewound(out: BufWriter<File>) -> Result<File> {
    let mut file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    Ok(file)
}

fn failed(error: std::io::Error) -> Error {
    Error::new(Code::Bundle, "a temporary file cannot be used").why(error.to_string()).hint("free space in TMPDIR")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(names: impl Iterator<Item = String>, spills: bool) -> Vec<String> {
        let mut sorter = Sorter::default();
        for (number, name) in names.enumerate() {
            sorter.push(name.into_bytes()).expect("room");
            if spills && number % 7 == 0 {
                sorter.spill().expect("a file");
            }
        }
        let mut sorted = sorter.finish().expect("an order");
        let mut all = Vec::new();
        for _ in 0..2 {
            all.clear();
            sorted.rewind().expect("the first");
            loop {
                let some = sorted.take(10).expect("names");
                if some.is_empty() {
                    break;
                }
                all.extend(some.into_iter().map(|name| String::from_utf8(name).expect("text")));
            }
        }
        assert_eq!(all.len() as u64, sorted.count());
        all
    }

    #[test]
    fn names_come_sorted_and_once_whether_held_or_in_files() {
        let names = || (0..100).map(|n: u32| format!("key:{}", n * 37 % 50));
        let mut expected: Vec<String> = names().collect();
        expected.sort();
        expected.dedup();
        assert_eq!(sorted(names(), false), expected);
        assert_eq!(sorted(names(), true), expected);
    }
}
