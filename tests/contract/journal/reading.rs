//! Pages: what is in them, and what they tell.

use rejoin::{
    domain::{
        cursor::Continuity,
        event::Event,
        page::PageLimit,
        position::{EventId, Position},
    },
    ports::journal::Append,
};

use crate::contract::{
    backend::{Fixture, Options},
    given::{AMPLE, assert_unbroken, event_of, ids, topic},
};

pub(crate) async fn reading_is_exclusive_and_ordered(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let told = process.append_batch(&topic, 0..20).await;
    let all = process.journal.read(&topic, Position::Start, AMPLE).await.unwrap();
    assert_eq!(ids(&all.entries), told);
    assert_unbroken(&all.entries);
    for (index, id) in told.iter().enumerate() {
        let page = process.journal.read(&topic, (*id).into(), AMPLE).await.unwrap();
        assert_eq!(page.entries, all.entries[index + 1..]);
        assert!(!page.more);
    }
}

pub(crate) async fn reading_is_bounded_by_entries_and_tells_exactly_whether_there_is_more(
    fixture: &dyn Fixture,
) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let told = process.append_batch(&topic, 0..10).await;
    for after in 0..10 {
        let behind = &told[after + 1..];
        for entries_max in 0..12 {
            let limit = PageLimit { entries_max, ..AMPLE };
            let page = process.journal.read(&topic, told[after].into(), limit).await.unwrap();
            let expected = behind.len().min(entries_max.max(1));
            assert_eq!(
                ids(&page.entries),
                behind[..expected],
                "after {after}, at most {entries_max}"
            );
            assert_eq!(page.more, expected < behind.len(), "after {after}, at most {entries_max}");
        }
    }
}

pub(crate) async fn reading_is_bounded_by_bytes_but_gives_at_least_one(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let sizes = [10, 50_000, 10, 10, 3_000, 90_000];
    let events: Vec<_> =
        sizes.iter().map(|size| event_of(&format!("\"{}\"", "x".repeat(*size)))).collect();
    let batch = events.iter().map(|event| Append {
        user: topic.user().unwrap().clone(),
        event: event.clone(),
        idempotency_key: None,
    });
    let told: Vec<_> =
        process.append(batch.collect()).await.iter().map(|appended| appended.id).collect();
    let costs: Vec<_> = events.iter().map(|event| Event::cost_bytes(event)).collect();
    for after in 0..sizes.len() {
        for bytes_max in
            [0, 1, costs[after] - 1, costs[after], costs[after] + 1, 4_000, 60_000, 200_000]
        {
            let position =
                after.checked_sub(1).map_or(Position::Start, |before| told[before].into());
            let page = process
                .journal
                .read(&topic, position, PageLimit { bytes_max, ..AMPLE })
                .await
                .unwrap();
            let (mut bytes, mut expected) = (0, 0);
            for cost in &costs[after..] {
                bytes += cost;
                if expected > 0 && bytes > bytes_max {
                    break;
                }
                expected += 1;
            }
            assert_eq!(
                ids(&page.entries),
                told[after..after + expected],
                "from {after}, at most {bytes_max} bytes"
            );
            assert_eq!(page.more, after + expected < told.len());
        }
    }
}

pub(crate) async fn pages_join_without_a_gap(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let told = process.append_batch(&topic, 0..150).await;
    for entries_max in [1, 7, 50, 149, 150] {
        let (mut read, mut position) = (Vec::new(), Position::Start);
        loop {
            let page = process
                .journal
                .read(&topic, position, PageLimit { entries_max, ..AMPLE })
                .await
                .unwrap();
            read.extend(page.entries);
            position = read[read.len() - 1].id.into();
            if !page.more {
                break;
            }
        }
        assert_unbroken(&read);
        assert_eq!(ids(&read), told);
    }
}

pub(crate) async fn a_position_between_entries_is_as_good_as_any(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic, other) = (backend.process().await, topic("u1"), topic("u2"));
    let mut told = Vec::new();
    let mut others = Vec::new();
    for number in 0..10 {
        told.extend(process.append_each(&topic, [number]).await);
        backend.pass(std::time::Duration::from_millis(3)).await;
        others.extend(process.append_each(&other, [number]).await);
        backend.pass(std::time::Duration::from_millis(3)).await;
    }
    // The other topic's ids lie between this one's: no entry of this topic has them.
    for (index, between) in others.into_iter().enumerate().take(9) {
        let page = process.journal.read(&topic, between.into(), AMPLE).await.unwrap();
        assert_eq!(ids(&page.entries), told[index + 1..]);
        assert_eq!(page.bounds.continuity(between.into()), Continuity::Whole);
    }
}

pub(crate) async fn a_position_ahead_of_the_journal_is_told(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic, empty) = (backend.process().await, topic("u1"), topic("u2"));
    process.append_each(&topic, 0..3).await;
    for topic in [topic, empty] {
        let Some(head) = process.bounds(&topic).await.head.id() else { continue };
        let far = EventId::timed(head.major() + 1_000_000_000, 0);
        for ahead in [far, EventId::timed(u64::MAX, u64::MAX)] {
            let page = process.journal.read(&topic, ahead.into(), AMPLE).await.unwrap();
            assert_eq!((page.entries.len(), page.more), (0, false));
            assert_eq!(page.bounds.continuity(ahead.into()), Continuity::Ahead);
        }
    }
}

pub(crate) async fn a_page_tells_the_bounds(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let empty = process.journal.read(&topic, Position::Start, AMPLE).await.unwrap();
    assert_eq!((empty.entries.len(), empty.more, empty.bounds.oldest), (0, false, None));
    let told = process.append_batch(&topic, 0..10).await;
    for limit in [AMPLE, PageLimit { entries_max: 3, ..AMPLE }] {
        for after in [Position::Start, told[4].into(), told[9].into()] {
            let page = process.journal.read(&topic, after, limit).await.unwrap();
            assert_eq!(page.bounds, process.bounds(&topic).await);
            assert_eq!(page.bounds.oldest, Some(told[0]));
            assert_eq!(page.bounds.head, Position::After(told[9]));
            assert_eq!(page.bounds.origin, empty.bounds.origin);
        }
    }
}

pub(crate) async fn the_journal_answers_a_probe(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    backend.process().await.journal.probe().await.unwrap();
}
