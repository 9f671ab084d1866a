//! The journal in memory.
//!
//! Invariants: ids come from a clock that never goes back, counters begin at 1, so `<ms>-0` is
//! before every entry of its millisecond and can be returned as the head of an empty topic; the
//! byte count is what the topics and their logs cost, and together with that of the keys it never
//! stays over its bound.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use super::{
    cost,
    idempotency::{RepeatKey, SeenKeys},
    log::{Log, TimedId},
    message_store::{Context, MessageStore},
};
use crate::{
    adapters::backend_kit::feed::local::Listeners,
    domain::{
        cursor::Bounds,
        event::{Entry, Event},
        idempotency_key::IdempotencyKey,
        page::{Page, PageLimit},
        position::Position,
        retention::retained_since,
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        archive::{Archive, Fit, ListPlace, Listing, Part, Restored},
        backend_error::BackendError,
        clock::Clock,
        journal::{Append, Appended, Journal},
        topic_log::TopicLog,
    },
};

/// The bounds of a journal in memory.
#[derive(Clone, Debug)]
pub struct MemoryOptions {
    /// Most entries of one topic.
    pub stream_maxlen: usize,
    /// Age after which an entry counts as gone; `None` for never.
    pub replay_max_age: Option<Duration>,
    /// For how long an idempotency key is remembered.
    pub idempotency_window: Duration,
    /// Most bytes of all users' entries and keys together, and as many again for messages.
    pub max_bytes: usize,
}

/// The journal in memory. See the module's docs for what it promises.
pub struct MemoryJournal {
    clock: Arc<dyn Clock>,
    options: MemoryOptions,
    state: Mutex<State>,
}

struct State {
    origin: TimedId,
    /// The latest time ever used, so that ids don't follow a clock that steps back.
    now: Timestamp,
    logs: HashMap<UserId, Box<Log>>,
    /// Every topic by its oldest entry: what goes first, by age or for room, is at the front.
    by_age: BTreeSet<(TimedId, UserId)>,
    /// At or after every id of topics that are no longer in `logs`.
    forgotten: TimedId,
    /// Of topics and logs.
    bytes: usize,
    seen_keys: SeenKeys<(UserId, IdempotencyKey)>,
    messages: MessageStore,
    listeners: Arc<Listeners>,
}

impl RepeatKey for (UserId, IdempotencyKey) {
    fn text_bytes(&self) -> usize {
        cost::shared_text(self.0.as_str()) + cost::shared_text(self.1.as_str())
    }
}

/// What a topic costs beside its log.
fn topic_bytes(user: &UserId) -> usize {
    cost::table_place::<(UserId, Box<Log>)>()
        + cost::tree_place::<(TimedId, UserId)>()
        + cost::shared_text(user.as_str())
}

impl MemoryJournal {
    /// An empty journal, whose origin is now.
    pub fn new(options: MemoryOptions, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let origin = TimedId::at(now);
        let state = State {
            origin,
            now,
            logs: HashMap::new(),
            by_age: BTreeSet::new(),
            forgotten: origin,
            bytes: 0,
            seen_keys: SeenKeys::new(options.idempotency_window, options.max_bytes / 4),
            messages: MessageStore::new(options.max_bytes, options.idempotency_window),
            listeners: Arc::default(),
        };
        Self { clock, options, state: Mutex::new(state) }
    }

    /// The state as of now: time has moved on, and what is over the age limit is gone.
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a bug that has been reported; the state is changed in
        // whole steps.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.now = state.now.max(self.clock.now());
        let cutoff = TimedId::at(retained_since(state.now, self.options.replay_max_age));
        while state.by_age.first().is_some_and(|(oldest, _)| *oldest < cutoff) {
            state.remove_oldest();
        }
        state
    }

    /// Who is notified of appends.
    pub fn listeners(&self) -> Arc<Listeners> {
        Arc::clone(&self.state().listeners)
    }

    pub(super) fn with_messages<T>(
        &self,
        act: impl FnOnce(&mut MessageStore, Context<'_>) -> T,
    ) -> T {
        let mut state = self.state();
        let State { now, messages, listeners, .. } = &mut *state;
        act(messages, Context { now: *now, listeners })
    }
}

impl State {
    fn log(&self, topic: &Topic) -> Option<&Log> {
        match topic {
            Topic::User(user) => self.logs.get(user).map(|log| &**log),
            Topic::Message(_) => None,
        }
    }

    fn bounds(&self, topic: &Topic) -> Bounds {
        match (topic, self.log(topic)) {
            (Topic::Message(id), _) => self.messages.bounds(id),
            (Topic::User(_), Some(log)) => log.bounds(self.origin),
            (Topic::User(_), None) => {
                let head = self.forgotten.max(TimedId::at(self.now));
                Bounds {
                    origin: self.origin.into(),
                    floor: Some(self.forgotten.into()),
                    oldest: None,
                    head: head.into(),
                    shares_positions: false,
                }
            }
        }
    }

    fn append(
        &mut self,
        user: UserId,
        event: Arc<Event>,
        idempotency_key: Option<IdempotencyKey>,
        options: &MemoryOptions,
    ) -> Appended {
        let seen_key = idempotency_key.map(|key| (user.clone(), key));
        if let Some(key) = &seen_key
            && let Some(id) = self.seen_keys.find(self.now, key)
        {
            return Appended { id, duplicate: true };
        }
        let now = self.now;
        let (user, entry) = self.change(user, self.forgotten, |log| {
            let entry = log.push(now, event);
            while log.len() > options.stream_maxlen {
                log.pop_oldest();
            }
            entry
        });
        if let Some((_, key)) = seen_key {
            self.seen_keys.remember(self.now, (user.clone(), key), entry.id);
        }
        self.listeners.appended(&Topic::User(user), &entry);
        self.make_room(options);
        Appended { id: entry.id, duplicate: false }
    }

    /// Changes a topic's log, one that starts there where the topic has none, and counts what it
    /// costs now. Gives the user back with the one text that all share that name the topic.
    fn change<T>(
        &mut self,
        user: UserId,
        starting_after: TimedId,
        change: impl FnOnce(&mut Log) -> T,
    ) -> (UserId, T) {
        let place = self.logs.entry(user);
        let user = place.key().clone();
        let log = place.or_insert_with(|| {
            let log = Box::new(Log::starting_after(starting_after));
            self.bytes += topic_bytes(&user) + log.bytes();
            log
        });
        let age_key = (log.age_key(), user);
        self.by_age.remove(&age_key);
        let user = age_key.1;
        self.bytes -= log.bytes();
        let changed = change(log);
        self.bytes += log.bytes();
        self.by_age.insert((log.age_key(), user.clone()));
        (user, changed)
    }

    fn make_room(&mut self, options: &MemoryOptions) {
        while self.bytes + self.seen_keys.bytes() > options.max_bytes && !self.by_age.is_empty() {
            self.remove_oldest();
        }
    }

    fn restore(&mut self, part: Part, options: &MemoryOptions) -> Restored {
        match part.fits(self.logs.get(&part.user).map(|log| log.head().into())) {
            None => return Restored::Another,
            Some(Fit::Taken) => {}
            Some(Fit::First | Fit::Next) => {
                self.origin = self.origin.min(part.origin.into());
                self.change(part.user, part.after.into(), |log| {
                    for Entry { id, event, .. } in part.entries {
                        log.push_as(id, event);
                    }
                });
                self.make_room(options);
            }
        }
        Restored::Kept
    }

    /// Removes the oldest entry of all, or forgets the topic that it was the last of.
    fn remove_oldest(&mut self) {
        let Some((_, user)) = self.by_age.pop_first() else { return };
        let Some(log) = self.logs.get_mut(&user) else { return };
        self.bytes -= log.bytes();
        log.pop_oldest();
        if log.len() > 0 {
            self.bytes += log.bytes();
            self.by_age.insert((log.age_key(), user));
            return;
        }
        self.forgotten = self.forgotten.max(log.head());
        self.bytes -= topic_bytes(&user);
        self.logs.remove(&user);
        if self.logs.len() <= self.logs.capacity() / 4 {
            self.logs.shrink_to(2 * self.logs.len());
        }
    }

    fn purge(&mut self, user: &UserId) {
        let Some(log) = self.logs.get_mut(user) else { return };
        self.by_age.remove(&(log.age_key(), user.clone()));
        self.bytes -= log.bytes();
        while log.len() > 0 {
            log.pop_oldest();
        }
        self.bytes += log.bytes();
        // The empty log stays until its last id is over age: it knows the floor better than
        // `forgotten` does.
        self.by_age.insert((log.age_key(), user.clone()));
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        let mut state = self.state();
        let append = |Append { user, event, idempotency_key }| {
            Ok(state.append(user, event, idempotency_key, &self.options))
        };
        Ok(batch.into_iter().map(append).collect())
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        Ok(self.state().logs.get(user).map_or(0, |log| log.len() as u64))
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        self.state().purge(user);
        Ok(())
    }
}

#[async_trait]
impl Archive for MemoryJournal {
    async fn users(&self, _: Option<&ListPlace>) -> Result<Listing<UserId>, BackendError> {
        Ok(Listing::whole(self.state().logs.keys().cloned().collect()))
    }

    async fn messages(&self, _: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError> {
        Ok(Listing::whole(self.with_messages(|messages, _| messages.ids().collect())))
    }

    async fn restore(&self, parts: Vec<Part>) -> Result<Vec<Restored>, BackendError> {
        let mut state = self.state();
        Ok(parts.into_iter().map(|part| state.restore(part, &self.options)).collect())
    }
}

#[async_trait]
impl TopicLog for MemoryJournal {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let state = self.state();
        if let Topic::Message(id) = topic {
            return Ok(state.messages.read(id, after, limit));
        }
        let bounds = state.bounds(topic);
        let page = state.log(topic).map(|log| log.read(after, limit, bounds));
        Ok(page.unwrap_or(Page { entries: Vec::new(), more: false, bounds }))
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        Ok(self.state().bounds(topic))
    }

    async fn probe(&self) -> Result<(), BackendError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
