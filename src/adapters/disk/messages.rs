//! Messages on disk.
//!
//! Invariant: a message's events stand under a number that is its own and given once, so that those
//! of one that is removed are never read again, and another one of the same id begins anew beside
//! them.

use std::{cell::Cell, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    blocking::{CALL_TIMEOUT, with_store},
    failure::{Damage, Failure},
    journal::{DiskLog, common_of},
    keys::{self, Common, MessageRow},
    rows::{Draft, Rows},
    store::Store,
    stored_message::message_of,
};
use crate::{
    adapters::backend_kit::{
        BackendContext,
        group_commit::{GroupCommit, Job, Write},
        stored_event,
    },
    domain::{
        cursor::Bounds,
        event::{Entry, Event},
        idempotency_key::IdempotencyKey,
        message::{
            AppendRefusal, AppendTarget, Message, MessageAppend, MessageAppended, Observed,
            OpenRefusal, Opened, append_batch,
        },
        page::{Page, PageLimit},
        position::{EventId, Position},
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{backend_error::BackendError, messages::Messages, topic_log::TopicLog},
};

/// Messages. See the module's docs for what they promise.
pub(super) struct DiskMessages {
    log: Arc<DiskLog>,
    appends: GroupCommit<MessageJob>,
}

impl DiskMessages {
    pub(super) fn new(log: Arc<DiskLog>, context: &BackendContext) -> Self {
        let writer = Arc::new(Appender(Arc::clone(&log)));
        let appends =
            GroupCommit::start(&*context.tasks, "disk message appends", writer, CALL_TIMEOUT);
        Self { log, appends }
    }
}

/// A batch of one producer.
#[derive(Clone)]
struct MessageJob {
    id: MessageId,
    epoch: Option<u64>,
    batch: Vec<MessageAppend>,
}

type Answers = Vec<Result<MessageAppended, AppendRefusal>>;

impl Job for MessageJob {
    type Answer = Result<Answers, BackendError>;

    fn size(&self) -> (usize, usize) {
        (self.batch.len(), self.batch.iter().map(|append| append.event.cost_bytes()).sum())
    }
}

struct Appender(Arc<DiskLog>);

/// What became of a job, and the entries that it made.
type Done = Result<(Answers, Vec<Entry>), Damage>;

#[async_trait]
impl Write<MessageJob> for Appender {
    async fn write(
        &self,
        jobs: &[MessageJob],
    ) -> Result<Vec<Result<Answers, BackendError>>, BackendError> {
        let (jobs, log) = (jobs.to_vec(), Arc::clone(&self.0));
        with_store(&self.0.store, "append to messages", None, move |store| {
            let draft = |rows: &mut Draft| {
                let append = |job: &MessageJob| match log.append_job(rows, job) {
                    Ok(done) => Ok(Ok(done)),
                    Err(Failure::Damaged(damage)) => Ok(Err(damage)),
                    Err(failure) => Err(failure),
                };
                jobs.iter().map(append).collect::<Result<Vec<Done>, Failure>>()
            };
            let tell = |all: &Vec<Done>| {
                for (job, done) in jobs.iter().zip(all) {
                    for entry in done.iter().flat_map(|(_, entries)| entries) {
                        log.listeners.appended(&Topic::Message(job.id.clone()), entry);
                    }
                }
            };
            let all = store.write(draft, tell)?;
            let told = |(job, done): (&MessageJob, Done)| match done {
                Ok((answers, _)) => Ok(answers),
                Err(damage) => Err(BackendError::damaged(
                    "append to a message",
                    Topic::Message(job.id.clone()),
                    damage,
                )),
            };
            Ok(jobs.iter().zip(all).map(told).collect())
        })
        .await
    }
}

impl DiskLog {
    fn append_job(
        &self,
        rows: &mut Draft,
        job: &MessageJob,
    ) -> Result<(Answers, Vec<Entry>), Failure> {
        let now = self.now();
        let mut target = message_of(rows, &job.id)?.map(|row| Appending {
            id: &job.id,
            row,
            window: self.retention.idempotency_window,
            now,
            log: self,
            rows,
            entries: Vec::new(),
            failed: Cell::new(None),
        });
        let answers = append_batch(target.as_mut(), job.epoch, job.batch.iter().cloned(), now);
        let Some(Appending { row, rows, entries, failed, .. }) = target else {
            return Ok((answers, Vec::new()));
        };
        if let Some(failure) = failed.into_inner() {
            return Err(failure);
        }
        if !entries.is_empty() {
            rows.put(keys::message(&job.id), row.encode());
        }
        Ok((answers, entries))
    }

    pub(super) fn read_message(
        &self,
        rows: &impl Rows,
        id: &MessageId,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, Failure> {
        let Some(row) = message_of(rows, id)? else {
            return Ok(Page { entries: Vec::new(), more: false, bounds: Bounds::of_message(0) });
        };
        let first = after.id().map_or(0, |id| id.major().saturating_add(1));
        let (mut entries, mut bytes) = (Vec::new(), 0);
        let range = rows.range(
            &keys::message_event(row.number, first),
            &keys::behind_message_events(row.number),
        )?;
        for (number, found) in (first..row.message.next_sequence_no).zip(range) {
            let (key, value) = found?;
            if keys::number_of_event(&key)? != number {
                break;
            }
            let id = EventId::sequence(number);
            let event: Event = self.event(&value, row.message.created_at.as_ms())?;
            bytes += event.cost_bytes();
            entries.push(Entry { id, prev: Some(Position::before(id)), event: Arc::new(event) });
            if entries.len() > 1 && (entries.len() > limit.entries_max || bytes > limit.bytes_max) {
                return Ok(Page::of(entries, limit, row.message.bounds()));
            }
        }
        if first + (entries.len() as u64) < row.message.next_sequence_no {
            return Err(Damage::new(format!(
                "events of the message are missing from {} on",
                first + entries.len() as u64
            ))
            .into());
        }
        Ok(Page::of(entries, limit, row.message.bounds()))
    }

    /// Changes a message; `None` if it is not there, and nothing is written where it refuses.
    async fn change<R: Send + 'static>(
        self: &Arc<Self>,
        id: &MessageId,
        change: impl Fn(&mut Message, Timestamp) -> Result<(), R> + Send + 'static,
    ) -> Result<Option<Result<Observed, R>>, BackendError> {
        let topic = Topic::Message(id.clone());
        let (log, id) = (Arc::clone(self), id.clone());
        let write = move |rows: &mut Draft| {
            let now = log.now();
            let Some(mut row) = message_of(rows, &id)? else { return Ok(None) };
            let before = row.clone();
            if let Err(refusal) = change(&mut row.message, now) {
                return Ok(Some(Err(refusal)));
            }
            if row != before {
                rows.put(keys::message(&id), row.encode());
            }
            Ok(Some(Ok(Observed::at(now, row.message))))
        };
        with_store(&self.store, "change a message", Some(&topic), move |store| {
            store.write(write, |_| {})
        })
        .await
    }
}

/// A message that is being appended to.
struct Appending<'a> {
    id: &'a MessageId,
    row: MessageRow,
    window: Duration,
    now: Timestamp,
    log: &'a DiskLog,
    rows: &'a mut Draft,
    entries: Vec<Entry>,
    /// What came between, so that no answer counts.
    failed: Cell<Option<Failure>>,
}

impl Appending<'_> {
    fn asked<T>(&self, answer: Result<Option<T>, Failure>) -> Option<T> {
        answer.unwrap_or_else(|failure| {
            self.failed.set(Some(failure));
            None
        })
    }

    fn number_seen(&self, key: &IdempotencyKey) -> Result<Option<u64>, Failure> {
        let Some(seen) = self.rows.get(&keys::message_key(self.row.number, key))? else {
            return Ok(None);
        };
        let (number, seen_at) = keys::seen_of(&seen)?;
        Ok((self.now.since(seen_at) < self.window).then_some(number.major()))
    }

    fn event_at(&self, sequence_no: u64) -> Result<Option<Event>, Failure> {
        let stored = self.rows.get(&keys::message_event(self.row.number, sequence_no))?;
        stored.map(|text| self.log.event(&text, self.row.message.created_at.as_ms())).transpose()
    }
}

impl AppendTarget for Appending<'_> {
    fn message(&mut self) -> &mut Message {
        &mut self.row.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        self.asked(self.number_seen(key))
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        let stored = self.asked(self.event_at(sequence_no));
        stored.is_some_and(|stored| stored.is_repeated_by(event))
    }

    fn push(&mut self, sequence_no: u64, append: MessageAppend) {
        let MessageAppend { event, idempotency_key, .. } = append;
        let text = stored_event::encode(&Topic::Message(self.id.clone()), &event);
        self.rows.put(keys::message_event(self.row.number, sequence_no), text);
        let id = EventId::sequence(sequence_no);
        if let Some(key) = &idempotency_key {
            self.rows.put(keys::message_key(self.row.number, key), keys::seen_value(id, self.now));
        }
        self.entries.push(Entry { id, prev: Some(Position::before(id)), event });
    }
}

/// Removes a message with its events. `false` if it was not there.
pub(super) fn remove(rows: &mut Draft, id: &MessageId) -> Result<bool, Failure> {
    let Some(row) = message_of(rows, id)? else { return Ok(false) };
    rows.remove(keys::message(id));
    rows.discard(keys::message_event(row.number, 0), keys::behind_message_events(row.number));
    let (first, behind) = keys::message_keys(row.number);
    rows.discard(first, behind);
    Ok(true)
}

/// Has a message go on at a number, for tests of what happens at the last one.
#[cfg(any(test, feature = "testing"))]
pub(super) async fn continue_at(
    log: &Arc<DiskLog>,
    id: &MessageId,
    next_sequence_no: u64,
) -> Result<(), BackendError> {
    let change = move |message: &mut Message, _| {
        message.next_sequence_no = next_sequence_no;
        Ok::<(), std::convert::Infallible>(())
    };
    log.change(id, change).await.map(|_| ())
}

#[async_trait]
impl Messages for DiskMessages {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        let topic = Topic::Message(id.clone());
        let (log, id, owner) = (Arc::clone(&self.log), id.clone(), owner.clone());
        let open = move |rows: &mut Draft| {
            let now = log.now();
            let known = message_of(rows, &id)?;
            let opened = match Message::open(
                known.as_ref().map(|row| row.message.clone()),
                &owner,
                takeover,
                now,
            ) {
                Ok(opened) => opened,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let number = if let Some(row) = known {
                row.number
            } else {
                let common = common_of(rows)?;
                rows.put(
                    keys::COMMON,
                    Common { next_number: common.next_number + 1, latest: now, ..common }.encode(),
                );
                rows.put(keys::silence(now, &id), "");
                common.next_number
            };
            rows.put(
                keys::message(&id),
                MessageRow { number, message: opened.observed.message.clone() }.encode(),
            );
            Ok(Ok(opened))
        };
        with_store(&self.log.store, "open a message", Some(&topic), move |store| {
            store.write(open, |_| {})
        })
        .await
    }

    async fn append(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Result<Vec<Result<MessageAppended, AppendRefusal>>, BackendError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.appends
            .call("append to a message", MessageJob { id: id.clone(), epoch, batch })
            .await?
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        let heard = self.log.change(id, move |message, now| message.heartbeat(epoch, now)).await?;
        Ok(heard.unwrap_or(Err(AppendRefusal::Unknown)))
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let stop = |message: &mut Message, _| {
            message.request_stop();
            Ok::<(), std::convert::Infallible>(())
        };
        Ok(self.log.change(id, stop).await?.map(|Ok(observed)| observed))
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let topic = Topic::Message(id.clone());
        let (log, id) = (Arc::clone(&self.log), id.clone());
        let observe = move |store: &Store| {
            let (now, row) = (log.now(), store.read(|rows| message_of(rows, &id))?);
            Ok(row.map(|row| Observed::at(now, row.message)))
        };
        with_store(&self.log.store, "observe a message", Some(&topic), observe).await
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        let topic = Topic::Message(id.clone());
        let (log, id) = (Arc::clone(&self.log), id.clone());
        let delete = move |store: &Store| {
            let told = |was_there: &bool| {
                if *was_there {
                    log.listeners.grown(&Topic::Message(id.clone()));
                }
            };
            store.write(|rows| remove(rows, &id), told)
        };
        with_store(&self.log.store, "delete a message", Some(&topic), delete).await
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        let log = Arc::clone(&self.log);
        let sweep = move |store: &Store| {
            let seen_before = log.now().minus(silent_for);
            let mut removed = 0;
            while removed < messages_max {
                let looked = store.write(
                    |rows| look_at_silent(rows, seen_before, messages_max - removed),
                    |(gone, _)| {
                        for id in gone {
                            log.listeners.grown(&Topic::Message(id.clone()));
                        }
                    },
                )?;
                removed += looked.0.len();
                if !looked.1 {
                    break;
                }
            }
            Ok(removed)
        };
        with_store(&self.log.store, "sweep messages", None, sweep).await
    }
}

/// Looks at messages whose producers may have been silent since before that time, and removes those
/// that were. Returns which, and whether there may be more.
fn look_at_silent(
    rows: &mut Draft,
    seen_before: Timestamp,
    messages_max: usize,
) -> Result<(Vec<MessageId>, bool), Failure> {
    let (from, to) = keys::until(b's', seen_before);
    let due: Vec<_> = rows.range(&from, &to)?.take(messages_max).collect::<Result<_, _>>()?;
    let mut gone = Vec::new();
    for (key, _) in &due {
        let id = keys::message_of_silence(key)?;
        rows.remove(key.clone());
        match message_of(rows, &id)?.map(|row| row.message.producer_seen_at) {
            Some(seen_at) if seen_at < seen_before => {
                remove(rows, &id)?;
                gone.push(id);
            }
            Some(seen_at) => rows.put(keys::silence(seen_at, &id), ""),
            None => {}
        }
    }
    Ok((gone, !due.is_empty()))
}

#[async_trait]
impl TopicLog for DiskMessages {
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
