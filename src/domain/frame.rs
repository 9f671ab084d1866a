//! How events and control frames are written on the wire: Server-Sent Events.
//!
//! Source: WHATWG HTML, section 9.2 "Server-sent events"; chunk framing: RFC 9112, section 7.1.
//!
//! Invariant: a frame is whole blocks, each ended by a blank line, and no text in it can break a line: what could hold
//! CR or LF is split over several `data:` lines, and nothing else in a frame can. A frame is encoded once and shared;
//! it carries its HTTP/1.1 chunk framing, and HTTP/2 sends the part inside.

use std::fmt::Write as _;

use bytes::Bytes;
use serde::Serialize;

use super::{category::Category, event::Event, json::Json, position::EventId, timestamp::Timestamp, topic::Topic};

/// Encoded blocks, ready to be written. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    chunk: Bytes,
    body_start: usize,
}

/// Room for the chunk's length in hexadecimal and its line end: enough for 4 GiB.
const CHUNK_HEAD_BYTES_MAX: usize = 10;
const CHUNK_TAIL: &[u8] = b"\r\n";

/// The chunk that ends an HTTP/1.1 body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Frame {
    /// The frame as one HTTP/1.1 chunk.
    pub fn chunk(&self) -> &Bytes {
        &self.chunk
    }

    /// The blocks themselves.
    pub fn body(&self) -> Bytes {
        self.chunk.slice(self.body_start..self.chunk.len() - CHUNK_TAIL.len())
    }

    /// `: connected`, so that proxies flush, and the delay after which clients reconnect.
    pub fn greeting(retry_ms: u64) -> Self {
        Blocks::new().comment("connected").end().retry(retry_ms).end().into_frame()
    }

    /// `: keepalive`, which moves the client's cursor to `position` where one is given.
    pub fn keepalive(position: Option<EventId>) -> Self {
        let blocks = Blocks::new().comment("keepalive").end();
        match position {
            Some(id) => blocks.id(id).end().into_frame(),
            None => blocks.into_frame(),
        }
    }

    /// An `id:` line alone: it moves a client's cursor and fires no event.
    pub fn position(id: EventId) -> Self {
        Blocks::new().id(id).end().into_frame()
    }

    /// The delay after which the client is to reconnect.
    pub fn retry(ms: u64) -> Self {
        Blocks::new().retry(ms).end().into_frame()
    }

    /// The last words of a stream: an optional move of the cursor, when to come back, and why it closes.
    pub fn farewell(position: Option<EventId>, retry_ms: Option<u64>, reason: &'static str) -> Self {
        let mut blocks = Blocks::new();
        if let Some(id) = position {
            blocks = blocks.id(id).end();
        }
        if let Some(retry_ms) = retry_ms {
            blocks = blocks.retry(retry_ms).end();
        }
        blocks.comment(reason).end().into_frame()
    }

    /// One of the server's own events. It has no id, so the client's cursor stays.
    pub fn control(format: Format, control: &Control) -> Self {
        let mut blocks = Blocks::new();
        let event_type = control.event_type();
        let payload = json_text(control);
        match format {
            Format::Named => blocks = blocks.event(event_type).data(&payload),
            Format::Envelope => blocks = blocks.data(&format!(r#"{{"type":"{event_type}","payload":{payload}}}"#)),
        }
        blocks.end().into_frame()
    }

    /// An entry of a topic.
    pub fn entry(format: Format, topic: &Topic, id: EventId, event: &Event) -> Self {
        let blocks = Blocks::with_capacity(256 + 2 * event.cost_bytes());
        let blocks = match format {
            Format::Named => blocks.event(event.event_type.as_str()).id(id).data(event.payload.as_str()),
            Format::Envelope => blocks.id(id).data(&json_text(&Envelope::of_entry(topic, id, event))),
        };
        blocks.end().into_frame()
    }

    /// An event for everybody who is connected: it is in no journal, so it has no id and no topic.
    pub fn broadcast(format: Format, event: &Event) -> Self {
        let blocks = match format {
            Format::Named => Blocks::new().event(event.event_type.as_str()).data(event.payload.as_str()),
            Format::Envelope => Blocks::new().data(&json_text(&Envelope::of_broadcast(event))),
        };
        blocks.end().into_frame()
    }
}

/// How a user's stream is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// No `event:` line; `data:` is the whole envelope.
    #[default]
    Envelope,
    /// `event:` is the type, `data:` the payload.
    Named,
}

impl Format {
    /// How many formats there are.
    pub const COUNT: usize = 2;

    /// The format of that name, as clients ask for it.
    pub fn find(name: &str) -> Option<Self> {
        match name {
            "envelope" => Some(Self::Envelope),
            "named" => Some(Self::Named),
            _ => None,
        }
    }
}

/// An event of the server's own: its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Control {
    /// Entries behind the client's cursor are gone, or may be.
    BacklogTruncated {
        /// The oldest entry that is retained; null if none is.
        #[serde(serialize_with = "optional_text")]
        oldest_retained_id: Option<EventId>,
    },
    /// The subscribe request was turned down.
    StreamRefused {
        /// The HTTP status that the refusal would have had.
        status: u16,
        /// The stable name of the reason.
        code: &'static str,
        /// What is wrong and what to do.
        message: String,
        /// When to try again, if waiting helps.
        retry_after_seconds: Option<u64>,
    },
}

impl Control {
    /// The type that the client sees.
    pub const fn event_type(&self) -> &'static str {
        match self {
            Self::BacklogTruncated { .. } => "backlog.truncated",
            Self::StreamRefused { .. } => "stream.refused",
        }
    }
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
fn optional_text<S: serde::Serializer>(id: &Option<EventId>, serializer: S) -> Result<S::Ok, S::Error> {
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
    scope: Option<&'a Json>,
    payload: &'a Json,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<&'a Category>,
}

impl<'a> Envelope<'a> {
    fn of_entry(topic: &'a Topic, id: EventId, event: &'a Event) -> Self {
        let user_id = match topic {
            Topic::User(user) => Some(user.as_str()),
            Topic::Message(_) => None,
        };
        Self { id: Some(id), user_id, topic: Some(topic), ..Self::of_broadcast(event) }
    }

    fn of_broadcast(event: &'a Event) -> Self {
        Self {
            id: None,
            r#type: event.event_type.as_str(),
            ts: event.ts,
            user_id: None,
            topic: None,
            scope: event.scope.as_ref(),
            payload: &event.payload,
            category: event.category.as_ref(),
        }
    }
}

fn json_text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings, numbers and raw JSON always serialise")
}

/// Blocks being written, behind room for the chunk's head.
struct Blocks(String);

impl Blocks {
    fn new() -> Self {
        Self::with_capacity(64)
    }

    fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(CHUNK_HEAD_BYTES_MAX + bytes);
        text.push_str("          ");
        debug_assert_eq!(text.len(), CHUNK_HEAD_BYTES_MAX);
        Self(text)
    }

    fn comment(self, text: &'static str) -> Self {
        self.line(": ", text)
    }

    fn event(self, event_type: &str) -> Self {
        self.line("event: ", event_type)
    }

    fn id(mut self, id: EventId) -> Self {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "id: {id}");
        self
    }

    fn retry(mut self, ms: u64) -> Self {
        let _ = writeln!(self.0, "retry: {ms}");
        self
    }

    /// One `data:` line for each line of the text, whether it ends in LF, CR or both.
    fn data(self, text: &str) -> Self {
        let mut blocks = self;
        let mut rest = text;
        while let Some(at) = rest.find(['\r', '\n']) {
            blocks = blocks.line("data: ", &rest[..at]);
            let line_end = if rest[at..].starts_with("\r\n") { 2 } else { 1 };
            rest = &rest[at + line_end..];
        }
        blocks.line("data: ", rest)
    }

    fn line(mut self, field: &str, value: &str) -> Self {
        debug_assert!(!value.contains(['\r', '\n']), "a line break in {field:?}");
        self.0.push_str(field);
        self.0.push_str(value);
        self.0.push('\n');
        self
    }

    fn end(mut self) -> Self {
        self.0.push('\n');
        self
    }

    fn into_frame(self) -> Frame {
        let mut bytes = self.0.into_bytes();
        let head = format!("{:x}\r\n", bytes.len() - CHUNK_HEAD_BYTES_MAX);
        let start = CHUNK_HEAD_BYTES_MAX - head.len();
        bytes[start..CHUNK_HEAD_BYTES_MAX].copy_from_slice(head.as_bytes());
        bytes.extend_from_slice(CHUNK_TAIL);
        bytes.shrink_to_fit();
        Frame { chunk: Bytes::from(bytes).slice(start..), body_start: head.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        event::EventType,
        frame_decoder::{Decoded, FrameDecoder},
        topic::UserId,
    };
    use proptest::prelude::*;

    fn event(event_type: &str, payload: &str) -> Event {
        Event {
            event_type: EventType::parse(event_type).unwrap(),
            ts: Timestamp::from_ms(1_718_900_000_000),
            category: None,
            scope: None,
            payload: Json::parse(payload).unwrap(),
        }
    }

    fn body_text(frame: &Frame) -> String {
        String::from_utf8(frame.body().to_vec()).unwrap()
    }

    fn user(id: &str) -> Topic {
        Topic::User(UserId::parse(id).unwrap())
    }

    #[test]
    fn control_frames_read_as_the_contract_says() {
        assert_eq!(body_text(&Frame::greeting(3000)), ": connected\n\nretry: 3000\n\n");
        assert_eq!(body_text(&Frame::keepalive(None)), ": keepalive\n\n");
        assert_eq!(body_text(&Frame::keepalive(Some(EventId::timed(7, 1)))), ": keepalive\n\nid: 7-1\n\n");
        assert_eq!(body_text(&Frame::position(EventId::timed(7, 0))), "id: 7-0\n\n");
        assert_eq!(body_text(&Frame::farewell(None, Some(100), "snapshot capped")), "retry: 100\n\n: snapshot capped\n\n");
        let truncated = Control::BacklogTruncated { oldest_retained_id: Some(EventId::timed(5, 1)) };
        assert_eq!(
            body_text(&Frame::control(Format::Envelope, &truncated)),
            "data: {\"type\":\"backlog.truncated\",\"payload\":{\"oldest_retained_id\":\"5-1\"}}\n\n"
        );
        assert_eq!(
            body_text(&Frame::control(Format::Named, &truncated)),
            "event: backlog.truncated\ndata: {\"oldest_retained_id\":\"5-1\"}\n\n"
        );
    }

    #[test]
    fn an_entry_is_the_envelope_or_its_payload() {
        let mut event = event("source.ingest.queued", r#"{"n":1.0}"#);
        let topic = user("u\"1");
        let envelope = concat!(
            "id: 7-1\ndata: {\"id\":\"7-1\",\"type\":\"source.ingest.queued\",\"ts\":\"2024-06-20T16:13:20.000Z\",",
            "\"user_id\":\"u\\\"1\",\"topic\":\"user:u\\\"1\",\"scope\":null,\"payload\":{\"n\":1.0}}\n\n"
        );
        assert_eq!(body_text(&Frame::entry(Format::Envelope, &topic, EventId::timed(7, 1), &event)), envelope);
        let named = "event: source.ingest.queued\nid: 7-1\ndata: {\"n\":1.0}\n\n";
        assert_eq!(body_text(&Frame::entry(Format::Named, &topic, EventId::timed(7, 1), &event)), named);
        event.category = Category::parse("import").ok();
        event.scope = Json::parse(r#"{"kind":"source"}"#).ok();
        let frame = body_text(&Frame::entry(Format::Envelope, &topic, EventId::timed(7, 1), &event));
        assert!(frame.contains(r#""scope":{"kind":"source"},"payload":{"n":1.0},"category":"import"}"#), "{frame}");
    }

    #[test]
    fn a_broadcast_has_no_id_and_no_topic() {
        let frame = body_text(&Frame::broadcast(Format::Envelope, &event("notice", "1")));
        assert_eq!(frame, "data: {\"type\":\"notice\",\"ts\":\"2024-06-20T16:13:20.000Z\",\"scope\":null,\"payload\":1}\n\n");
    }

    proptest! {
        #[test]
        fn the_chunk_is_the_length_and_the_body(payload in "[a-z]{0,5000}") {
            let frame = Frame::entry(Format::Named, &user("u"), EventId::timed(1, 1), &event("t", &format!("\"{payload}\"")));
            let body = frame.body();
            let mut expected = format!("{:x}\r\n", body.len()).into_bytes();
            expected.extend_from_slice(&body);
            expected.extend_from_slice(b"\r\n");
            prop_assert_eq!(frame.chunk().to_vec(), expected);
        }

        #[test]
        fn any_text_comes_out_line_by_line_as_it_went_in(text: String) {
            let frame = Blocks::new().event("t").data(&text).end().into_frame();
            let mut decoder = FrameDecoder::default();
            let decoded = decoder.feed(&frame.body());
            let expected = text.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(&decoded[..], &[Decoded::Event { id: None, event_type: "t".to_owned(), data: expected }][..]);
        }

        #[test]
        fn any_payload_comes_out_as_the_publisher_wrote_it(strings: Vec<String>, number: f64) {
            let payload = serde_json::to_string(&(strings, number)).unwrap();
            let frame = Frame::entry(Format::Named, &user("u"), EventId::timed(1, 1), &event("t", &payload));
            let decoded = FrameDecoder::default().feed(&frame.body());
            prop_assert_eq!(&decoded[..], &[Decoded::Event { id: Some("1-1".to_owned()), event_type: "t".to_owned(), data: payload }][..]);
        }
    }
}
