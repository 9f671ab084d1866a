//! The append-only, bounded record of every user's events: the source of truth.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

#[cfg(test)]
use super::topic_log::PageLimit;
use super::{backend_error::BackendError, topic_log::TopicLog};
#[cfg(test)]
use crate::domain::{cursor::Bounds, position::Position, replay::Page};
use crate::domain::{event::Event, position::EventId, topic::Topic};

/// A log of users' topics. It appends, reads and tells its bounds; it never sees a subscriber.
///
/// What a successful append means for durability, how exactly the bounds are known, and how they are, is said in each
/// adapter's module docs.
#[async_trait]
pub trait Journal: TopicLog {
    /// Appends events, each to its topic, and answers for each in the same order.
    ///
    /// Laws:
    /// - ids strictly increase in a topic, in the order of the batch, also when the clock steps back;
    /// - an entry's `prev` is the position it was appended at, so that nothing lies between;
    /// - an acknowledged entry is readable at once, by every process;
    /// - no entry ever appears behind a head that was already told with a smaller id;
    /// - the same idempotency key on the same topic within the window appends once: the repeat gets the first id;
    /// - a batch is appended whole or not at all, but for events of damaged topics: each of them is answered by an error of
    ///   kind [`super::backend_error::BackendErrorKind::Damaged`], and the others are appended.
    ///
    /// # Errors
    /// An error means that nobody will ever see the entries, or that a retry with the same idempotency keys is harmless.
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Result<Appended, BackendError>>, BackendError>;

    /// How many entries of a topic are retained: what reading from the start would give.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn length(&self, topic: &Topic) -> Result<u64, BackendError>;

    /// Removes all entries of a topic. Who had not read them is told by truncation; ids go on increasing.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn purge(&self, topic: &Topic) -> Result<(), BackendError>;
}

/// One event on its way into the journal.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where it goes: a user's topic. Messages have numbers, and are appended by [`super::messages::Messages`].
    pub topic: Topic,
    /// The event.
    pub event: Arc<Event>,
    /// Makes a repeat recognisable.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// The journal's word on one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its id; for a repeat, the id that the first one got.
    pub id: EventId,
    /// Whether the key had been seen on this topic within the window, so that nothing was appended now.
    pub duplicate: bool,
}

/// What a publisher gives so that a retry is recognised: 1 to 256 bytes of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// Longest key that a publisher may send, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 256;

/// The text is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters")]
pub struct InvalidIdempotencyKey;

impl IdempotencyKey {
    /// Checks the rules.
    ///
    /// # Errors
    /// [`InvalidIdempotencyKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        if text.is_empty() || text.len() > IDEMPOTENCY_KEY_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(InvalidIdempotencyKey);
        }
        Ok(Self(text.into()))
    }

    /// The key of one line of an upload that carries one key: a space can't occur in a publisher's own key.
    #[must_use]
    pub fn of_line(&self, number: u64) -> Self {
        Self(format!("{} {number}", self.0).into())
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mockall::mock! {
    /// A journal whose answers a test stages.
    pub Journal {}

    #[async_trait]
    impl TopicLog for Journal {
        async fn read(&self, topic: &Topic, after: Position, limit: PageLimit) -> Result<Page, BackendError>;
        async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError>;
        async fn probe(&self) -> Result<(), BackendError>;
    }

    #[async_trait]
    impl Journal for Journal {
        async fn append(&self, batch: Vec<Append>) -> Result<Vec<Result<Appended, BackendError>>, BackendError>;
        async fn length(&self, topic: &Topic) -> Result<u64, BackendError>;
        async fn purge(&self, topic: &Topic) -> Result<(), BackendError>;
    }
}
