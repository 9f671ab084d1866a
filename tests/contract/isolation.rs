//! Promise 8: no user id reaches another's topic, whatever it contains.

use std::time::Duration;

use rejoin::domain::{
    leases::LeaseId,
    position::Position,
    topic::{MessageId, Topic},
};
use rejoin_test_support::soon;
use uuid::Uuid;

use crate::contract::{
    backend::{Fixture, Options},
    feed::next_of,
    given::{numbers, to_append, topic, user},
};

const LONG: Duration = Duration::from_mins(10);
const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

/// Ids that meet in keys, patterns, subjects, channels, paths or collations that are made without
/// care.
fn hostile_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "A",
        "a ",
        " a",
        " ",
        "  ",
        "a:b",
        "a:",
        ":a",
        ":",
        "a:stream",
        "user:a",
        "user:a:stream",
        "message:a",
        UUID,
        "a*",
        "*",
        "a>",
        ">",
        "a.b",
        "a.",
        ".",
        "..",
        "a.*",
        "a.>",
        "{a}",
        "{a",
        "{}",
        "a?",
        "[a]",
        "[^b]",
        "a|b",
        "a/b",
        "../a",
        "./a",
        "a%3Ab",
        "a%",
        "a_",
        "a\\",
        "\\a",
        "a'",
        "a\"",
        "a'; DROP TABLE user_events; --",
        "$1",
        "$a",
        "a-b",
        "a--b",
        "-a",
        "a,b",
        "a=b",
        "YQ",
        "YQ==",
        "61",
        "0x61",
        "0",
        "00",
        "null",
        "\u{e9}",
        "e\u{301}",
        "E\u{301}",
        "\u{df}",
        "ss",
        "\u{131}",
        "i",
        "I",
        "\u{ff41}",
        "a\u{200b}",
        "a\u{ad}",
        "\u{feff}a",
        "\u{202e}a",
        "日本",
        "👩‍👩‍👧",
        "👩",
        "\u{10ffff}",
    ]
    .map(str::to_owned)
    .to_vec();
    // The longest there may be, alike but for the last byte, and one that begins as they do.
    ids.extend([
        format!("{}y", "x".repeat(255)),
        "x".repeat(256),
        "x".repeat(255),
        "é".repeat(128),
        format!("message:{UUID}"),
    ]);
    ids
}

fn all_topics() -> Vec<Topic> {
    let mut topics: Vec<_> = hostile_ids().iter().map(|id| topic(id)).collect();
    topics.push(Topic::Message(MessageId(UUID.parse().unwrap())));
    topics
}

pub(crate) async fn no_user_id_reaches_another_journal(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let topics: Vec<_> = hostile_ids().iter().map(|id| topic(id)).collect();
    for (n, topic) in topics.iter().enumerate() {
        process.append(vec![to_append(topic, 2 * n), to_append(topic, 2 * n + 1)]).await;
    }
    for (n, topic) in topics.iter().enumerate() {
        let entries = process.read_all(topic, Position::Start).await;
        assert_eq!(numbers(&entries), [2 * n, 2 * n + 1], "{topic}");
        let bounds = process.bounds(topic).await;
        assert_eq!(
            (bounds.oldest, bounds.head),
            (Some(entries[0].id), entries[1].id.into()),
            "{topic}"
        );
    }
}

pub(crate) async fn no_user_id_reaches_another_feed(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let topics = all_topics();
    for watched in topics.iter().filter(|topic| matches!(topic, Topic::User(_))) {
        // Each has ears of its own, which can't have heard of another topic late.
        let process = backend.process().await;
        let mut signals = process.feed.signals();
        process.feed.watch(watched).await.unwrap();
        let others =
            topics.iter().filter(|topic| *topic != watched && matches!(topic, Topic::User(_)));
        process.append(others.map(|topic| to_append(topic, 0)).collect()).await;
        process.append_each(watched, [1]).await;
        soon("the signal", next_of(&mut signals, watched)).await;
    }
}

pub(crate) async fn no_user_id_reaches_another_limit(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let users: Vec<_> = hostile_ids().iter().map(|id| user(id)).collect();
    let mut held = Vec::new();
    for user in &users {
        let lease = LeaseId(Uuid::new_v4());
        assert!(process.leases.acquire(user, lease, 1, LONG).await.unwrap(), "{user}");
        assert_eq!(
            process.budget.take(user, Position::Start, 1, LONG).await.unwrap(),
            Ok(0),
            "{user}"
        );
        held.push((user.clone(), lease));
    }
    for user in &users {
        assert_eq!(process.leases.count(user).await.unwrap(), 1, "{user}");
        assert!(
            !process.leases.acquire(user, LeaseId(Uuid::new_v4()), 1, LONG).await.unwrap(),
            "{user}"
        );
        assert!(
            process.budget.take(user, Position::Start, 1, LONG).await.unwrap().is_err(),
            "{user}"
        );
    }
    // A lease is a user's own: its id under another name gives nothing back.
    let swapped: Vec<_> = held
        .iter()
        .zip(held.iter().skip(1))
        .map(|((user, _), (_, lease))| (user.clone(), *lease))
        .collect();
    process.leases.release(&swapped).await.unwrap();
    process.leases.release(&held[..1]).await.unwrap();
    for (n, user) in users.iter().enumerate() {
        assert_eq!(process.leases.count(user).await.unwrap(), u32::from(n > 0), "{user}");
    }
}

pub(crate) async fn a_purge_removes_one_topic_alone(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let process = backend.process().await;
    let topics: Vec<_> = hostile_ids().iter().map(|id| topic(id)).collect();
    process.append(topics.iter().map(|topic| to_append(topic, 7)).collect()).await;
    for (purged, topic) in topics.iter().enumerate() {
        process.journal.purge(topic.user().unwrap()).await.unwrap();
        assert!(process.read_all(topic, Position::Start).await.is_empty());
        for (n, other) in topics.iter().enumerate() {
            assert_eq!(
                process.bounds(other).await.oldest.is_some(),
                n > purged,
                "purged {topic}, and {other} with it"
            );
        }
    }
}
