//! The feed of a backend that is this process's own: appends notify their listeners directly.
//!
//! Invariant: a backend notifies its listeners while it holds the lock under which it appends, so
//! that signals come in the order of the entries.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::signal_queue::{SignalQueue, SignalStream};
use crate::{
    domain::{
        event::{Entry, Event},
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::{Feed, Signal},
    },
};

/// One ear on a backend.
pub struct LocalFeed {
    listeners: Arc<Listeners>,
    id: u64,
    signals: SignalStream,
}

impl LocalFeed {
    /// A new ear. Several may listen to one backend, as several processes to one server.
    pub fn new(listeners: Arc<Listeners>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (queue, signals) = SignalQueue::new();
        listeners.all().insert(id, Listener { watched: HashSet::new(), queue });
        Self { listeners, id, signals }
    }
}

impl Drop for LocalFeed {
    fn drop(&mut self) {
        self.listeners.all().remove(&self.id);
    }
}

#[async_trait]
impl Feed for LocalFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        self.signals.take()
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        self.listeners.watched_by(self.id, |watched| watched.insert(topic.clone()));
        Ok(())
    }

    async fn unwatch(&self, topic: &Topic) {
        self.listeners.watched_by(self.id, |watched| watched.remove(topic));
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.listeners.tell_all(&Signal::Broadcast(event))
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.listeners.tell_all(&Signal::CloseConnections(user.clone()))
    }
}

/// Who is notified of appends.
#[derive(Default)]
pub struct Listeners(Mutex<BTreeMap<u64, Listener>>);

struct Listener {
    watched: HashSet<Topic>,
    queue: SignalQueue,
}

impl Listeners {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, Listener>> {
        // A panic is a bug that has been reported; each is changed in whole steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched_by(&self, id: u64, change: impl FnOnce(&mut HashSet<Topic>) -> bool) {
        if let Some(listener) = self.all().get_mut(&id) {
            change(&mut listener.watched);
        }
    }

    fn tell(&self, topic: &Topic, signal: impl Fn() -> Signal) {
        for listener in self.all().values().filter(|listener| listener.watched.contains(topic)) {
            listener.queue.tell(signal());
        }
    }

    /// An entry was appended.
    pub fn appended(&self, topic: &Topic, entry: &Entry) {
        self.tell(topic, || Signal::Appended(topic.clone(), entry.clone()));
    }

    /// A topic has changed by something else than an append.
    pub fn grown(&self, topic: &Topic) {
        self.tell(topic, || Signal::Grown(topic.clone()));
    }

    fn tell_all(&self, signal: &Signal) -> Result<(), BackendError> {
        let mut all = true;
        for listener in self.all().values() {
            all &= listener.queue.tell(signal.clone());
        }
        let too_much = "notify every process: one of them can't keep up";
        if all { Ok(()) } else { Err(BackendError::new(BackendErrorKind::Unavailable, too_much)) }
    }
}
