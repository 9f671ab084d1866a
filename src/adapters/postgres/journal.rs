//! The journal of users' events.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;

use super::{
    append::{AppendJob, AppendWriter},
    connection_pool::{ConnectionPool, Repeat, calling},
    failure::{Failure, of_topic},
    message_reading, reading,
    reading::Extent,
};
use crate::{
    adapters::backend_kit::{
        group_commit::GroupCommit,
        stored_page::{OnMalformed, StoredPage, read_page},
    },
    domain::{
        cursor::Bounds,
        page::{Page, PageLimit},
        position::Position,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        journal::{Append, Appended, Journal},
        tasks::Tasks,
        topic_log::TopicLog,
    },
};

/// Removes a topic's entries.
pub(super) const PURGE: &str = "SELECT purge_topic($1)";
/// Looks whether the journal is there and can be written to.
pub(super) const PROBE: &str = "UPDATE probes SET probed_ms = now_ms() FROM journal WHERE probes.is_only AND journal.is_only RETURNING probed_ms";

/// Both channels' topics, as they can be read.
pub(super) struct PostgresLog {
    pub(super) reads: ConnectionPool,
    pub(super) age_ms: i64,
    pub(super) on_malformed: OnMalformed,
}

impl PostgresLog {
    async fn extent(&self, user: &UserId) -> Result<Extent, BackendError> {
        let age_ms = self.age_ms;
        let ask = calling(|connection| {
            let user = user.clone();
            async move { reading::extent(connection, &user, age_ms).await }.boxed()
        });
        let asked = self.reads.call("asking for a topic's bounds", Repeat::Harmless, ask).await;
        asked.map_err(|error| of_topic(error, &Topic::User(user.clone())))
    }

    pub(super) async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        read_page(topic, after, limit, &self.on_malformed, |from| {
            self.read_stored(topic, from, limit)
        })
        .await
    }

    async fn read_stored(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<StoredPage, BackendError> {
        let age_ms = self.age_ms;
        let read = calling(|connection| {
            let topic = topic.clone();
            async move {
                match topic {
                    Topic::User(user) => {
                        reading::page(connection, &user, age_ms, after, limit).await
                    }
                    Topic::Message(id) => {
                        message_reading::page(connection, &id, after, limit).await
                    }
                }
            }
            .boxed()
        });
        self.reads
            .call("reading a topic", Repeat::Harmless, read)
            .await
            .map_err(|error| of_topic(error, topic))
    }

    pub(super) async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        match topic {
            Topic::User(user) => Ok(self.extent(user).await?.bounds),
            Topic::Message(id) => {
                let ask = calling(|connection| {
                    let id = id.clone();
                    async move { message_reading::bounds(connection, &id).await }.boxed()
                });
                let asked =
                    self.reads.call("asking for a message's bounds", Repeat::Harmless, ask).await;
                asked.map_err(|error| of_topic(error, topic))
            }
        }
    }
}

/// The journal of users' events in Postgres. See the module's docs for what it promises.
pub(super) struct PostgresJournal {
    pub(super) log: Arc<PostgresLog>,
    pub(super) writer: Arc<AppendWriter>,
    appends: GroupCommit<AppendJob>,
}

impl PostgresJournal {
    pub(super) fn new(
        log: Arc<PostgresLog>,
        writer: AppendWriter,
        call_timeout: Duration,
        tasks: &dyn Tasks,
    ) -> Self {
        let writer = Arc::new(writer);
        let appends =
            GroupCommit::start(tasks, "postgres event appends", Arc::clone(&writer), call_timeout);
        Self { log, writer, appends }
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        const CONTEXT: &str = "appending to the journal";
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.appends.call(CONTEXT, AppendJob(batch)).await
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        Ok(self.log.extent(user).await?.length)
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        let purge = calling(|connection| {
            let user = user.clone();
            async move {
                Ok(sqlx::query(PURGE).bind(user.as_str()).execute(connection).await.map(drop)?)
            }
            .boxed()
        });
        self.log
            .reads
            .call("purging a topic", Repeat::Harmless, purge)
            .await
            .map_err(|error| of_topic(error, &Topic::User(user.clone())))
    }
}

#[async_trait]
impl TopicLog for PostgresJournal {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        self.log.read(topic, after, limit).await
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        self.log.bounds(topic).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        probe(&self.writer.pool).await
    }
}

/// Looks whether appends on this pool, and reads, would be answered: by a write, since a server
/// that takes none is no use.
pub(super) async fn probe(pool: &ConnectionPool) -> Result<(), BackendError> {
    const CONTEXT: &str = "asking whether the server takes writes";
    if pool.is_full() {
        return Err(Failure::Full.into_backend_error(CONTEXT));
    }
    let write = calling(|connection| {
        async move { Ok(sqlx::query(PROBE).fetch_one(connection).await.map(drop)?) }.boxed()
    });
    pool.call(CONTEXT, Repeat::Harmless, write).await
}
