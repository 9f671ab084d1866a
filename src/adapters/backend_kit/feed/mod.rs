//! The feed of a backend with a server: what is left to the backend is how it listens on a
//! connection ([`FeedSource`]), and where it keeps what is for every process ([`AnnouncementLog`]).

mod announcements;
mod driver;
pub mod local;
mod reports;
pub mod signal_queue;
#[cfg(test)]
mod tests;
mod watch_set;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{FutureExt, stream::BoxStream};
use tokio::{sync::watch, time::timeout};

pub use self::{
    announcements::{
        ANNOUNCEMENTS_AT_ONCE, ANNOUNCEMENTS_BYTES_MAX, ANNOUNCEMENTS_KEPT, Announcement,
        AnnouncementLog, AnnouncementPage,
    },
    driver::{FeedSource, FeedState},
    reports::FeedReports,
};
use self::{driver::Driver, signal_queue::SignalStream, watch_set::WatchSet};
use super::{BackendContext, reconnect::Reconnect};
use crate::{
    domain::{
        event::Event,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::{Feed, Signal},
        tasks::Task,
    },
};

/// How a feed is started.
#[derive(Clone, Copy, Debug)]
pub struct FeedOptions {
    /// The name of the task that listens.
    pub task: &'static str,
    /// The name of the task that reads announcements.
    pub announcements_task: &'static str,
    /// Longest time that a call to the server may take.
    pub call_timeout: Duration,
}

/// A feed that a task of the kit keeps listening.
pub struct DrivenFeed<L> {
    watched: Arc<WatchSet>,
    signals: SignalStream,
    announcements: Arc<announcements::Announcements<L>>,
    state: watch::Receiver<FeedState>,
    call_timeout: Duration,
    _tasks: [Task; 2],
}

impl<L: AnnouncementLog> DrivenFeed<L> {
    /// Begins to listen. It ends when this is dropped.
    pub fn start(
        context: &BackendContext,
        options: FeedOptions,
        source: impl FeedSource,
        log: L,
    ) -> Self {
        let FeedOptions { task, announcements_task, call_timeout } = options;
        let (reports, signals) = FeedReports::new();
        let (state, seen_state) = watch::channel(FeedState::Beginning);
        let on_missed = Arc::clone(&context.on_missed_broadcasts);
        let announcements = Arc::new(announcements::Announcements::new(
            log,
            on_missed,
            Arc::clone(&context.entropy),
        ));
        let reading =
            Arc::clone(&announcements).run(Arc::clone(&reports.announced), reports.queue.clone());
        let watched = Arc::clone(&reports.watched);
        let reconnect = Reconnect::new(Arc::clone(&context.entropy));
        let driver = Driver {
            source,
            reports,
            announcements: Arc::clone(&announcements),
            state,
            call_timeout,
            reconnect,
        };
        let tasks = [
            context.tasks.spawn_vital(task, driver.run().boxed()),
            context.tasks.spawn_vital(announcements_task, reading.boxed()),
        ];
        Self { watched, signals, announcements, state: seen_state, call_timeout, _tasks: tasks }
    }

    /// Waits for the first attempt to listen: whether it listens now.
    pub async fn began(&self) -> bool {
        let mut state = self.state.clone();
        // An error would mean that the task is gone.
        state
            .wait_for(|state| *state != FeedState::Beginning)
            .await
            .is_ok_and(|state| *state == FeedState::Listening)
    }
}

#[async_trait]
impl<L: AnnouncementLog> Feed for DrivenFeed<L> {
    fn signals(&self) -> BoxStream<'static, Signal> {
        self.signals.take()
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        let (is_new, listening) = self.watched.watch(topic);
        let watched =
            timeout(self.call_timeout, async { self.began().await && listening.await.is_ok() });
        let refused = match watched.await {
            Ok(true) => return Ok(()),
            Ok(false) => BackendErrorKind::Unavailable,
            Err(_) => BackendErrorKind::Timeout,
        };
        if is_new {
            self.watched.unwatch(topic);
        }
        Err(BackendError::new(refused, "listen to a topic"))
    }

    async fn unwatch(&self, topic: &Topic) {
        self.watched.unwatch(topic);
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.announcements.log.announce(&Announcement::Broadcast(event)).await
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.announcements.log.announce(&Announcement::CloseConnections(user.clone())).await
    }
}
