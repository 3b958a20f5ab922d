//! What is told of a run over tenants before it begins: how many, which are left alone, what a dry run would do.

use super::super::plan::quoted;
use super::super::registry::{Record, State, Which};
use super::super::run::{Overview, Want};
use super::super::unit::Task;
use super::super::wave;
use super::Request;
use crate::config::file::TenancyModel;
use crate::engine::migrate::Work;
use crate::error::Result;
use crate::report::{Change, Item, plural};
use crate::stores::AnyStore;
use crate::stores::tenant::TenantStore as _;
use crate::stores::tenant_run::RunStore as _;

/// So many tenants that are not complete are named.
const NAMED: usize = 20;

pub(super) async fn overview(registry: &mut AnyStore, want: &Want, is_kept: bool) -> Result<Overview> {
    if is_kept {
        return registry.overview(want).await;
    }
    Ok(wave::overview(want, &registry.read_tenants(&Which::All).await?))
}

pub(super) fn heading(work: Work<'_>, request: &Request<'_>, seen: &Overview) -> Option<String> {
    let project = &work.config.settings.project.name;
    let what = match request.task {
        Task::Migrate(..) if seen.behind == 0 => "up to date".to_owned(),
        Task::Migrate(..) => format!("{} behind", seen.behind),
        Task::Seed(set) => format!("seeds `{}`", set.name),
        Task::Verify(_) => return None,
    };
    let total = usize::try_from(seen.total).unwrap_or(usize::MAX);
    Some(format!("{project} ({}): {}, {what}", work.config.environment, plural(total, "tenant")))
}

pub(super) async fn tell_incomplete(work: Work<'_>, registry: &mut AnyStore, want: &Want, is_kept: bool) -> Result<()> {
    let records = if is_kept {
        registry.incomplete(want, NAMED).await?
    } else {
        wave::incomplete(want, &registry.read_tenants(&Which::All).await?, NAMED)
    };
    for record in records {
        let (why, command) = why_not(&record, want.model);
        work.events.item(item(&record).detail(why).hint(command));
    }
    return Ok(());

    fn item(record: &Record) -> Item {
        let mut item = Item::skip(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
        item.tenant = Some(record.tenant.key().to_owned());
        item
    }
}

/// Why a tenant is none to work in, and the command that settles it.
pub(in crate::engine::tenant) fn why_not(record: &Record, model: TenancyModel) -> (String, String) {
    let key = quoted(record.tenant.key());
    match record.state {
        State::Deleting => ("is being removed".into(), format!("lyrox tenant delete {key}")),
        State::Pending | State::Failed => {
            (format!("is {}: not made yet", record.state.word()), format!("lyrox tenant create {key}"))
        }
        State::Active | State::Suspended => (
            format!("was made in the model `{}`, and [tenancy] says `{}`", record.model.name(), model.name()),
            format!("lyrox tenant show {key}"),
        ),
    }
}

pub(super) async fn tell_planned(work: Work<'_>, registry: &mut AnyStore, want: &Want, is_kept: bool) -> Result<()> {
    let records = if is_kept {
        registry.behind(want, 1000).await?
    } else {
        wave::behind(want, &registry.read_tenants(&Which::All).await?, 1000)
    };
    for record in records {
        let mut item = Item::pass(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
        item.tenant = Some(record.tenant.key().to_owned());
        let at = record.version.map_or_else(|| "no version".to_owned(), |version| format!("at {version}"));
        work.events.item(item.change(Change::Planned).detail(at));
    }
    Ok(())
}
