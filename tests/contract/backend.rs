//! What the laws need of an adapter: a backend of their own, and the power over it.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rejoin::{
    adapters::backend_kit::{BackendContext, Ports, Retention, sweep::Sweeper},
    domain::topic::MessageId,
    ports::{
        archive::Archive,
        feed::Feed,
        journal::Journal,
        limits::{ConnectionLeases, ReplayBudget},
        messages::Messages,
    },
    testing::backend_context_with,
};

/// Longer than any law takes on a busy machine, real pauses included.
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs a law, which must come to an end.
pub(crate) async fn within_patience(law: impl Future<Output = ()>) {
    assert!(tokio::time::timeout(PATIENCE, law).await.is_ok(), "the law timed out");
}

/// How an adapter is brought up for a law.
#[async_trait]
pub(crate) trait Fixture: Send + Sync {
    /// An empty backend, or an empty part of one, that no other law sees.
    async fn open(&self, options: Options) -> Box<dyn Backend>;

    /// The same for a law that kills or stops the backend, which no other law may feel.
    async fn open_to_be_killed(&self, options: Options) -> Box<dyn Backend> {
        self.open(options).await
    }

    /// The same under a clock that stands still until [`Backend::set_clock_ms`] moves it.
    async fn open_with_clock(&self, options: Options) -> Box<dyn Backend> {
        self.open(options).await
    }

    /// How many cases a property is tried with: fewer where opening a backend costs a server's
    /// start.
    fn property_cases(&self) -> u32;

    /// By how much times that a backend tells may be off: zero where the law's own clock is the
    /// only one.
    fn time_tolerance(&self) -> Duration;
}

/// The bounds that a law wants.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Most entries of one topic.
    pub(crate) stream_maxlen: usize,
    /// Age after which an entry counts as gone.
    pub(crate) replay_max_age: Option<Duration>,
    /// For how long an idempotency key is remembered.
    pub(crate) idempotency_window: Duration,
    /// Most bytes of messages, where the backend has such a bound.
    pub(crate) bytes_max: usize,
}

impl Options {
    /// What a process of such a backend is opened with.
    pub(crate) fn context(&self) -> BackendContext {
        let Self { stream_maxlen, replay_max_age, idempotency_window, .. } = *self;
        backend_context_with(Retention { stream_maxlen, replay_max_age, idempotency_window })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stream_maxlen: 100_000,
            replay_max_age: None,
            idempotency_window: Duration::from_mins(10),
            bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// One backend, and the power over it. What is not implemented is declared as lacking in `main.rs`.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    /// The ports of one more process on this backend.
    async fn process(&self) -> Process;

    /// Lets time pass, for the backend and all its processes. Real servers need real time, so laws
    /// pass seconds.
    async fn pass(&self, time: Duration);

    /// How many entries over its bound a topic may keep: backends that trim approximately keep some
    /// more.
    fn trim_slack_entries(&self) -> usize {
        0
    }

    /// Sets the clock, in milliseconds since the Unix epoch. Of a backend that was opened with one.
    async fn set_clock_ms(&self, _now_ms: u64) {
        unreachable!("declared as lacking")
    }

    /// Whether ids follow a clock that steps back, as far as their topic's head lets them.
    fn follows_steps_back(&self) -> bool {
        true
    }

    /// Makes a message one that has room for this many more events, at most.
    async fn fill_message(&self, id: &MessageId, room: u64);

    /// Sets the clock that ids are made from back.
    async fn step_clock_back(&self, _by: Duration) {
        unreachable!("declared as lacking")
    }

    /// Loses everything, as a lost disk does.
    async fn wipe(&self) {
        unreachable!("declared as lacking")
    }

    /// Kills the server and starts it again. Processes keep their ports.
    async fn restart(&self) {
        unreachable!("declared as lacking")
    }

    /// Makes the server unreachable.
    async fn stop(&self) {
        unreachable!("declared as lacking")
    }

    /// Makes the server reachable again.
    async fn start(&self) {
        unreachable!("declared as lacking")
    }

    /// Keeps the server from answering, though its connections stay open.
    async fn pause(&self) {
        unreachable!("declared as lacking")
    }

    /// Lets the server answer again.
    async fn resume(&self) {
        unreachable!("declared as lacking")
    }

    /// Leaves the server no room for anything more.
    async fn fill(&self) {
        unreachable!("declared as lacking")
    }

    /// Removes all that there is of a user's topic, as another program or a server without room may
    /// do.
    async fn lose_topic(&self, _user_id: &str) {
        unreachable!("declared as lacking")
    }

    /// Breaks the connections by which processes hear of what is new.
    async fn cut_feeds(&self) {
        unreachable!("declared as lacking")
    }

    /// Gives the server room again.
    async fn make_room(&self) {
        unreachable!("declared as lacking")
    }
}

/// The ports of one process. There are several on one backend.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) messages: Arc<dyn Messages>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) leases: Arc<dyn ConnectionLeases>,
    pub(crate) budget: Arc<dyn ReplayBudget>,
    pub(crate) archive: Arc<dyn Archive>,
    _sweeper: Option<Arc<Sweeper>>,
}

impl Process {
    pub(crate) fn of(
        Ports { journal, messages, feed, archive, leases, budget, sweeper }: Ports,
    ) -> Self {
        Self { journal, messages, feed, leases, budget, archive, _sweeper: sweeper }
    }

    /// The same under a clock that a law sets: the sweep would come by the real one, between any
    /// two steps.
    pub(crate) fn without_sweep(self) -> Self {
        Self { _sweeper: None, ..self }
    }
}
