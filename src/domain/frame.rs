//! How events and control frames are written on the wire: Server-Sent Events.
//!
//! Source: WHATWG HTML, section 9.2 "Server-sent events"; chunk framing: RFC 9112, section 7.1.
//!
//! Invariants: a frame is whole lines and whole blocks, and no text in it can break a line: what
//! could hold CR or LF is split over several `data:` lines, and nothing else in a frame can. A
//! frame is encoded once and shared; it carries its HTTP/1.1 chunk framing, and HTTP/2 sends the
//! part inside.
//!
//! Frames are written for the clients that exist, not only for the standard:
//! - a block has data, since many clients drop an id that comes without, and others show an empty
//!   event;
//! - `id:` is the last line of its block: several clients take an id when they read its line, and
//!   would lose an event whose connection is cut before its blank line;
//! - comments and `retry:` have no blank line of their own, which some clients take for an empty
//!   event.

mod blocks;
mod control;

use bytes::Bytes;
use serde::Serialize;

use self::blocks::{Blocks, CHUNK_TAIL};
pub use self::control::Control;
use super::{
    category::Category,
    event::Event,
    json::Json,
    message_data::message_data,
    position::{EventId, Position},
    timestamp::Timestamp,
    topic::{MessageId, Topic},
};

/// Encoded blocks, ready to be written. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    chunk: Bytes,
    body_start: usize,
}

/// The chunk that ends an HTTP/1.1 body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Frame {
    /// The frame as one HTTP/1.1 chunk.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// The blocks themselves.
    pub fn body(&self) -> Bytes {
        self.chunk.slice_ref(self.blocks())
    }

    /// The blocks themselves, borrowed.
    pub fn blocks(&self) -> &[u8] {
        &self.chunk[self.body_start..self.chunk.len() - CHUNK_TAIL.len()]
    }

    /// `: connected`, so that proxies flush, and the delay after which clients reconnect.
    pub fn greeting(retry_ms: u64) -> Self {
        Blocks::new().comment("connected").retry(retry_ms).into_frame()
    }

    /// Shows that the connection lives. It moves the client's cursor to `position`, where one is
    /// given.
    pub fn keepalive(style: StreamStyle, position: Option<EventId>) -> Self {
        let blocks = match style.keepalive {
            KeepaliveStyle::Comment => Blocks::new().comment("keepalive"),
            KeepaliveStyle::Event => {
                Blocks::new().control(style.format, &Control::StreamKeepalive {})
            }
        };
        blocks.position(position.map(Position::After)).into_frame()
    }

    /// A position frame: it moves a client's cursor, and fires no handler that a page has by
    /// default. At the start it takes the cursor away, by an empty id.
    pub fn position(position: Position) -> Self {
        Blocks::new().position(Some(position)).into_frame()
    }

    /// The delay after which the client is to reconnect.
    pub fn retry(ms: u64) -> Self {
        Blocks::new().retry(ms).into_frame()
    }

    /// The end of a stream: an optional move of the cursor, when to come back, and why it closes.
    pub fn farewell(
        position: Option<EventId>,
        retry_ms: Option<u64>,
        reason: &'static str,
    ) -> Self {
        let blocks = Blocks::new().position(position.map(Position::After));
        let blocks = match retry_ms {
            Some(retry_ms) => blocks.retry(retry_ms),
            None => blocks,
        };
        blocks.comment(reason).into_frame()
    }

    /// One of the server's own events. It has no id, so the client's cursor stays.
    pub fn control(format: Format, control: &Control) -> Self {
        Blocks::new().control(format, control).into_frame()
    }

    /// The end of a message's stream whose producer has been silent for too long: when to come
    /// back, and an event without an id, so that the client's cursor stays good.
    pub fn producer_stale(message: MessageId, retry_ms: u64) -> Self {
        #[derive(Serialize)]
        struct ProducerStale {
            r#type: &'static str,
            code: &'static str,
            error: &'static str,
            message_id: String,
        }
        let stale = ProducerStale {
            r#type: "error",
            code: "producer_stale",
            error: "the producer of this message has been silent for too long: rejoin later, or give it up",
            message_id: message.to_string(),
        };
        Blocks::new().retry(retry_ms).data(&json_text(&stale)).end().into_frame()
    }

    /// An entry of a topic. A message has one format: the payload, with its type.
    pub fn entry(format: Format, topic: &Topic, id: EventId, event: &Event) -> Self {
        let blocks = Blocks::with_capacity(256 + 2 * event.cost_bytes());
        if let Topic::Message(_) = topic {
            return blocks.data(&message_data(event)).id(id).end().into_frame();
        }
        let blocks = match format {
            Format::Named => blocks.event(event.event_type.as_str()).data(event.payload.as_str()),
            Format::Envelope => blocks.data(&json_text(&Envelope::of(topic, Some(id), event))),
        };
        blocks.id(id).end().into_frame()
    }

    /// A broadcast: it is in no journal, so it has no id and no topic.
    pub fn broadcast(format: Format, event: &Event) -> Self {
        let blocks = match format {
            Format::Named => {
                Blocks::new().event(event.event_type.as_str()).data(event.payload.as_str())
            }
            Format::Envelope => Blocks::new().data(&json_text(&Envelope::of_broadcast(event))),
        };
        blocks.end().into_frame()
    }
}

/// How a stream is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStyle {
    /// Of events.
    pub format: Format,
    /// Of keepalives.
    pub keepalive: KeepaliveStyle,
}

/// How a stream shows that its connection lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepaliveStyle {
    /// A comment, which clients don't see.
    #[default]
    Comment,
    /// An event of type `stream.keepalive`, so that a page can notice that its connection is dead.
    Event,
}

/// How the events of a user's stream are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// No `event:` line; `data:` is the whole envelope.
    #[default]
    Envelope,
    /// `event:` is the type, `data:` the payload.
    Named,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; Self::COUNT] = [Self::Envelope, Self::Named];
    /// How many formats there are.
    pub const COUNT: usize = 2;

    /// The format's name, as clients ask for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Named => "named",
        }
    }
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn optional_text<S: serde::Serializer>(
    id: &Option<EventId>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

/// What clients see of an event. Its fields stand in this order.
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
    payload: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a Category>,
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
        Self {
            id: None,
            r#type: event.event_type.as_str(),
            ts: event.ts,
            user_id: None,
            topic: None,
            scope: &event.scope,
            payload: &event.payload,
            category: event.category.as_ref(),
        }
    }
}

/// The envelope of an entry, as clients see it.
pub fn envelope_json(topic: &Topic, id: EventId, event: &Event) -> String {
    json_text(&Envelope::of(topic, Some(id), event))
}

/// The envelope as backends keep it: without the id, which is theirs to give.
pub fn stored_envelope_json(topic: &Topic, event: &Event) -> String {
    json_text(&Envelope::of(topic, None, event))
}

/// The envelope of a broadcast.
pub fn broadcast_envelope_json(event: &Event) -> String {
    json_text(&Envelope::of_broadcast(event))
}

fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and raw JSON always serialise")
}

#[cfg(test)]
mod tests;
