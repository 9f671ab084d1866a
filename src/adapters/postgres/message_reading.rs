//! Reading messages' events.
//!
//! Invariants: a message without its row in `messages` is not there, whatever events there may be;
//! a server that takes no writes answers no read.

use sqlx::PgConnection;

use super::{
    failure::Failure, message_key::MessageKey, numbers::to_i64, reading::page_of,
    stored_event::StoredEvent,
};
use crate::{
    adapters::backend_kit::stored_page::{StoredEntry, StoredPage},
    domain::{
        cursor::Bounds,
        page::PageLimit,
        position::{EventId, Position},
        topic::MessageId,
    },
};

/// How far a message has come.
pub(super) const MESSAGE_BOUNDS: &str = "SELECT next_sequence_no FROM messages
    WHERE message_id = $1 AND id_text IS NOT DISTINCT FROM $2 AND require_writable()";

/// Events behind number $2: at most $3 of them, and no more behind the first that brings what is
/// stored of them over $4 bytes, but for the second, which shows that there is more.
pub(super) const MESSAGE_READ: &str = "SELECT m.next_sequence_no, e.sequence_no, e.event_type, e.payload::text, e.attributes::text, e.ts_ms
    FROM messages m LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT s.*, row_number() OVER w AS nth, sum(s.bytes) OVER w - s.bytes AS bytes_before FROM (
                SELECT sequence_no, event_type, payload, attributes, round(extract(epoch FROM created_at) * 1000)::bigint AS ts_ms,
                    pg_column_size(payload) AS bytes
                FROM message_events WHERE message_id = $1 AND sequence_no > $2 ORDER BY sequence_no LIMIT $3
            ) s WINDOW w AS (ORDER BY s.sequence_no)
        ) r WHERE r.bytes_before <= $4 OR r.nth <= 2
    ) e ON true WHERE m.message_id = $1 AND m.id_text IS NOT DISTINCT FROM $5 AND require_writable() ORDER BY e.sequence_no";

/// The number that is beyond every event's.
const BEYOND: i32 = i32::MAX;

/// The extent of a message whose row has this next number.
pub(super) fn bounds_before(next_sequence_no: i32) -> Bounds {
    Bounds::of_message(u64::try_from(next_sequence_no).unwrap_or(0))
}

/// The position as a number: -1 before all.
pub(super) fn number_of(position: Position) -> i32 {
    position.id().map_or(-1, |id| i32::try_from(id.major()).unwrap_or(BEYOND))
}

pub(super) async fn bounds(
    connection: &mut PgConnection,
    id: &MessageId,
) -> Result<Bounds, Failure> {
    let MessageKey { uuid, text } = MessageKey::of(id);
    let query = sqlx::query_scalar(MESSAGE_BOUNDS).bind(uuid).bind(text);
    let next: Option<i32> = query.fetch_optional(connection).await?;
    Ok(bounds_before(next.unwrap_or(0)))
}

type Row = (i32, Option<i32>, Option<String>, Option<String>, Option<String>, Option<i64>);

pub(super) async fn page(
    connection: &mut PgConnection,
    id: &MessageId,
    after: Position,
    limit: PageLimit,
) -> Result<StoredPage, Failure> {
    let MessageKey { uuid, text } = MessageKey::of(id);
    let rows: Vec<Row> = sqlx::query_as(MESSAGE_READ)
        .bind(uuid)
        .bind(number_of(after))
        .bind(to_i64(limit.entries_max.max(1) as u64 + 1))
        .bind(to_i64(limit.bytes_max as u64))
        .bind(text)
        .fetch_all(connection)
        .await?;
    let bounds = bounds_before(rows.first().map_or(0, |row| row.0));
    let entries = rows.iter().filter_map(|(_, number, event_type, payload, attributes, ts_ms)| {
        let event = message_event(
            event_type.as_deref()?,
            payload.as_deref()?,
            attributes.as_deref(),
            (*ts_ms)?,
        );
        Some(entry(u64::try_from((*number)?).ok()?, &event))
    });
    Ok(page_of(entries.collect(), bounds))
}

/// A message's event.
pub(super) const fn message_event<'a>(
    event_type: &'a str,
    payload: &'a str,
    attributes: Option<&'a str>,
    ts_ms: i64,
) -> StoredEvent<'a> {
    StoredEvent { ts_ms, event_type, category: None, scope: None, payload, attributes }
}

/// An entry of a message.
pub(super) fn entry(number: u64, event: &StoredEvent<'_>) -> StoredEntry {
    let id = EventId::sequence(number);
    StoredEntry { id, prev: Some(Position::before(id)), event: event.read() }
}
