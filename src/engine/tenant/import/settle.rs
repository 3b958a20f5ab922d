//! Whether a bundle can come here: what is in its way, or how far an earlier run was.

use super::super::hands;
use super::super::hands::{Hands, scope};
use super::super::placement::Places;
use super::super::plan::quoted;
use super::super::registry::{Record, State, Which};
use super::super::shard::Placement;
use super::super::shard::fleet::Fleet;
use super::{Imported, Run, is_import};
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item};
use crate::stores::Store as _;
use crate::stores::tenant::TenantStore as _;
use crate::stores::tenant_bundle::{BundleStore as _, Survey};

impl Run<'_> {
    /// What is in the way, or that the import goes on.
    pub(super) async fn settled(&self, fleet: &mut Fleet<'_>) -> Result<Settled> {
        let registry = fleet.registry()?;
        let all = registry.read_tenants(&Which::All).await?;
        hands::refuse_ambiguous(self.work, &self.tenant, &all)?;
        let shown = self.tenant.shown();
        let tenant = &self.tenant;
        let state =
            |why: String, hint: String| Err(Error::new(Code::TenantState, why).data("nothing was changed").hint(hint));
        let near =
            all.into_iter().find(|record| record.tenant.key() == tenant.key() || record.tenant.slug() == tenant.slug());
        match near {
            Some(record) if record.tenant != *tenant => Err(Error::new(
                Code::TenantClash,
                format!("the slug or key of tenant `{shown}` is that of tenant `{}`", record.tenant.shown()),
            )
            .why(format!("that one has the slug `{}`, and this would have `{}`", record.tenant.slug(), tenant.slug()))
            .data("nothing was changed")
            .hint("lyrox tenant import FILE --slug NAME")),
            Some(record) if record.state == State::Pending && record.step.starts_with(&self.step) => {
                Ok(Settled { record, is_resumed: true })
            }
            Some(record) if record.state == State::Pending && is_import(&record.step) => state(
                format!("the import of another bundle as tenant `{shown}` was begun and is not finished"),
                format!("finish it with its own file, or remove it: lyrox tenant delete {}", quoted(tenant.key())),
            ),
            Some(record) if record.state == State::Deleting => state(
                format!("tenant `{shown}` is being removed"),
                format!("lyrox tenant delete {} finishes it", quoted(tenant.key())),
            ),
            Some(record) if record.state != State::Failed => Err(Error::new(
                Code::TenantClash,
                format!("tenant `{shown}` is there already: it is {}", record.state.word()),
            )
            .data("nothing was changed")
            .hint(format!(
                "lyrox tenant import FILE --key KEY --ids map, or first: lyrox tenant delete {}",
                quoted(tenant.key())
            ))),
            found => {
                let mut record = found.unwrap_or_else(|| Record::new(tenant.clone(), self.terms.model()));
                record.shard = self.chosen(fleet).await?.text();
                let mut clashes = Vec::new();
                for store in fleet.at(&record.placement()?).await? {
                    clashes.extend(store.tenant_clashes(std::slice::from_ref(tenant), &self.terms).await?);
                }
                match clashes.first() {
                    None => Ok(Settled { record, is_resumed: false }),
                    Some(clash) => {
                        Err(Error::new(Code::TenantClash, format!("something is in the way of tenant `{shown}`"))
                            .why(clash.why.clone())
                            .data("nothing was changed")
                            .hint("lyrox tenant import FILE --key KEY, or --slug NAME"))
                    }
                }
            }
        }
    }

    /// Where it is placed.
    async fn chosen(&self, fleet: &mut Fleet<'_>) -> Result<Placement> {
        if let Some(placement) = &self.request.placement {
            return Ok(placement.clone());
        }
        let mut places = Places::new(&self.work.config.settings);
        if places.counts() {
            for (shard, tenants) in fleet.registry()?.tenants_by_shard().await? {
                places.count(&Placement::parse(&shard)?, tenants);
            }
        }
        Ok(places.choose(self.tenant.slug()))
    }

    pub(super) async fn dry(&self, fleet: &mut Fleet<'_>) -> Result<Imported> {
        let placement = self.settled(fleet).await?.record.placement()?;
        if self.terms.model() == TenancyModel::Row {
            let mut hands = Hands::open(self.work, &placement, &self.tenant, true).await?;
            for store in &mut hands.stores {
                let kind = store.kind();
                let wanted = self.wanted(kind);
                let survey = store.begin_reading(scope(&self.tenant, &self.terms, kind), Some(&wanted)).await?;
                self.refuse_occupied(kind, &survey)?;
                store.end_reading().await?;
            }
            hands.close().await;
        }
        let mut rows = 0;
        for part in StoreKind::ALL.into_iter().flat_map(|kind| self.parts(kind)) {
            rows += part.rows;
            let item = hands::item(&self.tenant, part.store, &part.name, part.rows);
            self.work.events.item(item.change(Change::Planned));
        }
        self.tell_left_out();
        Ok(Imported { tenant: self.tenant.clone(), rows })
    }

    pub(super) fn refuse_occupied(&self, kind: StoreKind, survey: &Survey) -> Result<()> {
        let Some(part) = survey.parts.iter().find(|part| part.rows > 0) else { return Ok(()) };
        let found = hands::item(&self.tenant, kind, &part.name, part.rows).detail.unwrap_or_default();
        Err(Error::new(Code::TenantClash, format!("there is something of tenant `{}` already", self.tenant.shown()))
            .why(format!("{kind} has {found} of `{}` with its key", part.name))
            .data("nothing was changed")
            .hint("lyrox tenant import FILE --key KEY, or take in and remove what is there: lyrox tenant adopt"))
    }

    pub(super) fn tell_versions(&self, ledgers: &[(StoreKind, crate::engine::ledger::Ledger)]) {
        let theirs = self.request.bundle.manifest.version.clone();
        let ours = if self.terms.model() == TenancyModel::Row {
            super::super::export::version(&Record::new(self.tenant.clone(), self.terms.model()), ledgers)
        } else {
            super::super::list::newest(&self.files)
        };
        if ours != theirs {
            let word = |version: &Option<String>| version.clone().unwrap_or_else(|| "none".into());
            let item = Item::warn(format!("{}.version", self.tenant.slug()), "version").code(Code::Bundle);
            let detail = format!("the bundle is of {}, and here is {}", word(&theirs), word(&ours));
            self.work.events.item(item.detail(detail));
        }
    }
}

pub(super) struct Settled {
    pub record: Record,
    pub is_resumed: bool,
}
