//! Records that are refused for rows that are not there, which are refused for them in turn.
//!
//! A reference that must lead somewhere refuses a record where no accepted row has the key. Where
//! that row is a reject for the same kind of reason, the reasons must end somewhere: records that
//! only refuse one another should all have been rows.

use rustc_hash::FxHashMap;

use super::sets::Key;

/// A record that is a reject for rows that are not there alone.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) table: usize,
    pub(super) id: String,
    /// The keys by which others refer to it.
    pub(super) keys: Vec<Key>,
    /// For each column that is refused, the keys that it may mean.
    pub(super) missing: Vec<Vec<Key>>,
}

/// Those whose reasons end nowhere.
pub(super) fn circles(mut waiting: Vec<Waiting>) -> Vec<Waiting> {
    let mut offered: FxHashMap<Key, usize> = FxHashMap::default();
    for key in waiting.iter().flat_map(|record| &record.keys) {
        *offered.entry(*key).or_default() += 1;
    }
    loop {
        let before = waiting.len();
        waiting.retain(|record| {
            let may_be = |column: &Vec<Key>| column.iter().any(|key| offered.contains_key(key));
            let stays = record.missing.iter().all(may_be);
            for key in record.keys.iter().filter(|_| !stays) {
                if let Some(count) = offered.get_mut(key) {
                    *count -= 1;
                    if *count == 0 {
                        offered.remove(key);
                    }
                }
            }
            stays
        });
        if waiting.len() == before {
            return waiting;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_that_end_somewhere_are_no_circle() {
        let record = |own: u128, missing: &[u128]| Waiting {
            table: 0,
            id: own.to_string(),
            keys: vec![((0, 0), own)],
            missing: missing.iter().map(|key| vec![((0, 0), *key)]).collect(),
        };
        let named = |waiting: Vec<Waiting>| {
            circles(waiting).into_iter().map(|record| record.id).collect::<Vec<_>>()
        };
        // 1 names 2, which names 9, which is nowhere.
        assert_eq!(named(vec![record(1, &[2]), record(2, &[9])]), Vec::<String>::new());
        assert_eq!(named(vec![record(1, &[2]), record(2, &[1]), record(3, &[1])]), ["1", "2", "3"]);
        assert_eq!(named(vec![record(1, &[2, 9]), record(2, &[1])]), Vec::<String>::new());
        assert_eq!(named(vec![record(1, &[1])]), ["1"]);
    }
}
