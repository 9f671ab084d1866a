//! Messages: who opens, lives, stops and goes. What is appended goes through
//! [`super::message_writer`].

use std::{convert::Infallible, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::Connection;

use super::{
    connection_pool::{ConnectionPool, Repeat, calling},
    failure::{Failure, of_topic},
    journal::{PostgresLog, probe},
    message_batch::MessageJob,
    message_key::MessageKey,
    message_removal,
    message_rows::{self, IS_ANOTHERS, OBSERVE_MESSAGE, OPEN_MESSAGE, Stored},
    message_writer::MessageWriter,
    numbers::from_i64,
};
use crate::{
    adapters::backend_kit::group_commit::GroupCommit,
    domain::{
        cursor::Bounds,
        message::{
            AppendRefusal, Message, MessageAppend, MessageAppended, Observed, OpenRefusal, Opened,
        },
        page::{Page, PageLimit},
        position::Position,
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        messages::Messages,
        tasks::Tasks,
        topic_log::TopicLog,
    },
};

/// Most tries to open a message that others open and delete at the same time.
const OPENINGS_MAX: usize = 3;

/// Messages in Postgres. See the module's docs for what they promise.
pub(super) struct PostgresMessages {
    log: Arc<PostgresLog>,
    writer: Arc<MessageWriter>,
    appends: GroupCommit<MessageJob>,
    sweeps: Arc<ConnectionPool>,
}

impl PostgresMessages {
    pub(super) fn new(
        log: Arc<PostgresLog>,
        writer: MessageWriter,
        sweeps: Arc<ConnectionPool>,
        call_timeout: Duration,
        tasks: &dyn Tasks,
    ) -> Self {
        let writer = Arc::new(writer);
        let appends = GroupCommit::start(
            tasks,
            "postgres message appends",
            Arc::clone(&writer),
            call_timeout,
        );
        Self { log, writer, appends, sweeps }
    }

    /// The answer of a call that concerned one message.
    fn of<T>(id: &MessageId, answer: Result<T, BackendError>) -> Result<T, BackendError> {
        answer.map_err(|error| of_topic(error, &Topic::Message(id.clone())))
    }

    /// Changes a message under its lock; `None` if it is not there, and nothing is written where it
    /// refuses.
    async fn change<R: Send + 'static>(
        &self,
        id: &MessageId,
        change: impl Fn(&mut Message, Timestamp) -> Result<(), R> + Clone + Send + Sync + 'static,
    ) -> Result<Option<Result<Observed, R>>, BackendError> {
        let act = calling(|connection| {
            let (id, change) = (id.clone(), change.clone());
            async move { change_locked(connection, &id, change).await }.boxed()
        });
        Self::of(id, self.log.reads.call("changing a message", Repeat::Harmless, act).await)
    }
}

async fn change_locked<R>(
    connection: &mut sqlx::PgConnection,
    id: &MessageId,
    change: impl Fn(&mut Message, Timestamp) -> Result<(), R>,
) -> Result<Option<Result<Observed, R>>, Failure> {
    let mut transaction = connection.begin().await?;
    // A transaction that is only dropped is rolled back by the connection's next use, and holds its
    // locks until then.
    let Some(mut stored) = message_rows::lock_one(&mut transaction, id).await? else {
        transaction.rollback().await?;
        return Ok(None);
    };
    if let Err(refusal) = change(&mut stored.message, stored.now) {
        transaction.rollback().await?;
        return Ok(Some(Err(refusal)));
    }
    message_rows::change(&mut transaction, id, &stored.message).await?;
    transaction.commit().await?;
    Ok(Some(Ok(Observed::at(stored.now, stored.message))))
}

/// What became of a message that was to be made.
enum Made {
    Now(Timestamp),
    WasThere,
    /// A message of another id stands where this one would.
    IsAnothers,
}

async fn make(
    connection: &mut sqlx::PgConnection,
    MessageKey { uuid, text }: &MessageKey,
    owner: &str,
) -> Result<Made, Failure> {
    let created_ms: Option<i64> = sqlx::query_scalar(OPEN_MESSAGE)
        .bind(uuid)
        .bind(owner)
        .bind(text)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(created_ms) = created_ms {
        return Ok(Made::Now(Timestamp::from_ms(from_i64(created_ms))));
    }
    let is_anothers =
        sqlx::query_scalar(IS_ANOTHERS).bind(uuid).bind(text).fetch_one(connection).await?;
    Ok(if is_anothers { Made::IsAnothers } else { Made::WasThere })
}

#[async_trait]
impl Messages for PostgresMessages {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        for _ in 0..OPENINGS_MAX {
            let who = owner.clone();
            let open_again = move |message: &mut Message, now| {
                *message =
                    Message::open(Some(message.clone()), &who, takeover, now)?.observed.message;
                Ok(())
            };
            if let Some(reopened) = self.change(id, open_again).await? {
                return Ok(reopened.map(|observed| Opened { observed, created: false }));
            }
            let make = calling(|connection| {
                let (owner, key) = (owner.as_str().to_owned(), MessageKey::of(id));
                async move { make(connection, &key, &owner).await }.boxed()
            });
            let outcome = self.log.reads.call("opening a message", Repeat::Harmless, make).await;
            match Self::of(id, outcome)? {
                Made::Now(created_at) => {
                    return Ok(Message::open(None, owner, takeover, created_at));
                }
                Made::IsAnothers => return Ok(Err(OpenRefusal::Another)),
                Made::WasThere => {}
            }
        }
        Err(BackendError::new(
            BackendErrorKind::Unavailable,
            "opening a message that others open and delete",
        ))
    }

    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        Self::of(
            id,
            self.appends
                .call("appending to a message", MessageJob { id: id.clone(), epoch, batch })
                .await,
        )
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        let heard = self.change(id, move |message, now| message.heartbeat(epoch, now)).await?;
        Ok(heard.unwrap_or(Err(AppendRefusal::Unknown)))
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let stop = |message: &mut Message, _| {
            message.request_stop();
            Ok::<(), Infallible>(())
        };
        Ok(self.change(id, stop).await?.map(|Ok(observed)| observed))
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let ask = calling(|connection| {
            let MessageKey { uuid, text } = MessageKey::of(id);
            async move {
                let query = sqlx::query(OBSERVE_MESSAGE).bind(uuid).bind(text);
                query.fetch_optional(connection).await?.as_ref().map(Stored::of).transpose()
            }
            .boxed()
        });
        let stored =
            Self::of(id, self.log.reads.call("asking for a message", Repeat::Harmless, ask).await)?;
        Ok(stored.map(|stored| Observed::at(stored.now, stored.message)))
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        let remove = calling(|connection| {
            let (id, channel) = (id.clone(), self.writer.channel.clone());
            async move { message_removal::delete(connection, &id, &channel).await }.boxed()
        });
        Self::of(id, self.log.reads.call("deleting a message", Repeat::Harmless, remove).await)
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        let sweep = calling(|connection| {
            let channel = self.writer.channel.clone();
            async move { message_removal::sweep(connection, silent_for, messages_max, &channel).await }.boxed()
        });
        self.sweeps.call("sweeping messages", Repeat::Harmless, sweep).await
    }
}

#[async_trait]
impl TopicLog for PostgresMessages {
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
