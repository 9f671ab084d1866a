//! The sweep: what is over its time is removed, little by little.
//!
//! Invariants: one process at a time does it, which renews its turn with each batch, so that one that hangs keeps nobody
//! from it; a batch is small, and a statement by itself, so no lock is ever held while a process is waited for; what
//! another transaction has locked is left for the next time, so the sweep never waits for a row and never makes a
//! deadlock; between batches it rests for longer than it worked.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use sqlx::PgConnection;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    failure::Failure,
    feed::BROADCASTS_KEPT,
    lane::{Lane, Repeat, calling},
    numbers::millis,
};
use crate::{
    domain::backoff::share_of,
    ports::{backend_error::BackendError, entropy::Entropy},
};

/// How often each process looks for what is over its time, but for messages.
pub const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Most rows that go in one transaction.
const ROWS_AT_ONCE: i64 = 1_000;
/// For each second of work the sweep rests two.
const REST_FACTOR: u32 = 2;
const REST_MIN: Duration = Duration::from_millis(5);

/// How long it is kept that a user's connections are to end, for processes that were cut off when that was announced.
const CLOSINGS_KEPT: Duration = Duration::from_hours(1);
/// After so long, a topic that nobody ever wrote to is forgotten.
const NEVER_WRITTEN_KEPT: Duration = Duration::from_hours(24);

/// What the turn is for.
const TASK: &str = "sweep";
/// How long a turn lasts without a batch.
const TURN_LASTS: Duration = Duration::from_mins(1);

/// Takes the turn of task $1 for holder $2, or keeps it, for $3 milliseconds; touches no row where it is another's. One
/// that lasts for much longer than it may was taken before the clock stepped back.
pub(super) const TAKE_TURN: &str = "INSERT INTO turns AS t (task, holder, ends_ms) VALUES ($1, $2, now_ms() + $3)
    ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, ends_ms = excluded.ends_ms
    WHERE t.holder = excluded.holder OR t.ends_ms <= now_ms() OR t.ends_ms > excluded.ends_ms + $3";
/// Gives the turn back.
pub(super) const END_TURN: &str = "DELETE FROM turns WHERE task = $1 AND holder = $2";

/// A statement that removes at most $2 rows that are older than $1 milliseconds; tells how many, and the latest's time.
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

/// Entries over the age limit, from $3 on: what was removed before leaves traces in the index until it is vacuumed.
pub(super) const SWEEP_EVENTS: &str = remove_older!("user_events", "ms", " AND ms >= $3", "");
/// Idempotency keys behind their window.
pub(super) const SWEEP_KEYS: &str = remove_older!("idempotency_keys", "seen_ms");
/// The same of messages.
pub(super) const SWEEP_MESSAGE_KEYS: &str = remove_older!("message_keys", "seen_ms");
/// Announcements that everybody has heard who may: users whose connections were to end.
pub(super) const SWEEP_CLOSINGS: &str = remove_older!("announcements", "announced_ms");
/// The same of events for everybody.
pub(super) const SWEEP_BROADCASTS: &str = remove_older!("announcements", "announced_ms", " AND user_id IS NULL", "");
/// Leases that ended.
pub(super) const SWEEP_LEASES: &str = remove_older!("leases", "expires_ms");
/// Replay windows without a replay in them.
pub(super) const SWEEP_REPLAYS: &str = remove_older!("replay_windows", "ends_ms");
/// Continuations that nobody has used in time.
pub(super) const SWEEP_CONTINUATIONS: &str = remove_older!("continuations", "ends_ms");
/// Topics that nobody ever wrote to. What was told of them is not forgotten.
pub(super) const SWEEP_TOPICS: &str = remove_older!(
    "user_topics",
    "told_ms",
    " AND NOT written",
    ", remembered AS (UPDATE journal SET forgotten_ms = greatest(forgotten_ms, (SELECT max(at_ms) FROM gone))
        WHERE EXISTS (SELECT FROM gone))"
);

/// What has a time to be over.
pub struct PostgresSweeper {
    pub(super) lane: Arc<Lane>,
    /// `None` for entries that never age.
    pub(super) age_max: Option<Duration>,
    pub(super) idempotency_window: Duration,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl PostgresSweeper {
    /// Sweeps for as long as it is polled.
    pub(super) async fn run(self: Arc<Self>) {
        // Not all processes of a deployment at the same moment.
        let mut next = Instant::now() + share_of(SWEEP_EVERY, self.entropy.next_u64());
        loop {
            tokio::time::sleep_until(next).await;
            // A server that is away is noticed and told by those who need it.
            if let Err(error) = self.sweep().await {
                tracing::debug!(%error, "the sweep was cut short");
            }
            next = Instant::now() + SWEEP_EVERY;
        }
    }

    /// Removes all that is over its time now, or leaves that to another process which is at it. It happens by itself every
    /// half minute.
    ///
    /// # Errors
    /// Any; what was removed until then stays removed.
    pub async fn sweep(&self) -> Result<(), BackendError> {
        let turn = self.entropy.uuid();
        let swept = self.sweep_in_turn(turn).await;
        let end = calling(|connection| {
            async move { Ok(sqlx::query(END_TURN).bind(TASK).bind(turn).execute(connection).await.map(drop)?) }.boxed()
        });
        // Where it can't be given back, it ends by itself.
        let _ = self.lane.call("ending the sweep", Repeat::Harmless, end).await;
        swept
    }

    async fn sweep_in_turn(&self, turn: Uuid) -> Result<(), BackendError> {
        if let Some(age_max) = self.age_max {
            let mut from_ms = -1;
            while let Some(last_ms) = self.batch(turn, SWEEP_EVENTS, age_max, Some(from_ms)).await? {
                from_ms = last_ms;
            }
        }
        for (statement, kept) in [
            (SWEEP_KEYS, self.idempotency_window),
            (SWEEP_MESSAGE_KEYS, self.idempotency_window),
            (SWEEP_CLOSINGS, CLOSINGS_KEPT),
            (SWEEP_BROADCASTS, BROADCASTS_KEPT),
            (SWEEP_LEASES, Duration::ZERO),
            (SWEEP_REPLAYS, Duration::ZERO),
            (SWEEP_CONTINUATIONS, Duration::ZERO),
            (SWEEP_TOPICS, NEVER_WRITTEN_KEPT),
        ] {
            while self.batch(turn, statement, kept, None).await?.is_some() {}
        }
        Ok(())
    }

    /// Removes a batch and rests; nothing if that was the last one, or is another's to do.
    async fn batch(&self, turn: Uuid, statement: &'static str, kept: Duration, from_ms: Option<i64>) -> Result<Option<i64>, BackendError> {
        let started = Instant::now();
        let act = calling(|connection| async move { remove(connection, turn, statement, kept, from_ms).await }.boxed());
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
    turn: Uuid,
    statement: &'static str,
    kept: Duration,
    from_ms: Option<i64>,
) -> Result<(i64, Option<i64>), Failure> {
    let taken = sqlx::query(TAKE_TURN).bind(TASK).bind(turn).bind(millis(TURN_LASTS)).execute(&mut *connection).await?;
    if taken.rows_affected() == 0 {
        return Ok((0, None));
    }
    let mut query = sqlx::query_as(statement).bind(millis(kept)).bind(ROWS_AT_ONCE);
    if let Some(from_ms) = from_ms {
        query = query.bind(from_ms);
    }
    Ok(query.fetch_one(connection).await?)
}
