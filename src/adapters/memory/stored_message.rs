//! One message in memory: a vector of events.
//!
//! Invariant: an event stands in the vector at the place that its number says; what the message
//! costs is counted with the spare room of the vector.

use std::sync::Arc;

use super::{
    cost,
    idempotency::{RepeatKey, SeenKeys},
};
use crate::domain::{
    event::{Entry, Event},
    idempotency_key::IdempotencyKey,
    message::Message,
    page::{Page, PageLimit},
    position::{EventId, Position},
    timestamp::Timestamp,
    topic::MessageId,
};

/// One message, with its events.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) message: Message,
    pub(super) events: Vec<Arc<Event>>,
    /// They go with the message, and are counted with its events. Most messages have none.
    pub(super) seen_keys: Option<Box<SeenKeys<IdempotencyKey>>>,
    pub(super) event_bytes: usize,
    /// What the text of its id takes, which all that name the message share.
    id_bytes: usize,
}

impl RepeatKey for IdempotencyKey {
    fn text_bytes(&self) -> usize {
        cost::shared_text(self.as_str())
    }
}

impl Stored {
    pub(super) fn new(id: &MessageId, message: Message) -> Self {
        let id_bytes = cost::shared_text(id.as_str());
        Self { message, events: Vec::new(), seen_keys: None, event_bytes: 0, id_bytes }
    }

    /// What the message costs.
    pub(super) fn bytes(&self) -> usize {
        cost::table_place::<(MessageId, Box<Self>)>()
            + cost::tree_place::<(Timestamp, MessageId)>()
            + cost::allocated(size_of::<Self>())
            + self.id_bytes
            + cost::shared_text(self.message.owner.as_str())
            + cost::allocated(self.events.capacity() * size_of::<Arc<Event>>())
            + self.event_bytes
            + self.seen_keys.as_ref().map_or(0, |keys| {
                cost::allocated(size_of_val(&**keys)) + FIRST_KEYS_BYTES + keys.bytes()
            })
    }

    /// Appends an event, whose number comes next.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.event_bytes += cost::event(&event);
        self.events.push(event);
    }

    pub(super) fn read(&self, after: Position, limit: PageLimit) -> Page {
        // One that is further than there can be has nothing after it.
        let start = after
            .id()
            .map_or(0, |id| usize::try_from(id.major().saturating_add(1)).unwrap_or(usize::MAX));
        let entries = self.events.iter().zip(0..).skip(start).map(|(event, number)| {
            let id = EventId::sequence(number);
            Entry { id, prev: Some(Position::before(id)), event: Arc::clone(event) }
        });
        Page::of(entries, limit, self.message.bounds())
    }

    /// Whether an event of that type and payload has been appended under that number.
    pub(super) fn holds(&self, number: u64, event: &Event) -> bool {
        let stored = usize::try_from(number).ok().and_then(|place| self.events.get(place));
        stored.is_some_and(|stored| stored.is_repeated_by(event))
    }
}

/// What a table and a queue of keys cost beyond the places of their keys, while they are small.
const FIRST_KEYS_BYTES: usize = 256;
