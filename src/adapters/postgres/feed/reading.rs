//! What a feed reads: heads of topics that begin to be watched, and entries of topics that have
//! grown.
//!
//! Invariant: one statement serves many topics, and what it brings is bounded; a large event is not
//! brought, only that it is there.

use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::{
    adapters::{
        backend_kit::stored_page::StoredEntry,
        postgres::{
            failure::Failure,
            message_key::MessageKey,
            message_reading::{bounds_before, entry, message_event, number_of},
            numbers::{columns_of, from_i64, to_i64},
            stored_event::StoredEvent,
        },
    },
    domain::{
        event::Entry,
        position::{EventId, Position},
        topic::Topic,
    },
};

/// Most topics of one statement.
pub(super) const TOPICS_AT_ONCE: usize = 64;
/// A topic that has grown by so many is not read here: whoever listens reads it in pages, at its
/// own pace.
const ENTRIES_MAX: i64 = 32;
/// An event that costs more is not kept for who listens: that it is there is enough, and the
/// journal is read.
const EVENT_BYTES_MAX: i32 = 16 * 1024;

/// The heads of users' topics.
pub(in crate::adapters::postgres) const FEED_USER_HEADS: &str =
    "SELECT w.place, t.last_ms, t.last_n FROM unnest($1::text[]) WITH ORDINALITY AS w(user_id, place)
    CROSS JOIN LATERAL (SELECT last_ms, last_n FROM user_topics WHERE user_id = w.user_id LIMIT 1) t WHERE require_writable()";
/// The heads of messages.
pub(in crate::adapters::postgres) const FEED_MESSAGE_HEADS: &str =
    "SELECT w.place, m.next_sequence_no FROM unnest($1::uuid[], $2::text[]) WITH ORDINALITY AS w(message_id, id_text, place)
    CROSS JOIN LATERAL (
        SELECT next_sequence_no FROM messages WHERE message_id = w.message_id AND id_text IS NOT DISTINCT FROM w.id_text LIMIT 1
    ) m";
/// Entries of users' topics behind their positions: at most $4 of each, without payloads that take
/// more than $5 bytes.
pub(in crate::adapters::postgres) const FEED_USER_EVENTS: &str =
    "SELECT w.place, e.ms, e.n, e.prev_ms, e.prev_n, e.ts, e.event_type, e.category, e.scope::text, e.attributes::text,
        CASE WHEN e.bytes <= $5 THEN e.payload::text END
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS w(user_id, ms, n, place)
    CROSS JOIN LATERAL (
        SELECT *, pg_column_size(payload) + coalesce(pg_column_size(scope), 0) AS bytes FROM user_events
        WHERE user_id = w.user_id AND (ms, n) > (w.ms, w.n) ORDER BY ms, n LIMIT $4
    ) e ORDER BY w.place, e.ms, e.n";
/// The same of messages.
pub(in crate::adapters::postgres) const FEED_MESSAGE_EVENTS: &str =
    "SELECT w.place, e.sequence_no, e.event_type, round(extract(epoch FROM e.created_at) * 1000)::bigint,
        CASE WHEN pg_column_size(e.payload) <= $4 THEN e.payload::text END, e.attributes::text
    FROM unnest($1::uuid[], $2::integer[], $5::text[]) WITH ORDINALITY AS w(message_id, sequence_no, id_text, place)
    JOIN messages m ON m.message_id = w.message_id AND m.id_text IS NOT DISTINCT FROM w.id_text
    CROSS JOIN LATERAL (
        SELECT sequence_no, event_type, created_at, payload, attributes FROM message_events
        WHERE message_id = w.message_id AND sequence_no > w.sequence_no ORDER BY sequence_no LIMIT $3
    ) e ORDER BY w.place, e.sequence_no";

/// What a topic has grown by.
#[derive(Debug)]
pub(super) struct Growth {
    pub(super) topic: Topic,
    /// How far that goes.
    pub(super) to: Position,
    /// The one entry that it is; nothing where the journal has to be read: for a large entry, or
    /// for many.
    pub(super) entry: Option<Entry>,
}

/// An entry as it was read; nothing where it is large, or makes no sense.
type Read = (EventId, Option<Entry>);

/// A malformed entry is left to the reader of the journal, which reports it.
fn small(StoredEntry { id, prev, event }: StoredEntry) -> Option<Entry> {
    let event = event.ok().filter(|event| {
        i32::try_from(event.cost_bytes()).is_ok_and(|bytes| bytes <= EVENT_BYTES_MAX)
    })?;
    Some(Entry { id, prev, event: event.into() })
}

/// The topics of each channel, with the place that each came from.
struct Split {
    users: Vec<(usize, String, Position)>,
    messages: Vec<(usize, MessageKey, Position)>,
}

impl Split {
    fn of<'a>(topics: impl Iterator<Item = (&'a Topic, Position)>) -> Self {
        let mut split = Self { users: Vec::new(), messages: Vec::new() };
        for (place, (topic, position)) in topics.enumerate() {
            match topic {
                Topic::User(user) => split.users.push((place, user.as_str().to_owned(), position)),
                Topic::Message(id) => {
                    split.messages.push((place, MessageKey::of(id), position));
                }
            }
        }
        split
    }
}

/// Postgres counts from 1.
fn place<T>(of: &[(usize, T, Position)], told: i64) -> Result<usize, Failure> {
    let found = usize::try_from(told - 1).ok().and_then(|index| of.get(index));
    found
        .map(|(place, ..)| *place)
        .ok_or(Failure::Unexpected("an entry of a topic that was not asked for"))
}

/// The heads of topics, each in its place; a topic that is not known yet is at its start.
pub(super) async fn heads(
    connection: &mut PgConnection,
    topics: &[Topic],
) -> Result<Vec<Position>, Failure> {
    let split = Split::of(topics.iter().map(|topic| (topic, Position::Start)));
    let mut heads = vec![Position::Start; topics.len()];
    let ids: Vec<&str> = split.users.iter().map(|(_, id, _)| id.as_str()).collect();
    // Also where no user's topic is asked for: who asks wants to know that the connection lives,
    // and leads to the primary.
    let rows: Vec<(i64, Option<i64>, Option<i64>)> =
        sqlx::query_as(FEED_USER_HEADS).bind(ids).fetch_all(&mut *connection).await?;
    for (told, ms, n) in rows {
        // A row without a head is damaged, which readers of its topic learn; the others are not to
        // suffer by it.
        if let Some((ms, n)) = ms.zip(n) {
            heads[place(&split.users, told)?] = EventId::timed(from_i64(ms), from_i64(n)).into();
        }
    }
    if !split.messages.is_empty() {
        let keys = split.messages.iter().map(|(_, key, _)| (key.uuid, key.text.as_deref()));
        let (uuids, texts): (Vec<Uuid>, Vec<Option<&str>>) = keys.unzip();
        let query = sqlx::query_as(FEED_MESSAGE_HEADS).bind(uuids).bind(texts);
        let rows: Vec<(i64, i32)> = query.fetch_all(connection).await?;
        for (told, next) in rows {
            heads[place(&split.messages, told)?] = bounds_before(next).head;
        }
    }
    Ok(heads)
}

/// What lies behind positions of topics, in the order of each topic.
pub(super) async fn growth(
    connection: &mut PgConnection,
    topics: &[(Topic, Position)],
) -> Result<Vec<Growth>, Failure> {
    let split = Split::of(topics.iter().map(|(topic, position)| (topic, *position)));
    let mut read: Vec<Vec<Read>> = topics.iter().map(|_| Vec::new()).collect();
    read_users(connection, &split.users, &mut read).await?;
    read_messages(connection, &split.messages, &mut read).await?;
    let (few, many): (Vec<_>, Vec<_>) =
        topics.iter().zip(read).partition(|(_, read)| to_i64(read.len() as u64) < ENTRIES_MAX);
    let mut growth: Vec<Growth> = few
        .into_iter()
        .flat_map(|((topic, _), read)| {
            read.into_iter().map(|(id, entry)| Growth {
                topic: topic.clone(),
                to: id.into(),
                entry,
            })
        })
        .collect();
    if !many.is_empty() {
        let many: Vec<Topic> = many.into_iter().map(|((topic, _), _)| topic.clone()).collect();
        let heads = heads(connection, &many).await?;
        growth.extend(many.into_iter().zip(heads).map(|(topic, to)| Growth {
            topic,
            to,
            entry: None,
        }));
    }
    Ok(growth)
}

async fn read_users(
    connection: &mut PgConnection,
    users: &[(usize, String, Position)],
    read: &mut [Vec<Read>],
) -> Result<(), Failure> {
    if users.is_empty() {
        return Ok(());
    }
    let ids: Vec<&str> = users.iter().map(|(_, id, _)| id.as_str()).collect();
    let (ms, n): (Vec<i64>, Vec<i64>) =
        users.iter().map(|(.., position)| columns_of(*position)).unzip();
    let query = sqlx::query(FEED_USER_EVENTS)
        .bind(ids)
        .bind(ms)
        .bind(n)
        .bind(ENTRIES_MAX)
        .bind(EVENT_BYTES_MAX);
    for row in query.fetch_all(connection).await? {
        read[place(users, row.try_get(0)?)?].push(read_of_user(&row)?);
    }
    Ok(())
}

/// Place, number, type, time, payload if it is small, attributes.
type MessageEventRow = (i64, i32, String, i64, Option<String>, Option<String>);

async fn read_messages(
    connection: &mut PgConnection,
    messages: &[(usize, MessageKey, Position)],
    read: &mut [Vec<Read>],
) -> Result<(), Failure> {
    if messages.is_empty() {
        return Ok(());
    }
    let (ids, numbers): (Vec<Uuid>, Vec<i32>) =
        messages.iter().map(|(_, key, position)| (key.uuid, number_of(*position))).unzip();
    let texts: Vec<Option<&str>> = messages.iter().map(|(_, key, _)| key.text.as_deref()).collect();
    let query = sqlx::query_as(FEED_MESSAGE_EVENTS)
        .bind(ids)
        .bind(numbers)
        .bind(ENTRIES_MAX)
        .bind(EVENT_BYTES_MAX)
        .bind(texts);
    let rows: Vec<MessageEventRow> = query.fetch_all(connection).await?;
    for (told, number, event_type, ts_ms, payload, attributes) in rows {
        let number = u64::try_from(number).unwrap_or(0);
        let entry = payload.and_then(|payload| {
            let event = message_event(&event_type, &payload, attributes.as_deref(), ts_ms);
            small(entry(number, &event))
        });
        read[place(messages, told)?].push((EventId::sequence(number), entry));
    }
    Ok(())
}

fn read_of_user(row: &PgRow) -> Result<Read, Failure> {
    let timed = |ms: i64, n: i64| EventId::timed(from_i64(ms), from_i64(n));
    let (id, prev) =
        (timed(row.try_get(1)?, row.try_get(2)?), timed(row.try_get(3)?, row.try_get(4)?));
    let Some(payload) = row.try_get::<Option<&str>, _>(10)? else { return Ok((id, None)) };
    let event = StoredEvent {
        ts_ms: row.try_get(5)?,
        event_type: row.try_get(6)?,
        category: row.try_get(7)?,
        scope: row.try_get(8)?,
        payload,
        attributes: row.try_get(9)?,
    };
    Ok((id, small(StoredEntry { id, prev: Some(prev.into()), event: event.read() })))
}
