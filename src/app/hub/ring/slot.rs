//! One place in a ring, with its frames.
//!
//! Invariant: a frame is encoded once per format, however many connections take it.

use std::sync::OnceLock;

use crate::domain::{
    event::Entry,
    frame::{Format, Frame},
    position::Position,
    topic::Topic,
};

/// One place in a ring.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) entry: Entry,
    /// How many entries were added to all rings before it.
    pub(super) order: u64,
    /// Encoded when the first connection needs it, then shared.
    frames: [OnceLock<Frame>; Format::COUNT],
}

impl Slot {
    pub(super) fn new(entry: Entry) -> Self {
        Self { entry, order: 0, frames: [const { OnceLock::new() }; Format::COUNT] }
    }

    /// The ring's position once this slot is taken.
    pub(super) const fn position(&self) -> Position {
        Position::After(self.entry.id)
    }

    /// The slot's frame in a format: encoded once, shared by all connections.
    pub(crate) fn frame(&self, topic: &Topic, format: Format) -> Frame {
        self.frames[format as usize]
            .get_or_init(|| Frame::entry(format, topic, self.entry.id, &self.entry.event))
            .clone()
    }

    /// The event, and a frame of it in each format.
    pub(super) fn cost_bytes(&self) -> usize {
        size_of::<Self>() + (1 + Format::COUNT) * self.entry.event.cost_bytes()
    }
}
