//! Smoke tests of PostgreSQL. Every built-in test is one transaction that is rolled back.

mod attempt;
mod attempts;
mod declared;
mod index;
mod journal;
mod keys;
mod leftover;
mod objects;
mod query;
mod role;
mod row;
mod rows;
mod substitute;
mod tenant;
mod transaction;
mod value;
pub(super) mod wall;

use std::collections::{BTreeMap, BTreeSet};

use sqlx::postgres::PgConnection;

use self::objects::Subject;
use self::row::{Chain, Lessons};
use self::value::Source;
use super::foreign::History;
use super::ident::{literal, relation};
use super::{PostgresStore, tables};
use crate::engine::generate::check;
use crate::engine::generate::schema::{self as catalog, Catalog};
use crate::engine::smoke::difference_words;
use crate::engine::snapshot::{Difference, Snapshot};
use crate::error::Result;
use crate::kind::StoreKind;
use crate::stores::smoke::outcome::Outcome;
use crate::stores::smoke::{BuiltIn, Call, Reply, Run, Smoke, Variables, Verdict};

/// The smoke tests of a connected PostgreSQL.
pub struct PostgresSmoke<'a> {
    store: &'a mut PostgresStore,
    run: Run<'a>,
    catalog: Catalog,
    /// The project's schemas, its own first.
    schemas: Vec<String>,
    tests: Vec<Subject>,
    /// In words, for tests that cannot be judged because of them.
    differences: Vec<String>,
    /// What the snapshot has and the live schema lacks, by the test whose matter it is.
    missing: BTreeMap<Subject, Vec<String>>,
    /// How many objects of other kinds the snapshot holds.
    others: BTreeMap<String, usize>,
    /// How many grants the snapshot holds, by table.
    grants: BTreeMap<String, usize>,
    lessons: Lessons,
    /// Statements that are sent with the next ones.
    waiting: String,
    source: Source,
    before: Option<BTreeMap<String, u64>>,
    /// What the planner said, asked once.
    plans: Option<index::Plans>,
    /// Why no policy binds the application's role, asked once.
    unbound: Option<Vec<String>>,
    touched: BTreeSet<String>,
    is_committing: bool,
    /// Whom the declared test acts for.
    tenant: Option<String>,
    /// The further connections of the declared test, by the names of their sessions.
    sessions: BTreeMap<String, PgConnection>,
}

impl<'a> PostgresSmoke<'a> {
    /// Borrows the store for a run.
    pub fn new(store: &'a mut PostgresStore, run: Run<'a>) -> Self {
        let source = Source::new(&run.marker());
        Self {
            store,
            run,
            catalog: Catalog::default(),
            schemas: Vec::new(),
            tests: Vec::new(),
            differences: Vec::new(),
            missing: BTreeMap::new(),
            others: BTreeMap::new(),
            grants: BTreeMap::new(),
            lessons: Lessons::default(),
            waiting: String::new(),
            source,
            before: None,
            plans: None,
            unbound: None,
            touched: BTreeSet::new(),
            is_committing: false,
            tenant: None,
            sessions: BTreeMap::new(),
        }
    }

    /// The project's schemas as a list of literals.
    fn schema_list(&self) -> String {
        let list: Vec<String> = self.schemas.iter().map(|schema| literal(schema)).collect();
        if list.is_empty() { literal(self.store.settings.schema.name()) } else { list.join(", ") }
    }

    fn chain(&mut self, tenant: Option<&str>) -> Chain<'_> {
        Chain::new(
            &self.catalog,
            self.run.config.settings.tenancy.as_ref(),
            &self.lessons,
            &mut self.source,
            tenant.map(str::to_owned),
        )
    }

    /// The tests of this schema, in order: those of live objects, and those of what the snapshot still has.
    fn subjects(&self) -> Vec<Subject> {
        let mut subjects: BTreeSet<Subject> = self.missing.keys().cloned().collect();
        for table in self.catalog.tables.values() {
            let name = || table.name.clone();
            subjects.insert(Subject::Row(name()));
            if table.columns.iter().any(|column| column.is_required && !column.is_generated)
                || table.checks().next().is_some()
            {
                subjects.insert(Subject::Refusals(name()));
            }
            if table.foreign_keys().any(|key| !key.is_leaf) {
                subjects.insert(Subject::ForeignKeys(name()));
            }
            if table.indexes.iter().any(|index| index.is_unique || index.is_exclusion) {
                subjects.insert(Subject::Unique(name()));
            }
            if !table.indexes.is_empty() {
                subjects.insert(Subject::Indexes(name()));
            }
            if rows::touched_column(table).is_some() {
                subjects.insert(Subject::Touch(name()));
            }
        }
        if let Some(tenancy) = &self.run.config.settings.tenancy {
            if tenancy.column.is_some() {
                subjects.insert(Subject::TenantColumn);
            }
            let has_policies = self.catalog.tables.values().any(|table| table.has_rls);
            if self.app_role().is_some() || has_policies {
                subjects.insert(Subject::RowSecurity);
            }
            if self.app_role().is_some() {
                subjects.insert(Subject::Role);
                subjects.insert(Subject::NoTenant);
                subjects.extend(self.tenant_tables().into_iter().map(Subject::Isolation));
            }
        }
        if !self.catalog.tables.is_empty() {
            subjects.insert(Subject::Transaction);
        }
        subjects.extend(
            self.grants.keys().filter(|name| self.catalog.tables.contains_key(*name)).cloned().map(Subject::Grants),
        );
        subjects.extend(self.others.keys().cloned().map(Subject::Others));
        let mut subjects: Vec<Subject> = subjects.into_iter().collect();
        // What must run while the session has never known the tenant comes before what sets it.
        subjects.sort_by_key(Subject::rank);
        subjects
    }

    async fn try_subject(&mut self, subject: &Subject) -> Result<(Outcome, (&'static str, &'static str))> {
        Ok(match subject {
            Subject::Row(table) => (self.try_row(table).await?, ("row", "rows")),
            Subject::Refusals(table) => (self.try_refusals(table).await?, ("refusal", "refusals")),
            Subject::ForeignKeys(table) => (self.try_foreign_keys(table).await?, ("key", "keys")),
            Subject::Unique(table) => (self.try_unique(table).await?, ("key", "keys")),
            Subject::Indexes(table) => (self.try_indexes(table).await?, ("index", "indexes")),
            Subject::Touch(table) => (self.try_touch(table).await?, ("column", "columns")),
            Subject::Transaction => (self.try_transaction().await?, ("transaction", "transactions")),
            Subject::Grants(table) => (self.judge_grants(table), ("grant", "grants")),
            Subject::TenantColumn => (self.judge_columns(), ("table", "tables")),
            Subject::RowSecurity => (self.judge_rls().await?, ("table", "tables")),
            Subject::Role => (self.judge_role().await?, ("role", "roles")),
            Subject::NoTenant => (self.try_without_tenant().await?, ("reading", "readings")),
            Subject::Isolation(table) => (self.try_isolation(table).await?, ("attempt", "attempts")),
            Subject::Others(kind) => {
                let passed = self.others.get(kind).copied().unwrap_or(0);
                (Outcome { passed, ..Outcome::default() }, ("object", "objects"))
            }
        })
    }

    /// The privileges on a table are those that the snapshot lists; what differs is among `missing`.
    fn judge_grants(&self, table: &str) -> Outcome {
        Outcome { passed: self.grants.get(table).copied().unwrap_or(0), ..Outcome::default() }
    }

    /// The smoke file to write where lyrox cannot make a row by itself.
    fn sample(&self, subject: &Subject) -> Option<String> {
        let Subject::Row(name) = subject else { return None };
        let table = self.catalog.tables.get(name)?;
        let needed: Vec<String> = table
            .columns
            .iter()
            .filter(|column| column.is_required && !column.has_default && !column.is_generated)
            .map(|column| format!("\"{}\"", column.name))
            .collect();
        let values = vec!["..."; needed.len()].join(", ");
        Some(format!(
            "write smoke/{name}.toml:\n[[test]]\nname = \"{name} takes a row\"\n  [[test.step]]\n  postgres = '''INSERT INTO {} ({}) VALUES ({values})'''\n  expect = {{ rows = 1 }}",
            relation(None, name).ok()?,
            needed.join(", ")
        ))
    }
}

impl Smoke for PostgresSmoke<'_> {
    fn kind(&self) -> StoreKind {
        StoreKind::Postgres
    }

    async fn clean_up(&mut self) -> Result<Vec<String>> {
        self.store.set_up().await?;
        self.remove_journaled().await
    }

    async fn tally(&mut self) -> Result<()> {
        self.count_before().await
    }

    async fn prepare(&mut self, kept: &Snapshot, live: &Snapshot) -> Result<Vec<BuiltIn>> {
        self.store.set_up().await?;
        let schema = self.store.settings.schema.name().to_owned();
        let schemas = self.store.schemas().await?;
        self.catalog = tables::read(&mut self.store.connection, &schemas).await?;
        self.schemas = schemas;
        if let Some(history) = self.store.history.as_deref().map(History::table)
            && history.schema.name() == schema
        {
            // Another tool's own table is no part of the project's schema.
            self.catalog.tables.remove(history.name.name());
        }
        // A table that the snapshot does not have is the matter of `schema` alone. The snapshot names those of the project's
        // own schema without it even where a dot is part of the name.
        let own = format!("{schema}.");
        self.catalog.tables.retain(|name, _| objects::is_table(name.strip_prefix(&own).unwrap_or(name), kept));
        self.missing.clear();
        self.differences.clear();
        for difference in kept.differences(live) {
            let words = difference_words(&difference);
            self.differences.push(words.clone());
            let (object, definition, now) = match &difference {
                Difference::Missing(object) => (object, kept.objects.get(object), None),
                Difference::Changed(object, before, now) => (object, Some(before), Some(now)),
                // What opens a door that the migrations left shut.
                Difference::Extra(object) if objects::opens(object) => (object, live.objects.get(object), None),
                Difference::Extra(_) => continue,
            };
            if objects::went_along(object, kept, live) {
                continue;
            }
            let definition = definition.map_or("", String::as_str);
            if let Some(subject) = objects::subject(object, definition, now.map(String::as_str), kept) {
                self.missing.entry(subject).or_default().push(words);
            }
        }
        self.others = objects::others(kept);
        self.grants = objects::grants(kept);
        self.tests = self.subjects();
        Ok(self.tests.iter().map(Subject::built_in).collect())
    }

    async fn try_out(&mut self, index: usize) -> Result<Verdict> {
        let Some(subject) = self.tests.get(index).cloned() else { return Ok(Verdict::skip("there is no such test")) };
        let (mut outcome, noun) = self.try_subject(&subject).await?;
        if let Some(missing) = self.missing.get(&subject) {
            outcome.missing.splice(0..0, missing.iter().cloned());
        }
        let sample = self.sample(&subject);
        Ok(outcome.verdict(&self.differences, noun, sample))
    }

    async fn rest(&mut self) -> Result<()> {
        self.flush().await
    }

    async fn tenants(&mut self) -> Result<Option<Vec<String>>> {
        self.list_tenants().await
    }

    async fn begin(&mut self, commit: bool, tenant: Option<&str>) -> Result<Result<(), String>> {
        self.begin_declared(commit, tenant).await
    }

    async fn step(&mut self, call: Call<'_>, variables: &Variables) -> Result<Reply> {
        self.declared_step(call, variables).await
    }

    async fn take_back(&mut self, session: Option<&str>) -> Result<()> {
        self.take_back_declared(session).await
    }

    async fn end(&mut self) -> Result<()> {
        self.end_declared().await
    }

    async fn leftovers(&mut self) -> Result<Vec<String>> {
        self.find_leftovers().await
    }
}
