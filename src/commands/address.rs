//! Addresses of source and target: from the command line, a file, or the environment.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Once};

use super::CommandError;
use crate::cli::{SourceArguments, TargetAddress};
use crate::failure::Failure;
use crate::pipeline::model::Pipeline;
use crate::postgres::Target;
use crate::progress::{Progress, Stage};
use crate::redact::without_credentials;
use crate::source::{SourceAddress, SourceError, is_mongodb};

/// Variables of PostgreSQL's own tools that say which database is meant.
const PLACES: [&str; 4] = ["PGHOST", "PGDATABASE", "PGHOSTADDR", "PGSERVICE"];

/// Others than its owner can read a file, or write it.
const OPEN_TO_OTHERS: u32 = 0o077;

/// The first line of a file that only its owner can read.
fn read(path: &Path) -> Result<String, CommandError> {
    let failed = |source| CommandError::File { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode();
    // What systemd hands over is guarded by its own means, and its mode may show an access list.
    let handed = std::env::var_os("CREDENTIALS_DIRECTORY");
    let handed = handed.is_some_and(|folder| !folder.is_empty() && path.starts_with(folder));
    if mode & OPEN_TO_OTHERS != 0 && !handed {
        return Err(CommandError::OpenSecret { path: path.to_owned(), mode: mode & 0o777 });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| CommandError::NoAddress { path: path.to_owned() })
}

/// The source; none where nothing names one.
pub(super) fn source_if_any(arguments: &SourceArguments) -> Result<Option<SourceAddress>, Failure> {
    let SourceArguments { source, source_file, database } = arguments;
    named_source(source.as_deref(), source_file.as_deref(), database.as_deref())
}

/// The source that these name, and of it this database.
pub(super) fn named_source(
    text: Option<&str>,
    file: Option<&Path>,
    database: Option<&str>,
) -> Result<Option<SourceAddress>, Failure> {
    let text = match (file, text) {
        (Some(file), _) => read(file)?,
        (None, Some(text)) => text.to_owned(),
        (None, None) => return Ok(None),
    };
    let text = match database {
        None => text,
        Some(name) if is_mongodb(&text) => with_database(&text, name),
        Some(_) if text.contains("://") || text.starts_with("sqlite:") => {
            return Err(CommandError::OneDatabase.into());
        }
        Some(name) => format!("{text}#{name}"),
    };
    Ok(Some(SourceAddress::parse(&text)?))
}

pub(super) fn source(arguments: &SourceArguments) -> Result<SourceAddress, Failure> {
    Ok(source_if_any(arguments)?.ok_or(CommandError::NoSource)?)
}

/// An address or a folder; one that others must not read may be in a file named as `@FILE`.
pub(super) fn scratch(text: &str) -> Result<String, Failure> {
    match text.strip_prefix('@') {
        Some(file) => Ok(read(Path::new(file))?),
        None => Ok(text.to_owned()),
    }
}

/// Says whether an argument or a variable names a target.
pub(super) fn names_target(arguments: &TargetAddress) -> bool {
    let variable = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    arguments.target.is_some() || arguments.target_file.is_some() || PLACES.iter().any(variable)
}

/// Refuses a folder whose name looks like an address: the password of one that was mistyped would
/// be written down as a name.
pub(super) fn check_folder(text: &str) -> Result<(), SourceError> {
    let address = without_credentials(text);
    if address == text && !text.contains("://") {
        return Ok(());
    }
    let detail = "it looks like an address, and is none that can be read".into();
    Err(SourceError::Address { address, detail })
}

/// A URI of MongoDB with this database in the place of its own.
pub(super) fn with_database(uri: &str, name: &str) -> String {
    let (address, options) = uri.split_once('?').map_or((uri, None), |(a, o)| (a, Some(o)));
    let start = address.find("://").map_or(0, |at| at + 3);
    // A password may hold a slash although it should not: the last @ is what counts.
    let hosts = address.rfind('@').map_or(start, |at| at + 1);
    let end = address[hosts..].find('/').map_or(address.len(), |at| hosts + at);
    let database = address[end..].trim_start_matches('/');
    let mut options: Vec<String> = options.map(str::to_owned).into_iter().collect();
    // Users belong to the database of the URI unless it says otherwise.
    let says = options.iter().any(|options| options.contains("authSource="));
    if hosts > start && !database.is_empty() && !says {
        options.push(format!("authSource={database}"));
    }
    let options = options.join("&");
    let joint = if options.is_empty() { "" } else { "?" };
    format!("{}/{name}{joint}{options}", &address[..end])
}

/// The target. Where nothing names one, what PostgreSQL's own tools would take from `PG…`.
///
/// Names its options that have no effect, once in a process.
pub(super) fn target(
    arguments: &TargetAddress,
    progress: &Arc<dyn Progress>,
) -> Result<Target, Failure> {
    static SAID: Once = Once::new();
    let text = match (&arguments.target_file, &arguments.target) {
        (Some(file), _) => read(file)?,
        (None, Some(text)) => text.clone(),
        (None, None) => {
            if !names_target(arguments) {
                return Err(CommandError::NoTarget.into());
            }
            String::new()
        }
    };
    let target = Target::parse(&text)?;
    let ignored = target.ignored();
    if !ignored.is_empty() {
        let note = format!(
            "options of the target address that are for other programs, without effect here: {}",
            ignored.join(", ")
        );
        SAID.call_once(|| progress.note(Stage::Load, &note));
    }
    Ok(target)
}

/// The target of a pipeline, in whose schema an address may not differ.
pub(super) fn target_of(
    pipeline: &Pipeline,
    arguments: &TargetAddress,
    progress: &Arc<dyn Progress>,
) -> Result<Target, Failure> {
    let target = target(arguments, progress)?;
    target.check_schema(&pipeline.schema)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_uri_is_replaced() {
        for (uri, expected) in [
            ("mongodb://h:1/?directConnection=true", "mongodb://h:1/x?directConnection=true"),
            ("mongodb://h", "mongodb://h/x"),
            ("mongodb://u:p@h,i/d", "mongodb://u:p@h,i/x?authSource=d"),
            ("mongodb://u:p@h/d?authSource=admin", "mongodb://u:p@h/x?authSource=admin"),
            ("mongodb+srv://u:p/q@h/d?a=b", "mongodb+srv://u:p/q@h/x?a=b&authSource=d"),
        ] {
            assert_eq!(with_database(uri, "x"), expected);
        }
    }
}
