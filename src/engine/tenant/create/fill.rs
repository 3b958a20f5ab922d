//! What goes into a new place: the tenant's migrations and seeds.

use super::super::inside;
use super::super::shard::Placement;
use super::super::shard::fleet::Fleet;
use super::super::unit::settled_heads;
use super::{Run, Step, Unit, pass};
use crate::engine::plan::Goal;
use crate::error::Result;
use crate::exit::Exit;
use crate::kind::StoreKind;
use crate::project::migration::Version;
use crate::stores::tenant::TenantStore as _;

impl Run<'_> {
    /// Migrations and seeds, tenant by tenant.
    pub(super) async fn fill(&self, fleet: &mut Fleet<'_>, placement: &Placement, units: &mut Vec<Unit>) -> Result<()> {
        if self.files.is_empty() && self.request.seeds.is_none() {
            return Ok(());
        }
        let mut kept = Vec::with_capacity(units.len());
        for mut unit in std::mem::take(units) {
            match self.fill_one(fleet, &mut unit).await {
                Ok(()) => kept.push(unit),
                Err(error) if error.exit() == Exit::Connect || error.exit() == Exit::Lock => return Err(error),
                Err(error) => self.give_up(fleet, placement, unit, error).await?,
            }
        }
        *units = kept;
        Ok(())
    }

    async fn fill_one(&self, fleet: &mut Fleet<'_>, unit: &mut Unit) -> Result<()> {
        if !self.files.is_empty() && unit.record.is_adopted {
            // A schema that the application made has what its migrations make.
            let (known, to) = match recording(&unit.record.step) {
                Some((kinds, to)) => (Some(kinds), to),
                None => (None, self.request.to.clone()),
            };
            let mut begun = unit.record.clone();
            let version = to.clone();
            let decided = async |kinds: &[StoreKind]| {
                begun.step = recording_step(kinds, version.as_ref());
                fleet.registry()?.write_tenants(std::slice::from_ref(&begun)).await?;
                pass("recording");
                Ok(())
            };
            let is_brief = self.request.is_brief;
            inside::take_in(self.work, &mut unit.record, &self.files, to.as_ref(), is_brief, known, decided).await?;
            unit.record.step = Step::Migrated.word().into();
            self.write(fleet, std::slice::from_ref(unit)).await?;
            pass("migrated");
        } else if !self.files.is_empty() {
            if self.is_whole_from_template() {
                unit.record.version = super::super::list::newest(&self.files);
                let heads = settled_heads(&self.files, &[StoreKind::Postgres], &Goal::Latest);
                unit.record.head = heads.into_iter().next();
            } else {
                inside::migrate(self.work, &mut unit.record, &self.files, self.request.is_brief).await?;
            }
            unit.record.step = Step::Migrated.word().into();
            self.write(fleet, std::slice::from_ref(unit)).await?;
            pass("migrated");
        }
        if let Some(set) = self.request.seeds {
            inside::seed(self.work, &unit.record, set, self.request.is_brief).await?;
            unit.record.step = Step::Seeded.word().into();
            self.write(fleet, std::slice::from_ref(unit)).await?;
            pass("seeded");
        }
        Ok(())
    }

    /// Whether a copy of the template is all that a tenant needs: no other store has a part of its migrations, and no
    /// user is to be given rights in it.
    fn is_whole_from_template(&self) -> bool {
        let has_role = self.work.config.settings.postgres.as_ref().is_some_and(|section| section.app_role.is_some());
        self.terms.template.is_some()
            && inside::stores(&self.files) == [StoreKind::Postgres]
            && !self.terms.tenancy.users
            && !has_role
    }
}

/// The step of a tenant that is taken in while its migrations are recorded: the stores that hold what the application made,
/// and the version up to which.
fn recording_step(kinds: &[StoreKind], to: Option<&Version>) -> String {
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let to = to.map(|to| format!(" {to}")).unwrap_or_default();
    format!("recording {}{to}", if kinds.is_empty() { "none".into() } else { kinds.join(",") })
}

/// Reads such a step.
pub(super) fn recording(step: &str) -> Option<(Vec<StoreKind>, Option<Version>)> {
    let mut words = step.strip_prefix("recording ")?.split(' ');
    let kinds = words.next()?.split(',').filter_map(|word| word.parse().ok()).collect();
    Some((kinds, words.next().map(Version::new)))
}
