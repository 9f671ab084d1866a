//! The answer for an event that was appended to a message.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::message::MessageAppended;

/// The answer for an event that was taken.
#[derive(Serialize, ToSchema)]
pub(super) struct AppendReceipt {
    /// Always true.
    success: bool,
    /// The event's number.
    sequence_no: u64,
    /// Whether the reader wants no more.
    stop: bool,
    /// Whether it had been appended before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

impl From<MessageAppended> for AppendReceipt {
    fn from(MessageAppended { sequence_no, duplicate, stop_requested }: MessageAppended) -> Self {
        Self { success: true, sequence_no, stop: stop_requested, duplicate }
    }
}
