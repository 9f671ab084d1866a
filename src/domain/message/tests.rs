use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{event::Event, idempotency_key::IdempotencyKey},
    testing::{event_of_type, user},
};

/// A message as a backend may hold it, with room for so many events.
struct Held {
    message: Message,
    events: Vec<std::sync::Arc<Event>>,
    keys: HashMap<IdempotencyKey, u64>,
    room: usize,
}

impl AppendTarget for Held {
    fn message(&mut self) -> &mut Message {
        &mut self.message
    }

    fn number_of(&mut self, key: &IdempotencyKey) -> Option<u64> {
        self.keys.get(key).copied()
    }

    fn holds(&self, sequence_no: u64, event: &Event) -> bool {
        *self.events[usize::try_from(sequence_no).unwrap()] == *event
    }

    fn has_room_for(&self, _: &MessageAppend) -> bool {
        self.events.len() < self.room
    }

    fn push(&mut self, sequence_no: u64, append: MessageAppend) {
        assert_eq!(sequence_no, self.events.len() as u64);
        self.events.push(append.event);
        self.keys.extend(append.idempotency_key.map(|key| (key, sequence_no)));
    }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn opened(
    existing: Option<&Message>,
    owner: &str,
    takeover: bool,
    now: u64,
) -> Result<Opened, OpenRefusal> {
    Message::open(existing.cloned(), &user(owner), takeover, at(now))
}

/// A message with so many events.
fn held(events: usize) -> Held {
    let message = opened(None, "u1", false, 1).unwrap().observed.message;
    let mut held = Held { message, events: Vec::new(), keys: HashMap::new(), room: usize::MAX };
    held.append(None, vec![chunk(None, None); events]);
    held
}

impl Held {
    fn append(
        &mut self,
        epoch: Option<u64>,
        batch: Vec<MessageAppend>,
    ) -> Vec<Result<MessageAppended, AppendRefusal>> {
        append_batch(Some(self), epoch, batch, at(2))
    }

    /// The number of one event, and whether it was a repeat.
    fn append_one(
        &mut self,
        epoch: Option<u64>,
        append: MessageAppend,
    ) -> Result<(u64, bool), AppendRefusal> {
        self.append(epoch, vec![append])[0]
            .map(|appended| (appended.sequence_no, appended.duplicate))
    }

    fn take_over(&mut self, now: u64) -> Result<(), OpenRefusal> {
        self.message = opened(Some(&self.message), "u1", true, now)?.observed.message;
        Ok(())
    }
}

fn append(
    event_type: &str,
    payload: &str,
    sequence_no: Option<u64>,
    key: Option<&str>,
) -> MessageAppend {
    let idempotency_key = key.map(|key| IdempotencyKey::parse(key).unwrap());
    MessageAppend { event: event_of_type(event_type, payload), sequence_no, idempotency_key }
}

fn chunk(sequence_no: Option<u64>, key: Option<&str>) -> MessageAppend {
    append("chunk", "{}", sequence_no, key)
}

#[test]
fn numbers_go_from_zero_without_holes() {
    let mut held = held(0);
    assert_eq!(held.message.last_sequence_no(), None);
    assert_eq!(
        held.append_one(None, chunk(Some(1), None)),
        Err(AppendRefusal::Gap { expected_sequence_no: 0 })
    );
    assert_eq!(held.append_one(None, chunk(None, None)), Ok((0, false)));
    assert_eq!(held.append_one(None, chunk(Some(1), None)), Ok((1, false)));
    assert_eq!(
        held.append_one(None, chunk(Some(u64::MAX), None)),
        Err(AppendRefusal::Gap { expected_sequence_no: 2 })
    );
    assert_eq!(held.message.last_sequence_no(), Some(1));
    assert_eq!(
        append_batch(None::<&mut Held>, None, [chunk(None, None); 1], at(2)),
        [Err(AppendRefusal::Unknown)]
    );
}

#[test]
fn promise_5_a_repeat_gets_the_first_number_and_another_event_a_conflict() {
    let mut held = held(1);
    assert_eq!(held.append_one(None, chunk(Some(0), None)), Ok((0, true)));
    assert_eq!(
        held.append_one(None, append("chunk", "1", Some(0), None)),
        Err(AppendRefusal::Conflict { sequence_no: 0 })
    );
    assert_eq!(
        held.append_one(None, append("other", "{}", Some(0), None)),
        Err(AppendRefusal::Conflict { sequence_no: 0 })
    );
    assert_eq!(held.append_one(None, chunk(None, Some("k"))), Ok((1, false)));
    assert_eq!(
        held.append_one(None, append("other", "1", None, Some("k"))),
        Ok((1, true)),
        "the key alone makes it a repeat"
    );
    assert_eq!(held.events.len(), 2);
}

#[test]
fn a_batch_is_appended_up_to_the_first_that_is_refused() {
    let mut held = held(0);
    let batch = vec![
        chunk(None, Some("a")),
        chunk(None, Some("a")),
        chunk(Some(7), None),
        chunk(None, None),
    ];
    let answers = held.append(None, batch);
    assert_eq!(
        answers.iter().map(|answer| answer.map(|appended| appended.duplicate)).collect::<Vec<_>>(),
        [Ok(false), Ok(true), Err(AppendRefusal::Gap { expected_sequence_no: 1 })]
    );
    assert_eq!(held.events.len(), 1);
}

#[test]
fn after_the_terminal_event_nothing_is_appended_but_a_repeat_is_recognised() {
    for (terminal, status) in [("end", Status::Complete), ("error", Status::Failed)] {
        let mut held = held(1);
        held.append(None, vec![append(terminal, "{}", None, Some("last"))]);
        for sequence_no in [None, Some(2), Some(9)] {
            assert_eq!(
                held.append_one(None, chunk(sequence_no, None)),
                Err(AppendRefusal::Complete)
            );
        }
        assert_eq!(held.append_one(None, append(terminal, "{}", Some(1), None)), Ok((1, true)));
        assert_eq!(
            held.append_one(None, append(terminal, "{}", None, Some("last"))),
            Ok((1, true))
        );
        assert_eq!(held.message.heartbeat(None, at(4)), Err(AppendRefusal::Complete));
        assert_eq!(held.take_over(4), Err(OpenRefusal::Complete));
        let again = opened(Some(&held.message), "u1", false, 4).unwrap();
        assert_eq!((&again.observed.message, again.created), (&held.message, false));
        let observed = Observed { message: held.message, silent_for: Duration::MAX };
        assert_eq!(observed.status(Duration::ZERO), status, "a message that ended is never stale");
    }
}

#[test]
fn a_takeover_fences_every_other_producer_that_gives_its_epoch() {
    let mut held = held(1);
    held.append(None, vec![chunk(None, Some("k"))]);
    assert_eq!(
        opened(Some(&held.message), "u1", false, 3).unwrap().observed.message.epoch,
        1,
        "opening again takes nothing over"
    );
    held.take_over(3).unwrap();
    let fenced = Err(AppendRefusal::Fenced { epoch: 2 });
    for append in
        [chunk(None, None), chunk(Some(0), None), chunk(None, Some("k")), chunk(Some(9), None)]
    {
        assert_eq!(held.append_one(Some(1), append), fenced, "also what it appended before");
    }
    assert_eq!(held.message.heartbeat(Some(1), at(9)), Err(AppendRefusal::Fenced { epoch: 2 }));
    assert_eq!(
        held.message.producer_seen_at,
        at(3),
        "a producer that is fenced gives no sign of life"
    );
    assert_eq!(held.append_one(Some(3), chunk(None, None)), fenced, "nobody was given that epoch");
    assert_eq!(held.append_one(Some(2), chunk(None, None)), Ok((2, false)));
    assert_eq!(
        held.append_one(None, chunk(None, None)),
        Ok((3, false)),
        "without an epoch nothing is fenced"
    );
}

#[test]
fn what_there_is_no_room_for_is_too_large_and_a_repeat_is_recognised_all_the_same() {
    let mut full = held(2);
    full.room = 2;
    let mut numbered = held(1);
    numbered.message.next_sequence_no = MESSAGE_EVENTS_MAX;
    for held in [&mut full, &mut numbered] {
        assert_eq!(held.append_one(None, chunk(None, None)), Err(AppendRefusal::TooLarge));
        assert_eq!(held.append_one(None, chunk(Some(0), None)), Ok((0, true)));
        assert_eq!(held.message.heartbeat(None, at(3)), Ok(()));
    }
}

#[test]
fn a_stop_is_answered_to_every_producer_from_then_on() {
    let mut held = held(0);
    assert!(!held.append(None, vec![chunk(None, None)])[0].unwrap().stop_requested);
    held.message.request_stop();
    for append in [chunk(None, None), chunk(Some(0), None)] {
        assert!(held.append(None, vec![append])[0].unwrap().stop_requested);
    }
    held.take_over(3).unwrap();
    assert!(held.message.stop_requested);
}

#[test]
fn promise_8_a_message_belongs_to_who_opened_it() {
    let held = held(1);
    for takeover in [false, true] {
        assert_eq!(opened(Some(&held.message), "u2", takeover, 9), Err(OpenRefusal::Another));
    }
}

#[test]
fn a_silent_producer_makes_a_message_stale() {
    let observed = |now_ms| Observed::at(at(now_ms), held(1).message);
    assert_eq!(observed(2 + 89_999).status(Duration::from_secs(90)), Status::Streaming);
    assert_eq!(observed(2 + 90_000).status(Duration::from_secs(90)), Status::Stale);
    assert_eq!(observed(0).silent_for, Duration::ZERO, "the clock has stepped back");
}

proptest! {
    #[test]
    fn whatever_producers_try_the_numbers_have_no_hole_and_nothing_follows_the_end(
        tries in proptest::collection::vec((proptest::option::of(0_u64..4), proptest::option::of(0_u64..12), 0..10), 0..60),
    ) {
        let mut held = held(0);
        for (epoch, sequence_no, kind) in tries {
            let event_type = match kind { 0 => "end", 1 => "error", _ => "chunk" };
            let (count, has_ended) = (held.events.len() as u64, held.message.end.is_some());
            match held.append_one(epoch, append(event_type, "{}", sequence_no, None)) {
                Ok((number, false)) => {
                    prop_assert!(epoch.is_none_or(|epoch| epoch == held.message.epoch));
                    prop_assert_eq!(number, count);
                    prop_assert!(!has_ended);
                }
                Ok((number, true)) => prop_assert!(number < count),
                Err(_) => prop_assert_eq!(held.events.len() as u64, count),
            }
            if kind == 2 {
                let _ = held.take_over(6);
            }
            prop_assert_eq!(held.message.next_sequence_no, held.events.len() as u64);
        }
        let is_terminal = |event: &std::sync::Arc<Event>| event.terminal().is_some();
        prop_assert_eq!(held.message.end.is_some(), held.events.last().is_some_and(is_terminal));
    }
}
