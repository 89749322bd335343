//! Addresses of source and target: from the command line, a file, or the environment.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::CommandError;
use crate::cli::{SourceArguments, TargetAddress};
use crate::failure::Failure;
use crate::postgres::Target;
use crate::source::SourceAddress;

/// Others than its owner can read a file, or write it.
const OPEN_TO_OTHERS: u32 = 0o077;

/// The first line of a file that only its owner can read.
fn read(path: &Path) -> Result<String, CommandError> {
    let failed = |source| CommandError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    if mode & OPEN_TO_OTHERS != 0 {
        return Err(CommandError::OpenSecret { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| CommandError::NoAddress { path: path.to_owned() })
}

/// The source; none where nothing names one.
pub(super) fn source_if_any(
    text: Option<&str>,
    file: Option<&Path>,
) -> Result<Option<SourceAddress>, Failure> {
    let text = match (file, text) {
        (Some(file), _) => read(file)?,
        (None, Some(text)) => text.to_owned(),
        (None, None) => return Ok(None),
    };
    Ok(Some(SourceAddress::parse(&text)?))
}

pub(super) fn source(arguments: &SourceArguments) -> Result<SourceAddress, Failure> {
    let found = source_if_any(arguments.source.as_deref(), arguments.source_file.as_deref())?;
    Ok(found.ok_or(CommandError::NoSource)?)
}

/// The target. Where nothing names one, what PostgreSQL's own tools would take from `PG…`.
pub(super) fn target(arguments: &TargetAddress) -> Result<Target, Failure> {
    let text = match (&arguments.target_file, &arguments.target) {
        (Some(file), _) => read(file)?,
        (None, Some(text)) => text.clone(),
        (None, None) => {
            let named = ["PGHOST", "PGDATABASE", "PGHOSTADDR"];
            if named.iter().all(|variable| std::env::var_os(variable).is_none()) {
                return Err(CommandError::NoTarget.into());
            }
            String::new()
        }
    };
    Ok(Target::parse(&text)?)
}
