//! Statements into the schema: tables, columns, keys, row-level security, policies and views, in the order
//! in which the files run. The syntax trees are squawk's.

use squawk_syntax::SyntaxNode;
use squawk_syntax::ast::{self, AstNode, normalize_name_node};

use super::policy;
use super::schema::{Name, Schema, Spot, Table, View};
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

    pub(super) fn spot(&self, node: &SyntaxNode) -> Spot {
        Spot { file: self.file, at: span(node), statement: self.statement }
    }

    pub(super) fn name(&self, path: Option<ast::PathRef>) -> Option<Name> {
        let path = path?;
        let schema = path.qualifier().and_then(|outer| outer.segment()).map(|segment| segment.text());
        Some((schema.unwrap_or_else(|| self.default_schema.to_owned()), path.segment()?.text()))
    }

    pub(super) fn new_name(&self, path: Option<ast::Path>) -> Option<Name> {
        let path = path?;
        let schema = path.qualifier().and_then(|outer| outer.segment()).map(|segment| segment.text());
        Some((schema.unwrap_or_else(|| self.default_schema.to_owned()), path.segment()?.text()))
    }

    pub(super) fn table_ref(&self, table: Option<ast::TableNameRef>) -> Option<Name> {
        self.name(table?.path_ref())
    }

    pub(super) fn table(&mut self, table: Option<ast::TableNameRef>) -> Option<(Name, &mut Table)> {
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
