//! The guard: who may destroy what. Destructive methods of a store demand a [`Permit`], which only
//! this file makes, so a new command cannot forget to ask.

use crate::config::{Config, Targets};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::typed::again;

use super::ledger::Mark;

/// Proof that the guard was asked and let it through.
#[derive(Debug)]
pub struct Permit(());

/// What the user said to a destructive command.
#[derive(Clone, Debug, Default)]
pub struct Consent {
    /// The name given with `--confirm` or typed at the prompt.
    pub confirm: Option<String>,
}

/// The name that has to be typed: the PostgreSQL database (else MongoDB's, else the key prefix), with
/// `@host` of the first server that is not this machine.
pub fn name_to_confirm(targets: &Targets) -> String {
    let Some(target) = targets.stores.first() else { return String::new() };
    let url = &target.direct.url;
    let name = match target.kind {
        StoreKind::Postgres => url.database().or(url.user()).unwrap_or("postgres").to_owned(),
        StoreKind::Mongodb | StoreKind::Redis => target.namespace.clone(),
    };
    at_host(name, targets)
}

/// The name that has to be typed to delete a tenant: its key, with `@host` as [`name_to_confirm`] has it.
pub fn name_to_delete(targets: &Targets, tenant: &str) -> String {
    at_host(tenant.to_owned(), targets)
}

/// Whoever types the name knows that it is not this machine: one remote store among local ones is enough.
fn at_host(name: String, targets: &Targets) -> String {
    match targets.stores.iter().map(|target| &target.direct.url).find(|url| !url.is_local()) {
        Some(url) => format!("{name}@{}", url.host().name),
        None => name,
    }
}

/// Refuses at once where configuration or marks protect the environment. Reads only what is given.
///
/// # Errors
/// `LYX-PROTECTED`.
pub fn refuse_protected(config: &Config, marks: &[(StoreKind, Option<Mark>)], what: &str) -> Result<()> {
    if config.is_protected {
        return Err(Error::new(
            Code::Protected,
            format!("{what} is refused: environment `{}` is protected", config.environment),
        )
        .why(format!("`[env.{}] protected = true`; no flag overrides it", config.environment))
        .data("nothing was changed"));
    }
    for (store, mark) in marks {
        if let Some(mark) = mark.as_ref().filter(|mark| mark.is_protected) {
            return Err(Error::new(
                Code::Protected,
                format!("{what} is refused: {store} is marked as protected environment `{}`", mark.environment),
            )
            .why("the store itself remembers it; no flag overrides it")
            .data("nothing was changed"));
        }
    }
    Ok(())
}

/// Refuses where a store remembers another environment than the one in force.
///
/// # Errors
/// `LYX-MARK-DIFFERS`.
pub fn refuse_other_mark(config: &Config, marks: &[(StoreKind, Option<Mark>)]) -> Result<()> {
    for (store, mark) in marks {
        if let Some(mark) = mark.as_ref().filter(|mark| mark.environment != config.environment) {
            return Err(Error::new(
                Code::MarkDiffers,
                format!(
                    "{store} is marked as environment `{}`, and this run is for `{}`",
                    mark.environment, config.environment
                ),
            )
            .data("nothing was changed")
            .hint(format!("lyrox -e {} ..., or check that the URL is the one you mean", mark.environment)));
        }
    }
    Ok(())
}

/// Refuses what destroys data where a coding agent runs the process, and the stores are more than this
/// machine's own development servers: there a person does it. No flag and no name lifts it.
///
/// # Errors
/// `LYX-CONSENT`.
pub fn refuse_agent(config: &Config, targets: &Targets, marks: &[(StoreKind, Option<Mark>)], what: &str) -> Result<()> {
    let Some(variable) = config.agent else { return Ok(()) };
    let is_marked = marks.iter().any(|(_, mark)| mark.as_ref().is_some_and(|mark| mark.is_protected));
    let where_it_is = if !targets.is_local() {
        "a server is not on this machine".to_owned()
    } else if config.is_protected || is_marked {
        "the environment is protected".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(Code::Consent, format!("{what} is refused to an agent: {where_it_is}"))
        .why(format!("`{variable}` is set: a person has to do this, in a terminal of their own"))
        .data("nothing was changed"))
}

/// Lets a reset through if the exact name was given.
///
/// # Errors
/// `LYX-PROTECTED`, `LYX-MARK-DIFFERS` or `LYX-CONSENT`.
pub fn permit(
    config: &Config,
    targets: &Targets,
    marks: &[(StoreKind, Option<Mark>)],
    consent: &Consent,
    what: &str,
) -> Result<Permit> {
    refuse_protected(config, marks, what)?;
    refuse_other_mark(config, marks)?;
    refuse_agent(config, targets, marks, what)?;
    agree(consent, &name_to_confirm(targets), what)
}

/// Lets the removal of a tenant through if its exact name was given: its slug. A protected environment does not
/// forbid it: customers leave production. There, too, it is the name that counts. A removal that was consented to and cut
/// short goes on without: the registry remembers it.
///
/// # Errors
/// `LYX-MARK-DIFFERS` or `LYX-CONSENT`.
pub fn permit_delete(
    config: &Config,
    targets: &Targets,
    marks: &[(StoreKind, Option<Mark>)],
    consent: &Consent,
    slug: &str,
    is_resumed: bool,
) -> Result<Permit> {
    let what = format!("removing tenant `{slug}`");
    refuse_other_mark(config, marks)?;
    refuse_agent(config, targets, marks, &what)?;
    if is_resumed {
        return Ok(Permit(()));
    }
    agree(consent, &name_to_delete(targets, slug), &what)
}

/// The one place that compares a name.
fn agree(consent: &Consent, name: &str, what: &str) -> Result<Permit> {
    let error = match &consent.confirm {
        Some(given) if given == name && !name.is_empty() => return Ok(Permit(())),
        Some(_) => Error::new(Code::Consent, format!("{what} needs the exact name, and another was given")),
        None => {
            Error::new(Code::Consent, format!("{what} needs consent")).why("it destroys data; `--yes` is not consent")
        }
    };
    Err(error.data("nothing was changed").hint(again("--confirm", Some(name))))
}

/// Lets the rest of a reset through that was consented to and cut short: the store itself remembers it.
///
/// # Errors
/// `LYX-PROTECTED`, where the store was protected since.
pub fn permit_resume(config: &Config, mark: Option<&Mark>, is_resetting: bool) -> Result<Option<Permit>> {
    if !is_resetting {
        return Ok(None);
    }
    if config.is_protected || mark.is_some_and(|mark| mark.is_protected) {
        return Err(Error::new(Code::Protected, "a reset was cut short here, and the environment is protected now")
            .data("nothing was changed")
            .hint("finish it by hand, or lift the protection in lyrox.toml first"));
    }
    Ok(Some(Permit(())))
}

/// Lets a store be given another mark: the environment's exact name, said a second time.
///
/// # Errors
/// `LYX-CONSENT`.
pub fn permit_mark(config: &Config, targets: &Targets, environment: &str, consent: &Consent) -> Result<Permit> {
    agree_to_mark(environment, consent)?;
    refuse_agent(config, targets, &[], "changing the mark")?;
    Ok(Permit(()))
}

/// Whether the name was given; for before the servers are looked for.
///
/// # Errors
/// `LYX-CONSENT`.
pub fn agree_to_mark(environment: &str, consent: &Consent) -> Result<()> {
    if consent.confirm.as_deref() == Some(environment) {
        return Ok(());
    }
    Err(Error::new(Code::Consent, format!("marking the stores as `{environment}` needs consent"))
        .why("the mark decides what lyrox refuses to do to them")
        .data("nothing was changed")
        .hint(again("--confirm", Some(environment))))
}

/// Lets the undoing of migrations through: asked for, and by name where the environment is protected.
///
/// # Errors
/// `LYX-CONSENT` or `LYX-MARK-DIFFERS`.
pub fn permit_rollback(
    config: &Config,
    targets: &Targets,
    marks: &[(StoreKind, Option<Mark>)],
    consent: &Consent,
    said_yes: bool,
) -> Result<Permit> {
    refuse_other_mark(config, marks)?;
    refuse_agent(config, targets, marks, "rollback")?;
    let is_protected =
        config.is_protected || marks.iter().any(|(_, mark)| mark.as_ref().is_some_and(|mark| mark.is_protected));
    let name = name_to_confirm(targets);
    let has_name = consent.confirm.as_deref() == Some(name.as_str()) && !name.is_empty();
    if has_name || (said_yes && !is_protected) {
        return Ok(Permit(()));
    }
    let error = Error::new(Code::Consent, "rollback needs consent").data("nothing was changed");
    Err(if is_protected {
        error.why("the environment is protected; `--yes` is not enough").hint(again("--confirm", Some(&name)))
    } else {
        error.hint(again("--yes", None))
    })
}

/// Lets the lock of a run that may be alive be taken away: the exact name, as for a reset.
///
/// # Errors
/// `LYX-CONSENT` where another name was given.
pub fn permit_unlock(targets: &Targets, consent: &Consent) -> Result<Option<Permit>> {
    let name = name_to_confirm(targets);
    match &consent.confirm {
        None => Ok(None),
        Some(given) if *given == name => Ok(Some(Permit(()))),
        Some(_) => Err(Error::new(Code::Consent, "taking a lock away needs the exact name, and another was given")
            .data("nothing was changed")
            .hint(again("--confirm", Some(&name)))),
    }
}

/// Whether seeding needs `[env.NAME] seeds = "SET"`: protected, marked protected, or not on this machine.
///
/// # Errors
/// `LYX-PROTECTED` where the set is not the one that is named.
pub fn permit_seeds(config: &Config, targets: &Targets, marks: &[(StoreKind, Option<Mark>)], set: &str) -> Result<()> {
    refuse_other_mark(config, marks)?;
    let is_marked = marks.iter().any(|(_, mark)| mark.as_ref().is_some_and(|mark| mark.is_protected));
    let reason = if config.is_protected {
        format!("environment `{}` is protected", config.environment)
    } else if is_marked {
        "a store is marked as protected".into()
    } else if !targets.is_local() {
        "a server is not on this machine".into()
    } else {
        return Ok(());
    };
    if config.allowed_seeds.as_deref() == Some(set) {
        return Ok(());
    }
    Err(Error::new(Code::Protected, format!("seeding `{set}` is refused: {reason}")).data("nothing was changed").hint(
        format!("if set `{set}` is meant for it, say so in lyrox.toml: [env.{}] seeds = \"{set}\"", config.environment),
    ))
}
