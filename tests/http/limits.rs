//! Connection slots and the replay budget.

use rejoin::domain::frame_decoder::Decoded;
use rejoin_test_support::{Connection, EventClient, Seen, TestServer, eventually, soon};
use serde_json::{Value, json};

#[tokio::test]
async fn promise_11_over_the_cap_the_refusal_says_when_to_come_back() {
    let server = TestServer::start("sse.max_concurrent_per_user = 2").await;
    let url = server.url("/api/events");
    let held = (Connection::open(&url, None).await, Connection::open(&url, None).await);
    let refused = Connection::request(&url, None).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["retry-after"], "5");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many_connections");
    assert_eq!(server.connections(), 2);
    drop(held.0);
    eventually("the slot is free again", async || {
        Connection::request(&url, None).await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_refusal_in_a_stream_lets_an_event_source_come_back_by_itself() {
    let server = TestServer::start("sse.max_concurrent_per_user = 1").await;
    let _held = Connection::open(&server.url("/api/events"), None).await;
    let refused =
        Connection::open(&server.url("/api/events?errors=stream"), Some("7-1")).await.rest().await;
    let [Decoded::Retry(5_000), Decoded::Event { id: None, event_type, data }] = &refused[..]
    else {
        panic!("{refused:?}")
    };
    assert_eq!(event_type, "message");
    let refusal: Value = serde_json::from_str(data).unwrap();
    assert_eq!(refusal["type"], "stream.refused");
    let payload = &refusal["payload"];
    assert_eq!(
        (&payload["status"], &payload["code"], &payload["retry_after_seconds"]),
        (&json!(429), &json!("too_many_connections"), &json!(5))
    );
    let named =
        Connection::open(&server.url("/api/v1/events?errors=stream"), None).await.rest().await;
    assert!(
        matches!(&named[1], Decoded::Event { event_type, .. } if event_type == "stream.refused"),
        "{named:?}"
    );
}

#[tokio::test]
async fn other_refusals_come_in_the_stream_too_where_that_was_asked() {
    let server = TestServer::start("").await;
    let refused =
        Connection::open(&server.url("/api/events?errors=stream&categories=nonsense"), None)
            .await
            .rest()
            .await;
    let [Decoded::Retry(60_000), Decoded::Event { data, .. }] = &refused[..] else {
        panic!("{refused:?}")
    };
    assert!(data.contains("invalid_category"), "{data}");
    assert_eq!(
        Connection::request(&server.url("/api/events?errors=perhaps"), None).await.status(),
        400
    );
}

#[tokio::test]
async fn the_replay_budget_is_spent_by_clients_that_are_behind_alone() {
    let server = TestServer::start("events.replay_budget_requests_per_window = 2").await;
    let url = server.url("/api/events");
    let first = server.publish("n", json!(1)).await;
    let last = server.publish("n", json!(2)).await;
    for _ in 0..5 {
        assert_eq!(Connection::request(&url, None).await.status(), 200, "a new client is free");
        assert_eq!(
            Connection::request(&url, Some(&last)).await.status(),
            200,
            "an up-to-date one is free"
        );
    }
    assert_eq!(Connection::request(&url, Some("0")).await.status(), 200);
    assert_eq!(Connection::request(&url, Some(&first)).await.status(), 200);
    for _ in 0..3 {
        let refused = Connection::request(&url, Some(&first)).await;
        assert_eq!(refused.status(), 429);
        let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&seconds));
        assert_eq!(refused.json::<Value>().await.unwrap()["code"], "replay_budget_exhausted");
    }
    eventually("refused connections hold no slot", async || server.connections() <= 8).await;
}

#[tokio::test]
async fn going_on_from_a_capped_snapshot_is_free() {
    const TABS: usize = 7;
    let server = TestServer::start("").await;
    let first = server.publish("n", json!(0)).await;
    for n in 1..=950 {
        server.publish("n", json!(n)).await;
    }
    // With the defaults that is five parts for each tab, and a budget of 30 replays for all of
    // them.
    let url = server.url("/api/events");
    let mut tabs: Vec<_> =
        (0..TABS).map(|_| EventClient::new(url.clone()).with_cursor(first.clone())).collect();
    let all = tabs.iter_mut().map(|tab| tab.follow_until(|seen| seen.len() >= 950));
    soon("all tabs have come back", futures_util::future::join_all(all)).await;
    for tab in &tabs {
        let numbers = tab.seen.iter().map(|seen| match seen {
            Seen::Event(_, envelope) => envelope["payload"].as_u64().unwrap(),
            Seen::Control(control) => panic!("{control}"),
        });
        assert!(numbers.eq(1..=950));
        assert_eq!(tab.connections, 5, "nobody was refused");
    }
    let spent = 23;
    for _ in 0..spent {
        assert_eq!(Connection::request(&url, Some("0")).await.status(), 200);
    }
    assert_eq!(
        Connection::request(&url, Some("0")).await.status(),
        429,
        "the first part of each tab was paid for"
    );
}

#[tokio::test]
async fn unknown_categories_are_answered_with_the_valid_ones() {
    let server = TestServer::start("").await;
    let refused = Connection::request(&server.url("/api/events?categories=ai,colour"), None).await;
    assert_eq!(refused.status(), 400);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "invalid_category");
    assert!(
        problem["message"]
            .as_str()
            .unwrap()
            .contains("ai, data_sync, import, portfolio, provider, security"),
        "{problem}"
    );
}
