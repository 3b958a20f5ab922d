//! Citus: what follows a migration where the database has the extension, so that the tables it makes are spread by their
//! tenant. The server itself does the distributing. Pure.

use super::ident::{Ident, literal};
use crate::error::Result;
use crate::project::distribute::{Distribution, Spread};

/// The statements that these directives stand for, one a line; a table that is distributed already is left as it is, so that
/// they may run again.
///
/// # Errors
/// A name that no table can have.
pub fn statements(wanted: &[Distribution]) -> Result<Vec<String>> {
    let mut statements = Vec::new();
    for distribution in wanted {
        let (table, call) = match &distribution.what {
            Spread::Table { table, column, with } => {
                let name = literal(&path(table)?);
                let beside = match with {
                    Some(other) => format!(", colocate_with => {}", literal(&path(other)?)),
                    None => String::new(),
                };
                let call = format!("create_distributed_table({name}, {}{beside})", literal(column));
                (name, call)
            }
            Spread::Reference { table } => {
                let name = literal(&path(table)?);
                let call = format!("create_reference_table({name})");
                (name, call)
            }
            Spread::Collection { .. } => continue,
        };
        statements.push(format!(
            "SELECT {call} WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = {table}::regclass);"
        ));
    }
    Ok(statements)
}

fn path(table: &[String]) -> Result<String> {
    let parts: Vec<String> =
        table.iter().map(|part| Ident::new(part).map(|ident| ident.to_string())).collect::<Result<_>>()?;
    Ok(parts.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::distribute::read;

    #[test]
    fn each_directive_is_one_statement_that_may_run_again() {
        let lines =
            ["distribute company by id", "distribute sale by company_id with company", "reference shop.\"Plan\""];
        let wanted: Vec<Distribution> = lines
            .iter()
            .map(|line| {
                read(&line.split_whitespace().collect::<Vec<_>>(), 0).expect("one of these").expect("a sound one")
            })
            .collect();
        let there = |table: &str| {
            format!(" WHERE NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = {table}::regclass);")
        };
        assert_eq!(
            statements(&wanted).expect("statements"),
            [
                format!("SELECT create_distributed_table('\"company\"', 'id'){}", there("'\"company\"'")),
                format!(
                    "SELECT create_distributed_table('\"sale\"', 'company_id', colocate_with => '\"company\"'){}",
                    there("'\"sale\"'")
                ),
                format!("SELECT create_reference_table('\"shop\".\"Plan\"'){}", there("'\"shop\".\"Plan\"'")),
            ]
        );
    }
}
