//! The report as GitHub Actions annotations.

use std::fmt::Write as _;

use crate::report::{Outcome, Report};

/// Renders the failures and warnings as workflow commands, and a closing notice.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for item in &report.items {
        let command = match item.outcome {
            Outcome::Fail => "error",
            Outcome::Warn => "warning",
            Outcome::Pass | Outcome::Skip => continue,
        };
        let tenant = item.tenant.as_ref().map_or_else(String::new, |tenant| format!(" ({tenant})"));
        let mut properties = vec![format!("title={}", property(&format!("{}{tenant}", item.title)))];
        if let Some(location) = &item.location {
            properties.push(format!("file={}", property(&location.file)));
            properties.extend(location.line.map(|line| format!("line={line}")));
            properties.extend(location.column.map(|column| format!("col={column}")));
        }
        let message =
            [&item.detail, &item.why, &item.state, &item.hint].into_iter().flatten().cloned().collect::<Vec<_>>();
        let _ = writeln!(text, "::{command} {}::{}", properties.join(","), data(&message.join("\n")));
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

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
