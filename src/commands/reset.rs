//! `lyrox db reset`

use crate::app::App;
use crate::config::{Period, Targets};
use crate::engine::event::Events as _;
use crate::engine::guard::{self, Consent, Permit};
use crate::engine::migrate::Work;
use crate::engine::reset::{self, Preview};
use crate::engine::tenant::list;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Item, Layout, Report, plural};
use crate::ui::{self, prompt};

/// Flags of `db reset`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox db reset                        lists what goes, asks for the name, migrates and seeds again\n  lyrox db reset --confirm lyrox_os     the same without a terminal; NAME is the database\n\nOnly what the project owns is dropped: never FLUSHALL, never another prefix. `--yes` is not consent."
)]
pub struct Args {
    /// The name of the PostgreSQL database (else MongoDB's, else the key prefix); NAME@HOST where it is remote
    #[arg(long, value_name = "NAME")]
    pub confirm: Option<String>,
    /// Drop objects that lyrox did not make as well
    #[arg(long)]
    pub include_foreign: bool,
    /// Do not seed afterwards
    #[arg(long)]
    pub no_seed: bool,
    /// List what would be dropped and kept; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long to wait for another run to end
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub lock_wait: Period,
}

/// Runs the command.
///
/// # Errors
/// No consent (nothing is sent), a protected environment, or what could not be removed.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("db reset", Layout::Lines);
    let config = app.config()?;
    let files = super::migrate::files(app)?;
    guard::refuse_protected(config, &[], "reset").map_err(|error| error.data("nothing was sent"))?;
    let targets = app.targets()?;
    // What would keep the seeds from being applied is found before anything is dropped.
    let set = &config.settings.seeds.set;
    let seeds = guard::permit_seeds(config, &targets, &[], set);
    if !args.no_seed && seeds.is_ok() && config.root.join(&config.settings.seeds.dir).join(set).is_dir() {
        crate::project::seed::read_set(config, set)?;
    }
    let can_ask = prompt::can_ask(app.global.no_input);
    let consent = Consent { confirm: args.confirm.clone() };
    let asks_later = args.dry_run || (can_ask && consent.confirm.is_none());
    if !asks_later {
        // Without the exact name nothing is sent, not even a greeting.
        guard::permit(config, &targets, &[], &consent, "reset").map_err(|error| error.data("nothing was sent"))?;
    }
    let work = Work { config, targets: &targets, events: app, wait: args.lock_wait.duration() };
    let preview = reset::preview(work, &files, args.include_foreign).await?;
    if args.dry_run {
        guard::refuse_protected(config, &preview.marks, "reset")?;
        tell(app, &preview, args.include_foreign);
        let mut report = app.finish();
        report.data = Some(data(&preview, args.include_foreign));
        report.summary = Some("a dry run: nothing was changed".into());
        return Ok(report);
    }
    let permit = agree(app, &targets, &preview, consent, args.include_foreign)?;
    let home = app.home()?;
    list::refuse_reset(Work { targets: &home, ..work }, app.global.shard.as_deref()).await?;
    let outcome = reset::reset(work, &files, &permit, args.include_foreign).await?;
    if outcome.has_failed {
        return Ok(app.finish());
    }
    match seeds {
        _ if args.no_seed => {}
        Ok(()) => super::seed::apply(app, &targets, None).await?,
        Err(refused) => app.item(Item::skip("seed", "seeds").detail(refused.what())),
    }
    reset::finish(work).await?;
    Ok(app.finish())
}

fn agree(
    app: &App,
    targets: &Targets,
    preview: &Preview,
    mut consent: Consent,
    include_foreign: bool,
) -> Result<Permit> {
    let config = app.config()?;
    guard::refuse_protected(config, &preview.marks, "reset")?;
    guard::refuse_other_mark(config, &preview.marks)?;
    if consent.confirm.is_none() {
        tell(app, preview, include_foreign);
        let name = guard::name_to_confirm(targets);
        let answer = prompt::line(&format!("This cannot be undone. Type {name} to reset:"))?;
        if answer != name {
            return Err(Error::new(Code::Consent, "reset was declined").data("nothing was changed"));
        }
        consent.confirm = Some(answer);
    }
    guard::permit(config, targets, &preview.marks, &consent, "reset")
}

fn tell(app: &App, preview: &Preview, include_foreign: bool) {
    for (store, holdings) in &preview.holdings {
        for holding in holdings {
            let goes = holding.is_owned || include_foreign;
            let rows = holding.rows.and_then(|rows| usize::try_from(rows).ok());
            let rows = rows.map_or(String::new(), |rows| format!("  {}", plural(rows, unit(*store))));
            let bytes = holding.bytes.map_or(String::new(), |bytes| format!("  {}", ui::bytes(bytes)));
            let verb = if goes { "drop" } else { "keep" };
            app.note(format!("{verb}  {store}  {} {}{rows}{bytes}", holding.kind, holding.name));
        }
    }
}

/// What the objects of a store hold.
const fn unit(store: StoreKind) -> &'static str {
    match store {
        StoreKind::Postgres => "row",
        StoreKind::Mongodb => "document",
        StoreKind::Redis => "key",
    }
}

fn data(preview: &Preview, include_foreign: bool) -> serde_json::Value {
    let holdings = preview.holdings.iter().flat_map(|(store, holdings)| {
        holdings.iter().map(move |holding| {
            serde_json::json!({
                "store": store,
                "kind": holding.kind,
                "name": holding.name,
                "rows": holding.rows,
                "bytes": holding.bytes,
                "dropped": holding.is_owned || include_foreign,
            })
        })
    });
    serde_json::json!({ "holdings": holdings.collect::<Vec<_>>() })
}
