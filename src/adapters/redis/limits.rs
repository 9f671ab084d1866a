//! Connection slots and replay budgets: a sorted set of leases by when they end, and a list of the times of replays.
//!
//! Invariant: the server's clock alone decides when something ends, so that the clocks of processes don't matter.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    connection::Connection,
    journal::ms,
    keys::Keys,
    scripts::{ACQUIRE_LEASE, COUNT_LEASES, RELEASE_LEASES, RENEW_LEASES, REPLAY_BUDGET, Script},
};
use crate::{
    domain::{leases::LeaseId, position::Position, replay_budget::Exhausted, topic::UserId},
    ports::{
        backend_error::BackendError,
        limits::{ConnectionLeases, ReplayBudget},
    },
};

/// The limits of users in Redis.
pub struct RedisLimits {
    connection: Arc<Connection>,
    keys: Arc<Keys>,
}

impl RedisLimits {
    pub(super) const fn new(connection: Arc<Connection>, keys: Arc<Keys>) -> Self {
        Self { connection, keys }
    }

    /// Runs a script over leases, once for each group of users.
    async fn run_over(
        &self,
        context: &'static str,
        script: &Script,
        first_arguments: &[String],
        leases: &[(UserId, LeaseId)],
    ) -> Result<(), BackendError> {
        let mut groups: HashMap<_, (Vec<String>, Vec<String>)> = HashMap::new();
        for (user, lease) in leases {
            let (keys, arguments) = groups.entry(self.keys.leases_group(user)).or_insert_with(|| (Vec::new(), first_arguments.to_vec()));
            keys.push(self.keys.leases(user));
            arguments.push(lease.0.to_string());
        }
        let calls = groups.values().map(|(keys, arguments)| self.connection.run(context, script, keys, arguments));
        futures_util::future::try_join_all(calls).await.map(|_: Vec<()>| ())
    }

    async fn budget(&self, user: &UserId, limit: u32, window: Duration, takes: bool) -> Result<(bool, u64), BackendError> {
        let arguments = [limit.to_string(), ms(window).to_string(), u8::from(takes).to_string()];
        self.connection.run("ask for a replay", &REPLAY_BUDGET, &[self.keys.replay_budget(user)], &arguments).await
    }
}

#[async_trait]
impl ConnectionLeases for RedisLimits {
    async fn acquire(&self, user: &UserId, lease: LeaseId, cap: u32, ttl: Duration) -> Result<bool, BackendError> {
        let arguments = [lease.0.to_string(), cap.to_string(), ms(ttl).to_string()];
        self.connection.run("acquire a lease", &ACQUIRE_LEASE, &[self.keys.leases(user)], &arguments).await
    }

    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError> {
        self.run_over("renew leases", &RENEW_LEASES, &[ms(ttl).to_string()], leases).await
    }

    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        self.run_over("release leases", &RELEASE_LEASES, &[], leases).await
    }

    async fn count(&self, user: &UserId) -> Result<u32, BackendError> {
        const NOTHING: [&str; 0] = [];
        self.connection.run("count leases", &COUNT_LEASES, &[self.keys.leases(user)], &NOTHING).await
    }
}

#[async_trait]
impl ReplayBudget for RedisLimits {
    async fn take(&self, user: &UserId, _cursor: Position, limit: u32, window: Duration) -> Result<Result<u32, Exhausted>, BackendError> {
        let (granted, number) = self.budget(user, limit, window, true).await?;
        if granted {
            return Ok(Ok(u32::try_from(number).unwrap_or(u32::MAX)));
        }
        Ok(Err(Exhausted { retry_after: Duration::from_millis(number).min(window) }))
    }

    async fn allow_continuation(&self, _user: &UserId, _cursor: Position, _within: Duration) -> Result<(), BackendError> {
        Ok(())
    }

    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError> {
        let (_, left) = self.budget(user, limit, window, false).await?;
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }
}
