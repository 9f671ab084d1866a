//! What a reader of a message gets.

use std::time::Duration;

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, TestServer, eventually, soon};
use reqwest::Client;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

use crate::messages::server::{Message, answer, path};

#[tokio::test]
async fn a_reader_gets_everything_from_the_start_then_what_comes_then_the_end() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    let mut reader = message.read(None).await;
    assert_eq!(reader.event().await, (Some("0".into()), json!({ "type": "chunk", "text": "a" })));
    message.chunk("b").await;
    assert_eq!(reader.event().await, (Some("1".into()), json!({ "type": "chunk", "text": "b" })));
    message.end().await;
    assert_eq!(reader.event().await, (Some("2".into()), json!({ "type": "end" })));
    assert_eq!(reader.rest().await, [], "the server closes behind the terminal event");
}

#[tokio::test]
async fn promise_1_a_cursor_rejoins_where_it_left_off_and_anything_else_begins_at_the_start() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    for text in ["a", "b", "c"] {
        message.chunk(text).await;
    }
    message.end().await;
    for (cursor, first) in [
        (Some("0"), "1"),
        (Some("1"), "2"),
        (None, "0"),
        (Some("nonsense"), "0"),
        (Some("1-1"), "0"),
    ] {
        assert_eq!(
            message.read(cursor).await.event().await.0.as_deref(),
            Some(first),
            "{cursor:?}"
        );
    }
    for query in [
        "last_event_id=1",
        "lastEventId=1",
        "Last-Event-ID=1",
        "LASTEVENTID=1",
        "lastEventId=1&last_event_id=0",
    ] {
        let mut by_query = Connection::open(&message.url(&format!("/events?{query}")), None).await;
        assert_eq!(by_query.event().await.0.as_deref(), Some("2"), "{query}");
    }
    assert_eq!(
        message.read(Some("1, 2")).await.event().await.0.as_deref(),
        Some("3"),
        "the greatest of several"
    );
}

#[tokio::test]
async fn a_reconnect_with_the_terminal_events_own_id_is_told_to_stop() {
    let server = TestServer::start("").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    message.end().await;
    for (cursor, status) in [("1", 204), ("0", 200)] {
        assert_eq!(
            Connection::request(&message.url("/events"), Some(cursor)).await.status(),
            status,
            "{cursor}"
        );
    }
}

#[tokio::test]
async fn a_long_answer_is_not_capped() {
    let server = TestServer::start(
        "events.replay_max_per_request = 2\nevents.replay_budget_requests_per_window = 1",
    )
    .await;
    let message = Message::open(&server).await;
    let mut lines: Vec<String> =
        (0..1_500).map(|n| json!({ "type": "chunk", "payload": n }).to_string()).collect();
    lines.push(json!({ "type": "end" }).to_string());
    let lines = lines.join(
        "
",
    );
    let upload = Client::new()
        .post(message.url("/events"))
        .header("content-type", "application/x-ndjson")
        .body(lines);
    assert_eq!(upload.send().await.unwrap().status(), 200);
    for _ in 0..3 {
        let all = message.read(None).await.rest().await;
        let ids: Vec<u64> = all
            .iter()
            .filter_map(|decoded| {
                if let Decoded::Event { id, .. } = decoded {
                    id.as_ref()?.parse().ok()
                } else {
                    None
                }
            })
            .collect();
        assert_eq!(ids, (0..=1_500).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_silent_producer_is_told_within_the_configured_time_and_the_cursor_stays_good() {
    let server = TestServer::start("messages.producer_idle_seconds = 1").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    let appended = Instant::now();
    let mut reader = message.read(None).await;
    assert_eq!(reader.event().await.0.as_deref(), Some("0"));
    assert_eq!(reader.expect().await, Decoded::Retry(30_000), "it may never go on");
    let (id, notice) = reader.event().await;
    let told_after = appended.elapsed();
    assert_eq!(
        (id, &notice["type"], &notice["code"], &notice["message_id"]),
        (None, &json!("error"), &json!("producer_stale"), &json!(message.id.to_string()))
    );
    assert!(told_after >= Duration::from_millis(900), "{told_after:?}");
    assert_eq!(reader.rest().await, []);
    assert_eq!(message.view().await.1["status"], "stale");
    // It was not dead after all.
    message.chunk("b").await;
    let mut rejoined = message.read(Some("0")).await;
    assert_eq!(rejoined.event().await.1["text"], "b");
}

#[tokio::test]
async fn heartbeats_keep_a_quiet_message_alive() {
    let server =
        TestServer::start("messages.producer_idle_seconds = 1\nsse.keepalive_seconds = 1").await;
    let message = Message::open(&server).await;
    let mut reader = message.read(None).await;
    let mut keepalives = 0;
    soon("three keepalives", async {
        while keepalives < 3 {
            tokio::select! {
                decoded = reader.expect() => keepalives += usize::from(decoded == Decoded::Comment("keepalive".into())),
                () = tokio::time::sleep(Duration::from_millis(200)) => assert_eq!(message.post("/heartbeat").await.0, 200),
            }
        }
    })
    .await;
    assert_eq!(message.view().await.1["status"], "streaming");
}

#[tokio::test]
async fn one_cap_counts_the_connections_of_both_channels() {
    let server = TestServer::start("sse.max_concurrent_per_user = 2").await;
    let message = Message::open(&server).await;
    let _events = Connection::open(&server.url("/api/events"), None).await;
    let _reader = message.read(None).await;
    for url in [server.url("/api/events"), message.url("/events")] {
        let (status, body) = answer(Client::new().get(url)).await;
        assert_eq!((status, &body["code"]), (429, &json!("too_many_connections")));
    }
}

/// Waits until a reader has asked for its message, and found that it is not open.
async fn a_reader_waits(server: &TestServer) {
    eventually("a reader to wait", async || {
        server.metric("rejoin_waiting_readers").await == Some(1.0)
    })
    .await;
}

#[tokio::test]
async fn a_reader_that_is_faster_than_its_producer_waits_for_the_message() {
    let server = TestServer::start("messages.open_wait_seconds = 60").await;
    let id = Uuid::new_v4();
    let url = server.url(&path(id, "/events"));
    let reading = tokio::spawn(async move {
        let mut reader = Connection::open(&url, None).await;
        reader.event().await.1["text"].clone()
    });
    a_reader_waits(&server).await;
    let message = Message::open_as(&server, id).await;
    message.chunk("a").await;
    assert_eq!(soon("the first event", reading).await.unwrap(), "a");
}

#[tokio::test]
async fn promise_10_a_reader_that_waits_for_its_message_is_asked_back_by_a_drain() {
    let server =
        TestServer::start("messages.open_wait_seconds = 60\nserver.drain_seconds = 5").await;
    let url = server.url(&path(Uuid::new_v4(), "/events"));
    let reading = tokio::spawn(async move { Connection::open(&url, None).await.rest().await });
    a_reader_waits(&server).await;
    assert!(server.drain().await, "it does not hold the drain up");
    let said = reading.await.unwrap();
    assert!(
        matches!(&said[..], [Decoded::Retry(_), Decoded::Comment(reason)] if reason == "draining"),
        "{said:?}"
    );
}

#[tokio::test]
async fn keepalives_of_a_message_are_events_where_the_reader_wants_them() {
    let server = TestServer::start("sse.keepalive_seconds = 1").await;
    let message = Message::open(&server).await;
    let mut reader = Connection::open(&message.url("/events?keepalive=event"), None).await;
    assert_eq!(reader.event().await, (None, json!({ "type": "stream.keepalive", "payload": {} })));
}

#[tokio::test]
async fn a_browser_sees_a_refusal_as_an_event_if_it_asks_for_that() {
    let server = TestServer::start("messages.open_wait_seconds = 0").await;
    let url = server.url(&format!("/api/messages/{}/events?errors=stream", Uuid::new_v4()));
    let mut stream = Connection::open(&url, None).await;
    assert_eq!(stream.expect().await, Decoded::Retry(3_000), "the message may be opened soon");
    let (id, refusal) = stream.event().await;
    assert_eq!(
        (id, &refusal["type"], &refusal["payload"]["code"]),
        (None, &json!("stream.refused"), &json!("message_not_found"))
    );
}

#[tokio::test]
async fn deleting_a_message_tells_its_readers_and_frees_their_slots() {
    let server = TestServer::start("messages.open_wait_seconds = 0").await;
    let message = Message::open(&server).await;
    message.chunk("a").await;
    let mut reader = message.read(None).await;
    reader.event().await;
    assert_eq!(answer(message.request(reqwest::Method::DELETE, "")).await.0, 200);
    assert_eq!(reader.event().await.1["type"], "backlog.truncated");
    assert_eq!(reader.rest().await.last(), Some(&Decoded::Comment("message deleted".into())));
    eventually("the slot is free", async || server.connections() == 0).await;
    assert_eq!(message.view().await.0, 404);
    assert_eq!(Connection::request(&message.url("/events"), Some("0")).await.status(), 404);
}
