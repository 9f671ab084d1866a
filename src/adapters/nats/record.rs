//! A message as it is kept: records under its subject, of which each has the whole state of the
//! message after it, and the events that came with it.
//!
//! Invariant: the last record alone says what the message is.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{incarnation::Incarnation, store::Stored};
use crate::{
    adapters::backend_kit::{stored_event, stored_page::StoredEntry},
    domain::{
        category::Registry,
        idempotency_key::IdempotencyKey,
        message::{End, Message, MessageAppend, Terminal},
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{Topic, UserId},
    },
};

/// A record.
#[derive(Serialize, Deserialize)]
pub(super) struct Record {
    owner: String,
    epoch: u64,
    /// The number of the event that comes next.
    next: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    stop_requested: bool,
    /// How it ended, and when, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end: Option<(String, u64)>,
    created_at_ms: u64,
    producer_seen_at_ms: u64,
    /// The number of the first of its events.
    pub(super) first: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    events: Vec<Box<RawValue>>,
    /// The events' idempotency keys, where one has one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Option<String>>,
}

/// Why what is kept is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRecord {
    #[error("not the record of a message: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its owner or end is not understood")]
    MalformedReply,
}

impl Record {
    /// Of a message after these events, which are the last that it counts.
    pub(super) fn of(
        message: &Message,
        topic: &Topic,
        events: &[MessageAppend],
    ) -> serde_json::Result<Self> {
        let keys: Vec<_> = events
            .iter()
            .map(|append| append.idempotency_key.as_ref().map(|key| key.as_str().to_owned()))
            .collect();
        let kept = events
            .iter()
            .map(|append| RawValue::from_string(stored_event::encode(topic, &append.event)));
        Ok(Self {
            owner: message.owner.as_str().to_owned(),
            epoch: message.epoch,
            next: message.next_sequence_no,
            stop_requested: message.stop_requested,
            end: message.end.map(|end| (end.terminal.as_str().to_owned(), end.at.as_ms())),
            created_at_ms: message.created_at.as_ms(),
            producer_seen_at_ms: message.producer_seen_at.as_ms(),
            first: message.next_sequence_no - events.len() as u64,
            keys: if keys.iter().all(Option::is_none) { Vec::new() } else { keys },
            events: kept.collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn read(stored: &Stored) -> Result<Self, NoRecord> {
        Ok(serde_json::from_slice(&stored.payload)?)
    }

    /// The message as it is after this record.
    pub(super) fn message(&self) -> Result<Message, NoRecord> {
        let end = match &self.end {
            None => None,
            Some((name, at_ms)) => {
                let terminal = Terminal::named(name).ok_or(NoRecord::MalformedReply)?;
                Some(End { terminal, at: Timestamp::from_ms(*at_ms) })
            }
        };
        Ok(Message {
            owner: UserId::parse(&self.owner).map_err(|_| NoRecord::MalformedReply)?,
            epoch: self.epoch,
            next_sequence_no: self.next,
            stop_requested: self.stop_requested,
            end,
            created_at: Timestamp::from_ms(self.created_at_ms),
            producer_seen_at: Timestamp::from_ms(self.producer_seen_at_ms),
        })
    }

    /// Whether the event with a number is among its own.
    pub(super) fn has(&self, number: u64) -> bool {
        number.checked_sub(self.first).is_some_and(|index| index < self.events.len() as u64)
    }

    /// The numbers that idempotency keys have got.
    pub(super) fn keys(&self) -> impl Iterator<Item = (IdempotencyKey, u64)> {
        let keys = (self.first..).zip(&self.keys);
        keys.filter_map(|(number, key)| Some((IdempotencyKey::kept(key.as_deref()?)?, number)))
    }

    /// Its events, with their numbers.
    pub(super) fn entries(
        &self,
        ts: Timestamp,
        registry: &Registry,
    ) -> impl Iterator<Item = StoredEntry> {
        (self.first..).zip(&self.events).map(move |(number, event)| {
            let id = EventId::sequence(number);
            StoredEntry {
                id,
                prev: Some(Position::before(id)),
                event: stored_event::decode(event.get().as_bytes(), ts, registry),
            }
        })
    }
}

/// The entries of what was heard or read of a topic: of a user's one, of a message's those of the
/// record.
pub(super) fn entries_of(
    topic: &Topic,
    stored: &Stored,
    incarnation: &Incarnation,
    registry: &Registry,
) -> Vec<StoredEntry> {
    match topic {
        Topic::User(_) if stored.is_purge() => Vec::new(),
        Topic::User(_) => vec![stored.entry(incarnation, registry)],
        Topic::Message(_) => Record::read(stored)
            .map(|record| record.entries(stored.time, registry).collect())
            .unwrap_or_default(),
    }
}
