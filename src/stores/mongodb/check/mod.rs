//! The stages of a check of MongoDB: TLS and hello by hand, the rest through the driver.

mod deep;
mod topology;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bson::{Bson, Document, doc};

use super::connect::{Connected, connect};
use super::error::{refusal, work_error};
use super::query;
use crate::error::{Code, Error, Result};
use crate::stores::probe::approach;
use crate::stores::probe::hello::{document, greet_others, greet_through};
use crate::stores::query::Options;
use crate::stores::stages::{Block, Request, Stages, limit, now};
use crate::stores::support::Product;

/// What a user of lyrox must be able to do in the project's database.
const NEEDED: &[&str] = &[
    "find",
    "insert",
    "update",
    "remove",
    "createCollection",
    "createIndex",
    "collMod",
    "dropCollection",
    "dropIndex",
];

/// Checks one URL.
pub async fn check(request: Request<'_>) -> Block {
    let mut stages = Stages::new(request.clone());
    // Early return is the rule here: a stage that failed has said so.
    let _ = all(&mut stages, &request).await;
    stages.finish()
}

async fn all(stages: &mut Stages<'_>, request: &Request<'_>) -> Option<()> {
    let endpoint = request.endpoint;
    let ca_file = request.target.ca_file.as_deref();
    let reached = approach(stages, endpoint).await?;
    let (first, others) = reached.split_first()?;
    let answer = greet_through(stages, endpoint, ca_file, first).await?;
    greet_others(stages, endpoint, ca_file, others).await;
    let hello = document(&answer);
    if let Some(hello) = &hello
        && let Err(error) = topology::judge(endpoint, hello)
    {
        stages.fail("topology", error);
        return None;
    }

    let words = stages.login_words();
    let login = async {
        match connect(endpoint, ca_file, &request.target.namespace).await {
            Ok(connected) => Ok((connected, words)),
            Err(error) => Err(topology::explain(request, hello.as_ref(), error).await),
        }
    };
    let connected = stages.run("auth", limit::AUTH, login).await?;
    examine(stages, request, &connected).await;
    let _ = tokio::time::timeout(Duration::from_secs(1), connected.client.shutdown().immediate(true)).await;
    Some(())
}

async fn examine(stages: &mut Stages<'_>, request: &Request<'_>, connected: &Connected) -> Option<()> {
    stages.run("database", limit::REST, database(request, connected)).await?;
    stages.run("ping", limit::REST, ping(request, connected)).await?;
    let facts = stages.run("server", limit::REST, server(request, connected)).await?;
    judge(stages, request, connected, &facts);
    privileges(stages, request, connected).await;
    if request.is_deep && is_primary(&connected.hello) {
        stages.run("write", limit::REST, deep::write(request, connected)).await;
    }
    if request.is_deep {
        deep::hosts(stages, request, connected).await;
    }
    let options = Options {
        may_write: false,
        time: limit::REST - Duration::from_millis(500),
        limit: 100,
        tenant: None,
        needs_all_rows: false,
        prefix: String::new(),
        schema: String::new(),
    };
    for (index, expect) in request.expects.iter().enumerate() {
        let work = query::run(connected, request.endpoint, &expect.query, &options);
        stages.expect(index, expect, work).await;
    }
    Some(())
}

async fn ask(request: &Request<'_>, connected: &Connected, command: Document, doing: &str) -> Result<Document> {
    connected.database.run_command(command).await.map_err(|error| work_error(request.endpoint, doing, &error))
}

async fn database(request: &Request<'_>, connected: &Connected) -> Result<((), String)> {
    let command = doc! { "listCollections": 1, "nameOnly": true, "authorizedCollections": true };
    let failed = |error: mongodb::error::Error| match refusal(&error) {
        Some(refusal) if refusal.code == 13 => {
            Error::new(Code::Privilege, format!("the user may not look into database `{}`", request.target.namespace))
                .why(refusal.shown())
                .hint("give it the role readWrite on that database, or mend `database` in lyrox.toml")
        }
        _ => work_error(request.endpoint, "list the collections", &error),
    };
    let cursor = connected.database.run_cursor_command(command).await.map_err(failed)?;
    let found: Vec<Document> = futures_util::TryStreamExt::try_collect(cursor).await.map_err(failed)?;
    let name = &request.target.namespace;
    Ok((
        (),
        match found.len() {
            0 => format!("{name}, empty"),
            1 => format!("{name}, 1 collection"),
            count => format!("{name}, {count} collections"),
        },
    ))
}

async fn ping(request: &Request<'_>, connected: &Connected) -> Result<((), String)> {
    let begun = Instant::now();
    ask(request, connected, doc! { "ping": 1 }, "ping the server").await?;
    Ok(((), format!("{:.1} ms to and fro", begun.elapsed().as_secs_f64() * 1000.0)))
}

/// What the server tells of itself.
struct Facts {
    version: String,
    /// Connections in use and at most; none where the user may not ask.
    connections: Option<(i64, i64)>,
    /// zlib is among the compressors that the server takes; none where it does not say.
    takes_zlib: Option<bool>,
    /// Seconds since 1970: the server's time, and this machine's before and after.
    clock: Option<(f64, f64, f64)>,
}

async fn server(request: &Request<'_>, connected: &Connected) -> Result<(Facts, String)> {
    let build = ask(request, connected, doc! { "buildInfo": 1 }, "ask for the version").await?;
    let version = build.get_str("version").unwrap_or("of unknown version");
    let asked = now();
    let greeting = connected.database.run_command(doc! { "hello": 1, "compression": ["zlib"] }).await.ok();
    let answered = now();
    #[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    let clock = greeting
        .as_ref()
        .and_then(|greeting| greeting.get_datetime("localTime").ok())
        .map(|time| (time.timestamp_millis() as f64 / 1000.0, asked, answered));
    let takes_zlib =
        greeting.as_ref().map(|greeting| greeting.get_array("compression").is_ok_and(|list| !list.is_empty()));
    let hello = &connected.hello;
    let kind = if hello.get_str("msg").is_ok_and(|text| text == "isdbgrid") {
        "sharded cluster".to_owned()
    } else if hello.contains_key("setName") {
        format!("replica set of {}", hello.get_array("hosts").map_or(1, Vec::len))
    } else {
        "standalone".to_owned()
    };
    let role = if is_primary(hello) { "primary" } else { "secondary" };
    // Forbidden to most users of shared clusters, and then unknown.
    let status = doc! { "serverStatus": 1, "metrics": 0, "wiredTiger": 0, "repl": 0, "locks": 0, "tcmalloc": 0 };
    let connections = connected.database.run_command(status).await.ok().and_then(|status| {
        let connections = status.get_document("connections").ok()?;
        let number = |key: &str| connections.get(key).and_then(whole);
        Some((number("current")?, number("current")? + number("available")?))
    });
    let facts = Facts { version: version.to_owned(), connections, takes_zlib, clock };
    Ok((facts, format!("MongoDB {version}, {kind}, {role}")))
}

fn whole(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some((*number).into()),
        Bson::Int64(number) => Some(*number),
        _ => None,
    }
}

fn is_primary(hello: &Document) -> bool {
    hello.get_bool("isWritablePrimary").or_else(|_| hello.get_bool("ismaster")).unwrap_or(false)
}

fn judge(stages: &mut Stages<'_>, request: &Request<'_>, connected: &Connected, facts: &Facts) {
    // What speaks the protocol without being MongoDB has versions of its own.
    let is_other = connected.hello.contains_key("ferretdb") || connected.hello.contains_key("internal");
    if !is_other {
        stages.version(Product::Mongodb { takes_zlib: facts.takes_zlib }, &facts.version);
    }
    if let Some((server, asked, answered)) = facts.clock {
        stages.clock(server, asked, answered);
    }
    if let Some((used, most)) = facts.connections.filter(|(used, most)| used * 5 >= most * 4) {
        let what = format!("{used} of {most} connections are taken");
        stages.warn("server", Code::ConnectBusy, what, "let the application share its connections");
    }
    if !connected.has_transactions() {
        stages.warn(
            "server",
            Code::ReplicaSetNone,
            "a standalone server has no transactions: a failed migration is undone by journal, not by the server",
            "start it with --replSet rs0 and run rs.initiate(), or use lyrox up",
        );
    }
    if !is_primary(&connected.hello) {
        let error = match connected.hello.get_str("primary") {
            Ok(primary) => Error::new(Code::ConnectReadOnly, "a secondary: it takes no writes")
                .why(format!("the primary is {primary} ({})", request.endpoint.origin))
                .hint("name all hosts and replicaSet in the URL, without directConnection"),
            Err(_) => topology::no_primary(request.endpoint, &connected.hello),
        };
        stages.fail("server", error);
    }
}

/// Roles that no work of lyrox or of an application needs.
const EXCESS: &[&str] = &[
    "root",
    "__system",
    "atlasAdmin",
    "clusterAdmin",
    "clusterManager",
    "hostManager",
    "backup",
    "restore",
    "readWriteAnyDatabase",
    "dbAdminAnyDatabase",
    "userAdminAnyDatabase",
];

/// Roles that nothing needs, on a server that others reach as well.
fn excess(stages: &mut Stages<'_>, request: &Request<'_>, info: &Document) {
    if request.endpoint.url.is_local() {
        return;
    }
    let tenancy = request.config.settings.tenancy.as_ref();
    // A database and a user for each tenant are made by who may do so everywhere.
    let has_places = tenancy.is_some_and(|tenancy| tenancy.model != crate::config::file::TenancyModel::Row);
    let found: BTreeSet<&str> = info
        .get_array("authenticatedUserRoles")
        .into_iter()
        .flatten()
        .filter_map(|role| role.as_document()?.get_str("role").ok())
        .filter(|role| EXCESS.contains(role) && !(has_places && role.ends_with("AnyDatabase")))
        .collect();
    if found.is_empty() {
        return;
    }
    let (user, name) = (request.endpoint.url.user().unwrap_or("the user"), &request.target.namespace);
    let roles = found.into_iter().collect::<Vec<_>>().join(", ");
    let more =
        if has_places { "no server-wide role but those for tenants" } else { "readWrite and dbAdmin on one database" };
    stages.warn(
        "privileges",
        Code::PrivilegeExcess,
        format!("`{user}` has {roles}: lyrox and the application need {more}"),
        format!(
            "db.updateUser(\"{user}\", {{roles: [{{role: \"readWrite\", db: \"{name}\"}}, {{role: \"dbAdmin\", db: \"{name}\"}}]}})"
        ),
    );
}

async fn privileges(stages: &mut Stages<'_>, request: &Request<'_>, connected: &Connected) {
    let command = doc! { "connectionStatus": 1, "showPrivileges": true };
    let Ok(status) = connected.database.run_command(command).await else { return };
    let Ok(info) = status.get_document("authInfo") else { return };
    if info.get_array("authenticatedUsers").is_ok_and(Vec::is_empty) {
        if request.endpoint.url.is_local() {
            stages.pass("privileges", "the server asks for no login");
        } else {
            stages.warn(
                "privileges",
                Code::AuthOpen,
                "the server asks for no login: whoever reaches it may read and write everything",
                "switch authorization on and make a user for the application",
            );
        }
        return;
    }
    let name = &request.target.namespace;
    let mut allowed = BTreeSet::new();
    for privilege in info.get_array("authenticatedUserPrivileges").into_iter().flatten() {
        let Bson::Document(privilege) = privilege else { continue };
        let applies = privilege.get_document("resource").is_ok_and(|resource| {
            resource.get_bool("anyResource").unwrap_or(false)
                || (resource.get_str("db").is_ok_and(|db| db.is_empty() || db == name)
                    && resource.get_str("collection").is_ok_and(str::is_empty))
        });
        if applies && let Ok(actions) = privilege.get_array("actions") {
            allowed.extend(actions.iter().filter_map(Bson::as_str));
        }
    }
    let missing: Vec<&str> =
        NEEDED.iter().copied().filter(|action| !allowed.contains(action) && !allowed.contains("anyAction")).collect();
    if missing.is_empty() {
        let roles: Vec<&str> = info
            .get_array("authenticatedUserRoles")
            .into_iter()
            .flatten()
            .filter_map(|role| role.as_document()?.get_str("role").ok())
            .take(3)
            .collect();
        stages.pass("privileges", roles.join(", "));
        excess(stages, request, info);
        return;
    }
    let user = request.endpoint.url.user().unwrap_or("the user");
    stages.fail(
        "privileges",
        Error::new(Code::Privilege, format!("`{user}` may not {} in `{name}`", missing.join(", ")))
            .why("its roles do not grant it")
            .hint(format!("db.grantRolesToUser(\"{user}\", [{{role: \"readWrite\", db: \"{name}\"}}, {{role: \"dbAdmin\", db: \"{name}\"}}])")),
    );
}
