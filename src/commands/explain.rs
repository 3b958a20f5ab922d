//! `lyrox explain`

use crate::app::App;
use crate::error::{Code, Error, FOREIGN, Foreign, Result};
use crate::report::{Layout, Report};

/// Flags of `explain`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Knows the codes of lyrox, and those that people paste from elsewhere: Prisma's, PostgreSQL's SQLSTATE,\nMongoDB's numbers and names, the words of Redis.\n\nExamples:\n  lyrox explain LYX-DRIFT-EDITED\n  lyrox explain P1001      Prisma's\n  lyrox explain 28P01      PostgreSQL's\n  lyrox explain NOAUTH     Redis'\n  lyrox explain            every code of lyrox"
)]
pub struct Args {
    /// The code: lyrox' own with or without its LYX-, or another's
    pub code: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A code that does not exist, with the nearest one that does.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("explain", Layout::Lines);
    let codes: Vec<Code> = match &args.code {
        Some(text) => match text.parse() {
            Ok(code) => vec![code],
            Err(()) => return Foreign::find(text).map(|found| foreign(app, found)).ok_or_else(|| unknown(text)),
        },
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

/// Somebody else's code, and lyrox' own for the same cause.
fn foreign(app: &App, found: &Foreign) -> Report {
    let mut report = app.finish();
    report.data = Some(serde_json::json!([{
        "code": found.code, "name": Some(found.name).filter(|name| !name.is_empty()), "of": found.family.title(),
        "title": found.title, "explanation": found.advice, "same": found.same.map(Code::text),
    }]));
    let mut text = format!("{} {}: {}\n\n{}\n", found.family.title(), found.label(), found.title, found.advice);
    if let Some(code) = found.same {
        text.push_str(&format!("\nlyrox calls it {code}: {}\n", code.explanation()));
    }
    report.text = Some(text);
    report
}

fn unknown(text: &str) -> Error {
    let upper = text.to_ascii_uppercase();
    let own = Code::ALL.iter().map(|code| code.text());
    let others = FOREIGN.iter().flat_map(|foreign| [foreign.code, foreign.name]).filter(|name| !name.is_empty());
    let distance = |name: &&str| strsim::levenshtein(&name.to_ascii_uppercase(), &upper);
    let nearest = own.chain(others).min_by_key(distance);
    let error = Error::new(Code::Usage, format!("`{text}` is no error code"));
    match nearest {
        Some(nearest) => error.hint(format!("did you mean {nearest}? lyrox explain lists them all")),
        None => error,
    }
}
