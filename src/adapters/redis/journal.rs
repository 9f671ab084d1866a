//! User events in streams, and the part that messages share with them: reading.
//!
//! Invariants: what decides over an append or a read happens in one script; reads have a connection
//! of their own and are bounded in number, so that a burst of clients that come back does not hold
//! up who publishes.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use redis::Value;

use super::{
    client::CALL_TIMEOUT,
    connection::Connection,
    failure::{Cause, about, malformed_reply},
    hints::Hints,
    keys::Keys,
    primary::write_nothing,
    scripts::{APPEND, LENGTH, READ},
    stored_entry::{Raw, id_of, stored},
    stream_life,
};
use crate::{
    adapters::backend_kit::{
        BackendContext,
        permits::{CallPermits, Failed},
        stored_event,
        stored_page::{StoredPage, read_page},
    },
    domain::{
        cursor::Bounds,
        idempotency_key::IdempotencyKey,
        page::{Page, PageLimit},
        position::{EventId, Position},
        timestamp::millis,
        topic::{Topic, USER_ID_BYTES_MAX, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        journal::{Append, Appended, Journal},
        tasks::Task,
        topic_log::TopicLog,
    },
};

/// Most reads at the same time; the others wait for their turn.
const READS_AT_ONCE: usize = 64;
/// For how long the driver may send a command once more: longer than a call may take.
const ATTEMPT_KNOWN: Duration = Duration::from_secs(10);
/// What an envelope has beside what [`crate::domain::event::Event::cost_bytes`] counts, in bytes,
/// at most.
const ENVELOPE_BYTES_MAX: usize = 512 + 4 * USER_ID_BYTES_MAX;

/// User events and messages in Redis.
pub(super) struct RedisJournal {
    pub(super) appends: Arc<Connection>,
    reads: Arc<Connection>,
    read_permits: CallPermits,
    /// It ends with this.
    _checks: Task,
    pub(super) keys: Arc<Keys>,
    hints: Arc<Hints>,
    pub(super) context: BackendContext,
}

/// What `read.lua` answers: entries of a stream, and how far it reaches at the same moment.
struct Extent {
    /// The server's time.
    now_ms: u64,
    /// When the journal was made.
    origin_ms: u64,
    /// The last id that the stream ever had.
    last: Option<String>,
    /// The oldest id that it retains.
    oldest: Option<String>,
    /// The id before that one, where it is known.
    before: Option<String>,
    /// Whether it is known that no entry was ever removed.
    untrimmed: bool,
    /// Whether there are more entries behind these.
    more: bool,
    entries: Vec<Raw>,
}

impl redis::FromRedisValue for Extent {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let (now_ms, origin_ms, last, oldest, before, untrimmed, more, entries) =
            redis::from_redis_value(value)?;
        let (untrimmed, more): (u8, u8) = (untrimmed, more);
        let FlatEntries(entries) = entries;
        let (untrimmed, more) = (untrimmed == 1, more == 1);
        Ok(Self { now_ms, origin_ms, last, oldest, before, untrimmed, more, entries })
    }
}

impl RedisJournal {
    pub(super) fn new(
        appends: Arc<Connection>,
        reads: Arc<Connection>,
        keys: Arc<Keys>,
        hints: Arc<Hints>,
        context: BackendContext,
        checks: Task,
    ) -> Self {
        Self {
            appends,
            reads,
            read_permits: CallPermits::new(READS_AT_ONCE, CALL_TIMEOUT),
            keys,
            hints,
            context,
            _checks: checks,
        }
    }

    fn stream_life_ms(&self) -> u64 {
        stream_life(self.context.retention).map_or(0, millis)
    }

    async fn append_group(
        &self,
        group: &[(usize, Append)],
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        let Some((_, first)) = group.first() else { return Ok(Vec::new()) };
        let topic = Topic::User(first.user.clone());
        let mut keys = vec![
            self.keys.origin(&topic),
            self.keys.clock(&topic),
            self.keys.users_by_newest_entry(&topic),
        ];
        let mut arguments = vec![
            self.context.retention.stream_maxlen.to_string(),
            self.stream_life_ms().to_string(),
            self.keys.database_mark(),
        ];
        for (_, Append { user, event, idempotency_key }) in group {
            let topic = &Topic::User(user.clone());
            let (key, known) = match idempotency_key {
                Some(key) => (Some(key.clone()), self.context.retention.idempotency_window),
                None => (self.key_of_attempt(), ATTEMPT_KNOWN),
            };
            let stream = self.keys.stream(topic);
            keys.push(stream.clone());
            keys.push(key.as_ref().map_or(stream, |key| self.keys.idempotency(topic, key)));
            arguments.push(Keys::index_member(topic));
            arguments.push(self.keys.channel(topic));
            arguments.push(stored_event::encode(topic, event));
            arguments.push(key.map_or(0, |_| millis(known)).to_string());
        }
        let ids: Vec<String> =
            self.appends.run("append to the stream", &APPEND, &keys, &arguments).await?;
        if ids.len() != group.len() {
            return Err(malformed_reply());
        }
        Ok(group.iter().zip(&ids).map(|((_, append), answer)| answer_for(append, answer)).collect())
    }

    /// The driver sends a command to a cluster once more when a connection breaks under it; the key
    /// of an attempt keeps that from appending twice.
    fn key_of_attempt(&self) -> Option<IdempotencyKey> {
        let attempt = || IdempotencyKey::parse(&self.context.entropy.uuid().to_string()).ok();
        matches!(*self.appends, Connection::Cluster(_)).then(attempt).flatten()
    }

    /// What stands behind a position; without a limit only the bounds.
    async fn read_stream(
        &self,
        topic: &Topic,
        after: Position,
        limit: Option<PageLimit>,
    ) -> Result<StoredPage, BackendError> {
        let age_ms = match topic {
            Topic::User(_) => self.context.retention.replay_max_age.map_or(0, millis),
            Topic::Message(_) => 0,
        };
        let (after, after_ms) = stream_position(topic, after);
        let limit_entries = limit.map_or(0, |limit| limit.entries_max.max(1));
        let bytes_max = limit.map_or(0, |limit| limit.bytes_max);
        let numbers =
            [after_ms, age_ms, limit_entries as u64, bytes_max as u64, ENVELOPE_BYTES_MAX as u64]
                .map(|number| number.to_string());
        let arguments: Vec<String> =
            std::iter::once(after).chain(numbers).chain([Keys::index_member(topic)]).collect();
        let keys = [
            self.keys.stream(topic),
            self.keys.origin(topic),
            self.keys.clock(topic),
            self.keys.users_by_newest_entry(topic),
        ];
        let late = || BackendError::new(BackendErrorKind::Timeout, "read the stream in time");
        let read = || async {
            self.reads
                .run("read the stream", &READ, &keys, &arguments)
                .await
                .map_err(Failed::ForGood)
        };
        let extent: Extent = self.read_permits.call(late, read).await.map_err(about(topic))?;
        let bounds = self.bounds_of(topic, &extent).ok_or_else(malformed_reply)?;
        Ok(StoredPage {
            entries: stored(topic, extent.entries, &self.context.registry).collect(),
            more: extent.more,
            bounds,
        })
    }

    fn bounds_of(&self, topic: &Topic, extent: &Extent) -> Option<Bounds> {
        let Extent { now_ms, origin_ms, last, oldest, before, untrimmed, .. } = extent;
        let position = |id: &Option<String>| {
            id.as_ref().map(|id| id_of(topic, id)).map_or(Some(None), |id| id.map(Some))
        };
        let (last, oldest) = (position(last)?, position(oldest)?);
        if let Topic::Message(_) = topic {
            return Some(Bounds::of_message(last.map_or(0, |last| last.major() + 1)));
        }
        let origin = at_ms(*origin_ms);
        // What was appended before this had a stream that is still there.
        let quiet_since = match self.stream_life_ms() {
            0 => origin,
            life_ms => origin.max(at_ms(now_ms.saturating_sub(life_ms))),
        };
        let Some(last) = last else {
            let head = origin.max(at_ms(now_ms.saturating_sub(1)));
            return Some(Bounds {
                origin,
                floor: Some(quiet_since),
                oldest: None,
                head,
                shares_positions: false,
            });
        };
        let head = Position::After(last);
        let floor = match (
            oldest,
            before.as_ref().and_then(|before| before.parse().ok()).map(Position::After),
        ) {
            (None, _) => Some(head),
            (Some(_), Some(before)) => Some(before),
            (Some(oldest), None) if *untrimmed => Some(quiet_since.min(Position::before(oldest))),
            (Some(_), None) => None,
        };
        // A stream that is older than our origin was not wiped.
        let origin = origin.min(floor.or(oldest.map(Position::before)).unwrap_or(head));
        Some(Bounds { origin, floor, oldest, head, shares_positions: false })
    }
}

/// Entries as `read.lua` lists them: three values each.
struct FlatEntries(Vec<Raw>);

impl redis::FromRedisValue for FlatEntries {
    fn from_redis_value(value: Value) -> Result<Self, redis::ParsingError> {
        let values: Vec<Option<Vec<u8>>> = redis::from_redis_value(value)?;
        let text = |value: Option<Vec<u8>>| value.and_then(|value| String::from_utf8(value).ok());
        let mut values = values.into_iter();
        let mut entries = Vec::with_capacity(values.len() / 3);
        while let (Some(id), Some(envelope), Some(prev)) =
            (values.next(), values.next(), values.next())
        {
            entries.push((text(id).unwrap_or_default(), envelope, text(prev)));
        }
        Ok(Self(entries))
    }
}

/// What `append.lua` answers for one event.
fn answer_for(append: &Append, answer: &str) -> Result<Appended, BackendError> {
    const CONTEXT: &str = "append to the stream";
    if let Some(error) = answer.strip_prefix('!') {
        return Err(BackendError::damaged(
            CONTEXT,
            Topic::User(append.user.clone()),
            format!("{} ({error})", Cause::Damaged.advice()),
        ));
    }
    let first = answer.strip_prefix('=');
    match first.unwrap_or(answer).parse() {
        Ok(id) => {
            Ok(Appended { id, duplicate: first.is_some() && append.idempotency_key.is_some() })
        }
        Err(_) => Err(BackendError::damaged(
            CONTEXT,
            Topic::User(append.user.clone()),
            "what its idempotency key holds is no event id: remove that key",
        )),
    }
}

/// A position as the stream knows it, and its milliseconds.
fn stream_position(topic: &Topic, position: Position) -> (String, u64) {
    let Some(id) = position.id() else { return (String::new(), 0) };
    let (major, minor) = match topic {
        Topic::User(_) => (id.major(), id.minor().unwrap_or(0)),
        Topic::Message(_) => (id.major().saturating_add(1), 0),
    };
    // Behind the very last id that can be written Redis refuses to look.
    let minor = if major == u64::MAX { minor.min(u64::MAX - 1) } else { minor };
    (format!("{major}-{minor}"), major)
}

fn at_ms(ms: u64) -> Position {
    Position::After(EventId::timed(ms, 0))
}

#[async_trait]
impl TopicLog for RedisJournal {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let expected = self.hints.expected(topic);
        let page = read_page(topic, after, limit, &self.context.on_malformed, |from| {
            self.read_stream(topic, from, Some(limit))
        })
        .await?;
        if let Some(expected) = expected {
            self.hints.was_read(topic, expected, &page.bounds);
        }
        Ok(page)
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        Ok(self.read_stream(topic, Position::Start, None).await?.bounds)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.appends
            .send("ask whether events can be written", &write_nothing(&self.keys.probe()))
            .await
            .map(|_: redis::Value| ())
    }
}

#[async_trait]
impl Journal for RedisJournal {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        let mut groups: HashMap<_, Vec<(usize, Append)>> = HashMap::new();
        let count = batch.len();
        for (place, append) in batch.into_iter().enumerate() {
            groups
                .entry(self.keys.group(&Topic::User(append.user.clone())))
                .or_default()
                .push((place, append));
        }
        let mut appended: Vec<Option<Result<Appended, BackendError>>> =
            (0..count).map(|_| None).collect();
        let calls = groups.values().map(|group| self.append_group(group));
        for (group, answer) in groups.values().zip(futures_util::future::join_all(calls).await) {
            for ((place, _), answer) in group.iter().zip(answer?) {
                appended[*place] = Some(answer);
            }
        }
        appended.into_iter().collect::<Option<Vec<_>>>().ok_or_else(malformed_reply)
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        let topic = &Topic::User(user.clone());
        let age_ms = self.context.retention.replay_max_age.map_or(0, millis).to_string();
        self.reads
            .run("count the stream", &LENGTH, &[self.keys.stream(topic)], &[age_ms])
            .await
            .map_err(about(topic))
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        let topic = &Topic::User(user.clone());
        // The emptied stream stays, since it knows its last id.
        let mut trim = redis::cmd("XTRIM");
        trim.arg(self.keys.stream(topic)).arg("MAXLEN").arg(0);
        self.appends.send::<u64>("purge the stream", &trim).await.map(drop).map_err(about(topic))
    }
}
