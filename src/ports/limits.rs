//! What a user may use of the service at once, counted over all processes.

use std::time::Duration;

use async_trait::async_trait;

use super::backend_error::BackendError;
use crate::domain::{leases::LeaseId, position::Position, replay_budget::Exhausted, topic::UserId};

/// The connection slots of users.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ConnectionLeases: Send + Sync {
    /// Takes a slot for `ttl`. `false` if all `cap` are held.
    ///
    /// Laws: never more than `cap` are granted at once, from any number of processes; a refusal
    /// leaves no trace; a lease ends after its `ttl` unless it is renewed.
    ///
    /// # Errors
    /// Any; nothing is held then, or it ends by itself.
    async fn acquire(
        &self,
        user: &UserId,
        lease: LeaseId,
        cap: u32,
        ttl: Duration,
    ) -> Result<bool, BackendError>;

    /// Holds on to slots for another `ttl` from now. A lease that had ended is taken up again.
    ///
    /// # Errors
    /// Any; to try again is harmless.
    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError>;

    /// Gives slots back. To give back what is not held does nothing.
    ///
    /// # Errors
    /// Any; what could not be given back ends by itself.
    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError>;

    /// How many slots of a user are held.
    ///
    /// # Errors
    /// Any.
    async fn count(&self, user: &UserId) -> Result<u32, BackendError>;
}

/// The snapshots that users may ask for, in a sliding window.
#[cfg_attr(test, mockall::automock)]
#[async_trait]
pub trait ReplayBudget: Send + Sync {
    /// Takes one snapshot after `cursor` from the budget; the inner answer is how many are left, or
    /// when the next one is free.
    ///
    /// Laws:
    /// - never more than `limit` grants within any `window`; a refusal leaves no trace;
    /// - a snapshot after a position where [`ReplayBudget::allow_continuation`] allowed one takes
    ///   nothing from the budget, and is granted even where nothing is left. Each allowance is used
    ///   once, by whichever process is asked.
    ///
    /// # Errors
    /// Any; the grant may have been counted, or the allowance used.
    async fn take(
        &self,
        user: &UserId,
        cursor: Position,
        limit: u32,
        window: Duration,
    ) -> Result<Result<u32, Exhausted>, BackendError>;

    /// Allows one snapshot after `cursor` that takes nothing from the budget, for so long: the
    /// server capped a snapshot there, and asked its client to go on. Allowances for one position
    /// add up.
    ///
    /// Law: at most [`crate::domain::replay_budget::CONTINUATIONS_MAX`] are kept of a user; the
    /// oldest give way.
    ///
    /// # Errors
    /// Any; the client's next snapshot is then taken from the budget. To try again may allow one
    /// too many.
    async fn allow_continuation(
        &self,
        user: &UserId,
        cursor: Position,
        within: Duration,
    ) -> Result<(), BackendError>;

    /// How many snapshots are left. To look spends nothing.
    ///
    /// # Errors
    /// Any.
    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError>;
}
