//! The report as one HTML file that loads nothing: every text in it is escaped.

use std::fmt::Write as _;

use super::human::clean;
use crate::report::{Item, Outcome, Report};

/// The look: of a page that is printed as well as read.
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1b1b1b}\
h1{font-size:1.4rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}p{margin:.3rem 0}.sub{color:#555}\
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.4rem .5rem;text-align:left;vertical-align:top}\
code{font:13px ui-monospace,monospace;background:#f4f4f4;padding:.1rem .25rem;overflow-wrap:anywhere;white-space:pre-wrap}\
.o{font-weight:600;white-space:nowrap}.pass .o{color:#176d2d}.fail .o{color:#b00020}.warn .o{color:#8a5a00}.skip .o{color:#555}\
.fail{background:#fff3f4}.verdict{font-size:1.05rem;font-weight:600;padding:.6rem .8rem;margin:1rem 0;border-left:4px solid}\
.verdict.ok{border-color:#176d2d}.verdict.no{border-color:#b00020}@media print{.fail{background:none}}";

/// Renders the report.
pub fn render(report: &Report) -> String {
    let command = escape(&format!("lyrox {}", report.command));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <title>{command}</title><style>{STYLE}</style></head>\n<body><h1>{command}</h1>\n"
    );
    let when = jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M:%S UTC");
    let environment =
        report.environment.as_deref().map_or_else(String::new, |name| format!("environment {}, ", escape(name)));
    let _ = writeln!(
        page,
        "<p class=\"sub\">{environment}{when}, lyrox {}, exit code {}</p>",
        env!("CARGO_PKG_VERSION"),
        report.exit_code
    );
    let totals = report.totals;
    let summary = report.summary.clone().unwrap_or_default();
    let _ = writeln!(
        page,
        "<p class=\"verdict {}\">{} &mdash; {}</p>\n<p class=\"sub\">{} passed, {} failed, {} warned, {} skipped</p>",
        if report.ok { "ok" } else { "no" },
        if report.ok { "passed" } else { "not passed" },
        escape(&summary),
        totals.pass,
        totals.fail,
        totals.warn,
        totals.skip
    );
    let failed: Vec<&Item> = report.items.iter().filter(|item| item.outcome == Outcome::Fail).collect();
    if !failed.is_empty() {
        section(&mut page, "Found", &failed);
    }
    let mut stores: Vec<Option<crate::kind::StoreKind>> = Vec::new();
    for item in &report.items {
        if !stores.contains(&item.store) {
            stores.push(item.store);
        }
    }
    for store in stores {
        let own: Vec<&Item> =
            report.items.iter().filter(|item| item.store == store && item.outcome != Outcome::Fail).collect();
        if !own.is_empty() {
            section(&mut page, store.map_or("All stores together", |store| store.title()), &own);
        }
    }
    page.push_str("</body></html>\n");
    page
}

fn section(page: &mut String, title: &str, items: &[&Item]) {
    let _ = writeln!(page, "<h2>{}</h2>\n<table><tr><th>Result</th><th>What</th><th>Seen</th></tr>", escape(title));
    for item in items {
        let (class, word) = match item.outcome {
            Outcome::Pass => ("pass", "pass"),
            Outcome::Fail => ("fail", "fail"),
            Outcome::Warn => ("warn", "warn"),
            Outcome::Skip => ("skip", "skip"),
        };
        let _ = write!(page, "<tr class=\"{class}\"><td class=\"o\">{word}</td><td>{}", escape(&item.title));
        let places =
            [item.store.map(|store| store.title().to_owned()), item.tenant.as_ref().map(|key| format!("tenant {key}"))];
        let places: Vec<String> = places.into_iter().flatten().collect();
        if !places.is_empty() {
            let _ = write!(page, "<br><span class=\"sub\">{}</span>", escape(&places.join(", ")));
        }
        let _ = write!(page, "<br><code>{}</code></td><td>", escape(&item.id));
        for text in [&item.detail, &item.why, &item.state].into_iter().flatten() {
            let _ = write!(page, "<p>{}</p>", escape(text));
        }
        if let Some(hint) = &item.hint {
            let _ = write!(page, "<p><code>{}</code></p>", escape(hint));
        }
        let code = item.code.as_ref().map(|code| format!("<p class=\"sub\">{}</p>", escape(code))).unwrap_or_default();
        let _ = writeln!(page, "{code}</td></tr>");
    }
    page.push_str("</table>\n");
}

/// A text that cannot become markup.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_stays_text_and_nothing_is_loaded() {
        let mut report = Report::new("tenant verify");
        report.push(Item::pass("a", "<script>alert(1)</script>").detail("\"><img src=http://x onerror='y'>"));
        let page = render(&report);
        assert!(!page.contains("<script") && !page.contains("<img") && page.contains("&lt;script&gt;"), "{page}");
        for loads in ["src=\"", "href=", "url(", "@import", "<link"] {
            assert!(!page.contains(loads), "{loads}");
        }
    }
}
