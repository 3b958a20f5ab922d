//! The report for people: calm, aligned, at home in 80 columns.

use std::fmt::Write as _;

use console::Style;

use super::paint;
use crate::error::{Error, Place};
use crate::exit::Exit;
use crate::report::{Item, Layout, Outcome, Report};

/// What the human renderer remembers between items.
#[derive(Debug, Default)]
pub struct Human {
    tests: usize,
    has_printed: bool,
    page: Page,
}

impl Human {
    /// A renderer for a terminal of so many columns; none: a pipe or a file, where no line is broken.
    pub fn new(columns: Option<usize>) -> Self {
        Self { page: Page::new(columns), ..Self::default() }
    }

    /// One item, ready to print.
    pub fn item(&mut self, item: &Item, layout: Layout, has_color: bool) -> String {
        self.has_printed = true;
        let page = self.page;
        match layout {
            Layout::Lines => line(item, word(item), page, has_color),
            Layout::Status => line(item, status_word(item), page, has_color),
            Layout::Stages => stage(item, page, has_color),
            Layout::Findings => finding(item, page, has_color),
            Layout::Tests => {
                self.tests += 1;
                test(self.tests, item, page, has_color)
            }
            Layout::Diff => difference(item, page, has_color),
        }
    }

    /// A line above items.
    pub fn heading(&mut self, text: &str, has_color: bool) -> String {
        self.has_printed = true;
        let blank = if text.starts_with('\n') { "\n" } else { "" };
        let text = flat(text.trim_start_matches('\n'));
        let lines =
            if console::measure_text_width(&text) < self.page.width { vec![text] } else { self.page.lines(&text, 10) };
        let text = lines.join("\n          ");
        format!("{blank}{}\n", paint(&text, &Style::new().bold(), has_color))
    }

    /// The closing lines; empty where nothing was reported item by item.
    pub fn closing(&self, report: &Report, has_color: bool) -> String {
        if report.items.is_empty() && report.summary.is_none() {
            return String::new();
        }
        let mut text = String::new();
        if self.has_printed {
            text.push('\n');
        }
        if report.layout == Layout::Diff {
            let mut hints: Vec<&str> = signed(report).filter_map(|item| item.hint.as_deref()).collect();
            hints.dedup();
            for hint in &hints {
                let _ = writeln!(text, "  {} {}", paint("hint:", &Style::new().cyan(), has_color), clean(hint));
            }
            if !hints.is_empty() {
                text.push('\n');
            }
        }
        let left = flat(&report.summary.clone().unwrap_or_else(|| summary(report)));
        let is_long = self.page.breaks && console::measure_text_width(&left) >= self.page.width;
        let left = if is_long { wrap(&left, self.page.width - 1).join("\n") } else { left };
        let style = match report.exit {
            Exit::Done => Style::new().green(),
            _ => Style::new().red(),
        };
        let mut line = paint(&left, &style, has_color);
        if report.exit != Exit::Done {
            let code =
                report.items.iter().filter(|item| item.outcome == Outcome::Fail).find_map(|item| item.code.clone());
            let right = match code {
                Some(code) => format!("{code}, exit {}", report.exit_code),
                None => format!("exit {}", report.exit_code),
            };
            let used = last_width(&left) + right.len();
            let gap = if self.page.breaks && used + 2 > self.page.width {
                line.push('\n');
                (self.page.width - 1).saturating_sub(right.len())
            } else {
                (self.page.width - 1).saturating_sub(used).max(2)
            };
            let _ = write!(line, "{}{right}", " ".repeat(gap));
        }
        text.push_str(&line);
        text.push('\n');
        text
    }
}

/// How wide the paper is.
#[derive(Clone, Copy, Debug)]
struct Page {
    /// Columns that lines are laid out for.
    width: usize,
    /// Longer lines are broken: a terminal would break them in the middle of a word.
    breaks: bool,
}

impl Default for Page {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Page {
    const NARROWEST: usize = 40;
    const WIDEST: usize = 120;
    const USUAL: usize = 80;

    fn new(columns: Option<usize>) -> Self {
        let width = columns.unwrap_or(Self::USUAL).clamp(Self::NARROWEST, Self::WIDEST);
        Self { width, breaks: columns.is_some() }
    }

    /// The width of a column that has so much on the usual page and takes what another page has more or less.
    /// A text in lines that end before the page does when they begin at a column.
    fn lines(self, text: &str, column: usize) -> Vec<String> {
        if self.breaks { wrap(text, self.width.saturating_sub(column + 1).max(20)) } else { vec![text.to_owned()] }
    }

    fn column(self, usual: usize, least: usize, most: usize) -> usize {
        (usual + self.width).saturating_sub(Self::USUAL).clamp(least, most)
    }
}

/// The items that are differences: their titles begin with a sign.
fn signed(report: &Report) -> impl Iterator<Item = &Item> {
    report.items.iter().filter(|item| is_signed(item))
}

fn is_signed(item: &Item) -> bool {
    item.outcome == Outcome::Fail && ["+ ", "- ", "~ "].iter().any(|sign| item.title.starts_with(sign))
}

/// A difference: its sign and name, and what is behind it on the same line where there is room.
fn difference(item: &Item, page: Page, has_color: bool) -> String {
    if !is_signed(item) {
        return line(item, word(item), page, has_color);
    }
    let style = |text: &str| match text.as_bytes().first() {
        Some(b'+') => Style::new().green(),
        Some(b'-') => Style::new().red(),
        Some(b'~') => Style::new().yellow(),
        _ => Style::new().dim(),
    };
    let title = flat(&item.title);
    let lines: Vec<String> = item.why.as_deref().unwrap_or_default().lines().map(clean).collect();
    let mut text = format!("  {}", paint(&title, &style(&title), has_color));
    if let [only] = lines.as_slice() {
        let short = only.get(2..).unwrap_or_default();
        if console::measure_text_width(&title) + console::measure_text_width(short) <= 72 {
            let _ = writeln!(text, "    {short}");
            return text;
        }
    }
    text.push('\n');
    for line in lines {
        let _ = writeln!(text, "      {}", paint(&line, &style(&line), has_color));
    }
    text
}

/// Lines that belong to the item above them.
pub fn more(lines: &[String], has_color: bool) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "             {}", paint(&clean(line), &Style::new().dim(), has_color));
        text
    })
}

/// The whole report as text, for a file.
pub fn whole(report: &Report) -> String {
    let mut human = Human::default();
    let mut text: String = report.items.iter().map(|item| human.item(item, report.layout, false)).collect();
    if let Some(value) = &report.text {
        text.push_str(value);
    }
    text.push_str(&human.closing(report, false));
    text
}

/// An error that ended the command.
pub fn error(error: &Error, columns: Option<usize>, has_color: bool) -> String {
    let page = Page::new(columns);
    let mut text = String::new();
    let label = paint("error:", &Style::new().red().bold(), has_color);
    let what = format!("{} ({})", flat(error.what()), error.code());
    for (number, line) in page.lines(&what, 7).iter().enumerate() {
        let _ = if number == 0 { writeln!(text, "{label} {line}") } else { writeln!(text, "       {line}") };
    }
    let words = [error.why_text(), error.data_text(), error.hint_text()];
    details(&mut text, error.place(), words, page, has_color);
    text
}

/// `12 ok, 1 failed in 0.31 s`.
pub fn summary(report: &Report) -> String {
    let totals = report.totals;
    let mut parts = vec![format!("{} ok", totals.pass)];
    if totals.fail > 0 {
        parts.push(format!("{} failed", totals.fail));
    }
    if totals.warn > 0 {
        parts.push(format!("{} warning{}", totals.warn, if totals.warn == 1 { "" } else { "s" }));
    }
    if totals.skip > 0 {
        parts.push(format!("{} skipped", totals.skip));
    }
    format!("{} in {}", parts.join(", "), seconds(report.elapsed_ms))
}

/// `0.13 s`, `12.4 s`.
pub fn seconds(millis: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let seconds = millis as f64 / 1000.0;
    if seconds < 10.0 { format!("{seconds:.2} s") } else { format!("{seconds:.1} s") }
}

/// `512 B`, `1.4 MB`.
pub fn bytes(count: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "shown with two digits")]
    let mut size = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{size:.1} {unit}") }
}

/// A text on one line, white space folded, cut at a width.
pub fn one_line(text: &str, width: usize) -> String {
    let folded = text.split_whitespace().collect::<Vec<_>>().join(" ");
    console::truncate_str(&clean(&folded), width, "...").into_owned()
}

fn time(item: &Item) -> String {
    match item.elapsed_ms {
        None => String::new(),
        Some(millis) if millis < 10_000 => format!("{millis} ms"),
        Some(millis) => seconds(millis),
    }
}

fn pad(text: &str, width: usize) -> String {
    let short = width.saturating_sub(console::measure_text_width(text));
    format!("{text}{}", " ".repeat(short))
}

fn word(item: &Item) -> (&'static str, Style) {
    match item.outcome {
        Outcome::Fail => ("FAILED", Style::new().red().bold()),
        Outcome::Warn => ("warn", Style::new().yellow()),
        Outcome::Skip => ("skip", Style::new().dim()),
        Outcome::Pass => match item.change {
            None => ("ok", Style::new().green()),
            Some(change) if change == crate::report::Change::Unchanged => (change.word(), Style::new().dim()),
            Some(change) => (change.word(), Style::new().green()),
        },
    }
}

/// In `db status` a passing item is applied or pending.
fn status_word(item: &Item) -> (&'static str, Style) {
    match (item.outcome, item.change) {
        (Outcome::Pass, Some(_)) => ("pending", Style::new().yellow()),
        (Outcome::Pass, None) => ("applied", Style::new().green()),
        _ => word(item),
    }
}

fn line(item: &Item, (verb, style): (&str, Style), page: Page, has_color: bool) -> String {
    let mut title = flat(&item.title);
    let mut text = format!("  {}  ", paint(&pad(verb, 9), &style, has_color));
    if console::measure_text_width(&title) + 23 > page.width {
        // Its last line stands in the column of titles, the others above it.
        let mut lines = page.lines(&title, 13);
        title = lines.pop().unwrap_or_default();
        for line in lines {
            let _ = write!(text, "{line}{}", below(13));
        }
    }
    text.push_str(&pad(&title, page.column(35, 16, 60)));
    let is_failed = item.outcome == Outcome::Fail;
    let detail = if is_failed { String::new() } else { flat(item.detail.as_deref().unwrap_or("")) };
    let needed = last_width(&text) + 14 + console::measure_text_width(&detail);
    // What concerns no store may take that column for itself before its line is broken.
    if item.store.is_some() || !page.breaks || needed <= page.width {
        let _ = write!(text, "  {}", pad(item.store.map_or("", crate::kind::StoreKind::name), 8));
    }
    finish_line(&mut text, &detail, &time(item), page);
    after(&mut text, item, is_failed, page, has_color);
    text
}

fn stage(item: &Item, page: Page, has_color: bool) -> String {
    let (verb, style) = match item.outcome {
        Outcome::Pass => ("ok", Style::new().green()),
        Outcome::Fail => ("FAIL", Style::new().red().bold()),
        Outcome::Warn => ("warn", Style::new().yellow()),
        Outcome::Skip => ("skip", Style::new().dim()),
    };
    let (title, verb) = (flat(&item.title), paint(&pad(verb, 4), &style, has_color));
    let is_wide = page.breaks && console::measure_text_width(&title) + 20 > page.width;
    if is_wide || (item.detail.is_none() && title.len() > 10) {
        // Stages in one line: their words are all there is.
        let mut text = format!("  {verb}");
        let words = item.detail.as_deref().map_or_else(|| title.clone(), |detail| format!("{title}  {}", flat(detail)));
        finish_line(&mut text, &words, &time(item), page);
        after(&mut text, item, false, page, has_color);
        return text;
    }
    let mut text = format!("  {verb}  {} ", pad(&title, 10));
    finish_line(&mut text, &flat(item.detail.as_deref().unwrap_or("")), &time(item), page);
    after(&mut text, item, false, page, has_color);
    text
}

fn test(number: usize, item: &Item, page: Page, has_color: bool) -> String {
    let (verb, style) = match item.outcome {
        Outcome::Pass => ("PASS", Style::new().green()),
        Outcome::Fail => ("FAIL", Style::new().red().bold()),
        Outcome::Warn => ("WARN", Style::new().yellow()),
        Outcome::Skip => ("SKIP", Style::new().dim()),
    };
    let mut title = format!("Test {number}: {}", flat(&item.title));
    if let Some(tenant) = &item.tenant {
        let _ = write!(title, " ({})", flat(tenant));
    }
    let detail = item.detail.as_deref().map_or_else(String::new, |detail| format!(" {}", flat(detail)));
    let column = page.column(46, 8, 70);
    let length = console::measure_text_width(&title).max(column) + 2 + verb.len() + 1;
    let mut text = String::new();
    if page.breaks && length + console::measure_text_width(&detail) >= page.width {
        // The outcome goes below a title that leaves it no room.
        let _ = write!(text, "{}\n{}", page.lines(&title, 8).join("\n        "), " ".repeat(8));
        let lines = page.lines(detail.trim_start(), 14);
        let _ = write!(text, "{}: {}", paint(verb, &style, has_color), lines.join("\n              "));
    } else {
        let _ = write!(text, "{}  {}:{detail}", pad(&title, column), paint(verb, &style, has_color));
    }
    text.push('\n');
    after(&mut text, item, false, page, has_color);
    text
}

/// What lint found: place and rule, the line with its caret, then what is wrong and what to do.
fn finding(item: &Item, page: Page, has_color: bool) -> String {
    let (verb, style) = match item.outcome {
        Outcome::Fail => ("error", Style::new().red().bold()),
        Outcome::Warn => ("warning", Style::new().yellow()),
        Outcome::Pass => ("ok", Style::new().green()),
        Outcome::Skip => ("skip", Style::new().dim()),
    };
    let title = paint(&flat(&item.title), &Style::new().bold(), has_color);
    let mut text = format!("{} {title}\n", paint(verb, &style, has_color));
    let Some(place) = item.location.as_ref().and_then(|location| location.place.as_ref()) else { return text };
    let _ = writeln!(text, "  {}", clean(&place.to_string()));
    if let Some(line) = &place.text {
        excerpt(&mut text, place, line, has_color);
    }
    for line in wrap(item.detail.as_deref().unwrap_or(""), page.width - 4) {
        let _ = writeln!(text, "  {line}");
    }
    let hint = wrap(item.hint.as_deref().unwrap_or(""), page.width - 10);
    for (number, line) in hint.iter().enumerate() {
        let label = if number == 0 { paint("hint:", &Style::new().cyan(), has_color) } else { "     ".to_owned() };
        let _ = writeln!(text, "  {label} {line}");
    }
    text.push('\n');
    text
}

/// A text in lines of at most so many columns, cut at blanks; a longer word has a line of its own.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in clean(text).split_whitespace() {
        match lines.last_mut() {
            Some(line) if console::measure_text_width(line) + 1 + console::measure_text_width(word) <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// How far the last line of a text reaches.
fn last_width(text: &str) -> usize {
    console::measure_text_width(text.rsplit('\n').next().unwrap_or_default())
}

/// The beginning of a line below, so far in.
fn below(indent: usize) -> String {
    format!("\n{}", " ".repeat(indent))
}

fn finish_line(text: &mut String, detail: &str, time: &str, page: Page) {
    let used = last_width(text);
    let needed = console::measure_text_width(detail) + if time.is_empty() { 2 } else { 4 + time.len() };
    if page.breaks && used + needed > page.width && !detail.is_empty() {
        // The detail hangs where it begins, or goes below where that is too far right; the time stays at the edge.
        let (indent, first) = if used + 42 <= page.width { (used + 2, "  ".to_owned()) } else { (13, below(13)) };
        let kept = text.trim_end().len();
        if indent == 13 {
            text.truncate(kept);
        }
        let mut lines = page.lines(detail, indent + 2 + time.len());
        let last = lines.pop().unwrap_or_default();
        let mut lead = first;
        for line in lines {
            let _ = write!(text, "{lead}{line}");
            lead = below(indent);
        }
        let taken = indent + console::measure_text_width(&last) + time.len();
        let gap = if time.is_empty() { 0 } else { (page.width - 2).saturating_sub(taken).max(2) };
        let _ = write!(text, "{lead}{last}{}{time}", " ".repeat(gap));
    } else if time.is_empty() {
        text.push_str(if detail.is_empty() { "" } else { "  " });
        text.push_str(detail);
        let trimmed = text.trim_end().len();
        text.truncate(trimmed);
    } else {
        let taken = used + console::measure_text_width(detail) + 2 + time.len();
        let gap = (page.width - 2).saturating_sub(taken).max(2);
        let _ = write!(text, "  {detail}{}{time}", " ".repeat(gap));
    }
    text.push('\n');
}

fn after(text: &mut String, item: &Item, with_detail: bool, page: Page, has_color: bool) {
    let place = item.location.as_ref().and_then(|location| location.place.as_ref());
    if let Some(detail) = item.detail.as_ref().filter(|_| with_detail) {
        for line in page.lines(&flat(detail), 8) {
            let _ = writeln!(text, "        {line}");
        }
    }
    let indent = if item.outcome == Outcome::Fail { "\n" } else { "" };
    if place.is_some() {
        text.push_str(indent);
    }
    let words = [item.why.as_deref(), item.state.as_deref(), item.hint.as_deref()];
    details(text, place, words, page, has_color);
}

/// The place, then why, what happened to the data, and the hint.
fn details(text: &mut String, place: Option<&Place>, words: [Option<&str>; 3], page: Page, has_color: bool) {
    if let Some(place) = place {
        let _ = writeln!(text, "  {}", flat(&place.to_string()));
        if let Some(line) = &place.text {
            excerpt(text, place, line, has_color);
        }
    }
    let styles = [("why: ", Style::new().dim()), ("data:", Style::new().dim()), ("hint:", Style::new().cyan())];
    for ((label, style), value) in styles.into_iter().zip(words) {
        let Some(value) = value else { continue };
        // A command that is to be copied stays in one piece: the terminal breaks it where it must.
        let is_command = label == "hint:" && value.starts_with("lyrox ") && !value.contains([';', ',']);
        let lines =
            value.lines().map(flat).flat_map(|line| if is_command { vec![line] } else { page.lines(&line, 14) });
        for (number, line) in lines.enumerate() {
            let _ = if number == 0 {
                writeln!(text, "        {} {line}", paint(label, &style, has_color))
            } else {
                writeln!(text, "              {line}")
            };
        }
    }
}

/// The line with a caret under the column; long lines are cut around it.
fn excerpt(text: &mut String, place: &Place, line: &str, has_color: bool) {
    const WIDTH: usize = 68;
    let characters: Vec<char> = clean(&line.replace('\t', " ")).chars().collect();
    let column = place.column.max(1) - 1;
    let start = if characters.len() <= WIDTH || column < WIDTH / 2 {
        0
    } else {
        (column - WIDTH / 2).min(characters.len().saturating_sub(WIDTH))
    };
    let shown: String = characters.iter().skip(start).take(WIDTH).collect();
    let number = place.line.to_string();
    let _ = writeln!(text, "    {number} | {}", shown.trim_end());
    if place.column > 0 {
        let width = place.width.clamp(1, WIDTH.saturating_sub(column - start).max(1));
        let caret = paint(&"^".repeat(width), &Style::new().red(), has_color);
        let _ = writeln!(text, "    {} | {}{caret}", " ".repeat(number.len()), " ".repeat(column - start));
    }
}

/// Removes control characters and what turns the direction of writing: server- and file-derived text must
/// neither drive the terminal nor look like another text. Ends of lines stay.
pub fn clean(text: &str) -> String {
    let is_bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.chars().any(is_bad) { text.chars().filter(|c| !is_bad(*c)).collect() } else { text.to_owned() }
}

/// The same on one line: a name with an end of line in it must not make a line of its own.
pub fn flat(text: &str) -> String {
    let text = clean(text);
    if text.contains('\n') { text.split('\n').map(str::trim).collect::<Vec<_>>().join(" ") } else { text }
}

/// Takes from a text what a GitHub runner would take for a command of its own: it reads them from any
/// line of the log, whoever wrote it.
pub fn disarm(text: &str) -> String {
    if !text.contains("::") && !text.contains("##[") {
        return text.to_owned();
    }
    let lines = text.split_inclusive('\n').map(|line| {
        let begin = line.trim_start();
        let indent = &line[..line.len() - begin.len()];
        match begin {
            _ if begin.starts_with("::") => format!("{indent}: {}", &begin[1..]),
            _ if begin.starts_with("##[") => format!("{indent}## {}", &begin[2..]),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let item = Item::pass("a", "t\u{1b}[31m\u{7}itle").detail("d\r\u{9b}x");
        let text = line(&item, word(&item), Page::default(), false);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\r', '\u{9b}']), "{text:?}");
    }

    #[test]
    fn the_caret_stands_under_the_column() {
        let place = Place { file: "f.sql".into(), line: 7, column: 5, text: Some("abc defg".into()), width: 4 };
        let mut text = String::new();
        excerpt(&mut text, &place, "abc defg", false);
        assert_eq!(text, "    7 | abc defg\n      |     ^^^^\n");
    }
    #[test]
    fn a_name_makes_no_line_of_its_own_and_turns_no_writing() {
        let item = Item::pass("a", "one\n  ok  two").detail("\u{202e}desrever");
        for layout in [Layout::Lines, Layout::Status, Layout::Stages, Layout::Tests, Layout::Diff] {
            let text = Human::new(Some(80)).item(&item, layout, false);
            assert!(text.lines().count() <= 2 && !text.contains('\u{202e}'), "{layout:?}: {text:?}");
        }
    }

    #[test]
    fn lines_end_where_the_terminal_ends() {
        let long = "a rather long title of the kind that a declared test has in real life";
        let why = "the server said a great deal about what it thinks of this, and then some more of the same";
        let error = Error::new(crate::error::Code::Protocol, why).why(why).data(why).hint(why);
        for width in [40, 60, 80, 100, 120, 200] {
            let items = [
                Item::pass("a", long)
                    .store(crate::kind::StoreKind::Postgres)
                    .detail(why)
                    .elapsed(std::time::Duration::from_secs(1)),
                Item::fail("b", long, &error),
                Item::pass("c", "short").detail("4 rows"),
            ];
            for layout in [Layout::Lines, Layout::Status, Layout::Stages, Layout::Tests] {
                for item in &items {
                    let text = Human::new(Some(width)).item(item, layout, false);
                    for line in text.lines() {
                        let is_whole = line.contains("hint:");
                        assert!(console::measure_text_width(line) <= width || is_whole, "{layout:?} {width}: {line}");
                        assert!(line == line.trim_end(), "{layout:?} {width}: {line:?}");
                    }
                }
            }
        }
        // In a pipe nothing is broken: every fact can be searched for.
        let text = Human::new(None).item(&Item::pass("a", long).detail(why), Layout::Lines, false);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn no_line_is_a_command_to_a_runner() {
        let text = disarm("a\n  ::add-mask::x\n::error::y\n##[group]z\nb::c\n");
        assert_eq!(text, "a\n  : :add-mask::x\n: :error::y\n## [group]z\nb::c\n");
    }
}
