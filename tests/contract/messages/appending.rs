//! Numbers, repeats and ends.

use std::time::Duration;

use rejoin::domain::{
    message::{AppendRefusal, MessageAppend, Status},
    position::Position,
};
use tokio::task::JoinSet;

use super::given::{chunk, chunk_at, chunk_with_key, message, of_type, repeated, taken, topic};
use crate::contract::{
    backend::{Fixture, Options},
    given::{event_of, numbers, user},
};

pub(crate) async fn numbers_go_from_zero_without_holes(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    assert_eq!(one.append_to(&id, [chunk(0), chunk(1)]).await, [taken(0), taken(1)]);
    assert_eq!(
        two.append_to(&id, [chunk(2), chunk_at(3, 3), chunk(4)]).await,
        [taken(2), taken(3), taken(4)]
    );
    assert_eq!(
        one.append_to(&id, [chunk_at(6, 6)]).await,
        [Err(AppendRefusal::Gap { expected_sequence_no: 5 })]
    );
    assert_eq!(numbers(&two.read_all(&topic(&id), Position::Start).await), [0, 1, 2, 3, 4]);
    assert_eq!(two.observe(&id).await.unwrap().message.last_sequence_no(), Some(4));
}

pub(crate) async fn concurrent_producers_share_the_numbers(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    let id = processes[0].open_message().await;
    let mut producers = JoinSet::new();
    for n in 0..8 {
        let process = processes[n % 2].clone();
        let id = id.clone();
        producers.spawn(async move {
            let mut given = Vec::new();
            for _ in 0..25 {
                for answer in process.append_to(&id, [chunk(n), chunk(n)]).await {
                    given.push(answer.unwrap().sequence_no);
                }
            }
            assert!(given.is_sorted(), "a producer's own events keep their order");
            given
        });
    }
    let mut given: Vec<u64> = producers.join_all().await.concat();
    given.sort_unstable();
    assert_eq!(given, (0..400).collect::<Vec<_>>());
    assert_eq!(processes[1].read_all(&topic(&id), Position::Start).await.len(), 400);
}

pub(crate) async fn a_batch_is_taken_up_to_the_first_refusal(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let id = process.open_message().await;
    let answers = process.append_to(&id, [chunk(0), chunk_at(5, 5), chunk(6)]).await;
    assert_eq!(answers, [taken(0), Err(AppendRefusal::Gap { expected_sequence_no: 1 })]);
    assert_eq!(numbers(&process.read_all(&topic(&id), Position::Start).await), [0]);
    assert_eq!(process.append_to(&id, []).await, []);
    let behind_the_end =
        process.append_to(&id, [chunk(1), of_type("end"), chunk(2), chunk(3)]).await;
    assert_eq!(behind_the_end, [taken(1), taken(2), Err(AppendRefusal::Complete)]);
}

pub(crate) async fn a_repeat_of_a_number_appends_nothing_and_another_event_is_in_conflict(
    fixture: &dyn Fixture,
) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    one.append_to(&id, [chunk(0), chunk(1)]).await;
    assert_eq!(
        two.append_to(&id, [chunk_at(0, 0), chunk_at(1, 1), chunk_at(2, 2)]).await,
        [repeated(0), repeated(1), taken(2)]
    );
    assert_eq!(
        two.append_to(&id, [chunk_at(1, 7)]).await,
        [Err(AppendRefusal::Conflict { sequence_no: 1 })]
    );
    let other_type = super::given::of_type("end");
    let other_type = rejoin::domain::message::MessageAppend { sequence_no: Some(0), ..other_type };
    assert_eq!(
        two.append_to(&id, [other_type]).await,
        [Err(AppendRefusal::Conflict { sequence_no: 0 })]
    );
    assert_eq!(numbers(&one.read_all(&topic(&id), Position::Start).await), [0, 1, 2]);
}

pub(crate) async fn a_repeated_key_appends_once_on_its_own_message(fixture: &dyn Fixture) {
    let backend = fixture
        .open(Options { idempotency_window: Duration::from_secs(3), ..Options::default() })
        .await;
    let (one, two) = (backend.process().await, backend.process().await);
    let (id, other) = (one.open_message().await, one.open_message().await);
    assert_eq!(one.append_to(&id, [chunk(0), chunk_with_key(1, "k")]).await, [taken(0), taken(1)]);
    assert_eq!(two.append_to(&id, [chunk_with_key(9, "k")]).await, [repeated(1)]);
    assert_eq!(two.append_to(&other, [chunk_with_key(2, "k")]).await, [taken(0)]);
    backend.pass(Duration::from_millis(3_500)).await;
    assert_eq!(two.append_to(&id, [chunk_with_key(3, "k")]).await, [taken(2)]);
}

pub(crate) async fn concurrent_repeats_of_a_number_append_once(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    let id = processes[0].open_message().await;
    for round in 0..20 {
        let mut producers = JoinSet::new();
        for n in 0..4 {
            let process = processes[n % 2].clone();
            let id = id.clone();
            producers.spawn(async move { process.append_to(&id, [chunk_at(round, 7)]).await });
        }
        let answers = producers.join_all().await.concat();
        let taken = answers
            .iter()
            .filter(|answer| answer.is_ok_and(|appended| !appended.duplicate))
            .count();
        assert!(
            taken == 1
                && answers
                    .iter()
                    .all(|answer| answer.is_ok_and(|appended| appended.sequence_no == round)),
            "{answers:?}"
        );
    }
}

pub(crate) async fn nothing_follows_a_terminal_event(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    for (terminal, status) in [("end", Status::Complete), ("error", Status::Failed)] {
        let id = one.open_message().await;
        assert_eq!(one.append_to(&id, [chunk(0), of_type(terminal)]).await, [taken(0), taken(1)]);
        for refused in [chunk(1), of_type("end"), chunk_at(2, 2)] {
            assert_eq!(two.append_to(&id, [refused]).await, [Err(AppendRefusal::Complete)]);
        }
        assert_eq!(two.append_to(&id, [chunk_at(0, 0)]).await, [repeated(0)]);
        assert_eq!(two.messages.heartbeat(&id, None).await.unwrap(), Err(AppendRefusal::Complete));
        let observed = two.observe(&id).await.unwrap();
        assert_eq!(observed.status(Duration::from_secs(90)), status);
        assert!(observed.message.end.is_some());
    }
}

pub(crate) async fn an_event_that_a_message_has_no_room_for_is_too_large(fixture: &dyn Fixture) {
    const ROOM: usize = 3;
    let backend = fixture.open(Options { bytes_max: 64 * 1024, ..Options::default() }).await;
    let (process, id) = (backend.process().await, message());
    process.messages.open(&id, &user("u1"), false).await.unwrap().unwrap();
    assert_eq!(process.append_to(&id, [chunk_at(0, 0)]).await, [taken(0)]);
    backend.fill_message(&id, ROOM as u64).await;
    let large =
        MessageAppend { event: event_of(&format!("\"{}\"", "x".repeat(16 * 1024))), ..chunk(0) };
    let answers = process.append_to(&id, vec![large.clone(); 8]).await;
    let (refused, appended) = answers.split_last().unwrap();
    assert_eq!(refused, &Err(AppendRefusal::TooLarge));
    assert!(
        (1..=ROOM).contains(&appended.len()) && appended.iter().all(Result::is_ok),
        "{answers:?}"
    );
    let observed = process.observe(&id).await.unwrap().message;
    assert_eq!(process.append_to(&id, [large]).await, [Err(AppendRefusal::TooLarge)], "and again");
    assert_eq!(process.observe(&id).await.unwrap().message, observed, "a refusal changes nothing");
    assert_eq!(process.append_to(&id, [chunk_at(0, 0)]).await, [repeated(0)]);
    assert!(process.messages.heartbeat(&id, None).await.unwrap().is_ok());
}

pub(crate) async fn a_message_that_was_not_opened_takes_nothing(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let id = message();
    assert_eq!(process.append_to(&id, [chunk(0)]).await, [Err(AppendRefusal::Unknown)]);
    assert_eq!(process.messages.heartbeat(&id, None).await.unwrap(), Err(AppendRefusal::Unknown));
    assert_eq!(process.messages.request_stop(&id).await.unwrap(), None);
    assert_eq!(process.observe(&id).await, None);
    assert!(!process.messages.delete(&id).await.unwrap());
}
