//! What connections get of broadcasts, and what those cost that are behind.

use super::*;
use crate::{domain::timestamp::Timestamp, testing};

const AMPLE: usize = 1 << 20;

fn event(number: usize, payload_bytes: usize) -> Arc<Event> {
    Arc::new(Event {
        ts: Timestamp::from_ms(number as u64),
        ..(*testing::event_of_bytes(payload_bytes)).clone()
    })
}

fn numbers(tail: &mut BroadcastTail) -> Result<Vec<u64>, Missed> {
    let mut seen = Vec::new();
    tail.take(|content| {
        seen.push(content.event.ts.as_ms());
        ControlFlow::Continue(())
    })?;
    Ok(seen)
}

#[test]
fn each_connection_takes_what_came_since_it_is_here_once() {
    let broadcasts = Broadcasts::new(AMPLE);
    let mut early = broadcasts.tail();
    broadcasts.add(event(1, 0));
    let mut late = broadcasts.tail();
    broadcasts.add(event(2, 0));
    assert_eq!((numbers(&mut early), numbers(&mut late)), (Ok(vec![1, 2]), Ok(vec![2])));
    assert_eq!((numbers(&mut early), numbers(&mut late)), (Ok(vec![]), Ok(vec![])));
    broadcasts.add(event(3, 0));
    assert_eq!(numbers(&mut early), Ok(vec![3]));
}

#[test]
fn a_visit_that_breaks_off_goes_on_behind_what_it_saw() {
    let broadcasts = Broadcasts::new(AMPLE);
    let mut tail = broadcasts.tail();
    (1..=3).for_each(|number| broadcasts.add(event(number, 0)));
    tail.take(|_| ControlFlow::Break(())).unwrap();
    assert_eq!(numbers(&mut tail), Ok(vec![2, 3]));
}

#[test]
fn promise_7_what_everybody_has_taken_is_freed_and_what_is_kept_is_bounded() {
    let broadcasts = Broadcasts::new(10_000);
    let (mut quick, slow) = (broadcasts.tail(), broadcasts.tail());
    for number in 0..3 {
        broadcasts.add(event(number, 500));
        numbers(&mut quick).unwrap();
    }
    let behind = broadcasts.bytes.load(Ordering::Relaxed);
    assert!(behind > 3 * 3 * 500 && behind <= 10_000, "{behind}");
    drop(slow);
    assert_eq!(broadcasts.bytes.load(Ordering::Relaxed), 0);
    let mut slow = broadcasts.tail();
    for number in 0..1_000 {
        broadcasts.add(event(number, 500));
        numbers(&mut quick).unwrap();
        assert!(broadcasts.bytes.load(Ordering::Relaxed) <= 10_000);
    }
    assert!(broadcasts.state().kept.len() <= 10);
    assert_eq!(numbers(&mut slow), Err(Missed), "it is not passed over in silence");
}

#[test]
fn a_publisher_is_refused_where_it_would_take_a_broadcast_from_a_connection_that_is_behind() {
    let broadcasts = Broadcasts::new(10_000);
    assert_eq!(broadcasts.room_for(&event(0, 4_000)), Err(NoRoom::TooLarge { bytes_max: 2_500 }));
    let mut slow = broadcasts.tail();
    let mut taken = 0;
    while broadcasts.room_for(&event(0, 500)).is_ok() {
        broadcasts.add(event(taken, 500));
        taken += 1;
    }
    assert_eq!(broadcasts.room_for(&event(0, 500)), Err(NoRoom::Full));
    assert_eq!(numbers(&mut slow).map(|seen| seen.len()), Ok(taken));
    assert_eq!(broadcasts.room_for(&event(0, 500)), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_connection_keeps_publishers_waiting_for_a_bounded_time() {
    let broadcasts = Broadcasts::new(10_000);
    let mut slow = broadcasts.tail();
    while broadcasts.room_for(&event(0, 500)).is_ok() {
        broadcasts.add(event(0, 500));
    }
    tokio::time::advance(KEPT_AT_MOST).await;
    assert_eq!(broadcasts.room_for(&event(0, 500)), Err(NoRoom::Full));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(broadcasts.room_for(&event(0, 500)), Ok(()));
    assert_eq!(numbers(&mut slow), Err(Missed));
}

#[test]
fn a_connection_that_is_far_behind_is_dropped_without_a_deep_stack() {
    let broadcasts = Broadcasts::new(1 << 30);
    let slow = broadcasts.tail();
    (0..200_000).for_each(|number| broadcasts.add(event(number, 0)));
    drop(slow);
    assert_eq!(broadcasts.bytes.load(Ordering::Relaxed), 0);
}

#[test]
fn a_broadcast_is_encoded_once_per_format() {
    let broadcasts = Broadcasts::new(AMPLE);
    let mut tails = [broadcasts.tail(), broadcasts.tail()];
    broadcasts.add(event(1, 10));
    let mut pointers = Vec::new();
    for tail in &mut tails {
        tail.take(|content| {
            pointers.push(content.frame(Format::Named).chunk().as_ptr());
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    assert_eq!(pointers[0], pointers[1]);
}
