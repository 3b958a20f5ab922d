//! The stages of a check of PostgreSQL: hello and TLS by hand, the rest through one session.

mod deep;
mod facts;
mod route;

use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

use super::connect::connect;
use super::error::{not_let_in, server_error};
use super::query;
use crate::error::{Code, Error, Result};
use crate::stores::probe::hello::{expiring, greet, no_tls};
use crate::stores::probe::tls::{Failure, handshake};
use crate::stores::probe::{Reached, approach};
use crate::stores::query::Options;
use crate::stores::stages::{Block, Request, Stages, limit};
use crate::url::TlsMode;
use crate::url::provider::provider;

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
    let offers_tls = encrypt(stages, request, first).await?;

    let words = stages.login_words();
    let sleeper = provider(&endpoint.url).name == "Neon";
    let allowed = if sleeper { limit::AUTH_SLEEPER } else { limit::AUTH };
    let login = async {
        let session = log_in(request, sleeper).await.map_err(|error| match error.code() {
            // It says so to everybody for whom it has no line; with TLS it would be the same.
            Code::TlsRequired if !offers_tls => not_let_in(endpoint, error.why_text().unwrap_or_default()),
            _ => error,
        })?;
        Ok((session, words))
    };
    let mut session = stages.run("auth", allowed, login).await?;

    let delay = stages.run("ping", limit::REST, ping(&mut session)).await;
    if delay.is_some()
        && let Some(facts) = stages.run("server", limit::REST, facts::read(request, &mut session)).await
    {
        facts::judge(stages, request, &facts);
        let is_usable = route::look(stages, request, &facts, &mut session).await;
        if is_usable && (facts.has_schema || request.expects.is_empty()) {
            let is_usable = expectations(stages, request, &mut session).await;
            if is_usable && request.is_deep {
                deep::write(stages, request, &facts, &mut session).await;
            }
        }
        if request.is_deep {
            deep::hosts(stages, request).await;
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(1), session.close()).await;
    Some(())
}

/// The stages `hello` and `tls`: `SSLRequest` is the first word of both. Answers whether the server offers TLS.
async fn encrypt(stages: &mut Stages<'_>, request: &Request<'_>, reached: &Reached) -> Option<bool> {
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
        return Some(answer == b"S");
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
    let soon = stages.run("tls", limit::TLS, shake).await?;
    expiring(stages, soon);
    Some(true)
}

async fn log_in(request: &Request<'_>, may_sleep: bool) -> Result<PgConnection> {
    let name = &request.config.settings.project.name;
    let ca_file = request.target.ca_file.as_deref();
    match connect(request.endpoint, ca_file, name).await {
        // A project that sleeps is woken by the first attempt.
        Err(error)
            if may_sleep && matches!(error.code(), Code::ConnectTimeout | Code::ConnectClosed | Code::PoolerServer) =>
        {
            connect(request.endpoint, ca_file, name).await
        }
        outcome => outcome,
    }
}

async fn ping(session: &mut PgConnection) -> Result<((), String)> {
    let begun = Instant::now();
    sqlx::raw_sql("SELECT 1").execute(session).await.map_err(|error| {
        // Some poolers take the login and refuse the first question.
        super::error::pooler_error(&error)
            .unwrap_or_else(|| server_error(Code::ConnectClosed, "the server answers no question", &error))
    })?;
    Ok(((), format!("{:.1} ms to and fro", begun.elapsed().as_secs_f64() * 1000.0)))
}

/// What the configuration expects; false: the session cannot be asked any more.
async fn expectations(stages: &mut Stages<'_>, request: &Request<'_>, session: &mut PgConnection) -> bool {
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
            return false;
        }
    }
    true
}
