//! What stands in streams is as it is described.

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, TestServer};
use reqwest::Client;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::documents::recorder::Recorder;

/// The first event that a stream carries.
async fn first_data(stream: &mut Connection) -> Value {
    stream.event().await.1
}

#[tokio::test]
async fn events_and_the_servers_own_words_are_of_their_schemas() {
    let server =
        TestServer::start("events.stream_maxlen = 1\nmessages.producer_idle_seconds = 1").await;
    let mut recorder = Recorder::of(&server).await;
    let mut live = [
        Connection::open(&server.url("/api/events"), None).await,
        Connection::open(&server.url("/api/v1/events"), None).await,
    ];
    for stream in &mut live {
        while !matches!(stream.expect().await, Decoded::Position(_)) {}
    }
    for n in 0..3 {
        server.publish("ai.done", json!(n)).await;
    }
    recorder.record_frame("Event", &first_data(&mut live[0]).await);
    assert_eq!(
        first_data(&mut live[1]).await,
        json!(0),
        "in the format `named` the data is the payload"
    );
    server.post(&json!({ "broadcast": true, "type": "t" })).await;
    for _ in 0..2 {
        first_data(&mut live[0]).await;
    }
    let broadcast = first_data(&mut live[0]).await;
    assert!(broadcast.get("id").is_none(), "{broadcast}");
    recorder.record_frame("Event", &broadcast);
    let truncated =
        first_data(&mut Connection::open(&server.url("/api/events"), Some("0")).await).await;
    assert_eq!(truncated["type"], "backlog.truncated");
    recorder.record_frame("ControlEvent", &truncated);
    recorder.record_frame(
        "BacklogTruncated",
        &first_data(&mut Connection::open(&server.url("/api/v1/events"), Some("0")).await).await,
    );
    let refused = "?errors=stream&categories=nonsense";
    recorder.record_frame(
        "ControlEvent",
        &first_data(
            &mut Connection::open(&server.url(&format!("/api/events{refused}")), None).await,
        )
        .await,
    );
    recorder.record_frame(
        "StreamRefused",
        &first_data(
            &mut Connection::open(&server.url(&format!("/api/v1/events{refused}")), None).await,
        )
        .await,
    );

    let message = server.url(&format!("/api/messages/{}", Uuid::new_v4()));
    Client::new().put(&message).json(&json!({ "user_id": "local" })).send().await.unwrap();
    Client::new()
        .post(format!("{message}/events"))
        .json(&json!({ "type": "chunk", "payload": { "text": "a" } }))
        .send()
        .await
        .unwrap();
    let mut reader = Connection::open(&format!("{message}/events"), None).await;
    recorder.record_frame("MessageEvent", &first_data(&mut reader).await);
    let stale = first_data(&mut reader).await;
    assert_eq!(stale["code"], "producer_stale");
    recorder.record_frame("ProducerStale", &stale);
    recorder.judge();
}
