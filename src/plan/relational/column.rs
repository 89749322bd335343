//! The type of a column: its declaration where the values agree, and where a few do not.

use crate::plan::column::count;
use crate::plan::draft::DraftColumn;
use crate::plan::survey::{Kind, Node};
use crate::plan::text::Forms;

/// Values below which a single odd one tells of the type.
const MANY: u64 = 10;
/// Characters of the longest `varchar` that PostgreSQL has.
const LONGEST: u64 = 10_485_760;

/// `NVARCHAR(160)` as `NVARCHAR` and 160.
pub(super) fn declared(text: &str) -> (String, Vec<u64>) {
    let upper = text.to_uppercase();
    let (name, rest) = upper.split_once('(').unwrap_or((&upper, ""));
    let rest = rest.split(')').next().unwrap_or_default();
    let numbers = rest.split(',').map_while(|number| number.trim().parse().ok()).collect();
    (name.trim().to_owned(), numbers)
}

/// Whether so few values of so many may be mistakes.
fn few(bad: u64, all: u64) -> bool {
    bad == 0 || all >= MANY && bad * 10 <= all
}

/// Whether a declaration stands for numbers, so that a text among them is an odd one.
fn is_numeric(name: &str) -> bool {
    let words = ["INT", "REAL", "FLOA", "DOUB", "NUM", "DEC", "BOOL", "DATE", "TIME"];
    words.iter().any(|word| name.contains(word))
}

/// A type for all values but a few.
struct Choice {
    pg_type: String,
    /// Values that it does not take.
    bad: u64,
}

impl Choice {
    fn new(pg_type: &str, bad: u64) -> Self {
        Self { pg_type: pg_type.to_owned(), bad }
    }
}

/// Gives a column its type, and says what a person should look at.
pub(super) fn column_type(column: &mut DraftColumn, declaration: &str, node: Option<&Node>) {
    let (name, lengths) = declared(declaration);
    let Some(node) = node.filter(|node| node.filled() > 0) else {
        column.pg_type = without_values(column, &name, &lengths);
        column.coerce = column.pg_type == "boolean";
        column.json = column.pg_type == "jsonb";
        column.comment.push_str("no row holds a value");
        return;
    };
    let forms = &node.forms;
    let texts_are_empty = forms.texts > 0 && forms.texts == forms.empty;
    let numbers = node.count(Kind::Int64) + node.count(Kind::Double);
    // Texts among numbers, all but the empty ones; outliers are counted out of the kinds.
    let odd = forms.texts - forms.empty;
    let of_numbers = node.kinds().iter().all(|kind| {
        matches!(kind, Kind::Int64 | Kind::Double) || *kind == Kind::String && is_numeric(&name)
    });
    // Values of kinds that hardly ever occur were set aside: texts among them count here.
    let aside = forms.texts - node.count(Kind::String);
    let others = node.outliers.saturating_sub(aside);
    let choice = if numbers > 0 && of_numbers && (texts_are_empty || few(odd, numbers)) {
        let mut choice = numeric(column, &name, node, odd);
        choice.bad += others;
        choice
    } else if node.only(&[Kind::String]) {
        let mut choice = of_texts(column, &name, &lengths, forms, node);
        choice.bad += node.outliers;
        choice
    } else if node.only(&[Kind::Binary]) && node.subtypes == [0] {
        Choice::new("bytea", node.outliers)
    } else {
        column.decide("values of several types");
        Choice::new("jsonb", 0)
    };
    column.pg_type = choice.pg_type;
    let takes_empty = column.pg_type == "text"
        || column.pg_type.starts_with("varchar")
        || column.pg_type == "jsonb" && !column.json
        || column.pg_type == "bytea";
    if forms.empty > 0 && !takes_empty {
        column.empty = true;
        column.decide(format!("{} empty texts become NULL", count(forms.empty)));
    }
    if choice.bad > 0 {
        column.decide(format!(
            "{} of {} values are no {} and their rows become rejects; another type keeps them",
            count(choice.bad),
            count(node.filled()),
            column.pg_type
        ));
    }
    let kinds = node.kinds();
    if kinds.len() > 1 {
        let shares: Vec<_> = kinds
            .iter()
            .map(|kind| format!("{} {}", kind.name(), count(node.count(*kind))))
            .collect();
        column.comment = shares.join(", ");
    }
}

/// The type of a column whose values are numbers, but for so many texts.
fn numeric(column: &mut DraftColumn, name: &str, node: &Node, odd: u64) -> Choice {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if name.contains("BOOL") {
        let all = node.count(Kind::Int64) + node.count(Kind::Double);
        let words = if is_words_of_truth(node) { 0 } else { odd };
        let bad = all.saturating_sub(node.numbers.bits) + words;
        if few(bad, all + words) {
            column.coerce = true;
            return Choice::new("boolean", bad);
        }
    }
    if node.count(Kind::Double) == 0 {
        if has(&["DATE", "TIME"]) {
            column.decide(
                "dates as numbers: type = \"timestamp\" with format = \"epoch\" or \"epoch_ms\"?",
            );
            return Choice::new("bigint", odd);
        }
        let pg_type = if has(&["DEC", "NUM"]) {
            "numeric"
        } else if has(&["REAL", "FLOA", "DOUB"]) {
            "double precision"
        } else {
            "bigint"
        };
        return Choice::new(pg_type, odd);
    }
    let exact = has(&["DEC", "NUM"]) || node.count(Kind::Int64) > 0;
    Choice::new(if exact { "numeric" } else { "double precision" }, odd)
}

/// The type of a column whose values are texts.
fn of_texts(
    column: &mut DraftColumn,
    name: &str,
    lengths: &[u64],
    forms: &Forms,
    node: &Node,
) -> Choice {
    let usable = forms.texts - forms.empty;
    let bad = |good: u64| usable.saturating_sub(good);
    let all = |good: u64| usable > 0 && good == usable;
    let nearly = |good: u64| good > 0 && few(bad(good), usable);
    let temporal = name.contains("DATE") || name.contains("TIME");
    if name.contains("JSON") && all(forms.any_json) {
        column.json = true;
        return Choice::new("jsonb", 0);
    }
    if all(forms.uuids) || nearly(forms.uuids) && has_uuid(name) {
        return Choice::new("uuid", bad(forms.uuids));
    }
    if name.contains("BOOL") && is_words_of_truth(node) {
        column.coerce = true;
        return Choice::new("boolean", 0);
    }
    if name == "DATE" && nearly(forms.dates) {
        return Choice::new("date", bad(forms.dates));
    }
    if temporal && forms.finer > 0 {
        column.decide(format!(
            "{} of {} times are finer than a microsecond, which PostgreSQL would round",
            count(forms.finer),
            count(usable)
        ));
        return Choice::new("text", 0);
    }
    let times = forms.dates + forms.timestamps;
    if temporal && nearly(times) {
        if forms.offsets == 0 {
            return Choice::new("timestamp", bad(times));
        }
        if forms.offsets == times {
            return Choice::new("timestamptz", bad(times));
        }
        column.decide(format!(
            "{} of {} times have an offset from UTC, the others none: in which zone are they?",
            count(forms.offsets),
            count(times)
        ));
        return Choice::new("text", 0);
    }
    if forms.nuls > 0 {
        column.decide("some texts hold U+0000, which PostgreSQL cannot store, and are rejects");
        return Choice::new("text", 0);
    }
    if usable == 0 && temporal {
        return Choice::new(if name == "DATE" { "date" } else { "timestamp" }, 0);
    }
    if all(forms.json) {
        column.decide("every text is JSON: type = \"jsonb\" with json = true?");
    } else if let Some(length) = lengths.first().filter(|_| name.contains("CHAR")) {
        if forms.characters <= *length && (1..=LONGEST).contains(length) {
            return Choice::new(&format!("varchar({length})"), 0);
        }
        column.decide("some texts are longer than declared");
    } else if name == "TIME" {
        column.decide("times of day: type = \"time\"?");
    } else if temporal && usable > 0 {
        column.decide(format!("{} of {} texts are no dates", count(bad(times)), count(usable)));
    }
    Choice::new("text", 0)
}

fn has_uuid(name: &str) -> bool {
    name.contains("UUID") || name.contains("GUID") || name.contains("UNIQUEIDENTIFIER")
}

/// Whether all texts are `true` or `false`.
fn is_words_of_truth(node: &Node) -> bool {
    let examples = node.examples.as_deref().unwrap_or_default();
    !node.forms.many
        && !examples.is_empty()
        && examples.iter().all(|(text, _)| matches!(text.as_str(), "true" | "false"))
}

/// The type that a declaration stands for where there are no values.
fn without_values(column: &mut DraftColumn, name: &str, lengths: &[u64]) -> String {
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let pg_type = match name {
        _ if has(&["BOOL"]) => "boolean",
        _ if has(&["JSON"]) => "jsonb",
        _ if has_uuid(name) => "uuid",
        "CHAR" if lengths == [36] => {
            column.decide("declared CHAR(36): uuid, or text?");
            "uuid"
        }
        _ if has(&["CHAR"]) => match lengths.first() {
            Some(length) if (1..=LONGEST).contains(length) => return format!("varchar({length})"),
            _ => "text",
        },
        _ if name == "INTERVAL" || has(&["CLOB", "TEXT"]) => "text",
        _ if has(&["INT"]) => "bigint",
        "DATE" => "date",
        "TIME" => "time",
        _ if has(&["TIMESTAMPTZ", "WITH TIME ZONE"]) => "timestamptz",
        _ if has(&["DATE", "TIME"]) => "timestamp",
        _ if has(&["BLOB", "BINARY", "BYTEA"]) => "bytea",
        _ if has(&["REAL", "FLOA", "DOUB"]) => "double precision",
        _ if has(&["NUM", "DEC"]) => match lengths {
            [precision, scale] if (1..=1000).contains(precision) && scale <= precision => {
                return format!("numeric({precision},{scale})");
            }
            [precision] if (1..=1000).contains(precision) => {
                return format!("numeric({precision},0)");
            }
            _ => "numeric",
        },
        _ => "text",
    };
    pg_type.to_owned()
}
