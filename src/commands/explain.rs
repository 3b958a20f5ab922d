//! `lyrox explain`

use crate::app::App;
use crate::error::{Code, Error, Result};
use crate::report::{Layout, Report};

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  lyrox explain LYX-DRIFT-EDITED\n  lyrox explain            every code there is")]
pub struct Args {
    /// The code, with or without its LYX-
    pub code: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A code that does not exist, with the nearest one that does.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("explain", Layout::Lines);
    let codes: Vec<Code> = match &args.code {
        Some(text) => vec![text.parse().map_err(|()| unknown(text))?],
        None => Code::ALL.to_vec(),
    };
    let mut report = app.finish();
    let entry = |code: &Code| {
        serde_json::json!({
            "code": code.text(), "exit_code": code.exit().code(), "title": code.title(), "explanation": code.explanation(),
        })
    };
    report.data = Some(codes.iter().map(entry).collect());
    report.text = Some(match codes.as_slice() {
        [code] => format!("{code}, exit {}: {}\n\n{}\n", code.exit().code(), code.title(), code.explanation()),
        all => {
            all.iter().map(|code| format!("{:22} {:>3}  {}\n", code.text(), code.exit().code(), code.title())).collect()
        }
    });
    Ok(report)
}

fn unknown(text: &str) -> Error {
    let upper = text.to_ascii_uppercase();
    let nearest = Code::ALL.iter().min_by_key(|code| strsim::levenshtein(code.text(), &upper));
    let error = Error::new(Code::Usage, format!("`{text}` is no error code"));
    match nearest {
        Some(nearest) => error.hint(format!("did you mean {nearest}? lyrox explain lists them all")),
        None => error,
    }
}
