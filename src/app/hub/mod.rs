//! The hub: one feed for the whole process, a ring for each topic that is followed here, and
//! their wake-ups.
//!
//! Invariants:
//! - a topic without followers costs nothing; one with followers costs one watch and one ring,
//!   however many they are;
//! - an entry that was appended after a follower's topic was watched reaches the topic's ring, or
//!   the ring notices the gap and is caught up from the journal, once for all followers;
//! - a follower costs a number, its place in the ring. Who falls behind the ring reads the journal.

mod followed;
mod ring;
mod rings;
mod tail;

use std::{
    collections::{HashMap, hash_map::Entry as MapEntry},
    hash::{BuildHasher, DefaultHasher, Hasher},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use futures_util::{FutureExt, StreamExt, stream::BoxStream};
use tokio::sync::{Notify, Semaphore};

use self::{followed::Followed, rings::Rings};
pub(super) use self::{
    ring::Covered,
    tail::{Reach, Wakeup},
};
pub use self::{ring::RingOptions, tail::Tail};
use crate::{
    app::{broadcasts::Broadcasts, drain::DrainPlan, limits::Limits, sources::Sources},
    domain::{page::PageLimit, topic::Topic},
    ports::{backend_error::BackendError, entropy::Entropy, feed::Signal, tasks::Tasks},
};

/// Most signals that are handled before the connections they concern are woken.
const SIGNALS_PER_TURN: usize = 256;
/// Most topics that read the journal at the same time to catch up.
const CATCH_UPS_AT_ONCE: usize = 32;

/// The hub of a process. Cheap to clone.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

/// The topics that are followed. Their order is that of a hash, and so decided by the process's
/// randomness.
type Topics = HashMap<Topic, Arc<Followed>, SeededHash>;

/// The standard library's hash with a key of this process, so that no client can choose ids
/// that collide.
#[derive(Clone, Copy, Debug)]
struct SeededHash(u64);

impl BuildHasher for SeededHash {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

struct Inner {
    sources: Sources,
    /// Who knows the connections of a user, for when they are to end.
    limits: Arc<Limits>,
    broadcasts: Arc<Broadcasts>,
    ring_options: RingOptions,
    page_limit: PageLimit,
    rings: Arc<Rings>,
    topics: Mutex<Topics>,
    /// Topics whose last follower has left, for the task that stops watching them.
    unfollowed: Mutex<Vec<Topic>>,
    unfollowed_notify: Notify,
    catch_ups: Semaphore,
    tasks: Arc<dyn Tasks>,
    entropy: Arc<dyn Entropy>,
    drain: OnceLock<DrainPlan>,
}

impl Hub {
    /// A hub over the feeds of both channels.
    pub fn start(
        sources: Sources,
        limits: Arc<Limits>,
        broadcasts: Arc<Broadcasts>,
        ring_options: RingOptions,
        page_limit: PageLimit,
        tasks: Arc<dyn Tasks>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let signals = sources.signals();
        let hub = Self(Arc::new(Inner {
            sources,
            limits,
            broadcasts,
            rings: Arc::new(Rings::new(ring_options.rings_max_bytes)),
            ring_options,
            page_limit,
            topics: Mutex::new(HashMap::with_hasher(SeededHash(entropy.next_u64()))),
            unfollowed: Mutex::default(),
            unfollowed_notify: Notify::new(),
            catch_ups: Semaphore::new(CATCH_UPS_AT_ONCE),
            tasks,
            entropy,
            drain: OnceLock::new(),
        }));
        let tasks = &hub.0.tasks;
        tasks.spawn_vital("hub listener", hub.clone().listen(signals).boxed()).detach();
        tasks
            .spawn_vital("hub unwatching", hub.clone().stop_watching_unfollowed_topics().boxed())
            .detach();
        hub
    }

    /// Follows a topic. What is appended from now on reaches the returned tail, or the journal
    /// behind it.
    ///
    /// # Errors
    /// The feed can't listen to the topic.
    pub async fn follow(&self, topic: &Topic) -> Result<Tail, BackendError> {
        let followed = match self.topics().entry(topic.clone()) {
            MapEntry::Occupied(known) => {
                known.get().add_follower();
                Arc::clone(known.get())
            }
            MapEntry::Vacant(vacant) => {
                let followed =
                    Followed::with_first_follower(topic.clone(), Arc::clone(&self.0.rings));
                Arc::clone(vacant.insert(Arc::new(followed)))
            }
        };
        // From here on the tail's drop takes the follower back.
        let broadcasts = matches!(topic, Topic::User(_)).then(|| self.0.broadcasts.tail());
        let mut tail = Tail::new(self.clone(), Arc::clone(&followed), broadcasts);
        let mut watching = followed.watching.lock().await;
        if !*watching {
            self.0.sources.of(topic).feed.watch(topic).await?;
            *watching = true;
            followed.state().ring.restart(None);
        }
        drop(watching);
        tail.begin();
        Ok(tail)
    }

    /// Asks all streams to end, as the plan says.
    pub fn drain(&self, plan: DrainPlan) {
        if self.0.drain.set(plan).is_ok() {
            self.topics().values().for_each(|followed| followed.news.notify_waiters());
        }
    }

    /// The plan, once the process drains.
    pub fn drain_plan(&self) -> Option<&DrainPlan> {
        self.0.drain.get()
    }

    /// A number at random, by which a connection does at a time of its own what all do.
    pub fn jitter(&self) -> u64 {
        self.0.entropy.next_u64()
    }

    /// How many topics are followed here.
    pub fn topics_followed(&self) -> usize {
        self.topics().len()
    }

    /// What the rings hold together, in bytes, about.
    pub fn ring_bytes(&self) -> usize {
        self.0.rings.bytes()
    }

    fn topics(&self) -> MutexGuard<'_, Topics> {
        // The map is changed in whole steps, so it is sound whatever panicked beside it.
        self.0.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn listen(self, signals: BoxStream<'static, Signal>) {
        let mut turns = signals.ready_chunks(SIGNALS_PER_TURN);
        while let Some(turn) = turns.next().await {
            self.hear(turn);
        }
    }

    fn hear(&self, turn: Vec<Signal>) {
        let mut touched: Vec<Arc<Followed>> = Vec::new();
        for signal in turn {
            match signal {
                Signal::Appended(topic, entry) => {
                    let Some(followed) = self.topics().get(&topic).map(Arc::clone) else {
                        continue;
                    };
                    followed.appended(self, &entry);
                    if touched.last().is_none_or(|last| !Arc::ptr_eq(last, &followed)) {
                        touched.push(followed);
                    }
                }
                Signal::Grown(topic) => {
                    if let Some(followed) = self.topics().get(&topic) {
                        followed.catch_up(self);
                    }
                }
                Signal::Interrupted => {
                    self.topics().values().for_each(|followed| followed.catch_up(self));
                }
                Signal::CloseConnections(user) => {
                    self.0.limits.end_connections(&user);
                    // They may follow any message too. One such decision wakes all; no
                    // event does.
                    touched.extend(self.topics().values().cloned());
                }
                Signal::Broadcast(event) => {
                    self.0.broadcasts.add(event);
                    touched.extend(
                        self.topics()
                            .values()
                            .filter(|followed| matches!(followed.topic, Topic::User(_)))
                            .cloned(),
                    );
                }
            }
        }
        for followed in touched {
            followed.news.notify_waiters();
        }
    }

    /// A follower has left.
    fn leave(&self, followed: &Followed) {
        let topics = self.topics();
        if followed.remove_follower() {
            drop(topics);
            self.0
                .unfollowed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(followed.topic.clone());
            self.0.unfollowed_notify.notify_one();
        }
    }

    async fn stop_watching_unfollowed_topics(self) {
        loop {
            self.0.unfollowed_notify.notified().await;
            let unfollowed = std::mem::take(
                &mut *self.0.unfollowed.lock().unwrap_or_else(PoisonError::into_inner),
            );
            for topic in unfollowed {
                let Some(followed) = self.topics().get(&topic).map(Arc::clone) else { continue };
                self.stop_watching(&followed).await;
            }
        }
    }

    /// Watching and not watching a topic take turns, so that a late "stop" never undoes a new
    /// follower's "start".
    async fn stop_watching(&self, followed: &Arc<Followed>) {
        let mut watching = followed.watching.lock().await;
        if followed.has_followers() {
            return;
        }
        // Also where no watch is noted: one that failed, or whose follower left during it, may have
        // been done.
        *watching = false;
        self.0.sources.of(&followed.topic).feed.unwatch(&followed.topic).await;
        let mut topics = self.topics();
        if !followed.has_followers() {
            topics.remove(&followed.topic);
        }
    }
}

#[cfg(test)]
mod tests;
