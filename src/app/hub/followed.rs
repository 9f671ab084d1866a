//! One topic that is followed in this process.
//!
//! Invariant: at most one task reads the journal for the ring, however many signals and followers
//! there are.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::{
    Hub,
    ring::{Covered, Ring},
    rings::{RingHolder, Rings},
};
use crate::domain::{
    backoff::Backoff, event::Entry, page::Page, position::Position, replay::Step,
    timestamp::Timestamp, topic::Topic,
};

const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

pub(super) struct Followed {
    pub(super) topic: Topic,
    /// Wakes the followers: something is new in the ring, or the process drains.
    pub(super) news: Notify,
    /// Whether the feed listens to the topic. Held while that changes.
    pub(super) watching: tokio::sync::Mutex<bool>,
    /// Changes only under the hub's lock on its topics.
    followers: AtomicUsize,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) ring: Ring,
    catch_up: CatchUp,
}

/// Whether the ring lacks entries that the journal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CatchUp {
    NotNeeded,
    /// Needed, once a follower has read the journal and the ring knows where it stands.
    Wanted,
    /// A task is at it. `again` when something came in since it last read.
    Running {
        again: bool,
    },
}

impl Followed {
    pub(super) fn with_first_follower(topic: Topic, rings: Arc<Rings>) -> Self {
        Self {
            topic,
            news: Notify::new(),
            watching: tokio::sync::Mutex::new(false),
            followers: AtomicUsize::new(1),
            state: Mutex::new(State { ring: Ring::new(rings), catch_up: CatchUp::NotNeeded }),
        }
    }

    pub(super) fn add_follower(&self) {
        self.followers.fetch_add(1, Ordering::Relaxed);
    }

    /// `true` if that was the last one.
    pub(super) fn remove_follower(&self) -> bool {
        self.followers.fetch_sub(1, Ordering::Relaxed) == 1
    }

    pub(super) fn has_followers(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A ring that a panic left half changed is noticed by the gap it shows, and read again.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn appended(self: &Arc<Self>, hub: &Hub, entry: &Entry) {
        let mut state = self.state();
        if state.ring.push(entry, &hub.0.ring_options) == Step::Gap {
            self.need_catch_up(&mut state, hub);
        }
        self.settle(state, &hub.0.rings);
    }

    /// After something was added: lists the ring, and makes room if all rings hold too much.
    fn settle(self: &Arc<Self>, mut state: MutexGuard<'_, State>, rings: &Rings) {
        let order = state.ring.take_listing();
        drop(state);
        if let Some(order) = order {
            let holder = Arc::downgrade(self);
            rings.list(order, holder);
        }
        rings.make_room();
    }

    /// The journal may have more than the ring.
    pub(super) fn catch_up(self: &Arc<Self>, hub: &Hub) {
        self.need_catch_up(&mut self.state(), hub);
    }

    /// A follower that listened before has read the journal up to `head`. `ring_head` was the
    /// ring's before the read: a journal that ends before it is another one, since a head never
    /// goes back, whether or not the feed has reported that. The ring begins anew then; its
    /// followers would else go back and forth between the two.
    pub(super) fn anchor(self: &Arc<Self>, hub: &Hub, head: Position, ring_head: Option<Position>) {
        let mut state = self.state();
        if ring_head > Some(head) && state.ring.head() >= ring_head {
            state.ring.restart(Some(head));
            self.news.notify_waiters();
        }
        state.ring.anchor(head);
        if state.catch_up == CatchUp::Wanted {
            self.need_catch_up(&mut state, hub);
        }
    }

    /// What there is after `position`, if the ring has all of that and nothing of it is older than
    /// `oldest_ts`.
    pub(super) fn covers(&self, position: Position, oldest_ts: Timestamp) -> Option<Covered> {
        let state = self.state();
        // A ring that waits to be caught up gets no task by being asked; by a read of the journal
        // it does.
        if state.catch_up == CatchUp::Wanted {
            None
        } else {
            state.ring.covers(position, oldest_ts)
        }
    }

    fn need_catch_up(self: &Arc<Self>, state: &mut State, hub: &Hub) {
        state.catch_up = match state.catch_up {
            CatchUp::Running { .. } => CatchUp::Running { again: true },
            CatchUp::NotNeeded | CatchUp::Wanted if state.ring.head().is_none() => CatchUp::Wanted,
            CatchUp::NotNeeded | CatchUp::Wanted => {
                let reading =
                    CatchingUp { followed: Arc::clone(self), is_over: false }.read(hub.clone());
                hub.0.tasks.spawn("catch-up", reading.boxed()).detach();
                CatchUp::Running { again: false }
            }
        };
    }

    /// Puts a page, read after `head`, into the ring. `true` when the ring has all that the journal
    /// had.
    fn take_page(self: &Arc<Self>, hub: &Hub, head: Position, page: &Page) -> bool {
        let mut state = self.state();
        let complete = state.ring.take_page(head, page, &hub.0.ring_options);
        let done = complete && !page.more && state.catch_up != (CatchUp::Running { again: true });
        state.catch_up = if done { CatchUp::NotNeeded } else { CatchUp::Running { again: false } };
        self.settle(state, &hub.0.rings);
        done
    }
}

/// A task that reads the journal for the ring. Where it is dropped before its end, the topic can be
/// caught up by another.
struct CatchingUp {
    followed: Arc<Followed>,
    is_over: bool,
}

impl CatchingUp {
    async fn read(mut self, hub: Hub) {
        let followed = Arc::clone(&self.followed);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_LONGEST);
        while followed.has_followers() {
            let Some(head) = followed.state().ring.head() else { break };
            let source = hub.0.sources.of(&followed.topic);
            let read = {
                // Closed never: the hub keeps the semaphore, and this task keeps the hub.
                let _turn = hub.0.catch_ups.acquire().await;
                source.log.read(&followed.topic, head, hub.0.page_limit).await
            };
            let Ok(page) = read else {
                tokio::time::sleep(backoff.pause(hub.jitter())).await;
                continue;
            };
            backoff.reset();
            let done = followed.take_page(&hub, head, &page);
            self.is_over = done;
            followed.news.notify_waiters();
            if done {
                return;
            }
        }
        self.is_over = true;
        // There is no follower to be caught up, or the ring began anew without a place to read
        // from.
        let mut state = followed.state();
        state.catch_up = CatchUp::Wanted;
        if state.ring.head().is_some() && followed.has_followers() {
            followed.need_catch_up(&mut state, &hub);
        }
    }
}

impl Drop for CatchingUp {
    fn drop(&mut self) {
        if !self.is_over {
            self.followed.state().catch_up = CatchUp::Wanted;
        }
    }
}

impl RingHolder for Followed {
    fn give_way(&self, order: u64) -> Option<u64> {
        self.state().ring.give_way(order)
    }
}
