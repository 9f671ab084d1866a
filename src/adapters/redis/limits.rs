//! Connection slots and replay budgets: a sorted set of leases by when they end, and a list of the
//! times of replays.
//!
//! Invariant: the server's clock alone decides when something ends, so that the clocks of processes
//! don't matter.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    connection::Connection,
    failure::about,
    keys::Keys,
    scripts::{
        ACQUIRE_LEASE, ALLOW_CONTINUATION, COUNT_LEASES, RELEASE_LEASES, RENEW_LEASES,
        REPLAY_BUDGET, Script,
    },
};
use crate::{
    domain::{
        leases::LeaseId,
        position::Position,
        replay_budget::{CONTINUATIONS_MAX, Exhausted},
        timestamp::millis,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        limits::{ConnectionLeases, ReplayBudget},
    },
};

/// The limits of users in Redis.
pub(super) struct RedisLimits {
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
            let (keys, arguments) = groups
                .entry(self.keys.leases_group(user))
                .or_insert_with(|| (Vec::new(), first_arguments.to_vec()));
            keys.push(self.keys.leases(user));
            arguments.push(lease.0.to_string());
        }
        let calls = groups
            .values()
            .map(|(keys, arguments)| self.connection.run(context, script, keys, arguments));
        futures_util::future::try_join_all(calls).await.map(|_: Vec<()>| ())
    }

    async fn budget(
        &self,
        user: &UserId,
        cursor: Option<Position>,
        limit: u32,
        window: Duration,
    ) -> Result<(bool, u64), BackendError> {
        let takes = u8::from(cursor.is_some()).to_string();
        let arguments = [
            limit.to_string(),
            millis(window).to_string(),
            takes,
            cursor.map(text_of).unwrap_or_default(),
        ];
        let keys = [self.keys.replay_budget(user), self.keys.continuations(user)];
        self.connection
            .run("ask for a replay", &REPLAY_BUDGET, &keys, &arguments)
            .await
            .map_err(about_user(user))
    }
}

/// A position as it stands among a user's continuations.
fn text_of(position: Position) -> String {
    position.id().map(|id| id.to_string()).unwrap_or_default()
}

fn about_user(user: &UserId) -> impl Fn(BackendError) -> BackendError {
    let topic = Topic::User(user.clone());
    move |error| about(&topic)(error)
}

#[async_trait]
impl ConnectionLeases for RedisLimits {
    async fn acquire(
        &self,
        user: &UserId,
        lease: LeaseId,
        cap: u32,
        ttl: Duration,
    ) -> Result<bool, BackendError> {
        let arguments = [lease.0.to_string(), cap.to_string(), millis(ttl).to_string()];
        self.connection
            .run("acquire a lease", &ACQUIRE_LEASE, &[self.keys.leases(user)], &arguments)
            .await
            .map_err(about_user(user))
    }

    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError> {
        self.run_over("renew leases", &RENEW_LEASES, &[millis(ttl).to_string()], leases).await
    }

    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        self.run_over("release leases", &RELEASE_LEASES, &[], leases).await
    }

    async fn count(&self, user: &UserId) -> Result<u32, BackendError> {
        const NOTHING: [&str; 0] = [];
        self.connection
            .run("count leases", &COUNT_LEASES, &[self.keys.leases(user)], &NOTHING)
            .await
            .map_err(about_user(user))
    }
}

#[async_trait]
impl ReplayBudget for RedisLimits {
    async fn take(
        &self,
        user: &UserId,
        cursor: Position,
        limit: u32,
        window: Duration,
    ) -> Result<Result<u32, Exhausted>, BackendError> {
        let (granted, number) = self.budget(user, Some(cursor), limit, window).await?;
        if granted {
            return Ok(Ok(u32::try_from(number).unwrap_or(u32::MAX)));
        }
        Ok(Err(Exhausted { retry_after: Duration::from_millis(number).min(window) }))
    }

    async fn allow_continuation(
        &self,
        user: &UserId,
        cursor: Position,
        within: Duration,
    ) -> Result<(), BackendError> {
        let arguments =
            [text_of(cursor), millis(within).to_string(), CONTINUATIONS_MAX.to_string()];
        let keys = [self.keys.continuations(user)];
        self.connection
            .run("allow a continuation", &ALLOW_CONTINUATION, &keys, &arguments)
            .await
            .map_err(about_user(user))
    }

    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError> {
        let (_, left) = self.budget(user, None, limit, window).await?;
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }
}
