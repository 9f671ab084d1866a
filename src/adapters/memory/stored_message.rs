//! One message in memory: a vector of events.
//!
//! Invariant: an event stands in the vector at the place that its number says; what the message costs is counted with the spare room
//! of the vector.

use std::sync::Arc;

use super::{
    cost,
    idempotency::{RepeatKey, SeenKeys},
};
use crate::domain::{
    cursor::Bounds,
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
}

impl RepeatKey for IdempotencyKey {
    fn text_bytes(&self) -> usize {
        cost::shared_text(self.as_str())
    }
}

impl Stored {
    pub(super) fn opened(message: Message) -> Self {
        Self { message, events: Vec::new(), seen_keys: None, event_bytes: 0 }
    }

    /// What the message costs.
    pub(super) fn bytes(&self) -> usize {
        cost::table_place::<(MessageId, Box<Self>)>()
            + cost::tree_place::<(Timestamp, MessageId)>()
            + cost::allocated(size_of::<Self>())
            + cost::shared_text(self.message.owner.as_str())
            + cost::allocated(self.events.capacity() * size_of::<Arc<Event>>())
            + self.event_bytes
            + self.seen_keys.as_ref().map_or(0, |keys| cost::allocated(size_of_val(&**keys)) + FIRST_KEYS_BYTES + keys.bytes())
    }

    /// Appends an event, whose number comes next.
    pub(super) fn push(&mut self, event: Arc<Event>) {
        self.event_bytes += cost::event(&event);
        self.events.push(event);
    }

    fn entry(&self, number: usize) -> Option<Entry> {
        let event = Arc::clone(self.events.get(number)?);
        let number = number as u64;
        Some(Entry { id: EventId::sequence(number), prev: Some(place_before(number)), event })
    }

    pub(super) fn bounds(&self) -> Bounds {
        bounds(self.events.len() as u64)
    }

    pub(super) fn read(&self, after: Position, limit: PageLimit) -> Page {
        let mut page = Page { entries: Vec::new(), more: false, bounds: self.bounds() };
        let mut bytes = 0;
        // One that is further than there can be has nothing after it.
        let start = after.id().map_or(0, |id| usize::try_from(id.major().saturating_add(1)).unwrap_or(usize::MAX));
        for number in start..self.events.len() {
            bytes += self.events[number].cost_bytes();
            page.more = !page.entries.is_empty() && (page.entries.len() >= limit.entries_max || bytes > limit.bytes_max);
            if page.more {
                break;
            }
            page.entries.extend(self.entry(number));
        }
        page
    }

    /// Whether the event has been appended under that number.
    pub(super) fn has(&self, number: u64, event: &Event) -> bool {
        let stored = usize::try_from(number).ok().and_then(|place| self.events.get(place));
        stored.is_some_and(|stored| stored.event_type == event.event_type && stored.payload == event.payload)
    }
}

/// What a table and a queue of keys cost beyond the places of their keys, while they are small.
const FIRST_KEYS_BYTES: usize = 256;

/// The extent of a message that has so many events.
pub(super) fn bounds(events: u64) -> Bounds {
    let oldest = (events > 0).then(|| EventId::sequence(0));
    Bounds { origin: Position::Start, floor: Some(Position::Start), oldest, head: place_before(events) }
}

/// The position right before the event with this number.
pub(super) fn place_before(number: u64) -> Position {
    number.checked_sub(1).map_or(Position::Start, |before| EventId::sequence(before).into())
}
