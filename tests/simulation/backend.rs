//! The one journal of the world, how a process reaches it, and the record of all that was ever
//! appended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use rejoin::{
    adapters::memory::{MemoryJournal, MemoryOptions},
    domain::{
        category::Category,
        cursor::Bounds,
        page::{Page, PageLimit},
        position::EventId,
        position::Position,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        journal::{Append, Appended, Journal},
        topic_log::TopicLog,
    },
};

use crate::{
    clock::SimulatedClock,
    faults::{Faults, JournalFault},
    feed::FaultyFeed,
    history::History,
    messages::Appends,
};

pub(crate) struct Backend {
    pub(crate) history: History,
    pub(crate) appends: Appends,
    pub(crate) clock: Arc<SimulatedClock>,
    options: MemoryOptions,
    /// Whether readers are told the floor: some backends don't know it.
    floor_is_known: bool,
    journal: Mutex<Arc<MemoryJournal>>,
    incarnation: AtomicUsize,
    log: Mutex<HashMap<Topic, Vec<Logged>>>,
    feeds: Mutex<Vec<Weak<FaultyFeed>>>,
}

/// An entry that was appended.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) id: EventId,
    pub(crate) category: Option<Category>,
    /// What its publisher put in, which is unique in the world.
    pub(crate) payload: String,
    pub(crate) incarnation: usize,
}

impl Backend {
    pub(crate) fn new(options: MemoryOptions, floor_is_known: bool, history: History) -> Self {
        let clock = Arc::new(SimulatedClock::start());
        let journal =
            Mutex::new(Arc::new(MemoryJournal::new(options.clone(), Arc::clone(&clock) as _)));
        let (log, feeds) = (Mutex::default(), Mutex::default());
        Self {
            clock,
            options,
            floor_is_known,
            history,
            appends: Appends::default(),
            journal,
            incarnation: AtomicUsize::new(0),
            log,
            feeds,
        }
    }

    pub(crate) fn floor_is_known(&self) -> bool {
        self.floor_is_known
    }

    /// How often the journal was wiped.
    pub(crate) fn incarnation(&self) -> usize {
        self.incarnation.load(Ordering::Relaxed)
    }

    pub(crate) fn journal(&self) -> Arc<MemoryJournal> {
        Arc::clone(&self.journal.lock().unwrap())
    }

    pub(crate) fn add_feed(&self, feed: &Arc<FaultyFeed>) {
        let mut feeds = self.feeds.lock().unwrap();
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(feed));
    }

    /// Appends at once.
    pub(crate) async fn append(&self, batch: Vec<Append>) -> Result<Vec<Appended>, BackendError> {
        let incarnation = self.incarnation();
        let told = self
            .journal()
            .append(batch.clone())
            .await?
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        let mut log = self.log.lock().unwrap();
        for (append, told) in batch.into_iter().zip(&told).filter(|(_, told)| !told.duplicate) {
            let payload = append.event.content.payload().unwrap().as_str().to_owned();
            self.history.note("appended", &(append.user.as_str(), told.id, &payload));
            let logged = Logged {
                id: told.id,
                category: append.event.category.clone(),
                payload,
                incarnation,
            };
            log.entry(Topic::User(append.user)).or_default().push(logged);
        }
        Ok(told)
    }

    /// Everything that was ever appended to a topic.
    pub(crate) fn log_of(&self, topic: &Topic) -> Vec<Logged> {
        self.log.lock().unwrap().get(topic).cloned().unwrap_or_default()
    }

    /// What is true of a topic at this moment.
    pub(crate) async fn bounds(&self, topic: &Topic) -> Bounds {
        self.journal().bounds(topic).await.unwrap()
    }

    /// Loses everything. Feeds notice that their server is another one.
    pub(crate) fn wipe(&self) {
        self.history.note("wiped", &());
        self.clock.pass_latest();
        *self.journal.lock().unwrap() =
            Arc::new(MemoryJournal::new(self.options.clone(), Arc::clone(&self.clock) as _));
        self.incarnation.fetch_add(1, Ordering::Relaxed);
        self.feeds.lock().unwrap().iter().filter_map(Weak::upgrade).for_each(|feed| feed.rewire());
    }
}

/// One process's way to the journal.
pub(crate) struct FaultyJournal {
    backend: Arc<Backend>,
    faults: Arc<Faults>,
    /// How many reads were asked for.
    pub(crate) reads: AtomicUsize,
}

impl FaultyJournal {
    pub(crate) fn new(backend: Arc<Backend>, faults: Arc<Faults>) -> Self {
        Self { backend, faults, reads: AtomicUsize::new(0) }
    }

    /// Of a message everything is always known.
    fn as_told(&self, topic: &Topic, bounds: Bounds) -> Bounds {
        if self.backend.floor_is_known || topic.user().is_none() {
            bounds
        } else {
            Bounds { floor: None, ..bounds }
        }
    }
}

#[async_trait]
impl Journal for FaultyJournal {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        self.faults.delay_journal().await;
        self.faults.request()?;
        let told = self.backend.append(batch).await?.into_iter().map(Ok).collect();
        self.faults.delay_journal().await;
        self.faults.answer(told)
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        self.faults.request()?;
        self.backend.journal().length(user).await
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        self.faults.request()?;
        self.backend.journal().purge(user).await
    }
}

#[async_trait]
impl TopicLog for FaultyJournal {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        // Others run while an answer is waited for, also where it is there at once.
        tokio::task::yield_now().await;
        self.faults.delay_journal().await;
        self.faults.request()?;
        let mut page = self.backend.journal().read(topic, after, limit).await?;
        self.backend.history.note("read", &(topic, after, page.entries.len(), page.more));
        page.bounds = self.as_told(topic, page.bounds);
        if self.faults.now().journal == JournalFault::Foreign && topic.user().is_some() {
            page.entries.iter_mut().for_each(|entry| entry.prev = None);
        }
        // What was read may be out of date when it arrives.
        self.faults.delay_journal().await;
        self.faults.answer(page)
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        self.faults.delay_journal().await;
        self.faults.request()?;
        let bounds = self.as_told(topic, self.backend.bounds(topic).await);
        self.faults.delay_journal().await;
        self.faults.answer(bounds)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.faults.request()
    }
}
