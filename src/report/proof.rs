//! The tables at the end of `verify` and `run`: every record from the source to its proof.

use std::collections::BTreeMap;

use super::RunReport;
use super::lines::{Lines, Table};
use super::summary::{Sums, count};
use super::verdict::mostly_rejected;
use crate::progress::Stage;
use crate::proof::{DocumentProof, LeafSums};
use crate::staging::layout::RunDirectory;
use crate::staging::rejects::List;
use crate::verify::Account;
use crate::verify::source::SourceProof;

type Rules = BTreeMap<String, u64>;

/// Rejects and findings, a line for each table that has any, and where they are listed.
pub(super) fn rules<'a>(
    text: &mut Lines,
    run: &RunDirectory,
    tables: impl Iterator<Item = (&'a str, &'a Rules, &'a Rules)>,
) {
    let listed = |rules: &Rules| {
        let parts: Vec<_> =
            rules.iter().map(|(rule, number)| format!("{rule} {}", count(*number))).collect();
        parts.join(", ")
    };
    let (mut rejected, mut found) = (Vec::new(), Vec::new());
    for (name, rejects, findings) in tables {
        for (lines, rules) in [(&mut rejected, rejects), (&mut found, findings)] {
            if !rules.is_empty() {
                lines.push(format!("  {name}: {}", listed(rules)));
            }
        }
    }
    let path = |folder: &str| run.resolve(folder).join("transform.jsonl").display().to_string();
    for (what, folder, lines) in [("rejected", "rejects", rejected), ("found", "findings", found)] {
        if !lines.is_empty() {
            line!(text, "{what}, by rule (each is in {}):", path(folder));
        }
        for line in lines {
            text.push(line);
        }
    }
}

/// What was proved.
pub fn verify(run: &RunDirectory, report: &RunReport) -> Lines {
    let mut rows = Table::new(&["table", "staged rows", "found rows", "content digest", "proved"]);
    for entry in &report.tables {
        let verdict = &entry.verdict;
        rows.add_row([
            verdict.table.clone(),
            count(verdict.staged_rows),
            count(verdict.found_rows),
            verdict.found_digest[..16].to_owned(),
            proved(&verdict.differences).to_owned(),
        ]);
    }
    let mut text = Lines::default();
    text.table(&rows);
    unreadable(&mut text, run, &report.account);
    conclude(&mut text, run, report);
    text
}

fn proved(differences: &[String]) -> &'static str {
    if differences.is_empty() { "yes" } else { "NO" }
}

fn conclude(text: &mut Lines, run: &RunDirectory, report: &RunReport) {
    for entry in &report.tables {
        for difference in &entry.verdict.differences {
            line!(text, "{}: {difference}", entry.verdict.table);
        }
    }
    for entry in &report.tables {
        for unmet in entry.verdict.expectations.iter().filter(|unmet| unmet.rows > 0) {
            line!(
                text,
                "{}: {} rows do not meet {}, for example {}",
                entry.verdict.table,
                count(unmet.rows),
                unmet.name,
                unmet.examples.first().map_or("", String::as_str)
            );
        }
    }
    for difference in &report.catalogue.differences {
        line!(text, "{difference}");
    }
    if let Some(documents) = &report.documents {
        leaves(text, documents);
    }
    if let Some(source) = &report.source_again {
        read_again(text, source);
    }
    for line in report.balance.iter().chain(&report.left_out) {
        line!(text, "{line}");
    }
    for since in &report.written_since {
        line!(
            text,
            "{}: {} rows were written and {} are gone since the tables began to be read; the proof is of that moment",
            since.table,
            count(since.written),
            count(since.gone)
        );
    }
    for line in mostly_rejected(&report.account, &report.tables) {
        line!(text, "{line}");
    }
    line!(text, "report: {}", run.resolve("report.html").display());
    line!(text, "run {}: {}", run.run(), report.verdict);
}

/// Where the leaves of all documents went, and what differs.
fn leaves(text: &mut Lines, proof: &DocumentProof) {
    let header =
        ["collection", "documents", "leaves", "equal", "by a rule", "rejected", "different"];
    let mut sums = Sums::new(&header);
    for of in &proof.collections {
        let LeafSums { documents, leaves, equal, ruled, rejected, different, .. } = of;
        let numbers = [*documents, *leaves, *equal, *ruled, *rejected, *different];
        sums.add(&of.collection, numbers, None);
    }
    text.table(&sums.finish());
    for difference in &proof.differences {
        line!(text, "{difference}");
    }
    if proof.not_named > 0 {
        line!(text, "{} more differences", count(proof.not_named));
    }
}

/// What the source holds beside what was exported, and what differs.
fn read_again(text: &mut Lines, proof: &SourceProof) {
    let header = [
        "collection",
        "exported",
        "at the source",
        "looked for",
        "asked for",
        "equal",
        "written since",
        "different",
        "proved",
    ];
    let mut rows = Table::new(&header);
    for of in &proof.collections {
        let known = |number: Option<u64>| number.map_or("none".to_owned(), count);
        rows.add_row([
            of.collection.clone(),
            known(of.exported),
            known(of.counted),
            count(of.sampled),
            count(of.asked),
            count(of.equal),
            count(of.changed_since.max(of.written_since)),
            count(of.different),
            if of.is_proved() { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    text.table(&rows);
    for moment in &proof.moments {
        line!(text, "{moment}");
    }
    for of in &proof.collections {
        for difference in &of.differences {
            line!(text, "{difference}");
        }
        if of.not_named > 0 {
            line!(
                text,
                "collection {}: {} more documents differ",
                of.collection,
                count(of.not_named)
            );
        }
    }
}

/// A whole run: every record of the source to its proof, and how long each stage took.
pub fn run(run: &RunDirectory, report: &RunReport) -> Lines {
    let header =
        ["table", "read", "rejected", "merged", "dropped", "rows", "in PostgreSQL", "proved"];
    let mut rows = Sums::new(&header);
    for entry in &report.tables {
        let verdict = &entry.verdict;
        let numbers = [
            entry.records,
            entry.rejects,
            entry.merged,
            entry.dropped,
            verdict.staged_rows,
            verdict.found_rows,
        ];
        rows.add(&verdict.table, numbers, Some(proved(&verdict.differences)));
    }
    // What no table was given: with it the totals are those of the source.
    for collection in &report.account.collections {
        let (name, unreadable) = (&collection.name, collection.unreadable);
        if collection.ignored {
            let left_out = collection.sums.dropped;
            rows.add(&format!("{name} (ignored)"), [left_out, 0, 0, left_out, 0, 0], Some(""));
        }
        if unreadable > 0 {
            let numbers = [unreadable, unreadable, 0, 0, 0, 0];
            rows.add(&format!("{name} (unreadable)"), numbers, Some(""));
        }
    }
    let mut text = Lines::default();
    text.table(&rows.finish());
    unreadable(&mut text, run, &report.account);
    let entries = report.tables.iter();
    let counts = entries
        .map(|entry| (entry.verdict.table.as_str(), &entry.rejects_by_rule, &entry.findings));
    rules(&mut text, run, counts);
    let times: Vec<String> = report
        .stages
        .iter()
        .filter_map(|stage| Some(format!("{} {:.1} s", stage.stage, stage.seconds?)))
        .collect();
    line!(text, "time: {}", times.join(", "));
    conclude(&mut text, run, report);
    text
}

/// Records that the export rejected, a line for each collection that has any.
fn unreadable(text: &mut Lines, run: &RunDirectory, account: &Account) {
    let path = run.resolve(&List::Rejects.path(Stage::Export));
    let found = account.collections.iter().filter(|collection| collection.unreadable > 0);
    for (index, collection) in found.enumerate() {
        if index == 0 {
            line!(
                text,
                "rejected by the export, because they are no documents (each is in {}):",
                path.display()
            );
        }
        line!(text, "  {}: {}", collection.name, count(collection.unreadable));
    }
}
