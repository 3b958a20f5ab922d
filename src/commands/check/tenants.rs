//! The tenants of `lyrox check --tenants`: which, with whose passwords, and what it came to.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::json;

use crate::app::App;
use crate::config::file::Tenancy;
use crate::config::{Endpoint, Origin, Targets};
use crate::engine::migrate::Work;
use crate::engine::tenant::reach::{self, Ask, Logins, Looked};
use crate::engine::tenant::run::Selection;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::plural;

/// Which tenants, and how.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Tenants")]
pub struct Given {
    /// Reach tenants as well: all, keys or slugs with commas between them, or @FILE with one on each line
    #[arg(long, value_name = "all|KEYS|@FILE")]
    pub tenants: Option<String>,
    /// So many tenants at a time, with a connection to each server
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256), requires = "tenants")]
    pub jobs: u16,
    /// Log in as the tenants' own users, by the file that `tenant create --credentials` wrote
    #[arg(long, value_name = "FILE", requires = "tenants")]
    pub credentials: Option<PathBuf>,
}

/// What was asked for, read before anything is contacted.
pub struct Wanted {
    ask: Ask,
    tenancy: Tenancy,
}

impl Given {
    /// Reads the flags; none: no tenants are asked for.
    ///
    /// # Errors
    /// A list or a file that cannot be read, a project without tenants, `--shard`.
    pub fn read(&self, app: &App, until: Option<Instant>) -> Result<Option<Wanted>> {
        let Some(text) = &self.tenants else { return Ok(None) };
        let selection = Selection::read(text)?;
        let terms = crate::engine::tenant::terms(app.config()?)?;
        if app.global.shard.is_some() {
            return Err(Error::new(Code::Usage, "the registry knows on which shard a tenant is")
                .data("nothing was contacted")
                .hint("leave --shard out, or --tenants"));
        }
        let logins = self.credentials.as_deref().map(logins).transpose()?.unwrap_or_default();
        let ask = Ask { selection, jobs: usize::from(self.jobs), logins, until };
        Ok(Some(Wanted { ask, tenancy: terms.tenancy }))
    }
}

/// Looks at the tenants and tells of them.
///
/// # Errors
/// What concerns all of them.
pub async fn run(app: &App, targets: &Targets, wanted: &Wanted) -> Result<Looked> {
    let work = Work { config: app.config()?, targets, events: app, wait: std::time::Duration::ZERO };
    let looked = reach::look(work, &wanted.ask).await?;
    reach::tell(&looked, wanted.tenancy.model, app);
    Ok(looked)
}

/// The logins of a file of credentials; of several of one user the last holds.
fn logins(path: &Path) -> Result<Logins> {
    let shown = path.display().to_string();
    let failed = |what: String, why: &str| {
        Error::new(Code::Credentials, what)
            .why(why)
            .data("nothing was contacted")
            .hint("name a file that `lyrox tenant create KEY --credentials FILE` wrote")
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| failed(format!("`{shown}` cannot be read"), &error.to_string()))?;
    let mut logins = Logins::new();
    for (number, line) in text.lines().enumerate() {
        let value: serde_json::Value = serde_json::from_str(line).map_err(|_| {
            failed(format!("line {} of `{shown}` is no credential", number + 1), "it is no JSON object")
        })?;
        let word = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
        let (Some(tenant), Some(store), Some(url)) = (word("tenant"), word("store"), word("url")) else { continue };
        let Some(kind) = StoreKind::ALL.into_iter().find(|kind| kind.name() == store) else { continue };
        let url = crate::url::parse(kind, url)
            .map_err(|_| failed(format!("line {} of `{shown}` holds no URL", number + 1), "it cannot be read"))?;
        logins.insert((tenant.to_owned(), kind), Endpoint { url, origin: Origin::Secret(shown.clone()) });
    }
    if logins.is_empty() {
        return Err(failed(format!("`{shown}` holds no login"), "no line names a tenant, a store and a URL"));
    }
    Ok(logins)
}

/// What it came to, for programs: milliseconds with three digits behind the point.
pub fn data(looked: &Looked) -> serde_json::Value {
    let ms = |elapsed: std::time::Duration| (elapsed.as_secs_f64() * 1e6).round() / 1000.0;
    let each: Vec<_> = looked
        .looks
        .iter()
        .map(|look| {
            let stores: serde_json::Map<String, serde_json::Value> = look
                .each
                .iter()
                .map(|(kind, way, elapsed)| (kind.name().to_owned(), json!({ "ms": ms(*elapsed), "as": way.word() })))
                .collect();
            json!({
                "tenant": look.record.tenant.key(), "slug": look.record.tenant.slug(), "ok": look.is_good(),
                "ms": ms(look.elapsed), "stores": stores, "version": look.record.version, "behind": look.is_behind,
                "differs": look.differs,
            })
        })
        .collect();
    let times = looked.median_and_slowest();
    json!({ "tenants": {
        "total": looked.looks.len() + looked.left + looked.incomplete.len(), "failed": looked.failed(),
        "incomplete": looked.incomplete.len(), "behind": looked.behind(), "left": looked.left, "jobs": looked.jobs,
        "median_ms": times.map(|(median, _)| ms(median)), "slowest_ms": times.map(|(_, slowest)| ms(slowest)), "each": each,
    }})
}

/// `200 tenants: 199 ok, 1 failed`.
pub fn words(looked: &Looked) -> String {
    let good = looked.looks.iter().filter(|look| look.is_good()).count();
    let mut words = vec![format!("{good} ok")];
    for (count, what) in
        [(looked.failed(), "failed"), (looked.incomplete.len(), "not complete"), (looked.left, "not looked at")]
    {
        words.extend((count > 0).then(|| format!("{count} {what}")));
    }
    let total = looked.looks.len() + looked.left + looked.incomplete.len();
    format!("{}: {}", plural(total, "tenant"), words.join(", "))
}
