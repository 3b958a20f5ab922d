//! A tenant by its two names: the key that its rows carry, and the slug that identifiers and key prefixes
//! are made of. Pure.

use crate::config::file::TenancyModel;
use crate::config::{Config, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;

/// The most bytes that a key has.
const KEY_BYTES: usize = 255;
/// The most characters that a slug has.
const SLUG_LENGTH: usize = 40;

/// One tenant of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    key: String,
    slug: String,
}

impl Tenant {
    /// A tenant by its key; without a slug, one is derived: small letters, digits, and `_` for everything else.
    ///
    /// # Errors
    /// `LYX-USAGE`: an empty or too long key, a slug of another form, a key whose slug would have to be cut.
    pub fn new(key: &str, slug: Option<&str>) -> Result<Self> {
        if key.is_empty() || key.len() > KEY_BYTES || key.contains('\0') {
            return Err(Error::new(Code::Usage, "the tenant's key cannot be used")
                .why(format!("a key has 1 to {KEY_BYTES} bytes and no NUL character; this one has {}", key.len())));
        }
        let slug = match slug {
            Some(slug) => slug.to_owned(),
            None => derived(key),
        };
        if is_slug(&slug) {
            return Ok(Self { key: key.to_owned(), slug });
        }
        Err(Error::new(Code::Usage, format!("`{slug}` cannot be the slug of a tenant"))
            .why(format!(
                "a slug begins with a small letter and has up to {SLUG_LENGTH} small letters, digits and `_`; it is never cut"
            ))
            .hint("name one: --slug NAME"))
    }

    /// The value in the tenant column.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What identifiers and key prefixes are made of.
    pub fn slug(&self) -> &str {
        &self.slug
    }

    /// The name of its schema, database and users.
    pub fn name(&self) -> String {
        format!("t_{}", self.slug)
    }

    /// What its Redis keys begin with, below the project's prefix; the braces keep them in one slot.
    pub fn key_prefix(&self) -> String {
        format!("{{{}}}:", self.slug)
    }

    /// The configuration and servers with which to work inside this tenant: its schema or database where
    /// the model gives it one, the project's own otherwise.
    pub fn within(&self, config: &Config, targets: &Targets) -> (Config, Targets) {
        let (mut config, mut targets) = (config.clone(), targets.clone());
        let model = config.settings.tenancy.as_ref().map(|tenancy| tenancy.model).unwrap_or_default();
        if model == TenancyModel::Row {
            return (config, targets);
        }
        for target in &mut targets.stores {
            match target.kind {
                StoreKind::Postgres if model == TenancyModel::Database => {
                    target.app.url = target.app.url.with_database(&self.name());
                    target.direct.url = target.direct.url.with_database(&self.name());
                }
                StoreKind::Postgres => {
                    target.namespace = self.name();
                    if let Some(section) = &mut config.settings.postgres {
                        section.schema = self.name();
                    }
                }
                StoreKind::Mongodb => target.namespace = self.name(),
                // Below the project's prefix, whatever the model.
                StoreKind::Redis => {}
            }
        }
        (config, targets)
    }
}

fn is_slug(slug: &str) -> bool {
    slug.len() <= SLUG_LENGTH
        && slug.starts_with(|c: char| c.is_ascii_lowercase())
        && slug.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn derived(key: &str) -> String {
    let mut slug = String::with_capacity(key.len());
    for c in key.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            slug.push(c);
        } else if !slug.ends_with('_') && !slug.is_empty() {
            slug.push('_');
        }
    }
    let slug = slug.trim_end_matches('_');
    if slug.starts_with(|c: char| c.is_ascii_digit()) { format!("t{slug}") } else { slug.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_follows_from_the_key_and_is_never_cut() {
        let slug = |key: &str| Tenant::new(key, None).map(|tenant| tenant.slug().to_owned()).ok();
        assert_eq!(slug("Acme & Sons").as_deref(), Some("acme_sons"));
        assert_eq!(slug("auth0|abc").as_deref(), Some("auth0_abc"));
        assert_eq!(
            slug("3f2a0000-0000-4000-8000-000000000001").as_deref(),
            Some("t3f2a0000_0000_4000_8000_000000000001")
        );
        assert_eq!(slug(""), None);
        assert_eq!(slug("日本"), None);
        assert_eq!(slug(&"a".repeat(41)), None);
        let named = Tenant::new(&"a".repeat(41), Some("a")).expect("a tenant");
        assert_eq!((named.name(), named.key_prefix()), ("t_a".into(), "{a}:".into()));
        assert!(Tenant::new("x", Some("A")).is_err() && Tenant::new("x", Some("a-b")).is_err());
    }
}
