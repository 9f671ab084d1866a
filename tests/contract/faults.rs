//! What holds while a backend is wiped, restarted or away.

use std::time::Duration;

use futures_util::StreamExt;
use rejoin::{
    domain::{
        cursor::Continuity,
        position::{EventId, Position},
    },
    ports::{
        backend_error::{BackendError, BackendErrorKind},
        feed::Signal,
    },
};
use rejoin_test_support::{eventually, soon};

use crate::contract::{
    backend::{Backend, Fixture, Options, Process},
    follower::Follower,
    given::{AMPLE, assert_unbroken, event, ids, numbers, to_append, topic, with_key},
};

/// No call may hang longer than this while its backend is away.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

pub(crate) async fn a_wiped_journal_has_an_origin_behind_every_id_it_issued(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let (topic, other) = (topic("u1"), topic("u2"));
    let mut told = process.append_batch(&topic, 0..5).await;
    told.extend(process.append_batch(&other, 0..5).await);
    let empty_head = process.bounds(&crate::contract::given::topic("u3")).await.head;
    backend.wipe().await;
    let process = backend.process().await;
    for topic in [&topic, &other] {
        let page = process.journal.read(topic, told[0].into(), AMPLE).await.unwrap();
        assert_eq!((page.entries.len(), page.more), (0, false));
        assert_eq!(
            page.bounds.continuity(Position::Start),
            Continuity::Whole,
            "nothing was trimmed since the origin"
        );
        for id in &told {
            assert!(
                page.bounds.origin > Position::After(*id),
                "{:?} is not behind {id}",
                page.bounds.origin
            );
            assert_ne!(page.bounds.continuity((*id).into()), Continuity::Whole);
        }
        assert!(page.bounds.origin >= empty_head);
    }
    let newest = told.iter().copied().max().unwrap_or(EventId::timed(0, 0));
    assert!(process.append_each(&topic, [9]).await[0] > newest, "ids go on increasing");
}

pub(crate) async fn a_wiped_journal_knows_no_keys(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let topic = topic("u1");
    backend.process().await.append_one(with_key(&topic, 1, "k")).await;
    backend.wipe().await;
    let process = backend.process().await;
    let again = process.append_one(with_key(&topic, 2, "k")).await;
    assert!(!again.duplicate, "the entry of that key is gone");
    assert_eq!(ids(&process.read_all(&topic, Position::Start).await), [again.id]);
}

pub(crate) async fn a_process_that_lives_through_a_wipe_hears_of_what_comes(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut follower = Follower::of(&process, &topic).await;
    let told = process.append_batch(&topic, 0..3).await;
    soon("the signals", follower.follow_until(3)).await;
    backend.wipe().await;
    let later = process.append_batch(&topic, 3..5).await;
    assert!(told[2] < later[0]);
    soon("the signals", follower.follow_until(5)).await;
    let bounds = process.bounds(&topic).await;
    assert!(bounds.origin > Position::After(told[2]));
    assert_eq!(bounds.continuity(told[2].into()), Continuity::Truncated);
}

pub(crate) async fn a_restart_keeps_what_was_acknowledged(fixture: &dyn Fixture) {
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut follower = Follower::of(&process, &topic).await;
    let mut told = process.append_batch(&topic, 0..5).await;
    told.push(process.append_one(with_key(&topic, 5, "k")).await.id);
    let before = process.bounds(&topic).await;
    backend.restart().await;
    wait_until_back(&process).await;
    assert_eq!(process.bounds(&topic).await, before);
    assert_eq!(
        process.append_one(with_key(&topic, 6, "k")).await.id,
        told[5],
        "keys are kept as well"
    );
    told.extend(process.append_batch(&topic, 7..9).await);
    let entries = backend.process().await.read_all(&topic, Position::Start).await;
    assert_eq!(ids(&entries), told);
    assert_unbroken(&entries);
    soon("the feed, by signals or an interruption", follower.follow_until(told.len())).await;
    assert_eq!(ids(&follower.entries), told);
}

pub(crate) async fn a_restart_keeps_what_was_removed_removed(fixture: &dyn Fixture) {
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let told = process.append_batch(&topic, 0..3).await;
    process.journal.purge(topic.user().unwrap()).await.unwrap();
    backend.restart().await;
    wait_until_back(&process).await;
    let page = process.journal.read(&topic, told[0].into(), AMPLE).await.unwrap();
    assert!(page.entries.is_empty());
    assert_eq!(page.bounds.continuity(told[1].into()), Continuity::Truncated);
    assert_eq!(page.bounds.continuity(Position::Start), Continuity::Truncated);
    assert!(process.append_each(&topic, [3]).await[0] > told[2]);
}

pub(crate) async fn an_outage_is_told_in_time_and_passes(fixture: &dyn Fixture) {
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (process, topic, other) = (backend.process().await, topic("u1"), topic("u2"));
    let told = process.append_batch(&topic, 0..2).await;
    backend.stop().await;
    assert_away(process.journal.append(vec![with_key(&topic, 2, "k")])).await;
    assert_away(process.journal.read(&topic, Position::Start, AMPLE)).await;
    assert_away(process.journal.bounds(&topic)).await;
    assert_away(process.journal.probe()).await;
    assert_away(process.feed.watch(&other)).await;
    backend.start().await;
    wait_until_back(&process).await;
    // What was not acknowledged is there at most once when it is tried again.
    process.append_one(with_key(&topic, 2, "k")).await;
    let entries = process.read_all(&topic, told[1].into()).await;
    assert_eq!(numbers(&entries), [2]);
    eventually("the feed listens again", async || process.feed.watch(&other).await.is_ok()).await;
}

pub(crate) async fn a_feed_catches_up_after_an_outage(fixture: &dyn Fixture) {
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut follower = Follower::of(&process, &topic).await;
    process.append_batch(&topic, 0..3).await;
    soon("the signals", follower.follow_until(3)).await;
    for round in 1..4 {
        backend.stop().await;
        assert_away(process.journal.append(vec![to_append(&topic, 0)])).await;
        backend.start().await;
        let other = reconnected(&*backend).await;
        other.append_batch(&topic, 0..3).await;
        soon("what was appended before the feed was back", follower.follow_until(3 + round * 3))
            .await;
        let all = other.read_all(&topic, Position::Start).await;
        assert_eq!(ids(&follower.entries), ids(&all)[..follower.entries.len()]);
    }
}

pub(crate) async fn a_backend_that_falls_silent_is_given_up_in_time(fixture: &dyn Fixture) {
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (process, topic, other) = (backend.process().await, topic("u1"), topic("u2"));
    let user = crate::contract::given::user("u1");
    let mut follower = Follower::of(&process, &topic).await;
    let told = process.append_batch(&topic, 0..2).await;
    soon("the signals", follower.follow_until(2)).await;
    backend.pause().await;
    tokio::join!(
        assert_away(process.journal.append(vec![with_key(&topic, 2, "k")])),
        assert_away(process.journal.read(&topic, Position::Start, AMPLE)),
        assert_away(process.journal.bounds(&topic)),
        assert_away(process.journal.probe()),
        assert_away(process.leases.count(&user)),
    );
    // By now it was noticed that nobody listens.
    eventually("the feed notices", async || process.feed.watch(&other).await.is_err()).await;
    backend.resume().await;
    wait_until_back(&process).await;
    process.append_one(with_key(&topic, 2, "k")).await;
    eventually("the feed listens again", async || process.feed.watch(&other).await.is_ok()).await;
    process.append_one(to_append(&topic, 3)).await;
    soon("what was appended since", follower.follow_until(4)).await;
    assert_eq!(
        numbers(&follower.entries),
        [0, 1, 2, 3],
        "what was tried before and after is there once"
    );
    assert_eq!(process.read_all(&topic, told[1].into()).await.len(), 2);
}

pub(crate) async fn a_full_backend_takes_nothing_and_keeps_what_it_has(fixture: &dyn Fixture) {
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (process, topic, other) = (backend.process().await, topic("u1"), topic("u2"));
    let told = process.append_batch(&topic, 0..3).await;
    backend.fill().await;
    let batch = || vec![with_key(&topic, 3, "a"), with_key(&other, 4, "b"), to_append(&topic, 5)];
    let refused = process.journal.append(batch()).await.unwrap_err();
    assert_eq!(refused.kind, BackendErrorKind::Full, "{refused:?}");
    assert_eq!(
        ids(&process.read_all(&topic, Position::Start).await),
        told,
        "reading goes on, and nothing came of it"
    );
    assert!(process.read_all(&other, Position::Start).await.is_empty());
    backend.make_room().await;
    let appended = process.append(batch()).await;
    assert!(appended.iter().all(|appended| !appended.duplicate));
    assert_eq!(numbers(&process.read_all(&topic, Position::Start).await), [0, 1, 2, 3, 5]);
}

pub(crate) async fn an_entry_of_a_topic_that_vanished_is_truncated(fixture: &dyn Fixture) {
    a_vanished_topic(&*fixture.open(Options::default()).await).await;
    // The same within a single millisecond.
    a_vanished_topic(&*fixture.open_with_clock(Options::default()).await).await;
}

async fn a_vanished_topic(backend: &dyn Backend) {
    let (process, topic) = (backend.process().await, topic("u1"));
    let told = process.append_batch(&topic, 0..4).await;
    backend.lose_topic("u1").await;
    // Whoever comes now, to what is an empty topic, lacks nothing, now or later.
    let head = process.bounds(&topic).await.head;
    let mut later = Vec::new();
    for count in 0..3 {
        let page = process.journal.read(&topic, told[0].into(), AMPLE).await.unwrap();
        assert_eq!(ids(&page.entries), later);
        for id in &told[..3] {
            assert_eq!(
                page.bounds.continuity((*id).into()),
                Continuity::Truncated,
                "{id} with {:?}",
                page.bounds
            );
        }
        let last = Position::After(told[3]);
        let is_known_as_last = page.bounds.floor == Some(last);
        assert!(
            is_known_as_last || page.bounds.continuity(last) == Continuity::Truncated,
            "{last:?} with {:?}",
            page.bounds
        );
        assert_eq!(
            page.bounds.continuity(head),
            Continuity::Whole,
            "{head:?} with {:?}",
            page.bounds
        );
        later.extend(process.append_each(&topic, [count]).await);
        assert!(told[3] < later[0] && head.is_before(later[0]), "ids go on increasing");
    }
}

pub(crate) async fn a_broadcast_reaches_a_process_whose_feed_is_cut(fixture: &dyn Fixture) {
    const BROADCASTS: usize = 30;
    let backend = fixture.open_to_be_killed(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let mut signals = [one.feed.signals(), two.feed.signals()];
    for number in 0..BROADCASTS {
        backend.cut_feeds().await;
        one.feed.broadcast(event(number)).await.unwrap();
    }
    for signals in &mut signals {
        for number in 0..BROADCASTS {
            loop {
                match soon("the broadcast", signals.next()).await.unwrap() {
                    Signal::Broadcast(heard) => {
                        break assert_eq!(heard, event(number), "each comes once, in order");
                    }
                    Signal::Interrupted => {}
                    other => panic!("nothing was appended: {other:?}"),
                }
            }
        }
    }
}

/// A process that came up after the outage.
async fn reconnected(backend: &dyn Backend) -> Process {
    let process = backend.process().await;
    wait_until_back(&process).await;
    process
}

async fn wait_until_back(process: &Process) {
    eventually("the backend is back", async || process.journal.probe().await.is_ok()).await;
}

async fn assert_away<T>(call: impl Future<Output = Result<T, BackendError>>) {
    let answer = tokio::time::timeout(ANSWERED_WITHIN, call).await.expect("no call hangs");
    let Err(error) = answer else { panic!("the backend is away, and answered") };
    let kinds =
        [BackendErrorKind::Unavailable, BackendErrorKind::Disconnected, BackendErrorKind::Timeout];
    assert!(kinds.contains(&error.kind), "{error}");
}
