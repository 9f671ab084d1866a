//! Appends to a message: what is added, what repeats an earlier append, and what is refused.
//!
//! Invariant: every backend decides by [`append_batch`], while no other program can change the
//! message.

use std::sync::Arc;

use super::{AppendRefusal, Message};
use crate::domain::{event::Event, idempotency_key::IdempotencyKey, timestamp::Timestamp};

/// Most events of one message: what every backend can number.
pub const MESSAGE_EVENTS_MAX: u64 = i32::MAX as u64;

/// One event to be appended to a message.
#[derive(Clone, Debug)]
pub struct MessageAppend {
    /// The event.
    pub event: Arc<Event>,
    /// The number that its producer gave it; `None` for whichever comes next.
    pub sequence_no: Option<u64>,
    /// Makes a repeat recognisable where there is no number.
    pub idempotency_key: Option<IdempotencyKey>,
}

/// An event that was appended, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageAppended {
    /// Its number.
    pub sequence_no: u64,
    /// Whether it had been there before, so that nothing was appended now.
    pub duplicate: bool,
    /// Whether a stop was requested.
    pub stop_requested: bool,
}

/// A message and its events, as a backend holds them while it appends.
pub trait AppendTarget {
    /// The message as it is now.
    fn message(&mut self) -> &mut Message;

    /// The number that the first event with this key got, if that was within the idempotency
    /// window.
    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64>;

    /// Whether this event repeats the one under a number that is taken, as
    /// [`Event::is_repeated_by`] has it.
    fn holds(&self, sequence_no: u64, event: &Event) -> bool;

    /// Whether the backend has room for one more event of this message.
    fn has_room_for(&self, _append: &MessageAppend) -> bool {
        true
    }

    /// Adds an event under the next number. The message already counts it.
    fn push(&mut self, sequence_no: u64, append: MessageAppend);
}

/// Appends a producer's batch in its order, up to the first event that is refused: that one's
/// refusal is the last of the answers. Without a `target` the message is not there.
pub fn append_batch(
    mut target: Option<&mut impl AppendTarget>,
    epoch: Option<u64>,
    batch: impl IntoIterator<Item = MessageAppend>,
    now: Timestamp,
) -> Vec<Result<MessageAppended, AppendRefusal>> {
    let mut answers = Vec::new();
    for append in batch {
        let answer = target
            .as_deref_mut()
            .ok_or(AppendRefusal::Unknown)
            .and_then(|target| append_one(target, epoch, append, now));
        let is_refused = answer.is_err();
        answers.push(answer);
        if is_refused {
            break;
        }
    }
    answers
}

fn append_one(
    target: &mut impl AppendTarget,
    epoch: Option<u64>,
    append: MessageAppend,
    now: Timestamp,
) -> Result<MessageAppended, AppendRefusal> {
    let message = target.message();
    // Before all else: a fenced producer is not answered for what it appended earlier either.
    message.check_epoch(epoch)?;
    let (next, has_ended, stop_requested) =
        (message.next_sequence_no, message.end.is_some(), message.stop_requested);
    let repeat_of =
        |sequence_no| Ok(MessageAppended { sequence_no, duplicate: true, stop_requested });
    if let Some(first) = append.idempotency_key.as_ref().and_then(|key| target.number_of(key)) {
        return repeat_of(first);
    }
    match append.sequence_no {
        Some(taken) if taken < next && target.holds(taken, &append.event) => {
            return repeat_of(taken);
        }
        Some(taken) if taken < next => return Err(AppendRefusal::Conflict { sequence_no: taken }),
        _ if has_ended => return Err(AppendRefusal::Complete),
        Some(number) if number > next => {
            return Err(AppendRefusal::Gap { expected_sequence_no: next });
        }
        Some(_) | None => {}
    }
    if next >= MESSAGE_EVENTS_MAX || !target.has_room_for(&append) {
        return Err(AppendRefusal::TooLarge);
    }
    target.message().count(&append.event, now);
    target.push(next, append);
    Ok(MessageAppended { sequence_no: next, duplicate: false, stop_requested })
}
