//! Row-level security that keeps the tenants of shared tables apart: what is missing, and the statements that close it.
//! A table is a tenant's where it is the tenant table, carries the tenant column, or leads to one that does along a foreign
//! key that cannot be empty. Pure.

use std::collections::{BTreeMap, VecDeque};

use crate::config::file::Tenancy;

/// A table as the catalog has it. Names are as the server knows them; `quoted` as SQL wants them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its name with its schema, quoted.
    pub quoted: String,
    /// Its columns: name, quoted name, type.
    pub columns: Vec<Column>,
    /// Its foreign keys.
    pub keys: Vec<ForeignKey>,
    /// Row-level security is on.
    pub has_rls: bool,
    /// It binds the owner as well.
    pub is_forced: bool,
    /// Its policies.
    pub policies: Vec<Policy>,
}

/// A column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its name, quoted.
    pub quoted: String,
    /// Its type, as a cast wants it.
    pub kind: String,
    /// It is never NULL.
    pub is_required: bool,
}

/// A foreign key to another table of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForeignKey {
    /// The columns, quoted.
    pub columns: Vec<String>,
    /// The table it points at.
    pub parent: String,
    /// That table's columns, quoted.
    pub parent_columns: Vec<String>,
    /// None of its columns may be NULL.
    pub is_required: bool,
}

/// A policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// One permissive policy that lets a row through is enough.
    pub is_permissive: bool,
    /// Its expressions, as the server writes them.
    pub expressions: Vec<String>,
}

/// How a table belongs to a tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// It lists the tenants.
    Lists,
    /// It carries the column.
    Carries,
    /// It leads to one that does: the tables on the way, the last of which carries it.
    Leads(Vec<String>),
    /// It is listed as one that deliberately is no tenant's.
    Global,
    /// Nothing leads from it to a tenant.
    Nowhere,
}

/// What was found of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The table.
    pub table: String,
    /// How it belongs to a tenant.
    pub belongs: Belongs,
    /// What is wrong, in sentences; empty: it is closed.
    pub problems: Vec<String>,
    /// Statements that close it; empty where none can.
    pub statements: Vec<String>,
}

/// Judges every table.
pub fn judge(tables: &[Table], tenancy: &Tenancy) -> Vec<Finding> {
    let by_name: BTreeMap<&str, &Table> = tables.iter().map(|table| (table.name.as_str(), table)).collect();
    tables.iter().map(|table| judge_one(table, &by_name, tenancy)).collect()
}

fn judge_one(table: &Table, by_name: &BTreeMap<&str, &Table>, tenancy: &Tenancy) -> Finding {
    let belongs = belongs(table, by_name, tenancy);
    let mut finding =
        Finding { table: table.name.clone(), belongs: belongs.clone(), problems: Vec::new(), statements: Vec::new() };
    let predicate = match &belongs {
        Belongs::Global => return finding,
        Belongs::Nowhere => {
            let column = tenancy.column.as_deref().unwrap_or("the tenant column");
            finding.problems.push(format!(
                "it has no `{column}`, no foreign key that must be set leads to a tenant, and `[tenancy] global` does not list it"
            ));
            return finding;
        }
        Belongs::Lists => own(table, &tenancy.key_column, tenancy),
        Belongs::Carries => tenancy.column.as_deref().and_then(|column| own(table, column, tenancy)),
        Belongs::Leads(way) => along(table, way, by_name, tenancy),
    };
    if !table.has_rls {
        finding.problems.push("row-level security is off".into());
        finding.statements.push(format!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY;", table.quoted));
    }
    if !table.is_forced {
        finding.problems.push("row-level security does not bind the owner of the table".into());
        finding.statements.push(format!("ALTER TABLE {} FORCE ROW LEVEL SECURITY;", table.quoted));
    }
    let speaks = |policy: &Policy| policy.expressions.iter().any(|text| text.contains(tenancy.setting.as_str()));
    if !table.policies.iter().any(speaks) {
        finding.problems.push(format!("no policy reads `{}`", tenancy.setting));
        if let Some(predicate) = predicate {
            finding.statements.push(format!(
                "CREATE POLICY tenant ON {}\n    USING ({predicate})\n    WITH CHECK ({predicate});",
                table.quoted
            ));
        }
    }
    for policy in table.policies.iter().filter(|policy| policy.is_permissive && !speaks(policy)) {
        finding.problems.push(format!(
            "policy `{}` lets rows through whoever the tenant is: permissive policies are alternatives",
            policy.name
        ));
    }
    finding
}

/// The condition that holds for the present tenant's rows of a table, as a policy has it; none for a table that is no
/// tenant's.
pub fn condition(table: &Table, tables: &[Table], tenancy: &Tenancy) -> (Belongs, Option<String>) {
    let by_name: BTreeMap<&str, &Table> = tables.iter().map(|table| (table.name.as_str(), table)).collect();
    let belongs = belongs(table, &by_name, tenancy);
    let condition = match &belongs {
        Belongs::Global | Belongs::Nowhere => None,
        Belongs::Lists => own(table, &tenancy.key_column, tenancy),
        Belongs::Carries => tenancy.column.as_deref().and_then(|column| own(table, column, tenancy)),
        Belongs::Leads(way) => along(table, way, &by_name, tenancy),
    };
    (belongs, condition)
}

/// How a table belongs to a tenant: the shortest way counts.
fn belongs(table: &Table, by_name: &BTreeMap<&str, &Table>, tenancy: &Tenancy) -> Belongs {
    let is_list = |table: &Table| tenancy.table.as_deref() == Some(table.name.as_str());
    let carries = |table: &Table| {
        tenancy.column.as_deref().is_some_and(|name| table.columns.iter().any(|column| column.name == name))
    };
    if is_list(table) {
        return Belongs::Lists;
    }
    if tenancy.global.contains(&table.name) {
        return Belongs::Global;
    }
    if carries(table) {
        return Belongs::Carries;
    }
    let mut seen = vec![table.name.as_str()];
    let mut open: VecDeque<(&Table, Vec<String>)> = VecDeque::from([(table, Vec::new())]);
    while let Some((at, way)) = open.pop_front() {
        for key in at.keys.iter().filter(|key| key.is_required) {
            let Some(parent) = by_name.get(key.parent.as_str()) else { continue };
            if seen.contains(&parent.name.as_str()) || tenancy.global.contains(&parent.name) {
                continue;
            }
            seen.push(&parent.name);
            let mut way = way.clone();
            way.push(parent.name.clone());
            if is_list(parent) || carries(parent) {
                return Belongs::Leads(way);
            }
            open.push_back((parent, way));
        }
    }
    Belongs::Nowhere
}

/// The tenant of the transaction as a value of a type: NULL where none is set, and where one was before.
fn present(tenancy: &Tenancy, kind: &str) -> String {
    let setting = tenancy.setting.replace('\'', "''");
    // In a sub-select it is worked out once a query, not once a row.
    format!("(SELECT nullif(current_setting('{setting}', true), '')::{kind})")
}

fn own(table: &Table, column: &str, tenancy: &Tenancy) -> Option<String> {
    let column = table.columns.iter().find(|known| known.name == column)?;
    Some(format!("{} = {}", column.quoted, present(tenancy, &column.kind)))
}

/// The parent rows on the way, one inside the other: the last of them is the tenant's.
fn along(table: &Table, way: &[String], by_name: &BTreeMap<&str, &Table>, tenancy: &Tenancy) -> Option<String> {
    let (next, rest) = way.split_first()?;
    let parent = by_name.get(next.as_str())?;
    let key = table.keys.iter().find(|key| key.is_required && key.parent == *next)?;
    let pairs = key.columns.iter().zip(&key.parent_columns);
    let joined: Vec<String> =
        pairs.map(|(own, its)| format!("{}.{its} = {}.{own}", parent.quoted, table.quoted)).collect();
    let inner = if rest.is_empty() {
        let column = if tenancy.table.as_deref() == Some(parent.name.as_str()) {
            &tenancy.key_column
        } else {
            tenancy.column.as_ref()?
        };
        let column = parent.columns.iter().find(|known| known.name == *column)?;
        format!("{}.{} = {}", parent.quoted, column.quoted, present(tenancy, &column.kind))
    } else {
        along(parent, rest, by_name, tenancy)?
    };
    Some(format!("EXISTS (SELECT FROM {} WHERE {} AND {inner})", parent.quoted, joined.join(" AND ")))
}

/// The text of a migration that closes what can be closed; none where nothing is open.
pub fn migration(findings: &[Finding], tenancy: &Tenancy) -> Option<String> {
    let open: Vec<&Finding> = findings.iter().filter(|finding| !finding.statements.is_empty()).collect();
    if open.is_empty() {
        return None;
    }
    let mut text = format!(
        "-- Rows of one tenant are not there for another. The application says for each transaction who it works for:\n\
         --\n--     BEGIN; SELECT set_config('{}', '<key>', true); ... COMMIT;\n--\n\
         -- Without a tenant there are no rows, and no error.\n",
        tenancy.setting
    );
    for finding in open {
        text.push('\n');
        for statement in &finding.statements {
            text.push_str(statement);
            text.push('\n');
        }
    }
    Some(text)
}

/// The way back of [`migration`].
pub fn migration_back(findings: &[Finding]) -> String {
    let mut text = String::new();
    for statement in findings.iter().rev().flat_map(|finding| finding.statements.iter().rev()) {
        let back = if let Some(rest) = statement.strip_prefix("CREATE POLICY tenant ON ") {
            format!("DROP POLICY tenant ON {};", rest.lines().next().unwrap_or_default())
        } else {
            statement.replace(" ENABLE ROW", " DISABLE ROW").replace(" FORCE ROW", " NO FORCE ROW")
        };
        text.push_str(&back);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.into(), quoted: name.into(), kind: kind.into(), is_required: true }
    }

    fn table(name: &str, columns: &[&str], parents: &[(&str, bool)]) -> Table {
        let keys = parents.iter().map(|(parent, is_required)| ForeignKey {
            columns: vec![format!("{parent}_id")],
            parent: (*parent).into(),
            parent_columns: vec!["id".into()],
            is_required: *is_required,
        });
        Table {
            name: name.into(),
            quoted: format!("public.{name}"),
            columns: columns.iter().map(|name| column(name, "uuid")).collect(),
            keys: keys.collect(),
            ..Table::default()
        }
    }

    fn tenancy() -> Tenancy {
        Tenancy {
            table: Some("company".into()),
            column: Some("company_id".into()),
            global: vec!["member".into()],
            ..Tenancy::default()
        }
    }

    #[test]
    fn every_table_belongs_to_a_tenant_or_is_named() {
        let tables = [
            table("company", &["id"], &[("member", true)]),
            table("sale", &["id", "company_id"], &[("company", true)]),
            table("line", &["id", "sale_id"], &[("sale", true)]),
            table("part", &["id", "line_id"], &[("line", true)]),
            table("loose", &["id", "sale_id"], &[("sale", false)]),
            table("member", &["id"], &[]),
            table("through_global", &["id"], &[("member", true)]),
        ];
        let findings = judge(&tables, &tenancy());
        let belongs: Vec<Belongs> = findings.iter().map(|finding| finding.belongs.clone()).collect();
        assert_eq!(
            belongs,
            [
                Belongs::Lists,
                Belongs::Carries,
                Belongs::Leads(vec!["sale".into()]),
                Belongs::Leads(vec!["line".into(), "sale".into()]),
                Belongs::Nowhere,
                Belongs::Global,
                Belongs::Nowhere,
            ]
        );
        assert!(findings[4].statements.is_empty() && findings[4].problems.len() == 1);
        assert!(findings[5].problems.is_empty());
        let policy = findings[3].statements.last().expect("a policy");
        assert!(
            policy.contains("USING (EXISTS (SELECT FROM public.line WHERE public.line.id = public.part.line_id AND EXISTS (SELECT FROM public.sale WHERE public.sale.id = public.line.sale_id AND public.sale.company_id = (SELECT nullif(current_setting('app.tenant', true), '')::uuid))))"),
            "{policy}"
        );
    }

    #[test]
    fn a_closed_table_is_left_alone_and_an_open_door_beside_it_is_named() {
        let mut sale = table("sale", &["company_id"], &[]);
        (sale.has_rls, sale.is_forced) = (true, true);
        let policy =
            |name: &str, text: &str| Policy { name: name.into(), is_permissive: true, expressions: vec![text.into()] };
        sale.policies.push(policy("tenant", "(company_id = (current_setting('app.tenant'::text, true))::uuid)"));
        assert_eq!(judge(std::slice::from_ref(&sale), &tenancy())[0].problems, Vec::<String>::new());
        assert_eq!(migration(&judge(std::slice::from_ref(&sale), &tenancy()), &tenancy()), None);
        sale.policies.push(policy("all", "true"));
        sale.is_forced = false;
        let finding = judge(std::slice::from_ref(&sale), &tenancy()).remove(0);
        assert_eq!(finding.problems.len(), 2, "{finding:?}");
        assert_eq!(finding.statements, ["ALTER TABLE public.sale FORCE ROW LEVEL SECURITY;"]);
        assert_eq!(migration_back(&[finding]), "ALTER TABLE public.sale NO FORCE ROW LEVEL SECURITY;\n");
    }
}
