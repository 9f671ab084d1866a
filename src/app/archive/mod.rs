//! Everything that a deployment's backends hold, as a whole: exported, imported, checked and
//! counted.
//!
//! An export is a sequence of [`Record`]s: a topic or a message, then its entries, then the next
//! one. Nothing lies between two entries that follow each other, so that what a client may be sent
//! is known on the other side as well.

mod export;
mod import;
mod tally;
mod verify;

use std::sync::Arc;

pub use self::{
    export::Exporter,
    import::{ImportError, Imported, Importer},
    tally::Tally,
    verify::{Problem, Verifier},
};
use crate::{
    domain::{
        event::Entry,
        message::Message,
        page::PageLimit,
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{archive::Archive, journal::Journal, messages::Messages},
};

/// How much of a topic is held at a time.
const PAGE_LIMIT: PageLimit = PageLimit { entries_max: 256, bytes_max: 1024 * 1024 };

/// The backends of a deployment.
#[derive(Clone)]
pub struct Archives {
    /// Users' events.
    pub journal: Arc<dyn Journal>,
    /// Messages.
    pub messages: Arc<dyn Messages>,
    /// The backend of users' events as a whole.
    pub of_events: Arc<dyn Archive>,
    /// The backend of messages as a whole; it may be the same.
    pub of_messages: Arc<dyn Archive>,
}

/// A part of an export.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// It begins.
    Begin {
        /// When it was begun.
        exported_at: Timestamp,
    },
    /// A user's topic begins.
    Topic {
        /// Whose it is.
        user: UserId,
        /// The origin of its journal.
        origin: EventId,
        /// The position before its first entry; without one, its head.
        after: EventId,
    },
    /// A message begins.
    Message {
        /// Which it is.
        id: MessageId,
        /// What is known of it beside its events.
        message: Message,
    },
    /// An entry of the latest topic or message: it follows the one before it, with nothing between.
    Entry(Entry),
    /// The rest of the latest topic or message, or all of it, can't be read.
    Unreadable {
        /// Which it is.
        topic: Topic,
        /// What is wrong with it.
        why: String,
    },
    /// It is whole.
    End(Tally),
}

/// A position as an id; the start is before all of them.
fn id_at(position: Position) -> EventId {
    position.id().unwrap_or(EventId::timed(0, 0))
}

#[cfg(test)]
mod tests;
