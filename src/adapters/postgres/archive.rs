//! Postgres as a whole.
//!
//! Invariant: what is restored is one transaction, which locks heads in the order of their topics'
//! ids, as appends do.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{
    connection_pool::{Repeat, calling},
    failure::Failure,
    journal::PostgresJournal,
    message_key::MessageKey,
    numbers::{from_i64, to_i64},
    stored_event::EventColumns,
};
use crate::{
    domain::{
        category::Category,
        position::EventId,
        timestamp::Timestamp,
        topic::{MessageId, UserId},
    },
    ports::{
        archive::{Archive, Fit, ListPlace, Listing, Part, Restored},
        backend_error::BackendError,
    },
};

/// Names that are listed at once.
const NAMES_MAX: usize = 1_000;

/// Users that were ever written to, behind one.
pub(super) const USERS: &str =
    "SELECT user_id FROM user_topics WHERE written AND user_id > $1 ORDER BY user_id LIMIT $2";
/// Messages behind one.
pub(super) const MESSAGES: &str =
    "SELECT message_id, id_text FROM messages WHERE message_id > $1 ORDER BY message_id LIMIT $2";
/// A cursor behind this origin may go on.
pub(super) const LOWER_ORIGIN: &str = "UPDATE journal SET origin_ms = $1 WHERE origin_ms > $1";
/// A topic's head, if it was ever written to.
pub(super) const LOCK_HEAD: &str =
    "SELECT last_ms, last_n FROM user_topics WHERE user_id = $1 AND written FOR UPDATE";
/// A topic that begins behind ($2, $3).
pub(super) const BEGIN_TOPIC: &str = "INSERT INTO user_topics (user_id, last_ms, last_n, before_ms, before_n, appended, told_ms, written)
    VALUES ($1, $2, $3, $2, $3, 0, $2, true)
    ON CONFLICT (user_id) DO UPDATE SET last_ms = $2, last_n = $3, before_ms = $2, before_n = $3, appended = 0, written = true";
/// Entries behind a topic's head.
pub(super) const ADD_ENTRIES: &str =
    "INSERT INTO user_events (user_id, ms, n, prev_ms, prev_n, ordinal, ts, event_type, category, scope, payload, attributes)
    SELECT t.user_id, e.ms, e.n, e.prev_ms, e.prev_n, t.appended + e.nth, e.ts, e.event_type, e.category, e.scope::json, e.payload::json, e.attributes::json
    FROM user_topics t, unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::text[], $8::text[], $9::text[],
        $10::text[], $11::text[]) WITH ORDINALITY
        AS e(ms, n, prev_ms, prev_n, ts, event_type, category, scope, payload, attributes, nth)
    WHERE t.user_id = $1";
/// The topic's head is behind them.
pub(super) const MOVE_HEAD: &str =
    "UPDATE user_topics SET last_ms = $2, last_n = $3, before_ms = $4, before_n = $5, appended = appended + $6
    WHERE user_id = $1";

#[async_trait]
impl Archive for PostgresJournal {
    async fn users(&self, from: Option<&ListPlace>) -> Result<Listing<UserId>, BackendError> {
        let from = from.map_or_else(String::new, |place| place.0.clone());
        let list = calling(|connection| {
            let from = from.clone();
            async move {
                let limit = to_i64(NAMES_MAX as u64);
                Ok(sqlx::query_scalar::<_, String>(USERS)
                    .bind(from)
                    .bind(limit)
                    .fetch_all(connection)
                    .await?)
            }
            .boxed()
        });
        let users = self.log.reads.call("listing users", Repeat::Harmless, list).await?;
        let next = users.last().filter(|_| users.len() == NAMES_MAX).cloned().map(ListPlace);
        Ok(Listing {
            items: users.iter().filter_map(|user| UserId::parse(user).ok()).collect(),
            next,
            may_repeat: false,
        })
    }

    async fn messages(&self, from: Option<&ListPlace>) -> Result<Listing<MessageId>, BackendError> {
        let from: Uuid = from.and_then(|place| place.0.parse().ok()).unwrap_or_default();
        let list = calling(|connection| {
            async move {
                let limit = to_i64(NAMES_MAX as u64);
                Ok(sqlx::query_as::<_, (Uuid, Option<String>)>(MESSAGES)
                    .bind(from)
                    .bind(limit)
                    .fetch_all(connection)
                    .await?)
            }
            .boxed()
        });
        let ids = self.log.reads.call("listing messages", Repeat::Harmless, list).await?;
        let next = ids
            .last()
            .filter(|_| ids.len() == NAMES_MAX)
            .map(|(last, _)| ListPlace(last.to_string()));
        let items = ids.iter().filter_map(|(uuid, text)| MessageKey::id(*uuid, text.as_deref()));
        Ok(Listing { items: items.collect(), next, may_repeat: false })
    }

    async fn restore(&self, parts: Vec<Part>) -> Result<Vec<Restored>, BackendError> {
        let parts: Arc<[Part]> = parts.into();
        let restore = calling(|connection| {
            let parts = Arc::clone(&parts);
            async move { restore_all(connection, &parts).await }.boxed()
        });
        self.writer.pool.call("restoring topics", Repeat::Harmless, restore).await
    }
}

async fn restore_all(
    connection: &mut PgConnection,
    parts: &[Part],
) -> Result<Vec<Restored>, Failure> {
    let mut restored = vec![Restored::Another; parts.len()];
    let mut in_order: Vec<usize> = (0..parts.len()).collect();
    in_order.sort_by_key(|place| parts[*place].user.as_str());
    let mut transaction = connection.begin().await?;
    if let Some(origin) = parts.iter().map(|part| part.origin.major()).min() {
        sqlx::query(LOWER_ORIGIN).bind(to_i64(origin)).execute(&mut *transaction).await?;
    }
    for place in in_order {
        restored[place] = restore_one(&mut transaction, &parts[place]).await?;
    }
    transaction.commit().await?;
    Ok(restored)
}

/// An id's columns.
fn columns(id: EventId) -> (i64, i64) {
    (to_i64(id.major()), to_i64(id.minor().unwrap_or(0)))
}

async fn restore_one(connection: &mut PgConnection, part: &Part) -> Result<Restored, Failure> {
    let user = part.user.as_str();
    let head = sqlx::query_as::<_, (i64, i64)>(LOCK_HEAD)
        .bind(user)
        .fetch_optional(&mut *connection)
        .await?;
    let (after_ms, after_n) = columns(part.after);
    match part.fits(head.map(|(ms, n)| EventId::timed(from_i64(ms), from_i64(n)))) {
        None => return Ok(Restored::Another),
        Some(Fit::Taken) => return Ok(Restored::Kept),
        Some(Fit::Next) => {}
        Some(Fit::First) => {
            sqlx::query(BEGIN_TOPIC)
                .bind(user)
                .bind(after_ms)
                .bind(after_n)
                .execute(&mut *connection)
                .await?;
        }
    }
    let ids: Vec<(i64, i64)> = std::iter::once(part.after)
        .chain(part.entries.iter().map(|entry| entry.id))
        .map(columns)
        .collect();
    let [.., (before_ms, before_n), (last_ms, last_n)] = ids[..] else { return Ok(Restored::Kept) };
    let (prevs, ids) = (&ids[..ids.len() - 1], &ids[1..]);
    let column = |of: &[(i64, i64)]| of.iter().copied().unzip::<_, _, Vec<_>, Vec<_>>();
    let ((all_ms, all_n), (all_prev_ms, all_prev_n)) = (column(ids), column(prevs));
    let events = || part.entries.iter().map(|entry| &*entry.event);
    let columns: Vec<EventColumns> = events().map(EventColumns::of).collect();
    let time = |ts: Timestamp| to_i64(ts.as_ms());
    sqlx::query(ADD_ENTRIES)
        .bind(user)
        .bind(all_ms)
        .bind(all_n)
        .bind(all_prev_ms)
        .bind(all_prev_n)
        .bind(events().map(|event| time(event.ts)).collect::<Vec<_>>())
        .bind(columns.iter().map(|columns| &columns.event_type).collect::<Vec<_>>())
        .bind(
            events().map(|event| event.category.as_ref().map(Category::as_str)).collect::<Vec<_>>(),
        )
        .bind(events().map(|event| Some(event.scope.as_str())).collect::<Vec<_>>())
        .bind(columns.iter().map(|columns| &columns.payload).collect::<Vec<_>>())
        .bind(columns.iter().map(|columns| &columns.attributes).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    let count = to_i64(part.entries.len() as u64);
    let moved = sqlx::query(MOVE_HEAD)
        .bind(user)
        .bind(last_ms)
        .bind(last_n)
        .bind(before_ms)
        .bind(before_n)
        .bind(count);
    moved.execute(&mut *connection).await?;
    Ok(Restored::Kept)
}
