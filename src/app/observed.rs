//! Backends as the use cases see them: each call is observed, once, here.
//!
//! Invariant: each call is timed and counted, a failure of any changes what is known of its
//! backend, and appends are spans of a trace.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::{availability::Availability, signals::Call, traces::traced};
use crate::{
    domain::{
        cursor::Bounds,
        event::Event,
        leases::LeaseId,
        message::{
            AppendRefusal, MessageAppend, MessageAppended, Observed as ObservedMessage,
            OpenRefusal, Opened,
        },
        page::{Page, PageLimit},
        position::Position,
        replay_budget::Exhausted,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        feed::{Feed, Signal},
        journal::{Append, Appended, Journal},
        limits::{ConnectionLeases, ReplayBudget},
        messages::Messages,
        topic_log::TopicLog,
    },
};

/// A port whose calls are observed.
pub struct Observed<P: ?Sized> {
    port: Arc<P>,
    availability: Arc<Availability>,
}

impl<P: ?Sized> Observed<P> {
    /// A port whose calls report to `availability` how they ended.
    pub const fn new(port: Arc<P>, availability: Arc<Availability>) -> Self {
        Self { port, availability }
    }

    async fn noted<T>(
        &self,
        call: Call,
        answering: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let began = Instant::now();
        let answer = answering.await;
        self.availability.took(call, began.elapsed());
        self.availability.observe(answer)
    }
}

#[async_trait]
impl<P: TopicLog + ?Sized> TopicLog for Observed<P> {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        self.noted(Call::Read, self.port.read(topic, after, limit)).await
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        self.noted(Call::Other, self.port.bounds(topic)).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.probe()).await
    }
}

#[async_trait]
impl<P: Journal + ?Sized> Journal for Observed<P> {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        let events = batch.len();
        let appended = self
            .noted(Call::Append, traced("journal append", events, self.port.append(batch)))
            .await?;
        Ok(appended.into_iter().map(|appended| self.availability.observe(appended)).collect())
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        self.noted(Call::Other, self.port.length(user)).await
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.purge(user)).await
    }
}

#[async_trait]
impl<P: Messages + ?Sized> Messages for Observed<P> {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        self.noted(Call::Other, self.port.open(id, owner, takeover)).await
    }

    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        let events = batch.len();
        self.noted(
            Call::Append,
            traced("messages append", events, self.port.append(id, epoch, batch)),
        )
        .await
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<ObservedMessage, AppendRefusal>, BackendError> {
        self.noted(Call::Other, self.port.heartbeat(id, epoch)).await
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<ObservedMessage>, BackendError> {
        self.noted(Call::Other, self.port.request_stop(id)).await
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<ObservedMessage>, BackendError> {
        self.noted(Call::Other, self.port.observe(id)).await
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        self.noted(Call::Other, self.port.delete(id)).await
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        self.noted(Call::Other, self.port.sweep(silent_for, messages_max)).await
    }
}

#[async_trait]
impl<P: Feed + ?Sized> Feed for Observed<P> {
    fn signals(&self) -> BoxStream<'static, Signal> {
        self.port.signals()
    }

    async fn watch(&self, topic: &Topic) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.watch(topic)).await
    }

    async fn unwatch(&self, topic: &Topic) {
        self.port.unwatch(topic).await;
    }

    async fn broadcast(&self, event: Arc<Event>) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.broadcast(event)).await
    }

    async fn close_connections(&self, user: &UserId) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.close_connections(user)).await
    }
}

#[async_trait]
impl<P: ConnectionLeases + ?Sized> ConnectionLeases for Observed<P> {
    async fn acquire(
        &self,
        user: &UserId,
        lease: LeaseId,
        cap: u32,
        ttl: Duration,
    ) -> Result<bool, BackendError> {
        self.noted(Call::Other, self.port.acquire(user, lease, cap, ttl)).await
    }

    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.renew(leases, ttl)).await
    }

    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.release(leases)).await
    }

    async fn count(&self, user: &UserId) -> Result<u32, BackendError> {
        self.noted(Call::Other, self.port.count(user)).await
    }
}

#[async_trait]
impl<P: ReplayBudget + ?Sized> ReplayBudget for Observed<P> {
    async fn take(
        &self,
        user: &UserId,
        cursor: Position,
        limit: u32,
        window: Duration,
    ) -> Result<Result<u32, Exhausted>, BackendError> {
        self.noted(Call::Other, self.port.take(user, cursor, limit, window)).await
    }

    async fn allow_continuation(
        &self,
        user: &UserId,
        cursor: Position,
        within: Duration,
    ) -> Result<(), BackendError> {
        self.noted(Call::Other, self.port.allow_continuation(user, cursor, within)).await
    }

    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError> {
        self.noted(Call::Other, self.port.left(user, limit, window)).await
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::{StreamExt, pending};

    use super::*;
    use crate::{
        app::signals::Signals,
        ports::{backend_error::BackendErrorKind, journal::MockJournal},
        testing::{event, user},
    };

    fn failure(kind: BackendErrorKind) -> BackendError {
        BackendError::new(kind, "test")
    }

    /// A feed that is cut off.
    struct CutOff;

    #[async_trait]
    impl Feed for CutOff {
        fn signals(&self) -> BoxStream<'static, Signal> {
            pending().boxed()
        }

        async fn watch(&self, _: &Topic) -> Result<(), BackendError> {
            Err(failure(BackendErrorKind::Unavailable))
        }

        async fn unwatch(&self, _: &Topic) {}

        async fn broadcast(&self, _: Arc<Event>) -> Result<(), BackendError> {
            Err(failure(BackendErrorKind::Unavailable))
        }

        async fn close_connections(&self, _: &UserId) -> Result<(), BackendError> {
            Err(failure(BackendErrorKind::Unavailable))
        }
    }

    fn availability() -> Arc<Availability> {
        Arc::new(Availability::new("test", Signals::unheard_in_tests()))
    }

    #[tokio::test]
    async fn each_call_of_a_feed_that_fails_counts_as_a_failure_of_the_backend() {
        let topic = Topic::User(user("u"));
        for call in 0..3 {
            let availability = availability();
            let feed = Observed::new(Arc::new(CutOff), Arc::clone(&availability));
            let called = match call {
                0 => feed.watch(&topic).await,
                1 => feed.broadcast(event("{}")).await,
                _ => feed.close_connections(&user("u")).await,
            };
            assert!(called.is_err() && !availability.is_up(), "call {call}");
        }
    }

    #[tokio::test]
    async fn an_append_that_a_backend_can_not_make_says_nothing_of_the_backend() {
        let mut journal = MockJournal::new();
        journal.expect_append().returning(|_| {
            Ok(vec![
                Err(failure(BackendErrorKind::Rejected)),
                Err(failure(BackendErrorKind::Damaged)),
            ])
        });
        journal.expect_length().returning(|_| Err(failure(BackendErrorKind::Timeout)));
        let availability = availability();
        let journal = Observed::new(Arc::new(journal), Arc::clone(&availability));
        assert_eq!(journal.append(Vec::new()).await.unwrap().len(), 2);
        assert!(availability.is_up());
        assert!(journal.length(&user("u")).await.is_err() && !availability.is_up());
    }
}
