//! What was found of the tenants, as items: what is wrong first, then the slowest, and the others in one line.

use std::time::Duration;

use super::{Look, Looked};
use crate::config::file::TenancyModel;
use crate::engine::event::{Event, Events};
use crate::engine::tenant::fanout::why_not;
use crate::error::{Code, Error};
use crate::exit::Exit;
use crate::report::{Item, plural};
use crate::stores::tenant_reach::Way;

/// So many of the slowest have a line of their own.
const SLOWEST: usize = 5;
/// So many tenants that are not complete are named.
const NAMED: usize = 20;

impl Look {
    /// Whether nothing is wrong with it.
    pub fn is_good(&self) -> bool {
        self.trouble.is_none()
    }

    fn item(&self) -> Item {
        let tenant = &self.record.tenant;
        let id = format!("tenant.{}", tenant.shown());
        let mut item = match &self.trouble {
            Some((kind, error)) => {
                let mut item = Item::fail(id, tenant.shown(), error).store(*kind);
                item.exit = Some(Exit::Tenants);
                item
            }
            None if self.differs => Item::warn(id, tenant.shown())
                .code(Code::TenantAstray)
                .detail(self.words("its ledgers are not where the registry says; "))
                .hint(format!("lyrox tenant verify {}", crate::engine::tenant::plan::quoted(tenant.key()))),
            None => Item::pass(id, tenant.shown()).detail(self.words("")),
        };
        item.tenant = Some(tenant.key().to_owned());
        item.elapsed(self.elapsed)
    }

    /// `postgres 1.2, mongodb 0.8, redis 0.3 ms`.
    fn words(&self, before: &str) -> String {
        let each: Vec<String> =
            self.each.iter().map(|(kind, _, elapsed)| format!("{kind} {}", tenth(*elapsed))).collect();
        if each.is_empty() {
            before.trim_end_matches("; ").to_owned()
        } else {
            format!("{before}{} ms", each.join(", "))
        }
    }
}

/// Milliseconds with one digit behind the point.
fn tenth(elapsed: Duration) -> String {
    format!("{:.1}", elapsed.as_secs_f64() * 1000.0)
}

impl Looked {
    /// The time of the tenant in the middle, and of the slowest; of those where nothing is wrong.
    pub fn median_and_slowest(&self) -> Option<(Duration, Duration)> {
        let times: Vec<Duration> = self.looks.iter().filter(|look| look.is_good()).map(|look| look.elapsed).collect();
        Some((*times.get(times.len() / 2)?, *times.first()?))
    }

    /// How many of those that are complete lack migrations.
    pub fn behind(&self) -> usize {
        self.looks.iter().filter(|look| look.is_behind).count()
    }

    /// How many failed, those on servers that are away included.
    pub fn failed(&self) -> usize {
        self.looks.iter().filter(|look| !look.is_good()).count()
            + self.away.iter().map(|(.., count)| *count).max().unwrap_or(0)
    }
}

/// Tells all of it.
pub fn tell(looked: &Looked, model: TenancyModel, events: &dyn Events) {
    let total = looked.looks.len() + looked.left + looked.incomplete.len();
    let ways = ways(&looked.looks);
    let at = if looked.jobs > 1 { format!(", {} at a time", looked.jobs) } else { String::new() };
    events.event(Event::Heading(format!(
        "tenants   {:<18} {}{at}{ways}",
        format!("model {}", model.name()),
        plural(total, "tenant")
    )));
    for (kind, name, error, count) in &looked.away {
        let why = error.why_text().map_or_else(String::new, |why| format!(": {why}"));
        let error = error.clone().why(format!("{} are there{why}", plural(*count, "tenant")));
        let mut item = Item::fail(format!("tenants.{kind}.{name}"), format!("shard {name}"), &error).store(*kind);
        item.exit = Some(Exit::Tenants);
        events.item(item);
    }
    for look in looked.looks.iter().filter(|look| !look.is_good()) {
        events.item(look.item());
    }
    for look in looked.looks.iter().filter(|look| look.is_good() && look.differs) {
        events.item(look.item());
    }
    for record in looked.incomplete.iter().take(NAMED) {
        let (why, command) = why_not(record, model);
        let mut item = Item::skip(format!("tenant.{}", record.tenant.shown()), record.tenant.shown());
        item.tenant = Some(record.tenant.key().to_owned());
        events.item(item.detail(why).hint(command));
    }
    if looked.incomplete.len() > NAMED {
        let more = format!("{} more", looked.incomplete.len() - NAMED);
        events.item(Item::skip("tenants.incomplete", more).detail("not complete").hint("lyrox tenant list"));
    }
    let behind = looked.behind();
    if behind > 0 {
        let what = format!(
            "{} not at the newest migration",
            if behind == 1 { "1 is".into() } else { format!("{behind} are") }
        );
        events.item(Item::warn("tenants.behind", "behind").detail(what).hint("lyrox db migrate --tenants all"));
    }
    if looked.left > 0 {
        let error = Error::new(Code::ConnectTimeout, format!("{} not looked at", plural(looked.left, "tenant")))
            .why("the command's time was over, or it was cut short")
            .hint("lyrox check --tenants all --jobs 8, with more time");
        events.item(Item::fail("tenants.left", "time", &error));
    }
    let good: Vec<&Look> = looked.looks.iter().filter(|look| look.is_good() && !look.differs).collect();
    let (slow, rest) = good.split_at(if good.len() > SLOWEST + 1 { SLOWEST } else { good.len() });
    slow.iter().for_each(|look| events.item(look.item()));
    if rest.is_empty() {
        return;
    }
    let times = looked.median_and_slowest().map_or_else(String::new, |(median, slowest)| {
        format!("; all of them: median {} ms, slowest {} ms", tenth(median), tenth(slowest))
    });
    let line = Item::pass("tenants", format!("{} more", rest.len())).detail(format!("faster{times}"));
    events.event(Event::Folded { line: Box::new(line), items: rest.iter().map(|look| look.item()).collect() });
}

/// How they were reached, where it was the same for all that have a user.
fn ways(looks: &[Look]) -> String {
    let has = |way: Way| looks.iter().flat_map(|look| &look.each).any(|(_, by, _)| *by == way);
    match (has(Way::Login), has(Way::Role)) {
        (true, true) => ", by password or in their roles".into(),
        (true, false) => ", by password".into(),
        (false, true) => ", in their roles".into(),
        (false, false) => String::new(),
    }
}
