//! The feed: one connection that listens for the whole process.
//!
//! Invariants: what is watched is listened to on every connection that is told to be there; after a connection was lost,
//! the feed listens to everything anew *before* it says that it was interrupted, so that whoever then reads the stream
//! misses nothing. Messages go from the socket straight into a bounded queue.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use redis::{Client, Msg, PushInfo, PushKind, aio::MultiplexedConnection};
use tokio::{sync::Notify, sync::watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    connection::{CALL_TIMEOUT, Connection, RECONNECT_FIRST, RECONNECT_LONGEST, backend_error, in_turn, listener_config},
    keys::Keys,
    stored_entry::announced,
};
use crate::{
    adapters::{signal_queue::SignalQueue, stored_event},
    domain::{
        category::Registry,
        event::Event,
        timestamp::Timestamp,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::{Feed, Signal},
    },
};

/// How often a silent connection is asked whether it lives: a server that was stopped closes nothing.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Most channels in one command.
const CHANNELS_PER_CALL: usize = 500;

/// One process's ear on Redis.
pub struct RedisFeed {
    ear: Arc<Ear>,
    tells: Arc<Connection>,
    signals: Mutex<Option<BoxStream<'static, Signal>>>,
    is_connected: watch::Receiver<bool>,
    stop: CancellationToken,
    _stop_with_this: DropGuard,
}

/// What the listening task and the connection's reader share.
struct Ear {
    keys: Arc<Keys>,
    registry: Arc<Registry>,
    broadcasts: String,
    closings: String,
    queue: SignalQueue,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    watched: HashSet<Topic>,
    /// On which everything watched is listened to.
    connection: Option<MultiplexedConnection>,
}

impl RedisFeed {
    /// Begins to listen. It goes on until it is dropped.
    pub(super) fn start(nodes: Vec<Client>, keys: Arc<Keys>, tells: Arc<Connection>, registry: Arc<Registry>) -> Self {
        let (queue, signals) = SignalQueue::new();
        let (broadcasts, closings) = (keys.broadcasts(), keys.closings());
        let ear = Arc::new(Ear { keys, registry, broadcasts, closings, queue, state: Mutex::default() });
        let (tell_connected, is_connected) = watch::channel(false);
        let stop = CancellationToken::new();
        let listening = Arc::clone(&ear).listen(nodes, tell_connected);
        tokio::spawn(stop.clone().run_until_cancelled_owned(listening));
        Self { ear, tells, signals: Mutex::new(Some(signals)), is_connected, stop: stop.clone(), _stop_with_this: stop.drop_guard() }
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

    async fn tell(&self, context: &'static str, channel: &str, text: String) -> Result<(), BackendError> {
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(channel).arg(text);
        self.tells.send::<u64>(context, &publish).await.map(drop)
    }
}

impl Drop for RedisFeed {
    fn drop(&mut self) {
        // The connection's reader keeps the ear, so the ear must let go of the connection.
        self.ear.state().connection = None;
    }
}

impl Ear {
    fn state(&self) -> MutexGuard<'_, State> {
        // It is changed in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(self: Arc<Self>, nodes: Vec<Client>, tell_connected: watch::Sender<bool>) {
        let (mut pause, mut attempt, mut was_connected) = (RECONNECT_FIRST, 0, false);
        while let Some(node) = in_turn(&nodes, attempt) {
            attempt += 1;
            let lost = Arc::new(Notify::new());
            match self.connect(node, Arc::clone(&lost)).await {
                Ok(connection) => {
                    pause = RECONNECT_FIRST;
                    tell_connected.send_replace(true);
                    if std::mem::replace(&mut was_connected, true) {
                        self.queue.tell(Signal::Interrupted);
                    }
                    tokio::select! {
                        () = lost.notified() => {}
                        () = until_silent(connection) => {}
                    }
                    self.state().connection = None;
                    tell_connected.send_replace(false);
                    tracing::debug!("the feed's connection to Redis is lost");
                }
                Err(error) => {
                    tracing::debug!(%error, "the feed can't listen to Redis");
                    tokio::time::sleep(pause).await;
                    pause = RECONNECT_LONGEST.min(pause * 2);
                }
            }
        }
    }

    /// A connection on which everything is listened to that is watched.
    async fn connect(self: &Arc<Self>, node: &Client, lost: Arc<Notify>) -> redis::RedisResult<MultiplexedConnection> {
        let ear = Arc::clone(self);
        let config = listener_config(move |push: PushInfo| {
            ear.hear(push, &lost);
            Ok::<(), ()>(())
        });
        let mut connection = node.get_multiplexed_async_connection_with_config(&config).await?;
        connection.subscribe(&[&self.broadcasts, &self.closings]).await?;
        let mut listened_to: HashSet<Topic> = HashSet::new();
        loop {
            // What changes while this goes on is made up for in the next turn; the last turn finds nothing more to do.
            let (missing, surplus) = {
                let mut state = self.state();
                let missing: Vec<Topic> = state.watched.difference(&listened_to).cloned().collect();
                let surplus: Vec<Topic> = listened_to.difference(&state.watched).cloned().collect();
                if missing.is_empty() && surplus.is_empty() {
                    state.connection = Some(connection.clone());
                    return Ok(connection);
                }
                (missing, surplus)
            };
            for topics in missing.chunks(CHANNELS_PER_CALL) {
                connection.subscribe(&self.channels(topics)).await?;
            }
            for topics in surplus.chunks(CHANNELS_PER_CALL) {
                connection.unsubscribe(&self.channels(topics)).await?;
            }
            listened_to.extend(missing);
            listened_to.retain(|topic| !surplus.contains(topic));
        }
    }

    fn channels(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| self.keys.channel(topic)).collect()
    }

    /// Takes what the server pushes. It is called by the connection's reader, so it never waits.
    fn hear(&self, push: PushInfo, lost: &Notify) {
        if push.kind == PushKind::Disconnection {
            lost.notify_one();
            return;
        }
        let Some(message) = Msg::from_push_info(push) else { return };
        if let Some(signal) = self.signal_of(message.get_channel_name(), message.get_payload_bytes()) {
            self.queue.tell(signal);
        }
    }

    fn signal_of(&self, channel: &str, text: &[u8]) -> Option<Signal> {
        if channel == self.broadcasts {
            let event = stored_event::decode(text, Timestamp::default(), &self.registry).ok()?;
            return Some(Signal::Broadcast(Arc::new(event)));
        }
        if channel == self.closings {
            return std::str::from_utf8(text).ok().and_then(|user| UserId::parse(user).ok()).map(Signal::CloseConnections);
        }
        let topic = self.keys.topic_of(channel)?;
        // The server may still have been telling when it was asked to stop.
        if !self.state().watched.contains(&topic) {
            return None;
        }
        Some(match announced(&topic, text, self.keys.database(), &self.registry) {
            Some(entry) => Signal::Appended(topic, entry),
            None => Signal::Grown(topic),
        })
    }
}

/// Ends when the server no longer answers.
async fn until_silent(mut connection: MultiplexedConnection) {
    let mut pings = tokio::time::interval(PING_EVERY);
    loop {
        pings.tick().await;
        let ping = redis::cmd("PING");
        let answer = tokio::time::timeout(CALL_TIMEOUT, ping.query_async::<()>(&mut connection)).await;
        if !matches!(answer, Ok(Ok(()))) {
            return;
        }
    }
}

#[async_trait]
impl Feed for RedisFeed {
    fn signals(&self) -> BoxStream<'static, Signal> {
        let taken = self.signals.lock().unwrap_or_else(PoisonError::into_inner).take();
        taken.unwrap_or_else(|| stream::empty().boxed())
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        let connection = {
            let mut state = self.ear.state();
            state.watched.insert(topic.clone());
            state.connection.clone()
        };
        let not_connected = || BackendError::new(BackendErrorKind::Unavailable, "listen to a topic while the feed is away");
        let mut connection = connection.ok_or_else(not_connected)?;
        let listening = tokio::time::timeout(CALL_TIMEOUT, connection.subscribe(self.ear.keys.channel(topic)));
        match listening.await {
            Ok(listening) => listening.map_err(|error| backend_error("listen to a topic", error)),
            Err(_) => Err(BackendError::new(BackendErrorKind::Timeout, "listen to a topic")),
        }
    }

    async fn unwatch(&self, topic: &Topic) {
        let connection = {
            let mut state = self.ear.state();
            state.watched.remove(topic);
            state.connection.clone()
        };
        if let Some(mut connection) = connection {
            // Where that fails the connection is lost, and the next one does not listen to the topic.
            let _ = tokio::time::timeout(CALL_TIMEOUT, connection.unsubscribe(self.ear.keys.channel(topic))).await;
        }
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.tell("broadcast", &self.ear.broadcasts, stored_event::encode_broadcast(&event)).await
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.tell("close connections", &self.ear.closings, user.to_string()).await
    }
}
