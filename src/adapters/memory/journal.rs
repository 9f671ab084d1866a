//! The journal in memory.
//!
//! Invariants: ids come from a clock that never goes back, counters begin at 1, so `<ms>-0` is before every entry of its
//! millisecond and can be told as the head of an empty topic; the byte count is what the logs hold, and never stays over
//! its bound.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    feed::Listeners,
    idempotency::SeenKeys,
    log::{Log, cost_bytes},
    messages::{MessageStore, Surroundings},
};
use crate::{
    domain::{
        cursor::Bounds,
        position::{EventId, Position},
        replay::Page,
        timestamp::Timestamp,
        topic::Topic,
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        clock::Clock,
        feed::Signal,
        journal::{Append, Appended, Journal},
        topic_log::{PageLimit, TopicLog},
    },
};

/// The bounds of a journal in memory.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Most entries of one topic.
    pub topic_entries_max: usize,
    /// Age after which an entry counts as gone; `None` for never.
    pub age_max: Option<Duration>,
    /// For how long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// Most bytes of all users' entries together, and as many again for messages, about.
    pub bytes_max: usize,
}

/// The journal in memory. See the module's docs for what it promises.
pub struct MemoryJournal {
    clock: Arc<dyn Clock>,
    options: MemoryOptions,
    state: Mutex<State>,
}

struct State {
    origin: Position,
    /// The latest time ever used, so that ids don't follow a clock that steps back.
    now_ms: u64,
    logs: HashMap<Topic, Log>,
    /// Every topic by its oldest entry: what goes first, by age or for room, is at the front.
    by_age: BTreeSet<(Position, Topic)>,
    /// Behind every id of topics that are no longer in `logs`.
    forgotten: Position,
    bytes: usize,
    seen_keys: SeenKeys,
    messages: MessageStore,
    listeners: Listeners,
}

impl MemoryJournal {
    /// An empty journal, whose origin is now.
    pub fn new(options: MemoryOptions, clock: Arc<dyn Clock>) -> Self {
        let now_ms = clock.now().as_ms();
        let origin = Position::After(EventId::timed(now_ms, 0));
        let state = State {
            origin,
            now_ms,
            logs: HashMap::new(),
            by_age: BTreeSet::new(),
            forgotten: origin,
            bytes: 0,
            seen_keys: SeenKeys::new(options.idempotency_window, options.bytes_max / 4),
            messages: MessageStore::new(options.bytes_max, options.idempotency_window),
            listeners: Listeners::default(),
        };
        Self { clock, options, state: Mutex::new(state) }
    }

    /// The state as of now: time has moved on, and what is over the age limit is gone.
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a bug that has been reported; the state is changed in whole steps.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now_ms = state.now_ms.max(self.clock.now().as_ms());
        if let Some(age_max) = self.options.age_max {
            let age_max_ms = u64::try_from(age_max.as_millis()).unwrap_or(u64::MAX);
            let cutoff = Position::After(EventId::timed(state.now_ms.saturating_sub(age_max_ms), 0));
            while state.by_age.first().is_some_and(|(oldest, _)| *oldest < cutoff) {
                state.remove_oldest();
            }
        }
        state
    }

    pub(super) fn with_listeners<T>(&self, act: impl FnOnce(&mut Listeners) -> T) -> T {
        act(&mut self.state().listeners)
    }

    pub(super) fn with_messages<T>(&self, act: impl FnOnce(&mut MessageStore, Surroundings<'_>) -> T) -> T {
        let mut state = self.state();
        let State { now_ms, messages, listeners, .. } = &mut *state;
        act(messages, Surroundings { now: Timestamp::from_ms(*now_ms), listeners })
    }
}

impl State {
    fn bounds(&self, topic: &Topic) -> Bounds {
        match (topic, self.logs.get(topic)) {
            (Topic::Message(id), _) => self.messages.bounds(*id),
            (Topic::User(_), Some(log)) => log.bounds(self.origin),
            (Topic::User(_), None) => {
                Bounds { origin: self.origin, floor: Some(self.forgotten), oldest: None, head: self.head_of_nothing() }
            }
        }
    }

    fn head_of_nothing(&self) -> Position {
        self.forgotten.max(Position::After(EventId::timed(self.now_ms, 0)))
    }

    fn append(&mut self, append: Append, options: &MemoryOptions) -> Appended {
        let Append { topic, event, idempotency_key } = append;
        if let Some(key) = &idempotency_key
            && let Some(id) = self.seen_keys.find(self.now_ms, &topic, key)
        {
            return Appended { id, duplicate: true };
        }
        let log = self.logs.entry(topic.clone()).or_insert_with(|| {
            self.bytes += topic.cost_bytes();
            Log::starting_after(self.forgotten)
        });
        self.by_age.remove(&(log.age_key(), topic.clone()));
        self.bytes += cost_bytes(&event);
        let id = next_id(log.head(), self.now_ms);
        let entry = log.push(id, event);
        while log.len() > options.topic_entries_max {
            self.bytes -= log.pop_oldest().unwrap_or(0);
        }
        self.by_age.insert((log.age_key(), topic.clone()));
        if let Some(key) = idempotency_key {
            self.seen_keys.remember(self.now_ms, topic.clone(), key, id);
        }
        self.listeners.appended(&topic, &entry);
        while self.bytes > options.bytes_max {
            self.remove_oldest();
        }
        Appended { id, duplicate: false }
    }

    /// Removes the oldest entry of all, or forgets the topic that it was the last of.
    fn remove_oldest(&mut self) {
        let Some((_, topic)) = self.by_age.pop_first() else { return };
        let Some(log) = self.logs.get_mut(&topic) else { return };
        self.bytes -= log.pop_oldest().unwrap_or(0);
        if log.len() == 0 {
            self.forgotten = self.forgotten.max(log.head());
            self.bytes -= topic.cost_bytes();
            self.logs.remove(&topic);
        } else {
            self.by_age.insert((log.age_key(), topic));
        }
    }
}

/// The next id of a topic: later than its head, and not before now.
fn next_id(head: Position, now_ms: u64) -> EventId {
    match head.id() {
        Some(last) if last.major() >= now_ms => EventId::timed(last.major(), last.minor().unwrap_or(0) + 1),
        _ => EventId::timed(now_ms, 1),
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        let mut state = self.state();
        Ok(batch.into_iter().map(|append| Ok(state.append(append, &self.options))).collect())
    }

    async fn length(&self, topic: &Topic) -> Result<u64, BackendError> {
        Ok(self.state().logs.get(topic).map_or(0, |log| log.len() as u64))
    }

    async fn purge(&self, topic: &Topic) -> Result<(), BackendError> {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(log) = state.logs.get_mut(topic) {
            state.by_age.remove(&(log.age_key(), topic.clone()));
            while let Some(freed) = log.pop_oldest() {
                state.bytes -= freed;
            }
            // The empty log stays until its last id is over age: it knows the floor better than `forgotten` does.
            state.by_age.insert((log.age_key(), topic.clone()));
        }
        Ok(())
    }
}

#[async_trait]
impl TopicLog for MemoryJournal {
    async fn read(&self, topic: &Topic, after: Position, limit: PageLimit) -> Result<Page, BackendError> {
        let state = self.state();
        if let Topic::Message(id) = topic {
            return Ok(state.messages.read(*id, after, limit));
        }
        let bounds = state.bounds(topic);
        let page = state.logs.get(topic).map(|log| log.read(after, limit, bounds));
        Ok(page.unwrap_or(Page { entries: Vec::new(), more: false, bounds }))
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        Ok(self.state().bounds(topic))
    }

    async fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

impl MemoryJournal {
    pub(super) fn tell_all(&self, signal: &Signal) -> Result<(), BackendError> {
        if self.state().listeners.tell_all(signal) {
            return Ok(());
        }
        Err(BackendError::new(BackendErrorKind::Unavailable, "telling every process: one of them has too much to hear"))
    }
}

#[cfg(test)]
mod tests;
