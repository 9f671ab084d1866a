//! All messages of a process.
//!
//! Invariant: the byte count is what the messages cost, and never stays over its bound: the message
//! whose producer has been silent for longest goes first, whole.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{cost, idempotency::SeenKeys, stored_message::Stored};
use crate::{
    adapters::backend_kit::feed::local::Listeners,
    domain::{
        cursor::Bounds,
        event::{Entry, Event},
        idempotency_key::IdempotencyKey,
        message::{
            AppendRefusal, AppendTarget, Message, MessageAppend, MessageAppended, Observed,
            OpenRefusal, Opened, append_batch,
        },
        page::{Page, PageLimit},
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
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

/// What a change of messages needs beside them.
pub(super) struct Context<'a> {
    pub(super) now: Timestamp,
    pub(super) listeners: &'a Listeners,
}

/// A message that is being appended to.
struct Appending<'a> {
    id: &'a MessageId,
    stored: &'a mut Stored,
    context: &'a Context<'a>,
    idempotency_window: Duration,
    bytes_max: usize,
}

impl AppendTarget for Appending<'_> {
    fn message(&mut self) -> &mut Message {
        &mut self.stored.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        Some(self.stored.seen_keys.as_mut()?.find(self.context.now, key)?.major())
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        self.stored.holds(sequence_no, event)
    }

    fn has_room_for(&self, append: &MessageAppend) -> bool {
        let cost = cost::event(&append.event)
            + append.idempotency_key.as_ref().map_or(0, SeenKeys::cost_bytes);
        self.stored.bytes() + cost <= self.bytes_max
    }

    fn push(&mut self, sequence_no: u64, append: MessageAppend) {
        let MessageAppend { event, idempotency_key, .. } = append;
        let id = EventId::sequence(sequence_no);
        self.stored.push(Arc::clone(&event));
        if let Some(key) = idempotency_key {
            let new_keys = || Box::new(SeenKeys::new(self.idempotency_window, self.bytes_max));
            self.stored.seen_keys.get_or_insert_with(new_keys).remember(self.context.now, key, id);
        }
        let entry = Entry { id, prev: Some(Position::before(id)), event };
        self.context.listeners.appended(&Topic::Message(self.id.clone()), &entry);
    }
}

impl MessageStore {
    pub(super) fn new(bytes_max: usize, idempotency_window: Duration) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            idempotency_window,
            messages: HashMap::new(),
            by_silence: BTreeSet::new(),
        }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.messages.keys().cloned()
    }

    pub(super) fn bounds(&self, id: &MessageId) -> Bounds {
        self.messages.get(id).map_or(Bounds::of_message(0), |stored| stored.message.bounds())
    }

    pub(super) fn read(&self, id: &MessageId, after: Position, limit: PageLimit) -> Page {
        let nothing = || Page { entries: Vec::new(), more: false, bounds: Bounds::of_message(0) };
        self.messages.get(id).map_or_else(nothing, |stored| stored.read(after, limit))
    }

    pub(super) fn open(
        &mut self,
        context: &Context<'_>,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Opened, OpenRefusal> {
        let existing = self.messages.get(id).map(|stored| stored.message.clone());
        let opened = Message::open(existing, owner, takeover, context.now)?;
        let message = opened.observed.message.clone();
        if opened.created {
            self.by_silence.insert((message.producer_seen_at, id.clone()));
            let stored = Box::new(Stored::new(id, message));
            self.bytes += stored.bytes();
            self.messages.insert(id.clone(), stored);
            self.make_room(id, context.listeners);
        } else {
            self.change(id, |stored| stored.message = message);
        }
        Ok(opened)
    }

    pub(super) fn append(
        &mut self,
        context: &Context<'_>,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Vec<Result<MessageAppended, AppendRefusal>> {
        if !self.messages.contains_key(id) {
            return append_batch(None::<&mut Appending<'_>>, epoch, batch, context.now);
        }
        let (idempotency_window, bytes_max) = (self.idempotency_window, self.bytes_max);
        let answers = self.change(id, |stored| {
            let mut target = Appending { id, stored, context, idempotency_window, bytes_max };
            append_batch(Some(&mut target), epoch, batch, context.now)
        });
        self.make_room(id, context.listeners);
        answers.unwrap_or_default()
    }

    pub(super) fn observe(&self, now: Timestamp, id: &MessageId) -> Option<Observed> {
        self.messages.get(id).map(|stored| Observed::at(now, stored.message.clone()))
    }

    /// Changes a message, counts what it costs now, and keeps it in its place by its producer's
    /// silence.
    pub(super) fn change<T>(
        &mut self,
        id: &MessageId,
        change: impl FnOnce(&mut Stored) -> T,
    ) -> Option<T> {
        let stored = self.messages.get_mut(id)?;
        let (seen_before, bytes_before) = (stored.message.producer_seen_at, stored.bytes());
        let changed = change(stored);
        self.bytes = self.bytes - bytes_before + stored.bytes();
        let seen_at = stored.message.producer_seen_at;
        if seen_at != seen_before {
            self.by_silence.remove(&(seen_before, id.clone()));
            self.by_silence.insert((seen_at, id.clone()));
        }
        Some(changed)
    }

    pub(super) fn remove(&mut self, id: &MessageId, listeners: &Listeners) -> bool {
        let Some(stored) = self.messages.remove(id) else { return false };
        self.by_silence.remove(&(stored.message.producer_seen_at, id.clone()));
        self.bytes -= stored.bytes();
        if self.messages.len() <= self.messages.capacity() / 4 {
            self.messages.shrink_to(2 * self.messages.len());
        }
        listeners.grown(&Topic::Message(id.clone()));
        true
    }

    /// Removes whole messages until the rest fits, but not the one that is being added to: that
    /// fits by itself.
    pub(super) fn make_room(&mut self, kept: &MessageId, listeners: &Listeners) {
        while self.bytes > self.bytes_max {
            let Some((_, id)) = self.by_silence.iter().find(|(_, id)| id != kept).cloned() else {
                return;
            };
            self.remove(&id, listeners);
        }
    }

    /// Removes messages whose producers have been silent for longer than `silent_for`.
    pub(super) fn sweep(
        &mut self,
        context: &Context<'_>,
        silent_for: Duration,
        messages_max: usize,
    ) -> usize {
        let seen_before = context.now.minus(silent_for);
        let silent = self.by_silence.iter().take_while(|(seen_at, _)| *seen_at < seen_before);
        let over: Vec<MessageId> = silent.take(messages_max).map(|(_, id)| id.clone()).collect();
        for id in &over {
            self.remove(id, context.listeners);
        }
        over.len()
    }
}
