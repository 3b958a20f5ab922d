//! Which keys of a declared key space are a tenant's: those whose name has its key where the pattern has a placeholder, those
//! whose hash has it in a field, or none. Pure.

use std::ops::Range;

use regex::Regex;

use crate::config::file::{KeyType, Redis, Tenancy};
use crate::engine::tenant::Tenant;
use crate::error::{Code, Error, Result};

/// How a key space tells whose a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A placeholder of the pattern stands for the tenant's key, or its slug.
    Placeholder(String),
    /// A field of the hash holds the tenant's key.
    Field(String),
    /// Its keys are no tenant's.
    Nobody,
    /// Nobody says.
    Unsaid,
}

/// A declared key space.
#[derive(Clone, Debug)]
pub struct Space {
    /// Its name in the configuration.
    pub name: String,
    /// Its pattern.
    pub pattern: String,
    /// Whose its keys are.
    pub carrier: Carrier,
    any: Regex,
}

/// The key spaces of a project, in the order of their names.
///
/// # Errors
/// `LYX-CONFIG-VALUE` where `tenant` names a placeholder that the pattern has not, or a field of what is no hash.
pub fn spaces(section: &Redis, tenancy: &Tenancy) -> Result<Vec<Space>> {
    let mut spaces = Vec::new();
    for (name, space) in &section.keyspaces {
        let wrong = |why: String| {
            Error::new(Code::ConfigValue, format!("`tenant` of [redis.keyspaces.{name}] cannot be used"))
                .why(why)
                .data("nothing was changed")
                .hint("tenant = \"{PLACEHOLDER}\" of the pattern, a field of the hash, or \"none\"")
        };
        let has = |placeholder: &str| space.pattern.contains(&format!("{{{placeholder}}}"));
        let carrier = match space.tenant.as_deref() {
            Some("none") => Carrier::Nobody,
            Some(text) => match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
                Some(placeholder) if has(placeholder) => Carrier::Placeholder(placeholder.to_owned()),
                Some(_) => return Err(wrong(format!("`{}` has no `{text}`", space.pattern))),
                None if space.kind == KeyType::Hash => Carrier::Field(text.to_owned()),
                None => return Err(wrong(format!("its keys are no hashes, and have no field `{text}`"))),
            },
            // The column's own name as a placeholder, and the plain word, say it themselves.
            None => match tenancy.column.iter().map(String::as_str).chain(["tenant"]).find(|word| has(word)) {
                Some(word) => Carrier::Placeholder(word.to_owned()),
                None => Carrier::Unsaid,
            },
        };
        let any = regex(&space.pattern, None).map_err(|error| Error::bug(format!("a pattern: {error}")))?;
        spaces.push(Space { name: name.clone(), pattern: space.pattern.clone(), carrier, any });
    }
    Ok(spaces)
}

impl Space {
    /// Whether a key, below the project's prefix, is of this space.
    pub fn fits(&self, key: &str) -> bool {
        self.any.is_match(key)
    }

    /// What tells a tenant's keys of this space by their name; none where the name does not tell.
    ///
    /// # Errors
    /// A key with a colon could be another tenant's whose key begins with the same text.
    pub fn matcher(&self, tenant: &Tenant) -> Result<Option<Matcher>> {
        let Carrier::Placeholder(placeholder) = &self.carrier else { return Ok(None) };
        if tenant.key().contains(':') {
            return Err(Error::new(
                Code::TenantUnclassified,
                format!("the keys of `{}` do not tell whose they are", self.pattern),
            )
            .why(format!("the tenant's key `{}` holds a colon, which parts the pieces of a Redis key", tenant.shown()))
            .data("nothing was changed")
            .hint("remove its keys there yourself and say `tenant = \"none\"` in [redis.keyspaces.NAME], or have slugs in the names"));
        }
        let given = Some((placeholder.as_str(), [tenant.key(), tenant.slug()]));
        let regex = regex(&self.pattern, given).map_err(|error| Error::bug(format!("a pattern: {error}")))?;
        Ok(Some(Matcher(regex)))
    }
}

/// Tells one tenant's keys.
#[derive(Clone, Debug)]
pub struct Matcher(Regex);

impl Matcher {
    /// Where in a key the tenant stands; none where it is another's.
    pub fn place(&self, key: &str) -> Option<Range<usize>> {
        self.0.captures(key)?.get(1).map(|found| found.range())
    }
}

/// A pattern as an expression. A placeholder is one piece between colons; the last may be several. The one that is `given`
/// is one of these texts.
fn regex(pattern: &str, given: Option<(&str, [&str; 2])>) -> Result<Regex, regex::Error> {
    let mut text = String::from("(?s)^");
    let mut rest = pattern;
    let mut is_marked = false;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        text.push_str(&regex::escape(before));
        match given {
            Some((wanted, [one, two])) if wanted == name && !is_marked => {
                is_marked = true;
                text.push_str(&format!("({}|{})", regex::escape(one), regex::escape(two)));
            }
            _ if after.is_empty() => text.push_str(".+"),
            _ => text.push_str("[^:]+"),
        }
        rest = after;
    }
    text.push_str(&regex::escape(rest));
    text.push('$');
    Regex::new(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::Keyspace;

    fn space(pattern: &str, kind: KeyType, tenant: Option<&str>) -> Result<Space> {
        let keyspace = Keyspace { pattern: pattern.into(), kind, ttl: None, tenant: tenant.map(str::to_owned) };
        let section = Redis { keyspaces: [("x".to_owned(), keyspace)].into(), ..Redis::default() };
        let tenancy = Tenancy { column: Some("companyId".into()), ..Tenancy::default() };
        Ok(spaces(&section, &tenancy)?.remove(0))
    }

    #[test]
    fn a_key_is_one_tenants_by_the_piece_that_names_it() {
        let acme = Tenant::new("acme", Some("a_1")).expect("a tenant");
        let cache = space("cache:{company}:{id}", KeyType::String, Some("{company}")).expect("a space");
        let of = |key: &str| cache.matcher(&acme).expect("a matcher").and_then(|matcher| matcher.place(key));
        assert_eq!(of("cache:acme:products"), Some(6..10));
        assert_eq!(of("cache:a_1:products:page:2"), Some(6..9));
        for other in ["cache:acme2:products", "cache:x:acme", "cache:acme:", "cache:acme", "xcache:acme:1"] {
            assert_eq!(of(other), None, "{other}");
        }
        let rate = space("rate:{scope}:{id}", KeyType::String, Some("{id}")).expect("a space");
        let matcher = rate.matcher(&acme).expect("a matcher").expect("by name");
        assert!(matcher.place("rate:agent:acme").is_some() && matcher.place("rate:s:x:acme").is_none());
        assert!(rate.fits("rate:login:a@b.c") && !rate.fits("rate:login"));
        let colon = Tenant::new("a:b", None).expect("a tenant");
        assert_eq!(cache.matcher(&colon).expect_err("a colon").code(), Code::TenantUnclassified);
        let odd = space("a.*{x}", KeyType::String, None).expect("a space");
        assert!(odd.fits("a.*1") && !odd.fits("abc1"), "a pattern is no expression");
    }

    #[test]
    fn who_carries_the_tenant_is_said_or_follows_from_the_pattern() {
        let carrier = |pattern, kind, tenant| space(pattern, kind, tenant).map(|space| space.carrier);
        let hash = KeyType::Hash;
        assert_eq!(carrier("s:{id}", hash, None).expect("one"), Carrier::Unsaid);
        assert_eq!(carrier("s:{id}", hash, Some("none")).expect("one"), Carrier::Nobody);
        assert_eq!(carrier("s:{id}", hash, Some("owner")).expect("one"), Carrier::Field("owner".into()));
        assert_eq!(carrier("s:{companyId}", hash, None).expect("one"), Carrier::Placeholder("companyId".into()));
        assert_eq!(carrier("s:{tenant}:x", hash, None).expect("one"), Carrier::Placeholder("tenant".into()));
        assert!(carrier("s:{id}", KeyType::String, Some("owner")).is_err(), "a string has no fields");
        assert!(carrier("s:{id}", hash, Some("{x}")).is_err(), "no such placeholder");
    }
}
