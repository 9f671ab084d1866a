//! Messages: one stream, a subject for each, with a record for each change.
//!
//! Invariants: what may be appended is decided by the domain on the very state that the record
//! follows, or decided anew; a refusal is decided on what the stream's leader has.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::json;
use tokio::time::Instant;

use super::{
    chain::Span,
    ends::Ends,
    entry::headers,
    failure::Failure,
    incarnation::ServersClock,
    journal::{HEADERS_BYTES_MAX, bounded},
    record::{NoRecord, Record, entries_of},
    store::{Store, Stored, Tries, Write},
    subjects::Subjects,
    trail::{Place, Trail},
};
use crate::{
    adapters::backend_kit::{
        Retention,
        stored_page::{OnMalformed, StoredPage, read_page},
    },
    domain::{
        category::Registry,
        cursor::Bounds,
        event::Event,
        idempotency_key::IdempotencyKey,
        message::{
            AppendRefusal, AppendTarget, Message, MessageAppend, MessageAppended, Observed,
            OpenRefusal, Opened, append_batch,
        },
        page::{Page, PageLimit},
        position::Position,
        timestamp::Timestamp,
        topic::{MessageId, Topic, UserId},
    },
    ports::{
        backend_error::BackendError, entropy::Entropy, messages::Messages, topic_log::TopicLog,
    },
};

/// How many records the sweep looks at together, and most of their bytes.
const SWEPT_AT_ONCE: usize = 64;
const SWEPT_BYTES: usize = 1024 * 1024;
/// How many records are read together for their keys, and most of their bytes.
const KEYS_AT_ONCE: usize = 256;
const KEYS_BYTES: usize = 4 * 1024 * 1024;
/// Most keys of a message that are remembered; with more they are read anew when asked for.
const KEYS_REMEMBERED_MAX: usize = 1_024;
/// What a record has beside its events, at most.
const STATE_BYTES_MAX: usize = 2_048;
/// What an event in a record has beside payload and scope, at most.
const ENVELOPE_BYTES_MAX: usize = 1_024;

/// Messages in a stream.
pub(super) struct NatsMessages {
    pub(super) store: Arc<Store>,
    pub(super) subjects: Arc<Subjects>,
    pub(super) remembered: Ends<Known>,
    pub(super) clock: Arc<ServersClock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) registry: Arc<Registry>,
    pub(super) retention: Retention,
    pub(super) on_malformed: OnMalformed,
}

/// What is known of a message.
pub(super) struct Known {
    /// Nothing, if it is not there.
    message: Option<Message>,
    /// The sequence of its last record; 0 if there is none.
    last: u64,
    next: Trail,
    /// The numbers of keys within the window, each with when it got it, once they were asked for.
    keys: Option<HashMap<IdempotencyKey, (u64, Timestamp)>>,
}

/// What is to become of a message.
struct Change {
    message: Message,
    appended: Vec<MessageAppend>,
}

/// Why nothing was decided.
enum Undecided {
    Failure(Failure),
    Damaged(NoRecord),
}

impl From<Failure> for Undecided {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<NoRecord> for Undecided {
    fn from(reason: NoRecord) -> Self {
        Self::Damaged(reason)
    }
}

impl Undecided {
    fn of(self, context: &'static str, id: &MessageId) -> BackendError {
        match self {
            Self::Failure(failure) => failure.of_call(context),
            Self::Damaged(reason) => {
                BackendError::damaged(context, Topic::Message(id.clone()), reason)
            }
        }
    }
}

/// A message that is being appended to.
struct Appending<'a> {
    keys: &'a HashMap<IdempotencyKey, (u64, Timestamp)>,
    /// Events under numbers that were asked for.
    held: &'a BTreeMap<u64, Arc<Event>>,
    first: u64,
    room_bytes: usize,
    change: Change,
}

impl AppendTarget for Appending<'_> {
    fn message(&mut self) -> &mut Message {
        &mut self.change.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        let now = (self.first..)
            .zip(&self.change.appended)
            .find(|(_, append)| append.idempotency_key.as_ref() == Some(key));
        now.map(|(number, _)| number).or_else(|| self.keys.get(key).map(|(number, _)| *number))
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        let now = sequence_no
            .checked_sub(self.first)
            .and_then(|index| self.change.appended.get(usize::try_from(index).ok()?));
        let there = now.map(|append| &append.event).or_else(|| self.held.get(&sequence_no));
        there.is_some_and(|there| there.is_repeated_by(event))
    }

    fn has_room_for(&self, append: &MessageAppend) -> bool {
        size_of(append) <= self.room_bytes
    }

    fn push(&mut self, _: u64, append: MessageAppend) {
        self.change.appended.push(append);
    }
}

/// What an event takes of a record, at most.
fn size_of(append: &MessageAppend) -> usize {
    append.event.content.json_bytes_max() + append.event.scope.as_str().len() + ENVELOPE_BYTES_MAX
}

impl NatsMessages {
    fn subject(&self, id: &MessageId) -> String {
        self.subjects.topic(&Topic::Message(id.clone()))
    }

    async fn look(&self, subject: &str) -> Result<Known, Undecided> {
        Ok(match self.store.last(subject).await? {
            None => {
                Known { message: None, last: 0, next: Trail::begin(0), keys: Some(HashMap::new()) }
            }
            Some(last) => {
                let message = Record::read(&last)?.message()?;
                let keys = (message.next_sequence_no == 0).then(HashMap::new);
                Known { message: Some(message), last: last.sequence, next: last.next_trail(), keys }
            }
        })
    }

    /// Decides on what there is, and carries it out, until no other process interferes. `decide`
    /// gives its answer, and a change unless all stays as it is.
    async fn decide<T: Send>(
        &self,
        id: &MessageId,
        batch: &[MessageAppend],
        decide: impl Fn(Option<Appending<'_>>, Timestamp) -> (T, Option<Change>) + Send + Sync,
    ) -> Result<T, Undecided> {
        let subject = self.subject(id);
        let mut remembered = self.remembered.of(&subject).await;
        let mut tries = Tries::default();
        loop {
            let is_remembered = remembered.is_some();
            let mut known = match remembered.take() {
                Some(known) => known,
                None => self.look(&subject).await?,
            };
            let held = self.held(&subject, &known, batch).await?;
            let now = self.clock.now();
            self.learn_keys(&subject, &mut known, batch, now).await?;
            let no_keys = HashMap::new();
            let target = known.message.clone().map(|message| Appending {
                keys: known.keys.as_ref().unwrap_or(&no_keys),
                held: &held,
                first: message.next_sequence_no,
                room_bytes: self.room_bytes(),
                change: Change { message, appended: Vec::new() },
            });
            let (answer, change) = decide(target, now);
            let Some(change) = change else {
                if is_remembered {
                    continue;
                }
                *remembered = Some(known);
                return Ok(answer);
            };
            let began = Instant::now();
            match self.carry_out(id, &subject, &mut known, &change, now).await {
                Ok(()) => {
                    remembered.wrote(began.elapsed(), tries.met_others());
                    *remembered = Some(known);
                    return Ok(answer);
                }
                Err(failure) if tries.is_worth_another(&failure).await => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn room_bytes(&self) -> usize {
        self.store.connection.max_payload().saturating_sub(HEADERS_BYTES_MAX + STATE_BYTES_MAX)
    }

    /// Writes a change: in one record, or in several together where its events are larger than one
    /// takes.
    async fn carry_out(
        &self,
        id: &MessageId,
        subject: &str,
        known: &mut Known,
        change: &Change,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (topic, created_ms) = (Topic::Message(id.clone()), self.store.incarnation.created_ms());
        let first = change.message.next_sequence_no - change.appended.len() as u64;
        let (mut writes, mut next, mut counted) = (Vec::new(), known.next.clone(), first);
        for (index, events) in (0..).zip(self.records(&change.appended)) {
            counted += events.len() as u64;
            let is_last = counted == change.message.next_sequence_no;
            let message = Message {
                next_sequence_no: counted,
                end: change.message.end.filter(|_| is_last),
                ..change.message.clone()
            };
            let payload =
                Record::of(&message, &topic, events).and_then(|record| serde_json::to_vec(&record));
            let payload =
                payload.map_err(|error| Failure::MalformedReply(error.to_string()))?.into();
            let headers = headers(created_ms, &next, index, (index == 0).then_some(known.last));
            next = next.next(Place::InBatch(index));
            writes.push(Write { subject: subject.to_owned(), headers, payload });
        }
        let count = writes.len() as u64;
        let ack = self.store.write_all(writes, &*self.entropy).await?;
        known.next = next.settled(ack.seq + 1 - count);
        known.last = ack.seq;
        known.message = Some(change.message.clone());
        if let Some(keys) = &mut known.keys {
            let numbered = (first..).zip(&change.appended);
            keys.extend(numbered.filter_map(|(number, append)| {
                Some((append.idempotency_key.clone()?, (number, now)))
            }));
        }
        known.keys.take_if(|keys| keys.len() > KEYS_REMEMBERED_MAX);
        Ok(())
    }

    /// Events as records take them: as many in each as there is room for. One record without any
    /// where there are none.
    fn records<'a>(&self, mut left: &'a [MessageAppend]) -> Vec<&'a [MessageAppend]> {
        let mut records = Vec::new();
        loop {
            let (mut bytes, mut count) = (0, 0);
            while let Some(append) = left.get(count)
                && (count == 0 || bytes + size_of(append) <= self.room_bytes())
            {
                bytes += size_of(append);
                count += 1;
            }
            let (these, rest) = left.split_at(count);
            records.push(these);
            if rest.is_empty() {
                return records;
            }
            left = rest;
        }
    }

    /// The events under the numbers that a batch names, of those that are taken.
    async fn held(
        &self,
        subject: &str,
        known: &Known,
        batch: &[MessageAppend],
    ) -> Result<BTreeMap<u64, Arc<Event>>, Undecided> {
        let mut held = BTreeMap::new();
        let next = known.message.as_ref().map_or(0, |message| message.next_sequence_no);
        let taken: HashSet<u64> = batch
            .iter()
            .filter_map(|append| append.sequence_no)
            .filter(|number| *number < next)
            .collect();
        for number in taken {
            if held.contains_key(&number) {
                continue;
            }
            if let Some(stored) = self.record_with(subject, number).await? {
                let entries = Record::read(&stored)?
                    .entries(stored.time, &self.registry)
                    .filter_map(|entry| Some((entry.id.major(), entry.event.ok()?.into())))
                    .collect::<Vec<_>>();
                held.extend(entries);
            }
        }
        Ok(held)
    }

    /// Finds out which keys were used within the window, where a batch has any and nobody knows
    /// yet.
    async fn learn_keys(
        &self,
        subject: &str,
        known: &mut Known,
        batch: &[MessageAppend],
        now: Timestamp,
    ) -> Result<(), Undecided> {
        if batch.iter().all(|append| append.idempotency_key.is_none()) {
            return Ok(());
        }
        let since = now.minus(self.retention.idempotency_window);
        let keys = match known.keys.take() {
            Some(mut keys) => {
                keys.retain(|_, (_, at)| *at > since);
                keys
            }
            None => self.keys_since(subject, since).await?,
        };
        known.keys = Some(keys);
        Ok(())
    }

    async fn keys_since(
        &self,
        subject: &str,
        since: Timestamp,
    ) -> Result<HashMap<IdempotencyKey, (u64, Timestamp)>, Undecided> {
        let mut keys = HashMap::new();
        let (last, oldest) =
            tokio::try_join!(self.store.last(subject), self.store.first_since(subject, since))?;
        let (Some(last), Some(oldest)) = (last, oldest) else { return Ok(keys) };
        let mut after = oldest.sequence - 1;
        loop {
            let span = Span { subject, oldest: oldest.sequence, last: &last };
            let sequences =
                self.store.sequences_after(span, after, KEYS_AT_ONCE).await?.unwrap_or_default();
            let found = self.store.messages(subject, &sequences, KEYS_BYTES).await?;
            let Some(end) = found.messages.last().map(|message| message.sequence) else {
                return Ok(keys);
            };
            for stored in &found.messages {
                keys.extend(
                    Record::read(stored)?.keys().map(|(key, number)| (key, (number, stored.time))),
                );
            }
            after = end;
        }
    }

    /// The record with the event of a number. Numbers rise with sequences.
    async fn record_with(&self, subject: &str, number: u64) -> Result<Option<Stored>, Undecided> {
        let (first, last) =
            tokio::try_join!(self.store.first_from(subject, 1), self.store.last(subject))?;
        let (Some(first), Some(last)) = (first, last) else { return Ok(None) };
        let (mut low, mut high) = (first.sequence, last.sequence);
        for found in [last, first] {
            if Record::read(&found)?.has(number) {
                return Ok(Some(found));
            }
        }
        // It stands behind `low` and before `high`, where it stands at all.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let Some(found) =
                self.store.first_from(subject, middle).await?.filter(|found| found.sequence < high)
            else {
                high = middle;
                continue;
            };
            let record = Record::read(&found)?;
            if record.has(number) {
                return Ok(Some(found));
            }
            if record.first <= number {
                low = found.sequence;
            } else {
                high = middle;
            }
        }
        Ok(None)
    }

    async fn read_stored(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<StoredPage, Undecided> {
        let nothing =
            || StoredPage { entries: Vec::new(), more: false, bounds: Bounds::of_message(0) };
        let Topic::Message(id) = topic else { return Ok(nothing()) };
        let subject = self.subject(id);
        loop {
            let Some(last) = self.store.last(&subject).await? else { return Ok(nothing()) };
            let message = Record::read(&last)?.message()?;
            let bounds = message.bounds();
            let wanted = after.id().map_or(0, |id| id.major().saturating_add(1));
            if wanted >= message.next_sequence_no {
                return Ok(StoredPage { entries: Vec::new(), more: false, bounds });
            }
            let Some(first) = self.record_with(&subject, wanted).await? else { continue };
            let (span, from) = (
                Span { subject: &subject, oldest: first.sequence, last: &last },
                first.sequence - 1,
            );
            let Some(sequences) = self
                .store
                .sequences_after(span, from, limit.entries_max.max(1).saturating_add(1))
                .await?
            else {
                continue;
            };
            let found = self
                .store
                .messages(&subject, &sequences, limit.bytes_max.saturating_add(1))
                .await?;
            if found.some_are_gone {
                continue;
            }
            let entries = found.messages.iter().flat_map(|stored| {
                entries_of(topic, stored, &self.store.incarnation, &self.registry)
            });
            let entries: Vec<_> = entries.filter(|entry| entry.id.major() >= wanted).collect();
            let more =
                entries.last().is_none_or(|last| last.id.major() + 1 < message.next_sequence_no);
            return Ok(StoredPage { entries, more, bounds });
        }
    }

    async fn remove(&self, subject: &str) -> Result<bool, Failure> {
        let mut remembered = self.remembered.of(subject).await;
        *remembered = None;
        let purged = self.store.purge(subject, None).await?;
        // Without anything in it, it says that there is something new.
        self.store
            .connection
            .send(self.subjects.live(subject), async_nats::HeaderMap::new(), bytes::Bytes::new())
            .await?;
        Ok(purged > 0)
    }

    async fn change_state<R: Send>(
        &self,
        id: &MessageId,
        change: impl Fn(&mut Message, Timestamp) -> Result<(), R> + Send + Sync,
    ) -> Result<Option<Result<Observed, R>>, Undecided> {
        self.decide(id, &[], |target, now| {
            let Some(Appending { change: mut changed, .. }) = target else { return (None, None) };
            match change(&mut changed.message, now) {
                Ok(()) => (Some(Ok(Observed::at(now, changed.message.clone()))), Some(changed)),
                Err(refusal) => (Some(Err(refusal)), None),
            }
        })
        .await
    }

    /// Removes what has been silent since a time, from the beginning of the stream on.
    async fn remove_silent_since(
        &self,
        since: Timestamp,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        const CONTEXT: &str = "remove silent messages";
        let (_, all) = self.subjects.messages();
        let (mut from, mut removed, mut known) = (1, 0, HashSet::new());
        while removed < messages_max {
            let question = json!({ "seq": from, "next_by_subj": all, "batch": SWEPT_AT_ONCE, "max_bytes": SWEPT_BYTES });
            let records = bounded(CONTEXT, self.store.several(&question)).await?;
            let Some(last) = records.last() else { break };
            from = last.sequence + 1;
            for record in records {
                if record.time > since || removed == messages_max {
                    return Ok(removed);
                }
                if !known.insert(record.subject.clone()) {
                    continue;
                }
                let last = bounded(CONTEXT, self.store.last(&record.subject)).await?;
                let seen_at = last.as_ref().and_then(|last| {
                    Some(Record::read(last).ok()?.message().ok()?.producer_seen_at)
                });
                if seen_at.is_some_and(|seen_at| seen_at <= since)
                    && bounded(CONTEXT, self.remove(&record.subject)).await?
                {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// Bounds a call in time.
async fn bounded_call<T>(
    context: &'static str,
    id: &MessageId,
    call: impl Future<Output = Result<T, Undecided>>,
) -> Result<T, BackendError> {
    let called = tokio::time::timeout(super::CALL_TIMEOUT, call).await;
    called
        .unwrap_or(Err(Undecided::Failure(Failure::Silent)))
        .map_err(|undecided| undecided.of(context, id))
}

#[async_trait]
impl TopicLog for NatsMessages {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let Topic::Message(id) = topic else {
            return Ok(Page { entries: Vec::new(), more: false, bounds: Bounds::of_message(0) });
        };
        let read = read_page(topic, after, limit, &self.on_malformed, |from| {
            self.read_stored(topic, from, limit)
        });
        bounded_call("read a message", id, read).await
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        let Topic::Message(id) = topic else { return Ok(Bounds::of_message(0)) };
        Ok(self
            .observe(id)
            .await?
            .map_or(Bounds::of_message(0), |observed| observed.message.bounds()))
    }

    async fn probe(&self) -> Result<(), BackendError> {
        bounded("ask whether NATS takes writes", async { self.store.info().await }).await.map(drop)
    }
}

#[async_trait]
impl Messages for NatsMessages {
    async fn open(
        &self,
        id: &MessageId,
        owner: &UserId,
        takeover: bool,
    ) -> Result<Result<Opened, OpenRefusal>, BackendError> {
        let opened = self.decide(id, &[], |target, now| {
            match Message::open(target.map(|target| target.change.message), owner, takeover, now) {
                Err(refusal) => (Err(refusal), None),
                Ok(opened) => {
                    let change =
                        Change { message: opened.observed.message.clone(), appended: Vec::new() };
                    (Ok(opened), Some(change))
                }
            }
        });
        bounded_call("open a message", id, opened).await
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
        let appended = self.decide(id, &batch, |mut target, now| {
            let answers = append_batch(target.as_mut(), epoch, batch.iter().cloned(), now);
            let change =
                target.map(|target| target.change).filter(|change| !change.appended.is_empty());
            (answers, change)
        });
        bounded_call("append to a message", id, appended).await
    }

    async fn heartbeat(
        &self,
        id: &MessageId,
        epoch: Option<u64>,
    ) -> Result<Result<Observed, AppendRefusal>, BackendError> {
        let beaten = self.change_state(id, |message, now| message.heartbeat(epoch, now));
        Ok(bounded_call("take a heartbeat", id, beaten)
            .await?
            .unwrap_or(Err(AppendRefusal::Unknown)))
    }

    async fn request_stop(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let stop = |message: &mut Message, _| {
            message.request_stop();
            Ok::<(), Infallible>(())
        };
        let stopped = bounded_call("request a stop", id, self.change_state(id, stop)).await?;
        Ok(stopped.map(|Ok(observed)| observed))
    }

    async fn observe(&self, id: &MessageId) -> Result<Option<Observed>, BackendError> {
        let subject = self.subject(id);
        let known = bounded_call("look at a message", id, self.look(&subject)).await?;
        Ok(known.message.map(|message| Observed::at(self.clock.now(), message)))
    }

    async fn delete(&self, id: &MessageId) -> Result<bool, BackendError> {
        bounded("delete a message", self.remove(&self.subject(id))).await
    }

    async fn sweep(
        &self,
        silent_for: Duration,
        messages_max: usize,
    ) -> Result<usize, BackendError> {
        self.remove_silent_since(self.clock.now().minus(silent_for), messages_max).await
    }
}
