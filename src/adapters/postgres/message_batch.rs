//! What becomes of appends to messages that are written together: pure, under the locks that the
//! writer holds.
//!
//! Invariant: jobs are appended in their order, each to the message as those before it leave it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::stored_event::EventColumns;
use crate::domain::{
    event::Event,
    idempotency_key::IdempotencyKey,
    message::{AppendRefusal, AppendTarget, Message, MessageAppend, MessageAppended, append_batch},
    timestamp::Timestamp,
    topic::MessageId,
};

/// A batch of one caller.
#[derive(Clone, Debug)]
pub(super) struct MessageJob {
    pub(super) id: MessageId,
    pub(super) epoch: Option<u64>,
    pub(super) batch: Vec<MessageAppend>,
}

/// What one append is answered with.
pub(super) type AppendAnswer = Result<MessageAppended, AppendRefusal>;

/// The messages as they were found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) now: Timestamp,
    pub(super) messages: BTreeMap<MessageId, Message>,
    /// The numbers that keys got.
    pub(super) keys: HashMap<(MessageId, IdempotencyKey), u64>,
    /// The events that have the numbers that appends name.
    pub(super) taken: HashMap<(MessageId, u64), EventColumns>,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) events: Vec<NewEvent>,
    /// Every message that got an event, as it is now.
    pub(super) messages: BTreeMap<MessageId, Message>,
}

/// An event that was given its number.
#[derive(Debug)]
pub(super) struct NewEvent {
    pub(super) id: MessageId,
    pub(super) sequence_no: u64,
    pub(super) columns: EventColumns,
    pub(super) ts: Timestamp,
    pub(super) key: Option<IdempotencyKey>,
}

/// What has to be known beside the messages' rows.
#[derive(Debug)]
pub(super) struct Questions {
    pub(super) keys: Vec<(MessageId, IdempotencyKey)>,
    /// Numbers that are taken.
    pub(super) numbers: Vec<(MessageId, u64)>,
}

/// What has to be asked for these jobs.
pub(super) fn questions(jobs: &[MessageJob], messages: &BTreeMap<MessageId, Message>) -> Questions {
    let known = |job: &&MessageJob| messages.contains_key(&job.id);
    let appends = || {
        jobs.iter()
            .filter(known)
            .flat_map(|job| job.batch.iter().map(move |append| (&job.id, append)))
    };
    let keys = appends()
        .filter_map(|(id, append)| Some((id.clone(), append.idempotency_key.clone()?)))
        .collect();
    let next = |id| messages.get(id).map_or(0, |message| message.next_sequence_no);
    let numbers = appends()
        .filter_map(|(id, append)| Some((id, append.sequence_no?)))
        .filter(|(id, number)| *number < next(id))
        .map(|(id, number)| (id.clone(), number))
        .collect();
    Questions { keys, numbers }
}

/// Appends jobs' batches in their order, and gives their answers and what is to be written. What
/// was found is used up.
pub(super) fn append_jobs(
    jobs: &[MessageJob],
    mut found: Found,
) -> (Vec<Vec<AppendAnswer>>, Changes) {
    let mut changes = Changes::default();
    let append = |job: &MessageJob| {
        let now = found.now;
        let message = found.messages.get(&job.id).cloned();
        let mut target = message.map(|message| Appending {
            id: job.id.clone(),
            message,
            found: &mut found,
            changes: &mut changes,
        });
        let answers = append_batch(target.as_mut(), job.epoch, job.batch.iter().cloned(), now);
        if let Some(Appending { message, .. }) = target {
            found.messages.insert(job.id.clone(), message);
        }
        answers
    };
    let answers = jobs.iter().map(append).collect();
    let appended: BTreeSet<MessageId> = changes.events.iter().map(|new| new.id.clone()).collect();
    changes.messages = found.messages.into_iter().filter(|(id, _)| appended.contains(id)).collect();
    (answers, changes)
}

/// A message that is being appended to.
struct Appending<'a> {
    id: MessageId,
    message: Message,
    found: &'a mut Found,
    changes: &'a mut Changes,
}

impl AppendTarget for Appending<'_> {
    fn message(&mut self) -> &mut Message {
        &mut self.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        self.found.keys.get(&(self.id.clone(), key.clone())).copied()
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        let there = self.found.taken.get(&(self.id.clone(), sequence_no));
        there.is_some_and(|there| *there == EventColumns::of(event))
    }

    fn push(&mut self, sequence_no: u64, append: MessageAppend) {
        let MessageAppend { event, idempotency_key: key, .. } = append;
        let columns = EventColumns::of(&event);
        self.found.taken.insert((self.id.clone(), sequence_no), columns.clone());
        if let Some(key) = &key {
            self.found.keys.insert((self.id.clone(), key.clone()), sequence_no);
        }
        let (id, ts) = (self.id.clone(), event.ts);
        self.changes.events.push(NewEvent { id, sequence_no, columns, ts, key });
    }
}
