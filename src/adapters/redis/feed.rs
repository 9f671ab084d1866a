//! How a process listens: on one connection, to a channel for each topic and one for announcements.
//!
//! Invariants: messages go from the socket straight into the bounded queue of signals; nobody goes
//! on listening to a server that has become a replica.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{AsyncConnectionConfig, Client, Msg, PushInfo, PushKind, aio::MultiplexedConnection};
use tokio::{
    sync::{Notify, watch},
    time::error::Elapsed,
};

use super::{
    client::{CALL_TIMEOUT, CONNECT_TIMEOUT},
    failure::Failure,
    hints::Hints,
    keys::Keys,
    outages::{Outages, Purpose},
    primary::{Expected, ask_whether_alive, ask_whether_usable},
    stored_entry::{announced, hinted},
};
use crate::{
    adapters::backend_kit::feed::{FeedReports, FeedSource, FeedState},
    domain::{category::Registry, topic::Topic},
    ports::backend_error::BackendError,
};

/// How to listen to Redis.
pub(super) struct RedisSource {
    /// One of these is listened to: of a cluster any will do.
    pub(super) nodes: Vec<Client>,
    pub(super) node: usize,
    pub(super) expected: Expected,
    pub(super) outages: Arc<Outages>,
    pub(super) pushes: Arc<Pushes>,
}

/// A connection that listens.
pub(super) struct Listening {
    connection: MultiplexedConnection,
    lost: Arc<Notify>,
    doubts: watch::Receiver<()>,
}

/// The server is to be asked whether it is still the right one.
pub(super) struct Doubt;

/// Why a connection is of no more use.
pub(super) enum Ended {
    /// It was closed.
    Closed,
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Elapsed> for Ended {
    fn from(_: Elapsed) -> Self {
        Self::Failed(Failure::Silent)
    }
}

impl From<BackendError> for Ended {
    fn from(error: BackendError) -> Self {
        Self::Failed(Failure::of_another_connection(error))
    }
}

impl RedisSource {
    fn channels(&self, topics: &[Topic]) -> Vec<String> {
        topics.iter().map(|topic| self.pushes.keys.channel(topic)).collect()
    }
}

#[async_trait]
impl FeedSource for RedisSource {
    type Connection = Listening;
    type Heard = Doubt;
    type Failure = Ended;

    async fn connect(&mut self, reports: &FeedReports) -> Result<Listening, Ended> {
        let lost = Arc::new(Notify::new());
        let (pushes, reports, is_lost) =
            (Arc::clone(&self.pushes), reports.clone(), Arc::clone(&lost));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CALL_TIMEOUT))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Disconnection {
                    is_lost.notify_one();
                } else {
                    pushes.report(push, &reports);
                }
                Ok::<(), ()>(())
            });
        let doubts = self.outages.doubts();
        let connecting =
            self.nodes[self.node].get_multiplexed_async_connection_with_config(&config);
        let mut connection = connecting.await.map_err(Failure::from)?;
        ask_whether_usable(&mut connection, self.expected, &self.pushes.keys.probe()).await?;
        connection.subscribe(&self.pushes.announcements).await.map_err(Failure::from)?;
        Ok(Listening { connection, lost, doubts })
    }

    async fn listen_to(
        &mut self,
        listening: &mut Listening,
        topics: &[Topic],
    ) -> Result<(), Ended> {
        Ok(listening.connection.subscribe(&self.channels(topics)).await.map_err(Failure::from)?)
    }

    async fn stop_listening_to(
        &mut self,
        listening: &mut Listening,
        topics: &[Topic],
    ) -> Result<(), Ended> {
        for topic in topics {
            self.pushes.hints.forget(topic);
        }
        Ok(listening.connection.unsubscribe(&self.channels(topics)).await.map_err(Failure::from)?)
    }

    async fn hear(
        &mut self,
        Listening { lost, doubts, .. }: &mut Listening,
    ) -> Result<Doubt, Ended> {
        tokio::select! {
            () = lost.notified() => Err(Ended::Closed),
            // Its sender lasts as long as this.
            _ = doubts.changed() => Ok(Doubt),
        }
    }

    async fn take(
        &mut self,
        listening: &mut Listening,
        _: Doubt,
        _: &FeedReports,
    ) -> Result<(), Ended> {
        tokio::time::timeout(CALL_TIMEOUT, self.ask(listening)).await?
    }

    async fn ask(&mut self, listening: &mut Listening) -> Result<(), Ended> {
        ask_whether_alive(&mut listening.connection, self.expected, &self.pushes.keys.probe())
            .await?;
        self.outages.reached(Purpose::Feed);
        Ok(())
    }

    fn connected(&mut self) {
        self.outages.reached(Purpose::Feed);
    }

    fn lost(&mut self, _: FeedState, ended: Ended) {
        self.node = (self.node + 1) % self.nodes.len();
        match ended {
            Ended::Closed => {}
            Ended::Failed(failure)
                if failure.is_wrong_server() && self.expected == Expected::Primary =>
            {
                self.outages.met_wrong_server(&failure);
            }
            Ended::Failed(failure) => self.outages.failed(Purpose::Feed, &failure),
        }
    }
}

/// What makes signals of what the server pushes.
pub(super) struct Pushes {
    pub(super) keys: Arc<Keys>,
    /// The channel of announcements.
    pub(super) announcements: String,
    pub(super) registry: Arc<Registry>,
    pub(super) hints: Arc<Hints>,
}

impl Pushes {
    /// Reports what the server pushed. It is called by the connection's reader, so it never waits.
    fn report(&self, push: PushInfo, reports: &FeedReports) {
        let Some(message) = Msg::from_push_info(push) else { return };
        let (channel, text) = (message.get_channel_name(), message.get_payload_bytes());
        if channel == self.announcements {
            reports.announced();
            return;
        }
        let Some(topic) = self.keys.topic_of(channel) else { return };
        let entry = announced(&topic, text, self.keys.database(), &self.registry);
        if entry.is_none()
            && let Some(id) = hinted(&topic, text)
            && reports.is_watched(&topic)
        {
            self.hints.heard(&topic, id);
        }
        reports.grown(topic, entry);
    }
}
