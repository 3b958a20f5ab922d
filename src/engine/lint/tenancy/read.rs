//! Statements into the schema: tables, columns, keys, row-level security, policies and views, in the order
//! in which the files run. The syntax trees are squawk's.

use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode, normalize_name_node};

use super::policy;
use super::schema::{Foreign, Key, Kind, Name, Schema, Spot, Table, View};
use super::span;
use crate::engine::lint::sql::Source;

/// Reads file after file.
pub struct Reader<'a> {
    /// What there is so far.
    pub schema: Schema,
    /// The schema of names without one.
    pub default_schema: &'a str,
    /// The role that policies must bind.
    pub app_role: Option<&'a str>,
    file: usize,
    statement: usize,
}

impl<'a> Reader<'a> {
    /// Begins with nothing.
    pub fn new(default_schema: &'a str, app_role: Option<&'a str>) -> Self {
        Self { schema: Schema::default(), default_schema, app_role, file: 0, statement: 0 }
    }

    /// Reads the statements of a file.
    pub fn file(&mut self, file: usize, source: &Source) {
        self.file = file;
        for statement in source.parse.tree().stmts() {
            self.statement = span(statement.syntax()).start;
            self.read(&statement);
        }
    }

    fn spot(&self, node: &SyntaxNode) -> Spot {
        Spot { file: self.file, at: span(node), statement: self.statement }
    }

    fn name(&self, path: Option<ast::PathRef>) -> Option<Name> {
        let path = path?;
        let schema = path.qualifier().and_then(|outer| outer.segment()).map(|segment| segment.text());
        Some((schema.unwrap_or_else(|| self.default_schema.to_owned()), path.segment()?.text()))
    }

    fn new_name(&self, path: Option<ast::Path>) -> Option<Name> {
        let path = path?;
        let schema = path.qualifier().and_then(|outer| outer.segment()).map(|segment| segment.text());
        Some((schema.unwrap_or_else(|| self.default_schema.to_owned()), path.segment()?.text()))
    }

    fn table_ref(&self, table: Option<ast::TableNameRef>) -> Option<Name> {
        self.name(table?.path_ref())
    }

    fn table(&mut self, table: Option<ast::TableNameRef>) -> Option<(Name, &mut Table)> {
        let name = self.table_ref(table)?;
        let found = self.schema.tables.get_mut(&name)?;
        Some((name, found))
    }

    fn read(&mut self, statement: &ast::Stmt) -> Option<()> {
        match statement {
            ast::Stmt::CreateTable(create) => self.create_table(create)?,
            ast::Stmt::CreateTableAs(create) => {
                let at = create.table_name()?;
                let name = self.new_name(at.path())?;
                if !matches!(create.persistence(), Some(ast::Persistence::Temp(_))) {
                    let mut table = Table::new(self.spot(at.syntax()));
                    table.is_open = true;
                    self.schema.tables.entry(name).or_insert(table);
                }
            }
            ast::Stmt::AlterTable(alter) => {
                let name = self.table_ref(alter.table_relation_name()?.table_name_ref())?;
                let mut name = name;
                for action in alter.actions() {
                    self.alter(&mut name, &action);
                }
            }
            ast::Stmt::DropTable(drop) => {
                for table in drop.table_name_refs() {
                    let name = self.table_ref(Some(table))?;
                    self.schema.tables.remove(&name);
                }
            }
            ast::Stmt::DropSchema(drop) => {
                for schema in drop.schema_refs() {
                    let gone = normalize_name_node(schema.syntax());
                    self.schema.tables.retain(|(schema, _), _| *schema != gone);
                    self.schema.views.retain(|(schema, _), _| *schema != gone);
                }
            }
            ast::Stmt::CreateIndex(create) => self.create_index(create)?,
            ast::Stmt::DropIndex(drop) => {
                for index in drop.index_refs() {
                    let (schema, name) = self.name(index.path_ref())?;
                    for ((of, _), table) in &mut self.schema.tables {
                        table.keys.retain(|key| *of != schema || key.name != name);
                    }
                }
            }
            ast::Stmt::CreatePolicy(create) => {
                let spot = self.spot(create.policy()?.syntax());
                let name = normalize_name_node(create.policy()?.syntax());
                let policy = policy::created(create, spot, self.app_role);
                self.table(create.on_table()?.table_name_ref())?.1.policies.insert(name, policy);
            }
            ast::Stmt::AlterPolicy(alter) => {
                let spot = self.spot(alter.policy_ref()?.syntax());
                let name = normalize_name_node(alter.policy_ref()?.syntax());
                let (_, table) = self.table(alter.on_table()?.table_name_ref())?;
                policy::altered(alter, spot, table.policies.get_mut(&name)?);
            }
            ast::Stmt::DropPolicy(drop) => {
                let name = normalize_name_node(drop.policy_ref()?.syntax());
                self.table(drop.on_table()?.table_name_ref())?.1.policies.remove(&name);
            }
            ast::Stmt::CreateView(create) => {
                let at = create.view()?;
                let name = self.new_name(at.path())?;
                let view = View {
                    spot: self.spot(at.syntax()),
                    reads: tables_read(create.syntax()),
                    is_invoker: create.with_params().is_some_and(|params| policy::is_invoker(params.syntax())),
                    is_materialized: false,
                };
                self.schema.views.insert(name, view);
            }
            ast::Stmt::CreateMaterializedView(create) => {
                let at = create.view()?;
                let name = self.new_name(at.path())?;
                let spot = self.spot(at.syntax());
                let reads = tables_read(create.syntax());
                self.schema.views.insert(name, View { spot, reads, is_invoker: false, is_materialized: true });
            }
            ast::Stmt::AlterView(alter) => {
                let name = self.name(alter.view_ref()?.path_ref())?;
                let node = alter.action()?;
                if node.syntax().text().to_string().to_ascii_lowercase().contains("security_invoker") {
                    self.schema.views.get_mut(&name)?.is_invoker = policy::is_invoker(node.syntax());
                }
            }
            ast::Stmt::DropView(drop) => {
                for view in drop.view_refs() {
                    let name = self.name(view.path_ref())?;
                    self.schema.views.remove(&name);
                }
            }
            ast::Stmt::Do(block) => self.block(&block.syntax().text().to_string(), self.statement),
            _ => {}
        }
        Some(())
    }

    fn create_table(&mut self, create: &ast::CreateTable) -> Option<()> {
        let at = create.table_name()?;
        let name = self.new_name(at.path())?;
        if matches!(create.persistence(), Some(ast::Persistence::Temp(_))) || self.schema.tables.contains_key(&name) {
            return None;
        }
        let mut table = Table::new(self.spot(at.syntax()));
        let parents = create.inherits().into_iter().flat_map(|inherits| inherits.table_name_refs());
        let parents = parents.chain(create.partition_of().and_then(|partition| partition.table_name_ref()));
        for parent in parents.collect::<Vec<_>>() {
            self.copy_columns(self.table_ref(Some(parent)), &mut table);
        }
        table.is_open |= create.of_type().is_some();
        for argument in create.table_arg_list().into_iter().flat_map(|list| list.args()) {
            match argument {
                ast::TableArg::Column(column) => {
                    let Some(at) = column.name() else { continue };
                    let column_name = at.text();
                    table.columns.entry(column_name.clone()).or_insert(false);
                    for clause in column.clauses() {
                        if let ast::ColumnClause::ColumnConstraint(constraint) = clause
                            && let Some(constraint) = ast::Constraint::cast(constraint.syntax().clone())
                        {
                            self.constraint(&name.1, &mut table, &constraint, Some(&column_name));
                        }
                    }
                }
                ast::TableArg::LikeClause(like) => {
                    let like = like.relation_name_ref().and_then(|other| other.path_ref());
                    self.copy_columns(self.name(like), &mut table);
                }
                ast::TableArg::TableConstraint(constraint) => {
                    if let Some(constraint) = ast::Constraint::cast(constraint.syntax().clone()) {
                        self.constraint(&name.1, &mut table, &constraint, None);
                    }
                }
            }
        }
        self.schema.tables.insert(name, table);
        Some(())
    }

    /// The columns of another table; a table that no file makes has columns nobody knows.
    fn copy_columns(&self, from: Option<Name>, into: &mut Table) {
        match from.and_then(|name| self.schema.tables.get(&name)) {
            Some(other) => {
                into.columns.extend(other.columns.clone());
                into.is_open |= other.is_open;
            }
            None => into.is_open = true,
        }
    }

    fn constraint(
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

    fn alter(&mut self, name: &mut Name, action: &ast::AlterTableAction) -> Option<()> {
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

    fn create_index(&mut self, create: &ast::CreateIndex) -> Option<()> {
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

    /// A block that executes text it puts together: it is believed to do what it says, for the tables that it
    /// names, or for all there are.
    fn block(&mut self, text: &str, statement: usize) {
        let lower = text.to_ascii_lowercase();
        if !lower.contains("execute") {
            return;
        }
        let words = lower.split_whitespace().collect::<Vec<_>>().join(" ");
        let quotes = |name: &str| text.contains(&format!("'{name}'")) || text.contains(&format!("\"{name}\""));
        let is_named = self.schema.tables.keys().any(|(_, name)| quotes(name));
        let spot = Spot { file: self.file, at: statement..statement + 2, statement };
        for ((_, name), table) in &mut self.schema.tables {
            if is_named && !quotes(name) {
                continue;
            }
            table.has_rls |= words.contains("enable row level security");
            table.is_forced |=
                words.contains("force row level security") && !words.contains("no force row level security");
            if words.contains("create policy") {
                let policy = super::schema::Policy { spot: spot.clone(), is_open: false, fragile: None };
                table.policies.entry(String::new()).or_insert(policy);
            }
        }
    }
}

/// The column that an expression is, where it is nothing else.
fn column_of(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::NameRef(name) => Some(name.text()),
        _ => None,
    }
}

/// The names in the FROM clauses of a query.
fn tables_read(query: &SyntaxNode) -> Vec<String> {
    let clauses = query.descendants().filter_map(ast::FromClause::cast);
    let mut names: Vec<String> = clauses
        .flat_map(|clause| clause.syntax().descendants().collect::<Vec<_>>())
        .filter_map(ast::PathSegmentRef::cast)
        .map(|segment| segment.text())
        .collect();
    names.sort();
    names.dedup();
    names
}
