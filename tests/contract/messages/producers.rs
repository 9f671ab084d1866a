//! Who opens, takes over, lives and stops.

use std::time::Duration;

use rejoin::domain::message::{AppendRefusal, OpenRefusal};
use tokio::task::JoinSet;

use super::given::{chunk, message, of_type, taken};
use crate::contract::{
    backend::{Fixture, Options},
    given::user,
};

pub(crate) async fn opening_again_changes_nothing(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    one.append_to(&id, [chunk(0)]).await;
    let again = two.messages.open(&id, &user("u1"), false).await.unwrap().unwrap();
    let message = &again.observed.message;
    assert_eq!(
        (again.created, message.epoch, message.last_sequence_no(), message.stop_requested),
        (false, 1, Some(0), false)
    );
    assert_eq!(message.created_at, one.observe(&id).await.unwrap().message.created_at);
}

pub(crate) async fn a_message_belongs_to_who_opened_it(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    for takeover in [false, true] {
        assert_eq!(
            two.messages.open(&id, &user("u2"), takeover).await.unwrap(),
            Err(OpenRefusal::Another)
        );
    }
    let message = two.observe(&id).await.unwrap().message;
    assert_eq!((message.owner, message.epoch), (user("u1"), 1));
}

pub(crate) async fn concurrent_openings_make_one_message(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    let id = message();
    let mut openings = JoinSet::new();
    for n in 0..8 {
        let process = processes[n % 2].clone();
        let value = id.clone();
        openings.spawn(async move {
            process.messages.open(&value, &user("u1"), false).await.unwrap().unwrap().created
        });
    }
    assert_eq!(openings.join_all().await.into_iter().filter(|created| *created).count(), 1);
}

pub(crate) async fn each_takeover_has_an_epoch_of_its_own_and_fences_all_before(
    fixture: &dyn Fixture,
) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    let id = processes[0].open_message().await;
    let mut takeovers = JoinSet::new();
    for n in 0..6 {
        let process = processes[n % 2].clone();
        let value = id.clone();
        takeovers.spawn(async move {
            process
                .messages
                .open(&value, &user("u1"), true)
                .await
                .unwrap()
                .unwrap()
                .observed
                .message
                .epoch
        });
    }
    let mut epochs = takeovers.join_all().await;
    epochs.sort_unstable();
    assert_eq!(epochs, [2, 3, 4, 5, 6, 7]);
    for epoch in [1, 6, 8] {
        let fenced = Err(AppendRefusal::Fenced { epoch: 7 });
        assert_eq!(
            processes[1].messages.append(&id, Some(epoch), vec![chunk(0)]).await.unwrap(),
            [fenced],
            "{epoch}"
        );
        assert!(matches!(
            processes[1].messages.heartbeat(&id, Some(epoch)).await.unwrap(),
            Err(AppendRefusal::Fenced { epoch: 7 })
        ));
    }
    assert_eq!(
        processes[0].messages.append(&id, Some(7), vec![chunk(0)]).await.unwrap(),
        [taken(0)]
    );
    assert_eq!(
        processes[0].append_to(&id, [chunk(1)]).await,
        [taken(1)],
        "without an epoch nothing is fenced"
    );
}

pub(crate) async fn a_message_that_ended_is_not_taken_over(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let id = process.open_message().await;
    process.append_to(&id, [of_type("end")]).await;
    assert_eq!(
        process.messages.open(&id, &user("u1"), true).await.unwrap(),
        Err(OpenRefusal::Complete)
    );
    assert_eq!(
        process
            .messages
            .open(&id, &user("u1"), false)
            .await
            .unwrap()
            .unwrap()
            .observed
            .message
            .epoch,
        1
    );
}

pub(crate) async fn silence_is_counted_from_the_last_sign_of_life(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    let within = |silent_for: Duration, expected: Duration| {
        silent_for >= expected.saturating_sub(fixture.time_tolerance())
            && silent_for <= expected + fixture.time_tolerance()
    };
    let pause = Duration::from_millis(1_500);
    for sign in 0..4 {
        backend.pass(pause).await;
        let silent_for = two.observe(&id).await.unwrap().silent_for;
        assert!(within(silent_for, pause), "{silent_for:?} before sign {sign}");
        match sign {
            0 => assert_eq!(one.append_to(&id, [chunk(0)]).await, [taken(0)]),
            1 => assert!(two.messages.heartbeat(&id, Some(1)).await.unwrap().is_ok()),
            2 => assert!(one.messages.open(&id, &user("u1"), true).await.unwrap().is_ok()),
            _ => assert!(
                two.messages.heartbeat(&id, Some(1)).await.unwrap().is_err(),
                "a producer that is fenced gives no sign"
            ),
        }
    }
    backend.pass(pause).await;
    let silent_for = two.observe(&id).await.unwrap().silent_for;
    assert!(within(silent_for, 2 * pause), "{silent_for:?}");
}

pub(crate) async fn a_stop_is_told_to_every_producer_from_then_on(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let id = one.open_message().await;
    assert!(!one.append_to(&id, [chunk(0)]).await[0].unwrap().stop_requested);
    assert!(two.messages.request_stop(&id).await.unwrap().unwrap().message.stop_requested);
    assert!(one.append_to(&id, [chunk(1)]).await[0].unwrap().stop_requested);
    assert!(one.messages.heartbeat(&id, None).await.unwrap().unwrap().message.stop_requested);
    assert!(
        one.messages
            .open(&id, &user("u1"), true)
            .await
            .unwrap()
            .unwrap()
            .observed
            .message
            .stop_requested
    );
    assert!(
        one.append_to(&id, [of_type("end")]).await[0].unwrap().stop_requested,
        "a stopped message ends as any other"
    );
}
