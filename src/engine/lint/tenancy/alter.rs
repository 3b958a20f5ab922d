//! What constraints, indexes and `ALTER TABLE` do to a table that the files have made.

use squawk_syntax::ast::{self, AstNode, normalize_name_node};

use super::read::Reader;
use super::schema::{Foreign, Key, Kind, Name, Spot, Table};

impl Reader<'_> {
    pub(super) fn constraint(
        &self,
        of: &str,
        table: &mut Table,
        constraint: &ast::Constraint,
        column: Option<&str>,
    ) -> Option<()> {
        let given = constraint.constraint_name().map(|name| normalize_name_node(name.syntax()));
        let spot = self.spot(constraint.syntax());
        let listed = |list: Option<ast::IndexParameters>| -> Vec<String> {
            let list = list.and_then(|list| list.column_list());
            let names: Vec<String> = list
                .into_iter()
                .flat_map(|list| list.column_name_refs())
                .map(|name| normalize_name_node(name.syntax()))
                .collect();
            if names.is_empty() { column.iter().map(|name| (*name).to_owned()).collect() } else { names }
        };
        match constraint {
            ast::Constraint::PrimaryKeyConstraint(key) if key.using_index().is_none() => {
                let columns = listed(key.index_parameters());
                for column in &columns {
                    table.columns.insert(column.clone(), true);
                }
                let name = given.unwrap_or_else(|| format!("{of}_pkey"));
                table.keys.push(Key {
                    name,
                    kind: Kind::Primary,
                    columns: columns.into_iter().map(Some).collect(),
                    spot,
                });
            }
            ast::Constraint::UniqueConstraint(key) if key.using_index().is_none() => {
                let columns = listed(key.index_parameters());
                let name = given.unwrap_or_else(|| format!("{of}_{}_key", columns.join("_")));
                table.keys.push(Key {
                    name,
                    kind: Kind::Unique,
                    columns: columns.into_iter().map(Some).collect(),
                    spot,
                });
            }
            ast::Constraint::ExcludeConstraint(key) => {
                let parts = key.constraint_exclusion_list().into_iter().flat_map(|list| list.constraint_exclusions());
                let columns: Vec<Option<String>> =
                    parts.map(|part| part.expr().and_then(|expr| column_of(&expr))).collect();
                let name = given.unwrap_or_else(|| {
                    format!("{of}_{}_excl", columns.iter().flatten().cloned().collect::<Vec<_>>().join("_"))
                });
                table.keys.push(Key { name, kind: Kind::Exclusion, columns, spot });
            }
            ast::Constraint::NotNullConstraint(constraint) => {
                let named = constraint.column_name_ref().map(|name| normalize_name_node(name.syntax()));
                table.columns.insert(named.or_else(|| column.map(str::to_owned))?, true);
            }
            ast::Constraint::ReferencesConstraint(key) => {
                let columns = vec![column?.to_owned()];
                let name = given.unwrap_or_else(|| format!("{of}_{}_fkey", columns.join("_")));
                table.foreign.push(Foreign { name, columns, target: self.table_ref(key.table())?, spot });
            }
            ast::Constraint::ForeignKeyConstraint(key) => {
                let columns: Vec<String> =
                    key.from_columns()?.column_name_refs().map(|name| normalize_name_node(name.syntax())).collect();
                let name = given.unwrap_or_else(|| format!("{of}_{}_fkey", columns.join("_")));
                table.foreign.push(Foreign { name, columns, target: self.table_ref(key.table_name_ref())?, spot });
            }
            _ => {}
        }
        Some(())
    }

    pub(super) fn alter(&mut self, name: &mut Name, action: &ast::AlterTableAction) -> Option<()> {
        let spot = self.spot(action.syntax());
        let mut table = self.schema.tables.remove(name)?;
        let done = self.altered(name, &mut table, action, spot);
        self.schema.tables.insert(name.clone(), table);
        done
    }

    fn altered(&self, name: &mut Name, table: &mut Table, action: &ast::AlterTableAction, spot: Spot) -> Option<()> {
        match action {
            ast::AlterTableAction::AddColumn(add) => {
                let column = add.column_name()?.text();
                table.columns.entry(column.clone()).or_insert(false);
                table.dropped.remove(&column);
                for constraint in add.constraints() {
                    self.constraint(&name.1, table, &constraint, Some(&column));
                }
            }
            ast::AlterTableAction::DropColumn(drop) => {
                let column = normalize_name_node(drop.column_name_ref()?.syntax());
                table.columns.remove(&column);
                table.keys.retain(|key| !key.columns.iter().flatten().any(|of| *of == column));
                table.foreign.retain(|key| !key.columns.contains(&column));
                table.dropped.insert(column, spot);
            }
            ast::AlterTableAction::RenameColumn(rename) => {
                let old = normalize_name_node(rename.column_name_ref()?.syntax());
                let new = rename.column_name()?.text();
                let is_not_null = table.columns.remove(&old).unwrap_or(false);
                table.columns.insert(new.clone(), is_not_null);
                table
                    .keys
                    .iter_mut()
                    .flat_map(|key| key.columns.iter_mut().flatten())
                    .filter(|of| **of == old)
                    .for_each(|of| new.clone_into(of));
                table
                    .foreign
                    .iter_mut()
                    .flat_map(|key| &mut key.columns)
                    .filter(|of| **of == old)
                    .for_each(|of| new.clone_into(of));
                table.dropped.insert(old, spot);
            }
            ast::AlterTableAction::AddConstraint(add) => {
                self.constraint(&name.1, table, &add.constraint()?, None);
            }
            ast::AlterTableAction::DropConstraint(drop) => {
                let (_, gone) = self.name(drop.constraint_name_ref()?.path_ref())?;
                table.keys.retain(|key| key.name != gone);
                table.foreign.retain(|key| key.name != gone);
            }
            ast::AlterTableAction::AlterColumn(alter) => {
                let column = normalize_name_node(alter.column_name_ref()?.syntax());
                let is_not_null = match alter.option()? {
                    ast::AlterColumnOption::SetNotNull(_) => true,
                    ast::AlterColumnOption::DropNotNull(_) => false,
                    _ => return None,
                };
                table.columns.insert(column, is_not_null);
            }
            ast::AlterTableAction::EnableRls(_) => table.has_rls = true,
            ast::AlterTableAction::ForceRls(_) => table.is_forced = true,
            ast::AlterTableAction::DisableRls(_) => {
                table.has_rls = false;
                table.switched_off = Some(spot);
            }
            ast::AlterTableAction::NoForceRls(_) => {
                table.is_forced = false;
                table.switched_off = Some(spot);
            }
            ast::AlterTableAction::TableRenameTo(rename) => name.1 = self.new_name(rename.table_name()?.path())?.1,
            ast::AlterTableAction::SetSchema(set) => name.0 = normalize_name_node(set.schema_ref()?.syntax()),
            _ => {}
        }
        Some(())
    }

    pub(super) fn create_index(&mut self, create: &ast::CreateIndex) -> Option<()> {
        let method = create.using_method().and_then(|using| using.access_method_ref());
        let method =
            method.map_or_else(|| "btree".to_owned(), |method| method.syntax().text().to_string().to_ascii_lowercase());
        let kind = match (create.unique_token().is_some(), method.trim()) {
            (true, _) => Kind::Unique,
            (false, "btree") => Kind::Index,
            (false, _) => Kind::Other,
        };
        let items = create.partition_item_list().into_iter().flat_map(|list| list.partition_items());
        let columns: Vec<Option<String>> = items.map(|item| item.expr().and_then(|expr| column_of(&expr))).collect();
        let given = create.index().and_then(|index| self.new_name(index.path())).map(|(_, name)| name);
        let at = create.index().map_or_else(|| create.syntax().clone(), |index| index.syntax().clone());
        let spot = self.spot(&at);
        let (name, table) = self.table(create.table_relation_name()?.table_name_ref())?;
        let columns_text =
            columns.iter().map(|column| column.as_deref().unwrap_or("expr")).collect::<Vec<_>>().join("_");
        let key = Key { name: given.unwrap_or_else(|| format!("{}_{columns_text}_idx", name.1)), kind, columns, spot };
        if !table.keys.iter().any(|other| other.name == key.name) {
            table.keys.push(key);
        }
        Some(())
    }
}

/// The column that an expression is, where it is nothing else.
fn column_of(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::NameRef(name) => Some(name.text()),
        _ => None,
    }
}
