//! What can be known of both ends before the first byte moves, and what is to be watched at the
//! target afterwards. Nothing is written.

mod collections;
mod error;
mod health;
mod queries;
mod room;
mod source;
mod target;

use serde::Serialize;

pub use self::error::DoctorError;
pub use self::health::{HealthOptions, health};
pub use self::queries::queries;
pub use self::room::room;
pub use self::source::source;
pub use self::target::{TargetNeeds, target};

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Fine,
    /// Something to know.
    Note,
    /// Something that may end a run, or slows an application down.
    Warning,
    /// A run would end, or something is broken.
    Failure,
}

/// A number for Prometheus: its name without `docferry_doctor_`, a label, and its value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measure {
    /// Name.
    pub name: &'static str,
    /// Name and value of a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<(&'static str, String)>,
    /// Value.
    pub value: f64,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub about: String,
    /// How it came out.
    pub state: State,
    /// What was found.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
    /// How the server carries a slow query out, line by line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub plan: Vec<String>,
    /// Its numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub measures: Vec<Measure>,
}

impl Check {
    /// Says that one end was not looked at.
    pub fn not_named(about: &str, option: &str, variable: &str) -> Self {
        Self::new(State::Note, about, "it is not named, and was not looked at")
            .cured(format!("Name it with {option} or {variable}."))
    }

    /// Makes a check without a cure and without numbers.
    pub fn new(state: State, about: &str, detail: impl Into<String>) -> Self {
        let (about, detail) = (about.to_owned(), detail.into());
        Self { about, state, detail, cure: None, plan: Vec::new(), measures: Vec::new() }
    }

    fn fine(about: &str, detail: impl Into<String>) -> Self {
        Self::new(State::Fine, about, detail)
    }

    fn cured(mut self, cure: impl Into<String>) -> Self {
        self.cure = Some(cure.into());
        self
    }

    fn measured(mut self, name: &'static str, value: f64) -> Self {
        self.measures.push(Measure { name, label: None, value });
        self
    }

    fn measured_of(mut self, name: &'static str, label: (&'static str, &str), value: f64) -> Self {
        let label = Some((label.0, label.1.to_owned()));
        self.measures.push(Measure { name, label, value });
        self
    }
}

/// Fails where a run would.
pub fn admit(checks: &[Check]) -> Result<(), DoctorError> {
    let broken: Vec<Check> =
        checks.iter().filter(|check| check.state == State::Failure).cloned().collect();
    if broken.is_empty() { Ok(()) } else { Err(DoctorError::NotReady { checks: broken }) }
}

/// A size as people read it.
fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A length of time as people read it.
fn span(seconds: f64) -> String {
    match seconds {
        short if short < 1.0 => format!("{:.0} ms", short * 1000.0),
        minutes if minutes < 120.0 => format!("{minutes:.0} s"),
        hours if hours < 7200.0 => format!("{:.0} min", hours / 60.0),
        days if days < 172_800.0 => format!("{:.1} h", days / 3600.0),
        long => format!("{:.1} days", long / 86_400.0),
    }
}

/// A list of names, cut where it gets long.
fn names(list: &[String]) -> String {
    const SHOWN: usize = 8;
    let shown = list[..list.len().min(SHOWN)].join(", ");
    match list.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
