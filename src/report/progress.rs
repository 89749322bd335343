//! Progress: bars on a terminal, lines or JSON elsewhere.

use std::collections::{HashMap, HashSet};
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::output::{event, note, now};
use crate::cli::LogFormat;
use crate::escape;
use crate::progress::{Progress, Stage, Total};

/// Without a terminal an item says something at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Name of the bar for all items of a stage; no collection is called so.
const OVERALL: &str = "";

struct Item {
    bar: Option<ProgressBar>,
    records: u64,
    bytes: u64,
    total: Total,
    started: Instant,
    spoken: Instant,
}

impl Item {
    fn new(bar: Option<ProgressBar>, total: Total) -> Self {
        let now = Instant::now();
        Self { bar, records: 0, bytes: 0, total, started: now, spoken: now }
    }

    /// The part that is done, from 0 to 1.
    fn fraction(&self) -> Option<f64> {
        let (done, all) = match self.total {
            Total::Records(total) => (self.records, total),
            Total::Bytes(total) => (self.bytes, total),
            Total::Unknown => return None,
        };
        (all > 0).then(|| (done as f64 / all as f64).min(1.0))
    }

    fn advance(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        if let Some(bar) = &self.bar {
            bar.inc(if matches!(self.total, Total::Bytes(_)) { bytes } else { records });
        }
    }

    /// Whether it is time for a line.
    fn speaks(&mut self) -> bool {
        let speaks = self.bar.is_none() && self.spoken.elapsed() >= LINE_INTERVAL;
        if speaks {
            self.spoken = Instant::now();
        }
        speaks
    }
}

#[derive(Default)]
struct Shown {
    items: HashMap<(Stage, String), Item>,
    /// Items that count for the whole of their stage and are not finished.
    expected: HashSet<(Stage, String)>,
    /// The run it is about, once it is known.
    run: Option<String>,
}

/// Shows progress on standard error.
pub struct Console {
    format: LogFormat,
    quiet: bool,
    interrupted: Arc<AtomicBool>,
    bars: Option<MultiProgress>,
    state: Mutex<Shown>,
}

impl Console {
    /// Bars when standard error is a terminal and the format is text.
    ///
    /// A quiet one says nothing, but hears all the same that the command shall stop.
    pub fn new(format: LogFormat, quiet: bool, interrupted: Arc<AtomicBool>) -> Self {
        let bars = format == LogFormat::Text && stderr().is_terminal() && !quiet;
        Self {
            format,
            quiet,
            interrupted,
            bars: bars.then(MultiProgress::new),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, Shown> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self, title: &str, total: Total, last: bool) -> Option<ProgressBar> {
        let bars = self.bars.as_ref()?;
        let (bar, template) = match total {
            Total::Records(total) => (
                ProgressBar::new(total),
                "{msg:32!} {wide_bar} {percent:>3} % {human_pos:>12} {per_sec:>16} {eta:>5}",
            ),
            Total::Bytes(total) => (
                ProgressBar::new(total),
                "{msg:32!} {wide_bar} {percent:>3} % {bytes:>12} {bytes_per_sec:>16} {eta:>5}",
            ),
            Total::Unknown => {
                (ProgressBar::new_spinner(), "{msg:32!} {spinner} {human_pos:>12} {per_sec:>16}")
            }
        };
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = bar.with_style(style).with_message(escape::line(title).into_owned());
        // The bar of the whole stays below those of the items.
        Some(if last { bars.add(bar) } else { bars.insert(0, bar) })
    }

    fn say(&self, run: Option<&str>, what: &str, stage: Stage, name: &str, item: &Item) {
        let seconds = item.started.elapsed().as_secs_f64();
        let fraction = item.fraction();
        let left = fraction
            .filter(|fraction| *fraction > 0.0 && what != "done")
            .map(|fraction| seconds / fraction - seconds);
        match self.format {
            LogFormat::Json => event(
                &json!({"at": now(), "run": run, "event": what, "stage": stage, kind(stage): name,
                    "records": item.records, "bytes": item.bytes, "fraction": fraction,
                    "seconds": seconds, "seconds_left": left}),
            ),
            LogFormat::Text => {
                let rate = if seconds > 0.0 { item.records as f64 / seconds } else { 0.0 };
                let percent = fraction.map(|fraction| format!(" {:.0} %,", fraction * 100.0));
                let left = left.map(|left| format!(", {left:.0} s left"));
                let name = if name == OVERALL { "in all" } else { name };
                note(format_args!(
                    "{stage} {name}: {what},{} {} records, {rate:.0} a second{}",
                    percent.unwrap_or_default(),
                    item.records,
                    left.unwrap_or_default()
                ));
            }
        }
    }
}

/// What the items of a stage are.
fn kind(stage: Stage) -> &'static str {
    match stage {
        Stage::Export | Stage::Restore | Stage::Plan | Stage::Generate => "collection",
        Stage::Transform | Stage::Load | Stage::Verify => "table",
        Stage::Audit | Stage::Dump => "item",
    }
}

/// The sum, where all count the same.
fn sum(items: &[(String, Total)]) -> Total {
    let mut sum = None;
    for (_, total) in items {
        sum = Some(match (sum, *total) {
            (None, total) => total,
            (Some(Total::Records(sum)), Total::Records(more)) => Total::Records(sum + more),
            (Some(Total::Bytes(sum)), Total::Bytes(more)) => Total::Bytes(sum + more),
            _ => Total::Unknown,
        });
    }
    sum.unwrap_or(Total::Unknown)
}

impl Progress for Console {
    fn run(&self, run: &str) {
        self.state().run = Some(run.to_owned());
    }

    fn expect(&self, stage: Stage, items: &[(String, Total)]) {
        if self.quiet || items.len() < 2 {
            return;
        }
        let total = sum(items);
        let bar = self.bar(&format!("{stage} in all"), total, true);
        let mut state = self.state();
        state.expected.extend(items.iter().map(|(name, _)| (stage, name.clone())));
        state.items.insert((stage, OVERALL.to_owned()), Item::new(bar, total));
    }

    fn start(&self, stage: Stage, item: &str, total: Total) {
        if self.quiet {
            return;
        }
        let bar = self.bar(&format!("{stage} {item}"), total, false);
        self.state().items.insert((stage, item.to_owned()), Item::new(bar, total));
    }

    fn advance(&self, stage: Stage, item: &str, records: u64, bytes: u64) {
        let mut guard = self.state();
        let state = &mut *guard;
        let mut names = vec![item];
        if state.expected.contains(&(stage, item.to_owned())) {
            names.push(OVERALL);
        }
        for name in names {
            if let Some(entry) = state.items.get_mut(&(stage, name.to_owned())) {
                entry.advance(records, bytes);
                if entry.speaks() {
                    self.say(state.run.as_deref(), "working", stage, name, entry);
                }
            }
        }
    }

    fn finish(&self, stage: Stage, item: &str) {
        let mut state = self.state();
        state.expected.remove(&(stage, item.to_owned()));
        let whole = state.expected.iter().all(|(other, _)| *other != stage);
        for name in [Some(item), whole.then_some(OVERALL)].into_iter().flatten() {
            if let Some(entry) = state.items.remove(&(stage, name.to_owned())) {
                match &entry.bar {
                    Some(bar) => bar.finish_and_clear(),
                    None => self.say(state.run.as_deref(), "done", stage, name, &entry),
                }
            }
        }
    }

    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn note(&self, stage: Stage, message: &str) {
        if self.quiet {
            return;
        }
        match (&self.bars, self.format) {
            (Some(bars), _) => {
                let _ = bars.println(escape::line(&format!("{stage}: {message}")));
            }
            (None, LogFormat::Json) => {
                let run = self.state().run.clone();
                event(&json!({"at": now(), "run": run, "event": "note", "stage": stage,
                    "message": message}));
            }
            (None, LogFormat::Text) => {
                note(format_args!("{stage}: {message}"));
            }
        }
    }
}
