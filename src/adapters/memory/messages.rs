//! Messages in memory.
//!
//! Invariant: the byte count is what the messages cost, and never stays over its bound: the message whose producer has been silent for longest goes first, whole.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;

use super::{
    cost,
    feed::Listeners,
    idempotency::SeenKeys,
    journal::MemoryJournal,
    stored_message::{Stored, bounds, place_before},
};
use crate::{
    domain::{
        cursor::Bounds,
        event::Entry,
        message::{AppendRefusal, Message, Observed, OpenRefusal, Place},
        page::{Page, PageLimit},
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        messages::{MessageAppend, MessageAppended, Messages, Opened},
    },
};

/// All messages.
#[derive(Debug)]
pub(super) struct MessageStore {
    bytes_max: usize,
    bytes: usize,
    idempotency_window: Duration,
    messages: HashMap<MessageId, Box<Stored>>,
    /// Every message by its producer's last sign of life: what goes first is at the front.
    by_silence: BTreeSet<(Timestamp, MessageId)>,
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
        self.messages.get(&id).map_or(bounds(0), |stored| stored.bounds())
    }

    pub(super) fn read(&self, id: MessageId, after: Position, limit: PageLimit) -> Page {
        let nothing = Page { entries: Vec::new(), more: false, bounds: self.bounds(id) };
        self.messages.get(&id).map_or(nothing, |stored| stored.read(after, limit))
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
        self.by_silence.insert((now, id));
        let stored = Box::new(Stored::opened(message.clone()));
        self.bytes += stored.bytes();
        self.messages.insert(id, stored);
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
            && let (Some(key), Some(keys)) = (&idempotency_key, &mut stored.seen_keys)
        {
            let bytes = keys.bytes();
            let first = keys.find(now_ms, key);
            self.bytes -= bytes - keys.bytes();
            if let Some(first) = first {
                return repeat_of(first.major());
            }
        }
        let number = match place? {
            Place::Taken(number) if stored.has(number, &event) => return repeat_of(number),
            Place::Taken(number) => return Err(AppendRefusal::Conflict { sequence_no: number }),
            Place::Next(number) => number,
        };
        let cost = cost::event(&event) + idempotency_key.as_ref().map_or(0, SeenKeys::cost_bytes);
        if stored.bytes() + cost > self.bytes_max {
            return Err(AppendRefusal::TooLarge);
        }
        let entry = Entry { id: EventId::sequence(number), prev: Some(place_before(number)), event };
        let (window, bytes_max) = (self.idempotency_window, self.bytes_max);
        self.change(id, |stored| {
            stored.message.appended(&entry.event.event_type, now);
            stored.push(Arc::clone(&entry.event));
            if let Some(key) = idempotency_key {
                let keys = stored.seen_keys.get_or_insert_with(|| Box::new(SeenKeys::new(window, bytes_max)));
                keys.remember(now_ms, key, entry.id);
            }
        });
        around.listeners.appended(&topic, &entry);
        self.make_room(id, around.listeners);
        Ok(MessageAppended { sequence_no: number, duplicate: false, stop_requested })
    }

    fn observe(&self, now: Timestamp, id: MessageId) -> Option<Observed> {
        self.messages.get(&id).map(|stored| observed_at(now, &stored.message))
    }

    /// Changes a message, counts what it costs now, and keeps it in its place by its producer's silence.
    fn change<T>(&mut self, id: MessageId, change: impl FnOnce(&mut Stored) -> T) -> Option<T> {
        let stored = self.messages.get_mut(&id)?;
        let (seen_before, bytes_before) = (stored.message.producer_seen_at, stored.bytes());
        let changed = change(stored);
        self.bytes = self.bytes - bytes_before + stored.bytes();
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
        self.bytes -= stored.bytes();
        if self.messages.len() <= self.messages.capacity() / 4 {
            self.messages.shrink_to(2 * self.messages.len());
        }
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
