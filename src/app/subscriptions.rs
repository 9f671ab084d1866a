//! Subscribing: from a request to a stream that is about to begin.
//!
//! Invariants: the tail is taken before the journal is read, so nothing falls between snapshot and
//! tail; every refusal comes before the stream begins, and leaves neither a slot nor a watch
//! behind.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    connection_record::ConnectionRecord,
    drain,
    expiry::expiry,
    hub::Hub,
    limits::Limits,
    reader::Reader,
    refusal::Refusal,
    signals::Signals,
    sources::Sources,
    subscription::{Shared, Subscription},
};
use crate::{
    domain::{
        access::Principal,
        category::Category,
        cursor::Cursor,
        frame::StreamStyle,
        page::PageLimit,
        retention::retained_since,
        session::{Session, StreamPolicy},
        timestamp::Timestamp,
        topic::UserId,
    },
    ports::{clock::Clock, messages::Messages},
};

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct SubscribeRequest {
    /// Where it left off.
    pub cursor: Cursor,
    /// The categories it wants; none for all it may have.
    pub categories: BTreeSet<Category>,
    /// How it wants the stream written.
    pub style: StreamStyle,
}

/// How much of the journal is read at once for one connection: enough that reading is not the
/// bottleneck, and little enough that thousands may hold a page while their clients are slow.
pub const STREAM_PAGE: PageLimit = PageLimit { entries_max: 256, bytes_max: 64 * 1024 };

/// The settings of subscriptions.
#[derive(Clone, Debug)]
pub struct SubscriptionOptions {
    /// What all streams have in common.
    pub policy: StreamPolicy,
    /// How much is read from the journal at once for one connection: the most that waits for a slow
    /// one.
    pub page_limit: PageLimit,
    /// Age after which an entry counts as gone; `None` for never.
    pub replay_max_age: Option<Duration>,
    /// Whether anything is pushed at all.
    pub push_enabled: bool,
    /// For how long a reader waits for its message to be opened.
    pub open_wait: Duration,
}

/// The use case.
pub struct Subscriptions {
    pub(super) options: SubscriptionOptions,
    pub(super) shared: Arc<Shared>,
    hub: Hub,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
}

/// What a subscribe request got.
pub enum Subscribed {
    /// A stream that is about to begin.
    Stream(Box<Subscription>),
    /// Pushing is switched off: there is nothing to follow.
    PushDisabled,
    /// The process shuts down: the client is asked to come back, as those are that it has.
    Draining {
        /// After this delay.
        retry_ms: u64,
    },
    /// The client has all of a message that has ended.
    MessageOver,
}

impl Subscriptions {
    /// Subscriptions over the given ports.
    pub fn new(
        options: SubscriptionOptions,
        sources: Sources,
        messages: Arc<dyn Messages>,
        hub: Hub,
        limits: Arc<Limits>,
        clock: Arc<dyn Clock>,
        signals: Arc<Signals>,
    ) -> Self {
        let SubscriptionOptions { page_limit, ref policy, .. } = options;
        let shared = Shared { sources, messages, page_limit, retry_ms: policy.retry_ms, signals };
        Self { options, shared: Arc::new(shared), hub, limits, clock }
    }

    /// What clients get that come while the process drains.
    pub(super) fn draining(&self) -> Option<Subscribed> {
        self.hub.drain_plan()?;
        Some(Subscribed::Draining {
            retry_ms: drain::retry_ms(self.options.policy.retry_ms, self.hub.jitter()),
        })
    }

    /// Takes one of the user's slots.
    pub(super) async fn take_slot(&self, user: &UserId) -> Result<Reader, Refusal> {
        let lease = self.limits.connect(user).await.map_err(Refusal::TooManyConnections)?;
        Ok(Reader::Client(lease))
    }

    /// Follows the session's topic for a reader. The journal is to be read only behind that.
    pub(super) async fn follow(
        &self,
        reader: Reader,
        session: Session,
        record: ConnectionRecord,
    ) -> Result<Box<Subscription>, Refusal> {
        let tail = self.hub.follow(session.topic()).await?;
        let shared = Arc::clone(&self.shared);
        Ok(Box::new(Subscription::new(shared, session, tail, reader, record, self.hub.jitter())))
    }

    /// When the principal's credentials end.
    pub(super) fn expiry(&self, principal: &Principal) -> Option<std::time::Instant> {
        expiry(principal, &*self.clock)
    }

    /// Sets the gauges of what is held at the moment.
    pub fn publish_gauges(&self) {
        self.shared.signals.holds(
            self.limits.connections(),
            self.hub.topics_followed(),
            self.hub.ring_bytes(),
        );
    }

    pub(super) fn oldest_ts(&self) -> Timestamp {
        retained_since(self.clock.now(), self.options.replay_max_age)
    }
}
