//! Subscribing: from a request to a stream that is about to begin.
//!
//! Invariants: the tail is taken before the journal is read, so nothing falls between snapshot and tail; every refusal
//! comes before the stream begins, and leaves neither a slot nor a watch behind.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{
    connection_life::Life,
    expiry::expiry,
    hub::{DrainPlan, Hub, Tail},
    limits::{Limits, TooManyConnections},
    reader::Reader,
    signals::Signals,
    sources::{Source, Sources},
};
use crate::{
    domain::{
        access::{Forbidden, Principal},
        backoff::share_of,
        category::{Category, CategoryNotAllowed},
        cursor::{Continuity, Cursor},
        frame::{Frame, StreamStyle},
        page::{Page, PageLimit},
        position::Position,
        replay_budget::Exhausted,
        retention::retained_since,
        session::{Action, Session, StreamPolicy},
        timestamp::{Timestamp, millis},
        topic::{Topic, UserId},
    },
    ports::{backend_error::BackendError, clock::Clock, messages::Messages},
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

/// Why a subscribe request is turned down.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The credentials name no user.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// There is no such message, or it is somebody else's: nobody may learn which.
    #[error("there is no such message")]
    NoSuchMessage,
    /// A category that the token doesn't grant.
    #[error(transparent)]
    CategoryNotAllowed(#[from] CategoryNotAllowed),
    /// All connection slots are taken.
    #[error("this user has {} connections open, which is the most allowed: close one, or try again later", .0.connections_max)]
    TooManyConnections(TooManyConnections),
    /// The replay budget is spent.
    #[error(
        "this user has asked for too many replays in a short time: keep a connection open instead of reconnecting, and try again later"
    )]
    ReplayBudgetExhausted(Exhausted),
    /// The journal or the feed can't be reached.
    #[error("the event backend can't be reached at the moment: try again later")]
    Backend(#[from] BackendError),
}

/// The settings of subscriptions.
#[derive(Clone, Debug)]
pub struct SubscriptionOptions {
    /// What all streams have in common.
    pub policy: StreamPolicy,
    /// How much is read from the journal at once for one connection: the most that waits for a slow one.
    pub page_limit: PageLimit,
    /// Age after which an entry counts as gone; `None` for never.
    pub age_max: Option<Duration>,
    /// Whether anything is pushed at all.
    pub push_enabled: bool,
    /// For how long a reader waits for its message to be opened.
    pub open_wait: Duration,
}

/// The use case.
pub struct Subscriptions {
    pub(super) options: SubscriptionOptions,
    pub(super) sources: Sources,
    pub(super) messages: Arc<dyn Messages>,
    hub: Hub,
    limits: Arc<Limits>,
    clock: Arc<dyn Clock>,
    pub(super) signals: Arc<Signals>,
}

/// What an accepted client holds: dropping it gives it back.
pub(super) struct Place {
    pub(super) reader: Reader,
    tail: Tail,
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

/// One client's stream, with all that it holds: dropping it frees the slot and the tail.
pub struct Subscription {
    pub(super) session: Session,
    pub(super) tail: Tail,
    pub(super) source: Source,
    /// Of a message's stream: who is asked for the producer.
    pub(super) messages: Option<Arc<dyn Messages>>,
    pub(super) page_limit: PageLimit,
    /// What the client gets first.
    pub(super) opening: Vec<Frame>,
    /// Drawn at random: what all connections do at some time, each does at a time of its own.
    pub(super) jitter: u64,
    retry_ms: u64,
    pub(super) signals: Arc<Signals>,
    pub(super) life: Life,
    pub(super) reader: Reader,
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
        Self { options, sources, messages, hub, limits, clock, signals }
    }

    /// What clients get that come while the process drains.
    pub(super) fn draining(&self) -> Option<Subscribed> {
        self.hub.drain_plan()?;
        Some(Subscribed::Draining { retry_ms: drain_retry_ms(self.options.policy.retry_ms, self.hub.jitter()) })
    }

    /// Takes a slot of the user, and then a place at the topic's tail.
    pub(super) async fn take_place(&self, user: &UserId, topic: &Topic) -> Result<Place, Refusal> {
        let lease = self.limits.connect(user).await.map_err(Refusal::TooManyConnections)?;
        self.place(Reader::Client(lease), topic).await
    }

    /// Takes a place at the topic's tail.
    pub(super) async fn place(&self, reader: Reader, topic: &Topic) -> Result<Place, Refusal> {
        Ok(Place { tail: self.hub.follow(topic).await?, reader })
    }

    pub(super) fn subscription(&self, Place { tail, reader }: Place, session: Session) -> Box<Subscription> {
        Box::new(Subscription {
            tail,
            source: self.sources.of(session.topic()).clone(),
            messages: None,
            page_limit: self.options.page_limit,
            opening: Vec::new(),
            jitter: self.hub.jitter(),
            retry_ms: self.options.policy.retry_ms,
            signals: Arc::clone(&self.signals),
            life: Life::default(),
            session,
            reader,
        })
    }

    /// Takes the first step, which shows whether the backend answers, and whether the budget of `spender` is needed.
    pub(super) async fn begin(
        &self,
        subscription: &mut Subscription,
        oldest_ts: Timestamp,
        spender: Option<&UserId>,
    ) -> Result<(), Refusal> {
        let mut opening = Vec::new();
        let log = Arc::clone(&subscription.source.log);
        subscription.session.greet(&mut opening);
        let ring_head = subscription.tail.ring_head();
        match subscription.session.poll() {
            Action::Locate => {
                let bounds = log.bounds(subscription.session.topic()).await?;
                subscription.tail.moved(bounds.head, ring_head);
                subscription.session.handle_bounds(&bounds, &mut opening);
            }
            Action::Read(position) => {
                if let Some(covered) = subscription.tail.covers(position, oldest_ts) {
                    let is_behind = Continuity::Whole.is_behind(covered.has_entries);
                    self.spend_if(is_behind, position, subscription, spender).await?;
                    subscription.session.handle_covered(covered.head);
                } else {
                    let page = log.read(subscription.session.topic(), position, self.options.page_limit).await?;
                    self.spend_if(page.shows_behind(position), position, subscription, spender).await?;
                    subscription.take_page(&page, ring_head, &mut opening);
                }
            }
            Action::Follow(_) | Action::AskForProducer | Action::Pause | Action::Close(_) => {}
        }
        subscription.opening = opening;
        subscription.begin_life();
        Ok(())
    }

    async fn spend_if(&self, behind: bool, cursor: Position, subscription: &Subscription, spender: Option<&UserId>) -> Result<(), Refusal> {
        if !behind {
            return Ok(());
        }
        if let Some(user) = spender {
            self.limits.replay(user, cursor).await.map_err(Refusal::ReplayBudgetExhausted)?;
        }
        self.signals.channel(subscription.session.topic()).replayed();
        Ok(())
    }

    /// When the principal's credentials end.
    pub(super) fn expiry(&self, principal: &Principal) -> Option<std::time::Instant> {
        expiry(principal, &*self.clock)
    }

    /// Tells what is held at the moment.
    pub fn tell_holdings(&self) {
        self.signals.holds(self.limits.connections(), self.hub.topics_followed(), self.hub.ring_bytes());
    }

    pub(super) fn oldest_ts(&self) -> Timestamp {
        retained_since(self.clock.now(), self.options.age_max)
    }
}

impl Subscription {
    /// Takes a page. `ring_head` was the ring's before it was read.
    pub(super) fn take_page(&mut self, page: &Page, ring_head: Option<Position>, out: &mut Vec<Frame>) {
        self.session.handle_page(page, out);
        if !page.more {
            self.tail.moved(page.bounds.head, ring_head);
        }
    }

    /// Tells the session when it is to end, if the process drains.
    pub(super) fn heed_drain(&mut self) {
        if let Some(DrainPlan { started, spread }) = self.tail.drain_plan() {
            let at = *started + share_of(*spread, self.jitter);
            self.session.handle_drain(at.into_std(), drain_retry_ms(self.retry_ms, self.jitter));
        }
    }
}

/// How long a client waits after a drain: between half and one and a half times the usual, so that those who leave
/// together don't come back together.
fn drain_retry_ms(retry_ms: u64, jitter: u64) -> u64 {
    retry_ms / 2 + millis(share_of(Duration::from_millis(retry_ms), jitter))
}
