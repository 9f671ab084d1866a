//! Rows that drafts have asked for by their keys, so that they need not be looked for again: a
//! topic that is written to is written to again.
//!
//! Invariants: what is known of a row is what the latest write left; a bounded number of small rows
//! is known.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
};

use bytes::Bytes;

/// Most rows that were asked for lately, and as many before them.
const ROWS_MAX: usize = 16_384;
/// Most bytes of a row's value. Larger ones are seldom asked for twice.
const VALUE_BYTES_MAX: usize = 512;

/// What is known. `None` where it is known that there is no such row.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    lately: HashMap<Bytes, Option<Bytes>>,
    before: HashMap<Bytes, Option<Bytes>>,
}

impl KnownRows {
    /// What is under a key, if that is known.
    #[expect(clippy::option_option, reason = "not known; or known, and there or not")]
    pub(super) fn get(&mut self, key: &[u8]) -> Option<Option<Bytes>> {
        if let Some(value) = self.lately.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.before.remove_entry(key)?;
        self.remember(key, value.clone());
        Some(value)
    }

    /// This is under a key.
    pub(super) fn remember(&mut self, key: Bytes, value: Option<Bytes>) {
        if value.as_ref().is_some_and(|value| value.len() > VALUE_BYTES_MAX) {
            return;
        }
        if self.lately.len() >= ROWS_MAX {
            self.before = mem::take(&mut self.lately);
        }
        self.lately.insert(key, value);
    }

    /// A write has changed rows.
    pub(super) fn learn(&mut self, changed: &BTreeMap<Bytes, Option<Bytes>>) {
        for (key, value) in changed {
            for known in [&mut self.lately, &mut self.before] {
                if let Some(known) = known.get_mut(key) {
                    known.clone_from(value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Bytes {
        number.to_string().into()
    }

    #[test]
    fn what_was_asked_for_is_known_as_the_latest_write_left_it() {
        let mut known = KnownRows::default();
        assert_eq!(known.get(b"1"), None);
        known.remember(key(1), None);
        known.learn(&[(key(1), Some("a".into())), (key(2), Some("b".into()))].into());
        assert_eq!((known.get(b"1"), known.get(b"2")), (Some(Some("a".into())), None));
        known.remember(key(3), Some(vec![0; VALUE_BYTES_MAX + 1].into()));
        assert_eq!(known.get(b"3"), None, "it is large");
    }

    #[test]
    fn promise_7_a_bounded_number_of_rows_is_known_and_what_is_asked_for_again_stays() {
        let mut known = KnownRows::default();
        known.remember(key(0), None);
        for number in 1..5 * ROWS_MAX {
            known.remember(key(number), None);
            assert!(known.lately.len() + known.before.len() <= 2 * ROWS_MAX);
            assert_eq!(known.get(b"0"), Some(None), "{number}");
        }
        assert_eq!(known.get(b"1"), None);
    }
}
