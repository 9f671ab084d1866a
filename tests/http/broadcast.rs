//! Events for everybody who is connected.

use rejoin_test_support::{Connection, TestServer};
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
    let (status, answer) = server.post(&json!({ "broadcast": true, "type": "security.notice", "payload": { "text": "hi" } })).await;
    assert_eq!((status, answer), (201, json!({ "success": true, "id": null })));
    let (no_id, envelope) = first.event().await;
    assert_eq!(no_id, None);
    assert_eq!(
        (&envelope["type"], &envelope["category"], &envelope["payload"]),
        (&json!("security.notice"), &json!("security"), &json!({ "text": "hi" }))
    );
    assert_eq!((envelope.get("id"), envelope.get("topic"), &envelope["scope"]), (None, None, &json!({})));
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
