//! What laws of messages begin with.

use std::sync::Arc;

use rejoin::domain::{
    event::{Event, EventType},
    idempotency_key::IdempotencyKey,
    message::{AppendRefusal, MessageAppend, MessageAppended, Observed},
    topic::{MessageId, Topic},
};
use uuid::Uuid;

use crate::contract::{
    backend::Process,
    given::{event, user},
};

pub(super) fn message() -> MessageId {
    MessageId::from(Uuid::new_v4())
}

pub(super) fn topic(id: &MessageId) -> Topic {
    Topic::Message(id.clone())
}

/// A numbered chunk, which `given::number` recognises.
pub(super) fn chunk(number: usize) -> MessageAppend {
    MessageAppend { event: event(number), sequence_no: None, idempotency_key: None }
}

/// The same under a number of its producer's.
pub(super) fn chunk_at(sequence_no: u64, number: usize) -> MessageAppend {
    MessageAppend { sequence_no: Some(sequence_no), ..chunk(number) }
}

pub(super) fn chunk_with_key(number: usize, key: &str) -> MessageAppend {
    MessageAppend { idempotency_key: Some(IdempotencyKey::parse(key).unwrap()), ..chunk(number) }
}

/// An event of a type, such as `end`.
pub(super) fn of_type(event_type: &str) -> MessageAppend {
    let event = Event { event_type: EventType::parse(event_type).unwrap(), ..(*event(0)).clone() };
    MessageAppend { event: Arc::new(event), ..chunk(0) }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with answers")]
pub(super) const fn taken(sequence_no: u64) -> Result<MessageAppended, AppendRefusal> {
    Ok(MessageAppended { sequence_no, duplicate: false, stop_requested: false })
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with answers")]
pub(super) const fn repeated(sequence_no: u64) -> Result<MessageAppended, AppendRefusal> {
    Ok(MessageAppended { sequence_no, duplicate: true, stop_requested: false })
}

impl Process {
    /// Opens a new message of `u1`.
    pub(super) async fn open_message(&self) -> MessageId {
        let id = message();
        let opened = self.messages.open(&id, &user("u1"), false).await.unwrap().unwrap();
        assert!(opened.created);
        id
    }

    pub(super) async fn append_to(
        &self,
        id: &MessageId,
        batch: impl IntoIterator<Item = MessageAppend>,
    ) -> Vec<Result<MessageAppended, AppendRefusal>> {
        self.messages.append(id, None, batch.into_iter().collect()).await.unwrap()
    }

    pub(super) async fn observe(&self, id: &MessageId) -> Option<Observed> {
        self.messages.observe(id).await.unwrap()
    }
}
