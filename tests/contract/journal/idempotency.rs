//! Publish once: what a key recognises, and for how long.

use std::time::Duration;

use rejoin::domain::position::Position;
use tokio::task::JoinSet;

use crate::contract::{
    backend::{Fixture, Options},
    given::{ids, numbers, to_append, topic, with_key},
};

pub(crate) async fn the_same_key_on_a_topic_appends_once(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let first = one.append_one(with_key(&topic, 1, "k")).await;
    assert!(!first.duplicate);
    one.append_one(to_append(&topic, 2)).await;
    for process in [&one, &two] {
        let repeat = process.append_one(with_key(&topic, 3, "k")).await;
        assert_eq!((repeat.id, repeat.duplicate), (first.id, true));
    }
    assert!(
        !two.append_one(with_key(&topic, 4, "K")).await.duplicate,
        "keys are compared byte by byte"
    );
    assert_eq!(numbers(&two.read_all(&topic, Position::Start).await), [1, 2, 4]);
}

pub(crate) async fn a_key_counts_for_its_own_topic(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    for n in 0..10 {
        let topic = topic(&format!("u{n}"));
        assert!(!process.append_one(with_key(&topic, n, "k")).await.duplicate);
        assert_eq!(numbers(&process.read_all(&topic, Position::Start).await), [n]);
    }
}

pub(crate) async fn a_key_is_forgotten_after_its_window(fixture: &dyn Fixture) {
    let backend = fixture
        .open(Options { idempotency_window: Duration::from_secs(3), ..Options::default() })
        .await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let first = process.append_one(with_key(&topic, 1, "k")).await;
    backend.pass(Duration::from_millis(1_500)).await;
    assert_eq!(process.append_one(with_key(&topic, 2, "k")).await.id, first.id);
    // A repeat does not hold the window open.
    backend.pass(Duration::from_secs(2)).await;
    let later = process.append_one(with_key(&topic, 3, "k")).await;
    assert!(!later.duplicate);
    assert_eq!(process.append_one(with_key(&topic, 4, "k")).await.id, later.id);
    assert_eq!(numbers(&process.read_all(&topic, Position::Start).await), [1, 3]);
}

pub(crate) async fn concurrent_repeats_append_once(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    for round in 0..10 {
        let topic = topic(&format!("u{round}"));
        let mut publishers = JoinSet::new();
        for number in 0..16 {
            let (process, topic) = (processes[number % 2].clone(), topic.clone());
            publishers
                .spawn(async move { process.append_one(with_key(&topic, number, "k")).await });
        }
        let told = publishers.join_all().await;
        assert_eq!(told.iter().filter(|appended| !appended.duplicate).count(), 1);
        let entries = processes[0].read_all(&topic, Position::Start).await;
        assert_eq!(entries.len(), 1);
        assert!(told.iter().all(|appended| appended.id == entries[0].id));
    }
}

pub(crate) async fn a_repeat_within_a_batch_appends_once(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic, other) = (backend.process().await, topic("u1"), topic("u2"));
    let batch = vec![
        with_key(&topic, 0, "a"),
        with_key(&topic, 1, "b"),
        with_key(&topic, 2, "a"),
        with_key(&other, 3, "a"),
        to_append(&topic, 4),
    ];
    let told = process.append(batch).await;
    assert_eq!(
        told.iter().map(|appended| appended.duplicate).collect::<Vec<_>>(),
        [false, false, true, false, false]
    );
    assert_eq!(told[2].id, told[0].id);
    // The same batch once more, as a publisher whose answer got lost sends it: what has a key is
    // not repeated.
    let batch = vec![with_key(&topic, 0, "a"), with_key(&topic, 1, "b"), with_key(&topic, 5, "c")];
    let again = process.append(batch).await;
    assert_eq!([again[0].id, again[1].id], [told[0].id, told[1].id]);
    let entries = process.read_all(&topic, Position::Start).await;
    assert_eq!(numbers(&entries), [0, 1, 4, 5]);
    assert_eq!(ids(&entries), [told[0].id, told[1].id, told[4].id, again[2].id]);
    assert_eq!(numbers(&process.read_all(&other, Position::Start).await), [3]);
}

pub(crate) async fn a_key_outlives_its_entry(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let first = process.append_one(with_key(&topic, 1, "k")).await;
    process.journal.purge(topic.user().unwrap()).await.unwrap();
    let repeat = process.append_one(with_key(&topic, 1, "k")).await;
    assert_eq!((repeat.id, repeat.duplicate), (first.id, true));
    assert!(
        process.read_all(&topic, Position::Start).await.is_empty(),
        "what was purged stays purged"
    );
}

pub(crate) async fn keys_and_topics_never_run_into_each_other(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let long = "k".repeat(256);
    let pairs = [
        ("a", "b:c"),
        ("a:b", "c"),
        ("a", "b"),
        ("a:b:c", "d"),
        ("a", "b:c:d"),
        ("*", "*"),
        ("a", &long),
        ("a", "{x}"),
        ("a{x}", "b"),
    ];
    for (number, (user_id, key)) in pairs.into_iter().enumerate() {
        assert!(
            !process.append_one(with_key(&topic(user_id), number, key)).await.duplicate,
            "{user_id} {key}"
        );
    }
    for (number, (user_id, key)) in pairs.into_iter().enumerate() {
        let repeat = process.append_one(with_key(&topic(user_id), 99, key)).await;
        let entries = process.read_all(&topic(user_id), Position::Start).await;
        let entry = entries
            .iter()
            .find(|entry| entry.id == repeat.id)
            .expect("the id of an entry of this topic");
        assert_eq!((crate::contract::given::number(entry), repeat.duplicate), (number, true));
    }
    // The lines of an upload have keys of their own, with a space in them.
    let key = rejoin::domain::idempotency_key::IdempotencyKey::parse("b").unwrap();
    let of_line = |number| rejoin::ports::journal::Append {
        idempotency_key: Some(key.of_line(number)),
        ..to_append(&topic("a"), usize::try_from(number).unwrap())
    };
    let told = process.append(vec![of_line(1), of_line(2), of_line(1), of_line(11)]).await;
    assert_eq!(
        told.iter().map(|appended| appended.duplicate).collect::<Vec<_>>(),
        [false, false, true, false]
    );
}
