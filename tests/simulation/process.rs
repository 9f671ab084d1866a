//! One server process, but for its sockets.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use rejoin::{
    adapters::backend_kit::limits::LocalLimits,
    app::{
        availability::Availability,
        broadcasts::Broadcasts,
        drain::DrainPlan,
        hub::{Hub, RingOptions},
        limits::{Limits, LimitsOptions},
        signals::Signals,
        sources::{Source, Sources},
        subscriptions::{SubscriptionOptions, Subscriptions},
    },
    ports::{clock::Clock, entropy::Entropy},
    testing::{SeededEntropy, tasks_until},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    backend::{Backend, FaultyJournal},
    dice::Dice,
    faults::Faults,
    feed::FaultyFeed,
    messages::FaultyMessages,
};

/// What all processes of a world have in common.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) backend: Arc<Backend>,
    pub(crate) limits: Arc<LocalLimits>,
    pub(crate) rings: RingOptions,
    pub(crate) subscriptions: SubscriptionOptions,
    pub(crate) connections_max: Option<u32>,
}

pub(crate) struct Process {
    pub(crate) hub: Hub,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) limits: Arc<Limits>,
    pub(crate) journal: Arc<FaultyJournal>,
    pub(crate) messages: Arc<FaultyMessages>,
    pub(crate) feed: Arc<FaultyFeed>,
    pub(crate) faults: Arc<Faults>,
    /// Cancelled when the process dies.
    pub(crate) dead: CancellationToken,
    lease_keeper: JoinHandle<()>,
}

impl Process {
    pub(crate) fn start(setup: &Setup, dice: Dice) -> Arc<Self> {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::of(dice.seed()));
        let (faults, dead) = (Arc::new(Faults::none(dice)), CancellationToken::new());
        let journal = Arc::new(FaultyJournal::new(Arc::clone(&setup.backend), Arc::clone(&faults)));
        let messages = Arc::new(FaultyMessages::new(
            Arc::clone(&setup.backend),
            Arc::clone(&faults),
            Arc::clone(&journal),
        ));
        let feed = FaultyFeed::start(Arc::clone(&setup.backend), Arc::clone(&faults), dead.clone());
        let clock = Arc::clone(&setup.backend.clock) as Arc<dyn Clock>;
        let signals = Signals::unheard(Arc::clone(&clock));
        let availability = Arc::new(Availability::new("journal", Arc::clone(&signals)));
        let source =
            Source { log: Arc::clone(&journal) as _, feed: Arc::clone(&feed) as _, availability };
        let sources = Sources { users: source.clone(), messages: source };
        let page_limit = setup.subscriptions.page_limit;
        let rings = setup.rings.clone();
        let options = LimitsOptions {
            max_concurrent_per_user: setup.connections_max,
            replay_budget_requests_per_window: None,
            replay_budget_window: Duration::from_mins(1),
        };
        let limits = Limits::new(
            options,
            Arc::clone(&setup.limits) as _,
            Arc::clone(&setup.limits) as _,
            Arc::clone(&entropy),
        );
        let broadcasts = Arc::new(Broadcasts::new(1 << 20));
        let hub = Hub::start(
            sources.clone(),
            Arc::clone(&limits),
            broadcasts,
            rings,
            page_limit,
            tasks_until(dead.clone()),
            entropy,
        );
        let lease_keeper = tokio::spawn(Arc::clone(&limits).keep_leases());
        let (options, port) = (setup.subscriptions.clone(), Arc::clone(&messages) as _);
        let subscriptions = Subscriptions::new(
            options,
            sources,
            port,
            hub.clone(),
            Arc::clone(&limits),
            clock,
            signals,
        );
        Arc::new(Self {
            hub,
            subscriptions,
            limits,
            journal,
            messages,
            feed,
            faults,
            dead,
            lease_keeper,
        })
    }

    /// Dies at once: nothing is given back, and nobody is told.
    pub(crate) fn crash(&self) {
        self.lease_keeper.abort();
        self.dead.cancel();
    }

    /// Asks its clients to leave.
    pub(crate) fn drain(&self, spread: Duration) {
        self.hub.drain(DrainPlan::begin(spread));
    }

    /// Ends in good order, after it was drained.
    pub(crate) async fn stop(&self) {
        self.lease_keeper.abort();
        self.dead.cancel();
        self.limits.give_back().await;
    }

    /// How many reads of the journal this process has asked for.
    pub(crate) fn reads(&self) -> usize {
        self.journal.reads.load(Ordering::Relaxed)
    }
}
