//! The feed: what is watched, and what is sent to every process.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{FutureExt, stream::BoxStream};
use redis::Client;
use tokio::sync::watch;

use super::{connection::CALL_TIMEOUT, failure::Failure, listener::Listener};
use crate::{
    adapters::backend_kit::signal_queue::SignalStream,
    domain::{
        event::Event,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::{Feed, Signal},
        tasks::{Task, Tasks},
    },
};

/// What one process hears from Redis.
pub struct RedisFeed {
    listener: Arc<Listener>,
    signals: SignalStream,
    is_connected: watch::Receiver<bool>,
    _tasks: Vec<Task>,
}

impl RedisFeed {
    /// Begins to listen, to one of several nodes. It goes on until it is dropped, and with it those tasks that serve all ports.
    pub(super) fn start(tasks: &dyn Tasks, nodes: Vec<Client>, listener: Listener, signals: SignalStream, mut running: Vec<Task>) -> Self {
        let listener = Arc::new(listener);
        let (tell_connected, is_connected) = watch::channel(false);
        let listening = Arc::clone(&listener).listen(nodes, tell_connected);
        running.push(tasks.spawn_vital("redis feed", listening.boxed()));
        let handing_on = Arc::clone(&listener.announcements).hand_on(listener.queue.clone());
        running.push(tasks.spawn_vital("redis announcements", handing_on.boxed()));
        Self { listener, signals, is_connected, _tasks: running }
    }

    /// Waits until it listens.
    pub(super) async fn connected(&self) {
        // Its sender ends with the feed.
        let _ = self.is_connected.clone().wait_for(|connected| *connected).await;
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
        self.signals.take()
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
