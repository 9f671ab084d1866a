//! Users' events: one stream, a subject for each user.
//!
//! Invariants: an entry is appended only behind the one that it says it follows; an id is returned
//! only of what the stream has acknowledged; events that are appended together are there together
//! or not at all.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::time::{Instant, timeout};

use super::{
    chain::Span,
    connection::CALL_TIMEOUT,
    documents::Documents,
    ends::{Ends, HeldEnd},
    entry::{PURGED, headers},
    failure::Failure,
    incarnation::ServersClock,
    store::{BATCH_MAX, Store, Stored, Tries, Write},
    subjects::{Subjects, token},
    trail::{Place, Trail},
};
use crate::{
    adapters::backend_kit::{
        Retention, stored_event,
        stored_page::{OnMalformed, StoredPage, read_page},
    },
    domain::{
        category::Registry,
        cursor::Bounds,
        page::{Page, PageLimit},
        position::Position,
        retention::retained_since,
        topic::{Topic, UserId},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        entropy::Entropy,
        journal::{Append, Appended, Journal},
        topic_log::TopicLog,
    },
};

/// What headers of ours and of the server's take of a message, at most.
pub(super) const HEADERS_BYTES_MAX: usize = 2_048;
/// How many topics' ends are looked up at the same time.
const LOOKS_AT_ONCE: usize = 64;
/// Within this, an append is answered. Those to one topic go one after another, so it may wait for
/// others.
const APPEND_TIMEOUT: Duration = Duration::from_secs(4);
/// How often a look is begun anew because what was looked at has changed.
const LOOKS_MAX: usize = 10;

/// Users' events in a stream.
pub(super) struct NatsJournal {
    pub(super) store: Arc<Store>,
    pub(super) subjects: Arc<Subjects>,
    pub(super) documents: Arc<Documents>,
    pub(super) ends: Ends<End>,
    pub(super) clock: Arc<ServersClock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) registry: Arc<Registry>,
    pub(super) retention: Retention,
    pub(super) on_malformed: OnMalformed,
}

/// Where a topic ends, as it was when it was last looked at.
#[derive(Clone, Debug)]
pub(super) struct End {
    created_ms: u64,
    /// The sequence of its last message; 0 if there is none.
    last: u64,
    /// The trail of the entry that comes next.
    next: Trail,
    /// Whether nothing was tried since whose outcome is not known.
    is_certain: bool,
}

/// Where topics end that no other call of this process appends to meanwhile.
type HeldEnds<'a> = BTreeMap<&'a str, HeldEnd<End>>;

/// One event on its way.
struct Wanted<'a> {
    /// Its place in the caller's batch.
    index: usize,
    subject: String,
    append: &'a Append,
    payload: String,
}

/// A topic as it was found.
struct Look {
    bounds: Bounds,
    /// The oldest entry that counts, and the last one. Nothing, where there is none.
    found: Option<(u64, Stored)>,
}

impl NatsJournal {
    /// Appends what has room in one atomic batch.
    async fn append_some(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Appended>, Failure> {
        let mut subjects: Vec<&str> = wanted.iter().map(|wanted| &*wanted.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        // All take them in this order, so that there is no deadlock.
        let mut ends = BTreeMap::new();
        for subject in subjects {
            ends.insert(subject, self.ends.of(subject).await);
        }
        match self.append_until_nobody_interferes(wanted, &mut ends).await {
            Err(failure) if failure.is_no_stream() => {
                self.store.make_again().await?;
                self.append_until_nobody_interferes(wanted, &mut ends).await
            }
            Err(failure) if failure.is_duplicate_in_batch() => {
                // The server does not say which one it is: each by itself finds out.
                let mut appended = Vec::with_capacity(wanted.len());
                for one in wanted {
                    appended.extend(
                        self.append_until_nobody_interferes(std::slice::from_ref(one), &mut ends)
                            .await?,
                    );
                }
                Ok(appended)
            }
            answer => answer,
        }
    }

    async fn append_until_nobody_interferes(
        &self,
        wanted: &[Wanted<'_>],
        ends: &mut HeldEnds<'_>,
    ) -> Result<Vec<Appended>, Failure> {
        let mut tries = Tries::default();
        loop {
            let began = Instant::now();
            match self.try_to_append(wanted, ends).await {
                Err(failure) if tries.is_worth_another(&failure).await => {}
                Err(failure) => return Err(failure),
                Ok(appended) => {
                    for end in ends.values_mut() {
                        end.wrote(began.elapsed(), tries.met_others());
                    }
                    return Ok(appended);
                }
            }
        }
    }

    async fn try_to_append(
        &self,
        wanted: &[Wanted<'_>],
        ends: &mut HeldEnds<'_>,
    ) -> Result<Vec<Appended>, Failure> {
        let subjects: HashSet<&str> = wanted.iter().map(|one| &*one.subject).collect();
        // Those that are not known are looked up together.
        let (mut looks, mut next) = (Vec::new(), HashMap::with_capacity(subjects.len()));
        for (subject, end) in ends.iter_mut().filter(|(subject, _)| subjects.contains(**subject)) {
            match end.take() {
                Some(end) if end.is_certain => drop(next.insert(*subject, end)),
                before => looks.push(async move {
                    Ok::<_, Failure>((*subject, self.end_of(subject, before).await?))
                }),
            }
        }
        let looked: Vec<(&str, End)> =
            stream::iter(looks).buffer_unordered(LOOKS_AT_ONCE).try_collect().await?;
        next.extend(looked);
        for (subject, end) in ends.iter_mut() {
            if let Some(known) = next.get(subject) {
                **end = Some(End { is_certain: false, ..known.clone() });
            }
        }
        let mut writes = Vec::with_capacity(wanted.len());
        let (mut trails, mut expecting) = (Vec::with_capacity(wanted.len()), HashSet::new());
        for (index, one) in (0..).zip(wanted) {
            let end = next.get_mut(&*one.subject).expect("each was looked up above");
            // Within a batch the server sees to it by itself that nothing comes between.
            let expected = expecting.insert(&*one.subject).then_some(end.last);
            let mut headers = headers(end.created_ms, &end.next, index, expected);
            if let Some(key) = &one.append.idempotency_key {
                headers.insert("Nats-Msg-Id", format!("{} {key}", token(one.append.user.as_str())));
            }
            let after = end.next.next(Place::InBatch(index));
            trails.push((&*one.subject, std::mem::replace(&mut end.next, after)));
            writes.push(Write {
                subject: one.subject.clone(),
                headers,
                payload: one.payload.clone().into(),
            });
        }
        let count = writes.len() as u64;
        // Until it is acknowledged it is unknown where the topics end.
        let ack = self.store.write_all(writes, &*self.entropy).await?;
        if ack.duplicate {
            return Ok(vec![Appended { id: self.store.incarnation.id(ack.seq), duplicate: true }]);
        }
        let first = ack.seq + 1 - count;
        for (index, (subject, _)) in (first..).zip(&trails) {
            next.entry(subject).and_modify(|end| end.last = index);
        }
        for (subject, end) in next {
            let next = end.next.settled(first);
            if let Some(held) = ends.get_mut(subject) {
                **held = Some(End { next, ..end });
            }
        }
        Ok((first..=ack.seq)
            .map(|sequence| Appended { id: self.store.incarnation.id(sequence), duplicate: false })
            .collect())
    }

    /// Where a topic ends now. What was known of it before shows where it did not always have
    /// nothing.
    async fn end_of(&self, subject: &str, before: Option<End>) -> Result<End, Failure> {
        let last = self.store.last(subject).await?;
        let (last, next) = if let Some(message) = &last {
            (message.sequence, message.next_trail())
        } else {
            // What it had is over its time, and with it everything in the stream that is older; or
            // somebody has removed it.
            let over = self.store.info().await?.state.first_seq.saturating_sub(1);
            let created_ms = self.store.incarnation.created_ms();
            let removed = before
                .filter(|before| before.created_ms == created_ms)
                .map_or(0, |before| before.last);
            (0, Trail::begin(over.max(removed)))
        };
        Ok(End { created_ms: self.store.incarnation.created_ms(), last, next, is_certain: true })
    }

    /// A topic's extent, for who stands at a position.
    async fn look(&self, topic: &Topic, after: Option<Position>) -> Result<Look, Failure> {
        let subject = self.subjects.topic(topic);
        for _ in 0..LOOKS_MAX {
            if let Some(look) = self.look_once(&subject, after).await? {
                return Ok(look);
            }
        }
        Err(Failure::MalformedReply("the topic changes faster than it can be looked at".to_owned()))
    }

    async fn look_once(
        &self,
        subject: &str,
        after: Option<Position>,
    ) -> Result<Option<Look>, Failure> {
        let since = retained_since(self.clock.now(), self.retention.replay_max_age);
        let (last, oldest) =
            tokio::try_join!(self.store.last(subject), self.oldest(subject, since))?;
        let Some(last) = last.filter(|last| !last.is_purge() && last.time >= since) else {
            return self.look_at_none(subject, after).await;
        };
        let Some(oldest) = oldest else { return Ok(None) };
        let incarnation = &self.store.incarnation;
        let floor = oldest.trail().map(|trail| trail.follows());
        let bounds = Bounds {
            origin: incarnation.position(0),
            floor: self.floor(floor, after, oldest.sequence).await?,
            oldest: Some(incarnation.id(oldest.sequence)),
            head: incarnation.position(last.sequence),
            shares_positions: true,
        };
        Ok(Some(Look { bounds, found: Some((oldest.sequence, last)) }))
    }

    /// The oldest entry that counts.
    async fn oldest(
        &self,
        subject: &str,
        since: crate::domain::timestamp::Timestamp,
    ) -> Result<Option<Stored>, Failure> {
        let mut oldest = match self.retention.replay_max_age {
            Some(_) => self.store.first_since(subject, since).await?,
            None => self.store.first_from(subject, 1).await?,
        };
        while let Some(purge) = oldest.take_if(|message| message.is_purge()) {
            oldest = self.store.first_from(subject, purge.sequence + 1).await?;
        }
        Ok(oldest)
    }

    /// The extent of a topic of which no entry counts: its head is the stream's.
    async fn look_at_none(
        &self,
        subject: &str,
        after: Option<Position>,
    ) -> Result<Option<Look>, Failure> {
        // In this order: what is appended after the head was returned lies behind it.
        let info = self.store.info().await?;
        let since = retained_since(self.clock.now(), self.retention.replay_max_age);
        let last = self.store.last(subject).await?;
        let floor = match last {
            None => info.state.first_seq.saturating_sub(1),
            Some(last) if last.is_purge() => {
                last.trail().map_or(last.sequence, |trail| trail.follows())
            }
            Some(last) if last.time < since => last.sequence,
            Some(_) => return Ok(None),
        };
        let (incarnation, head) = (&self.store.incarnation, info.state.last_seq);
        let floor = self.floor(Some(floor.min(head)), after, head + 1).await?;
        let (origin, head) = (incarnation.position(0), incarnation.position(head));
        let bounds = Bounds { origin, floor, oldest: None, head, shares_positions: true };
        Ok(Some(Look { bounds, found: None }))
    }

    /// The floor for who stands at a position. Between the floor and the first entry behind it
    /// stand those that got a head of the stream while the topic had no entry: the message of
    /// another topic is there. Where it is gone, it may have been this topic's.
    async fn floor(
        &self,
        floor: Option<u64>,
        after: Option<Position>,
        first: u64,
    ) -> Result<Option<Position>, Failure> {
        let incarnation = &self.store.incarnation;
        let Some(floor) = floor else { return Ok(None) };
        let stands_at =
            after.map(|after| incarnation.sequence(after)).filter(|at| floor < *at && *at < first);
        let floor = match stands_at {
            Some(at) if self.store.at(at).await?.is_none() => first - 1,
            _ => floor,
        };
        Ok(Some(incarnation.position(floor)))
    }

    async fn read_stored(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<StoredPage, Failure> {
        let subject = self.subjects.topic(topic);
        for _ in 0..LOOKS_MAX {
            let Look { bounds, found } = self.look(topic, Some(after)).await?;
            let Some((oldest, last)) = found else {
                return Ok(StoredPage { entries: Vec::new(), more: false, bounds });
            };
            let (after, wanted) = (
                self.store.incarnation.sequence(after),
                limit.entries_max.max(1).saturating_add(1),
            );
            let span = Span { subject: &subject, oldest, last: &last };
            let Some(sequences) = self.store.sequences_after(span, after, wanted).await? else {
                continue;
            };
            let messages = match &sequences[..] {
                [only] if *only == last.sequence => vec![last],
                sequences => {
                    let found = self
                        .store
                        .messages(&subject, sequences, limit.bytes_max.saturating_add(1))
                        .await?;
                    if found.some_are_gone {
                        continue;
                    }
                    found.messages
                }
            };
            let more = messages.len() < sequences.len();
            let is_entry = |message: &&Stored| !message.is_purge();
            let entries = messages
                .iter()
                .filter(is_entry)
                .map(|message| message.entry(&self.store.incarnation, &self.registry));
            return Ok(StoredPage { entries: entries.collect(), more, bounds });
        }
        Err(Failure::MalformedReply("the topic changes faster than it can be read".to_owned()))
    }

    async fn purge_topic(&self, topic: &Topic) -> Result<(), Failure> {
        let subject = self.subjects.topic(topic);
        let mut end = self.ends.of(&subject).await;
        *end = None;
        let mut tries = Tries::default();
        loop {
            let last = self.store.last(&subject).await?;
            let Some(last) = last.filter(|last| !last.is_purge()) else { return Ok(()) };
            let mut headers = headers(
                self.store.incarnation.created_ms(),
                &Trail::begin(last.sequence),
                0,
                Some(last.sequence),
            );
            headers.insert(PURGED, "1");
            let write = Write { subject: subject.clone(), headers, payload: bytes::Bytes::new() };
            match self.store.write(write).await {
                Ok(mark) => return self.store.purge(&subject, Some(mark.seq)).await.map(drop),
                Err(failure) if tries.is_worth_another(&failure).await => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    async fn count(&self, topic: &Topic) -> Result<u64, Failure> {
        let Look { found, .. } = self.look(topic, None).await?;
        let Some((oldest, last)) = found else { return Ok(0) };
        let numbers = self
            .store
            .at(oldest)
            .await?
            .and_then(|oldest| Some((oldest.trail()?.number(), last.trail()?.number())));
        match numbers {
            Some((first, last)) if first <= last => Ok(last - first + 1),
            _ => {
                let span = Span { subject: &self.subjects.topic(topic), oldest, last: &last };
                Ok(self
                    .store
                    .sequences_after(span, 0, usize::MAX)
                    .await?
                    .map_or(0, |sequences| sequences.len() as u64))
            }
        }
    }
}

/// Bounds a call in time.
pub(super) async fn bounded<T>(
    context: &'static str,
    call: impl Future<Output = Result<T, Failure>>,
) -> Result<T, BackendError> {
    timeout(CALL_TIMEOUT, call)
        .await
        .unwrap_or(Err(Failure::Silent))
        .map_err(|failure| failure.of_call(context))
}

#[async_trait]
impl TopicLog for NatsJournal {
    async fn read(
        &self,
        topic: &Topic,
        after: Position,
        limit: PageLimit,
    ) -> Result<Page, BackendError> {
        let read = read_page(topic, after, limit, &self.on_malformed, |from| {
            self.read_stored(topic, from, limit)
        });
        bounded("read a topic", read).await
    }

    async fn bounds(&self, topic: &Topic) -> Result<Bounds, BackendError> {
        Ok(bounded("find a topic's bounds", self.look(topic, None)).await?.bounds)
    }

    async fn probe(&self) -> Result<(), BackendError> {
        bounded("ask whether NATS takes writes", self.documents.probe(&self.subjects.probe())).await
    }
}

#[async_trait]
impl Journal for NatsJournal {
    async fn append(
        &self,
        batch: Vec<Append>,
    ) -> Result<Vec<Result<Appended, BackendError>>, BackendError> {
        const CONTEXT: &str = "append events";
        let room = self.store.connection.max_payload().saturating_sub(HEADERS_BYTES_MAX);
        let mut answers: Vec<Option<Result<Appended, BackendError>>> =
            batch.iter().map(|_| None).collect();
        let (mut wanted, mut keys, mut repeats) = (Vec::new(), HashMap::new(), Vec::new());
        for (index, append) in batch.iter().enumerate() {
            let topic = Topic::User(append.user.clone());
            let payload = stored_event::encode(&topic, &append.event);
            if payload.len() > room {
                answers[index] = Some(Err(BackendError::new(BackendErrorKind::TooLarge, CONTEXT)));
                continue;
            }
            if let Some(key) = &append.idempotency_key
                && let Some(first) = keys.insert((&append.user, key), index)
            {
                keys.insert((&append.user, key), first);
                repeats.push((index, first));
                continue;
            }
            wanted.push(Wanted { index, subject: self.subjects.topic(&topic), append, payload });
        }
        for some in wanted.chunks(BATCH_MAX) {
            let appended = timeout(APPEND_TIMEOUT, self.append_some(some))
                .await
                .unwrap_or(Err(Failure::Silent));
            let appended = appended.map_err(|failure| failure.of_call(CONTEXT))?;
            for (wanted, appended) in some.iter().zip(appended) {
                answers[wanted.index] = Some(Ok(appended));
            }
        }
        for (index, first) in repeats {
            let first = answers[first].as_ref().and_then(|answer| answer.as_ref().ok()).copied();
            answers[index] = first.map(|first| Ok(Appended { duplicate: true, ..first }));
        }
        Ok(answers
            .into_iter()
            .map(|answer| {
                answer.unwrap_or_else(|| Err(BackendError::new(BackendErrorKind::Timeout, CONTEXT)))
            })
            .collect())
    }

    async fn length(&self, user: &UserId) -> Result<u64, BackendError> {
        bounded("count a topic's entries", self.count(&Topic::User(user.clone()))).await
    }

    async fn purge(&self, user: &UserId) -> Result<(), BackendError> {
        bounded("purge a topic", self.purge_topic(&Topic::User(user.clone()))).await
    }
}
