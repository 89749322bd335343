//! Progress: bars on a terminal, lines or JSON elsewhere.

use std::collections::HashMap;
use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::LogFormat;
use crate::progress::{Progress, Stage};

/// Without a terminal an item says something at most this often.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

struct Item {
    bar: Option<ProgressBar>,
    records: u64,
    bytes: u64,
    total: Option<u64>,
    started: Instant,
    spoken: Instant,
}

/// Shows progress on standard error.
pub struct Console {
    format: LogFormat,
    quiet: bool,
    interrupted: Arc<AtomicBool>,
    bars: Option<MultiProgress>,
    items: Mutex<HashMap<(Stage, String), Item>>,
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
            items: Mutex::default(),
        }
    }

    fn say(&self, event: &str, stage: Stage, item: &str, progress: Option<&Item>) {
        let mut stderr = stderr().lock();
        let (records, total, seconds, bytes) = progress.map_or((0, None, 0.0, 0), |item| {
            (item.records, item.total, item.started.elapsed().as_secs_f64(), item.bytes)
        });
        let _ = match self.format {
            LogFormat::Json => writeln!(
                stderr,
                "{}",
                json!({"event": event, "stage": stage, "item": item, "records": records,
                    "total": total, "bytes": bytes, "seconds": seconds})
            ),
            LogFormat::Text => {
                let rate = if seconds > 0.0 { records as f64 / seconds } else { 0.0 };
                let percent = total.filter(|total| *total > 0);
                let percent = percent
                    .map(|total| format!(" {:.0} %,", records as f64 / total as f64 * 100.0));
                writeln!(
                    stderr,
                    "{stage} {item}: {event},{} {records} records, {rate:.0} a second",
                    percent.unwrap_or_default()
                )
            }
        };
    }
}

impl Progress for Console {
    fn start(&self, stage: Stage, item: &str, total: Option<u64>) {
        if self.quiet {
            return;
        }
        let bar = self.bars.as_ref().map(|bars| {
            let template =
                "{msg:32!} {wide_bar} {percent:>3} % {human_pos:>12} {per_sec:>16} {eta:>5}";
            let spinner = "{msg:32!} {spinner} {human_pos:>12} {per_sec:>16}";
            let (bar, template) = match total {
                Some(total) => (ProgressBar::new(total), template),
                None => (ProgressBar::new_spinner(), spinner),
            };
            let style = ProgressStyle::with_template(template)
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            bars.add(bar.with_style(style).with_message(format!("{stage} {item}")))
        });
        let now = Instant::now();
        let entry = Item { bar, records: 0, bytes: 0, total, started: now, spoken: now };
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.insert((stage, item.to_owned()), entry);
    }

    fn advance(&self, stage: Stage, item: &str, records: u64, bytes: u64) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = items.get_mut(&(stage, item.to_owned())) else { return };
        entry.records += records;
        entry.bytes += bytes;
        match &entry.bar {
            Some(bar) => bar.inc(records),
            None if entry.spoken.elapsed() >= LINE_INTERVAL => {
                entry.spoken = Instant::now();
                self.say("working", stage, item, Some(entry));
            }
            None => {}
        }
    }

    fn finish(&self, stage: Stage, item: &str) {
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = items.remove(&(stage, item.to_owned())) else { return };
        match &entry.bar {
            Some(bar) => bar.finish_and_clear(),
            None => self.say("done", stage, item, Some(&entry)),
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
                let _ = bars.println(format!("{stage}: {message}"));
            }
            (None, LogFormat::Json) => {
                let note = json!({"event": "note", "stage": stage, "message": message});
                let _ = writeln!(stderr().lock(), "{note}");
            }
            (None, LogFormat::Text) => {
                let _ = writeln!(stderr().lock(), "{stage}: {message}");
            }
        }
    }
}
