//! What every process is to hear: events for everybody, and users whose connections are to end.
//!
//! They stand in a small stream of their own for a while, and the channel only says that there is something new. One task of
//! each process hands on what it has not handed on yet.
//!
//! Invariants: a process hands each announcement on once and in order, whatever happens to its connections meanwhile, from
//! its start on; where its way to Redis was closed for longer than announcements are kept, that is reported; what does not fit
//! is refused to who announces it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};

use super::{
    connection::Connection,
    journal::senseless,
    keys::Keys,
    scripts::{ANNOUNCE, READ_ANNOUNCEMENTS},
};
use crate::{
    adapters::backend_kit::{BackendContext, OnTrouble, signal_queue::SignalQueue, stored_event},
    domain::{
        backoff::Backoff,
        category::Registry,
        event::Event,
        position::EventId,
        timestamp::{Timestamp, millis},
        topic::UserId,
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        entropy::Entropy,
        feed::Signal,
    },
};

/// For how long an announcement can still be read.
const KEPT: Duration = Duration::from_mins(1);
/// Most bytes of announcements that are kept.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most announcements that are read at once.
const READ_AT_ONCE: usize = 16;
/// Pause before a read that failed, or a signal that found no room, is tried again.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(50);
const TRY_AGAIN_LATEST: Duration = Duration::from_secs(1);
/// The kinds of announcements.
const EVENT: &str = "event";
const CLOSE: &str = "close";

/// What `read_announcements.lua` answers.
type Answer = (String, bool, Vec<String>);

/// The announcements, as one process writes and reads them.
pub(super) struct Announcements {
    appends: Arc<Connection>,
    reads: Arc<Connection>,
    registry: Arc<Registry>,
    on_missed: OnTrouble,
    entropy: Arc<dyn Entropy>,
    name: String,
    /// The last one that was handed on, once that is known.
    position: Mutex<Option<EventId>>,
    news: Notify,
}

impl Announcements {
    pub(super) fn new(appends: Arc<Connection>, reads: Arc<Connection>, keys: &Keys, context: &BackendContext) -> Self {
        let BackendContext { registry, on_missed_broadcasts, entropy, .. } = context.clone();
        let (on_missed, name) = (on_missed_broadcasts, keys.announcements());
        Self { appends, reads, registry, on_missed, entropy, name, position: Mutex::default(), news: Notify::new() }
    }

    /// The channel that says that there are new ones.
    pub(super) fn channel(&self) -> &str {
        &self.name
    }

    /// There may be new ones.
    pub(super) fn may_have_grown(&self) {
        self.news.notify_one();
    }

    /// An event for everybody.
    pub(super) async fn broadcast(&self, event: &Event) -> Result<(), BackendError> {
        self.announce(EVENT, &stored_event::encode_broadcast(event)).await
    }

    /// The connections of a user are to end.
    pub(super) async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.announce(CLOSE, user.as_str()).await
    }

    async fn announce(&self, kind: &str, content: &str) -> Result<(), BackendError> {
        let arguments = [&self.name, &millis(KEPT).to_string(), &BYTES_MAX.to_string(), kind, content];
        let id: Option<String> = self.appends.run("announce to every process", &ANNOUNCE, &[&self.name], &arguments).await?;
        let full = || BackendError::new(BackendErrorKind::BroadcastsFull, "announce to every process");
        id.map(drop).ok_or_else(full)
    }

    /// Finds where the announcements end when this process begins to listen: what comes later is for it.
    pub(super) async fn begin_at_end(&self) -> Result<(), BackendError> {
        if self.position().is_none() {
            let (last, ..) = self.read("").await?;
            self.stand_at(last.parse().map_err(|_| senseless())?);
        }
        Ok(())
    }

    /// Hands on what is new, for as long as it is polled.
    pub(super) async fn hand_on(self: Arc<Self>, queue: SignalQueue) {
        let mut backoff = Backoff::new(TRY_AGAIN_AFTER, TRY_AGAIN_LATEST);
        loop {
            // Without a notification it looks now and then, which also removes what was kept for long enough.
            let _ = timeout(KEPT, self.news.notified()).await;
            while let Err(error) = self.hand_on_all(&queue).await {
                tracing::debug!(%error, "announcements can't be read");
                tokio::time::sleep(backoff.pause(self.entropy.next_u64())).await;
            }
            backoff.reset();
        }
    }

    async fn hand_on_all(&self, queue: &SignalQueue) -> Result<(), BackendError> {
        // Before this is known nobody listens.
        while let Some(position) = self.position() {
            let (last, is_gone, announcements) = self.read(&position.to_string()).await?;
            let last: EventId = last.parse().map_err(|_| senseless())?;
            if last < position {
                // Somebody has removed them, and ids may begin anew.
                self.stand_at(EventId::timed(0, 0));
                continue;
            }
            if is_gone {
                (self.on_missed)(&"the way to Redis was closed for longer than broadcasts are kept: some did not reach the clients here");
            }
            for [id, kind, content] in announcements.as_chunks().0 {
                if let Some(signal) = self.signal(kind, content) {
                    while !queue.tell(signal.clone()) {
                        tokio::time::sleep(TRY_AGAIN_AFTER).await;
                    }
                }
                self.stand_at(id.parse().map_err(|_| senseless())?);
            }
            if announcements.is_empty() {
                self.stand_at(last);
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(&self, after: &str) -> Result<Answer, BackendError> {
        let arguments = [after, &millis(KEPT).to_string(), &READ_AT_ONCE.to_string()];
        self.reads.run("read announcements", &READ_ANNOUNCEMENTS, &[&self.name], &arguments).await
    }

    fn signal(&self, kind: &str, content: &str) -> Option<Signal> {
        if kind == CLOSE {
            return UserId::parse(content).ok().map(Signal::CloseConnections);
        }
        let event = stored_event::decode(content.as_bytes(), Timestamp::default(), &self.registry);
        let event = event.inspect_err(|reason| tracing::warn!(%reason, "a broadcast is no event, and is passed over")).ok()?;
        Some(Signal::Broadcast(Arc::new(event)))
    }

    fn position(&self) -> Option<EventId> {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stand_at(&self, position: EventId) {
        *self.position.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
    }
}
