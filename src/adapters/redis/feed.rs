//! The feed: what is watched, and what is sent to every process.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use redis::Client;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{connection::CALL_TIMEOUT, failure::Failure, listener::Listener};
use crate::{
    domain::{
        event::Event,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::{Feed, Signal},
    },
};

/// What one process hears from Redis.
pub struct RedisFeed {
    listener: Arc<Listener>,
    signals: Mutex<Option<BoxStream<'static, Signal>>>,
    is_connected: watch::Receiver<bool>,
    stop: CancellationToken,
    _stop_with_this: DropGuard,
}

impl RedisFeed {
    /// Begins to listen, to one of several nodes. It goes on until it is dropped.
    pub(super) fn start(nodes: Vec<Client>, listener: Listener, signals: BoxStream<'static, Signal>) -> Self {
        let listener = Arc::new(listener);
        let (tell_connected, is_connected) = watch::channel(false);
        let stop = CancellationToken::new();
        let listening = Arc::clone(&listener).listen(nodes, tell_connected);
        tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        let handing_on = Arc::clone(&listener.announcements).hand_on(listener.queue.clone());
        tokio::spawn(stop.clone().run_until_cancelled_owned(handing_on));
        let signals = Mutex::new(Some(signals));
        Self { listener, signals, is_connected, stop: stop.clone(), _stop_with_this: stop.drop_guard() }
    }

    /// Waits until it listens.
    pub(super) async fn connected(&self) {
        // Its sender ends with the feed.
        let _ = self.is_connected.clone().wait_for(|connected| *connected).await;
    }

    /// Cancelled when the feed ends.
    pub(super) fn stopped(&self) -> CancellationToken {
        self.stop.clone()
    }
}

impl Drop for RedisFeed {
    fn drop(&mut self) {
        // The connection's reader keeps the listener, so the listener must let go of the connection.
        self.listener.disconnect();
    }
}

#[async_trait]
impl Feed for RedisFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        let taken = self.signals.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| stream::empty().boxed())
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        let not_connected = || BackendError::new(BackendErrorKind::Unavailable, "listen to a topic while the feed is away");
        let mut connection = self.listener.watch(topic).ok_or_else(not_connected)?;
        let listening = tokio::time::timeout(CALL_TIMEOUT, connection.subscribe(self.listener.channel(topic)));
        let listening = listening.await.map_or(Err(Failure::Silent), |listening| listening.map_err(Failure::from));
        listening.map_err(|failure| failure.of_call("listen to a topic"))
    }

    async fn unwatch(&self, topic: &Topic) {
        if let Some(mut connection) = self.listener.unwatch(topic) {
            // Where that fails the connection is lost, and the next one does not listen to the topic.
            let _ = tokio::time::timeout(CALL_TIMEOUT, connection.unsubscribe(self.listener.channel(topic))).await;
        }
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.listener.announcements.broadcast(&event).await
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.listener.announcements.close_connections(user).await
    }
}
