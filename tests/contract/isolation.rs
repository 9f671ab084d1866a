//! Promise 8: no user id reaches another's topic, whatever it contains.

use std::time::Duration;

use rejoin::domain::{
    leases::LeaseId,
    message::{AppendRefusal, MessageAppend, OpenRefusal},
    position::{EventId, Position},
    topic::{MessageId, Topic},
};
use rejoin_test_support::soon;
use uuid::Uuid;

use crate::contract::{
    archive::listed,
    backend::{Fixture, Options},
    feed::next_of,
    given::{event, numbers, to_append, topic, user},
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
    topics.push(Topic::Message(MessageId::parse(UUID).unwrap()));
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

/// Ids that meet where they are made into keys, subjects or UUIDs without care.
fn hostile_message_ids() -> Vec<MessageId> {
    let uuid_of_text: &str = "73846a4d-2605-52fd-bc7d-2cf10592ea29";
    let zero_and_text = Uuid::from_bytes(*b"\0fifteen-letters").to_string();
    [
        "chat-1",
        // What a store may keep in place of the text.
        uuid_of_text,
        "fifteen-letters",
        &zero_and_text,
        "a",
        "A",
        "a.b",
        "a:b",
        "a-2Eb",
        "a.",
        ".a",
        "...",
        ":",
        "a:state",
        "message:a",
        UUID,
        &format!("{UUID}0"),
        &"x".repeat(127),
        &"x".repeat(128),
    ]
    .map(|id| MessageId::parse(id).unwrap())
    .to_vec()
}

pub(crate) async fn no_message_id_reaches_another_message(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, other) = (backend.process().await, backend.process().await);
    let ids = hostile_message_ids();
    let mut opened = Vec::new();
    for id in &ids {
        assert_eq!(process.messages.observe(id).await.unwrap(), None, "{id}");
        assert!(!process.messages.delete(id).await.unwrap(), "{id}");
        let topic = Topic::Message(id.clone());
        assert_eq!(process.read_all(&topic, Position::Start).await, [], "{id}");
        // A store that has one place for two ids has room for the first.
        match process.messages.open(id, &user("u1"), false).await.unwrap() {
            Ok(it) => {
                assert!(it.created, "{id}");
                opened.push(id);
            }
            Err(refusal) => assert_eq!(refusal, OpenRefusal::Another, "{id}"),
        }
    }
    assert!(opened.len() >= ids.len() - 1, "only what is made of an id on purpose meets it");
    for (n, id) in opened.iter().enumerate() {
        let append = MessageAppend { event: event(n), sequence_no: None, idempotency_key: None };
        process.messages.append(id, None, vec![append]).await.unwrap()[0].unwrap();
    }
    for (n, id) in opened.iter().enumerate() {
        let topic = Topic::Message((*id).clone());
        assert_eq!(numbers(&other.read_all(&topic, Position::Start).await), [n], "{id}");
        assert_eq!(other.bounds(&topic).await.head, EventId::sequence(0).into(), "{id}");
    }
    let found = listed(async |place| other.archive.messages(place).await.unwrap()).await;
    assert_eq!(found, opened.iter().map(|id| (*id).clone()).collect());
    for id in ids.iter().filter(|id| !opened.contains(id)) {
        let append = MessageAppend { event: event(0), sequence_no: None, idempotency_key: None };
        let answers = other.messages.append(id, None, vec![append]).await.unwrap();
        assert_eq!(answers, [Err(AppendRefusal::Unknown)], "{id}");
        assert_eq!(other.messages.heartbeat(id, None).await.unwrap(), Err(AppendRefusal::Unknown));
        assert_eq!(other.messages.request_stop(id).await.unwrap(), None, "{id}");
        assert!(!other.messages.delete(id).await.unwrap(), "{id}");
    }
    for (n, id) in opened.iter().enumerate() {
        assert!(process.messages.delete(id).await.unwrap(), "{id}");
        for (m, kept) in opened.iter().enumerate() {
            let is_there = other.messages.observe(kept).await.unwrap().is_some();
            assert_eq!(is_there, m > n, "{kept} after {id}");
        }
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
