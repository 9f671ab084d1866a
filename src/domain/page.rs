//! One read of a topic: entries in order, and where the read ends.

use super::{cursor::Bounds, event::Entry};

/// One read of the journal: entries after a position, oldest first, and the topic's extent at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The entries, in order, without a gap between them.
    pub entries: Vec<Entry>,
    /// Whether more entries lie behind the last of these.
    pub more: bool,
    /// The topic's extent, not later than the entries: an entry at or before `bounds.head` and behind the position that
    /// was read from is in `entries`, or `more` is set.
    pub bounds: Bounds,
}

/// How much one read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Most entries.
    pub entries_max: usize,
    /// Most bytes of events, as [`crate::domain::event::Event::cost_bytes`] counts them; one larger entry still comes alone.
    pub bytes_max: usize,
}
