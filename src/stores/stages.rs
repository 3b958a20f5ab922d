//! The stages of a check, recorded one by one: each with its own deadline, verdict, time and hint.
//! Knows no driver.

use std::future::Future;
use std::time::{Duration, Instant};

use crate::config::file::Expect;
use crate::config::{Config, Endpoint, Target};
use crate::error::{Code, Error, Result};
use crate::kind::StoreKind;
use crate::report::{Item, Outcome};
use crate::stores::query::Answer;
use crate::stores::support::{self, Product};
use crate::url::provider::provider;
use crate::url::remarks;

/// How long each stage may take.
pub mod limit {
    use std::time::Duration;

    /// Names: the resolver.
    pub const NAME: Duration = Duration::from_secs(2);
    /// One TCP connection.
    pub const TCP: Duration = Duration::from_secs(3);
    /// The TLS handshake.
    pub const TLS: Duration = Duration::from_secs(5);
    /// The first answer of the protocol.
    pub const HELLO: Duration = Duration::from_secs(5);
    /// The login.
    pub const AUTH: Duration = Duration::from_secs(10);
    /// The login where the server may have to be woken first.
    pub const AUTH_SLEEPER: Duration = Duration::from_secs(25);
    /// Each question after the login.
    pub const REST: Duration = Duration::from_secs(5);
}

/// How far clocks may be apart, in seconds, before it is worth a word.
const SKEW: f64 = 5.0;

/// This machine's time, in seconds since 1970.
pub fn now() -> f64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

/// `12 s`, `3 min`, `2 h`, `5 days`.
fn span(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// What is to be checked: one URL of one store.
#[derive(Clone)]
pub struct Request<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The store.
    pub target: &'a Target,
    /// The URL.
    pub endpoint: &'a Endpoint,
    /// What the ids of its items begin with: `postgres`, `postgres.direct`.
    pub prefix: &'a str,
    /// lyrox works through this URL: migrate, seed, reset.
    pub is_direct: bool,
    /// The application works through this URL.
    pub is_app: bool,
    /// What should be found there.
    pub expects: Vec<&'a Expect>,
    /// Writes are tried and taken back, and every host is logged in to.
    pub is_deep: bool,
    /// When the whole command has to be done.
    pub until: Option<Instant>,
}

/// What a check found out about one URL.
#[derive(Debug)]
pub struct Block {
    /// The store.
    pub kind: StoreKind,
    /// The line above its items.
    pub heading: String,
    /// The stages, in order.
    pub items: Vec<Item>,
    /// What the configuration expects, in order.
    pub expected: Vec<Item>,
    /// The server in few words; empty where it was not reached.
    pub facts: String,
    /// What tells this server and database from every other one, where it could be asked.
    pub identity: Option<String>,
    /// How long all of it took.
    pub elapsed: Duration,
}

impl Block {
    /// The code of the failure that ended it.
    pub fn failure(&self) -> Option<Code> {
        let failed = self.items.iter().find(|item| item.outcome == Outcome::Fail)?;
        failed.code.as_deref().and_then(|code| code.parse().ok())
    }

    /// Whether every stage passed without a warning.
    pub fn is_clean(&self) -> bool {
        self.items.iter().all(|item| item.outcome == Outcome::Pass)
    }
}

/// Records the stages of one URL.
pub struct Stages<'a> {
    request: Request<'a>,
    begun: Instant,
    items: Vec<Item>,
    expected: Vec<Item>,
    identity: Option<String>,
}

impl<'a> Stages<'a> {
    /// Begins with the URL itself: what is odd about it is a warning each.
    pub fn new(request: Request<'a>) -> Self {
        let endpoint = request.endpoint;
        let mut stages =
            Self { request, begun: Instant::now(), items: Vec::new(), expected: Vec::new(), identity: None };
        let remarks = remarks(&endpoint.url);
        if remarks.is_empty() {
            stages.pass("url", endpoint.origin.to_string());
        }
        for (index, remark) in remarks.into_iter().enumerate() {
            let id = if index == 0 { "url".to_owned() } else { format!("url.{}", index + 1) };
            let code = if remark.is_wrong { Code::UrlOdd } else { Code::UrlUnwise };
            let item = Item::warn(stages.id(&id), "url").store(stages.kind()).code(code);
            let item = item.detail(remark.what).hint(remark.mend);
            stages.items.push(item);
        }
        stages
    }

    /// The store.
    pub fn kind(&self) -> StoreKind {
        self.request.endpoint.url.kind()
    }

    fn id(&self, stage: &str) -> String {
        format!("{}.{stage}", self.request.prefix)
    }

    /// Runs a stage within its limit. The work answers its value and the line to show; none: it failed.
    pub async fn run<T>(
        &mut self,
        name: &str,
        limit: Duration,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Option<T> {
        let begun = Instant::now();
        let outcome = self.within(limit, work).await;
        match outcome {
            Ok((value, detail)) => {
                self.pass_after(name, detail, begun.elapsed());
                Some(value)
            }
            Err(error) => {
                // The server looks at the login before it looks at the database.
                let is_database = matches!(error.code(), Code::DatabaseMissing | Code::DatabaseClosed);
                let name = if name == "auth" && is_database {
                    self.pass_after("auth", self.login_words(), begun.elapsed());
                    "database"
                } else {
                    name
                };
                self.fail_after(name, error, Some(begun.elapsed()));
                None
            }
        }
    }

    /// Waits for work, at most as long as the stage and the whole command may take.
    pub async fn within<T>(&self, limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
        let left = self.request.until.map(|until| until.saturating_duration_since(Instant::now()));
        let limit = left.map_or(limit, |left| left.min(limit));
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(silence(self.request.endpoint, limit)))
    }

    /// `as user`, or that there is no login.
    pub fn login_words(&self) -> String {
        let url = &self.request.endpoint.url;
        match (url.user(), url.password()) {
            (Some(user), _) => format!("as {user}"),
            (None, Some(_)) => "by password".to_owned(),
            (None, None) => "no login".to_owned(),
        }
    }

    /// A stage that is as it should be.
    pub fn pass(&mut self, name: &str, detail: impl Into<String>) {
        let item = Item::pass(self.id(name), name).store(self.kind());
        self.items.push(with_detail(item, detail.into()));
    }

    /// A stage that is as it should be, and how long it took.
    pub fn pass_after(&mut self, name: &str, detail: impl Into<String>, elapsed: Duration) {
        let item = Item::pass(self.id(name), name).store(self.kind()).elapsed(elapsed);
        self.items.push(with_detail(item, detail.into()));
    }

    /// Something that works and will hurt some day.
    pub fn warn(&mut self, name: &str, code: Code, detail: impl Into<String>, hint: impl Into<String>) {
        let item = Item::warn(self.next_id(name), name).store(self.kind()).code(code).detail(detail).hint(hint);
        self.items.push(item);
    }

    /// What is to be said of the server's version: a note where the server is this machine's own.
    pub fn version(&mut self, product: Product, version: &str) {
        let is_local = self.request.endpoint.url.is_local();
        for finding in support::findings(product, version) {
            if is_local {
                let item = Item::pass(self.next_id("version"), "version").store(self.kind());
                self.items.push(item.detail(format!("{}; it serves this machine alone", finding.what)));
            } else {
                self.warn("version", finding.code, finding.what, finding.mend);
            }
        }
    }

    /// Compares the server's clock with this machine's. `server` and the two times of this machine between which it
    /// was read are seconds since 1970.
    pub fn clock(&mut self, server: f64, asked: f64, answered: f64) {
        // Between the two any time may be the server's.
        let ahead = if server < asked { server - asked } else { (server - answered).max(0.0) };
        if ahead.abs() < SKEW {
            return;
        }
        let direction = if ahead > 0.0 { "ahead of" } else { "behind" };
        let what = format!("the server's clock is {} {direction} this machine's", span(ahead.abs()));
        self.warn("clock", Code::ClockSkew, what, "let both keep their time with NTP: timedatectl status");
    }

    /// Remembers what tells this server and database from every other one.
    pub fn identify(&mut self, identity: String) {
        self.identity = Some(identity);
    }

    /// The id of a further item of a stage.
    fn next_id(&self, name: &str) -> String {
        match self.items.iter().filter(|item| item.title == name).count() {
            0 => self.id(name),
            same => format!("{}.{}", self.id(name), same + 1),
        }
    }

    /// A stage that failed.
    pub fn fail(&mut self, name: &str, error: Error) {
        self.fail_after(name, error, None);
    }

    fn fail_after(&mut self, name: &str, error: Error, elapsed: Option<Duration>) {
        let error = explained(self.request.endpoint, error);
        let item = Item::fail(self.next_id(name), name, &error).store(self.kind());
        self.items.push(match elapsed {
            Some(elapsed) => item.elapsed(elapsed),
            None => item,
        });
    }

    /// Records what an expectation of the configuration came to; false: no answer came in time.
    pub async fn expect(&mut self, index: usize, expect: &Expect, work: impl Future<Output = Result<Answer>>) -> bool {
        let begun = Instant::now();
        let id = format!("{}.expect.{}", self.kind(), index + 1);
        let judged = self.within(limit::REST, work).await.map_err(of_query).and_then(|answer| judge(expect, &answer));
        let has_answered = judged.as_ref().err().is_none_or(|error| error.code() != Code::ConnectTimeout);
        let item = match judged {
            Ok(said) => with_detail(Item::pass(id, "expect"), said),
            // Half an answer would be a wrong one.
            Err(error) if error.code() == Code::Privilege => {
                let item = Item::skip(id, "expect").detail(error.what());
                error.hint_text().map_or(item.clone(), |hint| item.hint(hint))
            }
            Err(error) => Item::fail(id, "expect", &error),
        };
        self.expected.push(item.store(self.kind()).elapsed(begun.elapsed()));
        has_answered
    }

    /// The finished check.
    pub fn finish(self) -> Block {
        Block {
            kind: self.kind(),
            heading: heading(self.request.endpoint),
            facts: self
                .items
                .iter()
                .find(|item| item.title == "server" && item.outcome == Outcome::Pass)
                .and_then(|item| item.detail.clone())
                .unwrap_or_default(),
            identity: self.identity,
            items: self.items,
            expected: self.expected,
            elapsed: self.begun.elapsed(),
        }
    }
}

fn with_detail(item: Item, detail: String) -> Item {
    if detail.is_empty() { item } else { item.detail(detail) }
}

/// `postgres  Supabase, direct    postgres@db.abcd.supabase.co:5432/postgres`.
fn heading(endpoint: &Endpoint) -> String {
    let served = provider(&endpoint.url);
    let words = [served.name, served.pooling.word()];
    let is_plain = endpoint.url.kind() != StoreKind::Postgres;
    let words: Vec<&str> =
        words.into_iter().filter(|word| !(word.is_empty() || is_plain && *word == "direct")).collect();
    format!("{:<9} {:<18} {}", endpoint.url.kind().name(), words.join(", "), endpoint.url.label())
}

fn silence(endpoint: &Endpoint, limit: Duration) -> Error {
    let seconds = limit.as_secs_f32();
    Error::new(Code::ConnectTimeout, format!("no answer within {seconds:.1} s"))
        .why(format!("a firewall that drops packets, a paused project, or a server that hangs ({})", endpoint.origin))
        .hint(match provider(&endpoint.url).name {
            "" | "local" => "look whether the server is alive, and whether host and port are right".to_owned(),
            name => format!("look at {name}'s dashboard: is it paused, and is this machine's address let in?"),
        })
}

/// Every failure names where the URL came from, and what is odd about it where that may be the cause.
fn explained(endpoint: &Endpoint, error: Error) -> Error {
    let origin = endpoint.origin.to_string();
    let said = format!("{} {} {}", error.what(), error.why_text().unwrap_or(""), error.hint_text().unwrap_or(""));
    let mut why: Vec<String> = error.why_text().map(str::to_owned).into_iter().collect();
    let is_login = matches!(error.code(), Code::AuthPostgres | Code::AuthMongodb | Code::AuthRedis | Code::PoolerLogin);
    let odd = endpoint.url.problems().first().filter(|_| is_login);
    match odd {
        Some(problem) => why.push(format!("{} ({origin})", problem.remark().what)),
        None if !said.contains(&origin) => why.push(format!("the URL is from {origin}")),
        None => {}
    }
    if is_login && odd.is_none() && endpoint.url.password().is_some_and(|password| looks_encoded(password.expose())) {
        why.push("the password, decoded once, still looks percent-encoded: was it encoded twice?".to_owned());
    }
    let error = if why.is_empty() { error } else { error.why(why.join("\n")) };
    match (odd, endpoint.origin.variable()) {
        (Some(_), Some(variable)) => error.hint(format!("lyrox url inspect --env {variable}")),
        _ => error,
    }
}

/// Whether a decoded password still holds an escape of a character that has to be encoded.
fn looks_encoded(password: &str) -> bool {
    const ESCAPES: [&str; 13] =
        ["%25", "%40", "%3A", "%2F", "%3F", "%23", "%26", "%2B", "%20", "%5B", "%5D", "%21", "%24"];
    let upper = password.to_ascii_uppercase();
    ESCAPES.iter().any(|escape| upper.contains(escape))
}

/// A query that fails is an expectation that fails; what is missing is made by migrations.
fn of_query(error: Error) -> Error {
    if !matches!(error.code(), Code::QueryFailed | Code::Usage) {
        return error;
    }
    let failed = Error::new(Code::ExpectFailed, error.what());
    let failed = match error.why_text() {
        Some(why) => failed.why(why),
        None => failed.why("a query of [[check.expect]]"),
    };
    let failed = match error.place() {
        Some(place) => failed.at(place.clone()),
        None => failed,
    };
    match error.hint_text() {
        Some(hint) if !error.what().contains("does not exist") => failed.hint(hint),
        _ => failed.hint("lyrox db migrate"),
    }
}

/// Compares an answer with what is expected, and fills in what to say.
fn judge(expect: &Expect, answer: &Answer) -> Result<String> {
    let row = answer.rows.first().filter(|row| !row.iter().all(serde_json::Value::is_null));
    let first: Vec<String> = row.map_or_else(Vec::new, |row| row.iter().map(plain).collect());
    let failed = |what: String| {
        let query = expect.query.split_whitespace().collect::<Vec<_>>().join(" ");
        let query: String = query.chars().take(100).collect();
        Error::new(Code::ExpectFailed, what).why(format!("`{query}` in [[check.expect]]")).hint("lyrox db seed")
    };
    if let Some(wanted) = &expect.value {
        let found = first.first().cloned().unwrap_or_else(|| "nothing".to_owned());
        if found != *wanted {
            return Err(failed(format!("expected `{wanted}`, found `{found}`")));
        }
    } else if row.is_none() {
        return Err(failed("the query found nothing".to_owned()));
    }
    Ok(match &expect.say {
        Some(say) => first
            .iter()
            .enumerate()
            .fold(say.clone(), |text, (index, value)| text.replace(&format!("{{{index}}}"), value)),
        None => first.join(", "),
    })
}

/// A value as text: strings without quotes, NULL as an empty text.
pub fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
