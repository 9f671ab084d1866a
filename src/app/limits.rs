//! What a user may use at once: connection slots and replays.
//!
//! Invariants: a slot is given back when its [`Lease`] is dropped, however its connection ends;
//! while the backend is unreachable every client is let in, but for this process's own count of
//! connections, which holds always.

use std::{
    collections::{HashMap, hash_map::Entry as MapEntry},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    domain::{leases::LeaseId, position::Position, replay_budget::Exhausted, topic::UserId},
    ports::{
        backend_error::BackendError,
        entropy::Entropy,
        limits::{ConnectionLeases, ReplayBudget},
    },
};

/// A lease lasts this long unless it is renewed, so the slots of a killed process are free again
/// within this time.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Twice a renewal may fail before a lease ends.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// When to try again for a slot: it is unknown when one will be free.
const SLOT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// A client that was asked to come back for the rest of its snapshot does so within this time, or
/// pays for a replay.
const CONTINUED_WITHIN: Duration = Duration::from_mins(1);
/// Most leases in one call to the backend.
const LEASES_PER_CALL: usize = 500;

/// How much a user may use.
#[derive(Clone, Debug)]
pub struct LimitsOptions {
    /// Connections of one user at once; `None` for any number.
    pub max_concurrent_per_user: Option<u32>,
    /// Replays of one user within the window; `None` for any number.
    pub replay_budget_requests_per_window: Option<u32>,
    /// The window.
    pub replay_budget_window: Duration,
}

/// The limits of users, over all processes.
pub struct Limits {
    options: LimitsOptions,
    leases: Arc<dyn ConnectionLeases>,
    budget: Arc<dyn ReplayBudget>,
    entropy: Arc<dyn Entropy>,
    held: Mutex<Held>,
    release: Notify,
}

/// What this process holds.
#[derive(Default)]
struct Held {
    by_user: HashMap<UserId, OfUser>,
    leases: HashMap<LeaseId, UserId>,
    unconfirmed_leases: Vec<(UserId, LeaseId)>,
}

#[derive(Default)]
struct OfUser {
    count: u32,
    /// Set when the connections that there are now are to end; those that come later get another.
    closed: Arc<AtomicBool>,
}

/// All slots of the user are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyConnections {
    /// How many a user has.
    pub connections_max: u32,
    /// When to try again.
    pub retry_after: Duration,
}

/// A connection slot. Dropping it gives it back.
pub struct Lease {
    limits: Arc<Limits>,
    user: UserId,
    id: LeaseId,
    closed: Arc<AtomicBool>,
}

/// What a user uses of their limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Connections over all processes; those of this process where there is no cap, and so nobody
    /// counts.
    pub connections: u32,
    /// Connections of this process.
    pub connections_here: u32,
    /// The cap.
    pub connections_max: Option<u32>,
    /// Replays that are left in the window, if there is a budget.
    pub replays_left: Option<u32>,
    /// The budget.
    pub replays_max: Option<u32>,
}

impl Limits {
    /// Limits over the given ports; [`Limits::keep_leases`] has to run beside.
    pub fn new(
        options: LimitsOptions,
        leases: Arc<dyn ConnectionLeases>,
        budget: Arc<dyn ReplayBudget>,
        entropy: Arc<dyn Entropy>,
    ) -> Arc<Self> {
        Arc::new(Self {
            options,
            leases,
            budget,
            entropy,
            held: Mutex::default(),
            release: Notify::new(),
        })
    }

    /// Takes a connection slot of the user.
    ///
    /// # Errors
    /// [`TooManyConnections`]; nothing is held then.
    pub async fn connect(self: &Arc<Self>, user: &UserId) -> Result<Lease, TooManyConnections> {
        let id = LeaseId(self.entropy.uuid());
        let refused =
            |connections_max| TooManyConnections { connections_max, retry_after: SLOT_RETRY_AFTER };
        let closed = self
            .held()
            .count_in(user, id, self.options.max_concurrent_per_user)
            .map_err(refused)?;
        // From here on the lease's drop counts it out again, also if this future is dropped.
        let lease = Lease { limits: Arc::clone(self), user: user.clone(), id, closed };
        if let Some(connections_max) = self.options.max_concurrent_per_user {
            let granted = self.leases.acquire(user, id, connections_max, LEASE_TTL).await;
            // In doubt the user is let in: no events for anybody would be worse than too many
            // connections of one.
            if matches!(granted, Ok(false)) {
                return Err(refused(connections_max));
            }
        }
        Ok(lease)
    }

    /// Takes one replay after `cursor` from the user's budget, unless it goes on from where a
    /// snapshot was capped.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub async fn replay(&self, user: &UserId, cursor: Position) -> Result<(), Exhausted> {
        let Some(replays_max) = self.options.replay_budget_requests_per_window else {
            return Ok(());
        };
        let taken =
            self.budget.take(user, cursor, replays_max, self.options.replay_budget_window).await;
        match taken {
            Ok(Err(exhausted)) => Err(exhausted),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// Lets one of the user's clients go on from `cursor`, where its snapshot was capped, without
    /// paying once more.
    pub async fn allow_continuation(&self, user: &UserId, cursor: Position) {
        if self.options.replay_budget_requests_per_window.is_some() {
            // Where that fails the client pays, as for any other replay.
            let _ = self.budget.allow_continuation(user, cursor, CONTINUED_WITHIN).await;
        }
    }

    /// What the user uses.
    ///
    /// # Errors
    /// The backend's.
    pub async fn usage(&self, user: &UserId) -> Result<Usage, BackendError> {
        let LimitsOptions {
            max_concurrent_per_user: connections_max,
            replay_budget_requests_per_window: replays_max,
            replay_budget_window,
        } = self.options;
        let connections_here = self.held().by_user.get(user).map_or(0, |of_user| of_user.count);
        let connections = match connections_max {
            Some(_) => self.leases.count(user).await?,
            None => connections_here,
        };
        let replays_left = match replays_max {
            Some(limit) => Some(self.budget.left(user, limit, replay_budget_window).await?),
            None => None,
        };
        Ok(Usage { connections, connections_here, connections_max, replays_left, replays_max })
    }

    /// Ends the connections that the user has in this process, once they are woken.
    pub fn end_connections(&self, user: &UserId) {
        if let Some(of_user) = self.held().by_user.get_mut(user) {
            std::mem::take(&mut of_user.closed).store(true, Ordering::Relaxed);
        }
    }

    /// Who is connected to this process, with how many connections: those with the most of them,
    /// but no more users than so many.
    pub fn users_here(&self, users_max: usize) -> Vec<(UserId, u32)> {
        let mut users: Vec<_> = self
            .held()
            .by_user
            .iter()
            .map(|(user, of_user)| (user.clone(), of_user.count))
            .collect();
        users.sort_unstable_by(|(a, a_count), (b, b_count)| {
            b_count.cmp(a_count).then_with(|| a.cmp(b))
        });
        users.truncate(users_max);
        users
    }

    /// How many connections this process holds.
    pub fn connections(&self) -> usize {
        self.held().leases.len()
    }

    /// Renews what is held and gives back what was dropped, for as long as it is polled.
    pub async fn keep_leases(self: Arc<Self>) {
        let mut renewals = tokio::time::interval(RENEW_EVERY);
        loop {
            tokio::select! {
                // In this order clients that leave all the time don't keep leases from being
                // renewed.
                biased;
                _ = renewals.tick() => self.renew().await,
                () = self.release.notified() => self.give_back().await,
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // The counts are changed in whole steps.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what was dropped.
    pub async fn give_back(&self) {
        let unconfirmed_leases = std::mem::take(&mut self.held().unconfirmed_leases);
        for batch in unconfirmed_leases
            .chunks(LEASES_PER_CALL)
            .filter(|_| self.options.max_concurrent_per_user.is_some())
        {
            // What can't be given back ends by itself.
            let _ = self.leases.release(batch).await;
        }
    }

    async fn renew(&self) {
        if self.options.max_concurrent_per_user.is_none() {
            return;
        }
        let held: Vec<(UserId, LeaseId)> =
            self.held().leases.iter().map(|(id, user)| (user.clone(), *id)).collect();
        for batch in held.chunks(LEASES_PER_CALL) {
            if self.leases.renew(batch, LEASE_TTL).await.is_err() {
                return;
            }
        }
    }
}

impl Held {
    /// Counts a connection, and returns the flag that is set when it is to end; or returns the most
    /// allowed if that is reached.
    fn count_in(
        &mut self,
        user: &UserId,
        id: LeaseId,
        connections_max: Option<u32>,
    ) -> Result<Arc<AtomicBool>, u32> {
        let of_user = self.by_user.entry(user.clone()).or_default();
        if let Some(connections_max) = connections_max.filter(|max| of_user.count >= *max) {
            return Err(connections_max);
        }
        of_user.count += 1;
        self.leases.insert(id, user.clone());
        Ok(Arc::clone(&of_user.closed))
    }

    fn count_out(&mut self, user: &UserId, id: LeaseId) {
        self.leases.remove(&id);
        if let MapEntry::Occupied(mut of_user) = self.by_user.entry(user.clone()) {
            of_user.get_mut().count -= 1;
            if of_user.get().count == 0 {
                of_user.remove();
            }
        }
        self.unconfirmed_leases.push((user.clone(), id));
    }
}

impl Lease {
    /// Whose slot it is.
    pub const fn user(&self) -> &UserId {
        &self.user
    }

    /// The limits that it is a part of.
    pub const fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Whether the connection is to end.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.limits.held().count_out(&self.user, self.id);
        self.limits.release.notify_one();
    }
}

#[cfg(test)]
mod tests;
