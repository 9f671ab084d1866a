//! Connection leases and replay budgets, counted by the server for all processes.
//!
//! Invariant: each call is one statement, decided under a lock of the user's own, by the server's
//! clock.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use uuid::Uuid;

use super::{
    connection_pool::{ConnectionPool, Repeat, calling},
    numbers::{columns_of, from_i64, millis, to_i64},
};
use crate::{
    domain::{
        leases::LeaseId,
        position::Position,
        replay_budget::{CONTINUATIONS_MAX, Exhausted},
        topic::UserId,
    },
    ports::{
        backend_error::BackendError,
        limits::{ConnectionLeases, ReplayBudget},
    },
};

/// Takes a lease, if one is free.
pub(super) const ACQUIRE_LEASE: &str = "SELECT acquire_lease($1, $2, $3, $4)";
/// Holds on to leases.
pub(super) const RENEW_LEASES: &str = "INSERT INTO leases (user_id, lease_id, expires_ms)
    SELECT l.user_id, l.lease_id, now_at + $3 FROM unnest($1::text[], $2::uuid[]) AS l(user_id, lease_id), now_ms() AS now_at
    ORDER BY l.user_id COLLATE \"C\", l.lease_id
    ON CONFLICT (user_id, lease_id) DO UPDATE SET expires_ms = excluded.expires_ms";
/// Gives leases back.
pub(super) const RELEASE_LEASES: &str = "DELETE FROM leases WHERE (user_id, lease_id) IN (SELECT * FROM unnest($1::text[], $2::uuid[]))";
/// Counts leases.
pub(super) const COUNT_LEASES: &str =
    "SELECT count(*) FROM leases WHERE user_id = $1 AND expires_ms > now_ms()";
/// Takes a replay, if there is one left.
pub(super) const TAKE_REPLAY: &str =
    "SELECT left_over, retry_ms FROM take_replay($1, $2, $3, $4, $5)";
/// Allows one replay that costs nothing.
pub(super) const ALLOW_CONTINUATION: &str = "SELECT allow_continuation($1, $2, $3, $4, $5)";
/// Counts replays in the window.
pub(super) const COUNT_REPLAYS: &str =
    "SELECT count(*) FROM replay_windows w, now_ms() AS now_at, unnest(w.granted_ms) AS g
    WHERE w.user_id = $1 AND g <= now_at AND g > now_at - $2";

/// Leases and replay budgets in Postgres.
pub(super) struct PostgresLimits {
    pool: ConnectionPool,
}

impl PostgresLimits {
    pub(super) const fn new(pool: ConnectionPool) -> Self {
        Self { pool }
    }
}

fn columns(leases: &[(UserId, LeaseId)]) -> (Vec<String>, Vec<Uuid>) {
    let mut sorted: Vec<_> =
        leases.iter().map(|(user, lease)| (user.as_str().to_owned(), lease.0)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted.into_iter().unzip()
}

#[async_trait]
impl ConnectionLeases for PostgresLimits {
    async fn acquire(
        &self,
        user: &UserId,
        lease: LeaseId,
        cap: u32,
        ttl: Duration,
    ) -> Result<bool, BackendError> {
        let acquire = calling(|connection| {
            let user = user.clone();
            async move {
                let query = sqlx::query_scalar(ACQUIRE_LEASE)
                    .bind(user.as_str())
                    .bind(lease.0)
                    .bind(i64::from(cap))
                    .bind(millis(ttl));
                Ok(query.fetch_one(connection).await?)
            }
            .boxed()
        });
        // Once more could be refused for the sake of the first time: then its slot ends by itself.
        self.pool.call("taking a lease", Repeat::Harmless, acquire).await
    }

    async fn renew(&self, leases: &[(UserId, LeaseId)], ttl: Duration) -> Result<(), BackendError> {
        if leases.is_empty() {
            return Ok(());
        }
        let renew = calling(|connection| {
            let (users, ids) = columns(leases);
            async move {
                Ok(sqlx::query(RENEW_LEASES)
                    .bind(users)
                    .bind(ids)
                    .bind(millis(ttl))
                    .execute(connection)
                    .await
                    .map(drop)?)
            }
            .boxed()
        });
        self.pool.call("renewing leases", Repeat::Harmless, renew).await
    }

    async fn release(&self, leases: &[(UserId, LeaseId)]) -> Result<(), BackendError> {
        if leases.is_empty() {
            return Ok(());
        }
        let release = calling(|connection| {
            let (users, ids) = columns(leases);
            async move {
                Ok(sqlx::query(RELEASE_LEASES)
                    .bind(users)
                    .bind(ids)
                    .execute(connection)
                    .await
                    .map(drop)?)
            }
            .boxed()
        });
        self.pool.call("giving leases back", Repeat::Harmless, release).await
    }

    async fn count(&self, user: &UserId) -> Result<u32, BackendError> {
        let count = calling(|connection| {
            let user = user.clone();
            async move {
                Ok(sqlx::query_scalar(COUNT_LEASES)
                    .bind(user.as_str())
                    .fetch_one(connection)
                    .await?)
            }
            .boxed()
        });
        let held: i64 = self.pool.call("counting leases", Repeat::Harmless, count).await?;
        Ok(u32::try_from(held).unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl ReplayBudget for PostgresLimits {
    async fn take(
        &self,
        user: &UserId,
        cursor: Position,
        limit: u32,
        window: Duration,
    ) -> Result<Result<u32, Exhausted>, BackendError> {
        let take = calling(|connection| {
            let user = user.clone();
            async move {
                let (ms, n) = columns_of(cursor);
                let query = sqlx::query_as(TAKE_REPLAY)
                    .bind(user.as_str())
                    .bind(ms)
                    .bind(n)
                    .bind(i64::from(limit))
                    .bind(millis(window));
                Ok(query.fetch_one(connection).await?)
            }
            .boxed()
        });
        let taken: (Option<i64>, Option<i64>) =
            self.pool.call("taking a replay", Repeat::Harmless, take).await?;
        Ok(match taken {
            (Some(left), _) => Ok(u32::try_from(left).unwrap_or(0)),
            (None, retry_ms) => Err(Exhausted {
                retry_after: Duration::from_millis(from_i64(retry_ms.unwrap_or(1))),
            }),
        })
    }

    async fn allow_continuation(
        &self,
        user: &UserId,
        cursor: Position,
        within: Duration,
    ) -> Result<(), BackendError> {
        let allow = calling(|connection| {
            let user = user.clone();
            async move {
                let (ms, n) = columns_of(cursor);
                let query = sqlx::query(ALLOW_CONTINUATION)
                    .bind(user.as_str())
                    .bind(ms)
                    .bind(n)
                    .bind(millis(within));
                Ok(query
                    .bind(to_i64(CONTINUATIONS_MAX as u64))
                    .execute(connection)
                    .await
                    .map(drop)?)
            }
            .boxed()
        });
        self.pool.call("allowing a continuation", Repeat::Harmless, allow).await
    }

    async fn left(&self, user: &UserId, limit: u32, window: Duration) -> Result<u32, BackendError> {
        let count = calling(|connection| {
            let user = user.clone();
            async move {
                Ok(sqlx::query_scalar(COUNT_REPLAYS)
                    .bind(user.as_str())
                    .bind(millis(window))
                    .fetch_one(connection)
                    .await?)
            }
            .boxed()
        });
        let spent: i64 = self.pool.call("counting replays", Repeat::Harmless, count).await?;
        Ok(limit.saturating_sub(u32::try_from(spent).unwrap_or(u32::MAX)))
    }
}
