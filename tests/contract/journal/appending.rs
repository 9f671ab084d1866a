//! Ids, `prev`, heads and batches.

use std::{collections::BTreeSet, time::Duration};

use rejoin::domain::{cursor::Continuity, event::Entry, position::Position, topic::Topic};
use tokio::task::JoinSet;

use crate::contract::{
    backend::{Backend, Fixture, Options, Process},
    given::{AMPLE, assert_unbroken, ids, numbers, to_append, topic},
};

pub(crate) async fn ids_strictly_increase_in_the_order_of_a_batch(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut told = Vec::new();
    for batch in 0..5 {
        told.extend(process.append_batch(&topic, batch * 100..(batch + 1) * 100).await);
    }
    assert!(told.is_sorted_by(|before, after| before < after));
    let entries = process.read_all(&topic, Position::Start).await;
    assert_eq!(ids(&entries), told);
    assert!(numbers(&entries).into_iter().eq(0..500));
}

pub(crate) async fn ids_strictly_increase_under_concurrent_appenders(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let topic = topic("u1");
    let mut appenders = JoinSet::new();
    for (appender, process) in four_on_each_of_two_processes(&*backend).await {
        let topic = topic.clone();
        appenders.spawn(async move {
            let mut told = Vec::new();
            for batch in 0..20 {
                let first = appender * 1_000 + batch * 10;
                let numbers = first..=first + batch % 3;
                told.extend(
                    process.append_batch(&topic, numbers.clone()).await.into_iter().zip(numbers),
                );
            }
            assert!(
                told.is_sorted_by(|before, after| before.0 < after.0),
                "one appender's ids increase"
            );
            told
        });
    }
    let told: BTreeSet<_> = appenders.join_all().await.into_iter().flatten().collect();
    let entries = backend.process().await.read_all(&topic, Position::Start).await;
    assert_unbroken(&entries);
    let kept: Vec<_> =
        entries.iter().map(|entry| (entry.id, crate::contract::given::number(entry))).collect();
    assert!(
        kept.into_iter().eq(told),
        "what was acknowledged is what is kept, under the ids that were told"
    );
}

pub(crate) async fn prev_is_the_position_appended_at(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic, other) = (backend.process().await, topic("u1"), topic("u2"));
    let empty = [process.bounds(&topic).await, process.bounds(&other).await];
    process.append_each(&topic, 0..3).await;
    process.append_each(&other, 0..3).await;
    backend.pass(Duration::from_millis(20)).await;
    process.append(vec![to_append(&topic, 3), to_append(&other, 3), to_append(&topic, 4)]).await;
    for (topic, empty) in [topic, other].into_iter().zip(empty) {
        let entries = process.read_all(&topic, Position::Start).await;
        assert_unbroken(&entries);
        let first_prev = entries[0].prev.expect("the journal knows where it appended");
        assert!(
            first_prev <= empty.head,
            "who stands at the head that was told lacks nothing: {first_prev:?} {empty:?}"
        );
        assert!(first_prev >= empty.origin);
    }
}

pub(crate) async fn an_acknowledged_entry_is_readable_at_once_by_every_process(
    fixture: &dyn Fixture,
) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let mut position = Position::Start;
    for number in 0..50 {
        let writer = if number % 2 == 0 { &one } else { &two };
        let id = writer.append_one(to_append(&topic, number)).await.id;
        for reader in [&one, &two] {
            let page = reader.journal.read(&topic, position, AMPLE).await.unwrap();
            assert_eq!(ids(&page.entries), [id]);
            assert_eq!(page.bounds.head, Position::After(id));
            assert_eq!(reader.bounds(&topic).await.head, Position::After(id));
        }
        position = id.into();
    }
}

pub(crate) async fn no_entry_appears_behind_a_head_that_was_told(fixture: &dyn Fixture) {
    const EACH: usize = 60;
    let backend = fixture.open(Options::default()).await;
    let topic = topic("u1");
    let mut readers = JoinSet::new();
    let mut appenders = JoinSet::new();
    for (appender, process) in four_on_each_of_two_processes(&*backend).await {
        if appender % 4 == 0 {
            let (process, topic) = (process.clone(), topic.clone());
            readers.spawn(async move { read_along(&process, &topic, 8 * EACH).await });
        }
        let topic = topic.clone();
        appenders.spawn(async move {
            for number in 0..EACH {
                process.append_batch(&topic, [appender * EACH + number]).await;
                tokio::task::yield_now().await;
            }
        });
    }
    appenders.join_all().await;
    let all = backend.process().await.read_all(&topic, Position::Start).await;
    for seen in readers.join_all().await {
        assert_eq!(ids(&seen), ids(&all), "who reads along sees what is there in the end");
    }
}

/// Reads on from each head that is told, until so many entries were seen.
async fn read_along(process: &Process, topic: &Topic, count: usize) -> Vec<Entry> {
    let (mut seen, mut position, mut head) = (Vec::new(), Position::Start, Position::Start);
    while seen.len() < count {
        let page = process.journal.read(topic, position, AMPLE).await.unwrap();
        assert!(page.bounds.head >= head, "a head never goes back");
        head = page.bounds.head;
        seen.extend(page.entries);
        // As a client does: where it has come to is where it goes on.
        position = if page.more {
            seen.last().map_or(position, |entry: &Entry| entry.id.into())
        } else {
            head
        };
        tokio::task::yield_now().await;
    }
    seen
}

pub(crate) async fn the_head_of_an_empty_topic_is_never_behind(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, busy) = (backend.process().await, backend.process().await, topic("busy"));
    for round in 0..20 {
        let topic = topic(&format!("u{round}"));
        one.append_each(&busy, [round]).await;
        let empty = one.bounds(&topic).await;
        assert_eq!(empty.oldest, None);
        assert!(empty.head >= empty.origin);
        assert_eq!(empty.continuity(empty.head), Continuity::Whole);
        assert!(two.bounds(&topic).await.head >= empty.head);
        let ids = two.append_batch(&topic, 0..2).await;
        assert!(empty.head.is_before(ids[0]), "{} lies behind {:?}", ids[0], empty.head);
        let page = one.journal.read(&topic, empty.head, AMPLE).await.unwrap();
        assert_eq!(crate::contract::given::ids(&page.entries), ids);
        assert_eq!(page.bounds.continuity(empty.head), Continuity::Whole);
        backend.pass(Duration::from_millis(1)).await;
    }
}

pub(crate) async fn a_batch_over_many_topics_is_appended_whole(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let topics: Vec<_> = (0..50).map(|n| topic(&format!("u{n}"))).collect();
    let batch: Vec<_> = (0..500).map(|number| to_append(&topics[number % 50], number)).collect();
    let appended = process.append(batch).await;
    assert_eq!(appended.len(), 500);
    for (n, topic) in topics.iter().enumerate() {
        let entries = process.read_all(topic, Position::Start).await;
        assert!(numbers(&entries).into_iter().eq((n..500).step_by(50)));
        let told: Vec<_> =
            appended.iter().skip(n).step_by(50).map(|appended| appended.id).collect();
        assert_eq!(ids(&entries), told, "ids are told in the order of the batch");
    }
}

pub(crate) async fn an_empty_batch_is_harmless(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    assert_eq!(process.append(Vec::new()).await, []);
}

pub(crate) async fn ids_strictly_increase_when_the_clock_steps_back(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, quiet) = (backend.process().await, backend.process().await, topic("quiet"));
    let topic = topic("u1");
    backend.pass(Duration::from_secs(2)).await;
    let quiet_head = one.bounds(&quiet).await.head;
    let mut told = one.append_batch(&topic, 0..3).await;
    for step in 1..4 {
        backend.step_clock_back(Duration::from_mins(1)).await;
        assert_eq!(two.bounds(&topic).await.head, Position::After(told[told.len() - 1]));
        told.extend(two.append_batch(&topic, step * 3..(step + 1) * 3).await);
        backend.pass(Duration::from_secs(1)).await;
    }
    assert!(told.is_sorted_by(|before, after| before < after));
    let entries = one.read_all(&topic, Position::Start).await;
    assert_unbroken(&entries);
    assert_eq!(ids(&entries), told);
    assert!(one.bounds(&quiet).await.head >= quiet_head);
    assert!(quiet_head.is_before(two.append_each(&quiet, [0]).await[0]));
}

async fn four_on_each_of_two_processes(backend: &dyn Backend) -> Vec<(usize, Process)> {
    let processes = [backend.process().await, backend.process().await];
    (0..8).map(|appender| (appender, processes[appender / 4].clone())).collect()
}
