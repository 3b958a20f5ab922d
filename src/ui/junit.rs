//! The report as JUnit XML: a suite per store, a case per item.

use std::collections::BTreeMap;
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::report::{Item, Outcome, Report};

/// Renders the report.
pub fn render(report: &Report) -> String {
    let mut junit = Junit::new(format!("lyrox {}", report.command));
    let mut suites: BTreeMap<String, Vec<&Item>> = BTreeMap::new();
    for item in &report.items {
        suites
            .entry(item.store.map_or_else(|| report.command.clone(), |store| store.to_string()))
            .or_default()
            .push(item);
    }
    for (name, items) in suites {
        let mut suite = TestSuite::new(name.clone());
        for item in items {
            let mut case = TestCase::new(name_of(item), status(item));
            case.set_classname(format!("lyrox.{}.{name}", report.command.replace(' ', ".")));
            if let Some(millis) = item.elapsed_ms {
                case.set_time(Duration::from_millis(millis));
            }
            // Where viewers look for the place of a test.
            if let Some(location) = &item.location {
                case.extra.insert("file".into(), location.file.as_str().into());
                if let Some(line) = location.line {
                    case.extra.insert("line".into(), line.to_string().into());
                }
            }
            if let (Outcome::Pass | Outcome::Warn, Some(detail)) = (item.outcome, &item.detail) {
                case.set_system_out(super::human::clean(detail));
            }
            suite.add_test_case(case);
        }
        junit.add_test_suite(suite);
    }
    junit.to_string().unwrap_or_default()
}

/// The title, and the tenant where there is one: names are unique within a suite.
fn name_of(item: &Item) -> String {
    match &item.tenant {
        Some(tenant) => format!("{} ({tenant})", item.title),
        None => item.title.clone(),
    }
}

fn status(item: &Item) -> TestCaseStatus {
    let text = [&item.detail, &item.why, &item.state, &item.hint]
        .into_iter()
        .flatten()
        .map(|text| super::human::clean(text))
        .collect::<Vec<_>>()
        .join("\n");
    match item.outcome {
        Outcome::Pass | Outcome::Warn => TestCaseStatus::success(),
        Outcome::Skip => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(text);
            status
        }
        Outcome::Fail => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type(item.code.clone().unwrap_or_default());
            status.set_message(item.detail.clone().unwrap_or_default());
            status.set_description(text);
            status
        }
    }
}
