//! The stages of a check of PostgreSQL: hello and TLS by hand, the rest through one session.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _};

use super::connect::{connect, text};
use super::error::server_error;
use super::ident::literal;
use super::pooler::is_transaction_pooled;
use super::query;
use crate::config::Origin;
use crate::error::{Code, Error, Result};
use crate::stores::probe::hello::{greet, no_tls};
use crate::stores::probe::tls::{Failure, handshake};
use crate::stores::probe::{Reached, approach};
use crate::stores::query::Options;
use crate::stores::stages::{Block, Request, Stages, limit};
use crate::url::provider::{Pooling, provider};
use crate::url::{TlsMode, direct_form};

/// Checks one URL.
pub async fn check(request: Request<'_>) -> Block {
    let mut stages = Stages::new(request.clone());
    // Early return is the rule here: a stage that failed has said so.
    let _ = all(&mut stages, &request).await;
    stages.finish()
}

async fn all(stages: &mut Stages<'_>, request: &Request<'_>) -> Option<()> {
    let endpoint = request.endpoint;
    let reached = approach(stages, endpoint).await?;
    let first = reached.first()?;
    encrypt(stages, request, first).await?;

    let words = stages.login_words();
    let sleeper = provider(&endpoint.url).name == "Neon";
    let allowed = if sleeper { limit::AUTH_SLEEPER } else { limit::AUTH };
    let login = async { Ok((log_in(request, sleeper).await?, words)) };
    let mut session = stages.run("auth", allowed, login).await?;

    let delay = stages.run("ping", limit::REST, ping(&mut session)).await;
    if delay.is_some()
        && let Some(facts) = stages.run("server", limit::REST, facts(request, &mut session)).await
    {
        judge(stages, request, &facts);
        pooler(stages, request, &mut session).await;
        if facts.has_schema || request.expects.is_empty() {
            expectations(stages, request, &mut session).await;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), session.close()).await;
    Some(())
}

/// The stages `hello` and `tls`: `SSLRequest` is the first word of both.
async fn encrypt(stages: &mut Stages<'_>, request: &Request<'_>, reached: &Reached) -> Option<()> {
    let endpoint = request.endpoint;
    let hello = async {
        let mut stream = reached.route.open().await.map_err(|error| {
            Error::new(Code::ConnectClosed, "the server took no second connection").why(error.to_string())
        })?;
        let answer = greet(endpoint, &reached.route, &reached.host, &mut *stream).await?;
        Ok(((stream, answer), String::new()))
    };
    let (stream, answer) = stages.run("hello", limit::HELLO, hello).await?;
    let mode = endpoint.url.tls();
    if mode == TlsMode::Off {
        stages.pass("tls", "off");
        return Some(());
    }
    let shake = async {
        if answer != b"S" {
            return Err(no_tls(endpoint));
        }
        let peer = handshake(endpoint, &reached.host, request.target.ca_file.as_deref(), stream).await;
        let peer = peer.map_err(|failure| match failure {
            Failure::Certificate(error) | Failure::Authority(error) => error,
            Failure::NotTls => Error::new(Code::Tls, "the TLS handshake broke off")
                .why("the server agreed to TLS and then ended the connection or sent something else")
                .hint("look at the server's log, and at proxies in between"),
        })?;
        let words = peer.words(mode);
        Ok((peer.expires_soon(), words))
    };
    if stages.run("tls", limit::TLS, shake).await? {
        stages.warn("tls", "the certificate expires soon", "renew it on the server");
    }
    Some(())
}

async fn log_in(request: &Request<'_>, may_sleep: bool) -> Result<PgConnection> {
    let name = &request.config.settings.project.name;
    let ca_file = request.target.ca_file.as_deref();
    match connect(request.endpoint, ca_file, name).await {
        // A project that sleeps is woken by the first attempt.
        Err(error) if may_sleep && matches!(error.code(), Code::ConnectTimeout | Code::ConnectClosed) => {
            connect(request.endpoint, ca_file, name).await
        }
        outcome => outcome,
    }
}

async fn ping(session: &mut PgConnection) -> Result<((), String)> {
    let begun = Instant::now();
    sqlx::raw_sql("SELECT 1")
        .execute(session)
        .await
        .map_err(|error| server_error(Code::ConnectClosed, "the server answers no question", &error))?;
    Ok(((), format!("{:.1} ms to and fro", begun.elapsed().as_secs_f64() * 1000.0)))
}

/// What one question tells about server, role and schema.
struct Facts {
    is_standby: bool,
    is_read_only: bool,
    used: u64,
    most: u64,
    encoding: String,
    has_schema: bool,
    may_create: bool,
    role: String,
    /// `superuser`, `BYPASSRLS`, `owner of 3 tables`: what makes row-level security void.
    powers: Vec<String>,
    /// Some table of the schema has row-level security.
    has_rls: bool,
    /// Wanted extensions: name, installed here, available on the server.
    extensions: Vec<(String, bool, bool)>,
}

async fn facts(request: &Request<'_>, session: &mut PgConnection) -> Result<(Facts, String)> {
    let schema = literal(&request.target.namespace);
    let wanted = request.config.settings.postgres.as_ref().map_or(&[][..], |section| &section.extensions);
    let list: Vec<String> = wanted.iter().map(|name| literal(name)).collect();
    let sql = format!(
        "SELECT current_setting('server_version'), version(), pg_is_in_recovery(), \
                current_setting('default_transaction_read_only'), \
                (SELECT coalesce(sum(numbackends), 0) FROM pg_catalog.pg_stat_database), \
                current_setting('max_connections'), current_setting('server_encoding'), \
                EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = {schema}), \
                coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_catalog.pg_namespace WHERE nspname = {schema}), \
                         has_database_privilege(current_database(), 'CREATE')), \
                current_user, r.rolsuper, r.rolbypassrls, \
                (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p') AND c.relowner = r.oid), \
                EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = {schema} AND c.relrowsecurity) \
           FROM pg_catalog.pg_roles r WHERE r.rolname = current_user; \
         SELECT name, installed_version IS NOT NULL, true FROM pg_catalog.pg_available_extensions \
          WHERE name = ANY (ARRAY[{}]::text[])",
        list.join(", ")
    );
    let rows = sqlx::raw_sql(AssertSqlSafe(sql))
        .fetch_all(session)
        .await
        .map_err(|error| server_error(Code::Protocol, "the server's facts cannot be read", &error))?;
    let (first, rest) = rows.split_first().ok_or_else(|| Error::bug("the server answered no facts"))?;
    let fact = |at| text(first, at).unwrap_or_default();
    let is = |at| fact(at) == "t";
    let number = |at| fact(at).parse::<u64>().unwrap_or(0);
    let mut powers = Vec::new();
    powers.extend(is(10).then(|| "superuser".to_owned()));
    powers.extend(is(11).then(|| "BYPASSRLS".to_owned()));
    powers.extend((number(12) > 0).then(|| format!("owner of {} tables", number(12))));
    let offered = |name: &str| rest.iter().find(|row| text(row, 0).as_deref() == Some(name));
    let extensions = wanted.iter().map(|name| {
        let row: Option<&PgRow> = offered(name);
        (name.clone(), row.is_some_and(|row| text(row, 1).as_deref() == Some("t")), row.is_some())
    });
    let facts = Facts {
        is_standby: is(2),
        is_read_only: fact(3) == "on",
        used: number(4),
        most: number(5),
        encoding: fact(6),
        has_schema: is(7),
        may_create: is(8),
        role: fact(9),
        powers,
        has_rls: is(13),
        extensions: extensions.collect(),
    };
    let product = ["CockroachDB", "YugabyteDB", "Redshift"].into_iter().find(|name| fact(1).contains(name));
    let version = fact(0);
    let version = version.split_whitespace().next().unwrap_or("of unknown version");
    let role = if facts.is_standby { "standby" } else { "primary" };
    let words =
        format!("{} {version}, {role}, {} of {} connections", product.unwrap_or("PostgreSQL"), facts.used, facts.most);
    Ok((facts, words))
}

fn judge(stages: &mut Stages<'_>, request: &Request<'_>, facts: &Facts) {
    let schema = &request.target.namespace;
    let role = &facts.role;
    if facts.has_schema {
        stages.pass("database", format!("schema {schema}"));
    } else {
        stages.warn(
            "database",
            format!("schema `{schema}` does not exist"),
            format!("CREATE SCHEMA \"{schema}\", or mend `schema` in lyrox.toml"),
        );
    }
    if facts.is_standby || facts.is_read_only {
        let what = if facts.is_standby { "a standby: it takes no writes" } else { "read-only by default" };
        stages.warn("server", what, "name the primary in the URL");
    }
    if facts.most > 0 && facts.used * 5 >= facts.most * 4 {
        let what = format!("{} of {} connections are taken", facts.used, facts.most);
        stages.warn("server", what, "let the application use a pooler, or raise max_connections");
    }
    if facts.encoding != "UTF8" {
        stages.warn(
            "server",
            format!("the database's encoding is {}", facts.encoding),
            "make a database with ENCODING 'UTF8'",
        );
    }
    // A project whose queries alone keep the tenants apart has nothing to bind.
    let is_isolated = request.config.settings.tenancy.is_some() && facts.has_rls
        || request.config.settings.postgres.as_ref().is_some_and(|section| section.app_role.is_some());
    let hint = match request.config.settings.postgres.as_ref().and_then(|section| section.app_role.as_ref()) {
        Some(role) => format!("let the application log in as `{role}`, which db migrate makes"),
        None => "set `app_role` in lyrox.toml, and let the application log in as that role".to_owned(),
    };
    if request.is_app && !facts.powers.is_empty() && (!request.is_direct || is_isolated) {
        stages.warn(
            "privileges",
            format!(
                "the application's role `{role}` is {}: row-level security does not bind it",
                facts.powers.join(", ")
            ),
            hint,
        );
    }
    if request.is_direct {
        privileges(stages, facts, schema);
        extensions(stages, facts);
    }
}

fn privileges(stages: &mut Stages<'_>, facts: &Facts, schema: &str) {
    let role = &facts.role;
    if facts.is_standby {
        return;
    }
    if facts.may_create {
        stages.pass("privileges", format!("{role} may create in {schema}"));
        return;
    }
    let (what, grant) = if facts.has_schema {
        (
            format!("`{role}` may not create in schema `{schema}`"),
            format!("GRANT CREATE ON SCHEMA \"{schema}\" TO \"{role}\""),
        )
    } else {
        (format!("`{role}` may not create schemas"), format!("GRANT CREATE ON DATABASE ... TO \"{role}\""))
    };
    let why = "since PostgreSQL 15 only the owner of the database may create in `public`";
    stages.fail("privileges", Error::new(Code::Privilege, what).why(why).hint(format!("as the owner: {grant}")));
}

fn extensions(stages: &mut Stages<'_>, facts: &Facts) {
    let named = |wanted: fn(&(String, bool, bool)) -> bool| {
        facts
            .extensions
            .iter()
            .filter(|extension| wanted(extension))
            .map(|(name, ..)| name.as_str())
            .collect::<Vec<_>>()
    };
    let (absent, waiting) =
        (named(|(_, _, is_offered)| !is_offered), named(|(_, is_here, is_offered)| !is_here && *is_offered));
    if !absent.is_empty() {
        let what = format!("the server does not offer {}", absent.join(", "));
        stages.fail(
            "extensions",
            Error::new(Code::Extension, what)
                .why("`extensions` in lyrox.toml asks for it, and it is not installed on the server's machine")
                .hint(super::extension::how_to_get(absent[0])),
        );
    } else if !waiting.is_empty() {
        stages.warn("extensions", format!("not created yet: {}", waiting.join(", ")), "lyrox db migrate creates them");
    } else if !facts.extensions.is_empty() {
        stages.pass("extensions", named(|_| true).join(", "));
    }
}

/// What the host does not tell is found out by trying; what stands in the way of migrations fails.
async fn pooler(stages: &mut Stages<'_>, request: &Request<'_>, session: &mut PgConnection) {
    let endpoint = request.endpoint;
    let known = provider(&endpoint.url).pooling;
    let pooled = match known {
        Pooling::Transaction => Some(true),
        Pooling::Direct | Pooling::Session => Some(false),
        Pooling::Unknown if endpoint.origin == Origin::Local => Some(false),
        Pooling::Unknown => {
            let name = &request.config.settings.project.name;
            let probe = is_transaction_pooled(session, endpoint, request.target.ca_file.as_deref(), name);
            tokio::time::timeout(limit::REST, probe).await.ok().flatten()
        }
    };
    match pooled {
        None => stages.warn(
            "pooler",
            "cannot be told: the server gave no further connection",
            "end idle connections, or raise max_connections",
        ),
        Some(false) => {}
        Some(true) if !request.is_direct => stages.pass("pooler", "per transaction; the application may use it"),
        Some(true) => {
            let hint = match direct_form(&endpoint.url) {
                Some(place) => format!("set direct_url to {place}"),
                None => "set `direct_url` in lyrox.toml to the server itself".to_owned(),
            };
            stages.fail(
                "pooler",
                Error::new(Code::Pooler, "a pooler hands out a connection per transaction")
                    .why(format!("locks and settings do not hold across transactions there ({})", endpoint.origin))
                    .hint(hint),
            );
        }
    }
}

async fn expectations(stages: &mut Stages<'_>, request: &Request<'_>, session: &mut PgConnection) {
    let options = Options {
        may_write: false,
        time: limit::REST - Duration::from_millis(500),
        limit: 100,
        tenant: None,
        needs_all_rows: true,
        prefix: String::new(),
        schema: request.target.namespace.clone(),
    };
    for (index, expect) in request.expects.iter().enumerate() {
        let work = query::run(session, &expect.query, &options);
        // A session whose answer was abandoned cannot be asked again.
        if !stages.expect(index, expect, work).await {
            return;
        }
    }
}
