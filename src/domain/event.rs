//! What a publisher sent, and what the journal made of it.
//!
//! Invariant: an [`Event`] is complete and valid; an [`Entry`] is an event that has its place in a
//! topic.

use std::sync::Arc;

use super::{
    category::Category, json::Json, position::EventId, position::Position, timestamp::Timestamp,
};
pub use super::{
    content::{Content, EVENT_NAME_BYTES_MAX, EventName, InvalidEventName},
    event_type::{EVENT_TYPE_BYTES_MAX, EventType, InvalidEventType},
    terminal::{Last, Terminal},
};

/// What a publisher sent, with the time and category that the server gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its type.
    pub event_type: EventType,
    /// When the server accepted it.
    pub ts: Timestamp,
    /// The group of types that it belongs to, if any.
    pub category: Option<Category>,
    /// What it is about, as the publisher put it: a JSON object, `{}` where none was given.
    pub scope: Json,
    /// What it carries.
    pub content: Content,
    /// Whether it ends its message.
    pub last: Last,
}

impl Event {
    /// What this event costs in memory, about, in bytes: for bounds that count bytes.
    pub fn cost_bytes(&self) -> usize {
        size_of::<Self>()
            + self.event_type.as_str().len()
            + self.content.cost_bytes()
            + self.scope.as_str().len()
    }

    /// How a message ends with this event, if it does.
    pub fn terminal(&self) -> Option<Terminal> {
        self.last.terminal(&self.event_type)
    }

    /// Whether a producer that sends `other` under this event's number repeats it.
    pub fn is_repeated_by(&self, other: &Self) -> bool {
        (&self.event_type, &self.content, self.last)
            == (&other.event_type, &other.content, other.last)
    }
}

/// An event with its place in a topic. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its id.
    pub id: EventId,
    /// The position it was appended at: behind the entry before it, or the journal's origin if it
    /// is the first. Nothing lies between `prev` and `id`. `None` when another program wrote the
    /// entry and it is unknown.
    pub prev: Option<Position>,
    /// The event.
    pub event: Arc<Event>,
}
