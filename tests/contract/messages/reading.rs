//! What readers of a message get, and how they hear of it.

use rejoin::domain::{
    cursor::{Bounds, Continuity},
    page::PageLimit,
    position::{EventId, Position},
};
use rejoin_test_support::soon;

use super::given::{chunk, message, of_type, topic};
use crate::contract::{
    backend::{Fixture, Options},
    follower::Follower,
    given::{AMPLE, assert_unbroken, numbers, to_append, user},
};

pub(crate) async fn a_message_reads_from_zero_in_pages_without_a_gap(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    one.append_to(&id, (0..25).map(chunk)).await;
    let (mut position, mut entries) = (Position::Start, Vec::new());
    loop {
        let page = two
            .messages
            .read(&topic(&id), position, PageLimit { entries_max: 10, ..AMPLE })
            .await
            .unwrap();
        assert_eq!(page.more, entries.len() + page.entries.len() < 25);
        assert_eq!(page.bounds.head, EventId::sequence(24).into());
        entries.extend(page.entries);
        position = EventId::sequence(entries.len() as u64 - 1).into();
        if !page.more {
            break;
        }
    }
    assert_eq!(numbers(&entries), (0..25).collect::<Vec<_>>());
    assert_eq!((entries[0].id, entries[0].prev), (EventId::sequence(0), Some(Position::Start)));
    assert_unbroken(&entries);
}

pub(crate) async fn a_message_is_never_truncated(fixture: &dyn Fixture) {
    let backend = fixture
        .open(Options {
            stream_maxlen: 5,
            replay_max_age: Some(std::time::Duration::from_secs(2)),
            ..Options::default()
        })
        .await;
    let process = backend.process().await;
    let id = process.open_message().await;
    process.append_to(&id, (0..40).map(chunk)).await;
    backend.pass(std::time::Duration::from_secs(3)).await;
    assert_eq!(
        process.read_all(&topic(&id), Position::Start).await.len(),
        40,
        "neither the bound of users' topics nor their age counts"
    );
    let bounds = process.bounds(&topic(&id)).await;
    assert_eq!(
        (bounds.origin, bounds.floor, bounds.oldest),
        (Position::Start, Some(Position::Start), Some(EventId::sequence(0)))
    );
    assert_eq!(bounds.continuity(Position::Start), Continuity::Whole);
    assert_eq!(bounds.continuity(EventId::sequence(40).into()), Continuity::Ahead);
}

pub(crate) async fn a_message_that_is_not_there_reads_as_an_empty_one(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let empty = Bounds {
        origin: Position::Start,
        floor: Some(Position::Start),
        oldest: None,
        head: Position::Start,
        shares_positions: false,
    };
    for id in [message(), process.open_message().await] {
        assert_eq!(process.bounds(&topic(&id)).await, empty);
        let page = process.messages.read(&topic(&id), Position::Start, AMPLE).await.unwrap();
        assert_eq!((page.entries.len(), page.more, page.bounds), (0, false, empty));
    }
}

pub(crate) async fn what_is_appended_to_a_watched_message_is_signalled(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    one.append_to(&id, [chunk(0)]).await;
    let mut followers =
        [Follower::of(&one, &topic(&id)).await, Follower::of(&two, &topic(&id)).await];
    for number in 1..30 {
        let producer = if number % 2 == 0 { &one } else { &two };
        producer.append_to(&id, [chunk(number)]).await;
    }
    one.append_to(&id, [of_type("end")]).await;
    for follower in &mut followers {
        soon("the signals", follower.follow_until(30)).await;
        assert_unbroken(&follower.entries);
        assert_eq!(numbers(&follower.entries[..29]), (1..30).collect::<Vec<_>>());
    }
}

pub(crate) async fn a_message_and_a_user_of_the_same_name_are_apart(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let id = process.open_message().await;
    process.append_to(&id, [chunk(7)]).await;
    for name in [id.to_string(), format!("message:{id}")] {
        let of_user = rejoin::domain::topic::Topic::User(user(&name));
        assert!(process.read_all(&of_user, Position::Start).await.is_empty());
        process.append_one(to_append(&of_user, 9)).await;
        process.journal.purge(of_user.user().unwrap()).await.unwrap();
    }
    assert_eq!(numbers(&process.read_all(&topic(&id), Position::Start).await), [7]);
}
