//! The feed: notifications as hints, and entries as the journal has them.
//!
//! Invariant: what is told of a topic was read from its table behind what was told before, so it comes in order, without
//! a gap, and as it was committed.

mod announcements;
mod listener;
mod reading;
mod watched;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{FutureExt, stream::BoxStream};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

pub(super) use self::{
    announcements::{ANNOUNCE, BROADCASTS_KEPT, FIND_ANNOUNCEMENTS, LATEST_ANNOUNCEMENT},
    reading::{FEED_MESSAGE_EVENTS, FEED_MESSAGE_HEADS, FEED_USER_EVENTS, FEED_USER_HEADS},
};
use self::{
    announcements::{Announcement, Hearing},
    listener::{Confirmation, Listener},
    watched::Watched,
};
use super::{
    connector::{Connector, Purpose},
    journal::PostgresLog,
    lane::{Lane, Repeat, calling},
};
use crate::{
    adapters::backend_kit::{
        BackendContext,
        signal_queue::{SignalQueue, SignalStream},
    },
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

/// Most watches that wait for the listening task; who comes behind them waits for room.
const CONFIRMATIONS_MAX: usize = 1_024;

/// Whether the feed hears anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has not been tried yet.
    Beginning,
    Listening,
    Away,
}

/// What the feed and its task have in common.
#[derive(Default)]
struct Shared(Mutex<Watched>);

impl Shared {
    fn watched(&self) -> MutexGuard<'_, Watched> {
        // It is changed in whole steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One process's ear on the server.
pub struct PostgresFeed {
    shared: Arc<Shared>,
    log: Arc<PostgresLog>,
    channel: String,
    call_timeout: Duration,
    state: watch::Receiver<State>,
    confirmations: mpsc::Sender<Confirmation>,
    signals: SignalStream,
    _listening: Task,
}

impl PostgresFeed {
    /// Begins to listen.
    pub(super) fn start(
        context: &BackendContext,
        connector: &Arc<Connector>,
        purpose: Purpose,
        reads: Lane,
        log: Arc<PostgresLog>,
        call_timeout: Duration,
    ) -> Self {
        let (queue, signals) = SignalQueue::new();
        let shared = Arc::new(Shared::default());
        let (state, seen_state) = watch::channel(State::Beginning);
        let (sender, confirmations) = mpsc::channel(CONFIRMATIONS_MAX);
        let listener = Listener {
            connector: Arc::clone(connector),
            purpose,
            reads: Arc::new(reads),
            shared: Arc::clone(&shared),
            queue,
            state,
            confirmations,
            connect_timeout: call_timeout,
            hearing: Hearing::default(),
            entropy: Arc::clone(&context.entropy),
        };
        Self {
            shared,
            log,
            channel: connector.schema().channel(),
            call_timeout,
            state: seen_state,
            confirmations: sender,
            signals,
            _listening: context.tasks.spawn_vital("postgres feed", listener.run().boxed()),
        }
    }

    /// Waits for the first attempt to listen.
    pub(super) async fn began(&self) {
        // An error would mean that the task is gone, which `watch` tells.
        let _ = self.state.clone().wait_for(|state| *state != State::Beginning).await;
    }

    async fn announce(&self, announcement: Announcement, repeat: Repeat) -> Result<(), BackendError> {
        let announce = calling(|connection| {
            let (announcement, channel) = (announcement.clone(), self.channel.clone());
            async move { announcements::announce(connection, &announcement, &channel).await }.boxed()
        });
        self.log.reads.call("telling every process", repeat, announce).await
    }

    /// Waits until the listening task has had a round trip on its connection.
    async fn confirm(&self) -> Option<()> {
        let mut state = self.state.clone();
        let is_listening = *state.wait_for(|state| *state != State::Beginning).await.ok()? == State::Listening;
        if !is_listening {
            return None;
        }
        let (confirmation, confirmed) = oneshot::channel();
        self.confirmations.send(confirmation).await.ok()?;
        confirmed.await.ok()
    }
}

#[async_trait]
impl Feed for PostgresFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        self.signals.take()
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        const CONTEXT: &str = "listening to a topic";
        let is_new = self.shared.watched().watch(topic);
        let refused = match timeout(self.call_timeout, self.confirm()).await {
            Ok(Some(())) => return Ok(()),
            Ok(None) => BackendErrorKind::Unavailable,
            Err(_) => BackendErrorKind::Timeout,
        };
        if is_new {
            self.shared.watched().unwatch(topic);
        }
        Err(BackendError::new(refused, CONTEXT))
    }

    async fn unwatch(&self, topic: &Topic) {
        self.shared.watched().unwatch(topic);
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.announce(Announcement::Event(event), Repeat::Harmful).await
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.announce(Announcement::Close(user.clone()), Repeat::Harmless).await
    }
}
