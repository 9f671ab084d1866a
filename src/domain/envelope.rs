//! An event as one JSON object: what clients see of it, and what backends keep.
//!
//! Invariant: the two differ only in what a client has no use for: the id, which backends keep
//! apart, whether a message ends, and whether an event without a payload has an empty one.

use serde::Serialize;

use super::{
    category::Category,
    event::{Content, Event, EventName},
    json::{Json, json_text},
    position::{EventId, optional_text},
    timestamp::Timestamp,
    topic::Topic,
};

/// An event as JSON. Its fields stand in this order.
#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    id: Option<EventId>,
    r#type: &'a str,
    ts: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a Topic>,
    scope: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Payload<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a Category>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<&'static str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'a> {
    Json(&'a Json),
    Empty {},
}

impl<'a> Envelope<'a> {
    fn of(topic: &'a Topic, id: Option<EventId>, event: &'a Event) -> Self {
        let user_id = match topic {
            Topic::User(user) => Some(user.as_str()),
            Topic::Message(_) => None,
        };
        Self { id, user_id, topic: Some(topic), ..Self::of_broadcast(event) }
    }

    fn of_broadcast(event: &'a Event) -> Self {
        let (payload, data, name) = match &event.content {
            Content::Payload(payload) => (Some(Payload::Json(payload)), None, None),
            Content::Data { text, event } => {
                (None, Some(&**text), event.as_ref().map(EventName::as_str))
            }
            Content::Nothing => (Some(Payload::Empty {}), None, None),
        };
        Self {
            id: None,
            r#type: event.event_type.as_str(),
            ts: event.ts,
            user_id: None,
            topic: None,
            scope: &event.scope,
            payload,
            data,
            event: name,
            category: event.category.as_ref(),
            last: None,
        }
    }

    /// With what only backends see, and without what they make up for.
    fn stored(mut self, event: &Event) -> Self {
        self.payload = self.payload.filter(|payload| matches!(payload, Payload::Json(_)));
        self.last = event.last.name();
        self
    }
}

/// The envelope of an entry, as clients see it.
pub fn envelope_json(topic: &Topic, id: EventId, event: &Event) -> String {
    json_text(&Envelope::of(topic, Some(id), event))
}

/// The envelope as backends keep it: without the id, which is theirs to give.
pub fn stored_envelope_json(topic: &Topic, event: &Event) -> String {
    json_text(&Envelope::of(topic, None, event).stored(event))
}

/// The envelope of a broadcast, as clients see it.
pub fn broadcast_envelope_json(event: &Event) -> String {
    json_text(&Envelope::of_broadcast(event))
}

/// The envelope of a broadcast, as backends pass it on.
pub fn stored_broadcast_envelope_json(event: &Event) -> String {
    json_text(&Envelope::of_broadcast(event).stored(event))
}
