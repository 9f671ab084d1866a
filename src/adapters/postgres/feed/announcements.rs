//! What every process is to hear beside entries.
//!
//! Invariants: an announcement is a row, and its notification carries its number, so its size has
//! no bound of Postgres's; numbers go up in the order of commits, also over a schema that was made
//! anew; what does not fit is refused.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::{PgConnection, Row, postgres::PgRow};

use crate::{
    adapters::{
        backend_kit::feed::{
            ANNOUNCEMENTS_AT_ONCE, ANNOUNCEMENTS_BYTES_MAX, ANNOUNCEMENTS_KEPT, Announcement,
            AnnouncementLog, AnnouncementPage,
        },
        postgres::{
            connection_pool::{ConnectionPool, Repeat, calling},
            failure::Failure,
            journal::PostgresLog,
            numbers::{from_i64, millis, to_i64},
            stored_event::{EventColumns, StoredEvent},
        },
    },
    domain::{
        category::Category,
        position::{EventId, Position},
        topic::UserId,
    },
    ports::backend_error::BackendError,
};

/// By how much later than it happened it may be noticed that a process is cut off.
const CUT_OFF_UNNOTICED: Duration = Duration::from_secs(5);

/// Announces, and notifies in the same transaction.
pub(in crate::adapters::postgres) const ANNOUNCE: &str =
    "SELECT announce($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

/// Announcements behind number $1, at most $3, without events that are older than $2 milliseconds.
pub(in crate::adapters::postgres) const FIND_ANNOUNCEMENTS: &str =
    "SELECT announcement_id, user_id, ts, event_type, category, scope::text, payload::text, attributes::text
    FROM announcements WHERE announcement_id > $1 AND (user_id IS NOT NULL OR announced_ms >= now_ms() - $2)
    ORDER BY announcement_id LIMIT $3";

/// The number of the latest announcement.
pub(in crate::adapters::postgres) const LATEST_ANNOUNCEMENT: &str =
    "SELECT coalesce(max(announcement_id), 0) FROM announcements";

/// The announcements in Postgres.
pub(in crate::adapters::postgres) struct PostgresAnnouncements {
    pub(in crate::adapters::postgres) log: Arc<PostgresLog>,
    /// Of its own, so that many clients that read do not hold it up.
    pub(in crate::adapters::postgres) reads: Arc<ConnectionPool>,
    pub(in crate::adapters::postgres) channel: String,
}

#[async_trait]
impl AnnouncementLog for PostgresAnnouncements {
    async fn announce(&self, announcement: &Announcement) -> Result<(), BackendError> {
        let repeat = match announcement {
            Announcement::Broadcast(_) => Repeat::Harmful,
            Announcement::CloseConnections(_) => Repeat::Harmless,
        };
        let announce = calling(|connection| {
            let (announcement, channel) = (announcement.clone(), self.channel.clone());
            async move { announce(connection, &announcement, &channel).await }.boxed()
        });
        self.log.reads.call("announcing to every process", repeat, announce).await
    }

    async fn end(&self) -> Result<Position, BackendError> {
        let ask = calling(|connection| async move { latest(connection).await }.boxed());
        self.reads.call("looking where the announcements end", Repeat::Harmless, ask).await
    }

    async fn read(
        &self,
        after: Position,
        unread_for: Duration,
    ) -> Result<AnnouncementPage, BackendError> {
        let read = calling(|connection| {
            async move {
                // Numbers never go back, but the latest may have been swept.
                let end = latest(connection).await?.max(after);
                let some_are_gone = unread_for + CUT_OFF_UNNOTICED > ANNOUNCEMENTS_KEPT;
                Ok(AnnouncementPage {
                    announcements: find(connection, after).await?,
                    end,
                    some_are_gone,
                })
            }
            .boxed()
        });
        self.reads.call("reading announcements", Repeat::Harmless, read).await
    }
}

async fn announce(
    connection: &mut PgConnection,
    announcement: &Announcement,
    channel: &str,
) -> Result<(), Failure> {
    let (user, event) = match announcement {
        Announcement::Broadcast(event) => (None, Some(event)),
        Announcement::CloseConnections(user) => (Some(user), None),
    };
    let columns = event.map(|event| EventColumns::of(event));
    let has_room: bool = sqlx::query_scalar(ANNOUNCE)
        .bind(user.map(UserId::as_str))
        .bind(event.map(|event| to_i64(event.ts.as_ms())))
        .bind(columns.as_ref().map(|columns| &columns.event_type))
        .bind(event.and_then(|event| event.category.as_ref()).map(Category::as_str))
        .bind(event.map(|event| event.scope.as_str()))
        .bind(columns.as_ref().map(|columns| &columns.payload))
        .bind(columns.as_ref().and_then(|columns| columns.attributes.as_ref()))
        .bind(millis(ANNOUNCEMENTS_KEPT))
        .bind(to_i64(ANNOUNCEMENTS_BYTES_MAX as u64))
        .bind(channel)
        .fetch_one(connection)
        .await?;
    if has_room { Ok(()) } else { Err(Failure::TooManyBroadcasts) }
}

async fn latest(connection: &mut PgConnection) -> Result<Position, Failure> {
    Ok(position(sqlx::query_scalar(LATEST_ANNOUNCEMENT).fetch_one(connection).await?))
}

fn position(number: i64) -> Position {
    Position::After(EventId::sequence(from_i64(number)))
}

/// What was announced behind a position; nothing where a row is not understood.
async fn find(
    connection: &mut PgConnection,
    after: Position,
) -> Result<Vec<(Position, Option<Announcement>)>, Failure> {
    let number = to_i64(after.id().map_or(0, EventId::major));
    let query = sqlx::query(FIND_ANNOUNCEMENTS)
        .bind(number)
        .bind(millis(ANNOUNCEMENTS_KEPT))
        .bind(to_i64(ANNOUNCEMENTS_AT_ONCE as u64));
    query
        .fetch_all(connection)
        .await?
        .iter()
        .map(|row| Ok((position(row.try_get(0)?), announcement(row)?)))
        .collect()
}

fn announcement(row: &PgRow) -> Result<Option<Announcement>, Failure> {
    if let Some(user) = row.try_get::<Option<&str>, _>(1)? {
        return Ok(UserId::parse(user).ok().map(Announcement::CloseConnections));
    }
    let event = StoredEvent {
        ts_ms: row.try_get::<Option<i64>, _>(2)?.unwrap_or(0),
        event_type: row.try_get::<Option<&str>, _>(3)?.unwrap_or_default(),
        category: row.try_get(4)?,
        scope: row.try_get(5)?,
        payload: row.try_get::<Option<&str>, _>(6)?.unwrap_or_default(),
        attributes: row.try_get(7)?,
    };
    let number: i64 = row.try_get(0)?;
    let read = event.read().inspect_err(
        |reason| tracing::warn!(number, %reason, "an announcement is no event, and is passed over"),
    );
    Ok(read.ok().map(|event| Announcement::Broadcast(event.into())))
}
