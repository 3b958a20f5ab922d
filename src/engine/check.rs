//! Checking: every URL of every store at the same time, told store by store in order. Reads only; where it is asked
//! to look deep, what it writes is taken back.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::event::{Event, Events};
use crate::config::file::Expect;
use crate::config::{Config, Target, Targets};
use crate::error::Code;
use crate::kind::StoreKind;
use crate::report::{Item, Outcome};
use crate::stores::stages::{Block, Request};
use crate::stores::{mongodb, postgres, redis};

/// How long between two attempts while a server is waited for.
const PAUSE: Duration = Duration::from_millis(500);

/// How a check is to be run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What to tell.
    pub parts: Parts,
    /// Servers that do not take connections yet are tried again for so long.
    pub wait: Option<Duration>,
    /// Writes are tried and taken back, and every host is logged in to.
    pub is_deep: bool,
    /// When all of it has to be done.
    pub until: Option<Instant>,
}

/// What a check tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parts {
    /// Stages and expectations.
    All,
    /// Stages only: nothing was migrated and seeded yet.
    Stages,
    /// What `[[check.expect]]` says should be there, and stages that fail.
    Expectations,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Stores without a failure.
    pub good: usize,
    /// Stores with one.
    pub failed: usize,
    /// Stores that are absent and may be.
    pub absent: usize,
    /// Warnings, of all stores.
    pub warnings: usize,
}

/// Checks every store. Takes as long as the slowest of them.
pub async fn check(config: &Config, targets: &Targets, options: Options, events: &dyn Events) -> Outcomes {
    events.contact(targets);
    let expects = if options.parts == Parts::Stages { &[] } else { config.settings.check.expect.as_slice() };
    let subjects = targets.stores.iter().flat_map(|target| subjects(config, target, expects, options));
    let mut checks = stream::iter(subjects.map(|subject| subject.run(options, events))).buffered(8);
    let mut outcomes = Outcomes { absent: targets.absent.len(), ..Outcomes::default() };
    let mut failed: Vec<StoreKind> = Vec::new();
    let mut application: Option<(StoreKind, String)> = None;
    while let Some((block, is_optional)) = checks.next().await {
        let mut block = if is_optional { excused(block) } else { block };
        match &application {
            Some((kind, identity)) if *kind == block.kind => differ(&mut block, identity),
            _ => application = block.identity.clone().map(|identity| (block.kind, identity)),
        }
        let all = || block.items.iter().chain(&block.expected);
        outcomes.warnings += all().filter(|item| item.outcome == Outcome::Warn).count();
        if all().any(|item| item.outcome == Outcome::Fail) && !failed.contains(&block.kind) {
            failed.push(block.kind);
        }
        if options.parts == Parts::Expectations && block.failure().is_none() {
            block.expected.into_iter().for_each(|item| events.item(item));
        } else {
            tell(block, events);
        }
    }
    for (kind, why) in &targets.absent {
        events.event(Event::Heading(format!("{:<9} optional", kind.name())));
        events.item(Item::skip(format!("{kind}.url"), "url").store(*kind).detail(why.clone()));
    }
    outcomes.failed = failed.len();
    outcomes.good = targets.stores.len() - failed.len();
    outcomes
}

fn tell(block: Block, events: &dyn Events) {
    events.event(Event::Heading(block.heading.clone()));
    if block.is_clean() {
        let stages = format!("{} stages", block.items.len());
        let words = if block.facts.is_empty() { stages } else { format!("{stages}, {}", block.facts) };
        // Its id is shown nowhere: the stages themselves are in the report.
        let line = Item::pass("", words).store(block.kind).elapsed(block.elapsed);
        events.event(Event::Folded { line: Box::new(line), items: block.items });
    } else {
        block.items.into_iter().for_each(|item| events.item(item));
    }
    block.expected.into_iter().for_each(|item| events.item(item));
}

/// The direct URL leads elsewhere than the application's: what lyrox changes, the application would not see.
fn differ(direct: &mut Block, application: &str) {
    if direct.identity.as_deref().is_none_or(|identity| identity == application) {
        return;
    }
    let warning = Item::warn(format!("{}.direct.urls", direct.kind), "urls")
        .store(direct.kind)
        .code(Code::UrlsDiffer)
        .detail("`url` and `direct_url` lead to different databases or servers")
        .hint("let both name the same database: lyrox config show");
    direct.items.push(warning);
}

/// A store that may be absent and is: its failure is no failure.
fn excused(mut block: Block) -> Block {
    let is_absent = matches!(
        block.failure(),
        Some(
            Code::ConnectName
                | Code::ConnectIpv6
                | Code::ConnectRefused
                | Code::ConnectUnreachable
                | Code::ConnectTimeout
                | Code::ConnectClosed
        )
    );
    if is_absent {
        for item in block.items.iter_mut().filter(|item| item.outcome == Outcome::Fail) {
            item.outcome = Outcome::Skip;
            item.detail = Some(format!("optional: {}", item.detail.take().unwrap_or_default()));
        }
    }
    block
}

/// One URL to check.
struct Subject<'a> {
    request: Request<'a>,
    is_optional: bool,
}

fn subjects<'a>(config: &'a Config, target: &'a Target, expects: &'a [Expect], options: Options) -> Vec<Subject<'a>> {
    let settings = &config.settings;
    let is_optional = match target.kind {
        StoreKind::Postgres => settings.postgres.as_ref().is_some_and(|section| section.optional),
        StoreKind::Mongodb => settings.mongodb.as_ref().is_some_and(|section| section.optional),
        StoreKind::Redis => settings.redis.as_ref().is_some_and(|section| section.optional),
    };
    let expects: Vec<&Expect> = expects.iter().filter(|expect| expect.store == target.kind).collect();
    let whole = Request {
        config,
        target,
        endpoint: &target.direct,
        prefix: target.kind.name(),
        is_direct: true,
        is_app: true,
        expects: Vec::new(),
        is_deep: options.is_deep,
        until: options.until,
    };
    let is_one = target.app.url.expose() == target.direct.url.expose();
    let requests = if is_one {
        vec![Request { expects, ..whole }]
    } else {
        vec![
            Request { endpoint: &target.app, is_direct: false, ..whole.clone() },
            Request { prefix: "postgres.direct", is_app: false, expects, ..whole },
        ]
    };
    requests.into_iter().map(|request| Subject { request, is_optional }).collect()
}

impl Subject<'_> {
    async fn run(self, options: Options, events: &dyn Events) -> (Block, bool) {
        let end = options.wait.map(|wait| Instant::now() + wait);
        let kind = self.request.target.kind;
        let mut attempts = 0_u64;
        loop {
            let block = match kind {
                StoreKind::Postgres => postgres::check::check(self.request.clone()).await,
                StoreKind::Mongodb => mongodb::check::check(self.request.clone()).await,
                StoreKind::Redis => redis::check::check(self.request.clone()).await,
            };
            let now = Instant::now();
            let Some(end) = end.filter(|end| now + PAUSE < *end && is_worth_waiting(block.failure())) else {
                return (block, self.is_optional);
            };
            if attempts == 0 {
                let left = (end - now).as_secs();
                events.note(format!("{kind} takes no connections yet; waiting up to {left} s"));
            }
            attempts += 1;
            let task = "waiting".to_owned();
            events.event(Event::Progress { task, store: Some(kind), done: attempts, total: None, unit: "attempts" });
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Whether a server that is starting would fail like this.
const fn is_worth_waiting(failure: Option<Code>) -> bool {
    matches!(
        failure,
        Some(
            Code::ConnectRefused
                | Code::ConnectClosed
                | Code::ConnectStarting
                | Code::ConnectTimeout
                | Code::ConnectName
                | Code::ConnectUnreachable
                | Code::ConnectLimit
                | Code::PoolerFull
                | Code::PoolerServer
                | Code::ReplicaSetNew
                | Code::ReplicaSetPrimary
                | Code::ClusterDown
        )
    )
}
