//! The report as JUnit XML: a suite per store, a case per item.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use quick_junit::{NonSuccessKind, Report as Junit, TestCase, TestCaseStatus, TestSuite};

use crate::report::{Item, Outcome, Report};

/// Renders the report.
pub fn render(report: &Report) -> String {
    let mut junit = Junit::new(format!("lyrox {}", report.command));
    junit.set_time(Duration::from_millis(report.elapsed_ms));
    let mut suites: BTreeMap<String, Vec<&Item>> = BTreeMap::new();
    for item in &report.items {
        suites
            .entry(item.store.map_or_else(|| report.command.clone(), |store| store.to_string()))
            .or_default()
            .push(item);
    }
    for (name, items) in suites {
        let mut suite = TestSuite::new(name.clone());
        suite.set_time(Duration::from_millis(items.iter().filter_map(|item| item.elapsed_ms).sum()));
        let mut taken = BTreeSet::new();
        for item in items {
            // Viewers know a case by its name: what is called the same is told apart by its id.
            let mut case_name = name_of(item);
            if !taken.insert(case_name.clone()) {
                case_name = format!("{case_name} [{}]", item.id);
                taken.insert(case_name.clone());
            }
            let mut case = TestCase::new(case_name, status(item));
            case.set_time(Duration::from_millis(item.elapsed_ms.unwrap_or_default()));
            case.set_classname(format!("lyrox.{}.{name}", report.command.replace(' ', ".")));
            // Where viewers look for the place of a test.
            if let Some(location) = &item.location {
                case.extra.insert("file".into(), location.file.as_str().into());
                if let Some(line) = location.line {
                    case.extra.insert("line".into(), line.to_string().into());
                }
            }
            if matches!(item.outcome, Outcome::Pass | Outcome::Warn) {
                let warning = (item.outcome == Outcome::Warn).then(|| format!("warning: {}", item.title));
                let words = [&warning, &item.detail, &item.why, &item.hint];
                let words: Vec<String> = words.into_iter().flatten().map(|text| super::human::clean(text)).collect();
                if !words.is_empty() {
                    case.set_system_out(words.join("\n"));
                }
            }
            suite.add_test_case(case);
        }
        junit.add_test_suite(suite);
    }
    if report.items.is_empty() {
        // A file without a case is an error to some viewers, and nothing to do is none.
        let mut suite = TestSuite::new(report.command.clone());
        let mut case = TestCase::new(report.command.clone(), TestCaseStatus::success());
        case.set_classname(format!("lyrox.{}", report.command.replace(' ', ".")));
        case.set_time(Duration::from_millis(report.elapsed_ms));
        case.set_system_out(report.summary.clone().unwrap_or_else(|| "nothing to do".to_owned()));
        suite.add_test_case(case);
        suite.set_time(Duration::from_millis(report.elapsed_ms));
        junit.add_test_suite(suite);
    }
    junit.to_string().unwrap_or_default()
}

/// The title, and the tenant where there is one. A case without a name is none to a viewer.
fn name_of(item: &Item) -> String {
    let title = if item.title.trim().is_empty() { &item.id } else { &item.title };
    super::human::flat(&match &item.tenant {
        Some(tenant) => format!("{title} ({tenant})"),
        None => title.clone(),
    })
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
            status.set_message(super::human::flat(item.detail.as_deref().unwrap_or_default()));
            status.set_description(text);
            status
        }
    }
}
