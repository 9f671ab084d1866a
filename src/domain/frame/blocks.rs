//! Blocks of Server-Sent Events, as they are being written.
//!
//! Invariants: every method writes whole lines, and only `data` takes a text that may have line
//! breaks.

use std::fmt::Write as _;

use bytes::Bytes;

use super::{Control, Format, Frame};
use crate::domain::{
    json::json_text,
    position::{EventId, Position},
};

/// Room for the chunk's length in hexadecimal and its line end: enough for 4 GiB.
const CHUNK_HEAD_BYTES_MAX: usize = 10;
pub(super) const CHUNK_TAIL: &[u8] = b"\r\n";

/// Blocks being written, behind room for the chunk's head.
pub(super) struct Blocks(String);

impl Blocks {
    pub(super) fn new() -> Self {
        Self::with_capacity(64)
    }

    pub(super) fn with_capacity(bytes: usize) -> Self {
        let mut text = String::with_capacity(CHUNK_HEAD_BYTES_MAX + bytes);
        text.push_str("          ");
        debug_assert_eq!(text.len(), CHUNK_HEAD_BYTES_MAX);
        Self(text)
    }

    pub(super) fn comment(self, text: &'static str) -> Self {
        self.line(": ", text)
    }

    pub(super) fn event(self, event_type: &str) -> Self {
        self.line("event: ", event_type)
    }

    pub(super) fn event_if(self, name: Option<&str>) -> Self {
        match name {
            Some(name) => self.event(name),
            None => self,
        }
    }

    pub(super) fn id(mut self, id: EventId) -> Self {
        // Writing to a string can't fail.
        let _ = writeln!(self.0, "id: {id}");
        self
    }

    /// A block of the server's own, without an id.
    pub(super) fn control(self, format: Format, control: &Control) -> Self {
        if format.names_control() {
            self.event(control.event_type()).data(&json_text(control)).end()
        } else {
            self.data(&control.envelope_json()).end()
        }
    }

    /// A block that moves the client's cursor, where there is a place to move it to. Whatever the
    /// format, its event has a type of its own, so that no handler of a page's shows it; at the
    /// start the id is empty.
    pub(super) fn position(self, position: Option<Position>) -> Self {
        let Some(position) = position else { return self };
        let control = Control::StreamPosition {};
        let blocks = self.event(control.event_type()).data(&control.envelope_json());
        match position {
            Position::Start => blocks.line("id:", ""),
            Position::After(id) => blocks.id(id),
        }
        .end()
    }

    pub(super) fn retry(mut self, ms: u64) -> Self {
        let _ = writeln!(self.0, "retry: {ms}");
        self
    }

    /// One `data:` line for each line of the text, whether it ends in LF, CR or both.
    pub(super) fn data(self, text: &str) -> Self {
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

    pub(super) fn end(mut self) -> Self {
        self.0.push('\n');
        self
    }

    pub(super) fn into_frame(self) -> Frame {
        let mut bytes = self.0.into_bytes();
        let head = format!("{:x}\r\n", bytes.len() - CHUNK_HEAD_BYTES_MAX);
        let start = CHUNK_HEAD_BYTES_MAX - head.len();
        bytes[start..CHUNK_HEAD_BYTES_MAX].copy_from_slice(head.as_bytes());
        bytes.extend_from_slice(CHUNK_TAIL);
        bytes.shrink_to_fit();
        Frame { chunk: Bytes::from(bytes).slice(start..), body_start: head.len() }
    }
}
