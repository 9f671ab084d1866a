//! What every process gets beside entries: broadcasts, and users whose connections are
//! to end.
//!
//! A backend keeps them for a while, and notifies that there are new ones. One task of each process
//! reads on from the last one that it reported.
//!
//! Invariants: a process reports each announcement once and in order, from its start on, whatever
//! happens to its connections meanwhile; where some were gone before they could be read, that is
//! reported too.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::signal_queue::SignalQueue;
use crate::{
    adapters::backend_kit::OnTrouble,
    domain::{backoff::Backoff, event::Event, position::Position, topic::UserId},
    ports::{backend_error::BackendError, entropy::Entropy, feed::Signal},
};

/// For how long a broadcast can still be read.
pub const ANNOUNCEMENTS_KEPT: Duration = Duration::from_mins(1);
/// Most bytes of them that are kept; more are refused.
pub const ANNOUNCEMENTS_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most that are read at once.
pub const ANNOUNCEMENTS_AT_ONCE: usize = 64;
/// Without a notification it is looked for new ones as often as this.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long to wait for room among the signals that wait.
const ROOM_AWAITED: Duration = Duration::from_millis(5);
/// First and longest pause before a read that failed is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(1);

/// What is announced.
#[derive(Clone, Debug)]
pub enum Announcement {
    /// A broadcast.
    Broadcast(Arc<Event>),
    /// The connections of a user are to end.
    CloseConnections(UserId),
}

impl From<Announcement> for Signal {
    fn from(announcement: Announcement) -> Self {
        match announcement {
            Announcement::Broadcast(event) => Self::Broadcast(event),
            Announcement::CloseConnections(user) => Self::CloseConnections(user),
        }
    }
}

/// The announcements, as a backend keeps them.
#[async_trait]
pub trait AnnouncementLog: Send + Sync + 'static {
    /// Appends one, and notifies every process.
    ///
    /// # Errors
    /// `BroadcastsFull` beyond [`ANNOUNCEMENTS_BYTES_MAX`]; those of the backend.
    async fn announce(&self, announcement: &Announcement) -> Result<(), BackendError>;

    /// Where they end.
    ///
    /// # Errors
    /// Those of the backend.
    async fn end(&self) -> Result<Position, BackendError>;

    /// Those behind a position, at most [`ANNOUNCEMENTS_AT_ONCE`], which were not read here for
    /// `unread_for`.
    ///
    /// # Errors
    /// Those of the backend.
    async fn read(
        &self,
        after: Position,
        unread_for: Duration,
    ) -> Result<AnnouncementPage, BackendError>;
}

/// A part of the announcements.
#[derive(Debug)]
pub struct AnnouncementPage {
    /// Each with its position; nothing where one is not understood.
    pub announcements: Vec<(Position, Option<Announcement>)>,
    /// Where all of them end.
    pub end: Position,
    /// Whether some before these may be gone.
    pub some_are_gone: bool,
}

/// The announcements as one process reads them.
pub(super) struct Announcements<L> {
    pub(super) log: L,
    on_missed: OnTrouble,
    entropy: Arc<dyn Entropy>,
    /// The last one that was reported, once the process listens.
    reported: Mutex<Option<Position>>,
}

impl<L: AnnouncementLog> Announcements<L> {
    pub(super) fn new(log: L, on_missed: OnTrouble, entropy: Arc<dyn Entropy>) -> Self {
        Self { log, on_missed, entropy, reported: Mutex::default() }
    }

    /// Finds where the announcements end when this process begins to listen: what comes later is
    /// for it.
    pub(super) async fn begin(&self) -> Result<(), BackendError> {
        if self.reported().is_none() {
            self.set_reported(self.log.end().await?);
        }
        Ok(())
    }

    /// Reports what is new, for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>, announced: Arc<Notify>, queue: SignalQueue) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        let mut read_at = Instant::now();
        loop {
            let _ = timeout(LOOK_EVERY, announced.notified()).await;
            while let Err(error) = self.report_all(&queue, read_at).await {
                tracing::debug!(%error, "announcements can't be read");
                sleep(backoff.pause(self.entropy.next_u64())).await;
            }
            read_at = Instant::now();
            backoff.reset();
        }
    }

    async fn report_all(
        &self,
        queue: &SignalQueue,
        mut read_at: Instant,
    ) -> Result<(), BackendError> {
        // Before this is known there are no listeners.
        while let Some(after) = self.reported() {
            let AnnouncementPage { announcements, end, some_are_gone } =
                self.log.read(after, read_at.elapsed()).await?;
            read_at = Instant::now();
            if end < after {
                // They were removed, and begin anew.
                self.set_reported(Position::Start);
                continue;
            }
            if some_are_gone {
                (self.on_missed)(
                    &"the way to the backend was closed for longer than broadcasts are kept: some may not have reached the clients here",
                );
            }
            let is_all = announcements.last().is_none_or(|(last, _)| *last >= end);
            for (position, announcement) in announcements {
                // Unlike what a topic has grown by, an announcement is in no journal that could be
                // read instead.
                let signal = announcement.map(Signal::from);
                while signal.as_ref().is_some_and(|signal| !queue.tell(signal.clone())) {
                    sleep(ROOM_AWAITED).await;
                }
                self.set_reported(position);
            }
            if is_all {
                self.set_reported(self.reported().max(Some(end)).unwrap_or(end));
                break;
            }
        }
        Ok(())
    }

    fn reported(&self) -> Option<Position> {
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_reported(&self, position: Position) {
        *self.reported.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
    }
}
