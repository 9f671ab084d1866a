//! Reading users' topics.
//!
//! Invariant: a page and its bounds come from one statement, and so from one moment of the server,
//! at which it took writes: one that was replaced, and may lack what was acknowledged since,
//! answers no read.

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::{
    failure::Failure,
    numbers::{columns_of, from_i64, to_i64},
    stored_event::StoredEvent,
};
use crate::{
    adapters::backend_kit::stored_page::{StoredEntry, StoredPage},
    domain::{
        cursor::Bounds,
        page::PageLimit,
        position::{EventId, Position},
        topic::UserId,
    },
};

/// What both statements begin with: the head, and the oldest entry that is neither over the age
/// limit nor of an earlier incarnation. $1 is the user, $2 the age limit.
macro_rules! extent {
    ($columns:literal, $rest:literal) => {
        concat!(
            "SELECT j.origin_ms, t.last_ms, t.last_n, t.told_ms, t.appended, o.ms, o.n, o.prev_ms, o.prev_n, o.ordinal",
            $columns,
            " FROM (SELECT origin_ms, greatest(origin_ms, now_ms() - $2) AS since_ms FROM journal WHERE require_writable() LIMIT 1) j
            JOIN user_topics t ON t.user_id = $1
            LEFT JOIN LATERAL (
                SELECT ms, n, prev_ms, prev_n, ordinal FROM user_events
                WHERE user_id = $1 AND (ms, n) >= (j.since_ms, 0) ORDER BY ms, n LIMIT 1
            ) o ON true",
            $rest
        )
    };
}

/// The extent of a topic.
pub(super) const BOUNDS: &str = extent!("", "");

/// The extent, and entries behind ($3, $4): at most $5 of them, and no more behind the first that
/// brings what is stored of them over $6 bytes, but for the second, which shows that there is more.
pub(super) const READ: &str = extent!(
    ", e.ms, e.n, e.prev_ms, e.prev_n, e.ts, e.event_type, e.category, e.scope::text, e.payload::text, e.attributes::text",
    " LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT s.*, row_number() OVER w AS nth, sum(s.bytes) OVER w - s.bytes AS bytes_before FROM (
                SELECT *, pg_column_size(payload) + coalesce(pg_column_size(scope), 0) AS bytes FROM user_events
                WHERE user_id = $1 AND (ms, n) > ($3, $4) AND (ms, n) >= (j.since_ms, 0) ORDER BY ms, n LIMIT $5
            ) s WINDOW w AS (ORDER BY s.ms, s.n)
        ) r WHERE r.bytes_before <= $6 OR r.nth <= 2
    ) e ON true ORDER BY e.ms, e.n"
);

/// Gives a topic its head row.
pub(super) const MAKE_KNOWN: &str = "SELECT make_topic_known($1)";
/// The extent of a topic that has no row.
pub(super) const BOUNDS_OF_UNKNOWN: &str = "SELECT origin_ms, origin_ms, 0::bigint, greatest(now_ms(), origin_ms, forgotten_ms), 0::bigint,
    NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint, NULL::bigint FROM journal WHERE require_writable()";

/// A topic as its head row and its oldest entry have it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) bounds: Bounds,
    /// How many entries are retained.
    pub(super) length: u64,
}

/// What was read, and whether there is more: the head of a topic that was ever written to is its
/// last entry.
pub(super) fn page_of(entries: Vec<StoredEntry>, bounds: Bounds) -> StoredPage {
    let more = entries.last().is_some_and(|last| Position::After(last.id) < bounds.head);
    StoredPage { entries, more, bounds }
}

/// The extent of a user's topic.
pub(super) async fn extent(
    connection: &mut PgConnection,
    user: &UserId,
    age_ms: i64,
) -> Result<Extent, Failure> {
    for _ in 0..2 {
        let row = sqlx::query(BOUNDS)
            .bind(user.as_str())
            .bind(age_ms)
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = row {
            return extent_of(&row);
        }
        if let Some(extent) = make_known(connection, user).await? {
            return Ok(extent);
        }
    }
    Err(sqlx::Error::RowNotFound.into())
}

/// A page of a user's topic.
pub(super) async fn page(
    connection: &mut PgConnection,
    user: &UserId,
    age_ms: i64,
    after: Position,
    limit: PageLimit,
) -> Result<StoredPage, Failure> {
    let (after_ms, after_n) = columns_of(after);
    for _ in 0..2 {
        let rows = sqlx::query(READ)
            .bind(user.as_str())
            .bind(age_ms)
            .bind(after_ms)
            .bind(after_n)
            .bind(to_i64(limit.entries_max.max(1) as u64 + 1))
            .bind(to_i64(limit.bytes_max as u64))
            .fetch_all(&mut *connection)
            .await?;
        if let Some(first) = rows.first() {
            let entries = rows
                .iter()
                .filter_map(|row| entry_of(row).transpose())
                .collect::<Result<Vec<_>, _>>()?;
            return Ok(page_of(entries, extent_of(first)?.bounds));
        }
        if let Some(Extent { bounds, .. }) = make_known(connection, user).await? {
            return Ok(page_of(Vec::new(), bounds));
        }
    }
    Err(sqlx::Error::RowNotFound.into())
}

/// Gives a topic its head row. Where the server has no room for it, reading goes on all the same,
/// with the extent that the row would have; that its head holds when the clock steps back as well
/// is not promised then.
async fn make_known(
    connection: &mut PgConnection,
    user: &UserId,
) -> Result<Option<Extent>, Failure> {
    match sqlx::query(MAKE_KNOWN)
        .bind(user.as_str())
        .execute(&mut *connection)
        .await
        .map_err(Failure::from)
    {
        Ok(_) => Ok(None),
        Err(failure) if failure.is_for_want_of_room() => {
            Ok(Some(extent_of(&sqlx::query(BOUNDS_OF_UNKNOWN).fetch_one(connection).await?)?))
        }
        Err(failure) => Err(failure),
    }
}

fn extent_of(row: &PgRow) -> Result<Extent, Failure> {
    let timed = |ms: i64, n: i64| Position::After(EventId::timed(from_i64(ms), from_i64(n)));
    let origin = timed(row.try_get(0)?, 0);
    // A row that is older than the journal's incarnation is as good as none.
    let last = timed(row.try_get(1)?, row.try_get(2)?).max(origin);
    let head = last.max(timed(row.try_get(3)?, 0));
    let appended: i64 = row.try_get(4)?;
    let oldest: Option<(i64, i64)> = row.try_get::<Option<i64>, _>(5)?.zip(row.try_get(6)?);
    let bounds = match oldest {
        None => Bounds { origin, floor: Some(last), oldest: None, head, shares_positions: false },
        Some((ms, n)) => {
            let floor = timed(row.try_get(7)?, row.try_get(8)?).max(origin);
            Bounds {
                origin,
                floor: Some(floor),
                oldest: Some(EventId::timed(from_i64(ms), from_i64(n))),
                head,
                shares_positions: false,
            }
        }
    };
    let length =
        row.try_get::<Option<i64>, _>(9)?.map_or(0, |ordinal| from_i64(appended - ordinal + 1));
    Ok(Extent { bounds, length })
}

/// Nothing where the row holds an extent only.
fn entry_of(row: &PgRow) -> Result<Option<StoredEntry>, Failure> {
    let Some(ms) = row.try_get::<Option<i64>, _>(10)? else { return Ok(None) };
    let timed = |ms: i64, n: i64| EventId::timed(from_i64(ms), from_i64(n));
    let (id, prev) = (timed(ms, row.try_get(11)?), timed(row.try_get(12)?, row.try_get(13)?));
    let event = StoredEvent {
        ts_ms: row.try_get(14)?,
        event_type: row.try_get(15)?,
        category: row.try_get(16)?,
        scope: row.try_get(17)?,
        payload: row.try_get(18)?,
        attributes: row.try_get(19)?,
    };
    Ok(Some(StoredEntry { id, prev: Some(prev.into()), event: event.read() }))
}
