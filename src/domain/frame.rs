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
//!   event; but for an event that carries nothing, in the format `data`, whose clients take all
//!   data for content;
//! - `id:` is the last line of its block: several clients take an id when they read its line, and
//!   would lose an event whose connection is cut before its blank line;
//! - comments and `retry:` have no blank line of their own, which some clients take for an empty
//!   event.

mod blocks;
mod control;
mod style;

use bytes::Bytes;
use serde::Serialize;

use self::blocks::{Blocks, CHUNK_TAIL};
pub use self::{
    control::Control,
    style::{Endings, Format, KeepaliveStyle, StaleFrame, StreamStyle},
};
use super::{
    envelope::{broadcast_envelope_json, envelope_json},
    event::{Content, Event, EventName},
    json::json_text,
    message_data::message_data,
    position::{EventId, Position},
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
    pub fn keepalive(style: &StreamStyle, position: Option<EventId>) -> Self {
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
    pub fn producer_stale(style: &StreamStyle, message: &MessageId, retry_ms: u64) -> Self {
        let blocks = Blocks::new().retry(retry_ms);
        let endings = style.endings.as_deref();
        let blocks = if let Some(stale) = endings.and_then(|endings| endings.stale.as_ref()) {
            blocks.event_if(stale.event.as_ref().map(EventName::as_str)).data(&stale.data)
        } else {
            let notice = ProducerStale::of(message);
            let event = style.format.names_control().then_some(notice.r#type);
            blocks.event_if(event).data(&json_text(&notice))
        };
        blocks.end().into_frame()
    }

    /// What follows a message's terminal event, if anything. It has no id.
    pub fn closing(style: &StreamStyle) -> Option<Self> {
        let text = match &style.endings {
            Some(endings) => endings.closing.as_deref(),
            None => Endings::closing_of(style.format),
        };
        text.map(|text| Blocks::new().data(text).end().into_frame())
    }

    /// An entry of a topic.
    pub fn entry(format: Format, topic: &Topic, id: EventId, event: &Event) -> Self {
        let blocks = Blocks::with_capacity(256 + 2 * event.cost_bytes());
        let blocks = match (format, topic) {
            (Format::Whole, Topic::User(_)) => blocks.data(&envelope_json(topic, id, event)),
            (Format::Whole, Topic::Message(_)) => blocks.data(&message_data(event)),
            (Format::Named, _) => named(blocks, event),
            (Format::Data, _) => data(blocks, &event.content),
        };
        blocks.id(id).end().into_frame()
    }

    /// A broadcast: it is in no journal, so it has no id and no topic.
    pub fn broadcast(format: Format, event: &Event) -> Self {
        let blocks = Blocks::new();
        let blocks = match (format, &event.content) {
            (Format::Whole, _) => blocks.data(&broadcast_envelope_json(event)),
            (Format::Named, _) => named(blocks, event),
            // Without an id there is nothing to send at all.
            (Format::Data, Content::Nothing) => return blocks.comment("broadcast").into_frame(),
            (Format::Data, content) => data(blocks, content),
        };
        blocks.end().into_frame()
    }
}

fn named(blocks: Blocks, event: &Event) -> Blocks {
    let blocks = blocks.event(event.event_type.as_str());
    match &event.content {
        Content::Payload(payload) => blocks.data(payload.as_str()),
        Content::Data { text, .. } => blocks.data(text),
        Content::Nothing => blocks.data("{}"),
    }
}

fn data(blocks: Blocks, content: &Content) -> Blocks {
    match content {
        Content::Payload(payload) => blocks.data(payload.as_str()),
        Content::Data { text, event } => {
            blocks.event_if(event.as_ref().map(EventName::as_str)).data(text)
        }
        Content::Nothing => blocks,
    }
}

/// That a message's producer has been silent for too long.
#[derive(Serialize)]
struct ProducerStale {
    r#type: &'static str,
    code: &'static str,
    error: &'static str,
    message_id: String,
}

impl ProducerStale {
    fn of(message: &MessageId) -> Self {
        Self {
            r#type: "error",
            code: "producer_stale",
            error: "the producer of this message has been silent for too long: rejoin later, or give it up",
            message_id: message.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
