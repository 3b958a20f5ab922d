//! What is generated from code and committed: it must be what the code says today.
//! `LYROX_WRITE_GENERATED=1` writes it.

use std::fmt::Write as _;
use std::path::Path;

use lyrox::error::Code;
use lyrox::report::Report;

fn hold(file: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("LYROX_WRITE_GENERATED").is_some() {
        std::fs::write(&path, expected).expect("the generated file");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file} is not what the code says; run `just generate`");
}

#[test]
fn the_error_index_is_generated_from_the_table_of_codes() {
    let mut text = String::from(
        "# Error codes\n\nGenerated from `src/error/codes.rs`; `lyrox explain CODE` prints the same.\n\n| code | exit | meaning |\n|---|---|---|\n",
    );
    for code in Code::ALL {
        let _ =
            writeln!(text, "| [{code}](#{}) | {} | {} |", code.text().to_lowercase(), code.exit().code(), code.title());
    }
    for code in Code::ALL {
        let _ =
            write!(text, "\n## {code}\n\nExit {}: {}.\n\n{}\n", code.exit().code(), code.title(), code.explanation());
    }
    hold("docs/errors.md", &text);
}

#[test]
fn the_schema_of_the_report_is_generated_from_its_types() {
    let schema = schemars::schema_for!(Report);
    let mut text = serde_json::to_string_pretty(&schema).expect("JSON");
    text.push('\n');
    hold("docs/report.schema.json", &text);
}
