//! Users' topics on disk.
//!
//! Invariants: an entry's `prev` is the entry before it, so that a page whose entries don't follow
//! each other is damage and no answer; ids follow a clock that never goes back, over restarts too,
//! as far as anything was written.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;

use super::{
    blocking::{CALL_TIMEOUT, with_store},
    failure::{Damage, Failure},
    keys::{self, Common, TopicRow},
    rows::{Draft, Row, Rows},
    store::Store,
    stored_message::message_bounds,
};
use crate::{
    adapters::backend_kit::{
        BackendContext, Retention,
        feed::local::Listeners,
        group_commit::{GroupCommit, Job, Write},
        stored_event,
    },
    domain::{
        category::Registry,
        cursor::Bounds,
        event::Entry,
        page::{Page, PageLimit},
        position::{EventId, Position},
        retention::retained_since,
        timestamp::Timestamp,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::BackendError,
        clock::Clock,
        journal::{Append, Appended, Journal},
        tasks::Task,
        topic_log::TopicLog,
    },
};

/// Topics are trimmed when they have an eighth more entries than they may keep, but at most so many
/// more.
const TRIM_SLACK_MAX: usize = 128;

/// How many entries over its bound a topic may keep.
pub const fn trim_slack_entries(stream_maxlen: usize) -> usize {
    let slack = stream_maxlen / 8;
    if slack < TRIM_SLACK_MAX { slack } else { TRIM_SLACK_MAX }
}

/// What users' topics and messages have in common.
pub(super) struct DiskLog {
    pub(super) store: Arc<Store>,
    pub(super) retention: Retention,
    pub(super) listeners: Arc<Listeners>,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    /// The latest time that was ever returned, in milliseconds.
    latest_ms: AtomicU64,
    /// What moves and syncs what was written, for as long as anybody writes.
    _tasks: Vec<Task>,
}

impl DiskLog {
    pub(super) fn new(
        store: Arc<Store>,
        tasks: Vec<Task>,
        context: &BackendContext,
    ) -> Result<Self, Failure> {
        let log = Self {
            store,
            retention: context.retention,
            listeners: Arc::default(),
            registry: Arc::clone(&context.registry),
            clock: Arc::clone(&context.clock),
            latest_ms: AtomicU64::new(0),
            _tasks: tasks,
        };
        let now = log.now();
        let common = log.store.write(
            |rows| {
                if let Some(common) = rows.get(keys::COMMON)? {
                    return Ok(Common::decode(&common)?);
                }
                let common =
                    Common { origin: EventId::timed(now.as_ms(), 0), latest: now, next_number: 1 };
                rows.put(keys::COMMON, common.encode());
                Ok(common)
            },
            |_| {},
        )?;
        log.latest_ms.fetch_max(common.latest.as_ms(), Ordering::Relaxed);
        Ok(log)
    }

    /// The time, which never goes back.
    pub(super) fn now(&self) -> Timestamp {
        let now_ms = self.clock.now().as_ms();
        Timestamp::from_ms(self.latest_ms.fetch_max(now_ms, Ordering::Relaxed).max(now_ms))
    }

    pub(super) fn cutoff(&self, now: Timestamp) -> Timestamp {
        retained_since(now, self.retention.replay_max_age)
    }

    /// What an entry's row says: the position before it, and the event.
    fn entry(&self, (key, value): &Row) -> Result<(EventId, Entry), Failure> {
        let id = keys::id_of_entry(key)?;
        let (prev, text) = keys::entry_of(value)?;
        let event = self.event(text, id.major())?;
        Ok((prev, Entry { id, prev: Some(prev.into()), event: Arc::new(event) }))
    }

    pub(super) fn event(
        &self,
        text: &[u8],
        at_ms: u64,
    ) -> Result<crate::domain::event::Event, Failure> {
        let event = stored_event::decode(text, Timestamp::from_ms(at_ms), &self.registry);
        event
            .map_err(|malformed| Damage::new(format!("an event can't be read: {malformed}")).into())
    }

    /// Writes nothing of importance, and waits until it is safe.
    pub(super) fn touch(&self) -> Result<(), Failure> {
        let now = self.now();
        self.store.write(
            |rows| {
                let common = Common { latest: now, ..common_of(rows)? };
                rows.put(keys::COMMON, common.encode());
                Ok(())
            },
            |()| {},
        )
    }
}

/// What all topics have in common.
pub(super) fn common_of(rows: &impl Rows) -> Result<Common, Failure> {
    let common = rows
        .get(keys::COMMON)?
        .ok_or_else(|| Damage::new("the row of the journal's origin is missing"))?;
    Ok(Common::decode(&common)?)
}

pub(super) fn topic_of(rows: &impl Rows, user: &UserId) -> Result<Option<TopicRow>, Failure> {
    Ok(rows.get(&keys::topic(user))?.map(|row| TopicRow::decode(&row)).transpose()?)
}

/// A place right behind an entry, for ranges that begin there.
fn behind(topic: u64, id: EventId) -> Vec<u8> {
    let mut key = keys::entry(topic, id).to_vec();
    key.push(0);
    key
}

/// The position before the oldest entry that was appended since then, and that entry's id.
pub(super) fn oldest_since(
    rows: &impl Rows,
    topic: &TopicRow,
    cutoff: Timestamp,
) -> Result<Option<(EventId, EventId)>, Failure> {
    if topic.entries == 0 || topic.head.major() < cutoff.as_ms() {
        return Ok(None);
    }
    let from = topic.floor.max(EventId::timed(cutoff.as_ms(), 0));
    // What is at the floor may be there still, though it is gone; and no id of that time is before
    // its first.
    let first =
        rows.range(&behind(topic.number, from), &keys::behind_entries(topic.number))?.next();
    let (key, value) = first.ok_or_else(|| Damage::new("a topic's entries are missing"))??;
    let (prev, _) = keys::entry_of(&value)?;
    Ok(Some((prev, keys::id_of_entry(&key)?)))
}

/// A topic's extent.
fn bounds_of(
    rows: &impl Rows,
    topic: Option<&TopicRow>,
    now: Timestamp,
    cutoff: Timestamp,
) -> Result<Bounds, Failure> {
    let origin = common_of(rows)?.origin;
    let told = EventId::timed(now.as_ms(), 0);
    let of = |floor: EventId, oldest, head: EventId| Bounds {
        origin: origin.into(),
        floor: Some(floor.into()),
        oldest,
        head: head.into(),
        shares_positions: false,
    };
    let Some(topic) = topic else { return Ok(of(origin, None, told.max(origin))) };
    Ok(match oldest_since(rows, topic, cutoff)? {
        Some((prev, oldest)) => of(prev, Some(oldest), topic.head),
        None => of(topic.head, None, topic.head.max(told)),
    })
}

/// Removes the oldest entries of a topic: those of which `goes` says so, up to the first that
/// stays. Returns the last that went.
pub(super) fn remove_oldest(
    rows: &mut Draft,
    topic: &mut TopicRow,
    mut goes: impl FnMut(EventId) -> bool,
    entries_max: usize,
) -> Result<(), Failure> {
    let (from, mut gone) = (behind(topic.number, topic.floor), 0);
    for row in rows
        .range(&behind(topic.number, topic.floor), &keys::behind_entries(topic.number))?
        .take(entries_max)
    {
        let (key, _) = row?;
        let id = keys::id_of_entry(&key)?;
        if !goes(id) {
            break;
        }
        topic.floor = id;
        gone += 1;
    }
    topic.entries = topic.entries.saturating_sub(gone);
    if gone > 0 {
        // No reader reads before the floor.
        rows.discard(from, behind(topic.number, topic.floor));
    }
    Ok(())
}

/// Users' topics. See the module's docs for what they promise.
pub(super) struct DiskJournal {
    log: Arc<DiskLog>,
    appends: GroupCommit<AppendJob>,
}

impl DiskJournal {
    pub(super) fn new(log: Arc<DiskLog>, context: &BackendContext) -> Self {
        let writer = Arc::new(Appender(Arc::clone(&log)));
        let appends =
            GroupCommit::start(&*context.tasks, "disk event appends", writer, CALL_TIMEOUT);
        Self { log, appends }
    }
}

/// A batch of one caller.
#[derive(Clone)]
struct AppendJob(Arc<[Encoded]>);

/// An event, and the text that is kept of it: made where the publisher waits, not where all of them
/// do.
struct Encoded {
    append: Append,
    text: String,
}

impl Encoded {
    fn new(append: Append) -> Self {
        let text = stored_event::encode(&Topic::User(append.user.clone()), &append.event);
        Self { append, text }
    }
}

impl Job for AppendJob {
    type Answer = Vec<Result<Appended, BackendError>>;

    fn size(&self) -> (usize, usize) {
        (self.0.len(), self.0.iter().map(|one| one.append.event.cost_bytes()).sum())
    }
}

/// What became of one event.
type Answer = Result<(Appended, Option<Entry>), Damage>;

struct Appender(Arc<DiskLog>);

#[async_trait]
impl Write<AppendJob> for Appender {
    async fn write(
        &self,
        jobs: &[AppendJob],
    ) -> Result<Vec<Vec<Result<Appended, BackendError>>>, BackendError> {
        let (jobs, log) = (jobs.to_vec(), Arc::clone(&self.0));
        with_store(&self.0.store, "append events", None, move |store| {
            let all: Vec<&Encoded> = jobs.iter().flat_map(|job| &*job.0).collect();
            let tell = |answers: &Vec<Answer>| {
                for (one, answer) in all.iter().zip(answers) {
                    if let Ok((_, Some(entry))) = answer {
                        log.listeners.appended(&Topic::User(one.append.user.clone()), entry);
                    }
                }
            };
            let answers = store.write(|rows| log.append_all(rows, &all), tell)?;
            let told = |(one, answer): (&&Encoded, Answer)| match answer {
                Ok((appended, _)) => Ok(appended),
                Err(damage) => Err(BackendError::damaged(
                    "append events",
                    Topic::User(one.append.user.clone()),
                    damage,
                )),
            };
            let mut told = all.iter().zip(answers).map(told);
            Ok(jobs.iter().map(|job| told.by_ref().take(job.0.len()).collect()).collect())
        })
        .await
    }
}

impl DiskLog {
    fn append_all(&self, rows: &mut Draft, all: &[&Encoded]) -> Result<Vec<Answer>, Failure> {
        let now = self.now();
        let mut common = Common { latest: now, ..common_of(rows)? };
        let mut answers = Vec::with_capacity(all.len());
        for one in all {
            answers.push(match self.append_one(rows, &mut common, one, now) {
                Ok(appended) => Ok(appended),
                Err(Failure::Damaged(damage)) => Err(damage),
                Err(failure) => return Err(failure),
            });
        }
        rows.put(keys::COMMON, common.encode());
        Ok(answers)
    }

    /// Reads all that it needs before it changes anything, so that a topic that is damaged stays as
    /// it is.
    fn append_one(
        &self,
        rows: &mut Draft,
        common: &mut Common,
        Encoded { append, text }: &Encoded,
        now: Timestamp,
    ) -> Result<(Appended, Option<Entry>), Failure> {
        let Append { user, event, idempotency_key } = append;
        let known = topic_of(rows, user)?;
        let mut topic = known.unwrap_or(TopicRow {
            number: common.next_number,
            entries: 0,
            floor: common.origin,
            head: common.origin,
        });
        let seen_key = idempotency_key.as_ref().map(|key| keys::seen_key(topic.number, key));
        if let Some(seen_key) = &seen_key
            && let Some(seen) = rows.get(seen_key)?
        {
            let (id, seen_at) = keys::seen_of(&seen)?;
            if now.since(seen_at) < self.retention.idempotency_window {
                return Ok((Appended { id, duplicate: true }, None));
            }
        }
        let max = self.retention.stream_maxlen;
        // With the one that comes.
        let entries = usize::try_from(topic.entries).unwrap_or(usize::MAX).saturating_add(1);
        if entries > max + trim_slack_entries(max) {
            let surplus = entries.saturating_sub(max);
            remove_oldest(rows, &mut topic, |_| true, surplus)?;
        }
        let (prev, id) = (topic.head, topic.head.next(now));
        rows.put(keys::entry(topic.number, id), keys::entry_value(prev, text));
        if topic.entries == 0 {
            topic.floor = prev;
            rows.put(
                keys::age(Timestamp::from_ms(id.major()), topic.number),
                user.as_str().to_owned(),
            );
        }
        topic.entries += 1;
        topic.head = id;
        rows.put(keys::topic(user), topic.encode());
        if let Some(seen_key) = seen_key {
            rows.put(keys::forgotten(now, &seen_key), "");
            rows.put(seen_key, keys::seen_value(id, now));
        }
        if known.is_none() {
            common.next_number += 1;
        }
        Ok((
            Appended { id, duplicate: false },
            Some(Entry { id, prev: Some(prev.into()), event: Arc::clone(event) }),
        ))
    }

    fn read_page(
        &self,
        rows: &impl Rows,
        user: &UserId,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, Failure> {
        let now = self.now();
        let cutoff = self.cutoff(now);
        let topic = topic_of(rows, user)?;
        let bounds = bounds_of(rows, topic.as_ref(), now, cutoff)?;
        let (Some(topic), Some(floor)) = (topic, bounds.oldest.and(bounds.floor)) else {
            return Ok(Page { entries: Vec::new(), more: false, bounds });
        };
        // What lies before the floor is gone.
        let from = after.max(floor);
        let from_key = from.id().map_or_else(
            || keys::entry(topic.number, EventId::timed(0, 0)).to_vec(),
            |id| behind(topic.number, id),
        );
        let (mut entries, mut bytes, mut is_all) = (Vec::<Entry>::new(), 0, true);
        for row in rows.range(&from_key, &keys::behind_entries(topic.number))? {
            let (prev, entry) = self.entry(&row?)?;
            let follows =
                entries.last().map_or(Position::from(prev) <= from, |last| last.id == prev);
            if !follows {
                return Err(
                    Damage::new(format!("the entries before {} are missing", entry.id)).into()
                );
            }
            bytes += entry.event.cost_bytes();
            entries.push(entry);
            // One more than there may be shows that there is more.
            if entries.len() > 1 && (entries.len() > limit.entries_max || bytes > limit.bytes_max) {
                is_all = false;
                break;
            }
        }
        if is_all && entries.last().map_or(from, |last| last.id.into()) < bounds.head {
            return Err(
                Damage::new(format!("the entries before {} are missing", topic.head)).into()
            );
        }
        Ok(Page::of(entries, limit, bounds))
    }

    fn length_of(&self, rows: &impl Rows, user: &UserId) -> Result<u64, Failure> {
        let Some(topic) = topic_of(rows, user)? else { return Ok(0) };
        match oldest_since(rows, &topic, self.cutoff(self.now()))? {
            None => Ok(0),
            Some((prev, _)) if prev == topic.floor => Ok(topic.entries),
            Some((_, oldest)) => {
                let mut count = 0;
                for row in rows.range(
                    &keys::entry(topic.number, oldest),
                    &keys::behind_entries(topic.number),
                )? {
                    row?;
                    count += 1;
                }
                Ok(count)
            }
        }
    }
}

#[async_trait]
impl Journal for DiskJournal {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.appends
            .call("append events", AppendJob(batch.into_iter().map(Encoded::new).collect()))
            .await
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        let (log, user) = (Arc::clone(&self.log), user.clone());
        let topic = Topic::User(user.clone());
        let count = move |store: &Store| store.read(|rows| log.length_of(rows, &user));
        with_store(&self.log.store, "count a topic's entries", Some(&topic), count).await
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        let topic = Topic::User(user.clone());
        let user = user.clone();
        let purge = move |rows: &mut Draft| {
            let Some(mut topic) = topic_of(rows, &user)? else { return Ok(()) };
            rows.discard(behind(topic.number, topic.floor), behind(topic.number, topic.head));
            topic.floor = topic.head;
            topic.entries = 0;
            rows.put(keys::topic(&user), topic.encode());
            Ok(())
        };
        with_store(&self.log.store, "purge a topic", Some(&topic), move |store| {
            store.write(purge, |()| {})
        })
        .await
    }
}

#[async_trait]
impl TopicLog for DiskJournal {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        self.log.read(topic, after, limit).await
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        self.log.bounds(topic).await
    }

    async fn probe(&self) -> Result<(), BackendError> {
        self.log.probe().await
    }
}

impl DiskLog {
    pub(super) async fn read(
        self: &Arc<Self>,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let (log, of) = (Arc::clone(self), topic.clone());
        let read = move |store: &Store| {
            store.read(|rows| match &of {
                Topic::User(user) => log.read_page(rows, user, after, limit),
                Topic::Message(id) => log.read_message(rows, id, after, limit),
            })
        };
        with_store(&self.store, "read a topic", Some(topic), read).await
    }

    pub(super) async fn bounds(self: &Arc<Self>, topic: &Topic) -> Result<Bounds, BackendError> {
        let (log, of) = (Arc::clone(self), topic.clone());
        let read = move |store: &Store| {
            store.read(|rows| match &of {
                Topic::User(user) => {
                    let now = log.now();
                    bounds_of(rows, topic_of(rows, user)?.as_ref(), now, log.cutoff(now))
                }
                Topic::Message(id) => message_bounds(rows, id),
            })
        };
        with_store(&self.store, "read a topic's bounds", Some(topic), read).await
    }

    pub(super) async fn probe(self: &Arc<Self>) -> Result<(), BackendError> {
        let log = Arc::clone(self);
        let probe = move |store: &Store| {
            store.read(common_of)?;
            if store.has_room() { log.touch() } else { Err(Failure::Full) }
        };
        with_store(&self.store, "probe the disk", None, probe).await
    }
}

/// How often the age of entries, keys and messages is looked at.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(10);
