use super::*;
use proptest::prelude::*;

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn event_type(text: &str) -> EventType {
    EventType::parse(text).unwrap()
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(ms)
}

fn message_of(events: u64) -> Message {
    let mut message = Message::opened(user("u1"), at(1));
    for _ in 0..events {
        message.appended(&event_type("chunk"), at(2));
    }
    message
}

#[test]
fn numbers_go_from_zero_without_holes() {
    let mut message = message_of(0);
    assert_eq!(message.last_sequence_no(), None);
    assert_eq!(message.place(None, None), Ok(Place::Next(0)));
    assert_eq!(message.place(None, Some(0)), Ok(Place::Next(0)));
    assert_eq!(message.place(None, Some(1)), Err(AppendRefusal::Gap { expected_sequence_no: 0 }));
    message.appended(&event_type("chunk"), at(2));
    assert_eq!(message.last_sequence_no(), Some(0));
    assert_eq!(message.place(None, Some(0)), Ok(Place::Taken(0)));
    assert_eq!(message.place(None, Some(u64::MAX)), Err(AppendRefusal::Gap { expected_sequence_no: 1 }));
}

#[test]
fn after_the_terminal_event_nothing_is_appended_but_a_repeat_is_recognised() {
    for (terminal, status) in [("end", Status::Complete), ("error", Status::Failed)] {
        let mut message = message_of(1);
        message.appended(&event_type(terminal), at(3));
        assert_eq!(message.place(None, None), Err(AppendRefusal::Complete));
        assert_eq!(message.place(None, Some(2)), Err(AppendRefusal::Complete));
        assert_eq!(message.place(None, Some(9)), Err(AppendRefusal::Complete));
        assert_eq!(message.place(None, Some(1)), Ok(Place::Taken(1)));
        assert_eq!(message.heartbeat(None, at(4)), Err(AppendRefusal::Complete));
        assert_eq!(message.open_again(&user("u1"), true, at(4)), Err(OpenRefusal::Complete));
        assert_eq!(message.open_again(&user("u1"), false, at(4)), Ok(()));
        let observed = Observed { message, silent_for: Duration::MAX };
        assert_eq!(observed.status(Duration::ZERO), status, "a message that ended is never stale");
    }
}

#[test]
fn a_takeover_fences_every_other_producer_that_tells_its_epoch() {
    let mut message = message_of(1);
    assert_eq!(message.open_again(&user("u1"), false, at(3)), Ok(()));
    assert_eq!(message.epoch, 1, "opening again takes nothing over");
    assert_eq!(message.open_again(&user("u1"), true, at(3)), Ok(()));
    assert_eq!(message.place(Some(1), None), Err(AppendRefusal::Fenced { epoch: 2 }));
    assert_eq!(message.place(Some(1), Some(0)), Err(AppendRefusal::Fenced { epoch: 2 }));
    assert_eq!(message.heartbeat(Some(1), at(9)), Err(AppendRefusal::Fenced { epoch: 2 }));
    assert_eq!(message.producer_seen_at, at(3), "a producer that is fenced gives no sign of life");
    assert_eq!(message.place(Some(3), None), Err(AppendRefusal::Fenced { epoch: 2 }), "nobody was given that epoch");
    assert_eq!(message.place(Some(2), None), Ok(Place::Next(1)));
    assert_eq!(message.place(None, None), Ok(Place::Next(1)), "without an epoch nothing is fenced");
}

#[test]
fn promise_8_a_message_belongs_to_who_opened_it() {
    let mut message = message_of(1);
    let before = message.clone();
    for takeover in [false, true] {
        assert_eq!(message.open_again(&user("u2"), takeover, at(9)), Err(OpenRefusal::Another));
    }
    assert_eq!(message, before);
}

#[test]
fn a_silent_producer_makes_a_message_stale() {
    let observed = |silent_for| Observed { message: message_of(1), silent_for };
    assert_eq!(observed(Duration::from_secs(89)).status(Duration::from_secs(90)), Status::Streaming);
    assert_eq!(observed(Duration::from_secs(90)).status(Duration::from_secs(90)), Status::Stale);
}

proptest! {
    #[test]
    fn whatever_producers_try_the_numbers_have_no_hole_and_nothing_follows_the_end(
        tries in proptest::collection::vec((proptest::option::of(0_u64..4), proptest::option::of(0_u64..12), 0..10), 0..60),
    ) {
        let mut message = message_of(0);
        let mut stored = Vec::new();
        for (epoch, sequence_no, kind) in tries {
            let event_type = event_type(match kind { 0 => "end", 1 => "error", _ => "chunk" });
            match message.place(epoch, sequence_no) {
                Ok(Place::Next(number)) => {
                    prop_assert!(epoch.is_none_or(|epoch| epoch == message.epoch));
                    prop_assert_eq!(number, stored.len() as u64);
                    prop_assert!(!stored.iter().any(|stored| Terminal::of(stored).is_some()));
                    message.appended(&event_type, at(5));
                    stored.push(event_type);
                }
                Ok(Place::Taken(number)) => prop_assert!(number < stored.len() as u64),
                Err(_) => {}
            }
            if kind == 2 {
                let _ = message.open_again(&user("u1"), true, at(6));
            }
        }
        prop_assert_eq!(message.next_sequence_no, stored.len() as u64);
        prop_assert_eq!(message.end.is_some(), stored.last().is_some_and(|last| Terminal::of(last).is_some()));
    }
}
