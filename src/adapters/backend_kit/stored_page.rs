//! Entries as backends keep them, made into what readers are given.
//!
//! Invariants: what is no event is passed over and reported, and what follows it follows what was
//! before it, so no reader takes it for a gap; a page stays within its limit, but for its first
//! entry.

use std::{fmt, sync::Arc};

use crate::{
    adapters::backend_kit::stored_event::Malformed,
    domain::{
        cursor::Bounds,
        event::{Entry, Event},
        page::{Page, PageLimit},
        position::{EventId, Position},
        topic::Topic,
    },
};

/// An entry as it was found: it may be another program's.
#[derive(Debug)]
pub struct StoredEntry {
    /// Its id.
    pub id: EventId,
    /// What it follows, where that is kept; else it follows what was found before it.
    pub prev: Option<Position>,
    /// The event, or why it is none.
    pub event: Result<Event, Malformed>,
}

/// An entry that is no event.
#[derive(Debug)]
pub struct MalformedEntry<'a> {
    /// The topic in which it stands.
    pub topic: &'a Topic,
    /// Its id there.
    pub id: EventId,
    /// Why it is none.
    pub reason: &'a Malformed,
}

/// Called for each entry that is no event, each time that it is passed over.
pub type OnMalformed = Arc<dyn Fn(MalformedEntry<'_>) + Send + Sync>;

impl fmt::Display for MalformedEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} of {} is no event: {}", self.id, self.topic, self.reason)
    }
}

/// A part of a topic as it was found, in order.
#[derive(Debug)]
pub struct StoredPage {
    /// What lies behind the position that was asked for: at least one entry, where there is one.
    pub entries: Vec<StoredEntry>,
    /// Whether there is more behind these.
    pub more: bool,
    /// The topic's extent at that moment.
    pub bounds: Bounds,
}

/// Reads until there is an event, or nothing more: what is no event may fill whole pages.
///
/// # Errors
/// Those of `read`, which gives what lies behind a position.
pub async fn read_page<E, Reading: Future<Output = Result<StoredPage, E>>>(
    topic: &Topic,
    after: Position,
    limit: PageLimit,
    on_malformed: &OnMalformed,
    read: impl Fn(Position) -> Reading,
) -> Result<Page, E> {
    let (mut from, mut instead) = (after, None);
    loop {
        let StoredPage { entries: stored, more, bounds } = read(from).await?;
        let read_to = stored.last().map(|last| last.id.into());
        let entries = events_of(topic, stored, &mut instead, &**on_malformed);
        match read_to {
            Some(read_to) if entries.is_empty() => from = read_to,
            _ => {
                let page = Page::of(entries, limit, bounds);
                return Ok(Page { more: page.more || more, ..page });
            }
        }
    }
}

/// What of a part of a topic are events. `instead` is what the next entry follows, where what it
/// says that it follows was passed over.
#[expect(
    clippy::option_option,
    reason = "nothing was passed over; or something was, behind a position that may be unknown"
)]
fn events_of(
    topic: &Topic,
    stored: Vec<StoredEntry>,
    instead: &mut Option<Option<Position>>,
    on_malformed: impl Fn(MalformedEntry<'_>),
) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::with_capacity(stored.len());
    for StoredEntry { id, prev, event } in stored {
        let prev = instead
            .take()
            .unwrap_or_else(|| prev.or_else(|| entries.last().map(|last| last.id.into())));
        match event {
            Ok(event) => entries.push(Entry { id, prev, event: event.into() }),
            Err(reason) => {
                on_malformed(MalformedEntry { topic, id, reason: &reason });
                *instead = Some(prev);
            }
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::topic::UserId, testing};

    fn topic() -> Topic {
        Topic::User(UserId::parse("u").unwrap())
    }

    fn id(number: u64) -> EventId {
        EventId::timed(number, 0)
    }

    fn stored(number: u64, prev: Option<u64>, is_event: bool) -> StoredEntry {
        let event =
            if is_event { Ok((*testing::event("{}")).clone()) } else { Err(Malformed::Missing) };
        StoredEntry { id: id(number), prev: prev.map(|prev| id(prev).into()), event }
    }

    fn prevs(stored: Vec<StoredEntry>) -> Vec<(u64, Option<u64>)> {
        let events = events_of(&topic(), stored, &mut None, |_| {});
        events
            .into_iter()
            .map(|entry| (entry.id.major(), entry.prev.and_then(|prev| Some(prev.id()?.major()))))
            .collect()
    }

    #[test]
    fn an_entry_that_does_not_say_what_it_follows_follows_what_stands_before_it() {
        let read =
            prevs(vec![stored(1, None, true), stored(2, None, true), stored(3, Some(2), true)]);
        assert_eq!(read, [(1, None), (2, Some(1)), (3, Some(2))]);
    }

    #[test]
    fn what_follows_a_malformed_entry_follows_what_was_before_it() {
        let read = prevs(vec![
            stored(2, Some(1), true),
            stored(3, None, false),
            stored(4, Some(3), false),
            stored(5, Some(4), true),
        ]);
        assert_eq!(read, [(2, Some(1)), (5, Some(2))]);
        let read =
            prevs(vec![stored(2, None, false), stored(3, Some(2), true), stored(4, Some(3), true)]);
        assert_eq!(
            read,
            [(3, None), (4, Some(3))],
            "where nobody knows what was before, nothing is claimed"
        );
    }

    #[test]
    fn a_removed_entry_leaves_its_trace() {
        assert_eq!(
            prevs(vec![stored(2, Some(1), true), stored(5, Some(4), true)]),
            [(2, Some(1)), (5, Some(4))]
        );
    }
}
