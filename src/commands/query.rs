//! `lyrox query`

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Duration;

use serde_json::Value;

use crate::app::App;
use crate::config::file::TenancyModel;
use crate::engine::event::Events as _;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Layout, Report};
use crate::stores::query::{Answer, Options, Shown, ask};
use crate::stores::stages::plain;

/// How long a query may run unless `--timeout` says otherwise.
const TIME: Duration = Duration::from_secs(30);
/// A wider cell is cut in the table; JSON has it whole.
const WIDEST: usize = 60;

/// Flags of `query`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Read-only unless --write is given: PostgreSQL in a READ ONLY transaction, MongoDB and Redis by lists of\n\
    commands that only read.\n\n\
    Examples:\n  lyrox query postgres 'SELECT now()'\n  echo 'SELECT 1' | lyrox query postgres -\n  lyrox query postgres --as-tenant acme \"SELECT current_setting('app.tenant')\"\n  lyrox query mongodb '{\"find\": \"conversations\", \"limit\": 5}'\n  lyrox query mongodb '{\"dbStats\": 1, \"$db\": \"admin\"}' --output json\n  lyrox query redis 'HGETALL {{prefix}}session:1'\n  lyrox query redis --write 'SET {{prefix}}greeting hello EX 60'"
)]
pub struct Args {
    /// The store: postgres, mongodb or redis
    #[arg(value_name = "STORE")]
    store: StoreKind,
    /// SQL, a MongoDB command as extended JSON, or a Redis command; - reads standard input
    #[arg(value_name = "TEXT")]
    text: String,
    /// Let the query change data
    #[arg(long)]
    write: bool,
    /// PostgreSQL: as the owner, through direct_url, instead of as the application
    #[arg(long)]
    direct: bool,
    /// PostgreSQL: as this tenant; policies see its key
    #[arg(long, value_name = "KEY")]
    as_tenant: Option<String>,
    /// Read at most so many rows or documents
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    limit: usize,
}

/// Runs the command.
///
/// # Errors
/// `LYX-CONNECT-*` and its kin, `LYX-QUERY-FAILED`, `LYX-USAGE`.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("query", Layout::Lines);
    let text = text(args)?;
    let config = app.config()?;
    let targets = app.targets()?;
    let target = targets.get(args.store).ok_or_else(|| {
        let absent = targets.absent.iter().find(|(kind, _)| *kind == args.store);
        let why = absent.map_or_else(|| format!("lyrox.toml has no section [{}]", args.store), |(_, why)| why.clone());
        Error::new(Code::UrlUnset, format!("the project has no {} to ask", args.store)).why(why)
    })?;
    if args.store != StoreKind::Postgres && (args.direct || args.as_tenant.is_some()) {
        return Err(Error::new(Code::Usage, "--direct and --as-tenant are for PostgreSQL"));
    }
    if args.write && config.is_protected {
        return Err(Error::new(
            Code::Protected,
            format!("--write is refused: environment `{}` is protected", config.environment),
        )
        .why("no flag overrides it")
        .data("nothing was sent"));
    }
    let options = Options {
        may_write: args.write,
        // A little before the command is cut short, so that the server ends the query and can say so.
        time: app.global.limit().map_or(TIME, |limit| limit.saturating_sub(app.elapsed()).mul_f32(0.8)),
        limit: args.limit,
        tenant: tenant(app, args)?,
        needs_all_rows: false,
        prefix: config.key_prefix(),
        schema: target.namespace.clone(),
    };
    let endpoint = if args.direct { &target.direct } else { &target.app };
    let answer = ask(config, target, endpoint, &text, &options).await?;
    if answer.is_cut {
        app.note(format!("there is more; --limit {} reads more", args.limit.saturating_mul(10)));
    }
    let mut report = app.finish();
    report.text = Some(shown(&answer));
    report.data = Some(answer.value);
    Ok(report)
}

fn text(args: &Args) -> Result<String> {
    if args.text != "-" {
        return Ok(args.text.clone());
    }
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Error::new(Code::Usage, "standard input cannot be read as text").why(error.to_string()))?;
    Ok(text)
}

fn tenant(app: &App, args: &Args) -> Result<Option<(String, String)>> {
    let Some(key) = &args.as_tenant else { return Ok(None) };
    match &app.config()?.settings.tenancy {
        Some(tenancy) if tenancy.model == TenancyModel::Row => Ok(Some((tenancy.setting.clone(), key.clone()))),
        _ => Err(Error::new(Code::Usage, "--as-tenant needs tenants that share their tables")
            .why("lyrox.toml has no `[tenancy]` with `model = \"row\"`")
            .hint("leave --as-tenant out")),
    }
}

fn shown(answer: &Answer) -> String {
    match &answer.shown {
        Shown::Text(text) => text.lines().map(printable).collect::<Vec<_>>().join("\n"),
        Shown::Json => serde_json::to_string_pretty(&answer.value).unwrap_or_default(),
        Shown::Table => table(answer),
    }
}

/// Text of a server must not drive the terminal.
fn printable(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| match c {
            '\t' => vec![' '],
            '\n' => vec!['\u{23ce}'],
            c if c.is_control() => c.escape_default().collect(),
            c => vec![c],
        })
        .collect()
}

fn cell(value: &Value) -> String {
    let text = printable(&plain(value));
    if text.chars().count() > WIDEST { text.chars().take(WIDEST - 1).chain(['\u{2026}']).collect() } else { text }
}

fn table(answer: &Answer) -> String {
    let rows: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let heads: Vec<String> = answer.columns.iter().map(|name| printable(name)).collect();
    let wide = |at: usize| {
        let cells = rows.iter().map(|row| console::measure_text_width(&row[at]));
        cells.chain([console::measure_text_width(&heads[at])]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(wide).collect();
    // Numbers stand flush right, so that their digits line up.
    let is_number: Vec<bool> = (0..heads.len())
        .map(|at| {
            let mut values = answer.rows.iter().map(|row| &row[at]).filter(|value| !value.is_null()).peekable();
            values.peek().is_some() && values.all(Value::is_number)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().enumerate().map(|(at, text)| {
            let gap = " ".repeat(widths[at].saturating_sub(console::measure_text_width(text)));
            if is_number[at] { format!("{gap}{text}") } else { format!("{text}{gap}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut text = String::new();
    let _ = writeln!(text, "{}", line(&heads));
    let _ = writeln!(text, "{}", widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "));
    for row in &rows {
        let _ = writeln!(text, "{}", line(row));
    }
    let _ = writeln!(text, "({} row{})", rows.len(), if rows.len() == 1 { "" } else { "s" });
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_become_an_aligned_table() {
        let answer = Answer {
            columns: vec!["name".into(), "n".into()],
            rows: vec![vec![json!("a\u{1b}b"), json!(1)], vec![Value::Null, json!(200)]],
            ..Answer::default()
        };
        assert_eq!(table(&answer), "name        n\n--------  ---\na\\u{1b}b    1\n          200\n(2 rows)\n");
    }
}
