//! An event comes out as it went in, byte by byte.

use std::sync::Arc;

use rejoin::{
    domain::{
        category::Category,
        event::{Event, EventType, Last},
        json::Json,
        page::PageLimit,
        position::Position,
        timestamp::Timestamp,
    },
    ports::{feed::Signal, journal::Append},
};
use rejoin_test_support::soon;

use crate::contract::{
    backend::{Fixture, Options, Process},
    feed::next_of,
    given::{AMPLE, event_of, topic, user},
    messages::contents::contents,
};

/// JSON that parsers like to rewrite.
const DELICATE: [&str; 24] = [
    "1e400",
    "-1e-400",
    "1.10",
    "-0",
    "1E5",
    "12345678901234567890123456789",
    r#"{"b":1,"a":2,"b":3}"#,
    r#"{"":{"":[]}}"#,
    r#""\u0000""#,
    r#"{"\u0000":"\u0000a"}"#,
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""\ud83d\ude00""#,
    r#""😀é\u00e9""#,
    r#""\/\b\f\n\r\t\"\\""#,
    "\"\u{2028}\u{2029}\u{feff}\"",
    r#""'; DROP TABLE user_events; --""#,
    r#""$1 %s {0} \\x00""#,
    "[ 1,  2 ,3 ]",
    "null",
    "true",
    "\"\"",
    "[]",
    "{}",
];

pub(crate) async fn a_payload_keeps_every_byte(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut signals = process.feed.signals();
    process.feed.watch(&topic).await.unwrap();
    for payload in DELICATE {
        let event = event_of(payload);
        assert_eq!(event.content.payload().unwrap().as_str(), payload);
        append(&process, "u1", &event).await;
        let signal = soon("the signal", next_of(&mut signals, &topic)).await;
        if let Signal::Appended(_, entry) = signal {
            assert_eq!(
                entry.event.content.payload().unwrap().as_str(),
                payload,
                "as the feed tells it"
            );
        }
    }
    let entries = backend.process().await.read_all(&topic, Position::Start).await;
    let read: Vec<_> =
        entries.iter().map(|entry| entry.event.content.payload().unwrap().as_str()).collect();
    assert_eq!(read, DELICATE);
}

pub(crate) async fn an_event_keeps_all_its_parts(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut events = Vec::new();
    for category in [None, Some(Category::parse("a-very_long-name0").unwrap())] {
        for scope in [
            Json::empty_object(),
            Json::parse(r#"{"kind":"source","id":1.0,"\u0000":"\ud800"}"#).unwrap(),
        ] {
            let types = [("a", 0), (&*"x:Y.z_-9".repeat(16), 1_718_900_000_007)];
            for (content, (event_type, ms)) in contents().into_iter().zip(types.into_iter().cycle())
            {
                events.push(Arc::new(Event {
                    event_type: EventType::parse(event_type).unwrap(),
                    ts: Timestamp::from_ms(ms),
                    category: category.clone(),
                    scope: scope.clone(),
                    content,
                    last: Last::default(),
                }));
            }
        }
    }
    for event in &events {
        append(&process, "u1", event).await;
    }
    let read: Vec<_> = process
        .read_all(&topic, Position::Start)
        .await
        .into_iter()
        .map(|entry| entry.event)
        .collect();
    assert_eq!(read, events);
}

pub(crate) async fn a_payload_of_a_mebibyte_is_kept(fixture: &dyn Fixture) {
    let backend = fixture.open(Options::default()).await;
    let (process, topic) = (backend.process().await, topic("u1"));
    let mut signals = process.feed.signals();
    process.feed.watch(&topic).await.unwrap();
    let large = event_of(&format!("\"{}\"", "é\\u0000xyz".repeat(95_000)));
    assert!(large.content.payload().unwrap().as_str().len() > 1_000_000);
    append(&process, "u1", &large).await;
    if let Signal::Appended(_, entry) = soon("the signal", next_of(&mut signals, &topic)).await {
        assert_eq!(entry.event, large);
    }
    append(&process, "u1", &large).await;
    let page = process
        .journal
        .read(&topic, Position::Start, PageLimit { bytes_max: 1, ..AMPLE })
        .await
        .unwrap();
    assert_eq!((page.entries.len(), page.more), (1, true));
    assert_eq!(page.entries[0].event, large);
}

async fn append(process: &Process, user_id: &str, event: &Arc<Event>) {
    process
        .append_one(Append { user: user(user_id), event: Arc::clone(event), idempotency_key: None })
        .await;
}
