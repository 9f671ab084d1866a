//! Messages in memory: a vector of entries each.
//!
//! Invariants: an entry stands in its vector at the place that its number says; the byte count is what the messages
//! hold, and never stays over its bound: the message whose producer has been silent for longest goes first, whole.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;

use super::{
    feed::Listeners,
    idempotency::{self, SeenKeys},
    journal::MemoryJournal,
    log::cost_bytes,
};
use crate::{
    domain::{
        cursor::Bounds,
        event::{Entry, Event},
        message::{AppendRefusal, Message, Observed, OpenRefusal, Place},
        position::{EventId, Position},
        replay::Page,
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        messages::{MessageAppend, MessageAppended, Messages, Opened},
        topic_log::PageLimit,
    },
};

/// What a message costs beside its events, in bytes, about.
const MESSAGE_OVERHEAD_BYTES: usize = 512;

/// All messages.
#[derive(Debug)]
pub(super) struct MessageStore {
    bytes_max: usize,
    bytes: usize,
    idempotency_window: Duration,
    messages: HashMap<MessageId, Stored>,
    /// Every message by its producer's last sign of life: what goes first is at the front.
    by_silence: BTreeSet<(Timestamp, MessageId)>,
}

#[derive(Debug)]
struct Stored {
    message: Message,
    entries: Vec<Entry>,
    /// They go with the message, and are counted with its events.
    seen_keys: SeenKeys,
    bytes: usize,
}

/// What an append touches beside the messages.
pub(super) struct Surroundings<'a> {
    pub(super) now: Timestamp,
    pub(super) listeners: &'a Listeners,
}

impl MessageStore {
    pub(super) fn new(bytes_max: usize, idempotency_window: Duration) -> Self {
        Self { bytes_max, bytes: 0, idempotency_window, messages: HashMap::new(), by_silence: BTreeSet::new() }
    }

    pub(super) fn bounds(&self, id: MessageId) -> Bounds {
        let entries = self.messages.get(&id).map_or(&[][..], |stored| &stored.entries);
        Bounds {
            origin: Position::Start,
            floor: Some(Position::Start),
            oldest: entries.first().map(|oldest| oldest.id),
            head: entries.last().map_or(Position::Start, |last| Position::After(last.id)),
        }
    }

    pub(super) fn read(&self, id: MessageId, after: Position, limit: PageLimit) -> Page {
        let mut page = Page { entries: Vec::new(), more: false, bounds: self.bounds(id) };
        let mut bytes = 0;
        let entries = self.messages.get(&id).map_or(&[][..], |stored| &stored.entries);
        let start = entries.partition_point(|entry| !after.is_before(entry.id));
        for entry in &entries[start..] {
            bytes += entry.event.cost_bytes();
            page.more = !page.entries.is_empty() && (page.entries.len() >= limit.entries_max || bytes > limit.bytes_max);
            if page.more {
                break;
            }
            page.entries.push(entry.clone());
        }
        page
    }

    fn open(
        &mut self,
        now: Timestamp,
        id: MessageId,
        owner: &UserId,
        takeover: bool,
        listeners: &Listeners,
    ) -> Result<Opened, OpenRefusal> {
        let reopened = self.change(id, |stored| stored.message.open_again(owner, takeover, now).map(|()| stored.message.clone()));
        if let Some(reopened) = reopened {
            return Ok(Opened { observed: observed_at(now, &reopened?), created: false });
        }
        let message = Message::opened(owner.clone(), now);
        let bytes = MESSAGE_OVERHEAD_BYTES + owner.as_str().len();
        self.by_silence.insert((now, id));
        let seen_keys = SeenKeys::new(self.idempotency_window, self.bytes_max);
        self.messages.insert(id, Stored { message: message.clone(), entries: Vec::new(), seen_keys, bytes });
        self.bytes += bytes;
        self.make_room(id, listeners);
        Ok(Opened { observed: Observed { message, silent_for: Duration::ZERO }, created: true })
    }

    fn append(
        &mut self,
        around: &Surroundings<'_>,
        id: MessageId,
        epoch: Option<u64>,
        append: MessageAppend,
    ) -> Result<MessageAppended, AppendRefusal> {
        let MessageAppend { event, sequence_no, idempotency_key } = append;
        let (now, now_ms, topic) = (around.now, around.now.as_ms(), Topic::Message(id));
        let stored = self.messages.get_mut(&id).ok_or(AppendRefusal::Unknown)?;
        let stop_requested = stored.message.stop_requested;
        let repeat_of = |sequence_no| Ok(MessageAppended { sequence_no, duplicate: true, stop_requested });
        let place = stored.message.place(epoch, sequence_no);
        // A producer that is fenced has no say, not even of what it said before.
        if !matches!(place, Err(AppendRefusal::Fenced { .. }))
            && let Some(first) = idempotency_key.as_ref().and_then(|key| stored.seen_keys.find(now_ms, &topic, key))
        {
            return repeat_of(first.major());
        }
        let number = match place? {
            Place::Taken(number) if is_repeat(&stored.entries, number, &event) => return repeat_of(number),
            Place::Taken(number) => return Err(AppendRefusal::Conflict { sequence_no: number }),
            Place::Next(number) => number,
        };
        let cost = cost_bytes(&event) + idempotency_key.as_ref().map_or(0, |key| idempotency::cost_bytes(&topic, key));
        if stored.bytes + cost > self.bytes_max {
            return Err(AppendRefusal::TooLarge);
        }
        let prev = number.checked_sub(1).map_or(Position::Start, |before| EventId::sequence(before).into());
        let entry = Entry { id: EventId::sequence(number), prev: Some(prev), event };
        self.change(id, |stored| {
            stored.message.appended(&entry.event.event_type, now);
            stored.entries.push(entry.clone());
            stored.bytes += cost;
            if let Some(key) = idempotency_key {
                stored.seen_keys.remember(now_ms, topic.clone(), key, entry.id);
            }
        });
        self.bytes += cost;
        around.listeners.appended(&topic, &entry);
        self.make_room(id, around.listeners);
        Ok(MessageAppended { sequence_no: number, duplicate: false, stop_requested })
    }

    fn observe(&self, now: Timestamp, id: MessageId) -> Option<Observed> {
        self.messages.get(&id).map(|stored| observed_at(now, &stored.message))
    }

    /// Changes a message, and keeps it in its place by its producer's silence.
    fn change<T>(&mut self, id: MessageId, change: impl FnOnce(&mut Stored) -> T) -> Option<T> {
        let stored = self.messages.get_mut(&id)?;
        let seen_before = stored.message.producer_seen_at;
        let changed = change(stored);
        let seen_at = stored.message.producer_seen_at;
        if seen_at != seen_before {
            self.by_silence.remove(&(seen_before, id));
            self.by_silence.insert((seen_at, id));
        }
        Some(changed)
    }

    fn remove(&mut self, id: MessageId, listeners: &Listeners) -> bool {
        let Some(stored) = self.messages.remove(&id) else { return false };
        self.by_silence.remove(&(stored.message.producer_seen_at, id));
        self.bytes -= stored.bytes;
        listeners.grown(&Topic::Message(id));
        true
    }

    /// Removes whole messages until the rest fits, but not the one that is being added to: that fits by itself.
    fn make_room(&mut self, kept: MessageId, listeners: &Listeners) {
        while self.bytes > self.bytes_max {
            let Some((_, id)) = self.by_silence.iter().find(|(_, id)| *id != kept).copied() else { return };
            self.remove(id, listeners);
        }
    }
}

fn observed_at(now: Timestamp, message: &Message) -> Observed {
    let silent_ms = now.as_ms().saturating_sub(message.producer_seen_at.as_ms());
    Observed { message: message.clone(), silent_for: Duration::from_millis(silent_ms) }
}

fn is_repeat(entries: &[Entry], number: u64, event: &Arc<Event>) -> bool {
    let stored = usize::try_from(number).ok().and_then(|place| entries.get(place));
    stored.is_some_and(|stored| stored.event.event_type == event.event_type && stored.event.payload == event.payload)
}

#[async_trait]
impl Messages for MemoryJournal {
    async fn open(&self, id: MessageId, owner: &UserId, takeover: bool) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        Ok(self.with_messages(|messages, around| messages.open(around.now, id, owner, takeover, around.listeners)))
    }

    async fn append(
        &self,
        id: MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        Ok(self.with_messages(|messages, around| {
            let mut answers = Vec::with_capacity(batch.len());
            for append in batch {
                answers.push(messages.append(&around, id, epoch, append));
                if answers.last().is_some_and(Result::is_err) {
                    break;
                }
            }
            answers
        }))
    }

    async fn heartbeat(&self, id: MessageId, epoch: Option<u64>) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        Ok(self.with_messages(|messages, around| {
            messages.change(id, |stored| stored.message.heartbeat(epoch, around.now)).ok_or(AppendRefusal::Unknown)??;
            messages.observe(around.now, id).ok_or(AppendRefusal::Unknown)
        }))
    }

    async fn request_stop(&self, id: MessageId) -> Result<Option<Observed>, BackendError> {
        Ok(self.with_messages(|messages, around| {
            messages.change(id, |stored| stored.message.stop_requested = true);
            messages.observe(around.now, id)
        }))
    }

    async fn observe(&self, id: MessageId) -> Result<Option<Observed>, BackendError> {
        Ok(self.with_messages(|messages, around| messages.observe(around.now, id)))
    }

    async fn delete(&self, id: MessageId) -> Result<bool, BackendError> {
        Ok(self.with_messages(|messages, around| messages.remove(id, around.listeners)))
    }

    async fn sweep(&self, silent_for: Duration, messages_max: usize) -> Result<usize, BackendError> {
        let silent_ms = u64::try_from(silent_for.as_millis()).unwrap_or(u64::MAX);
        Ok(self.with_messages(|messages, around| {
            let seen_before = Timestamp::from_ms(around.now.as_ms().saturating_sub(silent_ms));
            let over = messages.by_silence.iter().take_while(|(seen_at, _)| *seen_at < seen_before).take(messages_max);
            let over: Vec<MessageId> = over.map(|(_, id)| *id).collect();
            for id in &over {
                messages.remove(*id, around.listeners);
            }
            over.len()
        }))
    }
}
