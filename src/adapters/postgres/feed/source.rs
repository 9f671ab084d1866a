//! How a process listens: on one connection that hears notifications, for all topics.
//!
//! Invariants: every few seconds, and for whoever begins to watch, the server is asked on this very
//! connection whether it still takes writes; one that takes none, or does not answer in time, is
//! given up, with all other connections of the process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::{
    Acquire, Connection, PgPool,
    postgres::{PgListener, PgNotification, PgPoolOptions},
};
use tokio::time::error::Elapsed;

use super::{
    positions::Positions,
    reading::{self, Growth, TOPICS_AT_ONCE},
};
use crate::{
    adapters::{
        backend_kit::feed::{FeedReports, FeedSource, FeedState},
        postgres::{
            connection_pool::{ConnectionPool, Repeat, calling},
            connector::{Connector, Purpose},
            failure::Failure,
            hint::Hint,
        },
    },
    domain::{position::Position, topic::Topic},
    ports::backend_error::{BackendError, BackendErrorKind},
};

/// Most notifications that are taken together.
const HINTS_AT_ONCE: usize = 1_000;

/// How to listen to Postgres.
pub(in crate::adapters::postgres) struct PostgresSource {
    connector: Arc<Connector>,
    purpose: Purpose,
    reads: Arc<ConnectionPool>,
    connect_timeout: Duration,
    positions: Positions,
}

/// A connection that listens.
pub(in crate::adapters::postgres) struct Listening {
    listener: PgListener,
    pool: PgPool,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It closes what it gets back, where it would else ask it for a sign of life without a
        // limit of time.
        self.pool.close().now_or_never();
    }
}

/// Why a connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(in crate::adapters::postgres) enum Ended {
    #[error(transparent)]
    Connection(#[from] Failure),
    #[error("the connection ended")]
    Closed,
    #[error(transparent)]
    Reading(#[from] BackendError),
}

impl From<sqlx::Error> for Ended {
    fn from(error: sqlx::Error) -> Self {
        Self::Connection(error.into())
    }
}

impl From<Elapsed> for Ended {
    fn from(_: Elapsed) -> Self {
        Self::Connection(Failure::Late)
    }
}

#[async_trait]
impl FeedSource for PostgresSource {
    type Connection = Listening;
    type Heard = PgNotification;
    type Failure = Ended;

    async fn connect(&mut self, _: &FeedReports) -> Result<Listening, Ended> {
        // A pool tries until its time is over, and does not say why it failed; a connection does.
        self.connector.connect(self.purpose).await?.close().await?;
        let (pool, timeout) = (PgPoolOptions::new().max_connections(1), self.connect_timeout);
        let pool = pool
            .acquire_timeout(timeout)
            .acquire_slow_threshold(timeout)
            .connect_lazy_with(self.connector.server(self.purpose));
        let listener = PgListener::connect_with(&pool)
            .await
            .map_err(|error| self.connector.unreachable(error))?;
        let mut listening = Listening { listener, pool };
        let listener = &mut listening.listener;
        listener.ignore_pool_close_event(true);
        listener.eager_reconnect(false);
        self.connector.begin_session(listener.acquire().await?, self.purpose).await?;
        listener.listen(&self.connector.schema().channel()).await?;
        self.positions = Positions::default();
        Ok(listening)
    }

    async fn listen_to(
        &mut self,
        listening: &mut Listening,
        topics: &[Topic],
    ) -> Result<(), Ended> {
        let heads = reading::heads(listening.listener.acquire().await?, topics).await?;
        for (topic, head) in topics.iter().zip(heads) {
            self.positions.add(topic, head);
        }
        Ok(())
    }

    async fn stop_listening_to(
        &mut self,
        _: &mut Listening,
        topics: &[Topic],
    ) -> Result<(), Ended> {
        for topic in topics {
            self.positions.remove(topic);
        }
        Ok(())
    }

    async fn hear(&mut self, listening: &mut Listening) -> Result<PgNotification, Ended> {
        listening.listener.try_recv().await?.ok_or(Ended::Closed)
    }

    async fn take(
        &mut self,
        listening: &mut Listening,
        first: PgNotification,
        reports: &FeedReports,
    ) -> Result<(), Ended> {
        let mut hints: Vec<Hint> = Hint::parse(first.payload()).into_iter().collect();
        while hints.len() < HINTS_AT_ONCE
            && let Some(next) = self.hear(listening).now_or_never()
        {
            hints.extend(Hint::parse(next?.payload()));
        }
        let (mut grown, mut removed) = (Vec::new(), Vec::new());
        for hint in hints {
            match hint {
                Hint::Grown(numbers) => grown.extend(self.positions.find(&numbers)),
                Hint::AnyGrown => grown.extend(self.positions.all()),
                Hint::Removed(numbers) => removed.extend(self.positions.find(&numbers)),
                Hint::AnyRemoved => removed.extend(self.positions.all()),
                Hint::Announced(_) => reports.announced(),
            }
        }
        grown.sort_unstable();
        grown.dedup();
        for (topic, _) in removed {
            if matches!(topic, Topic::Message(_)) {
                self.positions.restart(&topic);
                reports.grown(topic, None);
            }
        }
        for topics in grown.chunks(TOPICS_AT_ONCE) {
            self.report_entries(topics, reports).await?;
        }
        Ok(())
    }

    async fn ask(&mut self, listening: &mut Listening) -> Result<(), Ended> {
        Ok(self.connector.require_writable(listening.listener.acquire().await?).await?)
    }

    fn lost(&mut self, was: FeedState, ended: Ended) {
        if was != FeedState::Away {
            tracing::info!(reason = %ended, "the feed is not connected, and will be again");
        }
        self.connector.lose();
    }
}

impl PostgresSource {
    pub(in crate::adapters::postgres) fn new(
        connector: &Arc<Connector>,
        purpose: Purpose,
        reads: Arc<ConnectionPool>,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            connector: Arc::clone(connector),
            purpose,
            reads,
            connect_timeout,
            positions: Positions::default(),
        }
    }

    async fn report_entries(
        &mut self,
        topics: &[(Topic, Position)],
        reports: &FeedReports,
    ) -> Result<(), BackendError> {
        let is_of_one_topic = |error: &BackendError| error.kind == BackendErrorKind::Rejected;
        match self.growth(topics).await {
            // Where one of them is damaged, each is read alone; whoever reads that one is told what
            // is wrong.
            Err(error) if is_of_one_topic(&error) => {
                for topic in topics {
                    match self.growth(std::slice::from_ref(topic)).await {
                        Err(error) if is_of_one_topic(&error) => {
                            reports.grown(topic.0.clone(), None);
                        }
                        growth => self.report(growth?, reports),
                    }
                }
            }
            growth => self.report(growth?, reports),
        }
        Ok(())
    }

    async fn growth(&self, topics: &[(Topic, Position)]) -> Result<Vec<Growth>, BackendError> {
        let topics: Arc<[(Topic, Position)]> = topics.into();
        let read = calling(|connection| {
            let topics = Arc::clone(&topics);
            async move { reading::growth(connection, &topics).await }.boxed()
        });
        self.reads.call("reading what topics have grown by", Repeat::Harmless, read).await
    }

    fn report(&mut self, growth: Vec<Growth>, reports: &FeedReports) {
        for Growth { topic, to, entry } in growth {
            if self.positions.advance(&topic, to) {
                reports.grown(topic, entry);
            }
        }
    }
}
