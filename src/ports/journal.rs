//! The append-only, bounded record of every user's events: the source of truth.

use std::sync::Arc;

use async_trait::async_trait;

use super::{backend_error::BackendError, topic_log::TopicLog};
#[cfg(test)]
use crate::domain::{
    cursor::Bounds,
    page::{Page, PageLimit},
    position::Position,
    topic::Topic,
};
use crate::domain::{
    event::Event, idempotency_key::IdempotencyKey, position::EventId, topic::UserId,
};

/// A log of users' topics. It appends, reads and returns its bounds; it never sees a subscriber.
///
/// What a successful append means for durability, how exactly the bounds are known, and how they
/// are, is said in each adapter's module docs.
#[async_trait]
pub trait Journal: TopicLog {
    /// Appends events, each to its topic, and answers for each in the same order.
    ///
    /// Laws:
    /// - ids strictly increase in a topic, in the order of the batch, also when the clock steps
    ///   back;
    /// - an entry's `prev` is the position it was appended at, so that nothing lies between;
    /// - an acknowledged entry is readable at once, by every process;
    /// - no entry ever appears behind a head that was already returned, with a smaller id;
    /// - the same idempotency key on the same topic within the window appends once: the repeat gets
    ///   the first id;
    /// - a batch is appended whole or not at all, but for events of damaged topics: each of them is
    ///   answered by an error of kind [`super::backend_error::BackendErrorKind::Damaged`], and the
    ///   others are appended.
    ///
    /// # Errors
    /// An error means that no client will ever see the entries, or that a retry with the same
    /// idempotency keys is harmless.
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError>;

    /// How many entries of a user's topic are retained: what reading from the start would give.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn length(&self, user: &UserId) -> Result<u64, BackendError>;

    /// Removes all entries of a user's topic. Clients that had not read them get a notice of
    /// truncation; ids go on increasing.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn purge(&self, user: &UserId) -> Result<(), BackendError>;
}

/// One event on its way into the journal.
#[derive(Clone, Debug)]
pub struct Append {
    /// Whose topic it goes to. Messages are appended by [`super::messages::Messages`].
    pub user: UserId,
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
    /// Whether the key had been seen on this topic within the window, so that nothing was appended
    /// now.
    pub duplicate: bool,
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
        async fn length(&self, user: &UserId) -> Result<u64, BackendError>;
        async fn purge(&self, user: &UserId) -> Result<(), BackendError>;
    }
}
