//! Messages that go.
//!
//! Invariant: a message goes whole, with its events and its keys, under its row's lock: no reader
//! sees a part of it.

use std::{slice, time::Duration};

use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{failure::Failure, hint::Hint, message_key::MessageKey, message_rows, numbers::millis};
use crate::domain::topic::{MessageId, Topic};

/// Most events that go in one transaction, but for one message that has more.
const EVENTS_AT_ONCE: i64 = 10_000;

/// Keeps other processes from it; `false` if another one is at it. A lock of the transaction is
/// enough, since a call sweeps in one: who calls again rests in between as it likes.
pub(super) const TAKE_TURN: &str =
    "SELECT pg_try_advisory_xact_lock(hashtext('rejoin messages'), hashtext(current_schema()))";

/// The messages whose producers have been silent for longer than $1, at most $2.
pub(super) const SILENT_MESSAGES: &str =
    "SELECT message_id, id_text, next_sequence_no FROM messages, (SELECT now_ms() - $1 AS ms) since
    WHERE producer_seen_hour <= since.ms / 3600000 AND producer_seen_ms < since.ms
    ORDER BY producer_seen_hour LIMIT $2 FOR UPDATE OF messages SKIP LOCKED";

/// Removes messages whose rows are locked, and notifies of it.
pub(super) const REMOVE_MESSAGES: &str =
    "WITH events AS (DELETE FROM message_events WHERE message_id = ANY ($1)),
    keys AS (DELETE FROM message_keys WHERE message_id = ANY ($1)),
    gone AS (DELETE FROM messages WHERE message_id = ANY ($1))
    SELECT pg_notify($2, $3)";

/// Deletes a message; `false` if it is not there.
pub(super) async fn delete(
    connection: &mut PgConnection,
    id: &MessageId,
    channel: &str,
) -> Result<bool, Failure> {
    let mut transaction = connection.begin().await?;
    if message_rows::lock_one(&mut transaction, id).await?.is_none() {
        transaction.rollback().await?;
        return Ok(false);
    }
    remove(&mut transaction, slice::from_ref(id), channel).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Removes silent messages, as many as one transaction should; returns how many.
pub(super) async fn sweep(
    connection: &mut PgConnection,
    silent_for: Duration,
    messages_max: usize,
    channel: &str,
) -> Result<usize, Failure> {
    let mut transaction = connection.begin().await?;
    if !sqlx::query_scalar(TAKE_TURN).fetch_one(&mut *transaction).await? {
        transaction.rollback().await?;
        return Ok(0);
    }
    let silent: Vec<(Uuid, Option<String>, i32)> = sqlx::query_as(SILENT_MESSAGES)
        .bind(millis(silent_for))
        .bind(i64::try_from(messages_max).unwrap_or(i64::MAX))
        .fetch_all(&mut *transaction)
        .await?;
    let mut events = 0;
    let some = silent.iter().take_while(|(.., next)| {
        let is_first = events == 0;
        events += i64::from(*next) + 1;
        is_first || events <= EVENTS_AT_ONCE
    });
    let ids = some.filter_map(|(uuid, text, _)| MessageKey::id(*uuid, text.as_deref()));
    let ids: Vec<MessageId> = ids.collect();
    if !ids.is_empty() {
        remove(&mut transaction, &ids, channel).await?;
    }
    transaction.commit().await?;
    Ok(ids.len())
}

async fn remove(
    connection: &mut PgConnection,
    ids: &[MessageId],
    channel: &str,
) -> Result<(), Failure> {
    let topics: Vec<Topic> = ids.iter().cloned().map(Topic::Message).collect();
    sqlx::query(REMOVE_MESSAGES)
        .bind(MessageKey::columns(ids).0)
        .bind(channel)
        .bind(Hint::removed(&topics).text())
        .execute(connection)
        .await?;
    Ok(())
}
