//! What a message needs beyond a log: an owner, a number for each event, a producer, and an end.
//!
//! What may be appended where is decided by [`crate::domain::message`]; an adapter keeps a
//! [`Message`](crate::domain::message::Message) for each, and changes it and its events in one
//! step.

use std::time::Duration;

use async_trait::async_trait;

use super::{backend_error::BackendError, topic_log::TopicLog};
use crate::domain::{
    message::{AppendRefusal, MessageAppend, MessageAppended, Observed, OpenRefusal, Opened},
    topic::{MessageId, UserId},
};

/// Messages and their events.
///
/// Read through [`TopicLog`], with these laws beside those there: an entry's id is its number
/// ([`crate::domain::position::EventId::sequence`]), from 0; `prev` is always known; origin and
/// floor are [`crate::domain::position::Position::Start`], since a message is never trimmed; a
/// message that is not there reads as an empty one.
#[async_trait]
pub trait Messages: TopicLog {
    /// Opens a message, or opens it once more, or has a new producer take it over.
    ///
    /// Laws:
    /// - opening again changes nothing but the producer's sign of life;
    /// - each takeover gets an epoch of its own, higher than all before;
    /// - a message that is deleted and opened again begins anew.
    ///
    /// # Errors
    /// Any; a retry is harmless, but a takeover may then have counted twice.
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError>;

    /// Appends events in their order, up to the first that is refused: that one's refusal is the
    /// last of the answers, and nothing behind it is tried. An empty batch answers nothing.
    ///
    /// Laws:
    /// - numbers go from 0 without holes, whoever appends at the same time;
    /// - a repeat (the same type and payload under a number that is taken, or the same idempotency
    ///   key on the message within the window) appends nothing and is answered with the first
    ///   number;
    /// - nothing is appended behind a terminal event;
    /// - an event that the message has no room for is refused as [`AppendRefusal::TooLarge`], and
    ///   changes nothing: the message has [`crate::domain::message::MESSAGE_EVENTS_MAX`] events, or
    ///   the backend can't hold more of it;
    /// - an event is readable at once, by every process, and feeds that watch the message's topic
    ///   are told.
    ///
    /// # Errors
    /// An error means that no client will ever see the events, or that a retry with the same
    /// numbers or keys is harmless.
    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError>;

    /// The producer lives.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError>;

    /// The reader wants no more: every append and heartbeat says so from now on. `None` if the
    /// message is not there.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError>;

    /// The message as it is, if it is there.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError>;

    /// Removes a message with its events, and notifies feeds that watch it. `false` if it was not
    /// there.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError>;

    /// Removes messages whose producers gave no sign of life for so long, but no more than so many
    /// at a time. Returns how many it removed.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn sweep(&self, silent_for: Duration, messages_max: usize)
    -> Result<usize, BackendError>;
}
