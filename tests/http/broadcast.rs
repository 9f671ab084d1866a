//! Events for everybody who is connected.

use rejoin_test_support::{Connection, TestServer, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn a_broadcast_reaches_who_is_connected_and_is_kept_nowhere() {
    let server = TestServer::start("").await;
    let mut first = Connection::open(&server.url("/api/events"), Some("0")).await;
    let mut named = Connection::open(&server.url("/api/v1/events?categories=security"), None).await;
    for _ in 0..3 {
        named.expect().await;
    }
    let id = server.publish("before", json!(1)).await;
    assert_eq!(first.event().await.0.as_ref(), Some(&id));
    let (status, answer) = server
        .post(&json!({ "broadcast": true, "type": "security.notice", "payload": { "text": "hi" } }))
        .await;
    assert_eq!((status, answer), (201, json!({ "success": true, "id": null })));
    let (no_id, envelope) = first.event().await;
    assert_eq!(no_id, None);
    assert_eq!(
        (&envelope["type"], &envelope["category"], &envelope["payload"]),
        (&json!("security.notice"), &json!("security"), &json!({ "text": "hi" }))
    );
    assert_eq!(
        (envelope.get("id"), envelope.get("topic"), &envelope["scope"]),
        (None, None, &json!({}))
    );
    assert_eq!(named.event().await, (None, json!({ "text": "hi" })));
    let after = server.publish("after", json!(2)).await;
    assert_eq!(first.event().await.0, Some(after.clone()));
    let mut late = Connection::open(&server.url("/api/events"), Some(&id)).await;
    assert_eq!(late.event().await.0, Some(after));
}

#[tokio::test]
async fn a_filtered_client_gets_no_broadcast_of_another_category() {
    let server = TestServer::start("").await;
    let mut filtered = Connection::open(&server.url("/api/events?categories=ai"), Some("0")).await;
    server.post(&json!({ "broadcast": true, "type": "security.notice" })).await;
    server.publish("ai.done", Value::Null).await;
    assert_eq!(filtered.event().await.1["type"], "ai.done");
}

/// A broadcast with a payload of so many bytes; gives the status.
async fn broadcast(server: &TestServer, number: usize, payload_bytes: usize) -> u16 {
    let payload = json!({ "number": number, "padding": "x".repeat(payload_bytes) });
    server.post(&json!({ "broadcast": true, "type": "notice", "payload": payload })).await.0
}

/// The numbers of the broadcasts that a stream brings, until it has so many.
async fn numbers(stream: &mut Connection, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        let (_, envelope) = stream.event().await;
        numbers.extend(
            envelope["payload"]["number"].as_u64().filter(|_| envelope["type"] == "notice"),
        );
    }
    numbers
}

#[tokio::test]
async fn promise_1_a_broadcast_larger_than_a_ring_reaches_everybody() {
    let server = TestServer::start(
        "sse.max_concurrent_per_user = 0\nhub.ring_max_bytes = 1024\nhub.rings_max_bytes = 1024",
    )
    .await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(Connection::open(&server.url("/api/events"), None).await);
    }
    for (number, payload_bytes) in [0, 2_000, 500_000].into_iter().enumerate() {
        assert_eq!(broadcast(&server, number, payload_bytes).await, 201);
    }
    for stream in &mut streams {
        assert_eq!(numbers(stream, 3).await, [0, 1, 2]);
    }
}

#[tokio::test]
async fn promise_1_a_broadcast_reaches_who_comes_to_full_rings() {
    let settings = "auth.mode = \"none\"\nsse.max_concurrent_per_user = 0\nhub.ring_max_bytes = 200000\nhub.rings_max_bytes = 200000";
    let server = TestServer::start(settings).await;
    let mut streams = vec![Connection::open(&server.url("/api/events"), Some("0")).await];
    for n in 0..20 {
        server.publish("filler", json!({ "n": n, "padding": "x".repeat(20_000) })).await;
    }
    streams.push(Connection::open(&server.url("/api/events"), None).await);
    assert_eq!(broadcast(&server, 7, 2_000).await, 201);
    for stream in &mut streams {
        assert_eq!(numbers(stream, 1).await, [7]);
    }
}

#[tokio::test]
async fn promise_1_a_client_that_reads_late_gets_each_accepted_broadcast_and_the_others_are_refused()
 {
    let server =
        TestServer::start("hub.broadcasts_max_bytes = 4000000\nhub.ring_entries_max = 4").await;
    let mut slow = Connection::open(&server.url("/api/events"), None).await;
    // It takes nothing: the kernel's buffers fill, then the room for broadcasts, while its ring
    // moves on.
    let mut accepted = Vec::new();
    let refused = loop {
        let number = accepted.len();
        match broadcast(&server, number, 200_000).await {
            201 => accepted.push(number as u64),
            status => break status,
        }
        for n in 0..5 {
            server.publish("other", json!(n)).await;
        }
        assert!(number < 1_000, "nothing fills up");
    };
    assert_eq!(refused, 503);
    assert_eq!(numbers(&mut slow, accepted.len()).await, accepted);
    eventually("there is room again", async || broadcast(&server, 1_000, 200_000).await == 201)
        .await;
    assert_eq!(numbers(&mut slow, 1).await, [1_000]);
}

#[tokio::test]
async fn promise_11_a_broadcast_that_can_never_fit_is_refused_for_good() {
    let server = TestServer::start("hub.broadcasts_max_bytes = 65536").await;
    let (status, answer) = server
        .post(&json!({ "broadcast": true, "type": "t", "payload": "x".repeat(60_000) }))
        .await;
    assert_eq!((status, &answer["code"]), (413, &json!("event_too_large")));
}
