//! The sweep: what is over its time is removed, little by little.
//!
//! Invariants: one process at a time does it, by an advisory lock that each transaction takes for itself, so that a
//! process that hangs keeps nobody from it; no transaction removes more than a small batch; what another transaction has
//! locked is left for the next time, so the sweep never waits for a row and never makes a deadlock; between batches it
//! rests for longer than it worked.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;

use super::{
    failure::Failure,
    lane::{Lane, Repeat, calling},
    numbers::millis,
};
use crate::ports::backend_error::BackendError;

/// How often each process looks for what is over its time.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Most rows that go in one transaction.
const ROWS_AT_ONCE: i64 = 1_000;
/// For each second of work the sweep rests two.
const REST_FACTOR: u32 = 2;
const REST_MIN: Duration = Duration::from_millis(5);

/// How long announcements are kept, for processes that were cut off when they were made.
const ANNOUNCEMENTS_KEPT: Duration = Duration::from_hours(1);
/// After so long, a topic that nobody ever wrote to is forgotten.
const NEVER_WRITTEN_KEPT: Duration = Duration::from_hours(24);

/// Takes the turn for this transaction; `false` if another process has it.
pub(super) const TAKE_TURN: &str = "SELECT pg_try_advisory_xact_lock(hashtext($1), hashtext(current_schema()))";

/// A statement that removes at most $2 rows that are older than $1 milliseconds.
macro_rules! remove_older {
    ($table:literal, $column:literal) => {
        remove_older!($table, $column, "")
    };
    ($table:literal, $column:literal, $which:literal) => {
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
            " AS at_ms) SELECT count(*), max(at_ms) FROM gone"
        )
    };
}

/// Entries over the age limit, from $3 on: what was removed before leaves traces in the index until it is vacuumed.
pub(super) const SWEEP_EVENTS: &str = remove_older!("user_events", "ms", " AND ms >= $3");
/// Idempotency keys behind their window.
pub(super) const SWEEP_KEYS: &str = remove_older!("idempotency_keys", "seen_ms");
/// The same of messages.
pub(super) const SWEEP_MESSAGE_KEYS: &str = remove_older!("message_keys", "seen_ms");
/// Announcements that everybody has heard.
pub(super) const SWEEP_ANNOUNCEMENTS: &str = remove_older!("announcements", "announced_ms");
/// Leases that ended.
pub(super) const SWEEP_LEASES: &str = remove_older!("leases", "expires_ms");
/// Replay windows without a replay in them.
pub(super) const SWEEP_REPLAYS: &str = remove_older!("replay_windows", "ends_ms");
/// Topics that nobody ever wrote to.
pub(super) const SWEEP_TOPICS: &str = remove_older!("user_topics", "told_ms", " AND NOT written");
/// What was told of forgotten topics is not forgotten.
pub(super) const REMEMBER_FORGOTTEN: &str = "UPDATE journal SET forgotten_ms = greatest(forgotten_ms, $1)";

/// Takes the turn to sweep, for the present transaction.
pub(super) async fn take_turn(connection: &mut PgConnection, of: &'static str) -> Result<bool, Failure> {
    Ok(sqlx::query_scalar(TAKE_TURN).bind(of).fetch_one(connection).await?)
}

/// What has a time to be over.
pub struct PostgresSweeper {
    pub(super) lane: Arc<Lane>,
    /// `None` for entries that never age.
    pub(super) age_max: Option<Duration>,
    pub(super) idempotency_window: Duration,
}

impl PostgresSweeper {
    /// Sweeps for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>) {
        // Not all processes of a deployment at the same moment.
        let mut next = Instant::now() + SWEEP_EVERY.mul_f64(rand::random());
        loop {
            tokio::time::sleep_until(next).await;
            // A server that is away is noticed and told by those who need it.
            if let Err(error) = self.sweep().await {
                tracing::debug!(%error, "the sweep was cut short");
            }
            next = Instant::now() + SWEEP_EVERY;
        }
    }

    /// Removes all that is over its time now, or stops where another process is at it. It happens by itself every half
    /// minute.
    ///
    /// # Errors
    /// Any; what was removed until then stays removed.
    pub async fn sweep(&self) -> Result<(), BackendError> {
        if let Some(age_max) = self.age_max {
            self.sweep_events(age_max).await?;
        }
        for (statement, kept) in [
            (SWEEP_KEYS, self.idempotency_window),
            (SWEEP_MESSAGE_KEYS, self.idempotency_window),
            (SWEEP_ANNOUNCEMENTS, ANNOUNCEMENTS_KEPT),
            (SWEEP_LEASES, Duration::ZERO),
            (SWEEP_REPLAYS, Duration::ZERO),
            (SWEEP_TOPICS, NEVER_WRITTEN_KEPT),
        ] {
            while self.batch(statement, kept, None).await?.is_some() {}
        }
        Ok(())
    }

    async fn sweep_events(&self, age_max: Duration) -> Result<(), BackendError> {
        let mut from_ms = -1;
        while let Some(last_ms) = self.batch(SWEEP_EVENTS, age_max, Some(from_ms)).await? {
            from_ms = last_ms;
        }
        Ok(())
    }

    /// Removes a batch and rests; nothing if that was the last one.
    async fn batch(&self, statement: &'static str, kept: Duration, from_ms: Option<i64>) -> Result<Option<i64>, BackendError> {
        let started = Instant::now();
        let act = calling(|connection| async move { remove(connection, statement, kept, from_ms).await }.boxed());
        let (removed, last_ms) = self.lane.call("sweeping", Repeat::Harmless, act).await?;
        if removed < ROWS_AT_ONCE {
            return Ok(None);
        }
        tokio::time::sleep(REST_MIN.max(started.elapsed() * REST_FACTOR)).await;
        Ok(last_ms)
    }
}

async fn remove(
    connection: &mut PgConnection,
    statement: &'static str,
    kept: Duration,
    from_ms: Option<i64>,
) -> Result<(i64, Option<i64>), Failure> {
    let mut transaction = connection.begin().await?;
    if !take_turn(&mut transaction, "rejoin sweep").await? {
        transaction.rollback().await?;
        return Ok((0, None));
    }
    let mut query = sqlx::query_as(statement).bind(millis(kept)).bind(ROWS_AT_ONCE);
    if let Some(from_ms) = from_ms {
        query = query.bind(from_ms);
    }
    let (removed, last_ms): (i64, Option<i64>) = query.fetch_one(&mut *transaction).await?;
    if statement == SWEEP_TOPICS && removed > 0 {
        sqlx::query(REMEMBER_FORGOTTEN).bind(last_ms).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok((removed, last_ms))
}
