//! What the sweep removes, and whose turn it is.
//!
//! Invariants: a batch is small, and a statement by itself, so no lock is ever held while a process
//! is waited for; what another transaction has locked is left for the next time, so the sweep never
//! waits for a row and never makes a deadlock.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use uuid::Uuid;

use super::{
    connection_pool::{ConnectionPool, Repeat, calling},
    numbers::millis,
};
use crate::{
    adapters::backend_kit::{
        feed::ANNOUNCEMENTS_KEPT,
        sweep::{Sweep, Turn},
    },
    ports::backend_error::BackendError,
};

/// How often each process looks for what is over its time, but for messages.
pub const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Most rows that go in one transaction.
const ROWS_AT_ONCE: i64 = 1_000;
/// How long it is kept that a user's connections are to end, for processes that were cut off when
/// that was announced.
const CLOSINGS_KEPT: Duration = Duration::from_hours(1);
/// After so long, a topic without any write is forgotten.
const NEVER_WRITTEN_KEPT: Duration = Duration::from_hours(24);

/// What the turn is for.
const TASK: &str = "sweep";

/// Takes the turn of task $1 for holder $2, or keeps it, for $3 milliseconds; touches no row where
/// it is another's. One that lasts for much longer than it may was taken before the clock stepped
/// back.
pub(super) const TAKE_TURN: &str =
    "INSERT INTO turns AS t (task, holder, ends_ms) VALUES ($1, $2, now_ms() + $3)
    ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, ends_ms = excluded.ends_ms
    WHERE t.holder = excluded.holder OR t.ends_ms <= now_ms() OR t.ends_ms > excluded.ends_ms + $3";
/// Gives the turn back.
pub(super) const END_TURN: &str = "DELETE FROM turns WHERE task = $1 AND holder = $2";

/// A statement that removes at most $2 rows that are older than $1 milliseconds; returns how many,
/// and the latest's time.
macro_rules! remove_older {
    ($table:literal, $column:literal) => {
        remove_older!($table, $column, "", "")
    };
    ($table:literal, $column:literal, $which:literal, $also:literal) => {
        concat!(
            "WITH gone AS (DELETE FROM ",
            $table,
            " WHERE ctid = ANY (ARRAY(SELECT o.ctid FROM (SELECT now_ms() - $1 AS ms) since
            CROSS JOIN LATERAL (
                SELECT ctid FROM ",
            $table,
            " WHERE ",
            $column,
            " < since.ms",
            $which,
            " ORDER BY ",
            $column,
            " LIMIT $2 FOR UPDATE SKIP LOCKED
            ) o)) RETURNING ",
            $column,
            " AS at_ms)",
            $also,
            " SELECT count(*), max(at_ms) FROM gone"
        )
    };
}

/// Entries over the age limit, from $3 on: what was removed before leaves traces in the index until
/// it is vacuumed.
pub(super) const SWEEP_EVENTS: &str = remove_older!("user_events", "ms", " AND ms >= $3", "");
/// Idempotency keys behind their window.
pub(super) const SWEEP_KEYS: &str = remove_older!("idempotency_keys", "seen_ms");
/// The same of messages.
pub(super) const SWEEP_MESSAGE_KEYS: &str = remove_older!("message_keys", "seen_ms");
/// Announcements that all processes have heard: users whose connections were to end.
pub(super) const SWEEP_CLOSINGS: &str = remove_older!("announcements", "announced_ms");
/// The same of broadcasts.
pub(super) const SWEEP_BROADCASTS: &str =
    remove_older!("announcements", "announced_ms", " AND user_id IS NULL", "");
/// Leases that ended.
pub(super) const SWEEP_LEASES: &str = remove_older!("leases", "expires_ms");
/// Replay windows without a replay in them.
pub(super) const SWEEP_REPLAYS: &str = remove_older!("replay_windows", "ends_ms");
/// Continuations that were not used in time.
pub(super) const SWEEP_CONTINUATIONS: &str = remove_older!("continuations", "ends_ms");
/// Topics without any write. What was returned for them is not forgotten.
pub(super) const SWEEP_TOPICS: &str = remove_older!(
    "user_topics",
    "told_ms",
    " AND NOT written",
    ", remembered AS (UPDATE journal SET forgotten_ms = greatest(forgotten_ms, (SELECT max(at_ms) FROM gone))
        WHERE EXISTS (SELECT FROM gone))"
);

/// What has a time to be over.
pub(super) struct PostgresSweep {
    pub(super) pool: Arc<ConnectionPool>,
    /// `None` for entries that never age.
    pub(super) replay_max_age: Option<Duration>,
    pub(super) idempotency_window: Duration,
}

#[async_trait]
impl Sweep for PostgresSweep {
    async fn take_turn(&self, holder: Uuid, lasts: Duration) -> Result<bool, BackendError> {
        let take = calling(|connection| {
            async move {
                let taken = sqlx::query(TAKE_TURN)
                    .bind(TASK)
                    .bind(holder)
                    .bind(millis(lasts))
                    .execute(connection)
                    .await?;
                Ok(taken.rows_affected() > 0)
            }
            .boxed()
        });
        self.pool.call("taking a turn of the sweep", Repeat::Harmless, take).await
    }

    async fn end_turn(&self, holder: Uuid) -> Result<(), BackendError> {
        let end = calling(|connection| {
            async move {
                Ok(sqlx::query(END_TURN)
                    .bind(TASK)
                    .bind(holder)
                    .execute(connection)
                    .await
                    .map(drop)?)
            }
            .boxed()
        });
        self.pool.call("ending a turn of the sweep", Repeat::Harmless, end).await
    }

    async fn remove(&self, turn: &mut Turn<'_>) -> Result<(), BackendError> {
        if let Some(replay_max_age) = self.replay_max_age {
            let mut from_ms = Some(-1);
            while from_ms.is_some() && turn.next_batch().await? {
                from_ms = self.remove_batch(SWEEP_EVENTS, replay_max_age, from_ms).await?;
            }
        }
        for (statement, kept) in [
            (SWEEP_KEYS, self.idempotency_window),
            (SWEEP_MESSAGE_KEYS, self.idempotency_window),
            (SWEEP_CLOSINGS, CLOSINGS_KEPT),
            (SWEEP_BROADCASTS, ANNOUNCEMENTS_KEPT),
            (SWEEP_LEASES, Duration::ZERO),
            (SWEEP_REPLAYS, Duration::ZERO),
            (SWEEP_CONTINUATIONS, Duration::ZERO),
            (SWEEP_TOPICS, NEVER_WRITTEN_KEPT),
        ] {
            while turn.next_batch().await?
                && self.remove_batch(statement, kept, None).await?.is_some()
            {}
        }
        Ok(())
    }
}

impl PostgresSweep {
    /// Removes a batch; gives the time of the latest row in it, or nothing if that was the last
    /// batch.
    async fn remove_batch(
        &self,
        statement: &'static str,
        kept: Duration,
        from_ms: Option<i64>,
    ) -> Result<Option<i64>, BackendError> {
        let remove = calling(|connection| {
            async move {
                let query = sqlx::query_as(statement).bind(millis(kept)).bind(ROWS_AT_ONCE);
                let query = if let Some(from_ms) = from_ms { query.bind(from_ms) } else { query };
                Ok(query.fetch_one(connection).await?)
            }
            .boxed()
        });
        let (removed, last_ms): (i64, Option<i64>) =
            self.pool.call("sweeping", Repeat::Harmless, remove).await?;
        Ok(last_ms.filter(|_| removed >= ROWS_AT_ONCE))
    }
}
