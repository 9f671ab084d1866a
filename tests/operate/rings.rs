//! What a process keeps ready for its streams is shared by all of its users.

use rejoin::{domain::access::Scope, testing::token};
use rejoin_test_support::{TestServer, soon};
use reqwest::Client;
use serde_json::json;

use crate::operate::given;

/// Publishes so many events of a kilobyte to each of these users.
async fn publish(server: &TestServer, users: &[String], events: usize) {
    let mut lines = String::new();
    for _ in 0..events {
        for user in users {
            lines.extend([
                &json!({ "user_id": user, "type": "t", "payload": "x".repeat(1_000) }).to_string(),
                "\n",
            ]);
        }
    }
    let upload = Client::new()
        .post(server.url("/api/events"))
        .header("content-type", "application/x-ndjson")
        .body(lines);
    let answer = upload
        .bearer_auth(token(Some("app"), &[Scope::EventsPublish]))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(answer.matches("\"success\":true").count(), users.len() * events);
}

#[tokio::test]
async fn promise_7_users_who_come_later_are_served_from_rings_that_earlier_ones_have_filled() {
    let server = given::server("hub.rings_max_bytes = 1048576\nevents.stream_maxlen = 10000").await;
    let users = |name: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| format!("{name}{n}")).collect()
    };
    let (early, late) = (users("early", 5), users("late", 50));
    let mut streams = Vec::new();
    for user in &early {
        streams.push(given::follow(&server, user, "/api/events").await);
    }
    // More than the rings may hold, and their users have taken all of it, and stay.
    publish(&server, &early, 200).await;
    for stream in &mut streams {
        for _ in 0..200 {
            soon("an early user's event", stream.event()).await;
        }
    }
    let filled = server.metric("rejoin_ring_bytes").await.unwrap();
    assert!((900_000.0..=1_048_576.0).contains(&filled), "{filled}");
    let misses = || server.metric("rejoin_ring_misses_total{channel=\"user\"}");
    let missed_before = misses().await;
    let mut streams_of_late = Vec::new();
    for user in &late {
        streams_of_late.push(given::follow(&server, user, "/api/events").await);
    }
    for _ in 0..20 {
        publish(&server, &late, 1).await;
        for stream in &mut streams_of_late {
            soon("a late user's event", stream.event()).await;
        }
    }
    assert_eq!(
        misses().await,
        missed_before,
        "their events came from the rings, not by a read of the journal each"
    );
    assert!(server.metric("rejoin_ring_bytes").await <= Some(1_048_576.0));
    drop((streams, streams_of_late));
}
