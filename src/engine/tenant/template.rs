//! The template of tenant databases (model `database`): the tenant's migrations, run once. Its name is the digest of what is
//! in it, so that a changed migration makes another, and every process the same.

use crate::config::file::Format;
use crate::engine::event::{Event, Events};
use crate::engine::migrate::{self, Work};
use crate::engine::plan::Goal;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::migration::Migration;
use crate::project::text::sha256;
use crate::report::Outcome;
use crate::stores::AnyStore;
use crate::stores::tenant::TenantStore as _;

/// The name that stands for these files.
pub fn name(work: Work<'_>, files: &[Migration]) -> String {
    let section = work.config.settings.postgres.clone().unwrap_or_default();
    let mut text =
        format!("{}\n{}\n{}\n", work.config.settings.project.name, section.schema, section.extensions.join(" "));
    for file in files {
        if let Some(part) = file.parts.get(&StoreKind::Postgres) {
            text.push_str(&format!("{} {}\n", file.version, part.up.checksum));
        }
    }
    format!("lyrox_template_{}", &sha256(text.as_bytes())[..32])
}

/// Makes the template where it is missing, and answers its name.
///
/// # Errors
/// A migration that fails in it: no tenant was made.
pub async fn ensure(work: Work<'_>, store: &mut AnyStore, files: &[Migration]) -> Result<String> {
    let name = name(work, files);
    if !store.begin_template(&name).await? {
        return Ok(name);
    }
    let (mut config, mut targets) = (work.config.clone(), work.targets.clone());
    config.settings.migrations.dir = config.settings.tenancy.clone().unwrap_or_default().migrations;
    config.settings.migrations.format = Format::Lyrox;
    config.settings.migrations.history = None;
    if let Some(section) = &mut config.settings.postgres {
        // Grants are each tenant's own.
        section.app_role = None;
        section.app_grants_except.clear();
    }
    targets.stores.retain(|target| target.kind == StoreKind::Postgres);
    for target in &mut targets.stores {
        target.direct.url = target.direct.url.with_database(&name);
        target.app = target.direct.clone();
    }
    let own = |file: &Migration| {
        let mut file = file.clone();
        file.parts.retain(|kind, _| *kind == StoreKind::Postgres);
        file
    };
    let own: Vec<Migration> = files.iter().map(own).filter(|file| !file.parts.is_empty()).collect();
    let heard = Heard::default();
    let work = Work { config: &config, targets: &targets, events: &heard, wait: work.wait };
    let outcome = migrate::migrate(work, &own, &Goal::Latest).await?;
    if outcome.has_failed {
        let why = heard.0.lock().ok().and_then(|mut words| words.take()).unwrap_or_default();
        return Err(Error::new(Code::TenantFailed, "the migrations of tenants fail in the template database")
            .why(why)
            .data("no tenant was made")
            .hint(format!("mend the file in `{}`, then run it again", config.settings.migrations.dir)));
    }
    store.finish_template(&name).await?;
    Ok(name)
}

/// Keeps the first failure.
#[derive(Default)]
struct Heard(std::sync::Mutex<Option<String>>);

impl Events for Heard {
    fn event(&self, event: Event) {
        if let Event::Item(item) = event
            && item.outcome == Outcome::Fail
            && let Ok(mut words) = self.0.lock()
        {
            let text = [Some(item.title), item.detail, item.why].into_iter().flatten().collect::<Vec<_>>().join(": ");
            words.get_or_insert(text);
        }
    }
}
