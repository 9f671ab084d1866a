//! The recent entries of one topic, with their encoded frames.
//!
//! Invariants: the entries in a ring follow each other without a gap, from `floor` to `head`; it
//! holds no more entries and bytes than it may, and drops the oldest first. Who stands before its
//! floor reads the journal. What all rings may hold together is the business of `rings`.

mod slot;

use std::{collections::VecDeque, ops::ControlFlow, sync::Arc};

pub(crate) use self::slot::Slot;
use super::rings::Rings;
use crate::domain::{
    cursor::Continuity,
    event::Entry,
    page::Page,
    position::Position,
    replay::{Step, step},
    timestamp::Timestamp,
};

/// The bounds of rings.
#[derive(Clone, Debug)]
pub struct RingOptions {
    /// Most entries of one ring.
    pub ring_entries_max: usize,
    /// Most bytes of one ring, about.
    pub ring_max_bytes: usize,
    /// Most bytes of all rings of the process together, about.
    pub rings_max_bytes: usize,
}

pub(super) struct Ring {
    /// What it holds is counted here, and taken back when it is dropped.
    rings: Arc<Rings>,
    /// The order by which it is listed there.
    listed: Option<u64>,
    slots: VecDeque<Slot>,
    /// The number of the slot at the front; slots are numbered from the ring's beginning.
    first_number: u64,
    /// The position before the first slot, and behind the last: unknown until a follower has read
    /// the journal, or the first entry has its `prev`.
    extent: Option<Extent>,
    bytes: usize,
    /// How often the ring had to begin anew, so that connections notice that their place in it
    /// means nothing any more.
    pub(super) incarnation: u32,
}

#[derive(Clone, Copy, Debug)]
struct Extent {
    floor: Position,
    head: Position,
}

/// What a ring has after some position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Where it ends.
    pub(crate) head: Position,
    /// Whether there is an entry.
    pub(crate) has_entries: bool,
}

impl Ring {
    pub(super) const fn new(rings: Arc<Rings>) -> Self {
        Self {
            rings,
            listed: None,
            slots: VecDeque::new(),
            first_number: 0,
            extent: None,
            bytes: 0,
            incarnation: 0,
        }
    }

    /// Behind the last entry, if that is known.
    pub(super) fn head(&self) -> Option<Position> {
        self.extent.map(|extent| extent.head)
    }

    /// A follower that listened before has read the journal up to `head`.
    pub(super) fn anchor(&mut self, head: Position) {
        self.extent.get_or_insert(Extent { floor: head, head });
    }

    /// Begins anew at `position`: what was known is no longer joined to what comes.
    pub(super) fn restart(&mut self, position: Option<Position>) {
        self.first_number += self.slots.len() as u64;
        self.slots.clear();
        self.rings.remove(std::mem::take(&mut self.bytes));
        self.extent = position.map(|position| Extent { floor: position, head: position });
        self.incarnation += 1;
    }

    /// Takes an entry, if it continues what the ring has.
    pub(super) fn push(&mut self, entry: &Entry, options: &RingOptions) -> Step {
        let verdict = match (self.head(), entry.prev) {
            (Some(head), prev) => step(head, entry.id, prev),
            (None, Some(prev)) => {
                self.anchor(prev);
                Step::Next
            }
            (None, None) => Step::Gap,
        };
        if verdict == Step::Next {
            self.add(entry.clone(), options);
        }
        verdict
    }

    /// Takes a page that was read after `position`, where the head was at that time. `false` if the
    /// ring may still lack what the journal had.
    pub(super) fn take_page(
        &mut self,
        position: Position,
        page: &Page,
        options: &RingOptions,
    ) -> bool {
        // A ring that began anew during the read has nothing that the page could be joined to.
        let Some(head) = self.head() else { return false };
        let mut complete = true;
        match page.bounds.continuity(position) {
            Continuity::Whole => {}
            // Live entries that came during the read may have led past what is gone.
            Continuity::Truncated if head >= page.bounds.whole_from() => {}
            Continuity::Truncated => self.restart(Some(page.bounds.whole_from())),
            Continuity::Ahead => {
                // What came live during the read is dropped with the rest, and has to be read.
                complete = head == position;
                self.restart(Some(page.bounds.head));
            }
        }
        for entry in &page.entries {
            self.extend(entry, options);
        }
        complete
    }

    /// Takes an entry of a page that was read after a position at or before the head, so that it
    /// continues the ring whether or not its writer knew its `prev`.
    fn extend(&mut self, entry: &Entry, options: &RingOptions) {
        if self.head().is_some_and(|head| head.is_before(entry.id)) {
            self.add(entry.clone(), options);
        }
    }

    fn add(&mut self, entry: Entry, options: &RingOptions) {
        let mut slot = Slot::new(entry);
        let (cost, position) = (slot.cost_bytes(), slot.position());
        self.bytes += cost;
        slot.order = self.rings.add(cost);
        self.slots.push_back(slot);
        if let Some(extent) = &mut self.extent {
            extent.head = position;
        }
        while self.slots.len() > options.ring_entries_max || self.bytes > options.ring_max_bytes {
            if !self.drop_oldest() {
                break;
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.slots.pop_front() else { return false };
        self.first_number += 1;
        self.bytes -= oldest.cost_bytes();
        self.rings.remove(oldest.cost_bytes());
        if let Some(extent) = &mut self.extent {
            extent.floor = oldest.position();
        }
        true
    }

    /// The order to list the ring by, unless it is listed or empty.
    pub(super) fn take_listing(&mut self) -> Option<u64> {
        if self.listed.is_some() {
            return None;
        }
        self.listed = self.slots.front().map(|oldest| oldest.order);
        self.listed
    }

    /// It was taken from the list: drops its oldest entry if that is of this order. Returns the
    /// order to list it by again.
    pub(super) fn give_way(&mut self, order: u64) -> Option<u64> {
        if self.slots.front().is_some_and(|oldest| oldest.order == order) {
            self.drop_oldest();
        }
        self.listed = None;
        self.take_listing()
    }

    /// What there is after `position`, if all of that is in the ring, and none of it is older than
    /// `oldest_ts`.
    pub(super) fn covers(&self, position: Position, oldest_ts: Timestamp) -> Option<Covered> {
        let extent =
            self.extent.filter(|extent| extent.floor <= position && position <= extent.head)?;
        let next = self.slots.get(self.index_behind(position));
        let covered = Covered { head: extent.head, has_entries: next.is_some() };
        next.is_none_or(|slot| slot.entry.event.ts >= oldest_ts).then_some(covered)
    }

    /// The number of the first slot behind `position`; `None` if the ring doesn't reach back so
    /// far.
    pub(super) fn number_behind(&self, position: Position) -> Option<u64> {
        match self.extent {
            Some(extent) if extent.floor > position => None,
            _ => Some(self.first_number + self.index_behind(position) as u64),
        }
    }

    fn index_behind(&self, position: Position) -> usize {
        self.slots.partition_point(|slot| slot.position() <= position)
    }

    /// Whether the slot of this number is still here, or the next to come.
    pub(super) fn has(&self, number: u64) -> bool {
        number >= self.first_number
    }

    /// Shows the slots from `number` on, until `visit` breaks off behind one, and returns the
    /// number of the next.
    pub(super) fn visit(
        &self,
        number: u64,
        mut visit: impl FnMut(&Slot) -> ControlFlow<()>,
    ) -> u64 {
        let start =
            usize::try_from(number - self.first_number).unwrap_or(usize::MAX).min(self.slots.len());
        let mut next = number;
        for slot in self.slots.range(start..) {
            next += 1;
            if visit(slot).is_break() {
                break;
            }
        }
        next
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.rings.remove(self.bytes);
        if let Some(order) = self.listed {
            self.rings.unlist(order);
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
