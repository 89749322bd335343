//! The last words of a run: how many records arrived, and what is proved of them.

use indicatif::HumanCount;

use super::TableLine;
use crate::verify::{Account, Sums};

/// What the rows in PostgreSQL were compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Against {
    /// The staged rows alone.
    StagedRows,
    /// The exported documents as well.
    Documents,
    /// Random documents of the source as well, which were read again.
    Sample,
    /// All of the source as well.
    Source,
}

impl Against {
    /// What was left out, in the line that says "proved".
    fn words(self) -> &'static str {
        match self {
            Self::StagedRows => " against the staged rows; the documents were not read again",
            Self::Documents => " against the export; the source was not read again",
            Self::Sample => " against the export, and the export against a sample of the source",
            Self::Source => "",
        }
    }
}

/// Says how many records arrived, where the others went, and what is proved. "Every row" is said
/// only where every record of the source is a row, and "proved" alone only where all of the proof
/// ran.
pub(super) fn verdict(account: &Account, proved: bool, against: Against) -> String {
    let Account { records, elements, .. } = account;
    if proved && records.read == 0 && elements.read == 0 {
        return "no record was read: nothing is proved".to_owned();
    }
    let mut text = went(records, "records");
    if elements.read > 0 {
        text = format!("{text}; {}", went(elements, "array elements"));
    }
    let end = if !proved {
        "there are differences"
    } else if records.arrived == 0 && elements.arrived == 0 {
        "nothing arrived, so nothing is proved"
    } else if account.is_whole() {
        "every row is proved"
    } else {
        "what arrived is proved"
    };
    let left_out = match end {
        "every row is proved" | "what arrived is proved" => against.words(),
        _ => "",
    };
    format!("{text}; {end}{left_out}")
}

/// Names each collection, and each other table, of which at least half was rejected.
pub(super) fn mostly_rejected(account: &Account, tables: &[TableLine]) -> Vec<String> {
    let line = |name: String, rejected: u64, read: u64| {
        let (rejected, read) = (HumanCount(rejected), HumanCount(read));
        format!("WARNING: {rejected} of {read} records of {name} were rejected")
    };
    let collections: Vec<_> =
        account.collections.iter().filter(|one| one.sums.is_mostly_rejected()).collect();
    // What a rejected document holds is rejected with it.
    let follows = |table: &&TableLine| {
        collections.iter().any(|collection| table.source.as_ref() == Some(&collection.name))
    };
    let tables = tables
        .iter()
        .filter(|table| table.sums().is_mostly_rejected())
        .filter(|table| !follows(table))
        .map(|table| line(format!("table {}", table.verdict.table), table.rejects, table.records));
    let named = collections
        .iter()
        .map(|one| line(format!("collection {}", one.name), one.sums.rejected, one.sums.read));
    named.chain(tables).collect()
}

fn went(sums: &Sums, what: &str) -> String {
    let mut text =
        format!("{} of {} {what} arrived", HumanCount(sums.arrived), HumanCount(sums.read));
    let others = [
        (sums.rejected, "rejected"),
        (sums.merged, "merged with an equal link"),
        (sums.dropped, "dropped under a rule"),
    ];
    for (number, how) in others.into_iter().filter(|(number, _)| *number > 0) {
        text = format!("{text}, {} {how}", HumanCount(number));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(read: u64, arrived: u64, rejected: u64, merged: u64, dropped: u64) -> Sums {
        Sums { read, arrived, rejected, merged, dropped }
    }

    #[test]
    fn what_was_left_out_is_in_the_same_line() {
        let account = Account { records: sums(2, 2, 0, 0, 0), ..Account::default() };
        for (against, expected) in [
            (
                Against::StagedRows,
                "every row is proved against the staged rows; the documents were not read again",
            ),
            (
                Against::Documents,
                "every row is proved against the export; the source was not read again",
            ),
            (
                Against::Sample,
                "every row is proved against the export, and the export against a sample of the source",
            ),
            (Against::Source, "every row is proved"),
        ] {
            let line = verdict(&account, true, against);
            assert_eq!(line, format!("2 of 2 records arrived; {expected}"));
        }
        let differs = verdict(&account, false, Against::StagedRows);
        assert_eq!(differs, "2 of 2 records arrived; there are differences");
    }

    #[test]
    fn every_row_is_proved_only_where_every_record_is_a_row() {
        let none = Sums::default();
        for (records, elements, proved, expected) in [
            (sums(2, 2, 0, 0, 0), none, true, "2 of 2 records arrived; every row is proved"),
            (
                sums(22_369, 402, 21_719, 0, 248),
                none,
                true,
                "402 of 22,369 records arrived, 21,719 rejected, 248 dropped under a rule; what arrived is proved",
            ),
            (
                sums(2, 2, 0, 0, 0),
                sums(8, 4, 0, 4, 0),
                true,
                "2 of 2 records arrived; 4 of 8 array elements arrived, 4 merged with an equal link; every row is proved",
            ),
            (
                sums(2, 2, 0, 0, 0),
                sums(3, 2, 1, 0, 0),
                true,
                "2 of 2 records arrived; 2 of 3 array elements arrived, 1 rejected; what arrived is proved",
            ),
            (
                sums(5, 0, 5, 0, 0),
                none,
                true,
                "0 of 5 records arrived, 5 rejected; nothing arrived, so nothing is proved",
            ),
            (none, none, true, "no record was read: nothing is proved"),
            (sums(3, 2, 0, 0, 0), none, false, "2 of 3 records arrived; there are differences"),
        ] {
            let account = Account { records, elements, collections: Vec::new() };
            assert_eq!(verdict(&account, proved, Against::Source), expected);
        }
    }
}
