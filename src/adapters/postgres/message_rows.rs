//! A message's row, and its changes.
//!
//! Invariant: what may happen to a message is decided by [`Message`], under the lock of its row.

use std::collections::BTreeSet;

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    failure::Failure,
    message_key::MessageKey,
    numbers::{from_i64, to_i64},
};
use crate::domain::{
    message::{End, Message, Terminal},
    timestamp::Timestamp,
    topic::{MessageId, UserId},
};

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "SELECT message_id, owner, epoch, next_sequence_no, stop_requested, end_type, ended_ms, created_ms, producer_seen_ms, now_ms(), id_text
            FROM messages ",
            $rest
        )
    };
}

/// Messages, locked in one order.
pub(super) const LOCK_MESSAGES: &str =
    columns!("WHERE message_id = ANY ($1) ORDER BY message_id FOR UPDATE");
/// One message.
pub(super) const OBSERVE_MESSAGE: &str =
    columns!("WHERE message_id = $1 AND id_text IS NOT DISTINCT FROM $2 AND require_writable()");

/// Makes a message, if it is not there.
pub(super) const OPEN_MESSAGE: &str =
    "INSERT INTO messages (message_id, owner, epoch, next_sequence_no, stop_requested, created_ms,
        producer_seen_ms, producer_seen_hour, id_text)
    SELECT $1, $2, 1, 0, false, now_at, now_at, now_at / 3600000, $3 FROM now_ms() AS now_at
    ON CONFLICT (message_id) DO NOTHING RETURNING created_ms";

/// Whether a message of another id stands where this one would.
pub(super) const IS_ANOTHERS: &str =
    "SELECT EXISTS (SELECT FROM messages WHERE message_id = $1 AND id_text IS DISTINCT FROM $2)";

/// Changes a message's row.
pub(super) const CHANGE_MESSAGE: &str =
    "UPDATE messages SET epoch = $2, stop_requested = $3, producer_seen_ms = $4, producer_seen_hour = $5
    WHERE message_id = $1";

/// A message as its row has it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) id: MessageId,
    pub(super) message: Message,
    /// When that was, by the server's clock.
    pub(super) now: Timestamp,
}

impl Stored {
    pub(super) fn of(row: &PgRow) -> Result<Self, Failure> {
        let at = |column| Ok::<_, sqlx::Error>(Timestamp::from_ms(from_i64(row.try_get(column)?)));
        let owner = UserId::parse(row.try_get(1)?)
            .map_err(|_| Failure::Unexpected("a message whose owner is no user"))?;
        let terminal = row.try_get::<Option<&str>, _>(5)?.and_then(Terminal::named);
        let ended_at = row.try_get::<Option<i64>, _>(6)?.map(|ms| Timestamp::from_ms(from_i64(ms)));
        let next: i32 = row.try_get(3)?;
        let message = Message {
            owner,
            epoch: from_i64(row.try_get(2)?),
            next_sequence_no: u64::try_from(next).unwrap_or(0),
            stop_requested: row.try_get(4)?,
            end: terminal.zip(ended_at).map(|(terminal, at)| End { terminal, at }),
            created_at: at(7)?,
            producer_seen_at: at(8)?,
        };
        let id = MessageKey::id(row.try_get(0)?, row.try_get(10)?)
            .ok_or(Failure::Unexpected("a message whose id is none"))?;
        Ok(Self { id, message, now: at(9)? })
    }
}

/// The hour of a sign of life, which the sweep goes by.
pub(super) fn hour(at: Timestamp) -> i32 {
    i32::try_from(to_i64(at.as_ms()) / HOUR_MS).unwrap_or(i32::MAX)
}

/// Locks messages; those that are not there are not among them.
pub(super) async fn lock(
    connection: &mut PgConnection,
    ids: &BTreeSet<MessageId>,
) -> Result<Vec<Stored>, Failure> {
    let (uuids, _) = MessageKey::columns(ids);
    let rows = sqlx::query(LOCK_MESSAGES).bind(uuids).fetch_all(connection).await?;
    let stored = rows.iter().map(Stored::of);
    // Another id's row may stand where one of these would.
    stored
        .filter(|stored| stored.as_ref().map_or(true, |stored| ids.contains(&stored.id)))
        .collect()
}

/// Locks one message, if it is there.
pub(super) async fn lock_one(
    connection: &mut PgConnection,
    id: &MessageId,
) -> Result<Option<Stored>, Failure> {
    Ok(lock(connection, &BTreeSet::from([id.clone()])).await?.pop())
}

/// Writes what something else than an append may change.
pub(super) async fn change(
    connection: &mut PgConnection,
    id: &MessageId,
    message: &Message,
) -> Result<(), Failure> {
    sqlx::query(CHANGE_MESSAGE)
        .bind(MessageKey::of(id).uuid)
        .bind(to_i64(message.epoch))
        .bind(message.stop_requested)
        .bind(to_i64(message.producer_seen_at.as_ms()))
        .bind(hour(message.producer_seen_at))
        .execute(connection)
        .await?;
    Ok(())
}
