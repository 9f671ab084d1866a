//! The feed of the journal in memory: appends tell their listeners directly.
//!
//! Invariant: a listener holds a bounded number of signals. When it can't keep up it is told so, once, instead of being
//! queued for without limit: the journal has what it missed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::journal::MemoryJournal;
use crate::{
    domain::{
        event::{Entry, Event},
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        feed::{Feed, Signal},
    },
};

/// Most signals that wait for one process.
const SIGNALS_MAX: usize = 8_192;

/// One process's ear on a journal in memory.
pub struct MemoryFeed {
    journal: Arc<MemoryJournal>,
    id: u64,
    signals: Mutex<Option<BoxStream<'static, Signal>>>,
}

impl MemoryFeed {
    /// A new ear on the journal. Several may listen to one journal, as several processes to one server.
    pub fn new(journal: Arc<MemoryJournal>) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
        let overrun = Arc::new(AtomicBool::new(false));
        journal.with_listeners(|listeners| listeners.add(id, sender, Arc::clone(&overrun)));
        let signals = Mutex::new(Some(heard(receiver, overrun)));
        Self { journal, id, signals }
    }
}

/// What was sent, and an [`Signal::Interrupted`] behind it when more was sent than fits. An overrun happens only while
/// signals wait, so a look at the flag behind each of them is enough.
fn heard(receiver: mpsc::Receiver<Signal>, overrun: Arc<AtomicBool>) -> BoxStream<'static, Signal> {
    let signals = stream::unfold((receiver, overrun), |(mut receiver, overrun)| async move {
        let signal = receiver.recv().await?;
        let interrupted = overrun.swap(false, Ordering::Relaxed).then_some(Signal::Interrupted);
        Some((stream::iter([Some(signal), interrupted].into_iter().flatten()), (receiver, overrun)))
    });
    signals.flatten().boxed()
}

impl Drop for MemoryFeed {
    fn drop(&mut self) {
        self.journal.with_listeners(|listeners| listeners.remove(self.id));
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        let taken = self.signals.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| stream::empty().boxed())
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
pub(super) struct Listeners(HashMap<u64, Listener>);

struct Listener {
    watched: HashSet<Topic>,
    sender: mpsc::Sender<Signal>,
    overrun: Arc<AtomicBool>,
}

impl Listeners {
    pub(super) fn appended(&self, topic: &Topic, entry: &Entry) {
        for listener in self.0.values().filter(|listener| listener.watched.contains(topic)) {
            listener.tell(Signal::Appended(topic.clone(), entry.clone()));
        }
    }

    /// A topic has changed by something else than an append.
    pub(super) fn grown(&self, topic: &Topic) {
        for listener in self.0.values().filter(|listener| listener.watched.contains(topic)) {
            listener.tell(Signal::Grown(topic.clone()));
        }
    }

    /// `false` if somebody could not be told.
    pub(super) fn tell_all(&self, signal: &Signal) -> bool {
        let mut all = true;
        for listener in self.0.values() {
            all &= listener.tell(signal.clone());
        }
        all
    }

    fn add(&mut self, id: u64, sender: mpsc::Sender<Signal>, overrun: Arc<AtomicBool>) {
        self.0.insert(id, Listener { watched: HashSet::new(), sender, overrun });
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

impl Listener {
    /// `false` if it was full; who no longer listens needs not be told.
    fn tell(&self, signal: Signal) -> bool {
        // The flag is up before the attempt, so that whoever makes room during it still finds the flag behind a signal.
        // Where the attempt then succeeds, an interruption is told that did not happen, which is harmless.
        if self.sender.capacity() == 0 {
            self.overrun.store(true, Ordering::Relaxed);
        }
        // An error means that it is full, which was just said, or that nobody listens any more.
        !matches!(self.sender.try_send(signal), Err(TrySendError::Full(_)))
    }
}
