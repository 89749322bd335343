//! Connection service files (PostgreSQL manual, "The Connection Service File").

use std::fs;
use std::path::PathBuf;

use super::{Surroundings, fault};
use crate::conninfo::Pairs;
use crate::redact::AddressFault;

/// Folder of Debian's build for the file of the whole machine.
const SYSTEM: &str = "/etc/postgresql-common";

/// The parameters of a service.
pub(super) fn parameters(
    name: &str,
    stated: Option<PathBuf>,
    surroundings: &dyn Surroundings,
) -> Result<Pairs, AddressFault> {
    let own = stated
        .or_else(|| surroundings.variable("PGSERVICEFILE").map(PathBuf::from))
        .or_else(|| surroundings.home().map(|home| home.join(".pg_service.conf")));
    let system = surroundings.variable("PGSYSCONFDIR").unwrap_or_else(|| SYSTEM.to_owned());
    let system = PathBuf::from(system).join("pg_service.conf");
    let files: Vec<PathBuf> = own.into_iter().chain([system]).collect();
    for file in &files {
        let Ok(text) = fs::read_to_string(file) else { continue };
        let found = section(&text, name);
        let found = found.map_err(|(line, detail)| {
            fault(format!("line {line} of the service file {} {detail}", file.display()))
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
    }
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    Err(fault(format!(
        "its service is not defined: there is no section [{name}] in {}",
        files.join(" or ")
    )))
}

/// The pairs of a section; none where there is no such section. The error is a line and what is
/// wrong with it.
fn section(text: &str, name: &str) -> Result<Option<Pairs>, (usize, &'static str)> {
    let mut found: Option<Pairs> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(title) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if title.strip_suffix(']') == Some(name) {
                found = Some(Pairs::new());
            }
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        let (key, value) = line.split_once('=').ok_or((index + 1, "has no `=`"))?;
        if key == "service" || key == "servicefile" {
            return Err((index + 1, "names another service"));
        }
        // The first of two values holds.
        if !pairs.iter().any(|(known, _)| known == key) {
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}
