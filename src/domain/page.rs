//! One read of a topic: entries in order, and where the read ends.

use super::{cursor::Bounds, event::Entry, position::Position};

/// One read of the journal: entries after a position, oldest first, and the topic's extent at that
/// moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The entries, in order, without a gap between them.
    pub entries: Vec<Entry>,
    /// Whether more entries lie behind the last of these.
    pub more: bool,
    /// The topic's extent, not later than the entries: an entry at or before `bounds.head` and
    /// behind the position that was read from is in `entries`, or `more` is set.
    pub bounds: Bounds,
}

/// How much one read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Most entries.
    pub entries_max: usize,
    /// Most bytes of events, as [`crate::domain::event::Event::cost_bytes`] counts them; one larger
    /// entry still comes alone.
    pub bytes_max: usize,
}

impl Page {
    /// The page that these entries begin: it ends before the first that would bring it over the
    /// limit, but has at least one where there is one.
    pub fn of(entries: impl IntoIterator<Item = Entry>, limit: PageLimit, bounds: Bounds) -> Self {
        let mut page = Self { entries: Vec::new(), more: false, bounds };
        let mut bytes = 0;
        for entry in entries {
            bytes += entry.event.cost_bytes();
            page.more = !page.entries.is_empty()
                && (page.entries.len() >= limit.entries_max || bytes > limit.bytes_max);
            if page.more {
                break;
            }
            page.entries.push(entry);
        }
        page
    }

    /// Whether a client whose cursor was `position`, after which this page was read, is behind.
    pub fn shows_behind(&self, position: Position) -> bool {
        self.bounds.continuity(position).is_behind(!self.entries.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{domain::position::EventId, testing::event};

    proptest! {
        #[test]
        fn a_page_is_as_long_as_its_limit_lets_it_be_and_has_an_entry_where_there_is_one(
            sizes in proptest::collection::vec(0_usize..40, 0..20), entries_max in 0_usize..8, bytes_max in 0_usize..600,
        ) {
            let limit = PageLimit { entries_max, bytes_max };
            let entries = sizes.iter().zip(0..).map(|(size, number)| Entry {
                id: EventId::sequence(number),
                prev: None,
                event: event(&format!("\"{}\"", "x".repeat(*size))),
            });
            let entries: Vec<Entry> = entries.collect();
            let page = Page::of(entries.clone(), limit, Bounds::of_message(sizes.len() as u64));
            let count = page.entries.len();
            prop_assert_eq!(&page.entries[..], &entries[..count]);
            prop_assert_eq!(page.more, count < entries.len());
            let bytes = |entries: &[Entry]| entries.iter().map(|entry| entry.event.cost_bytes()).sum::<usize>();
            prop_assert!(count <= 1 || (count <= entries_max && bytes(&entries[..count]) <= bytes_max));
            if page.more {
                prop_assert!(count >= 1 && (count >= entries_max || bytes(&entries[..=count]) > bytes_max));
            }
        }
    }
}
