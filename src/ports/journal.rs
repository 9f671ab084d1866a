//! The append-only, bounded record of every topic's entries: the source of truth.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use super::backend_error::BackendError;
use crate::domain::{
    cursor::Bounds,
    event::Event,
    position::{EventId, Position},
    replay::Page,
    topic::Topic,
};

/// A log of topics. It appends, reads and tells its bounds; it never sees a subscriber.
///
/// What a successful append means for durability, how exactly the bounds are known, and how they are, is said in each
/// adapter's module docs.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait Journal: Send + Sync {
    /// Appends events, each to its topic, and tells their ids in the same order.
    ///
    /// Laws:
    /// - ids strictly increase in a topic, in the order of the batch, also when the clock steps back;
    /// - an entry's `prev` is the position it was appended at, so that nothing lies between;
    /// - an acknowledged entry is readable at once, by every process;
    /// - no entry ever appears behind a head that was already told with a smaller id;
    /// - the same idempotency key on the same topic within the window appends once: the repeat gets the first id;
    /// - a batch is appended whole or not at all.
    ///
    /// # Errors
    /// An error means that nobody will ever see the entries, or that a retry with the same idempotency keys is harmless.
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Appended>, BackendError>;

    /// Reads entries after a position, oldest first.
    ///
    /// Laws:
    /// - exclusive of the position, in order, without a gap between entries, within the limit (but at least one entry if
    ///   there is one, however large);
    /// - `more` is set exactly if entries lie behind the last one;
    /// - entries over the age limit count as removed;
    /// - the bounds are as [`Journal::bounds`] would tell, not later than the entries.
    ///
    /// # Errors
    /// Any; reading has no effect.
    async fn read(&self, topic: &Topic, after: Position, limit: PageLimit) -> Result<Page, BackendError>;

    /// The topic's extent.
    ///
    /// Laws:
    /// - the head never goes back while the journal's incarnation lasts, and every later entry lies behind it;
    /// - a wiped journal has an origin behind every id it issued before;
    /// - the floor is the position after which nothing was removed, or `None` where that can't be told.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError>;

    /// Removes all entries of a topic. Who had not read them is told by truncation; ids go on increasing.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn purge(&self, topic: &Topic) -> Result<(), BackendError>;

    /// Whether the backend answers, within a bounded time.
    ///
    /// # Errors
    /// What an append or a read would meet.
    async fn probe(&self) -> Result<(), BackendError>;
}

/// One event on its way into the journal.
#[derive(Clone, Debug)]
pub struct Append {
    /// Where it goes.
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

/// How much one read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit {
    /// Most entries.
    pub entries_max: usize,
    /// Most bytes of events, as [`Event::cost_bytes`] counts them; one larger entry still comes alone.
    pub bytes_max: usize,
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
