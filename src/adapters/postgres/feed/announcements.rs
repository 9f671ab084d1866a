//! What is told to every process beside entries: events for everybody, and users whose connections are to end.
//!
//! Invariant: an announcement is a row, and its notification carries its number, so its size has no bound of Postgres's.

use std::time::Duration;

use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    adapters::postgres::{
        failure::Failure,
        numbers::{millis, to_i64},
        stored_event::StoredEvent,
    },
    domain::{category::Category, event::Event, topic::UserId},
    ports::feed::Signal,
};

/// Announces, and tells of it in the same transaction.
pub(in crate::adapters::postgres) const ANNOUNCE: &str = "WITH announced AS (
        INSERT INTO announcements (announced_ms, user_id, ts, event_type, category, scope, payload)
        VALUES (now_ms(), $1, $2, $3, $4, $5::text::json, $6::text::json) RETURNING announcement_id
    ) SELECT pg_notify($7, 'a' || announcement_id) FROM announced";

/// Announcements by their numbers.
pub(in crate::adapters::postgres) const FIND_ANNOUNCEMENTS: &str =
    "SELECT announcement_id, user_id, ts, event_type, category, scope::text, payload::text
    FROM announcements WHERE announcement_id = ANY ($1) ORDER BY announcement_id";

/// The users whose connections were to end within the last $1 milliseconds.
pub(in crate::adapters::postgres) const FIND_CLOSED: &str = "SELECT DISTINCT a.user_id FROM (SELECT now_ms() - $1 AS ms) since
    CROSS JOIN LATERAL (SELECT user_id FROM announcements WHERE announced_ms >= since.ms AND user_id IS NOT NULL) a";

/// What is announced.
#[derive(Clone, Debug)]
pub(super) enum Announcement {
    Event(std::sync::Arc<Event>),
    Close(UserId),
}

pub(super) async fn announce(connection: &mut PgConnection, announcement: &Announcement, channel: &str) -> Result<(), Failure> {
    let (user, event) = match announcement {
        Announcement::Event(event) => (None, Some(event)),
        Announcement::Close(user) => (Some(user), None),
    };
    sqlx::query(ANNOUNCE)
        .bind(user.map(UserId::as_str))
        .bind(event.map(|event| to_i64(event.ts.as_ms())))
        .bind(event.map(|event| event.event_type.as_str()))
        .bind(event.and_then(|event| event.category.as_ref()).map(Category::as_str))
        .bind(event.map(|event| event.scope.as_str()))
        .bind(event.map(|event| event.payload.as_str()))
        .bind(channel)
        .execute(connection)
        .await?;
    Ok(())
}

/// The announcements of these numbers, as signals.
pub(super) async fn find(connection: &mut PgConnection, numbers: &[i64]) -> Result<Vec<Signal>, Failure> {
    let rows = sqlx::query(FIND_ANNOUNCEMENTS).bind(numbers).fetch_all(connection).await?;
    rows.iter().filter_map(|row| signal(row).transpose()).collect()
}

/// Who was to be closed while nobody listened here.
pub(super) async fn closed_within(connection: &mut PgConnection, time: Duration) -> Result<Vec<Signal>, Failure> {
    let users: Vec<String> = sqlx::query_scalar(FIND_CLOSED).bind(millis(time)).fetch_all(connection).await?;
    Ok(users.iter().filter_map(|user| UserId::parse(user).ok()).map(Signal::CloseConnections).collect())
}

fn signal(row: &PgRow) -> Result<Option<Signal>, Failure> {
    let number: i64 = row.try_get(0)?;
    if let Some(user) = row.try_get::<Option<&str>, _>(1)? {
        return Ok(UserId::parse(user).ok().map(Signal::CloseConnections));
    }
    let event = StoredEvent {
        ts_ms: row.try_get::<Option<i64>, _>(2)?.unwrap_or(0),
        event_type: row.try_get::<Option<&str>, _>(3)?.unwrap_or_default(),
        category: row.try_get(4)?,
        scope: row.try_get(5)?,
        payload: row.try_get::<Option<&str>, _>(6)?.unwrap_or_default(),
    };
    let read = event.read().inspect_err(|reason| tracing::warn!(number, %reason, "an announcement is no event, and is passed over"));
    Ok(read.ok().map(|event| Signal::Broadcast(event.into())))
}
