//! `lyrox init`: a new project that runs at once.

use std::path::PathBuf;

use super::init_from::{self, From};
use crate::app::App;
use crate::config::FILE_NAME;
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::project::text::write_new;
use crate::report::{Change, Item, Layout, Report};

/// Flags of `init`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  lyrox init                              in this folder, for all three stores\n  lyrox init shop --store postgres,redis  in a new folder `shop`, for two\n  lyrox init --from auto                  beside the migrations of another tool, which run as they are\n\nThen: lyrox setup. Existing files are never overwritten."
)]
pub struct Args {
    /// The folder; made where it does not exist
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The project's name; default: the folder's
    #[arg(long)]
    pub name: Option<String>,
    /// The stores it uses
    #[arg(long, value_name = "STORE,...", value_delimiter = ',')]
    pub store: Vec<StoreKind>,
    /// Whose migrations are here: `auto` finds out, or sqlx, prisma, drizzle, dbmate, flyway, ...
    #[arg(long, value_name = "FORMAT|auto")]
    pub from: Option<From>,
}

/// Where a project is made.
#[derive(Debug)]
pub struct Place {
    /// Its folder.
    pub root: PathBuf,
    /// The project's name.
    pub name: String,
    /// ` -C DIR`, for commands that are shown.
    pub directory: String,
}

/// The files of a new project: the store they belong to, the path, the text. `{version}`, `{name}`
/// and `{prefix}` are filled in.
const FILES: &[(Option<StoreKind>, &str, &str)] = &[
    (Some(StoreKind::Postgres), "migrations/{version}_init.up.sql", include_str!("init_template/init.up.sql")),
    (Some(StoreKind::Postgres), "migrations/{version}_init.down.sql", include_str!("init_template/init.down.sql")),
    (Some(StoreKind::Mongodb), "migrations/{version}_init.up.json", include_str!("init_template/init.up.json")),
    (Some(StoreKind::Mongodb), "migrations/{version}_init.down.json", include_str!("init_template/init.down.json")),
    (Some(StoreKind::Redis), "migrations/{version}_init.up.redis", include_str!("init_template/init.up.redis")),
    (Some(StoreKind::Redis), "migrations/{version}_init.down.redis", include_str!("init_template/init.down.redis")),
    (Some(StoreKind::Postgres), "seeds/dev/postgres/note.toml", include_str!("init_template/note.toml")),
    (Some(StoreKind::Mongodb), "seeds/dev/mongodb/events.toml", include_str!("init_template/events.toml")),
    (Some(StoreKind::Redis), "seeds/dev/redis/sessions.toml", include_str!("init_template/sessions.toml")),
    (Some(StoreKind::Postgres), "smoke/postgres.toml", include_str!("init_template/smoke_postgres.toml")),
];

/// Runs the command.
///
/// # Errors
/// A project is there already, or a file cannot be written.
pub async fn run(app: &App, args: &Args) -> Result<Report> {
    app.begin("init", Layout::Lines);
    let start = app.global.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let root = args.dir.as_ref().map_or(start.clone(), |dir| start.join(dir));
    let failed = |what: &str, error: &std::io::Error| {
        Error::new(Code::WriteFailed, format!("cannot write `{what}`")).why(error.to_string())
    };
    if args.from.is_none() {
        std::fs::create_dir_all(&root).map_err(|error| failed(&root.display().to_string(), &error))?;
    }
    if root.join(FILE_NAME).exists() {
        return Err(Error::new(Code::Usage, format!("`{}` exists", root.join(FILE_NAME).display()))
            .data("nothing was changed")
            .hint("lyrox config show prints what it says"));
    }
    let stores = if args.store.is_empty() { StoreKind::ALL.to_vec() } else { args.store.clone() };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => root
            .canonicalize()
            .ok()
            .and_then(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
            .unwrap_or_else(|| "app".into()),
    };
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        return Err(Error::new(Code::Usage, "a project's name has no quotes, backslashes or control characters")
            .hint("lyrox init --name shop"));
    }
    let directory = args.dir.as_ref().map_or(String::new(), |dir| format!(" -C {}", dir.display()));
    if let Some(from) = args.from {
        return init_from::run(app, args, &Place { root, name, directory }, from).await;
    }
    let version = jiff::Timestamp::now().strftime("%Y%m%d%H%M%S").to_string();
    let fill = |text: &str| text.replace("{version}", &version).replace("{name}", &name);

    let mut files = vec![(FILE_NAME.to_owned(), configuration(&name, &stores))];
    let chosen = FILES.iter().filter(|(store, ..)| store.is_none_or(|store| stores.contains(&store)));
    files.extend(chosen.map(|(_, path, text)| (fill(path), fill(text))));
    files.push((".gitignore".into(), ".lyrox/\n.env\n.env.*\n!.env.example\n".into()));
    let mut made = Vec::new();
    for (path, text) in files {
        let full = root.join(&path);
        let folder = full.parent().map_or(Ok(()), std::fs::create_dir_all);
        let item = Item::pass(format!("init.{path}"), &path);
        match folder.and_then(|()| write_new(&full, &text)) {
            Ok(()) => app.item(item.change(Change::Created)),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                app.item(item.change(Change::Unchanged).detail("exists and was left as it is"));
                continue;
            }
            Err(error) => {
                // A second init would refuse half a project.
                made.iter().for_each(|path| drop(std::fs::remove_file(path)));
                return Err(failed(&path, &error).data("no file was left behind"));
            }
        }
        made.push(full);
    }
    let mut report = app.finish();
    report.summary = Some(format!("now run: lyrox{directory} setup"));
    Ok(report)
}

fn configuration(name: &str, stores: &[StoreKind]) -> String {
    let mut text = format!("[project]\nname = \"{name}\"\n");
    for store in stores {
        text.push_str(match store {
            StoreKind::Postgres => {
                "\n[postgres]                         # DATABASE_URL and DIRECT_URL; the local server where they are not set\n\
                 # app_role = \"app\"                 # the application's own role: lyrox creates it and grants\n"
            }
            StoreKind::Mongodb => "\n[mongodb]                          # MONGODB_URI\ndatabase = \"app\"\n",
            StoreKind::Redis => {
                "\n[redis]                            # REDIS_URL\n\n[redis.keyspaces.sessions]\npattern = \"session:{id}\"\ntype = \"hash\"\nttl = \"24h\"\n"
            }
        });
    }
    for store in stores {
        let (query, say) = match store {
            StoreKind::Postgres => ("SELECT count(*) FROM note", "Found {0} notes"),
            StoreKind::Mongodb => (r#"{ "count": "events" }"#, "Found {0} events"),
            StoreKind::Redis => ("PING", "Redis says {0}"),
        };
        text.push_str(&format!("\n[[check.expect]]\nstore = \"{store}\"\nquery = '{query}'\nsay = \"{say}\"\n"));
    }
    text.push_str("\n# [env.production]\n# protected = true                   # nothing destructive goes through\n");
    text
}
