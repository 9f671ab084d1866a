//! What producers and owners are shown of a message.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{message::Observed, timestamp::Timestamp, topic::MessageId};

/// A message, without its events.
#[derive(Serialize, ToSchema)]
pub(in crate::adapters::http) struct MessageView {
    /// Always true.
    success: bool,
    message_id: String,
    /// Who may read it.
    user_id: String,
    /// `streaming`, `complete`, `failed` or `stale`.
    status: &'static str,
    /// Which producer is in charge, counted from 1.
    epoch: u64,
    /// The number of the last event; null if there is none.
    #[schema(required = true)]
    last_sequence_no: Option<u64>,
    /// Whether the reader wants no more.
    stop: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The producer's last sign of life.
    #[schema(value_type = String, format = DateTime)]
    producer_seen_at: Timestamp,
    /// Null while it has not ended.
    #[schema(value_type = Option<String>, format = DateTime, required = true)]
    ended_at: Option<Timestamp>,
}

impl MessageView {
    pub(in crate::adapters::http) fn of(
        id: &MessageId,
        observed: &Observed,
        producer_idle: Duration,
    ) -> Self {
        let message = &observed.message;
        Self {
            success: true,
            message_id: id.to_string(),
            user_id: message.owner.to_string(),
            status: observed.status(producer_idle).as_str(),
            epoch: message.epoch,
            last_sequence_no: message.last_sequence_no(),
            stop: message.stop_requested,
            created_at: message.created_at,
            producer_seen_at: message.producer_seen_at,
            ended_at: message.end.map(|end| end.at),
        }
    }
}

/// Whether the reader wants no more.
#[derive(Serialize, ToSchema)]
pub(super) struct StopView {
    /// Always true.
    success: bool,
    /// Whether the reader wants no more.
    stop: bool,
    /// Where the message stands, if it was a stop that was answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<&'static str>,
}

impl StopView {
    /// With the status, where the silence is given that makes a producer count as gone.
    pub(super) fn of(observed: &Observed, producer_idle: Option<Duration>) -> Self {
        let status = producer_idle.map(|producer_idle| observed.status(producer_idle).as_str());
        Self { success: true, stop: observed.message.stop_requested, status }
    }
}
