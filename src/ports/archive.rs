//! What a journal needs beyond reading and appending, so that it can be exported, imported, checked
//! and made smaller.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::backend_error::BackendError;
use crate::domain::{
    event::Entry,
    position::EventId,
    topic::{MessageId, UserId},
};

/// A backend as a whole, for operators: which topics it has, and how one of another journal gets
/// into it.
///
/// Nothing of this is on the way of an event: calls may be slow, and a list need not be of one
/// moment.
#[async_trait]
pub trait Archive: Send + Sync {
    /// Users that have a topic, some at a time.
    ///
    /// Laws:
    /// - every topic that was there from the first call to the last is listed; one that came or
    ///   went between may be;
    /// - a name comes once, unless the list says otherwise.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn users(&self, from: Option<&ListPlace>) -> Result<Listing<UserId>, BackendError>;

    /// Messages, some at a time, with the same laws.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn messages(&self, from: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError>;

    /// Takes over entries of another journal, or of an earlier state of this one, each part behind
    /// those of the same topic that were taken over before, and answers for each part. At most one
    /// part of a topic at a time.
    ///
    /// Laws:
    /// - they can be read as if they had been appended here, with their ids where
    ///   [`Restored::Kept`] says so;
    /// - a topic that has gone another way stays as it is ([`Restored::Another`]);
    /// - repeating the latest call changes nothing, where ids are kept;
    /// - no subscriber is notified.
    ///
    /// # Errors
    /// Nothing was changed, or all of it; a retry is harmless.
    async fn restore(&self, parts: Vec<Part>) -> Result<Vec<Restored>, BackendError>;

    /// Whether all that is stored can be read, beyond what reading each topic shows. Backends that
    /// check whatever they read have nothing to add.
    ///
    /// # Errors
    /// What is damaged.
    async fn check(&self) -> Result<(), BackendError> {
        Ok(())
    }

    /// Gives room back that what was removed has left behind. [`None`] where the server does that
    /// by itself.
    ///
    /// # Errors
    /// Any; a retry is harmless.
    async fn compact(&self) -> Result<Option<Compacted>, BackendError> {
        Ok(None)
    }

    /// What the backend can say of itself, in words, by name: sizes in bytes, counts.
    ///
    /// # Errors
    /// Any; asking has no effect.
    async fn figures(&self) -> Result<BTreeMap<&'static str, u64>, BackendError> {
        Ok(BTreeMap::new())
    }
}

/// A place in a list, which only the backend can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListPlace(pub String);

/// A part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// What is listed.
    pub items: Vec<T>,
    /// Where the next part begins; `None` behind the last.
    pub next: Option<ListPlace>,
    /// Whether a name may come in another part too.
    pub may_repeat: bool,
}

impl<T> Listing<T> {
    /// The whole list.
    pub const fn whole(items: Vec<T>) -> Self {
        Self { items, next: None, may_repeat: false }
    }
}

/// Entries on their way into a journal.
#[derive(Clone, Debug)]
pub struct Part {
    /// Whose topic it is.
    pub user: UserId,
    /// The origin of the journal that they come from: a cursor behind it may go on.
    pub origin: EventId,
    /// The position that they follow. Nothing was removed between it and the first of them.
    pub after: EventId,
    /// Whether it is the first part of its topic.
    pub is_first: bool,
    /// The entries, each with the one before it as its `prev`. Without any, the topic's head is
    /// taken over.
    pub entries: Vec<Entry>,
}

impl Part {
    /// The topic's head behind them.
    pub fn end(&self) -> EventId {
        self.entries.last().map_or(self.after, |last| last.id)
    }

    /// Whether a topic whose head is there may take them: `None` if it has gone another way.
    pub fn fits(&self, head: Option<EventId>) -> Option<Fit> {
        match head {
            Some(head) if head == self.end() => Some(Fit::Taken),
            Some(head) if head == self.after => Some(Fit::Next),
            None => Some(Fit::First),
            Some(_) => None,
        }
    }
}

/// How a part belongs to what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// There is no such topic yet.
    First,
    /// It comes next.
    Next,
    /// It was taken over before.
    Taken,
}

/// What became of entries that were to be taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// They are there, with their ids: cursors go on.
    Kept,
    /// They are there, with new ids: a client with a cursor is notified that entries may be
    /// missing.
    Renumbered,
    /// The topic has other entries, and was not changed.
    Another,
}

/// What making a store smaller has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Size before, in bytes.
    pub bytes_before: u64,
    /// Size after, in bytes.
    pub bytes_after: u64,
}
