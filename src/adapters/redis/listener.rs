//! The task that listens: one connection for the whole process.
//!
//! Invariants: what is watched is listened to on every connection that is said to be there; after a connection was lost,
//! everything is listened to again *before* an interruption is reported, so that whoever then reads the stream misses
//! nothing. Messages go from the socket straight into a bounded queue. Nobody goes on listening to a server that has become a
//! replica.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{AsyncConnectionConfig, Client, Msg, PushInfo, PushKind, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use super::{
    announcements::Announcements,
    connection::CALL_TIMEOUT,
    failure::Failure,
    hints::Hints,
    keys::Keys,
    one_server::{CONNECT_TIMEOUT, RECONNECT_FIRST, RECONNECT_LONGEST},
    outages::{Outages, Purpose},
    primary::{Expected, ask_whether_alive, ask_whether_usable},
    stored_entry::{announced, hinted},
};
use crate::{
    adapters::backend_kit::signal_queue::SignalQueue,
    domain::{backoff::Backoff, category::Registry, topic::Topic},
    ports::{entropy::Entropy, feed::Signal},
};

/// How often the server is asked whether it is still the one to listen to: one that was stopped closes nothing, and one that
/// has become a replica goes on answering.
const ASK_EVERY: Duration = Duration::from_secs(2);
/// Most channels in one command.
const CHANNELS_PER_CALL: usize = 500;

/// What the listening task, the connection's reader and the feed share.
pub(super) struct Listener {
    pub(super) keys: Arc<Keys>,
    pub(super) registry: Arc<Registry>,
    pub(super) outages: Arc<Outages>,
    pub(super) expected: Expected,
    pub(super) announcements: Arc<Announcements>,
    pub(super) hints: Arc<Hints>,
    pub(super) queue: SignalQueue,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) state: Mutex<State>,
}

#[derive(Default)]
pub(super) struct State {
    watched: HashSet<Topic>,
    /// On which everything watched is listened to.
    connection: Option<MultiplexedConnection>,
}

impl Listener {
    /// Begins to watch a topic, and gives the connection to listen to it on.
    pub(super) fn watch(&self, topic: &Topic) -> Option<MultiplexedConnection> {
        let mut state = self.state();
        state.watched.insert(topic.clone());
        state.connection.clone()
    }

    /// Stops watching a topic, and gives the connection to stop listening on.
    pub(super) fn unwatch(&self, topic: &Topic) -> Option<MultiplexedConnection> {
        let mut state = self.state();
        state.watched.remove(topic);
        self.hints.forget(topic);
        state.connection.clone()
    }

    pub(super) fn disconnect(&self) {
        self.state().connection = None;
    }

    pub(super) fn channel(&self, topic: &Topic) -> String {
        self.keys.channel(topic)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is changed in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Listens to one of several nodes, in turn, for as long as it is polled.
    pub(super) async fn listen(self: Arc<Self>, nodes: Vec<Client>, tell_connected: watch::Sender<bool>) {
        let (mut backoff, mut was_connected) = (Backoff::new(RECONNECT_FIRST, RECONNECT_LONGEST), false);
        for node in nodes.iter().cycle() {
            let lost = Arc::new(Notify::new());
            let failure = match self.connect(node, Arc::clone(&lost)).await {
                Ok(connection) => {
                    self.outages.reached(Purpose::Feed);
                    let since = Instant::now();
                    tell_connected.send_replace(true);
                    self.announcements.may_have_grown();
                    if std::mem::replace(&mut was_connected, true) {
                        self.queue.tell(Signal::Interrupted);
                    }
                    let failure = tokio::select! {
                        () = lost.notified() => None,
                        failure = self.until_of_no_use(connection) => Some(failure),
                    };
                    self.disconnect();
                    tell_connected.send_replace(false);
                    // A server that accepts and closes at once is not asked without a pause.
                    if since.elapsed() > RECONNECT_LONGEST {
                        backoff.reset();
                    }
                    failure
                }
                Err(failure) => Some(failure),
            };
            if let Some(failure) = failure {
                if failure.is_wrong_server() && self.expected == Expected::Primary {
                    self.outages.met_wrong_server(&failure);
                } else {
                    self.outages.failed(Purpose::Feed, &failure);
                }
            }
            sleep(backoff.pause(self.entropy.next_u64())).await;
        }
    }

    /// A connection on which everything is listened to that is watched.
    async fn connect(self: &Arc<Self>, node: &Client, lost: Arc<Notify>) -> Result<MultiplexedConnection, Failure> {
        let listener = Arc::clone(self);
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT))
            .set_push_sender(move |push: PushInfo| {
                listener.hear(push, &lost);
                Ok::<(), ()>(())
            });
        let mut connection = node.get_multiplexed_async_connection_with_config(&config).await?;
        ask_whether_usable(&mut connection, self.expected, &self.keys.probe()).await?;
        connection.subscribe(self.announcements.channel()).await?;
        self.announcements.begin_at_end().await.map_err(Failure::of_another_connection)?;
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
        topics.iter().map(|topic| self.channel(topic)).collect()
    }

    /// Waits until the server no longer answers, or is no longer the one to listen to.
    async fn until_of_no_use(&self, mut connection: MultiplexedConnection) -> Failure {
        let (probe, mut doubts) = (self.keys.probe(), self.outages.doubts());
        loop {
            let _ = timeout(ASK_EVERY, doubts.changed()).await;
            let asked = timeout(CALL_TIMEOUT, ask_whether_alive(&mut connection, self.expected, &probe)).await;
            if let Err(failure) = asked.unwrap_or(Err(Failure::Silent)) {
                return failure;
            }
            self.outages.reached(Purpose::Feed);
        }
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
        if channel == self.announcements.channel() {
            self.announcements.may_have_grown();
            return None;
        }
        let topic = self.keys.topic_of(channel)?;
        // The server may still have been sending when it was asked to stop.
        if !self.state().watched.contains(&topic) {
            return None;
        }
        if let Some(entry) = announced(&topic, text, self.keys.database(), &self.registry) {
            return Some(Signal::Appended(topic, entry));
        }
        if let Some(id) = hinted(&topic, text) {
            self.hints.heard(&topic, id);
        }
        Some(Signal::Grown(topic))
    }
}
