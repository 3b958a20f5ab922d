//! Progress of long work: a bar on a terminal, a heartbeat line each 30 seconds elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::kind::StoreKind;

const HEARTBEAT: Duration = Duration::from_secs(30);
const QUIET_START: Duration = Duration::from_millis(100);

/// The one progress display of a run.
pub struct Progress {
    is_live: bool,
    is_on: bool,
    bar: Option<ProgressBar>,
    task: String,
    since: Instant,
    last_line: Instant,
}

impl Progress {
    /// `is_live`: standard error is a terminal. `is_on`: heartbeat lines elsewhere.
    pub fn new(is_live: bool, is_on: bool) -> Self {
        let now = Instant::now();
        Self { is_live, is_on, bar: None, task: String::new(), since: now, last_line: now }
    }

    /// Takes a step of progress; a heartbeat line where one is due.
    pub fn update(
        &mut self,
        task: &str,
        store: Option<StoreKind>,
        done: u64,
        total: Option<u64>,
        unit: &str,
    ) -> Option<String> {
        let now = Instant::now();
        if self.task != task {
            self.clear();
            task.clone_into(&mut self.task);
            (self.since, self.last_line) = (now, now);
        }
        let what = store.map_or_else(|| task.to_owned(), |store| format!("{store} {task}"));
        if !self.is_live {
            if self.is_on && now - self.last_line >= HEARTBEAT {
                self.last_line = now;
                let of = total.map_or(String::new(), |total| format!(" of {total}"));
                return Some(format!("  ... {what}: {done}{of} {unit} after {} s\n", (now - self.since).as_secs()));
            }
            return None;
        }
        if now - self.since < QUIET_START {
            return None;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
            let template = if total.is_some() {
                format!("  {{spinner}} {{msg}}  {{wide_bar}} {{human_pos}}/{{human_len}} {unit}  {{per_sec}}  {{eta}}")
            } else {
                format!("  {{spinner}} {{msg}}  {{human_pos}} {unit}  {{per_sec}}")
            };
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar
        });
        bar.set_message(what);
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(done);
        None
    }

    /// Takes the display away: the work is done.
    pub fn clear(&mut self) {
        self.task.clear();
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Prints something while the display is out of the way.
    pub fn suspend(&self, print: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }
}
