//! Encoding once, and what doesn't fit.

use super::*;
use crate::domain::{
    event::EventType,
    json::Json,
    position::EventId,
    topic::{Topic, UserId},
};

pub(super) fn at(sequence: u64) -> Position {
    Position::After(EventId::timed(sequence, 0))
}

pub(super) fn event(sequence: u64, payload_bytes: usize) -> Arc<Event> {
    Arc::new(Event {
        event_type: EventType::parse("t").unwrap(),
        ts: Timestamp::from_ms(sequence),
        category: None,
        scope: None,
        payload: Json::parse(&format!("\"{}\"", "x".repeat(payload_bytes))).unwrap(),
    })
}

pub(super) fn entry(sequence: u64, prev: Option<Position>, payload_bytes: usize) -> Entry {
    Entry { id: EventId::timed(sequence, 0), prev, event: event(sequence, payload_bytes) }
}

const AMPLE: RingOptions = RingOptions { entries_max: 100, bytes_max: 1 << 20, total_bytes_max: 1 << 20 };

#[test]
fn a_slot_is_encoded_once_per_format_and_shared() {
    let (mut ring, total) = (Ring::new(), TotalBytes::default());
    ring.push(&entry(11, Some(at(10)), 5), &AMPLE, &total);
    ring.push_broadcast(&event(11, 5), &AMPLE, &total);
    let topic = Topic::User(UserId::parse("u1").unwrap());
    let frames = |format| {
        let mut frames = Vec::new();
        ring.visit(0, |slot| {
            frames.push(slot.frame(&topic, format));
            ControlFlow::Continue(())
        });
        frames
    };
    for format in [Format::Envelope, Format::Named] {
        let (one, another) = (frames(format), frames(format));
        assert_eq!((one.len(), &one), (2, &another));
        for (one, another) in one.iter().zip(&another) {
            assert_eq!(one.chunk().as_ptr(), another.chunk().as_ptr(), "two connections share one allocation");
        }
    }
    assert_ne!(frames(Format::Envelope), frames(Format::Named));
    assert_eq!(frames(Format::Envelope)[0], Frame::entry(Format::Envelope, &topic, EventId::timed(11, 0), &event(11, 5)));
}

#[test]
fn an_entry_larger_than_the_ring_leaves_it_empty_and_whole() {
    let options = RingOptions { bytes_max: 1_000, ..AMPLE };
    let (mut ring, total) = (Ring::new(), TotalBytes::default());
    assert_eq!(ring.push(&entry(11, Some(at(10)), 2_000), &options, &total), Step::Next);
    assert_eq!((ring.slots.len(), ring.bytes, ring.head()), (0, 0, Some(at(11))));
    assert_eq!(ring.number_behind(at(10)), None, "who lacks it reads the journal");
    assert_eq!(ring.push(&entry(12, Some(at(11)), 0), &options, &total), Step::Next);
}
