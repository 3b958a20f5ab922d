//! Flags and closing words of what works over tenants: `db migrate`, `db seed` and `db status` with `--tenants`.

use serde_json::json;

use crate::app::App;
use crate::config::{Period, Targets};
use crate::engine::migrate::Work;
use crate::engine::tenant::fanout::{self, Fanned, Request};
use crate::engine::tenant::run::Selection;
use crate::engine::tenant::unit::Task;
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::report::{Report, plural};

/// Which tenants, and how many at a time.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Tenants")]
pub struct Fan {
    /// Work on tenants: all, keys or slugs with commas between them, or @FILE with one on each line
    #[arg(long, value_name = "all|KEYS|@FILE")]
    pub tenants: Option<String>,
    /// The same as --tenants all
    #[arg(long, conflicts_with = "tenants")]
    pub all_tenants: bool,
    /// Of the tenants, only those that failed in the last run
    #[arg(long)]
    pub only_failed: bool,
    /// So many tenants go first; where one of them fails, no other is begun
    #[arg(long, value_name = "K", default_value_t = 0, hide_default_value = true)]
    pub canary: u32,
    /// So many tenants begin at a time, the next when all of them have ended
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub wave: u32,
    /// With more failures than this no further tenant is begun; default: the others go on
    #[arg(long, value_name = "M")]
    pub max_failures: Option<u32>,
}

impl Fan {
    /// The tenants that are meant, `single` from `--tenant` included; none: the project itself.
    ///
    /// # Errors
    /// Flags that need tenants without any; a list that cannot be read.
    pub fn selection(&self, single: &[String]) -> Result<Option<Selection>> {
        let mut selection = match (&self.tenants, self.all_tenants) {
            (Some(text), _) => Some(Selection::read(text)?),
            (None, true) => Some(Selection::All),
            (None, false) => None,
        };
        if !single.is_empty() {
            selection = match selection {
                Some(Selection::All) => selection,
                Some(Selection::Named(mut names)) => {
                    names.extend_from_slice(single);
                    Some(Selection::Named(names))
                }
                None => Some(Selection::Named(single.to_vec())),
            };
        }
        let has_more = self.only_failed || self.canary > 0 || self.wave > 0 || self.max_failures.is_some();
        if selection.is_none() && has_more {
            return Err(Error::new(Code::Usage, "--canary, --wave, --max-failures and --only-failed are for tenants")
                .data("nothing was contacted")
                .hint("add --tenants all"));
        }
        Ok(selection)
    }
}

/// Works over tenants and makes the report.
///
/// # Errors
/// What concerns all of them; what concerns one is an item.
pub async fn run(
    app: &App,
    targets: &Targets,
    wait: Period,
    task: Task<'_>,
    selection: Selection,
    (fan, jobs, is_dry): (&Fan, usize, bool),
) -> Result<Report> {
    let work = Work { config: app.config()?, targets, events: app, wait: wait.duration() };
    let request = Request {
        task,
        selection,
        jobs,
        canary: fan.canary,
        wave: fan.wave,
        max_failures: fan.max_failures,
        only_failed: fan.only_failed,
        is_dry,
    };
    let fanned = fanout::fan_out(work, &request).await?;
    let mut report = app.finish();
    report.data = Some(data(&fanned));
    if fanned.failed > 0 {
        report.decide(Exit::Tenants);
    }
    report.summary = Some(summary(&fanned, is_dry, &crate::ui::seconds(report.elapsed_ms)));
    super::migrate::tell_trips(app, &mut report);
    Ok(report)
}

fn data(fanned: &Fanned) -> serde_json::Value {
    json!({
        "run": fanned.run, "tenants": fanned.total, "up_to_date": fanned.settled, "incomplete": fanned.incomplete,
        "done": fanned.done, "done_here": fanned.done_here, "failed": fanned.failed, "skipped": fanned.skipped,
        "left": fanned.left,
    })
}

fn summary(fanned: &Fanned, is_dry: bool, time: &str) -> String {
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let total = plural(count(fanned.total), "tenant");
    let mut words = Vec::new();
    if is_dry {
        words.push(format!("{} would be worked on", fanned.left));
    } else {
        if fanned.done > fanned.done_here {
            words.push(format!("{} done, {} of them here", fanned.done, fanned.done_here));
        } else if fanned.done > 0 {
            words.push(format!("{} done", fanned.done));
        }
        if fanned.failed > 0 {
            words.push(format!("{} failed", fanned.failed));
        }
        if fanned.left > 0 {
            words.push(format!("{} not begun", fanned.left));
        }
    }
    if fanned.settled > 0 || words.is_empty() {
        words.push(format!("{} up to date", fanned.settled));
    }
    if fanned.incomplete + fanned.skipped > 0 {
        words.push(format!("{} left alone", fanned.incomplete + fanned.skipped));
    }
    format!("{total}: {} in {time}", words.join(", "))
}
