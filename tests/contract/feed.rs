//! The laws of [`rejoin::ports::feed::Feed`].
//!
//! A feed may say less than it knows (a hint, an interruption): a listener then reads the journal,
//! and so do these laws.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt, stream::BoxStream};
use rejoin::{
    domain::{
        position::{EventId, Position},
        topic::Topic,
    },
    ports::feed::Signal,
};
use rejoin_test_support::soon;
use tokio::task::JoinSet;

use crate::contract::{
    backend::{Fixture, Options},
    follower::Follower,
    given::{assert_unbroken, event, ids, to_append, topic, user},
};

pub(crate) async fn what_is_appended_after_watching_is_signalled(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    one.append_each(&topic, 0..3).await;
    let mut followers = [Follower::of(&one, &topic).await, Follower::of(&two, &topic).await];
    let mut told = Vec::new();
    for (writer, numbers) in [(&one, 3..8), (&two, 8..11), (&one, 11..12)] {
        told.extend(writer.append_batch(&topic, numbers).await);
        for follower in &mut followers {
            soon("the signals", follower.follow_until(told.len())).await;
            assert_eq!(
                ids(&follower.entries),
                told,
                "what was there before is not signalled, and all that came after is"
            );
        }
    }
}

pub(crate) async fn signals_come_in_order_and_tell_the_entry_before(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two) = (backend.process().await, backend.process().await);
    let topics = [topic("u1"), topic("u2"), topic("u3")];
    let mut signals = one.feed.signals();
    for topic in &topics {
        one.feed.watch(topic).await.unwrap();
    }
    for number in 0..60 {
        let writer = if number % 2 == 0 { &one } else { &two };
        writer.append(topics.iter().map(|topic| to_append(topic, number)).collect()).await;
    }
    let mut last: HashMap<Topic, EventId> = HashMap::new();
    let heads = [
        one.bounds(&topics[0]).await.head,
        one.bounds(&topics[1]).await.head,
        one.bounds(&topics[2]).await.head,
    ];
    while !topics
        .iter()
        .zip(heads)
        .all(|(topic, head)| last.get(topic).copied().map(Position::After) == Some(head))
    {
        match soon("a signal", signals.next()).await.unwrap() {
            Signal::Appended(topic, entry) => {
                if let Some(before) = last.insert(topic, entry.id) {
                    assert!(before < entry.id);
                    assert!(
                        entry.prev.is_none_or(|prev| prev == Position::After(before)),
                        "nothing was interrupted: {entry:?}"
                    );
                }
            }
            // From here on nothing is known but what the journal says.
            Signal::Interrupted => {
                last.extend(topics.iter().cloned().zip(heads.iter().filter_map(|head| head.id())));
            }
            Signal::Grown(topic) => {
                let entries = one.read_all(&topic, Position::Start).await;
                last.insert(topic, entries[entries.len() - 1].id);
            }
            Signal::Broadcast(_) | Signal::CloseConnections(_) => {}
        }
    }
}

pub(crate) async fn concurrent_appends_of_all_processes_are_heard(fixture: &dyn Fixture) {
    const EACH: usize = 50;
    let backend = fixture.open(Options::default()).await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let mut followers = [Follower::of(&one, &topic).await, Follower::of(&two, &topic).await];
    let mut appenders = JoinSet::new();
    for appender in 0..6 {
        let (process, topic) = ([&one, &two][appender % 2].clone(), topic.clone());
        appenders.spawn(async move {
            for number in 0..EACH {
                process.append_batch(&topic, [appender * EACH + number]).await;
            }
        });
    }
    for follower in &mut followers {
        soon("the signals", follower.follow_until(6 * EACH)).await;
    }
    appenders.join_all().await;
    let all = one.read_all(&topic, Position::Start).await;
    assert_unbroken(&all);
    for follower in followers {
        assert_eq!(ids(&follower.entries), ids(&all));
    }
}

pub(crate) async fn topics_that_are_not_watched_are_silent(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, watched, unwatched) = (backend.process().await, topic("u1"), topic("u2"));
    let mut signals = process.feed.signals();
    process.feed.watch(&watched).await.unwrap();
    for number in 0..5 {
        process.append_each(&unwatched, [number]).await;
        process.append_each(&watched, [number]).await;
        soon("the signal", next_of(&mut signals, &watched)).await;
    }
}

pub(crate) async fn watching_twice_is_harmless(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut follower = Follower::of(&process, &topic).await;
    for number in 0..5 {
        process.feed.watch(&topic).await.unwrap();
        process.append_each(&topic, [number]).await;
        soon("the signal", follower.follow_until(number + 1)).await;
    }
    assert!(
        follower.signals_taken <= 5 + follower.interruptions,
        "each append is signalled once: {}",
        follower.signals_taken
    );
    process.feed.unwatch(&topic).await;
    assert_silent_about(&process, &topic, follower).await;
}

pub(crate) async fn unwatching_stops_the_signals(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    process.feed.unwatch(&topic).await;
    let mut follower = Follower::of(&process, &topic).await;
    process.append_each(&topic, [0]).await;
    soon("the signal", follower.follow_until(1)).await;
    process.feed.unwatch(&topic).await;
    assert_silent_about(&process, &topic, follower).await;
}

/// Appends to a topic that is no longer watched, and then to one that is: only this one is heard
/// of.
async fn assert_silent_about(
    process: &crate::contract::backend::Process,
    unwatched: &Topic,
    mut follower: Follower,
) {
    let (sentinel, before) = (topic("sentinel"), follower.interruptions);
    process.feed.watch(&sentinel).await.unwrap();
    process.append_each(unwatched, 100..103).await;
    let sent = process.append_each(&sentinel, [0]).await;
    let seen = follower.entries.len();
    soon("the sentinel", follower.follow_elsewhere(&sentinel, sent[0])).await;
    assert!(
        follower.entries.len() == seen || follower.interruptions > before,
        "a topic that is not watched was signalled"
    );
}

pub(crate) async fn a_topic_can_be_watched_again(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut signals = process.feed.signals();
    for number in 0..5 {
        process.feed.watch(&topic).await.unwrap();
        process.append_each(&topic, [number]).await;
        soon("the signal", next_of(&mut signals, &topic)).await;
        process.feed.unwatch(&topic).await;
    }
}

pub(crate) async fn a_broadcast_reaches_every_process_and_is_not_kept(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (one, two, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let mut signals = [one.feed.signals(), two.feed.signals()];
    one.feed.watch(&topic).await.unwrap();
    let head = one.bounds(&topic).await.head;
    for (number, sender) in [&one, &two].into_iter().enumerate() {
        let sent = event(number);
        sender.feed.broadcast(Arc::clone(&sent)).await.unwrap();
        for signals in &mut signals {
            loop {
                match soon("the broadcast", signals.next()).await.unwrap() {
                    Signal::Broadcast(event) => break assert_eq!(event, sent),
                    Signal::Interrupted => {}
                    other => panic!("nothing was appended: {other:?}"),
                }
            }
        }
    }
    assert!(one.read_all(&topic, Position::Start).await.is_empty());
    assert!(one.bounds(&topic).await.head >= head);
}

pub(crate) async fn a_listener_that_does_not_listen_is_interrupted(fixture: &dyn Fixture) {
    const FLOOD: usize = 20_000;
    let backend = fixture.open(Options::default()).await;
    let (deaf, writer, topic) = (backend.process().await, backend.process().await, topic("u1"));
    let mut follower = Follower::of(&deaf, &topic).await;
    for batch in 0..FLOOD / 500 {
        writer.append_batch(&topic, batch * 500..(batch + 1) * 500).await;
    }
    soon("the listener to catch up", follower.follow_until(FLOOD)).await;
    assert!(
        follower.interruptions > 0 || follower.signals_taken < FLOOD,
        "a queue without a bound held {} signals",
        follower.signals_taken
    );
    follower.drain_pending().await;
    assert!(follower.signals_taken < FLOOD, "{} signals were kept", follower.signals_taken);
    // From here on the feed is whole again.
    writer.append_each(&topic, FLOOD..FLOOD + 10).await;
    soon("the signals", follower.follow_until(FLOOD + 10)).await;
    assert_unbroken(&follower.entries);
}

/// The next signal, which must be about this topic.
pub(crate) async fn next_of(signals: &mut BoxStream<'static, Signal>, expected: &Topic) -> Signal {
    loop {
        match signals.next().await.expect("a feed lasts as long as its process") {
            Signal::Interrupted => {}
            signal => {
                let (Signal::Appended(topic, _) | Signal::Grown(topic)) = &signal else {
                    panic!("unexpected: {signal:?}")
                };
                assert_eq!(topic, expected);
                return signal;
            }
        }
    }
}

pub(crate) async fn every_process_is_told_to_close_a_users_connections(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let processes = [backend.process().await, backend.process().await];
    let mut listeners: Vec<_> = processes.iter().map(|process| process.feed.signals()).collect();
    processes[0].feed.close_connections(&user("u 1")).await.unwrap();
    for signals in &mut listeners {
        loop {
            match soon("the signal", signals.next()).await.unwrap() {
                Signal::CloseConnections(told) => break assert_eq!(told, user("u 1")),
                Signal::Interrupted => {}
                other => panic!("{other:?}"),
            }
        }
    }
}
