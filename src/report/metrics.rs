//! A file of metrics in Prometheus' text format, version 0.0.4, for the textfile collector of its
//! node exporter.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::failure::Exit;
use crate::staging::run_id::time_of;

/// What the numbers are about.
#[derive(Clone, Copy, Debug)]
pub struct Job<'j> {
    /// Command.
    pub command: &'static str,
    /// Pipeline name.
    pub pipeline: &'j str,
}

/// Numbers of a command that ended well.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Documents or records.
    pub documents: u64,
    /// Their BSON bytes, where they are known.
    pub bytes: u64,
    /// Records refused.
    pub rejects: u64,
    /// When the data was as it was read, in seconds since the Unix epoch.
    pub snapshot: Option<i64>,
}

impl Measures {
    /// Finds the numbers in the result of a command.
    pub fn of(result: &Value) -> Self {
        // Links of a junction are no records of their own.
        let sum = |items: &Value, key: &str| -> u64 {
            let items = items.as_array().into_iter().flatten();
            items
                .filter(|item| item["junction"].is_null())
                .filter_map(|item| item[key].as_u64())
                .sum()
        };
        let mut found = Self::default();
        let collections = &result["export"]["collections"];
        found.documents += sum(collections, "documents");
        found.bytes += sum(collections, "document_bytes");
        found.rejects += sum(collections, "rejects");
        for tables in ["transform", "report", "verify"].map(|stage| &result[stage]["tables"]) {
            found.documents += sum(tables, "records");
            found.rejects += sum(tables, "rejects");
        }
        for stage in ["report", "verify"] {
            found.rejects += sum(&result[stage]["collections"], "unreadable");
        }
        found.documents += sum(&result["restore"]["tables"], "rows");
        let snapshot = ["export", "report", "verify"].map(|stage| &result[stage]["snapshot"]);
        let stated = snapshot.iter().find_map(|snapshot| snapshot["seconds"].as_i64());
        let began = || {
            // A run's id can be later than its clock.
            let began = result["began_at"].as_str().and_then(|text| text.parse().ok());
            let of_id = || {
                let time = time_of(result["run"].as_str()?)?;
                Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
            };
            began.or_else(of_id).map(Timestamp::as_second)
        };
        found.snapshot = stated.or_else(began);
        found
    }
}

/// Name, and what it says.
const METRICS: [(&str, &str); 9] = [
    ("docferry_last_run_timestamp_seconds", "When the command ended last, well or not."),
    ("docferry_last_run_exit_status", "Its exit status; 0 and 3 are successes."),
    ("docferry_last_run_duration_seconds", "How long it took."),
    ("docferry_last_success_timestamp_seconds", "When the command ended well last."),
    ("docferry_documents", "Documents of the last success."),
    ("docferry_bytes", "BSON bytes of the last success."),
    ("docferry_rejects", "Records that the last success refused."),
    ("docferry_snapshot_timestamp_seconds", "Moment of the data of the last success."),
    ("docferry_snapshot_age_seconds", "Age of that data when the command ended last."),
];

/// A number of `doctor`.
#[derive(Clone, Debug, PartialEq)]
pub struct Gauge {
    name: String,
    label: Option<(String, String)>,
    value: f64,
}

/// The numbers in the result of `doctor`, those of a name one after another.
pub fn gauges(result: &Value) -> Vec<Gauge> {
    let checks = result["doctor"]["checks"].as_array().into_iter().flatten();
    let measures = checks.flat_map(|check| check["measures"].as_array().into_iter().flatten());
    let gauge = |measure: &Value| {
        let label = &measure["label"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Some(Gauge {
            name: measure["name"].as_str()?.to_owned(),
            label: label.as_array().map(|_| (text(&label[0]), text(&label[1]))),
            value: measure["value"].as_f64()?,
        })
    };
    let mut found: Vec<Gauge> = measures.filter_map(gauge).collect();
    for state in ["fine", "note", "warning", "failure"] {
        let checks = result["doctor"]["checks"].as_array().into_iter().flatten();
        let number = checks.filter(|check| check["state"] == state).count();
        if result["doctor"]["checks"].is_array() {
            let label = Some(("state".to_owned(), state.to_owned()));
            found.push(Gauge { name: "checks".to_owned(), label, value: number as f64 });
        }
    }
    found.sort_by(|left, right| left.name.cmp(&right.name));
    found
}

/// The value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Replaces the file. After a failure it still says what the last success was.
pub fn write(
    path: &Path,
    job: &Job<'_>,
    exit: Exit,
    seconds: f64,
    (found, gauges): (Option<Measures>, &[Gauge]),
) -> io::Result<()> {
    let labels = format!("{{command=\"{}\",pipeline=\"{}\"}}", job.command, escaped(job.pipeline));
    let before = fs::read_to_string(path).unwrap_or_default();
    let mut values: BTreeMap<&str, String> = BTreeMap::new();
    for (name, _) in METRICS {
        let line = before.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(&labels));
        values.extend(line.map(|value| (name, value.trim().to_owned())));
    }
    let now = Timestamp::now().as_second();
    let mut set = |name: &'static str, value: String| values.insert(name, value);
    set("docferry_last_run_timestamp_seconds", now.to_string());
    set("docferry_last_run_exit_status", exit.code().to_string());
    set("docferry_last_run_duration_seconds", format!("{seconds:.3}"));
    if let Some(found) = found.filter(|_| matches!(exit, Exit::Done | Exit::Rejects)) {
        set("docferry_last_success_timestamp_seconds", now.to_string());
        set("docferry_documents", found.documents.to_string());
        set("docferry_bytes", found.bytes.to_string());
        set("docferry_rejects", found.rejects.to_string());
        if let Some(snapshot) = found.snapshot {
            set("docferry_snapshot_timestamp_seconds", snapshot.to_string());
        }
    }
    let snapshot = values.get("docferry_snapshot_timestamp_seconds");
    if let Some(snapshot) = snapshot.and_then(|text| text.parse::<i64>().ok()) {
        values.insert("docferry_snapshot_age_seconds", (now - snapshot).max(0).to_string());
    }
    let mut text = String::new();
    for (name, about) in METRICS {
        if let Some(value) = values.get(name) {
            let _ = writeln!(
                text,
                "# HELP {name} {about}\n# TYPE {name} gauge\n{name}{labels} {value}"
            );
        }
    }
    for (index, gauge) in gauges.iter().enumerate() {
        let name = format!("docferry_doctor_{}", gauge.name);
        if index == 0 || gauges[index - 1].name != gauge.name {
            let _ = writeln!(text, "# TYPE {name} gauge");
        }
        let inner = labels.trim_end_matches('}');
        let more = match &gauge.label {
            Some((key, value)) => format!(",{key}=\"{}\"", escaped(value)),
            None => String::new(),
        };
        let _ = writeln!(text, "{name}{inner}{more}}} {}", gauge.value);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".docferry-")
        // The collector runs as another user.
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}
