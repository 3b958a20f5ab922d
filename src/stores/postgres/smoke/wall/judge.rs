//! What an answer to a try means. Pure.

use super::super::attempts::{Attempt, Attempted};
use crate::config::file::Tenancy;
use crate::engine::tenant::verify::proof::Proof;
use crate::error::Result;
use crate::stores::postgres::ident::Ident;

/// What is tried.
#[derive(Clone, Debug)]
pub(super) enum Aim {
    /// Reading what is one's own, which has to work for the rest to prove anything.
    Own,
    /// Reading another tenant's row by its key.
    Reads,
    /// Listing rows that are not one's own.
    Lists,
    /// Changing another tenant's row.
    Changes,
    /// Deleting it.
    Deletes,
    /// Giving a row of one's own away.
    Gives,
    /// Writing a row for another tenant.
    Plants,
    /// Whether a policy lets another tenant's row through.
    Lets { policy: String, command: &'static str },
    /// Learning from a unique key that a value is taken.
    Tells { index: String, columns: Vec<String> },
    /// Referring to another tenant's row.
    Refers { key: String, columns: Vec<String>, parent: String, parent_columns: Vec<String>, is_guessed: bool },
}

/// A try: as the application, working for the first tenant.
pub(super) struct Try {
    pub(super) table: String,
    pub(super) aim: Aim,
    pub(super) attempt: Attempt,
}

impl Try {
    /// Judges the answer. `close` is the policy that the table should have.
    pub(super) fn judge(
        &self,
        schema: &str,
        tenancy: &Tenancy,
        role: &str,
        said: Attempted,
        close: String,
        proof: &mut Proof,
    ) -> Result<()> {
        let name = Ident::new(&self.table)?;
        let object = format!("table {name}");
        let full = format!("{schema}.{name}");
        let column = tenancy.column.as_deref().unwrap_or("tenant_id");
        // What follows from a wall that is not there is told by that wall.
        let is_open =
            proof.leaks(&object) && !matches!(self.aim, Aim::Lets { .. } | Aim::Tells { .. } | Aim::Refers { .. });
        if is_open {
            return Ok(());
        }
        let kind = match &self.aim {
            Aim::Own => "own",
            Aim::Reads | Aim::Lists => "reads",
            Aim::Changes => "changes",
            Aim::Deletes => "deletes",
            Aim::Gives => "gives",
            Aim::Plants => "plants",
            Aim::Lets { .. } => "policy_lets",
            Aim::Tells { .. } => "unique",
            Aim::Refers { .. } => "foreign_key",
        };
        let code = said.as_ref().err().map(|refused| refused.code.clone());
        let is_denied = code.as_deref() == Some("42501");
        let is_key = code.as_deref().is_some_and(|code| code.starts_with("23"));
        match &self.aim {
            Aim::Own => match said {
                Ok(0) => proof.untried(
                    kind,
                    object,
                    format!("a tenant does not see its own row: that it does not see others' proves nothing ({role})"),
                    close,
                ),
                Ok(_) => proof.held(1),
                // What it may not read at all it does not read of others.
                Err(_) if is_denied => proof.held(1),
                Err(refused) => proof.untried(kind, object, format!("SELECT as {role}: {}", refused.words), ""),
            },
            Aim::Reads | Aim::Lists | Aim::Changes | Aim::Deletes | Aim::Gives => {
                let what = match self.aim {
                    Aim::Reads => "SELECT by its key shows another tenant's row",
                    Aim::Lists => "SELECT shows rows of other tenants",
                    Aim::Changes => "UPDATE changes another tenant's row",
                    Aim::Deletes => "DELETE removes another tenant's row",
                    _ => "UPDATE gives a row to another tenant",
                };
                match said {
                    Ok(0) => proof.held(1),
                    Err(_) if is_denied => proof.held(1),
                    Ok(_) => {
                        proof.leak(kind, object, format!("as {role} with `{}` set: {what}", tenancy.setting), close);
                    }
                    Err(refused) if is_key => {
                        let why = format!("as {role}: {what}; only a key held it back: {}", refused.words);
                        proof.leak(kind, object, why, close);
                    }
                    Err(refused) => proof.untried(kind, object, format!("{what}? {}", refused.words), ""),
                }
            }
            Aim::Plants => match said {
                Err(_) if is_denied => proof.held(1),
                Err(refused) if !is_key => proof.untried(kind, object, refused.words, ""),
                _ => proof.leak(kind, object, format!("as {role}: INSERT writes a row of another tenant"), close),
            },
            Aim::Lets { policy, command } => {
                let policy = Ident::new(policy)?;
                let object = format!("policy {policy} on {name}");
                match said {
                    Ok(0) => proof.held(1),
                    Ok(_) if proof.leaks(&object) => {}
                    Ok(_) => proof.leak(
                        kind,
                        object,
                        format!("{command} as {role}: the policy lets another tenant's row through, and policies are joined by OR"),
                        format!("DROP POLICY {policy} ON {full}"),
                    ),
                    Err(refused) if is_denied => drop(refused),
                    // The row itself was tried.
                    Err(_) => {}
                }
            }
            Aim::Tells { index, columns } => {
                let index_name = Ident::new(index)?;
                let object = format!("index {index_name}");
                let names = quoted(columns)?;
                let close = format!(
                    "CREATE UNIQUE INDEX ON {full} ({}, {names}); then drop {index_name}, or the constraint of that name",
                    Ident::new(column)?
                );
                let how = match said {
                    // A policy refuses first: the key was not asked.
                    Err(_) if is_denied => {
                        proof.held(1);
                        return Ok(());
                    }
                    Err(refused) if is_key => refused.words,
                    _ => format!("the key holds {names} and not `{column}`"),
                };
                proof.leak(
                    kind,
                    object,
                    format!("INSERT as {role} with another tenant's {names} tells that it is taken: {how}"),
                    close,
                );
            }
            Aim::Refers { key, columns, parent, parent_columns, is_guessed } => {
                let key_name = Ident::new(key)?;
                let object = format!("foreign key {key_name} on {name}");
                match said {
                    Err(_) if is_denied => proof.held(1),
                    Err(refused) if refused.code == "23503" => proof.held(1),
                    Err(_) => {}
                    Ok(_) => {
                        let (own, parent) = (Ident::new(column)?, Ident::new(parent)?);
                        let (here, there) = (quoted(columns)?, quoted(parent_columns)?);
                        let close = format!(
                            "ALTER TABLE {schema}.{parent} ADD UNIQUE ({own}, {there}); ALTER TABLE {full} DROP CONSTRAINT {key_name}, \
                             ADD FOREIGN KEY ({own}, {here}) REFERENCES {schema}.{parent} ({own}, {there})"
                        );
                        let why = format!("INSERT as {role} refers to another tenant's row of {parent}");
                        if *is_guessed {
                            proof.leak(
                                kind,
                                object,
                                format!("{why}: 23503 or success tells which numbers are there"),
                                close,
                            );
                        } else {
                            proof.weak(kind, object, format!("{why}, where its random key is known"), close);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn quoted(columns: &[String]) -> Result<String> {
    let names = columns.iter().map(|name| Ident::new(name).map(|name| name.to_string()));
    Ok(names.collect::<Result<Vec<_>>>()?.join(", "))
}
