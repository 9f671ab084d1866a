//! Leases and replay budgets of a backend that is this process's own, in memory.
//!
//! Invariant: only users who hold a lease, or spent from their budget within the window, cost
//! memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    domain::{
        leases::{LeaseId, Leases},
        position::Position,
        replay_budget::{Continuations, Exhausted, SlidingWindow},
        timestamp::Timestamp,
        topic::UserId,
    },
    ports::{
        backend_error::BackendError,
        clock::Clock,
        limits::{ConnectionLeases, ReplayBudget},
    },
};

/// Users whose windows are kept before the first look for those that have run out.
const SWEEP_AT_LEAST: usize = 1_024;

/// Leases and replay budgets in memory.
pub struct LocalLimits {
    clock: Arc<dyn Clock>,
    leases: Mutex<HashMap<UserId, Leases>>,
    budgets: Mutex<Budgets>,
}

struct Budgets {
    by_user: HashMap<UserId, Budget>,
    sweep_at: usize,
}

/// What a user has spent, and may have without paying.
#[derive(Default)]
struct Budget {
    spent: SlidingWindow,
    /// The window that was last asked for: what lies outside of it need not be kept.
    window: Duration,
    continuations: Continuations,
}

impl LocalLimits {
    /// Nothing held, nothing spent.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let budgets = Budgets { by_user: HashMap::new(), sweep_at: SWEEP_AT_LEAST };
        Self { clock, leases: Mutex::default(), budgets: Mutex::new(budgets) }
    }

    fn leases(&self) -> MutexGuard<'_, HashMap<UserId, Leases>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn budgets(&self) -> MutexGuard<'_, Budgets> {
        self.budgets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Budgets {
    /// The user's budget. Now and then those that have run out are removed first.
    fn of(&mut self, user: &UserId, now: Timestamp) -> &mut Budget {
        if self.by_user.len() >= self.sweep_at {
            self.by_user.retain(|_, budget| !budget.is_empty_at(now));
            self.sweep_at = SWEEP_AT_LEAST.max(2 * self.by_user.len());
        }
        self.by_user.entry(user.clone()).or_default()
    }
}

impl Budget {
    fn is_empty_at(&mut self, now: Timestamp) -> bool {
        self.continuations.is_empty_at(now) && self.spent.is_empty_at(now, self.window)
    }
}

#[async_trait]
impl ConnectionLeases for LocalLimits {
    async fn acquire(
        &self,
        user: &UserId,
        lease: LeaseId,
        cap: u32,
        ttl: Duration,
    ) -> Result<bool, BackendError> {
        Ok(self.leases().entry(user.clone()).or_default().acquire(
            self.clock.now(),
            lease,
            cap,
            ttl,
        ))
    }

    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError> {
        let now = self.clock.now();
        let mut held = self.leases();
        for (user, lease) in leases {
            held.entry(user.clone()).or_default().renew(now, *lease, ttl);
        }
        Ok(())
    }

    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        let now = self.clock.now();
        let mut held = self.leases();
        for (user, lease) in leases {
            if let Some(of_user) = held.get_mut(user) {
                of_user.release(*lease);
                if of_user.count_at(now) == 0 {
                    held.remove(user);
                }
            }
        }
        Ok(())
    }

    async fn count(&self, user: &UserId) -> Result<u32, BackendError> {
        let count =
            self.leases().get_mut(user).map_or(0, |of_user| of_user.count_at(self.clock.now()));
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl ReplayBudget for LocalLimits {
    async fn take(
        &self,
        user: &UserId,
        cursor: Position,
        limit: u32,
        window: Duration,
    ) -> Result<Result<u32, Exhausted>, BackendError> {
        let now = self.clock.now();
        let mut budgets = self.budgets();
        let budget = budgets.of(user, now);
        budget.window = window;
        if budget.continuations.take(cursor, now) {
            return Ok(Ok(budget.spent.left(now, limit, window)));
        }
        Ok(budget.spent.take(now, limit, window))
    }

    async fn allow_continuation(
        &self,
        user: &UserId,
        cursor: Position,
        within: Duration,
    ) -> Result<(), BackendError> {
        let now = self.clock.now();
        self.budgets().of(user, now).continuations.allow(cursor, now, now.plus(within));
        Ok(())
    }

    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError> {
        let now = self.clock.now();
        Ok(self
            .budgets()
            .by_user
            .get_mut(user)
            .map_or(limit, |budget| budget.spent.left(now, limit, window)))
    }
}
