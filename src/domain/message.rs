//! One LLM answer: how its events are numbered, how it ends, and who may produce it.
//!
//! Invariants: numbers go from 0 without holes; after the terminal event nothing is appended; the
//! epoch only grows, so a producer that was taken over from can never append again, if it sends its
//! epoch; who asked for a stop is heard by every producer that comes.

mod append;

use std::time::Duration;

pub use self::append::{
    AppendTarget, MESSAGE_EVENTS_MAX, MessageAppend, MessageAppended, append_batch,
};
pub use super::event::Terminal;
use super::{cursor::Bounds, event::Event, timestamp::Timestamp, topic::UserId};

/// A message, without its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Whose answer it is: who may read it.
    pub owner: UserId,
    /// Counts the producers, from 1.
    pub epoch: u64,
    /// The number of the event that comes next.
    pub next_sequence_no: u64,
    /// Whether the reader wants no more.
    pub stop_requested: bool,
    /// How and when it ended, if it has.
    pub end: Option<End>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// The producer's last sign of life.
    pub producer_seen_at: Timestamp,
}

/// A message's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How.
    pub terminal: Terminal,
    /// When it was appended.
    pub at: Timestamp,
}

/// A message as a backend has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// The message.
    pub message: Message,
    /// How long its producer has been silent, by the backend's clock.
    pub silent_for: Duration,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// More may come.
    Streaming,
    /// It ended, and is whole.
    Complete,
    /// It ended, and is not whole.
    Failed,
    /// It has not ended, and its producer is silent: more may come, or not.
    Stale,
}

impl Status {
    /// The status's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Streaming => "streaming",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Stale => "stale",
        }
    }
}

/// A message that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The message now.
    pub observed: Observed,
    /// Whether it had not been there before.
    pub created: bool,
}

impl Observed {
    /// A message as it is at that time of the backend's clock.
    pub fn at(now: Timestamp, message: Message) -> Self {
        Self { silent_for: now.since(message.producer_seen_at), message }
    }

    /// The status, where a producer counts as silent after `producer_idle`.
    pub fn status(&self, producer_idle: Duration) -> Status {
        match self.message.end.map(|end| end.terminal) {
            Some(Terminal::End) => Status::Complete,
            Some(Terminal::Error) => Status::Failed,
            None if self.silent_for >= producer_idle => Status::Stale,
            None => Status::Streaming,
        }
    }
}

/// Why a message is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenRefusal {
    /// It is there, and belongs to another user.
    #[error("this message belongs to another user: open one with an id of its own")]
    Another,
    /// It has ended, so there is nothing to take over.
    #[error("this message has ended, so there is nothing to take over")]
    Complete,
}

/// Why an event is not appended, or a producer not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefusal {
    /// It was never opened, or is gone.
    #[error("there is no such message: open it with PUT first")]
    Unknown,
    /// Another producer has taken over.
    #[error(
        "another producer has taken this message over (its epoch is {epoch} now): stop producing"
    )]
    Fenced {
        /// The epoch of the producer in charge.
        epoch: u64,
    },
    /// It has ended.
    #[error("this message has ended: nothing can be appended to it")]
    Complete,
    /// Another event has that number.
    #[error("number {sequence_no} is taken by another event")]
    Conflict {
        /// The number.
        sequence_no: u64,
    },
    /// The number would leave a hole.
    #[error("the next number is {expected_sequence_no}: append what lies between first")]
    Gap {
        /// The number that comes next.
        expected_sequence_no: u64,
    },
    /// The message would be larger than the backend can hold.
    #[error("the message would be larger than this server can hold")]
    TooLarge,
}

impl Message {
    /// Opens a message: the one that is there once more, for its producer or for one that takes it
    /// over, or a new one.
    ///
    /// # Errors
    /// [`OpenRefusal`]; nothing is to change then.
    pub fn open(
        existing: Option<Self>,
        owner: &UserId,
        takeover: bool,
        now: Timestamp,
    ) -> Result<Opened, OpenRefusal> {
        let (message, created) = match existing {
            None => (Self::new(owner.clone(), now), true),
            Some(message) if message.owner != *owner => return Err(OpenRefusal::Another),
            Some(message) if message.end.is_some() && takeover => {
                return Err(OpenRefusal::Complete);
            }
            Some(message) if message.end.is_some() => (message, false),
            Some(mut message) => {
                message.epoch += u64::from(takeover);
                message.see_producer(now);
                (message, false)
            }
        };
        Ok(Opened { observed: Observed::at(now, message), created })
    }

    const fn new(owner: UserId, now: Timestamp) -> Self {
        Self {
            owner,
            epoch: 1,
            next_sequence_no: 0,
            stop_requested: false,
            end: None,
            created_at: now,
            producer_seen_at: now,
        }
    }

    /// The number of the last event, if there is one.
    pub const fn last_sequence_no(&self) -> Option<u64> {
        self.next_sequence_no.checked_sub(1)
    }

    /// The extent of its topic. A message is never trimmed.
    pub fn bounds(&self) -> Bounds {
        Bounds::of_message(self.next_sequence_no)
    }

    /// An event was appended under the next number.
    fn count(&mut self, event: &Event, now: Timestamp) {
        self.next_sequence_no += 1;
        self.see_producer(now);
        self.end = event.terminal().map(|terminal| End { terminal, at: now });
    }

    /// The producer lives.
    ///
    /// # Errors
    /// [`AppendRefusal::Fenced`] or [`AppendRefusal::Complete`].
    pub fn heartbeat(&mut self, epoch: Option<u64>, now: Timestamp) -> Result<(), AppendRefusal> {
        self.check_epoch(epoch)?;
        if self.end.is_some() {
            return Err(AppendRefusal::Complete);
        }
        self.see_producer(now);
        Ok(())
    }

    /// The reader wants no more: every append and heartbeat is answered with that from now on.
    pub const fn request_stop(&mut self) {
        self.stop_requested = true;
    }

    fn see_producer(&mut self, now: Timestamp) {
        self.producer_seen_at = self.producer_seen_at.max(now);
    }

    /// A producer gets its epoch when it opens, so any other than the present one is of a time
    /// before: of a producer that was taken over from, or of a message that was deleted.
    const fn check_epoch(&self, epoch: Option<u64>) -> Result<(), AppendRefusal> {
        match epoch {
            Some(epoch) if epoch != self.epoch => Err(AppendRefusal::Fenced { epoch: self.epoch }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
