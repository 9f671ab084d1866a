//! Encoding once, what doesn't fit, and whose entries make room.

use std::sync::{Mutex, Weak};

use super::*;
use crate::{
    app::hub::rings::RingHolder,
    domain::{
        cursor::Bounds,
        event::Event,
        frame::{Format, Frame},
        position::EventId,
        topic::{Topic, UserId},
    },
    testing,
};

/// A ring that others share their bytes with.
pub(super) struct Held(pub(super) Mutex<Ring>);

impl Held {
    pub(super) fn new(rings: &Arc<Rings>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Ring::new(Arc::clone(rings)))))
    }

    /// Changes the ring, and makes room as the hub does.
    pub(super) fn change<T>(
        self: &Arc<Self>,
        rings: &Rings,
        change: impl FnOnce(&mut Ring) -> T,
    ) -> T {
        let mut ring = self.0.lock().unwrap();
        let result = change(&mut ring);
        let order = ring.take_listing();
        drop(ring);
        if let Some(order) = order {
            rings.list(order, Arc::<Self>::downgrade(self) as Weak<dyn RingHolder>);
        }
        rings.make_room();
        result
    }
}

impl RingHolder for Held {
    fn give_way(&self, order: u64) -> Option<u64> {
        self.0.lock().unwrap().give_way(order)
    }
}

fn no_bound() -> Arc<Rings> {
    Arc::new(Rings::new(usize::MAX))
}

pub(super) fn at(sequence: u64) -> Position {
    Position::After(EventId::timed(sequence, 0))
}

pub(super) fn event(sequence: u64, payload_bytes: usize) -> Arc<Event> {
    Arc::new(Event {
        ts: Timestamp::from_ms(sequence),
        ..(*testing::event_of_bytes(payload_bytes)).clone()
    })
}

pub(super) fn entry(sequence: u64, prev: Option<Position>, payload_bytes: usize) -> Entry {
    Entry { id: EventId::timed(sequence, 0), prev, event: event(sequence, payload_bytes) }
}

const AMPLE: RingOptions =
    RingOptions { ring_entries_max: 100, ring_max_bytes: 1 << 20, rings_max_bytes: 1 << 20 };

#[test]
fn a_slot_is_encoded_once_per_format_and_shared() {
    let mut ring = Ring::new(no_bound());
    ring.push(&entry(11, Some(at(10)), 5), &AMPLE);
    ring.push(&entry(12, Some(at(11)), 5), &AMPLE);
    let topic = Topic::User(UserId::parse("u1").unwrap());
    let frames = |format| {
        let mut frames = Vec::new();
        ring.visit(0, |slot| {
            frames.push(slot.frame(&topic, format));
            ControlFlow::Continue(())
        });
        frames
    };
    for format in [Format::Whole, Format::Named] {
        let (one, another) = (frames(format), frames(format));
        assert_eq!((one.len(), &one), (2, &another));
        for (one, another) in one.iter().zip(&another) {
            assert_eq!(
                one.chunk().as_ptr(),
                another.chunk().as_ptr(),
                "two connections share one allocation"
            );
        }
    }
    assert_ne!(frames(Format::Whole), frames(Format::Named));
    assert_eq!(
        frames(Format::Whole)[0],
        Frame::entry(Format::Whole, &topic, EventId::timed(11, 0), &event(11, 5))
    );
}

#[test]
fn an_entry_larger_than_the_ring_leaves_it_empty_and_whole() {
    let options = RingOptions { ring_max_bytes: 1_000, ..AMPLE };
    let mut ring = Ring::new(no_bound());
    assert_eq!(ring.push(&entry(11, Some(at(10)), 2_000), &options), Step::Next);
    assert_eq!((ring.slots.len(), ring.bytes, ring.head()), (0, 0, Some(at(11))));
    assert_eq!(ring.number_behind(at(10)), None, "who lacks it reads the journal");
    assert_eq!(ring.push(&entry(12, Some(at(11)), 0), &options), Step::Next);
}

#[test]
fn a_ring_that_is_dropped_counts_no_more() {
    let rings = no_bound();
    let mut ring = Ring::new(Arc::clone(&rings));
    ring.push(&entry(11, Some(at(10)), 5), &AMPLE);
    assert!(rings.bytes() > 0);
    drop(ring);
    assert_eq!(rings.bytes(), 0);
}

/// How many entries each of some rings holds.
fn lengths(all: &[Arc<Held>]) -> Vec<usize> {
    all.iter().map(|held| held.0.lock().unwrap().slots.len()).collect()
}

fn push_next(held: &Arc<Held>, rings: &Rings) {
    held.change(rings, |ring| {
        let next = ring.head().map_or(11, |head| head.id().unwrap().major() + 1);
        ring.push(&entry(next, Some(at(next - 1)), 5), &AMPLE);
    });
}

#[test]
fn promise_7_the_oldest_entry_of_all_rings_makes_room_whichever_ring_holds_it() {
    let cost = Slot::new(entry(11, None, 5)).cost_bytes();
    let rings = Arc::new(Rings::new(10 * cost));
    let all = [Held::new(&rings), Held::new(&rings), Held::new(&rings)];
    let push = |which: usize, times: usize| (0..times).for_each(|_| push_next(&all[which], &rings));
    push(0, 6);
    push(1, 4);
    assert_eq!(lengths(&all), [6, 4, 0]);
    push(2, 5);
    assert_eq!(lengths(&all), [1, 4, 5], "who came first makes room, though it stays");
    push(0, 1);
    assert_eq!(lengths(&all), [1, 4, 5]);
    push(2, 4);
    assert_eq!(lengths(&all), [1, 0, 9]);
    all[2].change(&rings, |ring| ring.restart(None));
    push(1, 9);
    assert_eq!(
        (lengths(&all), rings.bytes()),
        (vec![1, 9, 0], 10 * cost),
        "a ring that began anew has given its room back"
    );
    push(2, 3);
    assert_eq!(lengths(&all), [0, 7, 3]);
    drop(all);
    assert_eq!(rings.bytes(), 0);
}

/// A page of a journal that has the entries from `oldest` to `newest`, read after `position`.
fn page(position: u64, oldest: u64, newest: u64, floor_is_known: bool) -> Page {
    let floor = floor_is_known.then_some(at(oldest - 1));
    let bounds = Bounds {
        origin: at(5),
        floor,
        oldest: Some(EventId::timed(oldest, 0)),
        head: at(newest),
        shares_positions: false,
    };
    let entries = (oldest.max(position + 1)..=newest)
        .map(|sequence| entry(sequence, Some(at(sequence - 1)), 5))
        .collect();
    Page { entries, more: false, bounds }
}

fn positions(ring: &Ring) -> Vec<Position> {
    ring.slots.iter().map(Slot::position).collect()
}

#[test]
fn a_page_continues_what_came_live_during_its_read() {
    let mut ring = Ring::new(no_bound());
    ring.anchor(at(10));
    for sequence in 11..=12 {
        ring.push(&entry(sequence, Some(at(sequence - 1)), 5), &AMPLE);
    }
    assert!(ring.take_page(at(10), &page(10, 8, 14, true), &AMPLE));
    assert_eq!((positions(&ring), ring.incarnation), ((11..=14).map(at).collect(), 0));
}

#[test]
fn a_truncated_page_begins_the_ring_anew() {
    for floor_is_known in [true, false] {
        let mut ring = Ring::new(no_bound());
        ring.anchor(at(10));
        assert!(ring.take_page(at(10), &page(10, 20, 22, floor_is_known), &AMPLE));
        assert_eq!((ring.head(), ring.incarnation), (Some(at(22)), 1));
        assert_eq!(
            ring.covers(at(15), Timestamp::from_ms(0)),
            None,
            "nobody knows what lay between"
        );
        assert!(ring.covers(at(20), Timestamp::from_ms(0)).is_some());
        assert_eq!(ring.covers(at(19), Timestamp::from_ms(0)).is_some(), floor_is_known);
    }
}

#[test]
fn a_truncated_page_does_not_undo_what_came_live_during_its_read() {
    let mut ring = Ring::new(no_bound());
    ring.anchor(at(10));
    for sequence in 11..=23 {
        ring.push(&entry(sequence, Some(at(sequence - 1)), 5), &AMPLE);
    }
    // The page was read before the last entry, and after the entries up to 19 had been trimmed.
    assert!(ring.take_page(at(10), &page(10, 20, 22, true), &AMPLE));
    assert_eq!((ring.head(), ring.incarnation), (Some(at(23)), 0));
}

#[test]
fn a_page_of_another_journal_begins_the_ring_anew_and_what_came_meanwhile_is_read() {
    for live in [false, true] {
        let mut ring = Ring::new(no_bound());
        ring.anchor(at(100));
        if live {
            ring.push(&entry(101, Some(at(22)), 5), &AMPLE);
        }
        assert_eq!(ring.take_page(at(100), &page(100, 20, 22, true), &AMPLE), !live);
        assert_eq!((ring.head(), ring.incarnation), (Some(at(22)), 1));
    }
}

#[test]
fn a_page_for_a_ring_that_began_anew_is_dropped() {
    let mut ring = Ring::new(no_bound());
    ring.anchor(at(10));
    ring.restart(None);
    assert!(!ring.take_page(at(10), &page(10, 8, 14, true), &AMPLE));
    assert!(!ring.take_page(at(10), &page(10, 20, 22, true), &AMPLE));
    assert_eq!((positions(&ring), ring.head()), (Vec::new(), None));
}
