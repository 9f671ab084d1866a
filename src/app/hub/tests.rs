//! What a backend that fails does to those who begin to follow a topic.

use async_trait::async_trait;
use futures_util::stream::pending;

use super::*;
use crate::{
    app::{availability::Availability, limits::LimitsOptions, signals::Signals},
    domain::{event::Event, topic::UserId},
    ports::{
        backend_error::BackendErrorKind,
        feed::Feed,
        journal::MockJournal,
        limits::{MockConnectionLeases, MockReplayBudget},
    },
};

/// A feed that is cut off.
struct CutOff;

fn away() -> BackendError {
    BackendError::new(BackendErrorKind::Unavailable, "test")
}

#[async_trait]
impl Feed for CutOff {
    fn signals(&self) -> BoxStream<'static, Signal> {
        pending().boxed()
    }

    async fn watch(&self, _: &Topic) -> Result<(), BackendError> {
        Err(away())
    }

    async fn unwatch(&self, _: &Topic) {}

    async fn broadcast(&self, _: Arc<Event>) -> Result<(), BackendError> {
        Err(away())
    }

    async fn close_connections(&self, _: &UserId) -> Result<(), BackendError> {
        Err(away())
    }
}

#[tokio::test]
async fn a_topic_that_can_not_be_watched_counts_as_a_failure_of_the_backend() {
    let signals = Signals::unheard_in_tests();
    let availability = Arc::new(Availability::new("journal", Arc::clone(&signals)));
    let source = Source { log: Arc::new(MockJournal::new()), feed: Arc::new(CutOff), availability: Arc::clone(&availability) };
    let sources = Sources { users: source.clone(), messages: source };
    let options = LimitsOptions { connections_max: None, replays_max: None, replay_window: Duration::from_mins(1) };
    let limits = Limits::new(options, Arc::new(MockConnectionLeases::new()), Arc::new(MockReplayBudget::new()), signals);
    let rings = RingOptions { entries_max: 1, bytes_max: 1_000, total_bytes_max: 1_000 };
    let page_limit = PageLimit { entries_max: 1, bytes_max: 1_000 };
    let hub = Hub::start(sources, limits, Arc::new(Broadcasts::new(1_000)), rings, page_limit, crate::testing::tasks());
    assert!(hub.follow(&Topic::User(UserId::parse("u").unwrap())).await.is_err());
    assert!(!availability.is_up());
}
