//! Messages that go.

use std::time::Duration;

use futures_util::StreamExt;
use rejoin::domain::position::Position;
use rejoin::ports::feed::Signal;
use rejoin_test_support::soon;

use super::given::{chunk, chunk_with_key, of_type, taken, topic};
use crate::contract::{
    backend::{Fixture, Options},
    given::{numbers, user},
};

pub(crate) async fn a_deleted_message_is_gone_and_its_watchers_are_told(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let (id, other) = (one.open_message().await, one.open_message().await);
    one.append_to(&id, [chunk(0)]).await;
    one.append_to(&other, [chunk(1)]).await;
    let mut signals = two.feed.signals();
    two.feed.watch(&topic(&id)).await.unwrap();
    assert!(one.messages.delete(&id).await.unwrap());
    loop {
        match soon("a signal", signals.next()).await.unwrap() {
            Signal::Grown(told) if told == topic(&id) => break,
            Signal::Interrupted => break,
            _ => {}
        }
    }
    assert_eq!(two.observe(&id).await, None);
    assert!(two.read_all(&topic(&id), Position::Start).await.is_empty());
    assert!(!two.messages.delete(&id).await.unwrap());
    assert_eq!(
        numbers(&two.read_all(&topic(&other), Position::Start).await),
        [1],
        "another message stays"
    );
}

pub(crate) async fn a_deleted_message_begins_anew(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let id = process.open_message().await;
    process.append_to(&id, [chunk(0), chunk_with_key(1, "k"), of_type("end")]).await;
    process.messages.request_stop(&id).await.unwrap();
    process.messages.delete(&id).await.unwrap();
    let opened = process.messages.open(&id, &user("u2"), false).await.unwrap().unwrap();
    let message = &opened.observed.message;
    assert_eq!(
        (opened.created, &message.owner, message.last_sequence_no()),
        (true, &user("u2"), None)
    );
    assert_eq!((message.stop_requested, message.end), (false, None));
    assert_eq!(process.append_to(&id, [chunk(5)]).await, [taken(0)]);
    assert_eq!(
        process.append_to(&id, [chunk_with_key(6, "k")]).await,
        [taken(1)],
        "its keys went with it"
    );
    assert_eq!(numbers(&process.read_all(&topic(&id), Position::Start).await), [5, 6]);
}

pub(crate) async fn the_sweep_removes_what_has_been_silent_for_too_long(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let mut old = Vec::new();
    for _ in 0..5 {
        let id = one.open_message().await;
        one.append_to(&id, [chunk(0), of_type("end")]).await;
        old.push(id);
    }
    backend.pass(Duration::from_secs(11)).await;
    let young = one.open_message().await;
    // No more at a time than asked for.
    for removed in [3, 2, 0] {
        one.messages.heartbeat(&young, None).await.unwrap().unwrap();
        assert_eq!(two.messages.sweep(Duration::from_secs(10), 3).await.unwrap(), removed);
    }
    for id in old {
        assert_eq!(one.observe(&id).await, None);
        assert!(one.read_all(&topic(&id), Position::Start).await.is_empty());
    }
    assert!(one.observe(&young).await.is_some());
}

pub(crate) async fn a_sweep_of_many_leaves_room_for_other_calls(fixture: &dyn Fixture) {
    const MANY: usize = 100;
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    for _ in 0..MANY {
        process.open_message().await;
    }
    backend.pass(Duration::from_secs(6)).await;
    let young = process.open_message().await;
    let sweep = async {
        let removed = process.messages.sweep(Duration::from_secs(5), 2 * MANY).await;
        removed.expect("a sweep does not stand in its own way")
    };
    let mut sweep = std::pin::pin!(sweep);
    loop {
        tokio::select! {
            removed = &mut sweep => break assert_eq!(removed, MANY),
            seen = process.messages.heartbeat(&young, None) => drop(seen.expect("the sweep stands in nobody's way").unwrap()),
        }
    }
    assert!(process.observe(&young).await.is_some());
}
