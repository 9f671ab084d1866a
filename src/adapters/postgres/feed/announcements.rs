//! What is told to every process beside entries: events for everybody, and users whose connections are to end.
//!
//! Invariants: an announcement is a row, and its notification carries its number, so its size has no bound of Postgres's;
//! numbers go up in the order of commits, and a process reads on from the last one that it heard, so it hears each once and
//! in order, also where it was cut off meanwhile; what is kept for that is bounded in time and bytes, and who would go
//! beyond the bytes is refused.

use std::time::Duration;

use futures_util::FutureExt;
use sqlx::{PgConnection, Row, postgres::PgRow};
use tokio::time::Instant;

use crate::{
    adapters::{
        backend_kit::signal_queue::SignalQueue,
        postgres::{
            failure::Failure,
            lane::{Lane, Repeat, calling},
            numbers::{millis, to_i64},
            stored_event::StoredEvent,
        },
    },
    domain::{category::Category, event::Event, topic::UserId},
    ports::{backend_error::BackendError, feed::Signal},
};

/// How long an event for everybody is kept for processes that were cut off when it was announced.
pub(in crate::adapters::postgres) const BROADCASTS_KEPT: Duration = Duration::from_mins(1);
/// Most bytes of them.
const BROADCASTS_BYTES_MAX: i64 = 16 * 1024 * 1024;
/// Most announcements that are read together.
const READ_AT_ONCE: usize = 64;
/// How long to wait for room among the signals that wait, before an announcement is tried again.
const ROOM_AWAITED: Duration = Duration::from_millis(5);
/// By how much later than it happened it may be noticed that a process is cut off.
const CUT_OFF_UNNOTICED: Duration = Duration::from_secs(5);

/// Announces, and notifies in the same transaction.
pub(in crate::adapters::postgres) const ANNOUNCE: &str = "SELECT announce($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Announcements behind number $1, at most $3, without events that are older than $2 milliseconds.
pub(in crate::adapters::postgres) const FIND_ANNOUNCEMENTS: &str =
    "SELECT announcement_id, user_id, ts, event_type, category, scope::text, payload::text
    FROM announcements WHERE announcement_id > $1 AND (user_id IS NOT NULL OR announced_ms >= now_ms() - $2)
    ORDER BY announcement_id LIMIT $3";

/// The number of the latest announcement.
pub(in crate::adapters::postgres) const LATEST_ANNOUNCEMENT: &str = "SELECT coalesce(max(announcement_id), 0) FROM announcements";

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
    let has_room: bool = sqlx::query_scalar(ANNOUNCE)
        .bind(user.map(UserId::as_str))
        .bind(event.map(|event| to_i64(event.ts.as_ms())))
        .bind(event.map(|event| event.event_type.as_str()))
        .bind(event.and_then(|event| event.category.as_ref()).map(Category::as_str))
        .bind(event.map(|event| event.scope.as_str()))
        .bind(event.map(|event| event.payload.as_str()))
        .bind(millis(BROADCASTS_KEPT))
        .bind(BROADCASTS_BYTES_MAX)
        .bind(channel)
        .fetch_one(connection)
        .await?;
    if has_room { Ok(()) } else { Err(Failure::TooManyBroadcasts) }
}

/// What a process has heard of announcements.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// The number of the last one that was heard; nothing until it has listened once.
    heard: Option<i64>,
    /// Since when it hears nothing.
    cut_off_since: Option<Instant>,
}

impl Hearing {
    /// The connection that listened is lost.
    pub(super) fn cut_off(&mut self) {
        self.cut_off_since.get_or_insert_with(Instant::now);
    }

    /// Begins to listen, on a connection that does; `false` if it had begun before. What was announced before the first time is
    /// not for this process.
    pub(super) async fn begin(&mut self, connection: &mut PgConnection) -> Result<bool, Failure> {
        if self.heard.is_some() {
            return Ok(false);
        }
        self.heard = Some(sqlx::query_scalar(LATEST_ANNOUNCEMENT).fetch_one(connection).await?);
        self.cut_off_since = None;
        Ok(true)
    }

    /// Reads on from the last announcement that was heard.
    pub(super) async fn read_on(&mut self, reads: &Lane, queue: &SignalQueue) -> Result<(), BackendError> {
        loop {
            let behind = self.heard.unwrap_or(0);
            let read = calling(|connection| async move { find(connection, behind).await }.boxed());
            let announced = reads.call("reading announcements", Repeat::Harmless, read).await?;
            let is_last = announced.len() < READ_AT_ONCE;
            for (number, signal) in announced {
                // Unlike what a topic has grown by, an announcement is in no journal that could be read instead.
                while signal.as_ref().is_some_and(|signal| !queue.tell(signal.clone())) {
                    tokio::time::sleep(ROOM_AWAITED).await;
                }
                self.heard = Some(number);
            }
            if is_last {
                break;
            }
        }
        if let Some(since) = self.cut_off_since.take()
            && since.elapsed() + CUT_OFF_UNNOTICED > BROADCASTS_KEPT
        {
            let seconds = since.elapsed().as_secs();
            tracing::warn!(seconds, "the feed was cut off for so long that events for everybody may have been missed here");
        }
        Ok(())
    }
}

/// What was announced behind a number, as signals with their numbers; none where one makes no sense.
async fn find(connection: &mut PgConnection, behind: i64) -> Result<Vec<(i64, Option<Signal>)>, Failure> {
    let query = sqlx::query(FIND_ANNOUNCEMENTS).bind(behind).bind(millis(BROADCASTS_KEPT)).bind(to_i64(READ_AT_ONCE as u64));
    query.fetch_all(connection).await?.iter().map(|row| Ok((row.try_get(0)?, signal(row)?))).collect()
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
