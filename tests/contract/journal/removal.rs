//! Trimming, age and purging: what is gone is told, and nothing else is.

use std::time::Duration;

use rejoin::domain::{
    cursor::{Bounds, Continuity},
    position::{EventId, Position},
};

use crate::contract::{
    backend::{Fixture, Options},
    given::{AMPLE, assert_unbroken, ids, numbers, topic},
};

pub(crate) async fn trimming_at_the_bound_is_told_exactly(fixture: &dyn Fixture) {
    const BOUND: usize = 20;
    let backend = fixture.open(Options { stream_maxlen: BOUND, ..Options::default() }).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let slack = backend.trim_slack_entries();
    let before = process.bounds(&topic).await;
    let mut told = process.append_batch(&topic, 0..BOUND).await;
    assert_exact(&process.bounds(&topic).await, &told, 0);
    assert_eq!(
        process.bounds(&topic).await.continuity(before.head),
        Continuity::Whole,
        "nothing is gone yet"
    );
    // By one, by a few, and by more than the bound at once.
    for more in [1, 1, 5, BOUND + 3, 3 * (BOUND + slack)] {
        let next = told.len();
        told.extend(process.append_batch(&topic, next..next + more).await);
        let page = process.journal.read(&topic, Position::Start, AMPLE).await.unwrap();
        let retained = page.entries.len();
        assert!((BOUND..=BOUND + slack).contains(&retained), "{retained} are retained");
        assert_eq!(ids(&page.entries), told[told.len() - retained..], "the oldest go first");
        assert_unbroken(&page.entries);
        assert_exact(&page.bounds, &told, told.len() - retained);
    }
}

pub(crate) async fn the_oldest_retained_is_asked_for_with_zero(fixture: &dyn Fixture) {
    const BOUND: usize = 10;
    let backend = fixture.open(Options { stream_maxlen: BOUND, ..Options::default() }).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    assert_eq!(
        process.bounds(&topic).await.continuity(Position::Start),
        Continuity::Whole,
        "an empty topic lacks nothing"
    );
    process.append_batch(&topic, 0..BOUND).await;
    assert_eq!(process.bounds(&topic).await.continuity(Position::Start), Continuity::Whole);
    process.append_batch(&topic, 0..=backend.trim_slack_entries() * 2).await;
    assert_eq!(process.bounds(&topic).await.continuity(Position::Start), Continuity::Truncated);
}

pub(crate) async fn entries_over_the_age_limit_count_as_removed(fixture: &dyn Fixture) {
    let backend = fixture
        .open(Options { replay_max_age: Some(Duration::from_secs(4)), ..Options::default() })
        .await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut told = process.append_batch(&topic, 0..2).await;
    backend.pass(Duration::from_secs(2)).await;
    told.extend(process.append_batch(&topic, 2..4).await);
    assert_exact(&process.bounds(&topic).await, &told, 0);
    backend.pass(Duration::from_millis(2_500)).await;
    let page = process.journal.read(&topic, Position::Start, AMPLE).await.unwrap();
    assert_eq!(numbers(&page.entries), [2, 3]);
    assert_exact(&page.bounds, &told, 2);
    let page = process.journal.read(&topic, told[0].into(), AMPLE).await.unwrap();
    assert_eq!(numbers(&page.entries), [2, 3], "also for who asks for more");
}

pub(crate) async fn a_topic_that_expired_whole_hides_no_loss(fixture: &dyn Fixture) {
    let backend = fixture
        .open(Options { replay_max_age: Some(Duration::from_secs(2)), ..Options::default() })
        .await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let told = process.append_batch(&topic, 0..3).await;
    // Long enough for whatever the backend forgets as a whole.
    for _ in 0..3 {
        backend.pass(Duration::from_millis(2_500)).await;
        let page = process.journal.read(&topic, told[0].into(), AMPLE).await.unwrap();
        assert_eq!((page.entries.len(), page.more, page.bounds.oldest), (0, false, None));
        assert_eq!(
            page.bounds.continuity(told[1].into()),
            Continuity::Truncated,
            "the third is gone"
        );
        assert_ne!(
            page.bounds.continuity(told[2].into()),
            Continuity::Ahead,
            "the last id was issued here"
        );
        assert_eq!(page.bounds.continuity(page.bounds.head), Continuity::Whole);
    }
    let head = process.bounds(&topic).await.head;
    let later = process.append_batch(&topic, 3..5).await;
    assert!(told[2] < later[0] && head.is_before(later[0]), "ids go on increasing");
    let page = process.journal.read(&topic, told[1].into(), AMPLE).await.unwrap();
    assert_eq!(ids(&page.entries), later);
    assert_eq!(page.bounds.continuity(told[1].into()), Continuity::Truncated, "still");
    assert_eq!(page.bounds.continuity(head), Continuity::Whole);
}

pub(crate) async fn purging_is_told_and_ids_go_on_increasing(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let mut told = one.append_batch(&topic, 0..5).await;
    one.journal.purge(topic.user().unwrap()).await.unwrap();
    for process in [&one, &two] {
        let page = process.journal.read(&topic, Position::Start, AMPLE).await.unwrap();
        assert_eq!((page.entries.len(), page.more), (0, false));
        assert_exact(&page.bounds, &told, 5);
    }
    let head = two.bounds(&topic).await.head;
    told.extend(two.append_batch(&topic, 5..8).await);
    assert!(told.is_sorted_by(|before, after| before < after));
    assert!(head.is_before(told[5]), "every later entry lies behind a head that was told");
    let page = one.journal.read(&topic, told[1].into(), AMPLE).await.unwrap();
    assert_eq!(ids(&page.entries), told[5..]);
    assert_exact(&page.bounds, &told, 5);
}

pub(crate) async fn purging_again_is_harmless(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    process.journal.purge(topic.user().unwrap()).await.unwrap();
    assert_eq!(
        process.bounds(&topic).await.continuity(Position::Start),
        Continuity::Whole,
        "nothing was there to remove"
    );
    let mut told = process.append_batch(&topic, 0..2).await;
    for _ in 0..3 {
        process.journal.purge(topic.user().unwrap()).await.unwrap();
        assert_exact(&process.bounds(&topic).await, &told, 2);
    }
    told.extend(process.append_batch(&topic, 2..3).await);
    assert_exact(&process.bounds(&topic).await, &told, 2);
}

/// Promise 6, for every cursor that there could be: of `told`, the first `removed` are gone and
/// nothing else is.
fn assert_exact(bounds: &Bounds, told: &[EventId], removed: usize) {
    assert_eq!(bounds.oldest, told.get(removed).copied());
    assert!(told.last().is_none_or(|last| bounds.head >= Position::After(*last)));
    let from_start = if removed == 0 { Continuity::Whole } else { Continuity::Truncated };
    assert_eq!(bounds.continuity(Position::Start), from_start);
    for (index, id) in told.iter().enumerate() {
        let expected = if index + 1 >= removed { Continuity::Whole } else { Continuity::Truncated };
        assert_eq!(
            bounds.continuity((*id).into()),
            expected,
            "a client at the entry {index}, of which the first {removed} are gone"
        );
    }
}

pub(crate) async fn the_length_is_what_reading_gives(fixture: &dyn Fixture) {
    let backend = fixture
        .open(Options { replay_max_age: Some(Duration::from_secs(2)), ..Options::default() })
        .await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let length = async || two.journal.length(topic.user().unwrap()).await.unwrap();
    assert_eq!(length().await, 0);
    one.append_each(&topic, 0..7).await;
    assert_eq!(length().await, 7);
    backend.pass(Duration::from_secs(3)).await;
    one.append_each(&topic, 7..9).await;
    assert_eq!(length().await, 2, "what is over the age limit does not count");
    one.journal.purge(topic.user().unwrap()).await.unwrap();
    assert_eq!(length().await, 0);
}
