//! What becomes of appends to messages that are written together: pure, under the locks that the writer holds.
//!
//! Invariant: jobs are judged in their order, each by the message as those before it leave it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{
    domain::{
        event::Event,
        idempotency_key::IdempotencyKey,
        message::{AppendRefusal, Message, Place},
        timestamp::Timestamp,
        topic::MessageId,
    },
    ports::messages::{MessageAppend, MessageAppended},
};

/// Postgres numbers events by 32 bits.
const SEQUENCE_NO_MAX: u64 = i32::MAX as u64 - 1;

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
    /// Type and payload of the events that have the numbers that appends name.
    pub(super) taken: HashMap<(MessageId, u64), (String, String)>,
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
    pub(super) event: Arc<Event>,
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
    let appends = || jobs.iter().filter(known).flat_map(|job| job.batch.iter().map(move |append| (job.id, append)));
    let keys = appends().filter_map(|(id, append)| Some((id, append.idempotency_key.clone()?))).collect();
    let next = |id| messages.get(&id).map_or(0, |message| message.next_sequence_no);
    let numbers = appends().filter_map(|(id, append)| Some((id, append.sequence_no?))).filter(|(id, number)| *number < next(*id)).collect();
    Questions { keys, numbers }
}

/// Judges jobs in their order. What is found is used up.
pub(super) fn judge(jobs: &[MessageJob], mut found: Found) -> (Vec<Vec<AppendAnswer>>, Changes) {
    let mut changes = Changes::default();
    let answers = jobs.iter().map(|job| found.judge_job(job, &mut changes)).collect();
    (answers, changes)
}

impl Found {
    fn judge_job(&mut self, job: &MessageJob, changes: &mut Changes) -> Vec<AppendAnswer> {
        let mut answers = Vec::with_capacity(job.batch.len());
        for append in &job.batch {
            answers.push(self.judge_append(job.id, job.epoch, append, changes));
            if answers.last().is_some_and(Result::is_err) {
                break;
            }
        }
        answers
    }

    fn judge_append(&mut self, id: MessageId, epoch: Option<u64>, append: &MessageAppend, changes: &mut Changes) -> AppendAnswer {
        let MessageAppend { event, sequence_no, idempotency_key } = append;
        let message = self.messages.get_mut(&id).ok_or(AppendRefusal::Unknown)?;
        let stop_requested = message.stop_requested;
        let repeat_of = |sequence_no| Ok(MessageAppended { sequence_no, duplicate: true, stop_requested });
        let place = message.place(epoch, *sequence_no);
        // A producer that is fenced has no say, not even of what it said before.
        if !matches!(place, Err(AppendRefusal::Fenced { .. }))
            && let Some(first) = idempotency_key.as_ref().and_then(|key| self.keys.get(&(id, key.clone())))
        {
            return repeat_of(*first);
        }
        let number = match place? {
            Place::Taken(number) => {
                let taken = self.taken.get(&(id, number));
                let is_repeat =
                    taken.is_some_and(|(event_type, payload)| event_type == event.event_type.as_str() && payload == event.payload.as_str());
                return if is_repeat { repeat_of(number) } else { Err(AppendRefusal::Conflict { sequence_no: number }) };
            }
            Place::Next(number) if number > SEQUENCE_NO_MAX => return Err(AppendRefusal::TooLarge),
            Place::Next(number) => number,
        };
        message.appended(&event.event_type, self.now);
        changes.messages.insert(id, message.clone());
        self.taken.insert((id, number), (event.event_type.as_str().to_owned(), event.payload.as_str().to_owned()));
        if let Some(key) = idempotency_key {
            self.keys.insert((id, key.clone()), number);
        }
        changes.events.push(NewEvent { id, sequence_no: number, event: Arc::clone(event), key: idempotency_key.clone() });
        Ok(MessageAppended { sequence_no: number, duplicate: false, stop_requested })
    }
}
