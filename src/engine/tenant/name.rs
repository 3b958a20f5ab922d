//! A tenant by its two names: the key that its rows carry, and the slug that identifiers, key prefixes and access
//! rules are made of. Pure. Nothing but the slug ever reaches an identifier or a pattern.

use std::fmt;

use crate::config::file::{Format, TenancyModel};
use crate::config::{Config, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::text::sha256;

/// The most bytes that a key has.
pub const KEY_BYTES: usize = 255;
/// The most characters that a slug has.
pub const SLUG_LENGTH: usize = 40;
/// So many characters of a derived slug are the digest that tells it from every other.
const DIGEST: usize = 12;
/// So many characters of a derived slug are there to be read.
const READABLE: usize = SLUG_LENGTH - DIGEST - 1;

/// Slugs that nobody gets: in a Redis Cluster `{lyrox}` is the tag of lyrox's own keys.
const RESERVED: [&str; 1] = ["lyrox"];

/// The short name of a tenant: `^[a-z][a-z0-9_]{0,39}$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slug(String);

impl Slug {
    /// Takes a slug as a person gave it.
    ///
    /// # Errors
    /// `LYX-TENANT-NAME` where it has another form, or lyrox needs the name itself. It is never cut.
    pub fn new(text: &str) -> Result<Self> {
        let why = if !is_slug(text) {
            format!(
                "a slug begins with a small letter and has up to {SLUG_LENGTH} small letters, digits and `_`; it is never cut"
            )
        } else if RESERVED.contains(&text) {
            "lyrox's own keys and users have that name".to_owned()
        } else {
            return Ok(Self(text.to_owned()));
        };
        Err(Error::new(Code::TenantName, format!("`{}` cannot be the slug of a tenant", shown(text)))
            .why(why)
            .data("nothing was changed")
            .hint("name another: --slug NAME"))
    }

    /// The slug that follows from a key: the key itself where it has the form of one; a UUID without its hyphens
    /// behind `u`; else what can be read of the key and a digest of all of it. Different keys have different slugs, and
    /// the same key always the same.
    pub fn derived(key: &str) -> Self {
        if is_slug(key) && !RESERVED.contains(&key) && !is_derived(key) {
            return Self(key.to_owned());
        }
        if let Some(digits) = uuid_digits(key) {
            return Self(format!("u{digits}"));
        }
        let mut slug = String::with_capacity(SLUG_LENGTH);
        for c in key.chars().flat_map(char::to_lowercase) {
            if slug.len() == READABLE {
                break;
            }
            if c.is_ascii_lowercase() || (c.is_ascii_digit() && !slug.is_empty()) {
                slug.push(c);
            } else if !slug.ends_with('_') && !slug.is_empty() {
                slug.push('_');
            }
        }
        let readable = slug.trim_end_matches('_');
        let readable = if readable.is_empty() { "t" } else { readable };
        Self(format!("{readable}_{}", &sha256(key.as_bytes())[..DIGEST]))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// One tenant of the application.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant {
    key: String,
    slug: Slug,
}

impl Tenant {
    /// A tenant by its key; without a slug, the derived one.
    ///
    /// # Errors
    /// `LYX-TENANT-NAME`: a key or a slug of another form.
    pub fn new(key: &str, slug: Option<&str>) -> Result<Self> {
        let slug = slug.map(Slug::new).transpose()?;
        if key.is_empty() || key.len() > KEY_BYTES || key.contains('\0') {
            return Err(Error::new(Code::TenantName, "the tenant's key cannot be used")
                .why(format!("a key has 1 to {KEY_BYTES} bytes and no NUL character; this one has {}", key.len()))
                .data("nothing was changed"));
        }
        Ok(Self { key: key.to_owned(), slug: slug.unwrap_or_else(|| Slug::derived(key)) })
    }

    /// The value in the tenant column.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What identifiers and key prefixes are made of.
    pub fn slug(&self) -> &str {
        &self.slug.0
    }

    /// The name of its schema, its databases and its users: `t_<slug>`, at most 42 bytes.
    pub fn name(&self) -> String {
        format!("t_{}", self.slug)
    }

    /// What its Redis keys begin with, below the project's prefix; the braces keep them in one slot.
    pub fn key_prefix(&self) -> String {
        format!("{{{}}}:", self.slug)
    }

    /// The key as a message may show it.
    pub fn shown(&self) -> String {
        shown(&self.key)
    }

    /// The configuration and servers with which to work inside this tenant: its schema or database where
    /// the model gives it one, the project's own otherwise. Redis stays at the project's prefix: whoever writes a
    /// tenant's keys there adds [`Tenant::key_prefix`].
    pub fn within(&self, config: &Config, targets: &Targets) -> (Config, Targets) {
        let (mut config, mut targets) = (config.clone(), targets.clone());
        let tenancy = config.settings.tenancy.clone().unwrap_or_default();
        if tenancy.model == TenancyModel::Row {
            return (config, targets);
        }
        if let Some(section) = config.settings.postgres.as_mut() {
            // What is withheld from the application is withheld in the tables that all share.
            section.app_grants_except.clear();
            if tenancy.users {
                section.app_role = Some(self.name());
            }
        }
        for target in &mut targets.stores {
            match target.kind {
                StoreKind::Postgres if tenancy.model == TenancyModel::Database => {
                    target.app.url = target.app.url.with_database(&self.name());
                    target.direct.url = target.direct.url.with_database(&self.name());
                }
                StoreKind::Postgres => {
                    target.namespace = self.name();
                    target.tenant = self.key.clone();
                    if let Some(section) = &mut config.settings.postgres {
                        section.schema = self.name();
                    }
                }
                StoreKind::Mongodb => target.namespace = self.name(),
                StoreKind::Redis => {}
            }
        }
        (config, targets)
    }

    /// As [`Tenant::within`], for the tenant's own migrations: their folder, and Redis at the tenant's prefix, where the
    /// ledger of its Redis parts is as well.
    pub fn migrating(&self, config: &Config, targets: &Targets) -> (Config, Targets) {
        let (mut config, mut targets) = self.within(config, targets);
        let tenancy = config.settings.tenancy.clone().unwrap_or_default();
        config.settings.migrations.dir = tenancy.migrations;
        // Another tool's history is kept for the project's own migrations only.
        config.settings.migrations.format = Format::Lyrox;
        config.settings.migrations.history = None;
        if let Some(section) = &mut config.settings.mongodb {
            section.format = Format::Lyrox;
        }
        for target in targets.stores.iter_mut().filter(|target| target.kind == StoreKind::Redis) {
            target.namespace.push_str(&self.key_prefix());
            if let Some(section) = &mut config.settings.redis {
                section.key_prefix = Some(target.namespace.clone());
            }
        }
        (config, targets)
    }
}

/// A text that a person gave, for a message: cut, without control characters.
pub fn shown(text: &str) -> String {
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(60).collect();
    if text.chars().count() > 60 {
        shown.push_str("...");
    }
    shown
}

fn is_slug(text: &str) -> bool {
    text.len() <= SLUG_LENGTH
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Whether a text has a form that only derived slugs have: a key of that form is not its own slug.
fn is_derived(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let has_digest = text.rsplit_once('_').is_some_and(|(_, digest)| digest.len() == DIGEST && is_hex(digest));
    has_digest || (text.len() == 33 && text.starts_with('u') && is_hex(&text[1..]))
}

/// The digits of a UUID in its usual form, which PostgreSQL prints: 8-4-4-4-12, small letters.
fn uuid_digits(key: &str) -> Option<String> {
    let lengths = key.split('-').map(str::len).collect::<Vec<_>>();
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-');
    (lengths == [8, 4, 4, 4, 12] && key.bytes().all(is_hex)).then(|| key.replace('-', ""))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn slug(key: &str) -> String {
        Slug::derived(key).0
    }

    #[test]
    fn a_slug_follows_from_the_key_and_can_be_read() {
        assert_eq!(slug("acme"), "acme");
        assert_eq!(slug("3f2a0000-0000-4000-8000-000000000001"), "u3f2a0000000040008000000000000001");
        assert!(slug("Acme & Sons").starts_with("acme_sons_"), "{}", slug("Acme & Sons"));
        assert!(slug("auth0|abc").starts_with("auth0_abc_"));
        assert!(slug("日本").starts_with("t_"));
        assert!(slug("42").starts_with("t_"));
        assert_eq!(slug(&"a".repeat(255)).len(), SLUG_LENGTH);
        assert_eq!(slug("Acme"), slug("Acme"));
    }

    #[test]
    fn different_keys_have_different_slugs() {
        let upper = "3F2A0000-0000-4000-8000-000000000001";
        let mut keys: Vec<String> =
            ["a b", "a-b", "a_b", "A b", "a  b", "ab", "Ab", "lyrox", "ａ", "é", "e\u{301}", upper]
                .map(str::to_owned)
                .to_vec();
        keys.push(upper.to_lowercase());
        // Whoever knows the rule cannot write a key that is another's slug.
        keys.extend(keys.clone().iter().map(|key| slug(key)).filter(|slug| !keys.contains(slug)).collect::<Vec<_>>());
        let mut owners: HashMap<String, String> = HashMap::new();
        for key in keys {
            let slug = slug(&key);
            assert!(is_slug(&slug), "{key} {slug}");
            if let Some(other) = owners.insert(slug.clone(), key.clone()) {
                panic!("{key:?} and {other:?} are both {slug}");
            }
        }
    }

    #[test]
    fn names_of_another_form_are_refused_and_never_cut() {
        for slug in ["", "A", "1a", "a-b", "a b", "a\"", "a*", "é", "lyrox", &"a".repeat(41)] {
            assert!(Tenant::new("key", Some(slug)).is_err(), "{slug}");
        }
        for key in ["", "a\0b", &"ä".repeat(128)] {
            assert!(Tenant::new(key, None).is_err(), "{key}");
        }
        let longest = Tenant::new("key", Some(&"a".repeat(40))).expect("a tenant");
        assert!(longest.name().len() < 63 && longest.key_prefix() == format!("{{{}}}:", "a".repeat(40)));
    }
}
