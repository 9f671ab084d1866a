//! What a publisher sent, and what the journal made of it.
//!
//! Invariant: an [`Event`] is complete and valid; an [`Entry`] is an event that has its place in a
//! topic.

use std::sync::Arc;

pub use super::event_type::{EVENT_TYPE_BYTES_MAX, EventType, InvalidEventType};
use super::{
    category::Category, json::Json, position::EventId, position::Position, timestamp::Timestamp,
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
    /// Its content: any JSON value.
    pub payload: Json,
}

impl Event {
    /// What this event costs in memory, about, in bytes: for bounds that count bytes.
    pub fn cost_bytes(&self) -> usize {
        size_of::<Self>()
            + self.event_type.as_str().len()
            + self.payload.as_str().len()
            + self.scope.as_str().len()
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
