//! `lyrox tenant policies`

use serde_json::json;

use crate::app::App;
use crate::config::Targets;
use crate::config::file::{Format, TenancyModel};
use crate::engine::tenant::policies::{Belongs, Finding, judge, migration, migration_back};
use crate::engine::tenant::terms;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Change, Item, Layout, Report, plural};
use crate::stores::tenant::TenantStore as _;
use crate::stores::{AnyStore, Store as _};

/// Flags of `tenant policies`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox tenant policies            which tables keep tenants apart, and which do not\n  lyrox tenant policies --write    write the migration that closes what is open\n\nFor the model `row`. A table is a tenant's where it carries the tenant column, or where a foreign key that must be set\nleads to one that does. Exit codes: 0 closed, or the migration is written; 1 something is open"
)]
pub struct Args {
    /// Write a migration that closes what is open
    #[arg(long)]
    pub write: bool,
}

/// Runs the command.
///
/// # Errors
/// Another model, a catalog that cannot be read, a file that cannot be written.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("tenant policies", Layout::Lines);
    let config = app.config()?;
    let terms = terms(config)?;
    if terms.model() != TenancyModel::Row {
        return Err(Error::new(
            Code::Tenancy,
            format!("the tenants of the model `{}` share no tables", terms.model().name()),
        )
        .data("nothing was looked at")
        .hint("lyrox tenant verify"));
    }
    let targets = app.targets()?;
    let only = Targets {
        stores: targets.stores.into_iter().filter(|target| target.kind == StoreKind::Postgres).collect(),
        absent: Vec::new(),
    };
    let Some(target) = only.stores.first() else {
        return Err(Error::new(Code::Tenancy, "the project has no PostgreSQL, and so no row-level security"));
    };
    let mut store = AnyStore::open(config, target).await?;
    let tables = store.tenant_tables().await?;
    let app_role = config.settings.postgres.as_ref().and_then(|section| section.app_role.clone());
    let trouble = match &app_role {
        Some(role) => store.application_role_trouble(role).await?,
        None => None,
    };
    store.close().await;
    let findings = judge(&tables, &terms.tenancy);
    let text = migration(&findings, &terms.tenancy).filter(|_| args.write);
    for finding in &findings {
        app.item(item(finding, text.is_some()));
    }
    app.item(role_item(app_role.as_deref(), trouble));
    let closed = findings.iter().filter(|finding| finding.problems.is_empty()).count();
    let mut summary = format!("{} of {} keep tenants apart", closed, plural(findings.len(), "table"));
    if let Some(text) = text {
        if config.settings.migrations.format != Format::Lyrox {
            return Err(Error::new(Code::Tenancy, "the migrations folder is another tool's")
                .why("--write makes files of lyrox's own form")
                .data("no file was written")
                .hint("lyrox db new tenant_policies, and put this into it: lyrox tenant policies --output json"));
        }
        let written = write(app, &text, &migration_back(&findings))?;
        summary = format!("{summary}; written: {written}");
    }
    let mut report = app.finish();
    report.data = Some(
        findings
            .iter()
            .map(|finding| {
                json!({ "table": finding.table, "belongs": words(&finding.belongs), "problems": finding.problems,
                        "statements": finding.statements })
            })
            .collect(),
    );
    report.summary = Some(summary);
    Ok(report)
}

fn words(belongs: &Belongs) -> String {
    match belongs {
        Belongs::Lists => "lists the tenants".into(),
        Belongs::Carries => "carries the tenant".into(),
        Belongs::Leads(way) => format!("leads to the tenant by {}", way.join(", ")),
        Belongs::Global => "no tenant's".into(),
        Belongs::Nowhere => "unknown whose".into(),
    }
}

fn item(finding: &Finding, is_written: bool) -> Item {
    let id = format!("policies.{}", finding.table);
    let belongs = words(&finding.belongs);
    if finding.problems.is_empty() {
        return Item::pass(id, &finding.table).store(StoreKind::Postgres).detail(belongs);
    }
    if is_written && !finding.statements.is_empty() {
        let item = Item::pass(id, &finding.table).store(StoreKind::Postgres).change(Change::Planned);
        return item.detail(format!("{belongs}; {}", finding.problems.join("; ")));
    }
    let error = Error::new(Code::Policies, finding.problems.join("; "));
    let error = match finding.statements.first() {
        Some(_) => error.why(finding.statements.join(" ")).hint("lyrox tenant policies --write"),
        None if finding.belongs == Belongs::Nowhere => {
            error.hint(format!("add \"{}\" to `global` under [tenancy], or give it the tenant column", finding.table))
        }
        None => error.hint("drop the policy, or make it restrictive"),
    };
    Item::fail(id, &finding.table, &error).store(StoreKind::Postgres)
}

fn role_item(role: Option<&str>, trouble: Option<String>) -> Item {
    let id = "policies.role";
    match (role, trouble) {
        (Some(role), None) => {
            Item::pass(id, role).store(StoreKind::Postgres).detail("the application's role owns nothing")
        }
        (Some(role), Some(why)) => {
            let error = Error::new(Code::Policies, format!("policies do not hold `{role}`")).why(why);
            Item::fail(id, role, &error).store(StoreKind::Postgres)
        }
        (None, _) => Item::warn(id, "application role")
            .store(StoreKind::Postgres)
            .code(Code::Policies)
            .detail("`app_role` is not set: policies do not hold a role that may bypass them")
            .hint("app_role = \"NAME\" under [postgres] in lyrox.toml, then: lyrox db migrate"),
    }
}

/// Writes the migration and its way back; answers the name.
fn write(app: &App, up: &str, down: &str) -> Result<String> {
    let config = app.config()?;
    let dir = &config.settings.migrations.dir;
    let version = super::super::new::next_version(config, dir);
    let name = format!("{dir}/{version}_tenant_policies");
    for (ending, text) in [("up.sql", up), ("down.sql", down)] {
        let path = config.root.join(format!("{name}.{ending}"));
        std::fs::create_dir_all(config.root.join(dir))
            .and_then(|()| {
                use std::io::Write as _;
                std::fs::OpenOptions::new().write(true).create_new(true).open(&path)?.write_all(text.as_bytes())
            })
            .map_err(|error| {
                Error::new(Code::WriteFailed, format!("`{name}.{ending}` cannot be written")).why(error.to_string())
            })?;
    }
    Ok(format!("{name}.up.sql"))
}
