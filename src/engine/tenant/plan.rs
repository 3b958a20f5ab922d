//! What is to be done for each tenant that was asked for, given what the registry has. Pure.

use std::collections::HashMap;

use super::registry::{Record, State};
use super::{Slug, Tenant, shown};
use crate::config::file::TenancyModel;
use crate::error::{Code, Error, Result};

/// A tenant that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its key.
    pub key: String,
    /// The slug that was given; none: the one that follows from the key.
    pub slug: Option<String>,
    /// `--set`: columns of its row, with values as text.
    pub fields: Vec<(String, String)>,
    /// The line of the file that names it.
    pub line: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is new.
    Make(Tenant),
    /// Its making was cut short or failed: it goes on.
    Resume(Box<Record>),
    /// It is there.
    Leave(Box<Record>),
}

/// Decides for each tenant of a batch. `found` are the records that share a key or a slug with one of them.
pub fn decide(wanted: &[Wanted], found: &[Record], model: TenancyModel) -> Vec<Result<Act>> {
    let by_key: HashMap<&str, &Record> = found.iter().map(|record| (record.tenant.key(), record)).collect();
    let by_slug: HashMap<&str, &Record> = found.iter().map(|record| (record.tenant.slug(), record)).collect();
    let mut keys: HashMap<&str, usize> = HashMap::new();
    let mut slugs: HashMap<String, &str> = HashMap::new();
    let mut acts = Vec::with_capacity(wanted.len());
    for (index, wanted) in wanted.iter().enumerate() {
        acts.push(one(wanted, &by_key, &by_slug, model).and_then(|act| {
            if keys.insert(&wanted.key, index).is_some() {
                return Err(twice(&wanted.key));
            }
            if let Act::Make(tenant) = &act
                && let Some(other) = slugs.insert(tenant.slug().to_owned(), &wanted.key)
            {
                return Err(taken(tenant, other));
            }
            Ok(act)
        }));
    }
    acts
}

fn one(
    wanted: &Wanted,
    by_key: &HashMap<&str, &Record>,
    by_slug: &HashMap<&str, &Record>,
    model: TenancyModel,
) -> Result<Act> {
    if model != TenancyModel::Row && !wanted.fields.is_empty() {
        return Err(Error::new(
            Code::Usage,
            format!("tenant `{}` has no row that `--set` could fill", shown(&wanted.key)),
        )
        .why(format!("tenants of the model `{}` are listed in no table of the application", model.name()))
        .data("nothing was changed")
        .hint("leave --set out; what a tenant begins with stands in its seeds, seeds/tenant/"));
    }
    let Some(record) = by_key.get(wanted.key.as_str()) else {
        let tenant = Tenant::new(&wanted.key, wanted.slug.as_deref())?;
        return match by_slug.get(tenant.slug()) {
            Some(other) => Err(taken(&tenant, other.tenant.key())),
            None => Ok(Act::Make(tenant)),
        };
    };
    let key = shown(&wanted.key);
    if let Some(slug) = wanted.slug.as_deref().map(Slug::new).transpose()?
        && slug.as_str() != record.tenant.slug()
    {
        return Err(Error::new(Code::TenantClash, format!("tenant `{key}` has the slug `{}`", record.tenant.slug()))
            .why(format!("`{slug}` was given; schemas, users and keys already have the other"))
            .data("nothing was changed")
            .hint("leave --slug out"));
    }
    if record.model != model {
        return Err(Error::new(
            Code::TenantState,
            format!(
                "tenant `{key}` was made in the model `{}`, and [tenancy] says `{}`",
                record.model.name(),
                model.name()
            ),
        )
        .data("nothing was changed")
        .hint("give [tenancy] model its old value, export the tenant, and import it under the new one"));
    }
    if record.state == State::Pending && super::import::is_import(&record.step) {
        return Err(Error::new(Code::TenantState, format!("tenant `{key}` is being imported"))
            .why("its import was begun and is not finished")
            .data("nothing was changed")
            .hint(format!("run the same lyrox tenant import again, or lyrox tenant delete {}", quoted(&wanted.key))));
    }
    match record.state {
        State::Pending | State::Failed => Ok(Act::Resume(Box::new((*record).clone()))),
        State::Active | State::Suspended => Ok(Act::Leave(Box::new((*record).clone()))),
        State::Deleting => Err(Error::new(Code::TenantState, format!("tenant `{key}` is being removed"))
            .why("its removal was begun and is not finished")
            .data("nothing was changed")
            .hint(format!("lyrox tenant delete {}", quoted(&wanted.key)))),
    }
}

/// A key that is asked for a second time in one run.
pub(super) fn twice(key: &str) -> Error {
    Error::new(Code::TenantName, format!("tenant `{}` is asked for twice", shown(key)))
        .data("nothing was changed for this line")
}

/// A slug that another tenant has.
pub(super) fn taken(tenant: &Tenant, other: &str) -> Error {
    Error::new(Code::TenantClash, format!("the slug `{}` is that of tenant `{}`", tenant.slug(), shown(other)))
        .why(format!("`{}` would share its schema, users and keys", tenant.shown()))
        .data("nothing was changed")
        .hint(format!("lyrox tenant create {} --slug NAME", quoted(tenant.key())))
}

/// A key as a shell takes it.
pub fn quoted(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@/".contains(c);
    if !key.is_empty() && !key.starts_with('-') && key.chars().all(is_plain) {
        return key.to_owned();
    }
    if key.chars().any(char::is_control) {
        let each = key.chars().map(|c| match c {
            '\'' | '\\' => format!("\\{c}"),
            c if c.is_control() => c.to_string().bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
            c => c.to_string(),
        });
        return format!("$'{}'", each.collect::<String>());
    }
    format!("'{}'", key.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(key: &str, slug: Option<&str>) -> Wanted {
        Wanted { key: key.into(), slug: slug.map(str::to_owned), fields: Vec::new(), line: None }
    }

    fn record(key: &str, slug: &str, state: State) -> Record {
        let mut record = Record::new(Tenant::new(key, Some(slug)).expect("a tenant"), TenancyModel::Row);
        record.state = state;
        record
    }

    fn acts(wanted: &[Wanted], found: &[Record]) -> Vec<String> {
        let told = |act: Result<Act>| match act {
            Ok(Act::Make(tenant)) => format!("make {}", tenant.slug()),
            Ok(Act::Resume(record)) => format!("resume {}", record.tenant.slug()),
            Ok(Act::Leave(record)) => format!("leave {}", record.tenant.slug()),
            Err(error) => error.code().text().to_owned(),
        };
        decide(wanted, found, TenancyModel::Row).into_iter().map(told).collect()
    }

    #[test]
    fn each_state_of_the_registry_has_its_act() {
        let found: Vec<Record> =
            State::ALL.into_iter().map(|state| record(state.word(), state.word(), state)).collect();
        let asked: Vec<Wanted> = State::ALL.iter().map(|state| wanted(state.word(), None)).collect();
        assert_eq!(
            acts(&asked, &found),
            ["resume pending", "leave active", "resume failed", "leave suspended", "LYX-TENANT-STATE"]
        );
        assert_eq!(acts(&[wanted("new", None), wanted("x", Some("named"))], &found), ["make new", "make named"]);
    }

    #[test]
    fn a_name_is_one_tenants_and_stays_it() {
        let found = [record("acme", "acme", State::Active)];
        let clash = "LYX-TENANT-CLASH";
        assert_eq!(acts(&[wanted("other", Some("acme"))], &found), [clash], "another's slug");
        assert_eq!(acts(&[wanted("acme", Some("other"))], &found), [clash], "another slug");
        assert_eq!(acts(&[wanted("a", Some("s")), wanted("b", Some("s"))], &[]), ["make s", clash], "within one file");
        assert_eq!(acts(&[wanted("a", None), wanted("a", None)], &[]), ["make a", "LYX-TENANT-NAME"], "twice");
        assert_eq!(acts(&[wanted("a", Some("S"))], &[]), ["LYX-TENANT-NAME"]);
        let mut other = record("acme", "acme", State::Active);
        other.model = TenancyModel::Schema;
        assert_eq!(acts(&[wanted("acme", None)], &[other]), ["LYX-TENANT-STATE"], "another model");
    }

    #[test]
    fn columns_are_given_to_rows_only() {
        let mut asked = wanted("a", None);
        asked.fields.push(("name".into(), "A".into()));
        for (model, is_taken) in
            [(TenancyModel::Row, true), (TenancyModel::Schema, false), (TenancyModel::Database, false)]
        {
            let told = decide(std::slice::from_ref(&asked), &[], model).remove(0);
            assert_eq!(told.is_ok(), is_taken, "{model:?}: {told:?}");
        }
    }

    #[test]
    fn a_hint_can_be_typed() {
        assert_eq!(quoted("acme"), "acme");
        assert_eq!(quoted("auth0|it's"), "'auth0|it'\\''s'");
        assert_eq!(quoted("-x"), "'-x'");
        assert_eq!(quoted(&"k ".repeat(100)), format!("'{}'", "k ".repeat(100)), "never cut");
        assert_eq!(quoted("a\n'b"), "$'a\\x0a\\'b'");
    }
}
