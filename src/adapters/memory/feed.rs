//! The feed of the journal in memory: appends tell their listeners directly.
//!
//! Invariant: listeners are told under the journal's lock, so that signals come in the order of the entries.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::journal::MemoryJournal;
use crate::{
    adapters::backend_kit::feed::signal_queue::{SignalQueue, SignalStream},
    domain::{
        event::{Entry, Event},
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        feed::{Feed, Signal},
    },
};

/// One process's ear on a journal in memory.
pub struct MemoryFeed {
    journal: Arc<MemoryJournal>,
    id: u64,
    signals: SignalStream,
}

impl MemoryFeed {
    /// A new ear on the journal. Several may listen to one journal, as several processes to one server.
    pub fn new(journal: Arc<MemoryJournal>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (queue, signals) = SignalQueue::new();
        journal.with_listeners(|listeners| listeners.add(id, queue));
        Self { journal, id, signals }
    }
}

impl Drop for MemoryFeed {
    fn drop(&mut self) {
        self.journal.with_listeners(|listeners| listeners.remove(self.id));
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        self.signals.take()
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        self.journal.with_listeners(|listeners| listeners.watch(self.id, topic));
        Ok(())
    }

    async fn unwatch(&self, topic: &Topic) {
        self.journal.with_listeners(|listeners| listeners.unwatch(self.id, topic));
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.journal.tell_all(&Signal::Broadcast(event))
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.journal.tell_all(&Signal::CloseConnections(user.clone()))
    }
}

/// Who is to be told of appends. Lives under the journal's lock, so that signals come in the order of the entries.
#[derive(Default)]
pub(super) struct Listeners(BTreeMap<u64, Listener>);

struct Listener {
    watched: HashSet<Topic>,
    queue: SignalQueue,
}

impl Listeners {
    pub(super) fn appended(&self, topic: &Topic, entry: &Entry) {
        for listener in self.0.values().filter(|listener| listener.watched.contains(topic)) {
            listener.queue.tell(Signal::Appended(topic.clone(), entry.clone()));
        }
    }

    /// A topic has changed by something else than an append.
    pub(super) fn grown(&self, topic: &Topic) {
        for listener in self.0.values().filter(|listener| listener.watched.contains(topic)) {
            listener.queue.tell(Signal::Grown(topic.clone()));
        }
    }

    /// `false` if somebody could not be told.
    pub(super) fn tell_all(&self, signal: &Signal) -> bool {
        let mut all = true;
        for listener in self.0.values() {
            all &= listener.queue.tell(signal.clone());
        }
        all
    }

    fn add(&mut self, id: u64, queue: SignalQueue) {
        self.0.insert(id, Listener { watched: HashSet::new(), queue });
    }

    fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }

    fn watch(&mut self, id: u64, topic: &Topic) {
        if let Some(listener) = self.0.get_mut(&id) {
            listener.watched.insert(topic.clone());
        }
    }

    fn unwatch(&mut self, id: u64, topic: &Topic) {
        if let Some(listener) = self.0.get_mut(&id) {
            listener.watched.remove(topic);
        }
    }
}
