//! The fault laboratory: each way in which a connection fails is made for real on this machine, and `lyrox check`
//! has to name it by a code and a hint of its own, in time. Servers that have to be ill are the laboratory's own;
//! small fakes stand only where no server can be brought to it: silence, half a handshake, a provider's quota.

mod certificates;
mod clusters;
mod excess;
mod fakes;
mod mongodb;
mod network;
mod poolers;
mod postgres;
mod redis;
mod servers;
mod srv;

use std::time::{Duration, Instant};

use crate::support::{Output, Project};

/// One fault, and what has to be said of it.
pub struct Case {
    /// What is broken.
    name: &'static str,
    url: String,
    /// The item, without the store: `auth`, `server.2`.
    item: &'static str,
    code: &'static str,
    /// A piece of the hint.
    hint: &'static str,
    is_warning: bool,
    environment: Option<&'static str>,
    variables: Vec<(&'static str, String)>,
    arguments: Vec<&'static str>,
    within: Duration,
}

impl Case {
    /// A fault that ends the check.
    pub fn new(
        name: &'static str,
        url: impl Into<String>,
        item: &'static str,
        code: &'static str,
        hint: &'static str,
    ) -> Self {
        Self {
            name,
            url: url.into(),
            item,
            code,
            hint,
            is_warning: false,
            environment: None,
            variables: Vec::new(),
            arguments: Vec::new(),
            within: Duration::from_secs(8),
        }
    }

    /// Something that works, and of which a warning has to be given.
    pub fn warns(mut self) -> Self {
        self.is_warning = true;
        self
    }

    /// In another environment of the configuration.
    pub fn within_environment(mut self, name: &'static str) -> Self {
        self.environment = Some(name);
        self
    }

    /// With a variable set.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    /// With further arguments.
    pub fn arguments(mut self, arguments: &[&'static str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    /// To be told within this time.
    pub fn within(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    fn run(&self, project: &Project, store: &str) {
        let mut arguments = vec!["check", "--only", store, "--output", "json"];
        if let Some(environment) = self.environment {
            arguments.extend(["-e", environment]);
        }
        arguments.extend(&self.arguments);
        let mut command = project.command(&arguments);
        let variable = match store {
            "postgres" => "DATABASE_URL",
            "mongodb" => "MONGODB_URI",
            _ => "REDIS_URL",
        };
        command.env(variable, &self.url).envs(self.variables.iter().map(|(name, value)| (name, value)));
        let begun = Instant::now();
        let output = Output::new(&arguments, &command.output().expect("lyrox runs"));
        let elapsed = begun.elapsed();
        let (name, url) = (self.name, &self.url);
        assert!(elapsed < self.within, "{name}: {url} took {elapsed:?}\n{output}");
        let report = output.json();
        let items = report["items"].as_array().expect("items");
        let id = format!("{store}.{}", self.item);
        let item = items.iter().find(|item| item["id"] == id.as_str());
        let item = item.unwrap_or_else(|| panic!("{name}: no item `{id}` for {url}\n{output}"));
        let outcome = if self.is_warning { "warn" } else { "fail" };
        assert_eq!(item["outcome"], outcome, "{name}: {output}");
        assert_eq!(item["code"], self.code, "{name}: {output}");
        let hint = item["hint"].as_str().unwrap_or_default();
        assert!(!hint.is_empty() && hint.contains(self.hint), "{name}: `{}` is not in `{hint}`: {output}", self.hint);
        if self.is_warning {
            assert!(output.code == 0, "{name}: a warning fails nothing: {output}");
        } else {
            assert!(item["why"].as_str().is_some_and(|why| !why.is_empty()), "{name}: no reason: {output}");
            assert!(matches!(output.code, 1 | 2 | 4), "{name}: {output}");
            let failed = items.iter().filter(|item| item["outcome"] == "fail").count();
            assert_eq!(failed, 1, "{name}: one fault is told once: {output}");
        }
        // The code is one of the table's, so that it can be looked up.
        assert!(self.code.parse::<lyrox::error::Code>().is_ok(), "{name}: {}", self.code);
    }
}

/// Runs cases of a store, a few at a time; all of them, even if one fails.
#[track_caller]
pub fn run(project: &Project, store: &str, cases: &[Case]) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let tried = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case.run(project, store)));
                    if tried.is_err() {
                        failures.lock().expect("a list").push(case.name);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("a list");
    assert!(failures.is_empty(), "{} of {} cases failed: {failures:?}", failures.len(), cases.len());
}
