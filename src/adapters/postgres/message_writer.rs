//! Appends to messages, written together.
//!
//! Invariant: rows are locked in the order of their messages' ids, judged under their locks, and
//! written in one transaction, whose notification goes out with its commit.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::FutureExt;
use sqlx::{Connection, PgConnection};
use uuid::Uuid;

use super::{
    connection_pool::{ConnectionPool, Repeat, calling},
    failure::Failure,
    hint::Hint,
    message_batch::{AppendAnswer, Changes, Found, MessageJob, Questions, append_jobs, questions},
    message_key::MessageKey,
    message_rows::{self, hour},
    numbers::{millis, to_i64},
    stored_event::EventColumns,
};
use crate::{
    adapters::backend_kit::group_commit::{Job, Write},
    domain::{
        idempotency_key::IdempotencyKey,
        topic::{MessageId, Topic},
    },
    ports::backend_error::BackendError,
};

/// The numbers that keys got.
pub(super) const FIND_MESSAGE_KEYS: &str = "SELECT k.message_id, k.key, k.sequence_no
    FROM unnest($1::uuid[], $2::text[]) AS q(message_id, key)
    JOIN message_keys k ON k.message_id = q.message_id AND k.key = q.key AND k.seen_ms > now_ms() - $3";

/// The events that have these numbers.
pub(super) const FIND_MESSAGE_EVENTS: &str =
    "SELECT e.message_id, e.sequence_no, e.event_type, e.payload::text, e.attributes::text
    FROM unnest($1::uuid[], $2::integer[]) AS q(message_id, sequence_no)
    JOIN message_events e ON e.message_id = q.message_id AND e.sequence_no = q.sequence_no";

/// Writes events, their keys and their messages' rows, and notifies of them.
pub(super) const WRITE_MESSAGES: &str = "WITH events AS (
        INSERT INTO message_events (message_id, sequence_no, event_type, payload, created_at, attributes)
        SELECT e.message_id, e.sequence_no, e.event_type, e.payload::json, timestamptz 'epoch' + e.ts_ms * interval '1 millisecond',
            e.attributes::json
        FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $16::text[])
            AS e(message_id, sequence_no, event_type, payload, ts_ms, attributes)
    ), keys AS (
        INSERT INTO message_keys (message_id, key, sequence_no, seen_ms)
        SELECT e.message_id, e.key, e.sequence_no, $7
        FROM unnest($1::uuid[], $6::text[], $2::integer[]) AS e(message_id, key, sequence_no) WHERE e.key IS NOT NULL
        ON CONFLICT (message_id, key) DO UPDATE SET sequence_no = excluded.sequence_no, seen_ms = excluded.seen_ms
    ), heads AS (
        UPDATE messages m SET next_sequence_no = h.next_sequence_no, end_type = h.end_type, ended_ms = h.ended_ms,
            producer_seen_ms = h.producer_seen_ms, producer_seen_hour = h.producer_seen_hour
        FROM unnest($8::uuid[], $9::integer[], $10::text[], $11::bigint[], $12::bigint[], $13::integer[])
            AS h(message_id, next_sequence_no, end_type, ended_ms, producer_seen_ms, producer_seen_hour)
        WHERE m.message_id = h.message_id
    ) SELECT pg_notify($14, $15)";

/// The last millisecond of the year 9999, beyond which timestamps have no common form.
const TS_MS_MAX: i64 = 253_402_300_799_999;

impl Job for MessageJob {
    type Answer = Vec<AppendAnswer>;

    fn size(&self) -> (usize, usize) {
        (self.batch.len(), self.batch.iter().map(|append| append.event.cost_bytes()).sum())
    }
}

/// Writes batches of messages' events.
pub(super) struct MessageWriter {
    pub(super) pool: ConnectionPool,
    pub(super) channel: String,
    pub(super) idempotency_window: Duration,
}

#[async_trait]
impl Write<MessageJob> for MessageWriter {
    async fn write(&self, jobs: &[MessageJob]) -> Result<Vec<Vec<AppendAnswer>>, BackendError> {
        let jobs: Arc<[MessageJob]> = jobs.into();
        let write = calling(|connection| {
            let (jobs, channel, window_ms) =
                (Arc::clone(&jobs), self.channel.clone(), millis(self.idempotency_window));
            async move { write(connection, &jobs, &channel, window_ms).await }.boxed()
        });
        self.pool.call("appending to messages", Repeat::Harmful, write).await
    }
}

async fn write(
    connection: &mut PgConnection,
    jobs: &[MessageJob],
    channel: &str,
    window_ms: i64,
) -> Result<Vec<Vec<AppendAnswer>>, Failure> {
    let ids: BTreeSet<MessageId> = jobs.iter().map(|job| job.id.clone()).collect();
    let mut transaction = connection.begin().await?;
    let stored = message_rows::lock(&mut transaction, &ids).await?;
    let now = stored.iter().map(|stored| stored.now).max().unwrap_or_default();
    let messages = stored.into_iter().map(|stored| (stored.id, stored.message)).collect();
    let Questions { keys, numbers } = questions(jobs, &messages);
    let mut found = Found { now, messages, ..Found::default() };
    if !keys.is_empty() {
        found.keys = find_keys(&mut transaction, keys, window_ms).await?;
    }
    if !numbers.is_empty() {
        found.taken = find_events(&mut transaction, &numbers).await?;
    }
    let (answers, changes) = append_jobs(jobs, found);
    if !changes.events.is_empty() {
        write_changes(&mut transaction, &changes, to_i64(now.as_ms()), channel).await?;
    }
    transaction.commit().await?;
    Ok(answers)
}

async fn find_keys(
    connection: &mut PgConnection,
    keys: Vec<(MessageId, IdempotencyKey)>,
    window_ms: i64,
) -> Result<HashMap<(MessageId, IdempotencyKey), u64>, Failure> {
    let (ids, texts): (Vec<Uuid>, Vec<&str>) =
        keys.iter().map(|(id, key)| (MessageKey::of(id).uuid, key.as_str())).unzip();
    let rows: Vec<(Uuid, String, i32)> = sqlx::query_as(FIND_MESSAGE_KEYS)
        .bind(ids)
        .bind(texts)
        .bind(window_ms)
        .fetch_all(connection)
        .await?;
    let numbers: HashMap<(Uuid, String), i32> =
        rows.into_iter().map(|(id, key, number)| ((id, key), number)).collect();
    let known = keys.into_iter().filter_map(|(id, key)| {
        let number = *numbers.get(&(MessageKey::of(&id).uuid, key.as_str().to_owned()))?;
        Some(((id, key), u64::try_from(number).ok()?))
    });
    Ok(known.collect())
}

async fn find_events(
    connection: &mut PgConnection,
    numbers: &[(MessageId, u64)],
) -> Result<HashMap<(MessageId, u64), EventColumns>, Failure> {
    // Their rows are locked, so each UUID is that of one id.
    let ids: HashMap<Uuid, &MessageId> =
        numbers.iter().map(|(id, _)| (MessageKey::of(id).uuid, id)).collect();
    let (uuids, numbers): (Vec<Uuid>, Vec<i32>) = numbers
        .iter()
        .filter_map(|(id, number)| Some((MessageKey::of(id).uuid, i32::try_from(*number).ok()?)))
        .unzip();
    let rows: Vec<(Uuid, i32, String, String, Option<String>)> =
        sqlx::query_as(FIND_MESSAGE_EVENTS).bind(uuids).bind(numbers).fetch_all(connection).await?;
    let events = rows.into_iter().filter_map(|(uuid, number, event_type, payload, attributes)| {
        let id = (*ids.get(&uuid)?).clone();
        let columns = EventColumns { event_type, payload, attributes };
        Some(((id, u64::try_from(number).ok()?), columns))
    });
    Ok(events.collect())
}

async fn write_changes(
    connection: &mut PgConnection,
    changes: &Changes,
    now_ms: i64,
    channel: &str,
) -> Result<(), Failure> {
    let number = |number: u64| i32::try_from(number).unwrap_or(i32::MAX);
    let (events, messages) = (&changes.events, &changes.messages);
    let topics: Vec<Topic> = messages.keys().cloned().map(Topic::Message).collect();
    sqlx::query(WRITE_MESSAGES)
        .bind(events.iter().map(|new| MessageKey::of(&new.id).uuid).collect::<Vec<_>>())
        .bind(events.iter().map(|new| number(new.sequence_no)).collect::<Vec<_>>())
        .bind(events.iter().map(|new| &new.columns.event_type).collect::<Vec<_>>())
        .bind(events.iter().map(|new| &new.columns.payload).collect::<Vec<_>>())
        .bind(events.iter().map(|new| to_i64(new.ts.as_ms()).min(TS_MS_MAX)).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|new| new.key.as_ref().map(|key| key.as_str().to_owned()))
                .collect::<Vec<_>>(),
        )
        .bind(now_ms)
        .bind(MessageKey::columns(messages.keys()).0)
        .bind(messages.values().map(|message| number(message.next_sequence_no)).collect::<Vec<_>>())
        .bind(
            messages
                .values()
                .map(|message| message.end.map(|end| end.terminal.as_str()))
                .collect::<Vec<_>>(),
        )
        .bind(
            messages
                .values()
                .map(|message| message.end.map(|end| to_i64(end.at.as_ms())))
                .collect::<Vec<_>>(),
        )
        .bind(
            messages
                .values()
                .map(|message| to_i64(message.producer_seen_at.as_ms()))
                .collect::<Vec<_>>(),
        )
        .bind(messages.values().map(|message| hour(message.producer_seen_at)).collect::<Vec<_>>())
        .bind(channel)
        .bind(Hint::grown(&topics).text())
        .bind(events.iter().map(|new| &new.columns.attributes).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
