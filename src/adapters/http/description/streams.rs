//! What streams carry. Frames are written by `domain::frame`, which knows nothing of descriptions:
//! a test reads real streams and holds them against these.

use serde_json::Value;
use utoipa::ToSchema;

/// A user's stream, frame by frame.
pub(in crate::adapters::http) const EVENT_STREAM: &str = include_str!("event_stream.md");
pub(in crate::adapters::http) const EVENT_STREAM_EXAMPLE: &str = include_str!("event_stream.txt");
/// A message's stream, frame by frame.
pub(in crate::adapters::http) const MESSAGE_STREAM: &str = include_str!("message_stream.md");
pub(in crate::adapters::http) const MESSAGE_STREAM_EXAMPLE: &str =
    include_str!("message_stream.txt");

/// An event as clients see it: the `data:` of the format `envelope`. In the formats `named` and
/// `data` only `payload` or `data` is there.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there to be described: `domain::frame` writes it")]
#[expect(clippy::struct_field_names, reason = "its fields are those of the JSON")]
pub(in crate::adapters::http) struct Event {
    /// Its place in its topic; it is missing from a broadcast.
    #[schema(nullable = false, pattern = r"^\d+(-\d+)?$")]
    id: Option<String>,
    /// What happened.
    r#type: String,
    /// When it was published: UTC, with milliseconds.
    #[schema(format = DateTime)]
    ts: String,
    /// Whose it is; it is missing from a broadcast.
    #[schema(nullable = false)]
    user_id: Option<String>,
    /// `user:` and the user's id; it is missing from a broadcast.
    #[schema(nullable = false)]
    topic: Option<String>,
    /// What it is about: the publisher's own object, `{}` where none was given.
    #[schema(value_type = Object)]
    scope: Value,
    /// Its content: the publisher's own JSON, to the letter; `{}` where none was given.
    #[schema(value_type = Value)]
    payload: Option<Value>,
    /// Its content as a text, in place of `payload`.
    #[schema(nullable = false)]
    data: Option<String>,
    /// The name that the format `data` writes for it; only with `data`.
    #[schema(nullable = false)]
    event: Option<String>,
    /// The category by which clients filter.
    #[schema(nullable = false)]
    category: Option<String>,
}

/// One of the server's own events in the format `envelope`. It has no id, so the cursor stays.
#[derive(ToSchema)]
#[serde(tag = "type", content = "payload")]
#[expect(dead_code, reason = "it is there to be described: `domain::frame` writes it")]
pub(super) enum ControlEvent {
    /// Events behind the cursor are gone, or may be: fetch the state anew.
    #[serde(rename = "backlog.truncated")]
    Truncated(NamedTruncation),
    /// The request was turned down, and had `errors=stream`.
    #[serde(rename = "stream.refused")]
    Refused(NamedRefusal),
}

/// The payload of `backlog.truncated`.
#[derive(ToSchema)]
#[schema(as = BacklogTruncated)]
#[expect(dead_code, reason = "it is there to be described: `domain::frame` writes it")]
pub(super) struct NamedTruncation {
    /// The oldest event that is retained; null if none is.
    #[schema(required = true)]
    oldest_retained_id: Option<String>,
}

/// The payload of `stream.refused`.
#[derive(ToSchema)]
#[schema(as = StreamRefused)]
#[expect(dead_code, reason = "it is there to be described: `domain::frame` writes it")]
pub(super) struct NamedRefusal {
    /// The status that the answer would have had.
    status: u16,
    /// The code of the error.
    code: String,
    /// What is wrong and what to do, for people.
    message: String,
    /// Seconds after which another try may succeed; null where waiting doesn't help.
    #[schema(required = true)]
    retry_after_seconds: Option<u64>,
}

/// An event of a message: the `data:` of its stream. An object payload has its other members beside
/// `type`; any other payload stands in `payload`, and a text in `data`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there to be described: `domain::message_data` writes it")]
pub(super) struct MessageEvent {
    /// What it is. `end` and `error` are the last of a message, unless their producer said
    /// otherwise.
    r#type: String,
}

/// The final event of a message's stream whose producer has been silent for too long. It has no id,
/// so the cursor stays good.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is there to be described: `domain::frame` writes it")]
pub(super) struct ProducerStale {
    /// Always `error`.
    r#type: String,
    /// Always `producer_stale`.
    code: String,
    /// What to do, for people.
    error: String,
    message_id: String,
}
