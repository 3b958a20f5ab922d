//! The report as GitHub Actions annotations, and as the summary of a job.

use std::fmt::Write as _;

use super::human::{clean, flat};
use crate::report::{Item, Outcome, Report};

/// A runner shows so many annotations of a kind for one step; those above are lost.
const MOST: usize = 10;

/// Renders the failures and warnings as workflow commands, and a closing notice. `root` leads from the
/// repository to the project: places are told as the repository sees them.
pub fn render(report: &Report, root: &str) -> String {
    let mut text = String::new();
    for (command, outcome) in [("error", Outcome::Fail), ("warning", Outcome::Warn)] {
        let items: Vec<&Item> = report.items.iter().filter(|item| item.outcome == outcome).collect();
        let shown = if items.len() > MOST { MOST - 1 } else { items.len() };
        for item in &items[..shown] {
            annotate(&mut text, command, item, root);
        }
        if shown < items.len() {
            let more = items.len() - shown;
            let _ = writeln!(
                text,
                "::{command} title=lyrox {}::and {more} more: they are in the log and in the job summary",
                property(&report.command)
            );
        }
    }
    let totals = report.totals;
    let _ = writeln!(
        text,
        "::notice title=lyrox {}::{} ok, {} failed, {} warnings, {} skipped",
        property(&report.command),
        totals.pass,
        totals.fail,
        totals.warn,
        totals.skip
    );
    text
}

fn annotate(text: &mut String, command: &str, item: &Item, root: &str) {
    let tenant = item.tenant.as_ref().map_or_else(String::new, |tenant| format!(" ({tenant})"));
    let mut properties = vec![format!("title={}", property(&flat(&format!("{}{tenant}", item.title))))];
    if let Some(location) = &item.location {
        properties.push(format!("file={}", property(&flat(&format!("{root}{}", location.file)))));
        properties.extend(location.line.map(|line| format!("line={line}")));
        properties.extend(location.column.map(|column| format!("col={column}")));
    }
    let words = [&item.detail, &item.why, &item.state, &item.hint].into_iter().flatten();
    let mut lines: Vec<String> = words.map(|text| clean(text)).collect();
    lines.extend(item.code.as_ref().map(|code| format!("lyrox explain {code}")));
    let _ = writeln!(text, "::{command} {}::{}", properties.join(","), data(&lines.join("\n")));
}

/// Renders the report as Markdown, for the summary of a job: what failed in full, the rest folded away.
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    let mark = if report.ok { "passed" } else { "failed" };
    let environment = report.environment.as_deref().map_or_else(String::new, |name| format!(" ({})", cell(name)));
    let _ = writeln!(text, "### lyrox {}{environment}: {mark}\n", cell(&report.command));
    let line = report.summary.clone().unwrap_or_else(|| super::human::summary(report));
    let _ = writeln!(text, "{}; exit code {}\n", cell(&line), report.exit_code);
    let is_loud = |item: &&Item| matches!(item.outcome, Outcome::Fail | Outcome::Warn);
    let loud: Vec<&Item> = report.items.iter().filter(is_loud).collect();
    if !loud.is_empty() {
        text.push_str("| | what | where | why |\n|---|---|---|---|\n");
        for item in loud {
            let words = [&item.detail, &item.why, &item.state, &item.hint].into_iter().flatten();
            let why = words.map(|word| cell(word)).collect::<Vec<_>>().join("<br>");
            let place = item.location.as_ref().map_or_else(String::new, |location| {
                let line = location.line.map_or_else(String::new, |line| format!(":{line}"));
                format!("{}{line}", location.file)
            });
            let code = item.code.as_deref().map_or_else(String::new, |code| format!("<br>{}", cell(code)));
            let _ = writeln!(text, "| {} | {}{code} | {} | {why} |", word(item.outcome), what(item), cell(&place));
        }
        text.push('\n');
    }
    let rest: Vec<&Item> =
        report.items.iter().filter(|item| matches!(item.outcome, Outcome::Pass | Outcome::Skip)).collect();
    if !rest.is_empty() {
        let _ = writeln!(text, "<details><summary>{} more</summary>\n", rest.len());
        text.push_str("| | what | |\n|---|---|---|\n");
        // A summary holds a megabyte at most: the file of the report holds everything.
        for item in rest.iter().take(400) {
            let detail = item.detail.as_deref().map_or_else(String::new, cell);
            let _ = writeln!(text, "| {} | {} | {detail} |", word(item.outcome), what(item));
        }
        if rest.len() > 400 {
            let _ = writeln!(text, "| | {} more | |", rest.len() - 400);
        }
        text.push_str("\n</details>\n\n");
    }
    text
}

fn what(item: &Item) -> String {
    let store = item.store.map_or_else(String::new, |store| format!("{store}: "));
    let tenant = item.tenant.as_deref().map_or_else(String::new, |tenant| format!(" ({})", cell(tenant)));
    format!("{store}{}{tenant}", cell(&item.title))
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "ok",
        Outcome::Fail => "**failed**",
        Outcome::Warn => "warning",
        Outcome::Skip => "skipped",
    }
}

/// A text in a table of Markdown that is neither markup nor a cell more.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in flat(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '@' | '~' | '!' => {
                let _ = write!(safe, "&#{};", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// A text as the value of a workflow command.
pub fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
