//! One topic's entries in memory.
//!
//! Invariants: the entries follow each other without a gap, and `floor` is the position right
//! before the first of them, so that each one's `prev` is known without being kept; `bytes` is what
//! the log costs, with the spare room of its queue.

use std::{collections::VecDeque, sync::Arc};

use super::cost;
use crate::domain::{
    cursor::Bounds,
    event::{Entry, Event},
    page::{Page, PageLimit},
    position::{EventId, Position},
    timestamp::Timestamp,
};

/// The id of an entry or of an empty topic's head, as it is kept: both of its parts are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimedId {
    ms: u64,
    n: u64,
}

impl TimedId {
    /// Right before all ids of that time.
    pub(super) const fn at(time: Timestamp) -> Self {
        Self { ms: time.as_ms(), n: 0 }
    }
}

impl From<EventId> for TimedId {
    fn from(id: EventId) -> Self {
        Self { ms: id.major(), n: id.minor().unwrap_or(0) }
    }
}

impl From<TimedId> for EventId {
    fn from(TimedId { ms, n }: TimedId) -> Self {
        Self::timed(ms, n)
    }
}

impl From<TimedId> for Position {
    fn from(id: TimedId) -> Self {
        Self::After(id.into())
    }
}

#[derive(Debug)]
struct Kept {
    id: TimedId,
    event: Arc<Event>,
}

#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Kept>,
    floor: TimedId,
    head: TimedId,
    event_bytes: usize,
}

impl Log {
    pub(super) fn starting_after(position: TimedId) -> Self {
        // Many topics have one entry.
        Self {
            entries: VecDeque::with_capacity(1),
            floor: position,
            head: position,
            event_bytes: 0,
        }
    }

    /// What the log costs.
    pub(super) fn bytes(&self) -> usize {
        cost::allocated(size_of::<Self>())
            + cost::allocated(self.entries.capacity() * size_of::<Kept>())
            + self.event_bytes
    }

    /// The id that sorts this topic among the others by age: the oldest entry's, or the last id if
    /// none is left.
    pub(super) fn age_key(&self) -> TimedId {
        self.entries.front().map_or(self.head, |oldest| oldest.id)
    }

    pub(super) const fn head(&self) -> TimedId {
        self.head
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, now: Timestamp, event: Arc<Event>) -> Entry {
        self.push_as(EventId::from(self.head).next(now), event)
    }

    /// Adds an entry whose id, behind all others, is given.
    pub(super) fn push_as(&mut self, id: EventId, event: Arc<Event>) -> Entry {
        let entry = Entry { id, prev: Some(self.head.into()), event: Arc::clone(&event) };
        self.event_bytes += cost::event(&event);
        self.head = id.into();
        self.entries.push_back(Kept { id: self.head, event });
        entry
    }

    /// Removes the oldest entry.
    pub(super) fn pop_oldest(&mut self) {
        let Some(oldest) = self.entries.pop_front() else { return };
        self.floor = oldest.id;
        self.event_bytes -= cost::event(&oldest.event);
        if self.entries.len() <= self.entries.capacity() / 4 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    pub(super) fn bounds(&self, origin: TimedId) -> Bounds {
        let oldest = self.entries.front().map(|oldest| oldest.id.into());
        Bounds {
            origin: origin.into(),
            floor: Some(self.floor.into()),
            oldest,
            head: self.head.into(),
            shares_positions: false,
        }
    }

    pub(super) fn read(&self, after: Position, limit: PageLimit, bounds: Bounds) -> Page {
        let start = self.entries.partition_point(|entry| !after.is_before(entry.id.into()));
        let mut prev = start.checked_sub(1).map_or(self.floor, |before| self.entries[before].id);
        let entries = self.entries.range(start..).map(|Kept { id, event }| {
            let prev = std::mem::replace(&mut prev, *id);
            Entry { id: (*id).into(), prev: Some(prev.into()), event: Arc::clone(event) }
        });
        Page::of(entries, limit, bounds)
    }
}
