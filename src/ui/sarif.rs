//! The findings of lint as SARIF 2.1.0, for code scanning: a run, its rules, its results. What kept lint
//! from running is a notification of the invocation.

use serde::Serialize;

use crate::engine::lint::rules;
use crate::error::Code;
use crate::report::{Item, Location, Outcome, Report};

const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";
const HELP: &str = "https://squawkhq.com/docs/";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool,
    invocations: [Invocation; 1],
    column_kind: &'static str,
    results: Vec<Result<'a>>,
}

#[derive(Serialize)]
struct Tool {
    driver: Driver,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Driver {
    name: &'static str,
    semantic_version: &'static str,
    rules: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    id: &'static str,
    short_description: Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    help_uri: Option<String>,
    default_configuration: Configuration,
    properties: Properties,
}

#[derive(Serialize)]
struct Configuration {
    level: &'static str,
}

#[derive(Serialize)]
struct Properties {
    tags: [&'static str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Invocation {
    execution_successful: bool,
    exit_code: u8,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_execution_notifications: Vec<Notification>,
}

#[derive(Serialize)]
struct Notification {
    level: &'static str,
    message: Text,
}

#[derive(Serialize)]
struct Text {
    text: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: &'static str,
    message: Text,
    locations: Vec<Place<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    physical_location: Physical<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Physical<'a> {
    artifact_location: Artifact<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
}

#[derive(Serialize)]
struct Artifact<'a> {
    uri: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region {
    start_line: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_column: Option<usize>,
}

/// Renders the report of lint.
pub fn render(report: &Report) -> String {
    let judged = |item: &&Item| matches!(item.outcome, Outcome::Fail | Outcome::Warn);
    let is_finding = |item: &&Item| item.code.as_deref() == Some(Code::Lint.text());
    let problems = report.items.iter().filter(judged).filter(|item| !is_finding(item));
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: "lyrox",
                    semantic_version: env!("CARGO_PKG_VERSION"),
                    rules: rules::RULES.iter().map(descriptor).collect(),
                },
            },
            invocations: [Invocation {
                // Findings are what it is for: only an error of another kind is a failure of the run.
                execution_successful: report.exit_code <= 1,
                exit_code: report.exit_code,
                tool_execution_notifications: problems
                    .map(|item| Notification { level: "error", message: message(item) })
                    .collect(),
            }],
            column_kind: "unicodeCodePoints",
            results: report.items.iter().filter(judged).filter(is_finding).filter_map(result).collect(),
        }],
    };
    let mut text = serde_json::to_string_pretty(&log).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"));
    text.push('\n');
    text
}

fn descriptor(rule: &rules::Rule) -> Descriptor {
    Descriptor {
        id: rule.name,
        short_description: Text { text: rule.title.to_owned() },
        help_uri: (rule.theme == rules::Theme::Squawk).then(|| format!("{HELP}{}", rule.name)),
        default_configuration: Configuration { level: rule.level.word() },
        properties: Properties { tags: [rule.theme.word()] },
    }
}

fn result(item: &Item) -> Option<Result<'_>> {
    let rule_index = rules::RULES.iter().position(|rule| rule.name == item.title)?;
    Some(Result {
        rule_id: &item.title,
        rule_index,
        level: if item.outcome == Outcome::Fail { "error" } else { "warning" },
        message: message(item),
        locations: item.location.iter().map(place).collect(),
    })
}

fn message(item: &Item) -> Text {
    let lines = [&item.detail, &item.why, &item.hint].into_iter().flatten();
    let text = lines.map(|line| super::human::clean(line)).collect::<Vec<_>>().join("\n");
    Text { text: if text.is_empty() { item.title.clone() } else { text } }
}

fn place(location: &Location) -> Place<'_> {
    let width = location.place.as_ref().map_or(1, |place| place.width);
    let region = location.line.map(|start_line| Region {
        start_line,
        start_column: location.column,
        end_column: location.column.map(|column| column + width),
    });
    // A reference by RFC 3986: `/` stays, everything that is not plain is encoded.
    let uri = percent_encoding::utf8_percent_encode(&location.file, PATH).into();
    Place { physical_location: Physical { artifact_location: Artifact { uri }, region } }
}

const PATH: &percent_encoding::AsciiSet = &crate::secret::STRICT.remove(b'/');
