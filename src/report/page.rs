//! `report.html`: one file that needs nothing else, with what verify proved and what audit saw.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, context, escape_formatter};
use serde_json::Value as Json;

use crate::escape;
use crate::staging::StagingError;
use crate::staging::json_file::replace;
use crate::staging::layout::RunDirectory;
use crate::staging::manifest::{ExportManifest, TransformManifest};
use crate::staging::own_files;
use crate::staging::run::RunRecord;

const TEMPLATE: &str = include_str!("report.html");

/// Writes the page of a run from what there is in it.
pub fn write(run: &RunDirectory) -> Result<(), StagingError> {
    let read = |name: &str| -> Option<Json> {
        serde_json::from_slice(&own_files::read(&run.resolve(name)).ok()?).ok()
    };
    let record = RunRecord::read(run)?;
    let transform = TransformManifest::read(run).ok();
    let input = transform.as_ref().map(|manifest| manifest.input_sha256.as_str());
    // What was seen of an earlier transform says nothing of this one.
    let audit = read(crate::audit::FILE).filter(|audit| audit["input_sha256"].as_str() == input);
    let export = ExportManifest::read(run).ok();
    let html = html(&record, read("report.json").as_ref(), audit.as_ref(), export.as_ref());
    replace(&run.resolve("report.html"), html.as_bytes())
}

fn html(
    record: &RunRecord,
    report: Option<&Json>,
    audit: Option<&Json>,
    export: Option<&ExportManifest>,
) -> String {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    // A browser obeys and hides some characters too.
    environment.set_formatter(|out, state, value| match value.as_str() {
        Some(text) if !value.is_safe() => {
            escape_formatter(out, state, &minijinja::Value::from(escape::line(text).into_owned()))
        }
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("count", |number: u64| indicatif::HumanCount(number).to_string());
    environment.add_filter("bytes", |number: u64| indicatif::HumanBytes(number).to_string());
    environment.add_filter("percent", |share: f64| {
        let percent = share * 100.0;
        let rounded = format!("{percent:.0} %");
        match rounded.as_str() {
            "0 %" if share > 0.0 => "under 1 %".to_owned(),
            "100 %" if share < 1.0 => "over 99 %".to_owned(),
            _ => rounded,
        }
    });
    let rendered = environment.template_from_str(TEMPLATE).and_then(|template| {
        template.render(context! {
            record => Serde(record),
            report => report.map(Serde),
            audit => audit.map(Serde),
            export => export.map(Serde),
            version => env!("CARGO_PKG_VERSION"),
        })
    });
    // The template is part of the program and is rendered by tests.
    rendered.unwrap_or_else(|error| format!("<p>the report could not be rendered: {error}</p>"))
}
