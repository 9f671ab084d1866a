//! The server's own events, which are in no journal.
//!
//! Invariant: their types begin with `backlog.` or `stream.`, which no publisher may use.

use serde::Serialize;

use crate::domain::{
    json::json_text,
    position::{EventId, optional_text},
};

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
    /// The connection lives.
    StreamKeepalive {},
    /// The client's cursor moves, by the id that the frame has.
    StreamPosition {},
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
            Self::StreamKeepalive {} => "stream.keepalive",
            Self::StreamPosition {} => "stream.position",
            Self::StreamRefused { .. } => "stream.refused",
        }
    }

    /// The event with its type, as JSON.
    pub(super) fn envelope_json(&self) -> String {
        format!(r#"{{"type":"{}","payload":{}}}"#, self.event_type(), json_text(self))
    }
}
