//! One place in a ring, with its frames.
//!
//! Invariant: a frame is encoded once per format, however many connections take it.

use std::sync::{Arc, OnceLock};

use crate::domain::{
    event::{Entry, Event},
    frame::{Format, Frame},
    position::Position,
    topic::Topic,
};

/// What a ring holds in one place: an entry, or an event for everybody, which has no place in the journal.
#[derive(Debug)]
pub(crate) enum Content {
    Entry(Entry),
    Broadcast(Arc<Event>),
}

impl Content {
    pub(crate) fn event(&self) -> &Event {
        match self {
            Self::Entry(entry) => &entry.event,
            Self::Broadcast(event) => event,
        }
    }
}

/// One place in a ring.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) content: Content,
    /// The ring's position once this slot is taken.
    pub(super) position: Position,
    /// Encoded when the first connection needs it, then shared.
    frames: [OnceLock<Frame>; Format::COUNT],
}

impl Slot {
    pub(super) fn new(content: Content, position: Position) -> Self {
        Self { content, position, frames: [const { OnceLock::new() }; Format::COUNT] }
    }

    /// The slot's frame in a format: encoded once, shared by all connections.
    pub(crate) fn frame(&self, topic: &Topic, format: Format) -> Frame {
        let encode = || match &self.content {
            Content::Entry(entry) => Frame::entry(format, topic, entry.id, &entry.event),
            Content::Broadcast(event) => Frame::broadcast(format, event),
        };
        self.frames[format as usize].get_or_init(encode).clone()
    }

    /// The event, and a frame of it in each format.
    pub(super) fn cost_bytes(&self) -> usize {
        size_of::<Self>() + (1 + Format::COUNT) * self.content.event().cost_bytes()
    }
}
