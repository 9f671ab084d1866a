//! How much there is.

use super::Record;
use crate::domain::topic::Topic;

/// How many topics, entries and messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Users' topics.
    pub topics: u64,
    /// Their entries.
    pub entries: u64,
    /// Messages.
    pub messages: u64,
    /// Their events.
    pub message_events: u64,
    /// What the events cost in memory, about, in bytes.
    pub event_bytes: u64,
    /// Topics and messages that can't be read, or not to their end.
    pub unreadable: u64,
}

/// Counts records as they come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counter {
    pub(super) tally: Tally,
    is_in_message: bool,
}

impl Counter {
    pub(super) fn count(&mut self, record: &Record) {
        let tally = &mut self.tally;
        match record {
            Record::Begin { .. } | Record::End(_) => {}
            Record::Topic { .. } => {
                self.is_in_message = false;
                tally.topics += 1;
            }
            Record::Message { .. } => {
                self.is_in_message = true;
                tally.messages += 1;
            }
            Record::Entry(entry) => {
                let events =
                    if self.is_in_message { &mut tally.message_events } else { &mut tally.entries };
                *events += 1;
                tally.event_bytes += entry.event.cost_bytes() as u64;
            }
            Record::Unreadable { topic, .. } => {
                self.is_in_message = matches!(topic, Topic::Message(_));
                tally.unreadable += 1;
            }
        }
    }
}

impl Tally {
    /// Whether an export that ends like this holds what another one says that it held.
    pub(super) const fn is_as(&self, other: &Self) -> bool {
        self.topics == other.topics
            && self.entries == other.entries
            && self.messages == other.messages
            && self.message_events == other.message_events
    }
}
