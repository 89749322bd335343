//! Run ids: the moment a run began, moved on where that is needed so that the ids of a pipeline
//! only grow. Their order is the order in which runs were made, whatever the clock said.

use std::fs;
use std::path::Path;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::StagingError;
use super::json_file::replace;
use super::layout::{LATEST, io};
use super::own_files;

/// File beside the runs that holds the greatest id ever given, so that no id comes back after its
/// run was removed.
const LAST: &str = ".last-run";
/// Begins the name of a run that is being removed.
pub(super) const REMOVED: &str = ".removing-";
const FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// The moment that a run id names.
pub fn time_of(run: &str) -> Option<DateTime> {
    let time = DateTime::strptime(FORMAT, run).ok()?;
    (run.len() == 16 && text(time) == run).then_some(time)
}

fn text(time: DateTime) -> String {
    time.strftime(FORMAT).to_string()
}

/// The time; that of `DOCFERRY_CLOCK` (RFC 3339) where it is set, to rehearse a schedule.
pub(super) fn clock() -> Result<Timestamp, StagingError> {
    let Some(set) = std::env::var_os("DOCFERRY_CLOCK") else { return Ok(Timestamp::now()) };
    let set = set.to_string_lossy();
    set.parse().map_err(|_| StagingError::Clock { set: set.into_owned() })
}

/// Takes the id of a new run in a pipeline's folder: that of this second, or the second after the
/// greatest id ever used there.
pub(super) fn take(folder: &Path) -> Result<String, StagingError> {
    let now = clock()?.to_zoned(TimeZone::UTC).datetime();
    // Four digits of a year are all that an id has.
    let now = if now.year() < 1 { DateTime::constant(1, 1, 1, 0, 0, 0, 0) } else { now };
    let mut run = text(now);
    if let Some(greatest) = greatest(folder)?.filter(|greatest| *greatest >= run) {
        let next = time_of(&greatest);
        let next = next.and_then(|time| time.checked_add(SignedDuration::from_secs(1)).ok());
        run = text(next.ok_or(StagingError::NoNextRun { run: greatest })?);
    }
    // Before the run is there: one that is removed by hand a moment later was used all the same.
    replace(&folder.join(LAST), format!("{run}\n").as_bytes())?;
    Ok(run)
}

/// The greatest id that was ever used. Without the file that remembers it, those that are there
/// still count.
fn greatest(folder: &Path) -> Result<Option<String>, StagingError> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(folder).map_err(io("read", folder))? {
        let entry = entry.map_err(io("read", folder))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        ids.push(name.strip_prefix(REMOVED).unwrap_or(&name).to_owned());
    }
    let remembered = own_files::read_text(&folder.join(LAST));
    ids.extend(remembered.ok().map(|text| text.trim().to_owned()));
    let latest = fs::read_link(folder.join(LATEST)).ok();
    ids.extend(latest.and_then(|latest| latest.into_os_string().into_string().ok()));
    Ok(ids.into_iter().filter(|id| time_of(id).is_some()).max())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_above_all_that_were_ever_used() {
        let folder = tempfile::tempdir().unwrap();
        let first = take(folder.path()).unwrap();
        // Nothing is there but the file that remembers.
        let second = take(folder.path()).unwrap();
        assert!(second > first, "{first} {second}");
        fs::create_dir(folder.path().join("20991231T235959Z")).unwrap();
        fs::create_dir(folder.path().join("20991399T000000Z")).unwrap();
        assert_eq!(take(folder.path()).unwrap(), "21000101T000000Z");
        fs::remove_file(folder.path().join(LAST)).unwrap();
        fs::create_dir(folder.path().join(".removing-21000101T000007Z")).unwrap();
        assert_eq!(take(folder.path()).unwrap(), "21000101T000008Z");
        fs::write(folder.path().join(LAST), "neither text nor \u{0} an id").unwrap();
        assert_eq!(take(folder.path()).unwrap(), "21000101T000008Z");
        fs::create_dir(folder.path().join("99991231T235959Z")).unwrap();
        let error = take(folder.path()).unwrap_err();
        assert!(matches!(&error, StagingError::NoNextRun { run } if run == "99991231T235959Z"));
    }

    #[test]
    fn only_what_is_written_as_an_id_is_one() {
        for id in ["20261121T081504Z", "00010101T000000Z", "99991231T235959Z"] {
            assert_eq!(time_of(id).map(text).as_deref(), Some(id));
        }
        for other in ["2026112T0815040Z", "20261121T081504", "20261321T081504Z", "latest", ""] {
            assert_eq!(time_of(other), None, "{other}");
        }
    }
}
