//! A ring and a journal that do not fit together.

use std::{ops::ControlFlow, time::Duration};

use async_trait::async_trait;
use futures_util::stream::pending;
use uuid::Uuid;

use super::*;
use crate::{
    app::{availability::Availability, limits::LimitsOptions, signals::Signals, sources::Source},
    domain::{
        event::Event,
        position::{EventId, Position},
        topic::UserId,
    },
    ports::{
        feed::Feed,
        journal::MockJournal,
        limits::{MockConnectionLeases, MockReplayBudget},
    },
    testing::{SeededEntropy, tasks},
};

/// A feed that reports nothing.
struct Silent;

#[async_trait]
impl Feed for Silent {
    fn signals(&self) -> BoxStream<'static, Signal> {
        pending().boxed()
    }

    async fn watch(&self, _: &Topic) -> Result<(), BackendError> {
        Ok(())
    }

    async fn unwatch(&self, _: &Topic) {}

    async fn broadcast(&self, _: Arc<Event>) -> Result<(), BackendError> {
        Ok(())
    }

    async fn close_connections(&self, _: &UserId) -> Result<(), BackendError> {
        Ok(())
    }
}

/// Over a journal that is never asked.
fn hub() -> Hub {
    let availability = Arc::new(Availability::new("test", Signals::unheard_in_tests()));
    let source = Source { log: Arc::new(MockJournal::new()), feed: Arc::new(Silent), availability };
    let sources = Sources { users: source.clone(), messages: source };
    let options = LimitsOptions {
        max_concurrent_per_user: None,
        replay_budget_requests_per_window: None,
        replay_budget_window: Duration::from_mins(1),
    };
    let (leases, budget) =
        (Arc::new(MockConnectionLeases::new()), Arc::new(MockReplayBudget::new()));
    let limits = Limits::new(options, leases, budget, Arc::new(SeededEntropy::of(1)));
    let rings =
        RingOptions { ring_entries_max: 10, ring_max_bytes: 10_000, rings_max_bytes: 10_000 };
    let page_limit = PageLimit { entries_max: 10, bytes_max: 10_000 };
    Hub::start(
        sources,
        limits,
        Arc::new(Broadcasts::new(1_000)),
        rings,
        page_limit,
        tasks(),
        Arc::new(SeededEntropy::of(1)),
    )
}

/// The journal was wiped while the feed was silent: what the ring has is of no use to a follower
/// that has just read the journal.
#[tokio::test]
async fn promise_9_a_ring_of_a_wiped_journal_begins_anew_and_nobody_reads_for_ever() {
    let (hub, topic) = (hub(), Topic::Message(Uuid::from_u128(1).into()));
    let (mut before, mut after) =
        (hub.follow(&topic).await.unwrap(), hub.follow(&topic).await.unwrap());
    before.moved(EventId::sequence(5).into(), None);
    let mut reads = 0;
    // A connection that is behind its ring reads the journal, and finds it empty.
    while after.take(Position::Start, |_| ControlFlow::Continue(())) == Reach::Behind {
        reads += 1;
        assert!(reads < 3, "the connection reads again and again");
        let ring_head = after.ring_head();
        after.moved(Position::Start, ring_head);
    }
    assert_eq!(
        before.take(EventId::sequence(5).into(), |_| ControlFlow::Continue(())),
        Reach::Behind,
        "it has to learn of the wipe"
    );
}
