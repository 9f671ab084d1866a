//! What a user may use at once: connection slots and replays.
//!
//! Invariants: a slot is given back when its [`Lease`] is dropped, however its connection ends; while the backend is
//! away everybody is let in, but for this process's own count of connections, which holds always.

use std::{
    collections::{HashMap, hash_map::Entry as MapEntry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{availability::Availability, signals::Signals};
use crate::{
    domain::{leases::LeaseId, replay_budget::Exhausted, topic::UserId},
    ports::limits::{ConnectionLeases, ReplayBudget},
};

/// A lease lasts this long unless it is renewed, so the slots of a killed process are free again within this time.
const LEASE_TTL: Duration = Duration::from_secs(30);
/// Twice a renewal may fail before a lease ends.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// When to try again for a slot: nobody knows when one will be free.
const SLOT_RETRY_AFTER: Duration = Duration::from_secs(5);
/// Most leases in one call to the backend.
const LEASES_PER_CALL: usize = 500;

/// How much a user may use.
#[derive(Clone, Debug)]
pub struct LimitsOptions {
    /// Connections of one user at once; `None` for any number.
    pub connections_max: Option<u32>,
    /// Replays of one user within the window; `None` for any number.
    pub replays_max: Option<u32>,
    /// The window.
    pub replay_window: Duration,
}

/// The limits of users, over all processes.
pub struct Limits {
    options: LimitsOptions,
    leases: Arc<dyn ConnectionLeases>,
    budget: Arc<dyn ReplayBudget>,
    availability: Availability,
    held: Mutex<Held>,
    release: Notify,
}

/// What this process holds.
#[derive(Default)]
struct Held {
    by_user: HashMap<UserId, u32>,
    leases: HashMap<LeaseId, UserId>,
    given_up: Vec<(UserId, LeaseId)>,
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
}

impl Limits {
    /// Limits over the given ports; [`Limits::keep_leases`] has to run beside.
    pub fn new(
        options: LimitsOptions,
        leases: Arc<dyn ConnectionLeases>,
        budget: Arc<dyn ReplayBudget>,
        signals: Arc<Signals>,
    ) -> Arc<Self> {
        let availability = Availability::new("limits", signals);
        Arc::new(Self { options, leases, budget, availability, held: Mutex::default(), release: Notify::new() })
    }

    /// Takes a connection slot of the user.
    ///
    /// # Errors
    /// [`TooManyConnections`]; nothing is held then.
    pub async fn connect(self: &Arc<Self>, user: &UserId) -> Result<Lease, TooManyConnections> {
        let id = LeaseId(Uuid::new_v4());
        let refused = |connections_max| TooManyConnections { connections_max, retry_after: SLOT_RETRY_AFTER };
        self.held().count_in(user, id, self.options.connections_max).map_err(refused)?;
        // From here on the lease's drop counts it out again, also if this future is dropped.
        let lease = Lease { limits: Arc::clone(self), user: user.clone(), id };
        if let Some(connections_max) = self.options.connections_max {
            let granted = self.leases.acquire(user, id, connections_max, LEASE_TTL).await;
            // In doubt the user is let in: no events for anybody would be worse than too many connections of one.
            if matches!(self.availability.observe(granted), Ok(false)) {
                return Err(refused(connections_max));
            }
        }
        Ok(lease)
    }

    /// Takes one replay from the user's budget.
    ///
    /// # Errors
    /// [`Exhausted`].
    pub async fn replay(&self, user: &UserId) -> Result<(), Exhausted> {
        let Some(replays_max) = self.options.replays_max else { return Ok(()) };
        let taken = self.budget.take(user, replays_max, self.options.replay_window).await;
        match self.availability.observe(taken) {
            Ok(Err(exhausted)) => Err(exhausted),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    /// How many connections this process holds.
    pub fn connections(&self) -> usize {
        self.held().leases.len()
    }

    /// Renews what is held and gives back what was dropped, until `stop`; then gives back the rest.
    pub async fn keep_leases(self: Arc<Self>, stop: CancellationToken) {
        let mut renewals = tokio::time::interval(RENEW_EVERY);
        loop {
            tokio::select! {
                () = self.release.notified() => self.give_back().await,
                _ = renewals.tick() => self.renew().await,
                () = stop.cancelled() => return self.give_back().await,
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // The counts are changed in whole steps.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn give_back(&self) {
        let given_up = std::mem::take(&mut self.held().given_up);
        for batch in given_up.chunks(LEASES_PER_CALL).filter(|_| self.options.connections_max.is_some()) {
            // What can't be given back ends by itself.
            let _ = self.availability.observe(self.leases.release(batch).await);
        }
    }

    async fn renew(&self) {
        if self.options.connections_max.is_none() {
            return;
        }
        let held: Vec<(UserId, LeaseId)> = self.held().leases.iter().map(|(id, user)| (user.clone(), *id)).collect();
        for batch in held.chunks(LEASES_PER_CALL) {
            if self.availability.observe(self.leases.renew(batch, LEASE_TTL).await).is_err() {
                return;
            }
        }
    }
}

impl Held {
    /// Counts a connection, or tells the most allowed if that is reached.
    fn count_in(&mut self, user: &UserId, id: LeaseId, connections_max: Option<u32>) -> Result<(), u32> {
        let count = self.by_user.entry(user.clone()).or_insert(0);
        if let Some(connections_max) = connections_max.filter(|max| *count >= *max) {
            return Err(connections_max);
        }
        *count += 1;
        self.leases.insert(id, user.clone());
        Ok(())
    }

    fn count_out(&mut self, user: &UserId, id: LeaseId) {
        self.leases.remove(&id);
        if let MapEntry::Occupied(mut count) = self.by_user.entry(user.clone()) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        self.given_up.push((user.clone(), id));
    }
}

impl Lease {
    /// Whose slot it is.
    pub const fn user(&self) -> &UserId {
        &self.user
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
