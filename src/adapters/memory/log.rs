//! One topic's entries in memory.
//!
//! Invariant: the entries follow each other without a gap, and `floor` is the position right before the first of them.

use std::{collections::VecDeque, sync::Arc};

use crate::domain::{
    cursor::Bounds,
    event::{Entry, Event},
    position::{EventId, Position},
    replay::Page,
};
use crate::ports::topic_log::PageLimit;

/// What an entry costs beside its event, in bytes, about: its place in the deque, the shared pointer, the index.
const ENTRY_OVERHEAD_BYTES: usize = 96;

#[derive(Debug)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    floor: Position,
    head: Position,
}

impl Log {
    pub(super) const fn starting_after(position: Position) -> Self {
        Self { entries: VecDeque::new(), floor: position, head: position }
    }

    /// The id that sorts this topic among the others by age: the oldest entry's, or the last id if none is left.
    pub(super) fn age_key(&self) -> Position {
        self.entries.front().map_or(self.head, |oldest| Position::After(oldest.id))
    }

    pub(super) const fn head(&self) -> Position {
        self.head
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn push(&mut self, id: EventId, event: Arc<Event>) -> Entry {
        let entry = Entry { id, prev: Some(self.head), event };
        self.entries.push_back(entry.clone());
        self.head = Position::After(id);
        entry
    }

    /// Removes the oldest entry, and tells how many bytes that freed.
    pub(super) fn pop_oldest(&mut self) -> Option<usize> {
        let oldest = self.entries.pop_front()?;
        self.floor = Position::After(oldest.id);
        Some(cost_bytes(&oldest.event))
    }

    pub(super) fn bounds(&self, origin: Position) -> Bounds {
        Bounds { origin, floor: Some(self.floor), oldest: self.entries.front().map(|oldest| oldest.id), head: self.head }
    }

    pub(super) fn read(&self, after: Position, limit: PageLimit, bounds: Bounds) -> Page {
        let start = self.entries.partition_point(|entry| !after.is_before(entry.id));
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.range(start..) {
            bytes += entry.event.cost_bytes();
            if !entries.is_empty() && (entries.len() >= limit.entries_max || bytes > limit.bytes_max) {
                return Page { entries, more: true, bounds };
            }
            entries.push(entry.clone());
        }
        Page { entries, more: false, bounds }
    }
}

pub(super) fn cost_bytes(event: &Event) -> usize {
    ENTRY_OVERHEAD_BYTES + event.cost_bytes()
}
