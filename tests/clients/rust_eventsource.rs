//! The crate `eventsource-client`. It takes the server's delay from an event's block, where
//! `retry:` stands before an event.

use std::time::Duration;

use eventsource_client::{Client, ClientBuilder, ReconnectOptions, SSE};
use futures_util::StreamExt;
use launchdarkly_sdk_transport::HyperTransport;
use rejoin_test_support::{CuttingProxy, TestServer, soon};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Follows a stream for as long as anybody listens to what comes.
pub(crate) fn follow(url: &str) -> mpsc::Receiver<SSE> {
    let at_once = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(Duration::from_millis(10))
        .backoff_factor(1)
        .build();
    let client = ClientBuilder::for_url(url)
        .unwrap()
        .reconnect(at_once)
        .build_with_transport(HyperTransport::new().unwrap());
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        let mut stream = client.stream();
        while let Some(item) = stream.next().await {
            // An error is followed by another connection.
            if let Ok(seen) = item
                && sender.send(seen).await.is_err()
            {
                return;
            }
        }
    });
    receiver
}

/// The next event's cursor, and its envelope. A position frame is none.
async fn event(following: &mut mpsc::Receiver<SSE>) -> (Option<String>, Value) {
    loop {
        if let SSE::Event(event) = soon("an event", following.recv()).await.unwrap()
            && event.event_type != "stream.position"
        {
            return (event.id, serde_json::from_str(&event.data).unwrap());
        }
    }
}

#[tokio::test]
async fn promises_1_and_2_nothing_is_lost_or_repeated_over_cut_connections() {
    let server =
        TestServer::start("sse.retry_ms = 10\nevents.replay_budget_requests_per_window = 0").await;
    let proxy = CuttingProxy::start(server.address(), 5, 6_000).await;
    let mut following = follow(&format!("http://{}/api/events?last_event_id=0", proxy.address()));
    let mut published = Vec::new();
    for number in 0..300 {
        published.push(Some(
            server.publish("step", json!({ "number": number, "text": "word ".repeat(20) })).await,
        ));
    }
    let mut seen = Vec::new();
    for number in 0..300 {
        let (id, envelope) = event(&mut following).await;
        assert_eq!(envelope["payload"]["number"], number);
        seen.push(id);
    }
    assert_eq!(seen, published);
    assert!(proxy.cuts() >= 10, "{} cuts", proxy.cuts());
}

#[tokio::test]
async fn promise_6_a_client_is_told_that_a_restarted_server_has_forgotten() {
    let server = TestServer::start("").await;
    let address = server.address();
    let mut following = follow(&server.url("/api/events"));
    assert!(matches!(soon("the stream", following.recv()).await, Some(SSE::Connected(_))));
    let id = server.publish("before", json!(null)).await;
    assert_eq!(event(&mut following).await.0, Some(id));
    server.kill().await;
    let server = TestServer::start_at(address, "").await;
    let (_, notice) = event(&mut following).await;
    assert_eq!(
        notice,
        json!({ "type": "backlog.truncated", "payload": { "oldest_retained_id": null } })
    );
    let id = server.publish("after", json!(null)).await;
    assert_eq!(event(&mut following).await.0, Some(id));
}
