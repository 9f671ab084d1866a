//! Events and users, by as little as a test cares for.

use std::sync::Arc;

use crate::domain::{
    event::{Content, Event, EventType, Last},
    json::Json,
    timestamp::Timestamp,
    topic::UserId,
};

/// An event with this payload, which must be JSON.
pub fn event(payload: &str) -> Arc<Event> {
    event_of_type("test.happened", payload)
}

/// An event of this type, with this payload. It has no category, an empty scope, and a fixed time;
/// a test that cares for those changes them: `Event { category, ..(*event("{}")).clone() }`.
pub fn event_of_type(event_type: &str, payload: &str) -> Arc<Event> {
    Arc::new(Event {
        event_type: EventType::parse(event_type).unwrap(),
        ts: Timestamp::from_ms(1_718_900_000_000),
        category: None,
        scope: Json::empty_object(),
        content: Content::Payload(Json::parse(payload).unwrap()),
        last: Last::default(),
    })
}

/// An event whose payload is a string of so many bytes.
pub fn event_of_bytes(payload_bytes: usize) -> Arc<Event> {
    event(&format!("\"{}\"", "x".repeat(payload_bytes)))
}

/// The user with this id.
pub fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}
