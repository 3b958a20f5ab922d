//! What a proof of isolation says: what was tried and held, what leaks, what could not be tried. Pure.

use crate::error::Code;
use crate::kind::StoreKind;
use crate::report::{Item, plural};

/// How a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// A tenant reaches what is another's, or learns of it.
    Leak,
    /// Something of a tenant is not as it should be: missing, left over, at another version.
    Astray,
    /// It could not be tried: nothing is proved.
    Untried,
    /// Nobody reaches anything by it alone.
    Weak,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How it weighs.
    pub weight: Weight,
    /// A word for its sort: `rls_off`.
    pub kind: &'static str,
    /// What it is about, as SQL or the server names it: `table "orders"`.
    pub object: String,
    /// How it was reached: the role, the setting, the statement, the answer.
    pub reached: String,
    /// The statement that closes it.
    pub close: String,
    /// The key of the tenant it is about, where it is about one.
    pub tenant: Option<String>,
}

/// A group of tries, one line of the report where all of it held.
#[derive(Clone, Debug)]
pub struct Area {
    /// A word: `policies`.
    pub id: &'static str,
    /// What it proves.
    pub title: &'static str,
    /// How many tries held.
    pub held: usize,
    /// What the tries were, in a few words.
    pub note: String,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// What one store says.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// In the order of the report.
    pub areas: Vec<Area>,
}

impl Proof {
    /// Begins a group; what follows belongs to it.
    pub fn area(&mut self, id: &'static str, title: &'static str) {
        self.areas.push(Area { id, title, held: 0, note: String::new(), findings: Vec::new() });
    }

    fn last(&mut self) -> &mut Area {
        if self.areas.is_empty() {
            self.area("tenants", "Tenants");
        }
        let at = self.areas.len() - 1;
        &mut self.areas[at]
    }

    /// So many tries held.
    pub fn held(&mut self, count: usize) {
        self.last().held += count;
    }

    /// Says in a few words what was tried.
    pub fn note(&mut self, note: impl Into<String>) {
        self.last().note = note.into();
    }

    /// A leak: what, how it was reached, what closes it.
    pub fn leak(
        &mut self,
        kind: &'static str,
        object: impl Into<String>,
        reached: impl Into<String>,
        close: impl Into<String>,
    ) {
        self.find(Weight::Leak, kind, object.into(), reached.into(), close.into(), None);
    }

    /// Something that could not be tried: why, and what to do about it.
    pub fn untried(
        &mut self,
        kind: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        close: impl Into<String>,
    ) {
        self.find(Weight::Untried, kind, object.into(), why.into(), close.into(), None);
    }

    /// Something that leaks nothing by itself.
    pub fn weak(
        &mut self,
        kind: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        close: impl Into<String>,
    ) {
        self.find(Weight::Weak, kind, object.into(), why.into(), close.into(), None);
    }

    /// A finding about one tenant.
    pub fn of(
        &mut self,
        tenant: &str,
        weight: Weight,
        kind: &'static str,
        object: impl Into<String>,
        reached: impl Into<String>,
        close: impl Into<String>,
    ) {
        self.find(weight, kind, object.into(), reached.into(), close.into(), Some(tenant.to_owned()));
    }

    /// Takes a finding; of several with the same sort, object and tenant the first one stays.
    fn find(
        &mut self,
        weight: Weight,
        kind: &'static str,
        object: String,
        reached: String,
        close: String,
        tenant: Option<String>,
    ) {
        let is_known = self
            .areas
            .iter()
            .flat_map(|area| &area.findings)
            .any(|known| known.kind == kind && known.object == object && known.tenant == tenant);
        if !is_known {
            self.last().findings.push(Finding { weight, kind, object, reached, close, tenant });
        }
    }

    /// Whether something of this sort was found about an object.
    pub fn has(&self, kind: &str, object: &str) -> bool {
        self.areas.iter().flat_map(|area| &area.findings).any(|known| known.kind == kind && known.object == object)
    }

    /// Whether a leak was found about an object.
    pub fn leaks(&self, object: &str) -> bool {
        self.areas
            .iter()
            .flat_map(|area| &area.findings)
            .any(|known| known.weight == Weight::Leak && known.object == object)
    }
}

/// So many, of each weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Tries that held.
    pub held: usize,
    /// Leaks.
    pub leaks: usize,
    /// Things that are astray.
    pub astray: usize,
    /// What could not be tried.
    pub untried: usize,
    /// Weak places, and leaks that `accepted` names.
    pub weak: usize,
}

impl Counts {
    /// The closing line of a report.
    pub fn summary(&self, tenants: usize, seconds: &str) -> String {
        let mut words = vec![format!("{} held", plural(self.held, "try").replace("trys", "tries"))];
        words.push(if self.leaks == 0 { "no leak".into() } else { plural(self.leaks, "leak") });
        if self.astray > 0 {
            words.push(format!("{} astray", self.astray));
        }
        if self.untried > 0 {
            words.push(format!("{} not tried", self.untried));
        }
        format!("{}: {} in {seconds}", plural(tenants, "tenant"), words.join(", "))
    }
}

/// The stable name of a finding: `postgres.rls_off.orders`, with the tenant's slug where it is about one.
pub fn id(store: Option<StoreKind>, finding: &Finding, slug: Option<&str>) -> String {
    let store = store.map_or_else(|| "tenants".to_owned(), |store| store.to_string());
    let mut object = String::new();
    // The kind of the object and its quotes say nothing that the rest does not.
    let name = finding.object.split_once(' ').map_or(finding.object.as_str(), |(_, name)| name);
    for c in name.chars() {
        if c.is_alphanumeric() || matches!(c, '_' | '-') {
            object.push(c);
        } else if !object.ends_with('.') && !object.is_empty() {
            object.push('.');
        }
    }
    let slug = slug.map(|slug| format!("{slug}.")).unwrap_or_default();
    format!("{slug}{store}.{}.{}", finding.kind, object.trim_end_matches('.'))
}

/// The lines of one store: what held, then each finding. `accepted` are the ids that the project accepts.
pub fn items(
    store: Option<StoreKind>,
    proof: &Proof,
    accepted: &[String],
    slug: &dyn Fn(&str) -> Option<String>,
    counts: &mut Counts,
) -> Vec<Item> {
    let mut items = Vec::new();
    for area in &proof.areas {
        counts.held += area.held;
        let prefix = store.map_or_else(|| "tenants".to_owned(), |store| store.to_string());
        if area.held > 0 {
            let tried = format!("{} held", plural(area.held, "try").replace("trys", "tries"));
            let detail = if area.note.is_empty() { tried } else { format!("{tried}: {}", area.note) };
            let mut item = Item::pass(format!("{prefix}.{}", area.id), area.title).detail(detail);
            item.store = store;
            items.push(item);
        }
        for finding in &area.findings {
            let slug = finding.tenant.as_deref().and_then(slug);
            let id = id(store, finding, slug.as_deref());
            let is_accepted = accepted.contains(&id);
            let mut item = match finding.weight {
                _ if is_accepted => {
                    counts.weak += 1;
                    Item::warn(id, finding.object.clone()).code(Code::TenantLeak)
                }
                Weight::Weak => {
                    counts.weak += 1;
                    Item::warn(id, finding.object.clone()).code(Code::TenantLeak)
                }
                Weight::Leak | Weight::Astray | Weight::Untried => {
                    let code = match finding.weight {
                        Weight::Leak => {
                            counts.leaks += 1;
                            Code::TenantLeak
                        }
                        Weight::Untried => {
                            counts.untried += 1;
                            Code::TenantUntried
                        }
                        _ => {
                            counts.astray += 1;
                            Code::TenantAstray
                        }
                    };
                    Item::fail(id, finding.object.clone(), &crate::error::Error::new(code, ""))
                }
            };
            item.store = store;
            item.tenant.clone_from(&finding.tenant);
            item.detail = Some(match finding.weight {
                _ if is_accepted => format!("accepted in lyrox.toml: {}", finding.reached),
                Weight::Untried => format!("not tried: {}", finding.reached),
                _ => finding.reached.clone(),
            });
            item.why = None;
            item.hint = (!finding.close.is_empty() && !is_accepted).then(|| finding.close.clone());
            items.push(item);
        }
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaks_is_named_once_and_fails() {
        let mut proof = Proof::default();
        proof.area("tables", "Tables");
        proof.held(2);
        proof.leak("rls_off", "table \"orders\"", "read", "ALTER TABLE");
        proof.leak("rls_off", "table \"orders\"", "read again", "ALTER TABLE");
        proof.untried("view", "view \"v\"", "why", "");
        proof.weak("fk", "key \"k\"", "why", "");
        let mut counts = Counts::default();
        let none = |_: &str| None;
        let found = items(Some(StoreKind::Postgres), &proof, &[], &none, &mut counts);
        assert_eq!(counts, Counts { held: 2, leaks: 1, astray: 0, untried: 1, weak: 1 });
        let ids: Vec<&str> = found.iter().map(|item| item.id.as_str()).collect();
        assert_eq!(ids, ["postgres.tables", "postgres.rls_off.orders", "postgres.view.v", "postgres.fk.k"]);
        let mut counts = Counts::default();
        items(Some(StoreKind::Postgres), &proof, &["postgres.rls_off.orders".into()], &none, &mut counts);
        assert_eq!((counts.leaks, counts.weak), (0, 2), "what is accepted is no leak and is still shown");
    }
}
