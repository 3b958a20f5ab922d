//! What becomes of the lines of a bundle here.

use std::collections::BTreeSet;

use super::super::Tenant;
use super::super::bundle::Entry;
use super::super::bundle::lines::{Ids, Mapping, each};
use super::super::bundle::spaces::{Carrier, spaces};
use super::Request;
use crate::config::file::TenancyModel;
use crate::engine::migrate::Work;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::stores::tenant::Terms;

/// What becomes of lines; ids are gathered from the bundle where they are to change.
pub(super) fn mapping(work: Work<'_>, request: &Request<'_>, terms: &Terms, tenant: &Tenant) -> Result<Mapping> {
    let manifest = &request.bundle.manifest;
    let tenancy = &terms.tenancy;
    let mut mapping = Mapping { old: manifest.key.clone(), new: tenant.key().to_owned(), ..Mapping::default() };
    for part in manifest.parts.iter().filter(|_| terms.model() == TenancyModel::Row) {
        let carrier = match part.store {
            StoreKind::Postgres if tenancy.table.as_ref() == Some(&part.name) => Some(tenancy.key_column.clone()),
            StoreKind::Postgres => tenancy.column.clone().filter(|column| part.columns.contains(column)),
            StoreKind::Mongodb => tenancy.column.clone(),
            StoreKind::Redis => None,
        };
        mapping.carriers.extend(carrier.map(|carrier| ((part.store, part.name.clone()), carrier)));
    }
    if let Some(section) = &work.config.settings.redis {
        let old = Tenant::new(&manifest.key, Some(&manifest.slug))?;
        for space in spaces(section, tenancy)? {
            let name = format!("keyspace {}", space.name);
            if let Carrier::Field(field) = &space.carrier {
                mapping.carriers.insert((StoreKind::Redis, name.clone()), field.clone());
            }
            if manifest.parts.iter().any(|part| part.store == StoreKind::Redis && part.name == name) {
                mapping.spaces.extend(space.matcher(&old)?.map(|matcher| (name, matcher)));
            }
        }
    }
    if !request.set.is_empty() {
        let table = tenancy.table.clone().filter(|_| terms.model() == TenancyModel::Row).ok_or_else(|| {
            Error::new(Code::Tenancy, "`--set` needs a tenant table")
                .why("only in the model `row` a tenant has a row of its own")
                .data("nothing was changed")
        })?;
        if request.set.iter().any(|(column, _)| *column == tenancy.key_column) {
            let what = format!("`{}` of `{table}` is the tenant's key", tenancy.key_column);
            return Err(Error::new(Code::Bundle, what)
                .why("all its rows, documents and keys carry it")
                .data("nothing was changed")
                .hint("lyrox tenant import FILE --key KEY"));
        }
        let columns: Option<&Entry> =
            manifest.parts.iter().find(|part| part.store == StoreKind::Postgres && part.name == table);
        if let Some((column, _)) =
            request.set.iter().find(|(name, _)| !columns.is_some_and(|part| part.columns.contains(name)))
        {
            return Err(Error::new(Code::Bundle, format!("the bundle has no column `{column}` of `{table}`"))
                .data("nothing was changed"));
        }
        mapping.set = Some((table, request.set.clone()));
    }
    if request.maps_ids {
        let mut ids = Ids::new(&work.config.settings.project.name, tenant.key());
        for store in [StoreKind::Postgres, StoreKind::Mongodb] {
            let parts = request.bundle.parts(store);
            let mut pieces = request.bundle.pieces(store)?;
            while let Some((at, lines)) = pieces.next()? {
                each(&lines, |line| ids.learn(parts[at], line))?;
            }
        }
        ids.seal();
        mapping.ids = Some(ids);
    }
    Ok(mapping)
}

/// With new ids, keys whose name is no id and whose value alone tells the tenant cannot be there twice.
pub(super) fn left_out(work: Work<'_>, request: &Request<'_>, terms: &Terms) -> Result<BTreeSet<String>> {
    let Some(section) = work.config.settings.redis.as_ref().filter(|_| request.maps_ids) else {
        return Ok(BTreeSet::new());
    };
    let spaces = spaces(section, &terms.tenancy)?.into_iter();
    let by_field = spaces.filter(|space| matches!(space.carrier, Carrier::Field(_)));
    Ok(by_field.map(|space| format!("keyspace {}", space.name)).collect())
}
